"""The parts of an INSERT, UPDATE or DELETE that SQLAlchemy has no public name for, and what is meant by its target.

Statements come as before_execute gets them: plain or with the annotations of the ORM, on a table or on an alias of one,
and inside wrappers: a lambda_stmt, or the from_statement of an ORM select.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Column, Delete, Insert, Table, TableClause, Update
from sqlalchemy.sql.lambdas import LambdaElement
from sqlalchemy.sql.selectable import Join

Dml = Insert | Update | Delete

_HARMLESS = frozenset({"OR", "IGNORE", "ABORT", "FAIL", "ROLLBACK", "ONLY", "INTO", "LOW_PRIORITY", "HIGH_PRIORITY"})
"""Words before the table's name with which a statement writes no other rows than without them."""

_HINT = re.compile(r"/\*.*?\*/", re.DOTALL)

_replacing: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def is_dml(statement: Any) -> bool:
    """Whether ``statement``, anything that before_execute gets, is an INSERT, UPDATE or DELETE.

    A SELECT with one of them in a CTE is none; see `nested_dml`.
    """
    return getattr(statement, "is_dml", False) is True


def dml_of(statement: Any) -> Dml | None:
    """The INSERT, UPDATE or DELETE that ``statement`` is, or that a lambda_stmt or from_statement wraps.

    None: it is none that SQLAlchemy knows.
    """
    while True:
        if isinstance(statement, Insert | Update | Delete):
            return statement
        if isinstance(statement, LambdaElement):
            statement = getattr(statement, "_resolved")  # noqa: B009
        elif getattr(statement, "__visit_name__", "") == "orm_from_statement":
            statement = statement.element
        else:
            return None


def target_of(statement: Dml) -> Any:
    """What the statement says it writes: a table, an alias of one, or a join.

    A bulk INSERT or UPDATE by primary key of a class that is spread over several tables is executed once for each, and
    only an annotation tells which it is.
    """
    annotations: Any = getattr(statement, "_annotations", {})
    for name in ("_emit_insert_table", "_emit_update_table"):
        if name in annotations:
            return annotations[name]
    return statement.table


def table_of(statement: Dml) -> Any:
    """The plain `Table` that is written: no alias of it, and without annotations.

    It is a `TableClause` where the statement was made with ``sqlalchemy.table("city")``: its name and its schema tell
    what is written, not which object it is.
    """
    target = target_of(statement)
    while not _is_table(target):
        target = target.left if hasattr(target, "left") else target.element
    # Annotations make a copy of the table, but its primary key remains that of the original.
    return getattr(target.primary_key, "table", target)


def _is_table(target: Any) -> bool:
    return isinstance(target, TableClause)


def key_columns(statement: Dml) -> list[Column[Any]]:
    """The columns of the primary key as WHERE names them: those of the table, or of the alias that is the target.

    Empty: there is no primary key, or nothing is known of it.
    """
    target = target_of(statement)
    table = table_of(statement)
    if isinstance(target, Join) or not isinstance(table, Table):
        return []
    columns: list[Column[Any]] = list(table.primary_key.columns)
    return columns if isinstance(target, Table) else [target.c[column.key] for column in columns]


def set_values(statement: Insert | Update) -> Mapping[Any, Any]:
    """What values() and ordered_values() say: by column, by its key, or by an expression such as data["x"]."""
    ordered: Any = getattr(statement, "_ordered_values", None)  # SQLAlchemy 2.0
    return dict(ordered) if ordered else getattr(statement, "_values", None) or {}


def value_rows(statement: Insert) -> list[Any]:
    """The rows of values([...]): mappings like `set_values`, or tuples in the order of the table's columns."""
    several: Sequence[Sequence[Any]] = getattr(statement, "_multi_values", ())
    return [row for rows in several for row in rows]


def selected_names(statement: Insert) -> list[Any]:
    """The columns, or their keys, that from_select() fills."""
    return list(getattr(statement, "_select_names", None) or ())


def ctes_added(statement: Any) -> Sequence[Any]:
    """The CTEs of add_cte()."""
    return getattr(statement, "_independent_ctes", ())


def clauses_after(statement: Dml) -> list[Any]:
    """The clauses after the values of an INSERT, or after the WHERE of an UPDATE or DELETE: ON CONFLICT, LIMIT."""
    name = "_post_values_clause" if isinstance(statement, Insert) else "_post_criteria_clause"
    clause: Any = getattr(statement, name, None)
    if clause is None:
        return []
    return list(clause.clauses) if getattr(clause, "__visit_name__", "") == "element_list" else [clause]


def is_limited(statement: Dml) -> bool:
    """Whether something chooses among the rows of WHERE: ORDER BY and LIMIT of MySQL, a clause of an extension."""
    options: Any = getattr(statement, "dialect_kwargs", {})
    return bool(clauses_after(statement)) or any(name.endswith("_limit") for name in options)


def may_replace(statement: Dml) -> bool:
    """Whether rows in conflict with those that are written may be deleted for them: OR REPLACE, here or in the schema.

    True for any word before the table's name that is not known.
    """
    for prefix in getattr(statement, "_prefixes", ()):
        words = _HINT.sub(" ", str(prefix[0])).upper().split()
        if not _HARMLESS.issuperset(words):
            return True
    table = table_of(statement)
    if not isinstance(table, Table) or isinstance(statement, Delete):
        return False
    replaces: bool | None = _replacing.get(table)
    if replaces is None:
        replaces = _replacing[table] = _replaces(table)
    return replaces


def _replaces(table: Any) -> bool:
    """Whether a constraint of SQLite says ON CONFLICT REPLACE."""
    options: list[Any] = [one.dialect_options["sqlite"].get("on_conflict") for one in table.constraints]
    for column in table.columns:
        of_column = column.dialect_options["sqlite"]
        options += [of_column.get(f"on_conflict_{name}") for name in ("unique", "primary_key", "not_null")]
    return any(str(option).upper() == "REPLACE" for option in options)
