"""Random histories of many threads on PostgreSQL and Redis: every answer is one that may be given.

A few seconds, or as many as CACHECORE_STRESS_SECONDS says; CACHECORE_STRESS_SEED repeats a run, as far as threads do.
"""

import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from cachecore.integrations.django.writing import dependents, writes
from tests.conftest import ON_SQLITE, PATIENT
from tests.django_stress import World

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(ON_SQLITE, reason="about PostgreSQL: CACHECORE_TEST_DATABASE=postgresql"),
]

SECONDS = float(os.environ.get("CACHECORE_STRESS_SECONDS") or 4)
SEED = int(os.environ.get("CACHECORE_STRESS_SEED") or 1)


@pytest.fixture(autouse=True)
def _redis(redis_server: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Redis, and functions that end with the test."""
    options = {"LOCATION": redis_server.url, "NAMESPACE": uuid.uuid4().hex, "OPTIONS": PATIENT, "REPLAY": False}
    settings.CACHECORE = {"default": {"BACKEND": "redis", **options}}
    monkeypatch.setattr(dependents, "_dependents", {model: [*some] for model, some in dependents._dependents.items()})
    yield
    monkeypatch.undo()
    writes.connect_all()


def test_every_answer_is_one_that_may_be_given() -> None:
    """Rows, lists, lookups that have no row and results of functions, while rows are written in every way, rolled back,
    and connections are lost."""
    world, until, number = World(), time.monotonic() + SECONDS, 0
    while time.monotonic() < until and not world.errors:
        world.run(0.3, SEED * 1000 + number)
        number += 1
    print(dict(sorted(world.counts.items())))
    assert not world.errors, "\n".join(world.errors[:10])
    for what in ("reads", "commits", "rollbacks", "races", "own reads", "judged at rest"):
        assert world.counts[what] > 5


@pytest.mark.parametrize("hole", ["update", "insert"])
def test_the_judges_find_what_is_wrong(hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing is outdated by statements of one kind, there are wrong answers."""
    world = World()
    if hole == "update":
        monkeypatch.setattr(writes.Table, "rows", lambda self, alias, identities: [])
    monkeypatch.setattr(writes.Table, "derived", lambda self, alias, changes, which: [])
    until = time.monotonic() + 30
    while time.monotonic() < until and not world.errors:
        world.run(0.5, SEED, killer=False)
    assert world.errors
