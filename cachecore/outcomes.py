"""Whether a statement that failed has ended, or may still be under way in a database that nobody hears any more.

If it has ended, what it has written or not is to be seen by whoever asks now: its holds need not stand any longer. If
the connection was lost, or something interrupted the wait for the answer, it may be committed later.
"""

import sqlite3
from typing import Any

_ENDED_BY_LOSS = ("08", "40003", "57P", "58", "XX")
"""Beginnings of the SQLSTATEs of what ends a connection, or leaves open what has become of a statement."""

_SQLITE_UNCERTAIN = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_MYSQL_ENDED = frozenset({1205, 1213, 3024, 3572})
"""Waited too long for a lock, deadlock, took too long, would have to wait."""


def has_ended(error: BaseException, dbapi: Any, cause: Any = None) -> bool:
    """Whether the database itself has reported this error of a statement, or it was never sent.

    dbapi: a module with the classes of errors of PEP 249, of which ``error`` may be one.
    cause: the driver's own error, if ``error`` only stands for it; None: it is ``error``.
    """
    if not isinstance(error, dbapi.Error):
        return False  # of whoever interrupted the wait for an answer
    told: Any = error if cause is None else cause
    state = getattr(told, "sqlstate", None) or getattr(told, "pgcode", None)
    if isinstance(state, str):
        return not state.startswith(_ENDED_BY_LOSS)
    if not isinstance(error, (dbapi.OperationalError, dbapi.InterfaceError)):
        return True  # a constraint, a wrong statement or value: the connection is sound
    code = getattr(told, "sqlite_errorcode", None)
    if isinstance(code, int):
        return code & 0xFF not in _SQLITE_UNCERTAIN
    return getattr(told, "args", (None,))[:1] in [(code,) for code in _MYSQL_ENDED]


def is_under_way(driver: Any) -> bool:
    """Whether a connection of a driver (sqlite3, aiosqlite, psycopg, asyncpg) itself says that a transaction is open.
    None, and what cannot say so, says no."""
    if driver is None or getattr(driver, "closed", False):
        return False
    in_transaction = getattr(driver, "in_transaction", None)
    if isinstance(in_transaction, bool):
        return in_transaction
    if hasattr(driver, "is_in_transaction"):
        return bool(driver.is_in_transaction())
    status = getattr(getattr(driver, "info", None), "transaction_status", 0)
    return status != 0  # idle
