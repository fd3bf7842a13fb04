"""Against the number of entries: the in-process map beside dict, what an entry takes, and keys on Redis.

Who asks at random among more entries than the processor's caches hold waits for memory, whatever the map: a dict of the
same size shows how much of the growth that is. So what is judged is the ratio.
"""

import itertools
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from random import Random
from time import perf_counter, process_time
from typing import Any, Final

import redis

from benchmarks.measure import Call
from benchmarks.scaling.curve import Curve, series
from benchmarks.scaling.stage import address
from benchmarks.scaling.sweep import Effort, against, swept
from cachecore import Cache
from cachecore.backends.store import ENTRY_OVERHEAD, Store, implementation

SIZES: Final = [10, 100, 1_000, 10_000, 100_000, 1_000_000]
REDIS_SIZES: Final = [10, 100, 1_000, 10_000, 100_000]
ASKED: Final = 100_000
A_CALL: Final = 1_000
FRESH: Final = 50_000
TTL: Final = 3600.0
FIFO = "OrderedDict, popitem"
DOCS: Final = "A read or a write of the in-process map costs what it does in a dict, however many entries there are."
MEMORY = (
    "in both a read at random waits for memory once the entries are more than the processor's caches hold; the ratio is"
    " what the map adds"
)


def keys_of(count: int, seed: int) -> list[str]:
    """Keys like those of make_key: a prefix, an entity and 32 hexadecimal digits; each seed has others."""
    random = Random(seed)
    return [f"shop:shop.City:{random.getrandbits(128):032x}" for _ in range(count)]


def asking(get: Callable[[str], object], keys: Sequence[str]) -> Call:
    """A call that asks for A_CALL of these keys, and the next one for those that follow."""
    some = [keys[start : start + A_CALL] for start in range(0, len(keys), A_CALL)]
    if len(some[-1]) < A_CALL:
        some = [[key for key, _ in zip(itertools.cycle(keys), range(A_CALL), strict=False)]]
    turns = itertools.cycle(some)

    def run() -> None:
        for key in next(turns):
            get(key)

    return run


def copies(keys: Sequence[str], seed: int = 2) -> list[str]:
    """Equal keys in a random order, as a caller makes them: hashed, and not the stored objects."""
    chosen = Random(seed).sample(keys, min(len(keys), ASKED))
    made = ["".join(list(key)) for key in chosen]
    for key in made:
        hash(key)
    return made


def filled(keys: Sequence[str]) -> Store:
    """A store that these keys fill."""
    store = Store(max_entries=len(keys), max_bytes=2**40)
    for key in keys:
        store.set(key, True, 100, TTL)
    return store


def adding(put: Callable[[str], object], fresh: Iterator[str]) -> Call:
    """A call that sets A_CALL keys that were never there."""

    def run() -> None:
        for key in itertools.islice(fresh, A_CALL):
            put(key)

    return run


def replacing(table: "OrderedDict[str, bool]") -> Callable[[str], None]:
    """The least that a bounded map can do with a new key: put it in, and the oldest out."""

    def put(key: str) -> None:
        table[key] = True
        table.popitem(last=False)

    return put


def curves(effort: Effort) -> Iterator[Curve]:
    """Reads that hit and miss, sets that evict, bytes an entry; and reads on Redis."""
    sizes = effort.sizes(SIZES, 10_000)
    absent = keys_of(ASKED, 3)
    hits: dict[str, dict[int, Call]] = {"Store.get": {}, "dict.get": {}}
    misses: dict[str, dict[int, Call]] = {"Store.get": {}, "dict.get": {}}
    sets: dict[str, dict[int, Call]] = {"Store.set": {}, FIFO: {}}
    overhead: dict[int, list[float]] = {}
    dict_overhead: dict[int, list[float]] = {}
    for size in sizes:
        keys = keys_of(size, 1)
        store, table = filled(keys), dict.fromkeys(keys, True)
        asked, missed = copies(keys), absent[: max(size, A_CALL)]
        hits["Store.get"][size], hits["dict.get"][size] = asking(store.get, asked), asking(table.get, asked)
        misses["Store.get"][size], misses["dict.get"][size] = asking(store.get, missed), asking(table.get, missed)
        overhead[size], dict_overhead[size] = [sys.getsizeof(store) / size], [sys.getsizeof(table) / size]
    common: dict[str, Any] = {"x_label": "entries", "unit": "x", "docs": DOCS}
    label = "time, dict of the fewest entries = 1"
    for name, title, sides in (("hit", "a read that hits", hits), ("miss", "a read that misses", misses)):
        times = swept(sides, effort, process_time)
        lines = against(times, "Store.get", "dict.get", expected_ratio=0.0, tolerance=0.2)
        yield Curve(name=f"entries-{name}", title=title, y_label=label, series=lines, notes=[MEMORY], **common)
    if implementation == "cython":
        yield _bytes(overhead, dict_overhead)
    del hits, misses
    for size in sizes:
        keys = keys_of(size, 1)
        # As many fresh keys as all turns will take, and no more: each is hashed anew by both sides.
        supplies = [iter(keys_of(FRESH, seed)) for seed in (4, 5)]
        sets["Store.set"][size] = adding(_setter(filled(keys)), supplies[0])
        sets[FIFO][size] = adding(replacing(OrderedDict.fromkeys(keys, True)), supplies[1])
    times = swept(sets, Effort(effort.rounds, 0.0, effort.quick), process_time)
    lines = against(times, "Store.set", FIFO, expected_ratio=0.0, tolerance=0.2)
    note = "a thousand new keys a call into a full map, each of which puts another out"
    label = f"time, {FIFO} of the fewest entries = 1"
    yield Curve(name="entries-set", title="a set that evicts", y_label=label, series=lines, notes=[note], **common)
    yield _on_redis(effort)


def _setter(store: Store) -> Callable[[str], object]:
    put = store.set
    return lambda key: put(key, True, 100, TTL)


def _bytes(ours: dict[int, list[float]], reference: dict[int, list[float]]) -> Curve:
    fixed = "the arrays of an empty store, spread over more entries"
    explained = dict.fromkeys(ours, fixed)
    lines = [
        series("Store", "count", ours, expected=0.0, tolerance=0.25, explained=explained),
        series("dict", "reference", reference),
    ]
    return Curve(
        name="entries-bytes",
        title="bytes an entry beyond key and value",
        x_label="entries",
        y_label="bytes an entry",
        unit="bytes",
        docs=f"However many entries there are, one takes less than {ENTRY_OVERHEAD} bytes beyond key and value.",
        series=lines,
        notes=["arrays grow by steps, so a size just above a step takes more than one just below the next"],
        broken=[
            f"an entry of {size:,} takes {values[0]:.0f} bytes, more than the {ENTRY_OVERHEAD} it is charged"
            for size, values in ours.items()
            if size >= 1_000 and values[0] > ENTRY_OVERHEAD
        ],
    )


def _on_redis(effort: Effort) -> Curve:
    """Each number of keys in a database of its own of one server, half of them ours."""
    sizes = effort.sizes(REDIS_SIZES, 1_000)
    url = os.environ["SCALING_REDIS"]
    host, port = address(url)
    ours, reference = "Records.get, Redis", "redis-py get"
    sides: dict[str, dict[int, Call]] = {ours: {}, reference: {}}
    caches: list[Cache] = []
    clients: list[Any] = []
    for number, size in enumerate(sizes):
        cache = Cache(f"{url.rpartition('/')[0]}/{number}?timeout=10", namespace="scaling", ttl=3600)
        caches.append(cache)
        records = cache.entity(
            "scaling.Note",
            {"id": int, "slug": str, "number": int},
            load=lambda identities: [(identity, f"slug-{identity}", identity) for identity in identities],
        )
        identities = list(range(1, size + 1))
        for start in range(0, size, 1_000):
            records.get_many(identities[start : start + 1_000])
        client = redis.Redis(host=host, port=port, db=number)
        clients.append(client)
        for start in range(0, size, 1_000):
            client.mset({f"row:{identity}": b"x" * 60 for identity in identities[start : start + 1_000]})
        chosen = Random(2).sample(identities, min(size, 100))
        names = [f"row:{identity}" for identity in chosen]
        sides[ours][size] = _each(records.get, chosen * (100 // len(chosen)))
        sides[reference][size] = _each(client.get, names * (100 // len(names)))
    times = swept(sides, effort, perf_counter)
    for closing in (*caches, *clients):
        closing.close()
    return Curve(
        name="entries-redis",
        title="a warm read of a server with so many rows",
        x_label="rows on Redis",
        y_label="time, redis-py of the fewest keys = 1",
        unit="x",
        docs="A warm row is one round trip, however many rows the server has.",
        series=against(times, ours, reference, expected=0.0, expected_ratio=0.0, tolerance=0.2),
    )


def _each(get: Callable[[Any], object], keys: Sequence[Any]) -> Call:
    def run() -> None:
        for key in keys:
            get(key)

    return run
