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
those it writes, where they are constants, else those that were selected; nothing is guessed. Between the two statements
nobody else may change them, so the rows are locked: a statement in autocommit gets a transaction for it.

A save may send an UPDATE and, if that matched nothing, an INSERT. In autocommit both share their holds.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import wraps
from typing import Any, cast

from django.db import models
from django.db.models.constants import OnConflict
from django.db.models.expressions import Col, ColPairs
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLDeleteCompiler, SQLInsertCompiler, SQLUpdateCompiler
from django.db.models.sql.where import AND
from django.db.transaction import atomic

from cachecore.integrations.django.declaration import identity_names
from cachecore.integrations.django.writing.connection import state_of
from cachecore.integrations.django.writing.dependents import Dependent
from cachecore.integrations.django.writing.statement import Touched
from cachecore.integrations.django.writing.writes import UNKNOWN, Change, Identity, Table, table_of

Rows = list[dict[str, Any]]
"""Of each row the identity, and what else was asked for, by attribute name."""

Asked = Callable[[Any, Table], Sequence[str]]
"""Which columns must be read before a statement, because it does not tell what they hold, for what is derived of them:
of a query."""

Outdated = Callable[[Any, Table, Sequence[str]], list[Touched]]
"""What a statement outdates: of a compiler, with those columns."""


def install() -> None:
    """Meet every statement from now on. Again is harmless."""
    _meet(SQLInsertCompiler, "execute_sql", _asked_of_insert, _of_insert)
    _meet(SQLUpdateCompiler, "execute_sql", _asked_of_update, _of_update)
    if hasattr(SQLUpdateCompiler, "execute_returning_sql"):  # from Django 6.0 on
        _meet(SQLUpdateCompiler, "execute_returning_sql", _asked_of_update, _of_update)
    _meet(SQLDeleteCompiler, "execute_sql", _asked_of_delete, _of_delete)
    model: Any = models.Model
    if not hasattr(model._save_table, "together"):
        model._save_table = _together(model._save_table)


def _meet(kind: type, name: str, asked: Asked, outdated: Outdated) -> None:
    """Put in the place of a compiler's method one that outdates first what its statement writes."""
    original: Callable[..., Any] = getattr(kind, name)
    if hasattr(original, "outdated"):
        return

    @wraps(original)
    def send(compiler: Any, *args: Any, **options: Any) -> Any:
        table, state = table_of(compiler.query.model), state_of(compiler.using)
        if table is None:
            with state.writing((), compiler.query.model._meta.db_table):
                return original(compiler, *args, **options)
        if getattr(compiler, "_cachecore_sends", False):  # one of these methods calls another
            return original(compiler, *args, **options)
        compiler._cachecore_sends = True
        if not _says_the_same(compiler.query.model, table):
            with state.writing(_of_another(compiler, table), table.model._meta.db_table):
                return original(compiler, *args, **options)
        columns = asked(compiler.query, table) if table.dependents else ()
        transaction = atomic(compiler.using, savepoint=False) if columns and not state.in_transaction else nullcontext()
        with transaction, state.writing(outdated(compiler, table, columns), table.model._meta.db_table):
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


def _says_the_same(model: type[models.Model], table: Table) -> bool:
    """Whether a model calls the columns of a table as the one does whose rows are cached.

    Others may stand for the same table: unmanaged ones, and those of migrations, made before something was renamed.
    """
    if model is table.model or model._meta.concrete_model is table.model:
        return True
    theirs = {column.column: column.attname for column in model._meta.concrete_fields}
    ours = {column.column: column.attname for column in table.model._meta.concrete_fields}
    if any(ours.get(column, name) != name for column, name in theirs.items()):
        return False
    return list(identity_names(model)) == list(table.identity)


def _of_another(compiler: Any, table: Table) -> list[Touched]:
    """What is outdated by the statement of a model that speaks otherwise of a table."""
    alias = compiler.using
    found = table.all_rows(alias)
    return found + table.followers(alias) if isinstance(compiler, SQLDeleteCompiler) else found


def _asked_of_insert(query: Any, table: Table) -> Sequence[str]:
    return ()


def _of_insert(compiler: Any, table: Table, columns: Sequence[str]) -> list[Touched]:
    query, alias = compiler.query, compiler.using
    if query.on_conflict is OnConflict.UPDATE:
        return table.all_rows(alias)  # nobody tells which rows it changes
    names = table.identity
    rows = table.rows(alias, [tuple(getattr(one, name, None) for name in names) for one in query.objs])
    told = table.own_dependents
    wanted = {name for one in told for name in one.columns}
    made: Sequence[Any] = query.objs if told else ()
    changes: list[Change] = [(None, {name: _attribute(one, name) for name in wanted}) for one in made]
    if query.raw and wanted:
        # A fixture of a child in multi-table inheritance has its own columns only, and of its parents' the defaults.
        own = {column.attname for column in table.model._meta.local_concrete_fields}
        changes = [(None, {name: new[name] if name in own else UNKNOWN for name in new}) for _, new in changes if new]
    return rows + table.derived(alias, changes, told)


def _told_of_update(query: Any, table: Table) -> tuple[set[str], list[Dependent]]:
    """The columns that an UPDATE writes, and the dependents that it concerns."""
    written = {field.attname for field, _, _ in query.values}
    told = [one for one in table.dependents if one.needs_old or one.any_update or not written.isdisjoint(one.columns)]
    return written, told


def _asked_of_update(query: Any, table: Table) -> Sequence[str]:
    written, told = _told_of_update(query, table)
    if not written.isdisjoint(table.identity):
        return ()
    return sorted({name for one in told for name in one.columns if written and (one.needs_old or name not in written)})


def _of_update(compiler: Any, table: Table, columns: Sequence[str]) -> list[Touched]:
    query, alias = compiler.query, compiler.using
    written, told = _told_of_update(query, table)
    if not written:
        return []  # only columns of parents, whose statements follow
    identity = table.identity
    rows = _rows(compiler, table, columns) if written.isdisjoint(identity) else None
    if rows is None:
        return table.all_rows(alias)
    found = table.rows(alias, _identities(rows, identity))
    if told:
        new = {field.attname: _written(field, value) for field, _, value in query.values}
        changes: list[Change] = [(row, {**row, **new}) for row in rows]
        found += table.derived(alias, changes, told)
    return found


def _asked_of_delete(query: Any, table: Table) -> Sequence[str]:
    return sorted({name for one in table.dependents if one.needs_old for name in one.columns})


def _of_delete(compiler: Any, table: Table, columns: Sequence[str]) -> list[Touched]:
    alias = compiler.using
    rows = _rows(compiler, table, columns)
    if rows is None:
        return table.all_rows(alias) + table.followers(alias)
    told = [one for one in table.dependents if one.needs_old]
    changes: list[Change] = [(row, None) for row in rows]
    found = table.rows(alias, _identities(rows, table.identity)) + table.derived(alias, changes, told)
    return found + table.followers(alias) if rows else found


def _identities(rows: Rows, names: Sequence[str]) -> list[Identity]:
    return [tuple(row[name] for name in names) for row in rows]


# -- which rows ------------------------------------------------------------------------------------


def _rows(compiler: Any, table: Table, columns: Sequence[str]) -> Rows | None:
    """The rows that a statement with a WHERE writes, with these columns besides; None if they are too many to be named.

    If the statement does not name them itself, or columns were read, it is restricted to what was found.
    """
    query, identity = compiler.query, table.identity
    named = None if table.keys_may_differ(compiler.using) else _named(query.where, query.model)
    limit = table.bulk_threshold(compiler.using)
    found = _matching(compiler, identity, limit) if named is None else named
    if len(found) > limit and (named is None or columns):
        return None
    if columns:
        rows = _locked(compiler, identity, columns, found)
        found = _identities(rows, identity)
    else:
        rows = [dict(zip(identity, one, strict=True)) for one in found]
    if named is None or columns:
        query.add_filter("pk__in", _keys(found))
    return rows


def _keys(identities: Sequence[Identity]) -> list[Any]:
    """Primary keys as a filter takes them."""
    return [one if len(one) > 1 else one[0] for one in identities]


def _matching(compiler: Any, identity: Sequence[str], limit: int) -> list[Identity]:
    """The keys of the rows that match a statement's WHERE now, and of one more than ``limit`` at most."""
    # As Django makes one of an UPDATE that needs several statements (SQLUpdateCompiler.pre_sql_setup).
    query: Any = compiler.query.chain(klass=Query)
    query.get_initial_alias()
    query.select_related = False
    query.clear_ordering(force=True)
    query.extra = {}
    query.set_annotation_mask(())
    query.select = ()
    query.add_fields(list(identity))
    query.set_limits(high=limit + 1)
    rows = query.get_compiler(compiler.using).results_iter(tuple_expected=True)
    return list(dict.fromkeys(tuple(row[: len(identity)]) for row in rows))


def _locked(compiler: Any, identity: Sequence[str], columns: Sequence[str], identities: Sequence[Identity]) -> Rows:
    """What these rows hold in these columns, and nobody else can change it until the transaction ends.

    SQLite has no locks of rows; there, a transaction that has read and then writes is refused if somebody else has
    written in between.
    """
    query: Any = Query(compiler.query.model)
    known = {column.attname for column in query.get_meta().concrete_fields}  # a child's are not among them
    names = [*identity, *(name for name in columns if name not in identity and name in known)]
    query.add_filter("pk__in", _keys(identities))
    query.add_fields(names)
    query.select_for_update = compiler.connection.features.has_select_for_update
    rows = query.get_compiler(compiler.using).results_iter(tuple_expected=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


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
