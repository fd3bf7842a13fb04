"""What is told to whoever listens, and what is counted."""

import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cachecore import Cache, Policy
from cachecore.events import Event, Failure, Filled, FillRefused, Held, Hit, Hooks, Invalidated, Miss
from cachecore.statistics import Statistics
from cachecore.testing import FakeBackend
from tests.cities import OSLO, Cities


def test_reads_and_writes_are_told_as_they_happen(cache: Cache, cities: Cities) -> None:
    """Miss and fill, hit, hold and invalidation come in this order, with the keys they are about."""
    told: list[Event] = []
    cache.hooks.subscribe(told.append)
    found = cities.records(cache)
    [key] = found.keys_for([1])
    found.get(1)
    found.get(1)
    found.get_many([1])
    with cache.begin() as unit:
        unit.touch(found, 1)
        unit.commit(lambda: None)
    assert [type(event) for event in told] == [Miss, Filled, Hit, Hit, Held, Invalidated]
    assert told[0] == Miss("geo.City", {key: "absent"})
    assert [list(event.keys) for event in told[1:] if not isinstance(event, Miss | Failure)] == [[key]] * 5
    assert {event.entity for event in told[:4]} == {"geo.City"}


def test_refused_fills_and_failures_are_told(cities: Cities) -> None:
    """A lost lease, a row without stored form and a failing backend each have their event."""
    server = FakeBackend()
    told: list[Event] = []
    cache = Cache(server, namespace="shop")
    cache.hooks.subscribe(told.append)
    found = cities.records(cache)
    [key] = found.keys_for([1])

    def overtaken(identities: Any) -> Any:
        cache.invalidate(found, 1)
        return cities.load(identities)

    found.get(1, overtaken)
    assert told[-1] == FillRefused("geo.City", [key], "lease")
    found.get(1, lambda identities: [(1, object(), "no", "Oslo", None)])
    assert told[-1] == FillRefused("geo.City", [key], "uncacheable")
    server.fail("acquire")
    found.get(1)
    [failure] = [event for event in told if isinstance(event, Failure)]
    assert (failure.entity, failure.operation) == ("geo.City", "acquire")
    assert str(failure.error) == "the fake server is down"


def test_statistics_count_rows_and_not_calls(cache: Cache, cities: Cities) -> None:
    """Each row of a batch is a hit or a miss of its own, with its reason; reset begins again."""
    found = cities.records(cache)
    found.get_many([1, 2, 99])
    found.get_many([1, 2, 99])
    found.get(1)
    cache.invalidate(found, 1, 2)
    statistics = cache.statistics
    assert (statistics.hits, statistics.misses, statistics.fills, statistics.invalidations) == (3, 4, 2, 2)
    assert statistics.miss_reasons == {"absent": 4}
    assert statistics.hit_ratio == pytest.approx(3 / 7)
    statistics.reset()
    assert statistics == Statistics()
    assert statistics.hit_ratio == 0
    found.get(1)
    assert statistics.misses == 1


def test_a_subscriber_that_raises_breaks_nothing(
    cache: Cache, cities: Cities, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is logged, the others are called, and the read is answered."""
    told: list[Event] = []

    def broken(_: Event) -> None:
        raise LookupError("a broken exporter")

    cache.hooks.subscribe(broken)
    cache.hooks.subscribe(told.append)
    with caplog.at_level(logging.ERROR, logger="cachecore"):
        assert cities.records(cache).get(1) == OSLO
    assert len(told) == 2
    assert "a broken exporter" in caplog.text


def test_a_subscription_ends_alone() -> None:
    """A function that subscribed twice is called twice, once after one has ended, and ending again changes nothing."""
    hooks = Hooks()
    told: list[Event] = []
    subscriber = told.append
    first, second = hooks.subscribe(subscriber), hooks.subscribe(subscriber)
    event = Hit("geo.City", ["key"])
    hooks.emit(event)
    assert told == [event, event]
    first()
    first()
    hooks.emit(event)
    assert told == [event] * 3
    assert hooks
    second()
    assert not hooks
    hooks.emit(event)
    assert told == [event] * 3


def test_a_subscriber_may_end_itself_while_it_is_told() -> None:
    """Ending a subscription inside an event neither skips nor repeats others."""
    hooks = Hooks()
    told: list[str] = []

    def once(_: Event) -> None:
        told.append("once")
        end()

    end = hooks.subscribe(once)
    hooks.subscribe(lambda _: told.append("always"))
    for _ in range(2):
        hooks.emit(Hit("", []))
    assert told == ["once", "always", "always"]


@pytest.fixture
def _many_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_many_switches")
def test_threads_lose_no_count() -> None:
    """Counters stay exact while threads, switched as often as can be, add to all of them."""
    statistics = Statistics()
    events = [Hit("", ["a", "b"]), Miss("", {"a": "absent", "b": "held"}), Filled("", ["a"]),
              FillRefused("", ["a"], "lease"), Invalidated("", ["a"]), Failure("", "get", LookupError())]  # fmt: skip

    def count() -> None:
        for _ in range(2000):
            for event in events:
                statistics.count(event)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statistics == Statistics(
        hits=16000, misses=16000, fills=8000, refused_fills=8000, invalidations=8000, failures=8000,
        miss_reasons={"absent": 8000, "held": 8000},
    )  # fmt: skip


def test_a_failure_that_the_policy_bears_is_counted(cities: Cities) -> None:
    """Under "bounded" a PREPARE that was not acknowledged is a Failure event, so that somebody can see it."""
    server = FakeBackend()
    with Cache(server, namespace="shop", policy=Policy(unreachable="bounded")) as cache, cache.begin() as unit:
        told: list[Event] = []
        cache.hooks.subscribe(told.append)
        unit.touch(cities.records(cache), 1)
        server.fail("hold")
        unit.commit(lambda: None)
    assert [type(event) for event in told] == [Failure, Invalidated]
    assert cache.statistics.failures == 1
