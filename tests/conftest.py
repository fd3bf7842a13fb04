"""Fixtures of several test modules. Nothing here is used unless a test asks for it."""

from collections.abc import Iterator
from typing import Any

import pytest

from cachecore import Cache
from cachecore.backends.memory import MemoryBackend
from cachecore.integrations.django import caches
from cachecore.testing import FakeBackend, ManualClock
from tests.cities import BERGEN, LYON, OSLO, Cities
from tests.geo_app.caching import FAKE, MEMORY, Parallel

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


@pytest.fixture(params=["memory", "bytes"])
def each_cache(request: pytest.FixtureRequest, settings: Any) -> Cache:
    """The test runs twice: on the in-process cache and on a server that keeps bytes."""
    settings.CACHECORE = MEMORY if request.param == "memory" else FAKE
    return caches["default"]


@pytest.fixture
def parallel() -> Iterator[Parallel]:
    """Starts threads; when the test ends they have ended, and their errors are the test's."""
    threads = Parallel()
    yield threads
    threads.join()
