"""The hit path in this process: which questions it answers itself, and when it leaves them to the protocol."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction

from cachecore.cache import Cache
from cachecore.entries import Value
from cachecore.errors import ClosedError
from cachecore.events import Event, Hit
from cachecore.integrations.django import _hit_py
from cachecore.integrations.django import hit as hit_module
from cachecore.integrations.django.writing.dirty import dirty
from tests.geo_app.caching import Parallel
from tests.geo_app.models import City, Country, Device

pytestmark = pytest.mark.django_db(transaction=True)

Ask = Callable[..., Any]


def twins() -> list[ModuleType]:
    """The pure path and, where it is compiled, the compiled one."""
    found: list[ModuleType] = [_hit_py]
    if hit_module.implementation == "cython":
        from cachecore.integrations.django import _hit_c

        found.append(_hit_c)
    return found


@pytest.fixture(params=twins(), ids=lambda module: module.__name__.rpartition(".")[2])
def ask(request: pytest.FixtureRequest, memory_cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Asks the hit path alone, which answers None where the protocol would have to run."""
    monkeypatch.setattr("cachecore.integrations.django.model_cache.HitPath", request.param.HitPath)
    yield lambda model=City, **query: model.objects._current().hit(query)
    connection.close()


@pytest.fixture
def oslo(ask: Ask) -> City:
    """A city whose row and pointers are in the cache."""
    norway = Country.objects.create(code="NO", name="Norway")
    city = City.objects.create(slug="oslo", name="Oslo", country=norway, iata="OSL")
    City.objects.get_from_cache(pk=city.pk)
    City.objects.get_from_cache(slug="oslo")
    City.objects.get_from_cache(country=norway, name="Oslo")
    return city


def test_every_spelling_of_a_cached_question_is_a_hit(ask: Ask, oslo: City) -> None:
    """Names, attribute names, __exact, an instance for a foreign key, and any order of the keywords."""
    norway = Country.objects.get()
    questions: list[dict[str, Any]] = [
        {"pk": oslo.pk},
        {"id": oslo.pk},
        {"pk__exact": oslo.pk},
        {"slug": "oslo"},
        {"slug__exact": "oslo"},
        {"country": norway, "name": "Oslo"},
        {"name": "Oslo", "country": norway},
        {"country": norway.pk, "name": "Oslo"},
        {"name__exact": "Oslo", "country_id": norway.pk},
    ]
    for question in questions:
        for _ in range(2):  # the second time by the plan that the first has made
            found = ask(**question)
            assert found == oslo
            assert found._state.cachecore == (oslo.slug, norway.pk, "Oslo", "OSL")


def test_what_needs_a_second_look_is_left_to_the_protocol(ask: Ask, oslo: City) -> None:
    """A value of another type, an instance of another model, an unsaved one, and what is no lookup at all."""
    questions: list[dict[str, Any]] = [
        {"pk": str(oslo.pk)},
        {"pk": True},
        {"pk": None},
        {"slug": 1},
        {"slug": "bergen"},
        {"country": oslo, "name": "Oslo"},
        {"country": Country(code="XX"), "name": "Oslo"},
        {"country": oslo.country, "country_id": oslo.country.pk, "name": "Oslo"},
        {"name": "Oslo"},
        {"nothing": 1},
        {},
    ]
    assert [ask(**question) for question in questions] == [None] * len(questions)


def test_a_uuid_is_a_hit_as_itself_and_not_as_text(ask: Ask) -> None:
    """Each type of key is found by precisely that type."""
    device = Device.objects.create(label="lamp")
    Device.objects.get_from_cache(pk=device.pk)
    assert ask(Device, pk=device.pk) == device
    assert ask(Device, pk=str(device.pk)) is None


def test_a_hit_is_counted_and_told_to_subscribers(ask: Ask, oslo: City, memory_cache: Cache) -> None:
    """One hit, with the key of the row, also by way of a pointer."""
    told: list[Event] = []
    memory_cache.hooks.subscribe(told.append)
    before = memory_cache.statistics.hits
    ask(pk=oslo.pk)
    ask(slug="oslo")
    assert memory_cache.statistics.hits == before + 2
    key = City.objects._current().key((oslo.pk,))
    assert told == [Hit("geo_app.City", (key,))] * 2


def test_a_pointer_that_the_row_no_longer_confirms_is_no_hit(ask: Ask, oslo: City, memory_cache: Cache) -> None:
    """After a rename the old slug, whose pointer still stands, is not answered with the row, nor counted as a hit."""
    City.objects.filter(pk=oslo.pk).update(slug="christiania")
    assert City.objects.get_from_cache(pk=oslo.pk).slug == "christiania"
    assert ask(pk=oslo.pk) is not None
    hits = memory_cache.statistics.hits
    assert ask(slug="oslo") is None
    assert memory_cache.statistics.hits == hits


def test_a_row_under_an_old_epoch_is_no_hit(ask: Ask, oslo: City) -> None:
    """What outdates all rows outdates those whose entries still stand."""
    cached = City.objects._current()
    key = cached.records.entity.key(oslo.pk)
    cached.invalidate()
    assert type(cached.records.read(key)) is Value
    assert ask(pk=oslo.pk) is None
    City.objects.get_from_cache(pk=oslo.pk)
    assert ask(pk=oslo.pk) == oslo


def test_a_transaction_that_wrote_is_not_answered_by_the_hit_path(ask: Ask, oslo: City) -> None:
    """It has to see its own writes, and its other reads may see an old snapshot."""
    with transaction.atomic():
        assert ask(pk=oslo.pk) == oslo
        City.objects.filter(pk=oslo.pk).update(population=5)
        assert dirty.any
        assert ask(pk=oslo.pk) is None
        assert City.objects.get_from_cache(pk=oslo.pk).population == 5


def test_the_writes_of_another_thread_do_not_end_the_hits_of_this_one(ask: Ask, oslo: City, parallel: Parallel) -> None:
    """Uncommitted, they concern nobody else."""
    with transaction.atomic():
        City.objects.filter(pk=oslo.pk).update(population=5)
        seen: list[Any] = []
        parallel.start(lambda: seen.append(ask(pk=oslo.pk)))
        parallel.join()
        assert [city.population for city in seen] == [0]


def test_the_async_part_of_a_transaction_that_wrote_sees_its_writes(ask: Ask, oslo: City) -> None:
    """It runs in a thread of its own, whose connection knows of no write."""
    with transaction.atomic():
        City.objects.filter(pk=oslo.pk).update(population=5)
        assert async_to_sync(City.objects.aget_from_cache)(pk=oslo.pk).population == 5


def test_a_closed_cache_answers_nothing(ask: Ask, oslo: City, memory_cache: Cache) -> None:
    """A hit raises as everything else does."""
    assert ask(pk=oslo.pk) == oslo
    memory_cache.close()
    with pytest.raises(ClosedError):
        ask(pk=oslo.pk)


def test_many_at_once_are_answered_in_order_whatever_is_missing(
    ask: Ask, oslo: City, django_assert_num_queries: Any
) -> None:
    """Hits, misses, duplicates and values without a row keep their places; one query for all misses."""
    bergen = City.objects.create(slug="bergen", name="Bergen", country=oslo.country)
    with django_assert_num_queries(1):
        found = City.objects.get_many_from_cache([bergen.pk, oslo.pk, 0, bergen.pk, oslo.pk])
    assert found == [bergen, oslo, bergen, oslo]
    assert found[1] is not found[3]
