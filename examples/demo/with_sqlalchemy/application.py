"""The demo's application with SQLAlchemy: each question, and each transaction, has a session of its own, as each
request has in a web application. A longer one would answer from its own objects.
"""

import pickle
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from time import monotonic
from typing import Any

from sqlalchemy import URL, create_engine, event, insert, select, update
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session, sessionmaker

from cachecore import Cache
from cachecore.integrations.sqlalchemy import cache_sessions, get_many_from_cache, get_one_from_cache
from cachecore.keys import implementation
from examples.demo.application import TTL, Application, Changes, Row
from examples.demo.with_sqlalchemy.models import Base, City, Country


class SQLAlchemyApplication(Application):
    """With an engine, a cache and a sessionmaker of its own."""

    implementation = implementation
    no_row = NoResultFound

    def __init__(self, database: Path, cache: str, namespace: str) -> None:
        self.cache = Cache(cache, namespace=namespace, ttl=TTL)
        self._engine = create_engine(URL.create("sqlite", database=str(database)), connect_args={"timeout": 20})
        event.listen(self._engine, "connect", _readers_go_on)
        self._sessions = sessionmaker(self._engine)
        cache_sessions(self._sessions, self.cache)
        self.store = PickledCities(self._sessions)

    def create_tables(self) -> None:
        Base.metadata.create_all(self._engine)

    def add_countries(self, rows: Iterable[Row]) -> None:
        with self._sessions.begin() as session:
            session.execute(insert(Country), list(rows))

    def add_cities(self, rows: Iterable[Row]) -> None:
        with self._sessions.begin() as session:
            session.execute(insert(City), list(rows))

    def get(self, **lookup: Any) -> City:
        with self._sessions() as session:
            return session.scalars(select(City).filter_by(**lookup)).one()

    def get_from_cache(self, **lookup: Any) -> City:
        with self._sessions() as session:
            return get_one_from_cache(session, City, **lookup)

    def get_many_from_cache(self, values: Sequence[Any], key: str | tuple[str, ...] = "pk") -> list[City]:
        with self._sessions() as session:
            return get_many_from_cache(session, City, values, key=key)

    def largest(self, count: int) -> Sequence[City]:
        with self._sessions() as session:
            return session.scalars(select(City).order_by(City.population.desc(), City.id).limit(count)).all()

    @contextmanager
    def transaction(self) -> Generator[Changes, None, None]:
        with self._sessions.begin() as session:
            yield _Changes(session)

    @contextmanager
    def counting_queries(self) -> Generator[list[int], None, None]:
        count, thread = [0], get_ident()

        def counted(*_: object) -> None:
            if get_ident() == thread:
                count[0] += 1

        event.listen(self._engine, "before_cursor_execute", counted)
        try:
            yield count
        finally:
            event.remove(self._engine, "before_cursor_execute", counted)

    def end_thread(self) -> None:
        """A closed session has given its connection back to the engine, and there is nothing else."""

    def close(self) -> None:
        self.cache.close()
        self._engine.dispose()


class _Changes:
    """In the transaction of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def update(self, pk: int, values: Row) -> None:
        self._session.execute(update(City).where(City.id == pk).values(**values))

    def save(self, pk: int, values: Row) -> None:
        city = self._session.get_one(City, pk)
        for name, value in values.items():
            setattr(city, name, value)
        self._session.flush()  # also what will be rolled back is written before


class PickledCities:
    """What the control run stores its answers in: bytes by key, each for `TTL` seconds."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._stored: dict[str, tuple[float, bytes]] = {}

    def get(self, key: str) -> City | None:
        """The city stored under this key, which has been in a session as other answers have."""
        ends, stored = self._stored.get(key, (0.0, b""))
        if ends < monotonic():
            return None
        city: City = pickle.loads(stored)
        with self._sessions() as session:
            session.add(city)
        return city

    def set(self, key: str, city: object) -> None:
        """Store a copy."""
        self._stored[key] = monotonic() + TTL, pickle.dumps(city, pickle.HIGHEST_PROTOCOL)


def _readers_go_on(connection: Any, _: object) -> None:
    """Readers go on while somebody writes."""
    connection.execute("PRAGMA journal_mode = WAL").close()
    connection.execute("PRAGMA synchronous = NORMAL").close()
