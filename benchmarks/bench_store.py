"""The store beside a dict: the cost of a get, bytes an entry, and what threads cost.

``figures()`` is the table of ``python -m benchmarks store``; ``pytest benchmarks/bench_store.py`` times the single
operations. Hit ratios have a command of their own, ``python -m benchmarks.hitratio``.
"""

import subprocess
import sys
import threading
from collections.abc import Callable
from random import Random
from statistics import median
from typing import Any

import pytest

from benchmarks.measure import Figure, Ratio, compare
from cachecore.backends.store import DEFAULT_POLICY, POLICIES, Store, implementation

ENTRIES = 100_000
HOT = 1_000
TTL = 3600.0
THREADS = 4
GETS = 400_000


def keys_of(count: int, seed: int = 1) -> list[str]:
    """Keys like those of make_key: a prefix, an entity and 32 hexadecimal digits."""
    random = Random(seed)
    return [f"shop:shop.City:{random.getrandbits(128):032x}" for _ in range(count)]


def filled(keys: list[str], entries: int = ENTRIES, policy: str = DEFAULT_POLICY) -> Store:
    """A store that went through all keys; entries of a ttl, as a cache's are."""
    store = Store(max_entries=entries, max_bytes=2**40, policy=policy)
    for key in keys:
        store.set(key, key, 100, TTL)
    return store


def reading(get: Callable[[str], object], keys: list[str]) -> Callable[[], object]:
    """A call that gets every key once."""

    def run() -> None:
        for key in keys:
            get(key)

    return run


def counted_bytes() -> float:
    """Bytes an entry of the compiled store's arrays, which it counts itself, beyond key and value.

    The most over sizes on both sides of where the arrays grow, each after a quarter more keys than fit.
    """
    sizes = (10_000, 49_153, 98_304, 98_305, ENTRIES, 131_072)
    return max(sys.getsizeof(filled(keys_of(size * 5 // 4), size)) / size for size in sizes)


def resident_bytes() -> float:
    """Bytes an entry by which the resident memory of a fresh process grows; keys and values were there before."""
    program = """
import gc, os
from benchmarks.bench_store import ENTRIES, filled, keys_of

def resident():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

keys = keys_of(ENTRIES * 5 // 4)
filled(keys[:10])
before = resident()
store = filled(keys)
print((resident() - before) / len(store))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)


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


def figures() -> list[Figure]:
    """The store's lines of the table."""
    keys = keys_of(ENTRIES)
    table = dict.fromkeys(keys, True)
    found: list[Figure] = []
    for policy in POLICIES:
        store = filled(keys, policy=policy)
        for amount, name in ((HOT, "hot"), (ENTRIES, "of 100,000")):
            chosen = Random(2).sample(keys, amount)
            for key in chosen:
                hash(key)
            asked = ["".join(list(key)) for key in chosen]  # equal keys, as a caller makes them, not the stored objects
            ratio = compare(reading(store.get, asked), reading(table.get, asked)).inverse()
            found.append(Figure("store", f"get, {name}", f"Store.get, {policy}", "dict.get", ratio, 2.5, "lower"))
    store = filled(keys)
    hot = keys[-HOT:]
    ratio = compare(in_threads(store.get, hot, THREADS), in_threads(store.get, hot, 1), rounds=21)
    found.append(Figure("store", "gets a second", f"{THREADS} threads", "1 thread", ratio, 0.85))
    sizes = {"resident": median(resident_bytes() for _ in range(5))}
    if implementation == "cython":
        sizes["arrays, fullest"] = counted_bytes()
    for name, size in sizes.items():
        exact = Ratio(size, size, size)
        found.append(Figure("store", f"bytes an entry, {name}", "Store", "key and value alone", exact, 110, "lower"))
    return found


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.benchmark(group="store-get")
def test_get(benchmark: Any, policy: str) -> None:
    """A thousand gets that hit."""
    keys = keys_of(HOT)
    benchmark(reading(filled(keys, policy=policy).get, keys))


@pytest.mark.benchmark(group="store-get")
def test_dict_get(benchmark: Any) -> None:
    """The reference: a thousand dict.get."""
    keys = keys_of(HOT)
    benchmark(reading(dict.fromkeys(keys, True).get, keys))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.benchmark(group="store-set")
def test_set_with_eviction(benchmark: Any, policy: str) -> None:
    """A thousand sets of new keys into a full store."""
    keys = keys_of(HOT * 20)
    store = filled(keys, HOT, policy)

    def run() -> None:
        for key in keys[:HOT]:
            store.set(key, True, 100, TTL)
        keys.extend(keys[:HOT])
        del keys[:HOT]

    benchmark(run)


if __name__ == "__main__":
    from benchmarks.measure import table

    print(table(figures()))
