"""What an entry takes in memory, beyond its key and its value, and a tracked instance beyond one that is not."""

import subprocess
import sys
import tracemalloc
from time import process_time
from typing import Any

import pytest

from benchmarks.app.models import Row, SeedRow
from benchmarks.entries import ENTRIES, filled, keys_of
from benchmarks.versus import Versus, timed
from cachecore.backends.store import implementation

GROUP = "memory"
pytestmark = timed(process_time)


def test_resident(versus: Versus) -> None:
    """What a process grows by."""
    versus.value(
        "an entry, resident",
        lambda: [resident_bytes() for _ in range(5)],
        shown="Store",
        against="key and value alone",
        unit="bytes",
        target=110,
    )


@pytest.mark.skipif(implementation != "cython", reason="only the compiled store counts its arrays")
def test_counted(versus: Versus) -> None:
    """What the store counts itself, at the size that is worst for it."""
    versus.value(
        "an entry, arrays at their fullest",
        lambda: [counted_bytes()],
        shown="Store",
        against="key and value alone",
        unit="bytes",
        target=110,
    )


@pytest.mark.usefixtures("rows")
def test_tracked(versus: Versus) -> None:
    """What the snapshot of an instance takes: three columns that the instance has as well."""

    def taken(model: Any) -> float:
        list(model.objects.all())
        tracemalloc.start()
        instances = list(model.objects.all())
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size / len(instances)

    versus.value(
        "an instance, tracked",
        lambda: [taken(Row) - taken(SeedRow)],
        shown="Row",
        against="the same, not tracked",
        unit="bytes",
    )


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
from benchmarks.entries import ENTRIES, filled, keys_of

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
