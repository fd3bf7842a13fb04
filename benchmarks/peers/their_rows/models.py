"""The row without us: Django's own manager, which cacheops and cachalot patch, and seed-like ones."""

from django.db import models

from benchmarks.app.seed_like import SeedLikeManager
from benchmarks.peers.twelve import Twelve


class Row(Twelve):
    """The row."""

    objects = models.Manager()
    on_locmem = SeedLikeManager(cache_fields=["slug"], cache_ttl=3600, cache="default")
    on_redis = SeedLikeManager(cache_fields=["slug"], cache_ttl=3600, cache="redis")
    on_memcached = SeedLikeManager(cache_fields=["slug"], cache_ttl=3600, cache="memcached")
