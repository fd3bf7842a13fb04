"""Fixtures of the Django tests. Nothing here is used unless a test asks for it."""

from collections.abc import Iterator
from typing import Any

import pytest

from cachecore.cache import Cache
from cachecore.integrations.django import caches
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import FAKE, MEMORY, Parallel


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
