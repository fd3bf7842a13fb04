"""The rows of the scaling curves: the same columns in a table for each cache, and in one that nobody caches."""

from typing import Any, ClassVar

from django.db import connections, models

from cachecore.integrations.django import CacheManager


class Note(models.Model):
    """A small row; ``number`` is what updates choose by."""

    id: Any = models.BigAutoField(primary_key=True)
    slug: Any = models.SlugField(unique=True)
    number: Any = models.IntegerField(db_index=True)
    text: Any = models.TextField(default="")

    class Meta:
        abstract = True


class Uncached(Note):
    """The reference."""

    objects: ClassVar[models.Manager[Any]] = models.Manager()


class InMemory(Note):
    """Cached in the process."""

    objects = CacheManager(cache_fields=["slug"], cache_ttl=3600)


class OnRedis(Note):
    """Cached on Redis."""

    objects = CacheManager(cache_fields=["slug"], cache_ttl=3600, cache="redis")


class OnMemcached(Note):
    """Cached on memcached."""

    objects = CacheManager(cache_fields=["slug"], cache_ttl=3600, cache="memcached")


MOST_LOOKUPS = 20


def with_lookups(count: int, cache: str) -> Any:
    """A model of MOST_LOOKUPS + 1 columns, of which so many are lookups in this cache."""
    columns: dict[str, Any] = {
        f"column_{number}": models.CharField(max_length=40, unique=True) for number in range(MOST_LOOKUPS)
    }
    manager: Any = CacheManager(cache_fields=list(columns)[:count], cache=cache)
    name = f"Looked{count}{cache.title()}"
    meta = type("Meta", (), {"app_label": "scaling"})
    body: dict[str, Any] = {**columns, "note": models.IntegerField(default=0), "objects": manager, "Meta": meta}
    return type(name, (models.Model,), {**body, "__module__": __name__})


def create(model: type[models.Model], rows: int, using: str = "default") -> None:
    """Make the table of a model of notes, with so many rows numbered from 1."""
    connection = connections[using]
    with connection.schema_editor() as editor:
        editor.create_model(model)
    numbers = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
        f" SELECT i, 'slug-' || i, i, '' FROM n"
    )
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {model._meta.db_table} (id, slug, number, text) {numbers}")
