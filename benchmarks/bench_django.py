"""The whole path: from ``get_from_cache(...)`` to an instance, against a home-made manager and against the database.

``Model.objects`` is bound once on both sides, everything is warm, and the values asked for are distinct. The reference
is described in `benchmarks.app.seed_like`. All of it is computing, so the times are those of the processor and not of
the clock: what other processes take away does not count.
"""

from collections.abc import Callable
from time import process_time
from typing import Any

import pytest

from benchmarks.app.models import JsonRow, Row, SeedJsonRow, SeedRow
from benchmarks.versus import Versus, timed
from cachecore.integrations.django.rows import implementation

GROUP = "django"
pytestmark = [timed(process_time), pytest.mark.usefixtures("rows")]
LOCMEM = "seed-like on locmem"
PKS = list(range(1, 101))
SLUGS = [f"oslo-{number}" for number in PKS]
PAIRS = [(f"Oslo {number}", "Seat of the king.") for number in PKS]


def by_pk(model: Any) -> Callable[[], None]:
    """A call that reads a hundred rows by their primary keys, one by one, through the cache."""
    get = model.objects.get_from_cache

    def run() -> None:
        for pk in PKS:
            get(pk=pk)

    return run


def by_slug(model: Any) -> Callable[[], None]:
    """A call that reads a hundred rows by their slugs."""
    get = model.objects.get_from_cache

    def run() -> None:
        for slug in SLUGS:
            get(slug=slug)

    return run


def by_pair(model: Any) -> Callable[[], None]:
    """A call that reads a hundred rows by two columns that are unique together."""
    get = model.objects.get_from_cache

    def run() -> None:
        for name, note in PAIRS:
            get(name=name, note=note)

    return run


def from_database(model: Any) -> Callable[[], None]:
    """A call that asks the database a hundred times."""
    get = model.objects.get

    def run() -> None:
        for pk in PKS:
            get(pk=pk)

    return run


CASES = [
    ("pk", by_pk, Row, by_pk, SeedRow, LOCMEM, 14),
    ("pk, row with JSON", by_pk, JsonRow, by_pk, SeedJsonRow, LOCMEM, 9),
    ("slug", by_slug, Row, by_slug, SeedRow, LOCMEM, 14),
    ("slug, row with JSON", by_slug, JsonRow, by_slug, SeedJsonRow, LOCMEM, 9),
    ("two columns", by_pair, Row, by_slug, SeedRow, f"{LOCMEM}, by slug", 9),
    ("pk", by_pk, Row, from_database, SeedRow, "objects.get, SQLite in memory", 100),
]


@pytest.mark.parametrize(("name", "ours", "model", "reference", "theirs", "against", "target"), CASES)
def test_path(
    versus: Versus,
    name: str,
    ours: Callable[[Any], Callable[[], None]],
    model: Any,
    reference: Callable[[Any], Callable[[], None]],
    theirs: Any,
    against: str,
    target: float,
) -> None:
    """A hundred reads a call."""
    shown = f"get_from_cache, {implementation}"
    versus(name, ours(model), reference(theirs), shown=shown, against=against, target=target)
