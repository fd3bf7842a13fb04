"""What a SELECT on a connection may show: what is committed at that moment and nothing else, or something older.

A row may be stored only if it was read by a statement with a snapshot of its own, begun after the lease, that shows no
uncommitted work. So it is

* outside any transaction, unless on SQLite a cursor is open on the connection, of iterator() or raw() say: if its
  statement is unfinished it keeps an old snapshot alive for all statements;
* in a transaction of PostgreSQL at READ COMMITTED, where each statement has its own snapshot, as long as nothing was
  written in it: that is not committed. What was sent tells most of it. A function that a SELECT calls may write too, so
  that after reading, before anything is stored, the database is asked whether the transaction has an id: it gets one
  with its first write (`has_written_unseen`).

A REPEATABLE READ or SERIALIZABLE transaction shows the past, and so does a transaction of SQLite. Of other databases
nothing is assumed.
"""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

_NOTHING_KNOWN = (None, None, False)

_IN_ERROR = 3
"""The status of a transaction of PostgreSQL in which a statement has failed."""


class Snapshot:
    """What is known about the statements of one connection object."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self.cursors: set[object] = set()
        """The cursors that are open, on SQLite: weak references."""
        self.has_written = False
        """Whether anything but reads has been sent since the last transaction began or ended."""
        self._known: tuple[Any, Any, bool] = _NOTHING_KNOWN
        """A connection of the driver, the level it was told, and whether its transactions are READ COMMITTED."""
        if connection.vendor == "sqlite":
            connection.cursor = self._cursor(connection.cursor)  # type: ignore[method-assign]

    def is_current(self, in_transaction: bool) -> bool:
        """Whether a SELECT now shows what is committed, and nothing else."""
        if not in_transaction:
            return not self.cursors
        return not self.has_written and self._is_read_committed()

    def transaction_ended(self) -> None:
        """One has ended, or is about to begin."""
        self.has_written = False

    def isolation_changed(self) -> None:
        """A statement may have set the isolation level, of this transaction or of all."""
        self.has_written = True
        self._known = _NOTHING_KNOWN

    def has_written_unseen(self) -> bool:
        """Whether the open transaction has written after all. Asked of PostgreSQL where `is_current` was true."""
        with self._connection.connection.cursor() as cursor:
            cursor.execute("SELECT txid_current_if_assigned()")
            self.has_written = cursor.fetchone()[0] is not None
        return self.has_written

    def _is_read_committed(self) -> bool:
        """Ask the database, once for each connection: a role or a database may have a default of its own."""
        connection = self._connection
        driver = connection.connection
        if connection.vendor != "postgresql" or driver is None or connection.needs_rollback:
            return False
        if driver.info.transaction_status == _IN_ERROR:
            return False  # it answers nothing any more
        level = driver.isolation_level  # which an application may have set there
        if self._known[0] is not driver or self._known[1] != level:
            # By the driver's own cursor: it is no query of the application that a test should count.
            with driver.cursor() as cursor:
                cursor.execute("SHOW transaction_isolation")
                self._known = driver, level, cursor.fetchone()[0] == "read committed"
        return self._known[2]

    def _cursor(self, original: Callable[[], Any]) -> Callable[[], Any]:
        cursors = self.cursors

        def cursor() -> Any:
            made = original()
            # Weak, so that a cursor that is merely dropped ends too.
            cursor_ref = weakref.ref(made, cursors.discard)
            cursors.add(cursor_ref)
            # Its __exit__ and the ORM call this.
            made.close = partial(_close_cursor, cursor_ref, cursors, made.cursor.close)
            return made

        if hasattr(original, "wrapped"):
            # Django's test cases put a guard in front of forbidden databases and later take away what is outermost.
            cursor.wrapped = self._cursor(original.wrapped)  # type: ignore[attr-defined]
        return cursor


def _close_cursor(cursor: "weakref.ref[Any]", cursors: "set[object]", close: Callable[[], None]) -> None:
    close()
    cursors.discard(cursor)
