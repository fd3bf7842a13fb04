"""Redis as a backend: one server, a primary behind sentinels, or a cluster. See `settings` for URLs and options."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cachecore.backends.redis.async_backend import AsyncRedisBackend
    from cachecore.backends.redis.backend import RedisBackend
    from cachecore.backends.redis.settings import Settings


def from_url(url: str, options: Mapping[str, Any]) -> "RedisBackend":
    """The blocking backend at ``url``. Nothing is connected yet. Raises ConfigurationError."""
    from cachecore.backends.redis.backend import RedisBackend
    from cachecore.backends.redis.topology import topology_of

    settings = _settings(url, options)
    return RedisBackend(topology_of(settings), settings)


def async_from_url(url: str, options: Mapping[str, Any]) -> "AsyncRedisBackend":
    """The awaited backend at ``url``. Nothing is connected yet. Raises ConfigurationError."""
    from cachecore.backends.redis.async_backend import AsyncRedisBackend
    from cachecore.backends.redis.topology import async_topology_of

    settings = _settings(url, options)
    return AsyncRedisBackend(async_topology_of(settings), settings)


def _settings(url: str, options: Mapping[str, Any]) -> "Settings":
    from cachecore.backends.redis.resp import make_reader
    from cachecore.backends.redis.settings import read_settings

    settings = read_settings(url, options)
    make_reader(settings.parser)
    return settings
