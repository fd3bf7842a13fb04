"""The pytest plugin, loaded wherever cachecore is installed (entry point "cachecore").

Fixtures, which need Django and the setting CACHECORE:

cachecore_clear   the test begins with empty caches, in a namespace of its own. With ``cachecore_autoclear = true`` in
                  pytest's configuration every test has it, and the session a namespace of its own for what is not a
                  test's; then any number of pytest-xdist's workers may share a server.
cachecore_counts  a context manager that fails if the block does not do what is expected:

    def test_oslo(cachecore_counts):
        with cachecore_counts(hits=1, queries=0):
            City.objects.get_from_cache(slug="oslo-no")

Nothing is imported before a fixture is used.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

AUTOCLEAR = "cachecore_autoclear"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(AUTOCLEAR, "Every test begins with empty caches, as by the fixture cachecore_clear.", "bool", False)


def _django() -> Any:
    """What the integration has for tests; found by name, as this package does not know its integrations."""
    try:
        return importlib.import_module("cachecore.integrations.django.testing")
    except ModuleNotFoundError as error:
        if error.name != "django":
            raise
        pytest.fail(f"cachecore's fixtures, and {AUTOCLEAR}, need Django, which is not installed", pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def _cachecore_session(request: pytest.FixtureRequest) -> Iterator[None]:
    """With autoclear: what is cached outside tests, in fixtures of a class say, is this run's own too."""
    if not request.config.getini(AUTOCLEAR):
        yield
        return
    with _django().isolated_caches():
        yield


@pytest.fixture(autouse=True)
def _cachecore_autoclear(request: pytest.FixtureRequest) -> None:
    """With autoclear: every test has the fixture."""
    if request.config.getini(AUTOCLEAR):
        request.getfixturevalue("cachecore_clear")


@pytest.fixture
def cachecore_clear() -> Iterator[None]:
    """The test begins with empty caches, local ones and what this process remembers of lookups included."""
    with _django().isolated_caches():
        yield


@pytest.fixture
def cachecore_counts() -> Callable[..., AbstractContextManager[Any]]:
    """``with cachecore_counts(hits=1, misses=0, queries=0, operations=1) as counts: ...``

    The arguments are those of `cachecore.integrations.django.testing.cachecore_counts`.
    """
    counts: Callable[..., AbstractContextManager[Any]] = _django().cachecore_counts
    return counts
