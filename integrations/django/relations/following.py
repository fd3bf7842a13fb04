"""Foreign keys that are read from the cache whenever one is followed, where a model says so.

A descriptor takes the place of Django's. Its ``get_object``, and from Django 6.1 on its ``fetch_many``, end in
`relations.fill`, for all peers of the instance at once (`peers`).
"""

from asyncio import _get_running_loop  # pyright: ignore[reportPrivateUsage] # what asyncio offers: it never raises
from collections.abc import Callable, Iterable
from typing import Any, cast

from django.apps import apps
from django.db import models
from django.db.models.signals import class_prepared

from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.integrations.django.declaration import declared
from cachecore.integrations.django.lookup_values import shown
from cachecore.integrations.django.model_cache import begin_anew
from cachecore.integrations.django.relations.peers import group, part, peers_of
from cachecore.integrations.django.relations.prefetch import (
    Key,
    declaration_of,
    fill,
    foreign_key,
    label_of,
    serves,
    source_of,
    uncached,
)


class _Following:
    """What is mixed into Django's descriptor of a foreign key that is read from the cache when it is followed."""

    field: Key

    def get_object(self, instance: models.Model) -> Any:
        """The related instance: from the cache, for all peers, or as Django finds it."""
        found = _followed(self.field, instance)
        return cast("Any", super()).get_object(instance) if found is None else found

    def fetch_many(self, instances: Iterable[models.Model]) -> None:
        """What Django 6.1 calls for instances with FETCH_PEERS, which knows the peers itself."""
        some = list(instances)
        _fetch(self.field, some)
        cast("Any", super()).fetch_many(some)  # those that are left


def _followed(key: Key, instance: models.Model) -> Any:
    peers = peers_of(instance)
    _fetch(key, peers)
    if len(peers) > 1:
        part(peer for peer in peers if not key.is_cached(peer) and vars(peer).get(key.attname) is not None)
    return key.get_cached_value(instance, default=None)


def _fetch(key: Key, instances: Iterable[models.Model]) -> None:
    # In an event loop Django refuses to follow a key, because that would block it. So it does here.
    source = None if _get_running_loop() is not None else source_of(key)
    if source is not None:
        lacking = [one for one in instances if not key.is_cached(one) and serves(source, one)]
        fill(key, lacking, source)


def follow_from_cache(model: type[models.Model], *names: str) -> None:
    """From now on following these foreign keys of ``model`` reads the cache: ``city.country`` instead of a query.

    The first of the instances that were loaded together (by one evaluation of a queryset, or by one call of
    get_many_from_cache or prefetch_from_cache) whose key is followed fetches for all that lack it, in one multi-get;
    they are all as of that moment, as with Django's prefetch_related, and those with the same key share one instance.
    Rows that the cache does not serve come from the database as ever, those of another database too.

    Called before the applications are ready, it takes effect, and raises, when they are. Raises ConfigurationError for
    what is no foreign key, and for a model that is not cached by the column that the key refers to.
    """
    given: Any = model
    if not isinstance(given, type) or not issubclass(given, models.Model):
        raise ConfigurationError(f"follow_from_cache: {shown(model)} is no model")
    if not _connected:
        _pending.extend((model, name) for name in names)
        return
    for name in names:
        problem = problem_with(model, name)
        if problem is not None:
            raise ConfigurationError(problem)
        _follow(model, name)
    begin_anew()  # a ModelCache looks once whether its instances are to know their peers


def problem_with(model: type[models.Model], name: str) -> str | None:
    """Why a field's relation cannot be followed from the cache; None if it can."""
    try:
        key = foreign_key(model, name, name)
    except UncacheableLookup as error:
        return f"cache_relations of {model._meta.label} names {error}"
    if key.remote_field.parent_link:
        return f"cache_relations: {label_of(key)} is the link to the parent, which every instance has at hand"
    try:
        known = declaration_of(key)
    except ConfigurationError as error:
        return f"cache_relations: {label_of(key)}: {error}"
    return None if known is not None else f"cache_relations: {uncached(key)}"


def _follow(model: type[models.Model], name: str) -> None:
    here: object = getattr(model, name)
    if not isinstance(here, _Following):
        setattr(model, name, _following(type(here))(here))
    group(model)


def _following(kind: type[Any]) -> Callable[[Any], Any]:
    """Makes of a descriptor of this class, Django's or one derived from it, one that reads the cache."""
    derived: Any = type(f"{kind.__name__}FromCache", (_Following, kind), {})

    def make(here: Any) -> Any:
        there = derived(here.field)
        there.__dict__.update(here.__dict__)
        return there

    return make


_pending: list[tuple[type[models.Model], str]] = []
_connected = False


def declared_relations(model: type[models.Model]) -> list[str]:
    """The cache_relations of a model's managers, and of the one by which it was registered."""
    known = declared(model)
    registered: Any = None if known is None else getattr(model, known.manager_name, None)
    managers: list[Any] = [*model._meta.managers, registered]
    return list(dict.fromkeys(name for manager in managers for name in getattr(manager, "cache_relations", ())))


def connect(model: type[models.Model]) -> None:
    """Follow what the managers of a model declare. What is wrong is left to the system checks."""
    for name in declared_relations(model):
        if problem_with(model, name) is None:
            _follow(model, name)


def _on_class_prepared(sender: type[models.Model], **_: Any) -> None:
    if sender._meta.apps is apps:
        connect(sender)


def connect_all() -> None:
    """Every cached model is known now: follow what is declared, and what has been asked for meanwhile."""
    global _connected
    _connected = True
    class_prepared.connect(_on_class_prepared, dispatch_uid="cachecore.following")
    for model in apps.get_models(include_auto_created=True):
        connect(model)
    pending = _pending[:]
    _pending.clear()
    for model, name in pending:
        follow_from_cache(model, name)
    begin_anew()
