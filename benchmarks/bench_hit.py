"""A hit in the process, in nanoseconds of this machine, and what its steps take of them.

Absolute times, for the target of a hit is one; so each is the best of many turns, which other processes disturb least.
"""

from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

import pytest

from benchmarks.app.models import JsonRow, Row
from benchmarks.bench_django import PKS, SLUGS, by_pk, by_slug
from benchmarks.measure import Call, calls_a_turn, seconds_a_call
from benchmarks.versus import Versus, timed
from cachecore import keys
from cachecore.backends.store import Store
from cachecore.integrations.django.rows import RowLayout

GROUP = "hit"
pytestmark = [timed(process_time), pytest.mark.usefixtures("rows")]
TURNS = 200


def best(call: Call) -> list[float]:
    """Nanoseconds of one of the hundred things that a call does, in the best turn."""
    call()
    calls = calls_a_turn(call, 0.002, perf_counter)
    return [min(seconds_a_call(call, calls, perf_counter) for _ in range(TURNS)) * 1e9 / len(PKS)]


@pytest.mark.parametrize(
    ("name", "make", "model", "target"),
    [
        ("pk", by_pk, Row, 800),
        ("slug", by_slug, Row, None),
        ("pk, row with JSON", by_pk, JsonRow, None),
    ],
)
def test_hit(versus: Versus, name: str, make: Callable[[Any], Call], model: Any, target: float | None) -> None:
    """From the call of the manager to the instance."""
    versus.value(
        name, lambda: best(make(model)), shown="get_from_cache", against="best of 200 turns", unit="ns", target=target
    )


def key() -> Call:
    """The keys of a hundred primary keys."""
    maker = keys.IdentityMaker("bench", "benchmarks.Row@default")

    def run() -> None:
        for pk in PKS:
            maker(pk)

    return run


def lookup_key() -> Call:
    """The keys of a hundred slugs."""
    maker = keys.KeyMaker("bench", "benchmarks.Row@default", ("slug",))

    def run() -> None:
        for slug in SLUGS:
            maker(slug)

    return run


def read() -> Call:
    """A hundred gets of the store; a hit by primary key makes two of them, one by slug three."""
    store = Store(max_entries=1000, max_bytes=2**30)
    maker = keys.IdentityMaker("bench", "benchmarks.Row@default")
    names = [maker(pk) for pk in PKS]
    for name in names:
        store.set(name, name, 100, 3600.0)
    get = store.get

    def run() -> None:
        for name in names:
            get(name)

    return run


def instance() -> Call:
    """A hundred instances of twelve fields from their in-process form, and their end."""
    layout = RowLayout(Row)
    rows = [layout.codec.freeze(row)[0] for row in layout.select(Row._base_manager.filter(pk__in=PKS))]
    make: Any = layout.instance_of_frozen

    def run() -> None:
        for row in rows:
            make(row, "default", None)

    return run


@pytest.mark.parametrize("step", [key, lookup_key, read, instance])
def test_step(versus: Versus, step: Callable[[], Call]) -> None:
    """What a hit is made of, each with a call of its own."""
    name = f"step: {step.__name__.replace('_', ' ')}"
    versus.value(name, lambda: best(step()), shown=step.__name__, against="best of 200 turns", unit="ns")
