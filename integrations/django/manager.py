"""The manager: reading through the cache, and querysets whose writes outdate it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Generic, Self, cast, overload

from asgiref.sync import sync_to_async
from django.db import connections, models, router, transaction

from cachecore.errors import ConfigurationError, InvalidKey, UncacheableLookup
from cachecore.integrations.django.declaration import DEFAULT, Declaration, concrete, declared
from cachecore.integrations.django.detours import DatabaseReads, Reading, ReplicaReads
from cachecore.integrations.django.lookup_values import shown
from cachecore.integrations.django.model_cache import MOST_TOGETHER, ModelCache, model_cache
from cachecore.integrations.django.orm.create_or_update import CreateOrUpdate
from cachecore.integrations.django.orm.hooks import ManagerHooks
from cachecore.integrations.django.orm.post_update import PostUpdateQuerySet
from cachecore.integrations.django.switches import switches
from cachecore.integrations.django.tracking import changed, loaded_value
from cachecore.integrations.django.writing import writes
from cachecore.integrations.django.writing.dirty import dirty
from cachecore.integrations.django.writing.invalidation import outdate

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    M = TypeVar("M", bound=models.Model, default=models.Model)
else:
    from typing import TypeVar

    M = TypeVar("M", bound=models.Model)

Owner = TypeVar("Owner", bound=models.Model)

Lookups = Sequence[str | Sequence[str]]


class CacheQuerySet(CreateOrUpdate, PostUpdateQuerySet[M], Generic[M]):
    """What the querysets of a `CacheManager` can do besides. Give it as a base to querysets of your own."""


def _lookups(option: str, declared: Lookups) -> tuple[tuple[str, ...], ...]:
    fields: Any = [declared] if isinstance(declared, str) else declared
    lookups: list[tuple[Any, ...]]
    try:
        lookups = [(names,) if isinstance(names, str) else tuple(names) for names in fields]
    except TypeError:
        lookups = [()]
    if not all(names and all(isinstance(name, str) and name for name in names) for names in lookups):
        raise ConfigurationError(f"{option} must be a list of field names and tuples of them, not {declared!r}")
    return tuple(lookups)


def _fields(option: str, declared: Any) -> tuple[str, ...]:
    """The names in an option that takes single fields."""
    lookups = _lookups(option, declared)
    if any(len(names) > 1 for names in lookups):
        raise ConfigurationError(f"{option} must be a list of field names, not {declared!r}")
    return tuple(name for (name,) in lookups)


def _lists(declared: Lookups | Mapping[Any, Any]) -> dict[tuple[str, ...], tuple[str, ...] | None]:
    """The declared lists, and how each is sorted; None: as Meta.ordering says."""
    lists = _lookups("cache_lists", cast("Lookups", declared))
    if not isinstance(declared, Mapping):
        return dict.fromkeys(lists)
    return {
        names: None if order is None else _fields("an order in cache_lists", order)
        for names, order in zip(lists, declared.values(), strict=True)
    }


if TYPE_CHECKING:
    _Manager = models.Manager
else:
    _Manager = models.Manager.from_queryset(CacheQuerySet)


def hides_rows(manager: Any) -> bool:
    """Whether there may be rows that a manager does not show: it has a get_queryset() of its own."""
    theirs, plain = cast("Any", type(manager)), cast("Any", models.Manager)
    return theirs.get_queryset is not plain.get_queryset


def _asked(names: Sequence[str], values: Any) -> dict[str, Any]:
    """The query for the row of which these names have these values."""
    parts = cast("Sequence[Any]", values if isinstance(values, tuple | list) else ())
    if len(parts) != len(names):
        raise UncacheableLookup(f"{shown(cast('Any', values))} is no value of the lookup {'+'.join(names)}")
    return dict(zip(names, parts, strict=True))


def _several(values: Any) -> list[Any]:
    """The values of a call that takes many. A text is one value and not many of a letter."""
    try:
        one_by_one = None if isinstance(values, str | bytes) else iter(values)
    except TypeError:
        one_by_one = None
    if one_by_one is None:
        raise UncacheableLookup(f"many values are asked for by an iterable of them, not by {shown(values)}")
    return list(one_by_one)


def _lookup(key: Any) -> str | tuple[str, ...]:
    """The name or names of a lookup."""
    if isinstance(key, str):
        return key
    names: tuple[Any, ...] = tuple(key) if hasattr(key, "__iter__") else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise UncacheableLookup(f"key is the name of a lookup or a tuple of names, not {shown(key)}")
    return names


def _unless_keyless(ask: Callable[..., Any], *question: Any) -> Any:
    """What a straight path answers; None for text that is no UTF-8, which has no key and of which there is no row."""
    try:
        return ask(*question)
    except InvalidKey:
        return None


class CacheManager(CreateOrUpdate, ManagerHooks[M], _Manager[M]):
    """A manager that reads single rows through the cache.

    cache_fields: the unique lookups by which rows may be asked for, besides the primary key: field names, or tuples of
        names that are unique together. Empty: this model is not cached; ``["pk"]``: by its primary key only.
    cache_lists: the fields, or tuples of fields, by whose values whole lists of rows may be asked for, such as
        ``["country"]``; sorted as Meta.ordering says, or by the fields of a mapping: ``{"country": ["-population"]}``.
    cache_missing: True: lookups remember that they have no row; or the names of those that do. The primary key never
        does: a row may get its key from the database, where nobody can know of it before.
    cache_relations: foreign keys of this model that are read from the cache when they are followed, for all instances
        that were loaded together at once.
    cache_ttl: seconds a row stays, default the setting's TTL (300); None: until evicted.
    cache_version: change it when the meaning of a column changes though its type does not. Rows stored under another
        version are not read, and are still outdated by the writes of processes that have it.
    cache: which cache of the CACHECORE setting, default "default".
    cache_policy: fields of `cachecore.Policy` that this model sets otherwise.
    cache_replica: alias of the database that `using_replica` reads what is not cached from; None: the one that the
        database routers read this model from.

    Wrong declarations are reported by Django's system checks (cachecore.E004 and up).
    """

    use_in_migrations = False

    def __init__(
        self,
        *,
        cache_fields: Lookups = (),
        cache_lists: Lookups | Mapping[Any, str | Sequence[str]] = (),
        cache_missing: bool | Lookups = False,
        cache_relations: Sequence[str] = (),
        cache_ttl: float | object | None = DEFAULT,
        cache_version: int | str | None = None,
        cache: str = "default",
        cache_policy: dict[str, Any] | None = None,
        cache_replica: str | None = None,
    ) -> None:
        super().__init__()
        self.cache_fields = _lookups("cache_fields", cache_fields)
        self.cache_lists = _lists(cache_lists)
        self.cache_missing = (
            cache_missing if isinstance(cache_missing, bool) else _lookups("cache_missing", cache_missing)
        )
        self.cache_relations = _fields("cache_relations", cache_relations)
        self.cache_ttl = cache_ttl
        self.cache_version = cache_version
        self.cache = cache
        if not isinstance(cache_policy, Mapping | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"cache_policy must be a dict of fields of Policy, not {cache_policy!r}")
        self.cache_policy = dict(cache_policy or {})
        self.cache_replica = cache_replica
        self._declaration: Declaration | None = None
        self._default: ModelCache | None = None
        self._bypasses = False
        self._replica: str | None = None

    @property
    def declaration(self) -> Declaration | None:
        """What this manager declares for its model; None if nothing is cached.

        A model inherits its managers from abstract, concrete and proxied bases, so each model has its own.
        """
        meta = self.model._meta
        if not (self.cache_fields or self.cache_lists) or meta.abstract or meta.swapped:
            return None
        if self._declaration is None or self._declaration.model is not self.model:
            self._declaration = Declaration(
                model=self.model,
                manager_name=self.name,
                fields=self.cache_fields,
                listed=self.cache_lists,
                missing=self.cache_missing,
                ttl=self.cache_ttl,
                version=self.cache_version,
                cache=self.cache,
                options=self.cache_policy,
            )
        return self._declaration

    @property
    def hides_rows(self) -> bool:
        """Whether there may be rows that it does not show."""
        return hides_rows(self)

    if TYPE_CHECKING:
        # For type checkers without a plugin for Django: `City.objects` is a manager of City though nobody said so. A
        # manager class of a named model, CacheManager["City"], stays itself.
        @overload
        def __get__(self: "CacheManager[models.Model]", instance: None, cls: type[Owner]) -> "CacheManager[Owner]": ...
        @overload
        def __get__(self, instance: Any, cls: type[Any] | None = None) -> Self: ...
        def __get__(self, instance: Any, cls: Any = None) -> Any: ...

    # -- reading -----------------------------------------------------------------------------------

    def get_from_cache(self, **query: Any) -> M:
        """The row of one cached lookup, such as ``slug="oslo-no"`` or ``country=norway, name="Oslo"``.

        Accepts the primary key as ``pk`` or by name, a declared lookup, ``field__exact``, and a foreign key by name,
        attribute name or instance. No read that starts after a commit has returned sees older data.

        Raises the model's DoesNotExist if there is no such row, and UncacheableLookup, a ValueError, for everything
        that is not a declared lookup.
        """
        default = self._default
        cached: Reading
        # This is the hot path: switches cost a look at one attribute while none is thrown.
        cached = self._reading() if default is None or switches.any or not default.is_current else default
        try:
            instance: M | None = cached.answer(query)
        except InvalidKey:  # as _unless_keyless, without a call more
            instance = None
        if instance is not None:
            return instance
        names, values = cached.question(query)
        [found] = cached.rows(names, [values])
        if found is None:
            raise cached.does_not_exist()
        return cast("M", cached.instance(found))

    def get_many_from_cache(self, values: Iterable[Any], key: str | Sequence[str] = "pk") -> list[M]:
        """The rows of many values of one lookup, in the order of ``values``, duplicates included.

        Values without a row are left out, also those that the column cannot hold. One multi-get, and one query for the
        rows that are not cached; of more than 5000 values, one of each for so many. ``key`` is a lookup as in
        `get_from_cache`; for one of several fields it is a tuple and so is each value.
        """
        cached, values, key = self._reading(), _several(values), _lookup(key)
        if isinstance(key, str) and len(values) <= MOST_TOGETHER:
            answers: list[M] | None = _unless_keyless(cached.answers, key, values)
            if answers is not None:
                return answers
        found: list[M | None] = []
        missing: list[tuple[Any, ...]] = []
        columns: tuple[str, ...] = ()
        for value in values:
            query = {key: value} if isinstance(key, str) else _asked(key, value)
            instance: M | None = _unless_keyless(cached.hit, query)
            if instance is None:
                columns, ordered = cached.question(query)
                missing.append(ordered)
            found.append(instance)
        if missing:
            rows = iter(cached.rows(columns, missing))
            for place, instance in enumerate(found):
                if instance is None and (row := next(rows)) is not None:
                    found[place] = cached.instance(row)
        return cached.peers(instance for instance in found if instance is not None)

    def get_list_from_cache(self, **query: Any) -> list[M]:
        """All rows of a declared list, such as ``country=norway``, in its order; empty if there is none.

        Complete: every row that has the values when the call begins is in it. One round trip for the list, one for its
        rows; and one query if the list is not cached. Raises UncacheableLookup for a list that is not declared.
        """
        cached = self._reading()
        names, values = cached.list_question(query)
        [rows] = cached.lists(names, [values])
        return cached.peers(cached.instance(row) for row in rows)

    def get_lists_from_cache(self, values: Iterable[Any], key: str | Sequence[str]) -> list[list[M]]:
        """The lists of many values of ``key``, in the order of ``values``: as many round trips as for one."""
        cached, values, key = self._reading(), _several(values), _lookup(key)
        asked = [cached.list_question({key: value} if isinstance(key, str) else _asked(key, value)) for value in values]
        found = cached.lists(asked[0][0], [one for _, one in asked]) if asked else []
        return [cached.peers(cached.instance(row) for row in rows) for rows in found]

    async def aget_list_from_cache(self, **query: Any) -> list[M]:
        """Like `get_list_from_cache`."""
        return await sync_to_async(self.get_list_from_cache)(**query)

    async def aget_lists_from_cache(self, values: Iterable[Any], key: str | Sequence[str]) -> list[list[M]]:
        """Like `get_lists_from_cache`."""
        return await sync_to_async(self.get_lists_from_cache)(_several(values), key)

    async def aget_from_cache(self, **query: Any) -> M:
        """Like `get_from_cache`. What an in-process cache can answer is answered without leaving the event loop."""
        cached = self._reading()
        # The transaction of our caller may be in another thread, that of its synchronous part.
        instance = None if dirty.any else _unless_keyless(cached.hit, query)
        if instance is not None:
            return cast("M", instance)
        return await sync_to_async(self.get_from_cache)(**query)

    async def aget_many_from_cache(self, values: Iterable[Any], key: str | Sequence[str] = "pk") -> list[M]:
        """Like `get_many_from_cache`."""
        return await sync_to_async(self.get_many_from_cache)(_several(values), key)

    # -- reading otherwise -------------------------------------------------------------------------

    def bypass_cache(self) -> Self:
        """A copy of this manager that reads every row from the database and fills nothing.

        For a read that must not depend on the cache at all. Writes outdate as ever. For a whole block there is
        `cache_bypassed`.
        """
        clone = copy(self)
        clone._bypasses = True
        return clone

    def using_replica(self, alias: str | None = None) -> Self:
        """A copy of this manager that reads what is not cached from a replica, and stores nothing of it.

        alias: of the replica; None means this manager's ``cache_replica``, or else what the database routers say.

        Rows that are cached are as coherent as ever; the others are as old as the replica lags behind, which is why
        they are not stored. Instances have the alias of the replica in ``_state.db``, as if they had been read there,
        so that a router must send their writes to the primary. What an open transaction has written is read from the
        database that it was written to. Raises ConfigurationError if the alias is none.
        """
        chosen = alias if alias is not None else self.cache_replica or router.db_for_read(self.model)
        if chosen not in connections:
            known = ", ".join(connections)
            raise ConfigurationError(f"{self.model._meta.label}: {chosen!r} is no database; there are {known}")
        clone = copy(self)
        clone._replica = chosen
        return clone

    def disable_cache(self) -> None:
        """From now on read the rows of this model from the database, in this process, until `enable_cache`.

        Writes of this process go on to outdate what is cached: other processes read it. For all processes from their
        start there is the setting CACHECORE_DISABLED_MODELS.
        """
        self._current()
        switches.disable([self.model])

    def enable_cache(self) -> None:
        """Read the rows of this model from the cache again, in this process."""
        self._current()
        switches.enable([self.model])

    @property
    def is_cache_disabled(self) -> bool:
        """Whether the rows of this model are read from the database, in this process."""
        return switches.is_disabled(self.model)

    # -- dropping ----------------------------------------------------------------------------------

    def uncache_object(self, pk: Any) -> None:
        """Outdate the cached row of a primary key or an instance, for a change made where nobody could see it.

        In a transaction it acts at once and again when it is committed, see `invalidate`. Raises BackendError if the
        cache cannot be reached.
        """
        cached = self._current()
        names, identity = cached.question({"pk": pk})
        if cached.can_be(names, identity):
            outdate(self.model, cached.alias, [identity])

    async def auncache_object(self, pk: Any) -> None:
        """Like `uncache_object`."""
        await sync_to_async(self.uncache_object)(pk)

    def refresh_in_cache(self, pk: Any) -> M | None:
        """Outdate the row of a primary key or an instance, and read it anew so that the next reader has a hit.

        Returns the instance as it is now; None if there is no such row. In a transaction it is read once more, for the
        cache, when it has been committed. Raises BackendError if the cache cannot be reached to outdate the row.
        """
        self.uncache_object(pk)
        reading, cached = self._reading(), self._current()
        names, values = reading.question({"pk": pk})
        [found] = reading.rows(names, [values])
        if cached.state().in_transaction:

            def fill() -> None:
                self._reading().rows(names, [values])

            transaction.on_commit(fill, using=cached.alias, robust=True)
        return None if found is None else cast("M", reading.instance(found))

    async def arefresh_in_cache(self, pk: Any) -> M | None:
        """Like `refresh_in_cache`."""
        return await sync_to_async(self.refresh_in_cache)(pk)

    # -- tracking ----------------------------------------------------------------------------------

    def has_changed(self, instance: models.Model, field: str) -> bool:
        """Whether a cached lookup's field differs from what was loaded or last saved; False for an unsaved instance."""
        return changed(self._own(instance, field), field)

    def old_value(self, instance: models.Model, field: str) -> Any:
        """The value of a cached lookup's field as loaded or last saved; None for an unsaved instance."""
        return loaded_value(self._own(instance, field), field)

    # -- inside ------------------------------------------------------------------------------------

    def _own(self, instance: Any, field: Any) -> models.Model:
        """The instance, if it is one of this manager's model and ``field`` can be the name of one of its fields."""
        if not isinstance(field, str):
            raise UncacheableLookup(f"{self.model._meta.label}.{shown(field)} is not tracked: it is no name of a field")
        if not isinstance(instance, concrete(self.model)):
            raise UncacheableLookup(f"{self.model._meta.label} has no such instance: {shown(instance)}")
        return instance

    def _reading(self) -> Reading:
        """What this manager reads by: the cached rows, unless something says otherwise."""
        cached = self._default
        if cached is None or not cached.is_current:
            cached = self._current()
        if self._bypasses or (switches.any and switches.bypasses(self.model)):
            return DatabaseReads(cached)
        return cached if self._replica is None else ReplicaReads(cached, model_cache(cached.declaration, self._replica))

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
        is_plain = self._db is None and not self._bypasses and self._replica is None
        self._default = cached if is_plain and not router.routers else None
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

    # Django copies managers to give them to other models.
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_default": None, "_declaration": None}
