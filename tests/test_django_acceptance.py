"""What somebody who moves a large application to this expects of it, step by step, with what every step costs."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from cachecore.cache import Cache
from cachecore.integrations.django import caches
from cachecore.integrations.django.local import clear_local_cache, local_cache
from cachecore.integrations.django.testing import cachecore_counts
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import norwegian_cities
from tests.geo_app.models import City, Country

Cost = tuple[int, int]
"""Queries, and calls of the cache."""

pytestmark = pytest.mark.django_db


@pytest.fixture
def norway(db: None) -> Country:
    """A country."""
    return Country.objects.create(code="NO", name="Norway")


@pytest.fixture
def cities(norway: Country) -> list[City]:
    """Three cities."""
    return norwegian_cities(norway)


def ways(city: City) -> list[dict[str, Any]]:
    """The same row by slug, by pk and by id."""
    return [{"slug": city.slug}, {"pk": city.pk}, {"id": city.pk}]


def costs(city: City) -> list[Cost]:
    """What one read by each of the ways costs, one after the other; each finds the row."""
    found: list[Cost] = []
    for way in ways(city):
        with cachecore_counts() as counts:
            assert City.objects.get_from_cache(**way) == city
        found.append((counts.queries, counts.operations))
    return found


def warm(*cities: City) -> None:
    """Have rows and pointers cached and remembered."""
    for _ in range(2):
        for city in cities:
            for way in ways(city):
                City.objects.get_from_cache(**way)


class TestTheSameRow:
    """By slug, pk and id, on a server: (queries, cache operations) of each read."""

    @pytest.fixture(autouse=True)
    def _on_a_server(self, fake_server: FakeBackend) -> None:
        """A server that keeps bytes."""

    def test_all_cold(self, cities: list[City]) -> None:
        """By slug one query finds out which row it is; by pk one query fills it; by id it is there."""
        warm(cities[1])  # what is begun once for the whole model
        assert costs(cities[0]) == [(1, 2), (1, 2), (0, 1)]

    def test_after_only_the_shared_cache_was_cleared(self, cities: list[City]) -> None:
        """The pointer that this process remembers still leads to the row, so one query fills it for every way."""
        warm(*cities)
        caches["default"].clear()
        City.objects.get_from_cache(pk=cities[1].pk)
        assert costs(cities[0]) == [(1, 2), (0, 1), (0, 1)]

    def test_after_only_what_the_process_remembers_was_cleared(self, cities: list[City]) -> None:
        """The pointer is asked of the shared cache, one round trip more, and no query."""
        warm(*cities)
        City.objects._current().records.forget_claims()
        assert costs(cities[0]) == [(0, 2), (0, 1), (0, 1)]

    def test_all_warm(self, cities: list[City]) -> None:
        """Every way is one round trip and no query."""
        warm(*cities)
        assert costs(cities[0]) == [(0, 1), (0, 1), (0, 1)]

    def test_all_warm_in_a_local_cache(self, cities: list[City]) -> None:
        """With a local cache open the row is asked of the server once, and then of nobody."""
        warm(*cities)
        with local_cache():
            assert costs(cities[0]) == [(0, 1), (0, 0), (0, 0)]
            assert costs(cities[0]) == [(0, 0), (0, 0), (0, 0)]

    def test_after_only_the_local_cache_was_cleared(self, cities: list[City]) -> None:
        """The shared cache has it: one round trip, no query."""
        warm(*cities)
        with local_cache():
            costs(cities[0])
            clear_local_cache()
            assert costs(cities[0]) == [(0, 1), (0, 0), (0, 0)]

    def test_after_only_the_shared_cache_was_cleared_behind_a_local_one(self, cities: list[City]) -> None:
        """The local cache answers what its block has read, whatever became of the server."""
        warm(*cities)
        with local_cache():
            costs(cities[0])
            caches["default"].clear()
            assert costs(cities[0]) == [(0, 0), (0, 0), (0, 0)]


def test_the_same_row_in_this_process(memory_cache: Cache, cities: list[City]) -> None:
    """With the in-process cache a warm read is no operation at all, and an empty one costs the queries of a server."""
    warm(cities[1])
    assert [queries for queries, _ in costs(cities[0])] == [1, 1, 0]
    assert costs(cities[0]) == [(0, 0), (0, 0), (0, 0)]
    memory_cache.clear()
    assert [queries for queries, _ in costs(cities[0])] == [1, 1, 0]


def by_save(city: City, **values: Any) -> None:
    fresh = City.objects.get(pk=city.pk)
    for name, value in values.items():
        setattr(fresh, name, value)
    fresh.save()


def by_update_fields(city: City, **values: Any) -> None:
    City(pk=city.pk, **values).save(update_fields=list(values))


def by_queryset(city: City, **values: Any) -> None:
    City.objects.filter(pk=city.pk).update(**values)


def by_bulk_update(city: City, **values: Any) -> None:
    City.objects.bulk_update([City(pk=city.pk, **values)], list(values))


WRITES: list[Callable[..., None]] = [by_save, by_update_fields, by_queryset, by_bulk_update]
DELETES: dict[str, Callable[[City], object]] = {
    "delete": lambda city: City.objects.get(pk=city.pk).delete(),
    "delete of a queryset": lambda city: City.objects.filter(pk=city.pk).delete(),
}


@pytest.fixture(params=["autocommit", "transaction"])
def place(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """Where a write happens: by itself, or in a block that commits."""
    if request.param == "transaction":
        return transaction.atomic

    class Nothing:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    return Nothing


def slug_of(pk: int) -> str:
    """What the cache says."""
    return City.objects.get_from_cache(pk=pk).slug


@pytest.mark.usefixtures("each_cache")
class TestSlugs:
    """Slugs that change their row."""

    @pytest.mark.parametrize("write", WRITES)
    def test_a_rename(self, write: Callable[..., None], cities: list[City], place: Callable[[], Any]) -> None:
        """The old slug stops resolving, the new one works, and the row is fresh by its key."""
        oslo = cities[0]
        warm(*cities)
        with place():
            write(oslo, slug="christiania")
        for _ in range(3):
            with pytest.raises(City.DoesNotExist):
                City.objects.get_from_cache(slug="oslo")
            assert City.objects.get_from_cache(slug="christiania").pk == oslo.pk
            assert slug_of(oslo.pk) == "christiania"
            assert City.objects.get_many_from_cache(["oslo", "christiania"], key="slug") == [oslo]

    @pytest.mark.parametrize("write", WRITES)
    def test_a_rename_back_and_forth(self, write: Callable[..., None], cities: list[City]) -> None:
        """A slug may come back to its row, and remembered pointers are right at every moment."""
        oslo = cities[0]
        for slug, old in [("a", "oslo"), ("oslo", "a"), ("a", "oslo")]:
            warm(City.objects.get(pk=oslo.pk))
            write(oslo, slug=slug)
            assert City.objects.get_from_cache(slug=slug) == oslo
            with pytest.raises(City.DoesNotExist):
                City.objects.get_from_cache(slug=old)

    @pytest.mark.parametrize("write", WRITES)
    def test_a_swap_of_two_slugs(self, write: Callable[..., None], cities: list[City]) -> None:
        """After it each slug leads to the other row, though every pointer was remembered."""
        oslo, bergen, _ = cities
        warm(*cities)
        with transaction.atomic():
            write(oslo, slug="-")
            write(bergen, slug="oslo")
            write(oslo, slug="bergen")
        for _ in range(3):
            assert City.objects.get_from_cache(slug="oslo").pk == bergen.pk
            assert City.objects.get_from_cache(slug="bergen").pk == oslo.pk
            found = City.objects.get_many_from_cache(["bergen", "oslo"], key="slug")
            assert [(city.pk, city.slug) for city in found] == [(oslo.pk, "bergen"), (bergen.pk, "oslo")]

    @pytest.mark.parametrize("name", DELETES)
    def test_deleted_and_made_again_with_the_same_slug(
        self, name: str, cities: list[City], norway: Country, place: Callable[[], Any]
    ) -> None:
        """The slug leads to the new row, and the key of the old one to none."""
        oslo = cities[0]
        pk = oslo.pk
        warm(*cities)
        with place():
            DELETES[name](oslo)
            again = City.objects.create(slug="oslo", name="Oslo", country=norway, population=5)
        for _ in range(3):
            assert City.objects.get_from_cache(slug="oslo") == again
            assert City.objects.get_from_cache(country=norway, name="Oslo") == again
            with pytest.raises(City.DoesNotExist):
                City.objects.get_from_cache(pk=pk)
            assert City.objects.get_many_from_cache([pk, again.pk]) == [again]

    @pytest.mark.parametrize("name", DELETES)
    def test_deleted_and_made_again_with_the_same_key(self, name: str, cities: list[City], norway: Country) -> None:
        """The row is the new one by every way, also by the slug that the old one did not have."""
        oslo = cities[0]
        pk = oslo.pk
        warm(*cities)
        DELETES[name](oslo)
        City.objects.create(pk=pk, slug="oslo-2", name="Oslo", country=norway, population=5)
        for _ in range(3):
            assert City.objects.get_from_cache(pk=pk).population == 5
            assert City.objects.get_from_cache(slug="oslo-2").pk == pk
            with pytest.raises(City.DoesNotExist):
                City.objects.get_from_cache(slug="oslo")


class TestOnlyWhatWasTouched:
    """A write costs the rows it changes their place in the cache, and no others."""

    @pytest.fixture(autouse=True)
    def _all_warm(self, each_cache: Cache, cities: list[City]) -> None:
        """Every row is cached by every way."""
        warm(*cities)

    @pytest.mark.parametrize("write", WRITES)
    def test_by_a_write(self, write: Callable[..., None], cities: list[City], place: Callable[[], Any]) -> None:
        """save, save of some fields, update of a queryset and bulk_update outdate one row, and its neighbours hit."""
        with cachecore_counts(invalidations=1), place():
            write(cities[1], population=5)
        with cachecore_counts(hits=4, misses=0, queries=0):
            for city in (cities[0], cities[2]):
                assert City.objects.get_from_cache(pk=city.pk) == city
                assert City.objects.get_from_cache(slug=city.slug) == city
        with cachecore_counts(hits=0, misses=1, queries=1):
            assert City.objects.get_from_cache(pk=cities[1].pk).population == 5
        with cachecore_counts(hits=1, queries=0):
            assert City.objects.get_from_cache(slug="bergen").population == 5

    @pytest.mark.parametrize("name", DELETES)
    def test_by_a_delete(self, name: str, cities: list[City], place: Callable[[], Any]) -> None:
        """delete of an instance and of a queryset."""
        pk = cities[1].pk
        with place():
            DELETES[name](cities[1])
        with cachecore_counts(hits=4, misses=0, queries=0):
            for city in (cities[0], cities[2]):
                assert City.objects.get_from_cache(pk=city.pk) == city
                assert City.objects.get_from_cache(slug=city.slug) == city
        with pytest.raises(City.DoesNotExist):
            City.objects.get_from_cache(pk=pk)

    @pytest.mark.django_db(transaction=True)
    def test_by_a_write_that_is_undone(self, cities: list[City]) -> None:
        """A rollback outdates nothing at all."""
        with cachecore_counts(invalidations=0), transaction.atomic():
            for write in WRITES:
                write(cities[1], population=5)
            transaction.set_rollback(True)
        with cachecore_counts(hits=3, misses=0, queries=0):
            for city in cities:
                assert City.objects.get_from_cache(pk=city.pk).population == 0

    def test_by_a_write_to_another_model(self, cities: list[City], norway: Country) -> None:
        """Renaming the country of cities changes no row of theirs."""
        Country.objects.filter(pk=norway.pk).update(name="Norge")
        norway.save()
        with cachecore_counts(hits=3, misses=0, queries=0):
            for city in cities:
                City.objects.get_from_cache(pk=city.pk)
