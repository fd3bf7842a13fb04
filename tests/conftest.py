"""Fixtures of several test modules. Nothing here is used unless a test asks for it."""

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from cachecore import Cache
from cachecore.backends.memory import MemoryBackend
from cachecore.integrations.django import caches
from cachecore.testing import FakeBackend, ManualClock, pytest_plugin
from cachecore.testing.servers import (
    Certificates,
    MemcachedServer,
    PostgresServer,
    RedisServer,
    Server,
    ServerMissing,
)
from tests.cities import BERGEN, LYON, OSLO, Cities
from tests.geo_app.caching import FAKE, MEMORY, Parallel


def pytest_configure(config: pytest.Config) -> None:
    """The plugin that comes with cachecore: loaded by pytest where cachecore is installed, and here in a checkout."""
    if not config.pluginmanager.hasplugin("cachecore"):
        config.pluginmanager.register(pytest_plugin, "cachecore")


# -- without any framework -------------------------------------------------------------------------


@pytest.fixture
def clock() -> ManualClock:
    """The clock of backend and cache."""
    return ManualClock()


@pytest.fixture
def cities() -> Iterator[Cities]:
    """The database."""
    cities = Cities(rows=[OSLO, BERGEN, LYON])
    yield cities
    cities.close()


@pytest.fixture(params=["memory", "fake"])
def cache(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Cache]:
    """A cache in the process, whose hits take a path of their own, and one on a server."""
    backend = MemoryBackend(clock=clock) if request.param == "memory" else FakeBackend(clock)
    with Cache(backend, namespace="shop", clock=clock, sleep=clock.sleep) as cache:
        yield cache


@pytest.fixture
def server(clock: ManualClock) -> FakeBackend:
    """A server with an operation log and faults, whose content a test can forge."""
    return FakeBackend(clock)


@pytest.fixture
def remote(server: FakeBackend, clock: ManualClock) -> Cache:
    """A cache on that server."""
    return Cache(server, namespace="shop", clock=clock, sleep=clock.sleep)


# -- Django ----------------------------------------------------------------------------------------


@pytest.fixture
def memory_cache(settings: Any) -> Cache:
    """A new in-process cache as the default one."""
    settings.CACHECORE = MEMORY
    return caches["default"]


@pytest.fixture
def fake_server(settings: Any) -> FakeBackend:
    """A new fake server, which keeps bytes and logs its calls, behind the default cache."""
    settings.CACHECORE = FAKE
    backend: FakeBackend = caches["default"].backend
    return backend


ON_SQLITE = (os.environ.get("CACHECORE_TEST_DATABASE") or "sqlite") == "sqlite"
"""Whether the Django tests run on SQLite; see tests/django_settings.py."""

sqlite_only = pytest.mark.skipif(not ON_SQLITE, reason="about what only SQLite does")

_CACHES = {"some": ["memory", "bytes"], "servers": ["redis", "memcached"]}
_CACHES["all"] = _CACHES["some"] + _CACHES["servers"]
_WANTED = os.environ.get("CACHECORE_TEST_CACHES") or "some"
if _WANTED not in _CACHES:
    raise ValueError(f"CACHECORE_TEST_CACHES must be one of {', '.join(_CACHES)}, not {_WANTED!r}")


@pytest.fixture(params=_CACHES[_WANTED])
def each_cache(request: pytest.FixtureRequest, settings: Any) -> Cache:
    """The test runs on each cache: one in this process, and a fake server that keeps bytes.

    With CACHECORE_TEST_CACHES=all on real servers too, with "servers" on these only.
    """
    match request.param:
        case "memory":
            settings.CACHECORE = MEMORY
        case "bytes":
            settings.CACHECORE = FAKE
        case name:
            settings.CACHECORE = {
                "default": {
                    "BACKEND": name,
                    "LOCATION": request.getfixturevalue(f"{name}_server").url,
                    "NAMESPACE": uuid.uuid4().hex,
                    "OPTIONS": PATIENT,
                    "REPLAY": False,
                }
            }
    return caches["default"]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The test databases. Keys that a database gives begin above those that tests choose, in whatever order they run.

    PostgreSQL drops no database that is in use, by the thread of an event loop that is over, say.
    """
    from django.db import connection, connections

    with django_db_blocker.unblock():
        for alias in ("default", "other"):
            if connections[alias].introspection.table_names():  # no test here asked for it otherwise
                _begin_keys_at(10_001, connections[alias])
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def _begin_keys_at(key: int, connection: Any) -> None:
    """Let the database give no key below ``key`` to a new row of any table."""
    with connection.cursor() as cursor:
        for sequence in connection.introspection.sequence_list():
            table, column = sequence["table"], sequence["column"]
            if connection.vendor == "postgresql":
                cursor.execute("SELECT setval(pg_get_serial_sequence(%s, %s), %s)", [f'"{table}"', column, key - 1])
            else:
                cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [table])
                cursor.execute("INSERT INTO sqlite_sequence VALUES (%s, %s)", [table, key - 1])


@pytest.fixture
def parallel() -> Iterator[Parallel]:
    """Starts threads; when the test ends they have ended, and their errors are the test's."""
    threads = Parallel()
    yield threads
    threads.join()


# -- real servers ----------------------------------------------------------------------------------

PATIENT = {"timeout": 10.0, "connect_timeout": 10.0}
"""Options of a backend whose server answers: a machine at work on other things may take its time."""


def require(server: type[Server], *arguments: Any, **options: Any) -> Any:
    """A server that is not started yet. Where it is not installed the test is skipped, with the hint how to install it;
    with CACHECORE_REQUIRE_SERVERS=1 it fails."""
    try:
        return server(*arguments, **options)
    except ServerMissing as error:
        if os.environ.get("CACHECORE_REQUIRE_SERVERS", "0") not in ("", "0"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server for all tests that neither stop it nor mind what others leave in it."""
    with require(RedisServer) as server:
        yield server


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[MemcachedServer]:
    """A memcached server for all tests that neither stop it nor mind what others leave in it."""
    with require(MemcachedServer) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests that neither stop it nor mind what others leave in it."""
    with require(PostgresServer) as server:
        yield server


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, a server's certificate and a client's."""
    pytest.importorskip("trustme")
    return Certificates(tmp_path_factory.mktemp("certificates"))
