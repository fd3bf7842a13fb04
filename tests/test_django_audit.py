"""The auditor: finds every planted lie, finds none where there is none, and leaves no trace."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, models, transaction
from django.test.utils import CaptureQueriesContext

from cachecore.cache import Cache
from cachecore.entries import Value
from cachecore.errors import BackendError, ConfigurationError, UncacheableLookup
from cachecore.integrations.django.operators.audit import audit
from cachecore.integrations.django.operators.audit_report import AuditReport, Difference
from cachecore.testing import ManualClock
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import behind_the_back
from tests.geo_app.models import City, Country, Device, Landmark, Note, Restaurant, Seat

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cities(db: None) -> list[City]:
    """Six cities, of which the primary keys have gaps."""
    norway = Country.objects.create(code="NO", name="Norway")
    return [
        City.objects.create(pk=number * 3, slug=f"s{number}", name=f"n{number}", country=norway)
        for number in range(1, 7)
    ]


def warm(model: Any, keys: list[Any]) -> None:
    """Put rows into the cache."""
    model.objects.get_many_from_cache(keys)
    assert len(model.objects.get_many_from_cache(keys)) == len(keys)


def test_all_is_well(each_cache: Cache, cities: list[City]) -> None:
    """How many rows were looked at, how many of them were cached, and that all agree."""
    warm(City, [one.pk for one in cities[:4]])
    report = audit(City)
    assert (report.sampled, report.cached, report.agreeing, report.undecided) == (6, 4, 4, 0)
    assert (report.is_complete, report.differences, report.agreement) == (True, [], 1.0)
    assert str(report) == (
        "geo_app.City in 'default': all 6 rows, 4 cached, all agree (0.6 nines are the most that so many can show)"
    )


def test_nothing_is_cached(each_cache: Cache, cities: list[City]) -> None:
    """Nothing can be said then, and that is said."""
    report = audit(City)
    assert (report.sampled, report.cached, report.agreement, report.nines) == (6, 0, None, None)
    assert str(report) == "geo_app.City in 'default': all 6 rows, none of them cached"
    City.objects.all().delete()
    assert audit(City).sampled == 0


def test_an_outdated_row_is_found(each_cache: Cache, cities: list[City]) -> None:
    """Written behind the cache's back: each column that differs, with both values, and the key."""
    warm(City, [one.pk for one in cities])
    behind_the_back(f"UPDATE geo_app_city SET population = 9, name = 'x' WHERE id = {cities[2].pk}")
    report = audit(City)
    key = City.objects._current().key((cities[2].pk,))
    assert report.differences == [
        Difference(key, cities[2].pk, "name", "n3", "x"),
        Difference(key, cities[2].pk, "population", 0, 9),
    ]
    assert (report.cached, report.agreeing, report.differing) == (6, 5, 1)
    assert report.agreement == pytest.approx(5 / 6)
    assert report.nines == pytest.approx(0.778, abs=0.001)
    assert "6 cached, 1 outdated: 83.3333 % agree (0.8 nines)" in str(report)
    assert str(report.differences[1]) == f"{key}: pk {cities[2].pk}, population: cached 0, stored 9"


def test_a_row_that_only_the_cache_has(each_cache: Cache, cities: list[City]) -> None:
    """Deleted behind its back, between two that are there."""
    warm(City, [one.pk for one in cities])
    behind_the_back(f"DELETE FROM geo_app_city WHERE id = {cities[2].pk}")
    report = audit(City)
    key = City.objects._current().key((cities[2].pk,))
    assert report.differences == [Difference(key, cities[2].pk, "", None, None)]
    assert str(report.differences[0]).endswith(f"pk {cities[2].pk} is cached, and the database has no such row")


def test_hidden_rows(each_cache: Cache) -> None:
    """A row that is hidden behind the cache's back is one that the cache must not have."""
    made = [Note.objects.create(title=f"t{number}") for number in range(3)]
    warm(Note, [one.pk for one in made])
    behind_the_back(f"UPDATE geo_app_note SET hidden = (1 = 1) WHERE id = {made[1].pk}")
    assert [one.identity for one in audit(Note).differences] == [made[1].pk]


def test_it_leaves_no_trace(fake_server: FakeBackend, cities: list[City]) -> None:
    """Nothing is filled, leased or counted: the server is only asked what stands there."""
    warm(City, [one.pk for one in cities[:2]])
    statistics = City.objects._current().cache.statistics
    before, stored = (statistics.hits, statistics.misses), dict(fake_server.snapshot())
    fake_server.log.clear()
    audit(City)
    assert set(fake_server.operations()) == {"get"}
    assert (statistics.hits, statistics.misses) == before
    assert dict(fake_server.snapshot()) == stored


def test_what_it_costs(fake_server: FakeBackend, cities: list[City]) -> None:
    """For a hundred rows: one call to the cache, one query for the keys and one for the rows."""
    warm(City, [one.pk for one in cities])
    fake_server.log.clear()
    with CaptureQueriesContext(connection) as queries:
        audit(City, sample=100)
    assert fake_server.operations() == ["get"]
    assert len(queries) == 4  # how many there are, keys, rows, no more keys


def test_entries_that_no_reader_would_believe(fake_server: FakeBackend, cities: list[City]) -> None:
    """Of an old epoch, of other columns, corrupt, of another row, leases and holds are not cached rows."""
    warm(City, [one.pk for one in cities])
    cached = City.objects._current()
    keys = [cached.key((one.pk,)) for one in cities]
    [epoch, first] = fake_server.get([cached.records.entity.epoch_key, keys[0]])
    assert isinstance(epoch, Value)
    assert isinstance(first, Value)
    fake_server.put([(keys[1], first, 0)], 300)  # the row of another
    fake_server.put([(keys[2], Value(b"\xff", first.stamp), 0)], 300)
    fake_server.inject(keys[3], b"not an entry")
    fake_server.hold([keys[4]], b"12345678", 300)
    fake_server.put([(keys[5], Value(first.payload, b"x" + first.stamp[1:]), 0)], 300)
    report = audit(City)
    assert (report.cached, report.differences) == (1, [])
    City.objects.update(name=models.F("slug"))
    cached.invalidate()
    assert audit(City).cached == 0


def before_load(monkeypatch: pytest.MonkeyPatch, changes: list[Callable[[], Any]]) -> None:
    """Let each of these happen before one look at the database that the auditor takes."""
    cached = City.objects._current()
    load, busy = cached.load, list[bool]()

    def loading(identities: Any) -> Any:
        if changes and not busy:
            busy.append(True)  # what happens may load rows itself
            changes.pop(0)()
            busy.clear()
        return load(identities)

    monkeypatch.setattr(cached, "load", loading)


def test_a_write_between_the_looks_is_no_lie(
    each_cache: Cache, cities: list[City], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that was written after the cache was looked at differs once, and is then not cached any more."""
    warm(City, [one.pk for one in cities])
    before_load(monkeypatch, [lambda: City.objects.filter(pk=cities[0].pk).update(population=5)])
    report = audit(City)
    assert (report.differences, report.agreeing, report.undecided) == ([], 5, 1)
    assert ", 1 undecided" in str(report)


def test_a_row_that_is_written_and_read_all_the_while(
    each_cache: Cache, cities: list[City], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It differs at every look, but never in the same way."""
    warm(City, [one.pk for one in cities])

    def write_and_fill() -> None:
        City.objects.filter(pk=cities[0].pk).update(population=models.F("population") + 1)
        City.objects.get_from_cache(pk=cities[0].pk)
        City.objects.filter(pk=cities[0].pk).update(population=models.F("population") + 1)
        City.objects.get_from_cache(pk=cities[0].pk)

    before_load(monkeypatch, [write_and_fill] * 10)
    report = audit(City)
    assert (report.differences, report.undecided) == ([], 1)
    assert City.objects.get_from_cache(pk=cities[0].pk).population >= 4


def test_a_row_that_is_changed_back_is_no_lie(
    each_cache: Cache, cities: list[City], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written, looked at, written back and cached again: it differed once, under the very same entry."""
    warm(City, [one.pk for one in cities])
    key, load = cities[0].pk, City.objects._current().load
    steps: list[Callable[[], Any]] = []

    def loading(identities: Any) -> Any:
        if not steps:
            steps.append(lambda: None)
            City.objects.filter(pk=key).update(population=5)
            rows = list(load(identities))
            City.objects.filter(pk=key).update(population=0)
            monkeypatch.setattr(City.objects._current(), "load", load)
            City.objects.get_from_cache(pk=key)
            return rows
        return load(identities)

    monkeypatch.setattr(City.objects._current(), "load", loading)
    report = audit(City)
    assert (report.differences, report.agreeing, report.undecided) == ([], 6, 0)


class TestSamples:
    """Which rows are looked at."""

    @pytest.mark.parametrize("sample", [1, 3, 5])
    def test_so_many_rows(self, sample: int, memory_cache: Cache, cities: list[City]) -> None:
        """No row twice, and never more than were asked for."""
        report = audit(City, sample=sample, chance=random.Random(sample))
        assert (report.sampled, report.is_complete) == (sample, False)
        assert f"{sample} rows sampled, none of them cached" in str(report)

    def test_every_row_can_be_chosen(self, memory_cache: Cache, cities: list[City]) -> None:
        """Also the first and the last, and those behind gaps."""
        warm(City, [one.pk for one in cities])
        behind_the_back("UPDATE geo_app_city SET population = 9")
        found: set[Any] = set()
        for seed in range(40):
            found |= {one.identity for one in audit(City, sample=2, chance=random.Random(seed)).differences}
        assert found == {one.pk for one in cities}

    @pytest.mark.parametrize("sample", [None, 4])
    def test_keys_that_are_no_integers(self, sample: int | None, memory_cache: Cache) -> None:
        """UUIDs, two columns together, and the key of a parent."""
        for number in range(6):
            Device.objects.create(label=str(number))
            Seat.objects.create(row="AB"[number % 2], number=number, code=str(number))
            Restaurant.objects.create(name=str(number))
        warm(Device, [one.pk for one in Device.objects.all()])
        warm(Seat, [one.pk for one in Seat.objects.all()])
        warm(Restaurant, [one.pk for one in Restaurant.objects.all()])
        behind_the_back("UPDATE geo_app_device SET label = 'x'")
        behind_the_back("UPDATE geo_app_seat SET taken = (1 = 1)")
        behind_the_back("UPDATE geo_app_restaurant SET stars = 3")
        for model in (Device, Seat, Restaurant):
            assert audit(model, sample=sample).differing == (sample or 6)

    def test_more_rows_than_one_look_takes(self, memory_cache: Cache, cities: list[City]) -> None:
        """All are looked at in runs, and progress is told; a sample is as large as it should be, wherever gaps are."""
        country = cities[0].country
        City.objects.bulk_create([City(slug=f"b{number}", name=f"b{number}", country=country) for number in range(230)])
        keys = [one.pk for one in City.objects.order_by("pk")]
        behind_the_back(f"UPDATE geo_app_city SET id = id + 1000000 WHERE id > {keys[100]}")
        City.objects._current().invalidate()
        keys = [one.pk for one in City.objects.order_by("pk")]
        warm(City, keys)
        behind_the_back(f"UPDATE geo_app_city SET population = 9 WHERE id = {keys[-1]}")
        told: list[tuple[int, int]] = []
        report = audit(City, sample=None, progress=lambda done, total: told.append((done, total)))
        assert (report.sampled, report.cached, report.differing, report.is_complete) == (236, 236, 1, True)
        assert told == [(0, 236), (100, 236), (200, 236), (236, 236)]
        for sample in (150, 200, 235):
            assert audit(City, sample=sample, chance=random.Random(sample)).sampled == sample

    def test_the_time_is_up(self, memory_cache: Cache, cities: list[City]) -> None:
        """It ends after the look during which the time has passed."""
        country = cities[0].country
        City.objects.bulk_create([City(slug=f"b{number}", name=f"b{number}", country=country) for number in range(230)])
        clock = ManualClock()
        report = audit(City, sample=None, seconds=5, clock=clock, progress=lambda done, total: clock.advance(3))
        assert (report.sampled, report.is_complete) == (100, False)


class TestMistakes:
    """What cannot be audited."""

    def test_a_model_that_is_not_cached(self) -> None:
        """It is named."""
        with pytest.raises(UncacheableLookup, match=r"no rows of geo_app\.Landmark are cached"):
            audit(Landmark)

    def test_in_a_transaction(self, memory_cache: Cache, cities: list[City]) -> None:
        """Its snapshot may be old."""
        with (
            transaction.atomic(),
            pytest.raises(ConfigurationError, match=r"must not run in a transaction on 'default'"),
        ):
            audit(City)

    def test_while_a_cursor_is_open(self, memory_cache: Cache, cities: list[City]) -> None:
        """On SQLite, whose unfinished statements keep an old snapshot alive; elsewhere it does no harm."""
        iterator = City.objects.iterator(chunk_size=1)
        next(iterator)
        if connection.vendor == "sqlite":
            with pytest.raises(ConfigurationError, match="nor while a cursor is open"):
                audit(City)
        del iterator
        assert audit(City).is_complete

    @pytest.mark.parametrize(("options", "said"), [({"sample": 0}, "sample .*0"), ({"seconds": -1}, "seconds .*-1")])
    def test_numbers(self, options: dict[str, Any], said: str) -> None:
        """A sample or a time of nothing."""
        with pytest.raises(ConfigurationError, match=said):
            audit(City, **options)

    def test_the_cache_is_away(self, fake_server: FakeBackend, cities: list[City]) -> None:
        """That is an error, and not an agreement."""
        fake_server.fail("get")
        with pytest.raises(BackendError):
            audit(City)


def test_a_report_of_undecided_rows_only() -> None:
    """Nothing can be said of agreement."""
    report = AuditReport(City, "default", sampled=1, cached=1, undecided=1)
    assert (report.agreement, report.nines) == (None, None)
    assert str(report) == "geo_app.City in 'default': 1 rows sampled, 1 cached, all of them undecided"


@pytest.mark.parametrize("name", ["redis_server", "memcached_server"])
def test_on_real_servers(name: str, request: pytest.FixtureRequest, settings: Any, cities: list[City]) -> None:
    """As on the fake one."""
    url = request.getfixturevalue(name).url
    backend = name.removesuffix("_server")
    options = {"timeout": 10.0, "connect_timeout": 10.0}
    settings.CACHECORE = {
        "default": {"BACKEND": backend, "LOCATION": url, "NAMESPACE": f"audit-{cities[0].pk}", "OPTIONS": options}
    }
    City.objects._current().invalidate()
    warm(City, [one.pk for one in cities])
    behind_the_back(f"UPDATE geo_app_city SET population = 9 WHERE id = {cities[0].pk}")
    report = audit(City)
    assert (report.cached, [one.identity for one in report.differences]) == (6, [cities[0].pk])
