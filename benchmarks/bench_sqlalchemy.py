"""The whole path in SQLAlchemy: a new session and one warm read, against ``session.get`` of a new session.

`python -m benchmarks sqlalchemy` prints the table, together with the rows of `bench_sqlalchemy_rows`. Both sides open a
session, read one of a hundred rows and close the session. Against SQLite in memory, where all is computing, the times
are those of the processor; against PostgreSQL over the loopback they are those of the clock, for who asks it waits.
"""

from collections.abc import Callable, Iterator
from time import perf_counter, process_time
from typing import Any

import pytest
from sqlalchemy import Engine, String, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.pool import StaticPool

from benchmarks import bench_sqlalchemy_rows
from benchmarks.measure import Figure, compare
from cachecore import Cache
from cachecore.integrations.sqlalchemy import cache_sessions, cached, get_from_cache, get_many_from_cache
from cachecore.testing.servers import PostgresServer

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


CALLS = [by_key, by_slug, from_database]


def sqlite() -> Engine:
    """A database in memory."""
    return create_engine("sqlite://", poolclass=StaticPool)


def figures() -> list[Figure]:
    """The lines of the benchmark table."""
    found = bench_sqlalchemy_rows.figures()

    def compared(engine: Engine, against: str, target: float, timer: Callable[[], float]) -> None:
        shop = Shop(engine)
        reference = from_database(shop.sessions)
        for name, call in (("primary key", by_key), ("slug", by_slug)):
            ratio = compare(call(shop.sessions), reference, timer=timer)
            found.append(Figure("sqlalchemy", f"new session, {name}", "get_from_cache", against, ratio, target))
        shop.close()

    compared(sqlite(), "session.get, SQLite in memory", 4, process_time)
    with PostgresServer({}).start() as server:
        engine = create_engine(f"postgresql+psycopg://postgres@{server.host}:{server.port}/postgres")
        compared(engine, "session.get, PostgreSQL", 10, perf_counter)
    return found


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """On SQLite in memory."""
    shop = Shop(sqlite())
    yield shop
    shop.close()


@pytest.mark.parametrize("call", CALLS)
def test_path(benchmark: Any, shop: Shop, call: Callable[[Any], Callable[[], object]]) -> None:
    """Each call is 100 sessions with one read each."""
    benchmark.group = "SQLAlchemy: new session"
    benchmark(call(shop.sessions))


if __name__ == "__main__":
    from benchmarks.measure import table

    print(table(figures()))
