"""What a statement writes, told from the Core construct itself and the parameters with which it is executed.

All of these ask the statement alone: no connection, no cache. An answer may name rows that are not written in the end,
but never leaves one out; None stands for any row. Identities are primary keys as the statement gives them, in the order
of ``table.primary_key.columns``. They are told only where the database finds two of them equal exactly if Python does;
of a `TypeDecorator`, where that depends on the database, this is left to the caller.

A statement is an INSERT, UPDATE or DELETE as `dml_of` gives it. What was found out about one is remembered as long as
it lives, since flushes execute the same constructs over and over.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence, Set
from itertools import product
from typing import Any, Generic, TypeVar

from sqlalchemy import Delete, Update
from sqlalchemy.sql.visitors import iterate

from cachecore.integrations.sqlalchemy.writing.statement_inserts import conflict_on_primary_key, inserted, may_update
from cachecore.integrations.sqlalchemy.writing.statement_parts import (
    Dml,
    dml_of,
    is_dml,
    key_columns,
    may_replace,
    set_values,
    table_of,
    target_of,
)
from cachecore.integrations.sqlalchemy.writing.statement_questions import nested_in, question, restricted
from cachecore.integrations.sqlalchemy.writing.statement_values import Parameters, distinct, given, name_of
from cachecore.integrations.sqlalchemy.writing.statement_where import Where

__all__ = [
    "conflict_on_primary_key",
    "dml_of",
    "identities",
    "inserted",
    "is_dml",
    "may_update",
    "moved_to",
    "nested_dml",
    "question",
    "restricted",
    "table_of",
]

T = TypeVar("T")

Identity = tuple[Any, ...]


def identities(statement: Update | Delete, params: Sequence[Mapping[str, Any]]) -> list[Identity] | None:
    """The primary keys that the rows an UPDATE or DELETE writes can have at most, before it. None: any row.

    params: the sets of parameters with which it is executed; empty means one without any.
    """
    where = _where_of(statement)
    if where is None:
        return None
    found: list[Identity] = []
    for parameters in params or ({},):
        matched = where.identities(parameters)
        if matched is None:
            return None
        found += matched
    return distinct(found) if len(found) > 1 else found


def moved_to(statement: Update, params: Sequence[Mapping[str, Any]]) -> list[Identity] | None:
    """The primary keys that rows get from an UPDATE of columns of the primary key; none if it sets none of them.

    Columns that it does not set keep the values that WHERE gives. params: as for `identities`. None: any key.
    """
    keys = _key_of(statement)
    if keys.is_unknown:
        return None
    if not keys.values and not keys.changes and not any(keys.names.intersection(one) for one in params):
        return []
    where = _where_of(statement)
    found: list[Identity] = []
    for one in params or ({},):
        parameters = Parameters(one, target_of(statement).c.keys())
        parts = [given(column, keys.values, parameters) for column in keys.columns]
        matched: list[Identity] | None = [()]
        if not all(parts):
            matched = None if where is None else where.identities(one)
        if matched is None or any(
            part is None or (not part and column.key in keys.changes)
            for column, part in zip(keys.columns, parts, strict=True)
        ):
            return None
        for old in matched:
            found += product(*(part or [old[index]] for index, part in enumerate(parts)))
    return distinct(found)


def nested_dml(statement: Any) -> list[Dml]:
    """The INSERTs, UPDATEs and DELETEs in CTEs anywhere in ``statement``, an INSERT, UPDATE, DELETE or SELECT.

    It looks at each element: 10 to 20 us for a simple statement.
    """
    return nested_in(statement)


class _Key:
    """What an UPDATE does to the columns of the primary key."""

    def __init__(self, statement: Update) -> None:
        self.columns = key_columns(statement)
        self.names = frozenset(column.key for column in self.columns)
        values = set_values(statement)
        own = {*self.columns, *table_of(statement).primary_key}
        self.is_unknown = not self.columns or any(_is_part_of(key, own) for key in values)
        self.values = {
            name_of(key): value
            for key, value in values.items()
            if (key in self.names if isinstance(key, str) else key in own)
        }
        self.changes = frozenset(
            column.key
            for column in table_of(statement).primary_key
            if column.onupdate is not None or column.server_onupdate is not None
        )
        """The columns that get a new value by themselves."""


def _is_part_of(key: Any, columns: Set[Any]) -> bool:
    """Whether what is set is a part of one of these columns, such as an element of an array."""
    return name_of(key) is None and not columns.isdisjoint(iterate(key))


def _where(statement: Update | Delete) -> Where | None:
    """The WHERE clause; None if other rows than it matches may be written."""
    return None if may_replace(statement) else Where(statement)


class _Memory(Generic[T]):
    """What was found out about statements that are still there."""

    def __init__(self, look: Callable[[Any], T]) -> None:
        self._look = look
        # By id, since an annotated statement is equal to any that was made of it, whatever criteria were added.
        self._known: dict[int, tuple[weakref.ref[Any], T]] = {}

    def __call__(self, statement: Any) -> T:
        number = id(statement)
        entry = self._known.get(number)
        if entry is not None and entry[0]() is statement:
            return entry[1]
        found = self._look(statement)
        self._known[number] = weakref.ref(statement, lambda _: self._known.pop(number, None)), found
        return found


_where_of = _Memory(_where)
_key_of = _Memory(_Key)
