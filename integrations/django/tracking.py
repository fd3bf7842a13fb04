"""Change tracking on Django instances: the snapshot of a model's lookup fields, in ``instance._state.cachecore``.

Taken where Django builds an instance from a row, and again after a save or refresh. Deferred fields are never loaded.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import getattr_static, signature
from operator import itemgetter
from typing import Any

from django.db import models

from cachecore import tracking
from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.integrations.django.rows import columns_of

_NAMES = "_cachecore_tracked_names"
_TAKE = "_cachecore_take_snapshot"


def track(model: type[models.Model], names: Sequence[str]) -> None:
    """Track these attributes of all instances of ``model`` loaded from now on; its subclasses inherit it."""
    inherited = tracked_names(model)
    together = tuple(dict.fromkeys((*inherited, *names)))
    setattr(model, _NAMES, together)
    setattr(model, _TAKE, staticmethod(tracking.taker(together, immutable=_are_scalar(model, together))))
    methods: Any = model
    if not hasattr(methods.from_db.__func__, "tracks"):
        methods.from_db = _tracking_from_db(methods.from_db.__func__)
        methods.refresh_from_db = _tracking_refresh(methods.refresh_from_db)
    methods.from_db.__func__.whole_rows.clear()  # subclasses, which inherit it, too have other names now


def _are_scalar(model: type[models.Model], names: Sequence[str]) -> bool:
    """Whether the values of these attributes cannot be changed in place."""
    try:
        scalar = {column.name for column in columns_of(model) if column.kind == "scalar"}
    except ConfigurationError:  # the system checks report it
        return False
    return scalar.issuperset(names)


def tracked_names(model: type[models.Model]) -> tuple[str, ...]:
    """The tracked attributes of a model."""
    names: tuple[str, ...] = getattr(model, _NAMES, ())
    return names


def _of_whole_rows(
    model: type[models.Model], from_db: Callable[..., Any]
) -> tuple[int, Callable[[Any], tracking.Snapshot]]:
    """(the length of a row that has all fields, what picks the snapshot from it).

    The length is -1, which no row has, where an instance may hold other values than the row that ``from_db`` makes it
    of: the instance is then looked at.
    """
    plain: Any = models.Model
    names = tracked_names(model)
    attnames = [field.attname for field in model._meta.concrete_fields]
    changing: list[Any] = [getattr_static(model, name, None) for name in names]
    if (
        not names
        or not _are_scalar(model, names)
        or not set(names).issubset(attnames)
        or from_db is not plain.from_db.__func__
        or any(getattr(model, name) is not getattr(plain, name) for name in ("__init__", "__new__", "__setattr__"))
        or any(hasattr(one, "__set__") and not type(one).__module__.startswith("django.") for one in changing)
    ):
        return -1, tuple
    places = [attnames.index(name) for name in names]
    if len(places) > 1:
        return len(attnames), itemgetter(*places)
    [only] = places
    return len(attnames), lambda values: (values[only],)


def _tracking_from_db(original: Callable[..., Any]) -> Any:
    # Querysets call this for each row. It is written twice because handing on options that are never there costs as
    # much as all the rest; and it takes the snapshot from the row, since an instance that nobody has asked for its
    # __dict__ has none yet.
    from_db: Any
    whole_rows: dict[type[models.Model], tuple[int, Callable[[Any], tracking.Snapshot]]] = {}
    if len(signature(original).parameters) == len(("cls", "db", "field_names", "values")):

        def bare(cls: Any, db: str | None, field_names: Any, values: Any) -> Any:
            instance = original(cls, db, field_names, values)
            try:
                width, pick = whole_rows[cls]
            except KeyError:
                width, pick = whole_rows[cls] = _of_whole_rows(cls, original)
            if len(values) == width:
                instance._state.cachecore = pick(values)
            else:
                instance._state.cachecore = cls._cachecore_take_snapshot(instance.__dict__)
            return instance

        from_db = bare
    else:

        def with_options(cls: Any, db: str | None, field_names: Any, values: Any, **options: Any) -> Any:
            instance = original(cls, db, field_names, values, **options)
            try:
                width, pick = whole_rows[cls]
            except KeyError:
                width, pick = whole_rows[cls] = _of_whole_rows(cls, original)
            if len(values) == width:
                instance._state.cachecore = pick(values)
            else:
                instance._state.cachecore = cls._cachecore_take_snapshot(instance.__dict__)
            return instance

        from_db = with_options
    wraps(original)(from_db)  # Django looks at the signature to see what it may pass
    from_db.tracks = original
    from_db.whole_rows = whole_rows
    return classmethod(from_db)


def _tracking_refresh(original: Callable[..., None]) -> Callable[..., None]:
    def refresh_from_db(self: models.Model, using: str | None = None, fields: Any = None, **options: Any) -> None:
        original(self, using=using, fields=fields, **options)
        refresh(self, fields)

    return refresh_from_db


def refresh(instance: models.Model, fields: Iterable[str] | None = None) -> None:
    """Take the snapshot anew after the instance was saved or refreshed; ``fields`` None means all of them."""
    names = tracked_names(type(instance))
    if not names:
        return
    state: Any = instance._state
    now: tracking.Snapshot = getattr(type(instance), _TAKE)(instance.__dict__)
    before: tracking.Snapshot | None = getattr(state, "cachecore", None)
    if fields is not None and before is not None:
        fresh = {_attname(type(instance), field) for field in fields}
        now = tuple(new if name in fresh else old for name, new, old in zip(names, now, before, strict=True))
    state.cachecore = now


def changed(instance: models.Model, field: str) -> bool:
    """Whether a tracked field differs from its value when loaded or last saved."""
    name = _tracked(instance, field)
    snapshot = getattr(instance._state, "cachecore", None)
    return name in tracking.changed(snapshot, tracked_names(type(instance)), instance.__dict__)


def loaded_value(instance: models.Model, field: str) -> Any:
    """A tracked field's value when loaded or last saved; None if it never was."""
    name = _tracked(instance, field)
    return tracking.old(getattr(instance._state, "cachecore", None), tracked_names(type(instance)), name)


def _attname(model: type[models.Model], field: str) -> str:
    by_name: Mapping[str, str] = {column.name: column.attname for column in model._meta.concrete_fields}
    return by_name.get(field, field)


def _tracked(instance: models.Model, field: str) -> str:
    name = _attname(type(instance), field)
    names = tracked_names(type(instance))
    if name not in names:
        raise UncacheableLookup(
            f"{instance._meta.label}.{field} is not tracked, only {', '.join(names) or 'nothing'}: "
            "name it in cache_fields"
        )
    return name


class ChangeTracking:
    """A mixin for models: ``instance.has_changed("slug")`` and ``instance.old_value("slug")``."""

    def has_changed(self, field: str) -> bool:
        """Whether the field differs from what was loaded or last saved; False for an unsaved instance."""
        return changed(self, field)  # type: ignore[arg-type]

    def old_value(self, field: str) -> Any:
        """The field's value as loaded or last saved; None for an unsaved instance."""
        return loaded_value(self, field)  # type: ignore[arg-type]
