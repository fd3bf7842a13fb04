"""Foreign keys from the cache, for many instances at once.

Theory of operation
-------------------
A foreign key names a row of the other model by its primary key, or by another unique column of it. If that is a lookup
of a cached model, the rows of many instances are one multi-get, which goes the way of all reads from the cache: a row
that this transaction has written comes from the database, and so does one that is not cached.

Django looks foreign keys up by the other model's base manager, which hides no row. What the cache does not find is
therefore asked for in that way, by one query for all: rows that the cached manager hides are found so. What is not
found there either is left unset, and whoever follows that key gets Django's own answer.

Only rows of the database are given out to which the other model is written, for they are the ones that are cached:
an instance that was loaded from another database keeps to it.
"""

from collections.abc import AsyncIterable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeAlias, cast

from asgiref.sync import sync_to_async
from django.core.exceptions import FieldDoesNotExist
from django.db import DEFAULT_DB_ALIAS, models, router

from cachecore.errors import UncacheableLookup
from cachecore.integrations.django.declaration import Declaration, declared, identity_names
from cachecore.integrations.django.lookup_values import shown
from cachecore.integrations.django.model_cache import ModelCache, model_cache
from cachecore.integrations.django.switches import switches

Key: TypeAlias = "models.ForeignKey[Any, Any]"

_BATCH = 500
"""Values in one ``IN`` of a query: every database allows as many."""


def prefetch_from_cache(objects: Any, *relations: str) -> list[Any]:
    """Set foreign keys of these instances from the cache; returns the instances.

    For each step of each path, and each model it leads to, there is one multi-get, and one query for the rows that are
    not cached. As with Django's prefetch_related, instances with the same key share one related instance. What is
    loaded already is kept, and followed. A key that is NULL or whose row does not exist is left as it is.

    objects: a queryset, any other iterable of instances, or a single instance; they may be of several models.
    relations: names of foreign keys or one-to-one fields, or paths of them such as ``"author__company"``.

    Raises UncacheableLookup, a ValueError, for what is no such field, and for a model that is not cached by the column
    that the key refers to, unless that relation has been loaded for every instance.
    """
    instances = _instances(objects)
    for path in relations:
        if not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UncacheableLookup(f"prefetch_from_cache takes names of foreign keys, not {shown(path)}")
        level: Iterable[models.Model] = {id(instance): instance for instance in instances}.values()
        for name in path.split("__"):
            level = _step(level, name, path)
    return instances


async def aprefetch_from_cache(objects: Any, *relations: str) -> list[Any]:
    """Like `prefetch_from_cache`; ``objects`` may be an asynchronous iterable too."""
    if isinstance(objects, AsyncIterable) and not isinstance(objects, Iterable):
        objects = await _collected(objects)
    return await sync_to_async(prefetch_from_cache)(objects, *relations)


async def _collected(objects: Any) -> list[Any]:
    return [one async for one in objects]


def _instances(objects: Any) -> list[models.Model]:
    if isinstance(objects, models.Model):
        return [objects]
    try:
        instances: list[Any] = list(objects)
    except TypeError:
        raise UncacheableLookup(f"prefetch_from_cache takes instances of models, not {shown(objects)}") from None
    for one in instances:
        if not isinstance(one, models.Model):
            raise UncacheableLookup(f"prefetch_from_cache takes instances of models, not {shown(one)}")
    return instances


def _step(instances: Iterable[models.Model], name: str, path: str) -> Iterable[models.Model]:
    """Fill one relation; returns the instances it leads to."""
    by_key: dict[Key, list[models.Model]] = {}
    for instance in instances:
        by_key.setdefault(foreign_key(type(instance), name, path), []).append(instance)
    led_to: dict[int, models.Model] = {}
    for key, some in by_key.items():
        _load(key, [instance for instance in some if not key.is_cached(instance)])
        for instance in some:
            related = key.get_cached_value(instance, default=None)
            if related is not None:
                led_to[id(related)] = related
    return led_to.values()


def foreign_key(model: type[models.Model], name: str, path: str) -> Key:
    field: Any = None
    with suppress(FieldDoesNotExist):
        field = model._meta.get_field(name) if isinstance(name, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]
    if not isinstance(field, models.ForeignKey):
        known = ", ".join(one.name for one in model._meta.concrete_fields if isinstance(one, models.ForeignKey))
        raise UncacheableLookup(
            f"{shown(path)}: {shown(name)} is no foreign key of {model._meta.label}; there are {known or 'none'}"
        )
    return cast("Any", field)  # type: ignore[no-any-return]


def _load(key: Key, instances: Sequence[models.Model]) -> None:
    """Fill a relation of instances that lack it."""
    if not instances:
        return
    source = source_of(key)
    if source is None:
        raise UncacheableLookup(uncached(key) + "; use prefetch_related")
    fill(key, [instance for instance in instances if serves(source, instance)], source)
    elsewhere: dict[tuple[type[models.Model], str | None], list[models.Model]] = {}
    for instance in instances:
        if not serves(source, instance):
            elsewhere.setdefault((type(instance), instance._state.db), []).append(instance)
    for some in elsewhere.values():
        models.prefetch_related_objects(some, key.name)


def uncached(key: Key) -> str:
    return f"{label_of(key)}: {key.related_model._meta.label} is not cached by {key.target_field.name}"


def label_of(key: Key) -> str:
    return f"{key.model._meta.label}.{key.name}"


_sources: dict[Key, ModelCache] = {}


def source_of(key: Key) -> ModelCache | None:
    """The cache of the rows that a key leads to; None if they are not cached by the column that it refers to."""
    known = _sources.get(key)
    if known is not None and known.is_current and not router.routers:
        return known
    declaration = declaration_of(key)
    if declaration is None:
        return None
    found = _sources[key] = model_cache(declaration, router.db_for_write(declaration.model))
    return found


def declaration_of(key: Key) -> Declaration | None:
    """What is declared of the rows that a key leads to, if they are cached by the column that it refers to."""
    model: type[models.Model] = key.related_model
    found = declared(model)
    column = key.target_field.attname
    if found is None or (identity_names(model) != (column,) and (column,) not in found.lookups()):
        return None
    return found if found.model is model else replace(found, model=model)  # a proxy has instances of its own class


def serves(source: ModelCache, instance: models.Model) -> bool:
    """Whether the cache is to be read for what this instance refers to, and has the rows of the database it is in."""
    if switches.any and switches.bypasses(source.model):
        return False
    if not router.routers:
        return (instance._state.db or DEFAULT_DB_ALIAS) == source.alias
    alias: str = router.db_for_write(source.model, instance=instance)
    return alias == source.alias


def fill(key: Key, instances: Sequence[models.Model], source: ModelCache) -> None:
    """Set what the cache has, or the database, for instances that lack it."""
    _load_deferred(key, instances)
    column, attname = key.target_field, key.attname
    plan = source.plan((column.attname,))
    kind = None if plan is None else plan.kinds[0]
    wanted: dict[Any, list[models.Model]] = {}
    for instance in instances:
        value = vars(instance).get(attname)
        if value is None:
            continue
        if type(value) is not kind:
            try:
                value = source.value(column, value)
            except UncacheableLookup:
                continue  # no value of that column: Django says so when the key is followed
        if not source.can_be((column.attname,), (value,)):
            continue  # no row has it
        wanted.setdefault(value, []).append(instance)
    if not wanted:
        return
    found = source.by_value(column.attname, list(wanted))
    missing = [value for value in wanted if value not in found]
    everything = source.model._base_manager.using(source.alias)
    for start in range(0, len(missing), _BATCH):
        hidden = everything.filter(**{f"{column.attname}__in": missing[start : start + _BATCH]})
        found.update((getattr(related, column.attname), related) for related in hidden)
    for value, some in wanted.items():
        related = found.get(value)
        if related is None:
            continue
        for instance in some:
            key.set_cached_value(instance, related)
            if not key.remote_field.multiple:
                key.remote_field.set_cached_value(related, instance)


def _load_deferred(key: Key, instances: Iterable[models.Model]) -> None:
    """Load the column of the key where it was deferred: by one query for all of them, and not one for each."""
    deferred: dict[tuple[type[models.Model], str | None], dict[Any, list[models.Model]]] = {}
    for instance in instances:
        if key.attname not in vars(instance) and instance.pk is not None:
            same = deferred.setdefault((type(instance), instance._state.db), {})
            same.setdefault(instance.pk, []).append(instance)
    for (model, alias), by_pk in deferred.items():
        everything = model._base_manager.using(alias)
        pks = list(by_pk)
        for start in range(0, len(pks), _BATCH):
            rows = everything.filter(pk__in=pks[start : start + _BATCH]).values_list("pk", key.attname)
            for pk, value in rows:
                for instance in by_pk[pk]:
                    vars(instance)[key.attname] = value
