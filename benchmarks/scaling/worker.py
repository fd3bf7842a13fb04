"""One of the processes that `benchmarks.scaling.processes` sets to work: ``python -m benchmarks.scaling.worker``.

It is told what to do by a line "NAME CALLS" on its standard input and says "done" when it has. The servers run and the
tables are there; the environment says where.
"""

import os
import sys
from collections.abc import Callable
from typing import Final

import django

from benchmarks.measure import Call

CALLS: Final = (
    "get_from_cache, Redis",
    "redis-py get",
    "get_from_cache, memcached",
    "pymemcache get",
    "a write, Redis",
    "redis-py set and delete",
    "a write, memcached",
    "pymemcache set and delete",
)
A_CALL: Final = 20


def write(location: str) -> Call:
    """A call of A_CALL units of work that write one row, this process's own, with no database at all."""
    from cachecore import Cache

    cache = Cache(f"{location}?timeout=10", namespace="scaling-writes")
    records = cache.entity("scaling.Note", {"id": int, "text": str})
    identity = os.getpid()

    def run() -> None:
        for _ in range(A_CALL):
            with cache.begin() as unit:
                unit.touch(records, identity)
                unit.commit(_nothing)

    return run


def bare_write(put: Callable[[str, bytes], object], delete: Callable[[str], object]) -> Call:
    """The same number of round trips: two for each of A_CALL writes."""
    key = f"written:{os.getpid()}"

    def run() -> None:
        for _ in range(A_CALL):
            put(key, b"x" * 60)
            delete(key)

    return run


def _nothing() -> None:
    """What a COMMIT takes is not measured."""


def make(name: str) -> Call:
    """What one of CALLS does, warm."""
    import redis
    from pymemcache.client.base import Client

    from benchmarks.scaling import models
    from benchmarks.scaling.stage import address
    from benchmarks.scaling.threads import by_pk, memcached_gets, redis_gets

    redis_url, memcached_url = os.environ["SCALING_REDIS"], os.environ["SCALING_MEMCACHED"]
    match name:
        case "get_from_cache, Redis":
            call = by_pk(models.OnRedis)()
        case "get_from_cache, memcached":
            call = by_pk(models.OnMemcached)()
        case "redis-py get":
            call = redis_gets()
        case "pymemcache get":
            call = memcached_gets()
        case "a write, Redis":
            call = write(redis_url)
        case "a write, memcached":
            call = write(memcached_url)
        case "redis-py set and delete":
            host, port = address(redis_url)
            stock = redis.Redis(host=host, port=port)
            call = bare_write(stock.set, stock.delete)
        case "pymemcache set and delete":
            client = Client(address(memcached_url), no_delay=True, default_noreply=False)
            call = bare_write(client.set, client.delete)
        case _:
            raise ValueError(f"there is no call {name!r}; there are {', '.join(CALLS)}")
    call()
    return call


def main() -> None:
    """Work until the standard input ends."""
    django.setup()
    calls = {name: make(name) for name in CALLS}
    print("ready", flush=True)
    for line in sys.stdin:
        name, _, count = line.rstrip("\n").rpartition(" ")
        call = calls[name]
        for _ in range(int(count)):
            call()
        print("done", flush=True)


if __name__ == "__main__":
    main()
