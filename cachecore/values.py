"""Plain values under the caller's own keys: get, set, delete, compare-and-set, and one creator at a time.

These are not coherent with any database: a value is what was last set. Only `create` uses leases, so that many who miss
at once do not all do the same work; a `set` or `delete` meanwhile wins over the creator.
"""

from collections.abc import Generator, Iterable, Mapping
from typing import Any

from cachecore.entries import Grant, Lease, Value
from cachecore.errors import BackendError, ConfigurationError, CorruptEntry, InvalidKey, UnsupportedValue
from cachecore.events import Failure
from cachecore.keys import make_key
from cachecore.operations import Abandon, Acquire, Displace, Fill, Note, Operation, Query, Sleep
from cachecore.policy import Policy, Ttl, lifetime
from cachecore.unit import new_token
from cachecore.value_codec import ValueCodec

_MISSING = object()


class Plain:
    """Keys, bytes and lifetimes of plain values."""

    def __init__(self, namespace: str, ttl: float | None, version: int | str, secret: bytes | None) -> None:
        self._namespace = namespace
        self._ttl = ttl
        self._version = version
        self._secret = secret
        self._codec = ValueCodec()

    def key(self, key: str, version: int | str | None) -> str:
        """The stored key of the caller's ``key``; ``version`` None means the cache's own."""
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidKey(f"the key of a plain value is a str, not {key!r}")
        fields = {"key": key, "version": self._version if version is None else version}
        return make_key(self._namespace, "#value", fields, secret=self._secret)

    def keys(self, keys: Iterable[str], version: int | str | None) -> dict[str, str]:
        """The caller's keys to stored keys, duplicates merged."""
        return {key: self.key(key, version) for key in keys}

    def ttl(self, ttl: Ttl) -> float | None:
        """Seconds to live; None means the cache's default, ``math.inf`` no expiry (returned as None)."""
        if ttl is None:
            return self._ttl
        try:
            return lifetime(ttl)
        except ConfigurationError as error:
            raise UnsupportedValue(str(error)) from None

    def pack(self, value: object) -> tuple[Value, int]:
        """(what is stored, its weight in bytes); the stamp is random, so that it can serve compare-and-set."""
        data = self._codec.encode(value)
        return Value(data, new_token()), len(data)

    def items(self, mapping: Mapping[str, object], version: int | str | None) -> list[tuple[str, Value, int]]:
        """What a backend's put takes, for a mapping of the caller's keys to values."""
        return [(self.key(key, version), *self.pack(value)) for key, value in mapping.items()]

    def unpack(self, entry: object, default: Any = None) -> Any:
        """The value of an entry; ``default`` where none stands or it cannot be read."""
        if not isinstance(entry, Value) or not isinstance(entry.payload, bytes):
            return default
        try:
            return self._codec.decode(entry.payload)
        except CorruptEntry:
            return default

    def found(self, stored: Mapping[str, str], entries: Iterable[object]) -> dict[str, Any]:
        """The values that exist, by the caller's key."""
        values = ((key, self.unpack(entry, _MISSING)) for key, entry in zip(stored, entries, strict=True))
        return {key: value for key, value in values if value is not _MISSING}

    def with_token(self, entry: object) -> tuple[Any, bytes | None]:
        """(value, token), or (None, None) where none stands."""
        value = self.unpack(entry, _MISSING)
        return (value, entry.stamp) if isinstance(entry, Value) and value is not _MISSING else (None, None)

    def create(self, key: str, ttl: float | None, token: bytes, policy: Policy) -> Generator[Operation, Any, Any]:
        """The stored value, or the reply to a Query: one reader at a time is asked, for as long as its lease lives."""
        pause, waited = policy.lease_poll, 0.0
        while True:
            try:
                [reply] = yield Acquire([key], token, policy.lease_ttl)
                value = self.unpack(reply, _MISSING)
                if value is _MISSING and not isinstance(reply, Grant | Lease):
                    [reply] = yield Displace([(key, reply)], token, policy.lease_ttl)
                    value = self.unpack(reply, _MISSING)
            except BackendError as error:
                yield Note(Failure("", "acquire", error))
                return (yield Query((key,)))
            if value is not _MISSING:
                return value
            if isinstance(reply, Grant):
                return (yield from self._create(key, reply.token, ttl))
            # The lease of another becomes a value, or expires and is granted to somebody who waits.
            if not isinstance(reply, Lease) or waited > 2 * policy.lease_ttl:
                return (yield Query((key,)))
            yield Sleep(pause)
            waited += pause
            pause = min(2 * pause, 0.05)

    def _create(self, key: str, grant: bytes, ttl: float | None) -> Generator[Operation, Any, Any]:
        try:
            value = yield Query((key,))
            stored, weight = self.pack(value)
        except Exception:
            yield from _attempt(Abandon([(key, grant)]))
            raise
        yield from _attempt(Fill([(key, grant, stored, weight)], ttl))
        return value


def _attempt(operation: Operation) -> Generator[Operation, Any, None]:
    try:
        yield operation
    except BackendError as error:
        yield Note(Failure("", "fill", error))
