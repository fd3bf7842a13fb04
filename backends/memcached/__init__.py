"""memcached: one server or a fleet, blocking or awaited. See docs/memcached.md for URLs and what they promise."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cachecore.backends.memcached.async_backend import AsyncMemcachedBackend
    from cachecore.backends.memcached.backend import MemcachedBackend


def from_url(url: str, options: Mapping[str, Any]) -> "MemcachedBackend":
    """The blocking backend of ``memcached://host:port,host:port``; ``options`` are those of `settings.Settings`.

    Raises ConfigurationError, naming what is wrong. Nothing is connected yet.
    """
    from cachecore.backends.memcached.backend import MemcachedBackend
    from cachecore.backends.memcached.settings import parsed

    return MemcachedBackend(parsed(url, options))


def async_from_url(url: str, options: Mapping[str, Any]) -> "AsyncMemcachedBackend":
    """The same, whose calls are awaited."""
    from cachecore.backends.memcached.async_backend import AsyncMemcachedBackend
    from cachecore.backends.memcached.settings import parsed

    return AsyncMemcachedBackend(parsed(url, options))
