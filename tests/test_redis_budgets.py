"""What an operation of the cache may cost on Redis, in round trips. Network time is the larger part of every hit."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from cachecore import AsyncCache, Cache
from cachecore.testing.servers import RedisServer
from tests.cities import LYON, OSLO, Cities

MANY = [(number, f"city-{number}", "xx", f"City {number}", None) for number in range(1000, 2000)]


@pytest.fixture
def cities() -> Iterator[Cities]:
    """A database with a thousand rows more."""
    cities = Cities(rows=[OSLO, LYON, *MANY])
    yield cities
    cities.close()


@pytest.fixture
def redis_cache(redis_server: RedisServer) -> Iterator[Cache]:
    """A cache on the real server, in a namespace of its own; the server knows the scripts."""
    with Cache(redis_server.url, namespace=uuid.uuid4().hex, options={"timeout": 5}) as cache:
        warm_up = cache.backend
        warm_up.acquire(["warm-up"], b"warm-up-", 1.0)
        warm_up.fill([("warm-up", b"warm-up-", warm_value(), 0)], 1.0)
        warm_up.hold(["warm-up"], b"warm-up-", 1.0)
        warm_up.complete(["warm-up"], b"warm-up-", {}, 1.0)
        warm_up.abandon([("warm-up", b"warm-up-")])
        warm_up.displace([("warm-up", warm_value())], b"warm-up-", 1.0)
        yield cache


@pytest.fixture
async def async_redis_cache(redis_cache: Cache, redis_server: RedisServer) -> AsyncIterator[AsyncCache]:
    """The same, awaited."""
    async with AsyncCache(redis_server.url, namespace=uuid.uuid4().hex, options={"timeout": 5}) as cache:
        yield cache


def warm_value() -> Any:
    from cachecore.entries import Value

    return Value(b"", b"")


def cost(cache: Any, action: Callable[[], object]) -> int:
    """The round trips of one action."""
    before = cache.backend.topology.round_trips
    action()
    return int(cache.backend.topology.round_trips - before)


async def async_cost(cache: Any, action: Callable[[], Awaitable[object]]) -> int:
    """The round trips of one awaited action."""
    before = cache.backend.topology.round_trips
    await action()
    return int(cache.backend.topology.round_trips - before)


def test_reads(redis_cache: Cache, cities: Cities) -> None:
    """A warm read by primary key or by any lookup is one round trip, a miss at most three around the database."""
    found = cities.records(redis_cache)
    assert cost(redis_cache, lambda: found.get(1)) <= 3  # begins the epoch too
    assert cost(redis_cache, lambda: found.get(3)) == 2
    assert cities.asked() == 2
    assert cost(redis_cache, lambda: found.get(1)) == 1
    assert cost(redis_cache, lambda: found.get(3)) == 1
    found.find(slug="oslo")
    found.find(country="fr", name="Lyon")
    cities.asked()
    assert cost(redis_cache, lambda: found.find(slug="oslo")) == 1
    assert cost(redis_cache, lambda: found.find(country="fr", name="Lyon")) == 1
    assert cities.asked() == 0


def test_a_miss_by_lookup(redis_cache: Cache, cities: Cities) -> None:
    """A cold lookup is at most three round trips."""
    found = cities.records(redis_cache)
    found.get(3)
    assert cost(redis_cache, lambda: found.find(slug="oslo")) <= 3


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_a_save(redis_cache: Cache, cities: Cities, count: int) -> None:
    """A transaction adds two round trips, one before and one after COMMIT, whatever it writes."""
    found = cities.records(redis_cache)
    identities = [row[0] for row in MANY[:count]]
    found.get_many(identities)
    unit = redis_cache.begin()
    unit.touch(found, *identities)
    assert cost(redis_cache, unit.prepare) == 1
    assert cost(redis_cache, lambda: unit.commit(lambda: None)) == 1
    assert cities.asked() > 0
    found.get_many(identities)
    assert cities.asked() == 1


def test_a_rollback(redis_cache: Cache, cities: Cities) -> None:
    """A transaction that is rolled back after PREPARE costs two round trips, one before it none."""
    found = cities.records(redis_cache)

    def roll_back(prepared: bool) -> None:
        unit = redis_cache.begin()
        unit.touch(found, 1, 3)
        if prepared:
            unit.prepare()
        unit.rollback()

    roll_back(True)
    assert cost(redis_cache, lambda: roll_back(True)) == 2
    assert cost(redis_cache, lambda: roll_back(False)) == 0


def test_many(redis_cache: Cache, cities: Cities) -> None:
    """A hundred warm rows are one round trip; a hundred missing ones are read by one query and at most three."""
    found = cities.records(redis_cache)
    identities = [row[0] for row in MANY[:100]]
    found.get(1)
    cities.asked()
    assert cost(redis_cache, lambda: found.get_many(identities)) <= 3
    assert cities.asked() == 1
    assert cost(redis_cache, lambda: found.get_many(identities)) == 1
    assert cities.asked() == 0


def test_plain_values(redis_cache: Cache) -> None:
    """Values without a row cost one round trip each way."""
    assert cost(redis_cache, lambda: redis_cache.set("key", "value")) == 1
    assert cost(redis_cache, lambda: redis_cache.get("key")) == 1


async def test_awaited(async_redis_cache: AsyncCache, cities: Cities) -> None:
    """The awaited backend has the same budgets."""
    cache = async_redis_cache
    found = cities.async_records(cache)
    assert await async_cost(cache, lambda: found.get(1)) <= 3
    assert await async_cost(cache, lambda: found.get(1)) == 1
    await found.find(slug="oslo")
    assert await async_cost(cache, lambda: found.find(slug="oslo")) == 1
    identities = [row[0] for row in MANY[:100]]
    await found.get_many(identities)
    cities.asked()
    assert await async_cost(cache, lambda: found.get_many(identities)) == 1
    assert cities.asked() == 0

    async def save() -> None:
        unit = cache.begin()
        unit.touch(found, *identities)
        await unit.commit(lambda: None)

    assert await async_cost(cache, save) == 2
    await found.get_many(identities)
    assert cities.asked() == 1
