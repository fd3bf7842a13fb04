"""Every write of the ORM, met where its statement is about to be sent.

Theory of operation
-------------------
Signals are sent by some of Django's writes and managers are passed by some; what all of them come to is one of three
compilers: of INSERT, UPDATE and DELETE. So save() and delete() of instances, querysets of any manager, bulk writes,
related managers, cascades, fast deletes, SET_NULL, the parents' tables of multi-table inheritance, many-to-many tables,
fixtures and the models of migrations are seen here, once for each statement, with signals muted too.

A statement names its rows, or it is asked which they are. An INSERT has its instances; the WHERE of most UPDATEs and
DELETEs names primary keys; for the others their primary keys are selected first, with the same WHERE, and the statement
is restricted to them, so that what it writes is exactly what it outdates. More rows than the policy's bulk_threshold
are not named: then all rows of the model are outdated, by one key.

What is derived from rows (`dependents`) is told the values of the columns it asks for. After the statement they are
those it writes, where they are constants, else those that were selected; nothing is guessed.

A save may send an UPDATE and, if that matched nothing, an INSERT. In autocommit both share their holds.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, cast

from django.db import models
from django.db.models.constants import OnConflict
from django.db.models.expressions import Col, ColPairs
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLDeleteCompiler, SQLInsertCompiler, SQLUpdateCompiler
from django.db.models.sql.where import AND

from cachecore.integrations.django.declaration import identity_names
from cachecore.integrations.django.writing.connection import state_of
from cachecore.integrations.django.writing.statement import Touched
from cachecore.integrations.django.writing.writes import UNKNOWN, Change, Identity, Table, table_of

Rows = list[dict[str, Any]]
"""Of each row the identity, and what else was asked for, by attribute name."""


def install() -> None:
    """Meet every statement from now on. Again is harmless."""
    _meet(SQLInsertCompiler, "execute_sql", _of_insert)
    _meet(SQLUpdateCompiler, "execute_sql", _of_update)
    if hasattr(SQLUpdateCompiler, "execute_returning_sql"):  # from Django 6.0 on
        _meet(SQLUpdateCompiler, "execute_returning_sql", _of_update)
    _meet(SQLDeleteCompiler, "execute_sql", _of_delete)
    model: Any = models.Model
    if not hasattr(model._save_table, "together"):
        model._save_table = _together(model._save_table)


def _meet(kind: type, name: str, outdated: Callable[[Any, Table], list[Touched]]) -> None:
    original: Callable[..., Any] = getattr(kind, name)
    if hasattr(original, "outdated"):
        return

    @wraps(original)
    def send(compiler: Any, *args: Any, **options: Any) -> Any:
        table = table_of(compiler.query.model)
        if table is None:
            with state_of(compiler.using).writing(()):
                return original(compiler, *args, **options)
        if getattr(compiler, "_cachecore_sends", False):  # one of these methods calls another
            return original(compiler, *args, **options)
        compiler._cachecore_sends = True
        with state_of(compiler.using).writing(outdated(compiler, table)):
            return original(compiler, *args, **options)

    send.outdated = outdated  # type: ignore[attr-defined]
    setattr(kind, name, send)


def _together(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def save_table(
        instance: Any,
        raw: bool = False,
        cls: Any = None,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Any = None,
    ) -> Any:
        written = cast("type[models.Model]", cls or type(instance))
        if using is None or table_of(written) is None:
            return original(instance, raw, cls, force_insert, force_update, using, update_fields)
        with state_of(using).together():
            return original(instance, raw, cls, force_insert, force_update, using, update_fields)

    save_table.together = True  # type: ignore[attr-defined]
    return save_table


# -- the three kinds of statements -----------------------------------------------------------------


def _of_insert(compiler: Any, table: Table) -> list[Touched]:
    query, alias = compiler.query, compiler.using
    if query.on_conflict is OnConflict.UPDATE:
        return table.all_rows(alias)  # nobody tells which rows it changes
    names = identity_names(table.model)
    rows = table.rows(alias, [tuple(getattr(one, name, None) for name in names) for one in query.objs])
    told = table.own_dependents
    asked = {name for one in told for name in one.columns}
    made: Sequence[Any] = query.objs if told else ()
    changes: list[Change] = [(None, {name: _attribute(one, name) for name in asked}) for one in made]
    return rows + table.derived(alias, changes, told)


def _of_update(compiler: Any, table: Table) -> list[Touched]:
    query, alias = compiler.query, compiler.using
    new = {field.attname: _written(field, value) for field, _, value in query.values}
    if not new:
        return []  # only columns of parents, whose statements follow
    identity = identity_names(table.model)
    if not new.keys().isdisjoint(identity):
        return table.all_rows(alias)
    which = [
        one for one in table.dependents if one.needs_old or one.any_update or not new.keys().isdisjoint(one.columns)
    ]
    unknown = {name for one in which for name in one.columns if one.needs_old or name not in new}
    rows = _rows(compiler, table, sorted(unknown))
    if rows is None:
        return table.all_rows(alias)
    changes: list[Change] = [(row, {**row, **new}) for row in rows]
    return table.rows(alias, _identities(rows, identity)) + table.derived(alias, changes, which)


def _of_delete(compiler: Any, table: Table) -> list[Touched]:
    alias = compiler.using
    which = [one for one in table.dependents if one.needs_old]
    rows = _rows(compiler, table, sorted({name for one in which for name in one.columns}))
    if rows is None:
        return table.all_rows(alias) + table.followers(alias)
    changes: list[Change] = [(row, None) for row in rows]
    found = table.rows(alias, _identities(rows, identity_names(table.model))) + table.derived(alias, changes, which)
    return found + table.followers(alias) if rows else found


def _identities(rows: Rows, names: Sequence[str]) -> list[Identity]:
    return [tuple(row[name] for name in names) for row in rows]


# -- which rows ------------------------------------------------------------------------------------


def _rows(compiler: Any, table: Table, names: Sequence[str]) -> Rows | None:
    """The rows that a statement with a WHERE writes, with these columns besides; None if they are too many to be named.

    If the statement does not name them itself it is restricted to what was found.
    """
    identity = identity_names(table.model)
    named = _named(compiler.query.where, compiler.query.model)
    if named is not None and not names:
        return [dict(zip(identity, one, strict=True)) for one in named]
    limit = table.bulk_threshold(compiler.using)
    if named is not None and len(named) > limit:
        return None
    known = {column.attname for column in compiler.query.get_meta().concrete_fields}  # a child's are not among them
    columns = (*identity, *(name for name in names if name not in identity and name in known))
    found = _selected(compiler, columns, limit)
    if len(found) > limit:
        return None
    if named is None:
        pks = [row[: len(identity)] if len(identity) > 1 else row[0] for row in found]
        compiler.query.add_filter("pk__in", pks)
    return [dict(zip(columns, row, strict=True)) for row in found]


def _selected(compiler: Any, columns: Sequence[str], limit: int) -> list[tuple[Any, ...]]:
    """These columns of the rows that match a statement's WHERE now, and of one more than ``limit`` at most."""
    # As Django makes one of an UPDATE that needs several statements (SQLUpdateCompiler.pre_sql_setup).
    query: Any = compiler.query.chain(klass=Query)
    query.get_initial_alias()
    query.select_related = False
    query.clear_ordering(force=True)
    query.extra = {}
    query.set_annotation_mask(())
    query.select = ()
    query.add_fields(list(columns))
    query.set_limits(high=limit + 1)
    rows = query.get_compiler(compiler.using).results_iter(tuple_expected=True)
    return list(dict.fromkeys(tuple(row[: len(columns)]) for row in rows))


def _named(where: Any, model: type[models.Model]) -> list[Identity] | None:
    """The primary keys that a WHERE says its rows have, rows that it excludes besides included; None: it says none."""
    if where.connector != AND or where.negated:
        return None
    for condition in where.children:
        if hasattr(condition, "children"):
            found = _named(condition, model)
            if found is not None:
                return found
            continue
        lookup = getattr(condition, "lookup_name", None)
        if lookup not in ("exact", "in") or not _is_key(condition.lhs, model) or not condition.rhs_is_direct_value():
            continue
        given = [condition.rhs] if lookup == "exact" else list(condition.rhs)
        composite = isinstance(condition.lhs, ColPairs)
        identities: list[Identity] = [tuple(one) if composite else (one,) for one in given]
        if not any(value is None or hasattr(value, "resolve_expression") for one in identities for value in one):
            return identities
    return None


def _is_key(left: Any, model: type[models.Model]) -> bool:
    """Whether the left side of a condition is the primary key of ``model``."""
    key = model._meta.pk_fields
    if isinstance(left, ColPairs):
        return list(left.targets) == list(key)
    return type(left) is Col and len(key) == 1 and left.target == key[0] and left.alias == model._meta.db_table


# -- which values ----------------------------------------------------------------------------------


def _written(field: Any, value: Any) -> Any:
    """What an UPDATE writes into a column, if that is a constant."""
    if isinstance(value, models.Model) and field.remote_field:
        value = getattr(value, field.target_field.attname)
    return _constant(value)


def _attribute(instance: models.Model, name: str) -> Any:
    """What an INSERT writes into a column, if that is a constant; nothing is loaded for it."""
    return _constant(instance.__dict__.get(name, UNKNOWN))


def _constant(value: Any) -> Any:
    return UNKNOWN if hasattr(value, "resolve_expression") or hasattr(value, "as_sql") else value
