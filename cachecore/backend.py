"""What a backend must be able to do.

Every method is atomic for each key, and one round trip to each server for any number of keys. The transitions are
those of `cachecore.entries`. A backend raises only `BackendError` and its subclasses; bytes it cannot read are an
``Unusable`` entry, never an error. `cachecore.testing.BackendSuite` checks all of it.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

from cachecore.entries import Entry, Grant, Value


class Backend(Protocol):
    """A store of entries whose calls block."""

    name: str
    """For messages and metrics, such as "memory"."""

    keeps_objects: bool
    """True: payloads are immutable Python objects kept as they are (in-process). False: payloads are bytes."""

    def get(self, keys: Sequence[str]) -> list[Entry | None]:
        """What stands under each key; None where nothing does."""
        ...

    def acquire(self, keys: Sequence[str], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        """Get each key, leaving a lease for ``ttl`` seconds where nothing stands: the reply is then a Grant.

        The token of the Grant is the one a fill must show. It may differ from ``token`` where the server makes its own.
        None: nothing stands, and the server had no room for a lease.
        """
        ...

    def displace(self, seen: Sequence[tuple[str, Entry]], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        """Replace each entry by a lease if it is still the one that was seen; the reply is as for acquire."""
        ...

    def fill(self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None) -> list[bool | None]:
        """Replace leases by values: (key, token of the grant, value, weight in bytes). False where the lease is gone.

        None where the server had no room for the value: too large, or full. Then nothing stands there, or the lease.
        """
        ...

    def abandon(self, leases: Sequence[tuple[str, bytes]]) -> None:
        """Give leases back unfilled."""
        ...

    def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> None:
        """Join the hold of every key; returns when every server has acknowledged it."""
        ...

    def complete(
        self, keys: Sequence[str], token: bytes, values: Mapping[str, tuple[Value, int]], ttl: float | None
    ) -> None:
        """End one's part in the hold of every key after a commit; see ``entries.completed``."""
        ...

    def release(self, keys: Sequence[str], token: bytes) -> None:
        """Leave the hold of every key after a rollback; see ``entries.released``."""
        ...

    def put(self, items: Sequence[tuple[str, Value, int]], ttl: float | None) -> list[bool]:
        """Store values whatever stands there. False for a value too large to be stored; the key is then empty."""
        ...

    def swap(self, key: str, stamp: bytes, value: Value, weight: int, ttl: float | None) -> bool:
        """Replace the value under ``key`` if a Value with this stamp stands there."""
        ...

    def forget(self, keys: Sequence[str]) -> list[bool]:
        """Remove whatever stands under each key; True where something did."""
        ...

    def clear(self) -> None:
        """Remove everything this backend's server holds, of every namespace."""
        ...

    def diagnose(self) -> list[str]:
        """Sentences that name what in the servers' settings weakens the promise; none if nothing does."""
        ...

    def close(self) -> None:
        """End connections. Closing twice is allowed."""
        ...


class LocalBackend(Backend, Protocol):
    """A backend inside the process, whose reads are cheap enough to skip the protocol's machinery on a hit."""

    def read(self, key: str) -> Entry | None:
        """What stands under ``key``, and a mark that it was used. Never blocks."""
        ...


class AsyncBackend(Protocol):
    """The same store, awaited."""

    name: str
    keeps_objects: bool

    def get(self, keys: Sequence[str]) -> Awaitable[list[Entry | None]]: ...
    def acquire(self, keys: Sequence[str], token: bytes, ttl: float) -> Awaitable[list[Entry | Grant | None]]: ...
    def displace(
        self, seen: Sequence[tuple[str, Entry]], token: bytes, ttl: float
    ) -> Awaitable[list[Entry | Grant | None]]: ...
    def fill(
        self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None
    ) -> Awaitable[list[bool | None]]: ...
    def abandon(self, leases: Sequence[tuple[str, bytes]]) -> Awaitable[None]: ...
    def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> Awaitable[None]: ...
    def complete(
        self, keys: Sequence[str], token: bytes, values: Mapping[str, tuple[Value, int]], ttl: float | None
    ) -> Awaitable[None]: ...
    def release(self, keys: Sequence[str], token: bytes) -> Awaitable[None]: ...
    def put(self, items: Sequence[tuple[str, Value, int]], ttl: float | None) -> Awaitable[list[bool]]: ...
    def swap(self, key: str, stamp: bytes, value: Value, weight: int, ttl: float | None) -> Awaitable[bool]: ...
    def forget(self, keys: Sequence[str]) -> Awaitable[list[bool]]: ...
    def clear(self) -> Awaitable[None]: ...
    def diagnose(self) -> Awaitable[list[str]]: ...
    def close(self) -> Awaitable[None]: ...
