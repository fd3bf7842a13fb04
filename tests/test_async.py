"""AsyncCache: the same behaviour, awaited, on a backend in the process and on one that is awaited."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cachecore import AsyncCache, Policy
from cachecore.backends.memory import MemoryBackend
from cachecore.errors import (
    BackendError,
    BackendTimeout,
    ClosedError,
    InvalidKey,
    UncacheableLookup,
    UnsupportedValue,
    WriteRefused,
)
from cachecore.records import AsyncRecords
from cachecore.testing import AsyncFakeBackend, FakeBackend, ManualClock
from tests.cities import BERGEN, LYON, OSLO, Cities

NOBODY = object()
RENAMED = (1, "oslo", "no", "Christiania", OSLO[4])
RENAME = "UPDATE city SET name = 'Christiania' WHERE id = 1"


class Turn:
    """A sleep that moves the clock and lets other tasks run."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    async def __call__(self, seconds: float) -> None:
        self._clock.advance(seconds)
        await asyncio.sleep(0)


@pytest.fixture(params=["memory", "fake"])
async def cache(request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[AsyncCache]:
    """A cache in the process, and one on a server."""
    backend = MemoryBackend(clock=clock) if request.param == "memory" else AsyncFakeBackend(clock)
    async with AsyncCache(backend, namespace="shop", clock=clock, sleep=Turn(clock)) as cache:
        yield cache


@pytest.fixture
def backend(clock: ManualClock) -> AsyncFakeBackend:
    """A server with an operation log and faults."""
    return AsyncFakeBackend(clock)


@pytest.fixture
def server(backend: AsyncFakeBackend) -> FakeBackend:
    """What stands behind that backend."""
    return backend.server


@pytest.fixture
def remote(backend: AsyncFakeBackend, clock: ManualClock) -> AsyncCache:
    """A cache on that server."""
    return AsyncCache(backend, namespace="shop", clock=clock, sleep=Turn(clock))


async def read_again(found: AsyncRecords, cities: Cities, identity: int = 1) -> tuple[Any, int]:
    """(the row, how many statements it took)."""
    cities.asked()
    return await found.get(identity), cities.asked()


# -- plain values ----------------------------------------------------------------------------------


async def test_plain_values(cache: AsyncCache) -> None:
    """get, set, delete and their _many forms behave as in the sync cache."""
    assert await cache.get("key", default=NOBODY) is NOBODY
    assert await cache.set("key", {"a": [1]})
    found = await cache.get("key")
    found["a"].append(2)
    assert await cache.get("key") == {"a": [1]}
    assert await cache.set_many({"b": None, "c": (1,)}, ttl=5, version=2) == []
    assert list((await cache.get_many(["c", "key", "b"], version=2)).items()) == [("c", (1,)), ("b", None)]
    assert await cache.delete("b", version=2) is True
    assert await cache.delete("b", version=2) is False
    assert await cache.delete_many(["c", "key"], version=2) == 1
    await cache.clear()
    assert await cache.get("key") is None


async def test_lifetimes(cache: AsyncCache, clock: ManualClock) -> None:
    """None is the cache's ttl, math.inf is for ever, and what is no lifetime is refused."""
    await cache.set("default", 1)
    await cache.set("short", 1, 5)
    await cache.set("for ever", 1, math.inf)
    names = ["default", "short", "for ever"]
    clock.advance(6)
    assert list(await cache.get_many(names)) == ["default", "for ever"]
    clock.advance(300)
    assert list(await cache.get_many(names)) == ["for ever"]
    with pytest.raises(UnsupportedValue, match="ttl"):
        await cache.set("key", 1, 0)


async def test_compare_and_set(cache: AsyncCache) -> None:
    """A token of gets stores once."""
    assert await cache.gets("key") == (None, None)
    assert not await cache.cas("key", 1, None)
    await cache.set("key", 1)
    value, token = await cache.gets("key")
    assert value == 1
    assert await cache.cas("key", 2, token)
    assert not await cache.cas("key", 3, token)
    assert await cache.get("key") == 2


async def test_wrong_arguments_are_refused(cache: AsyncCache) -> None:
    """Keys that are no str and values without stored form are refused, and the old value kept."""
    key: Any = 5
    with pytest.raises(InvalidKey):
        await cache.get(key)
    await cache.set("key", "old")
    with pytest.raises(UnsupportedValue):
        await cache.set("key", object())
    assert await cache.get("key") == "old"


async def test_reads_miss_and_writes_raise_while_the_backend_fails(remote: AsyncCache, server: FakeBackend) -> None:
    """A failing backend is a counted miss for reads and an error for writes."""
    server.fail(times=9, error=BackendTimeout("too slow"))
    assert await remote.get("key", default=NOBODY) is NOBODY
    assert await remote.get_or_create("key", lambda: 2) == 2
    assert remote.statistics.failures == 2
    writes: list[Any] = [
        lambda: remote.set("key", 1), lambda: remote.delete("key"), lambda: remote.cas("key", 1, b"x" * 8),
        lambda: remote.gets("key"), remote.clear,
    ]  # fmt: skip
    for write in writes:
        with pytest.raises(BackendError, match="too slow"):
            await write()


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_of_eight_tasks_on_a_missing_key_one_creates(cache: AsyncCache, kind: str) -> None:
    """One task creates, by an async or plain function, while seven wait for its value."""
    calls: list[int] = []

    async def create_slowly() -> list[str]:
        calls.append(1)
        for _ in range(5):
            await asyncio.sleep(0)
        return ["made"]

    def create() -> list[str]:
        calls.append(1)
        return ["made"]

    creator: Any = create_slowly if kind == "async" else create
    values = await asyncio.gather(*[cache.get_or_create("key", creator) for _ in range(8)])
    assert values == [["made"]] * 8
    assert calls == [1]


async def test_a_creator_that_raises_gives_its_lease_back(cache: AsyncCache, clock: ManualClock) -> None:
    """The error reaches the caller, and the next one creates at once."""

    async def fail() -> None:
        raise LookupError("no such thing")

    before = clock()
    with pytest.raises(LookupError):
        await cache.get_or_create("key", fail)
    assert await cache.get_or_create("key", lambda: 2) == 2
    assert clock() == before


async def test_a_set_during_creation_wins(cache: AsyncCache) -> None:
    """What was set while the creator worked stays."""

    async def create() -> str:
        await cache.set("key", "set")
        return "created"

    assert await cache.get_or_create("key", create) == "created"
    assert await cache.get("key") == "set"


# -- rows ------------------------------------------------------------------------------------------


async def test_rows_by_identity_and_lookup(cache: AsyncCache, cities: Cities) -> None:
    """get, get_many and find answer in order, load once, and never share structures."""
    found = cities.async_records(cache)
    assert await found.get_many([3, 9, 1, 3]) == [LYON, None, OSLO, LYON]
    assert cities.loads == [[3, 9, 1]]
    row: Any = await found.get(1)
    row[4].clear()
    assert await found.find(slug="oslo") == OSLO
    assert await found.find(name="Oslo", country="no") == OSLO
    assert await found.find(slug="nosuch") is None
    cities.asked()
    assert (
        await found.find(id=1) == await found.find(slug="oslo") == await found.find(country="no", name="Oslo") == OSLO
    )
    assert cities.asked() == 0


async def test_loaders_may_be_plain_functions(cache: AsyncCache, cities: Cities) -> None:
    """A loader or query that does not block need not be async, for the entity or for one call."""
    found = cities.async_records(cache, load=cities.load, query=cities.query)
    assert await found.get(1) == OSLO
    assert await found.find(slug="oslo") == OSLO
    assert await found.find(lambda values: BERGEN, lambda identities: [BERGEN], slug="bergen") == BERGEN


async def test_wrong_questions_are_refused(cache: AsyncCache, cities: Cities) -> None:
    """Undeclared lookups, None and wrong types say so and ask no database."""
    found = cities.async_records(cache)
    questions: list[Any] = [
        lambda: found.find(name="Oslo"), lambda: found.find(slug=None), lambda: found.get("1"), lambda: found.get(None),
        lambda: cities.async_records(cache, load=None).get(1),
    ]  # fmt: skip
    for question in questions:
        with pytest.raises(UncacheableLookup):
            await question()
    assert cities.asked() == 0


async def test_eight_tasks_on_a_cold_row_load_it_once(cache: AsyncCache, cities: Cities) -> None:
    """One task loads while seven wait for its fill."""

    async def load(identities: Any) -> Any:
        rows = cities.load(identities)
        for _ in range(3):
            await asyncio.sleep(0)
        return rows

    found = cities.async_records(cache, load=load, policy=Policy(lease_wait=60))
    assert await asyncio.gather(*[found.get(1) for _ in range(8)]) == [OSLO] * 8
    assert cities.loads == [[1]]


async def test_a_rename_and_a_swap_are_right_at_the_first_try(cache: AsyncCache, cities: Cities) -> None:
    """Pointers are verified by the row: after a swap of two slugs both answers are right."""
    found = cities.async_records(cache)
    for _ in range(2):
        await asyncio.gather(found.find(slug="oslo"), found.find(slug="bergen"))
    async with cache.begin() as unit:
        cities.execute("BEGIN")
        cities.execute("UPDATE city SET slug = '-' WHERE id = 1")
        cities.execute("UPDATE city SET slug = 'oslo' WHERE id = 2")
        cities.execute("UPDATE city SET slug = 'bergen' WHERE id = 1")
        unit.touch(found, 1, 2)
        await unit.commit(lambda: cities.execute("COMMIT"))
    assert await found.find(slug="oslo") == (2, "oslo", "no", "Bergen", None)
    assert await found.find(slug="bergen") == (1, "bergen", "no", "Oslo", OSLO[4])


async def test_the_operations_of_reads(remote: AsyncCache, server: FakeBackend, cities: Cities) -> None:
    """The budgets of the sync cache hold: one round trip for a warm row, a warm lookup and a warm hundred."""
    found = cities.async_records(remote)
    await found.find(slug="oslo")
    await found.get_many([1, 2, 3])
    server.log.clear()
    await found.get(1)
    await found.find(slug="oslo")
    await found.get_many([1, 2, 3])
    assert server.operations() == ["acquire", "acquire", "acquire"]


# -- units -----------------------------------------------------------------------------------------


async def test_a_commit_outdates_and_a_rollback_does_not(cache: AsyncCache, cities: Cities) -> None:
    """The ends of an async unit mean what they mean in a sync one; COMMIT is sent by an async or plain function."""
    found = cities.async_records(cache)
    await found.get_many([1, 2])

    async def send() -> str:
        cities.execute(RENAME)
        return "sent"

    async with cache.begin() as unit:
        unit.touch(found, 1)
        assert await unit.commit(send) == "sent"
    assert await read_again(found, cities) == (RENAMED, 1)
    assert await read_again(found, cities) == (RENAMED, 0)
    async with cache.begin() as unit:
        unit.touch(found, 1)
        await unit.prepare()
        assert await read_again(found, cities) == (RENAMED, 1)
    await found.get(1)
    assert await read_again(found, cities) == (RENAMED, 0)
    assert await read_again(found, cities, 2) == (BERGEN, 0)
    with pytest.raises(ClosedError):
        unit.touch(found, 1)
    await cache.invalidate(found, 1)
    assert await read_again(found, cities) == (RENAMED, 1)
    await cache.invalidate(found)
    assert await read_again(found, cities, 2) == (BERGEN, 1)


async def test_an_unknown_outcome_leaves_the_holds(cache: AsyncCache, cities: Cities, clock: ManualClock) -> None:
    """A COMMIT that raises, or is cancelled, keeps the row out of the cache until the hold has ended."""
    found = cities.async_records(cache)

    async def fail() -> None:
        raise ConnectionError

    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def write(send: Any) -> None:
        async with cache.begin() as unit:
            unit.touch(found, 1)
            await unit.commit(send)

    for send, error in ((fail, ConnectionError), (cancelled, asyncio.CancelledError)):
        with pytest.raises(error):
            await write(send)
        for _ in range(2):
            assert await read_again(found, cities) == (OSLO, 1)
        clock.advance(Policy().hold_ttl + 1)
        await found.get(1)
        assert await read_again(found, cities) == (OSLO, 0)


async def test_a_transaction_sees_its_own_writes(cache: AsyncCache, cities: Cities) -> None:
    """Reads in the unit find its uncommitted rows, and store nothing."""
    found = cities.async_records(cache)
    await found.get(1)
    async with cache.begin() as unit:
        cities.execute("BEGIN")
        cities.execute(RENAME)
        unit.touch(found, 1)
        assert await found.get(1, unit=unit) == RENAMED
        assert await found.find(country="no", name="Christiania", unit=unit) == RENAMED
        assert await found.get(2, unit=unit) == BERGEN
        cities.execute("ROLLBACK")
    assert cache.statistics.fills == 1
    assert await found.get(1) == OSLO


async def test_refuse_raises_before_commit(remote: AsyncCache, server: FakeBackend, cities: Cities) -> None:
    """Without an acknowledged PREPARE nothing is sent; a COMPLETE that fails raises nothing."""
    found = cities.async_records(remote)

    async def write() -> None:
        async with remote.begin() as unit:
            unit.touch(found, 1)
            await unit.commit(lambda: cities.execute(RENAME))

    server.fail("hold")
    with pytest.raises(WriteRefused):
        await write()
    assert cities.select("id = 1") == [OSLO]
    server.fail("complete")
    await write()
    assert await found.get(1) == RENAMED


# -- cancellation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(8))
async def test_a_cancelled_reader_does_no_harm(
    remote: AsyncCache, cities: Cities, clock: ManualClock, steps: int
) -> None:
    """Wherever a reader is cancelled, others wait no longer than lease_wait, and after lease_ttl the row is cached."""

    async def load(identities: Any) -> Any:
        rows = cities.load(identities)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return rows

    found = cities.async_records(remote, load=load)
    reader = asyncio.ensure_future(found.get(1))
    for _ in range(steps):
        await asyncio.sleep(0)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    async with remote.begin() as unit:
        unit.touch(found, 1)
        await unit.commit(lambda: cities.execute(RENAME))
    before = clock()
    assert await found.get(1) == RENAMED
    assert clock() - before <= 4 * Policy().lease_wait
    clock.advance(Policy().lease_ttl)
    await found.get(1)
    assert await read_again(found, cities) == (RENAMED, 0)


async def test_a_cancelled_creator_blocks_others_no_longer_than_its_lease(
    cache: AsyncCache, clock: ManualClock
) -> None:
    """After the lease of a cancelled creator has run out the next one creates."""
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(cache.get_or_create("key", hang))
    await started.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    before = clock()
    assert await cache.get_or_create("key", lambda: 2) == 2
    assert 0 < clock() - before <= Policy().lease_ttl + 0.1


# -- the end ---------------------------------------------------------------------------------------


async def test_everything_of_a_closed_cache_raises(cities: Cities) -> None:
    """After close every call raises ClosedError, hits included; close itself may be repeated."""
    cache = AsyncCache("memory://", namespace="shop")
    found = cities.async_records(cache)
    await found.get(1)
    unit = cache.begin()
    unit.touch(found, 1)
    await cache.close()
    await cache.close()
    calls: list[Any] = [
        lambda: cache.get("key"), lambda: cache.get_many([]), lambda: cache.set("key", 1), lambda: cache.delete("key"),
        lambda: cache.gets("key"), lambda: cache.cas("key", 1, None), lambda: cache.get_or_create("key", lambda: 1),
        cache.clear, lambda: found.get(1), lambda: found.get_many([1]), lambda: found.find(slug="oslo"),
        lambda: cache.invalidate(found, 1), unit.prepare,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ClosedError):
            await call()
    for plain in (cache.begin, lambda: cities.async_records(cache)):
        with pytest.raises(ClosedError):
            plain()
