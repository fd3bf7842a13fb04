"""The whole path: from ``get_from_cache(...)`` to an instance, against a home-made manager and against the database.

`python -m benchmarks path` prints the table. ``Model.objects`` is bound once on both sides, everything is warm, and the
values asked for are distinct. The reference is described in `benchmarks.app.seed_like`. All of it is computing, so the
times are those of the processor and not of the clock: what other processes take away does not count.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from statistics import quantiles
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.django_settings")

import django

django.setup()
if not django.apps.apps.is_installed("benchmarks.app"):
    raise RuntimeError("these benchmarks need settings of their own: pytest --ds=benchmarks.django_settings")

import pytest  # noqa: E402

from benchmarks.app.models import JsonRow, Row, SeedJsonRow, SeedRow, fill  # noqa: E402
from benchmarks.measure import Figure, Ratio, compare  # noqa: E402
from cachecore.integrations.django.rows import implementation  # noqa: E402

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


def many(model: Any) -> Callable[[], object]:
    """A call that reads a hundred rows at once."""
    get = model.objects.get_many_from_cache
    return lambda: get(PKS)


def from_database(model: Any) -> Callable[[], None]:
    """A call that asks the database a hundred times."""
    get = model.objects.get

    def run() -> None:
        for pk in PKS:
            get(pk=pk)

    return run


def queryset(model: Any) -> Callable[[], object]:
    """A call that loads a thousand instances."""
    rows = model.objects.all()
    return lambda: list(rows.all())


CALLS: dict[str, list[tuple[Callable[[Any], Callable[[], object]], Any]]] = {
    "path: pk": [(by_pk, Row), (by_pk, SeedRow), (from_database, SeedRow)],
    "path: pk, JSON": [(by_pk, JsonRow), (by_pk, SeedJsonRow)],
    "path: slug": [(by_slug, Row), (by_slug, SeedRow)],
    "path: two columns": [(by_pair, Row)],
    "path: many": [(many, Row), (many, SeedRow)],
    "path: tracking": [(queryset, Row), (queryset, SeedRow)],
}


def import_milliseconds(rounds: int = 21) -> Ratio:
    """What ``import cachecore`` adds to starting the interpreter, in milliseconds of this machine's processor.

    Modules are compiled to bytecode beforehand, as those of an installed package are.
    """

    def took(program: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", program], check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        took("import cachecore")
        differences = sorted(1000 * (took("import cachecore") - took("pass")) for _ in range(rounds))
    deciles = quantiles(differences, n=10, method="inclusive")
    return Ratio(deciles[4], deciles[0], deciles[-1])


def figures() -> list[Figure]:
    """The lines of the table."""
    fill()
    ours = f"get_from_cache, {implementation}"
    locmem = "seed-like on locmem"

    def gain(
        name: str, call: Callable[[], object], reference: Callable[[], object], against: str, target: float
    ) -> None:
        ratio = compare(call, reference)
        found.append(Figure("path", name, ours, against, ratio, target))

    found: list[Figure] = []
    gain("pk", by_pk(Row), by_pk(SeedRow), locmem, 14)
    gain("pk, row with JSON", by_pk(JsonRow), by_pk(SeedJsonRow), locmem, 9)
    gain("slug", by_slug(Row), by_slug(SeedRow), locmem, 14)
    gain("slug, row with JSON", by_slug(JsonRow), by_slug(SeedJsonRow), locmem, 9)
    gain("two columns", by_pair(Row), by_slug(SeedRow), f"{locmem}, by slug", 9)
    gain("100 at once", many(Row), many(SeedRow), locmem, 9)
    gain("pk", by_pk(Row), from_database(SeedRow), "objects.get, SQLite in memory", 100)
    cost = compare(queryset(Row), queryset(SeedRow), rounds=61).inverse()
    found.append(Figure("path", "tracking, a queryset of 1000", "tracked", "not tracked", cost, 1.05, "lower"))
    found.append(Figure("path", "import cachecore, ms", sys.version.split()[0], "bare interpreter",
                        import_milliseconds(), 40, "lower"))  # fmt: skip
    return found


@pytest.fixture(scope="module")
def database(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The tables, and leave to use the database."""
    with django_db_blocker.unblock():
        fill()
        yield


@pytest.mark.parametrize(
    ("group", "call", "model"),
    [
        pytest.param(group, call, model, id=f"{call.__name__}-{model.__name__}")
        for group, calls in CALLS.items()
        for call, model in calls
    ],
)
@pytest.mark.usefixtures("database")
def test_path(benchmark: Any, group: str, call: Callable[[Any], Callable[[], object]], model: Any) -> None:
    """Each call of each group, side by side; each is 100 reads, or a queryset of 1000."""
    benchmark.group = group
    benchmark(call(model))


if __name__ == "__main__":
    from benchmarks.measure import table

    print(table(figures()))
