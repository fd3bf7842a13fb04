"""Outdating and refreshing by hand: every kind of target, in and outside transactions, and each wrong one."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.test import TestCase, override_settings

from cachecore.cache import Cache
from cachecore.errors import BackendError, BackendUnavailable, UncacheableLookup
from cachecore.integrations.django import ainvalidate, cache_bypassed, caches, invalidate
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import MEMORY, Parallel, behind_the_back
from tests.geo_app.models import BulkCity, City, CityProxy, Country, Landmark, Place, Restaurant, Seat

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cities(db: None) -> list[City]:
    """Three cities."""
    norway = Country.objects.create(code="NO", name="Norway")
    return [City.objects.create(slug=name.lower(), name=name, country=norway) for name in ("Oslo", "Moss", "Voss")]


def warm(*cities: City) -> None:
    """Put cities into the cache, then change all behind its back."""
    for _ in range(2):
        City.objects.get_many_from_cache([city.pk for city in cities])
        City.objects.get_many_from_cache([city.slug for city in cities], key="slug")
    behind_the_back("UPDATE geo_app_city SET population = population + 1")


def told(*cities: City) -> list[int]:
    """The populations that readers are told."""
    return [City.objects.get_from_cache(slug=city.slug).population for city in cities]


class TestTargets:
    """invalidate() takes instances, querysets, models and iterables."""

    def test_an_instance(self, each_cache: Cache, cities: list[City]) -> None:
        """Its row, and no other."""
        warm(*cities)
        invalidate(cities[0])
        assert told(*cities) == [1, 0, 0]

    def test_an_instance_of_a_proxy_and_one_that_is_deferred(self, each_cache: Cache, cities: list[City]) -> None:
        """The row is the same, and nothing is loaded for it."""
        warm(*cities)
        invalidate(CityProxy._default_manager.only("pk").get(pk=cities[0].pk))
        assert told(*cities) == [1, 0, 0]

    def test_a_queryset(self, each_cache: Cache, cities: list[City], django_assert_num_queries: Any) -> None:
        """The rows that it matches, by one query; ordered, sliced and united ones and those of values too."""
        rows = City.objects.order_by("slug")
        for queryset, expected in (
            (rows.filter(name__endswith="oss"), [0, 1, 1]),
            (rows[:1], [0, 1, 0]),
            (City.objects.filter(slug="oslo").union(City.objects.filter(slug="voss")), [1, 0, 1]),
            (rows.filter(slug="moss").values("name"), [0, 1, 0]),
            (rows.filter(country__code="NO").distinct(), [1, 1, 1]),
            (City.objects.none(), [0, 0, 0]),
        ):
            City.objects.update(population=0)
            warm(*cities)
            with django_assert_num_queries(0 if queryset.query.is_empty() else 1):
                invalidate(queryset)
            assert told(*cities) == expected

    def test_a_manager(self, each_cache: Cache, cities: list[City]) -> None:
        """Stands for the rows that it shows: a related manager for those of its instance."""
        warm(*cities)
        norway = Country.objects.get()
        invalidate(norway.cities)
        assert told(*cities) == [1, 1, 1]

    def test_more_rows_than_can_be_named(self, fake_server: FakeBackend) -> None:
        """Then all rows of the model are outdated, by one key."""
        made = [BulkCity.objects.create(slug=f"s{number}") for number in range(5)]
        fake_server.log.clear()
        invalidate(BulkCity.objects.all())
        assert [len(call.keys) for call in fake_server.log] == [1]
        fake_server.log.clear()
        invalidate(BulkCity.objects.filter(pk__lte=made[1].pk))
        assert [len(call.keys) for call in fake_server.log] == [2]

    def test_a_model(self, each_cache: Cache, cities: list[City]) -> None:
        """All its rows."""
        warm(*cities)
        invalidate(City)
        assert told(*cities) == [1, 1, 1]

    def test_instances_of_several_models(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """Any iterable of them; each row once, one call to the cache for each model."""
        warm(*cities)
        Country.objects.get_from_cache(code="NO")
        fake_server.log.clear()
        invalidate(one for one in (cities[0], Country.objects.get(), cities[1], cities[0]))
        assert sorted(len(call.keys) for call in fake_server.log) == [1, 2]
        assert told(*cities) == [1, 1, 0]
        invalidate([])

    def test_a_composite_key(self, each_cache: Cache) -> None:
        """It is known by all its parts."""
        seat = Seat.objects.create(row="A", number=1, code="A1")
        for _ in range(2):
            Seat.objects.get_from_cache(code="A1")
        behind_the_back("UPDATE geo_app_seat SET taken = (1 = 1)")
        assert not Seat.objects.get_from_cache(code="A1").taken
        invalidate(seat)
        assert Seat.objects.get_from_cache(code="A1").taken
        invalidate(Seat.objects.filter(number=1))

    @pytest.mark.parametrize("by", ["parent", "child", "queryset", "child queryset"])
    def test_parents_and_children(self, by: str, each_cache: Cache) -> None:
        """In multi-table inheritance whoever outdates one outdates both."""
        grill = Restaurant.objects.create(name="Grill")
        for _ in range(2):
            Place.objects.get_from_cache(name="Grill")
            Restaurant.objects.get_from_cache(pk=grill.pk)
        behind_the_back("UPDATE geo_app_place SET open = (1 = 0)")
        targets = {
            "parent": Place.objects.get(),
            "child": grill,
            "queryset": Place.objects.all(),
            "child queryset": Restaurant.objects.all(),
        }
        invalidate(targets[by])
        assert not Place.objects.get_from_cache(name="Grill").open
        assert not Restaurant.objects.get_from_cache(pk=grill.pk).open

    async def test_awaited(self, each_cache: Cache, cities: list[City]) -> None:
        """Also an async iterable, such as a queryset's aiterator()."""
        await sync_to_async(warm)(*cities)
        await ainvalidate(cities[0])
        await ainvalidate(City.objects.filter(slug="moss").aiterator())
        assert await sync_to_async(told)(*cities) == [1, 1, 0]

    @pytest.mark.parametrize(
        ("target", "said"),
        [
            (3, r"takes an instance of a model, a queryset, a model or an iterable of instances, not 3"),
            ("geo_app.City", r"not 'geo_app\.City'"),
            (None, r"not None"),
            ({"pk": 3}, r"not \{'pk': 3\}"),
            ([3], r"not 3"),
            (dict, r"not <class 'dict'>"),
            (City(), r"geo_app\.City: an instance without a primary key names no row"),
            ([City()], r"geo_app\.City: an instance without a primary key"),
            (Seat(row="A"), r"geo_app\.Seat: an instance without a primary key"),
            (Landmark(pk=1), r"nothing of geo_app\.Landmark is cached"),
            (Landmark, r"nothing of geo_app\.Landmark is cached"),
        ],
    )
    def test_what_is_no_target(self, target: Any, said: str, fake_server: FakeBackend) -> None:
        """It is named, and nothing is outdated."""
        with pytest.raises(UncacheableLookup, match=said):
            invalidate(target)
        assert fake_server.log == []

    def test_a_deleted_instance(self, each_cache: Cache, cities: list[City]) -> None:
        """Django has taken its primary key away, and the delete has outdated the row."""
        cities[0].delete()
        with pytest.raises(UncacheableLookup, match="without a primary key"):
            invalidate(cities[0])

    def test_a_key_that_the_column_cannot_hold(self, each_cache: Cache) -> None:
        """All rows are outdated: nobody can tell which is meant."""
        invalidate(City(pk="no number"))

    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    def test_another_database(self, each_cache: Cache, cities: list[City]) -> None:
        """That of the argument, else the one that writes of the target go to."""
        Country.objects.using("other").create(pk=cities[0].country_id, code="NO")
        twin = City.objects.using("other").create(
            pk=cities[0].pk, slug="oslo", name="O", country_id=cities[0].country_id
        )
        there = City.objects.db_manager("other")
        for target, using in ((twin, None), (cities[0], "other"), (City, "other"), (there.all(), None)):
            warm(*cities)
            there.get_from_cache(pk=twin.pk)
            behind_the_back("UPDATE geo_app_city SET population = population + 1", "other")
            before = told(*cities)
            invalidate(target, using=using)
            assert there.get_from_cache(pk=twin.pk).population == there.get().population
            assert told(*cities) == before


class TestMoments:
    """When it acts."""

    def test_outside_a_transaction_it_is_one_round_trip(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """And what it outdates is gone when it returns."""
        invalidate(cities)
        assert [(call.name, len(call.keys)) for call in fake_server.log] == [("complete", 3)]

    def test_in_a_transaction_it_acts_at_once_and_at_commit(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """At once for what others have committed, at COMMIT for what is written here past everybody's eyes."""
        warm(cities[0])
        fake_server.log.clear()
        with transaction.atomic():
            invalidate(cities[0])
            assert fake_server.operations() == ["complete"]
            assert told(cities[0]) == [1]
        assert [name for name in fake_server.operations() if name != "get"] == ["complete", "hold", "complete"]

    def test_nobody_puts_the_old_row_back_meanwhile(
        self, each_cache: Cache, cities: list[City], parallel: Parallel
    ) -> None:
        """A reader who fills between the call and COMMIT fills what the commit outdates."""
        for _ in range(2):
            told(cities[0])
        with transaction.atomic():
            behind_the_back("UPDATE geo_app_city SET population = 7")
            invalidate(cities[0])
            assert told(cities[0]) == [7]
            for _ in range(2):
                assert parallel.run(told, cities[0]) == [0]
        assert told(cities[0]) == [7]
        assert parallel.run(told, cities[0]) == [7]

    def test_after_a_rollback(self, each_cache: Cache, cities: list[City], django_assert_num_queries: Any) -> None:
        """The rows were outdated in vain, once, and are read and cached again."""
        warm(cities[0])
        with transaction.atomic():
            invalidate(cities[0])
            transaction.set_rollback(True)
        assert told(cities[0]) == [1]
        with django_assert_num_queries(0):
            assert told(cities[0]) == [1]

    @pytest.mark.parametrize("in_transaction", [False, True])
    def test_the_cache_is_away(self, in_transaction: bool, fake_server: FakeBackend, cities: list[City]) -> None:
        """The caller learns it; in a transaction the row is outdated when it is committed all the same."""
        warm(cities[0])
        fake_server.fail("complete", error=BackendUnavailable("gone"))
        if in_transaction:
            with transaction.atomic(), pytest.raises(BackendError, match="gone"):
                invalidate(cities[0])
            assert told(cities[0]) == [1]
        else:
            with pytest.raises(BackendError, match="gone"):
                invalidate(cities[0])


class TestUncache:
    """uncache_object, by key and by instance."""

    def test_it_takes_instances(self, each_cache: Cache, cities: list[City]) -> None:
        """As well as keys, of any form that names the row."""
        for number, target in enumerate((cities[0], cities[0].pk, str(cities[0].pk)), 1):
            warm(cities[0])
            City.objects.uncache_object(target)
            assert told(cities[0]) == [number]

    def test_in_a_transaction(self, each_cache: Cache, cities: list[City], parallel: Parallel) -> None:
        """It joins what the transaction writes, as invalidate does."""
        warm(cities[0])
        with transaction.atomic():
            behind_the_back("UPDATE geo_app_city SET population = 7")
            City.objects.uncache_object(cities[0].pk)
            assert told(cities[0]) == [7]
            assert parallel.run(told, cities[0]) == [1]
        assert told(cities[0]) == [7]

    async def test_awaited(self, each_cache: Cache, cities: list[City]) -> None:
        """auncache_object."""
        await sync_to_async(warm)(cities[0])
        await City.objects.auncache_object(cities[0])
        assert await sync_to_async(told)(cities[0]) == [1]

    @pytest.mark.parametrize("target", [None, "x", City(), Country(pk=1), Country(), [1]])
    def test_what_names_no_row(self, target: Any, fake_server: FakeBackend) -> None:
        """An error, and nothing is outdated."""
        for method in (City.objects.uncache_object, City.objects.refresh_in_cache):
            with pytest.raises(UncacheableLookup):
                method(target)
        assert fake_server.log == []


class TestRefresh:
    """refresh_in_cache: outdated, read, and there for the next reader."""

    def test_the_next_reader_has_a_hit(
        self, each_cache: Cache, cities: list[City], django_assert_num_queries: Any
    ) -> None:
        """One query, and the instance as it is now."""
        warm(cities[0])
        with django_assert_num_queries(1):
            found = City.objects.refresh_in_cache(cities[0])
        assert found is not None
        assert (found, found.population, found._state.db) == (cities[0], 1, "default")
        with django_assert_num_queries(0):
            assert told(cities[0]) == [1]

    def test_a_row_that_is_not_there(self, each_cache: Cache, cities: list[City]) -> None:
        """None; if it was cached it is not any more."""
        warm(cities[0])
        behind_the_back(f"DELETE FROM geo_app_city WHERE id = {cities[0].pk}")
        assert City.objects.refresh_in_cache(cities[0].pk) is None
        with pytest.raises(City.DoesNotExist):
            City.objects.get_from_cache(pk=cities[0].pk)

    def test_in_a_transaction(
        self, each_cache: Cache, cities: list[City], parallel: Parallel, django_assert_num_queries: Any
    ) -> None:
        """It shows what the transaction sees, and fills when that is committed."""
        warm(cities[0])
        with transaction.atomic():
            City.objects.filter(pk=cities[0].pk).update(population=7)
            found = City.objects.refresh_in_cache(cities[0].pk)
            assert found is not None
            assert found.population == 7
            assert parallel.run(told, cities[0]) == [1]
        with django_assert_num_queries(0):
            assert told(cities[0]) == [7]

    async def test_awaited(self, each_cache: Cache, cities: list[City]) -> None:
        """arefresh_in_cache."""
        await sync_to_async(warm)(cities[0])
        found = await City.objects.arefresh_in_cache(cities[0].pk)
        assert found is not None
        assert found.population == 1

    def test_where_the_cache_is_bypassed(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """The row is outdated, and nothing is filled."""
        warm(cities[0])
        fake_server.log.clear()
        with cache_bypassed():
            found = City.objects.refresh_in_cache(cities[0].pk)
        assert found is not None
        assert found.population == 1
        assert fake_server.operations() == ["complete"]


class TestInATestCase(TestCase):
    """In Django's TestCase, whose transaction is the world."""

    def test_it_acts_as_outside_a_transaction(self) -> None:
        """Outdated at once, and filled by refresh_in_cache."""
        with override_settings(CACHECORE=MEMORY):
            norway = Country.objects.create(code="NO", name="Norway")
            for _ in range(2):
                Country.objects.get_from_cache(code="NO")
            behind_the_back("UPDATE geo_app_country SET name = 'Norge'")
            invalidate(norway)
            assert Country.objects.get_from_cache(code="NO").name == "Norge"
            with transaction.atomic():
                behind_the_back("UPDATE geo_app_country SET name = 'Noreg'")
                assert Country.objects.refresh_in_cache(norway).name == "Noreg"  # type: ignore[union-attr]
            hits = caches["default"].statistics.hits
            assert Country.objects.get_from_cache(pk=norway.pk).name == "Noreg"
            assert Country.objects.get_from_cache(pk=norway.pk).name == "Noreg"
            assert caches["default"].statistics.hits > hits
            assert not connections["default"].needs_rollback
