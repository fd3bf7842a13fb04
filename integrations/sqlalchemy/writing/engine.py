"""Meeting everything that an engine sends: statements, and the ends of transactions.

Statements are met twice. The event ``before_execute`` has the construct, which says best what it writes. The dialect's
``do_execute`` and its like send the SQL: there, what no construct has told of is read as text, and statements in
autocommit are surrounded.

There is no event after a commit (after_commit of a session fires for savepoints too, and not for Core), so the methods
of the dialect that send COMMIT and ROLLBACK are wrapped, on the object of this engine. That serves sessions, Core,
two-phase commits and async engines alike. Bypassed is only who calls the driver's own connection.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.base import OptionEngine

from cachecore import raw_sql
from cachecore.integrations.sqlalchemy.attachments import Attachment, Watched, watch, watched
from cachecore.integrations.sqlalchemy.writing import statements
from cachecore.integrations.sqlalchemy.writing.connection import (
    ConnectionState,
    Touched,
    begins_for,
    driver_of,
    is_autocommit,
    state_in,
    state_of,
)
from cachecore.integrations.sqlalchemy.writing.writes import (
    all_rows,
    touched_by_ctes,
    touched_by_statement,
    touched_by_text,
)
from cachecore.outcomes import is_under_way

_SETTINGS = frozenset({"SET", "RESET"})
"""First words of statements after which PostgreSQL shows nothing that is not committed; each read says the isolation
level that it had."""


def attach(engine: Engine, attachment: Attachment) -> Attachment:
    """Let everything that this engine writes from now on outdate what is in a cache; again is harmless."""
    here, is_new = watch(engine.dialect)
    found = here.attach(engine, attachment)
    if is_new:
        _wrap(engine.dialect, here)
    # Engines with other execution options share a dialect, and hear what the engine hears of which they were made.
    root: Any = engine
    while isinstance(root, OptionEngine):
        root = cast("Any", root)._proxied
    if not event.contains(root, "before_execute", _before_execute):
        event.listen(root, "before_execute", _before_execute, retval=True)
    return found


def _before_execute(
    connection: Connection, statement: Any, multiparams: Any, params: Any, execution_options: Any
) -> tuple[Any, Any, Any]:
    # One of a class of the application's own may be compiled to anything: it is read as text.
    if statements.is_dml(statement) and type(statements.dml_of(statement)).__module__.startswith("sqlalchemy."):
        found = watched(connection.dialect)
        assert found is not None  # since this is listening
        state = state_of(connection)
        parameters = multiparams or ([params] if params else [])
        statement, touched = touched_by_statement(
            found.tables_for(connection), state, connection, statement, parameters
        )
        state.declare(statement, touched)
    return statement, multiparams, params


def _wrap(dialect: Any, here: Watched) -> None:
    for name in ("do_execute", "do_executemany", "do_execute_no_params"):
        setattr(dialect, name, _sending(getattr(dialect, name), here))
    dialect.do_commit = _committing(dialect.do_commit, dialect)
    dialect.do_rollback = _rolling_back(dialect.do_rollback)
    dialect.do_prepare_twophase = _preparing(dialect.do_prepare_twophase)
    dialect.do_commit_twophase = _committing_twophase(dialect.do_commit_twophase, here)
    dialect.do_rollback_twophase = _rolling_back_twophase(dialect.do_rollback_twophase)


# -- statements --------------------------------------------------------------------------------------


def _sending(original: Callable[..., Any], here: Watched) -> Callable[..., Any]:
    def send(cursor: Any, statement: Any, *arguments: Any, **options: Any) -> Any:
        context: Any = options.get("context") or (arguments[-1] if arguments else None)
        connection: Connection | None = getattr(context, "root_connection", None)
        if connection is None or not isinstance(statement, str):
            return original(cursor, statement, *arguments, **options)
        state = state_of(connection)
        first = ""
        touched = state.declared(context)
        if touched is None:
            first = raw_sql.verb(statement)
            if raw_sql.is_read(first, statement) and not raw_sql.bounds(first):
                state.sent(first)
                answer = original(cursor, statement, *arguments, **options)
                if first != "" and connection.dialect.name == "sqlite" and cursor.description is not None:
                    state.opened(cursor)
                return answer
            touched = touched_by_text(here.tables, first, statement)
        elif context.compiled.ctes:
            touched = [*touched, *touched_by_ctes(here.tables_for(connection), context.invoked_statement)]

        def write() -> Any:
            return original(cursor, statement, *arguments, **options)

        state.sent(first)
        if not is_autocommit(connection) and begins_for(connection, first or raw_sql.verb(statement)):
            return _write(state, connection, first, _may_end(first, statement, connection.dialect), touched, write)
        if not touched:
            return write()
        with state.surrounding(touched, connection.dialect) as statement_goes_on:
            answer = write()
            if connection.dialect.name == "sqlite" and cursor.description is not None:
                statement_goes_on()  # RETURNING: until its rows have been fetched it is not committed
        return answer

    return send


def _may_end(first: str, statement: str, dialect: Any) -> bool:
    """Whether a statement in text may end the transaction. What is done with savepoints does not, but on SQLite, where
    the first may have begun it."""
    if first == "RELEASE":
        return bool(dialect.name == "sqlite")
    return raw_sql.may_end(first) and not (first == "ROLLBACK" and " TO " in statement.upper())


def _write(
    state: ConnectionState,
    connection: Connection,
    first: str,
    may_end: bool,
    touched: Sequence[Touched],
    send: Callable[[], Any],
) -> Any:
    """Send a statement of a transaction, which may write, or begin or end one; ``first`` is the first word of one in
    text."""
    if not (raw_sql.is_read(first, "") or (first in _SETTINGS and connection.dialect.name == "postgresql")):
        state.has_written = True
    state.add(touched)
    if not (may_end and state.units):
        return send()
    with _or_rolled_back(connection.dialect.do_rollback, connection.connection):
        state.prepare()
    dbapi, is_commit = connection.dialect.loaded_dbapi, first in ("COMMIT", "END")
    with state.committing(dbapi, lambda: is_under_way(driver_of(connection)), is_commit=is_commit):
        return send()


# -- the ends of transactions ------------------------------------------------------------------------


def _committing(original: Callable[[Any], None], dialect: Any) -> Callable[[Any], None]:
    def do_commit(dbapi_connection: Any) -> None:
        state = state_in(dbapi_connection)
        with _or_rolled_back(dialect.do_rollback, dbapi_connection):
            state.prepare()
        with state.committing(dialect.loaded_dbapi, lambda: is_under_way(dbapi_connection.driver_connection)):
            try:
                original(dbapi_connection)
            except Exception:
                # SQLite leaves the transaction open when it was busy, or a deferred constraint is violated.
                if is_under_way(dbapi_connection.driver_connection):
                    with suppress(Exception):
                        dialect.do_rollback(dbapi_connection)
                raise

    return do_commit


@contextmanager
def _or_rolled_back(rollback: Callable[..., None], *arguments: Any) -> Generator[None, None, None]:
    """Roll back if this refuses to commit: SQLAlchemy takes a transaction for ended once it has asked for COMMIT, and
    would give the connection with this transaction open to the next who wants one."""
    try:
        yield
    except Exception as error:
        try:
            rollback(*arguments)
        except Exception as failed:
            error.add_note(f"and it could not be rolled back: {failed}")
        raise


def _rolling_back(original: Callable[[Any], None]) -> Callable[[Any], None]:
    def do_rollback(dbapi_connection: Any) -> None:
        state = state_in(dbapi_connection)
        try:
            original(dbapi_connection)
        except BaseException:
            state.leave_to_expire()
            raise
        state.abandoned()

    return do_rollback


def _preparing(original: Callable[..., None]) -> Callable[..., None]:
    def do_prepare_twophase(connection: Connection, xid: Any) -> None:
        state_of(connection).prepare()
        original(connection, xid)

    return do_prepare_twophase


def _committing_twophase(original: Callable[..., None], here: Watched) -> Callable[..., None]:
    def do_commit_twophase(connection: Connection, xid: Any, *arguments: Any, **options: Any) -> None:
        state, dialect = state_of(connection), connection.dialect
        if not state.units:  # prepared on another connection, or by another process: nobody knows what it has written
            state.add(all_rows(here.tables.all_models()))
        with _or_rolled_back(dialect.do_rollback_twophase, connection, xid, *arguments):
            state.prepare()
        with state.committing(dialect.loaded_dbapi, lambda: is_under_way(driver_of(connection))):
            original(connection, xid, *arguments, **options)

    return do_commit_twophase


def _rolling_back_twophase(original: Callable[..., None]) -> Callable[..., None]:
    def do_rollback_twophase(connection: Connection, xid: Any, *arguments: Any, **options: Any) -> None:
        state = state_of(connection)
        try:
            original(connection, xid, *arguments, **options)
        except BaseException:
            state.leave_to_expire()
            raise
        state.abandoned()

    return do_rollback_twophase
