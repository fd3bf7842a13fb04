"""The row in each of our caches."""

from benchmarks.peers.twelve import Twelve
from cachecore.integrations.django import CacheManager


class MemoryRow(Twelve):
    """In this process."""

    objects = CacheManager(cache_fields=["slug"])


class RedisRow(Twelve):
    """On Redis."""

    objects = CacheManager(cache_fields=["slug"], cache="redis")


class MemcachedRow(Twelve):
    """On memcached."""

    objects = CacheManager(cache_fields=["slug"], cache="memcached")
