"""What every benchmark has: the fixture `versus`, the option --quick, and our table below that of pytest-benchmark."""

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.results import Figure, table
from benchmarks.versus import MEASURE, Versus

_figures = pytest.StashKey[list[Figure]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="few short rounds: it runs; what the figures say is noise")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_figures] = []


@pytest.fixture
def versus(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[Versus]:
    """One benchmark against its reference; see `benchmarks.versus`. The module's GROUP is the group of its figure."""
    clocks = [mark.kwargs["timer"] for mark in request.node.iter_markers("benchmark") if "timer" in mark.kwargs]
    measure = request.config.stash.get(MEASURE, Versus)
    quick = bool(request.config.getoption("quick"))
    measuring: Versus = measure(benchmark, request.module.GROUP, clocks[0] if clocks else None, quick)
    yield measuring
    if measuring.figure is not None:
        request.config.stash[_figures].append(measuring.figure)


@pytest.fixture(scope="module")
def rows(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The tables of `benchmarks.app.models`, full, and leave to use the database."""
    from benchmarks.app.models import fill  # only where Django is asked for

    with django_db_blocker.unblock():
        fill()
        yield


@pytest.fixture(scope="module")
def net(django_db_setup: None, django_db_blocker: Any) -> Iterator[Any]:
    """Servers, the table and leave to use the database: a `benchmarks.network.Network`."""
    from benchmarks.network import network

    with django_db_blocker.unblock(), network() as found:
        yield found


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    figures = config.stash[_figures]
    if figures and not config.getoption("benchmark_quiet"):
        terminalreporter.write_line("")
        terminalreporter.write_line(table(figures))
