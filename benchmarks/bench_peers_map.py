"""Our in-process store beside the maps that others offer; `benchmarks.peers.maps` says what each does and does not.

A get is by an equal key that is not the stored object. Where another is faster, it stands in the table as it is.
"""

import threading
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import cycle
from random import Random
from time import perf_counter, process_time

import pytest

from benchmarks.measure import Call
from benchmarks.peers import needs
from benchmarks.peers.maps import OTHERS, Map, Ours, copies, keys_of
from benchmarks.peers.resident import resident_bytes
from benchmarks.versus import Versus, timed

GROUP = "peers-map"
pytestmark = timed(process_time)

ENTRIES = 100_000
HOT = 1_000
SMALL = 10_000
LIMIT = SMALL + 100
"""Some maps let a few more wait for a moment before they evict."""
THREADS = 4
TIMES = 30

ALONE = [kind for kind in OTHERS if kind.name != "cachetools TTLCache, RLock"]
"""Those that one thread uses."""


@cache
def keys() -> list[str]:
    """Those of all maps."""
    return keys_of(ENTRIES)


@cache
def filled(kind: type[Map]) -> Map:
    """A map that has room for all keys and holds them all, which later benchmarks only read."""
    needs(kind.distribution)
    found = kind(ENTRIES)
    found.fill(keys())
    return found


def chosen() -> list[str]:
    """The hot keys, as a caller makes them."""
    return copies(Random(2).sample(keys(), HOT))


@pytest.mark.parametrize("kind", ALONE, ids=lambda kind: kind.__name__)
def test_hit(versus: Versus, kind: type[Map]) -> None:
    """A thousand gets that hit, of a thousand hot keys among 100,000."""
    ours, other, asked = filled(Ours), filled(kind), chosen()
    assert [ours.value(key) for key in asked] == [other.value(key) for key in asked] == asked
    versus("get, hit", ours.hits(asked), other.hits(asked), shown=ours.name, against=other.name)


@pytest.mark.parametrize("kind", [kind for kind in ALONE if kind.asked], ids=lambda kind: kind.__name__)
def test_miss(versus: Versus, kind: type[Map]) -> None:
    """A thousand gets that miss; a function that remembers has none, for it makes what it does not know."""
    ours, other = filled(Ours), filled(kind)
    asked = keys_of(HOT, seed=3)
    assert not any(ours.value(key) or other.value(key) for key in asked)
    versus("get, miss", ours.misses(asked), other.misses(asked), shown=ours.name, against=other.name)


@pytest.mark.parametrize("kind", ALONE, ids=lambda kind: kind.__name__)
def test_set(versus: Versus, kind: type[Map]) -> None:
    """A thousand sets of keys that are new to a full map of 10,000: they come round again after ten times as many."""
    needs(kind.distribution)
    ours, other = Ours(SMALL), kind(SMALL)
    for one in (ours, other):
        one.fill(keys())
        assert len(one) <= LIMIT
    versus("set, evicting", ours.sets(turns()), other.sets(turns()), shown=ours.name, against=other.name)
    assert max(len(ours), len(other)) <= LIMIT


def turns() -> Iterator[Sequence[str]]:
    """All keys, a thousand at a time, again and again."""
    return cycle([keys()[start : start + HOT] for start in range(0, ENTRIES, HOT)])


@pytest.mark.parametrize("kind", [kind for kind in OTHERS if kind.shared], ids=lambda kind: kind.__name__)
@timed(perf_counter)
def test_hit_in_threads(versus: Versus, kind: type[Map]) -> None:
    """Four threads that each get the hot keys thirty times from a map they share, where its documentation lets them."""
    ours, other, asked = filled(Ours), filled(kind), chosen()
    versus(
        f"get, hit, {THREADS} threads",
        in_threads(ours.hits(asked)),
        in_threads(other.hits(asked)),
        shown=ours.name,
        against=other.name,
    )


def in_threads(call: Call) -> Call:
    """A call that runs ``call`` thirty times in each of four threads."""

    def work() -> None:
        for _ in range(TIMES):
            call()

    def run() -> None:
        workers = [threading.Thread(target=work) for _ in range(THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return run


@cache
def bytes_of_ours() -> float:
    """Resident bytes an entry of our store."""
    return resident_bytes(Ours, ENTRIES)


@pytest.mark.parametrize("kind", ALONE, ids=lambda kind: kind.__name__)
def test_bytes(versus: Versus, kind: type[Map]) -> None:
    """The bytes of an entry beyond key and value: how many of ours go into one of the other's."""
    needs(kind.distribution)
    versus.value(
        "bytes an entry",
        lambda: [bytes_of_ours() / resident_bytes(kind, ENTRIES)],
        shown=Ours.name,
        against=kind.name,
        unit="x",
    )
