"""Bounded maps in this process: our store and others, each filled and read as its documentation does it for speed.

All of them hold the same keys, and each key as its own value. Where a map knows times to live, every entry has one of
an hour. None of the others bounds the bytes it holds, and none can pin an entry against eviction; ours does both.

    ours, others = Ours(100_000), CachetoolsTtl(100_000)
    ours.fill(keys); others.fill(keys)
    versus("get, hit", ours.hits(asked), others.hits(asked), shown=ours.name, against=others.name)
"""

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from random import Random
from typing import Any, ClassVar

from benchmarks.measure import Call
from cachecore.backends.store import Store

TTL = 3600.0
"""Seconds that entries live."""


def keys_of(count: int, seed: int = 1) -> list[str]:
    """Keys like those of make_key: a prefix, an entity and 32 hexadecimal digits."""
    random = Random(seed)
    return [f"shop:shop.City:{random.getrandbits(128):032x}" for _ in range(count)]


def copies(keys: Sequence[str]) -> list[str]:
    """Equal keys, as a caller makes them, which are not the stored objects; their hashes are known already."""
    made = ["".join(list(key)) for key in keys]
    for key in made:
        hash(key)
    return made


class Map:
    """A map of at most so many entries; this one is for those that are used like a dict."""

    name: ClassVar[str]
    """As it is shown."""
    distribution: ClassVar[str] = ""
    """What has to be installed; "" for the standard library."""
    shared: ClassVar[bool] = False
    """Whether its documentation lets threads share it as it is."""
    asked: ClassVar[bool] = True
    """Whether it can be asked for a key without a value being made for it."""

    def __init__(self, entries: int) -> None:
        self.cache: Any = self.make(entries)

    def make(self, entries: int) -> Any:
        """The map itself, empty."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.cache)

    def hits(self, keys: Sequence[str]) -> Call:
        """A call that gets every key; all of them are there."""
        cache = self.cache

        def run() -> None:
            for key in keys:
                _ = cache[key]

        return run

    def misses(self, keys: Sequence[str]) -> Call:
        """A call that asks for every key; none is there. Of maps that can be asked."""
        return each(self.cache.get, keys)

    def sets(self, turns: Iterator[Sequence[str]]) -> Call:
        """A call that stores the keys of the next turn."""
        cache = self.cache

        def run() -> None:
            for key in next(turns):
                cache[key] = key

        return run

    def value(self, key: str) -> Any:
        """What stands there; None if nothing does."""
        return self.cache.get(key)

    def fill(self, keys: Sequence[str]) -> None:
        """Store all of them, in this order."""
        self.sets(iter([keys]))()


def each(get: Callable[[str], object], keys: Sequence[str]) -> Call:
    """A call that passes every key to ``get``."""

    def run() -> None:
        for key in keys:
            get(key)

    return run


class Ours(Map):
    """Our store, with the policy that it has unless told otherwise."""

    name = "Store"
    shared = True

    def make(self, entries: int) -> Any:
        return Store(max_entries=entries, max_bytes=2**40)

    def hits(self, keys: Sequence[str]) -> Call:
        return each(self.cache.get, keys)

    def sets(self, turns: Iterator[Sequence[str]]) -> Call:
        put = self.cache.set

        def run() -> None:
            for key in next(turns):
                put(key, key, 100, TTL)

        return run


class CachetoolsLru(Map):
    """Least recently used, in Python. No time to live, and a lock is the caller's."""

    name = "cachetools LRUCache"
    distribution = "cachetools"

    def make(self, entries: int) -> Any:
        from cachetools import LRUCache

        return LRUCache(entries)


class CachetoolsTtl(Map):
    """Least recently used with one time to live for all entries, in Python. A lock is the caller's."""

    name = "cachetools TTLCache"
    distribution = "cachetools"

    def make(self, entries: int) -> Any:
        from cachetools import TTLCache

        return TTLCache(entries, ttl=TTL)


class LockedCachetoolsTtl(CachetoolsTtl):
    """The same behind a lock, as its documentation asks of those who share it among threads."""

    name = "cachetools TTLCache, RLock"
    shared = True

    def __init__(self, entries: int) -> None:
        super().__init__(entries)
        self._lock = threading.RLock()

    def hits(self, keys: Sequence[str]) -> Call:
        cache, lock = self.cache, self._lock

        def run() -> None:
            for key in keys:
                with lock:
                    _ = cache[key]

        return run


class CacheboxLru(Map):
    """Least recently used, in Rust. No time to live."""

    name = "cachebox LRUCache"
    distribution = "cachebox"
    shared = True

    def make(self, entries: int) -> Any:
        from cachebox import LRUCache

        return LRUCache(entries, capacity=entries)


class CacheboxTtl(Map):
    """A time to live for each entry, in Rust. When it is full, what expires first goes, however often it is used."""

    name = "cachebox VTTLCache"
    distribution = "cachebox"
    shared = True

    def make(self, entries: int) -> Any:
        from cachebox import VTTLCache

        return VTTLCache(entries, capacity=entries)

    def sets(self, turns: Iterator[Sequence[str]]) -> Call:
        insert = self.cache.insert

        def run() -> None:
            for key in next(turns):
                insert(key, key, TTL)

        return run


class LruDict(Map):
    """Least recently used, in C. No time to live, and no word on threads."""

    name = "lru-dict LRU"
    distribution = "lru-dict"

    def make(self, entries: int) -> Any:
        from lru import LRU

        return LRU(entries)


class Theine(Map):
    """W-TinyLFU, with a time to live for each entry: a policy in Rust under maps in Python."""

    name = "theine Cache"
    distribution = "theine"
    shared = True

    def make(self, entries: int) -> Any:
        from theine import Cache

        return Cache[str, str](entries)

    def hits(self, keys: Sequence[str]) -> Call:
        return each(self.cache.get, keys)

    def sets(self, turns: Iterator[Sequence[str]]) -> Call:
        put, ttl = self.cache.set, timedelta(seconds=TTL)

        def run() -> None:
            for key in next(turns):
                put(key, key, ttl)

        return run

    def value(self, key: str) -> Any:
        return self.cache.get(key)[0]


class Memo(Map):
    """A function that remembers what it returned. It cannot be asked what it knows, nor told."""

    asked = False

    def __len__(self) -> int:
        return int(self.cache.cache_info().currsize)

    def hits(self, keys: Sequence[str]) -> Call:
        return each(self.cache, keys)

    def sets(self, turns: Iterator[Sequence[str]]) -> Call:
        function = self.cache

        def run() -> None:
            for key in next(turns):
                function(key)

        return run

    def value(self, key: str) -> Any:
        return self.cache(key)


class Functools(Memo):
    """Least recently used, in C, of a function that returns its argument. No time to live."""

    name = "functools.lru_cache"
    shared = True

    def make(self, entries: int) -> Any:
        return functools.lru_cache(maxsize=entries)(_itself)


class TheineMemo(Memo):
    """theine as its decorator, with a function that makes the key, as it recommends; one caller of many computes."""

    name = "theine Memoize"
    distribution = "theine"
    shared = True

    def make(self, entries: int) -> Any:
        from theine import Memoize

        memo = Memoize(entries, timedelta(seconds=TTL))(_another_itself)
        memo.key(_itself)
        return memo

    def __len__(self) -> int:
        return len(self.cache._cache)


def _itself(key: str) -> str:
    return key


def _another_itself(key: str) -> str:
    return key


class HomeMade(Map):
    """What applications write for themselves: an OrderedDict, a lock, and times at which entries expire."""

    name = "OrderedDict, lock, TTL"
    shared = True

    def make(self, entries: int) -> Any:
        return _HomeMade(entries)

    def hits(self, keys: Sequence[str]) -> Call:
        return each(self.cache.get, keys)

    def sets(self, turns: Iterator[Sequence[str]]) -> Call:
        put = self.cache.set

        def run() -> None:
            for key in next(turns):
                put(key, key, TTL)

        return run


class _HomeMade:
    """Least recently used."""

    def __init__(self, entries: int) -> None:
        self._entries: OrderedDict[str, tuple[object, float]] = OrderedDict()
        self._most = entries
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> object:
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                return None
            value, expires = found
            if expires <= time.monotonic():
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return value

    def set(self, key: str, value: object, ttl: float) -> None:
        with self._lock:
            self._entries[key] = (value, time.monotonic() + ttl)
            self._entries.move_to_end(key)
            if len(self._entries) > self._most:
                self._entries.popitem(last=False)


OTHERS: tuple[type[Map], ...] = (
    CachetoolsLru,
    CachetoolsTtl,
    LockedCachetoolsTtl,
    CacheboxLru,
    CacheboxTtl,
    LruDict,
    Theine,
    TheineMemo,
    Functools,
    HomeMade,
)
