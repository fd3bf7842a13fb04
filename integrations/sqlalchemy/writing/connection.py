"""What is under way on one connection to a database: what its transaction has written, and what its reads may show.

Theory of operation
-------------------
The state hangs on the connection of the driver, by ``Connection.info``: sessions, Core and whoever else shares that
connection share its transaction. In a transaction the keys of what is written are collected in a unit of work for each
cache. PREPARE is sent when everything has been flushed and the rows are locked, as the last thing before the driver's
COMMIT: earlier, the hold could expire, or be taken away, while the transaction goes on; later, a reader could still
fill what COMMIT makes old. COMPLETE is sent before COMMIT returns to the caller.

If the database has reported an error of COMMIT, the holds are taken back. If nobody knows how it ended, they are left
to expire. A savepoint that is rolled back keeps its keys: too many are outdated then, never too few.

In autocommit each statement is a transaction: its holds stand around it.

Reads on the connection may fill the cache as long as it shows what is committed and nothing else (`may_fill`).
"""

import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import MissingGreenlet

from cachecore import outcomes
from cachecore.cache import AsyncCache, Cache
from cachecore.integrations.sqlalchemy.models import Found
from cachecore.integrations.sqlalchemy.waiting import wait
from cachecore.policy import Policy

Touched = tuple[Cache | AsyncCache, Sequence[str], Policy]
"""Keys of one cache that a write outdates."""

_KEY = "cachecore"

_BEFORE_3_12 = -1
"""sqlite3.LEGACY_TRANSACTION_CONTROL."""


class ConnectionState:
    """What is under way on one connection of a driver."""

    def __init__(self) -> None:
        self.units: dict[Any, Any] = {}
        """What the open transaction has written, by cache."""
        self.is_fresh = False
        """Whether nothing was sent since the last transaction ended."""
        self.has_written = False
        """Whether anything but reads was sent in the open transaction."""
        self._shows_the_past = False
        """Whether the database has said so of the open transaction."""
        self._cursors: list[weakref.ref[Any]] = []
        """Cursors of SQLite that may not have been read to their end."""
        self._declared: tuple[Any, Sequence[Touched], weakref.ref[Any] | None] = (None, (), None)
        """The statement that is about to be sent, what it outdates, and the execution for which it said so."""
        self._has_begun = False
        """Whether the last that was sent has begun a transaction in words."""
        self._counts: dict[str, int] = {}

    # -- reads -------------------------------------------------------------------------------------

    @property
    def may_fill(self) -> bool:
        """Whether what is read on this connection may be stored, as far as that is known before it is asked."""
        return not (self.has_written or self._shows_the_past)

    def reading(self, connection: Connection, read: Callable[[], Found]) -> tuple[list[tuple[Any, ...]], bool]:
        """What ``read`` finds, and whether it shows what was committed when it was sent and nothing else."""
        # Drivers begin a transaction with its first statement, unless somebody has begun one in words.
        is_under_way = outcomes.is_under_way(driver_of(connection))
        has_begun = self._has_begun or _begins_itself(connection)
        is_alone = (self.is_fresh and (has_begun or not is_under_way)) or is_autocommit(connection)
        if connection.dialect.name == "sqlite":
            # Without a transaction each statement has its own snapshot, but not while another one is unfinished.
            is_alone = (is_alone or not is_under_way) and not self._has_open_cursors()
        elif connection.dialect.name != "postgresql" and not is_alone:
            is_alone = _level(connection) == "READ COMMITTED"
        if connection.dialect.name != "postgresql" and _level(connection) == "READ UNCOMMITTED":
            is_alone = False  # PostgreSQL knows no such thing, SQLite does in a shared cache
        may_fill = self.may_fill
        found = read()
        if not found.rows:
            return found.rows, True  # there is nothing to be stored
        if not may_fill or not found.is_clean or not (is_alone or found.is_current):
            self._shows_the_past = True
            return found.rows, False
        return found.rows, True

    def opened(self, cursor: Any) -> None:
        """A statement of SQLite has found rows. Until they have been read to the end it keeps its snapshot.

        A cursor that somebody has read to the end and still has counts as open: it does not say.
        """
        if getattr(cursor, "server_side", True):  # else its rows were fetched at once
            self._cursors = [one for one in self._cursors if one() is not None]
            self._cursors.append(weakref.ref(getattr(cursor, "_cursor", cursor)))  # in an adapter of an async driver

    def _has_open_cursors(self) -> bool:
        return any(one() is not None for one in self._cursors)

    # -- writes ------------------------------------------------------------------------------------

    def sent(self, first: str) -> None:
        """A statement whose first word this is was sent, or is about to be."""
        self._has_begun = first in ("BEGIN", "SAVEPOINT")  # SQLite takes its snapshot later
        if not self._has_begun:
            self.is_fresh = False

    def declare(self, construct: Any, touched: Sequence[Touched]) -> None:
        """The next statement to be sent is this one, and outdates these keys."""
        self._declared = construct, touched, None

    def declared(self, context: Any) -> Sequence[Touched] | None:
        """What the statement of an execution outdates, if it has been declared for this execution, which may send it
        several times."""
        construct, touched, known = self._declared
        if construct is None or context.compiled is None or context.invoked_statement is not construct:
            return None
        if known is None:
            self._declared = construct, touched, weakref.ref(context)
        elif known() is not context:
            return None
        return touched

    def add(self, touched: Sequence[Touched]) -> None:
        """The open transaction writes these keys."""
        _add(self.units, touched)

    def is_bulk(self, epoch_key: str, rows: int, threshold: int) -> bool:
        """Whether so many rows of an entity are written in this transaction that its epoch is outdated instead."""
        rows = self._counts[epoch_key] = self._counts.get(epoch_key, 0) + rows
        return rows > threshold

    @contextmanager
    def surrounding(self, touched: Sequence[Touched], dialect: Any) -> Generator[Callable[[], None], None, None]:
        """Surround a statement in autocommit: PREPARE, the statement, COMPLETE.

        Gives a function to call if the statement is committed later than it returns.
        """
        units: dict[Any, Any] = {}
        self._counts.clear()
        _add(units, touched)
        _prepare(units)
        try:
            yield lambda: _leave_to_expire(units)
        except BaseException as error:
            if outcomes.has_ended(error, dialect.loaded_dbapi):
                _complete(units)  # it failed, but a part of several may have been committed
            else:
                _leave_to_expire(units)
            raise
        _complete(units)

    # -- the ends of a transaction -----------------------------------------------------------------

    def prepare(self) -> None:
        """PREPARE everything that the transaction has written. Raises WriteRefused by the policy."""
        _prepare(self.units)

    @contextmanager
    def committing(
        self, dbapi: Any, goes_on: Callable[[], bool], *, is_commit: bool = True
    ) -> Generator[None, None, None]:
        """Surround what commits the transaction, which has been prepared.

        dbapi: the driver's module, with its errors.
        goes_on: whether a transaction is open all the same when what was sent has failed, or was perhaps no COMMIT.
        is_commit: whether what is sent commits for certain unless it fails.
        """
        try:
            yield
        except BaseException as error:
            if not outcomes.has_ended(error, dbapi):
                self.leave_to_expire()
            elif not goes_on():
                self.abandoned()  # a deferred constraint, a serialization failure: nobody sends ROLLBACK after that
            raise
        if is_commit or not goes_on():
            self.completed()

    def completed(self) -> None:
        """The transaction was committed."""
        _complete(self._take())

    def abandoned(self) -> None:
        """The transaction was rolled back."""
        units = self._take()
        try:
            for unit in units.values():
                wait(unit.rollback())
        except MissingGreenlet:
            pass  # the holds expire by themselves

    def leave_to_expire(self) -> None:
        """The outcome of the transaction is unknown."""
        _leave_to_expire(self._take())

    def _take(self) -> dict[Any, Any]:
        units, self.units = self.units, {}
        self.is_fresh = True
        self.has_written = self._shows_the_past = False
        if self._counts:
            self._counts = {}
        return units


def _add(units: dict[Any, Any], touched: Sequence[Touched]) -> None:
    for cache, keys, policy in touched:
        unit = units.get(cache)
        if unit is None:
            unit = units[cache] = cache.begin()
        unit.add(keys, policy)


def _prepare(units: dict[Any, Any]) -> None:
    for unit in units.values():
        wait(unit.prepare())
    if len(units) > 1:
        # While one cache was waited for, another's hold may have grown too old.
        for unit in units.values():
            if unit.prepare_by is not None:
                wait(unit.prepare())


def _complete(units: dict[Any, Any]) -> None:
    for unit in units.values():
        wait(unit.complete())


def _leave_to_expire(units: dict[Any, Any]) -> None:
    for unit in units.values():
        unit.end()


def state_of(connection: Connection) -> ConnectionState:
    """The state of a connection."""
    return state_in(connection.connection)


def state_in(proxied: Any) -> ConnectionState:
    """The state of a connection as a pool gives it, by which dialects know it."""
    try:
        info = proxied.info
    except NotImplementedError:
        return ConnectionState()  # with which the dialect looks at the database, before anybody has it
    state: ConnectionState | None = info.get(_KEY)
    if state is None:
        state = info[_KEY] = ConnectionState()
    return state


def is_autocommit(connection: Connection) -> bool:
    """Whether each statement on this connection is a transaction of its own."""
    return _autocommits(connection) and not outcomes.is_under_way(driver_of(connection))  # by a BEGIN in text


def begins_for(connection: Connection, first: str) -> bool:
    """Whether a transaction is open when a statement with this first word is sent, or begins with it.

    The sqlite3 module in its legacy mode begins one for four kinds of statements; others are committed at once.
    """
    if connection.dialect.name != "sqlite" or outcomes.is_under_way(driver_of(connection)):
        return True
    control = getattr(connection.connection.dbapi_connection, "autocommit", _BEFORE_3_12)
    return control not in (_BEFORE_3_12, None) or first in ("INSERT", "UPDATE", "DELETE", "REPLACE")


def _begins_itself(connection: Connection) -> bool:
    """Whether the driver opens the next transaction when one has ended: sqlite3 of Python 3.12 where it is told so."""
    return getattr(connection.connection.dbapi_connection, "autocommit", None) is False and (
        connection.dialect.name == "sqlite"
    )


def _autocommits(connection: Connection) -> bool:
    """Whether nothing begins a transaction by itself."""
    if _level(connection) == "AUTOCOMMIT":
        return True
    dbapi: Any = connection.connection.dbapi_connection
    switched = getattr(dbapi, "autocommit", _BEFORE_3_12)
    if connection.dialect.name == "sqlite" and switched in (_BEFORE_3_12, None):
        return dbapi.isolation_level is None
    return switched is True


def _level(connection: Connection) -> str | None:
    """The isolation level that SQLAlchemy was told, or has found when it first connected."""
    level: str | None = connection.get_execution_options().get("isolation_level")
    dialect: Any = connection.dialect
    return level or getattr(dialect, "_on_connect_isolation_level", None) or dialect.default_isolation_level


def driver_of(connection: Connection) -> Any:
    """The connection of the driver itself."""
    return connection.connection.driver_connection
