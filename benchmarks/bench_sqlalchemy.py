"""The whole path in SQLAlchemy: a new session and one warm read, against ``session.get`` of a new session.

Both sides open a session, read one of a hundred rows and close the session. Against SQLite in memory, where all is
computing, the times are those of the processor; against PostgreSQL over the loopback they are those of the clock, for
who asks it waits.
"""

from collections.abc import Callable, Iterator
from time import perf_counter, process_time
from typing import Any

import pytest
from sqlalchemy import Engine, String, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.pool import StaticPool

from benchmarks.versus import Versus, timed
from cachecore import Cache
from cachecore.integrations.sqlalchemy import cache_sessions, cached, get_from_cache, get_many_from_cache
from cachecore.testing.servers import PostgresServer

GROUP = "sqlalchemy"
KEYS = range(1, 101)


class Base(DeclarativeBase):
    """Of the one class here."""


@cached(lookups=["slug"])
class City(Base):
    """A row of a usual size."""

    __tablename__ = "city"
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(40), unique=True)
    name: Mapped[str]
    country: Mapped[str]
    population: Mapped[int]
    latitude: Mapped[float]
    longitude: Mapped[float]
    note: Mapped[str | None]


class Shop:
    """A database of a hundred cities, and its sessions, whose rows are all in the cache of this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.sessions = sessionmaker(engine)
        self._cache = Cache("memory://", namespace="bench")
        Base.metadata.create_all(engine)
        cache_sessions(self.sessions, self._cache)
        with self.sessions.begin() as session:
            session.add_all(
                City(slug=f"c{key}", name=f"City {key}", country="no", population=key, latitude=59.9, longitude=10.7)
                for key in KEYS
            )
        for _ in range(2):
            with self.sessions() as session:
                get_many_from_cache(session, City, KEYS)
                get_many_from_cache(session, City, [f"c{key}" for key in KEYS], key="slug")

    def close(self) -> None:
        """End its connections."""
        self._cache.close()
        self._engine.dispose()


def by_key(sessions: Any) -> Callable[[], object]:
    """A call that reads a hundred rows through the cache by their primary keys, each in a session of its own."""

    def run() -> None:
        for key in KEYS:
            with sessions() as session:
                get_from_cache(session, City, id=key)

    return run


def by_slug(sessions: Any) -> Callable[[], object]:
    """The same by their slugs."""
    slugs = [f"c{key}" for key in KEYS]

    def run() -> None:
        for slug in slugs:
            with sessions() as session:
                get_from_cache(session, City, slug=slug)

    return run


def from_database(sessions: Any) -> Callable[[], object]:
    """The same by ``session.get``."""

    def run() -> None:
        for key in KEYS:
            with sessions() as session:
                session.get(City, key)

    return run


@pytest.fixture(scope="module")
def sqlite() -> Iterator[Shop]:
    """On SQLite in memory."""
    shop = Shop(create_engine("sqlite://", poolclass=StaticPool))
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Shop]:
    """On a PostgreSQL of its own."""
    with PostgresServer({}).start() as server:
        shop = Shop(create_engine(f"postgresql+psycopg://postgres@{server.host}:{server.port}/postgres"))
        yield shop
        shop.close()


CASES = [("new session, pk", by_key), ("new session, slug", by_slug)]


@pytest.mark.parametrize(("name", "ours"), CASES)
@timed(process_time)
def test_sqlite(versus: Versus, sqlite: Shop, name: str, ours: Callable[[Any], Callable[[], object]]) -> None:
    """A hundred sessions with one read each."""
    reference = from_database(sqlite.sessions)
    against = "session.get, SQLite in memory"
    versus(name, ours(sqlite.sessions), reference, shown="get_from_cache", against=against, target=4)


@pytest.mark.parametrize(("name", "ours"), CASES)
@timed(perf_counter)
def test_postgresql(versus: Versus, postgresql: Shop, name: str, ours: Callable[[Any], Callable[[], object]]) -> None:
    """The same over the loopback."""
    reference = from_database(postgresql.sessions)
    against = "session.get, PostgreSQL"
    versus(name, ours(postgresql.sessions), reference, shown="get_from_cache", against=against, target=10)
