"""Caching models that one does not own: ``register("auth.User", cache_fields=["username"])``.

Theory of operation
-------------------
The model gets one attribute, ``User.from_cache``, which is a `CacheManager`. It is not one of the managers that Django
knows (``_meta.managers``): it can therefore not become the default manager, which would change admin, forms and related
managers, and no migration notices it. Its rows are those that the model's default manager shows. From there on the
model is as any other with a CacheManager: declared, tracked, checked, and its writes are seen.

A model is registered before the applications are ready, in a models.py or by the setting, or later. Before that it may
not exist yet, and is waited for; what never comes, and what was wrong with one that came, a system check reports.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, TypedDict, TypeVar, Unpack, cast

from django.apps import apps
from django.db import models

from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.integrations.django.conf import MODELS, registered_models
from cachecore.integrations.django.declaration import concrete, declared
from cachecore.integrations.django.lookup_values import shown
from cachecore.integrations.django.manager import CacheManager, Lookups, hides_rows
from cachecore.integrations.django.relations import following
from cachecore.integrations.django.writing import writes

M = TypeVar("M", bound=models.Model)

FROM_CACHE = "from_cache"
"""The attribute that a registered model gets."""


class CacheOptions(TypedDict, total=False):
    """The arguments of `CacheManager`, which says what they mean."""

    cache_fields: Lookups
    cache_lists: Lookups | Mapping[Any, str | Sequence[str]]
    cache_missing: bool | Lookups
    cache_relations: Sequence[str]
    cache_ttl: float | object | None
    cache_version: int | str | None
    cache: str
    cache_policy: dict[str, Any] | None
    cache_replica: str | None


def register(model: type[models.Model] | str, *, name: str = FROM_CACHE, **options: Unpack[CacheOptions]) -> None:
    """Cache the rows of a model that one does not own, as if one of its managers were a `CacheManager`.

    model: the class, or "app_label.Model", which may be defined later.
    name: the attribute under which the model gets the manager that reads through the cache, ``User.from_cache``; in
        typed code ``from_cache(User)`` is that manager.
    options: those of `CacheManager`; cache_fields are required.

    Call it in a models.py or in an AppConfig.ready(), or use the setting CACHECORE_MODELS. The same registration twice
    is one. Raises ConfigurationError for a model that does not exist, is abstract, swapped out, cached already or
    registered otherwise, for a name that it has already, and for options that no CacheManager takes. A model that is
    yet to be defined can raise nothing here; then a system check (cachecore.E010) reports it.
    """
    if not isinstance(model, str):
        _install(model, name, options)
        return
    app_label, _, model_name = model.partition(".")
    if not app_label or not model_name or "." in model_name:
        raise ConfigurationError(f'a model is registered as its class or as "app_label.Model", not as {model!r}')
    try:
        found = apps.get_registered_model(app_label, model_name)
    except LookupError as error:
        if apps.models_ready:
            raise ConfigurationError(f"{model!r} cannot be cached: there is no such model ({error})") from error
        _expected.append(model)
        arrived = partial(_arrived, model, name, options)
        apps.lazy_model_operation(arrived, (app_label, model_name.lower()))
    else:
        _install(found, name, options)


def from_cache(model: type[M]) -> CacheManager[M]:
    """The manager that reads the rows of a model through the cache: a registered one, or the model's own.

    Raises UncacheableLookup, a ValueError, if the model is not cached.
    """
    given: Any = model
    if not isinstance(given, type) or not issubclass(given, models.Model):
        raise UncacheableLookup(f"{shown(model)} is no model")
    registered = _registered.get(concrete(model))
    known = declared(model)
    if registered is not None:
        manager: object = getattr(model, registered.name)
    else:
        manager = None if known is None else getattr(model, known.manager_name, None)
    if isinstance(manager, CacheManager):
        return manager  # pyright: ignore[reportUnknownVariableType]
    reasons = "".join(f"; {problem}" for problem in problems() if model._meta.label.lower() in problem.lower())
    raise UncacheableLookup(f"{model._meta.label} is not cached: register() it, or give it a CacheManager{reasons}")


class RegisteredManager(CacheManager[M]):
    """The manager of a model that was registered. Not made by applications."""

    def get_queryset(self) -> models.QuerySet[M]:
        """What the model's default manager shows."""
        queryset: models.QuerySet[M] = self.model._default_manager.get_queryset()
        return queryset if self._db is None else queryset.using(self._db)

    @property
    def hides_rows(self) -> bool:
        """Whether the model's default manager does."""
        return hides_rows(self.model._default_manager)

    def of(self, model: type[models.Model]) -> "RegisteredManager[Any]":
        """This manager for another class of the same table."""
        manager: Any = copy(self)
        manager.model = model
        return cast("RegisteredManager[Any]", manager)


class _Access:
    """The attribute of the model: its manager, or a copy of it for a proxy, as Django's own have it."""

    def __init__(self, manager: RegisteredManager[Any]) -> None:
        self._managers: dict[type[models.Model], RegisteredManager[Any]] = {manager.model: manager}
        self._manager = manager

    def __get__(self, instance: models.Model | None, owner: type[models.Model]) -> RegisteredManager[Any]:
        manager, meta = self._manager, owner._meta
        if instance is not None:
            raise AttributeError(f"{meta.object_name}.{manager.name} is not accessible via its instances")
        if meta.abstract or concrete(owner) is not concrete(manager.model):
            raise AttributeError(f"{meta.label} is not registered to be cached, only {manager.model._meta.label} is")
        if owner not in self._managers:
            self._managers[owner] = manager.of(owner)
        return self._managers[owner]


_registered: dict[type[models.Model], RegisteredManager[Any]] = {}
"""By the model that has the table."""
_expected: list[str] = []
"""Models that have not been defined yet."""
_failed: list[str] = []
"""What was wrong, where nobody could be told."""
_is_ready = False


def registered_manager(model: type[models.Model]) -> RegisteredManager[Any] | None:
    """The manager under which ``model`` itself was registered."""
    manager = _registered.get(concrete(model))
    return manager if manager is not None and manager.model is model else None


def problems() -> list[str]:
    """A sentence for each registration that did not come about."""
    missing = [f"{label!r} is registered to be cached, and there is no such model" for label in _expected]
    return [*_failed, *missing]


def register_settings() -> None:
    """Register what CACHECORE_MODELS names. A mistake raises nothing: a system check reports it."""
    try:
        chosen = registered_models()
    except ConfigurationError as error:
        _failed.append(str(error))
        return
    for label, options in chosen.items():
        try:
            register(label, **options)
        except ConfigurationError as error:
            _failed.append(f"{MODELS}[{label!r}]: {error}")


def declare_all() -> None:
    """The applications are ready: declare what was registered so far, and from now on at once."""
    global _is_ready
    _is_ready = True
    for manager in _registered.values():
        _declare(manager)


def _arrived(label: str, name: str, options: CacheOptions, model: type[models.Model]) -> None:
    """A model that was waited for has been defined. Its module is not to fail because of us."""
    _expected.remove(label)
    try:
        _install(model, name, options)
    except ConfigurationError as error:
        _failed.append(str(error))


def _install(model: type[models.Model], name: str, options: CacheOptions) -> None:
    manager = _made(model, name, options)
    before = _registered.get(concrete(model))
    if before is not None and before == manager and before.model is model and before.name == name:
        return
    for problem in _obstacles(model, name, manager, before):
        raise ConfigurationError(f"{model._meta.label} cannot be cached: {problem}")
    setattr(model, name, _Access(manager))
    _registered[concrete(model)] = manager
    if _is_ready:
        _declare(manager)
        writes.connect_all()
        following.connect(model)


def _made(model: object, name: str, options: CacheOptions) -> RegisteredManager[Any]:
    if not isinstance(model, type) or not issubclass(model, models.Model):
        raise ConfigurationError(f'a model is registered as its class or as "app_label.Model", not as {model!r}')
    if not isinstance(name, str) or not name.isidentifier():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"{model._meta.label}: name={name!r} is no name of an attribute")
    try:
        manager: RegisteredManager[Any] = RegisteredManager(**options)
    except TypeError as error:
        raise ConfigurationError(f"{model._meta.label} cannot be cached: {error}") from error
    manager.model, manager.name = model, name
    return manager


def _obstacles(
    model: type[models.Model], name: str, manager: RegisteredManager[Any], before: RegisteredManager[Any] | None
) -> Iterator[str]:
    meta = model._meta
    if meta.abstract:
        yield "it is abstract, register the models derived from it"
    if meta.swapped:
        yield f"it is swapped out for {meta.swapped}, register that"
    if before is not None:
        yield f"it is registered already, as {before.model._meta.label}.{before.name} with other options"
    for one in meta.managers:
        if isinstance(one, CacheManager) and one.declaration is not None:
            yield f"{meta.object_name}.{one.name} declares cache_fields already, add yours there"
    if not (manager.cache_fields or manager.cache_lists):
        yield 'cache_fields are required, such as ["pk"] or ["username"]'
    if hasattr(model, name) or any(name in (field.name, field.attname) for field in meta.local_fields):
        yield f"it has an attribute {name!r} already, choose another name="


def _declare(manager: RegisteredManager[Any]) -> None:
    declaration = manager.declaration
    assert declaration is not None
    writes.take(declaration)
