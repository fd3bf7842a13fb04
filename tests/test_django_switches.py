"""Reading past the cache: by one call, in a block, for a model that is switched off, and with a replica."""

import asyncio
import copy
import pickle
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.test.utils import override_settings

from cachecore.cache import Cache
from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.integrations.django import cache_bypassed
from cachecore.integrations.django.checks import check_models, check_settings
from cachecore.integrations.django.switches import switches
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import Parallel, behind_the_back, forget_all
from tests.geo_app.models import City, CityProxy, Country, Landmark, Note, Seat

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_switch_is_left() -> Iterator[None]:
    """Every test ends with all switches as it found them."""
    yield
    assert not switches.any


@pytest.fixture
def oslo(db: None) -> City:
    """A city."""
    norway = Country.objects.create(code="NO", name="Norway")
    return City.objects.create(slug="oslo", name="Oslo", country=norway)


def warm(city: City) -> None:
    """Put the city into the cache, and its lookups."""
    for _ in range(2):
        for query in ({"pk": city.pk}, {"slug": city.slug}, {"country": city.country_id, "name": city.name}):
            City.objects.get_from_cache(**query)


def population(**query: Any) -> int:
    """What a reader is told."""
    return int(City.objects.get_from_cache(**query).population)


class TestBypass:
    """bypass_cache() and cache_bypassed()."""

    def test_one_call(self, fake_server: FakeBackend, oslo: City, django_assert_num_queries: Any) -> None:
        """Each read is a query by the lookup, and the cache is not even asked."""
        warm(oslo)
        fresh = City.objects.bypass_cache()
        behind_the_back("UPDATE geo_app_city SET population = 9")
        fake_server.log.clear()
        two = {"country": oslo.country_id, "name": "Oslo"}
        for query in ({"pk": oslo.pk}, {"slug": "oslo"}, {"slug__exact": "oslo"}, two):
            with django_assert_num_queries(1):
                assert fresh.get_from_cache(**query).population == 9
        assert fake_server.operations() == []
        assert population(pk=oslo.pk) == 0  # the others go on

    def test_many(self, fake_server: FakeBackend, oslo: City, django_assert_num_queries: Any) -> None:
        """The order is kept, duplicates are, and what is not there is left out; by key, lookup and two columns."""
        moss = City.objects.create(slug="moss", name="Moss", country_id=oslo.country_id)
        fresh = City.objects.bypass_cache()
        fake_server.log.clear()
        with django_assert_num_queries(3):
            assert fresh.get_many_from_cache([moss.pk, oslo.pk, 0, str(moss.pk)]) == [moss, oslo, moss]
            assert fresh.get_many_from_cache(["oslo", "x", "moss", "oslo"], key="slug") == [oslo, moss, oslo]
            pairs = [(oslo.country_id, "Moss"), (oslo.country_id, "Oslo"), (oslo.country_id, "Moss")]
            assert fresh.get_many_from_cache(pairs, key=("country", "name")) == [moss, oslo, moss]
        assert fresh.get_many_from_cache([]) == []
        assert fresh.get_many_from_cache(["oslo", "oslo"], key="slug") == [oslo, oslo]
        assert fake_server.operations() == []

    def test_what_the_database_finds_equal(self, fake_server: FakeBackend, oslo: City) -> None:
        """A row whose value is spelled otherwise in the database is found by its own query."""
        moss = City.objects.create(slug="moss", name="Moss", country_id=oslo.country_id)
        cached = City.objects._current()
        asked: list[Any] = []

        def query_many(names: tuple[str, ...]) -> Any:
            # As a database with a collation that ignores case.
            return lambda values: [tuple(vars(one)[name] for name in cached.layout.attnames) for one in (oslo, moss)]

        def query(names: tuple[str, ...]) -> Any:
            def one(values: tuple[Any, ...]) -> Any:
                asked.append(values)
                return tuple(vars(moss)[name] for name in cached.layout.attnames) if values == ("MOSS",) else None

            return one

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cached, "query_many", query_many)
            patch.setattr(cached, "query", query)
            found = City.objects.bypass_cache().get_many_from_cache(["oslo", "MOSS"], key="slug")
        assert found == [oslo, moss]
        assert asked == [("MOSS",)]

    def test_errors_are_the_same(self, each_cache: Cache, oslo: City) -> None:
        """What is no lookup is refused, and what is not there does not exist."""
        fresh = City.objects.bypass_cache()
        with pytest.raises(UncacheableLookup):
            fresh.get_from_cache(population=7)
        with pytest.raises(UncacheableLookup):
            fresh.get_many_from_cache([None])
        with pytest.raises(City.DoesNotExist):
            fresh.get_from_cache(slug="nowhere")
        with pytest.raises(UncacheableLookup, match="declares no cache_fields"):
            Landmark.objects.bypass_cache().get_from_cache(pk=1)

    def test_hidden_rows_and_composite_keys(self, each_cache: Cache) -> None:
        """Rows are those that the manager shows, identified as everywhere."""
        Note.objects.create(title="secret", hidden=True)
        with pytest.raises(Note.DoesNotExist):
            Note.objects.bypass_cache().get_from_cache(title="secret")
        seat = Seat.objects.create(row="A", number=1, code="A1")
        fresh = Seat.objects.bypass_cache()
        assert fresh.get_from_cache(pk=("A", 1)) == fresh.get_from_cache(code="A1") == seat
        assert fresh.get_many_from_cache([("Z", 1), ("A", 1)]) == [seat]

    def test_nothing_is_filled_and_writes_outdate(self, each_cache: Cache, oslo: City) -> None:
        """What is not cached is not cached after it; a write inside is seen by those outside."""
        forget_all(City)
        each_cache.statistics.reset()
        with cache_bypassed():
            for _ in range(3):
                population(pk=oslo.pk)
        counted = each_cache.statistics
        assert (counted.hits, counted.misses, counted.fills) == (0, 0, 0)
        warm(oslo)
        with cache_bypassed():
            City.objects.filter(pk=oslo.pk).update(population=5)
            assert population(slug="oslo") == 5
        assert population(slug="oslo") == 5

    def test_in_a_transaction(self, each_cache: Cache, oslo: City) -> None:
        """One reads one's own writes."""
        warm(oslo)
        with transaction.atomic(), cache_bypassed():
            City.objects.filter(pk=oslo.pk).update(population=5)
            assert population(pk=oslo.pk) == 5
            transaction.set_rollback(True)
        assert population(pk=oslo.pk) == 0

    def test_a_block_and_its_end(self, each_cache: Cache, oslo: City) -> None:
        """It holds until the outermost of nested blocks ends, in whatever way."""
        warm(oslo)
        behind_the_back("UPDATE geo_app_city SET population = 9")

        def raises() -> None:
            with cache_bypassed():
                with cache_bypassed():
                    assert population(pk=oslo.pk) == 9
                assert population(pk=oslo.pk) == 9
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            raises()
        assert population(pk=oslo.pk) == 0

    def test_other_threads_are_not_in_it(self, each_cache: Cache, oslo: City, parallel: Parallel) -> None:
        """Each thread has its own."""
        warm(oslo)
        behind_the_back("UPDATE geo_app_city SET population = 9")
        with cache_bypassed():
            assert parallel.run(lambda: population(pk=oslo.pk)) == 0
            assert population(pk=oslo.pk) == 9

    async def test_tasks(self, each_cache: Cache, oslo: City) -> None:
        """A task started in the block is in it as long as the block goes on; one started outside is not."""
        await sync_to_async(warm)(oslo)
        await sync_to_async(behind_the_back)("UPDATE geo_app_city SET population = 9")
        begin, began, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        seen: dict[str, int] = {}

        async def outside() -> None:
            await begin.wait()
            seen["outside"] = (await City.objects.aget_from_cache(pk=oslo.pk)).population
            began.set()

        async def inside() -> None:
            seen["inside"] = (await City.objects.aget_from_cache(pk=oslo.pk)).population
            await ended.wait()
            seen["later"] = (await City.objects.aget_from_cache(pk=oslo.pk)).population

        first = asyncio.create_task(outside())
        with cache_bypassed():
            second = asyncio.create_task(inside())
            begin.set()
            await began.wait()
            while "inside" not in seen:
                await asyncio.sleep(0)
        with cache_bypassed():  # of nobody that is asked here
            ended.set()
            await asyncio.create_task(asyncio.sleep(0))
            await asyncio.gather(first, second)
        assert seen == {"outside": 0, "inside": 9, "later": 0}

    async def test_awaited(self, memory_cache: Cache, oslo: City) -> None:
        """The awaited twins of a bypassing manager bypass too."""
        await sync_to_async(warm)(oslo)
        await sync_to_async(behind_the_back)("UPDATE geo_app_city SET population = 9")
        fresh = City.objects.bypass_cache()
        assert (await fresh.aget_from_cache(pk=oslo.pk)).population == 9
        assert [one.population for one in await fresh.aget_many_from_cache([oslo.pk])] == [9]
        assert (await City.objects.aget_from_cache(pk=oslo.pk)).population == 0

    def test_the_manager_goes_on_as_before(self, each_cache: Cache, oslo: City) -> None:
        """It is a copy that bypasses, and its copies do too."""
        warm(oslo)
        behind_the_back("UPDATE geo_app_city SET population = 9")
        fresh = City.objects.bypass_cache()
        for one in (fresh, fresh, copy.copy(fresh), pickle.loads(pickle.dumps(fresh)), fresh.bypass_cache()):
            assert one.get_from_cache(pk=oslo.pk).population == 9
        assert fresh.filter(pk=oslo.pk).get() == oslo
        assert population(pk=oslo.pk) == 0


class TestKillSwitch:
    """disable_cache() and enable_cache(), and the setting."""

    @pytest.fixture(autouse=True)
    def all_enabled(self) -> Iterator[None]:
        """What a test disables is enabled after it."""
        yield
        for model in (City, Country):
            model.objects.enable_cache()

    def test_a_model_is_read_from_the_database(self, each_cache: Cache, oslo: City) -> None:
        """Its rows, by all its managers, in every thread; other models are not concerned."""
        warm(oslo)
        Country.objects.get_from_cache(code="NO")
        Country.objects.get_from_cache(code="NO")
        behind_the_back("UPDATE geo_app_city SET population = 9")
        behind_the_back("UPDATE geo_app_country SET name = 'Norge'")
        City.objects.disable_cache()
        assert City.objects.is_cache_disabled
        assert population(pk=oslo.pk) == 9
        assert City.objects.get_many_from_cache([oslo.pk])[0].population == 9
        proxied: Any = CityProxy
        assert proxied.objects.get_from_cache(slug="oslo").population == 9
        threads = Parallel()
        assert threads.run(lambda: population(slug="oslo")) == 9
        assert Country.objects.get_from_cache(code="NO").name == "Norway"
        assert not Country.objects.is_cache_disabled

    def test_writes_go_on_to_outdate(self, fake_server: FakeBackend, oslo: City) -> None:
        """Other processes read the cache, and so does this one when it is enabled again."""
        warm(oslo)
        City.objects.disable_cache()
        fake_server.log.clear()
        City.objects.filter(pk=oslo.pk).update(population=5)
        oslo.refresh_from_db()
        oslo.name = "Christiania"
        oslo.save()
        assert fake_server.operations() == ["hold", "complete"] * 2
        City.objects.enable_cache()
        assert not City.objects.is_cache_disabled
        assert population(slug="oslo") == 5
        assert City.objects.get_from_cache(pk=oslo.pk).name == "Christiania"

    def test_enabled_again_hits_again(self, each_cache: Cache, oslo: City, django_assert_num_queries: Any) -> None:
        """What was cached and not written meanwhile is still there."""
        warm(oslo)
        for _ in range(2):
            City.objects.disable_cache()
            with django_assert_num_queries(2):
                population(pk=oslo.pk)
                population(pk=oslo.pk)
            City.objects.enable_cache()
            with django_assert_num_queries(0):
                population(pk=oslo.pk)

    def test_every_moment_is_seen_by_every_thread(self, memory_cache: Cache, oslo: City, parallel: Parallel) -> None:
        """Whoever begins to read after the switch was thrown reads as it says."""
        warm(oslo)
        behind_the_back("UPDATE geo_app_city SET population = 9")
        turn, seen = threading.Barrier(2), list[int]()

        def read() -> None:
            for _ in range(20):
                turn.wait(60)
                seen.append(population(pk=oslo.pk))
                turn.wait(60)

        parallel.start(read)
        for number in range(20):
            (City.objects.disable_cache if number % 2 else City.objects.enable_cache)()
            turn.wait(60)
            turn.wait(60)
        parallel.join()
        assert seen == [0, 9] * 10

    def test_a_model_that_is_not_cached(self) -> None:
        """There is nothing to switch off."""
        with pytest.raises(UncacheableLookup, match="Landmark"):
            Landmark.objects.disable_cache()

    @pytest.mark.parametrize("labels", [["geo_app.City"], ("geo_app.city",), ["*"], {"geo_app.CityProxy"}])
    def test_the_setting(self, labels: Any, each_cache: Cache, oslo: City) -> None:
        """It disables models from the start; enable_cache() at run time overrides it."""
        warm(oslo)
        behind_the_back("UPDATE geo_app_city SET population = 9")
        with override_settings(CACHECORE_DISABLED_MODELS=labels):
            assert population(pk=oslo.pk) == 9
            assert Country.objects.is_cache_disabled == ("*" in labels)
            City.objects.enable_cache()
            assert population(pk=oslo.pk) == 0
        assert not switches.any

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ("geo_app.City", r"CACHECORE_DISABLED_MODELS must be a list of models.*'geo_app\.City'"),
            ([City], r"must be a list of models"),
            (True, r"must be a list of models.*True"),
            (["geo_app.Nowhere"], r"CACHECORE_DISABLED_MODELS names 'geo_app\.Nowhere', which is no model"),
            (["City"], r"names 'City', which is no model"),
        ],
    )
    def test_e011_the_setting_is_wrong(self, value: Any, said: str, memory_cache: Cache) -> None:
        """A system check says so, and nothing is switched off."""
        with override_settings(CACHECORE_DISABLED_MODELS=value):
            [message] = check_settings()
            assert not switches.any
        assert message.id == "cachecore.E011"
        assert re.search(said, message.msg)


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
class TestReplica:
    """using_replica(): "other" stands for a replica of "default" that lags behind."""

    @pytest.fixture
    def lagging(self, oslo: City) -> City:
        """The city; the replica has it with another population."""
        Country.objects.using("other").create(pk=oslo.country_id, code="NO", name="Norway")
        City.objects.using("other").create(
            pk=oslo.pk, slug="oslo", name="Oslo", country_id=oslo.country_id, population=-1
        )
        return oslo

    @pytest.mark.parametrize("by", ["pk", "slug"])
    def test_a_miss_reads_the_replica_and_stores_nothing(self, by: str, each_cache: Cache, lagging: City) -> None:
        """However often; the instance says where it was read, and the primary's reader never sees it."""
        replica = City.objects.using_replica("other")
        query = {by: getattr(lagging, by)}
        forget_all(City)
        each_cache.statistics.reset()
        for _ in range(3):
            found = replica.get_from_cache(**query)
            assert (found.population, found._state.db) == (-1, "other")
        assert each_cache.statistics.fills == 0
        assert population(**query) == 0
        assert population(**query) == 0

    def test_a_hit_is_the_cached_row(self, each_cache: Cache, lagging: City, django_assert_num_queries: Any) -> None:
        """As coherent as ever, with the alias of the replica."""
        warm(lagging)
        replica = City.objects.using_replica("other")
        with django_assert_num_queries(0), django_assert_num_queries(0, connection=connections["other"]):
            for query in ({"pk": lagging.pk}, {"slug": "oslo"}):
                found = replica.get_from_cache(**query)
                assert (found.population, found._state.db) == (0, "other")
            [found] = replica.get_many_from_cache([lagging.pk])
            assert found._state.db == "other"

    def test_many(self, each_cache: Cache, lagging: City) -> None:
        """What is cached comes from the cache, the rest from the replica."""
        City.objects.using("other").create(slug="moss", name="Moss", country_id=lagging.country_id, population=-2)
        warm(lagging)
        replica = City.objects.using_replica("other")
        for values, key in ((["moss", "nowhere", "oslo"], "slug"), ([lagging.pk], "pk")):
            found = replica.get_many_from_cache(values, key=key)
            assert [one.population for one in found] == ([-2, 0] if key == "slug" else [0])
        with pytest.raises(City.DoesNotExist):
            City.objects.get_from_cache(slug="moss")

    def test_own_writes_are_seen(self, each_cache: Cache, lagging: City) -> None:
        """A transaction that has written reads where it has written."""
        replica = City.objects.using_replica("other")
        warm(lagging)
        with transaction.atomic():
            City.objects.filter(pk=lagging.pk).update(population=5)
            assert replica.get_from_cache(pk=lagging.pk).population == 5
            transaction.set_rollback(True)
        assert replica.get_from_cache(pk=lagging.pk).population in (0, -1)

    def test_by_the_manager_and_by_the_router(self, each_cache: Cache, lagging: City) -> None:
        """Without an alias it is the manager's, and without that the one that routers read from."""
        manager = copy.copy(City.objects)
        manager.cache_replica = "other"
        assert manager.using_replica().get_from_cache(pk=lagging.pk)._state.db == "other"

        class Router:
            def db_for_read(self, model: Any, **hints: Any) -> str:
                return "other"

        assert City.objects.using_replica().get_from_cache(pk=lagging.pk)._state.db == "default"
        with override_settings(DATABASE_ROUTERS=[Router()]):
            assert City.objects.using_replica().get_from_cache(slug="oslo")._state.db == "other"

    async def test_awaited(self, memory_cache: Cache, lagging: City) -> None:
        """The awaited twins know it too."""
        await sync_to_async(warm)(lagging)
        replica = City.objects.using_replica("other")
        assert (await replica.aget_from_cache(pk=lagging.pk))._state.db == "other"

    def test_bypassed(self, each_cache: Cache, lagging: City) -> None:
        """Who bypasses the cache reads the primary."""
        with cache_bypassed():
            assert City.objects.using_replica("other").get_from_cache(pk=lagging.pk).population == 0

    def test_an_alias_that_is_none(self) -> None:
        """It is named at once."""
        with pytest.raises(ConfigurationError, match=r"geo_app\.City: 'nowhere' is no database; there are default"):
            City.objects.using_replica("nowhere")

    def test_e012(self) -> None:
        """A system check sees it in a declaration."""

        class App:
            def get_models(self) -> Any:
                return [City]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(City.objects, "cache_replica", "nowhere")
            [message] = [one for one in check_models([App()]) if one.id == "cachecore.E012"]
        assert "geo_app.City: cache_replica='nowhere' is no database" in message.msg
