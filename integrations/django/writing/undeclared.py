"""SQL of the application: a statement that no model has written, so that nobody has declared which rows it writes.

An execute wrapper meets it and outdates all rows of the tables that it may write. It meets everything that goes through
Django's cursors: not COMMIT and ROLLBACK, not what is sent by a cursor of the driver itself or by COPY.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from cachecore.integrations.django.writing import raw_sql
from cachecore.integrations.django.writing.snapshot import Snapshot
from cachecore.integrations.django.writing.statement import Touched


class Watched(Protocol):
    """What this needs of a `ConnectionState`."""

    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def declared(self) -> int: ...
    def writing(self, touched: Sequence[Touched]) -> AbstractContextManager[None]: ...


class _Undeclared:
    """What SQL outdates, as whoever knows the models says: by the alias, the first word of a statement and its text."""

    def __init__(self) -> None:
        self.touched: Callable[[str, str, str], Sequence[Touched]] = lambda alias, first, sql: ()


undeclared = _Undeclared()


def watch(connection: BaseDatabaseWrapper, state: Watched) -> None:
    """Meet the statements of a connection object."""

    def execute_wrapper(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        if state.declared:
            return execute(sql, params, many, context)
        text = sql if isinstance(sql, str) else _text_of(sql, connection)
        first = raw_sql.verb(text)
        if raw_sql.sets_isolation(first, text):
            state.snapshot.isolation_changed()
        elif not raw_sql.is_read(first):
            state.snapshot.has_written = True
            touched = undeclared.touched(connection.alias, first, text)
            if touched:
                with state.writing(touched):
                    return execute(sql, params, many, context)
        return execute(sql, params, many, context)

    # The first is the outermost; those that the application adds and takes away come after it.
    connection.execute_wrappers.insert(0, execute_wrapper)


def _text_of(sql: Any, connection: BaseDatabaseWrapper) -> str:
    """A statement that is no str, such as bytes or a composed one of psycopg."""
    if isinstance(sql, bytes):
        return sql.decode(errors="replace")
    as_string = getattr(sql, "as_string", None)
    return str(sql) if as_string is None else str(as_string(connection.connection))
