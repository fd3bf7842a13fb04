"""A cache server inside the test: stores bytes, logs every call, and fails, forgets and restarts when told to.

It keeps what a real server would keep: the bytes of `cachecore.entries`, written under the incarnation of the server.
So a test that passes here has encoded and decoded every entry, and a restart makes what is left unreadable.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from cachecore import entries
from cachecore.entries import INCARNATION_BYTES, Entry, Grant, Hold, Value
from cachecore.errors import BackendError, BackendUnavailable
from cachecore.testing.clock import ManualClock

T = TypeVar("T")

_FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a backend, as logged: its name and the keys it was for."""

    name: str
    keys: tuple[str, ...]


@dataclass(slots=True)
class _Fault:
    name: str | None
    error: BackendError
    times: int
    carried_out: bool


class FakeBackend:
    """A backend for tests, safe under threads.

    clock: seconds that never go back; None makes a `ManualClock`, found as ``backend.clock``.
    max_bytes: larger payloads are not stored, as on a server with a limit. None: no limit.
    """

    name = "fake"
    keeps_objects = False

    def __init__(self, clock: Callable[[], float] | None = None, *, max_bytes: int | None = None) -> None:
        self.clock = clock or ManualClock()
        self.log: list[Call] = []
        """Every call so far, those that failed included. A test may clear it."""
        self.closed = False
        self.full = False
        """Set it, and the server has no room for another lease or value. A hold always finds room."""
        self.incarnation = (1).to_bytes(INCARNATION_BYTES, "big")
        self._max_bytes = max_bytes
        self._stored: dict[str, tuple[bytes, float]] = {}
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()

    # -- what a test does to it ----------------------------------------------------------------------

    def operations(self) -> list[str]:
        """The names of the logged calls in order, for tests that count round trips: ``["acquire", "fill"]``."""
        return [call.name for call in self.log]

    def fail(
        self,
        name: str | None = None,
        error: BackendError | None = None,
        *,
        times: int = 1,
        carried_out: bool = False,
    ) -> None:
        """Make the next ``times`` calls of ``name`` raise ``error``.

        name: of the method; None means any.
        error: None means BackendUnavailable.
        carried_out: whether the call has its effect all the same, as after a timeout.
        """
        self._faults.append(_Fault(name, error or BackendUnavailable("the fake server is down"), times, carried_out))

    def recover(self) -> None:
        """Forget the failures that have not happened yet."""
        self._faults.clear()

    def evict(self, key: str) -> bool:
        """Lose whatever stands under ``key``, as a full server does; whether something did."""
        with self._lock:
            return self._stored.pop(key, None) is not None

    def inject(self, key: str, raw: bytes) -> None:
        """Put bytes that this code never wrote under ``key``."""
        with self._lock:
            self._stored[key] = (raw, _FOREVER)

    def restart(self, content: Mapping[str, tuple[bytes, float]] | None = None) -> None:
        """Become another incarnation: empty, or with old ``content`` of a `snapshot`, as after a failover."""
        with self._lock:
            self.incarnation = (int.from_bytes(self.incarnation, "big") + 1).to_bytes(INCARNATION_BYTES, "big")
            self._stored = dict(content or {})

    def snapshot(self) -> Mapping[str, tuple[bytes, float]]:
        """What is stored now: key to (bytes, time of expiry). Never changes."""
        with self._lock:
            return MappingProxyType(dict(self._stored))

    def restore(self, content: Mapping[str, tuple[bytes, float]]) -> None:
        """Store exactly ``content`` again; the incarnation stays."""
        with self._lock:
            self._stored = dict(content)

    # -- the backend ---------------------------------------------------------------------------------

    def get(self, keys: Sequence[str]) -> list[Entry | None]:
        return self._call("get", keys, lambda now: [self._standing(key, now) for key in keys])

    def acquire(self, keys: Sequence[str], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        def acquire(key: str, now: float) -> Entry | Grant | None:
            return self._grant(key, entries.acquired(self._read(key, now), token, now), now + ttl)

        return self._call("acquire", keys, lambda now: [acquire(key, now) for key in keys])

    def displace(self, seen: Sequence[tuple[str, Entry]], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        def displace(key: str, entry: Entry, now: float) -> Entry | Grant | None:
            return self._grant(key, entries.displaced(self._read(key, now), entry, token, now), now + ttl)

        keys = [key for key, _ in seen]
        return self._call("displace", keys, lambda now: [displace(key, entry, now) for key, entry in seen])

    def _grant(self, key: str, transition: tuple[Entry, Entry | Grant], until: float) -> Entry | Grant | None:
        entry, reply = transition
        if isinstance(reply, Grant):
            if self.full:
                return None
            self._write(key, entry, until)
        return reply

    def fill(self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None) -> list[bool | None]:
        def fill(key: str, token: bytes, value: Value, now: float) -> bool | None:
            entry, granted = entries.filled(self._read(key, now), token, value)
            if not granted:
                return False
            return True if self._write(key, entry, _until(now, ttl)) else None

        return self._call("fill", (item[0] for item in items), lambda now: [fill(*item[:3], now) for item in items])

    def abandon(self, leases: Sequence[tuple[str, bytes]]) -> None:
        def abandon(now: float) -> None:
            for key, token in leases:
                if entries.abandoned(self._read(key, now), token) is None:
                    self._write(key, None, now)

        self._call("abandon", (key for key, _ in leases), abandon)

    def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> None:
        def hold(now: float) -> None:
            for key in keys:
                self._keep(key, entries.held(self._read(key, now), token, now + ttl, now), now)

        self._call("hold", keys, hold)

    def complete(
        self, keys: Sequence[str], token: bytes, values: Mapping[str, tuple[Value, int]], ttl: float | None
    ) -> None:
        def complete(now: float) -> None:
            for key in keys:
                value, _ = values.get(key, (None, 0))
                self._keep(key, entries.completed(self._read(key, now), token, now, value), _until(now, ttl))

        self._call("complete", keys, complete)

    def release(self, keys: Sequence[str], token: bytes) -> None:
        def release(now: float) -> None:
            for key in keys:
                before = self._read(key, now)
                after = entries.released(before, token, now)
                if after is not before:
                    self._keep(key, after, now)

        self._call("release", keys, release)

    def put(self, items: Sequence[tuple[str, Value, int]], ttl: float | None) -> list[bool]:
        def put(now: float) -> list[bool]:
            return [self._write(key, value, _until(now, ttl)) for key, value, _ in items]

        return self._call("put", (item[0] for item in items), put)

    def swap(self, key: str, stamp: bytes, value: Value, weight: int, ttl: float | None) -> bool:
        def swap(now: float) -> bool:
            entry = self._read(key, now)
            return isinstance(entry, Value) and entry.stamp == stamp and self._write(key, value, _until(now, ttl))

        return self._call("swap", [key], swap)

    def forget(self, keys: Sequence[str]) -> list[bool]:
        def forget(key: str, now: float) -> bool:
            stood = self._standing(key, now) is not None
            self._write(key, None, now)
            return stood

        return self._call("forget", keys, lambda now: [forget(key, now) for key in keys])

    def clear(self) -> None:
        self._call("clear", (), lambda now: self._stored.clear())

    def diagnose(self) -> list[str]:
        return []

    def close(self) -> None:
        self.closed = True

    # -- inside --------------------------------------------------------------------------------------

    def _call(self, name: str, keys: Iterable[str], carry_out: Callable[[float], T]) -> T:
        with self._lock:
            self.log.append(Call(name, tuple(keys)))
            fault = next((one for one in self._faults if one.name in (None, name)), None)
            if fault is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                if fault.carried_out:
                    carry_out(self.clock())
                raise fault.error
            return carry_out(self.clock())

    def _read(self, key: str, now: float) -> Entry | None:
        """What is stored and has not expired, an outlived Hold included."""
        raw, until = self._stored.get(key, (b"", now))
        return entries.decode_entry(raw, self.incarnation) if until > now else None

    def _standing(self, key: str, now: float) -> Entry | None:
        return entries.standing(self._read(key, now), now)

    def _write(self, key: str, entry: Entry | None, until: float) -> bool:
        too_large = isinstance(entry, Value) and self._max_bytes is not None and _size(entry) > self._max_bytes
        if entry is None or too_large or (self.full and isinstance(entry, Value)):
            self._stored.pop(key, None)
            return False
        self._stored[key] = (entries.encode_entry(entry, self.incarnation), until)
        return True

    def _keep(self, key: str, entry: Entry | None, until: float) -> None:
        """Write ``entry``; a Hold lives as long as its last token."""
        if isinstance(entry, Hold):
            until = max(deadline for _, deadline in entry.tokens)
        self._write(key, entry, until)


def _until(now: float, ttl: float | None) -> float:
    return _FOREVER if ttl is None else now + ttl


def _size(value: Value) -> int:
    return len(value.payload) if isinstance(value.payload, bytes) else 0
