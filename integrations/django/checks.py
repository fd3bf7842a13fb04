"""System checks: every mistake in settings and declarations that can be seen at start.

=====  ======================================================================================
E001   CACHECORE is missing, has no "default", or has an unknown option
E002   a cache of CACHECORE cannot be made: unknown backend, bad option, value or policy
E003   a manager names a cache that CACHECORE does not have
E004   cache_fields names something that is no field of the model
E005   a lookup is not unique
E006   a field cannot be cached: its values have no stored form, or are no lookup
E007   a table is declared by two managers
E008   cache_ttl, cache_version or cache_policy is wrong
E009   the policy is to use the journal, and the database routers keep its table out of the model's database
E010   a model that was registered by `register` or CACHECORE_MODELS cannot be cached, or does not exist
E011   CACHECORE_DISABLED_MODELS names something that is no model
E012   cache_replica names a database that DATABASES does not have
E013   a list or a missing entry cannot be kept: no such field, no exact equality, or no order
E014   cache_relations names something that cannot be followed from the cache
E015   a MappingManager names something that is no field of its model
E020   a model with soft deletes has no field, or a wrong one, that marks deleted rows
W001   an in-process cache, and nothing states that only one process serves
W003   the policy is to use the journal, and the database has no table for it yet (``check --database``, ``migrate``)
=====  ======================================================================================

E015 and E020 are reported by the managers themselves.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections, models, router

from cachecore.errors import ConfigurationError
from cachecore.integrations.django.conf import configured, make_cache
from cachecore.integrations.django.declaration import DEFAULT, Declaration, all_declared, column_named, value_field
from cachecore.integrations.django.equality import require_exact_lists
from cachecore.integrations.django.journal.notes import TABLE, has_table
from cachecore.integrations.django.manager import CacheManager
from cachecore.integrations.django.models import Journal
from cachecore.integrations.django.registration import problems, registered_manager
from cachecore.integrations.django.relations import following
from cachecore.integrations.django.rows import columns_of
from cachecore.integrations.django.switches import models_disabled_by_settings
from cachecore.policy import Policy


def register_all() -> None:
    """Register the checks with Django."""
    register(check_settings, Tags.caches)
    register(check_models, Tags.models)
    register(check_journal, Tags.database)


def check_settings(app_configs: object = None, **_: Any) -> list[CheckMessage]:
    """E001, E002, E010, E011 and W001."""
    found: list[CheckMessage] = [Error(f"{problem}.", id="cachecore.E010") for problem in problems()]
    try:
        models_disabled_by_settings()
    except ConfigurationError as error:
        found.append(Error(f"{error}.", id="cachecore.E011"))
    try:
        aliases = configured()
    except ConfigurationError as error:
        return [*found, Error(str(error), id="cachecore.E001")]
    for alias, options in aliases.items():
        try:
            make_cache(alias).close()
        except ConfigurationError as error:
            found.append(Error(str(error), id="cachecore.E002"))
            continue
        if options["BACKEND"].partition(":")[0] == "memory" and options.get("PROCESSES") != 1 and not settings.DEBUG:
            found.append(
                Warning(
                    f'CACHECORE[{alias!r}] uses the BACKEND "memory", which cannot keep its promise between processes: '
                    "one worker does not see what another has written, and serves old rows until their TTL ends.",
                    hint='Use a shared backend, or state "PROCESSES": 1 if a single process serves and writes.',
                    id="cachecore.W001",
                )
            )
    return found


def check_models(app_configs: Iterable[Any] | None = None, **_: Any) -> list[CheckMessage]:
    """E003 to E009, and E012 to E014."""
    chosen = apps.get_models() if app_configs is None else [m for config in app_configs for m in config.get_models()]
    return [message for model in chosen for message in _check_model(model)]


def check_journal(app_configs: object = None, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """W003. No error: ``migrate``, which would make the table, begins with these checks."""
    return [
        Warning(
            f'{declaration.model._meta.label}: the policy is unreachable="journal", and the database {using!r} has no '
            f"table {TABLE}: as long as the cache cannot be reached, writes are refused.",
            hint='Run "manage.py migrate".',
            obj=declaration.model,
            id="cachecore.W003",
        )
        for using in databases or ()
        for declaration in all_declared()
        if _is_journaled(declaration)
        and router.db_for_write(declaration.model) == using
        and router.allow_migrate_model(using, Journal)
        and not has_table(using)
    ]


def _is_journaled(declaration: Declaration) -> bool:
    """Whether the policy of this model says that it is to use the journal."""
    try:
        policy: Any = configured()[declaration.cache].get("POLICY") or {}
        return bool({**policy, **declaration.options}.get("unreachable") == "journal")
    except (ConfigurationError, KeyError, TypeError):
        return False  # E001 to E003 say so


def _check_model(model: type[models.Model]) -> Iterator[CheckMessage]:
    managers = [one for one in model._meta.managers if isinstance(one, CacheManager) and one.declaration]
    registered = registered_manager(model)
    if registered is not None:
        managers.append(registered)
    for manager in managers:
        assert manager.declaration is not None
        yield from _check_declaration(manager.declaration)
        if manager.cache_replica is not None and manager.cache_replica not in connections:
            yield Error(
                f"{model._meta.label}: cache_replica={manager.cache_replica!r} is no database; there are "
                f"{', '.join(connections)}.",
                obj=model,
                id="cachecore.E012",
            )
    for manager in managers[1:]:
        yield Error(
            f"{model._meta.label}.{manager.name} declares cache_fields, and so does .{managers[0].name}.",
            hint="Declare cache_fields on one manager.",
            obj=model,
            id="cachecore.E007",
        )
    for name in following.declared_relations(model):
        problem = following.problem_with(model, name)
        if problem is not None:
            yield Error(f"{problem}.", obj=model, id="cachecore.E014")


def _check_declaration(declaration: Declaration) -> Iterator[CheckMessage]:
    model = declaration.model
    try:
        if declaration.cache not in configured():
            yield Error(
                f"{model._meta.label} is to be kept in the cache {declaration.cache!r}, which CACHECORE does not have.",
                obj=model,
                id="cachecore.E003",
            )
    except ConfigurationError:
        pass  # E001 says so
    try:
        columns_of(model)
    except ConfigurationError as error:
        yield Error(f"{error}.", obj=model, id="cachecore.E006")
    for names in declaration.fields:
        yield from _check_lookup(model, names)
    try:
        if declaration.listed or declaration.missing:
            require_exact_lists(declaration, columns_of(model), router.db_for_write(model))
    except ConfigurationError as error:
        yield Error(f"{error}.", obj=model, id="cachecore.E013")
    try:
        policy = Policy().replace(**declaration.options)
        if declaration.ttl is not DEFAULT:
            policy.replace(ttl=declaration.ttl)
        version: Any = declaration.version
        if not isinstance(version, int | str | None):
            raise ConfigurationError(f"cache_version must be an int, a str or None, not {declaration.version!r}")
    except (ConfigurationError, TypeError) as error:
        yield Error(f"{model._meta.label}: {error}.", obj=model, id="cachecore.E008")
    using = router.db_for_write(model)
    if _is_journaled(declaration) and not router.allow_migrate_model(using, Journal):
        yield Error(
            f'{model._meta.label}: the policy is unreachable="journal", and the database routers do not allow the '
            f"table {TABLE} in the database {using!r}, where the model is written.",
            hint='Allow the app label "cachecore" in allow_migrate(), or choose "refuse" or "bounded".',
            obj=model,
            id="cachecore.E009",
        )


def _check_lookup(model: type[models.Model], names: tuple[str, ...]) -> Iterator[CheckMessage]:
    if names == ("pk",):
        return
    label = f"{model._meta.label}: the cached lookup {' + '.join(map(str, names))}"
    try:
        columns = [column_named(model, name) for name in names]
    except ConfigurationError as error:
        yield Error(f"{error}.", obj=model, id="cachecore.E004")
        return
    for column in columns:
        if isinstance(
            value_field(column), models.JSONField | models.BinaryField | models.FileField | models.FloatField
        ):
            yield Error(
                f"{label} uses {column.name}, and a {column.get_internal_type()} does not name a row.",
                obj=model,
                id="cachecore.E006",
            )
    if not _is_unique(model, {column.name for column in columns}):
        yield Error(
            f"{label} is not unique: it would return any one of several rows.",
            hint="Make the field unique, or add a UniqueConstraint without condition over these fields.",
            obj=model,
            id="cachecore.E005",
        )


def _is_unique(model: type[models.Model], names: set[str]) -> bool:
    """Whether the database keeps these fields unique together, by any constraint over some of them."""
    unique: list[set[str]] = [{column.name} for column in model._meta.concrete_fields if column.unique]
    unique.append({part.name for part in model._meta.pk_fields})
    for owner in (model, *model._meta.all_parents):
        unique.extend(set(together) for together in owner._meta.unique_together)
        unique.extend(
            set(constraint.fields)
            for constraint in owner._meta.constraints
            if isinstance(constraint, models.UniqueConstraint) and constraint.fields and constraint.condition is None
        )
    return any(one <= names for one in unique)
