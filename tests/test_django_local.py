"""The local cache: what need not be asked for again, what is never read from it, and whose it is."""

import asyncio
import contextvars
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import django
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.core.handlers.asgi import ASGIHandler
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client, override_settings
from django.urls import path

from cachecore.cache import Cache
from cachecore.errors import ConfigurationError
from cachecore.events import Event, Hit
from cachecore.integrations.django import caches, conf, local, model_cache
from cachecore.integrations.django.local import blocks as local_blocks
from cachecore.integrations.django.local import clear_local_cache, local_cache
from cachecore.integrations.django.local import rows as local_rows
from cachecore.integrations.django.relations.prefetch import prefetch_from_cache
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import FAKE, Parallel, forget_all, server
from tests.geo_app.models import City, Country, Seat

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Each test begins and ends without a local cache."""
    assert local.current.get() is None
    yield
    assert local.current.get() is None


@pytest.fixture
def oslo(fake_server: FakeBackend) -> City:
    """A city whose row and lookups are in the shared cache."""
    norway = Country.objects.create(code="NO", name="Norway")
    city = City.objects.create(slug="oslo", name="Oslo", country=norway, iata="OSL", data={"mayor": "Anne"})
    for _ in range(2):
        for query in ways(city):
            City.objects.get_from_cache(**query)
    return city


def ways(city: City) -> list[dict[str, Any]]:
    """The same row by everything that it may be asked for."""
    return [
        {"slug": city.slug},
        {"pk": city.pk},
        {"id": str(city.pk)},
        {"country": city.country_id, "name": city.name},
        {"iata": city.iata},
    ]


def calls() -> list[str]:
    """What the server has been asked since the last look."""
    found = server().operations()
    server().log.clear()
    return found


def elsewhere(parallel: Parallel, **values: Any) -> None:
    """Somebody else writes all cities."""
    parallel.run(lambda: City.objects.all().update(**values))


class TestReading:
    """What is remembered."""

    def test_a_row_is_asked_for_once(self, oslo: City) -> None:
        """By each lookup, and by the primary key not even once if it came by another way."""
        with local_cache() as local:
            calls()
            assert City.objects.get_from_cache(slug="oslo") == oslo
            assert calls() == ["acquire"]
            for query in ways(oslo)[:3]:
                assert City.objects.get_from_cache(**query) == oslo
            assert calls() == []
            for query in ways(oslo)[3:]:
                assert City.objects.get_from_cache(**query) == oslo
            calls()
            for query in ways(oslo):
                assert City.objects.get_from_cache(**query) == oslo
            assert calls() == []
            assert (local.hits, len(local)) == (8, 1)
        assert City.objects.get_from_cache(pk=oslo.pk) == oslo
        assert calls() == ["acquire"]

    def test_of_many_only_those_that_are_missing_are_asked_for(self, oslo: City) -> None:
        """In their order, with duplicates, and without those that have no row."""
        others = [City.objects.create(slug=f"c{at}", name=f"c{at}", country=oslo.country) for at in range(3)]
        pks = [others[0].pk, oslo.pk, 0, others[1].pk, oslo.pk]
        with local_cache():
            City.objects.get_from_cache(pk=oslo.pk)
            server().log.clear()
            for _ in range(2):
                found = City.objects.get_many_from_cache(pks)
                assert [city.slug for city in found] == ["c0", "oslo", "c1", "oslo"]
                assert len({id(city) for city in found}) == 4
            asked = [call.keys for call in server().log if call.name == "acquire"]
            assert [len(keys) for keys in asked] == [4, 2]  # the epoch's, and what was missing: then only the lost one
            assert City.objects.get_many_from_cache(["c0", "oslo"], key="slug") == [others[0], oslo]
            calls()
            assert City.objects.get_many_from_cache(["c0", "oslo"], key="slug") == [others[0], oslo]
            assert City.objects.get_many_from_cache([(oslo.country_id, "Oslo")], key=("country", "name")) == [oslo]
            calls()
            assert City.objects.get_many_from_cache([(oslo.country, "Oslo")], key=("country", "name")) == [oslo]
            assert calls() == []

    def test_a_primary_key_of_two_columns(self, fake_server: FakeBackend) -> None:
        """Is remembered like any other."""
        seat = Seat.objects.create(row="A", number=1, code="A1")
        with local_cache():
            Seat.objects.get_from_cache(code="A1")
            calls()
            assert Seat.objects.get_from_cache(pk=("A", 1)) == seat
            assert Seat.objects.get_from_cache(code="A1") == seat
            assert calls() == []

    def test_each_read_gives_an_instance_of_its_own(self, oslo: City) -> None:
        """What one caller does to its instance no other one sees."""
        with local_cache():
            first, second = (City.objects.get_from_cache(pk=oslo.pk) for _ in range(2))
            [third] = City.objects.get_many_from_cache([oslo.pk])
            first.data["mayor"] = "nobody"
            second.slug = "other"
            assert third.data == {"mayor": "Anne"}
            fourth = City.objects.get_from_cache(pk=oslo.pk)
            assert (fourth.slug, fourth.data) == ("oslo", {"mayor": "Anne"})
            assert (fourth._state.db, fourth._state.adding, fourth.has_changed("slug")) == ("default", False, False)

    def test_relations_are_found_in_it_too(self, oslo: City) -> None:
        """What is prefetched a second time is no round trip."""
        with local_cache():
            prefetch_from_cache(City.objects.get_from_cache(pk=oslo.pk), "country")
            calls()
            [city] = prefetch_from_cache(City.objects.get_from_cache(pk=oslo.pk), "country")
            assert city.country == oslo.country
            assert calls() == []

    def test_it_counts_as_a_hit_and_is_told_to_subscribers(self, oslo: City) -> None:
        """One for each row."""
        cache: Cache = caches["default"]
        told: list[Event] = []
        with local_cache() as local:
            City.objects.get_from_cache(pk=oslo.pk)
            cache.statistics.reset()
            cache.hooks.subscribe(told.append)
            City.objects.get_from_cache(pk=oslo.pk)
            City.objects.get_many_from_cache([oslo.pk, oslo.pk])
        key = City.objects._current().key((oslo.pk,))
        assert (cache.statistics.hits, cache.statistics.misses, local.hits) == (3, 0, 3)
        assert told == [Hit("geo_app.City", (key,)), Hit("geo_app.City", (key, key))]

    def test_a_cache_in_this_process_needs_none(self, memory_cache: Cache) -> None:
        """It is asked as ever, and is always fresh."""
        country = Country.objects.create(code="NO", name="Norway")
        with local_cache() as local:
            for _ in range(3):
                assert Country.objects.get_from_cache(pk=country.pk) == country
            assert (len(local), local.hits) == (0, 0)

    def test_without_any_the_straight_path_is_what_it_was(self, oslo: City, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is put in its way before the first local cache of the process is opened."""
        monkeypatch.setattr(local, "used", False)
        model_cache.begin_anew()
        cached = City.objects._current()
        assert type(cached.answer.__self__).__name__ == "SharedPath"  # type: ignore[attr-defined]
        local.drop(["any key"])
        with local_cache():
            assert City.objects._current().answer({"pk": oslo.pk}) is None
        assert City.objects._current().answer({"pk": oslo.pk}) == oslo

    @pytest.mark.parametrize("rows", [0, -1, 1.5, "3", None, True])
    def test_a_wrong_size_is_an_error_that_names_it(self, rows: Any) -> None:
        """And no local cache is opened."""
        with (
            pytest.raises(ConfigurationError, match=f"rows must be a positive int, not {rows!r}"),
            local_cache(rows=rows),
        ):
            pass

    def test_it_has_an_end(self, oslo: City) -> None:
        """The oldest rows make room."""
        others = [City.objects.create(slug=f"c{at}", name=f"c{at}", country=oslo.country) for at in range(5)]
        with local_cache(rows=3) as local:
            for city in others:
                City.objects.get_from_cache(slug=city.slug)
            assert len(local) == 3
            calls()
            assert City.objects.get_many_from_cache([city.pk for city in others[2:]]) == others[2:]
            assert calls() == []
            City.objects.get_from_cache(pk=others[0].pk)
            assert calls() != []

    def test_a_remembered_lookup_is_verified(self, oslo: City, parallel: Parallel) -> None:
        """Its row has made room and come back under another name: the old name finds what has it now."""
        other = City.objects.create(slug="c0", name="c0", country=oslo.country)
        with local_cache(rows=1) as local:
            City.objects.get_from_cache(slug="oslo")
            parallel.run(lambda: City.objects.filter(pk=oslo.pk).update(slug="christiania"))
            City.objects.get_from_cache(pk=other.pk)
            assert City.objects.get_from_cache(pk=oslo.pk).slug == "christiania"
            assert len(local) == 1
            with pytest.raises(City.DoesNotExist):
                City.objects.get_from_cache(slug="oslo")


class TestFreshness:
    """What is promised instead."""

    def test_others_commits_are_seen_after_the_block(self, oslo: City, parallel: Parallel) -> None:
        """Inside, a row is as of the first read, and what was not read before is fresh."""
        with local_cache():
            assert City.objects.get_from_cache(pk=oslo.pk).population == 0
            elsewhere(parallel, population=7)
            assert City.objects.get_from_cache(pk=oslo.pk).population == 0
            assert City.objects.get_from_cache(slug="oslo").population == 7  # was never asked by that
            assert City.objects.get_from_cache(pk=oslo.pk).population == 7  # and nothing goes back
            elsewhere(parallel, population=8)
            assert City.objects.get_from_cache(slug="oslo").population == 7
            clear_local_cache()
            assert City.objects.get_from_cache(slug="oslo").population == 8
            elsewhere(parallel, population=6)
        assert City.objects.get_from_cache(pk=oslo.pk).population == 6
        with local_cache():
            elsewhere(parallel, population=9)
            assert City.objects.get_from_cache(pk=oslo.pk).population == 9

    @pytest.mark.parametrize(
        "write",
        [
            lambda city: City(pk=city.pk, slug="new", name="x", country=city.country).save(),
            lambda city: City.objects.filter(pk=city.pk).update(slug="new"),
            lambda city: City.objects.filter(name="Oslo").update(slug="new"),
            lambda city: City.objects.bulk_update([City(pk=city.pk, slug="new")], ["slug"]),
            lambda city: connection.cursor().execute("UPDATE geo_app_city SET slug = 'new'").close(),
        ],
        ids=["save", "update", "update by another column", "bulk_update", "raw SQL"],
    )
    @pytest.mark.parametrize("place", ["autocommit", "atomic"])
    def test_own_writes_are_seen_at_once(self, write: Callable[[City], Any], place: str, oslo: City) -> None:
        """By every lookup, inside the transaction and after it."""
        with local_cache():
            for query in ways(oslo):
                City.objects.get_from_cache(**query)
            if place == "atomic":
                with transaction.atomic():
                    write(oslo)
                    assert City.objects.get_from_cache(pk=oslo.pk).slug == "new"
            else:
                write(oslo)
            for _ in range(2):
                assert City.objects.get_from_cache(pk=oslo.pk).slug == "new"
                assert City.objects.get_from_cache(slug="new").pk == oslo.pk
                with pytest.raises(City.DoesNotExist):
                    City.objects.get_from_cache(slug="oslo")

    def test_own_deletes_are_seen_at_once(self, oslo: City) -> None:
        """Also a cascade."""
        with local_cache():
            City.objects.get_from_cache(slug="oslo")
            Country.objects.all().delete()
            for query in ways(oslo):
                with pytest.raises(City.DoesNotExist):
                    City.objects.get_from_cache(**query)

    def test_what_outdates_all_rows_of_a_model_outdates_them_here(self, oslo: City) -> None:
        """And leaves the rows of other models."""
        with local_cache() as local:
            City.objects.get_from_cache(pk=oslo.pk)
            Country.objects.get_from_cache(pk=oslo.country_id)
            City.objects._current().invalidate()
            assert len(local) == 1
            City.objects.get_from_cache(pk=oslo.pk)
            assert len(local) == 1

    def test_what_is_dropped_by_hand_is_dropped_here(self, oslo: City, parallel: Parallel) -> None:
        """uncache_object and invalidate."""
        with local_cache():
            City.objects.get_from_cache(pk=oslo.pk)
            elsewhere(parallel, population=7)
            City.objects.uncache_object(oslo.pk)
            assert City.objects.get_from_cache(pk=oslo.pk).population == 7

    def test_a_transaction_that_has_written_neither_reads_it_nor_fills_it(self, oslo: City) -> None:
        """Not even rows that it has not written; after a rollback nothing of it is left."""
        other = City.objects.create(slug="c0", name="c0", country=oslo.country)
        with local_cache() as local:
            City.objects.get_from_cache(pk=oslo.pk)
            with transaction.atomic():
                City.objects.filter(pk=other.pk).update(population=5)
                City.objects.get_from_cache(pk=oslo.pk)
                assert City.objects.get_from_cache(pk=other.pk).population == 5
                assert (local.hits, len(local)) == (0, 1)
                transaction.set_rollback(True)
            assert City.objects.get_from_cache(pk=other.pk).population == 0
            assert City.objects.get_from_cache(pk=oslo.pk) == oslo
            assert (local.hits, len(local)) == (1, 1)

    def test_what_a_transaction_may_see_of_the_past_is_not_remembered(self, oslo: City) -> None:
        """A snapshot of its own may be older than what the shared cache has."""
        with local_cache() as local:
            with transaction.atomic():
                if connection.vendor == "postgresql":
                    with connection.cursor() as cursor:
                        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                assert City.objects.get_from_cache(pk=oslo.pk) == oslo
                assert len(local) == 0
            City.objects.get_from_cache(pk=oslo.pk)
            with transaction.atomic():
                assert City.objects.get_from_cache(pk=oslo.pk) == oslo
            assert (local.hits, len(local)) == (1, 1)

    def test_a_reader_who_is_slower_than_a_write_does_not_put_the_old_row_back(self, oslo: City) -> None:
        """Another task of the same request has read the old row, and it is written before that one can remember it."""
        cached = City.objects._current()
        with local_cache() as opened:

            def slowly(names: tuple[str, ...], values: Any) -> list[Any]:
                rows = cached._rows(names, values)
                City.objects.filter(pk=oslo.pk).update(population=7)
                return rows

            [old] = opened.rows(cached, ("id",), [(oslo.pk,)], slowly)
            assert old is not None
            assert City.objects.get_from_cache(pk=oslo.pk).population == 7
            assert len(opened) == 0

    def test_of_reads_at_once_the_one_that_ends_first_is_remembered(self, oslo: City, parallel: Parallel) -> None:
        """A slower one may have seen an older row: what it brings is not put over the newer one."""
        cached = City.objects._current()
        with local_cache() as opened:

            def slowly(names: tuple[str, ...], values: Any) -> list[Any]:
                rows = cached._rows(names, values)
                elsewhere(parallel, population=7)
                assert City.objects.get_from_cache(pk=oslo.pk).population == 7  # the read of another task
                return rows

            opened.rows(cached, ("id",), [(oslo.pk,)], slowly)
            assert City.objects.get_from_cache(pk=oslo.pk).population == 7

    def test_a_block_that_writes_very_much_goes_on_without_it(
        self, oslo: City, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What it has written would otherwise have to be remembered for ever."""
        monkeypatch.setattr(local_rows, "_MOST_BARRED", 2)
        with local_cache() as opened:
            City.objects.get_from_cache(pk=oslo.pk)
            for at in range(3):
                City.objects.create(slug=f"c{at}", name=f"c{at}", country=oslo.country)
            local.drop(["one", "two", "three"])
            for _ in range(2):
                assert City.objects.get_from_cache(pk=oslo.pk) == oslo
            assert (opened.hits, len(opened)) == (0, 0)

    def test_what_was_read_by_other_settings_is_not_believed(self, oslo: City) -> None:
        """The settings change in a block: what stands in the new cache counts."""
        with local_cache():
            City.objects.get_from_cache(pk=oslo.pk)
            with override_settings(CACHECORE=FAKE):
                City.objects.get_from_cache(pk=oslo.pk)
                assert "acquire" in calls()

    def test_a_block_in_a_block_begins_empty_and_its_writes_concern_both(self, oslo: City, parallel: Parallel) -> None:
        """After it the outer one is there again."""
        other = City.objects.create(slug="c0", name="c0", country=oslo.country)
        with local_cache():
            assert City.objects.get_many_from_cache([oslo.pk, other.pk]) == [oslo, other]
            elsewhere(parallel, population=7)
            with local_cache():
                assert City.objects.get_from_cache(pk=other.pk).population == 7
                City.objects.filter(pk=oslo.pk).update(population=8)
            assert City.objects.get_from_cache(pk=oslo.pk).population == 8
            assert City.objects.get_from_cache(pk=other.pk).population == 0


class TestContexts:
    """Whose it is."""

    def test_another_thread_does_not_see_it(self, oslo: City, parallel: Parallel) -> None:
        """It reads the shared cache, and leaves nothing behind."""
        with local_cache() as opened:
            City.objects.get_from_cache(pk=oslo.pk)
            elsewhere(parallel, population=7)
            assert parallel.run(lambda: (local.current.get(), City.objects.get_from_cache(pk=oslo.pk).population)) == (
                None,
                7,
            )
            assert City.objects.get_from_cache(pk=oslo.pk).population == 0
            assert opened.hits == 1

    def test_another_task_does_not_see_it(self, oslo: City, parallel: Parallel) -> None:
        """Two tasks side by side have one each."""

        async def both() -> list[int]:
            has_read, has_written = asyncio.Event(), asyncio.Event()

            async def first() -> int:
                with local_cache():
                    await City.objects.aget_from_cache(pk=oslo.pk)
                    has_read.set()
                    await has_written.wait()
                    return (await City.objects.aget_from_cache(pk=oslo.pk)).population

            async def second() -> int:
                await has_read.wait()
                with local_cache():
                    await sync_to_async(elsewhere)(parallel, population=7)
                    has_written.set()
                    return (await City.objects.aget_from_cache(pk=oslo.pk)).population

            return list(await asyncio.gather(first(), second()))

        assert async_to_sync(both)() == [0, 7]

    def test_tasks_that_are_started_in_a_block_share_it_until_its_end(self, oslo: City, parallel: Parallel) -> None:
        """Their writes are seen by all of them; one that outlives the block reads the shared cache."""

        async def request() -> None:
            ended = asyncio.Event()

            async def read() -> int:
                return (await City.objects.aget_from_cache(pk=oslo.pk)).population

            async def outlive() -> tuple[int, int]:
                before = await read()
                await ended.wait()
                return before, await read()

            with local_cache() as opened:
                assert await read() == 0
                await sync_to_async(elsewhere)(parallel, population=7)
                assert await asyncio.gather(read(), read()) == [0, 0]
                assert opened.hits == 2
                background = asyncio.create_task(outlive())
                await asyncio.sleep(0)
                await asyncio.create_task(City.objects.filter(pk=oslo.pk).aupdate(population=8))
                assert await read() == 8
            await sync_to_async(elsewhere)(parallel, population=9)
            ended.set()
            assert (await background)[1] == 9

        async_to_sync(request)()

    def test_a_context_that_outlives_the_block_reads_the_shared_cache(self, oslo: City, parallel: Parallel) -> None:
        """A copy of the context still names the local cache, which is over."""
        with local_cache() as opened:
            City.objects.get_from_cache(pk=oslo.pk)
            kept = contextvars.copy_context()
        elsewhere(parallel, population=7)
        assert kept.run(lambda: City.objects.get_from_cache(pk=oslo.pk)).population == 7
        assert (opened.hits, len(opened)) == (0, 0)

    def test_a_block_that_raises_has_ended(self, oslo: City) -> None:
        """Whatever is raised in it."""
        with pytest.raises(KeyError), local_cache():
            raise KeyError
        assert local.current.get() is None


# -- requests and tasks ----------------------------------------------------------------------------


def twice(request: HttpRequest, pk: int) -> HttpResponse:
    """Reads a row, has others write it, and reads it again."""
    first = City.objects.get_from_cache(pk=pk).population
    if "fail" in request.GET:
        raise RuntimeError("the view fails")
    threads = Parallel()
    elsewhere(threads, population=first + 1)
    return HttpResponse(f"{first} {City.objects.get_from_cache(pk=pk).population}")


def streamed(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """Does the same while its body is sent."""
    return StreamingHttpResponse(iter_twice(request, pk))


def iter_twice(request: HttpRequest, pk: int) -> Iterator[bytes]:
    yield twice(request, pk).content


async def atwice(request: HttpRequest, pk: int) -> HttpResponse:
    """Does the same, awaited."""
    first = (await City.objects.aget_from_cache(pk=pk)).population
    await sync_to_async(elsewhere)(Parallel(), population=first + 1)
    return HttpResponse(f"{first} {(await City.objects.aget_from_cache(pk=pk)).population}")


urlpatterns = [
    path("twice/<int:pk>/", twice),
    path("streamed/<int:pk>/", streamed),
    path("atwice/<int:pk>/", atwice),
]

LOCAL = {"default": {**FAKE["default"], "LOCAL": True}}
MIDDLEWARE = ["cachecore.integrations.django.local.blocks.local_cache_middleware"]


@pytest.fixture
def project(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings under which requests and tasks have a local cache."""
    monkeypatch.setattr(conf, "KNOWN", conf.KNOWN | {"LOCAL"})
    settings.ROOT_URLCONF = __name__
    settings.CACHECORE = LOCAL
    local_blocks.connect()
    return settings


@pytest.fixture
def place(project: Any) -> City:
    """A cached city."""
    city = City.objects.create(slug="oslo", name="Oslo", country=Country.objects.create(code="NO", name="Norway"))
    City.objects.get_from_cache(pk=city.pk)
    return city


async def _asgi(url: str) -> bytes:
    """What the ASGI application itself answers: Django's test client sends the signals in another way."""
    scope = {"type": "http", "method": "GET", "path": url, "query_string": b"", "headers": [], "http_version": "1.1"}
    application = ApplicationCommunicator(ASGIHandler(), scope)  # type: ignore[no-untyped-call]
    await application.send_input({"type": "http.request"})
    assert (await application.receive_output(30))["status"] == 200
    body: bytes = (await application.receive_output(30))["body"]
    await application.wait()
    return body


class TestRequests:
    """CACHECORE["default"]["LOCAL"] = True, and Django's signals."""

    @pytest.mark.parametrize("view", ["twice", "streamed", "atwice"])
    def test_a_request_reads_a_row_as_it_was_and_the_next_one_as_it_is(self, view: str, place: City) -> None:
        """Also while a body is streamed, and in an asynchronous view."""
        for answer in (b"0 0", b"1 1", b"2 2"):
            assert Client().get(f"/{view}/{place.pk}/").getvalue() == answer
        assert City.objects.get_from_cache(pk=place.pk).population == 3

    def test_a_request_that_fails_leaves_nothing_behind(self, place: City, parallel: Parallel) -> None:
        """The next one in the same thread is fresh."""
        with pytest.raises(RuntimeError):
            Client().get(f"/twice/{place.pk}/?fail=1")
        # The test client raises before it ends the request; the next one ends what was left behind.
        elsewhere(parallel, population=5)
        assert Client().get(f"/twice/{place.pk}/").content == b"5 5"
        assert Client(raise_request_exception=False).get(f"/twice/{place.pk}/?fail=1").status_code == 500
        assert local.current.get() is None

    @pytest.mark.parametrize("view", ["twice", "atwice"])
    @pytest.mark.parametrize("with_middleware", [False, True])
    def test_under_asgi(self, view: str, with_middleware: bool, place: City, project: Any) -> None:
        """By the signals from Django 6.0 on, and by the middleware in every release; never older than the request."""
        if with_middleware:
            project.MIDDLEWARE = MIDDLEWARE
        remembers = with_middleware or django.VERSION >= (6, 0)
        for before in (0, 1, 2):
            answer = async_to_sync(_asgi)(f"/{view}/{place.pk}/")
            assert answer == f"{before} {before if remembers else before + 1}".encode()

    @pytest.mark.parametrize("view", ["twice", "atwice"])
    def test_the_middleware_does_the_same_as_the_signals(self, view: str, place: City, project: Any) -> None:
        """Also beside them."""
        project.MIDDLEWARE = MIDDLEWARE
        for answer in (b"0 0", b"1 1"):
            assert Client().get(f"/{view}/{place.pk}/").content == answer

    @pytest.mark.parametrize("wanted", [{}, {"LOCAL": False}])
    def test_who_has_not_asked_for_it_has_none(self, wanted: dict[str, Any], place: City, project: Any) -> None:
        """Every read is fresh, and no receiver is connected."""
        project.MIDDLEWARE = MIDDLEWARE
        project.CACHECORE = {"default": {**FAKE["default"], **wanted}}
        for answer in (b"0 1", b"1 2"):
            assert Client().get(f"/twice/{place.pk}/").content == answer
        assert local_blocks._connected == []

    def test_only_the_caches_that_ask_for_it_have_one(self, place: City, project: Any) -> None:
        """Another cache of the same project stays fresh."""
        project.CACHECORE = {**FAKE, "second": {**LOCAL["default"], "NAMESPACE": "second"}}
        assert local_blocks.chosen() == {"second"}
        assert Client().get(f"/twice/{place.pk}/").content == b"0 1"

    def test_a_wrong_setting_is_left_to_the_system_checks(self, project: Any) -> None:
        """And asks for nothing."""
        project.CACHECORE = None
        assert local_blocks.chosen() == frozenset()
        assert local_blocks._connected == []


STAND_IN = """
from django.dispatch import Signal
task_prerun, task_postrun = Signal(), Signal()
"""


class TestTasks:
    """The signals of celery, if it is installed, and those of django.tasks, where Django has them."""

    @pytest.fixture
    def signals(self, project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """celery's, or what stands in for them."""
        try:
            import_module("celery.signals")
        except ImportError:
            package = tmp_path / "celery"
            package.mkdir()
            (package / "__init__.py").touch()
            (package / "signals.py").write_text(STAND_IN)
            monkeypatch.syspath_prepend(str(tmp_path))
            for name in ("celery", "celery.signals"):
                monkeypatch.delitem(sys.modules, name, raising=False)
        local_blocks.connect()
        yield import_module("celery.signals")
        for name in ("celery", "celery.signals"):
            module = sys.modules.get(name)
            if module is not None and str(tmp_path) in str(module.__file__):
                del sys.modules[name]

    def test_each_task_begins_without_and_ends_without(self, signals: Any, place: City, parallel: Parallel) -> None:
        """Whether it succeeds or fails, celery says so; a task of which nobody tells the end is ended by the next."""
        for before in (0, 1, 2):
            signals.task_prerun.send(sender=None, task=_Task(is_eager=False))
            assert City.objects.get_from_cache(pk=place.pk).population == before
            elsewhere(parallel, population=before + 1)
            assert City.objects.get_from_cache(pk=place.pk).population == before
            if before != 1:
                signals.task_postrun.send(sender=None)
                assert local.current.get() is None
                assert City.objects.get_from_cache(pk=place.pk).population == before + 1
        assert local.current.get() is None

    def test_a_task_that_runs_inside_another_has_its_own(self, signals: Any, place: City, parallel: Parallel) -> None:
        """As eager tasks do, also inside a request; afterwards the outer one goes on."""
        with local_cache():
            assert City.objects.get_from_cache(pk=place.pk).population == 0
            elsewhere(parallel, population=1)
            for eager in (False, True):
                signals.task_prerun.send(sender=None, task=_Task(is_eager=eager))
            assert City.objects.get_from_cache(pk=place.pk).population == 1
            for _ in range(3):
                signals.task_postrun.send(sender=None)
            assert City.objects.get_from_cache(pk=place.pk).population == 0

    def test_celery_itself(self, project: Any, place: City, parallel: Parallel) -> None:
        """Tasks that succeed and that fail, run eagerly and as a worker runs them."""
        celery = pytest.importorskip("celery")
        trace = import_module("celery.app.trace")
        app = celery.Celery("tests", broker="memory://", backend="cache+memory://")
        seen: list[int] = []

        @app.task(name="tests.read")  # type: ignore[untyped-decorator,unused-ignore]
        def read(fail: bool) -> None:
            for _ in range(2):
                seen.append(City.objects.get_from_cache(pk=place.pk).population)
                elsewhere(parallel, population=len(seen))
            if fail:
                raise KeyError

        local_blocks.connect()
        for at, fail in enumerate((False, True)):
            read.apply((fail,))
            assert local.current.get() is None
            trace.build_tracer("tests.read", read, app=app)(str(at), (fail,), {}, {"id": str(at)})
            assert local.current.get() is None
        assert seen == [0, 0, 2, 2, 4, 4, 6, 6]

    @pytest.mark.skipif(django.VERSION < (6, 0), reason="django.tasks came with Django 6.0")
    def test_djangos_own_tasks(self, project: Any, place: City) -> None:
        """Begun and ended by its signals."""
        signals = import_module("django.tasks.signals")
        tasks = import_module("django.tasks")
        project.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
        task = tasks.task(read_twice)
        for before in (0, 1):
            result = task.enqueue(place.pk)
            assert result.return_value == f"{before} {before}"
            assert local.current.get() is None
        assert signals.task_started.receivers


def read_twice(pk: int) -> str:
    """A task."""
    return twice(HttpRequest(), pk).content.decode()


class _Task:
    """What celery's signal gives of a task."""

    def __init__(self, is_eager: bool) -> None:
        self.request = type("Request", (), {"is_eager": is_eager})


def test_these_tests_forget_nothing(oslo: City) -> None:
    """A read outside any block is one round trip, whatever was opened before in this process."""
    forget_all(City)
    City.objects.get_from_cache(pk=oslo.pk)
    calls()
    for _ in range(2):
        City.objects.get_from_cache(pk=oslo.pk)
    assert calls() == ["acquire", "acquire"]
