"""What the network benchmarks compare: servers of their own, and calls that each do a hundred things over the network.

A reference fetches bytes as long as those that stand under our keys, under keys as long as ours.

This process and the servers run on one processor; `benchmarks.processor` says why.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import redis
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from pymemcache.client.base import Client

from benchmarks import bare
from benchmarks.app import network as models
from benchmarks.processor import one_processor
from cachecore import Cache
from cachecore.backend import Backend
from cachecore.entries import Grant, Value, encode_entry
from cachecore.integrations.django.rows import RowLayout
from cachecore.testing.servers import MemcachedServer, RedisServer
from cachecore.unit import new_token

PKS = list(range(1, 101))
SLUGS = [f"oslo-{number}" for number in PKS]
FLEET = 3

WATCH = bare.Stopwatch()
"""The clock of these benchmarks."""

Call = Callable[[], object]


class Core:
    """Our cache at one location, without any framework: each method gives a call."""

    def __init__(self, location: str) -> None:
        layout = RowLayout(models.SeedRedisRow)
        rows = {row[0]: row for row in layout.select(models.SeedRedisRow.objects.filter(pk__in=PKS))}
        by_slug = {row[1]: row for row in rows.values()}
        self.cache = Cache(location, namespace="bench", ttl=3600)
        self.records = self.cache.entity(
            "bench.Row",
            layout.codec,
            lookups=["slug"],
            load=lambda identities: [rows[identity] for identity in identities],
            query=lambda fields: by_slug[fields["slug"]],
        )
        self._payloads = [layout.codec.encode(row) for row in rows.values()]
        self._keys = [self.records.entity.key(pk) for pk in PKS]

    def by_pk(self) -> Call:
        return self._warm(bare.each(self.records.get, PKS))

    def by_slug(self) -> Call:
        find = self.records.find

        def run() -> None:
            for slug in SLUGS:
                find(slug=slug)

        return self._warm(run)

    def many(self) -> Call:
        get_many = self.records.get_many
        return self._warm(lambda: get_many(PKS))

    def acquire(self) -> Call:
        """The round trips of `by_pk` alone: what the backend costs, without keys, protocol and rows."""
        self.by_pk()
        acquire, token, epoch = self.cache.backend.acquire, new_token(), self.records.entity.epoch_key
        asked = [[epoch, key] for key in self._keys]

        def run() -> None:
            for keys in asked:
                acquire(keys, token, 5.0)

        return run

    def fill(self) -> Call:
        """A hundred fills, each of a lease of its own; leaving the leases takes no time."""
        backend: Backend = self.cache.backend
        values = [Value(payload, bytes(18)) for payload in self._payloads]
        keys = [f"fill:{key}" for key in self._keys]

        def run() -> None:
            with WATCH.stopped():
                backend.forget(keys)
                grants = [reply.token for reply in backend.acquire(keys, new_token(), 60.0) if type(reply) is Grant]
            done = [
                backend.fill([(key, grant, value, 200)], 3600.0)
                for key, grant, value in zip(keys, grants, values, strict=True)
            ]
            assert done == [[True]] * len(keys)

        return run

    def _warm(self, run: Call) -> Call:
        """``run``, once it has nothing to load any more."""
        run()
        run()
        misses = self.cache.statistics.misses
        run()
        assert self.cache.statistics.misses == misses, "the cache does not become warm"
        return run


class Network:
    """The servers, and every call that is compared, by its name; all of them do a hundred things."""

    def __init__(self, redis_server: RedisServer, memcached: MemcachedServer, fleet: list[MemcachedServer]) -> None:
        self._redis_server = redis_server
        self._memcached_server = memcached
        self._fleet_servers = fleet
        self._open = ExitStack()
        self._calls: dict[str, Call] = {}

    def close(self) -> None:
        """Close connections."""
        self._open.close()

    def call(self, name: str) -> Call:
        """A call, warm."""
        if name not in self._calls:
            self._calls[name] = getattr(self, name)()
        return self._calls[name]

    def _core(self, location: str) -> Core:
        core = Core(location)
        self._open.callback(core.cache.close)
        return core

    # -- ours, without any framework -----------------------------------------------------------------

    @cached_property
    def _redis(self) -> Core:
        return self._core(self._redis_server.url)

    @cached_property
    def _memcached(self) -> Core:
        return self._core(self._memcached_server.url)

    @cached_property
    def _fleet(self) -> Core:
        return self._core("memcached://" + ",".join(f"{server.host}:{server.port}" for server in self._fleet_servers))

    def redis_pk(self) -> Call:
        return self._redis.by_pk()

    def redis_slug(self) -> Call:
        return self._redis.by_slug()

    def redis_many(self) -> Call:
        return self._redis.many()

    def redis_acquire(self) -> Call:
        return self._redis.acquire()

    def redis_fill(self) -> Call:
        return self._redis.fill()

    def memcached_pk(self) -> Call:
        return self._memcached.by_pk()

    def memcached_slug(self) -> Call:
        return self._memcached.by_slug()

    def memcached_many(self) -> Call:
        return self._memcached.many()

    def memcached_acquire(self) -> Call:
        return self._memcached.acquire()

    def memcached_fill(self) -> Call:
        return self._memcached.fill()

    def fleet_many(self) -> Call:
        return self._fleet.many()

    # -- the bare clients ----------------------------------------------------------------------------

    @cached_property
    def _stock_redis(self) -> Any:
        client = redis.Redis(host=self._redis_server.host, port=self._redis_server.port)
        self._open.callback(client.close)
        client.mset(dict(self._samples.data))
        return client

    @cached_property
    def _stock_memcached(self) -> Client:
        client = Client(
            (self._memcached_server.host, self._memcached_server.port), no_delay=True, default_noreply=False
        )
        self._open.callback(client.close)
        client.set_many(self._samples.data)
        return client

    @cached_property
    def _samples(self) -> "Samples":
        return Samples()

    def raw_gets(self) -> Call:
        return self._raw_gets(5.0)

    def raw_gets_without_timeout(self) -> Call:
        return self._raw_gets(None)

    def _raw_gets(self, timeout: float | None) -> Call:
        assert self._stock_redis.ping()
        server = self._redis_server
        connection, run = bare.raw_gets(server.host, server.port, self._samples.keys, timeout)
        self._open.callback(connection.close)
        return run

    def pinned_gets(self) -> Call:
        return bare.pinned_gets(self._stock_redis, self._samples.keys)

    def redis_gets(self) -> Call:
        return bare.each(self._stock_redis.get, self._samples.keys)

    def redis_sets(self) -> Call:
        put = self._stock_redis.set
        return bare.sets(lambda key, value: put(key, value, px=3_600_000), self._samples.data)

    def redis_mget(self) -> Call:
        return bare.mget(self._stock_redis, self._samples.keys, self._samples.row)

    def redis_mget_instances(self) -> Call:
        return bare.mget(self._stock_redis, self._samples.keys, self._samples.instance)

    def memcached_gets(self) -> Call:
        return bare.each(self._stock_memcached.get, self._samples.keys)

    def memcached_sets(self) -> Call:
        put = self._stock_memcached.set
        return bare.sets(lambda key, value: put(key, value, 3600), self._samples.data)

    def memcached_get_many(self) -> Call:
        return bare.get_many(self._stock_memcached, self._samples.keys, self._samples.row)

    def memcached_get_many_instances(self) -> Call:
        return bare.get_many(self._stock_memcached, self._samples.keys, self._samples.instance)

    # -- Django --------------------------------------------------------------------------------------

    def django_redis_pk(self) -> Call:
        return _by_pk(models.RedisRow)

    def django_redis_slug(self) -> Call:
        return _by_slug(models.RedisRow)

    def django_redis_many(self) -> Call:
        return _many(models.RedisRow)

    def django_memcached_pk(self) -> Call:
        return _by_pk(models.MemcachedRow)

    def django_memcached_slug(self) -> Call:
        return _by_slug(models.MemcachedRow)

    def django_memcached_many(self) -> Call:
        return _many(models.MemcachedRow)

    def seed_redis_pk(self) -> Call:
        return _by_pk(models.SeedRedisRow)

    def seed_redis_slug(self) -> Call:
        return _by_slug(models.SeedRedisRow)

    def seed_memcached_pk(self) -> Call:
        return _by_pk(models.SeedMemcachedRow)

    def seed_memcached_slug(self) -> Call:
        return _by_slug(models.SeedMemcachedRow)


class Samples:
    """What the bare clients fetch: bytes as long as those under our keys, under keys as long as ours."""

    def __init__(self) -> None:
        layout = RowLayout(models.SeedRedisRow)
        payloads = map(layout.codec.encode, layout.select(models.SeedRedisRow.objects.filter(pk__in=PKS)))
        stamp, incarnation = bytes(18), bytes(8)
        self.keys = [f"bench:benchmarks.RedisRow@default:{pk:04}" for pk in PKS]
        stored = [encode_entry(Value(payload, stamp), incarnation) for payload in payloads]
        self.data = dict(zip(self.keys, stored, strict=True))
        self._head = len(encode_entry(Value(b"", stamp), incarnation))
        self._decode = layout.codec.decode
        self._make: Any = layout.instance

    def row(self, data: Any) -> Any:
        """The row in the bytes."""
        return self._decode(data[self._head :])

    def instance(self, data: Any) -> Any:
        """Its instance."""
        return self._make(self._decode(data[self._head :]), "default", None)


def _by_pk(model: Any) -> Call:
    get = model.objects.get_from_cache

    def run() -> None:
        for pk in PKS:
            get(pk=pk)

    return _warm(run)


def _by_slug(model: Any) -> Call:
    get = model.objects.get_from_cache

    def run() -> None:
        for slug in SLUGS:
            get(slug=slug)

    return _warm(run)


def _many(model: Any) -> Call:
    get = model.objects.get_many_from_cache
    return _warm(lambda: get(PKS))


def _warm(run: Call) -> Call:
    """``run``, once it asks the database nothing any more."""
    run()
    run()
    with CaptureQueriesContext(connection) as queries:
        run()
    assert not len(queries), "the cache does not become warm"
    return run


@contextmanager
def network() -> Iterator[Network]:
    """Servers that run, and Django's and our settings that name them. Raises ServerMissing with the hint."""
    with ExitStack() as stack:
        stack.enter_context(one_processor())
        redis_server = stack.enter_context(RedisServer())
        memcached, *fleet = (stack.enter_context(MemcachedServer(["-t", "1"])) for _ in range(1 + FLEET))
        address = f"{memcached.host}:{memcached.port}"
        ours = {"NAMESPACE": "bench", "TTL": 3600}
        stack.enter_context(
            override_settings(
                CACHES={
                    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
                    "redis": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis_server.url},
                    "memcached": {
                        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
                        "LOCATION": address,
                    },
                },
                CACHECORE={
                    "default": {"BACKEND": "memory", "PROCESSES": 1, **ours},
                    "redis": {"BACKEND": "redis", "LOCATION": redis_server.url, **ours},
                    "memcached": {"BACKEND": "memcached", "LOCATION": memcached.url, **ours},
                },
            )
        )
        models.fill()
        found = Network(redis_server, memcached, fleet)
        stack.callback(found.close)
        yield found
