"""Which keys a statement outdates: asked before it is sent.

Theory of operation
-------------------
Flushes, bulk statements, the legacy bulk methods and plain Core all come to INSERT, UPDATE and DELETE constructs that a
Connection executes, so they are met there and nowhere else. Most name the primary keys of their rows in their WHERE or
their parameters (`statements.identities`). For the others the primary keys are selected first, with the same WHERE, and
the statement is restricted to them, so that what it writes is exactly what it outdates: a row that comes to match in
between is not written. More rows than the policy's bulk_threshold are not named: then all rows of the class are
outdated, by one key. So they are where the rows cannot be told.

A new row outdates nothing: nobody can have cached it. An INSERT that may also update existing rows (ON CONFLICT DO
UPDATE and its like) outdates the rows that it names if the conflict is one of the primary key, else all.

SQL in text is read for the names of tables (`cachecore.raw_sql`); all rows of those that it may write are outdated.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Delete, Insert, TableClause, Update

from cachecore import raw_sql
from cachecore.integrations.sqlalchemy.models import CachedModel
from cachecore.integrations.sqlalchemy.tables import Tables
from cachecore.integrations.sqlalchemy.writing import statements
from cachecore.integrations.sqlalchemy.writing.connection import ConnectionState, Touched
from cachecore.integrations.sqlalchemy.writing.statement_parts import may_replace, set_values
from cachecore.integrations.sqlalchemy.writing.statement_stable import is_stable
from cachecore.integrations.sqlalchemy.writing.statement_values import name_of

Parameters = Sequence[Mapping[str, Any]]
Identities = Sequence[tuple[Any, ...]]


def touched_by_statement(
    tables: Tables, state: ConnectionState, connection: Connection, statement: Any, parameters: Parameters
) -> tuple[Any, list[Touched]]:
    """The statement to send instead of this INSERT, UPDATE or DELETE, and what it outdates."""
    dml: Any = statements.dml_of(statement)
    table = statements.table_of(dml)
    touched = all_rows(_following(tables, table, dml, parameters))
    models = tables.models_of(table)
    if not models:
        return statement, touched
    if isinstance(dml, Insert):
        return statement, touched + _inserted(models, state, table, dml, parameters)
    statement, identities = _named(models, connection, table, statement, dml, parameters)
    if isinstance(dml, Update) and identities is not None:
        restricted: Any = statements.dml_of(statement)
        moved = statements.moved_to(restricted, parameters)
        identities = None if moved is None else [*identities, *moved]
    return statement, touched + _rows(models, state, table, identities)


def touched_by_ctes(tables: Tables, statement: Any) -> list[Touched]:
    """What the INSERTs, UPDATEs and DELETEs in the CTEs of a statement outdate."""
    touched: list[Touched] = []
    for nested in statements.nested_dml(statement):
        table = statements.table_of(nested)
        following = [*tables.followers(table.name, deletes=True), *tables.followers(table.name, deletes=False)]
        touched += all_rows([*tables.models_of(table), *following])
    return touched


def touched_by_text(tables: Tables, first: str, sql: str) -> list[Touched]:
    """What SQL in text may outdate; ``first`` is its first word."""
    touched: list[Touched] = []
    for name in raw_sql.written_tables(first, sql, tables.names()):
        touched += all_rows([*tables.models_named(name), *tables.followers(name, deletes=False)])
        if first not in ("INSERT", "UPDATE") or "REPLACE" in sql.upper():
            touched += all_rows(tables.followers(name, deletes=True))
    return touched


def _following(
    tables: Tables, table: TableClause, dml: Insert | Update | Delete, parameters: Parameters
) -> Sequence[CachedModel]:
    """What changes by foreign keys, without a statement."""
    found: list[CachedModel] = []
    if isinstance(dml, Delete) or may_replace(dml):
        found += tables.followers(table.name, deletes=True)
    referred = tables.referred(table.name)
    if not referred:
        return found
    if isinstance(dml, Update):
        moves = not referred.isdisjoint(_set_columns(dml, parameters))
    else:
        moves = isinstance(dml, Insert) and statements.may_update(dml)
    return [*found, *tables.followers(table.name, deletes=False)] if moves else found


def _set_columns(dml: Update, parameters: Parameters) -> set[str]:
    """The names of the columns that an UPDATE may set: those of its parameters too."""
    columns: Any = dml.table.c
    keys = [*set_values(dml), *(parameters[0] if parameters else ())]
    names: dict[str, str] = {column.key: column.name for column in columns}
    return {names.get(key, key) for key in (name_of(key) for key in keys) if key is not None}


def _named(
    models: Sequence[CachedModel],
    connection: Connection,
    table: TableClause,
    statement: Any,
    dml: Update | Delete,
    parameters: Parameters,
) -> tuple[Any, Identities | None]:
    """The statement to send, and the primary keys of the rows that it writes; None: any."""
    identities = statements.identities(dml, parameters)
    if identities is not None and all(model.are_named_exactly(table) for model in models):
        return statement, identities
    question = statements.question(dml) if len(parameters) <= 1 and is_stable(dml) else None
    if question is None:
        return statement, None
    limit = min(model.policy.bulk_threshold for model in models)
    rows = connection.execute(question.limit(limit + 1), parameters[0] if parameters else None).all()
    found = [tuple(row) for row in rows]
    if len(found) > limit:
        return statement, None
    return statements.restricted(statement, found), found


def _inserted(
    models: Sequence[CachedModel], state: ConnectionState, table: TableClause, statement: Insert, parameters: Parameters
) -> list[Touched]:
    if not statements.may_update(statement):
        return []
    if statements.conflict_on_primary_key(statement) and all(model.are_named_exactly(table) for model in models):
        return _rows(models, state, table, statements.inserted(statement, parameters))
    return all_rows(models)


def _rows(
    models: Sequence[CachedModel],
    state: ConnectionState,
    table: TableClause,
    identities: Identities | None,
) -> list[Touched]:
    if identities is None:
        return all_rows(models)
    if not identities:
        return []
    return [
        (
            model.cache,
            [model.epoch_key]
            if state.is_bulk(model.epoch_key, len(identities), model.policy.bulk_threshold)
            else model.keys(table, identities),
            model.policy,
        )
        for model in models
    ]


def all_rows(models: Iterable[CachedModel]) -> list[Touched]:
    """What is outdated when any row of these classes may be written."""
    return [(model.cache, [model.epoch_key], model.policy) for model in models]
