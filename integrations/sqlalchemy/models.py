"""One cached class in one cache and for one dialect: its keys, and how its rows are read from the database."""

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BinaryExpression,
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    inspect,
    literal,
    literal_column,
    or_,
    tuple_,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import MultipleResultsFound
from sqlalchemy.orm import Mapper, Session
from sqlalchemy.sql import TableClause, operators, visitors

from cachecore import AsyncCache, Cache
from cachecore.errors import CachecoreError, ConfigurationError, UncacheableLookup
from cachecore.integrations.sqlalchemy.declaration import Declaration
from cachecore.integrations.sqlalchemy.layout import RowLayout
from cachecore.integrations.sqlalchemy.limits import can_hold
from cachecore.policy import Policy

Row = tuple[Any, ...]

_AT_ONCE = 5000
"""Identities in one statement: asyncpg takes 32,767 parameters, SQLite in its default build 32,766."""

_ALTERNATIVES = 400
"""In one condition ``a OR b OR ...``: SQLite refuses expressions more than 1000 deep."""


# What a statement of PostgreSQL says of the transaction in which it reads. It has an id from its first write on, be it
# one by a function that a SELECT calls. A standby shows the past, whatever it says.
_FLAGS: dict[str, tuple[ColumnElement[bool], ...]] = {
    "postgresql": (
        literal_column("txid_current_if_assigned() IS NULL AND NOT pg_is_in_recovery()").label("cachecore_clean"),
        literal_column("current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')").label(
            "cachecore_current"
        ),
    )
}


@dataclass(frozen=True)
class Found:
    """Rows that a statement has read, and what it says of its transaction."""

    rows: list[Row]
    is_clean: bool = True
    """Whether the transaction has written nothing, as far as the database says."""
    is_current: bool = False
    """Whether the database says that each statement of it sees what is committed when it begins."""


class CachedModel:
    """The cached rows of a mapped class: what reads and writes need to know of them."""

    def __init__(
        self, cache: Cache | AsyncCache, alias: str, mapper: Mapper[Any], declaration: Declaration, dialect: Dialect
    ) -> None:
        self.cache: Any = cache
        self.mapper = mapper
        self.layout = RowLayout(mapper, dialect, exclude=declaration.exclude, version=declaration.version)
        self.identity = self.layout.identity
        self.label = mapper.class_.__name__
        self._refuse_times({*self.identity, *(name for lookup in declaration.lookups for name in lookup)})
        table: Any = mapper.local_table
        self.records: Any = cache.entity(
            declaration.name if declaration.name and mapper is declaration.mapper else f"{table.fullname}.{self.label}",
            self.layout.codec,
            identity=self.identity,
            lookups=declaration.lookups,
            ttl=declaration.ttl,
            alias=alias,
            policy=declaration.policy,
        )
        self.policy: Policy = self.records.entity.policy
        self.epoch_key: str = self.records.entity.epoch_key
        self._columns = key_columns(mapper)
        self._tables = frozenset(mapper.tables)
        self._known_positions: weakref.WeakKeyDictionary[TableClause, list[int] | None] = weakref.WeakKeyDictionary()
        self.is_exact = all(self.layout.columns[name].is_exact for name in self.identity)
        self._holds = {name: can_hold(one.expression.type, dialect) for name, one in self.layout.columns.items()}
        self._to_python = [self.layout.columns[name].to_python for name in self.identity]
        flags = _FLAGS.get(dialect.name, ())
        self._width = len(self.layout.keys)
        self._select = self.layout.select().add_columns(*flags)
        self._by_identity = self._select.where(self._among(self.identity, bindparam("many", expanding=True)))

    def _refuse_times(self, names: Iterable[str]) -> None:
        """Raise ConfigurationError if one of these attributes is a time without a time zone, which has no key."""
        for column in (self.layout.columns[name] for name in names if name in self.layout.columns):
            if column.column.type is datetime and not getattr(column.expression.type, "timezone", False):
                raise ConfigurationError(f"{column.label}: rows are not looked up by times without a time zone")

    # -- keys --------------------------------------------------------------------------------------

    def asked(self, fields: Mapping[str, Any]) -> tuple[tuple[str, ...], Row]:
        """(attributes, stored values) of a question, in the order of the lookup. Raises UncacheableLookup."""
        if set(fields) == {"pk"}:
            [value] = fields.values()
            parts: Any = value if len(self.identity) > 1 else (value,)
            if (not isinstance(value, tuple) and parts is value) or len(parts) != len(self.identity):
                raise UncacheableLookup(f"the primary key of {self.label} is {self.identity}, not {value!r}")
            return self.identity, self.stored(self.identity, parts)
        names, values = self.records.split(fields)
        self.check_lookup(names)
        return names, self.stored(names, values)

    def check_lookup(self, names: tuple[str, ...]) -> None:
        """Raise UncacheableLookup unless these attributes, in this order, are a lookup."""
        if names != self.identity and names not in self.records.entity.lookup_key:
            known = ", ".join("+".join(one) for one in (self.identity, *self.records.entity.lookups))
            raise UncacheableLookup(
                f"{self.label} is not cached by {'+'.join(names) or 'nothing'}, only by {known}: query the database"
            )

    def stored(self, names: tuple[str, ...], values: Sequence[Any]) -> Row:
        """The stored values of Python values, precisely of the columns' types. Raises UncacheableLookup."""
        typed: Row = self.records.entity.typed(
            names, [self.layout.asked(name, value) for name, value in zip(names, values, strict=True)]
        )
        return typed

    def can_be(self, names: tuple[str, ...], values: Row) -> bool:
        """Whether there can be a row with these stored values."""
        return all(self._holds[name](value) for name, value in zip(names, values, strict=True))

    def keys(self, table: TableClause, identities: Iterable[Sequence[Any]]) -> list[str]:
        """The keys of the rows that a table's rows, by its primary key, are a part of.

        The epoch's if that cannot be said: a value is none that the column holds, or the table is identified otherwise.
        """
        positions = self._positions(table)
        if positions is None:
            return [self.epoch_key]
        try:
            wanted = [self.stored(self.identity, [one[position] for position in positions]) for one in identities]
            return list(self.records.keys_for(identity_in(one) for one in wanted))
        except CachecoreError:
            return [self.epoch_key]

    def are_named_exactly(self, table: TableClause) -> bool:
        """Whether a primary key of the table, as a statement says it, is the one that the row has."""
        return self.is_exact and self._positions(table) is not None

    def _positions(self, table: TableClause) -> list[int] | None:
        """Where in the primary key of a table, as a statement knows it, the parts of the class's stand."""
        if table not in self._known_positions:
            wanted = self._columns.get(table.name.casefold())
            primary_key: Any = table.primary_key
            names: list[str] = [column.name for column in primary_key]
            is_same = wanted is not None and sorted(names) == sorted(wanted)
            if table not in self._tables and any(self.layout.columns[name].to_stored for name in self.identity):
                is_same = False  # the values of its columns may be stored ones already
            self._known_positions[table] = [names.index(name) for name in wanted or ()] if is_same else None
        return self._known_positions[table]

    # -- what a session has ------------------------------------------------------------------------

    def present(self, session: Session, identity: Row) -> Any:
        """The instance with this stored primary key, if the session has it and nothing of it must be loaded."""
        values = tuple([
            value if convert is None else convert(value)
            for value, convert in zip(identity, self._to_python, strict=True)
        ])  # fmt: skip
        instance = session.identity_map.get(self.mapper.identity_key_from_primary_key(values))
        if instance is None:
            return None
        state: Any = inspect(instance)
        # Relations stay expired until they are loaded.
        is_whole = state.expired_attributes.isdisjoint(self.layout.keys)
        return instance if is_whole and state.mapper.isa(self.mapper) else None

    # -- reading from the database -----------------------------------------------------------------

    def load(self, connection: Connection, identities: Sequence[Any]) -> Found:
        """The rows of these identities, in any order."""
        found: list[Any] = []
        for start in range(0, len(identities), _AT_ONCE):
            some = identities[start : start + _AT_ONCE]
            found += connection.execute(self._by_identity, {"many": list(some)})
        return self._found(found)

    def query(self, connection: Connection, names: tuple[str, ...], values: Row) -> Found:
        """The row of one lookup. Raises MultipleResultsFound, as ``one_or_none`` does."""
        found = self.query_many(connection, names, [values])
        if len(found.rows) > 1:
            raise MultipleResultsFound(f"more than one {self.label} was found by {', '.join(names)}")
        return found

    def query_many(self, connection: Connection, names: tuple[str, ...], values: Sequence[Row]) -> Found:
        """The rows of many values of one lookup, in any order."""
        found: list[Any] = []
        size = _AT_ONCE if len(names) == 1 else _ALTERNATIVES
        for start in range(0, len(values), size):
            found += connection.execute(self._select.where(self._equal(names, values[start : start + size])))
        return self._found(found)

    def _equal(self, names: tuple[str, ...], values: Sequence[Row]) -> ColumnElement[bool]:
        if len(names) == 1 and len(values) > 1:
            return self._among(names, [value for (value,) in values])
        expressions = [self.layout.columns[name].expression for name in names]
        alternatives = [
            and_(*(one == literal(part, one.type) for one, part in zip(expressions, value, strict=True)))
            for value in values
        ]
        return or_(*alternatives) if len(alternatives) > 1 else alternatives[0]

    def _among(self, names: tuple[str, ...], values: Any) -> ColumnElement[bool]:
        expressions = [self.layout.columns[name].expression for name in names]
        return expressions[0].in_(values) if len(expressions) == 1 else tuple_(*expressions).in_(values)

    def _found(self, found: Sequence[Any]) -> Found:
        width = self._width
        rows = [tuple(row[:width]) for row in found]
        if not found or len(found[0]) == width:
            return Found(rows)
        return Found(rows, all(row[width] for row in found), all(row[width + 1] for row in found))


def identity_in(values: Row) -> Any:
    """An identity of its values: where it is one value, that."""
    [first, *rest] = values
    return values if rest else first


def key_columns(mapper: Mapper[Any]) -> dict[str, list[str] | None]:
    """Of each table of a class, which of its columns are the parts of the class's primary key. None: it has others."""
    place: dict[Any, int] = {column: i for i, column in enumerate(mapper.primary_key)}
    for one in mapper.iterate_to_root():
        if one.inherit_condition is None:
            continue
        pairs = [
            (node.left, node.right)
            for node in visitors.iterate(one.inherit_condition)
            if isinstance(node, BinaryExpression) and node.operator is operators.eq
        ]
        for left, right in pairs + pairs:
            if left in place:
                place.setdefault(right, place[left])
            elif right in place:
                place.setdefault(left, place[right])
    found: dict[str, list[str] | None] = {}
    tables: list[Any] = [table for table in mapper.tables if isinstance(table, Table)]
    for table in tables:
        here = {place[column]: column.name for column in table.primary_key.columns if column in place}
        is_whole = len(here) == len(mapper.primary_key) == len(table.primary_key.columns)
        name = table.name.casefold()
        found[name] = [here[i] for i in range(len(here))] if is_whole and name not in found else None
    return found
