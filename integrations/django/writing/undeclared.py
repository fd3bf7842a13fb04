"""SQL of the application: a statement that no model has written, so that nobody has declared which rows it writes.

An execute wrapper meets it and outdates all rows of the tables that it may write. It meets everything that goes through
Django's cursors: not COMMIT and ROLLBACK, not what is sent by a cursor of the driver itself or by COPY.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from cachecore import raw_sql
from cachecore.integrations.django.writing.snapshot import Snapshot
from cachecore.integrations.django.writing.statement import Touched


class Watched(Protocol):
    """What this needs of a `ConnectionState`, which says what it means."""

    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def declared(self) -> Sequence[str]: ...
    def writing(self, touched: Sequence[Touched]) -> AbstractContextManager[None]: ...
    def sending(self) -> AbstractContextManager[None]: ...
    def bounding(self, *, may_end: bool) -> AbstractContextManager[None]: ...
    def goes_on(self) -> None: ...


class _Undeclared:
    """What SQL outdates, as whoever knows the models says: by the alias, the first word of a statement and its text."""

    def __init__(self) -> None:
        self.touched: Callable[[str, str, str], Sequence[Touched]] = lambda alias, first, sql: ()


undeclared = _Undeclared()


def watch(connection: BaseDatabaseWrapper, state: Watched) -> None:
    """Meet the statements of a connection object."""

    def execute_wrapper(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        if state.declared and isinstance(sql, str) and _is_declared(sql, state.declared[-1]):
            with state.sending():
                return execute(sql, params, many, context)
        text = sql if isinstance(sql, str) else _text_of(sql, connection)
        first = raw_sql.verb(text)
        if raw_sql.sets_isolation(first, text):
            state.snapshot.isolation_changed()
        if raw_sql.is_read(first, text) and not raw_sql.bounds(first):
            return execute(sql, params, many, context)
        if not raw_sql.is_read(first, text):
            state.snapshot.has_written = True
        touched = undeclared.touched(connection.alias, first, text)
        with ExitStack() as around:
            if raw_sql.bounds(first):
                around.enter_context(state.bounding(may_end=raw_sql.may_end(first)))
            if touched:
                around.enter_context(state.writing(touched))
                around.enter_context(state.sending())
            answer = execute(sql, params, many, context)
            if touched and connection.vendor == "sqlite" and context["cursor"].description is not None:
                state.goes_on()  # RETURNING: until its rows have been fetched it is not committed
            return answer

    # The first is the outermost; those that the application adds and takes away come after it.
    connection.execute_wrappers.insert(0, execute_wrapper)


def _is_declared(sql: str, table: str) -> bool:
    """Whether a statement is the one that has just told what it writes to a table, or one of its questions.

    Something may send others in the middle of it: a field that makes a value, a wrapper that keeps an account.
    """
    first = raw_sql.verb(sql)
    if first == "SELECT" or not table:
        return True
    return first != raw_sql.UNKNOWN and raw_sql.target(sql) in (None, raw_sql.bare(table).lower())


def _text_of(sql: Any, connection: BaseDatabaseWrapper) -> str:
    """A statement that is no str, such as bytes or a composed one of psycopg."""
    if isinstance(sql, bytes):
        return sql.decode(errors="replace")
    as_string = getattr(sql, "as_string", None)
    return str(sql) if as_string is None else str(as_string(connection.connection))
