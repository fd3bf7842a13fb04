"""The in-process store beside a dict: the cost of a get and of a set, and what threads cost."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import cycle
from random import Random
from time import process_time

import pytest

from benchmarks.entries import ENTRIES, HOT, TTL, filled, keys_of, reading
from benchmarks.versus import Versus, timed
from cachecore.backends.store import DEFAULT_POLICY, POLICIES

GROUP = "map"
pytestmark = timed(process_time)
THREADS = 4
GETS = 400_000


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("amount", "name"), [(HOT, "hot"), (ENTRIES, "of 100,000")])
def test_get(versus: Versus, policy: str, amount: int, name: str) -> None:
    """Gets that hit, in another order than that of the sets."""
    keys = keys_of(ENTRIES)
    chosen = Random(2).sample(keys, amount)
    asked = ["".join(list(key)) for key in chosen]  # equal keys, as a caller makes them, not the stored objects
    for key in asked:
        hash(key)
    versus(
        f"get, {name}",
        reading(filled(keys, policy=policy).get, asked),
        reading(dict.fromkeys(keys, True).get, asked),
        shown=f"Store.get, {policy}",
        against="dict.get",
        target=2.5,
        better="lower",
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_set(versus: Versus, policy: str) -> None:
    """Sets of new keys into a full store, each of which evicts an entry; the OrderedDict forgets its oldest key."""
    keys = keys_of(HOT * 20)
    store, table = filled(keys, HOT, policy), OrderedDict.fromkeys(keys[-HOT:], True)
    put, turns, other_turns = store.set, _in_turns(keys), _in_turns(keys)

    def ours() -> None:
        for key in next(turns):
            put(key, True, 100, TTL)

    def reference() -> None:
        for key in next(other_turns):
            table[key] = True
            table.popitem(last=False)

    versus(
        "set of a new key, full",
        ours,
        reference,
        shown=f"Store.set, {policy}",
        against="OrderedDict, FIFO",
        better="lower",
    )


def _in_turns(keys: list[str]) -> Iterator[list[str]]:
    """A thousand keys at a time, over and over: none of them is there any more when its turn comes."""
    return cycle([keys[start : start + HOT] for start in range(0, len(keys), HOT)])


def test_threads(versus: Versus) -> None:
    """Gets a second of four threads, beside those of one."""
    store = filled(keys_of(ENTRIES))
    hot = keys_of(ENTRIES)[-HOT:]
    versus(
        "gets a second",
        in_threads(store.get, hot, THREADS),
        in_threads(store.get, hot, 1),
        shown=f"{THREADS} threads, {DEFAULT_POLICY}",
        against="1 thread",
        target=0.85,
        rounds=21,
    )


def in_threads(get: Callable[[str], object], keys: list[str], threads: int) -> Callable[[], object]:
    """A call that does GETS gets, divided among so many threads."""
    rounds = GETS // threads // len(keys)

    def work() -> None:
        for _ in range(rounds):
            for key in keys:
                get(key)

    def run() -> None:
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return run
