"""The manager: reading through the cache, and querysets whose writes outdate it."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from asgiref.sync import sync_to_async
from django.db import models, router

from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.integrations.django import writes
from cachecore.integrations.django.connection import dirty
from cachecore.integrations.django.declaration import DEFAULT, Declaration, declared
from cachecore.integrations.django.model_cache import ModelCache, model_cache
from cachecore.integrations.django.tracking import changed, loaded_value

M = TypeVar("M", bound=models.Model)

Lookups = Sequence[str | Sequence[str]]


class CacheQuerySet(models.QuerySet[M], Generic[M]):
    """A queryset whose bulk writes outdate the cached rows they change. Give it as a base to querysets of your own."""

    _keys_declared = False

    def _clone(self) -> Self:
        clone: Self = cast("Any", super())._clone()
        clone._keys_declared = self._keys_declared
        return clone

    def update(self, **kwargs: Any) -> int:
        """As Django's, restricted to the rows that matched when it began, whose cached copies are outdated.

        Costs one more query, for their primary keys; more rows than the policy's bulk_threshold outdate all rows.
        """
        if self._keys_declared or not writes.touches(self.model) or self.query.is_sliced or self.query.combinator:
            return super().update(**kwargs)
        self._for_write = True
        found = writes.rows_of(self)
        if found is None or writes.changes_identity(self.model, kwargs):
            with writes.writing_all(self.model, self.db):
                return super().update(**kwargs)
        with writes.writing_rows(self.model, self.db, found):
            return super(CacheQuerySet, self.filter(pk__in=[row[0] for row in found])).update(**kwargs)

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_update(self, objs: Iterable[M], fields: Iterable[str], batch_size: int | None = None) -> int:
        """As Django's; the cached copies of ``objs`` are outdated."""
        self._for_write = True
        instances = list(objs)
        chosen: CacheQuerySet[M] = self._chain()  # type: ignore[attr-defined]
        chosen._keys_declared = True
        with writes.writing_instances(self.model, self.db, instances):
            return super(CacheQuerySet, chosen).bulk_update(instances, fields, batch_size)

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> list[M]:
        """As Django's. With ``update_conflicts`` all cached rows are outdated: nobody tells which changed."""
        self._for_write = True
        instances = list(objs)
        if kwargs.get("update_conflicts") or (len(args) > 2 and args[2]):
            with writes.writing_all(self.model, self.db):
                return super().bulk_create(instances, *args, **kwargs)
        with writes.writing_instances(self.model, self.db, instances):
            return super().bulk_create(instances, *args, **kwargs)

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def _raw_delete(self, using: str | None) -> int:
        with writes.writing_all(self.model, using or self.db):
            deleted: int = cast("Any", super())._raw_delete(using)
            return deleted

    _raw_delete.alters_data = True  # type: ignore[attr-defined]


def _lookups(declared: Lookups) -> tuple[tuple[str, ...], ...]:
    fields: Any = [declared] if isinstance(declared, str) else declared
    lookups: list[tuple[Any, ...]]
    try:
        lookups = [(names,) if isinstance(names, str) else tuple(names) for names in fields]
    except TypeError:
        lookups = [()]
    if not all(names and all(isinstance(name, str) and name for name in names) for names in lookups):
        raise ConfigurationError(f"cache_fields must be a list of field names and tuples of them, not {declared!r}")
    return tuple(lookups)


if TYPE_CHECKING:
    _Manager = models.Manager
else:
    _Manager = models.Manager.from_queryset(CacheQuerySet)


def _asked(names: Sequence[str], values: Any) -> dict[str, Any]:
    """The query for the row of which these names have these values."""
    parts = cast("Sequence[Any]", values if isinstance(values, tuple | list) else ())
    if len(parts) != len(names):
        raise UncacheableLookup(f"{values!r} is no value of the lookup {'+'.join(names)}")
    return dict(zip(names, parts, strict=True))


class CacheManager(_Manager[M]):
    """A manager that reads single rows through the cache.

    cache_fields: the unique lookups by which rows may be asked for, besides the primary key: field names, or tuples of
        names that are unique together. Empty: this model is not cached; ``["pk"]``: by its primary key only.
    cache_ttl: seconds a row stays, default the setting's TTL (300); None: until evicted.
    cache_version: change it when the meaning of a column changes though its type does not. Rows stored under another
        version are not read, and are still outdated by the writes of processes that have it.
    cache: which cache of the CACHECORE setting, default "default".
    cache_policy: fields of `cachecore.Policy` that this model sets otherwise.

    Wrong declarations are reported by Django's system checks (cachecore.E004 and up).
    """

    use_in_migrations = False

    def __init__(
        self,
        *,
        cache_fields: Lookups = (),
        cache_ttl: float | object | None = DEFAULT,
        cache_version: int | str | None = None,
        cache: str = "default",
        cache_policy: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.cache_fields = _lookups(cache_fields)
        self.cache_ttl = cache_ttl
        self.cache_version = cache_version
        self.cache = cache
        self.cache_policy = dict(cache_policy or {})
        self._declaration: Declaration | None = None
        self._default: ModelCache | None = None

    @property
    def declaration(self) -> Declaration | None:
        """What this manager declares for its model; None if nothing is cached.

        A model inherits its managers from abstract, concrete and proxied bases, so each model has its own.
        """
        meta = self.model._meta
        if not self.cache_fields or meta.abstract or meta.swapped:
            return None
        if self._declaration is None or self._declaration.model is not self.model:
            self._declaration = Declaration(
                model=self.model,
                manager_name=self.name,
                fields=self.cache_fields,
                ttl=self.cache_ttl,
                version=self.cache_version,
                cache=self.cache,
                options=self.cache_policy,
            )
        return self._declaration

    # -- reading -----------------------------------------------------------------------------------

    def get_from_cache(self, **query: Any) -> M:
        """The row of one cached lookup, such as ``slug="oslo-no"`` or ``country=norway, name="Oslo"``.

        Accepts the primary key as ``pk`` or by name, a declared lookup, ``field__exact``, and a foreign key by name,
        attribute name or instance. No read that starts after a commit has returned sees older data.

        Raises the model's DoesNotExist if there is no such row, and UncacheableLookup, a ValueError, for everything
        that is not a declared lookup.
        """
        cached = self._default
        if cached is None or not cached.is_current:
            cached = self._current()
        instance: M | None = cached.answer(query)
        if instance is not None:
            return instance
        names, values = cached.question(query)
        [found] = cached.rows(names, [values])
        if found is None:
            raise cached.does_not_exist()
        return cast("M", cached.instance(found))

    def get_many_from_cache(self, values: Iterable[Any], key: str | Sequence[str] = "pk") -> list[M]:
        """The rows of many values of one lookup, in the order of ``values``, duplicates included.

        Values without a row are left out. One multi-get, and one query for the rows that are not cached. ``key`` is a
        lookup as in `get_from_cache`; for one of several fields it is a tuple and so is each value.
        """
        cached = self._current()
        if isinstance(key, str):
            values = list(values)
            answers: list[M] | None = cached.answers(key, values)
            if answers is not None:
                return answers
        found: list[M | None] = []
        missing: list[tuple[Any, ...]] = []
        columns: tuple[str, ...] = ()
        for value in values:
            query = {key: value} if isinstance(key, str) else _asked(key, value)
            instance: M | None = cached.hit(query)
            if instance is None:
                columns, ordered = cached.question(query)
                missing.append(ordered)
            found.append(instance)
        if missing:
            rows = iter(cached.rows(columns, missing))
            for place, instance in enumerate(found):
                if instance is None and (row := next(rows)) is not None:
                    found[place] = cached.instance(row)
        return [instance for instance in found if instance is not None]

    async def aget_from_cache(self, **query: Any) -> M:
        """Like `get_from_cache`. What an in-process cache can answer is answered without leaving the event loop."""
        cached = self._current()
        # The transaction of our caller may be in another thread, that of its synchronous part.
        instance = None if dirty.any else cached.hit(query)
        if instance is not None:
            return cast("M", instance)
        return await sync_to_async(self.get_from_cache)(**query)

    async def aget_many_from_cache(self, values: Iterable[Any], key: str | Sequence[str] = "pk") -> list[M]:
        """Like `get_many_from_cache`."""
        return await sync_to_async(self.get_many_from_cache)(list(values), key)

    # -- dropping ----------------------------------------------------------------------------------

    def uncache_object(self, pk: Any) -> None:
        """Outdate the cached row of a primary key, for a change made where nobody could see it."""
        cached = self._current()
        names, values = cached.question({"pk": pk})
        cached.invalidate(values[0] if len(names) == 1 else values)

    # -- tracking ----------------------------------------------------------------------------------

    def has_changed(self, instance: models.Model, field: str) -> bool:
        """Whether a cached lookup's field differs from what was loaded or last saved; False for an unsaved instance."""
        return changed(instance, field)

    def old_value(self, instance: models.Model, field: str) -> Any:
        """The value of a cached lookup's field as loaded or last saved; None for an unsaved instance."""
        return loaded_value(instance, field)

    # -- inside ------------------------------------------------------------------------------------

    def _current(self) -> ModelCache:
        """The cached rows of this manager's model in the database its writes go to."""
        cached = self._default
        if cached is not None and cached.is_current:
            return cached
        declaration = self.declaration
        if declaration is None:
            raise self._nothing_declared()
        writes.require_installed(self.model)
        hints: dict[str, Any] = vars(self)["_hints"]
        alias = self._db or router.db_for_write(self.model, **hints)
        cached = model_cache(declaration, alias)
        # With routers the answer may differ from call to call.
        self._default = cached if self._db is None and not router.routers else None
        return cached

    def _nothing_declared(self) -> UncacheableLookup:
        known = declared(self.model)
        if known is not None and known.manager_name != self.name:
            # Such as a related manager, country.cities, whose rows are a part of all.
            return UncacheableLookup(
                f"cached rows of {self.model._meta.label} are asked for by "
                f"{known.model._meta.object_name}.{known.manager_name}, not by {self.name or 'a related manager'}"
            )
        return UncacheableLookup(
            f"{self.model._meta.label}.{self.name} declares no cache_fields, so nothing is cached; "
            "just hit the database"
        )

    # Django copies managers to give them to other models, and pickles them by name of their model.
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_default": None, "_declaration": None}
