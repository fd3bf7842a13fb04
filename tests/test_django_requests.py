"""Where applications read and write: sync and async views, streams, middleware, test cases, several databases."""
# ruff: noqa: PT012 - here it is the end of a block that raises, so blocks stand inside pytest.raises.

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, connections, transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, TestCase, TransactionTestCase
from django.urls import path

from cachecore.cache import Cache
from cachecore.entries import Hold
from cachecore.integrations.django import caches
from cachecore.integrations.django.testing import CachecoreTestMixin
from cachecore.integrations.django.writing.connection import dirty
from tests.geo_app.caching import Parallel
from tests.geo_app.models import City, Country

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


@pytest.fixture
def oslo(db: None, transactional_db: None, each_cache: Cache) -> City:
    """A city, committed and in the cache."""
    norway = Country.objects.create(code="NO", name="Norway")
    city = City.objects.create(slug="oslo", name="Oslo", country=norway)
    population(city.pk)
    return city


def population(pk: int) -> int:
    """What the cache says."""
    return City.objects.get_from_cache(pk=pk).population


def grow(pk: int, to: int) -> None:
    """Write the row."""
    City.objects.filter(pk=pk).update(population=to)


# -- views -------------------------------------------------------------------------------------------


def grow_and_stream(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """Writes, and reads while its body is sent, when the transaction of the request is over."""
    grow(pk, 5)

    def body() -> Iterator[str]:
        yield f"{connection.in_atomic_block} {population(pk)} {population(pk)}"

    return StreamingHttpResponse(body())


def grow_and_fail_politely(request: HttpRequest, pk: int) -> HttpResponse:
    """Answers 500 without raising, which commits."""
    grow(pk, 5)
    return HttpResponse(status=500)


async def agrow(request: HttpRequest, pk: int) -> HttpResponse:
    """Reads, writes and reads again."""
    before = await City.objects.aget_from_cache(pk=pk)
    before.population += 1
    await before.asave()
    after = await City.objects.aget_from_cache(pk=pk)
    return HttpResponse(f"{before.population} {after.population}")


@transaction.non_atomic_requests
async def agrow_in_a_block(request: HttpRequest, pk: int) -> HttpResponse:
    """Writes in a block, in a thread as there is no other way, and reads before it commits and afterwards."""

    def write() -> int:
        with transaction.atomic():
            grow(pk, 5)
            return population(pk)

    inside = await sync_to_async(write)()
    return HttpResponse(f"{inside} {(await City.objects.aget_from_cache(pk=pk)).population}")


async def aread(request: HttpRequest, pk: int) -> HttpResponse:
    """Reads."""
    return HttpResponse(str((await City.objects.aget_from_cache(pk=pk)).population))


urlpatterns = [
    path(f"{view.__name__}/<int:pk>/", view)
    for view in (grow_and_stream, grow_and_fail_politely, agrow, agrow_in_a_block, aread)
]


class LooksAfterwards:
    """Middleware that reads what the view has written, before the response is sent."""

    seen: list[int] = []  # noqa: RUF012 - one for the test

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        response = self._get_response(request)
        self.seen.append(population(int(request.path.split("/")[2])))
        return response


@pytest.fixture
def atomic_requests() -> Iterator[None]:
    """Every view runs in a transaction."""
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    yield
    connection.settings_dict["ATOMIC_REQUESTS"] = False


@pytest.mark.usefixtures("atomic_requests")
class TestAtomicRequests:
    """Sync views in transactions."""

    @pytest.fixture
    def client(self) -> Client:
        """It does not raise what views raise."""
        return Client(raise_request_exception=False)

    def test_a_streamed_body(self, oslo: City, client: Client) -> None:
        """It is made after the transaction, sees what that committed, and is served by the cache."""
        caches["default"].statistics.reset()
        response = client.get(f"/grow_and_stream/{oslo.pk}/")
        assert b"".join(response.streaming_content) == b"False 5 5"  # type: ignore[attr-defined]
        assert caches["default"].statistics.hits == 1

    def test_an_error_that_is_returned_commits(self, oslo: City, client: Client) -> None:
        """Only an exception rolls back."""
        assert client.get(f"/grow_and_fail_politely/{oslo.pk}/").status_code == 500
        assert population(oslo.pk) == 5

    def test_middleware_after_the_view(self, oslo: City, client: Client, settings: Any) -> None:
        """It runs after the transaction and sees what was committed."""
        LooksAfterwards.seen.clear()
        settings.MIDDLEWARE = [f"{__name__}.LooksAfterwards"]
        client.get(f"/grow_and_fail_politely/{oslo.pk}/")
        assert LooksAfterwards.seen == [5]

    def test_an_async_view_cannot_be_atomic(self, oslo: City, client: Client) -> None:
        """Django refuses it, and nothing is written or outdated."""
        assert client.get(f"/agrow/{oslo.pk}/").status_code == 500
        assert population(oslo.pk) == 0

    def test_an_async_view_that_is_excepted(self, oslo: City, client: Client) -> None:
        """non_atomic_requests lets it run, in autocommit and with a block of its own."""
        assert client.get(f"/agrow_in_a_block/{oslo.pk}/").content == b"5 5"
        assert population(oslo.pk) == 5


class TestAsyncViews:
    """Async views under an async handler."""

    async def test_a_view_that_reads_and_writes(self, oslo: City) -> None:
        """Each request sees what those before it have written."""
        for number in (1, 2, 3):
            response = await AsyncClient().get(f"/agrow/{oslo.pk}/")
            assert response.content == f"{number} {number}".encode()
        assert await sync_to_async(population)(oslo.pk) == 3

    async def test_a_view_with_a_block(self, oslo: City) -> None:
        """Inside the block its own value, afterwards everybody's."""
        response = await AsyncClient().get(f"/agrow_in_a_block/{oslo.pk}/")
        assert response.content == b"5 5"
        assert (await AsyncClient().get(f"/aread/{oslo.pk}/")).content == b"5"

    async def test_requests_side_by_side(self, oslo: City) -> None:
        """Twenty readers while another thread is in the middle of a transaction: all see the old row, then the new."""
        has_written, go_on = threading.Event(), threading.Event()

        def write() -> None:
            try:
                with transaction.atomic():
                    grow(oslo.pk, 5)
                    has_written.set()
                    assert go_on.wait(30)
            finally:
                connection.close()

        async def read_all() -> set[bytes]:
            requests: list[Awaitable[Any]] = [AsyncClient().get(f"/aread/{oslo.pk}/") for _ in range(20)]
            return {response.content for response in await asyncio.gather(*requests)}

        writing = asyncio.ensure_future(sync_to_async(write, thread_sensitive=False)())
        assert await sync_to_async(has_written.wait, thread_sensitive=False)(30)
        assert await read_all() == {b"0"}
        go_on.set()
        await writing
        assert await read_all() == {b"5"}


# -- several databases ---------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
class TestSeveralDatabases:
    """One transaction in each of two databases."""

    @pytest.fixture(autouse=True)
    def _rows(self, db: None, transactional_db: None, each_cache: Cache) -> None:
        """The same key in both, cached."""
        for alias in ("default", "other"):
            Country.objects.using(alias).create(pk=1, code="NO", name=alias)
            Country.objects.db_manager(alias).get_from_cache(pk=1)

    def names(self) -> tuple[str, str]:
        """What the cache says."""
        return (
            Country.objects.get_from_cache(pk=1).name,
            Country.objects.db_manager("other").get_from_cache(pk=1).name,
        )

    def write(self, name: str) -> None:
        """Write both rows."""
        for alias in ("default", "other"):
            Country.objects.using(alias).filter(pk=1).update(name=name)

    @pytest.mark.parametrize(("undone", "names"), [("default", ("default", "new")), ("other", ("new", "other"))])
    def test_one_commits_and_the_other_does_not(self, undone: str, names: tuple[str, str]) -> None:
        """Each row is as its own database has it."""
        with transaction.atomic(), transaction.atomic(using="other"):
            self.write("new")
            assert self.names() == ("new", "new")
            transaction.set_rollback(True, using=undone)
        assert self.names() == names
        assert not dirty.any

    def test_the_inner_one_commits_first(self) -> None:
        """Its row is fresh for all from then on, while the other transaction goes on and is rolled back."""
        with transaction.atomic():
            with transaction.atomic(using="other"):
                self.write("new")
            assert self.names() == ("new", "new")
            transaction.set_rollback(True)
        assert self.names() == ("default", "new")

    def test_callbacks_of_each(self) -> None:
        """A callback of one database sees that one's new row, and is not kept back by the other's transaction."""
        seen: list[str] = []
        with transaction.atomic():
            with transaction.atomic(using="other"):
                transaction.on_commit(lambda: seen.append(self.names()[1]), using="other")
                self.write("new")
            assert seen == ["new"]


# -- test cases ------------------------------------------------------------------------------------------


class TestDurableBlocks(CachecoreTestMixin, TestCase):
    """durable blocks in a TestCase, whose own transaction Django does not count."""

    def test_a_durable_block_commits_into_the_tests_world(self) -> None:
        """Seen inside, after it, and counted when it ends."""
        norway = Country.objects.create(code="NO", name="Norway")
        assert Country.objects.get_from_cache(pk=norway.pk).name == "Norway"
        with self.assertCache(invalidations=1), transaction.atomic(durable=True):
            Country.objects.filter(pk=norway.pk).update(name="Norge")
            assert Country.objects.get_from_cache(pk=norway.pk).name == "Norge"
        with self.assertCache(hits=1, misses=1):
            assert Country.objects.get_from_cache(pk=norway.pk).name == "Norge"
            assert Country.objects.get_from_cache(pk=norway.pk).name == "Norge"

    def test_a_durable_block_inside_another_is_refused(self) -> None:
        """As everywhere, and the outer one is none the worse."""
        norway = Country.objects.create(code="NO", name="Norway")
        with transaction.atomic():
            Country.objects.filter(pk=norway.pk).update(name="Norge")
            with pytest.raises(RuntimeError, match="durable"), transaction.atomic(durable=True):
                pass
        assert Country.objects.get_from_cache(pk=norway.pk).name == "Norge"


class TestTransactionsOfSeveralDatabases(CachecoreTestMixin, TransactionTestCase):
    """TransactionTestCase with two databases, flushed after each test."""

    databases = {"default", "other"}  # noqa: RUF012 - as Django documents it

    def check(self, name: str) -> None:
        """The same keys in each test: what an earlier one cached is gone."""
        for alias in ("default", "other"):
            countries = Country.objects.db_manager(alias)
            with pytest.raises(Country.DoesNotExist):
                countries.get_from_cache(pk=1)
            countries.create(pk=1, code="NO", name=name)
            with transaction.atomic(using=alias, durable=True):
                countries.filter(pk=1).update(name=f"{name} {alias}")
            for _ in range(2):
                assert countries.get_from_cache(pk=1).name == f"{name} {alias}"

    def test_one(self) -> None:
        """One test ..."""
        self.check("one")

    def test_two(self) -> None:
        """... and another."""
        self.check("two")


# -- what only some databases do ---------------------------------------------------------------------------


@pytest.mark.skipif(connections["default"].vendor != "postgresql", reason="about what only PostgreSQL does")
class TestPostgreSQL:
    """What PostgreSQL does otherwise than SQLite."""

    def test_autocommit_that_cannot_be_switched_on_loses_nothing(self, oslo: City, parallel: Parallel) -> None:
        """The driver refuses it while a transaction is open; the transaction goes on, and its end outdates the row."""
        transaction.set_autocommit(False)
        try:
            grow(oslo.pk, 5)
            with pytest.raises(Exception, match="autocommit"):
                transaction.set_autocommit(True)
            assert population(oslo.pk) == 5
            assert dirty.any, "the writes of the open transaction must not be forgotten"
            transaction.commit()
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)
        assert parallel.run(population, oslo.pk) == 5
        [entry] = caches["default"].backend.get([City.objects._current().key((oslo.pk,))])
        assert not isinstance(entry, Hold)

    def test_a_backend_that_is_terminated_before_commit(self, oslo: City) -> None:
        """COMMIT fails and its outcome is unknown: the hold stays, and every reader gets what the database has."""
        with pytest.raises(DatabaseError), transaction.atomic():
            grow(oslo.pk, 5)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                [pid] = cursor.fetchone()
            with closing(connection.copy()) as another, another.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        connection.close()
        for _ in range(2):
            assert population(oslo.pk) == City.objects.get(pk=oslo.pk).population == 0

    def test_a_serialization_failure(self, oslo: City, parallel: Parallel) -> None:
        """A transaction that the database refuses is rolled back, and the row that won is read."""
        with pytest.raises(DatabaseError, match="could not serialize"), transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            assert City.objects.get(pk=oslo.pk).population == 0
            parallel.run(grow, oslo.pk, 6)
            grow(oslo.pk, 5)
        for _ in range(2):
            assert population(oslo.pk) == 6

    def test_an_old_snapshot_is_not_stored(self, oslo: City, parallel: Parallel) -> None:
        """In REPEATABLE READ a block sees the past, and nobody else sees it because of that."""
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            assert City.objects.get(pk=oslo.pk).population == 0
            parallel.run(grow, oslo.pk, 6)
            assert City.objects.get(pk=oslo.pk).population == 0
            for _ in range(2):
                population(oslo.pk)
            assert parallel.run(population, oslo.pk) == 6
        assert population(oslo.pk) == 6
