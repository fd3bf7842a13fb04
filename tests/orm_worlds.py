"""Sessions that read through a cache, for the SQLAlchemy tests of reading: some rows, and what database and cache were
asked.

A world is a process of an application: engine, sessionmaker and cache. Its cache is a fake server that logs its calls,
unless a test wants another backend.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from cachecore import AsyncCache, Cache
from cachecore.integrations.sqlalchemy import cache_sessions
from cachecore.testing import AsyncFakeBackend, FakeBackend
from tests.orm_databases import OpenDatabase
from tests.orm_models import City, Country, Customer, Order, Seat, Ticket

COLD = ["acquire", "fill", "fill"]
"""What the cache is asked when the very first row of a class is read: the epoch is stored too."""
WARM = ["acquire"]


@dataclass
class Asked:
    """What was sent in a block: SQL, and the names of the cache's calls; and how often a connection was taken."""

    statements: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    connections: int = 0


class Log:
    """The SQL that an engine sends, and the connections that are taken from its pool."""

    def __init__(self, engine: Engine) -> None:
        self.statements: list[str] = []
        self.connections = 0
        event.listen(engine, "before_cursor_execute", self._note)
        event.listen(engine, "checkout", self._count)

    def _note(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        self.statements.append(statement)

    def _count(self, *_: Any) -> None:
        self.connections += 1


class _World:
    """What both kinds share."""

    server: FakeBackend
    log: Log

    @contextmanager
    def asked(self) -> Generator[Asked, None, None]:
        """What is sent in the block, complete when it ends."""
        asked, statements, calls = Asked(), len(self.log.statements), len(self.server.log)
        connections = self.log.connections
        yield asked
        asked.connections = self.log.connections - connections
        asked.statements = self.log.statements[statements:]
        asked.calls = [call.name for call in self.server.log[calls:]]


class World(_World):
    """Sessions that block.

    options: of the sessionmaker.
    """

    def __init__(self, engine: Engine, backend: Any = None, *, alias: str = "default", **options: Any) -> None:
        self.engine = engine
        self.server = backend or FakeBackend()
        self.cache = Cache(self.server, namespace="world")
        self.sessions = sessionmaker(engine, **options)
        cache_sessions(self.sessions, self.cache, alias=alias)
        self.log = Log(engine)


class AsyncWorld(_World):
    """Sessions that are awaited."""

    def __init__(self, engine: AsyncEngine, backend: Any = None, **options: Any) -> None:
        self.engine = engine
        backend = backend or AsyncFakeBackend()
        self.server = getattr(backend, "server", backend)
        self.cache = AsyncCache(backend, namespace="world")
        self.sessions = async_sessionmaker(engine, **options)
        cache_sessions(self.sessions, self.cache)
        self.log = Log(engine.sync_engine)


def rows() -> list[DeclarativeBase]:
    """The rows with which the tests begin."""
    return [
        Country(id=1, code="no", name="Norway"),
        Country(id=2, code="fr", name="France"),
        City(id=1, slug="oslo", name="Oslo", population=700_000, country_id=1),
        City(id=2, slug="bergen", name="Bergen", population=290_000, country_id=1),
        City(id=3, slug="lyon", name="Lyon", country_id=2),
        City(id=4, slug="nowhere", name="Nowhere"),
        Customer(id=1, email="ann@example.org", country_id=1),
        Customer(id=2, email="bob@example.org", country_id=2),
        Customer(id=3, email="cy@example.org"),
        Order(id=1, text="a", customer_id=1),
        Order(id=2, text="b", customer_id=2),
        Order(id=3, text="c", customer_id=1),
        Order(id=4, text="d"),
        Seat(code="S1", row="A", number=1),
        Seat(code="S2", row="A", number=2),
        Seat(code="S3", row="B", number=1),
        Ticket(id=1, seat_row="A", seat_number=1),
        Ticket(id=2, seat_row="B", seat_number=1),
        Ticket(id=3, seat_row="A"),
    ]


def insert_rows(engine: Engine) -> None:
    """Insert them, with a session that knows no cache."""
    with Session(engine) as session:
        session.add_all(rows())
        session.commit()


async def ainsert_rows(engine: AsyncEngine) -> None:
    """The same, awaited."""
    async with engine.begin() as connection:
        await connection.run_sync(lambda it: _add(Session(it)))


def _add(session: Session) -> None:
    session.add_all(rows())
    session.flush()
    session.close()


# -- fixtures, which a test module imports ---------------------------------------------------------


@pytest.fixture
def world(sync_engine: Engine) -> World:
    """On each database, with some rows."""
    insert_rows(sync_engine)
    return World(sync_engine)


@pytest.fixture
async def async_world(async_engine: AsyncEngine) -> AsyncWorld:
    """With each driver that is awaited, with some rows."""
    await ainsert_rows(async_engine)
    return AsyncWorld(async_engine)


@pytest.fixture
def quick(open_database: OpenDatabase) -> World:
    """On SQLite in a file, of which each session has a connection: for what has nothing to do with the database."""
    engine = open_database("sqlite file", City.metadata).engine()
    insert_rows(engine)
    return World(engine)
