"""AsyncCache beside cashews: plain values of twelve fields, warm, one after the other and a hundred tasks at once.

Neither is coherent with a database here; for plain values ours does not promise it. Both are set up as their
documentation shows, with the same time to live. cashews in memory gives every caller the object it holds, so that who
changes it changes it for all; told to pickle, as it does on Redis, it gives each a copy, as ours always does. With
client_side=True cashews keeps what it has read from Redis in memory too, until Redis tells it of a change: it may be
told late, and saves the round trip that ours makes for every read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter, process_time
from typing import Any

import pytest

from benchmarks.measure import Call
from benchmarks.peers import needs
from benchmarks.peers.awaited import NUMBERS, Awaited, Cashews, Ours, at_once, made, one_by_one
from benchmarks.processor import one_processor
from benchmarks.versus import Versus, timed
from cachecore.testing.servers import RedisServer

GROUP = "peers-async"

MANNERS = {"one task": one_by_one, "100 tasks": at_once}


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """The event loop of all of them."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A Redis server on the processor that this process runs on."""
    with one_processor(), RedisServer() as server:
        yield server.url


@pytest.fixture(scope="module")
def caches(runner: asyncio.Runner) -> Iterator[Callable[..., Awaited]]:
    """Gives a cache at a location, made once and filled."""
    made_so_far: dict[Any, Awaited] = {}

    def cache(kind: type[Awaited], location: str, **options: Any) -> Awaited:
        key = (kind, location, *options.items())
        if key not in made_so_far:
            made_so_far[key] = kind(location, **options)
        return made_so_far[key]

    yield cache
    for one in made_so_far.values():
        runner.run(one.close())


def reading(runner: asyncio.Runner, cache: Awaited, manner: str, read: str) -> Call:
    """A call that reads a hundred values in this manner, once every one of them is there and right."""
    how = MANNERS[manner]
    method: Callable[[int], Awaitable[Any]] = {"get": cache.get, "get or create": cache.get_or_create}[read]
    expected = [made(number) for number in NUMBERS]
    assert runner.run(one_by_one(cache.get_or_create)) == expected
    assert runner.run(how(method)) == expected
    run = runner.run
    return lambda: run(how(method))


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("read", ["get", "get or create"])
@pytest.mark.parametrize("pickle", [False, True], ids=["shared", "pickle"])
@timed(process_time)
def test_memory(
    versus: Versus, runner: asyncio.Runner, caches: Callable[..., Awaited], manner: str, read: str, pickle: bool
) -> None:
    """A hundred values from memory."""
    needs("cashews")
    options = {"pickle_type": "default"} if pickle else {}
    ours, other = caches(Ours, "memory://"), caches(Cashews, "mem://", **options)
    versus(
        f"memory, {read}, {manner}",
        reading(runner, ours, manner, read),
        reading(runner, other, manner, read),
        shown=f"AsyncCache.{read.replace(' ', '_')}",
        against="cashews mem://, pickle" if pickle else "cashews mem://",
    )


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("read", ["get", "get or create"])
@pytest.mark.parametrize("client_side", [False, True], ids=["asked", "client side"])
@timed(perf_counter)
def test_redis(
    versus: Versus,
    runner: asyncio.Runner,
    caches: Callable[..., Awaited],
    redis_url: str,
    manner: str,
    read: str,
    client_side: bool,
) -> None:
    """A hundred values from Redis."""
    needs("cashews", "redis")
    options = {"client_side": True} if client_side else {}
    ours, other = caches(Ours, redis_url), caches(Cashews, redis_url, **options)
    versus(
        f"Redis, {read}, {manner}",
        reading(runner, ours, manner, read),
        reading(runner, other, manner, read),
        shown=f"AsyncCache.{read.replace(' ', '_')}",
        against="cashews redis://, client_side" if client_side else "cashews redis://",
    )
