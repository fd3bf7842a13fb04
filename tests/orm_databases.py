"""Databases for the SQLAlchemy tests: empty, with the tables of some models, and engines that are disposed.

A test module imports the fixtures that it uses. On PostgreSQL all tests of a process share one server, and those with
the same models one database, whose rows are deleted before each test; SQLite's are made anew.
"""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from cachecore.testing.servers import PostgresServer
from tests.conftest import require
from tests.orm_models import Base

SYNC = {"sqlite": "sqlite", "sqlite file": "sqlite", "postgresql": "postgresql+psycopg"}
ASYNC = {"aiosqlite": "sqlite+aiosqlite", "asyncpg": "postgresql+asyncpg", "psycopg": "postgresql+psycopg"}
FIRST_GIVEN = 10_001
"""Keys that PostgreSQL gives begin here, above those that tests choose."""


class Postgres:
    """A PostgreSQL server that knows two-phase commits, and its databases, one for each MetaData."""

    def __init__(self) -> None:
        self.server: PostgresServer = require(PostgresServer, {"max_prepared_transactions": "20"})
        self._names: dict[MetaData, str] = {}

    def url(self, driver: str, name: str = "postgres") -> str:
        """The URL of a database."""
        return f"{driver}://postgres@{self.server.host}:{self.server.port}/{name}"

    def empty(self, metadata: MetaData) -> str:
        """The name of the database that has these tables, without any row."""
        known = self._names.get(metadata)
        if known is None:
            known = self._names[metadata] = f"orm_{len(self._names)}"
            self._run("postgres", [f"CREATE DATABASE {known}"])
            engine = create_engine(self.url("postgresql+psycopg", known))
            with engine.begin() as connection:
                for schema in schemas(metadata):
                    connection.execute(text(f'CREATE SCHEMA "{schema}"'))
                metadata.create_all(connection)
                sequences = "SELECT setval(c.oid, :first, false) FROM pg_class c WHERE c.relkind = 'S'"
                connection.execute(text(sequences), {"first": FIRST_GIVEN})
            engine.dispose()
        else:
            self._run(known, ["; ".join(["SET session_replication_role = replica", *deletes(metadata)])])
        return known

    def _run(self, name: str, statements: list[str]) -> None:
        import psycopg

        connection: Any = psycopg.connect(self.server.dsn.replace("dbname=postgres", f"dbname={name}"), autocommit=True)
        with connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()


class Database:
    """A database with the tables of some models, and engines for it."""

    def __init__(self, name: str, metadata: MetaData, url: str) -> None:
        self.name = name
        """One of SYNC or ASYNC."""
        self.metadata = metadata
        self.url = url
        self._engines: list[Engine] = []
        self._async_engines: list[AsyncEngine] = []

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite, in memory or in a file."""
        return self.url.startswith("sqlite")

    @property
    def is_shared(self) -> bool:
        """Whether sessions have connections of their own: all of a thread share that of SQLite in memory."""
        return not self.url.endswith("://")

    def engine(self, **options: Any) -> Engine:
        """An engine that is disposed when the test ends; options as of create_engine.

        Each engine for SQLite in memory has a database of its own, with one connection for each thread.
        """
        engine = create_engine(self.url, **options)
        self._attach_schemas(engine)
        self._engines.append(engine)
        if not self.is_shared:
            self.metadata.create_all(engine)
        return engine

    def async_engine(self, **options: Any) -> AsyncEngine:
        """An async engine that is disposed when the test ends; options as of create_async_engine."""
        engine = create_async_engine(self.url, **options)
        self._attach_schemas(engine.sync_engine)
        self._async_engines.append(engine)
        return engine

    def close(self) -> None:
        """Dispose the engines."""
        for engine in self._engines:
            engine.dispose()

    async def aclose(self) -> None:
        """Dispose the async engines."""
        for engine in self._async_engines:
            await engine.dispose()

    def _attach_schemas(self, engine: Engine) -> None:
        """A schema of SQLite is another database, which each connection attaches."""
        if not self.is_sqlite:
            return
        file = self.url.partition(":///")[2]

        def attach(connection: Any, record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA synchronous = OFF")
            for schema in schemas(self.metadata):
                path = f"{file}.{schema}" if file else ":memory:"
                cursor.execute(f"ATTACH DATABASE '{path}' AS \"{schema}\"")
            cursor.close()

        event.listen(engine, "connect", attach)


def schemas(metadata: MetaData) -> list[str]:
    """The schemas of tables, without the default one."""
    return sorted({table.schema for table in metadata.tables.values() if table.schema})


def deletes(metadata: MetaData) -> list[str]:
    """SQL that deletes all rows, for a connection that minds no foreign keys: some go in circles."""
    names = [[part for part in (table.schema, table.name) if part] for table in metadata.tables.values()]
    return ["DELETE FROM " + ".".join(f'"{part}"' for part in name) for name in names]


# -- fixtures --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server of all SQLAlchemy tests of this process, started when the first one asks."""
    postgres = Postgres()
    with postgres.server:
        yield postgres


OpenDatabase = Callable[[str, MetaData], Database]
"""Opens a database: its name in SYNC or ASYNC, and the metadata of the models, whose tables are made."""

_numbers = itertools.count(1)


def open_in(folder: Path, request: pytest.FixtureRequest, name: str, metadata: MetaData) -> Database:
    """A database, empty; the caller closes it. SQLite's files are in this folder.

    Async engines for SQLite get a file too, since each connection in memory is a database of its own.
    """
    driver = (SYNC | ASYNC)[name]
    if driver.startswith("postgresql"):
        postgres: Postgres = request.getfixturevalue("postgres")
        return Database(name, metadata, postgres.url(driver, postgres.empty(metadata)))
    if name == "sqlite":
        return Database(name, metadata, "sqlite://")
    file = f"/{folder}/orm{next(_numbers)}.db"
    plain = Database(name, metadata, f"sqlite://{file}")
    metadata.create_all(plain.engine())
    plain.close()
    return Database(name, metadata, f"{driver}://{file}")


@pytest.fixture
def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenDatabase]:
    """Opens databases for engines that block, closed when the test ends."""
    opened: list[Database] = []

    def open_one(name: str, metadata: MetaData) -> Database:
        opened.append(open_in(tmp_path, request, name, metadata))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()


@pytest.fixture
async def open_async_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenDatabase]:
    """Opens databases for async engines, closed when the test ends."""
    opened: list[Database] = []

    def open_one(name: str, metadata: MetaData) -> Database:
        opened.append(open_in(tmp_path, request, name, metadata))
        return opened[-1]

    yield open_one
    for database in opened:
        await database.aclose()


@pytest.fixture(params=list(SYNC))
def database(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Database:
    """The test runs on each database for engines that block, with the tables of tests/orm_models.py."""
    return open_database(request.param, Base.metadata)


@pytest.fixture(params=list(ASYNC))
async def async_database(request: pytest.FixtureRequest, open_async_database: OpenDatabase) -> Database:
    """The test runs on each driver for async engines, with the tables of tests/orm_models.py."""
    return open_async_database(request.param, Base.metadata)


@pytest.fixture
def sync_engine(database: Database) -> Engine:
    """An engine for that database."""
    return database.engine()


@pytest.fixture
async def async_engine(async_database: Database) -> AsyncEngine:
    """An async engine for that database."""
    return async_database.async_engine()
