"""What a backend is compared with: the functions of `cachecore.entries` applied to a dict, and nothing else."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from cachecore import entries
from cachecore.entries import Entry, Grant, Hold, Lease, Value


class ReferenceBackend:
    """The table of transitions, with expiry, as a backend for one thread."""

    name = "reference"
    keeps_objects = True

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._stored: dict[str, tuple[Entry, float]] = {}

    def get(self, keys: Sequence[str]) -> list[Entry | None]:
        return [self._read(key) for key in keys]

    def acquire(self, keys: Sequence[str], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        return [self._grant(key, entries.acquired(self._read(key), token, self._clock()), ttl) for key in keys]

    def displace(self, seen: Sequence[tuple[str, Entry]], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        now = self._clock()
        return [self._grant(key, entries.displaced(self._read(key), entry, token, now), ttl) for key, entry in seen]

    def fill(self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None) -> list[bool | None]:
        done: list[bool | None] = []
        for key, token, value, _ in items:
            entry, filled = entries.filled(self._read(key), token, value)
            done.append(filled)
            if filled:
                self._write(key, entry, ttl)
        return done

    def abandon(self, leases: Sequence[tuple[str, bytes]]) -> None:
        for key, token in leases:
            if entries.abandoned(self._read(key), token) is None:
                self._write(key, None, None)

    def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> None:
        now = self._clock()
        for key in keys:
            self._write(key, entries.held(self._read(key), token, now + ttl, now), None)

    def complete(
        self, keys: Sequence[str], token: bytes, values: Mapping[str, tuple[Value, int]], ttl: float | None
    ) -> None:
        for key in keys:
            value, _ = values.get(key, (None, 0))
            self._write(key, entries.completed(self._read(key), token, self._clock(), value), ttl)

    def release(self, keys: Sequence[str], token: bytes) -> None:
        for key in keys:
            before = self._read(key)
            after = entries.released(before, token, self._clock())
            if after is not before:
                self._write(key, after, None)

    def put(self, items: Sequence[tuple[str, Value, int]], ttl: float | None) -> list[bool]:
        for key, value, _ in items:
            self._write(key, value, ttl)
        return [True] * len(items)

    def swap(self, key: str, stamp: bytes, value: Value, weight: int, ttl: float | None) -> bool:
        entry = self._read(key)
        matches = isinstance(entry, Value) and entry.stamp == stamp
        if matches:
            self._write(key, value, ttl)
        return matches

    def forget(self, keys: Sequence[str]) -> list[bool]:
        stood = [entry is not None for entry in self.get(keys)]
        for key in keys:
            self._write(key, None, None)
        return stood

    def clear(self) -> None:
        self._stored.clear()

    def diagnose(self) -> list[str]:
        return []

    def _read(self, key: str) -> Entry | None:
        entry, until = self._stored.get(key, (None, 0.0))
        now = self._clock()
        # A hold whose last deadline has passed is gone, as it is from any server.
        return entries.standing(entry, now) if until > now else None

    def _write(self, key: str, entry: Entry | None, ttl: float | None) -> None:
        if entry is None:
            self._stored.pop(key, None)
        else:
            self._stored[key] = (entry, float("inf") if ttl is None else self._clock() + ttl)

    def _grant(self, key: str, transition: tuple[Entry, Entry | Grant], ttl: float) -> Entry | Grant:
        entry, reply = transition
        if isinstance(reply, Grant):
            self._write(key, entry, ttl)
        return reply


class Observed:
    """A backend seen from the outside: its replies without what may differ between two correct ones.

    That is the token of a lease, which the server may make itself, and everything about a hold but who is in it.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._granted: dict[tuple[str, bytes], bytes] = {}

    def do(self, name: str, *arguments: Any) -> Any:
        """Call a method of the backend; the reply as far as it matters."""
        reply = getattr(self._backend, name)(*arguments)
        if name in ("acquire", "displace"):
            keys: Any = arguments[0] if name == "acquire" else [key for key, _ in arguments[0]]
            for key, entry in zip(keys, reply, strict=True):
                if isinstance(entry, Grant):
                    self._granted[key, arguments[1]] = entry.token
        return reply if reply is None or isinstance(reply, bool) else [essence(entry) for entry in reply]

    def token(self, key: str, asked: bytes) -> bytes:
        """The token of the lease that was granted to whoever asked with ``asked``."""
        return self._granted.get((key, asked), asked)


class Paced:
    """A backend whose seconds are ``pace`` seconds long."""

    _ttl_at: ClassVar[Mapping[str, int]] = {
        "acquire": 2, "displace": 2, "fill": 1, "hold": 2, "complete": 3, "put": 1, "swap": 4
    }  # fmt: skip

    def __init__(self, backend: Any, pace: float) -> None:
        self._backend = backend
        self._pace = pace

    def __getattr__(self, name: str) -> Any:
        call, at = getattr(self._backend, name), self._ttl_at.get(name)

        def paced(*arguments: Any) -> Any:
            if at is None or arguments[at] is None:
                return call(*arguments)
            return call(*arguments[:at], arguments[at] * self._pace, *arguments[at + 1 :])

        return paced


def essence(entry: Any) -> Any:
    """What any backend must show of an entry."""
    if isinstance(entry, Lease | Grant):
        return type(entry).__name__
    if isinstance(entry, Hold):
        return "Hold", frozenset(token for token, _ in entry.tokens)
    return entry
