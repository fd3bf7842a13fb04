"""Which keys a write of the ORM outdates, and the receivers and helpers that tell the connection in time."""

import logging
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from django.apps import AppConfig, apps
from django.db import models
from django.db.models.signals import class_prepared, post_delete, post_save, pre_delete, pre_save

from cachecore.errors import CachecoreError, ConfigurationError
from cachecore.integrations.django.connection import Touched, state_of
from cachecore.integrations.django.declaration import (
    Affected,
    Declaration,
    affected_by,
    all_declared,
    declare,
    identity_names,
    silently_changed_by_delete_of,
    tracked_by,
)
from cachecore.integrations.django.model_cache import ModelCache, model_cache
from cachecore.integrations.django.tracking import refresh, track

logger = logging.getLogger("cachecore")

Writing = Generator[None, None, None]
"""What surrounds a statement."""

_affected: dict[type[models.Model], Sequence[Affected]] = {}
_silent: dict[type[models.Model], Sequence[Declaration]] = {}
_installed = False


def require_installed(model: type[models.Model]) -> None:
    """Raise unless the application is installed: without its signal receivers the cache would lie."""
    if not _installed:
        raise ConfigurationError(
            f'{model._meta.label} cannot be cached: "cachecore.integrations.django" is not in INSTALLED_APPS'
        )


def touches(model: type[models.Model]) -> Sequence[Affected]:
    """The cached models whose rows a write to ``model`` changes; empty for most."""
    return _affected.get(model, ())


# -- writes to rows whose keys are known -----------------------------------------------------------

Rows = Sequence[tuple[Any, ...]]
"""Primary key, then the identity columns of every affected model whose identity is known, in that order."""


def rows_of(queryset: models.QuerySet[Any]) -> Rows | None:
    """The keys of the rows a queryset matches now; None if they are too many to be named one by one."""
    affected = touches(queryset.model)
    columns = [name for one in affected for name in one.columns or ()]
    limit = min(_cache_of(one, queryset.db).policy.bulk_threshold for one in affected)
    rows = list(queryset.order_by().values_list("pk", *columns)[: limit + 1])
    return None if len(rows) > limit else rows


def changes_identity(model: type[models.Model], values: Iterable[str]) -> bool:
    """Whether an update of these fields gives rows another primary key."""
    keys = {"pk", *identity_names(model), *(part.name for part in model._meta.pk_fields)}
    return not keys.isdisjoint(values)


@contextmanager
def writing_rows(model: type[models.Model], alias: str, rows: Rows) -> Writing:
    """Surround a statement that writes exactly these rows."""
    with ExitStack() as stack:
        start = 1
        for one in touches(model):
            cached = _cache_of(one, alias)
            if one.columns is None:
                keys = [cached.records.entity.epoch_key] if rows else []
            else:
                stop = start + len(one.columns)
                keys = [cached.key(row[start:stop]) for row in rows]
                start = stop
            if keys:
                stack.enter_context(state_of(alias).writing(cached.cache, keys, cached.policy))
        yield


@contextmanager
def writing_all(model: type[models.Model], alias: str) -> Writing:
    """Surround a statement that may write any row of a model."""
    with ExitStack() as stack:
        for one in touches(model):
            cached = _cache_of(one, alias)
            keys = [cached.records.entity.epoch_key]
            stack.enter_context(state_of(alias).writing(cached.cache, keys, cached.policy))
        yield


@contextmanager
def writing_instances(model: type[models.Model], alias: str, instances: Sequence[models.Model]) -> Writing:
    """Surround a statement that writes the rows of instances; those without a primary key have none yet."""
    with ExitStack() as stack:
        for one in touches(model):
            cached = _cache_of(one, alias)
            keys = [key for instance in instances for key in _keys(one, cached, instance)]
            if len(keys) > cached.policy.bulk_threshold:
                keys = [cached.records.entity.epoch_key]
            if keys:
                stack.enter_context(state_of(alias).writing(cached.cache, keys, cached.policy))
        yield


def _keys(one: Affected, cached: ModelCache, instance: models.Model) -> list[str]:
    """The coherent keys that a write of ``instance`` outdates in one cached model."""
    if one.columns is None:
        return [cached.records.entity.epoch_key]
    values = tuple(_value(one, instance, name) for name in one.columns)
    if any(value is None for value in values):
        return []  # it is inserted now and gets its key from the database; nobody can have cached it
    try:
        return [cached.key_of_attributes(values)]
    except CachecoreError:
        return [cached.records.entity.epoch_key]  # an expression, say: which row it will be is not known here


def _value(one: Affected, instance: models.Model, name: str) -> Any:
    """An attribute of the written row's identity, which is deferred if only a child's columns were loaded."""
    if name in instance.__dict__ or not one.shares_key:
        return getattr(instance, name)
    return instance.pk


def _cache_of(one: Affected, alias: str) -> ModelCache:
    return model_cache(one.declaration, alias)


# -- signals ---------------------------------------------------------------------------------------


def _touched_by(instance: models.Model, using: str) -> list[Touched]:
    touched: list[Touched] = []
    for one in touches(type(instance)):
        cached = _cache_of(one, using)
        keys = _keys(one, cached, instance)
        if keys:
            touched.append((cached.cache, keys, cached.policy))
    return touched


def _on_pre_save(sender: type[models.Model], instance: models.Model, using: str, **_: Any) -> None:
    state_of(using).begin_statement(instance, _touched_by(instance, using))


def _on_post_save(sender: type[models.Model], instance: models.Model, using: str, **options: Any) -> None:
    state_of(using).end_statement(instance)
    refresh(instance, options.get("update_fields"))


def _on_pre_delete(sender: type[models.Model], instance: models.Model, using: str, **_: Any) -> None:
    touched = _touched_by(instance, using)
    for declaration in _silent.get(sender, ()):
        cached = model_cache(declaration, using)
        touched.append((cached.cache, [cached.records.entity.epoch_key], cached.policy))
    state_of(using).begin_statement(instance, touched)


def _on_post_delete(sender: type[models.Model], instance: models.Model, using: str, **_: Any) -> None:
    state_of(using).end_statement(instance)


def connect(model: type[models.Model]) -> None:
    """Listen to the writes of a model, if they change cached rows."""
    affected, silent = affected_by(model), silently_changed_by_delete_of(model)
    if affected:
        _affected[model] = affected
        pre_save.connect(_on_pre_save, sender=model, dispatch_uid="cachecore.pre_save")
        post_save.connect(_on_post_save, sender=model, dispatch_uid="cachecore.post_save")
    if silent:
        _silent[model] = silent
    if affected or silent:
        pre_delete.connect(_on_pre_delete, sender=model, dispatch_uid="cachecore.pre_delete")
        post_delete.connect(_on_post_delete, sender=model, dispatch_uid="cachecore.post_delete")


def connect_all() -> None:
    """Find every cached model, and listen to the writes of every model there is."""
    global _installed
    found = apps.get_models(include_auto_created=True)
    for model in found:
        _declare(model)
    for model in found:
        connect(model)
    if not _installed:
        _installed = True
        class_prepared.connect(_on_class_prepared, dispatch_uid="cachecore.class_prepared")


def on_post_migrate(sender: AppConfig, using: str, **_: Any) -> None:
    """Receiver of Django's signal: what migrations and ``flush`` have written, nobody has seen."""
    for declaration in all_declared():
        if declaration.model._meta.app_config is not sender:
            continue
        try:
            model_cache(declaration, using).invalidate()
        except CachecoreError:
            logger.exception("the cached rows of %s could not be outdated", declaration.model._meta.label)


def _declare(model: type[models.Model]) -> None:
    for manager in model._meta.managers:
        declaration: Declaration | None = getattr(manager, "declaration", None)
        if isinstance(declaration, Declaration):
            declare(declaration)
            track(model, tracked_by(declaration))


def _on_class_prepared(sender: type[models.Model], **_: Any) -> None:
    if sender._meta.apps is not apps:
        return  # a migration's or a test's copy of a model, which is not the application's
    # A model made later may be cached, or be a relative of one that is: look at all of them again.
    _declare(sender)
    connect(sender)
    connect_all()
