"""Reading by the manager: how many queries and cache calls, in which order, and what comes back."""

import copy
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cachecore import make_key
from cachecore.cache import Cache
from cachecore.entries import Value, encode_entry
from cachecore.errors import BackendTimeout
from cachecore.integrations.django import CacheManager, caches
from cachecore.integrations.django.model_cache import ModelCache
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import FAKE, behind_the_back, forget_all
from tests.geo_app.models import City, Country, Memo, Note, Place, Restaurant, Seat

pytestmark = pytest.mark.django_db


@pytest.fixture
def cities(db: None) -> list[City]:
    """Three cities of one country."""
    norway = Country.objects.create(code="NO", name="Norway")
    names = ("Oslo", "Bergen", "Trondheim")
    return [City.objects.create(slug=f"{name.lower()}-no", name=name, country=norway) for name in names]


def ways(city: City) -> list[dict[str, Any]]:
    """The same row by slug, by pk, by id and by two columns."""
    return [{"slug": city.slug}, {"pk": city.pk}, {"id": city.pk}, {"country": city.country_id, "name": city.name}]


class TestBudgets:
    """What each read costs, in queries and in calls of a remote cache."""

    def spent(self, server: FakeBackend, query: dict[str, Any]) -> tuple[int, list[str]]:
        """(queries, cache calls) of one read."""
        server.log.clear()
        with CaptureQueriesContext(connection) as queries:
            City.objects.get_from_cache(**query)
        return len(queries), server.operations()

    def test_the_same_row_every_way_all_cold(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """Cold by slug is one query and a pointer; then by pk a lease and a fill; then nothing is cold but pointers."""
        by_slug, by_pk, by_id, by_two = ways(cities[0])
        assert self.spent(fake_server, by_slug) == (1, ["get", "put"])
        # The first row of a model also begins its epoch.
        assert self.spent(fake_server, by_pk) == (1, ["acquire", "fill", "fill"])
        assert self.spent(fake_server, by_id) == (0, ["acquire"])
        assert self.spent(fake_server, by_two) == (1, ["get", "put"])

    def test_the_same_row_every_way_all_warm(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """Warm, each way is one round trip and no query, also by way of a pointer this process remembers."""
        for _ in range(2):
            for way in ways(cities[0]):
                City.objects.get_from_cache(**way)
        for way in ways(cities[0]):
            assert self.spent(fake_server, way) == (0, ["acquire"])

    def test_the_same_row_every_way_in_another_process(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """A process that remembers no pointer asks for it first: two round trips, no query; afterwards one."""
        for _ in range(2):
            for way in ways(cities[0]):
                City.objects.get_from_cache(**way)
        City.objects._current().records.forget_claims()
        by_slug, by_pk, by_id, by_two = ways(cities[0])
        assert self.spent(fake_server, by_slug) == (0, ["get", "acquire"])
        assert self.spent(fake_server, by_pk) == (0, ["acquire"])
        assert self.spent(fake_server, by_id) == (0, ["acquire"])
        assert self.spent(fake_server, by_two) == (0, ["get", "acquire"])
        assert self.spent(fake_server, by_slug) == (0, ["acquire"])

    def test_the_same_row_every_way_after_the_server_was_cleared(
        self, fake_server: FakeBackend, cities: list[City]
    ) -> None:
        """With the server empty a remembered pointer still leads to the row: one query fills it for all ways."""
        for _ in range(2):
            for way in ways(cities[0]):
                City.objects.get_from_cache(**way)
        fake_server.clear()
        by_slug, *others = ways(cities[0])
        assert self.spent(fake_server, by_slug) == (1, ["acquire", "fill", "fill"])
        for way in others:
            assert self.spent(fake_server, way) == (0, ["acquire"])

    def test_many_warm_rows_are_one_round_trip(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """Three rows cost as many calls as one."""
        keys = [city.pk for city in cities]
        City.objects.get_many_from_cache(keys)
        fake_server.log.clear()
        assert City.objects.get_many_from_cache(keys) == cities
        assert fake_server.operations() == ["acquire"]

    def test_many_warm_lookups_are_one_round_trip(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """Three slugs that this process remembers cost one call."""
        slugs = [city.slug for city in cities]
        for _ in range(2):
            City.objects.get_many_from_cache(slugs, key="slug")
        fake_server.log.clear()
        assert City.objects.get_many_from_cache(slugs, key="slug") == cities
        assert fake_server.operations() == ["acquire"]

    def test_a_save_is_two_round_trips_whatever_it_renames(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """PREPARE and COMPLETE, and nothing for each lookup."""
        for way in ways(cities[0]):
            City.objects.get_from_cache(**way)
        fake_server.log.clear()
        cities[0].slug, cities[0].name = "christiania-no", "Christiania"
        cities[0].save()
        assert [(call.name, len(call.keys)) for call in fake_server.log] == [("hold", 1), ("complete", 1)]

    def test_hits_and_misses_are_counted(self, each_cache: Cache, cities: list[City]) -> None:
        """Every row read is a hit or a miss of the statistics, on every cache."""
        each_cache.statistics.reset()
        for _ in range(3):
            City.objects.get_from_cache(pk=cities[0].pk)
        City.objects.get_many_from_cache([city.pk for city in cities])
        assert (each_cache.statistics.hits, each_cache.statistics.misses) == (3, 3)


@pytest.mark.usefixtures("each_cache")
class TestMany:
    """get_many_from_cache: order, duplicates, missing ones, and the number of queries."""

    def test_the_order_of_the_input_is_kept(self, cities: list[City], django_assert_num_queries: Any) -> None:
        """Rows come in the order of the values, cold, half warm and warm, with one query for what is missing."""
        a, b, c = cities
        with django_assert_num_queries(1):
            assert City.objects.get_many_from_cache([c.pk, a.pk]) == [c, a]
        with django_assert_num_queries(1):
            assert City.objects.get_many_from_cache([b.pk, c.pk, a.pk]) == [b, c, a]
        with django_assert_num_queries(0):
            assert City.objects.get_many_from_cache([a.pk, c.pk, b.pk]) == [a, c, b]

    def test_duplicates_are_kept_and_are_not_the_same_object(self, cities: list[City]) -> None:
        """A value that is asked twice is answered twice."""
        a, b, _ = cities
        for _ in range(2):
            first, second, third = City.objects.get_many_from_cache([a.pk, b.pk, a.pk])
            assert [first, second, third] == [a, b, a]
            assert first is not third

    def test_missing_rows_are_left_out(self, cities: list[City]) -> None:
        """Values without a row leave no gap."""
        a, b, _ = cities
        for _ in range(2):
            assert City.objects.get_many_from_cache([a.pk, 999, b.pk]) == [a, b]
            assert City.objects.get_many_from_cache(["nowhere", b.slug], key="slug") == [b]
            assert City.objects.get_many_from_cache([999]) == []

    def test_no_values_ask_nothing(self, django_assert_num_queries: Any) -> None:
        """An empty list is an empty list."""
        with django_assert_num_queries(0):
            assert City.objects.get_many_from_cache([]) == []
            assert City.objects.get_many_from_cache((), key=("country", "name")) == []

    @pytest.mark.parametrize("wrap", [list, tuple, iter, lambda values: (value for value in values)])
    def test_any_iterable_will_do(self, wrap: Any, cities: list[City]) -> None:
        """Generators and iterators are read once."""
        for _ in range(2):
            assert City.objects.get_many_from_cache(wrap([city.pk for city in cities])) == cities

    def test_text_and_numbers_and_instances_may_be_mixed(
        self, cities: list[City], django_assert_num_queries: Any
    ) -> None:
        """Keys as text are found cold and warm and stand for the same rows as numbers."""
        a, b, c = cities
        with django_assert_num_queries(1):
            assert City.objects.get_many_from_cache([str(a.pk), b.pk, c]) == [a, b, c]
        with django_assert_num_queries(0):
            assert City.objects.get_many_from_cache([a, str(b.pk), c.pk]) == [a, b, c]

    def test_by_a_field(self, cities: list[City], django_assert_num_queries: Any) -> None:
        """Many values of a lookup: a query for the rows' pointers, one for the rows, then none."""
        slugs = [city.slug for city in cities]
        with django_assert_num_queries(1):
            assert City.objects.get_many_from_cache(slugs, key="slug") == cities
        with django_assert_num_queries(1):
            assert City.objects.get_many_from_cache(slugs[::-1], key="slug") == cities[::-1]
        with django_assert_num_queries(0):
            assert City.objects.get_many_from_cache(slugs, key="slug__exact") == cities

    def test_by_two_fields_one_a_foreign_key(self, cities: list[City], django_assert_num_queries: Any) -> None:
        """The key is a tuple of fields and each value a tuple; a foreign key may be an instance."""
        norway = cities[0].country
        values = [(norway, "Bergen"), (norway.pk, "Oslo")]
        for queries in (1, 1, 0):
            with django_assert_num_queries(queries):
                found = City.objects.get_many_from_cache(values, key=("country", "name"))
            assert found == [cities[1], cities[0]]

    def test_by_a_composite_primary_key(self, django_assert_num_queries: Any) -> None:
        """The values are tuples."""
        seats = [Seat.objects.create(row="A", number=number, code=f"A{number}") for number in range(3)]
        for queries in (1, 0):
            with django_assert_num_queries(queries):
                found = Seat.objects.get_many_from_cache([("A", 2), ["A", "0"], seats[1]])
            assert found == [seats[2], seats[0], seats[1]]
        assert Seat.objects.get_many_from_cache([("A", 2), ("B", 2)]) == [seats[2]]

    def test_five_thousand_keys(self, django_assert_max_num_queries: Any) -> None:
        """More values than the database takes in one statement are read in a few."""
        norway = Country.objects.create(code="NO", name="Norway")
        City.objects.bulk_create(City(slug=f"c{n}", name=f"C{n}", country=norway) for n in range(5000))
        keys = list(City.objects.order_by("pk").values_list("pk", flat=True))
        for queries in (6, 0):
            with django_assert_max_num_queries(queries):
                assert [city.pk for city in City.objects.get_many_from_cache(keys)] == keys

    def test_two_thousand_values_of_several_columns(self, django_assert_max_num_queries: Any) -> None:
        """Composite keys and lookups of two columns stay below the depth of expression that SQLite allows."""
        norway = Country.objects.create(code="NO", name="Norway")
        City.objects.bulk_create(City(slug=f"c{n}", name=f"C{n}", country=norway) for n in range(2000))
        Seat.objects.bulk_create(Seat(row="A", number=n, code=f"A{n}") for n in range(2000))
        names = [(norway.pk, f"C{n}") for n in range(2000)]
        numbers = [("A", n) for n in range(2000)]
        for queries in (5, 5, 0):
            with django_assert_max_num_queries(queries):
                found = City.objects.get_many_from_cache(names, key=("country_id", "name"))
            assert [(city.country_id, city.name) for city in found] == names
        for queries in (5, 0):
            with django_assert_max_num_queries(queries):
                assert [seat.pk for seat in Seat.objects.get_many_from_cache(numbers)] == numbers


@pytest.mark.usefixtures("each_cache")
class TestInstances:
    """What comes out of the cache is an instance like any other."""

    def test_a_hit_equals_what_the_database_gives(self, cities: list[City]) -> None:
        """Field by field, with the state of a loaded instance."""
        City.objects.get_from_cache(pk=cities[0].pk)
        hit, loaded = City.objects.get_from_cache(pk=cities[0].pk), City.objects.get(pk=cities[0].pk)
        assert {name: value for name, value in vars(hit).items() if name != "_state"} == {
            name: value for name, value in vars(loaded).items() if name != "_state"
        }
        assert (hit._state.adding, hit._state.db, hit._state.cachecore) == (
            loaded._state.adding,
            loaded._state.db,
            loaded._state.cachecore,
        )
        assert hit.country == cities[0].country

    def test_a_json_column_is_never_shared(self, cities: list[City]) -> None:
        """Changing the dict of one instance changes no other instance, neither of a fill nor of hits."""
        City.objects.filter(pk=cities[0].pk).update(data={"districts": ["Frogner"]})
        for _ in range(4):
            found = City.objects.get_from_cache(pk=cities[0].pk)
            assert found.data == {"districts": ["Frogner"]}
            found.data["districts"].append("Grünerløkka")
            found.data["mayor"] = "nobody"

    def test_a_cached_instance_can_be_saved(self, cities: list[City]) -> None:
        """It updates its row, and the next read sees it."""
        for population in (1, 2, 3):
            found = City.objects.get_from_cache(slug="oslo-no")
            found.population = population
            found.save()
            assert City.objects.get_from_cache(slug="oslo-no").population == population
        assert City.objects.count() == 3

    def test_a_model_with_its_own_constructor_gets_it_called(self) -> None:
        """Where a model overrides __init__ or from_db, hits go through them too and are tracked."""
        Memo.objects.create(title="milk", text="two")
        for _ in range(3):
            memo = Memo.objects.get_from_cache(title="milk")
            assert (memo.made_by_init, memo.made_by_from_db) == (True, True)
            assert Memo.objects.old_value(memo, "title") == "milk"

    def test_deferred_fields_are_not_cached(self, cities: list[City], django_assert_num_queries: Any) -> None:
        """An instance of only() is another way to read; what the cache gives is always whole."""
        City.objects.only("name").get(pk=cities[0].pk)
        City.objects.get_from_cache(pk=cities[0].pk)
        found = City.objects.get_from_cache(pk=cities[0].pk)
        with django_assert_num_queries(0):
            assert (found.slug, found.population) == ("oslo-no", 0)
        assert found.get_deferred_fields() == set()

    def test_instances_pickle_and_copy(self, cities: list[City]) -> None:
        """Instances, lists of them and their snapshots survive pickle, copy and deepcopy."""
        City.objects.get_from_cache(pk=cities[0].pk)
        hit = City.objects.get_from_cache(pk=cities[0].pk)
        for twin in (pickle.loads(pickle.dumps(hit)), copy.copy(hit), copy.deepcopy(hit)):
            assert twin == hit
            assert twin._state.db == "default"
            twin.slug = "christiania-no"
            assert twin.has_changed("slug")
            assert twin.old_value("slug") == "oslo-no"
        assert not hit.has_changed("slug")

    def test_managers_and_querysets_pickle_and_copy(self, cities: list[City], django_assert_num_queries: Any) -> None:
        """A manager's copy reads through the same cache; a queryset's copy still outdates it."""
        City.objects.get_from_cache(pk=cities[0].pk)
        for manager in (pickle.loads(pickle.dumps(City.objects)), copy.copy(City.objects), City.objects.db_manager()):
            with django_assert_num_queries(0):
                assert manager.get_from_cache(pk=cities[0].pk) == cities[0]
        some = City.objects.all()
        some.query = pickle.loads(pickle.dumps(City.objects.filter(pk=cities[0].pk).query))
        copy.deepcopy(some).update(population=5)
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 5

    def test_two_reads_are_two_objects(self, cities: list[City]) -> None:
        """Changing one is invisible to the next reader."""
        first = City.objects.get_from_cache(pk=cities[0].pk)
        first.name = "changed in memory only"
        assert City.objects.get_from_cache(pk=cities[0].pk).name == "Oslo"


@pytest.mark.usefixtures("each_cache")
class TestRenames:
    """Pointers are claims that the row verifies."""

    def test_a_rename_moves_the_lookup(self, cities: list[City]) -> None:
        """The old slug stops resolving, the new one does, the row is fresh; a warm rename costs nothing extra."""
        oslo = cities[0]
        for _ in range(2):
            City.objects.get_from_cache(slug="oslo-no")
        oslo.slug = "christiania-no"
        oslo.save()
        with pytest.raises(City.DoesNotExist):
            City.objects.get_from_cache(slug="oslo-no")
        assert City.objects.get_from_cache(slug="christiania-no").pk == oslo.pk
        assert City.objects.get_from_cache(pk=oslo.pk).slug == "christiania-no"

    def test_two_rows_swap_their_slugs(self, cities: list[City]) -> None:
        """Each slug then leads to the other row, though every pointer was warm."""
        a, b, _ = cities
        for _ in range(2):
            City.objects.get_from_cache(slug=a.slug)
            City.objects.get_from_cache(slug=b.slug)
        City.objects.filter(pk=a.pk).update(slug="between")
        City.objects.filter(pk=b.pk).update(slug="oslo-no")
        City.objects.filter(pk=a.pk).update(slug="bergen-no")
        assert City.objects.get_from_cache(slug="oslo-no").pk == b.pk
        assert City.objects.get_from_cache(slug="bergen-no").pk == a.pk
        assert [city.pk for city in City.objects.get_many_from_cache(["oslo-no", "bergen-no"], key="slug")] == [
            b.pk,
            a.pk,
        ]

    def test_a_row_is_deleted_and_made_again_with_its_slug(self, cities: list[City]) -> None:
        """The slug leads to the new row."""
        for _ in range(2):
            City.objects.get_from_cache(slug="oslo-no")
        old = cities[0].pk
        cities[0].delete()
        with pytest.raises(City.DoesNotExist):
            City.objects.get_from_cache(slug="oslo-no")
        again = City.objects.create(id=777, slug="oslo-no", name="Oslo", country=cities[1].country)
        assert City.objects.get_from_cache(slug="oslo-no").pk == again.pk
        with pytest.raises(City.DoesNotExist):
            City.objects.get_from_cache(pk=old)

    def test_a_hidden_row_is_not_served(self) -> None:
        """What a manager hides is hidden in the cache as soon as it is saved as hidden, and shown again likewise."""
        note = Note.objects.create(title="secret")
        for _ in range(2):
            assert Note.objects.get_from_cache(title="secret") == note
        note.hidden = True
        note.save()
        for query in ({"title": "secret"}, {"pk": note.pk}):
            with pytest.raises(Note.DoesNotExist):
                Note.objects.get_from_cache(**query)
        Note.everything.filter(pk=note.pk).update(hidden=False)
        assert Note.objects.get_from_cache(title="secret") == note


class TestStoredRubbish:
    """Whatever somebody else has put into the cache is at most a counted miss."""

    def corrupt(self, server: FakeBackend, pk: int, raw: bytes | None) -> None:
        """Put bytes under the key of a city's row."""
        server.inject(City.objects._current().key((pk,)), raw or b"")

    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            (b"", "corrupt"),
            (b"\x80\x04\x95 a pickle of somebody else", "corrupt"),
            (b"\xcc\x0e\x63" + bytes(8) + b"v\x00of another format", "format"),
            (b"\xcc\x0e\x01" + bytes(7) + b"\x01?", "corrupt"),
        ],
    )
    def test_bytes_that_are_no_entry(
        self, raw: bytes, reason: str, fake_server: FakeBackend, cities: list[City]
    ) -> None:
        """They are a miss with a reason; corrupt ones are replaced by the row, another release's are left alone."""
        City.objects.get_from_cache(pk=cities[0].pk)
        self.corrupt(fake_server, cities[0].pk, raw)
        statistics = caches["default"].statistics
        statistics.reset()
        assert City.objects.get_from_cache(pk=cities[0].pk) == cities[0]
        assert statistics.miss_reasons == {reason: 1}
        City.objects.get_from_cache(pk=cities[0].pk)
        assert statistics.hits == (1 if reason == "corrupt" else 0)

    def test_a_row_that_is_no_row(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """A value with the right stamp and bytes that are no row is a corrupt miss and is replaced."""
        City.objects.get_from_cache(pk=cities[0].pk)
        cached = City.objects._current()
        [entry] = fake_server.get([cached.key((cities[0].pk,))])
        assert isinstance(entry, Value)
        self.corrupt(
            fake_server, cities[0].pk, encode_entry(Value(b"\x93\x01\x02\x03", entry.stamp), fake_server.incarnation)
        )
        statistics = caches["default"].statistics
        statistics.reset()
        assert City.objects.get_from_cache(pk=cities[0].pk) == cities[0]
        assert statistics.miss_reasons == {"corrupt": 1}
        assert City.objects.get_from_cache(pk=cities[0].pk) == cities[0]
        assert statistics.hits == 1

    def put_another_row(self, server: FakeBackend, cities: Sequence[City]) -> None:
        """Under the key of the first city put the row of the second."""
        City.objects.get_many_from_cache([city.pk for city in cities])
        cached = City.objects._current()
        [entry] = server.get([cached.key((cities[1].pk,))])
        assert isinstance(entry, Value)
        self.corrupt(server, cities[0].pk, encode_entry(entry, server.incarnation))

    def test_another_row_is_an_error_while_developing(
        self, fake_server: FakeBackend, cities: list[City], settings: Any
    ) -> None:
        """With DEBUG a row of another identity under a key raises ValueError; the entry is replaced all the same."""
        settings.DEBUG = True
        self.put_another_row(fake_server, cities)
        with pytest.raises(ValueError, match=r"geo_app\.City.*another row"):
            City.objects.get_from_cache(pk=cities[0].pk)
        assert City.objects.get_from_cache(pk=cities[0].pk) == cities[0]

    def test_another_row_is_logged_and_dropped_in_production(
        self, fake_server: FakeBackend, cities: list[City], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Without DEBUG it is a line in the log, and the right row comes from the database and into the cache."""
        self.put_another_row(fake_server, cities)
        assert City.objects.get_from_cache(pk=cities[0].pk) == cities[0]
        assert "another row" in caplog.text
        caches["default"].statistics.reset()
        assert City.objects.get_from_cache(pk=cities[0].pk) == cities[0]
        assert caches["default"].statistics.hits == 1

    def test_a_row_of_another_version_is_not_read(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """Another cache_version misses what this one has stored, and its writes still outdate it."""
        City.objects.get_from_cache(pk=cities[0].pk)
        newer = CacheManager(cache_fields=["slug"], cache_version=2)
        newer.model, newer.name = City, "objects"
        statistics = caches["default"].statistics
        statistics.reset()
        assert newer.declaration is not None  # of a process of the next release
        released = ModelCache(newer.declaration, "default")
        [row] = released.rows(("id",), [(cities[0].pk,)])
        assert row is not None
        assert statistics.miss_reasons == {"schema": 1}
        assert released.key((cities[0].pk,)) == City.objects._current().key((cities[0].pk,))

    def test_a_forged_pointer_leads_nowhere_else(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """A pointer that names another row is found out by that row and corrected."""
        records = City.objects._current().records
        for city in cities[:2]:
            City.objects.get_from_cache(slug=city.slug)
        one, other = (records.lookup_for(("slug",), (city.slug,)) for city in cities[:2])
        [pointer] = fake_server.get([other.key])
        assert isinstance(pointer, Value)
        fake_server.inject(one.key, encode_entry(pointer, fake_server.incarnation))
        records.forget_claims()
        assert City.objects.get_from_cache(slug=cities[0].slug) == cities[0]
        records.forget_claims()
        assert City.objects.get_from_cache(slug=cities[0].slug) == cities[0]
        assert City.objects.get_from_cache(slug=cities[1].slug) == cities[1]


class TestFailures:
    """A cache that fails never breaks a read."""

    @pytest.mark.parametrize("error", [None, BackendTimeout("too slow")])
    @pytest.mark.parametrize("name", [None, "acquire", "get", "fill", "put", "displace"])
    def test_reads_answer_from_the_database(
        self, name: str | None, error: Any, fake_server: FakeBackend, cities: list[City]
    ) -> None:
        """Whatever call fails, and however, every read gives the row, and the failure is counted."""
        fake_server.fail(name, error, times=1000)
        statistics = caches["default"].statistics
        for _ in range(2):
            for way in ways(cities[0]):
                assert City.objects.get_from_cache(**way) == cities[0]
            assert City.objects.get_many_from_cache([city.pk for city in cities]) == cities
            assert City.objects.get_many_from_cache([city.slug for city in cities], key="slug") == cities
        assert statistics.failures > 0 or name == "displace"

    def test_the_cache_is_used_again_when_it_is_back(
        self, fake_server: FakeBackend, cities: list[City], django_assert_num_queries: Any
    ) -> None:
        """After a failure the next read fills."""
        fake_server.fail(None, times=3)
        for _ in range(4):
            City.objects.get_from_cache(pk=cities[0].pk)
        fake_server.recover()
        City.objects.get_from_cache(pk=cities[0].pk)
        with django_assert_num_queries(0):
            City.objects.get_from_cache(pk=cities[0].pk)


@pytest.mark.usefixtures("each_cache")
class TestDropping:
    """uncache_object drops a row everywhere."""

    def test_uncache_object(self, cities: list[City], django_assert_num_queries: Any) -> None:
        """A change that nobody could see is seen after it, by every lookup."""
        for _ in range(2):
            for way in ways(cities[0]):
                City.objects.get_from_cache(**way)
        behind_the_back("UPDATE geo_app_city SET population = 9")
        assert City.objects.get_from_cache(slug="oslo-no").population == 0
        City.objects.uncache_object(str(cities[0].pk))
        for way in ways(cities[0]):
            assert City.objects.get_from_cache(**way).population == 9

    def test_only_that_row_is_dropped(self, cities: list[City], django_assert_num_queries: Any) -> None:
        """Its neighbours stay."""
        City.objects.get_many_from_cache([city.pk for city in cities])
        City.objects.uncache_object(cities[0].pk)
        with django_assert_num_queries(0):
            City.objects.get_many_from_cache([city.pk for city in cities[1:]])
        with django_assert_num_queries(1):
            City.objects.get_from_cache(pk=cities[0].pk)

    def test_a_composite_key_and_a_row_that_never_was(self) -> None:
        """Both may be dropped."""
        seat = Seat.objects.create(row="A", number=1, code="A1")
        Seat.objects.get_from_cache(pk=("A", 1))
        Seat.objects.uncache_object(("A", 1))
        Seat.objects.uncache_object(("Z", 26))
        assert Seat.objects.get_from_cache(pk=("A", 1)) == seat

    @pytest.mark.parametrize("dropped", [Place, Restaurant])
    def test_a_parent_and_its_child_are_dropped_together(self, dropped: Any, django_assert_num_queries: Any) -> None:
        """The child's row holds the columns of its parent's, so that whoever changed one has changed both."""
        grill = Restaurant.objects.create(name="Grill")
        for model in (Place, Restaurant):
            model.objects.get_from_cache(pk=grill.pk)
        dropped.objects.uncache_object(grill.pk)
        for model in (Place, Restaurant):
            with django_assert_num_queries(1):
                model.objects.get_from_cache(pk=grill.pk)


class TestKeys:
    """Keys of the integration are those of make_key: stable across processes, and apart for apps and databases."""

    def test_the_key_of_a_row_is_stable(self, memory_cache: Cache) -> None:
        """It names namespace, application, model and database, and is the same in every process."""
        assert City.objects._current().key((42,)) == "tests:geo_app.City@default:i42"
        assert City.objects.db_manager("other")._current().key((42,)) == "tests:geo_app.City@other:i42"

    def test_pointers_are_keys_of_make_key(self, memory_cache: Cache) -> None:
        """Anybody can compute where the pointer of a slug stands."""
        lookup = City.objects._current().records.lookup_for(("slug",), ("oslo-no",))
        assert lookup.key == make_key("tests", "geo_app.City@default", {"slug": "oslo-no"})

    def test_hostile_values_do_not_collide(self, each_cache: Cache, cities: list[City]) -> None:
        """Separators in values, the text "None" and digits as text are values like any other."""
        norway = cities[0].country
        odd = ["None", "1", "a:b=2", "x" * 90, "ø å", *(["\x00"] if connection.vendor == "sqlite" else [])]
        made = [City.objects.create(slug=f"s{n}", name=name, country=norway) for n, name in enumerate(odd)]
        for _ in range(3):
            for name, city in zip(odd, made, strict=True):
                assert City.objects.get_from_cache(country=norway, name=name) == city

    def test_rows_without_a_value_share_nothing(self, each_cache: Cache, cities: list[City]) -> None:
        """Rows whose nullable unique column is NULL are found by other lookups, each for itself."""
        assert [city.iata for city in cities] == [None, None, None]
        for _ in range(3):
            for city in cities:
                assert City.objects.get_from_cache(slug=city.slug) == city

    def test_a_secret_makes_other_keys(self, settings: Any, cities: list[City]) -> None:
        """With SECRET, as str or bytes, nobody without it can compute where a row's pointer stands."""
        settings.CACHECORE = {"default": {**FAKE["default"], "SECRET": "s3cret"}}
        records = City.objects._current().records
        keyed = records.lookup_for(("slug",), ("oslo-no",)).key
        assert keyed != make_key("tests", "geo_app.City@default", {"slug": "oslo-no"})
        assert keyed == make_key("tests", "geo_app.City@default", {"slug": "oslo-no"}, secret=b"s3cret")
        assert City.objects.get_from_cache(slug="oslo-no") == cities[0]


@pytest.mark.django_db(databases=["default", "other"])
def test_databases_are_kept_apart(each_cache: Cache) -> None:
    """A manager of another database reads and outdates that database's rows only, and _state.db says which."""
    Country.objects.create(pk=1, code="NO", name="Norway")
    Country.objects.using("other").create(pk=1, code="NO", name="Norge")
    other = Country.objects.db_manager("other")
    for _ in range(3):
        assert (Country.objects.get_from_cache(code="NO").name, other.get_from_cache(code="NO").name) == (
            "Norway",
            "Norge",
        )
    found = other.get_from_cache(pk=1)
    assert found._state.db == "other"
    found.name = "Noreg"
    found.save()
    assert Country.objects.using("other").filter(pk=1).update(name="Norega") == 1
    each_cache.statistics.reset()
    assert Country.objects.get_from_cache(pk=1).name == "Norway"
    assert each_cache.statistics.hits == 1
    assert other.get_from_cache(pk=1).name == "Norega"


def test_the_lookup_of_a_model_without_rows_in_the_cache(each_cache: Cache) -> None:
    """An emptied cache is no error."""
    Country.objects.create(code="NO", name="Norway")
    for _ in range(3):
        assert Country.objects.get_from_cache(code="NO").name == "Norway"
        forget_all(Country)
