"""Foreign keys from the cache: prefetched for many instances, and followed one by one."""

import asyncio
import copy
import gc
import pickle
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import django
import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, models, transaction
from django.test.utils import CaptureQueriesContext, isolate_apps

from cachecore.cache import Cache
from cachecore.errors import BackendUnavailable, ConfigurationError, UncacheableLookup
from cachecore.integrations.django import caches, model_cache
from cachecore.integrations.django.relations import following, peers
from cachecore.integrations.django.relations.following import follow_from_cache
from cachecore.integrations.django.relations.prefetch import aprefetch_from_cache, prefetch_from_cache
from cachecore.integrations.django.switches import cache_bypassed
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import Parallel, forget_all, server
from tests.geo_app.models import Badge, City, CityProxy, Country, Landmark, Note, Person, Restaurant, Visitor

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

COUNT = 100
"""Rows of the N+1 tests."""


class Spent:
    """What a block of reads costs."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.calls: list[tuple[str, int]] = []

    def __enter__(self) -> "Spent":
        server().log.clear()
        self._captured = CaptureQueriesContext(connection)
        self._captured.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._captured.__exit__(*error)
        self.queries = [query["sql"] for query in self._captured.captured_queries]
        self.calls = [(call.name, len(call.keys)) for call in server().log]


class Router:
    """Reads from where the instance is, and writes to one database, or to where the instance is."""

    def __init__(self, writes_to: str | None) -> None:
        self._writes_to = writes_to

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        """Django's question."""
        return self._writes_to


@pytest.fixture
def norway(fake_server: FakeBackend) -> Country:
    """A country."""
    return Country.objects.create(code="NO", name="Norway")


@pytest.fixture
def oslo(norway: Country) -> City:
    """A city."""
    return City.objects.create(slug="oslo", name="Oslo", country=norway, data={"mayor": "Anne"})


@pytest.fixture
def bergen(norway: Country) -> City:
    """Another."""
    return City.objects.create(slug="bergen", name="Bergen", country=norway)


@pytest.fixture
def people(oslo: City, bergen: City) -> list[Person]:
    """Three who live in two cities, and one who lives nowhere."""
    homes = (oslo, bergen, oslo, None)
    return [Person.objects.create(name=f"p{at}", home=home, work=bergen) for at, home in enumerate(homes)]


@pytest.fixture
def follow() -> Iterator[Callable[..., None]]:
    """follow_from_cache, undone when the test ends."""
    following.connect_all()
    before: list[tuple[type[models.Model], str, Any]] = []

    def follow(model: type[models.Model], *names: str) -> None:
        before.extend((model, name, vars(model).get(name)) for name in ("from_db", *names))
        follow_from_cache(model, *names)

    yield follow
    for model, name, what in reversed(before):
        if what is None:
            delattr(model, name)
        else:
            setattr(model, name, what)
    model_cache.begin_anew()


def loaded(instance: models.Model, name: str) -> Any:
    """The related instance that is set already; None if none is."""
    return instance._state.fields_cache.get(name)


class TestPrefetching:
    """prefetch_from_cache."""

    def test_each_level_is_one_multi_get_and_when_warm_no_query(self, people: list[Person]) -> None:
        """Two levels of four people are two round trips; cold, each is one query more."""
        with Spent() as cold:
            found = prefetch_from_cache(Person.objects.order_by("pk"), "home", "home__country")
        assert [name for name, _ in cold.calls] == ["acquire", "fill", "fill"] * 2
        assert len(cold.queries) == 3
        with Spent() as warm:
            found = prefetch_from_cache(list(Person.objects.order_by("pk")), "home__country")
        assert warm.calls == [("acquire", 3), ("acquire", 2)]
        assert len(warm.queries) == 1
        with Spent() as read:
            homes = [(person.home.slug, person.home.country.code) if person.home else None for person in found]
        assert homes == [("oslo", "NO"), ("bergen", "NO"), ("oslo", "NO"), None]
        assert (read.queries, read.calls) == ([], [])

    def test_instances_with_the_same_key_share_one_and_other_calls_get_others(self, people: list[Person]) -> None:
        """As with prefetch_related; what one caller does to its instances no other one sees."""
        first = prefetch_from_cache(Person.objects.order_by("pk"), "home")
        second = prefetch_from_cache(Person.objects.order_by("pk"), "home")
        assert first[0].home is first[2].home
        assert first[0].home is not second[0].home
        first[0].home.data["mayor"] = "nobody"
        assert second[0].home.data == {"mayor": "Anne"}

    def test_what_is_loaded_already_is_kept_and_followed(self, people: list[Person], norway: Country) -> None:
        """An instance that is set, saved or not, stays, and its own keys are filled."""
        for person in Person.objects.select_related("home"):
            kept = person.home
            with Spent() as spent:
                prefetch_from_cache(person, "home__country")
            assert person.home is kept
            assert not any("geo_app_city" in sql for sql in spent.queries)
            if kept is not None:
                assert loaded(kept, "country") == norway
        unsaved = Person(home=City(slug="new", country=norway))
        prefetch_from_cache(unsaved, "home__country")
        assert unsaved.home is not None
        assert unsaved.home.country is norway

    @pytest.mark.parametrize("shape", [list, tuple, iter, set, lambda people: (one for one in people)])
    def test_any_iterable_of_instances_is_taken(self, shape: Callable[..., Any], people: list[Person]) -> None:
        """And a list of them comes back, in order."""
        fresh = list(Person.objects.order_by("pk"))
        found = prefetch_from_cache(shape(fresh), "home")
        assert isinstance(found, list)
        assert sorted(map(id, found)) == sorted(map(id, fresh))
        assert [loaded(person, "home") for person in fresh] == [person.home for person in people]

    def test_a_queryset_keeps_its_instances_and_a_single_one_is_taken(self, people: list[Person]) -> None:
        """What the queryset gives afterwards is what has been filled."""
        queryset = Person.objects.order_by("pk")
        assert prefetch_from_cache(queryset, "home") == list(queryset)
        assert loaded(queryset[0], "home") == people[0].home
        [one] = prefetch_from_cache(Person.objects.get(pk=people[1].pk), "home", "work")
        assert (loaded(one, "home"), loaded(one, "work")) == (people[1].home, people[1].work)

    def test_nothing_to_fill_costs_nothing(self, people: list[Person]) -> None:
        """No objects, keys that are all NULL, and relations that are all loaded."""
        alone = Person.objects.get(home=None)
        with Spent() as spent:
            assert prefetch_from_cache([], "home__country") == []
            assert prefetch_from_cache(alone, "home__country") == [alone]
            prefetch_from_cache(people, "home")
        assert (spent.queries, spent.calls) == ([], [])
        assert alone.home is None

    def test_instances_of_several_models_are_filled_together(self, people: list[Person], oslo: City) -> None:
        """Each of its own key, also twice the same instance."""
        visitor = Visitor.objects.create(city=oslo)
        badge = Badge.objects.create(country=oslo.country, text="x")
        city, fresh = City.objects.get(pk=oslo.pk), Badge.objects.get(pk=badge.pk)
        assert prefetch_from_cache([city, fresh, city], "country") == [city, fresh, city]
        assert loaded(city, "country") == loaded(fresh, "country") == oslo.country
        del visitor

    def test_a_one_to_one_key_knows_its_way_back(self, norway: Country) -> None:
        """The reverse of a one-to-one relation is set too, as by Django."""
        Badge.objects.create(country=norway, text="x")
        [badge] = prefetch_from_cache(Badge.objects.all(), "country")
        with Spent() as spent:
            assert badge.country.badge is badge
        assert spent.queries == []

    def test_a_link_to_the_parent_is_a_foreign_key_like_others(self, fake_server: FakeBackend) -> None:
        """Multi-table inheritance: the parent's row comes from the cache."""
        Restaurant.objects.create(name="Maaemo", stars=3)
        [restaurant] = prefetch_from_cache(Restaurant.objects.all(), "place_ptr")
        assert loaded(restaurant, "place_ptr").name == "Maaemo"

    def test_a_row_that_does_not_exist_is_left_unset(self, people: list[Person]) -> None:
        """And whoever follows the key gets Django's own error."""
        lost = Person(name="lost", home_id=987654)
        prefetch_from_cache([lost, people[0]], "home__country")
        assert loaded(lost, "home") is None
        with pytest.raises(City.DoesNotExist):
            _ = lost.home

    def test_a_value_that_no_key_can_have_is_left_unset(self, people: list[Person]) -> None:
        """And the others are filled; text that is a number is one, as everywhere in Django."""
        fresh = list(Person.objects.order_by("pk"))
        strange, text = Person(home_id="nowhere"), Person(home_id=str(people[0].home_id))
        prefetch_from_cache([strange, text, *fresh], "home")
        assert [loaded(one, "home") for one in (strange, text, fresh[0])] == [None, people[0].home, people[0].home]
        with pytest.raises(ValueError, match="nowhere"):
            _ = strange.home

    def test_a_row_that_the_cached_manager_hides_is_found_as_django_finds_it(self, fake_server: FakeBackend) -> None:
        """A foreign key is looked up by the base manager, which hides nothing; hidden rows are one query for all."""
        notes = [Note.everything.create(title=f"n{at}", hidden=at > 0) for at in range(3)]
        with isolate_apps("tests.geo_app"):

            class Remark(models.Model):
                note = models.ForeignKey(Note, models.CASCADE)

                class Meta:
                    app_label = "geo_app"

        remarks = [Remark(note_id=note.pk) for note in notes]
        with Spent() as cold:
            prefetch_from_cache(remarks, "note")
        assert [loaded(remark, "note") for remark in remarks] == notes
        assert len(cold.queries) == 2

    def test_deferred_keys_are_one_query_for_all(self, people: list[Person]) -> None:
        """And not one for each instance."""
        fresh = list(Person.objects.only("name").order_by("pk"))
        prefetch_from_cache(list(Person.objects.all()), "home")
        with Spent() as spent:
            prefetch_from_cache(fresh, "home")
        assert len(spent.queries) == 1
        assert [loaded(person, "home") for person in fresh] == [person.home for person in people]
        assert "home_id" not in fresh[0].get_deferred_fields()

    def test_what_cannot_be_filled_is_an_error_that_names_it(self, people: list[Person], oslo: City) -> None:
        """A field that is no foreign key, a reverse relation, nothing at all, an uncached model, and no instances."""
        for path in ("name", "residents", "nothing", "home__slug", "home__residents", "", "home__", "__home"):
            with pytest.raises(UncacheableLookup, match="no foreign key of geo_app"):
                prefetch_from_cache(people, path)
        with isolate_apps("tests.geo_app"):

            class Picture(models.Model):
                landmark = models.ForeignKey(Landmark, models.CASCADE)
                city = models.ForeignKey(City, models.CASCADE, to_field="slug")
                country = models.ForeignKey(Country, models.CASCADE)

                class Meta:
                    app_label = "geo_app"

        landmark = Landmark.objects.create(name="Opera")
        with pytest.raises(UncacheableLookup, match=r"Picture\.landmark: geo_app\.Landmark is not cached by id"):
            prefetch_from_cache(Picture(landmark_id=landmark.pk), "landmark")
        assert prefetch_from_cache(Picture(landmark=landmark), "landmark")[0].landmark is landmark
        for wrong in (None, 3, "x", [None], [oslo, 3], City):
            with pytest.raises(UncacheableLookup, match="takes instances of models"):
                prefetch_from_cache(wrong, "country")

    def test_a_key_that_refers_to_another_cached_column_goes_by_that_lookup(self, oslo: City, bergen: City) -> None:
        """to_field: the values are those of a lookup, and warm they are one round trip too."""
        with isolate_apps("tests.geo_app"):

            class Postcard(models.Model):
                city = models.ForeignKey(City, models.CASCADE, to_field="slug")

                class Meta:
                    app_label = "geo_app"

        def cards() -> list[Any]:
            return [Postcard(city_id=slug) for slug in ("oslo", "bergen", "oslo", "nowhere")]

        for _ in range(3):
            found = prefetch_from_cache(cards(), "city__country")
        assert [loaded(card, "city") for card in found] == [oslo, bergen, oslo, None]
        with Spent() as warm:
            prefetch_from_cache(cards()[:3], "city")
        assert (warm.queries, warm.calls) == ([], [("acquire", 3)])

    def test_a_key_to_a_proxy_gives_instances_of_the_proxy(self, oslo: City) -> None:
        """The row is the same, the class is that of the key."""
        with isolate_apps("tests.geo_app"):

            class Visit(models.Model):
                city = models.ForeignKey(CityProxy, models.CASCADE)

                class Meta:
                    app_label = "geo_app"

        [visit] = prefetch_from_cache(Visit(city_id=oslo.pk), "city")
        assert type(visit.city) is CityProxy
        assert visit.city.slug == "oslo"

    def test_instances_of_another_database_keep_to_it(self, oslo: City) -> None:
        """Their keys are those of rows that the cache does not have: they are prefetched as ever."""
        Country.objects.using("other").create(pk=oslo.country_id, code="XX", name="Elsewhere")
        City.objects.using("other").create(slug="there", name="There", country_id=oslo.country_id)
        there = list(City.objects.using("other"))
        prefetch_from_cache([*there, City.objects.get(pk=oslo.pk)], "country")
        assert [loaded(city, "country").code for city in there] == ["XX"]
        assert loaded(there[0], "country")._state.db == "other"

    def test_in_a_transaction_that_has_written_it_sees_its_own_writes(self, people: list[Person], oslo: City) -> None:
        """And after a rollback what is committed."""
        prefetch_from_cache(Person.objects.all(), "home")
        with transaction.atomic():
            City.objects.filter(pk=oslo.pk).update(population=7)
            [person] = prefetch_from_cache(Person.objects.filter(pk=people[0].pk), "home")
            assert person.home.population == 7
            transaction.set_rollback(True)
        [person] = prefetch_from_cache(Person.objects.filter(pk=people[0].pk), "home")
        assert person.home.population == 0

    def test_a_bypassed_block_asks_the_database(self, people: list[Person]) -> None:
        """Nothing is read from the cache, and the relations are filled all the same."""
        fresh = list(Person.objects.order_by("pk"))
        with Spent() as spent, cache_bypassed():
            prefetch_from_cache(fresh, "home__country")
        assert (len(spent.queries), spent.calls) == (2, [])
        assert [loaded(person, "home") for person in fresh] == [person.home for person in people]

    def test_a_cache_that_fails_costs_queries_and_no_answers(self, people: list[Person]) -> None:
        """The relations come from the database."""
        server().fail("acquire", BackendUnavailable("gone"), times=9)
        found = prefetch_from_cache(Person.objects.order_by("pk"), "home__country")
        assert [person.home and person.home.country.code for person in found] == ["NO", "NO", "NO", None]

    def test_awaited_it_does_the_same(self, people: list[Person]) -> None:
        """For querysets, lists and asynchronous iterables."""

        async def reading() -> list[Any]:
            async def one_by_one() -> Any:
                async for person in Person.objects.order_by("pk"):
                    yield person

            return [
                await aprefetch_from_cache(Person.objects.order_by("pk"), "home__country"),
                await aprefetch_from_cache([person async for person in Person.objects.order_by("pk")], "home__country"),
                await aprefetch_from_cache(one_by_one(), "home__country"),
            ]

        for found in async_to_sync(reading)():
            assert [person.home and person.home.country.code for person in found] == ["NO", "NO", "NO", None]

    def test_related_instances_are_as_if_loaded(self, people: list[Person], norway: Country) -> None:
        """They know their database, can be saved, and pickle with what is set on them."""
        [person] = prefetch_from_cache(Person.objects.filter(pk=people[0].pk), "home__country")
        assert (person.home._state.db, person.home._state.adding) == ("default", False)
        again = pickle.loads(pickle.dumps(person))
        with Spent() as spent:
            assert again.home.country == norway
        assert spent.queries == []
        person.home.slug = "christiania"
        assert person.home.has_changed("slug")
        person.home.save()
        assert City.objects.get_from_cache(slug="christiania") == person.home


class TestFollowing:
    """follow_from_cache."""

    @pytest.fixture
    def residents(self, norway: Country) -> list[Person]:
        """A hundred people of a hundred cities."""
        cities = [City.objects.create(slug=f"c{at}", name=f"c{at}", country=norway) for at in range(COUNT)]
        return Person.objects.bulk_create([Person(name=city.name, home=city) for city in cities])

    def test_n_plus_one_becomes_one_multi_get(self, follow: Callable[..., None], residents: list[Person]) -> None:
        """A hundred keys followed one after the other: cold one query, warm none, and one round trip each level."""
        follow(Person, "home")
        follow(City, "country")
        for queries, calls in ((2, ["acquire", "fill", "fill"] * 2), (0, ["acquire"] * 2)):
            found = list(Person.objects.order_by("pk"))
            assert len(found) == COUNT
            with Spent() as spent:
                homes = [(person.home.slug, person.home.country.code) for person in found]  # type: ignore[union-attr]
            assert homes == [(person.name, "NO") for person in residents]
            assert len(spent.queries) == queries
            assert [name for name, _ in spent.calls] == calls

    def test_what_the_cache_has_read_are_peers_too(
        self, follow: Callable[..., None], residents: list[Person], people: list[Person]
    ) -> None:
        """Instances of one get_many_from_cache, and those that one prefetch_from_cache leads to."""
        follow(Person, "home")
        follow(City, "country")
        pks = [person.pk for person in residents]
        for _ in range(3):
            found = Person.objects.get_many_from_cache(pks)
            assert [person.home.name for person in found] == [person.name for person in residents]  # type: ignore[union-attr]
            assert all(person.home.country.code == "NO" for person in found)  # type: ignore[union-attr]
        with Spent() as spent:
            for person in prefetch_from_cache(Person.objects.get_many_from_cache(pks), "home"):
                assert person.home.country.code == "NO"
        assert (spent.queries, [name for name, _ in spent.calls]) == ([], ["acquire"] * 3)

    def test_only_what_is_lacking_is_fetched(self, follow: Callable[..., None], people: list[Person]) -> None:
        """Peers whose relation is loaded keep it; those whose key is NULL or has changed are as they are now."""
        follow(Person, "home")
        first, second, third, alone = Person.objects.order_by("pk")
        first.home = kept = City(slug="kept", country_id=1)
        second.home_id = people[0].home_id
        assert third.home == people[0].home
        assert first.home is kept
        assert second.home is third.home
        assert alone.home is None
        second.home_id = people[1].home_id
        assert second.home == people[1].home

    def test_every_read_that_follows_anew_is_fresh(self, follow: Callable[..., None], people: list[Person]) -> None:
        """Instances loaded after a commit see it; those that were peers before it are as of their first access."""
        follow(Person, "home")
        before = list(Person.objects.order_by("pk"))
        assert before[0].home is not None
        City.objects.filter(slug="bergen").update(population=9)
        assert before[1].home is not None
        assert before[1].home.population == 0
        after = list(Person.objects.order_by("pk"))
        assert after[1].home is not None
        assert after[1].home.population == 9
        before[1].refresh_from_db()
        assert before[1].home.population == 9

    def test_in_a_transaction_that_has_written_it_sees_its_own_writes(
        self, follow: Callable[..., None], people: list[Person]
    ) -> None:
        """Also when the peers have been loaded before."""
        follow(Person, "home")
        found = list(Person.objects.order_by("pk"))
        with transaction.atomic():
            City.objects.filter(slug="bergen").update(population=9)
            assert [person.home and person.home.population for person in found] == [0, 9, 0, None]

    def test_rows_that_do_not_exist_raise_and_are_not_asked_for_with_the_others_again(
        self, follow: Callable[..., None], people: list[Person]
    ) -> None:
        """Each of them costs its own question from then on, and no multi-get of all."""
        follow(Person, "home")
        found = list(Person.objects.order_by("pk"))
        for at, lost in enumerate(found[:2]):
            lost.home_id = 987654 + at
        assert found[2].home == people[2].home
        for lost in found[:2]:
            with Spent() as spent, pytest.raises(City.DoesNotExist):
                _ = lost.home
            assert [count for name, count in spent.calls if name == "acquire"] == [2]

    def test_groups_are_those_of_one_evaluation_also_if_evaluations_take_turns(
        self, follow: Callable[..., None], residents: list[Person]
    ) -> None:
        """Two iterations over the same model side by side, and a join of a model with itself."""
        follow(Person, "home")
        left, right = [], []
        for one, other in zip(Person.objects.iterator(), Person.objects.iterator(), strict=True):
            left.append(one)
            right.append(other)
        for side in (left, right):
            assert {id(peer) for peer in peers.peers_of(side[0])} == {id(one) for one in side}
        visitors = [Visitor.objects.create(guide=person) for person in residents[:5]]
        found = list(Visitor.objects.select_related("guide"))
        with Spent() as spent:
            assert [visitor.guide.home_id for visitor in found] == [person.home_id for person in residents[:5]]  # type: ignore[union-attr]
            assert all(visitor.guide.home for visitor in found)  # type: ignore[union-attr]
        assert [name for name, _ in spent.calls].count("acquire") == 1
        del visitors

    def test_a_group_has_an_end(self, follow: Callable[..., None], residents: list[Person], monkeypatch: Any) -> None:
        """So many keys are asked for in one round trip; a hundred rows in groups of forty are three."""
        follow(Person, "home")
        monkeypatch.setattr(peers, "MOST", 40)
        pks = [person.pk for person in residents]
        for query in (lambda: list(Person.objects.all()), lambda: Person.objects.get_many_from_cache(pks)):
            for _ in range(3):
                found = query()
                with Spent() as spent:
                    assert all(person.home for person in found)
            assert spent.calls == [("acquire", 41), ("acquire", 41), ("acquire", 21)]

    def test_peers_keep_nobody_alive(self, follow: Callable[..., None], residents: list[Person]) -> None:
        """Neither each other, nor does what remembers the evaluation keep them."""
        follow(Person, "home")
        found = list(Person.objects.order_by("pk"))
        first, second = weakref.ref(found[0]), weakref.ref(found[1])
        del found[0]
        gc.collect()
        assert first() is None
        assert second() is not None
        assert len(peers.peers_of(found[0])) == COUNT - 1
        group = weakref.ref(vars(found[0]._state)["cachecore_peers"])
        found.clear()
        gc.collect()
        assert (second(), group()) == (None, None)

    def test_copies_and_pickles_go_without_peers(self, follow: Callable[..., None], people: list[Person]) -> None:
        """They follow their keys from the cache, each by itself; a shallow copy takes its original's peers along."""
        follow(Person, "home")
        found = list(Person.objects.order_by("pk"))
        for one in (pickle.loads(pickle.dumps(found[0])), copy.deepcopy(found[0])):
            assert peers.peers_of(one) == [one]
            assert one.home == people[0].home
        assert loaded(found[1], "home") is None
        shallow = copy.copy(found[0])
        assert shallow.home == people[0].home
        assert pickle.loads(pickle.dumps(found))[1].home == people[1].home

    def test_a_deferred_key_is_loaded_for_all_peers(self, follow: Callable[..., None], people: list[Person]) -> None:
        """The first by Django, the others by one query."""
        follow(Person, "home")
        prefetch_from_cache(Person.objects.all(), "home")
        found = list(Person.objects.only("name").order_by("pk"))
        with Spent() as spent:
            assert [person.home for person in found] == [person.home for person in people]
        assert len(spent.queries) == 2

    def test_a_one_to_one_key_knows_its_way_back(self, follow: Callable[..., None], norway: Country) -> None:
        """Also of the peers."""
        follow(Badge, "country")
        sweden = Country.objects.create(code="SE", name="Sweden")
        for country in (norway, sweden):
            Badge.objects.create(country=country, text="x")
        badges = list(Badge.objects.order_by("pk"))
        with Spent() as spent:
            assert [badge.country.badge for badge in badges] == badges
        assert len(spent.queries) == 1

    def test_instances_of_another_database_keep_to_it(self, follow: Callable[..., None], oslo: City) -> None:
        """And so do new instances that were never saved keep to the default one."""
        follow(City, "country")
        Country.objects.using("other").create(pk=oslo.country_id, code="XX", name="Elsewhere")
        City.objects.using("other").create(slug="there", name="There", country_id=oslo.country_id)
        with Spent() as spent:
            assert City.objects.using("other").get().country.code == "XX"
        assert spent.calls == []
        assert City(country_id=oslo.country_id).country.code == "NO"

    @pytest.mark.parametrize(("writes_to", "code"), [("default", "NO"), (None, "XX")])
    def test_with_routers_it_is_where_the_other_model_is_written_for_this_instance(
        self, writes_to: str | None, code: str, follow: Callable[..., None], oslo: City, settings: Any
    ) -> None:
        """An instance of a replica leads to cached rows, for those are of the primary; one of a shard stays in it."""
        settings.DATABASE_ROUTERS = [Router(writes_to)]
        follow(City, "country")
        Country.objects.using("other").create(pk=oslo.country_id, code="XX", name="Elsewhere")
        City.objects.using("other").create(slug="there", name="There", country_id=oslo.country_id)
        for _ in range(2):
            assert City.objects.using("other").get().country.code == code
            [city] = prefetch_from_cache(City.objects.using("other"), "country")
            assert city.country.code == code

    def test_a_bypassed_block_asks_the_database(self, follow: Callable[..., None], people: list[Person]) -> None:
        """As if nothing were followed from the cache."""
        follow(Person, "home")
        [person, *_] = Person.objects.order_by("pk")
        with Spent() as spent, cache_bypassed():
            assert person.home == people[0].home
        assert (len(spent.queries), spent.calls) == (1, [])

    def test_a_failing_cache_is_no_failing_relation(self, follow: Callable[..., None], people: list[Person]) -> None:
        """The database answers."""
        follow(Person, "home")
        server().fail("acquire", BackendUnavailable("gone"), times=9)
        assert [person.home for person in Person.objects.order_by("pk")] == [person.home for person in people]

    def test_in_an_event_loop_it_is_refused_as_django_refuses_it(
        self, follow: Callable[..., None], people: list[Person]
    ) -> None:
        """Also when it is cached: whether it works must not depend on that. What is prefetched can be followed."""
        follow(Person, "home")
        assert Person.objects.order_by("pk")[0].home == people[0].home

        async def reading() -> Any:
            [person, *_] = [person async for person in Person.objects.order_by("pk")]
            with pytest.raises(SynchronousOnlyOperation):
                _ = person.home
            await aprefetch_from_cache(person, "home")
            return person.home

        assert async_to_sync(reading)() == people[0].home

    def test_each_thread_and_task_has_its_own_peers(
        self, follow: Callable[..., None], people: list[Person], parallel: Parallel
    ) -> None:
        """Evaluations at the same time are not mixed."""
        follow(Person, "home")

        def reading() -> None:
            for _ in range(20):
                found = list(Person.objects.order_by("pk"))
                assert {id(peer) for peer in peers.peers_of(found[0])} == {id(one) for one in found}
                assert [person.home for person in found] == [person.home for person in people]

        for _ in range(4):
            parallel.start(reading)
        parallel.join()

        async def tasks() -> list[Any]:
            async def one() -> Any:
                return prefetch_from_cache([person async for person in Person.objects.order_by("pk")])

            return await asyncio.gather(one(), one())

        first, second = async_to_sync(tasks)()
        assert not {id(one) for one in first} & {id(peer) for peer in peers.peers_of(second[0])}

    @pytest.mark.skipif(django.VERSION < (6, 1), reason="fetch modes came with Django 6.1")
    def test_fetch_modes_are_obeyed(self, follow: Callable[..., None], people: list[Person]) -> None:
        """FETCH_PEERS is one multi-get too, FETCH_RAISE raises."""
        from django.core.exceptions import FieldFetchBlocked  # type: ignore[attr-defined,unused-ignore]
        from django.db.models import FETCH_PEERS, FETCH_RAISE  # type: ignore[attr-defined,unused-ignore]

        follow(Person, "home")
        for _ in range(2):
            found = list(Person.objects.fetch_mode(FETCH_PEERS).order_by("pk"))  # type: ignore[attr-defined,unused-ignore]
            with Spent() as spent:
                assert [person.home for person in found] == [person.home for person in people]
        assert (spent.queries, spent.calls) == ([], [("acquire", 3)])
        lost = Person(home_id=987654)
        lost._state.fetch_mode = FETCH_PEERS  # type: ignore[attr-defined,unused-ignore]
        with pytest.raises(City.DoesNotExist):
            _ = lost.home
        blocked = Person.objects.fetch_mode(FETCH_RAISE).order_by("pk")[0]  # type: ignore[attr-defined,unused-ignore]
        with pytest.raises(FieldFetchBlocked):
            _ = blocked.home

    def test_what_cannot_be_followed_is_an_error_that_names_it(self, follow: Callable[..., None]) -> None:
        """No foreign key, an uncached model, the link to a parent."""
        for model, name in ((Person, "name"), (Person, "nothing"), (City, "residents")):
            where = rf"cache_relations of geo_app\.{model.__name__} names '{name}'"
            with pytest.raises(ConfigurationError, match=where):
                follow_from_cache(model, name)
        with pytest.raises(ConfigurationError, match=r"Restaurant\.place_ptr is the link to the parent"):
            follow_from_cache(Restaurant, "place_ptr")
        with isolate_apps("tests.geo_app"):

            class Picture(models.Model):
                landmark = models.ForeignKey(Landmark, models.CASCADE)

                class Meta:
                    app_label = "geo_app"

        with pytest.raises(ConfigurationError, match=r"Picture\.landmark: geo_app\.Landmark is not cached by id"):
            follow_from_cache(Picture, "landmark")
        assert not peers.are_grouped(Picture)

    def test_what_a_manager_declares_is_followed_and_what_is_wrong_is_left_to_the_checks(
        self, follow: Callable[..., None], people: list[Person], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """cache_relations of a CacheManager."""
        follow(Person)  # notes what is to be undone
        before = vars(Person)["home"]
        monkeypatch.setattr(Person.objects, "cache_relations", ("home", "nothing"), raising=False)
        monkeypatch.setattr(Person._meta.managers[0], "cache_relations", ("home", "nothing"), raising=False)
        following.connect(Person)
        try:
            prefetch_from_cache(Person.objects.all(), "home")
            with Spent() as spent:
                assert all(person.home for person in Person.objects.exclude(home=None))
            assert len(spent.queries) == 1
            assert following.problem_with(Person, "nothing") is not None
            assert Person.home.field is before.field  # type: ignore[attr-defined]
        finally:
            setattr(Person, "home", before)  # noqa: B010

    def test_asked_for_too_early_it_waits_until_the_models_are_known(
        self, follow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As in a module of models."""
        monkeypatch.setattr(following, "_connected", False)
        monkeypatch.setattr(following, "_pending", [])
        follow(Person, "home")
        assert not peers.are_grouped(Person)
        following.connect_all()
        assert peers.are_grouped(Person)
        follow_from_cache(Person, "home")
        assert type(Person.home).__mro__.count(following._Following) == 1
        assert type(vars(Person)["work"]).__mro__.count(following._Following) == 0

    def test_instances_built_in_other_ways_follow_by_themselves(
        self, follow: Callable[..., None], people: list[Person], memory_cache: Cache
    ) -> None:
        """From a cache in this process, by create() and by raw SQL with columns of their own."""
        follow(Person, "home")
        for _ in range(3):
            for person in people:
                fresh = Person.objects.get_from_cache(pk=person.pk)
                assert peers.peers_of(fresh) == [fresh]
                assert fresh.home == person.home
        found = Person.objects.get_many_from_cache([person.pk for person in people])
        assert {id(peer) for peer in peers.peers_of(found[0])} == {id(one) for one in found}
        assert [person.home for person in found] == [person.home for person in people]
        raw = list(Person.objects.raw("SELECT id, name, home_id, work_id FROM geo_app_person ORDER BY id"))
        assert len(peers.peers_of(raw[0])) == len(people)
        forget_all(City)
        assert caches["default"] is memory_cache
