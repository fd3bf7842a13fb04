"""Against the bytes of a value: plain values, and rows with one text, in memory, on Redis and on memcached.

A fill is a whole miss: the read that finds nothing and takes the lease, the loader, and the fill of the lease. Its
reference is what a bare client does: a get that finds nothing, and a set. In memory Django's locmem is the reference.

memcached refuses what is larger than its item limit. Such values are returned and not stored, and counted; they have no
point on the curve, and a note says what happened.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import redis
from django.core.cache import caches
from pymemcache.client.base import Client

from benchmarks.bare import Stopwatch
from benchmarks.measure import Call
from benchmarks.scaling.curve import Curve
from benchmarks.scaling.stage import address
from benchmarks.scaling.sweep import Effort, against, swept
from cachecore import Cache

SIZES: Final = [100, 1_000, 10_000, 100_000, 1_000_000]
TOO_LARGE: Final = 1024 * 1024
"""The item limit of memcached, in which key and header must have room too."""
WATCH: Final = Stopwatch()
DOCS: Final = "What a value adds to a call grows with its bytes, and no faster."
REFUSED: Final = "Rows beyond the server's item limit are returned and not stored, and counted as refused fills."


@dataclass(frozen=True, slots=True)
class Bare:
    """A client, its keys the sizes of their values."""

    name: str
    get: Callable[[str], object]
    put: Callable[[str, Any], object]
    delete: Callable[[str], object]


class Ours:
    """A cache with a value and a row of each size; the keys of the values, and of the rows, are the sizes."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.records = cache.entity(
            "scaling.Text",
            {"id": int, "text": str},
            load=lambda identities: [(size, _text(size)) for size in identities],
        )

    def get(self, size: int) -> Call:
        key, text = str(size), _text(size)
        assert self.cache.set(key, text)
        assert self.cache.get(key) == text
        return lambda: self.cache.get(key)

    def put(self, size: int) -> Call:
        key, text = str(size), _text(size)
        return lambda: self.cache.set(key, text)

    def row(self, size: int) -> Call:
        for _ in range(2):
            self.records.get(size)
        hits = self.cache.statistics.hits
        self.records.get(size)
        assert self.cache.statistics.hits == hits + 1, f"a row of {size} bytes does not stay"
        return lambda: self.records.get(size)

    def fill(self, size: int) -> Call:
        """Leaving the fill before takes no time."""
        key = self.records.entity.key(size)

        def run() -> None:
            with WATCH.stopped():
                self.cache.backend.forget([key])
            self.records.get(size)

        return run


def curves(effort: Effort) -> Iterator[Curve]:
    """Plain values and rows at each location."""
    sizes = effort.sizes(SIZES, 100_000)
    effort = effort.fewer(11)
    redis_url, memcached_url = os.environ["SCALING_REDIS"], os.environ["SCALING_MEMCACHED"]
    for where, location, reference in (
        ("memory", "memory://", _locmem),
        ("Redis", f"{redis_url}?timeout=10", _redis),
        ("memcached", f"{memcached_url}?timeout=10", _memcached),
    ):
        with ExitStack() as stack:
            ours, bare = Ours(stack.enter_context(Cache(location, namespace="bytes", ttl=3600))), reference(stack)
            yield from _at(where, ours, bare, sizes, effort)


def _at(where: str, ours: Ours, bare: Bare, sizes: Sequence[int], effort: Effort) -> Iterator[Curve]:
    notes, broken = _beyond_the_limit(ours) if where == "memcached" else ([], [])
    if where == "Redis":
        notes = [
            "a fill is a compare-and-set: a script, through whose memory Redis copies the value; a SET is not copied"
        ]
    get, put, fill = f"{bare.name} get", f"{bare.name} set", f"{bare.name} get and set"
    common: dict[str, Any] = {"x_label": "bytes", "unit": "x"}

    def calls(make: Callable[[int], Call]) -> dict[int, Call]:
        return {size: make(size) for size in sizes}

    times = swept(
        {"Cache.get": calls(ours.get), "Records.get": calls(ours.row), get: calls(_gets(bare))}, effort, perf_counter
    )
    yield Curve(
        name=f"bytes-get-{where.lower()}",
        title=f"reading a value, {where}",
        y_label=f"time, {get} of the fewest bytes = 1",
        docs=DOCS,
        series=[
            *against(times, "Cache.get", get, expected=1.0),
            *(one for one in against(times, "Records.get", get, expected=1.0) if one.role != "reference"),
        ],
        **common,
    )
    times = swept({"Cache.set": calls(ours.put), put: calls(_puts(bare))}, effort, perf_counter)
    yield Curve(
        name=f"bytes-set-{where.lower()}",
        title=f"storing a value, {where}",
        y_label=f"time, {put} of the fewest bytes = 1",
        docs=DOCS,
        series=against(times, "Cache.set", put, expected=1.0),
        **common,
    )
    times = swept({"miss and fill": calls(ours.fill), fill: calls(_fills(bare))}, effort, WATCH)
    yield Curve(
        name=f"bytes-fill-{where.lower()}",
        title=f"a row that is missed, loaded and stored, {where}",
        y_label=f"time, {fill} of the fewest bytes = 1",
        docs=f"{DOCS} {REFUSED}" if where == "memcached" else DOCS,
        series=against(times, "miss and fill", fill, expected=1.0),
        notes=notes,
        broken=broken,
        **common,
    )


def _beyond_the_limit(ours: Ours) -> tuple[list[str], list[str]]:
    """(what happened to a value and a row of TOO_LARGE bytes, what of that is not as documented)."""
    cache, size = ours.cache, TOO_LARGE
    cache.statistics.reset()
    stored = cache.set(str(size), _text(size))
    rows = [ours.records.get(size) for _ in range(3)]
    refused, failures = cache.statistics.refused_fills, cache.statistics.failures
    broken: list[str] = []
    if stored or cache.get(str(size)) is not None:
        broken.append(f"a plain value of {size:,} bytes was stored")
    if any(row != (size, _text(size)) for row in rows):
        broken.append(f"a row of {size:,} bytes was not returned whole")
    if (refused, failures) != (3, 0):
        broken.append(f"three reads of a row of {size:,} bytes: {refused} refused fills and {failures} failures")
    said = "set says False" if not stored else "set says True"
    return [
        f"{size:,} bytes, the item limit: {said}; of 3 reads of the row {refused} refused fills, {failures} failures"
    ], broken


def _text(size: int) -> str:
    return "x" * size


def _gets(bare: Bare) -> Callable[[int], Call]:
    def make(size: int) -> Call:
        key = f"get-{size}"
        bare.put(key, _text(size))
        assert bare.get(key) is not None
        return lambda: bare.get(key)

    return make


def _puts(bare: Bare) -> Callable[[int], Call]:
    def make(size: int) -> Call:
        key, text = f"put-{size}", _text(size)
        return lambda: bare.put(key, text)

    return make


def _fills(bare: Bare) -> Callable[[int], Call]:
    def make(size: int) -> Call:
        key = f"fill-{size}"

        def run() -> None:
            with WATCH.stopped():
                bare.delete(key)
            bare.get(key)
            bare.put(key, _text(size))

        return run

    return make


def _locmem(_: ExitStack) -> Bare:
    cache: Any = caches["default"]
    return Bare("locmem", cache.get, cache.set, cache.delete)


def _redis(stack: ExitStack) -> Bare:
    host, port = address(os.environ["SCALING_REDIS"])
    client: Any = stack.enter_context(redis.Redis(host=host, port=port))
    return Bare("redis-py", client.get, lambda key, value: client.set(key, value, px=3_600_000), client.delete)


def _memcached(stack: ExitStack) -> Bare:
    client = Client(address(os.environ["SCALING_MEMCACHED"]), no_delay=True, default_noreply=False)
    stack.callback(client.close)
    return Bare("pymemcache", client.get, lambda key, value: client.set(key, value, 3600), client.delete)
