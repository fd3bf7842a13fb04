"""The protocol's moments on a Django database connection.

Theory of operation
-------------------
Django has no hook before COMMIT and none after ROLLBACK, and ``on_commit`` is not enough: a foreign callback that
raises first suppresses ours. So ``commit``, ``rollback``, ``close``, ``set_autocommit`` and ``savepoint_rollback`` are
wrapped on each connection object. ``commit`` runs once per outermost atomic block, with the row locks held and before
all on_commit callbacks, which is where PREPARE and COMPLETE belong.

The state hangs on the connection and not on the thread or the context: an atomic block opened in one sync_to_async call
is seen by other tasks of the same thread through the same connection.

In a transaction a write only adds its keys to the unit of work. In autocommit each statement is a transaction of its
own (`statement`), and `ConnectionState.writing` surrounds it with PREPARE and COMPLETE. Which keys a statement of the
ORM outdates is told by `sql_writes`; a statement that nobody has declared, in SQL of the application, is met by an
execute wrapper and outdates all rows of the tables it may write.

TestCase wraps each test in a transaction that is never committed. Its blocks are not counted: what happens inside them
is the world, and a block of the test itself commits into it. Django does not tell when that happens, so it is
found out at the next read or write (`settle`). When the world is rolled back every cached row is outdated.
"""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, ProgrammingError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachecore.cache import Cache
from cachecore.errors import WriteRefused
from cachecore.integrations.django import local
from cachecore.integrations.django.journal import notes
from cachecore.integrations.django.journal.replays import replays
from cachecore.integrations.django.writing import outcomes
from cachecore.integrations.django.writing.dirty import dirty
from cachecore.integrations.django.writing.snapshot import Snapshot
from cachecore.integrations.django.writing.statement import Statement, Touched
from cachecore.integrations.django.writing.undeclared import watch
from cachecore.integrations.django.writing.worlds import outdate_everything
from cachecore.policy import Policy
from cachecore.transaction import UnitOfWork
from cachecore.unit import Unit

T = TypeVar("T")

Guard = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Surrounds a function that reads the database."""

ATTRIBUTE = "_cachecore_state"
"""Of a connection object: its ConnectionState."""


_OWN = object()
"""Stands among the open cursors while the application has a transaction that it began by SQL and Django knows nothing
of: hits look there for what is under way."""


class CommitRefused(DatabaseError, WriteRefused):
    """The cache did not acknowledge PREPARE, and the policy is "refuse" or there is no journal: it is rolled back.

    It is a DatabaseError because only for that does Django's atomic roll back an error raised while committing.
    """


class _WrittenUnseenError(Exception):
    """What has been read may be the transaction's own, and is not to be stored."""


def _unguarded(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


class ConnectionState:
    """What the cache must know of one connection: the open transaction's writes, statements under way, open cursors."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self.units: dict[Cache, UnitOfWork] = {}
        """The writes of the open transaction, by the cache they outdate."""
        self._noted: set[Cache] = set()
        """The caches of which the open transaction has noted keys in the journal."""
        self._counts: dict[str, int] = {}
        """How many rows the open transaction has written, by the key of their epoch."""
        self._together: list[Statement] | None = None
        """The statements in autocommit that have been sent inside `together` so far."""
        self.declared: list[str] = []
        """The tables of the statements under way that have told what they write."""
        self._is_open = False
        """Whether a statement in autocommit may not have ended yet, though it has returned or failed."""
        self.snapshot = Snapshot(connection)
        self.cursors = self.snapshot.cursors
        self._in_world = False
        """Whether something was read inside a test case's own transaction."""
        for name in ("commit", "rollback", "close", "set_autocommit", "savepoint_rollback"):
            wrapped = getattr(self, f"_{name}")(getattr(connection, name))
            setattr(connection, name, wrapped)
        watch(connection, self)

    # -- where are we ------------------------------------------------------------------------------

    @property
    def in_transaction(self) -> bool:
        """Whether a write now belongs to a transaction that somebody will end. Test cases' own blocks do not count."""
        connection = self._connection
        if connection.in_atomic_block:
            return any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)
        return _OWN in self.cursors or not self._autocommits

    @property
    def may_fill(self) -> bool:
        """Whether a SELECT now sees what is committed at this moment and nothing else. See `snapshot`."""
        if not self.in_transaction:
            return self.snapshot.is_current(False)
        # What a test has written around this block, the database cannot tell from what the block itself has.
        blocks = self._connection.atomic_blocks
        return not (blocks and getattr(blocks[0], "_from_testcase", False)) and self.snapshot.is_current(True)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way: no block, not even a test case's, no write to be completed, no open cursor.

        Then `begin_read` has nothing to do, and `may_fill` is true.
        """
        if self._connection.in_atomic_block or self.units or self.cursors:
            return False
        return self._autocommits

    @property
    def _autocommits(self) -> bool:
        """Whether each statement is a transaction of its own; asked without connecting, as a warm read needs none."""
        connection = self._connection
        if connection.connection is None:
            return bool(connection.settings_dict["AUTOCOMMIT"])
        return connection.autocommit

    def settle(self) -> None:
        """Complete what a test's own block has committed into the world of its TestCase."""
        if self.units and not self.in_transaction:
            self._prepare()
            self._complete()

    # -- writes ------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, touched: Sequence[Touched], table: str = "") -> Generator[None, None, None]:
        """Surround a statement that outdates these keys. Raises CommitRefused before it by the policy.

        table: the one it writes; nothing more is asked about a statement on it inside. "": on any.
        """
        self.settle()
        for _, keys, _ in touched:
            local.drop(keys)
        self.declared.append(table)
        try:
            if self.in_transaction:
                self.snapshot.has_written = True
                for one in touched:
                    self._add(*one)
                yield
            else:
                with self.together() as statements:
                    for cache in {one[0] for one in touched}:
                        self._hold(statements, cache, touched)
                    yield
        finally:
            self.declared.pop()

    @contextmanager
    def together(self) -> Generator[list[Statement], None, None]:
        """Statements in autocommit inside share their holds, which end with the last: a save may send two."""
        if self._together is not None or self.in_transaction:
            yield self._together if self._together is not None else []
            return
        statements = self._together = []
        self._is_open = False
        try:
            yield statements
        except Exception as error:
            lost = isinstance(error, OperationalError | InterfaceError) and not outcomes.has_ended(error)
            self._end(statements, self._is_open or lost)  # one failed, but a part of several may have been committed
            raise
        else:
            self._end(statements, self._is_open or outcomes.is_pipelined(self._connection))
        finally:
            self._together = None

    def _end(self, statements: Sequence[Statement], is_open: bool) -> None:
        for statement in statements:
            if is_open:
                statement.leave_to_expire()
            else:
                statement.complete()

    @contextmanager
    def sending(self) -> Generator[None, None, None]:
        """Surround the very statement: if nobody knows how it ended, it goes on."""
        try:
            yield
        except BaseException as error:
            if not outcomes.has_ended(error):
                self.goes_on()
            raise

    def goes_on(self) -> None:
        """A statement in autocommit, under way now, will be committed later than it returns, or perhaps."""
        self._is_open = True

    def is_bulk(self, epoch_key: str, rows: int, threshold: int) -> bool:
        """Whether so many rows of an entity are written in this transaction, or by this statement outside of any, that
        its epoch is outdated instead of each row."""
        if self.in_transaction:
            rows = self._counts[epoch_key] = self._counts.get(epoch_key, 0) + rows
        return rows > threshold

    def _hold(self, statements: list[Statement], cache: Cache, touched: Sequence[Touched]) -> None:
        """Hold what is touched in ``cache`` and not yet held, in one round trip."""
        missing: list[Touched] = []
        for _, keys, policy in (one for one in touched if one[0] is cache):
            open_keys = [key for key in keys if not any(statement.holds(cache, key) for statement in statements)]
            if open_keys:
                missing.append((cache, open_keys, policy))
        if missing:
            try:
                statements.append(Statement(self._connection, cache, missing))
            except WriteRefused as error:
                raise CommitRefused(str(error)) from error

    def _add(self, cache: Cache, keys: Sequence[str], policy: Policy) -> None:
        unit = self.units.get(cache)
        if unit is None:
            unit = self.units[cache] = cache.begin(journal=partial(self._note, cache))
            dirty.update(self)
        unit.add(keys, policy)

    def _note(self, cache: Cache, keys: Sequence[str]) -> None:
        """Note keys in the journal, as a part of the transaction that is about to be committed."""
        notes.write(self._connection, cache, keys, announced=False)
        self._noted.add(cache)

    # -- the ends of a transaction -----------------------------------------------------------------

    def _prepare(self) -> None:
        try:
            for unit in self.units.values():
                unit.prepare()
            if len(self.units) > 1:
                # While one cache was waited for, or a note was written, another's hold may have grown too old.
                for unit in self.units.values():
                    if unit.prepare_by is not None:
                        unit.prepare()
        except WriteRefused as error:
            raise CommitRefused(str(error)) from error

    def _take(self) -> dict[Cache, UnitOfWork]:
        """The writes of the transaction, which is over."""
        units = dict(self.units)
        self.units.clear()
        self._counts.clear()
        dirty.update(self)
        for cache in self._noted:
            replays.owe(self._connection.alias, cache)
        self._noted.clear()
        return units

    def _complete(self) -> None:
        for cache, unit in self._take().items():
            if unit.complete():
                replays.reached(self._connection, cache)

    def _abandon(self) -> None:
        for unit in self._take().values():
            unit.rollback()

    def leave_to_expire(self) -> None:
        """Give up the writes noted so far; if holds stand for them, they expire by themselves."""
        for unit in self._take().values():
            unit.end()

    @contextmanager
    def _committing(self, refusal: type[Exception] | tuple[()] = ()) -> Generator[None, None, None]:
        """Surround what commits. A ``refusal`` says that the transaction goes on."""
        self._prepare()
        try:
            yield
        except refusal:
            raise
        except BaseException as error:
            if not outcomes.has_ended(error):
                self.leave_to_expire()  # COMMIT was sent and its outcome is unknown
            elif not outcomes.is_under_way(self._connection):
                self._abandon()  # a deferred constraint, a serialization failure: certainly not committed
            raise  # or SQLite was busy, and COMMIT may be tried again
        self._complete()

    @contextmanager
    def bounding(self, *, may_end: bool) -> Generator[None, None, None]:
        """Surround a statement of the application that may begin or end a transaction.

        Where Django has begun one, it marks its savepoints so. Else that transaction is the application's own.
        """
        if self._connection.in_atomic_block or not self._autocommits:
            yield
            return
        if may_end:
            self._prepare()
        try:
            yield
        except BaseException as error:
            self._bounded(outcomes.has_ended(error))
            raise
        self._bounded(ended=True)

    def _bounded(self, ended: bool) -> None:
        if outcomes.is_under_way(self._connection):
            self.cursors.add(_OWN)
        else:
            self._ended()
            if ended:
                self._complete()
            else:
                self.leave_to_expire()

    def _ended(self) -> None:
        """The transaction is over, or about to begin by Django's own means."""
        self.cursors.discard(_OWN)
        self.snapshot.transaction_ended()

    def _commit(self, original: Callable[[], None]) -> Callable[[], None]:
        def commit() -> None:
            # Inside an atomic block Django refuses to commit; then nothing may be ended here.
            if self._connection.in_atomic_block:
                original()
                return
            if not self.units:
                original()
            else:
                with self._committing():
                    original()
            self._ended()

        return commit

    def _set_autocommit(self, original: Callable[..., None]) -> Callable[..., None]:
        def set_autocommit(autocommit: bool, *args: Any, **options: Any) -> None:
            if not self.units or not autocommit or self._connection.in_atomic_block:
                original(autocommit, *args, **options)
            else:
                # SQLite commits an open transaction when autocommit is switched on; psycopg refuses to switch.
                with self._committing(ProgrammingError):
                    original(autocommit, *args, **options)
            self._ended()

        return set_autocommit

    def _rollback(self, original: Callable[[], None]) -> Callable[[], None]:
        def rollback() -> None:
            # Inside an atomic block Django refuses to roll back; then nothing may be ended here.
            if self._connection.in_atomic_block:
                original()
                return
            try:
                original()
            except BaseException:
                self.leave_to_expire()
                raise
            finally:
                self._ended()
            self._abandon()
            self._world_ended()

        return rollback

    def _close(self, original: Callable[[], None]) -> Callable[[], None]:
        def close() -> None:
            connection = self._connection
            try:
                original()
            finally:
                # A database in memory stays open, and so does its transaction. Any other rolls back what was open,
                # unless COMMIT was on its way.
                if connection.connection is None or connection.closed_in_transaction:
                    self._ended()
                    self.leave_to_expire()

        return close

    def _savepoint_rollback(self, original: Callable[[str], None]) -> Callable[[str], None]:
        def savepoint_rollback(sid: str) -> None:
            original(sid)
            # A savepoint of the test case itself: one test is over. The keys of the application's savepoints are kept.
            if self._in_world and not self.in_transaction:
                self._world_ended()

        return savepoint_rollback

    # -- the world of a test case ------------------------------------------------------------------

    def begin_read(self) -> None:
        """Something is about to be read through the cache: be up to date, and know when the world that it sees ends."""
        self.settle()
        if not self._in_world and self._connection.in_atomic_block and not self.in_transaction:
            self._in_world = True

    def read(self, cache: Cache, ask: "Callable[[Unit | None, bool, Guard], T]") -> T:
        """Read through ``cache``: ``ask`` is called with the unit of work of the open transaction, whether it may fill,
        and a guard for its functions that read the database: what they have read is stored only if it is committed."""
        self.begin_read()
        unit = self.units.get(cache)
        if not self.may_fill:
            return ask(unit, False, _unguarded)
        if not self.in_transaction:
            return ask(unit, True, _unguarded)
        try:
            return ask(unit, True, self._guarded)
        except _WrittenUnseenError:
            return ask(unit, False, _unguarded)

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any) -> Any:
            found: Any = function(*args)
            if not isinstance(found, tuple | None):
                found = list(found)  # not a row or none, but rows, which must have been read by now
            if self.snapshot.has_written_unseen():
                raise _WrittenUnseenError
            return found  # pyright: ignore[reportUnknownVariableType]

        return guarded

    def _world_ended(self) -> None:
        in_world, self._in_world = self._in_world, False
        self.leave_to_expire()
        if in_world:
            outdate_everything()


def threads_connections() -> threading.local | None:
    """What holds each thread's connections by alias, while the thread runs no event loop; None: only `connections` can
    tell.

    To ask `connections` costs more than all else that a warm read has to know of its connection.
    """
    storage = getattr(getattr(connections, "_connections", None), "_storage", None)
    return storage if isinstance(storage, threading.local) else None


def is_idle(found: object) -> bool:
    """Whether what stands in `threads_connections` is a connection that is watched and on which nothing is under way.

    Everything else must be looked at.
    """
    state = getattr(found, ATTRIBUTE, None)
    return isinstance(state, ConnectionState) and state.is_idle


def state_of(alias: str) -> ConnectionState:
    """The state of this thread's connection to ``alias``."""
    connection = connections[alias]
    state: ConnectionState | None = connection.__dict__.get(ATTRIBUTE)
    return state or attach(connection)


def attach(connection: BaseDatabaseWrapper) -> ConnectionState:
    """Begin to watch a connection object; again is harmless."""
    state: ConnectionState | None = connection.__dict__.get(ATTRIBUTE)
    if state is None:
        state = ConnectionState(connection)
        connection.__dict__[ATTRIBUTE] = state
    return state


def on_connection_created(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Receiver of Django's signal: watch from the first statement on."""
    attach(connection)
