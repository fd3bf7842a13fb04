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
own (`statement`), and `ConnectionState.writing` surrounds it with PREPARE and COMPLETE; for save(), whose two ends are
signals, there are `begin_statement` and `end_statement`.

TestCase wraps each test in a transaction that is never committed. Its blocks are not counted: what happens inside them
is the world, and a block of the test itself commits into it. Django does not tell when that happens, so it is
found out at the next read or write (`settle`). When the world is rolled back every cached row is outdated.
"""

import threading
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachecore.cache import Cache
from cachecore.errors import WriteRefused
from cachecore.integrations.django import notes
from cachecore.integrations.django.replays import replays
from cachecore.integrations.django.statement import Statement
from cachecore.policy import Policy
from cachecore.transaction import UnitOfWork

ATTRIBUTE = "_cachecore_state"
"""Of a connection object: its ConnectionState."""

Touched = tuple[Cache, Sequence[str], Policy]
"""Keys of one cache that a write outdates."""


class CommitRefused(DatabaseError, WriteRefused):
    """The cache did not acknowledge PREPARE, and the policy is "refuse" or there is no journal: it is rolled back.

    It is a DatabaseError because only for that does Django's atomic roll back an error raised while committing.
    """


class _DirtyConnections:
    """The connections with uncommitted writes of cached rows: while there is none, hits need not look."""

    def __init__(self) -> None:
        # Weak: a thread may end inside a transaction, and its connection must then be closed and not kept.
        self._states: weakref.WeakSet[ConnectionState] = weakref.WeakSet()
        self._lock = threading.Lock()
        self.any = False

    def update(self, state: "ConnectionState") -> None:
        """Note whether ``state`` has uncommitted writes."""
        with self._lock:
            if state.units:
                self._states.add(state)
            else:
                self._states.discard(state)
            self.any = bool(self._states)

    def forget(self) -> None:
        """Drop all writes that are noted: the caches they would outdate are being closed."""
        for state in list(self._states):
            state.leave_to_expire()


dirty = _DirtyConnections()


class ConnectionState:
    """What the cache must know of one connection: the open transaction's writes, statements under way, open cursors."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self.units: dict[Cache, UnitOfWork] = {}
        """The writes of the open transaction, by the cache they outdate."""
        self._noted: set[Cache] = set()
        """The caches of which the open transaction has noted keys in the journal."""
        self._statements: list[tuple[object, list[Statement]]] = []
        self.cursors: set[weakref.ref[Any]] = set()
        """The cursors that are open, on SQLite."""
        self._outdate_world: Callable[[], None] | None = None
        for name in ("commit", "rollback", "close", "set_autocommit", "savepoint_rollback"):
            wrapped = getattr(self, f"_{name}")(getattr(connection, name))
            setattr(connection, name, wrapped)
        if connection.vendor == "sqlite":
            connection.cursor = self._cursor(connection.cursor)  # type: ignore[method-assign]

    # -- where are we ------------------------------------------------------------------------------

    @property
    def in_transaction(self) -> bool:
        """Whether a write now belongs to a transaction that somebody will end. Test cases' own blocks do not count."""
        connection = self._connection
        if connection.in_atomic_block:
            return any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)
        return not self._autocommits

    @property
    def may_fill(self) -> bool:
        """Whether a SELECT now sees what is committed at this moment and nothing else.

        Not inside a transaction: its snapshot may be old and its own writes uncommitted. Not on SQLite while a cursor
        is open on the connection, of iterator() or raw() say: if its statement is unfinished it keeps an old snapshot
        alive for all statements.
        """
        return not self.cursors and not self.in_transaction

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way: no block, not even a test case's, no write to be completed, no open cursor.

        Then `settle` and `enter_world` have nothing to do, and `may_fill` is true.
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
    def writing(self, cache: Cache, keys: Sequence[str], policy: Policy) -> Generator[None, None, None]:
        """Surround a statement that writes the rows of ``keys``. Raises CommitRefused before it by the policy."""
        self.settle()
        if self.in_transaction:
            self._add(cache, keys, policy)
            yield
            return
        statement = self._prepared(cache, keys, policy)
        try:
            yield
        except (OperationalError, InterfaceError):
            statement.leave_to_expire()
            raise
        except Exception:
            statement.complete()  # it failed, but a part of several statements may have been committed
            raise
        statement.complete()

    def begin_statement(self, owner: object, touched: Sequence[Touched]) -> None:
        """Before a statement that writes ``owner``'s row; `end_statement` with the same owner follows if it succeeds.

        If it fails nobody tells us, and the holds expire by themselves.
        """
        self.settle()
        if self.in_transaction:
            for one in touched:
                self._add(*one)
        elif touched:
            self._statements = [begun for begun in self._statements if not all(one.has_expired for one in begun[1])]
            self._statements.append((owner, [self._prepared(*one) for one in touched]))

    def end_statement(self, owner: object) -> None:
        """The statement that was last begun for ``owner`` has been committed, unless a transaction is still open.

        Only the last: a receiver of pre_save may save the same instance inside a save that is yet to be sent.
        """
        if self.in_transaction:
            return
        for index in reversed(range(len(self._statements))):
            if self._statements[index][0] is owner:
                _, statements = self._statements.pop(index)
                for statement in statements:
                    statement.complete()
                return

    def _prepared(self, cache: Cache, keys: Sequence[str], policy: Policy) -> Statement:
        try:
            return Statement(self._connection, cache, keys, policy)
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
        self._statements.clear()
        for unit in self._take().values():
            unit.end()

    @contextmanager
    def _committing(self) -> Generator[None, None, None]:
        self._prepare()
        try:
            yield
        except IntegrityError:
            self._abandon()  # a deferred constraint: certainly not committed
            raise
        except BaseException:
            self.leave_to_expire()  # COMMIT was sent and its outcome is unknown
            raise
        self._complete()

    def _commit(self, original: Callable[[], None]) -> Callable[[], None]:
        def commit() -> None:
            # Inside an atomic block Django refuses to commit; then nothing may be ended here.
            if not self.units or self._connection.in_atomic_block:
                return original()
            with self._committing():
                return original()

        return commit

    def _set_autocommit(self, original: Callable[..., None]) -> Callable[..., None]:
        def set_autocommit(autocommit: bool, *args: Any, **options: Any) -> None:
            # Some databases commit an open transaction when autocommit is switched on.
            if not self.units or not autocommit or self._connection.in_atomic_block:
                return original(autocommit, *args, **options)
            with self._committing():
                return original(autocommit, *args, **options)

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
                    self.leave_to_expire()

        return close

    def _savepoint_rollback(self, original: Callable[[str], None]) -> Callable[[str], None]:
        def savepoint_rollback(sid: str) -> None:
            original(sid)
            # A savepoint of the test case itself: one test is over. The keys of the application's savepoints are kept.
            if self._outdate_world is not None and not self.in_transaction:
                self._world_ended()

        return savepoint_rollback

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

    # -- the world of a test case ------------------------------------------------------------------

    def enter_world(self, outdate: Callable[[], None]) -> None:
        """Remember to call ``outdate`` when the test case around us, if there is one, rolls back."""
        if self._outdate_world is None and self._connection.in_atomic_block and not self.in_transaction:
            self._outdate_world = outdate

    def _world_ended(self) -> None:
        outdate, self._outdate_world = self._outdate_world, None
        self.leave_to_expire()
        if outdate is not None:
            outdate()


def _close_cursor(cursor: "weakref.ref[Any]", cursors: "set[weakref.ref[Any]]", close: Callable[[], None]) -> None:
    close()
    cursors.discard(cursor)


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


def database_of(alias: str) -> str:
    """The first alias that connects to the database ``alias`` connects to, by ENGINE, HOST, PORT and NAME.

    A row has one key, whichever alias it is read or written by.
    """
    settings: Mapping[str, Mapping[str, Any]] = connections.settings
    place = _place(alias, settings[alias])
    return next(one for one, options in settings.items() if _place(one, options) == place)


def _place(alias: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    name = str(options["NAME"])
    if not name or "memory" in name:
        return (alias,)  # each connection to a database in memory has its own
    return (options["ENGINE"], str(options["HOST"]), str(options["PORT"]), name)


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
