"""A backend that stores nothing: every read is the database's. For switching the cache off by configuration."""

from collections.abc import Mapping, Sequence
from typing import Any

from cachecore.entries import Entry, Grant, Value
from cachecore.errors import ConfigurationError


class NullBackend:
    """Always empty, and without room for a lease, so that nothing is ever sent to be filled."""

    name = "null"
    keeps_objects = True

    def get(self, keys: Sequence[str]) -> list[Entry | None]:
        return [None] * len(keys)

    def acquire(self, keys: Sequence[str], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        return [None] * len(keys)

    def displace(self, seen: Sequence[tuple[str, Entry]], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        return [None] * len(seen)

    def fill(self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None) -> list[bool | None]:
        return [False] * len(items)

    def abandon(self, leases: Sequence[tuple[str, bytes]]) -> None:
        return None

    def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> None:
        return None

    def complete(
        self, keys: Sequence[str], token: bytes, values: Mapping[str, tuple[Value, int]], ttl: float | None
    ) -> None:
        return None

    def release(self, keys: Sequence[str], token: bytes) -> None:
        return None

    def put(self, items: Sequence[tuple[str, Value, int]], ttl: float | None) -> list[bool]:
        return [True] * len(items)

    def swap(self, key: str, stamp: bytes, value: Value, weight: int, ttl: float | None) -> bool:
        return False

    def forget(self, keys: Sequence[str]) -> list[bool]:
        return [False] * len(keys)

    def clear(self) -> None:
        return None

    def diagnose(self) -> list[str]:
        return []

    def close(self) -> None:
        return None


def from_url(url: str, options: Mapping[str, Any]) -> NullBackend:
    """The backend of ``null://``. Raises ConfigurationError for any option."""
    if options:
        raise ConfigurationError(f"null:// has no options, but {', '.join(options)} was given in {url!r}")
    return NullBackend()


async_from_url = from_url  # nothing here blocks
