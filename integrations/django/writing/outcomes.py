"""Whether a statement that failed has ended, or may still be under way in a database that nobody hears any more.

If it has ended, what it has written or not is to be seen by whoever asks now: its holds need not stand any longer. If
the connection was lost, or something interrupted the wait for the answer, it may be committed later.
"""

import sqlite3
from typing import Any

from django.db import Error, InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

_ENDED_BY_LOSS = ("08", "40003", "57P", "58", "XX")
"""Beginnings of the SQLSTATEs of what ends a connection, or leaves open what has become of a statement."""

_SQLITE_UNCERTAIN = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_MYSQL_ENDED = frozenset({1205, 1213, 3024, 3572})
"""Waited too long for a lock, deadlock, took too long, would have to wait."""


def has_ended(error: BaseException) -> bool:
    """Whether the database itself has reported this error of a statement, or it was never sent."""
    if not isinstance(error, Error):
        return False  # of whoever interrupted the wait for an answer
    if not isinstance(error, OperationalError | InterfaceError):
        return True  # a constraint, a wrong statement or value: the connection is sound
    cause: Any = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if isinstance(state, str):
        return not state.startswith(_ENDED_BY_LOSS)
    code = getattr(cause, "sqlite_errorcode", None)
    if isinstance(code, int):
        return code & 0xFF not in _SQLITE_UNCERTAIN
    return getattr(cause, "args", (None,))[:1] in [(code,) for code in _MYSQL_ENDED]


def is_under_way(connection: BaseDatabaseWrapper) -> bool:
    """Whether the connection of the driver itself says that a transaction is open. What cannot say so says no."""
    driver: Any = connection.connection
    if driver is None:
        return False
    if connection.vendor == "sqlite":
        return bool(driver.in_transaction)
    if connection.vendor == "postgresql":
        return not driver.closed and driver.info.transaction_status != 0  # idle
    return False


def is_pipelined(connection: BaseDatabaseWrapper) -> bool:
    """Whether statements are being sent whose answers nobody waits for: psycopg's pipelines."""
    pgconn: Any = getattr(connection.connection, "pgconn", None)
    return connection.vendor == "postgresql" and bool(getattr(pgconn, "pipeline_status", 0))
