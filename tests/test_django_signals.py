"""cache_hit, cache_miss and cache_invalidated: who is told what, and that nobody pays for them unheard."""

import gc
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction
from django.dispatch import Signal

from cachecore.cache import Cache
from cachecore.integrations.django import caches, invalidate
from cachecore.integrations.django.signals import cache_hit, cache_invalidated, cache_miss
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import FAKE, MEMORY
from tests.geo_app.models import BulkCity, City, Country, Device

pytestmark = pytest.mark.django_db(transaction=True)

Told = list[dict[str, Any]]
Listen = Callable[..., Told]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Connects a receiver to a signal, and returns what it is told. Nobody listens before and after the test."""
    connected: list[tuple[Signal, Any, Any]] = []

    def listening(signal: Signal, sender: Any = None) -> Told:
        told: Told = []

        def receive(**named: Any) -> None:
            named.pop("signal")
            told.append(named)

        signal.connect(receive, sender=sender, weak=False)
        connected.append((signal, receive, sender))
        return told

    yield listening
    for signal, receive, sender in connected:
        assert signal.disconnect(receive, sender=sender)
    assert not caches["default"].hooks.subscribers


@pytest.fixture
def oslo(db: None) -> City:
    """A city."""
    return City.objects.create(slug="oslo", name="Oslo", country=Country.objects.create(code="NO", name="Norway"))


def test_hits_and_misses(listen: Listen, each_cache: Cache, oslo: City) -> None:
    """The model, the cache, the database, the keys, the primary keys that they show, and why a read was a miss."""
    hits, misses = listen(cache_hit), listen(cache_miss)
    key = City.objects._current().key((oslo.pk,))
    City.objects.get_from_cache(pk=oslo.pk)
    about = {"sender": City, "cache": "default", "using": "default", "keys": [key], "identities": {key: oslo.pk}}
    assert misses == [{**about, "reasons": {key: "absent"}}]
    assert hits == []
    City.objects.get_from_cache(pk=oslo.pk)
    City.objects.get_many_from_cache([oslo.pk])
    assert hits == [about, about]
    assert len(misses) == 1


def test_many_rows_are_one_call(listen: Listen, each_cache: Cache, oslo: City) -> None:
    """With all their keys."""
    moss = City.objects.create(slug="moss", name="Moss", country_id=oslo.country_id)
    misses = listen(cache_miss)
    City.objects.get_many_from_cache([oslo.pk, moss.pk])
    [told] = misses
    assert sorted(told["identities"].values()) == [oslo.pk, moss.pk]
    assert told["reasons"] == dict.fromkeys(told["keys"], "absent")


def test_a_sender(listen: Listen, each_cache: Cache, oslo: City) -> None:
    """A receiver may listen to one model."""
    cities, countries = listen(cache_miss, City), listen(cache_miss, Country)
    City.objects.get_from_cache(pk=oslo.pk)
    assert [told["sender"] for told in cities] == [City]
    assert countries == []


def test_writes(listen: Listen, each_cache: Cache, oslo: City) -> None:
    """When a write has been acknowledged after COMMIT, each model and database by itself; nothing after a rollback."""
    invalidated = listen(cache_invalidated)
    with transaction.atomic():
        City.objects.filter(pk=oslo.pk).update(population=5)
        Country.objects.filter(pk=oslo.country_id).update(name="Norge")
        assert invalidated == []
    told = {one["sender"]: one for one in invalidated}
    assert told.keys() == {City, Country}
    assert list(told[City]["identities"].values()) == [oslo.pk]
    assert [one["all_rows"] for one in invalidated] == [False, False]
    invalidated.clear()
    with transaction.atomic():
        City.objects.update(population=6)
        transaction.set_rollback(True)
    assert invalidated == []


def test_all_rows(listen: Listen, each_cache: Cache, oslo: City) -> None:
    """By a bulk write or by hand: all_rows, and no primary key."""
    invalidated = listen(cache_invalidated, City)
    invalidate(City)
    [told] = invalidated
    assert (told["all_rows"], told["identities"], told["using"]) == (True, {}, "default")
    bulk = listen(cache_invalidated, BulkCity)
    BulkCity.objects.bulk_create([BulkCity(slug=f"s{number}") for number in range(3)])
    BulkCity.objects.update(population=1)
    BulkCity.objects.bulk_create([BulkCity(slug=f"t{number}") for number in range(3)])
    bulk.clear()
    BulkCity.objects.update(population=2)
    assert [one["all_rows"] for one in bulk] == [True]


def test_identities_of_other_types(listen: Listen, each_cache: Cache) -> None:
    """A UUID is shown by its key; two columns together are not."""
    hits = listen(cache_hit)
    device = Device.objects.create(id=uuid.uuid4(), label="x")
    for _ in range(2):
        Device.objects.get_from_cache(pk=device.pk)
    assert list(hits[0]["identities"].values()) == [device.pk]


def test_what_is_no_row_of_a_model(listen: Listen, each_cache: Cache) -> None:
    """The sender is None."""
    misses = listen(cache_miss)
    records = each_cache.entity("thing", {"id": int}, load=lambda ids: [(one,) for one in ids])
    records.get(3)
    [told] = misses
    assert (told["sender"], told["using"], list(told["identities"].values())) == (None, "default", [3])


def test_receivers_that_raise(listen: Listen, each_cache: Cache, oslo: City, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, the read goes on, and so do other receivers."""

    def fail(**named: Any) -> None:
        raise ZeroDivisionError

    cache_miss.connect(fail)
    misses = listen(cache_miss)
    with caplog.at_level(logging.ERROR):
        assert City.objects.get_from_cache(pk=oslo.pk) == oslo
    assert cache_miss.disconnect(fail)
    assert len(misses) == 1
    assert "ZeroDivisionError" in caplog.text


class TestNobodyListens:
    """What is done for nobody."""

    def test_the_caches_make_no_events(self, each_cache: Cache, oslo: City) -> None:
        """They are subscribed to when the first receiver comes and until the last goes."""
        hooks = each_cache.hooks
        assert not hooks.subscribers

        def receive(**named: Any) -> None: ...

        cache_hit.connect(receive)
        cache_miss.connect(receive)
        cache_miss.connect(receive, sender=City)
        assert len(hooks.subscribers) == 1
        assert cache_hit.disconnect(receive)
        assert cache_miss.disconnect(receive)
        assert len(hooks.subscribers) == 1
        assert cache_miss.disconnect(receive, sender=City)
        assert not hooks.subscribers
        assert not cache_miss.disconnect(receive)

    def test_a_receiver_that_is_gone(self, each_cache: Cache, oslo: City) -> None:
        """Held weakly and collected, it is unsubscribed by the next event."""

        def connect() -> None:
            def receive(**named: Any) -> None: ...

            cache_miss.connect(receive)

        connect()
        gc.collect()
        City.objects.get_from_cache(pk=oslo.pk)
        assert not each_cache.hooks.subscribers

    def test_caches_that_are_made_later(self, listen: Listen, settings: Any, oslo: City) -> None:
        """They are listened to as well, and after a change of the settings the new ones are."""
        misses = listen(cache_miss)
        for chosen in (MEMORY, FAKE, MEMORY):
            settings.CACHECORE = chosen
            City.objects.get_from_cache(pk=oslo.pk)
        assert len(misses) == 3
        assert len(caches["default"].hooks.subscribers) == 1

    def test_a_cache_that_was_not_used(self, listen: Listen, settings: Any) -> None:
        """To listen makes no cache and connects to no server."""
        settings.CACHECORE = FAKE
        listen(cache_hit)
        assert list(caches.made()) == []

    def test_subscribers_of_the_cache_itself_stay(self, listen: Listen, fake_server: FakeBackend, oslo: City) -> None:
        """The signals end their own subscription only."""
        events: list[Any] = []
        end = caches["default"].hooks.subscribe(events.append)

        def receive(**named: Any) -> None: ...

        cache_hit.connect(receive)
        cache_hit.disconnect(receive)
        City.objects.get_from_cache(pk=oslo.pk)
        assert events
        end()
