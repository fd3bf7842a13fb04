"""What change tracking costs: a queryset of tracked instances beside one of the same rows that are not tracked."""

from collections.abc import Callable
from time import process_time
from typing import Any

import pytest

from benchmarks.app.models import Row, SeedRow
from benchmarks.versus import Versus, timed

GROUP = "tracking"
pytestmark = [timed(process_time), pytest.mark.usefixtures("rows")]


def test_queryset(versus: Versus) -> None:
    """A thousand instances a call, three columns of each tracked."""
    versus(
        "a queryset of 1000",
        _loading(Row),
        _loading(SeedRow),
        shown="tracked",
        against="not tracked",
        target=1.05,
        better="lower",
        rounds=101,
    )


def _loading(model: Any) -> Callable[[], object]:
    """A call that loads a thousand instances."""
    rows = model.objects.all()
    return lambda: list(rows.all())
