"""What an INSERT writes: the rows that it adds, and those that it may find in its way."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from sqlalchemy import Insert

from cachecore.integrations.sqlalchemy.writing.statement_parts import (
    clauses_after,
    key_columns,
    may_replace,
    selected_names,
    set_values,
    table_of,
    target_of,
    value_rows,
)
from cachecore.integrations.sqlalchemy.writing.statement_values import Parameters, distinct, given, name_of

Identity = tuple[Any, ...]

_DOES_NOTHING = "on_conflict_do_nothing"


def inserted(statement: Insert, params: Sequence[Mapping[str, Any]]) -> list[Identity] | None:
    """The primary keys of the rows that ``statement`` adds, as far as it says them.

    A row whose key the database or a default gives is left out. params: as for `identities`. None: it gives keys that
    cannot be known beforehand.
    """
    columns = key_columns(statement)
    if not columns:
        return None
    if statement.select is not None:
        names = {name_of(name) for name in selected_names(statement)}
        return None if names.intersection(column.key for column in columns) else []
    keys = target_of(statement).c.keys()
    found: list[Identity] = []
    updates = may_update(statement)
    for values in params or ({},):
        parameters = Parameters(values, keys)
        for row in value_rows(statement) or (set_values(statement),):
            by_key = {name_of(key): value for key, value in _items(row, keys)}
            parts = [given(column, by_key, parameters) for column in columns]
            # A row without a complete key may be left out if it is new, and not if it is written in another's place.
            if any(part is None or (not part and updates) for part in parts):
                return None
            found += product(*(part or () for part in parts))
    return distinct(found)


def _items(row: Any, keys: Sequence[str]) -> Iterable[tuple[Any, Any]]:
    """The pairs of a row in values(): a mapping, or a tuple in the order of the table's columns."""
    return row.items() if hasattr(row, "items") else zip(keys, row, strict=False)


def may_update(statement: Insert) -> bool:
    """Whether an INSERT may also write rows that are there: ON CONFLICT DO UPDATE, ON DUPLICATE KEY UPDATE, OR REPLACE,
    or a clause that is not known."""
    return may_replace(statement) or any(_kind(clause) != _DOES_NOTHING for clause in clauses_after(statement))


def conflict_on_primary_key(statement: Insert) -> bool:
    """Whether an INSERT that `may_update` finds no other rows in its way than those with the primary keys it gives.

    So it is if each ON CONFLICT DO UPDATE is about the primary key, and none sets a part of it.
    """
    if may_replace(statement) or not may_update(statement):
        return False
    return all(_is_about_key(statement, clause) for clause in clauses_after(statement))


def _kind(clause: Any) -> str:
    return getattr(clause, "__visit_name__", "")


def _is_about_key(statement: Insert, clause: Any) -> bool:
    if _kind(clause) == _DOES_NOTHING:
        return True
    keys = {column.key for column in key_columns(statement)}
    if _kind(clause) != "on_conflict_do_update" or not keys:
        return False
    primary = table_of(statement).primary_key
    names = {column.name for column in primary}
    elements: Iterable[Any] | None = clause.inferred_target_elements
    if elements is None:
        constraint = getattr(clause, "constraint_target", None)
        if constraint is None or constraint != primary.name:
            return False
    elif {name_of(element) for element in elements} not in (names, keys):
        return False
    values: Any = clause.update_values_to_set  # in SQLAlchemy 2.0 a list of pairs for some dialects
    pairs: list[tuple[Any, Any]] = list(values.items() if hasattr(values, "items") else values)
    return not any(_moves(key, value, keys | names) for key, value in pairs)


def _moves(key: Any, value: Any, names: set[str]) -> bool:
    """Whether SET gives a column of the primary key another value than the row in conflict has."""
    name = name_of(key)
    if name not in names:
        return name is None
    return getattr(getattr(value, "table", None), "name", None) != "excluded" or name_of(value) != name
