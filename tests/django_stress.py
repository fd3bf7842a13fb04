"""Threads that write and read Django's rows at random, and judge every answer by what was committed.

Theory of operation
-------------------
Every row has a history: the states that writers have given it, in their order, since a lock of this process lets one
writer at a time change what a history tells. A writer appends a state before it is committed, says so when the commit
has returned, and marks it when it was rolled back. A reader notes before it asks which state is known to be committed;
what it is told must be that one or a later one, and none that was rolled back. Lists, results of functions and lookups
without a row are judged row by row: a row must be there if it is so in every state it may have been in meanwhile.

One column, ``kind``, is changed past those locks, by statements that meet others in the database. It is judged between
the rounds, when nobody writes: then everything that the cache says must be what the database says.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connection, connections, transaction

from cachecore.integrations.django.depends_on import DependsOn
from cachecore.integrations.django.functions import CachedFunction, cached_function
from tests.geo_app.models import Line, Stop

KINDS = ("tram", "bus", "boat")
SLUGS = 3
"""How many slugs each row may have."""

GARBAGE = -1
"""The version of what is never committed."""


@dataclass
class State:
    """What one writer has made of a row."""

    version: int
    line: int
    slug: str
    there: bool = True
    is_rolled_back: bool = False


class _ChangedOurMind(Exception):
    pass


class Row:
    """One primary key and its history."""

    def __init__(self, pk: int, line: int) -> None:
        self.pk = pk
        self.lock = threading.Lock()
        self.states = [State(0, line, f"s{pk}-0")]
        self.committed = 0
        """Index of the last state whose commit has returned."""

    @property
    def now(self) -> State:
        """The last committed state; for whoever has the lock."""
        return self.states[self.committed]


class World:
    """The rows, what was done to them and what was wrong."""

    def __init__(self, rows: int = 12, lines: int = 3) -> None:
        self.lines = [line.pk for line in (Line.objects.create(name=f"l{n}") for n in range(lines))]
        self.rows = {pk: Row(pk, self.lines[pk % lines]) for pk in range(1, rows + 1)}
        for row in self.rows.values():
            Stop.objects.create(pk=row.pk, slug=row.now.slug, line_id=row.now.line, kind="tram", position=0)
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self.stopped = threading.Event()
        self._counting = threading.Lock()
        self._version = 0
        self.pids: dict[int, int] = {}
        """The server processes of the writers, by thread."""
        self.function: CachedFunction[[int], list[tuple[int, int]]] = cached_function(
            DependsOn(Stop, "line"), name="stress"
        )(self._of_line)

    @staticmethod
    def _of_line(line: int) -> list[tuple[int, int]]:
        return [*Stop.objects.filter(line_id=line).order_by("pk").values_list("pk", "position")]

    def count(self, name: str, number: int = 1) -> None:
        """Count something that was done."""
        with self._counting:
            self.counts[name] += number

    def next_version(self) -> int:
        """A number that was never given."""
        with self._counting:
            self._version += 1
            return self._version

    # -- judging -----------------------------------------------------------------------------------

    def floors(self) -> dict[int, int]:
        """Which states are known to be committed."""
        return {pk: row.committed for pk, row in self.rows.items()}

    def window(self, pk: int, floor: int) -> list[State]:
        """The states that a read may have met which began at ``floor`` and has ended."""
        return self.rows[pk].states[floor:]

    def judge_row(self, how: str, pk: int, floor: int, found: Stop | None) -> None:
        """Whether a row, or none, is an answer that may be given."""
        window = self.window(pk, floor)
        if found is None:
            if all(state.there for state in window):
                self.wrong(how, pk, window, None)
            return
        fitting = [state for state in window if state.there and state.version == found.position]
        if not any(state.slug == found.slug and state.line == found.line_id for state in fitting):
            self.wrong(how, pk, window, (found.position, found.slug, found.line_id))
        elif all(state.is_rolled_back for state in fitting):
            self.wrong(f"{how}, rolled back", pk, window, found.position)

    def judge_list(self, how: str, line: int, floors: dict[int, int], found: dict[int, int]) -> None:
        """Whether primary keys with their versions may be the rows of a line."""
        for pk, floor in floors.items():
            window = self.window(pk, floor)
            if pk in found:
                fits = [one for one in window if one.there and one.line == line and one.version == found[pk]]
                if not fits or all(one.is_rolled_back for one in fits):
                    self.wrong(how, pk, window, (line, found[pk]))
            elif all(state.there and state.line == line for state in window):
                self.wrong(f"{how}, missing", pk, window, line)

    def wrong(self, how: str, pk: int, window: Sequence[State], found: object) -> None:
        """Note a wrong answer."""
        self.count("wrong")
        self.errors.append(f"{how}: row {pk} was {found}, but might be {list(window)}")

    def judge_all(self) -> None:
        """Nobody writes: the cache must say what the database says, of everything and twice."""
        for _ in range(2):
            there = {stop.pk: stop for stop in Stop.objects.all()}
            for pk, row in self.rows.items():
                stop = there.get(pk)
                self._same(f"row {pk}", _get(pk=pk), stop)
                for n in range(SLUGS):
                    slug = f"s{pk}-{n}"
                    self._same(f"slug {slug}", _get(slug=slug), stop if stop and stop.slug == slug else None)
                now = row.now
                if (stop is not None) != now.there or (stop is not None and stop.position != now.version):
                    self.errors.append(f"the history of row {pk} says {now}, the database {stop and stop.position}")
            for line in self.lines:
                mine = [stop for stop in there.values() if stop.line_id == line]
                cached = Stop.objects.get_list_from_cache(line=line)
                self._same(f"list {line}", _all(cached), _all(mine))
                for kind in KINDS:
                    cached = Stop.objects.get_list_from_cache(line=line, kind=kind)
                    self._same(f"list {line} {kind}", _all(cached), _all(one for one in mine if one.kind == kind))
                self._same(f"function {line}", self.function(line), sorted((one.pk, one.position) for one in mine))

    def _same(self, what: str, found: Any, right: Any) -> None:
        self.count("judged at rest")
        plain = [_plain(one) if isinstance(one, Stop) else one for one in (found, right)]
        if plain[0] != plain[1]:
            self.count("wrong")
            self.errors.append(f"at rest, {what}: {plain[0]} is in the cache, {plain[1]} in the database")

    # -- a round -----------------------------------------------------------------------------------

    def run(self, seconds: float, seed: int, *, writers: int = 4, readers: int = 4, killer: bool = True) -> None:
        """Let threads write and read, then judge what they have left."""
        self.stopped.clear()
        actors: list[Callable[[], None]] = [Writer(self, seed * 100 + n).run for n in range(writers)]
        actors += [Reader(self, seed * 100 + 50 + n).run for n in range(readers)]
        if killer:
            actors.append(lambda: self._kill(random.Random(seed)))
        threads = [threading.Thread(target=self._guarded, args=(actor,), daemon=True) for actor in actors]
        for thread in threads:
            thread.start()
        self.stopped.wait(seconds)
        self.stopped.set()
        for thread in threads:
            thread.join(60)
            if thread.is_alive():
                self.errors.append("a thread hangs")
        if not self.errors:
            self.judge_all()

    def _guarded(self, actor: Callable[[], None]) -> None:
        try:
            actor()
        except BaseException as error:
            self.errors.append(f"{type(error).__name__}: {error}")
            raise
        finally:
            connections.close_all()

    def _kill(self, chance: random.Random) -> None:
        """Now and then end a server process in the middle of what it does."""
        while not self.stopped.wait(chance.uniform(0.1, 1.0)):
            pids = list(self.pids.values())
            if pids:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_terminate_backend(%s)", [chance.choice(pids)])
                self.count("connections killed")


def _plain(stop: Stop) -> tuple[Any, ...]:
    return stop.pk, stop.slug, stop.line_id, stop.kind, stop.position


def _all(stops: Any) -> list[tuple[Any, ...]]:
    return sorted(map(_plain, stops))


def _get(**query: Any) -> Stop | None:
    with suppress(Stop.DoesNotExist):
        return Stop.objects.get_from_cache(**query)
    return None


def _sql(sql: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


class Writer:
    """Changes rows in every way there is."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)

    def run(self) -> None:
        """Until the world is stopped."""
        with connection.execute_wrapper(self._dawdle):
            self._run()

    def _dawdle(self, send: Any, sql: str, *rest: Any) -> Any:
        """Now and then let others go first, between what was asked or held for a statement and the statement."""
        if not sql.startswith("SELECT") and self._chance.random() < 0.3:
            time.sleep(self._chance.uniform(0, 0.01))
        return send(sql, *rest)

    def _run(self) -> None:
        while not self._world.stopped.is_set():
            what = self._chance.random()
            try:
                self._note_connection()
                if what < 0.35:
                    self._race()
                elif what < 0.6:
                    self._change([self._chance.choice(list(self._world.rows))], within=False)
                else:
                    pks = self._chance.sample(list(self._world.rows), self._chance.randint(1, 3))
                    self._change(sorted(pks), within=True)
            except (OperationalError, InterfaceError) as error:
                self._world.count(f"failed: {_kind_of(error)}")
                connection.close()
            time.sleep(self._chance.expovariate(1 / 0.002))

    def _note_connection(self) -> None:
        connection.ensure_connection()
        self._world.pids[threading.get_ident()] = connection.connection.info.backend_pid

    # -- what the history tells --------------------------------------------------------------------

    def _change(self, pks: Sequence[int], *, within: bool) -> None:
        world = self._world
        with ExitStack() as locks:
            rows = [world.rows[pk] for pk in pks]
            for row in rows:
                locks.enter_context(row.lock)
            pid = connection.connection.info.backend_pid
            changed: dict[Row, State] = {}
            try:
                with transaction.atomic() if within else nullcontext():
                    for row in rows:
                        self._write(row, changed, within)
                    if within:
                        self._look_around(changed)
                    if within and self._chance.random() < 0.2:
                        raise _ChangedOurMind
            except _ChangedOurMind:
                for state in changed.values():
                    state.is_rolled_back = True
                world.count("rollbacks")
            except DatabaseError as error:
                self._find_out(changed, pid, error)
                raise
            else:
                for row in changed:
                    row.committed = len(row.states) - 1
                world.count("commits")

    def _find_out(self, changed: dict[Row, State], pid: int, error: DatabaseError) -> None:
        """The connection was lost, perhaps, and with it the answer to COMMIT: when it is over, ask."""
        connection.close()
        sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
        while True:
            with connection.cursor() as cursor:
                cursor.execute(sql, [pid])
                if cursor.fetchone() == (0,):
                    break
            time.sleep(0.005)
        for row, state in changed.items():
            stop = Stop.objects.filter(pk=row.pk).first()
            is_there = stop is None if not state.there else stop is not None and stop.position == state.version
            if is_there:
                row.committed = row.states.index(state)
                self._world.count("committed without an answer")
            else:
                state.is_rolled_back = True

    def _write(self, row: Row, changed: dict[Row, State], within: bool) -> None:
        now, chance = row.now, self._chance
        state = State(self._world.next_version(), now.line, now.slug)
        if not now.there:
            state.line, state.slug = chance.choice(self._world.lines), self._slug(row)
            self._issue(row, state, changed)
            self._create(row, state)
            return
        if within and chance.random() < 0.2:
            with suppress(_ChangedOurMind), transaction.atomic():
                Stop.objects.filter(pk=row.pk).update(position=GARBAGE, line=chance.choice(self._world.lines))
                _get(pk=row.pk)
                raise _ChangedOurMind
        if chance.random() < 0.12:
            state.there = False
            self._issue(row, state, changed)
            self._delete(row)
            return
        if chance.random() < 0.4:
            state.line = chance.choice(self._world.lines)
        if chance.random() < 0.25:
            state.slug = self._slug(row)
        self._issue(row, state, changed)
        self._update(row, state)

    def _issue(self, row: Row, state: State, changed: dict[Row, State]) -> None:
        row.states.append(state)
        changed[row] = state

    def _slug(self, row: Row) -> str:
        return f"s{row.pk}-{self._chance.randrange(SLUGS)}"

    def _create(self, row: Row, state: State) -> None:
        values = {"slug": state.slug, "line_id": state.line, "position": state.version, "kind": "tram"}
        ways: list[Callable[[], object]] = [
            lambda: Stop.objects.create(pk=row.pk, **values),
            lambda: Stop.objects.bulk_create([Stop(pk=row.pk, **values)]),
            lambda: Stop(pk=row.pk, **{**values, "line_id": str(state.line)}).save(force_insert=True),
            lambda: Stop.objects.update_or_create(pk=row.pk, defaults=values),
            lambda: _sql(
                "INSERT INTO geo_app_stop (id, slug, line_id, kind, position) VALUES (%s, %s, %s, 'tram', %s)",
                row.pk, state.slug, state.line, state.version,
            ),
        ]  # fmt: skip
        self._chance.choice(ways)()

    def _delete(self, row: Row) -> None:
        ways: list[Callable[[], object]] = [
            lambda: Stop.objects.filter(pk=row.pk).delete(),
            lambda: Stop(pk=row.pk).delete(),
            lambda: Stop.objects.filter(slug__startswith=f"s{row.pk}-").delete(),
            lambda: _sql("DELETE FROM geo_app_stop WHERE id = %s", row.pk),
        ]
        self._chance.choice(ways)()

    def _update(self, row: Row, state: State) -> None:
        values = {"slug": state.slug, "line_id": state.line, "position": state.version}
        mine = Stop.objects.filter(pk=row.pk)
        ways: list[Callable[[], object]] = [
            lambda: Stop(pk=row.pk, kind=self._chance.choice(KINDS), **values).save(force_update=True),
            lambda: Stop(pk=row.pk, **values).save(update_fields=["slug", "line", "position"]),
            lambda: mine.update(**values),
            lambda: Stop.objects.filter(slug__startswith=f"s{row.pk}-").update(**values),
            lambda: Stop.objects.bulk_update([Stop(pk=row.pk, **values)], ["slug", "line", "position"]),
            lambda: Stop.objects.update_or_create(pk=row.pk, defaults=values),
            lambda: mine.update(**{**values, "line_id": str(state.line)}),
            lambda: _sql(
                "/* a */ UPDATE geo_app_stop SET slug = %s, line_id = %s, position = %s WHERE id = %s",
                state.slug, state.line, state.version, row.pk,
            ),
        ]  # fmt: skip
        self._chance.choice(ways)()

    def _look_around(self, changed: dict[Row, State]) -> None:
        """In the transaction: its own writes are seen, and nothing of them by others."""
        if self._chance.random() < 0.3:
            time.sleep(self._chance.uniform(0, 0.02))
        for row, state in changed.items():
            if self._chance.random() < 0.5:
                found = _get(pk=row.pk)
                self._world.count("own reads")
                if (found.position if found else None) != (state.version if state.there else None):
                    self._world.wrong("own write", row.pk, [state], found and found.position)
                _get(slug=state.slug)
                Stop.objects.get_list_from_cache(line=state.line)
                self._world.function(state.line)

    # -- what it does not tell ---------------------------------------------------------------------

    def _race(self) -> None:
        """Statements that meet those of others in the database."""
        chance, kind = self._chance, self._chance.choice(KINDS)
        line, pk = chance.choice(self._world.lines), chance.choice(list(self._world.rows))
        ways: list[Callable[[], object]] = [
            lambda: Stop.objects.filter(pk=pk).update(kind=kind),
            lambda: Stop.objects.filter(line=line).update(kind=kind),
            lambda: Stop.objects.filter(line=line, kind="bus").update(kind=kind),
            lambda: Stop.objects.filter(pk=pk).first() and Stop(pk=pk, kind=kind).save(update_fields=["kind"]),
            lambda: _sql("UPDATE geo_app_stop SET kind = %s WHERE line_id = %s", kind, line),
        ]
        try:
            with transaction.atomic() if chance.random() < 0.5 else nullcontext():
                chance.choice(ways)()
        except (OperationalError, InterfaceError):
            raise
        except DatabaseError:
            self._world.count("races for a row that was gone")
        self._world.count("races")


def _kind_of(error: BaseException) -> str:
    state = getattr(error.__cause__, "sqlstate", None)
    return {"40P01": "deadlock", "57P01": "killed"}.get(str(state), "lost")


class Reader:
    """Asks in every way there is."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)

    def run(self) -> None:
        """Until the world is stopped."""
        while not self._world.stopped.is_set():
            within = self._chance.random()
            if within < 0.7:
                self._read()
            else:
                with transaction.atomic():
                    if within < 0.8:
                        _sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    floors = self._world.floors()
                    for _ in range(3):
                        self._read(floors if within < 0.8 else None)

    def _read(self, floors: dict[int, int] | None = None) -> None:
        world, chance = self._world, self._chance
        floors = floors or world.floors()
        pks = list(world.rows)
        what, pk, line = chance.random(), chance.choice(pks), chance.choice(world.lines)
        world.count("reads")
        if what < 0.25:
            world.judge_row("by primary key", pk, floors[pk], _get(pk=pk))
        elif what < 0.5:
            self._by_slug(pk, f"s{pk}-{chance.randrange(SLUGS)}", floors[pk])
        elif what < 0.6:
            some = chance.sample(pks, 5)
            found = {stop.pk: stop for stop in Stop.objects.get_many_from_cache(some)}
            for one in some:
                world.judge_row("many", one, floors[one], found.get(one))
        elif what < 0.75:
            stops = Stop.objects.get_list_from_cache(line=line)
            world.judge_list("list", line, floors, {stop.pk: stop.position for stop in stops})
        elif what < 0.8:
            lists = Stop.objects.get_lists_from_cache(world.lines, key="line")
            for one, some_stops in zip(world.lines, lists, strict=True):
                world.judge_list("lists", one, floors, {stop.pk: stop.position for stop in some_stops})
        elif what < 0.95:
            for kind in KINDS:  # judged at rest
                Stop.objects.get_list_from_cache(line=line, kind=kind)
        else:
            world.judge_list("function", line, floors, dict(world.function(line)))

    def _by_slug(self, pk: int, slug: str, floor: int) -> None:
        world = self._world
        found = _get(slug=slug)
        if found is not None:
            if found.slug != slug or found.pk != pk:
                world.wrong("by slug", pk, [], (found.pk, found.slug))
            else:
                world.judge_row("by slug", pk, floor, found)
        elif all(state.there and state.slug == slug for state in world.window(pk, floor)):
            world.wrong("by slug, missing", pk, world.window(pk, floor), None)
