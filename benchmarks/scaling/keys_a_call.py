"""Against the number of keys of one call: making keys, and getting many rows, in memory, on Redis and on memcached."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from time import perf_counter, process_time
from typing import Any, Final

import redis
from pymemcache.client.base import Client

from benchmarks.measure import Call
from benchmarks.scaling.curve import Curve
from benchmarks.scaling.stage import address
from benchmarks.scaling.sweep import Effort, Sides, against, swept
from cachecore import Cache
from cachecore.keys import IdentityMaker, make_key, make_keys
from cachecore.records import Records

SIZES: Final = [1, 10, 100, 1_000, 10_000]
BYTES: Final = 60


def curves(effort: Effort) -> Iterator[Curve]:
    """Keys first, then rows."""
    sizes = effort.sizes(SIZES, 1_000)
    common = {"x_label": "keys a call", "unit": "x"}
    maker = IdentityMaker("shop", "geo.City")
    values = {size: list(range(1_000_000, 1_000_000 + size)) for size in sizes}
    for name, ours, reference, sides in (
        ("make", "make_keys", "make_key, one by one", _making(values)),
        ("identities", "IdentityMaker.many", "IdentityMaker(), one by one", _identities(maker, values)),
    ):
        times = swept(sides, effort, process_time)
        yield Curve(
            name=f"keys-{name}",
            title=f"a call of {ours}",
            y_label="time, one key = 1",
            docs="A call that makes many keys costs something once, and the same for each key.",
            series=against(times, ours, reference, expected=1.0),
            **common,  # type: ignore[arg-type]
        )
    with ExitStack() as stack:
        for where, reference, location, get in (
            ("memory", "Records.get, one by one", "memory://", _singly(stack, sizes)),
            ("Redis", "redis-py MGET", f"{os.environ['SCALING_REDIS']}?timeout=10", _of_redis(stack, sizes)),
            (
                "memcached",
                "pymemcache get_many",
                f"{os.environ['SCALING_MEMCACHED']}?timeout=10",
                _of_memcached(stack, sizes),
            ),
        ):
            ours = f"Records.get_many, {where}"
            times = swept({ours: _many(stack, location, sizes), reference: get}, effort, perf_counter)
            yield Curve(
                name=f"keys-rows-{where.lower()}",
                title=f"a call of get_many, {where}, all rows warm",
                y_label=f"time, {reference} of one key = 1",
                docs="Many rows are one round trip; each row adds the same to it.",
                series=against(times, ours, reference, expected=1.0),
                notes=["bare clients get as many bytes and decode nothing; ours decodes every row"],
                **common,  # type: ignore[arg-type]
            )


def _making(values: dict[int, list[int]]) -> Sides:
    def many(some: list[int]) -> Call:
        return lambda: make_keys("shop", "geo.City", "slug", some)

    def singly(some: list[int]) -> Call:
        return lambda: [make_key("shop", "geo.City", {"slug": value}) for value in some]

    return {
        "make_keys": {size: many(some) for size, some in values.items()},
        "make_key, one by one": {size: singly(some) for size, some in values.items()},
    }


def _identities(maker: IdentityMaker, values: dict[int, list[int]]) -> Sides:
    def many(some: list[int]) -> Call:
        return lambda: maker.many(some)

    def singly(some: list[int]) -> Call:
        return lambda: [maker(value) for value in some]

    return {
        "IdentityMaker.many": {size: many(some) for size, some in values.items()},
        "IdentityMaker(), one by one": {size: singly(some) for size, some in values.items()},
    }


def _warm(stack: ExitStack, location: str, rows: int) -> Records:
    """Records of so many rows, all of them in the cache."""
    cache = stack.enter_context(Cache(location, namespace="many", ttl=3600))
    records = cache.entity(
        "geo.City",
        {"id": int, "slug": str, "number": int},
        load=lambda identities: [(identity, f"slug-{identity}", identity) for identity in identities],
    )
    for _ in range(2):
        records.get_many(range(1, rows + 1))
    cache.statistics.reset()
    records.get_many(range(1, rows + 1))
    assert cache.statistics.misses == 0, "the cache does not become warm"
    return records


def _many(stack: ExitStack, location: str, sizes: list[int]) -> dict[int, Call]:
    """Calls that get so many warm rows."""
    records = _warm(stack, location, sizes[-1])

    def call(size: int) -> Call:
        identities = list(range(1, size + 1))
        return lambda: records.get_many(identities)

    return {size: call(size) for size in sizes}


def _names(sizes: list[int]) -> dict[int, list[str]]:
    return {size: [f"many:geo.City@default:i{number}" for number in range(size)] for size in sizes}


def _singly(stack: ExitStack, sizes: list[int]) -> dict[int, Call]:
    records = _warm(stack, "memory://", sizes[-1])

    def call(size: int) -> Call:
        identities = list(range(1, size + 1))
        return lambda: [records.get(identity) for identity in identities]

    return {size: call(size) for size in sizes}


def _of_redis(stack: ExitStack, sizes: list[int]) -> dict[int, Call]:
    host, port = address(os.environ["SCALING_REDIS"])
    client: Any = stack.enter_context(redis.Redis(host=host, port=port))
    names = _names(sizes)
    client.mset(dict.fromkeys((f"bare:{name}" for name in names[sizes[-1]]), b"x" * BYTES))

    def call(some: list[str]) -> Call:
        return lambda: client.mget(some)

    return {size: call([f"bare:{name}" for name in some]) for size, some in names.items()}


def _of_memcached(stack: ExitStack, sizes: list[int]) -> dict[int, Call]:
    client = Client(address(os.environ["SCALING_MEMCACHED"]), no_delay=True)
    stack.callback(client.close)
    names = _names(sizes)
    client.set_many(dict.fromkeys((f"bare:{name}" for name in names[sizes[-1]]), b"x" * BYTES))

    def call(some: list[str]) -> Call:
        return lambda: client.get_many(some)

    return {size: call([f"bare:{name}" for name in some]) for size, some in names.items()}
