"""Which keys a written row outdates: what `sql_writes` asks when a statement is about to be sent.

Tables are what is looked up, not model classes: proxies, the copies of models that migrations use and unmanaged models
of the same table all write the rows of the one that is cached.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.db import models
from django.db.models.expressions import DatabaseDefault
from django.db.models.signals import class_prepared, post_migrate, post_save

from cachecore import raw_sql
from cachecore.errors import CachecoreError, ConfigurationError, UncacheableLookup
from cachecore.integrations.django.declaration import (
    Affected,
    Declaration,
    affected_by,
    column_named,
    declare,
    identity_names,
    silently_changed_by_delete_of,
    silently_followed,
    tracked_by,
)
from cachecore.integrations.django.equality import may_equal_others
from cachecore.integrations.django.lookup_values import can_hold, lookup_value
from cachecore.integrations.django.model_cache import ModelCache, model_cache
from cachecore.integrations.django.tracking import refresh, track, tracked_names
from cachecore.integrations.django.writing.connection import state_of
from cachecore.integrations.django.writing.dependents import Dependent, depend, dependents_of, own_dependents_of
from cachecore.integrations.django.writing.gains import Gains
from cachecore.integrations.django.writing.statement import Touched
from cachecore.integrations.django.writing.undeclared import undeclared

logger = logging.getLogger("cachecore")

UNKNOWN: Any = object()
"""In place of a value that is known only to the database."""

Identity = Sequence[Any]
"""The primary key of a row, by its columns."""


class Table:
    """A table whose rows, or what is derived from them, are cached: what a statement on it outdates."""

    def __init__(self, model: type[models.Model]) -> None:
        self.model = model
        self.identity = identity_names(model)
        """The attribute names of its primary key."""
        self.affected: Sequence[Affected] = affected_by(model)
        self.dependents: Sequence[Dependent] = dependents_of(model)
        self.own_dependents: Sequence[Dependent] = own_dependents_of(model)
        self.silent: Sequence[Declaration] = silently_changed_by_delete_of(model)
        self.silent_dependents = [one for child in silently_followed(model) for one in dependents_of(child)]
        self._keys_may_differ: dict[str, bool] = {}

    @property
    def is_cached(self) -> bool:
        """Whether anything at all depends on it."""
        return bool(self.affected or self.dependents or self.silent or self.silent_dependents)

    def keys_may_differ(self, alias: str) -> bool:
        """Whether the database may find a primary key equal to another than the one that is cached: one in other
        letters, say. Then a statement that names its rows does not say which they are."""
        known = self._keys_may_differ.get(alias)
        if known is None:
            known = any(may_equal_others(part, alias) for part in self.model._meta.pk_fields)
            self._keys_may_differ[alias] = known
        return known

    def bulk_threshold(self, alias: str) -> int:
        """How many rows a statement may name one by one."""
        return min((_cache_of(one, alias).policy.bulk_threshold for one in self.affected), default=1000)

    def rows(self, alias: str, identities: Sequence[Identity]) -> list[Touched]:
        """What is outdated when exactly these rows are written; those with a None in them get their key only now."""
        known = [identity for identity in identities if not _comes_from_database(identity)]
        found: list[Touched] = []
        for one in self.affected if known else ():
            cached = _cache_of(one, alias)
            keys = [cached.records.entity.epoch_key]
            if one.shares_key and not state_of(alias).is_bulk(keys[0], len(known), cached.policy.bulk_threshold):
                keys = _keys(cached, known) or keys
            found.append((cached.cache, keys, cached.policy))
        return found

    def all_rows(self, alias: str) -> list[Touched]:
        """What is outdated when any row may be written."""
        found = [_epoch_of(_cache_of(one, alias)) for one in self.affected]
        return found + [one.all_touched(alias) for one in self.dependents]

    def followers(self, alias: str) -> list[Touched]:
        """What is outdated when a row is deleted, because the database itself deletes or changes rows that follow."""
        found = [_epoch_of(model_cache(declaration, alias)) for declaration in self.silent]
        return found + [one.all_touched(alias) for one in self.silent_dependents]

    def derived(self, alias: str, changes: Sequence["Change"], which: Iterable[Dependent]) -> list[Touched]:
        """What else is outdated, of these dependents, by rows with these values."""
        found: list[Touched] = []
        for one in which:
            seen: list[Mapping[str, Any]] = []
            for old, new in changes:
                seen += [values for values in (old if one.needs_old else None, new) if values is not None]
            if any(values.get(name, UNKNOWN) is UNKNOWN for values in seen for name in one.columns):
                found.append(one.all_touched(alias))
            else:
                told = (one.touched(alias, {name: values[name] for name in one.columns}) for values in seen)
                found += [touched for touched in told if touched is not None]
        return found


Change = tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]
"""The values of a row before and after a statement, as far as they are known; None: there is no row then."""

_tables: dict[str, Table] = {}
"""By name in the database."""
_installed = False


def require_installed(model: type[models.Model]) -> None:
    """Raise unless the application is installed: without it nobody sees the writes, and the cache would lie."""
    if not _installed:
        raise ConfigurationError(
            f'{model._meta.label} cannot be cached: "cachecore.integrations.django" is not in INSTALLED_APPS'
        )


def table_of(model: type[models.Model]) -> Table | None:
    """The table that statements on ``model`` write, if anything in it is cached."""
    return _tables.get(model._meta.db_table)


def outdated_by(model: type[models.Model], alias: str, identities: Sequence[Identity] | None) -> list[Touched]:
    """What is outdated when these rows of a model, None: all, were changed where nobody could see it.

    Costs a query if something derived from the rows is cached, for what they are now.
    """
    table = table_of(model)
    if table is None:
        return []
    if identities is None:
        return table.all_rows(alias)
    found = table.rows(alias, identities)
    if table.dependents:
        names = {name for one in table.dependents for name in one.columns}
        wanted = _possible(table.model, alias, identities)
        if wanted is None:
            return table.all_rows(alias)
        now = table.model._base_manager.using(alias).filter(pk__in=wanted).values(*names) if names else ()
        changes: list[Change] = [({}, row) for row in now]
        found += table.derived(alias, changes or [({}, None)], table.dependents)
    return found


def _possible(model: type[models.Model], alias: str, identities: Sequence[Identity]) -> list[Any] | None:
    """The primary keys of rows that there may be, as filter() takes them; None if one is no value of its column."""
    columns = [column_named(model, name) for name in identity_names(model)]
    holds = [can_hold(column, alias) for column in columns]
    found: list[Any] = []
    for identity in identities:
        try:
            meant = [lookup_value(model, column, one) for column, one in zip(columns, identity, strict=True)]
        except UncacheableLookup:
            return None
        if all(hold(one) for hold, one in zip(holds, meant, strict=True)):
            found.append(tuple(meant) if len(meant) > 1 else meant[0])
    return found


def _keys(cached: ModelCache, identities: Sequence[Identity]) -> list[str] | None:
    """The coherent keys of rows; None if the key of one is known only to the database."""
    try:
        return cached.keys_of_attributes(identities)
    except CachecoreError:
        return None


def _comes_from_database(identity: Identity) -> bool:
    """Whether a row that is inserted now gets its key from the database: nobody has cached it."""
    return any(value is None or isinstance(value, DatabaseDefault) for value in identity)


def _epoch_of(cached: ModelCache) -> Touched:
    return cached.cache, [cached.records.entity.epoch_key], cached.policy


def _cache_of(one: Affected, alias: str) -> ModelCache:
    return model_cache(one.declaration, alias)


def _touched_by_sql(alias: str, first: str, sql: str) -> list[Touched]:
    """What SQL that no model has written may outdate; ``first`` is its first word."""
    found: list[Touched] = []
    for name in raw_sql.written_tables(first, sql, _tables):
        table = _tables[name]
        found += table.all_rows(alias)
        if first != "INSERT":
            found += table.followers(alias)
    return found


# -- which tables there are ------------------------------------------------------------------------


def connect(model: type[models.Model]) -> None:
    """Look at the writes to a model's table from now on, if they change what is cached."""
    name = model._meta.db_table
    # Of several models of one table the managed one has all its columns.
    if not model._meta.proxy and (model._meta.managed or name not in _tables):
        table = Table(model)
        if table.is_cached:
            _tables[name] = table
        else:
            _tables.pop(name, None)
    if tracked_names(model):
        post_save.connect(_on_post_save, sender=model, dispatch_uid="cachecore.post_save")


def _on_post_save(sender: type[models.Model], instance: models.Model, **options: Any) -> None:
    refresh(instance, options.get("update_fields"))


def connect_all() -> None:
    """Find every cached model, and look at the writes to every table there is."""
    global _installed
    found = apps.get_models(include_auto_created=True)
    for model in found:
        _declare(model)
    for model in found:
        connect(model)
    if not _installed:
        _installed = True
        undeclared.touched = _touched_by_sql
        class_prepared.connect(_on_class_prepared, dispatch_uid="cachecore.class_prepared")
        post_migrate.connect(_on_post_migrate, dispatch_uid="cachecore.post_migrate")


def _on_post_migrate(sender: AppConfig, using: str, **_: Any) -> None:
    """What migrations and ``flush`` have written, nobody has seen."""
    for model in sender.get_models(include_auto_created=True):
        table = table_of(model)
        try:
            for touched in () if table is None else table.all_rows(using):
                touched[0].replay(touched[1])
        except CachecoreError:
            logger.exception("what is cached of %s could not be outdated", model._meta.label)


def take(declaration: Declaration) -> None:
    """Know a declaration from now on: who is cached, what is tracked, and what else its rows outdate."""
    declare(declaration)
    track(declaration.model, tracked_by(declaration))
    if declaration.listed or declaration.missing:
        depend(declaration.model, Gains(declaration))


def _declare(model: type[models.Model]) -> None:
    for manager in model._meta.managers:
        declaration: Declaration | None = getattr(manager, "declaration", None)
        if isinstance(declaration, Declaration):
            take(declaration)
        connect_manager = getattr(manager, "connect_to_writes", None)
        if connect_manager is not None:
            connect_manager()


def _on_class_prepared(sender: type[models.Model], **_: Any) -> None:
    if sender._meta.apps is not apps:
        return  # a migration's or a test's copy of a model, which is not the application's
    # A model made later may be cached, or be a relative of one that is: look at all of them again.
    _declare(sender)
    connect(sender)
    connect_all()
