"""Many rows at once: read through the cache, and written under it.

Reads are compared with the seed-like manager, which asks Django's locmem cache for all of them. Writes are compared
with the same write to a table that nobody caches: what they cost more is the cache's share, here of the in-process
backend.
"""

from collections.abc import Callable
from itertools import count
from time import process_time
from typing import Any

import pytest

from benchmarks.app.models import ROWS, PlainRow, Row, SeedRow, WrittenRow, instances
from benchmarks.versus import Versus, timed

GROUP = "bulk"
pytestmark = [timed(process_time), pytest.mark.usefixtures("rows")]


def reading(model: Any, number: int) -> Callable[[], object]:
    """A call that reads so many rows at once."""
    get, pks = model.objects.get_many_from_cache, list(range(1, number + 1))
    return lambda: get(pks)


@pytest.mark.parametrize(("number", "target"), [(100, 9), (ROWS, None)])
def test_reads(versus: Versus, number: int, target: float | None) -> None:
    """Rows by their primary keys, all of them cached."""
    versus(
        f"{number} rows at once",
        reading(Row, number),
        reading(SeedRow, number),
        shown="get_many_from_cache",
        against="seed-like on locmem",
        target=target,
    )


def saving(model: Any) -> Callable[[], object]:
    """A call that saves one row, each time with another value."""
    [row] = model.objects.filter(pk=1)
    numbers = count()

    def run() -> None:
        row.rank = next(numbers)
        row.save(update_fields=["rank"])

    return run


def updating(number: int) -> Callable[[Any], Callable[[], object]]:
    """A call that updates so many rows by one statement."""

    def make(model: Any) -> Callable[[], object]:
        rows, numbers = model.objects.filter(pk__lte=number), count()
        return lambda: rows.update(rank=next(numbers))

    return make


def creating(model: Any) -> Callable[[], object]:
    """A call that creates a hundred rows by one statement and deletes them again."""
    numbers = count(1)

    def run() -> None:
        turn = next(numbers)
        made = instances(model, 100, note="Seat of the king.")
        for row in made:
            row.slug = f"{row.slug}-{turn}"
        created = model.objects.bulk_create(made)
        model.objects.filter(pk__in=[row.pk for row in created]).delete()

    return run


WRITES = [
    ("save() of a row", saving),
    ("update() of 1 row", updating(1)),
    ("update() of 100 rows", updating(100)),
    (f"update() of {ROWS} rows", updating(ROWS)),
    ("bulk_create() of 100 rows, delete()", creating),
]


@pytest.mark.parametrize(("name", "make"), WRITES)
def test_writes(versus: Versus, name: str, make: Callable[[Any], Callable[[], object]]) -> None:
    """The same write to a cached table and to one that is not."""
    ours, reference = make(WrittenRow), make(PlainRow)
    versus(name, ours, reference, shown="cached", against="not cached, SQLite in memory", better="lower")
