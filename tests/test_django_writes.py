"""Every way in which the ORM writes outdates the cached rows it changes, and no others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core import serializers
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connections, models, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat, Upper
from django.db.models.signals import post_migrate, pre_save

from cachecore.cache import Cache
from cachecore.errors import BackendTimeout
from cachecore.integrations.django import CommitRefused, caches, declaration
from cachecore.integrations.django.declaration import Declaration, affected_by, declare, declared
from cachecore.integrations.django.writing.databases import database_of
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import REFUSING, behind_the_back, norwegian_cities, server
from tests.geo_app.models import (
    Badge,
    BoundedCity,
    BulkCity,
    City,
    CityProxy,
    Country,
    Device,
    Person,
    Place,
    Restaurant,
    River,
    Seat,
    Visitor,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def norway(db: None) -> Country:
    """A country."""
    return Country.objects.create(code="NO", name="Norway")


@pytest.fixture
def cities(norway: Country) -> list[City]:
    """Three cities."""
    return norwegian_cities(norway)


def warm(*rows: models.Model) -> None:
    """Have every row in the cache."""
    for row in rows:
        type(row).objects.get_from_cache(pk=row.pk)


def is_cached(row: models.Model) -> bool:
    """Whether a row is answered by the cache; it is afterwards."""
    statistics = caches["default"].statistics
    before = statistics.hits
    type(row).objects.get_from_cache(pk=row.pk)
    return statistics.hits > before


def by_save(city: City) -> None:
    city.population = 5
    city.save()


def by_partial_save(city: City) -> None:
    City(pk=city.pk, population=5).save(update_fields=["population"])


def by_forced_save(city: City) -> None:
    city.population = 5
    city.save(force_update=True)


def by_stale_instance(city: City) -> None:
    stale = City.objects.defer("name", "slug").get(pk=city.pk)
    stale.population = 5
    stale.save()


def by_proxy(city: City) -> None:
    proxy = CityProxy.objects.get(pk=city.pk)
    proxy.population = 5
    proxy.save()


def by_fixture(city: City) -> None:
    city.population = 5
    for loaded in serializers.deserialize("json", serializers.serialize("json", [city])):
        loaded.save()


def by_bulk_create_with_conflicts(city: City) -> None:
    again = City(slug="oslo", name="Oslo", country_id=city.country_id, population=5)
    City.objects.bulk_create([again], update_conflicts=True, unique_fields=["slug"], update_fields=["population"])


def by_text_key(city: City) -> None:
    city.pk = str(city.pk)
    by_save(city)


WRITES: dict[str, Callable[[City], object]] = {
    "save": by_save,
    "save(update_fields=...)": by_partial_save,
    "save(force_update=True)": by_forced_save,
    "save of a deferred instance": by_stale_instance,
    "save of a proxy": by_proxy,
    "save with a key that is text": by_text_key,
    "a fixture": by_fixture,
    "update": lambda city: City.objects.filter(pk=city.pk).update(population=5),
    "update of a slice of the table": lambda city: City.objects.filter(slug__startswith="osl").update(population=5),
    "update over a join": lambda city: City.objects.filter(country__code="NO", name="Oslo").update(population=5),
    "update by an expression": lambda city: City.objects.filter(pk=city.pk).update(population=F("population") + 5),
    "update of an ordered queryset": lambda city: (
        City.objects.order_by("name").filter(name="Oslo").update(population=5)
    ),
    "update of a values queryset": lambda city: City.objects.values("name").filter(name="Oslo").update(population=5),
    "update of an annotated queryset": lambda city: (
        City.objects.annotate(n=models.Count("residents")).filter(n=0, slug="oslo").update(population=5)
    ),
    "update by a proxy": lambda city: CityProxy.objects.filter(pk=city.pk).update(population=5),
    "update by a related manager": lambda city: city.country.cities.filter(pk=city.pk).update(population=5),
    "update by the base manager": lambda city: City._base_manager.filter(pk=city.pk).update(population=5),
    "bulk_update": lambda city: City.objects.bulk_update([City(pk=city.pk, population=5)], ["population"]),
    "bulk_update in batches": lambda city: City.objects.bulk_update(
        [City(pk=city.pk, population=5)], ["population"], batch_size=1
    ),
    "bulk_create with update_conflicts": by_bulk_create_with_conflicts,
    "update_or_create": lambda city: City.objects.update_or_create(slug="oslo", defaults={"population": 5}),
    "delete and create": lambda city: (
        City.objects.filter(pk=city.pk).delete(),
        City.objects.create(pk=city.pk, slug="oslo", name="Oslo", country_id=city.country_id, population=5),
    ),
}


@pytest.mark.usefixtures("each_cache")
@pytest.mark.parametrize("name", WRITES)
def test_a_write_outdates_the_row_it_changes(name: str, cities: list[City]) -> None:
    """After each kind of write the row is fresh by every lookup."""
    for _ in range(2):
        warm(*cities)
        City.objects.get_from_cache(slug="oslo")
    WRITES[name](City.objects.get(pk=cities[0].pk))
    assert City.objects.get(pk=cities[0].pk).population == 5
    assert City.objects.get_from_cache(pk=cities[0].pk).population == 5
    assert City.objects.get_from_cache(slug="oslo").population == 5


@pytest.mark.usefixtures("each_cache")
@pytest.mark.parametrize("name", [name for name in WRITES if "conflicts" not in name])
def test_a_write_outdates_no_other_row(name: str, cities: list[City]) -> None:
    """The neighbours of a written row stay in the cache."""
    warm(*cities)
    WRITES[name](City.objects.get(pk=cities[0].pk))
    assert is_cached(cities[1])
    assert is_cached(cities[2])


@pytest.mark.usefixtures("each_cache")
@pytest.mark.parametrize("name", WRITES)
def test_a_write_in_a_transaction_outdates_too(name: str, cities: list[City]) -> None:
    """The same in an atomic block: inside it the new value, and outside it the new value."""
    warm(*cities)
    with transaction.atomic():
        WRITES[name](City.objects.get(pk=cities[0].pk))
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 5
    assert City.objects.get_from_cache(pk=cities[0].pk).population == 5


DELETES: dict[str, Callable[[City], object]] = {
    "delete": lambda city: city.delete(),
    "delete of a queryset": lambda city: City.objects.filter(pk=city.pk).delete(),
    "delete of a proxy": lambda city: CityProxy.objects.get(pk=city.pk).delete(),
    "delete by a related manager": lambda city: city.country.cities.filter(pk=city.pk).delete(),
    "delete by the fast path": lambda city: City.objects.filter(pk=city.pk)._raw_delete("default"),
}


@pytest.mark.usefixtures("each_cache")
@pytest.mark.parametrize("name", DELETES)
def test_a_deleted_row_is_gone(name: str, cities: list[City]) -> None:
    """After each kind of delete the row is not found by any lookup, and its neighbours are."""
    for _ in range(2):
        warm(*cities)
        City.objects.get_from_cache(slug="oslo")
    pk = cities[0].pk
    DELETES[name](City.objects.get(pk=pk))
    for query in ({"pk": pk}, {"slug": "oslo"}, {"country": cities[1].country, "name": "Oslo"}):
        with pytest.raises(City.DoesNotExist):
            City.objects.get_from_cache(**query)
    if "fast path" not in name:
        assert is_cached(cities[1])


@pytest.mark.usefixtures("each_cache")
class TestRelations:
    """Rows that change because another row does."""

    def test_cascades(self, cities: list[City], norway: Country) -> None:
        """Deleting a country deletes its cities and what hangs on them, and none is found afterwards."""
        badge = Badge.objects.create(country=norway, text="fjords")
        warm(*cities, badge)
        Country.objects.filter(pk=norway.pk).delete()
        for row in (*cities, badge):
            with pytest.raises(type(row).DoesNotExist):
                type(row).objects.get_from_cache(pk=row.pk)

    @pytest.mark.parametrize("delete", [lambda city: city.delete(), lambda c: City.objects.filter(pk=c.pk).delete()])
    def test_set_null_and_set_default(self, delete: Any, cities: list[City]) -> None:
        """Deleting a city changes the rows that pointed at it, though no signal says so."""
        person = Person.objects.create(name="Ada", home=cities[0], work=cities[0])
        visitor = Visitor.objects.create(city=cities[0])
        warm(person, visitor)
        delete(cities[0])
        found = Person.objects.get_from_cache(pk=person.pk)
        assert (found.home_id, found.work_id) == (None, None)
        assert Visitor.objects.get_from_cache(pk=visitor.pk).city_id is None

    def test_set_null_at_the_end_of_a_cascade(self, cities: list[City], norway: Country) -> None:
        """Deleting a country deletes its cities, which changes the persons who lived there."""
        person = Person.objects.create(name="Ada", home=cities[0])
        warm(person)
        norway.delete()
        assert Person.objects.get_from_cache(pk=person.pk).home_id is None

    def test_related_managers(self, cities: list[City]) -> None:
        """add, remove, set, clear and update of the other side of a foreign key are seen."""
        oslo, bergen, _ = cities
        person = Person.objects.create(name="Ada")
        visits: list[tuple[Callable[[], Any], int | None]] = [
            (lambda: oslo.residents.add(person), oslo.pk),
            (lambda: oslo.residents.remove(person), None),
            (lambda: bergen.residents.set([person]), bergen.pk),
            (lambda: bergen.residents.clear(), None),
            (lambda: oslo.residents.add(person, bulk=False), oslo.pk),
            (lambda: oslo.residents.update(home=bergen), bergen.pk),
        ]
        for write, home in visits:
            warm(person)
            person.refresh_from_db()
            write()
            assert Person.objects.get_from_cache(pk=person.pk).home_id == home

    def test_a_parent_by_its_child(self) -> None:
        """Saving or updating a child changes the cached row of its parent."""
        grill = Restaurant.objects.create(name="Grill", stars=1)
        place = Place.objects.get(pk=grill.pk)
        warm(grill, place)
        grill.name = "Grill 2"
        grill.save()
        assert Place.objects.get_from_cache(pk=grill.pk).name == "Grill 2"
        Restaurant.objects.filter(stars=1).update(name="Grill 3")
        assert Place.objects.get_from_cache(pk=grill.pk).name == "Grill 3"
        assert Restaurant.objects.get_from_cache(pk=grill.pk).name == "Grill 3"
        Restaurant.objects.bulk_update([Restaurant(pk=grill.pk, stars=4)], ["stars"])
        assert Restaurant.objects.get_from_cache(pk=grill.pk).stars == 4
        grill.delete()
        for model in (Place, Restaurant):
            with pytest.raises(model.DoesNotExist):
                model.objects.get_from_cache(pk=place.pk)

    def test_a_parent_by_its_child_of_which_only_the_own_columns_were_loaded(
        self, django_assert_num_queries: Any
    ) -> None:
        """A deferred child outdates its parent's row if it changes it, and nothing is loaded to find out which."""
        grill = Restaurant.objects.create(name="Grill", stars=1)
        place = Place.objects.get(pk=grill.pk)
        warm(place)
        partial = Restaurant.objects.only("stars").get(pk=grill.pk)
        partial.stars = 2
        with django_assert_num_queries(1):
            partial.save()
        assert is_cached(place)
        partial = Restaurant.objects.only("stars").get(pk=grill.pk)
        partial.name = "Grill 2"
        partial.save(update_fields=["name"])
        assert Place.objects.get_from_cache(pk=grill.pk).name == "Grill 2"

    def test_a_child_by_its_parent(self) -> None:
        """Saving, updating or deleting a parent changes the cached row of its child."""
        grill = Restaurant.objects.create(name="Grill", stars=1)
        place = Place.objects.get(pk=grill.pk)
        warm(grill)
        place.name = "Place 2"
        place.save()
        assert Restaurant.objects.get_from_cache(pk=grill.pk).name == "Place 2"
        Place.objects.update(name="Place 3")
        assert Restaurant.objects.get_from_cache(pk=grill.pk).name == "Place 3"
        Place.objects.bulk_update([Place(pk=place.pk, name="Place 4")], ["name"])
        assert Restaurant.objects.get_from_cache(name="Place 4").pk == grill.pk
        place.delete()
        with pytest.raises(Restaurant.DoesNotExist):
            Restaurant.objects.get_from_cache(pk=grill.pk)

    def test_a_parent_that_becomes_a_restaurant(self) -> None:
        """A child made around an existing parent outdates the parent's row."""
        place = Place.objects.create(name="Hall")
        warm(place)
        child = Restaurant(place_ptr=place, stars=3, name="Grill")
        child.save()
        assert Place.objects.get_from_cache(pk=place.pk).name == "Grill"
        assert Restaurant.objects.get_from_cache(pk=place.pk).stars == 3

    def test_a_model_made_from_an_abstract_one(self) -> None:
        """A manager inherited from an abstract base outdates its own model."""
        river = River.objects.create(name="Glomma", length=600)
        warm(river)
        River.objects.update(length=604)
        assert River.objects.get_from_cache(name="Glomma").length == 604


@pytest.mark.usefixtures("each_cache")
class TestBulk:
    """Bulk writes, by rows and by the epoch."""

    def test_rows_that_appear_in_bulk(self, norway: Country) -> None:
        """bulk_create of new rows outdates nothing and finds all."""
        rows = City.objects.bulk_create(City(slug=f"c{n}", name=f"C{n}", country=norway) for n in range(3))
        assert City.objects.get_many_from_cache(["c0", "c2"], key="slug") == [rows[0], rows[2]]
        devices = Device.objects.bulk_create([Device(label="a"), Device(label="b")])
        assert Device.objects.get_many_from_cache([one.pk for one in devices]) == devices
        assert City.objects.bulk_create([]) == []

    def test_rows_that_are_ignored(self, cities: list[City]) -> None:
        """bulk_create with ignore_conflicts changes no row."""
        warm(*cities)
        City.objects.bulk_create([City(slug="oslo", name="X", country=cities[0].country)], ignore_conflicts=True)
        assert City.objects.get_from_cache(slug="oslo").name == "Oslo"

    def test_positional_arguments_of_bulk_create(self, cities: list[City]) -> None:
        """update_conflicts as a positional argument is seen."""
        warm(*cities)
        oslo = City(slug="oslo", name="Oslo", country=cities[0].country, population=5)
        City.objects.bulk_create([oslo], None, False, True, ["population"], ["slug"])
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 5

    def test_an_update_of_many_rows_outdates_all_by_the_epoch(self, settings: Any) -> None:
        """More rows than bulk_threshold outdate every row with one key; as many as it are outdated one by one."""
        rows = [BulkCity.objects.create(slug=f"c{n}") for n in range(6)]
        warm(*rows)
        BulkCity.objects.filter(slug__in=["c0", "c1", "c2"]).update(population=1)
        assert [is_cached(row) for row in rows] == [False, False, False, True, True, True]
        BulkCity.objects.filter(slug__in=["c0", "c1", "c2", "c3"]).update(population=2)
        assert [BulkCity.objects.get_from_cache(slug=f"c{n}").population for n in range(6)] == [2, 2, 2, 2, 0, 0]
        warm(*rows)
        caches["default"].statistics.reset()
        BulkCity.objects.bulk_update([BulkCity(pk=row.pk, population=3) for row in rows[:4]], ["population"])
        assert [row.population for row in BulkCity.objects.get_many_from_cache([r.pk for r in rows])] == [
            3,
            3,
            3,
            3,
            0,
            0,
        ]
        assert caches["default"].statistics.hits == 0

    def test_an_update_that_matches_nothing(self, cities: list[City]) -> None:
        """No row, no change, and the number that Django returns."""
        warm(*cities)
        assert City.objects.filter(slug="nowhere").update(population=5) == 0
        assert City.objects.none().update(population=5) == 0
        assert City.objects.bulk_update([], ["population"]) == 0
        assert all(is_cached(city) for city in cities)

    def test_an_update_returns_what_django_returns(self, cities: list[City]) -> None:
        """The number of rows that matched."""
        assert City.objects.update(population=5) == 3
        assert City.objects.bulk_update(cities[:2], ["population"]) == 2

    def test_what_django_refuses_stays_refused(self, cities: list[City]) -> None:
        """Slices and unions cannot be updated, unsaved instances not bulk-updated."""
        with pytest.raises(TypeError, match="slice"):
            City.objects.all()[:1].update(population=5)
        with pytest.raises(DatabaseError, match="update"):
            City.objects.filter(pk=1).union(City.objects.filter(pk=2)).update(population=5)
        with pytest.raises(ValueError, match="primary key"):
            City.objects.bulk_update([City()], ["population"])

    def test_a_primary_key_that_is_renamed(self) -> None:
        """An update of a primary key outdates all rows: the old key is gone and the new one is found."""
        device = Device.objects.create(label="a")
        new = "00000000-0000-4000-8000-000000000001"
        warm(device)
        Device.objects.filter(pk=device.pk).update(id=new)
        with pytest.raises(Device.DoesNotExist):
            Device.objects.get_from_cache(pk=device.pk)
        assert Device.objects.get_from_cache(pk=new).label == "a"
        seat = Seat.objects.create(row="A", number=1, code="A1")
        warm(seat)
        Seat.objects.filter(code="A1").update(number=2)
        assert Seat.objects.get_from_cache(pk=("A", 2)).code == "A1"
        with pytest.raises(Seat.DoesNotExist):
            Seat.objects.get_from_cache(pk=("A", 1))

    def test_a_composite_key_is_written_by_every_way(self) -> None:
        """save, update, bulk_update and delete of rows with a key of two columns."""
        seats = [Seat.objects.create(row="A", number=n, code=f"A{n}") for n in range(3)]
        warm(*seats)
        seats[0].taken = True
        seats[0].save()
        assert Seat.objects.get_from_cache(pk=("A", 0)).taken
        Seat.objects.filter(code="A1").update(taken=True)
        assert Seat.objects.get_from_cache(pk=("A", 1)).taken
        seats[2].taken = True
        Seat.objects.bulk_update([seats[2]], ["taken"])
        assert Seat.objects.get_from_cache(code="A2").taken
        seats[2].delete()
        with pytest.raises(Seat.DoesNotExist):
            Seat.objects.get_from_cache(code="A2")


@pytest.mark.usefixtures("each_cache")
class TestExpressions:
    """What the database computes is read from the database."""

    def test_f_in_a_save(self, cities: list[City]) -> None:
        """An instance that carries an expression is never stored; the computed value is read."""
        warm(*cities)
        cities[0].population = F("population") + 7
        cities[0].save()
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 7

    def test_functions_in_a_save(self, cities: list[City]) -> None:
        """The same with functions, on a field that is a lookup."""
        warm(*cities)
        cities[0].slug = Concat(Value("x-"), Upper("slug"))
        cities[0].save()
        assert City.objects.get_from_cache(slug="x-OSLO").pk == cities[0].pk

    def test_attributes_that_were_not_converted(self, norway: Country) -> None:
        """A number assigned as text is read as a number."""
        city = City.objects.create(slug="oslo", name="Oslo", country=norway, population="12")
        assert City.objects.get_from_cache(pk=city.pk).population == 12

    def test_get_or_create(self, cities: list[City], norway: Country) -> None:
        """It creates once and is found by the cache each time."""
        made, created = City.objects.get_or_create(slug="moss", defaults={"name": "Moss", "country": norway})
        assert created
        assert City.objects.get_from_cache(slug="moss") == made
        assert City.objects.get_or_create(slug="moss") == (made, False)

    def test_a_changed_primary_key_makes_another_row(self, cities: list[City]) -> None:
        """save() with another pk inserts; the old row stays as it was."""
        warm(*cities)
        twin, pk = City.objects.get(pk=cities[0].pk), cities[0].pk
        twin.pk, twin.slug, twin.name = 999, "oslo-2", "Oslo 2"
        twin.save()
        assert City.objects.get_from_cache(pk=pk).slug == "oslo"
        assert City.objects.get_from_cache(pk=999).slug == "oslo-2"

    def test_a_primary_key_that_is_an_expression(self) -> None:
        """If the key of the written row is not known here, all rows are outdated and the save works."""
        country = Country.objects.create(code="NO", name="Norway")
        warm(country)
        Country(pk=Value(country.pk), code="NO", name="Norge").save(force_update=True)
        assert Country.objects.get_from_cache(pk=country.pk).name == "Norge"


@pytest.mark.usefixtures("each_cache")
class TestOddSaves:
    """Saves inside saves, failing saves and fixtures."""

    def test_an_instance_saved_by_a_receiver_of_its_own_save(self, cities: list[City]) -> None:
        """The inner save does not end the outer one's hold: the row is fresh after both."""
        seen: list[int] = []

        def save_again(sender: Any, instance: City, **_: Any) -> None:
            if not seen:
                seen.append(instance.population)
                instance.population = 1
                instance.save()
                seen.append(City.objects.get_from_cache(pk=instance.pk).population)
                instance.population = 2

        pre_save.connect(save_again, sender=City)
        try:
            warm(*cities)
            cities[0].save()
        finally:
            pre_save.disconnect(save_again, sender=City)
        assert seen == [0, 1]
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 2

    def test_a_save_that_fails_leaves_the_row_readable(self, cities: list[City]) -> None:
        """A violated constraint raises; every row is still read right, by every lookup."""
        warm(*cities)
        cities[0].slug = "bergen"
        with pytest.raises(IntegrityError), transaction.atomic():
            cities[0].save()
        assert City.objects.get_from_cache(slug="bergen").pk == cities[1].pk
        assert City.objects.get_from_cache(slug="oslo").pk == cities[0].pk

    def test_fixtures(self, cities: list[City], tmp_path: Path) -> None:
        """loaddata, whose signals say raw, outdates what it overwrites."""
        warm(*cities)
        content = json.loads(serializers.serialize("json", [cities[0]]))
        content[0]["fields"]["population"] = 77
        path = tmp_path / "cities.json"
        path.write_text(json.dumps(content))
        call_command("loaddata", str(path), verbosity=0)
        assert City.objects.get_from_cache(slug="oslo").population == 77

    def test_migrations_outdate_every_row_of_their_application(self, cities: list[City]) -> None:
        """When migrations have ended, what they may have written is read anew."""
        warm(*cities)
        behind_the_back("UPDATE geo_app_city SET population = 5")
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 0
        config = apps.get_app_config("geo_app")
        post_migrate.send(config, app_config=config, using="default", verbosity=0, interactive=False)
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 5

    @pytest.mark.django_db(transaction=True, databases=["default", "twin"])
    def test_two_aliases_of_one_database_outdate_each_others_rows(self, cities: list[City]) -> None:
        """A row has one key, whichever alias it is read or written by."""
        twin = City.objects.db_manager("twin")
        for _ in range(2):
            assert City.objects.get_from_cache(pk=cities[0].pk).population == cities[0].population
            assert twin.get_from_cache(pk=cities[0].pk).population == cities[0].population
        City.objects.using("twin").filter(pk=cities[0].pk).update(population=77)
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 77
        cities[0].population = 78
        cities[0].save(using="default")
        assert twin.get_from_cache(pk=cities[0].pk).population == 78

    def test_which_aliases_share_a_database(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same ENGINE, HOST, PORT and NAME is one database; databases in memory are each their own."""
        one = {"ENGINE": "e", "HOST": "h", "PORT": 5432, "NAME": "shop", "USER": "a"}
        settings = {
            "default": one,
            "replica": {**one, "HOST": "r"},
            "reports": {**one, "PORT": "5432", "USER": "b"},
            "memory": {**one, "NAME": ":memory:"},
            "memory2": {**one, "NAME": ":memory:"},
        }
        monkeypatch.setattr(connections, "settings", settings)
        assert {alias: database_of(alias) for alias in settings} == {
            "default": "default",
            "replica": "replica",
            "reports": "default",
            "memory": "memory",
            "memory2": "memory2",
        }

    @pytest.mark.django_db(databases=["default", "other"])
    def test_writes_with_using(self) -> None:
        """save(using=), delete(using=) and using() outdate the rows of that database."""
        for alias in ("default", "other"):
            Country.objects.using(alias).create(pk=1, code="NO", name=alias)
        other = Country.objects.db_manager("other")
        warm(Country(pk=1))
        assert other.get_from_cache(pk=1).name == "other"
        Country(pk=1, code="NO", name="changed").save(using="other")
        assert other.get_from_cache(pk=1).name == "changed"
        assert is_cached(Country(pk=1))
        Country(pk=1).delete(using="other")
        with pytest.raises(Country.DoesNotExist):
            other.get_from_cache(pk=1)
        assert Country.objects.get_from_cache(pk=1).name == "default"


class TestAFailingCache:
    """What a write does while the cache fails is the policy's choice."""

    @pytest.mark.parametrize("error", [None, BackendTimeout("too slow")])
    @pytest.mark.parametrize("name", [None, "hold", "complete"])
    def test_bounded_writes_go_on(self, name: str | None, error: Any, fake_server: FakeBackend) -> None:
        """Under "bounded" every write succeeds, and the failures are counted."""
        city = BoundedCity.objects.create(slug="oslo")
        fake_server.fail(name, error, times=1000)
        city.population = 1
        city.save()
        assert BoundedCity.objects.filter(slug="oslo").update(population=F("population") + 1) == 1
        BoundedCity.objects.bulk_update([BoundedCity(pk=city.pk, slug="bergen")], ["slug"])
        assert list(BoundedCity.objects.values_list("slug", "population")) == [("bergen", 2)]
        assert BoundedCity.objects.get_from_cache(pk=city.pk).population == 2
        assert caches["default"].statistics.failures >= 3
        assert BoundedCity.objects.filter(pk=city.pk).delete()[0] == 1

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("write", ["save", "update", "bulk_update"])
    def test_refused_writes_write_nothing(self, write: str, cities: list[City], settings: Any) -> None:
        """Under "refuse" a write whose PREPARE fails raises before the statement, and the row is as it was."""
        settings.CACHECORE = REFUSING
        fake_server = server()
        city = cities[0]
        city.population = 5
        fake_server.fail("hold", times=1000)
        calls: dict[str, Callable[[], Any]] = {
            "save": city.save,
            "update": lambda: City.objects.filter(pk=city.pk).update(population=5),
            "bulk_update": lambda: City.objects.bulk_update([city], ["population"]),
        }
        with pytest.raises(CommitRefused, match="refuse"):
            calls[write]()
        assert City.objects.get(pk=city.pk).population == 0

    def test_complete_that_fails_after_the_row_was_written_raises_nothing(
        self, fake_server: FakeBackend, cities: list[City]
    ) -> None:
        """The hold that stands keeps every reader with the database until it expires, then the row is cached again."""
        warm(*cities)
        fake_server.fail("complete")
        cities[0].population = 5
        cities[0].save()
        for _ in range(2):
            assert City.objects.get_from_cache(pk=cities[0].pk).population == 5
        assert caches["default"].statistics.miss_reasons["held"] == 2
        fake_server.clock.advance(60)
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 5
        assert is_cached(cities[0])


def test_statistics_count_what_writes_outdate(each_cache: Cache, cities: list[City]) -> None:
    """One row saved is one invalidation."""
    each_cache.statistics.reset()
    cities[0].save()
    assert each_cache.statistics.invalidations == 1


def test_a_table_kept_in_two_caches_is_outdated_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy may declare another cache than its base; a write to either class changes the rows of both."""
    monkeypatch.setattr(declaration, "_declarations", {})
    for model, cache in ((City, "default"), (CityProxy, "second")):
        declare(Declaration(model=model, manager_name="objects", fields=(("slug",),), cache=cache))
    for model in (City, CityProxy):
        assert [one.declaration.cache for one in affected_by(model)] == ["default", "second"]
        known = declared(model)
        assert known is not None
        assert known.model is City
