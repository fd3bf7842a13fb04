"""Plain values under the caller's own keys."""

import enum
import math
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from cachecore import Cache, Policy
from cachecore.backends.memory import MemoryBackend
from cachecore.errors import BackendError, BackendTimeout, ClosedError, InvalidKey, UnsupportedValue
from cachecore.testing import FakeBackend, ManualClock

NOBODY = object()


# -- get, set, delete ------------------------------------------------------------------------------

VALUES: list[Any] = [
    None, True, False, 0, -1, 2**63, -(2**200), 1.5, -0.0, math.inf, "", "Ålesund", b"", b"\xff", [], [1, [2, "3"]], {},
    {"a": [1, {"b": None}]}, {1: "int key"}, {(1, 2): {3}}, (), (1, (2,)), {1, 2}, frozenset({3}), date(2024, 2, 29),
    datetime(2024, 5, 1, 12, tzinfo=UTC), datetime(2024, 5, 1, 12), time(23, 59), timedelta(days=-1, microseconds=1),
    Decimal("1.10"), UUID(int=5),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_equal_and_of_the_same_type(cache: Cache, value: Any) -> None:
    """What was set is what is got, to the type, at every level."""
    assert cache.set("key", value)
    found = cache.get("key", default=NOBODY)
    assert found == value
    assert repr(found) == repr(value)
    assert type(found) is type(value)


def test_a_missing_value_is_the_default(cache: Cache) -> None:
    """Where nothing stands the answer is the default, None unless given; a stored None is no missing value."""
    assert cache.get("key") is None
    assert cache.get("key", default=NOBODY) is NOBODY
    cache.set("key", None)
    assert cache.get("key", default=NOBODY) is None


def test_delete_removes_a_value_and_tells_whether_there_was_one(cache: Cache) -> None:
    """A deleted value is gone, and deleting it again says False."""
    cache.set("key", 1)
    assert cache.delete("key") is True
    assert cache.get("key", default=NOBODY) is NOBODY
    assert cache.delete("key") is False


def test_many_are_got_in_the_order_asked_without_those_that_do_not_exist(cache: Cache) -> None:
    """get_many returns what exists, by key, in the order of the question, duplicates merged."""
    assert cache.set_many({"a": 1, "b": None, "c": [3]}) == []
    assert list(cache.get_many(["c", "nosuch", "a", "b", "c"]).items()) == [("c", [3]), ("a", 1), ("b", None)]
    assert cache.delete_many(["a", "b", "nosuch"]) == 2
    assert cache.get_many(iter(["a", "b", "c"])) == {"c": [3]}
    assert cache.get_many([]) == {}
    assert cache.set_many({}) == []
    assert cache.delete_many([]) == 0


def test_many_values_cost_one_round_trip(remote: Cache, server: FakeBackend) -> None:
    """set_many, get_many and delete_many are one operation each, for any number of keys."""
    names = [f"key {number}" for number in range(100)]
    remote.set_many(dict.fromkeys(names, 1))
    assert len(remote.get_many(names)) == 100
    remote.delete_many(names)
    assert server.operations() == ["put", "get", "forget"]


def test_a_stored_mutable_is_never_shared(cache: Cache) -> None:
    """Neither changing what was set nor changing what was got changes what is stored."""
    value = {"tags": ["a"]}
    cache.set("key", value)
    value["tags"].append("b")
    cache.get("key")["tags"].append("c")
    created = cache.get_or_create("other", lambda: [1])
    created.append(2)
    assert cache.get("key") == {"tags": ["a"]}
    assert cache.get("other") == [1]


# -- versions, namespaces, secrets -----------------------------------------------------------------


def test_versions_of_a_key_are_apart(cache: Cache) -> None:
    """A version neither sees, nor overwrites, nor deletes another; None means the cache's own, 1."""
    for version in (None, 2, "2", "beta"):
        cache.set("key", repr(version), version=version)
    assert [cache.get("key", version) for version in (1, 2, "2", "beta")] == ["None", "2", "'2'", "'beta'"]
    assert cache.delete("key", version=2)
    assert cache.get_many(["key"], version=2) == {}
    assert cache.get("key") == "None"
    assert cache.get_or_create("key", lambda: "made", version=3) == "made"
    assert cache.get("key", version=3) == "made"
    assert cache.gets("key", version=4) == (None, None)


def test_the_version_of_a_cache_is_the_default(clock: ManualClock) -> None:
    """A cache of another version sees none of the first one's values."""
    backend = MemoryBackend(clock=clock)
    old, new = Cache(backend, namespace="shop"), Cache(backend, namespace="shop", version="2024")
    old.set("key", 1)
    assert new.get("key") is None
    assert new.get("key", version=1) == 1


def test_namespaces_and_secrets_are_apart(server: FakeBackend) -> None:
    """Caches of other namespaces or secrets on the same server share no key."""
    caches = [Cache(server, namespace="shop"), Cache(server, namespace="blog")]
    caches += [Cache(server, namespace="shop", secret=secret) for secret in (b"one", b"two")]
    for number, cache in enumerate(caches):
        cache.set("key", number)
    assert [cache.get("key") for cache in caches] == [0, 1, 2, 3]
    assert len(server.snapshot()) == 4


def test_plain_values_and_rows_are_apart(cache: Cache) -> None:
    """No plain key can reach what belongs to an entity, whatever it is called."""
    records = cache.entity("#value", {"id": str, "n": int}, load=lambda ids: [(id, 7) for id in ids])
    assert records.get("key") == ("key", 7)
    assert cache.get("key", default=NOBODY) is NOBODY
    cache.set("key", 8)
    assert records.get("key") == ("key", 7)


@pytest.mark.parametrize("key", [None, 1, b"key", ("a",)])
def test_a_key_that_is_no_str_is_refused(cache: Cache, key: Any) -> None:
    """Every call refuses a key that is not a str, naming it."""
    calls: list[Any] = [
        lambda: cache.get(key), lambda: cache.get_many([key]), lambda: cache.set(key, 1), lambda: cache.delete(key),
        lambda: cache.gets(key), lambda: cache.cas(key, 1, b"x" * 8), lambda: cache.get_or_create(key, lambda: 1),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(InvalidKey) as caught:
            call()
        assert repr(key) in str(caught.value)


# -- lifetimes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ttl", "lives", "dies"),
    [(None, 299, 301), (10, 9, 11), (0.5, 0.4, 0.6), (timedelta(minutes=1), 59, 61), (math.inf, 10**9, None)],
)
def test_a_value_lives_for_its_ttl(
    cache: Cache, clock: ManualClock, ttl: Any, lives: float, dies: float | None
) -> None:
    """Seconds, a timedelta, for ever, or by default the cache's 300 seconds; by every call that stores."""
    cache.set("set", 1, ttl)
    cache.set("cas", 0)
    assert cache.cas("cas", 1, cache.gets("cas")[1], ttl)
    cache.get_or_create("create", lambda: 1, ttl)
    names = ["set", "cas", "create"]
    clock.advance(lives)
    assert cache.get_many(names) == dict.fromkeys(names, 1)
    if dies is not None:
        clock.advance(dies - lives)
        assert cache.get_many(names) == {}


def test_a_cache_without_ttl_keeps_values_until_they_are_evicted(clock: ManualClock) -> None:
    """``ttl=None`` of the cache means no expiry, and a call's own ttl still counts."""
    with Cache(MemoryBackend(clock=clock), namespace="shop", ttl=None) as cache:
        cache.set_many({"a": 1})
        cache.set("b", 2, ttl=5)
        clock.advance(10**9)
        assert cache.get_many(["a", "b"]) == {"a": 1}


@pytest.mark.parametrize("ttl", [0, -1, -0.5, math.nan, True, False, "60", timedelta(0), timedelta(seconds=-1)])
def test_a_wrong_ttl_is_refused_and_the_old_value_kept(cache: Cache, ttl: Any) -> None:
    """A ttl that is not positive, or no number, is refused with its value, and nothing is stored."""
    cache.set("key", "old")
    _, token = cache.gets("key")
    calls: list[Any] = [
        lambda: cache.set("key", 1, ttl), lambda: cache.set_many({"key": 1}, ttl),
        lambda: cache.cas("key", 1, token, ttl), lambda: cache.get_or_create("new", lambda: 1, ttl),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(UnsupportedValue, match="ttl must be") as caught:
            call()
        assert repr(ttl) in str(caught.value)
    assert cache.get_many(["key", "new"]) == {"key": "old"}


# -- compare and set -------------------------------------------------------------------------------


def test_cas_stores_only_if_nobody_has_since_gets(cache: Cache) -> None:
    """The token of gets works once, until somebody else stores, and even if they store an equal value."""
    cache.set("key", 1)
    value, token = cache.gets("key")
    assert value == 1
    assert cache.cas("key", 2, token)
    assert not cache.cas("key", 3, token)
    _, token = cache.gets("key")
    cache.set("key", 2)
    assert not cache.cas("key", 3, token)
    assert cache.get("key") == 2


def test_cas_on_nothing_stores_nothing(cache: Cache) -> None:
    """A token of None, a token of a deleted value and a token of another key match nothing."""
    assert cache.gets("key") == (None, None)
    assert not cache.cas("key", 1, None)
    cache.set_many({"key": 1, "other": 1})
    _, token = cache.gets("key")
    assert not cache.cas("other", 2, token)
    cache.delete("key")
    assert not cache.cas("key", 2, token)
    assert cache.get_many(["key", "other"]) == {"other": 1}


def test_counting_by_cas_from_many_threads_loses_nothing() -> None:
    """Threads that add one by gets and cas, each retrying until it wins, arrive at the exact sum."""
    with Cache("memory://", namespace="shop") as cache:
        cache.set("sum", 0)

        def count(_: int) -> None:
            for _ in range(50):
                while True:
                    value, token = cache.gets("sum")
                    if cache.cas("sum", value + 1, token):
                        break

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(count, range(4)))
        assert cache.get("sum") == 200


# -- one creator at a time -------------------------------------------------------------------------


def test_a_value_is_created_once_and_then_got(cache: Cache) -> None:
    """The creator is called for the first question only, and None is a value like others."""
    calls: list[str] = []

    def create() -> None:
        calls.append("create")

    assert cache.get_or_create("key", create) is None
    assert cache.get_or_create("key", create) is None
    assert cache.get("key", default=NOBODY) is None
    assert calls == ["create"]


def test_of_eight_threads_on_a_missing_key_one_creates() -> None:
    """One thread creates while seven wait for it, and all get its value."""
    waiting = threading.Semaphore(0)
    pause = threading.Event()

    def sleep(seconds: float) -> None:
        waiting.release()
        pause.wait(seconds)

    calls: list[int] = []

    def create() -> list[str]:
        for _ in range(7):
            assert waiting.acquire(timeout=30)  # every other thread has met the lease
        calls.append(1)
        return ["made"]

    with Cache("memory://", namespace="shop", sleep=sleep) as cache, ThreadPoolExecutor(8) as pool:
        seven_more = [pool.submit(cache.get_or_create, "key", create) for _ in range(8)]
        values = [future.result() for future in seven_more]
    assert calls == [1]
    assert values == [["made"]] * 8
    assert len({id(value) for value in values}) == 8


def test_a_creator_that_raises_gives_its_lease_back(cache: Cache, clock: ManualClock) -> None:
    """The error reaches the caller, and the next one creates at once."""

    def fail() -> None:
        raise LookupError("no such thing")

    before = clock()
    with pytest.raises(LookupError, match="no such thing"):
        cache.get_or_create("key", fail)
    assert cache.get_or_create("key", lambda: 2) == 2
    assert clock() == before


def test_a_creator_of_a_value_without_stored_form_gives_its_lease_back(cache: Cache, clock: ManualClock) -> None:
    """An unsupported value is refused, and the next one creates at once."""
    before = clock()
    with pytest.raises(UnsupportedValue):
        cache.get_or_create("key", object)
    assert cache.get_or_create("key", lambda: 2) == 2
    assert clock() == before


def test_a_set_during_creation_wins(cache: Cache) -> None:
    """What was set while the creator worked stays; the caller still gets what it created."""

    def create() -> str:
        assert cache.get("key", default=NOBODY) is NOBODY
        cache.set("key", "set")
        return "created"

    assert cache.get_or_create("key", create) == "created"
    assert cache.get("key") == "set"


def test_a_delete_during_creation_wins(cache: Cache) -> None:
    """A value deleted while the creator worked is not stored: the creator may have seen old data."""

    def create() -> str:
        cache.delete("key")
        return "old"

    assert cache.get_or_create("key", create) == "old"
    assert cache.get("key", default=NOBODY) is NOBODY


def test_a_crashed_creator_blocks_others_no_longer_than_its_lease(cache: Cache, clock: ManualClock) -> None:
    """After the lease of a creator that was killed has run out the next one creates."""

    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get_or_create("key", die)
    before = clock()
    assert cache.get_or_create("key", lambda: 2) == 2
    assert 0 < clock() - before <= Policy().lease_ttl + 0.1


def test_a_stored_value_that_cannot_be_read_is_created_anew(remote: Cache, server: FakeBackend) -> None:
    """Rubbish under the key is a miss for get, and get_or_create replaces it."""
    remote.set("key", 1)
    [key] = server.snapshot()
    for rubbish in (b"", b"rubbish", server.snapshot()[key][0][:-1] + b"\xc1"):
        server.inject(key, rubbish)
        assert remote.get("key", default=NOBODY) is NOBODY
        assert remote.gets("key") == (None, None)
        assert remote.get_or_create("key", lambda: 2) == 2
        assert remote.get("key") == 2


# -- failures --------------------------------------------------------------------------------------


def test_reads_miss_while_the_backend_fails(remote: Cache, server: FakeBackend) -> None:
    """get, get_many and get_or_create answer without the backend, and each failure is counted."""
    remote.set("key", 1)
    server.fail(times=100)
    assert remote.get("key", default=NOBODY) is NOBODY
    assert remote.get_many(["key"]) == {}
    assert remote.get_or_create("key", lambda: 2) == 2
    assert remote.statistics.failures == 3
    server.recover()
    assert remote.get("key") == 1


def test_writes_raise_while_the_backend_fails(remote: Cache, server: FakeBackend) -> None:
    """Whatever changes something tells the caller that it did not, and so does gets, which promises a token."""
    calls: list[Any] = [
        lambda: remote.set("key", 1), lambda: remote.set_many({"key": 1}), lambda: remote.delete("key"),
        lambda: remote.delete_many(["key"]), lambda: remote.cas("key", 1, b"x" * 8), lambda: remote.gets("key"),
        remote.clear,
    ]  # fmt: skip
    for call in calls:
        server.fail(error=BackendTimeout("too slow"))
        with pytest.raises(BackendError, match="too slow"):
            call()


def test_a_created_value_is_returned_though_it_cannot_be_stored(remote: Cache, server: FakeBackend) -> None:
    """If the backend fails between the lease and the fill, the caller has its value and the failure is counted."""
    server.fail("fill")
    assert remote.get_or_create("key", lambda: 2) == 2
    assert remote.statistics.failures == 1


def test_a_creators_own_error_is_not_taken_for_the_caches(remote: Cache) -> None:
    """A BackendError that the creator raises reaches the caller, and the creator runs once."""
    calls: list[int] = []

    def create() -> None:
        calls.append(1)
        raise BackendError("of another cache")

    with pytest.raises(BackendError, match="of another cache"):
        remote.get_or_create("key", create)
    assert calls == [1]


class Color(enum.IntEnum):
    RED = 1


RECURSIVE: list[Any] = []
RECURSIVE.append(RECURSIVE)


@pytest.mark.parametrize("value", [object(), Color.RED, OrderedDict(a=1), [object()], {"a": {1j}}, "\ud800", RECURSIVE])
def test_an_unsupported_value_is_refused_and_the_old_value_kept(cache: Cache, value: Any) -> None:
    """What has no faithful stored form is refused before anything changes, also as one of many."""
    cache.set("key", "old")
    _, token = cache.gets("key")
    calls: list[Any] = [
        lambda: cache.set("key", value), lambda: cache.set_many({"key": 1, "other": value}),
        lambda: cache.cas("key", value, token),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(UnsupportedValue):
            call()
    assert cache.get_many(["key", "other"]) == {"key": "old"}


def test_a_value_that_is_too_large_is_reported_and_the_old_one_is_gone() -> None:
    """set says False, set_many names the keys, and nothing outdated is left."""
    for backend in (MemoryBackend(max_bytes=5000), FakeBackend(max_bytes=4000)):
        with Cache(backend, namespace="shop") as cache:
            cache.set_many({"a": 1, "b": 2})
            assert cache.set("a", "x" * 10_000) is False
            assert cache.set_many({"b": "x" * 10_000, "c": 3}) == ["b"]
            assert cache.get_many(["a", "b", "c"]) == {"c": 3}


# -- the end ---------------------------------------------------------------------------------------


def test_clear_empties_the_backend(cache: Cache) -> None:
    """After clear nothing is there, rows included."""
    loads: list[list[int]] = []

    def load(ids: Any) -> list[tuple[int]]:
        loads.append(list(ids))
        return [(id,) for id in ids]

    records = cache.entity("shop.Item", {"id": int}, load=load)
    records.get(1)
    cache.set("key", 1)
    cache.clear()
    assert cache.get("key") is None
    records.get(1)
    assert loads == [[1], [1]]


def test_everything_of_a_closed_cache_raises(clock: ManualClock) -> None:
    """After close, and after its with block, every call raises ClosedError, hits too; close may be repeated."""
    shared = MemoryBackend(clock=clock)
    with Cache(shared, namespace="shop") as cache, Cache(shared, namespace="shop"):
        records = cache.entity("shop.Item", {"id": int}, load=lambda ids: [(id,) for id in ids])
        unit = cache.begin()
        unit.touch(records, 1)
        assert records.get(2) == records.get(2) == (2,)
    cache.close()
    with Cache(shared, namespace="shop") as other:
        other.entity("shop.Item", {"id": int}, load=lambda ids: [(id,) for id in ids]).get(2)
        calls: list[Any] = [
            lambda: cache.get("key"), lambda: cache.get_many([]), lambda: cache.set("key", 1),
            lambda: cache.set_many({}), lambda: cache.delete("key"), lambda: cache.delete_many([]),
            lambda: cache.gets("key"),
            lambda: cache.cas("key", 1, None), lambda: cache.get_or_create("key", lambda: 1), cache.clear, cache.begin,
            lambda: cache.entity("shop.Other", {"id": int}), lambda: cache.invalidate(records, 1),
            lambda: cache.invalidate(records), lambda: records.get(2), lambda: records.get_many([2]),
            lambda: records.find(id=2), unit.prepare, lambda: unit.commit(lambda: None),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(ClosedError):
                call()
