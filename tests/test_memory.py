"""The in-process backend beyond what every backend must do, and the one that stores nothing."""

import subprocess
import sys
from pathlib import Path

from cachecore import Cache
from cachecore.backends.memory import MemoryBackend
from cachecore.entries import Hold, Value
from tests.cities import OSLO, Cities

FORK = """
import os, threading
from cachecore import Cache

cache = Cache("memory://", namespace="shop")
cache.set("greeting", "hello")
lock = cache.backend._lock
lock.acquire()  # as if another thread were in the middle of a change
child = os.fork()
if child == 0:
    found = cache.get("greeting")
    cache.set("greeting", "hei")
    os._exit(0 if found is None and cache.get("greeting") == "hei" else 1)
lock.release()
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(status, cache.get("greeting"))
"""


def test_a_forked_child_starts_empty_and_free() -> None:
    """A child inherits no values, which nobody would outdate there, and no lock that a lost thread held."""
    done = subprocess.run(
        [sys.executable, "-c", FORK],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).resolve().parent.parent,
    )
    assert (done.stdout, done.stderr) == ("0 hello\n", "")


def test_holds_survive_any_pressure() -> None:
    """A hold is not evicted by the bounds, so that in one process a writer never loses it."""
    backend = MemoryBackend(max_entries=10)
    backend.hold(["row"], b"writer..", 15)
    backend.put([(f"other {number}", Value(b"x"), 1) for number in range(1000)], None)
    [entry] = backend.get(["row"])
    assert isinstance(entry, Hold)
    assert entry.tokens[0][0] == b"writer.."


def test_a_value_heavier_than_the_bound_is_not_stored_and_frees_the_key() -> None:
    """Too large means not cached: never an old value under the key, never an error to a reader."""
    with Cache("memory://?max_bytes=2000", namespace="shop") as cache:
        assert cache.set("page", "short")
        assert not cache.set("page", "x" * 5000)
        assert cache.get("page") is None


def test_a_row_too_heavy_to_be_stored_is_answered_and_counted() -> None:
    """A row over the bound comes from the database each time, and each time its fill counts as refused."""
    cities = Cities(rows=[(*OSLO[:3], "O" * 5000, OSLO[4])])
    with Cache("memory://?max_bytes=2000", namespace="shop") as cache:
        found = cities.records(cache)
        for reads in (1, 2):
            row = found.get(1)
            assert row is not None
            assert row[3] == "O" * 5000
            assert cache.statistics.refused_fills == reads
    cities.close()


def test_null_stores_nothing_and_breaks_nothing() -> None:
    """With null:// every row comes from the database, every value is created anew, and writes go through."""
    cities = Cities(rows=[OSLO])
    with Cache("null://", namespace="shop") as cache:
        found = cities.records(cache)
        assert [found.get(1), found.find(slug="oslo")] == [OSLO, OSLO]
        cities.asked()
        assert found.get(1) == OSLO
        assert cities.asked() == 1
        assert cache.set("greeting", "hello")
        assert cache.get("greeting") is None
        assert cache.get_or_create("greeting", lambda: "hei") == "hei"
        with cache.begin() as unit:
            unit.touch(found, 1)
            unit.commit(lambda: cities.execute("UPDATE city SET name = 'Christiania' WHERE id = 1"))
        row = found.get(1)
        assert row is not None
        assert row[3] == "Christiania"
    cities.close()
