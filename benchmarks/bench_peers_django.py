"""The whole path in Django, reads and writes, beside other ways to cache rows and beside Django itself.

Rows of twelve fields, SQLite in memory. Every side runs in a process of its own and all of them, with Redis and
memcached, on one processor: see `benchmarks.peers.django_hosts`. Where another is faster, it stands in the table as it
is. What each one is:

ours        typed rows; a read that starts after a commit has returned sees it, whatever fails in between
seed-like   a manager as applications write it, on Django's cache backends: pickled instances, nothing is ever outdated
cacheops    results of querysets, pickled, in Redis; a row that is written outdates the querysets that it may belong to,
            by signals, and an update of many by `invalidated_update`, which reads them before and after
cachalot    results of SQL, pickled, on Django's cache backends; a write outdates every query of its table

A row read by its slug is one entry of ours, whichever field it is asked by; of cacheops and cachalot, one for each
query. A hundred at once are a hundred entries of ours, so that a write outdates one; of cacheops and cachalot the
hundred are one entry, which is fetched in one piece and outdated as one. So for those the write makes the next read
dear: "save, then read" and the update show only what the write itself costs, and the read of the same row.
"""

from collections.abc import Iterator
from time import perf_counter

import pytest

from benchmarks.peers import needs
from benchmarks.peers.django_hosts import SIDES, Hosts
from benchmarks.processor import one_processor
from benchmarks.versus import Versus, timed
from cachecore.testing.servers import MemcachedServer, RedisServer

GROUP = "peers-django"
pytestmark = timed(perf_counter)

ROUNDS = 21
READS = {"pk": "pk", "slug": "slug", "many": "100 at once"}
WRITES = {"save": "save", "save_and_read": "save, then read", "update": "update of 100 rows"}
SHOWN = {"pk": "get_from_cache", "slug": "get_from_cache", "many": "get_many_from_cache"}
READ_BY = {
    "ours, memory": ("seed-like, locmem", "cachalot, locmem", "Django"),
    "ours, Redis": ("seed-like, Redis", "cacheops", "cachalot, Redis", "Django"),
    "ours, memcached": ("seed-like, memcached", "Django"),
}
WRITTEN_BY = {
    "ours, memory": ("cachalot, locmem", "Django"),
    "ours, Redis": ("cacheops", "cachalot, Redis", "Django"),
    "ours, memcached": ("Django",),
}
TARGETS = {("pk", "ours, Redis", "cacheops"): 5.0}
DISTRIBUTIONS = {
    "seed-like, memcached": ("pymemcache",),
    "seed-like, Redis": ("redis",),
    "cacheops": ("django-cacheops",),
    "cachalot, locmem": ("django-cachalot",),
    "cachalot, Redis": ("django-cachalot", "redis"),
}


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """The Django processes and their servers."""
    with (
        one_processor(),
        RedisServer() as redis,
        MemcachedServer(["-t", "1"]) as memcached,
        Hosts(redis.url, f"{memcached.host}:{memcached.port}") as hosts,
    ):
        yield hosts


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize(("ours", "other"), [(ours, other) for ours, others in READ_BY.items() for other in others])
def test_read(versus: Versus, hosts: Hosts, name: str, ours: str, other: str) -> None:
    """Warm reads: three hundred rows, one by one by primary key or slug, or a hundred at once."""
    needs("Django", "redis", *DISTRIBUTIONS.get(other, ()))
    place = ours.removeprefix("ours, ")
    versus(
        f"{place}, {READS[name]}",
        hosts.call(ours, name),
        hosts.call(other, name),
        shown=SHOWN[name],
        against=named(other),
        target=TARGETS.get((name, ours, other)),
        rounds=ROUNDS,
    )


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize(("ours", "other"), [(ours, other) for ours, others in WRITTEN_BY.items() for other in others])
def test_write(versus: Versus, hosts: Hosts, name: str, ours: str, other: str) -> None:
    """Writes: ten rows saved one by one, with or without a read after each, or a hundred updated by one statement.

    Seed-like managers are not here: they outdate nothing, and a write is Django's own.
    """
    needs("Django", "redis", *DISTRIBUTIONS.get(other, ()))
    place = ours.removeprefix("ours, ")
    versus(
        f"{place}, {WRITES[name]}",
        hosts.call(ours, name),
        hosts.call(other, name),
        shown="CacheManager",
        against=named(other),
        rounds=ROUNDS,
    )


def named(other: str) -> str:
    """How a side is shown."""
    assert other in SIDES
    return "Django, uncached" if other == "Django" else other
