"""Against the number of threads in one process: reads of the in-process map and of rows in memory, Redis and memcached.

Python code of one process runs in one thread at a time (the interpreter's lock), so reads that compute do as much in
four threads as in one; those that wait for a server overlap by the time they wait. The bare reference does both, and
each thread has its own client.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import perf_counter
from typing import Any, Final

import redis
from pymemcache.client.base import Client

from benchmarks.measure import Call, calls_a_turn
from benchmarks.scaling import models
from benchmarks.scaling.crew import Crew, Make
from benchmarks.scaling.curve import Curve
from benchmarks.scaling.entries import filled, keys_of
from benchmarks.scaling.stage import address, servers
from benchmarks.scaling.sweep import Effort
from benchmarks.scaling.throughput import CROWDED, DIVISIBLE, WORKERS, drawn, measured, processor_seconds

ROWS: Final = 20
TURN: Final = 0.06
"""Seconds of a call: many times the 5 ms after which the interpreter lets another thread run."""


def each(get: Callable[[Any], object], keys: list[Any]) -> Call:
    """A call that asks for each key."""

    def run() -> None:
        for key in keys:
            get(key)

    return run


def by_pk(model: Any) -> Make:
    """A thread's warm reads of all ROWS, by Django's manager."""
    get = model.objects.get_from_cache

    def read(pk: int) -> object:
        return get(pk=pk)

    return lambda: each(read, list(range(1, ROWS + 1)))


def redis_gets() -> Call:
    """As many bare gets, by a client of its own."""
    host, port = address(os.environ["SCALING_REDIS"])
    return each(redis.Redis(host=host, port=port).get, [f"row:{number}" for number in range(ROWS)])


def memcached_gets() -> Call:
    """The same on memcached."""
    client = Client(address(os.environ["SCALING_MEMCACHED"]), no_delay=True)
    return each(client.get, [f"row:{number}" for number in range(ROWS)])


def fill_bare() -> None:
    """What the bare clients get."""
    host, port = address(os.environ["SCALING_REDIS"])
    rows: dict[Any, bytes] = {f"row:{number}": b"x" * 60 for number in range(ROWS)}
    with redis.Redis(host=host, port=port) as client:
        client.mset(rows)
    memcached = Client(address(os.environ["SCALING_MEMCACHED"]))
    memcached.set_many(rows)
    memcached.close()


def sides() -> dict[str, Make]:
    """What the threads of each side do."""
    keys = keys_of(ROWS, 1)
    store, table = filled(keys), dict.fromkeys(keys, True)
    for model in (models.InMemory, models.OnRedis, models.OnMemcached):
        models.create(model, ROWS)
        warm = by_pk(model)()
        warm()
        warm()
    fill_bare()
    return {
        "Store.get": lambda: each(store.get, keys),
        "get_from_cache, memory": by_pk(models.InMemory),
        "dict.get": lambda: each(table.get, keys),
        "get_from_cache, Redis": by_pk(models.OnRedis),
        "redis-py get": redis_gets,
        "get_from_cache, memcached": by_pk(models.OnMemcached),
        "pymemcache get": memcached_gets,
    }


PAIRS: Final = {
    "memory": [("Store.get", "dict.get"), ("get_from_cache, memory", "dict.get")],
    "redis": [("get_from_cache, Redis", "redis-py get")],
    "memcached": [("get_from_cache, memcached", "pymemcache get")],
}


def curves(effort: Effort) -> Iterator[Curve]:
    """Reads, in memory and over the network."""
    made = sides()
    turn = TURN / 3 if effort.quick else TURN
    pids = [os.getpid(), *servers()]
    numbers = effort.sizes(WORKERS, 2)
    for where, pairs in PAIRS.items():
        with ExitStack() as stack:
            crews: dict[str, tuple[int, dict[int, Call]]] = {}
            for name in dict.fromkeys(name for pair in pairs for name in pair):
                calls = _enough(made[name], turn)
                some: dict[int, Call] = {
                    threads: stack.enter_context(Crew(made[name], threads, calls)) for threads in numbers
                }
                crews[name] = calls, some
            found = measured(crews, effort, lambda: processor_seconds(pids))
        yield from drawn(
            found,
            pairs,
            name=f"threads-{where}",
            title=f"threads of one process, {where}",
            workers="threads",
            reads="warm reads",
            explained={} if where == "memory" else CROWDED,
            docs="Threads do as much together as with a dict or bare clients: there is no lock of ours to wait for.",
        )


def _enough(make: Make, turn: float) -> int:
    """Calls that one thread does in a turn, found in a thread of their own, whose connections end with it."""
    with ThreadPoolExecutor(1) as alone:
        calls: int = alone.submit(lambda: calls_a_turn(make(), turn, perf_counter)).result()
    return max(1, round(calls / DIVISIBLE)) * DIVISIBLE
