"""Sessions: which cache they read, and what is under way in them.

`cache_sessions` attaches a cache to the engines of a sessionmaker, whose writes are seen from then on whoever sends
them, and tells its sessions which cache they read. A sessionmaker whose engine is not known yet gets it with the first
transaction of its sessions.
"""

import threading
from typing import Any, cast

from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
)
from sqlalchemy.orm import Mapper, Session, SessionTransaction, scoped_session, sessionmaker

from cachecore.cache import AsyncCache, Cache, ClosedBackend
from cachecore.errors import ClosedError, ConfigurationError
from cachecore.integrations.sqlalchemy.attachments import (
    Attachment,
    Watched,
    all_watched,
    database_of,
    is_told,
    schemas_of,
    watched,
)
from cachecore.integrations.sqlalchemy.declaration import declaration_of, mapper_of, refuse_journal
from cachecore.integrations.sqlalchemy.models import CachedModel
from cachecore.integrations.sqlalchemy.writing.connection import ConnectionState, state_of
from cachecore.integrations.sqlalchemy.writing.engine import attach

_ATTACHED = "cachecore.attachment"
_CONNECTIONS = "cachecore.connections"
"""Keys in ``Session.info``."""

_lock = threading.Lock()
_listening = False


def cache_sessions(sessions: Any, cache: Cache | AsyncCache, *, alias: str = "default") -> None:
    """Let sessions read through a cache, and everything that their engines write outdate what is in it.

    sessions: a sessionmaker, scoped_session, async_sessionmaker or async_scoped_session, or an Engine or AsyncEngine.
    cache: a Cache for sessions that block, an AsyncCache for those that are awaited.
    alias: what the database is called in keys. Every process must use the same for a database, and another one for
        each database whose rows are in the same namespace.

    Call it once for each sessionmaker, before it is used, and besides for every engine that writes the same database
    in this process; calling it again is harmless. Raises ConfigurationError for anything else than these, and where
    sessions and cache do not go together.
    """
    if not isinstance(cache, Cache | AsyncCache):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"cache must be a Cache or an AsyncCache, not {cache!r}")
    if not isinstance(alias, str) or not alias:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"alias must be a str that is not empty, not {alias!r}")
    if isinstance(cache.backend, ClosedBackend):
        raise ClosedError("this cache has been closed")
    refuse_journal(cache.policy)
    is_async = isinstance(sessions, AsyncEngine | async_sessionmaker | async_scoped_session)
    if isinstance(sessions, scoped_session | async_scoped_session):
        sessions = cast("Any", sessions).session_factory
    if not isinstance(sessions, Engine | AsyncEngine | sessionmaker | async_sessionmaker):
        raise ConfigurationError(
            "sessions must be a sessionmaker, scoped_session, async_sessionmaker, async_scoped_session, Engine or "
            f"AsyncEngine, not {sessions!r}"
        )
    is_async = is_async or isinstance(sessions, async_sessionmaker)
    if is_async is not isinstance(cache, AsyncCache):
        wanted = "an AsyncCache" if is_async else "a Cache"
        kind = type(cast("Any", sessions)).__name__
        raise ConfigurationError(f"{kind} goes with {wanted}, not with {type(cache).__name__}")
    _listen()
    attachment = Attachment(cache, alias)
    if isinstance(sessions, Engine | AsyncEngine):
        _attach(sessions, attachment)
        return
    binds: dict[Any, Any] = sessions.kw.get("binds") or {}
    for bind in (sessions.kw.get("bind"), *binds.values()):
        if bind is not None:
            attachment = _attach(bind, attachment)
    sessions.configure(info={**(sessions.kw.get("info") or {}), _ATTACHED: attachment})


def _attach(bind: Any, attachment: Attachment) -> Attachment:
    if isinstance(bind, AsyncEngine | AsyncConnection):
        bind = bind.sync_engine
    engine: Engine = bind.engine
    if engine.dialect.is_async is not isinstance(attachment.cache, AsyncCache):
        wanted = "an AsyncCache" if engine.dialect.is_async else "a Cache"
        raise ConfigurationError(f"the engine {engine.url!r} goes with {wanted}")
    _check_other_local_caches(engine, attachment)
    return attach(engine, attachment)


def _check_other_local_caches(engine: Engine, attachment: Attachment) -> None:
    """Raise ConfigurationError if two caches in this process, each hearing only of some writes, serve one database."""
    backend = attachment.cache.backend
    if not backend.keeps_objects or not (is_told(engine) or engine.dialect.name == "sqlite"):
        return
    here = database_of(engine)
    for other in all_watched():
        for one, database in other.databases():
            if database == here and one.is_in_process and one.cache.backend is not backend:
                raise ConfigurationError(
                    f"the database of {engine.url!r} has another cache in this process already, which would not hear "
                    "of this engine's writes: give both the same backend, as in backend = MemoryBackend(); "
                    "Cache(backend, ...), AsyncCache(backend, ...)"
                )


def _listen() -> None:
    global _listening
    with _lock:
        if not _listening:
            event.listen(Session, "after_begin", _after_begin)
            event.listen(Session, "after_transaction_end", _after_transaction_end)
            _listening = True


def _after_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    attachment: Attachment | None = session.info.get(_ATTACHED)
    found = watched(connection.dialect)
    if attachment is not None and (found is None or found.known(attachment) is None):
        _attach(connection.engine, attachment)
    if attachment is not None or found is not None:
        session.info.setdefault(_CONNECTIONS, {})[connection.engine] = connection


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_CONNECTIONS, None)


def _attached(session: Session, engine: Engine) -> tuple[Watched, Attachment]:
    """What is watched of an engine, and the cache there that a session reads. Raises ConfigurationError."""
    wanted: Attachment | None = session.info.get(_ATTACHED)
    found = watched(engine.dialect)
    if wanted is None:
        if found is None or len(found.attachments) != 1:
            raise ConfigurationError(
                f"the sessions of {engine.url!r} have {'no cache' if found is None else 'several caches'}: call "
                "cache_sessions(sessionmaker, cache)"
            )
        return found, found.attachments[0]
    known = None if found is None else found.known(wanted)
    if found is None or known is None:
        known = _attach(engine, wanted)
        return cast("Watched", watched(engine.dialect)), known
    return found, known


class Reading:
    """What a read needs to know of its session: the cached class, and what is under way."""

    __slots__ = ("_bind", "mapper", "model", "session")

    def __init__(self, session: Session, cls: Any) -> None:
        self.session = session
        self.mapper: Mapper[Any] = mapper_of(cls)
        declaration = declaration_of(self.mapper)
        if declaration is None:
            raise ConfigurationError(f"{self.mapper.class_.__name__} is not cached: decorate it with @cached(...)")
        bind = session.get_bind(self.mapper)
        engine = bind.engine
        found, attachment = _attached(session, engine)
        attachment.check_database(self.mapper, engine)
        self.model: CachedModel = found.model(attachment, self.mapper, declaration)
        self._bind = bind
        open_one = self._open_connection
        if open_one is not None:
            self._check_schemas(open_one)

    @property
    def state(self) -> ConnectionState | None:
        """What is under way on the connection of the session; None: it has none yet."""
        connection = self._open_connection
        return None if connection is None else state_of(connection)

    @property
    def _open_connection(self) -> Connection | None:
        if isinstance(self._bind, Connection):
            return self._bind
        open_ones: dict[Any, Connection] | None = self.session.info.get(_CONNECTIONS)
        return None if open_ones is None else open_ones.get(self._bind.engine)

    def _check_schemas(self, connection: Connection) -> None:
        """Raise ConfigurationError if a connection means other schemas than its engine, for which the keys are."""
        if schemas_of(connection) != schemas_of(connection.engine):
            raise ConfigurationError(
                f"{self.model.label} is read on a connection with schema_translate_map={schemas_of(connection)}, and "
                f"its rows are cached for {schemas_of(connection.engine)}: give each tenant an engine, "
                "engine.execution_options(schema_translate_map=...), and an alias"
            )

    @property
    def unit(self) -> Any:
        """What the open transaction has written; None: nothing."""
        state = self.state
        return None if state is None else state.units.get(self.model.cache)

    @property
    def may_fill(self) -> bool:
        """Whether what is read now may be stored, as far as that is known before it is asked."""
        state = self.state
        return state is None or state.may_fill

    def connection(self) -> Connection:
        """The connection of the session, which begins a transaction on it if need be."""
        connection = self.session.connection(bind_arguments={"mapper": self.mapper})
        self._check_schemas(connection)
        return connection


def sync_session(session: Any) -> Session:
    """A Session, of a scoped_session if need be. Raises ConfigurationError for anything else."""
    found: Any = session
    if isinstance(session, scoped_session):
        found = session()  # pyright: ignore[reportUnknownVariableType]
    if isinstance(found, AsyncSession | async_scoped_session):
        raise ConfigurationError("an AsyncSession is read by the functions whose names begin with a: aget_from_cache")
    if not isinstance(found, Session):
        raise ConfigurationError(f"session must be a Session, not {session!r}")
    return found


def async_session(session: Any) -> AsyncSession:
    """An AsyncSession, of an async_scoped_session if need be. Raises ConfigurationError for anything else."""
    found: Any = session
    if isinstance(session, async_scoped_session):
        found = session()  # pyright: ignore[reportUnknownVariableType]
    if isinstance(found, Session | scoped_session):
        raise ConfigurationError("a Session is read by the functions without an a before their names: get_from_cache")
    if not isinstance(found, AsyncSession):
        raise ConfigurationError(f"session must be an AsyncSession, not {session!r}")
    return found
