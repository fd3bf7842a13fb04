"""The manager: reading through the cache, and querysets whose writes outdate it."""

from collections.abc import Iterable, Sequence
from typing import Any, Generic, Self, TypeVar, cast

from asgiref.sync import sync_to_async
from django.db import models, router
from django.db.models.manager import BaseManager

from cachecore.errors import UncacheableLookup
from cachecore.integrations.django import writes
from cachecore.integrations.django.declaration import DEFAULT, Declaration
from cachecore.integrations.django.model_cache import ModelCache, model_cache
from cachecore.integrations.django.tracking import changed, loaded_value

M = TypeVar("M", bound=models.Model)

Lookups = Sequence[str | Sequence[str]]


class CacheQuerySet(models.QuerySet[M], Generic[M]):
    """A queryset whose bulk writes outdate the cached rows they change. Give it as a base to querysets of your own."""

    _keys_declared = False

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]
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
        declared = self._chain()  # type: ignore[attr-defined]
        declared._keys_declared = True
        with writes.writing_instances(self.model, self.db, instances):
            return cast("int", super(CacheQuerySet, declared).bulk_update(instances, fields, batch_size))

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> list[M]:
        """As Django's. With ``update_conflicts`` all cached rows of the model are outdated: which changed is not told."""
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
            return cast("int", super()._raw_delete(using))  # type: ignore[misc]

    _raw_delete.alters_data = True  # type: ignore[attr-defined]


class CacheManager(BaseManager.from_queryset(CacheQuerySet), Generic[M]):  # type: ignore[misc]
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
        cache_ttl: float | None | object = DEFAULT,
        cache_version: int | str | None = None,
        cache: str = "default",
        cache_policy: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        fields = [cache_fields] if isinstance(cache_fields, str) else list(cache_fields)
        self.cache_fields: tuple[tuple[str, ...], ...] = tuple(
            (names,) if isinstance(names, str) else tuple(names) for names in fields
        )
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
        """The row of one cached lookup: ``get_from_cache(slug="oslo-no")``, ``get_from_cache(country=norway, name="Oslo")``.

        Accepts the primary key as ``pk`` or by name, a declared lookup, ``field__exact``, and a foreign key by name,
        attribute name or instance. No read that starts after a commit has returned sees older data.

        Raises the model's DoesNotExist if there is no such row, and UncacheableLookup, a ValueError, for everything that
        is not a declared lookup.
        """
        cached = self._default
        if cached is None or not cached.is_current:
            cached = self._current()
        instance = cached.hit(query)
        if instance is not None:
            return cast("M", instance)
        names, values = cached.question(query)
        [found] = cached.rows(names, [values])
        if found is None:
            raise cached.model.DoesNotExist(f"{cached.model._meta.object_name} matching query does not exist.")
        return cast("M", cached.instance(found))

    def get_many_from_cache(self, values: Iterable[Any], key: str | Sequence[str] = "pk") -> list[M]:
        """The rows of many values of one lookup, in the order of ``values``, duplicates included.

        Values without a row are left out. One multi-get, and one query for the rows that are not cached. ``key`` is a
        lookup as in `get_from_cache`; for one of several fields it is a tuple and so is each value.
        """
        cached = self._current()
        names = (key,) if isinstance(key, str) else tuple(key)
        wanted: list[tuple[Any, ...]] = []
        columns: tuple[str, ...] = ()
        for value in values:
            parts = (value,) if isinstance(key, str) else tuple(value)
            if len(parts) != len(names):
                raise UncacheableLookup(f"{value!r} is no value of the lookup {'+'.join(names)}")
            columns, ordered = cached.question(dict(zip(names, parts, strict=True)))
            wanted.append(ordered)
        if not wanted:
            return []
        return [cached.instance(row) for row in cached.rows(columns, wanted) if row is not None]

    async def aget_from_cache(self, **query: Any) -> M:
        """Like `get_from_cache`. What an in-process cache can answer is answered without leaving the event loop."""
        instance = self._current().hit(query)
        if instance is not None:
            return cast("M", instance)
        return cast("M", await sync_to_async(self.get_from_cache)(**query))

    async def aget_many_from_cache(self, values: Iterable[Any], key: str | Sequence[str] = "pk") -> list[M]:
        """Like `get_many_from_cache`."""
        return cast("list[M]", await sync_to_async(self.get_many_from_cache)(list(values), key))

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
            raise UncacheableLookup(
                f"{self.model._meta.label}.{self.name} declares no cache_fields, so nothing is cached; "
                "just hit the database"
            )
        writes.require_installed(self.model)
        alias = self._db or router.db_for_write(self.model, **self._hints)
        cached = model_cache(declaration, alias)
        # With routers the answer may differ from call to call.
        self._default = cached if self._db is None and not router.routers else None
        return cached

    # Django copies managers to give them to other models, and pickles them by name of their model.
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_default": None, "_declaration": None}
