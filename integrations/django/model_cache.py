"""The cached rows of one model in one database: what to ask, how to load it, and what comes back as an instance."""

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar, cast
from uuid import UUID

from django.conf import settings
from django.core.signals import setting_changed
from django.db import connections, models

from cachecore.errors import BackendError, UncacheableLookup
from cachecore.integrations.django import local
from cachecore.integrations.django.conf import caches
from cachecore.integrations.django.declaration import DEFAULT, Declaration, identity_names
from cachecore.integrations.django.equality import require_exact
from cachecore.integrations.django.hit import HitPath, Plan
from cachecore.integrations.django.lookup_values import can_hold, lookup_value, shown
from cachecore.integrations.django.relations.peers import answering_peers, are_grouped, together
from cachecore.integrations.django.rows import RowLayout
from cachecore.integrations.django.shared import shared_path
from cachecore.integrations.django.tracking import tracked_names
from cachecore.integrations.django.writing.connection import ConnectionState, Guard, state_of
from cachecore.integrations.django.writing.databases import database_of
from cachecore.integrations.django.writing.dirty import dirty
from cachecore.integrations.django.writing.worlds import at_the_end
from cachecore.unit import Unit

logger = logging.getLogger("cachecore")

Row = tuple[Any, ...]
Answer = TypeVar("Answer")

MOST_TOGETHER = 5000
"""Values asked of the cache in one round trip. Far more of them would keep a server from answering others, and take
longer than the timeout of a backend."""

_MOST_PARAMETERS = 20_000
"""Of a statement to a database that names no limit. PostgreSQL has one of 65,535 if it is the server that binds."""

_MOST_ALTERNATIVES = 400
"""In one condition ``a OR b OR ...``: SQLite refuses expressions more than 1000 deep."""


class ModelCache:
    """The cached rows of a declared model in the database ``alias``. Made once per process and pair."""

    def __init__(self, declaration: Declaration, alias: str) -> None:
        self.declaration = declaration
        self.model = declaration.model
        self.alias = alias
        self.cache = caches[declaration.cache]
        self.layout = RowLayout(self.model, version=_version(declaration))
        self.identity = identity_names(self.model)
        policy = self.cache.policy.replace(**declaration.options)
        if declaration.ttl is not DEFAULT:
            policy = policy.replace(ttl=declaration.ttl)
        self.records = self.cache.entity(
            declaration.concrete._meta.label,
            self.layout.codec,
            identity=self.identity,
            lookups=declaration.lookups(),
            lists=declaration.lists(),
            missing=declaration.absences(),
            alias=database_of(alias),
            policy=policy,
            ttl=policy.ttl,
        )
        self.policy = policy
        self._require_exact_lists()
        self._named = {name: column for column in self.model._meta.concrete_fields for name in _names(column)}
        if len(self.identity) == 1:
            self._named["pk"] = self.model._meta.pk
        self._lookup_names = {frozenset(names): names for names in self.records.entity.lookups}
        asked = (self.identity, *self._lookup_names.values(), *self.records.derived.list_key)
        self._holds = {name: can_hold(self._named[name], alias) for names in asked for name in names}
        position = self.records.entity.position
        tracked = tuple(position[name] for name in tracked_names(self.model))
        self._snapshot = _getter(tracked)
        self.hit: Callable[[Mapping[str, Any]], Any] = self._hit_path(tracked)
        """The instance, if an in-process cache has it and the question needs no second look; None otherwise."""
        self.answer: Callable[[Mapping[str, Any]], Any] = self.hit
        """Like `hit`, but one that a shared cache has is asked for; raises DoesNotExist. None: nothing was asked."""
        self.answers: Callable[[str, Sequence[Any]], list[Any] | None] = lambda name, values: None
        """Like `answer` for many values of one keyword, without those that have no row; never by a local cache."""
        shared = shared_path(self, tracked)
        if shared is not None:
            self.answer, self.answers = shared.get, shared.get_many
        self._has_peers = are_grouped(self.model)
        if self._has_peers:
            self.answers = answering_peers(self.answers)
        self._looks_locally = False
        self.is_current = True
        """False once the settings have changed and another ModelCache stands for the same rows."""

    def _require_exact_lists(self) -> None:
        columns = {column.attname: column for column in self.model._meta.concrete_fields}
        derived = self.records.derived
        for name in {name for names in (*derived.list_key, *derived.missing_key) for name in names}:
            kind = self.layout.codec.columns[self.records.entity.position[name]].type
            require_exact(columns[name], kind, self.alias)

    # -- a hit in this process ---------------------------------------------------------------------

    def _hit_path(self, tracked: tuple[int, ...]) -> Callable[[Mapping[str, Any]], Any]:
        if self.records.read is None or not self.are_scalar(tracked):
            return lambda query: None
        path = HitPath(
            dirty,
            self._writes_here,
            self.plan,
            self.records,
            self.layout.instance_of_frozen,
            self.alias,
            tracked,
        )
        return path.hit

    def are_scalar(self, positions: Iterable[int]) -> bool:
        """Whether a frozen row has these columns as they are, and not text in place of another object."""
        columns = self.layout.codec.columns
        return all(columns[position].kind == "scalar" for position in positions)

    def _writes_here(self) -> bool:
        return bool(state_of(self.alias).units)

    def plan(self, names: tuple[str, ...]) -> Plan | None:
        """How a question with these keywords becomes a key; None if it is no lookup, or its values need a look."""
        columns = [self._named.get(name.removesuffix("__exact")) for name in names]
        if any(column is None for column in columns):
            return None
        asked = [column.attname for column in columns if column is not None]
        entity = self.records.entity
        ordered = self.identity if tuple(asked) == self.identity else self._lookup_names.get(frozenset(asked))
        kinds = [_exact_type(column) for column in columns]
        if ordered is None or len(ordered) != len(asked) or any(kind is None for kind in kinds):
            return None
        remotes = [_remote(column) for column in columns]
        order = tuple(asked.index(name) for name in ordered)
        exact = tuple(kind for kind in kinds if kind is not None)
        if ordered == self.identity:
            return Plan(exact, tuple(remotes), order, entity.key, None, ordered) if len(ordered) == 1 else None
        positions = tuple(entity.position[name] for name in ordered)
        return Plan(exact, tuple(remotes), order, entity.lookup_key[ordered], positions, ordered)

    def look_locally(self) -> None:
        """From now on leave questions to `rows` wherever a local cache is open. One in front of a cache in this process
        would gain nothing."""
        if self.records.read is None and not self._looks_locally:
            self._looks_locally = True
            self.answer = local.unless_open(self.answer)
            self.answers = local.unless_open(self.answers)

    # -- questions ---------------------------------------------------------------------------------

    def question(self, query: Mapping[str, Any]) -> tuple[tuple[str, ...], Row]:
        """(columns, values) of a query such as ``{"slug": "oslo-no"}``, in the order in which they were declared.

        Raises UncacheableLookup, which is a ValueError, for everything no key stands for.
        """
        asked = self._meant(query)
        names = frozenset(asked)
        ordered = self.identity if names == frozenset(self.identity) else self._lookup_names.get(names)
        if ordered is None:
            raise self._uncacheable(query)
        return ordered, tuple(asked[name] for name in ordered)

    def list_question(self, query: Mapping[str, Any]) -> tuple[tuple[str, ...], Row]:
        """Like `question`, for a list."""
        return self.records.derived.named(self._meant(query))

    def _meant(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """What a query says, by column."""
        asked: dict[str, Any] = {}
        for name, value in query.items():
            for column, meant in self._columns(name.removesuffix("__exact"), value, query):
                if asked.setdefault(column, meant) != meant:
                    raise UncacheableLookup(
                        f"{self.model._meta.label}: {name}={shown(value)} contradicts the rest of the query"
                    )
        return asked

    def _columns(self, name: str, value: Any, query: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
        """What one keyword of a query says: (column, its value); several for a composite primary key."""
        if name == "pk" and len(self.identity) > 1:
            return self._composite(value)
        column = self._named.get(name)
        if column is None:
            raise self._uncacheable(query)
        return [(column.attname, self.value(column, value))]

    def _composite(self, value: Any) -> list[tuple[str, Any]]:
        parts: Any = value.pk if isinstance(value, self.declaration.concrete) else value
        if not isinstance(parts, tuple | list) or len(cast("Sequence[Any]", parts)) != len(self.identity):
            known = ", ".join(self.identity)
            raise UncacheableLookup(
                f"{self.model._meta.label}: the primary key is a tuple of {known}, not {shown(value)}"
            )
        pairs = zip(self.identity, cast("Sequence[Any]", parts), strict=True)
        return [(name, self.value(self._named[name], part)) for name, part in pairs]

    def _uncacheable(self, query: Mapping[str, Any]) -> UncacheableLookup:
        known = ", ".join("+".join(names) for names in (("pk",), *self.records.entity.lookups))
        return UncacheableLookup(
            f"{self.model._meta.label} is not cached by {', '.join(query) or 'nothing'}, only by {known}; "
            "just hit the database"
        )

    def value(self, column: Any, value: Any) -> Any:
        """``value`` as the column holds it: an instance becomes its key, "42" becomes 42. Raises UncacheableLookup."""
        return lookup_value(self.model, column, value)

    # -- the database ------------------------------------------------------------------------------

    def _select(self) -> Any:
        manager = getattr(self.model, self.declaration.manager_name)
        return self.layout.select(manager.get_queryset().using(self.alias).order_by())

    def load(self, identities: Sequence[Any]) -> Iterable[Row]:
        """The rows of these identities, in any order."""
        is_single = len(self.identity) == 1
        wanted = [one for one in identities if self.can_be(self.identity, (one,) if is_single else one)]
        if len(wanted) == 1:
            return list(self._select().filter(pk=wanted[0]))
        return self._in_batches("pk__in", wanted, len(self.identity))

    def query(self, names: tuple[str, ...]) -> Callable[[Row], Row | None]:
        """The function that reads the row of one lookup. It raises MultipleObjectsReturned as ``get`` does."""

        def query(values: Row) -> Row | None:
            rows = list(self._select().filter(**dict(zip(names, values, strict=True)))[:2])
            if len(rows) > 1:
                raise self.model.MultipleObjectsReturned(
                    f"get_from_cache() found more than one {self.model._meta.object_name} by {', '.join(names)}"
                )
            return rows[0] if rows else None

        return query

    def query_many(self, names: tuple[str, ...]) -> Callable[[Sequence[Row]], Iterable[Row]]:
        """The function that reads the rows of many values of one lookup."""

        def query_many(values: Sequence[Row]) -> Iterable[Row]:
            if len(names) == 1:
                return self._in_batches(f"{names[0]}__in", [value for (value,) in values], 1)
            rows: list[Row] = []
            for batch in self._batches(values, len(names)):
                alternatives = [models.Q(**dict(zip(names, value, strict=True))) for value in batch]
                rows.extend(self._select().filter(models.Q(*alternatives, _connector=models.Q.OR)))
            return rows

        return query_many

    def _in_batches(self, condition: str, values: Sequence[Any], parameters: int) -> list[Row]:
        rows: list[Row] = []
        for batch in self._batches(values, parameters):
            rows.extend(self._select().filter(**{condition: batch}))
        return rows

    def _batches(self, values: Sequence[Any], parameters: int) -> Iterable[Sequence[Any]]:
        """Slices small enough for what the database allows in one statement."""
        limit = connections[self.alias].features.max_query_params or _MOST_PARAMETERS
        size = max(1, limit // parameters)
        if parameters > 1:
            size = min(size, _MOST_ALTERNATIVES)
        return (values[start : start + size] for start in range(0, len(values), size))

    # -- the moment --------------------------------------------------------------------------------

    def state(self) -> ConnectionState:
        """The state of this thread's connection, up to date."""
        state = state_of(self.alias)
        state.begin_read()
        return state

    def can_be(self, names: Sequence[str], values: Row) -> bool:
        """Whether columns of the identity, a lookup or a list can hold these values: there may be such a row."""
        holds = self._holds
        return all(holds[name](value) for name, value in zip(names, values, strict=True))

    def only_possible(
        self,
        names: tuple[str, ...],
        values: Sequence[Row],
        ask: Callable[[tuple[str, ...], Sequence[Row]], list[Answer]],
        nothing: Answer,
    ) -> list[Answer]:
        """What ``ask`` answers to the values that there may be, so many at a time; ``nothing`` to the others, of which
        nobody is asked."""
        possible = [self.can_be(names, value) for value in values]
        if all(possible) and len(values) <= MOST_TOGETHER:
            return ask(names, values)
        wanted = [value for value, may_be in zip(values, possible, strict=True) if may_be]
        parts = (wanted[start : start + MOST_TOGETHER] for start in range(0, len(wanted), MOST_TOGETHER))
        answers = chain.from_iterable(ask(names, part) for part in parts)
        return [next(answers) if may_be else nothing for may_be in possible]

    def rows(self, names: tuple[str, ...], values: Sequence[Row]) -> list[Row | None]:
        """The rows of many values of one lookup or of the identity, in their order; None where there is none."""
        with self.watching(values):
            if self._looks_locally:
                remembered = local.open_for(self.declaration.cache)
                if remembered is not None:
                    return self.only_possible(names, values, partial(remembered.rows, self, ask=self._rows), None)
            return self.only_possible(names, values, self._rows, None)

    def by_value(self, name: str, values: Sequence[Any]) -> dict[Any, Any]:
        """The instances of many different values of one column, the identity or a lookup, which have precisely its
        type; those without a row are left out. They are peers."""
        values = [value for value in values if self.can_be((name,), (value,))]
        answers = self.answers(name, values) if len(values) <= MOST_TOGETHER else None
        if answers is not None:
            return {vars(instance)[name]: instance for instance in answers}
        found: dict[Any, Any] = {}
        for value in values:
            instance = self.hit({name: value})
            if instance is not None:
                found[value] = instance
        missing = [value for value in values if value not in found]
        if missing:
            rows = self.rows((name,), [(value,) for value in missing])
            found.update((value, self.instance(row)) for value, row in zip(missing, rows, strict=True) if row)
        return dict(zip(found, self.peers(found.values()), strict=True))

    def peers(self, instances: Iterable[Any]) -> list[Any]:
        """These instances, which one call returns: if the model follows relations, told that they belong together."""
        found = list(instances)
        if self._has_peers:
            together(found)
        return found

    @contextmanager
    def watching(self, asked: object) -> Generator[None, None, None]:
        """Report it if the cache holds the row of another identity."""
        reasons = self.cache.statistics.miss_reasons
        strange = reasons.get("identity", 0)
        yield
        if reasons.get("identity", 0) > strange:
            _shout(f"{self.model._meta.label}: the cache held another row under the key of {asked!r}; it was dropped")

    def _rows(self, names: tuple[str, ...], values: Sequence[Row]) -> list[Row | None]:
        def ask(unit: Unit | None, may_fill: bool, guard: Guard) -> list[Row | None]:
            records, load = self.records, guard(self.load)
            if names == self.identity:
                identities = [value[0] if len(names) == 1 else value for value in values]
                if len(identities) == 1:
                    return [records.get(identities[0], load, unit=unit, may_fill=may_fill)]
                return records.get_many(identities, load, unit=unit, may_fill=may_fill)
            query, many = guard(self.query(names)), guard(self.query_many(names))
            if len(values) == 1:
                return [records.find_by(names, values[0], query, load, unit=unit, may_fill=may_fill)]
            return records.find_many(names, values, many, query, load, unit=unit, may_fill=may_fill)

        return state_of(self.alias).read(self.cache, ask)

    def lists(self, names: tuple[str, ...], values: Sequence[Row]) -> list[list[Row]]:
        """The rows of many lists by the same columns, each in its order."""
        return self.only_possible(names, values, self._lists, [])

    def _lists(self, names: tuple[str, ...], values: Sequence[Row]) -> list[list[Row]]:
        def ask(unit: Unit | None, may_fill: bool, guard: Guard) -> list[list[Row]]:
            many, load = guard(self.query_many(names)), guard(self.load)
            return self.records.get_lists(names, values, many, load, unit=unit, may_fill=may_fill)

        with self.watching(values):
            return state_of(self.alias).read(self.cache, ask)

    def instance(self, row: Row) -> Any:
        """The row as an instance, as if it had been loaded from the database."""
        return self.layout.instance(row, self.alias, self._snapshot(row))

    def does_not_exist(self) -> Exception:
        """The error of a question that no row answers."""
        return self.model.DoesNotExist(f"{self.model._meta.object_name} matching query does not exist.")

    def key(self, identity: Row) -> str:
        """The coherent key of the row whose identity columns have these values."""
        return self.records.entity.key(identity[0] if len(identity) == 1 else identity)

    def key_of_attributes(self, values: Row) -> str:
        """Like `key`, for attributes of an instance, which may not have been converted yet: "42" for 42."""
        return self.key(tuple(self.value(self._named[name], v) for name, v in zip(self.identity, values, strict=True)))

    def invalidate(self, *identities: Any) -> None:
        """Outdate these rows, or all, now. Raises BackendError."""
        if local.used:
            local.drop(self.records.keys_for(identities) if identities else [self.records.entity.epoch_key])
        self.cache.invalidate(self.records, *identities)


def _version(declaration: Declaration) -> int | str | None:
    """The version of stored rows: those that one manager shows are not read by another that may hide them."""
    manager: Any = getattr(declaration.model, declaration.manager_name)
    if not manager.hides_rows:
        return declaration.version
    shows: Any = manager.get_queryset
    return f"{declaration.version}, as {shows.__func__.__module__}.{shows.__func__.__qualname__} shows them"


def _names(column: Any) -> set[str]:
    return {column.name, column.attname}


def _getter(positions: Sequence[int]) -> Callable[[Row], Any]:
    if len(positions) == 1:
        [position] = positions
        return lambda row: (row[position],)
    return itemgetter(*positions) if positions else lambda row: ()


def _exact_type(column: Any) -> type | None:
    """The type whose values a column compares as they are; None if each must be looked at."""
    while column.is_relation:
        column = column.target_field
    to_python: Any = column.to_python
    if not to_python.__module__.startswith("django."):
        return None
    for field, kind in ((models.IntegerField, int), (models.CharField, str), (models.UUIDField, UUID)):
        if isinstance(column, field):
            return kind
    return None


def _remote(column: Any) -> tuple[type, str] | None:
    """The model whose instances may be given for a relation, and the attribute they are meant by."""
    if not column.is_relation:
        return None
    return column.remote_field.model._meta.concrete_model, column.target_field.attname


# -- all of them -----------------------------------------------------------------------------------

_model_caches: dict[tuple[type[models.Model], str], ModelCache] = {}
_lock = threading.Lock()


def model_cache(declaration: Declaration, alias: str) -> ModelCache:
    """The ModelCache of a declaration and a database, made at its first use."""
    place = declaration.model, alias
    found = _model_caches.get(place)
    if found is None:
        made = ModelCache(declaration, alias)
        with _lock:
            found = _model_caches.setdefault(place, made)
            if local.used:
                found.look_locally()
    return found


def _look_locally() -> None:
    """A local cache is opened, for the first time in this process."""
    with _lock:
        for found in _model_caches.values():
            found.look_locally()


def begin_anew() -> None:
    """The next use of each model looks again at the settings; what is cached and being written stays as it is."""
    with _lock:
        for found in _model_caches.values():
            found.is_current = False
        _model_caches.clear()


def _drop_all() -> None:
    """The caches are being closed, and with them what was to be outdated in them."""
    begin_anew()
    dirty.forget()


def _on_setting_changed(*, setting: str, **_: Any) -> None:
    if setting == "DATABASE_ROUTERS":
        begin_anew()


local.on_first_use(_look_locally)
caches.on_close.append(_drop_all)
setting_changed.connect(_on_setting_changed, dispatch_uid="cachecore.routers")


@at_the_end
def _outdate_rows() -> None:
    for found in list(_model_caches.values()):
        try:
            found.invalidate()
        except BackendError:
            logger.exception("the cached rows of %s could not be outdated", found.model._meta.label)


def _shout(message: str) -> None:
    """Report stored data that cannot be: an error while developing, a line in the log otherwise."""
    if settings.DEBUG:
        raise ValueError(message)
    logger.error(message)
