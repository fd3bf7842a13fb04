"""What an operation of the cache may cost on real servers, in round trips. Network time is most of every hit."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from cachecore import AsyncCache, Cache
from cachecore.entries import Value
from cachecore.testing.servers import MemcachedServer
from tests.cities import LYON, OSLO, Cities
from tests.conftest import require

MANY = [(number, f"city-{number}", "xx", f"City {number}", None) for number in range(1000, 2000)]
IDENTITIES = [row[0] for row in MANY]


@pytest.fixture
def cities() -> Iterator[Cities]:
    """A database with a thousand rows more."""
    cities = Cities(rows=[OSLO, LYON, *MANY])
    yield cities
    cities.close()


@pytest.fixture(params=["redis", "memcached", "memcached of old"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which server, and how it is spoken to."""
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    """Where it is. A Redis server knows the scripts: sending them the first time costs a round trip each."""
    if kind == "redis":
        server = request.getfixturevalue("redis_server")
        _teach(server.url)
        return f"{server.url}?timeout=10"
    server = request.getfixturevalue("memcached_server")
    return f"{server.url}?timeout=10&dialect={'meta' if kind == 'memcached' else 'classic'}"


def _teach(url: str) -> None:
    with Cache(url, namespace="budgets", options={"timeout": 10}) as cache:
        backend, key, token = cache.backend, uuid.uuid4().hex, b"warm-up-"
        backend.acquire([key], token, 1.0)
        backend.fill([(key, token, Value(b"", b""), 0)], 1.0)
        backend.hold([key], token, 1.0)
        backend.complete([key], token, {}, 1.0)
        backend.abandon([(key, token)])
        backend.release([key], token)
        backend.displace([(key, Value(b"", b""))], token, 1.0)


@pytest.fixture
def cache(url: str) -> Iterator[Cache]:
    """A cache on the real server, in a namespace of its own."""
    with Cache(url, namespace=uuid.uuid4().hex) as cache:
        yield cache


@pytest.fixture
async def async_cache(url: str) -> AsyncIterator[AsyncCache]:
    """The same, awaited."""
    async with AsyncCache(url, namespace=uuid.uuid4().hex) as cache:
        yield cache


@pytest.fixture(scope="module")
def three() -> Iterator[list[MemcachedServer]]:
    """Three servers."""
    with require(MemcachedServer) as one, MemcachedServer() as two, MemcachedServer() as three:
        yield [one, two, three]


def location(servers: list[MemcachedServer]) -> str:
    return "memcached://" + ",".join(f"{server.host}:{server.port}" for server in servers) + "?timeout=10"


def round_trips(cache: Any) -> int:
    """How many there have been."""
    backend = cache.backend
    return int(backend.topology.round_trips if hasattr(backend, "topology") else backend.exchanges)


def cost(cache: Cache, action: Callable[[], object]) -> int:
    """The round trips of one action."""
    before = round_trips(cache)
    action()
    return round_trips(cache) - before


async def async_cost(cache: AsyncCache, action: Callable[[], Awaitable[object]]) -> int:
    """The round trips of one awaited action."""
    before = round_trips(cache)
    await action()
    return round_trips(cache) - before


def a_miss(kind: str) -> int:
    """Round trips around the database's: old memcached servers make no lease by themselves."""
    return 3 if kind == "memcached of old" else 2


def many_missing(kind: str) -> int:
    """The same for many rows at once: Redis is first asked what there is, by MGET."""
    return 2 if kind == "memcached" else 3


def test_reads(cache: Cache, cities: Cities, kind: str) -> None:
    """A warm read by primary key or by any lookup is one round trip, a miss two, or three with an old server."""
    found = cities.records(cache)
    found.get(1)  # begins the epoch too
    assert cost(cache, lambda: found.get(3)) == a_miss(kind)
    assert cities.asked() == 2
    assert cost(cache, lambda: found.get(1)) == 1
    assert cost(cache, lambda: found.get(3)) == 1
    found.find(slug="oslo")
    found.find(country="fr", name="Lyon")
    cities.asked()
    assert cost(cache, lambda: found.find(slug="oslo")) == 1
    assert cost(cache, lambda: found.find(country="fr", name="Lyon")) == 1
    assert cities.asked() == 0


def test_a_miss_by_lookup(cache: Cache, cities: Cities) -> None:
    """A cold lookup is at most three round trips."""
    found = cities.records(cache)
    found.get(3)
    assert cost(cache, lambda: found.find(slug="oslo")) <= 3


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_a_save(cache: Cache, cities: Cities, count: int) -> None:
    """A transaction adds two round trips, one before and one after COMMIT, whatever it writes."""
    found = cities.records(cache)
    identities = IDENTITIES[:count]
    found.get_many(identities)
    unit = cache.begin()
    unit.touch(found, *identities)
    assert cost(cache, unit.prepare) == 1
    assert cost(cache, lambda: unit.commit(lambda: None)) == 1
    assert cities.asked() > 0
    found.get_many(identities)
    assert cities.asked() == 1


def test_a_rollback(cache: Cache, cities: Cities) -> None:
    """A transaction that is rolled back after PREPARE costs two round trips, one before it none."""
    found = cities.records(cache)

    def roll_back(prepared: bool) -> None:
        unit = cache.begin()
        unit.touch(found, 1, 3)
        if prepared:
            unit.prepare()
        unit.rollback()

    assert cost(cache, lambda: roll_back(True)) == 2
    assert cost(cache, lambda: roll_back(False)) == 0


def test_many(cache: Cache, cities: Cities, kind: str) -> None:
    """A hundred warm rows are one round trip; a hundred missing ones two or three, and one query."""
    found = cities.records(cache)
    found.get(1)
    cities.asked()
    assert cost(cache, lambda: found.get_many(IDENTITIES[:100])) == many_missing(kind)
    assert cities.asked() == 1
    assert cost(cache, lambda: found.get_many(IDENTITIES[:100])) == 1
    assert cities.asked() == 0


def test_plain_values(cache: Cache) -> None:
    """Values without a row cost one round trip each way."""
    assert cost(cache, lambda: cache.set("key", "value")) == 1
    assert cost(cache, lambda: cache.get("key")) == 1


def test_a_fleet(three: list[MemcachedServer], cities: Cities) -> None:
    """On a fleet a hundred rows are one round trip to each server, and a save of them is two to each."""
    with Cache(location(three), namespace=uuid.uuid4().hex) as cache:
        found = cities.records(cache)
        found.get_many(IDENTITIES[:100])
        cities.asked()
        assert cost(cache, lambda: found.get_many(IDENTITIES[:100])) == len(three)
        unit = cache.begin()
        unit.touch(found, *IDENTITIES[:100])
        assert cost(cache, lambda: unit.commit(lambda: None)) == 2 * len(three)
        assert cities.asked() == 0


async def test_awaited(async_cache: AsyncCache, cities: Cities, kind: str) -> None:
    """The awaited backend has the same budgets."""
    cache = async_cache
    found = cities.async_records(cache)
    await found.get(1)
    assert await async_cost(cache, lambda: found.get(3)) == a_miss(kind)
    assert await async_cost(cache, lambda: found.get(1)) == 1
    await found.find(slug="oslo")
    assert await async_cost(cache, lambda: found.find(slug="oslo")) == 1
    identities = IDENTITIES[:100]
    assert await async_cost(cache, lambda: found.get_many(identities)) == many_missing(kind)
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


async def test_an_awaited_fleet(three: list[MemcachedServer], cities: Cities) -> None:
    """On a fleet a hundred awaited rows are one round trip to each server."""
    async with AsyncCache(location(three), namespace=uuid.uuid4().hex) as cache:
        found = cities.async_records(cache)
        await found.get_many(IDENTITIES[:100])
        cities.asked()
        assert await async_cost(cache, lambda: found.get_many(IDENTITIES[:100])) == len(three)
        assert cities.asked() == 0
