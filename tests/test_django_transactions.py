"""What readers see while transactions begin, commit, roll back and fail: on real transactions."""
# ruff: noqa: PT012 - here it is the end of a block that raises, so blocks stand inside pytest.raises.

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.models.signals import post_save
from django.db.transaction import TransactionManagementError
from django.test import Client

from cachecore.cache import Cache
from cachecore.entries import Hold, Value
from cachecore.errors import WriteRefused
from cachecore.events import Event, Held, Invalidated
from cachecore.integrations.django import CommitRefused, caches
from cachecore.integrations.django.writing.dirty import dirty
from cachecore.testing.fake import FakeBackend
from tests.conftest import sqlite_only
from tests.geo_app.caching import REFUSING, Parallel, savepoint, server
from tests.geo_app.models import BoundedCity, City, Country, Landmark

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def oslo(db: None, transactional_db: None, each_cache: Cache) -> City:
    """A city, committed and in the cache."""
    norway = Country.objects.create(code="NO", name="Norway")
    city = City.objects.create(slug="oslo", name="Oslo", country=norway)
    City.objects.get_from_cache(pk=city.pk)
    return city


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """After each test no connection has open writes, whatever happened in it."""
    yield
    connection.close()
    assert not dirty.any


def population(**query: Any) -> int:
    """What the cache says."""
    return City.objects.get_from_cache(**query).population


def grow(city: City, to: int) -> None:
    """Write the row."""
    City.objects.filter(pk=city.pk).update(population=to)


def standing(city: City) -> Any:
    """The entry under the key of a city's row, leaving no trace."""
    [entry] = caches["default"].backend.get([City.objects._current().key((city.pk,))])
    return entry


class Abort(Exception):
    """Ends a block by an error."""


class TestOutcomes:
    """Each way in which a transaction can end."""

    def test_a_commit_is_seen_when_it_has_returned(self, oslo: City, parallel: Parallel) -> None:
        """Inside the block its own value; after it everybody's."""
        with transaction.atomic():
            grow(oslo, 5)
            assert population(pk=oslo.pk) == 5
        assert population(pk=oslo.pk) == 5
        assert parallel.run(lambda: population(pk=oslo.pk)) == 5

    def test_a_rollback_is_never_seen(self, oslo: City) -> None:
        """Inside the block its own value; after it the old one, from the cache: nothing was outdated."""
        with pytest.raises(Abort), transaction.atomic():
            grow(oslo, 5)
            assert population(pk=oslo.pk) == 5
            raise Abort
        statistics = caches["default"].statistics
        statistics.reset()
        assert population(pk=oslo.pk) == 0
        assert (statistics.hits, statistics.misses) == (1, 0)

    def test_set_rollback(self, oslo: City) -> None:
        """A block that is told to roll back does."""
        with transaction.atomic():
            grow(oslo, 5)
            transaction.set_rollback(True)
        assert population(pk=oslo.pk) == 0
        assert isinstance(standing(oslo), Value)

    def test_nested_blocks(self, oslo: City) -> None:
        """Only the outermost commits."""
        events: list[Event] = []
        caches["default"].hooks.subscribe(events.append)
        with transaction.atomic():
            with transaction.atomic():
                grow(oslo, 5)
            assert not any(isinstance(event, Held) for event in events)
            assert population(pk=oslo.pk) == 5
        assert [type(event) for event in events if isinstance(event, Held | Invalidated)] == [Held, Invalidated]
        assert population(pk=oslo.pk) == 5

    def test_a_savepoint_that_is_rolled_back(self, oslo: City) -> None:
        """Its write is undone, the rest commits, and every value is right: in the block, and after it."""
        moss = City.objects.create(slug="moss", name="Moss", country_id=oslo.country_id)
        assert population(pk=moss.pk) == 0
        with transaction.atomic():
            grow(oslo, 5)
            with pytest.raises(Abort), transaction.atomic():
                grow(oslo, 6)
                grow(moss, 6)
                assert (population(pk=oslo.pk), population(pk=moss.pk)) == (6, 6)
                raise Abort
            assert (population(pk=oslo.pk), population(pk=moss.pk)) == (5, 0)
        assert (population(pk=oslo.pk), population(pk=moss.pk)) == (5, 0)

    def test_savepoints_by_hand(self, oslo: City) -> None:
        """savepoint, savepoint_rollback and savepoint_commit."""
        with transaction.atomic():
            grow(oslo, 5)
            sid = savepoint()
            grow(oslo, 6)
            transaction.savepoint_rollback(sid)
            assert population(pk=oslo.pk) == 5
            transaction.savepoint_commit(savepoint())
        assert population(pk=oslo.pk) == 5

    def test_a_durable_block(self, oslo: City) -> None:
        """A durable block commits like any outermost one."""
        with transaction.atomic(durable=True):
            grow(oslo, 5)
        assert population(pk=oslo.pk) == 5

    def test_a_block_without_savepoint(self, oslo: City) -> None:
        """An inner block without savepoint that fails rolls the outer one back."""
        with transaction.atomic():
            grow(oslo, 5)
            with pytest.raises(Abort), transaction.atomic(savepoint=False):
                raise Abort
        assert population(pk=oslo.pk) == 0

    def test_autocommit_off_and_commit(self, oslo: City, parallel: Parallel) -> None:
        """With autocommit off each commit() is the end of a transaction, and each rollback() too."""
        transaction.set_autocommit(False)
        try:
            grow(oslo, 5)
            assert population(pk=oslo.pk) == 5
            assert parallel.run(lambda: population(pk=oslo.pk)) == 0
            transaction.commit()
            assert parallel.run(lambda: population(pk=oslo.pk)) == 5
            grow(oslo, 6)
            transaction.rollback()
            assert population(pk=oslo.pk) == 5
            with transaction.atomic():
                grow(oslo, 7)
            assert parallel.run(lambda: population(pk=oslo.pk)) == 5
            transaction.commit()
            assert parallel.run(lambda: population(pk=oslo.pk)) == 7
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)
        assert population(pk=oslo.pk) == 7

    @sqlite_only
    def test_autocommit_on_again_commits(self, oslo: City, parallel: Parallel) -> None:
        """SQLite commits an open transaction when autocommit is switched on, and so the row is outdated then."""
        transaction.set_autocommit(False)
        grow(oslo, 5)
        transaction.set_autocommit(True)
        assert parallel.run(lambda: population(pk=oslo.pk)) == 5
        assert not dirty.any

    def test_commit_inside_a_block_is_refused_and_loses_nothing(self, oslo: City) -> None:
        """Django forbids it; the block then goes on, and its end outdates what it wrote. So for rollback()."""
        with transaction.atomic():
            grow(oslo, 5)
            for end in (transaction.commit, transaction.rollback):
                with pytest.raises(TransactionManagementError):
                    end()
            with pytest.raises(TransactionManagementError):
                transaction.set_autocommit(True)
            assert isinstance(standing(oslo), Value), "nothing is outdated yet"
        assert standing(oslo) is None
        assert population(pk=oslo.pk) == 5

    def test_a_commit_that_fails_leaves_its_holds(self, oslo: City, monkeypatch: pytest.MonkeyPatch) -> None:
        """COMMIT was sent and its outcome is unknown: nobody reads the row from the cache until the hold expires."""

        def lose_connection() -> None:
            raise OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(connection, "_commit", lose_connection)
        with pytest.raises(OperationalError), transaction.atomic():
            grow(oslo, 5)
        monkeypatch.undo()
        assert isinstance(standing(oslo), Hold)
        assert population(pk=oslo.pk) == 0
        assert caches["default"].statistics.miss_reasons["held"] >= 1

    def test_a_deferred_constraint_that_fails_at_commit(self, oslo: City) -> None:
        """An IntegrityError of COMMIT is certainly no commit: the holds go at once."""
        with pytest.raises(IntegrityError), transaction.atomic():
            City.objects.filter(pk=oslo.pk).update(country_id=999, population=5)
        assert population(pk=oslo.pk) == 0
        assert not isinstance(standing(oslo), Hold)

    def test_a_connection_closed_in_a_block(self, oslo: City) -> None:
        """The database rolls back; the old value stays."""
        with pytest.raises(DatabaseError), transaction.atomic():
            grow(oslo, 5)
            connection.close()
            grow(oslo, 6)
        assert population(pk=oslo.pk) == 0
        with transaction.atomic():
            grow(oslo, 7)
        assert population(pk=oslo.pk) == 7

    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    def test_a_database_in_memory_cannot_be_closed(self, each_cache: Cache) -> None:
        """close() leaves its transaction open, so that its writes are still outdated when it commits."""
        countries = Country.objects.using("other")
        countries.create(pk=1, code="NO", name="Norway")
        other = Country.objects.db_manager("other")
        assert other.get_from_cache(pk=1).name == "Norway"
        with transaction.atomic(using="other"):
            countries.filter(pk=1).update(name="Norge")
            connections["other"].close()
            assert other.get_from_cache(pk=1).name == "Norge"
        assert countries.get(pk=1).name == "Norge"
        assert other.get_from_cache(pk=1).name == "Norge"

    def test_a_save_in_autocommit_that_fails(self, oslo: City) -> None:
        """Its hold goes at once, and the row is read right."""
        City.objects.create(slug="moss", name="Moss", country_id=oslo.country_id)
        oslo.slug = "moss"
        with pytest.raises(IntegrityError):
            oslo.save()
        assert standing(oslo) is None
        assert City.objects.get_from_cache(pk=oslo.pk).slug == "oslo"
        assert City.objects.get_from_cache(slug="moss").name == "Moss"

    def test_an_update_in_autocommit_that_fails(self, oslo: City) -> None:
        """Its hold goes at once."""
        City.objects.create(slug="moss", name="Moss", country_id=oslo.country_id)
        with pytest.raises(IntegrityError):
            City.objects.filter(pk=oslo.pk).update(slug="moss")
        assert standing(oslo) is None
        assert City.objects.get_from_cache(slug="oslo").pk == oslo.pk

    def test_the_world_of_a_test_case(self, oslo: City) -> None:
        """When the outermost block of a TestCase is rolled back, what was cached inside it is outdated."""
        world = transaction.atomic()
        world._from_testcase = True
        with world:
            grow(oslo, 5)
            with transaction.atomic():
                grow(oslo, 6)
            assert population(pk=oslo.pk) == population(pk=oslo.pk) == 6
            assert isinstance(standing(oslo), Value)
            transaction.set_rollback(True)
        assert population(pk=oslo.pk) == 0


class TestCallbacks:
    """on_commit callbacks, ours and others'."""

    def test_a_callback_that_raises_cannot_suppress_ours(self, oslo: City) -> None:
        """A foreign callback registered first raises; the row is fresh all the same."""

        def fail() -> None:
            raise Abort

        with pytest.raises(Abort), transaction.atomic():
            transaction.on_commit(fail)
            grow(oslo, 5)
        assert City.objects.get(pk=oslo.pk).population == 5
        assert population(pk=oslo.pk) == 5

    def test_callbacks_run_after_the_row_is_outdated(self, oslo: City) -> None:
        """A callback that reads through the cache sees the new value, and may fill it."""
        seen: list[Any] = []
        with transaction.atomic():
            transaction.on_commit(lambda: seen.append((type(standing(oslo)), population(pk=oslo.pk))))
            transaction.on_commit(lambda: seen.append(type(standing(oslo))))
            grow(oslo, 5)
        assert seen == [(type(None), 5), Value]

    def test_a_callback_that_writes(self, oslo: City) -> None:
        """It writes in a transaction of its own."""
        with transaction.atomic():
            transaction.on_commit(lambda: grow(oslo, 6))
            grow(oslo, 5)
        assert population(pk=oslo.pk) == 6

    def test_a_receiver_of_post_save_that_raises(self, oslo: City) -> None:
        """In autocommit the row is written by then; nobody sees the old one."""

        def fail(**_: Any) -> None:
            raise Abort

        post_save.connect(fail, sender=City)
        try:
            oslo.population = 5
            with pytest.raises(Abort):
                oslo.save()
        finally:
            post_save.disconnect(fail, sender=City)
        assert population(pk=oslo.pk) == 5


class TestIsolation:
    """What others see meanwhile."""

    def test_an_uncommitted_value_is_never_seen_by_others(self, oslo: City, parallel: Parallel) -> None:
        """Whatever the writer reads, fills or renames in its block, others see what is committed."""
        with transaction.atomic():
            oslo.population, oslo.slug = 5, "christiania"
            oslo.save()
            for _ in range(3):
                assert population(pk=oslo.pk) == 5
                assert population(slug="christiania") == 5
            for _ in range(3):
                assert parallel.run(lambda: (population(pk=oslo.pk), population(slug="oslo"))) == (0, 0)
            with pytest.raises(City.DoesNotExist):
                parallel.run(lambda: population(slug="christiania"))
            with pytest.raises(City.DoesNotExist):
                population(slug="oslo")
        assert parallel.run(lambda: (population(pk=oslo.pk), population(slug="christiania"))) == (5, 5)

    def test_a_reader_between_prepare_and_complete_gets_the_database(
        self, oslo: City, parallel: Parallel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While COMMIT is under way the row is read from the database and not stored; afterwards it is fresh."""
        about_to_commit, go_on, committed, return_now = (threading.Event() for _ in range(4))

        def write() -> None:
            original = connection._commit

            def commit() -> None:
                about_to_commit.set()
                assert go_on.wait(30)
                original()
                committed.set()
                assert return_now.wait(30)

            connection._commit = commit
            try:
                with transaction.atomic():
                    grow(oslo, 5)
            finally:
                del connection._commit

        writer = parallel.start(write)
        assert about_to_commit.wait(30)
        assert isinstance(standing(oslo), Hold)
        assert population(pk=oslo.pk) == 0
        assert isinstance(standing(oslo), Hold)
        go_on.set()
        assert committed.wait(30)
        assert population(pk=oslo.pk) == 5
        assert isinstance(standing(oslo), Hold)
        return_now.set()
        writer.join(30)
        assert standing(oslo) is None
        assert population(pk=oslo.pk) == 5
        assert isinstance(standing(oslo), Value)

    @sqlite_only
    def test_nothing_is_filled_inside_a_transaction(self, each_cache: Cache) -> None:
        """A block may have an old snapshot, so what it reads is not stored, whether it wrote or not."""
        norway = Country.objects.create(code="NO", name="Norway")
        with transaction.atomic():
            for _ in range(2):
                assert Country.objects.get_from_cache(pk=norway.pk) == norway
                assert Country.objects.get_from_cache(code="NO") == norway
        assert each_cache.statistics.fills == 0
        Country.objects.get_from_cache(pk=norway.pk)
        assert each_cache.statistics.fills == 1

    def test_a_transaction_reads_what_is_cached_if_it_did_not_write_it(
        self, oslo: City, django_assert_num_queries: Any
    ) -> None:
        """Rows that the block has not touched come from the cache, also after it has written others."""
        Landmark.objects.create(name="Opera")
        moss = City.objects.create(slug="moss", name="Moss", country_id=oslo.country_id)
        population(pk=oslo.pk)
        with transaction.atomic():
            with django_assert_num_queries(0):
                assert population(pk=oslo.pk) == 0
            grow(moss, 5)
            with django_assert_num_queries(0):
                assert population(pk=oslo.pk) == 0
            with django_assert_num_queries(1):
                assert population(pk=moss.pk) == 5

    @sqlite_only
    def test_an_open_iterator_is_an_old_snapshot(self, oslo: City, parallel: Parallel) -> None:
        """While iterator() is open on SQLite every statement of the connection may see the past, so none fills."""
        self.read_with_an_open_cursor(oslo, parallel, City.objects.iterator(chunk_size=1))

    @sqlite_only
    def test_an_open_raw_query_is_an_old_snapshot(self, oslo: City, parallel: Parallel) -> None:
        """The same with raw()."""
        self.read_with_an_open_cursor(oslo, parallel, City.objects.raw("SELECT * FROM geo_app_city").iterator())

    @sqlite_only
    def test_an_open_cursor_of_the_application_is_an_old_snapshot(self, oslo: City, parallel: Parallel) -> None:
        """The same with a cursor that was not read to its end."""

        def rows() -> Iterator[Any]:
            with connection.cursor() as cursor:
                yield from cursor.execute("SELECT * FROM geo_app_city")

        self.read_with_an_open_cursor(oslo, parallel, rows())

    def read_with_an_open_cursor(self, oslo: City, parallel: Parallel, rows: Iterator[Any]) -> None:
        """The connection sees the past; others must not see it in the cache."""
        City.objects.bulk_create(City(slug=f"c{n}", name=f"C{n}", country_id=oslo.country_id) for n in range(300))
        next(rows)
        parallel.run(grow, oslo, 5)
        assert City.objects.filter(pk=oslo.pk).values_list("population", flat=True)[0] == 0, "no old snapshot here"
        assert population(pk=oslo.pk) == 0
        assert standing(oslo) is None
        assert parallel.run(lambda: population(pk=oslo.pk)) == 5
        for _ in rows:
            pass
        del rows
        assert population(pk=oslo.pk) == 5

    def test_a_cursor_that_was_closed_does_not_keep_rows_out(self, oslo: City) -> None:
        """A cursor of the application that is closed, though its variable lives on, is no old snapshot."""
        with connection.cursor() as cursor:
            cursor.execute("UPDATE geo_app_city SET population = 4")
        City.objects.uncache_object(oslo.pk)
        assert population(pk=oslo.pk) == 4
        assert isinstance(standing(oslo), Value)
        assert cursor is not None

    def test_a_transaction_that_dies_with_its_thread(self, oslo: City) -> None:
        """Neither its connection nor its writes are kept."""

        def begin() -> None:
            transaction.set_autocommit(False)
            grow(oslo, 5)
            connections["default"].close()

        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
        assert population(pk=oslo.pk) == 0
        grow(oslo, 6)
        assert population(pk=oslo.pk) == 6


class TestRaces:
    """Interleavings arranged by events: the protocol next to what everybody does."""

    def slow_reader(
        self, parallel: Parallel, oslo: City, read: Callable[[Callable[[], Any]], Any]
    ) -> tuple[threading.Event, threading.Thread]:
        """A reader that stops after its SELECT; returns the event that lets it go on."""
        has_read, go_on = threading.Event(), threading.Event()

        def pause() -> None:
            has_read.set()
            assert go_on.wait(30)

        thread = parallel.start(read, pause)
        assert has_read.wait(30)
        return go_on, thread

    def test_a_slow_reader_does_not_store_what_a_writer_has_changed(self, oslo: City, parallel: Parallel) -> None:
        """It has read the old row when a writer commits, and must not put it into the cache afterwards."""
        City.objects.uncache_object(oslo.pk)

        def read(pause: Callable[[], None]) -> None:
            def execute(run: Callable[..., Any], sql: str, *args: Any) -> Any:
                result = run(sql, *args)
                pause()
                return result

            with connection.execute_wrapper(execute):
                population(pk=oslo.pk)

        go_on, reader = self.slow_reader(parallel, oslo, read)
        grow(oslo, 5)
        assert population(pk=oslo.pk) == 5
        go_on.set()
        reader.join(30)
        assert population(pk=oslo.pk) == 5
        assert caches["default"].statistics.refused_fills == 1

    def test_control_deleting_on_commit_keeps_the_old_value(self, oslo: City, parallel: Parallel) -> None:
        """The same scene with a cache that is deleted on commit, as usual, serves the old row for ever."""
        naive: dict[int, int] = {}

        def get(pause: Callable[[], None] = lambda: None) -> int:
            if oslo.pk not in naive:
                found = City.objects.get(pk=oslo.pk).population
                pause()
                naive[oslo.pk] = found
            return naive[oslo.pk]

        go_on, reader = self.slow_reader(parallel, oslo, get)
        with transaction.atomic():
            City.objects.filter(pk=oslo.pk).update(population=5)
            transaction.on_commit(lambda: naive.pop(oslo.pk, None))
        go_on.set()
        reader.join(30)
        assert City.objects.get(pk=oslo.pk).population == 5
        assert get() == 0, "the control must be stale, or this test proves nothing"

    def test_control_a_callback_that_raises_first_keeps_the_old_value(self, oslo: City) -> None:
        """With on_commit alone a foreign callback that raises leaves the naive cache stale."""
        naive = {oslo.pk: 0}

        def fail() -> None:
            raise Abort

        with pytest.raises(Abort), transaction.atomic():
            transaction.on_commit(fail)
            City.objects.filter(pk=oslo.pk).update(population=5)
            transaction.on_commit(lambda: naive.pop(oslo.pk, None))
        assert naive == {oslo.pk: 0}

    def test_a_slow_reader_by_slug_does_not_point_to_the_wrong_row(self, oslo: City, parallel: Parallel) -> None:
        """It stores an old pointer after a rename; the row contradicts it, and the next reader is right."""

        def read(pause: Callable[[], None]) -> None:
            def execute(run: Callable[..., Any], sql: str, *args: Any) -> Any:
                result = run(sql, *args)
                pause()
                return result

            with connection.execute_wrapper(execute):
                City.objects.get_from_cache(slug="oslo")

        go_on, reader = self.slow_reader(parallel, oslo, read)
        with transaction.atomic():
            City.objects.filter(pk=oslo.pk).update(slug="christiania")
            again = City.objects.create(slug="oslo", name="Another", country_id=oslo.country_id)
        go_on.set()
        reader.join(30)
        for _ in range(2):
            assert City.objects.get_from_cache(slug="oslo").pk == again.pk
            assert City.objects.get_from_cache(slug="christiania").pk == oslo.pk


class TestRefusal:
    """PREPARE is not acknowledged, and the policy is "refuse"."""

    @pytest.fixture
    def fake_server(self, settings: Any) -> FakeBackend:
        """A server, and a policy that refuses what it does not acknowledge."""
        settings.CACHECORE = REFUSING
        return server()

    @pytest.fixture
    def moss(self, fake_server: FakeBackend, transactional_db: None) -> City:
        """A city in a cache that can fail."""
        norway = Country.objects.create(code="NO", name="Norway")
        return City.objects.create(slug="moss", name="Moss", country=norway)

    def test_a_commit_is_refused_and_rolled_back(self, moss: City, fake_server: FakeBackend) -> None:
        """Under "refuse" the block raises, a DatabaseError and a BackendError, nothing is written or broken."""
        population(pk=moss.pk)
        fake_server.fail("hold", times=1)
        with pytest.raises(CommitRefused, match="refuse") as caught, transaction.atomic():
            grow(moss, 5)
            made = City.objects.create(slug="new", name="New", country_id=moss.country_id)
        assert isinstance(caught.value, DatabaseError)
        assert isinstance(caught.value, WriteRefused)
        assert not City.objects.filter(pk=made.pk).exists()
        assert (connection.in_atomic_block, connection.get_autocommit()) == (False, True)
        assert population(pk=moss.pk) == 0
        with transaction.atomic():
            grow(moss, 6)
        assert population(pk=moss.pk) == 6

    def test_a_delete_is_refused_and_rolled_back(self, moss: City, fake_server: FakeBackend) -> None:
        """The row is still there."""
        fake_server.fail("hold", times=1)
        with pytest.raises(CommitRefused):
            moss.delete()
        assert population(slug="moss") == 0

    def test_a_commit_with_autocommit_off_is_refused(self, moss: City, fake_server: FakeBackend) -> None:
        """commit() raises and has not committed; the application rolls back."""
        transaction.set_autocommit(False)
        try:
            grow(moss, 5)
            fake_server.fail("hold", times=1)
            with pytest.raises(CommitRefused):
                transaction.commit()
            transaction.rollback()
        finally:
            transaction.set_autocommit(True)
        assert population(pk=moss.pk) == 0

    def test_a_refused_autocommit_save_writes_nothing(self, moss: City, fake_server: FakeBackend) -> None:
        """save() raises before its statement."""
        fake_server.fail("hold", times=1)
        moss.population = 5
        with pytest.raises(CommitRefused):
            moss.save()
        assert City.objects.get(pk=moss.pk).population == 0
        moss.save()
        assert population(pk=moss.pk) == 5

    def test_bounded_commits_go_on(self, fake_server: FakeBackend) -> None:
        """Under "bounded" the block commits and the failure is counted."""
        city = BoundedCity.objects.create(slug="moss")
        fake_server.fail(None, times=1000)
        with transaction.atomic():
            BoundedCity.objects.filter(pk=city.pk).update(population=5)
        assert BoundedCity.objects.get(pk=city.pk).population == 5
        assert caches["default"].statistics.failures >= 1

    def test_the_strictest_policy_of_a_block_counts(self, moss: City, fake_server: FakeBackend) -> None:
        """One row of a model that refuses refuses all."""
        bounded = BoundedCity.objects.create(slug="moss")
        fake_server.fail("hold", times=1)
        with pytest.raises(CommitRefused), transaction.atomic():
            BoundedCity.objects.filter(pk=bounded.pk).update(population=5)
            grow(moss, 5)
        assert BoundedCity.objects.get(pk=bounded.pk).population == 0


class TestRequests:
    """ATOMIC_REQUESTS."""

    @pytest.fixture
    def client(self) -> Iterator[Client]:
        """A client of the project with every view in a transaction."""
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        try:
            yield Client(raise_request_exception=False)
        finally:
            connection.settings_dict["ATOMIC_REQUESTS"] = False

    def test_a_view_that_returns_commits(self, oslo: City, client: Client) -> None:
        """It sees its own write, and so does everybody after it."""
        response = client.get(f"/grow/{oslo.pk}/")
        assert (response.status_code, response.content) == (200, b"1000")
        assert population(pk=oslo.pk) == 1000

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_a_view_that_raises_rolls_back(self, oslo: City, client: Client) -> None:
        """Nobody sees its write."""
        assert client.get(f"/grow/{oslo.pk}/?fail=1").status_code == 500
        assert population(pk=oslo.pk) == 0
        assert City.objects.get(pk=oslo.pk).population == 0


def test_what_one_test_flushes_the_next_does_not_see(each_cache: Cache) -> None:
    """The flush command, by which transactional tests end, outdates every row."""
    norway = Country.objects.create(code="NO", name="Norway")
    Country.objects.get_from_cache(pk=norway.pk)
    call_command("flush", interactive=False, verbosity=0)
    with pytest.raises(Country.DoesNotExist):
        Country.objects.get_from_cache(pk=norway.pk)
