"""Reads and fills over the network: our round trips against the bare clients', and the whole path against its like.

`python -m benchmarks network` prints the table. It starts a Redis and four memcached servers of its own. Their work is
part of every round trip, so the times are those of the clock; both sides of a ratio run in turns of milliseconds, one
directly after the other, everything warm, and all of it on one processor (`benchmarks.network` says why). What is
compared is in `benchmarks.network`, `benchmarks.bare` and `benchmarks.app`.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.network_settings")

import django

django.setup()

import pytest  # noqa: E402

from benchmarks.measure import Figure, compare  # noqa: E402
from benchmarks.network import WATCH, Network, network  # noqa: E402
from cachecore.testing.servers import ServerMissing  # noqa: E402

# Ours, as it is shown, against the reference, as it is shown; the target, as a cost (<=) or a gain (>=).
Line = tuple[str, str, str, str, str, str, float]
RAW, STOCK = "raw socket GET", "redis-py get, stock pool"
SEED_REDIS, SEED_MEMCACHED = "seed-like on RedisCache", "seed-like on PyMemcacheCache"
LINES: list[Line] = [
    ("Redis, pk", "redis_pk", "Records.get", "raw_gets", RAW, "<=", 1.7),
    ("Redis, pk", "redis_pk", "Records.get", "redis_gets", STOCK, "<=", 1.25),
    ("Redis, lookup", "redis_slug", "Records.find", "raw_gets", RAW, "<=", 1.7),
    ("Redis, lookup", "redis_slug", "Records.find", "redis_gets", STOCK, "<=", 1.25),
    ("Redis, pk", "django_redis_pk", "get_from_cache", "raw_gets", RAW, "<=", 1.7),
    ("Redis, pk", "django_redis_pk", "get_from_cache", "redis_gets", STOCK, "<=", 1.25),
    ("Redis, lookup", "django_redis_slug", "get_from_cache", "redis_gets", STOCK, "<=", 1.25),
    ("Redis, 100 at once", "redis_many", "get_many", "redis_mget", "MGET and decoding", "<=", 1.5),
    ("Redis, 100 at once", "django_redis_many", "get_many_from_cache", "redis_mget_instances",
     "MGET, decoding, instances", "<=", 1.5),
    ("Redis, a fill", "redis_fill", "backend.fill", "redis_sets", "redis-py set, stock pool", "<=", 1.2),
    ("Redis, pk", "django_redis_pk", "get_from_cache", "seed_redis_pk", SEED_REDIS, ">=", 3),
    ("Redis, slug", "django_redis_slug", "get_from_cache", "seed_redis_slug", SEED_REDIS, ">=", 3),
    ("Redis, pk", "django_redis_pk", "get_from_cache", "cacheops_pk", "cacheops get", ">=", 5),
    ("memcached, pk", "memcached_pk", "Records.get", "memcached_gets", "pymemcache get", "<=", 1.3),
    ("memcached, lookup", "memcached_slug", "Records.find", "memcached_gets", "pymemcache get", "<=", 1.3),
    ("memcached, pk", "django_memcached_pk", "get_from_cache", "memcached_gets", "pymemcache get", "<=", 1.3),
    ("memcached, 100 at once", "memcached_many", "get_many", "memcached_get_many", "get_many and decoding", "<=", 1.5),
    ("three memcacheds, 100 at once", "fleet_many", "get_many", "memcached_get_many", "get_many on one, and decoding",
     "<=", 1.3),
    ("memcached, 100 at once", "django_memcached_many", "get_many_from_cache", "memcached_get_many_instances",
     "get_many, decoding, instances", "<=", 1.5),
    ("memcached, a fill", "memcached_fill", "backend.fill", "memcached_sets", "pymemcache set", "<=", 1.2),
    ("memcached, pk", "django_memcached_pk", "get_from_cache", "seed_memcached_pk", SEED_MEMCACHED, ">=", 2.5),
    ("memcached, slug", "django_memcached_slug", "get_from_cache", "seed_memcached_slug", SEED_MEMCACHED, ">=", 2.5),
]  # fmt: skip

GROUPS = {
    "network: Redis, a row": [
        "raw_gets", "pinned_gets", "redis_gets", "redis_acquire", "redis_pk", "redis_slug", "django_redis_pk",
        "django_redis_slug", "seed_redis_pk", "seed_redis_slug", "cacheops_pk",
    ],
    "network: Redis, 100 rows": ["redis_mget", "redis_many", "redis_mget_instances", "django_redis_many"],
    "network: Redis, a fill": ["redis_sets", "redis_fill"],
    "network: memcached, a row": [
        "memcached_gets", "memcached_acquire", "memcached_pk", "memcached_slug", "django_memcached_pk",
        "django_memcached_slug", "seed_memcached_pk", "seed_memcached_slug",
    ],
    "network: memcached, 100 rows": [
        "memcached_get_many", "memcached_many", "fleet_many", "memcached_get_many_instances", "django_memcached_many",
    ],
    "network: memcached, a fill": ["memcached_sets", "memcached_fill"],
}  # fmt: skip
"""What pytest-benchmark shows side by side."""


def figures(lines: Iterable[Line] = LINES) -> list[Figure]:
    """The lines of the table. Raises ServerMissing."""
    with network() as net:
        return [_figure(net, *line) for line in lines]


def _figure(
    net: Network, name: str, ours: str, shown: str, reference: str, against: str, sign: str, target: float
) -> Figure:
    ratio = compare(net.call(ours), net.call(reference), rounds=101, turn=0.005, timer=WATCH)
    if sign == "<=":
        return Figure("network", name, shown, against, ratio.inverse(), target, "lower")
    return Figure("network", name, shown, against, ratio, target)


@pytest.fixture(scope="module")
def net(django_db_setup: None, django_db_blocker: Any) -> Iterator[Network]:
    """Servers, tables, and leave to use the database."""
    with django_db_blocker.unblock():
        try:
            with network() as found:
                yield found
        except ServerMissing as error:
            pytest.skip(str(error))


@pytest.mark.parametrize(
    ("group", "call"), [pytest.param(group, call, id=call) for group, calls in GROUPS.items() for call in calls]
)
@pytest.mark.benchmark(timer=WATCH)
def test_network(benchmark: Any, net: Network, group: str, call: str) -> None:
    """Each call of each group, side by side; each does a hundred things."""
    if call == "cacheops_pk" and not django.apps.apps.is_installed("cacheops"):
        pytest.skip("pytest --ds=benchmarks.network_settings has cacheops")
    benchmark.group = group
    benchmark(net.call(call))


if __name__ == "__main__":
    from benchmarks.measure import table

    print(table(figures()))
