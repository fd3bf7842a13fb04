"""One run: a stream of lookups, each timed, and each answer judged.

Theory of operation. A second query cannot judge an answer: a commit may fall between the two. Instead the reader looks
at the writer's tables before and after it asks. Before: the state that the last commit which had *returned* gave the
city; an answer of a lower version is stale, whatever happens meanwhile. If no write of this city was under way from
before the question until after the answer, the answer must be precisely that state, and there must be one. If one was
under way, a newer state is right too, and so is no row, for the name that was asked for may be gone. A version that
was rolled back is never right.
"""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import md5
from itertools import accumulate
from random import Random
from time import monotonic, perf_counter_ns
from typing import Any

from examples.demo.application import Application, City, Get, Lookup
from examples.demo.load import Committed, World
from examples.demo.writer import Writer

CHUNK = 1000


@dataclass
class Outcome:
    """What one run has shown."""

    name: str
    nanoseconds: "array[int]" = field(default_factory=lambda: array("Q"))
    """One for each lookup."""
    queries: int = 0
    without_query: int = 0
    stale: int = 0
    wrong: int = 0
    """Another city, none where there is one, or a state that was never committed."""
    commits: int = 0
    rollbacks: int = 0
    rows_at_rest: int = 0
    """Rows that stood in the cache when the writer had ended, and were compared with a query of all cities."""
    stale_at_rest: int = 0

    @property
    def lookups(self) -> int:
        return len(self.nanoseconds)

    @property
    def hit_ratio(self) -> float:
        """Lookups that needed no query, of all."""
        return self.without_query / self.lookups

    @property
    def lookups_a_second(self) -> float:
        """Of one thread that does nothing but look up."""
        return self.lookups / sum(self.nanoseconds) * 1e9

    def percentile(self, percent: int) -> float:
        """Microseconds within which so many lookups were answered."""
        ordered = sorted(self.nanoseconds)
        return ordered[(len(ordered) - 1) * percent // 100] / 1000


class NaiveCache:
    """Get, or else query and set: what the control run uses. Nothing ever removes a value but its TTL."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._by_pk: set[str] = set()

    def get(self, **lookup: Any) -> City:
        """The city of a lookup, as it once was."""
        key = self._key(lookup)
        city: City | None = self._application.store.get(key)
        if city is None:
            city = self._application.get(**lookup)
            self._set(key, city, lookup)
        return city

    def warm_up(self, world: World, count: int) -> None:
        """Store the largest cities under each of their lookups."""
        for city in self._application.largest(count):
            for kind in range(3):
                lookup = lookup_of(city.id, kind, world.cities[city.id])
                self._set(self._key(lookup), city, lookup)

    def _key(self, lookup: Lookup) -> str:
        return md5(repr(sorted(lookup.items())).encode()).hexdigest()

    def _set(self, key: str, city: City, lookup: Lookup) -> None:
        self._application.store.set(key, city)
        if "id" in lookup:
            self._by_pk.add(key)

    def rows(self) -> list[City]:
        """What stands there under primary keys."""
        found = map(self._application.store.get, self._by_pk)
        return [city for city in found if city is not None]


def warm_up(application: Application, world: World, count: int) -> None:
    """Ask for the largest cities by each of their lookups, many at once.

    The caches begin a run as in an application that has been at work for a while.
    """
    pks = list(world.cities)[:count]
    states = [world.cities[pk] for pk in pks]
    application.get_many_from_cache(pks)
    application.get_many_from_cache([state.slug for state in states], key="slug")
    application.get_many_from_cache([(state.country_id, state.name) for state in states], key=("country_id", "name"))


def stream(world: World, seed: int) -> Iterator[tuple[int, int]]:
    """(primary key, kind of lookup 0 to 2) without end, the cities in proportion to their populations."""
    random = Random(seed)
    pks, weights = list(world.cities), list(accumulate(world.weights))
    while True:
        chosen = random.choices(pks, cum_weights=weights, k=CHUNK)
        yield from zip(chosen, random.choices(range(3), k=CHUNK), strict=True)


def lookup_of(pk: int, kind: int, state: Committed) -> Lookup:
    """The question by which a city is to be found."""
    if kind == 0:
        return {"id": pk}
    return {"slug": state.slug} if kind == 1 else {"country_id": state.country_id, "name": state.name}


def replay(
    name: str,
    get: Get,
    application: Application,
    world: World,
    seed: int,
    *,
    seconds: float,
    lookups: int | None,
    progress: Callable[[float], None],
    until_stale: bool = False,
) -> Outcome:
    """Look up for so many seconds, or so many times, while a writer is at work.

    until_stale: go on until an answer was stale, if need be, for up to ten times as long.
    """
    outcome = Outcome(name)
    with application.counting_queries() as queries, Writer(application, world, seed + 1) as writer:
        start = monotonic()
        for pk, kind in stream(world, seed):
            ask(get, pk, kind, writer, queries, outcome)
            share = (monotonic() - start) / seconds if lookups is None else outcome.lookups / lookups
            if share >= 1 and (outcome.stale or not until_stale or share >= 10):
                break
            if outcome.lookups % 100 == 0:
                progress(min(share, 1.0))
        progress(1.0)
    outcome.queries = queries[0]
    outcome.commits, outcome.rollbacks = writer.commits, writer.rollbacks
    return outcome


def ask(get: Get, pk: int, kind: int, writer: Writer, queries: list[int], outcome: Outcome) -> None:
    """Ask once and judge the answer."""
    queries_before = queries[0]
    ended = writer.ended[pk]  # before the state: see the order in which the writer sets them
    committed = writer.world.cities[pk]
    lookup = lookup_of(pk, kind, committed)
    start = perf_counter_ns()
    try:
        answer: City | None = get(**lookup)
    except writer.application.no_row:
        answer = None
    outcome.nanoseconds.append(perf_counter_ns() - start)
    outcome.without_query += queries[0] == queries_before
    undisturbed = writer.began[pk] == ended
    if answer is None:
        outcome.wrong += undisturbed
    elif answer.id != pk or answer.version in writer.never_committed:
        outcome.wrong += 1
    elif answer.version < committed.version:
        outcome.stale += 1
    elif undisturbed and state_of(answer) != state_of(committed):
        outcome.wrong += 1


def state_of(row: City | Committed) -> tuple[Any, ...]:
    """What is compared of a city, or of what is known of it."""
    return row.version, row.slug, row.country_id, row.name
