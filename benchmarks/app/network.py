"""The rows of the network benchmarks: one table, in a model for each cache that is compared.

Apart from the other models because these need servers, and are declared only where there are some.
"""

from django.db import connection, models

from benchmarks.app.models import ROWS, Eleven, instances
from benchmarks.app.seed_like import SeedLikeManager
from cachecore.integrations.django import CacheManager


class NetworkRow(Eleven):
    """Twelve fields, none of them JSON."""

    note = models.CharField(max_length=100)

    class Meta:
        abstract = True
        app_label = "benchmarks"
        db_table = "benchmarks_network_row"
        managed = False


class RedisRow(NetworkRow):
    """In our cache on Redis."""

    objects = CacheManager(cache_fields=["slug"], cache_ttl=3600, cache="redis")


class MemcachedRow(NetworkRow):
    """In our cache on memcached."""

    objects = CacheManager(cache_fields=["slug"], cache_ttl=3600, cache="memcached")


class SeedRedisRow(NetworkRow):
    """By the reference, on Django's RedisCache."""

    objects = SeedLikeManager(cache_fields=["slug"], cache_ttl=3600, cache="redis")

    class Meta(NetworkRow.Meta):
        pass


class SeedMemcachedRow(NetworkRow):
    """By the reference, on Django's PyMemcacheCache."""

    objects = SeedLikeManager(cache_fields=["slug"], cache_ttl=3600, cache="memcached")

    class Meta(NetworkRow.Meta):
        pass


def fill() -> None:
    """Make the table and ROWS rows in it, unless they are there."""
    if NetworkRow._meta.db_table in connection.introspection.table_names():
        return
    with connection.schema_editor() as editor:
        editor.create_model(SeedRedisRow)
    SeedRedisRow.objects.bulk_create(instances(SeedRedisRow, ROWS, note="Seat of the king."))
