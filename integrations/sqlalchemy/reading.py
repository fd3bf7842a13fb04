"""Reading rows through the cache in a session, sync.

An instance that is in the session already wins: for a primary key it is the answer, as of ``session.get``, and no cache
is asked. Pending changes are flushed first where the session flushes by itself, so that a read sees them. What the open
transaction has written is read from the database, and nothing is stored then.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from cachecore.cache import AsyncCache
from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.integrations.sqlalchemy.models import CachedModel, Found, Row, identity_in
from cachecore.integrations.sqlalchemy.sessions import Reading, sync_session
from cachecore.integrations.sqlalchemy.writing.connection import state_of

T = TypeVar("T")
R = TypeVar("R")


class NotCurrent(Exception):
    """What was read shows the past, or what is not committed, and must not be stored."""


def get_from_cache(session: Any, cls: type[T], /, **lookup: Any) -> T | None:
    """The instance that one of the class's lookups names, or None if there is no such row.

    session: a Session or scoped_session of a sessionmaker that `cache_sessions` knows.
    lookup: the attributes of one lookup, or of the primary key, or ``pk=`` (a tuple where it has several columns).

    The instance belongs to the session, as if the session had loaded it; one that is in the session already is never
    overwritten. Raises UncacheableLookup for what is not cached, ConfigurationError for a class or session that is not,
    and MultipleResultsFound if the database has several such rows after all.
    """
    found = _reading_in(session, cls)
    names, values = found.model.asked(lookup)
    instance: T | None = present(found, names, values)
    if instance is None and found.model.can_be(names, values):
        flush_pending(found.session)
        row = _row(found, names, values)
        if row is None and is_named_otherwise(found, names):
            row = row_otherwise_named(found, names, values)
        instance = None if row is None else made_of(found, row)
    return instance


def get_one_from_cache(session: Any, cls: type[T], /, **lookup: Any) -> T:
    """Like `get_from_cache`. Raises NoResultFound if there is no such row."""
    instance = get_from_cache(session, cls, **lookup)
    return one_of(instance, cls, lookup)


def get_many_from_cache(
    session: Any, cls: type[T], values: Sequence[Any], /, key: str | tuple[str, ...] = "pk"
) -> list[T]:
    """The instances that these values of a lookup name, in the order of the values, without those that do not exist.

    values: tuples where the lookup has several attributes.
    key: the attribute or attributes of the lookup; "pk" is the primary key.
    One round trip to the cache and one statement for what is not there. Raises as `get_from_cache` does.
    """
    found = _reading_in(session, cls)
    names, wanted = asked_many(found.model, values, key)
    instances = instances_of(found, names, wanted)
    return [instance for instance in map(instances.__getitem__, wanted) if instance is not None]


def instances_of(found: Reading, names: tuple[str, ...], wanted: Sequence[Row]) -> dict[Row, Any]:
    """The instances that stored values of a lookup name, None where there is none."""
    instances = {one: present(found, names, one) for one in wanted}
    missing = [one for one, instance in instances.items() if instance is None and found.model.can_be(names, one)]
    if missing:
        flush_pending(found.session)
        rows = _rows(found, names, missing)
        if is_named_otherwise(found, names):
            rows = [row or row_otherwise_named(found, names, one) for row, one in zip(rows, missing, strict=True)]
        instances.update((one, made_of(found, row)) for one, row in zip(missing, rows, strict=True) if row is not None)
    return instances


def invalidate(session: Any, cls: type[Any], *identities: Any) -> None:
    """Outdate rows that were changed and committed where nobody could see it; none given: all rows of the class.

    session: says by its sessionmaker or engine which cache is meant.
    identities: primary keys; tuples where they have several columns.
    Raises BackendError: the rows may then still be served until their TTL ends.
    """
    model = _reading_in(session, cls).model
    model.cache.replay(outdated(model, identities))


# -- what is shared with the async functions -------------------------------------------------------


def _reading_in(session: Any, cls: Any) -> Reading:
    found = Reading(sync_session(session), cls)
    if isinstance(found.model.cache, AsyncCache):
        raise ConfigurationError("the rows of an async engine are read by aget_from_cache, with the AsyncSession")
    return found


def present(found: Reading, names: tuple[str, ...], values: Row) -> Any:
    """The instance of a primary key that is in the session with all that it had, or None."""
    return found.model.present(found.session, values) if names == found.model.identity else None


def flush_pending(session: Session) -> None:
    """Flush what a query would flush before it is sent."""
    if must_flush(session):
        session.flush()


def must_flush(session: Session) -> bool:
    """Whether a query would flush pending changes first."""
    is_flushing: bool = cast("Any", session)._flushing  # as in an event before a flush, where queries do not flush
    return bool(session.autoflush and not is_flushing and (session.new or session.dirty or session.deleted))


def asked_many(
    model: CachedModel, values: Sequence[Any], key: str | tuple[str, ...]
) -> tuple[tuple[str, ...], list[Row]]:
    """(attributes, stored values of each) of a question for many."""
    several: Any = values
    if isinstance(several, str | bytes) or not isinstance(several, Sequence):
        raise ConfigurationError(f"values must be a sequence of values, not {values!r}")
    parts_of_key: Any = (key,) if isinstance(key, str) else key
    if not isinstance(parts_of_key, tuple | list) or not all(isinstance(one, str) for one in cast("Row", parts_of_key)):
        raise ConfigurationError(f"key must be an attribute or a tuple of attributes, not {key!r}")
    asked = model.identity if key == "pk" else (key,) if isinstance(key, str) else tuple(key)
    names, order = model.records.split({name: place for place, name in enumerate(asked)})
    model.check_lookup(names)
    is_single = len(asked) == 1 and isinstance(key, str)
    wanted: list[Row] = []
    for value in values:
        parts: Any = (value,) if is_single else value
        if not (is_single or isinstance(value, tuple)) or len(parts) != len(asked):
            raise UncacheableLookup(f"each of the values must be a tuple ({', '.join(asked)}), not {value!r}")
        wanted.append(model.stored(names, [parts[place] for place in order]))
    return names, wanted


def made_of(found: Reading, row: Row) -> Any:
    """The instance of a row. It belongs to a transaction of the session, as every instance does, so that a rollback
    expires it; that takes no connection."""
    session = found.session
    if not session.in_transaction():
        if not session.autobegin:
            found.connection()  # raises
        session.begin()
    return found.model.layout.instance(session, row)


def one_of(instance: T | None, cls: type[T], lookup: dict[str, Any]) -> T:
    """The instance. Raises NoResultFound if there is none."""
    if instance is None:
        named = ", ".join(f"{name}={value!r}" for name, value in lookup.items())
        raise NoResultFound(f"there is no {cls.__name__} with {named}")
    return instance


def outdated(model: CachedModel, identities: Sequence[Any]) -> list[str]:
    """The keys of these rows, or of all."""
    if not identities:
        return [model.epoch_key]
    wanted = [identity_in(model.asked({"pk": identity})[1]) for identity in identities]
    return list(model.records.keys_for(wanted))


def rows_of(found: Reading, is_filling: bool, read: Callable[..., Found], *arguments: Any) -> list[Row]:
    """What ``read`` finds on the connection of the session. Raises NotCurrent if it is to be stored and must not be."""
    connection = found.connection()
    rows, may_fill = state_of(connection).reading(connection, lambda: read(connection, *arguments))
    if is_filling and not may_fill:
        raise NotCurrent
    return rows


def _row(found: Reading, names: tuple[str, ...], values: Row) -> Row | None:
    records, model = found.model.records, found.model

    def ask(may_fill: bool) -> Row | None:
        def load(identities: Sequence[Any]) -> list[Row]:
            return rows_of(found, may_fill, model.load, identities)

        def query(values: Row) -> Row | None:
            rows = rows_of(found, may_fill, model.query, names, values)
            return rows[0] if rows else None

        fields = dict(zip(names, values, strict=True))
        row: Row | None = records.find(query, load, unit=found.unit, may_fill=may_fill, **fields)
        return row

    return reading(found, ask)


def is_named_otherwise(found: Reading, names: tuple[str, ...]) -> bool:
    """Whether rows may be found by another primary key than their own."""
    return names == found.model.identity and not found.model.is_exact


def row_otherwise_named(found: Reading, names: tuple[str, ...], values: Row) -> Row | None:
    """See `is_named_otherwise`; asks the database, and stores nothing."""
    rows = rows_of(found, False, found.model.query, names, values)
    return rows[0] if rows else None


def _rows(found: Reading, names: tuple[str, ...], values: Sequence[Row]) -> list[Row | None]:
    records, model = found.model.records, found.model

    def ask(may_fill: bool) -> list[Row | None]:
        def load(identities: Sequence[Any]) -> list[Row]:
            return rows_of(found, may_fill, model.load, identities)

        if names == model.identity:
            identities = [identity_in(one) for one in values]
            rows: list[Row | None] = records.get_many(identities, load, unit=found.unit, may_fill=may_fill)
            return rows

        def query_many(wanted: Sequence[Row]) -> list[Row]:
            return rows_of(found, may_fill, model.query_many, names, wanted)

        def query(one: Row) -> Row | None:
            rows = rows_of(found, may_fill, model.query, names, one)
            return rows[0] if rows else None

        return cast(
            "list[Row | None]",
            records.find_many(names, values, query_many, query, load, unit=found.unit, may_fill=may_fill),
        )

    return reading(found, ask)


def reading(found: Reading, ask: Callable[[bool], R]) -> R:
    """Ask the cache: ``ask`` is told whether it may fill it."""
    if found.may_fill:
        try:
            return ask(True)
        except NotCurrent:
            pass  # the transaction shows the past
    return ask(False)
