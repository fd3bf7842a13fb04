"""The reference of the whole-path benchmarks: a manager as applications write it for themselves, on Django's cache.

Written from a description of such a layer, with what it does on a warm read and nothing else: the kwargs sorted,
joined as ``name=value`` by colons and hashed with md5; under the key of the primary key the pickled instance, under
the key of another unique field the primary key; each hit checked for its type. It invalidates nothing.
"""

from collections.abc import Iterable
from hashlib import md5
from typing import Any

from django.core.cache import caches
from django.db import models
from django.utils.connection import ConnectionProxy


def make_key(model: type[models.Model], prefix: str, kwargs: dict[str, Any]) -> str:
    """The key of a lookup."""
    text = ":".join("%s=%s" % item for item in sorted(kwargs.items()))  # noqa: UP031 - this is how it was written
    return f"{prefix}:{model.__name__}:{md5(text.encode()).hexdigest()}"


class SeedLikeManager(models.Manager[Any]):
    """`get_from_cache` and `get_many_from_cache` in two levels."""

    def __init__(self, *, cache_fields: Iterable[str], cache_ttl: int = 300, cache: str = "default") -> None:
        super().__init__()
        self.cache: Any = ConnectionProxy(caches, cache)
        self.cache_fields = tuple(cache_fields)
        self.cache_ttl = cache_ttl

    def get_from_cache(self, **kwargs: Any) -> Any:
        """The row of one lookup."""
        if len(kwargs) != 1:
            raise ValueError("one lookup at a time; just hit the database")
        [(name, value)] = kwargs.items()
        pk_name = self.model._meta.pk.name
        if name == "pk":
            name = pk_name
        name = name.removesuffix("__exact")
        if isinstance(value, models.Model):
            value = value.pk
        if name != pk_name and name not in self.cache_fields:
            raise ValueError(f"{name} is not cached; just hit the database")
        key = make_key(self.model, "bench", {name: value})
        cache = self.cache
        found = cache.get(key)
        if found is None:
            instance = self.get(**{name: value})
            cache.set(key, instance if name == pk_name else instance.pk, self.cache_ttl)
            return instance
        if name != pk_name:
            return self.get_from_cache(**{pk_name: found})
        if not isinstance(found, self.model):
            cache.delete(key)
            return self.get(**kwargs)
        found._state.db = self.db
        return found

    def get_many_from_cache(self, values: Iterable[Any]) -> list[Any]:
        """The rows of many primary keys that are all cached."""
        keys = {make_key(self.model, "bench", {"id": value}): value for value in values}
        found = self.cache.get_many(keys)
        missing = [value for key, value in keys.items() if key not in found]
        rows = {instance.pk: instance for instance in found.values()}
        if missing:
            rows.update(self.in_bulk(missing))
        return list(rows.values())
