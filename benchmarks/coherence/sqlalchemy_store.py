"""The database through SQLAlchemy Sessions without a cache, and the control that never invalidates before them.

Theory of operation. A process has one Engine. Readers open a session for every question, as a web application does for
every request; transactions of writers are begun in each way that SQLAlchemy knows, and every write takes its turn among
all ways of writing, see `benchmarks.coherence.sqlalchemy_writing`. An instance that is in a session keeps what it has
loaded: that is SQLAlchemy's promise and not the cache's affair, so before a question inside a transaction everything is
flushed and expired. The trigger's notices and the late replies are listened for below SQLAlchemy's own events.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any, TypeVar

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, Engine, create_engine, event, select, text
from sqlalchemy.exc import InterfaceError, OperationalError, PendingRollbackError
from sqlalchemy.orm import Session, configure_mappers, sessionmaker
from sqlalchemy.orm.exc import StaleDataError

from benchmarks.coherence import sqlalchemy_writing as writing
from benchmarks.coherence.get_or_set import GetOrSet
from benchmarks.coherence.sqlalchemy_row import Row
from benchmarks.coherence.store import at_once
from benchmarks.coherence.world import Event, State, told

T = TypeVar("T")


def _in_turn(ways: Sequence[T]) -> Iterator[T]:
    """One after another, over and over. Each process begins elsewhere: many are killed before they come far."""
    first = os.getpid() % len(ways)
    return cycle([*ways[first:], *ways[:first]])


class SqlalchemyStore:
    """Reads the database through Sessions and writes it. See `benchmarks.coherence.store.Store`."""

    failures: tuple[type[Exception], ...] = ()
    refused: tuple[type[Exception], ...] = ()
    aborted: tuple[type[Exception], ...] = (OperationalError, InterfaceError, PendingRollbackError)

    _engine: Engine
    bind: Any
    """What sessions are bound to: the engine, or the AsyncEngine around it."""
    sessions: Any
    """The factory of sessions."""

    def __init__(self, dsn: str) -> None:
        self.queries = 0
        self.unfinished = 0
        self.events: list[Event] = []
        self._place: dict[str, Any] = conninfo_to_dict(dsn)
        self._session: Session | None = None
        """Of the open transaction."""
        self._ways_to_begin = [self._begun, self._left_open, self._joined]
        configure_mappers()

    def run(self, work: Callable[[], None]) -> None:
        work()

    # -- the engine --------------------------------------------------------------------------------

    def open(self, role: str, after_reply: Callable[[], None] = at_once) -> None:
        self._after_reply = after_reply
        self._beginnings = _in_turn(self._ways_to_begin)
        self._autocommits = _in_turn([None, "of the connection", None, "of the engine"])
        self._saving = _in_turn(writing.SAVING)
        self._updating = _in_turn(writing.UPDATING)
        self._inserting = _in_turn(writing.INSERTING)
        self._deleting = _in_turn(writing.DELETING)
        self._detached = _in_turn([True, False])
        self._connect(role)
        event.listen(self._engine, "connect", self._listen)
        event.listen(self._engine, "before_cursor_execute", self._count)
        event.listen(self._engine, "after_cursor_execute", self._replied)
        dialect: Any = self._engine.dialect
        commit = dialect.do_commit

        def commit_with_a_late_reply(connection: Any) -> None:
            commit(connection)
            self._after_reply()

        dialect.do_commit = commit_with_a_late_reply

    def _connect(self, role: str) -> None:
        """Make the engine and the factory of sessions."""
        self._engine = create_engine(self._url_for("psycopg"), connect_args={"application_name": role})
        self.bind = self._engine
        self.sessions = sessionmaker(self._engine)

    def _url_for(self, driver: str) -> URL:
        place = self._place
        return URL.create(
            f"postgresql+{driver}", place["user"], None, place["host"], int(place["port"]), place["dbname"]
        )

    def _make_session(self, **options: Any) -> Session:
        session: Session = self.sessions(**options)
        return session

    def reconnect(self) -> None:
        self._engine.dispose()

    def _listen(self, connection: Any, _: object) -> None:
        """To what the server tells on a new connection."""
        connection.add_notice_handler(lambda notice: self._heard(notice.message_primary))

    def _heard(self, notice: str | None) -> None:
        found = told(notice or "")
        if found is not None:
            self.events.append(found)

    def _count(self, *_: object) -> None:
        self.queries += 1

    def _replied(self, *_: object) -> None:
        self._after_reply()

    # -- reading -----------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        if self._session is None:
            with self._make_session() as session:
                yield session
            return
        self._session.flush()
        self._session.expire_all()
        yield self._session

    def by_pk(self, pk: int) -> State | None:
        with self._reading() as session:
            return state_of(session.get(Row, pk))

    def by_slug(self, slug: str) -> State | None:
        with self._reading() as session:
            return state_of(session.scalar(select(Row).where(Row.slug == slug)))

    def many(self, pks: Sequence[int]) -> list[State]:
        with self._reading() as session:
            return states_of(session.scalars(select(Row).where(Row.id.in_(pks))))

    # -- transactions ------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._session is not None:
            with self._session.begin_nested():
                yield
            return
        with next(self._beginnings)() as session:
            self._session = session
            try:
                yield
            finally:
                self._session = None

    @contextmanager
    def _begun(self) -> Iterator[Session]:
        """Committed, or rolled back, by the block."""
        with self._make_session() as session, session.begin():
            yield session

    @contextmanager
    def _left_open(self) -> Iterator[Session]:
        """Begun by its first statement, committed by a call; what is to be rolled back is only closed."""
        with self._make_session(expire_on_commit=False) as session:
            yield session
            session.commit()

    @contextmanager
    def _joined(self) -> Iterator[Session]:
        """A session in a transaction that somebody else has begun on the connection, and ends."""
        with (
            self._engine.begin() as connection,
            Session(connection, join_transaction_mode="create_savepoint") as session,
        ):
            yield session
            session.commit()

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        """The session of the transaction, or one for a statement of its own."""
        if self._session is not None:
            yield self._session
            return
        autocommit = next(self._autocommits)
        bind = self.bind
        if autocommit == "of the engine":
            bind = bind.execution_options(isolation_level="AUTOCOMMIT")
        with self._make_session(bind=bind) as session:
            if autocommit == "of the connection":
                session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            try:
                yield session
            except StaleDataError:  # without a lock a row may be deleted while it is written
                session.rollback()
            else:
                session.commit()

    # -- writing -----------------------------------------------------------------------------------

    def within(self) -> Session:
        """The session of the open transaction."""
        assert self._session is not None
        return self._session

    def lock_groups(self, groups: Sequence[int]) -> None:
        query = text("SELECT id FROM bench_group WHERE id = ANY(:groups) ORDER BY id FOR UPDATE")
        self.within().execute(query, {"groups": list(groups)})

    def lock_rows(self, pks: Sequence[int]) -> dict[int, Any]:
        query = select(Row).where(Row.id.in_(pks)).order_by(Row.id).with_for_update()
        rows = self.within().scalars(query, execution_options={"populate_existing": True})
        return {row.id: row for row in rows}

    def save(self, row: Any, number: int, slug: str | None = None) -> None:
        changes: writing.Values = {"number": number}
        if slug is not None:
            changes["slug"] = slug
        next(self._saving)(self.within(), row, changes)

    def save_number(self, pk: int, number: int) -> None:
        if not next(self._detached):
            self.update(pk, pk, number)
            return
        with self._writing() as session:
            if self._session is None:
                writing.detached(session, pk, number)
                return
            try:
                # A flush that finds no row ends its transaction: here its savepoint.
                with session.begin_nested():
                    writing.detached(session, pk, number)
            except StaleDataError:
                pass

    def update(self, first: int, last: int, number: int) -> None:
        with self._writing() as session:
            next(self._updating)(session, first, last, number)

    def insert(self, pk: int, slug: str, number: int) -> None:
        next(self._inserting)(self.within(), {"id": pk, "slug": slug, "number": number})

    def delete(self, row: Any) -> None:
        next(self._deleting)(self.within(), row)


class ControlOnSqlalchemy(GetOrSet, SqlalchemyStore):
    """The cache that never invalidates, before SQLAlchemy Sessions."""


def state_of(row: Row | None) -> State | None:
    """What a reader sees of an instance."""
    return None if row is None else State(row.id, row.slug, row.version)


def states_of(rows: Iterable[Row]) -> list[State]:
    """The same of several."""
    return [State(row.id, row.slug, row.version) for row in rows]
