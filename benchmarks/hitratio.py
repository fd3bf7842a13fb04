"""Hit ratios of the store's policies on synthetic traces: ``python -m benchmarks.hitratio [--quick]``.

``lru`` and ``s3fifo`` are the real store (``store.implementation`` says which). Simulated here for comparison: plain
S3-FIFO with its fixed tenth (Yang et al., SOSP 2023), SIEVE (Zhang et al., NSDI 2024) and the best possible, which
knows the future (Belady, 1966). The numbers are percent of hits over a whole trace, from an empty cache; all entries
weigh the same. The traces are seeded; ghosts depend on the hashing of str, so set PYTHONHASHSEED to repeat the last
digit.

zipf        independent requests, popularity ~ 1 / rank ** exponent
scans       zipf, and in between runs over keys that are asked for once
one-hit     zipf, and before every second request one of a key that never comes again
reshuffle   zipf whose ranks are dealt anew ten (thirty) times
drift       zipf whose ranks move on over the keys, in a hundred steps
bursts      zipf, and each key is asked for again once: within 1 / 2000 (1 / 400) of the number of keys
loop        the same keys over and over, a little or much more than fit

Exit status 1 if a target is missed.
"""

import argparse
import heapq
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from cachecore.backends import store
from cachecore.backends.store import DEFAULT_POLICY, Store

WITHIN = -2.0
"""Points the default policy may stand below LRU, on any trace."""
ABOVE = 7.0
"""Points it must stand above LRU on zipf(0.99) with room for 1 % of the keys."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests, as numbers of keys, and how many entries the caches have room for."""

    name: str
    requests: list[int]
    keys: int
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """The hit ratios, in percent, of one trace and one size of the cache."""

    trace: str
    share: float
    lru: float
    s3fifo: float
    others: tuple[float, ...]
    target: float

    @property
    def difference(self) -> float:
        return self.s3fifo - self.lru

    @property
    def met(self) -> bool:
        return self.difference >= self.target


def zipf(keys: int, exponent: float, length: int, random: Random) -> list[int]:
    """Requests for key k with a probability in proportion to 1 / (k + 1) ** exponent."""
    return random.choices(
        range(keys), cum_weights=list(accumulate((k + 1) ** -exponent for k in range(keys))), k=length
    )


def scans(base: list[int], keys: int) -> Iterator[int]:
    """After each stretch of requests a scan, a quarter as long, of keys that were never asked for."""
    stretch, fresh = keys // 5, keys
    for start in range(0, len(base), stretch):
        yield from base[start : start + stretch]
        yield from range(fresh, fresh + stretch // 4)
        fresh += stretch // 4


def one_hit(base: list[int], keys: int) -> Iterator[int]:
    """A key that never comes again before every second request."""
    for number, request in enumerate(base):
        if number % 2:
            yield keys + number
        yield request


def reshuffle(base: list[int], keys: int, phases: int, random: Random) -> Iterator[int]:
    """The ranks dealt anew at the start of each phase."""
    names = list(range(keys))
    length = -(-len(base) // phases)
    for start in range(0, len(base), length):
        random.shuffle(names)
        yield from (names[rank] for rank in base[start : start + length])


def drift(base: list[int], keys: int) -> Iterator[int]:
    """The ranks move over half of the keys, in a hundred steps."""
    for number, rank in enumerate(base):
        yield (rank + 100 * number // len(base) * keys // 200) % keys


def bursts(base: list[int], gap: int, random: Random) -> Iterator[int]:
    """Each request again, some `gap` requests later: too late for a small queue, whose second access this should be."""
    waiting: list[int] = []
    for request in base:
        yield request
        waiting.append(request)
        if len(waiting) > gap:
            yield waiting.pop(random.randrange(len(waiting)))


def traces(quick: bool) -> Iterator[Trace]:
    """The traces, each made from its own seed so that one can change without the others."""
    keys, length = (20_000, 120_000) if quick else (100_000, 1_000_000)
    base = zipf(keys, 0.99, length, Random(1))
    yield Trace("zipf 0.99", base, keys, (0.001, 0.01, 0.1))
    yield Trace("zipf 0.7", zipf(keys, 0.7, length, Random(2)), keys, (0.01, 0.1))
    yield Trace("zipf 1.2", zipf(keys, 1.2, length, Random(3)), keys, (0.01,))
    yield Trace("scans", list(scans(base, keys)), keys, (0.01, 0.1))
    yield Trace("one-hit", list(one_hit(base, keys)), keys, (0.01, 0.1))
    yield Trace("reshuffle 10", list(reshuffle(base, keys, 10, Random(4))), keys, (0.01, 0.1))
    yield Trace("reshuffle 30", list(reshuffle(base, keys, 30, Random(5))), keys, (0.03, 0.1))
    yield Trace("drift", list(drift(base, keys)), keys, (0.01, 0.03, 0.1, 0.2))
    yield Trace("bursts 1/2000", list(bursts(base[: length // 2], keys // 2000, Random(6))), keys, (0.01, 0.1))
    yield Trace("bursts 1/400", list(bursts(base[: length // 2], keys // 400, Random(6))), keys, (0.01, 0.1))
    yield Trace("loop", [number % (keys // 5) for number in range(length)], keys, (0.1, 0.19))


def stored(requests: list[int], entries: int, policy: str) -> float:
    """The hit ratio of the real store, read through: what get does not find is set."""
    cache = Store(max_entries=entries, max_bytes=2**40, policy=policy)
    names = {key: f"k{key}" for key in set(requests)}
    get, put = cache.get, cache.set
    for request in requests:
        key = names[request]
        if get(key) is None:
            put(key, True, 100, None)
    cache.check()
    return 100 * cache.stats().hits / len(requests)


def sieve(requests: list[int], entries: int) -> float:
    """SIEVE: a FIFO; a hand moves from old to new, spares what was visited since it last passed, evicts in place."""
    newer: dict[int, int | None] = {}
    older: dict[int, int | None] = {}
    visited: dict[int, bool] = {}
    newest = oldest = hand = None
    hits = 0
    for key in requests:
        if key in visited:
            visited[key] = True
            hits += 1
            continue
        if len(visited) >= entries:
            at: int | None = oldest if hand is None else hand
            while at is None or visited[at]:
                if at is None:
                    at = oldest
                else:
                    visited[at] = False
                    at = newer[at]
            hand = newer.pop(at)
            below = older.pop(at)
            del visited[at]
            if hand is None:
                newest = below
            else:
                older[hand] = below
            if below is None:
                oldest = hand
            else:
                newer[below] = hand
        visited[key], newer[key], older[key] = False, None, newest
        if newest is None:
            oldest = key
        else:
            newer[newest] = key
        newest = key
    return 100 * hits / len(requests)


def plain_s3fifo(requests: list[int], entries: int) -> float:
    """S3-FIFO as published: the small queue has a tenth, two accesses lead to the main queue, frequency up to 3."""
    small: OrderedDict[int, int] = OrderedDict()
    main: OrderedDict[int, int] = OrderedDict()
    ghosts: OrderedDict[int, None] = OrderedDict()
    share = max(1, entries // 10)
    hits = 0
    for key in requests:
        queue = small if key in small else main
        if key in queue:
            queue[key] = min(3, queue[key] + 1)
            hits += 1
            continue
        while len(small) + len(main) >= entries:
            if len(small) >= share or not main:
                victim, frequency = small.popitem(last=False)
                if frequency > 1:
                    main[victim] = 0
                else:
                    ghosts[victim] = None
                    if len(ghosts) > entries - share:
                        ghosts.popitem(last=False)
            else:
                victim, frequency = main.popitem(last=False)
                if frequency:
                    main[victim] = frequency - 1
        if key in ghosts:
            del ghosts[key]
            main[key] = 0
        else:
            small[key] = 0
    return 100 * hits / len(requests)


def best(requests: list[int], entries: int) -> float:
    """Belady's rule (1966): drop the entry whose next request is farthest away. No policy can do better."""
    never = len(requests)
    following = [never] * len(requests)
    seen: dict[int, int] = {}
    for number in range(len(requests) - 1, -1, -1):
        following[number] = seen.get(requests[number], never)
        seen[requests[number]] = number
    standing: dict[int, int] = {}
    farthest: list[tuple[int, int]] = []
    hits = 0
    for number, key in enumerate(requests):
        if key in standing:
            hits += 1
        elif len(standing) >= entries:
            while True:  # entries of the heap that were overtaken by a later request are skipped
                negative, victim = heapq.heappop(farthest)
                if standing.get(victim) == -negative:
                    del standing[victim]
                    break
        standing[key] = following[number]
        heapq.heappush(farthest, (-following[number], key))
    return 100 * hits / len(requests)


OTHERS: tuple[tuple[str, Callable[[list[int], int], float]], ...] = (
    ("plain", plain_s3fifo),
    ("sieve", sieve),
    ("best", best),
)


def rows(quick: bool) -> Iterator[Row]:
    """One row for each trace and size of the cache."""
    for trace in traces(quick):
        for share in trace.shares:
            entries = max(1, int(trace.keys * share))
            yield Row(
                trace.name,
                share,
                stored(trace.requests, entries, "lru"),
                stored(trace.requests, entries, "s3fifo"),
                tuple(simulate(trace.requests, entries) for _, simulate in OTHERS),
                ABOVE if trace.name == "zipf 0.99" and share == 0.01 else WITHIN,
            )


def main() -> int:
    """Print the table; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="Hit ratios of the store's policies, in percent.")
    parser.add_argument("--quick", action="store_true", help="small traces: seconds instead of minutes")
    quick: bool = parser.parse_args().quick
    print(f"hit ratio in percent; lru and s3fifo: the store ({store.implementation}); default {DEFAULT_POLICY}")
    head = "".join(f"{name:>8}" for name, _ in OTHERS)
    print(f"{'trace':14}{'cache':>7}{'lru':>8}{'s3fifo':>8}{'diff':>7}{'target':>8}  met {head}")
    missed = False
    for row in rows(quick):
        missed = missed or not row.met
        others = "".join(f"{ratio:8.1f}" for ratio in row.others)
        print(
            f"{row.trace:14}{row.share:7.1%}{row.lru:8.1f}{row.s3fifo:8.1f}{row.difference:+7.1f}{row.target:+8.0f}"
            f"  {'yes' if row.met else 'NO':4}{others}",
            flush=True,
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
