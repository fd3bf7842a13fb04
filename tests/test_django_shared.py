"""The straight path of a hit in a shared cache: what it answers in one round trip, and what it must not even ask."""

import pickle
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, connections, transaction

from cachecore.cache import Cache
from cachecore.entries import Value, encode_entry
from cachecore.errors import BackendTimeout
from cachecore.events import Event, Hit
from cachecore.integrations.django import _hit_py, caches
from cachecore.integrations.django import hit as hit_module
from cachecore.integrations.django.writing import connection as connection_module
from cachecore.testing.fake import FakeBackend
from tests import test_django_manager as manager
from tests.conftest import sqlite_only
from tests.geo_app.caching import Parallel
from tests.geo_app.models import City, Country, Device, Seat

pytestmark = pytest.mark.django_db(transaction=True)

cities = manager.cities

# The tests of the manager run in a test case's transaction, where this path is not taken. Here they run outside.


class TestBudgetsOutside(manager.TestBudgets):
    """What each read costs, outside transactions."""


class TestManyOutside(manager.TestMany):
    """get_many_from_cache, outside transactions."""


class TestInstancesOutside(manager.TestInstances):
    """What comes out of the cache, outside transactions."""


class TestFailuresOutside(manager.TestFailures):
    """A cache that fails, outside transactions."""


def twins() -> list[ModuleType]:
    """The pure path and, where it is compiled, the compiled one."""
    found: list[ModuleType] = [_hit_py]
    if hit_module.implementation == "cython":
        from cachecore.integrations.django import _hit_c

        found.append(_hit_c)
    return found


class Asking:
    """Asks the path itself, and tells what that has cost."""

    def __init__(self, server: FakeBackend) -> None:
        self.server = server

    def one(self, model: Any = City, **query: Any) -> Any:
        """The answer to a question, or None."""
        self.server.log.clear()
        return model.objects._current().answer(query)

    def many(self, name: str, values: list[Any], model: Any = City) -> Any:
        """The answers to many, or None."""
        self.server.log.clear()
        return model.objects._current().answers(name, values)

    @property
    def calls(self) -> list[str]:
        """What the server has been asked meanwhile."""
        return self.server.operations()


@pytest.fixture(params=twins(), ids=lambda module: module.__name__.rpartition(".")[2])
def ask(request: pytest.FixtureRequest, fake_server: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asking]:
    """The path of either twin."""
    monkeypatch.setattr("cachecore.integrations.django.shared.SharedPath", request.param.SharedPath)
    yield Asking(fake_server)
    connection.close()


@pytest.fixture
def oslo(ask: Asking) -> City:
    """A city whose row is in the cache and whose lookups this process remembers."""
    norway = Country.objects.create(code="NO", name="Norway")
    city = City.objects.create(slug="oslo", name="Oslo", country=norway, iata="OSL")
    for query in ({"pk": city.pk}, {"slug": "oslo"}, {"country": norway, "name": "Oslo"}, {"iata": "OSL"}):
        City.objects.get_from_cache(**query)
    return city


def test_every_spelling_of_a_warm_question_is_one_round_trip(ask: Asking, oslo: City) -> None:
    """Names, attribute names, __exact, an instance for a foreign key, and any order of the keywords."""
    norway = Country.objects.get()
    questions: list[dict[str, Any]] = [
        {"pk": oslo.pk},
        {"id": oslo.pk},
        {"pk__exact": oslo.pk},
        {"slug": "oslo"},
        {"slug__exact": "oslo"},
        {"country": norway, "name": "Oslo"},
        {"name": "Oslo", "country": norway},
        {"name__exact": "Oslo", "country_id": norway.pk},
        {"iata": "OSL"},
    ]
    for question in questions:
        for _ in range(2):  # the second time by the plan that the first has made
            found = ask.one(**question)
            assert found == oslo
            assert (found._state.db, found._state.cachecore) == ("default", (oslo.slug, norway.pk, "Oslo", "OSL"))
            assert ask.calls == ["acquire"]


def test_what_needs_a_second_look_asks_nothing(ask: Asking, oslo: City) -> None:
    """A value of another type, an instance of another model, a lookup that is not remembered, and no lookup at all."""
    questions: list[dict[str, Any]] = [
        {"pk": str(oslo.pk)},
        {"pk": True},
        {"pk": None},
        {"slug": 1},
        {"slug": "bergen"},
        {"country": oslo, "name": "Oslo"},
        {"country": Country(code="XX"), "name": "Oslo"},
        {"name": "Oslo"},
        {"nothing": 1},
        {},
    ]
    for question in questions:
        assert ask.one(**question) is None
        assert ask.calls == []
    several: list[tuple[str, list[Any]]] = [
        ("pk", []),
        ("pk", [oslo.pk, str(oslo.pk)]),
        ("pk", [oslo.pk, oslo.pk]),
        ("slug", ["oslo", "bergen"]),
        ("name", ["Oslo"]),
    ]
    for name, values in several:
        assert ask.many(name, values) is None
        assert ask.calls == []


def test_a_primary_key_of_two_columns_goes_the_long_way_and_its_lookup_does_not(ask: Asking) -> None:
    """The row that a pointer leads to is known by both columns."""
    seat = Seat.objects.create(row="A", number=1, code="A1")
    for _ in range(2):
        Seat.objects.get_from_cache(pk=("A", 1))
        Seat.objects.get_from_cache(code="A1")
    assert ask.one(Seat, pk=("A", 1)) is None
    assert ask.calls == []
    assert ask.one(Seat, code="A1") == seat
    assert ask.many("code", ["A1"], Seat) == [seat]
    assert ask.calls == ["acquire"]


def test_a_uuid_is_found_as_itself_and_not_as_text(ask: Asking) -> None:
    """Each type of key is found by precisely that type."""
    device = Device.objects.create(label="lamp")
    assert ask.one(Device, pk=device.pk) == device
    assert ask.one(Device, pk=str(device.pk)) is None


def _in_atomic(ask: Callable[[], Any]) -> Any:
    with transaction.atomic():
        return ask()


def _with_an_open_cursor(ask: Callable[[], Any]) -> Any:
    with connection.cursor():
        return ask()


def _without_autocommit(ask: Callable[[], Any]) -> Any:
    transaction.set_autocommit(False)
    try:
        return ask()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


def _not_connected_and_without_autocommit(ask: Callable[[], Any]) -> Any:
    connection.close()
    connection.settings_dict["AUTOCOMMIT"] = False
    try:
        return ask()
    finally:
        connection.settings_dict["AUTOCOMMIT"] = True


def _in_an_event_loop(ask: Callable[[], Any]) -> Any:
    async def asking() -> Any:
        return ask()

    return async_to_sync(asking)()


@pytest.mark.parametrize(
    "place",
    [
        _in_atomic,
        pytest.param(_with_an_open_cursor, marks=sqlite_only),
        _without_autocommit,
        _not_connected_and_without_autocommit,
        _in_an_event_loop,
    ],
)
def test_nothing_is_asked_where_a_lease_could_not_be_used(
    place: Callable[[Callable[[], Any]], Any], ask: Asking, oslo: City
) -> None:
    """In a block, a transaction or an event loop, and beside an open cursor, which may keep an old snapshot alive."""
    assert ask.one(pk=oslo.pk) == oslo
    for question in (lambda: ask.one(pk=oslo.pk), lambda: ask.one(slug="oslo"), lambda: ask.many("pk", [oslo.pk])):
        assert place(question) is None
        assert ask.calls == []
    assert ask.one(pk=oslo.pk) == oslo


def test_a_connection_that_nobody_watches_yet_is_looked_at(ask: Asking, oslo: City, parallel: Parallel) -> None:
    """The long way begins to watch it, and the next read is straight again."""

    def reading() -> list[Any]:
        assert City.objects.get_from_cache(pk=oslo.pk) == oslo
        connections["default"].__dict__.pop(connection_module.ATTRIBUTE)
        return [ask.one(pk=oslo.pk), City.objects.get_from_cache(pk=oslo.pk), ask.one(pk=oslo.pk)]

    assert parallel.run(reading) == [None, oslo, oslo]  # in a thread of its own, whose connection ends with it


def test_a_thread_without_a_connection_is_given_one(ask: Asking, oslo: City, parallel: Parallel) -> None:
    """Its first read goes the long way, those after it do not."""

    def reading() -> list[Any]:
        return [ask.one(pk=oslo.pk), City.objects.get_from_cache(pk=oslo.pk), ask.one(pk=oslo.pk)]

    assert parallel.run(reading) == [None, oslo, oslo]


def test_a_warm_read_opens_no_database_connection(ask: Asking, oslo: City) -> None:
    """Neither one row nor many need one."""
    connection.close()
    assert City.objects.get_from_cache(pk=oslo.pk) == oslo
    assert City.objects.get_from_cache(slug="oslo") == oslo
    assert City.objects.get_many_from_cache([oslo.pk]) == [oslo]
    assert City.objects.get_many_from_cache(["oslo"], key="slug") == [oslo]
    assert connection.connection is None


def test_a_hit_is_counted_and_told_to_subscribers(ask: Asking, oslo: City) -> None:
    """One hit for each row, with the keys of the rows, also by way of a pointer."""
    cache: Cache = caches["default"]
    told: list[Event] = []
    cache.hooks.subscribe(told.append)
    cache.statistics.reset()
    ask.one(pk=oslo.pk)
    ask.one(slug="oslo")
    ask.many("pk", [oslo.pk])
    assert (cache.statistics.hits, cache.statistics.misses) == (3, 0)
    assert told == [Hit("geo_app.City", (City.objects._current().key((oslo.pk,)),))] * 3


def test_a_miss_goes_on_from_what_was_seen(ask: Asking, oslo: City, django_assert_num_queries: Any) -> None:
    """A cold row is asked for once, loaded by one query and filled; so are those that many lack."""
    bergen = City.objects.create(slug="bergen", name="Bergen", country=oslo.country)
    with django_assert_num_queries(1):
        assert ask.one(pk=bergen.pk) == bergen
    assert ask.calls == ["acquire", "fill"]
    caches["default"].statistics.reset()
    lyon = City.objects.create(slug="lyon", name="Lyon", country=oslo.country)
    with django_assert_num_queries(1):
        assert ask.many("pk", [lyon.pk, oslo.pk, bergen.pk]) == [lyon, oslo, bergen]
    assert ask.calls == ["acquire", "fill"]
    assert (caches["default"].statistics.hits, caches["default"].statistics.misses) == (2, 1)
    assert ask.many("pk", [bergen.pk, lyon.pk, oslo.pk]) == [bergen, lyon, oslo]


def test_many_lookups_go_on_from_what_was_seen(ask: Asking, oslo: City, django_assert_num_queries: Any) -> None:
    """A row that is not cached is loaded by its identity; a remembered lookup that is outdated is asked anew."""
    bergen = City.objects.create(slug="bergen", name="Bergen", country=oslo.country)
    assert City.objects.get_many_from_cache(["bergen", "oslo"], key="slug") == [bergen, oslo]
    assert ask.many("slug", ["oslo", "bergen"]) == [oslo, bergen]
    City.objects.filter(pk=bergen.pk).update(population=7)
    with django_assert_num_queries(1):
        assert [city.population for city in ask.many("slug", ["bergen", "oslo"])] == [7, 0]
    assert ask.calls == ["acquire", "fill"]
    City.objects.filter(pk=oslo.pk).update(slug="christiania")
    assert ask.many("slug", ["oslo", "bergen"]) == [City.objects.get(pk=bergen.pk)]
    assert ask.many("slug", ["bergen"]) == [bergen]


def test_a_row_that_does_not_exist_raises_and_leaves_nothing(ask: Asking, oslo: City) -> None:
    """As get() does; its lease is given back. Among many it is left out."""
    with pytest.raises(City.DoesNotExist):
        ask.one(pk=0)
    assert ask.calls == ["acquire", "abandon"]
    assert ask.many("pk", [0, oslo.pk]) == [oslo]
    City.objects.filter(pk=oslo.pk).delete()
    with pytest.raises(City.DoesNotExist):
        ask.one(slug="oslo")


def test_a_remembered_lookup_that_the_row_no_longer_confirms_is_asked_anew(ask: Asking, oslo: City) -> None:
    """After a rename the old slug finds what has it now, or nothing."""
    City.objects.filter(pk=oslo.pk).update(slug="christiania")
    assert City.objects.get_from_cache(pk=oslo.pk).slug == "christiania"
    with pytest.raises(City.DoesNotExist):
        ask.one(slug="oslo")
    other = City.objects.create(slug="oslo", name="Oslo, Minnesota", country=oslo.country)
    assert City.objects.get_from_cache(slug="oslo") == other
    assert ask.one(slug="oslo") == other


def test_a_row_under_an_old_epoch_or_a_hold_is_no_hit(ask: Asking, oslo: City, django_assert_num_queries: Any) -> None:
    """What outdates all rows outdates those whose entries still stand; a writer in flight sends readers to the
    database."""
    cached = City.objects._current()
    cached.invalidate()
    with django_assert_num_queries(1):
        assert ask.one(pk=oslo.pk) == oslo
    assert ask.one(pk=oslo.pk) == oslo
    assert ask.calls == ["acquire"]
    ask.server.hold([cached.key((oslo.pk,))], b"a writer", 5.0)
    for _ in range(2):
        with django_assert_num_queries(1):
            assert ask.one(pk=oslo.pk) == oslo
        assert ask.calls == ["acquire"]


@pytest.mark.parametrize("payload", [b"\x93\x01\x02\x03", b"", b"\xc1nothing"])
def test_a_value_that_is_no_row_is_replaced(payload: bytes, ask: Asking, oslo: City) -> None:
    """A counted miss, for one row and among many."""
    cached, statistics = City.objects._current(), caches["default"].statistics
    key = cached.key((oslo.pk,))
    [entry] = ask.server.get([key])
    assert isinstance(entry, Value)
    for question in (lambda: [ask.one(pk=oslo.pk)], lambda: ask.many("pk", [oslo.pk])):
        ask.server.inject(key, encode_entry(Value(payload, entry.stamp), ask.server.incarnation))
        statistics.reset()
        assert question() == [oslo]
        assert statistics.miss_reasons == {"corrupt": 1}
        assert question() == [oslo]
        assert statistics.hits == 1


def test_a_structure_that_cannot_be_read_is_found_out_and_replaced(ask: Asking, oslo: City) -> None:
    """JSON is looked at only when the instance is made, and is a counted miss all the same."""
    cached, statistics = City.objects._current(), caches["default"].statistics
    key = cached.key((oslo.pk,))
    [entry] = ask.server.get([key])
    assert isinstance(entry, Value)
    assert isinstance(entry.payload, bytes)
    assert entry.payload.count(b"{}") == 1
    broken = Value(entry.payload.replace(b"{}", b"{?"), entry.stamp)
    for question in (lambda: [ask.one(pk=oslo.pk)], lambda: ask.many("pk", [oslo.pk])):
        ask.server.inject(key, encode_entry(broken, ask.server.incarnation))
        statistics.reset()
        assert question() == [oslo]
        assert (statistics.hits, statistics.miss_reasons) == (0, {"corrupt": 1})


def test_a_row_that_has_no_plain_form_is_a_hit_too(ask: Asking, oslo: City) -> None:
    """An integer beyond 64 bits is stored in the general form, which is read as well."""
    cached = City.objects._current()
    row = next(iter(cached.load([oslo.pk])))
    position = cached.records.entity.position["population"]
    large = (*row[:position], 1 << 70, *row[position + 1 :])
    [entry] = ask.server.get([cached.key((oslo.pk,))])
    assert isinstance(entry, Value)
    payload = cached.layout.codec.encode(large)
    ask.server.inject(cached.key((oslo.pk,)), encode_entry(Value(payload, entry.stamp), ask.server.incarnation))
    assert ask.one(pk=oslo.pk).population == 1 << 70
    assert ask.calls == ["acquire"]


def test_a_server_that_fails_costs_one_call(ask: Asking, oslo: City) -> None:
    """The answers come from the database, and it is not asked a second time for the same read."""
    ask.server.fail("acquire", BackendTimeout("too slow"), times=3)
    assert ask.one(pk=oslo.pk) == oslo
    assert ask.calls == ["acquire"]
    assert ask.one(slug="oslo") == oslo
    assert ask.many("pk", [oslo.pk]) == [oslo]
    assert caches["default"].statistics.failures == 3


def test_what_is_read_pickles_and_is_nobody_elses(ask: Asking, oslo: City) -> None:
    """Each answer is an instance of its own, with a structure of its own."""
    first, [second] = ask.one(pk=oslo.pk), ask.many("pk", [oslo.pk])
    first.data["mayor"] = "nobody"
    assert second.data == {}
    assert pickle.loads(pickle.dumps(second)) == oslo


def test_where_connections_cannot_be_found_directly_everything_goes_the_long_way(
    fake_server: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another way to keep the connections of threads than the one that is known changes no answer."""
    with monkeypatch.context() as patch:
        patch.setattr(connection_module, "connections", object())
        assert connection_module.threads_connections() is None
    monkeypatch.setattr("cachecore.integrations.django.shared.threads_connections", lambda: None)
    device = Device.objects.create(label="lamp")
    assert Device.objects.get_from_cache(pk=device.pk) == device
    fake_server.log.clear()
    assert Device.objects.get_from_cache(pk=device.pk) == device
    assert Device.objects.get_many_from_cache([device.pk]) == [device]
    assert fake_server.operations() == ["acquire", "acquire"]
    assert Device.objects._current().answer({"pk": device.pk}) is None


def test_these_tests_run_outside_transactions(cities: list[City]) -> None:
    """Also those that are inherited: otherwise they would not see this path."""
    assert not connection.in_atomic_block
