"""Outdating cached rows by hand, for changes made where nobody could see them.

Theory of operation
-------------------
Outside a transaction the keys are outdated in the cache at once, as by a write that has been committed.

In a transaction they are outdated twice. At once, because the change may have been committed by somebody else. And
they join what the transaction writes, because the change may be its own: until it has ended its own reads of these rows
go to the database, at COMMIT the rows are held like any that it writes, and nobody puts the old ones back meanwhile.
After a rollback nothing more happens: rows were outdated in vain, which costs a query each.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.db import models, router

from cachecore.cache import Cache
from cachecore.errors import UncacheableLookup
from cachecore.integrations.django import local
from cachecore.integrations.django.declaration import concrete, identity_names
from cachecore.integrations.django.writing.connection import state_of
from cachecore.integrations.django.writing.writes import Identity, outdated_by, require_installed, table_of

AnyModel = type[models.Model]


def invalidate(target: Any, using: str | None = None) -> None:
    """Outdate cached rows that were changed where nobody could see it: by another program, a trigger, a foreign client.

    target: an instance: its row. A queryset: the rows that it matches now, found by a query; those that it matched
        before the change and does not match now are not among them. A model: all its rows, by one key. An iterable of
        instances, of one or several models: their rows. What is derived from these rows is outdated too.
    using: the alias of the database; None means the one that writes of the target go to.

    In a transaction it acts at once and again when it is committed; see the module. Raises BackendError if the cache
    cannot be reached, and UncacheableLookup, a ValueError, for anything else, for an instance without a primary key and
    for a model of which nothing is cached. Then nothing is outdated.
    """
    given = target  # of any type, which a type checker does not narrow to something partly unknown
    if isinstance(target, type) and issubclass(target, models.Model):
        outdate(target, using or router.db_for_write(target), None)
    elif isinstance(target, models.QuerySet):
        _outdate_matching(given, using)
    elif isinstance(target, models.Model):
        _outdate_instances([target], using)
    elif isinstance(target, models.Manager):
        _outdate_matching(given.get_queryset(), using)
    elif isinstance(target, Iterable) and not isinstance(target, str | bytes | Mapping):
        _outdate_instances(list(given), using)
    else:
        raise _not_a_target(given)


async def ainvalidate(target: Any, using: str | None = None) -> None:
    """Like `invalidate`. An async iterable is taken too."""
    if hasattr(target, "__aiter__") and not hasattr(target, "__iter__"):
        target = [instance async for instance in target]
    await sync_to_async(invalidate)(target, using)


def outdate(model: AnyModel, alias: str, identities: Sequence[Identity] | None) -> None:
    """Outdate the rows of ``model`` with these primary keys (a tuple each), or all, and what is derived from them."""
    tables: dict[AnyModel, Sequence[Identity] | None] = {concrete(model): identities}
    for parent in _parents(model):
        tables[parent] = identities if identities is not None and _shares_key(model, parent) else None
    _outdate_in(alias, tables)


def _outdate_in(alias: str, tables: Mapping[AnyModel, Sequence[Identity] | None]) -> None:
    """The same for a model and the parents whose rows are a part of its rows."""
    model = next(iter(tables))
    if not any(table_of(table) for table in tables):
        require_installed(model)
        raise UncacheableLookup(f"nothing of {model._meta.label} is cached")
    touched = [one for table, identities in tables.items() for one in outdated_by(table, alias, identities)]
    state = state_of(alias)
    state.settle()
    if state.in_transaction:
        with state.writing(touched):
            pass
    together: dict[Cache, dict[str, None]] = {}
    for cache, keys, _ in touched:
        together.setdefault(cache, {}).update(dict.fromkeys(keys))
    for cache, found in together.items():
        local.drop(found)
        cache.replay(found)


def _outdate_instances(instances: Sequence[Any], using: str | None) -> None:
    by_model: dict[tuple[AnyModel, str], list[models.Model]] = {}
    for instance in instances:
        if not isinstance(instance, models.Model):
            raise _not_a_target(instance)
        if not instance._is_pk_set():  # type: ignore[attr-defined]
            label = instance._meta.label
            raise UncacheableLookup(f"{label}: an instance without a primary key names no row: {instance!r}")
        alias = using or router.db_for_write(type(instance), instance=instance)
        by_model.setdefault((type(instance), alias), []).append(instance)
    for (model, alias), some in by_model.items():
        tables = (concrete(model), *_parents(model))
        found = {table: [_identity(one, table) for one in some] for table in tables}
        _outdate_in(alias, found)


def _outdate_matching(queryset: models.QuerySet[Any], using: str | None) -> None:
    chosen: Any = queryset.all() if using is None else queryset.using(using)
    chosen._for_write = True
    alias: str = chosen.db
    tables = (concrete(queryset.model), *_parents(queryset.model))
    names = [name for table in tables for name in identity_names(table)]
    limit = min((found.bulk_threshold(alias) for found in map(table_of, tables) if found), default=0)
    if not chosen.query.is_sliced and not chosen.query.combinator:
        chosen = chosen.order_by()[: limit + 1]
    rows: list[Identity] = list(dict.fromkeys(chosen.values_list(*names)))
    found: dict[AnyModel, Sequence[Identity] | None] = {}
    start = 0
    for table in tables:
        stop = start + len(identity_names(table))
        found[table] = None if len(rows) > limit else [row[start:stop] for row in rows]
        start = stop
    _outdate_in(alias, found)


def _parents(model: AnyModel) -> Sequence[AnyModel]:
    """The models whose tables hold a part of the rows of ``model``, in multi-table inheritance."""
    table = concrete(model)
    return [parent for parent in model._meta.all_parents if parent is concrete(parent) and parent is not table]


def _shares_key(model: AnyModel, parent: AnyModel) -> bool:
    """Whether a row of ``model`` has the primary key of its part in the table of ``parent``."""
    model = concrete(model)
    while model is not parent:
        link = model._meta.get_ancestor_link(parent)
        if link is None or not link.primary_key:
            return False
        model = concrete(link.remote_field.model)
    return True


def _identity(instance: models.Model, table: AnyModel) -> Identity:
    return tuple(getattr(instance, name) for name in identity_names(table))


def _not_a_target(value: object) -> UncacheableLookup:
    return UncacheableLookup(
        f"invalidate() takes an instance of a model, a queryset, a model or an iterable of instances, not {value!r}"
    )
