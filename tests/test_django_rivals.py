"""What other caches for Django get wrong, case by case: one test for each row of the table in docs/django.md.

Each was measured with at least one widely used package, which served the old row, a row that was never committed, or an
error in its place.
"""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F

from cachecore.cache import Cache
from cachecore.integrations.django import caches, journal
from cachecore.integrations.django.relations.prefetch import prefetch_from_cache
from cachecore.integrations.django.testing import cachecore_counts
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import Parallel
from tests.geo_app.models import City, Country, Place, Restaurant

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def oslo(db: None, transactional_db: None, each_cache: Cache) -> City:
    """A city, committed, and cached by key and by slug."""
    return cached_city()


@pytest.fixture
def moss(db: None, transactional_db: None, fake_server: FakeBackend) -> City:
    """The same on a server whose content a test can forge, and which can fail."""
    return cached_city()


def cached_city() -> City:
    norway = Country.objects.create(code="NO", name="Norway")
    city = City.objects.create(slug="oslo", name="Oslo", country=norway)
    for _ in range(2):
        assert (population(pk=city.pk), population(slug="oslo")) == (0, 0)
    with cachecore_counts(hits=2, queries=0):
        assert (population(pk=city.pk), population(slug="oslo")) == (0, 0)
    return city


def population(**query: Any) -> int:
    """What the cache says."""
    return City.objects.get_from_cache(**query).population


def everywhere(parallel: Parallel, city: City) -> set[int]:
    """What the cache says here and on another connection, by key and by slug."""

    def ask() -> set[int]:
        return {population(pk=city.pk), population(slug=city.slug)}

    return ask() | parallel.run(ask)


Execute = Callable[..., Any]


class Pausing:
    """Stops a thread at one kind of statement: before it is sent, or when its rows have been read."""

    def __init__(self, verb: str, after: bool) -> None:
        self._verb, self._after = verb, after
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, execute: Execute, sql: str, *args: Any) -> Any:
        if not sql.startswith(self._verb) or self.reached.is_set():
            return execute(sql, *args)
        result = execute(sql, *args) if self._after else None
        self.reached.set()
        assert self.go_on.wait(30)
        return result if self._after else execute(sql, *args)

    def start(self, parallel: Parallel, work: Callable[[], object]) -> threading.Thread:
        """Run ``work`` in a thread up to the pause."""

        def run() -> None:
            with connection.execute_wrapper(self):
                work()

        thread = parallel.start(run)
        assert self.reached.wait(30)
        return thread


UPDATES: dict[str, Callable[[City], object]] = {
    "update": lambda city: City.objects.filter(pk=city.pk).update(population=5),
    "update by an expression": lambda city: City.objects.filter(name="Oslo").update(population=F("population") + 5),
    "bulk_update": lambda city: City.objects.bulk_update([City(pk=city.pk, population=5)], ["population"]),
}


@pytest.mark.parametrize("name", UPDATES)
def test_queryset_update_and_bulk_update(name: str, oslo: City, parallel: Parallel) -> None:
    """Bulk writes send no signal, and are seen by every reader as soon as they return."""
    UPDATES[name](oslo)
    assert everywhere(parallel, oslo) == {5}


def execute(city: City) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE geo_app_city SET population = 5 WHERE id = %s", [city.pk])


def execute_many(city: City) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("UPDATE geo_app_city SET population = %s WHERE id = %s", [(5, city.pk), (1, 0)])


@pytest.mark.parametrize("write", [execute, execute_many])
def test_raw_sql_through_the_orms_cursor(write: Callable[[City], None], oslo: City, parallel: Parallel) -> None:
    """SQL that nobody has compiled, in a transaction of its own and in a block."""
    write(oslo)
    assert everywhere(parallel, oslo) == {5}
    City.objects.filter(pk=oslo.pk).update(population=0)
    assert everywhere(parallel, oslo) == {0}
    with transaction.atomic():
        write(oslo)
        assert population(pk=oslo.pk) == 5
    assert everywhere(parallel, oslo) == {5}


def test_a_parent_that_changes_behind_a_cached_child(oslo: City) -> None:
    """No entry holds the row of another model: a new name of the country is seen with every one of its cities."""

    def names() -> set[str]:
        city = City.objects.get_from_cache(pk=oslo.pk)
        prefetched = City.objects.get_from_cache(pk=oslo.pk)
        prefetch_from_cache([prefetched], "country")
        by_key = Country.objects.get_from_cache(pk=city.country_id)
        joined = City.objects.select_related("country").get(pk=oslo.pk)
        return {city.country.name, prefetched.country.name, by_key.name, joined.country.name}

    for _ in range(2):
        assert names() == {"Norway"}
    Country.objects.filter(code="NO").update(name="Norge")
    assert names() == {"Norge"}
    with transaction.atomic():
        oslo.country.name = "Noreg"
        oslo.country.save()
        assert names() == {"Noreg"}
    assert names() == {"Noreg"}


def test_a_rollback(oslo: City, parallel: Parallel) -> None:
    """What was never committed is never seen by anybody else, neither meanwhile nor afterwards, by no lookup."""
    with transaction.atomic():
        city = City.objects.get(pk=oslo.pk)
        city.population, city.slug = 5, "never"
        city.save()
        assert (population(pk=oslo.pk), population(slug="never")) == (5, 5)
        assert parallel.run(lambda: (population(pk=oslo.pk), population(slug="oslo"))) == (0, 0)
        transaction.set_rollback(True)
    for _ in range(2):
        assert everywhere(parallel, oslo) == {0}
        with pytest.raises(City.DoesNotExist):
            population(slug="never")


def test_a_slow_reader_against_one_writer(oslo: City, parallel: Parallel) -> None:
    """A reader that has read the old row, and goes on after a writer has committed, does not bring it back."""
    City.objects.uncache_object(oslo.pk)
    pausing = Pausing("SELECT", after=True)
    reader = pausing.start(parallel, lambda: population(pk=oslo.pk))
    City.objects.filter(pk=oslo.pk).update(population=5)
    pausing.go_on.set()
    reader.join(30)
    for _ in range(2):
        assert everywhere(parallel, oslo) == {5}


@pytest.mark.parametrize("write", ["update", "save"])
def test_a_read_between_invalidation_and_autocommit_write(write: str, oslo: City, parallel: Parallel) -> None:
    """Who reads after the entry has been dropped and before the statement is sent does not bring the old row back."""
    city = City.objects.get(pk=oslo.pk)
    city.population = 5
    writes: dict[str, Callable[[], object]] = {
        "update": lambda: City.objects.filter(pk=oslo.pk).update(population=5),
        "save": city.save,
    }
    pausing = Pausing("UPDATE", after=False)
    writer = pausing.start(parallel, writes[write])
    for _ in range(2):
        assert (population(pk=oslo.pk), population(slug="oslo")) == (0, 0)
    pausing.go_on.set()
    writer.join(30)
    for _ in range(2):
        assert everywhere(parallel, oslo) == {5}


def test_eight_threads_on_one_cold_key(oslo: City, parallel: Parallel) -> None:
    """One of them asks the database, and the others wait for what it finds."""
    City.objects.uncache_object(oslo.pk)
    start, selects, lock = threading.Barrier(8), [0], threading.Lock()

    def count(execute: Execute, sql: str, *args: Any) -> Any:
        if sql.startswith("SELECT"):
            with lock:
                selects[0] += 1
        return execute(sql, *args)

    def read() -> None:
        connection.ensure_connection()
        start.wait(30)
        with connection.execute_wrapper(count):
            assert population(pk=oslo.pk) == 0

    for _ in range(8):
        parallel.start(read)
    parallel.join()
    assert selects[0] == 1


def test_multi_table_inheritance(each_cache: Cache) -> None:
    """A row of two tables is fresh whichever of them is written, by its parent's class and by its own."""
    pk = Restaurant.objects.create(name="Grill", stars=1).pk

    def seen() -> tuple[str, str, int]:
        grill = Restaurant.objects.get_from_cache(pk=pk)
        return Place.objects.get_from_cache(pk=pk).name, grill.name, grill.stars

    for _ in range(2):
        assert seen() == ("Grill", "Grill", 1)
    Place.objects.filter(pk=pk).update(name="Grill 2")
    assert seen() == ("Grill 2", "Grill 2", 1)
    Restaurant.objects.filter(pk=pk).update(name="Grill 3", stars=2)
    assert seen() == ("Grill 3", "Grill 3", 2)
    child = Restaurant.objects.get(pk=pk)
    child.name, child.stars = "Grill 4", 3
    child.save()
    assert seen() == ("Grill 4", "Grill 4", 3)
    parent = Place.objects.get(pk=pk)
    parent.name = "Grill 5"
    parent.save()
    assert seen() == ("Grill 5", "Grill 5", 3)


@pytest.mark.parametrize(
    "raw",
    [b"", b"garbage", b"\x80\x04\x95\x10\x00\x00\x00", b"\xff" * 100],
    ids=["nothing", "text", "a pickle", "no text"],
)
def test_a_corrupt_entry(raw: bytes, moss: City, fake_server: FakeBackend) -> None:
    """Bytes that nobody can read are a miss, and are replaced."""
    for key in fake_server.snapshot():
        fake_server.inject(key, raw)
    with cachecore_counts(misses=1, queries=1):
        assert (population(pk=moss.pk), population(slug="oslo")) == (0, 0)
    with cachecore_counts(hits=2, queries=0):
        assert (population(pk=moss.pk), population(slug="oslo")) == (0, 0)


def test_a_cache_that_is_down_while_one_reads(moss: City, fake_server: FakeBackend) -> None:
    """Every read is answered by the database."""
    fake_server.fail(times=1000)
    for _ in range(2):
        assert (population(pk=moss.pk), population(slug="oslo")) == (0, 0)
        assert City.objects.get_many_from_cache([moss.pk]) == [moss]
    assert caches["default"].statistics.failures > 0


def test_a_cache_that_is_down_while_one_saves(moss: City, fake_server: FakeBackend) -> None:
    """The write goes on and raises nothing; when the cache is back and the journal replayed, the row is fresh."""
    fake_server.fail(times=1000)
    moss.population = 5
    moss.save()
    assert City.objects.get(pk=moss.pk).population == 5
    fake_server.recover()
    journal.replay(using="default")
    assert population(pk=moss.pk) == 5


def test_select_for_update(oslo: City, parallel: Parallel) -> None:
    """A row that is to be locked is asked of the database, in whose lock it then is."""
    with transaction.atomic():
        with cachecore_counts(hits=0, misses=0, queries=1, operations=0):
            locked = City.objects.select_for_update().get(pk=oslo.pk)
        if connection.features.has_select_for_update_nowait:

            def other() -> None:
                with transaction.atomic(), pytest.raises(DatabaseError, match="lock"):
                    City.objects.select_for_update(nowait=True).get(pk=oslo.pk)

            parallel.run(other)
        locked.population = 5
        locked.save()
    assert everywhere(parallel, oslo) == {5}
