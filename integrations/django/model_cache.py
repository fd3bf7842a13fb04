"""The cached rows of one model in one database: what to ask, how to load it, and what comes back as an instance."""

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

from django.conf import settings
from django.core.signals import setting_changed
from django.db import models

from cachecore.errors import BackendError
from cachecore.integrations.django import local
from cachecore.integrations.django.conf import caches
from cachecore.integrations.django.declaration import DEFAULT, Declaration, identity_names
from cachecore.integrations.django.equality import require_exact_lists
from cachecore.integrations.django.hit import HitPath
from cachecore.integrations.django.relations.peers import answering_peers, are_grouped, together
from cachecore.integrations.django.row_reader import RowReader
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


class ModelCache(RowReader):
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
        require_exact_lists(declaration, self.layout.codec.columns, alias)
        self.learn_questions()
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

    # -- a hit in this process ---------------------------------------------------------------------

    def _hit_path(self, tracked: tuple[int, ...]) -> Callable[[Mapping[str, Any]], Any]:
        if self.records.read is None or not self.are_scalar(tracked):
            return lambda query: None
        path = HitPath(
            dirty.any,
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

    def look_locally(self) -> None:
        """From now on leave questions to `rows` wherever a local cache is open. One in front of a cache in this process
        would gain nothing."""
        if self.records.read is None and not self._looks_locally:
            self._looks_locally = True
            self.answer = local.unless_open(self.answer)
            self.answers = local.unless_open(self.answers)

    # -- the moment --------------------------------------------------------------------------------

    def state(self) -> ConnectionState:
        """The state of this thread's connection, up to date."""
        state = state_of(self.alias)
        state.begin_read()
        return state

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

    def keys_of_attributes(self, identities: Sequence[Sequence[Any]]) -> list[str]:
        """Like `key`, for attributes of instances, which may not have been converted yet: "42" for 42.

        Raises UncacheableLookup for what is no value of its column.
        """
        plan = self.plan(self.identity)
        if plan is not None:  # a statement may write thousands of rows, whose keys are what it costs
            [kind] = plan.kinds
            values = [identity[0] for identity in identities]
            if set(map(type, values)) <= {kind}:
                return plan.key.many(values)
        columns = [self._named[name] for name in self.identity]
        return [
            self.key(tuple([self.value(column, one) for column, one in zip(columns, identity, strict=True)]))
            for identity in identities
        ]

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


def _getter(positions: Sequence[int]) -> Callable[[Row], Any]:
    if len(positions) == 1:
        [position] = positions
        return lambda row: (row[position],)
    return itemgetter(*positions) if positions else lambda row: ()


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
