"""The in-process backend: entries as Python objects in a bounded map.

It keeps the promise among the threads and tasks of one process. It cannot keep it between processes: another worker's
writes are not seen here, and a row may be outdated for as long as its TTL. After a fork the child starts empty.

Reads take no lock. Changes take one, because each is a look at what stands and a decision.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cachecore import entries
from cachecore.backends.store import DEFAULT_POLICY, Store
from cachecore.entries import Entry, Grant, Hold, Value
from cachecore.errors import ConfigurationError

_MARK_WEIGHT = 128
"""Bytes that a lease, or each token of a hold, is counted with."""


class MemoryBackend:
    """A bounded map of entries, with eviction by ``policy``.

    max_entries: how many entries it holds, default 100,000.
    max_bytes: how many bytes of keys, values and its own overhead, default 64 MiB; a larger value is not stored.
    policy: "s3fifo" or "lru"; see the documentation of the store for their hit ratios.
    clock: seconds that never go back, for tests; None reads the system's coarse monotonic clock.

    Holds are never evicted by the bounds. Raises ConfigurationError naming the argument.
    """

    name = "memory"
    keeps_objects = True

    def __init__(
        self,
        *,
        max_entries: int = 100_000,
        max_bytes: int = 64 * 1024 * 1024,
        policy: str = DEFAULT_POLICY,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.store = Store(max_entries=max_entries, max_bytes=max_bytes, policy=policy, clock=clock)
        self.read: Callable[[str], Any] = self.store.get
        self._peek: Callable[[str], Any] = self.store.peek
        self._clock = clock or time.monotonic
        self._lock = threading.Lock()
        _living.add(self)

    def get(self, keys: Sequence[str]) -> list[Entry | None]:
        now = self._clock()
        return [entries.standing(self.read(key), now) for key in keys]

    def acquire(self, keys: Sequence[str], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        with self._lock:
            now = self._clock()
            return [self._acquire(key, entries.acquired(self.read(key), token, now), ttl) for key in keys]

    def displace(self, seen: Sequence[tuple[str, Entry]], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        with self._lock:
            now = self._clock()
            return [
                self._acquire(key, entries.displaced(self._peek(key), entry, token, now), ttl) for key, entry in seen
            ]

    def _acquire(self, key: str, transition: tuple[Entry, Entry | Grant], ttl: float) -> Entry | Grant:
        entry, reply = transition
        if isinstance(reply, Grant):
            self.store.set(key, entry, _MARK_WEIGHT, ttl)
        return reply

    def fill(self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None) -> list[bool | None]:
        with self._lock:
            return [self._fill(key, token, value, weight, ttl) for key, token, value, weight in items]

    def _fill(self, key: str, token: bytes, value: Value, weight: int, ttl: float | None) -> bool | None:
        entry, granted = entries.filled(self._peek(key), token, value)
        if not granted:
            return False
        return True if self.store.set(key, entry, weight, ttl) else None

    def abandon(self, leases: Sequence[tuple[str, bytes]]) -> None:
        with self._lock:
            for key, token in leases:
                entry = self._peek(key)
                if entry is not None and entries.abandoned(entry, token) is None:
                    self.store.delete(key)

    def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> None:
        with self._lock:
            now = self._clock()
            for key in keys:
                self._keep(key, entries.held(self._peek(key), token, now + ttl, now), now)

    def complete(
        self, keys: Sequence[str], token: bytes, values: Mapping[str, tuple[Value, int]], ttl: float | None
    ) -> None:
        with self._lock:
            now = self._clock()
            for key in keys:
                value, weight = values.get(key, (None, 0))
                entry = entries.completed(self._peek(key), token, now, value)
                if type(entry) is Value:
                    self.store.set(key, entry, weight, ttl)
                else:
                    self._keep(key, entry, now)

    def release(self, keys: Sequence[str], token: bytes) -> None:
        with self._lock:
            now = self._clock()
            for key in keys:
                before = self._peek(key)
                after = entries.released(before, token, now)
                if after is not before:
                    self._keep(key, after, now)

    def _keep(self, key: str, entry: Entry | None, now: float) -> None:
        """Store a hold for as long as its last token lives, or nothing."""
        if type(entry) is Hold:
            tokens = entry.tokens
            last = tokens[0][1] if len(tokens) == 1 else max(deadline for _, deadline in tokens)
            self.store.set(key, entry, _MARK_WEIGHT * len(tokens), last - now, pinned=True)
        else:
            self.store.delete(key)

    def put(self, items: Sequence[tuple[str, Value, int]], ttl: float | None) -> list[bool]:
        with self._lock:
            return [self.store.set(key, value, weight, ttl) for key, value, weight in items]

    def swap(self, key: str, stamp: bytes, value: Value, weight: int, ttl: float | None) -> bool:
        with self._lock:
            entry = self._peek(key)
            return type(entry) is Value and entry.stamp == stamp and self.store.set(key, value, weight, ttl)

    def forget(self, keys: Sequence[str]) -> list[bool]:
        with self._lock:
            return [self.store.delete(key) for key in keys]

    def clear(self) -> None:
        with self._lock:
            self.store.clear()

    def diagnose(self) -> list[str]:
        return []

    def close(self) -> None:
        self.clear()

    def _start_empty(self) -> None:
        """In a forked child: other threads, and with them whoever held the lock, are gone."""
        self._lock = threading.Lock()
        self.store.start_empty()


_living: "weakref.WeakSet[MemoryBackend]" = weakref.WeakSet()


def _after_fork() -> None:
    for backend in list(_living):
        backend._start_empty()  # pyright: ignore[reportPrivateUsage]


os.register_at_fork(after_in_child=_after_fork)

_OPTIONS: Mapping[str, Callable[[Any], Any]] = {"max_entries": int, "max_bytes": int, "policy": str}


def from_url(url: str, options: Mapping[str, Any]) -> MemoryBackend:
    """The backend of ``memory://?max_entries=N&max_bytes=N&policy=NAME``. Raises ConfigurationError."""
    if url.partition("://")[2].partition("?")[0].strip("/"):
        raise ConfigurationError(f"the in-process cache has no address: write memory://, not {url!r}")
    chosen: dict[str, Any] = {}
    for name, value in options.items():
        if name not in _OPTIONS:
            raise ConfigurationError(f"memory:// has no option {name!r} ({value!r}); there are {', '.join(_OPTIONS)}")
        try:
            chosen[name] = _OPTIONS[name](value)
        except (TypeError, ValueError):
            raise ConfigurationError(f"memory://: {name} must be a whole number, not {value!r}") from None
    return MemoryBackend(**chosen)


async_from_url = from_url  # nothing here blocks
