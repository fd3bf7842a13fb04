"""Writes are met where their statements are sent: whatever sends them, and rows are named one by one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import IntegrityError, OperationalError, connection, models, transaction
from django.db.migrations.state import ProjectState
from django.db.models import F, Q
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext

from cachecore.entries import Hold, Value
from cachecore.integrations.django import DependsOn, cached_function, caches
from cachecore.integrations.django.manager import CacheManager
from cachecore.integrations.django.writing import dependents, writes
from cachecore.integrations.django.writing.connection import Touched, state_of
from cachecore.integrations.django.writing.dependents import depend
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import Parallel, norwegian_cities
from tests.geo_app.models import BulkCity, City, Country, Line, Note, Person, Place, Restaurant, Seat, Stop, Visitor

pytestmark = pytest.mark.django_db


@pytest.fixture
def norway() -> Country:
    """A country."""
    return Country.objects.create(code="NO", name="Norway")


@pytest.fixture
def cities(norway: Country, fake_server: FakeBackend) -> list[City]:
    """Three cities of which the cache has nothing yet."""
    made = norwegian_cities(norway)
    fake_server.log.clear()
    return made


def keys_held(server: FakeBackend) -> list[str]:
    """The keys that writes have held since the log was cleared, without the rest of their text."""
    state_of("default").settle()  # in the world of a test case a block is completed when somebody looks
    return [key.split(":", 1)[1] for call in server.log if call.name == "hold" for key in call.keys]


def key(row: models.Model) -> str:
    """What `keys_held` says of a row."""
    return f"{row._meta.concrete_model._meta.label}@default:i{row.pk}"


class Plain(models.Manager[Any]):
    """A manager that knows nothing of any cache."""


def plain(model: type[models.Model]) -> Any:
    """A queryset of Django's own class."""
    manager: Any = Plain()
    manager.model = model
    return manager


WAYS: dict[str, Callable[[City], object]] = {
    "a plain manager": lambda city: plain(City).filter(slug="oslo").update(population=5),
    "its bulk_update": lambda city: plain(City).bulk_update([City(pk=city.pk, population=5)], ["population"]),
    "the base manager": lambda city: models.Manager.get_queryset(City._base_manager).update(population=5),
    "a query of its own": lambda city: models.sql.UpdateQuery(City).update_batch(
        [city.pk], {"population": 5}, "default"
    ),
    "SQL": lambda city: execute("UPDATE geo_app_city SET population = 5 WHERE id = %s", [city.pk]),
    "SQL many times": lambda city: executemany("UPDATE geo_app_city SET population = %s", [(4,), (5,)]),
    "SQL in other words": lambda city: execute('/* by hand */ update "geo_app_city"\n set population = 5', []),
    "SQL with a table of its own": lambda city: execute(
        "WITH chosen AS (SELECT id FROM geo_app_city) UPDATE geo_app_city SET population = 5 "
        "WHERE id IN (SELECT id FROM chosen)",
        [],
    ),
}


def execute(sql: str, parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def executemany(sql: str, parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(sql, parameters)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_write_past_the_manager_is_seen(way: str, within: bool, cities: list[City]) -> None:
    """Other managers, queries and SQL of the application outdate what they write, in a transaction and outside."""
    for _ in range(2):
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 0
    if within:
        with transaction.atomic():
            WAYS[way](cities[0])
            assert City.objects.get_from_cache(pk=cities[0].pk).population == 5
    else:
        WAYS[way](cities[0])
    assert City.objects.get_from_cache(pk=cities[0].pk).population == 5


@pytest.mark.parametrize(
    ("sql", "held"),
    [
        ("SELECT * FROM geo_app_city", False),
        ("UPDATE geo_app_landmark SET name = 'x' WHERE id IN (SELECT id FROM geo_app_city)", False),
        ("DELETE FROM geo_app_person", False),
        ("CREATE TABLE a_copy AS SELECT * FROM geo_app_city", False),
        ("DELETE FROM geo_app_city WHERE id < 0", True),
        ("INSERT INTO geo_app_city (slug, name) SELECT slug, name FROM geo_app_city WHERE id < 0", True),
    ],
)
def test_only_sql_that_may_write_a_table_outdates_its_rows(
    sql: str, held: bool, cities: list[City], fake_server: FakeBackend
) -> None:
    """What merely reads it, or writes another, does not."""
    execute(sql, None)
    assert ("geo_app.City@default" in "".join(keys_held(fake_server))) is held


class TestRowsAreNamed:
    """Exactly the rows that a statement writes are outdated."""

    @pytest.mark.parametrize(
        ("queries", "write"),
        [
            (1, lambda city: City.objects.filter(pk=city.pk).update(population=5)),
            (1, lambda city: City.objects.filter(id__in=[city.pk], population=0).update(population=5)),
            (1, lambda city: City.objects.filter(Q(pk=city.pk) & ~Q(name="x")).update(population=5)),
            (2, lambda city: City.objects.filter(slug="oslo").update(population=5)),
            (2, lambda city: City.objects.filter(Q(pk=city.pk) | Q(slug="oslo")).update(population=5)),
            (2, lambda city: City.objects.exclude(pk__gt=city.pk).update(population=5)),
            (2, lambda city: City.objects.filter(pk__in=City.objects.filter(slug="oslo")).update(population=5)),
            (2, lambda city: City.objects.filter(pk=F("pk"), slug="oslo").update(population=5)),
            (2, lambda city: City.objects.filter(country__name="Norway", slug="oslo").update(population=5)),
            (2, lambda city: City.objects.filter(slug="oslo")._raw_delete("default")),
            (1, lambda city: City.objects.filter(pk=city.pk)._raw_delete("default")),
            (1, lambda city: city.save(force_update=True)),
        ],
    )
    def test_by_their_key_or_by_one_query(
        self, queries: int, write: Callable[[City], Any], cities: list[City], fake_server: FakeBackend
    ) -> None:
        """A WHERE that has the primary key tells it; otherwise one query does. Nobody else's row is touched."""
        with CaptureQueriesContext(connection) as sent:
            write(cities[0])
        assert len(sent) == queries, [one["sql"] for one in sent]
        assert keys_held(fake_server) == [key(cities[0])]

    def test_an_insert_with_a_new_key_asks_nothing(self, norway: Country, fake_server: FakeBackend) -> None:
        """A row that gets its key from the database is in no cache."""
        fake_server.log.clear()
        City.objects.create(slug="oslo", name="Oslo", country=norway)
        City.objects.bulk_create([City(slug="b", name="B", country=norway), City(slug="c", name="C", country=norway)])
        assert fake_server.log == []

    @pytest.mark.django_db(transaction=True)
    def test_a_save_costs_two_round_trips(self, cities: list[City], fake_server: FakeBackend) -> None:
        """Also one that finds no row to update and inserts one: both statements share a hold."""
        for city in (cities[0], City(pk=77, slug="moss", name="Moss", country=cities[0].country)):
            fake_server.log.clear()
            with CaptureQueriesContext(connection) as sent:
                city.save()
            assert [call.name for call in fake_server.log] == ["hold", "complete"]
            assert len(sent) == (2 if city.pk == 77 else 1)

    @pytest.mark.django_db(transaction=True)
    def test_an_update_of_a_thousand_rows(self, norway: Country, fake_server: FakeBackend) -> None:
        """One query more, and two round trips: all rows are held together."""
        City.objects.bulk_create(City(slug=f"c{n}", name=f"C{n}", country=norway) for n in range(1000))
        fake_server.log.clear()
        with CaptureQueriesContext(connection) as sent:
            assert City.objects.filter(slug__startswith="c").update(population=5) == 1000
        assert len(sent) == 2
        assert [(call.name, len(call.keys)) for call in fake_server.log] == [("hold", 1000), ("complete", 1000)]

    def test_a_cascade_names_every_row(self, cities: list[City], fake_server: FakeBackend) -> None:
        """CASCADE and SET_NULL, by Django's collector and by its fast path, touch the rows that they change."""
        ada = Person.objects.create(name="Ada", home=cities[0], work=cities[1])
        bob = Person.objects.create(name="Bob", home=cities[1])
        visitor, other = Visitor.objects.create(city=cities[0], guide=ada), Visitor.objects.create(guide=bob)
        fake_server.log.clear()
        wanted = sorted([key(cities[0]), key(ada), key(visitor)])
        cities[0].delete()
        assert sorted(set(keys_held(fake_server))) == wanted
        fake_server.log.clear()
        wanted = sorted([key(ada), key(visitor)])
        ada.delete()
        assert sorted(set(keys_held(fake_server))) == wanted
        assert Visitor.objects.get_from_cache(pk=other.pk).guide_id == bob.pk

    def test_a_related_manager_names_every_row(self, cities: list[City], fake_server: FakeBackend) -> None:
        """add() of the other side of a foreign key needs no base_manager_name."""
        visitors = [Visitor.objects.create() for _ in range(3)]
        fake_server.log.clear()
        cities[0].visitors.add(*visitors[:2])
        assert keys_held(fake_server) == [key(visitor) for visitor in visitors[:2]]

    def test_the_tables_of_parents(self, fake_server: FakeBackend) -> None:
        """A save of a child that changes only its own column leaves its parent's row alone."""
        grill = Restaurant.objects.create(name="Grill", stars=1)
        fake_server.log.clear()
        grill.save(update_fields=["stars"])
        assert keys_held(fake_server) == [f"geo_app.Restaurant@default:i{grill.pk}"]
        fake_server.log.clear()
        Restaurant.objects.filter(stars=1).update(name="Grill 2")
        assert sorted(keys_held(fake_server)) == [
            f"geo_app.Place@default:i{grill.pk}",
            f"geo_app.Restaurant@default:i{grill.pk}",
        ]

    def test_a_key_of_two_columns(self, fake_server: FakeBackend) -> None:
        """It is read from the WHERE too."""
        seat = Seat.objects.create(row="A", number=1, code="A1")
        for write in (
            lambda: Seat.objects.filter(pk=("A", 1)).update(taken=True),
            lambda: Seat.objects.filter(pk__in=[("A", 1)]).update(taken=True),
            lambda: Seat.objects.filter(code="A1").update(taken=True),
            seat.save,
        ):
            fake_server.log.clear()
            write()
            [held] = set(keys_held(fake_server))
            assert "#epoch" not in held
            assert Seat.objects.get_from_cache(pk=("A", 1)).code == "A1"

    def test_many_rows_of_one_transaction_are_outdated_by_one_key(self, fake_server: FakeBackend) -> None:
        """However many statements write them: bulk_threshold counts the rows of the transaction."""
        rows = [BulkCity.objects.create(slug=f"c{n}") for n in range(9)]
        for row in rows:
            BulkCity.objects.get_from_cache(pk=row.pk)
        fake_server.log.clear()
        with transaction.atomic():
            for row in rows:
                row.population = 1
                row.save()
        assert BulkCity.objects.get_from_cache(pk=rows[8].pk).population == 1
        assert len(keys_held(fake_server)) == 4
        assert all(BulkCity.objects.get_from_cache(pk=row.pk).population == 1 for row in rows)

    def test_a_statement_writes_what_it_has_outdated(self, cities: list[City], parallel: Parallel) -> None:
        """A row that matches only after the others were selected is not written."""
        queryset = City.objects.filter(population=0)
        query = queryset.query.chain(models.sql.UpdateQuery)
        query.add_update_values({"population": 5})
        City.objects.filter(pk=cities[2].pk).update(population=1)
        compiler = query.get_compiler("default")

        def late(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if sql.startswith("UPDATE"):
                with connection.connection.cursor() if connection.vendor != "sqlite" else closing(connection) as cursor:
                    cursor.execute(f"UPDATE geo_app_city SET population = 0 WHERE id = {cities[2].pk}")
            return execute(sql, params, many, context)

        with connection.execute_wrapper(late):
            compiler.execute_sql(models.sql.constants.ROW_COUNT)
        assert City.objects.get(pk=cities[2].pk).population == 0


@contextmanager
def closing(connection: Any) -> Iterator[Any]:
    """A cursor of SQLite's driver."""
    cursor = connection.connection.cursor()
    yield cursor
    cursor.close()


@pytest.mark.skipif(not hasattr(models, "DB_CASCADE"), reason="Django 6.1 lets the database cascade")
@pytest.mark.parametrize(
    "delete",
    [
        lambda box: box.delete(),
        lambda box: type(box).objects.filter(pk=box.pk).delete(),
        lambda box: execute("DELETE FROM geo_app_box WHERE id = %s", [box.pk]),
    ],
)
def test_a_cascade_of_the_database_outdates_what_may_follow(delete: Callable[[Any], Any]) -> None:
    """It says nothing, so all rows of the models that it may reach are outdated."""
    from tests.geo_app.models import Box, Item, Part  # type: ignore[attr-defined]

    boxes = [Box.objects.create() for _ in range(2)]
    items = [Item.objects.create(box=box) for box in boxes]
    parts = [Part.objects.create(item=items[0]), Part.objects.create(item=items[1], spare=items[0])]
    for row in (*items, *parts):
        type(row).objects.get_from_cache(pk=row.pk)
    delete(boxes[0])
    for model, gone in ((Item, items[0]), (Part, parts[0])):
        with pytest.raises(model.DoesNotExist):
            model.objects.get_from_cache(pk=gone.pk)
    assert Item.objects.get_from_cache(pk=items[1].pk) == items[1]
    assert Part.objects.get_from_cache(pk=parts[1].pk).spare_id is None


class TestNobodyCanHideAWrite:
    """What used to suppress invalidation."""

    def test_signals_that_are_muted(self, cities: list[City]) -> None:
        """As test factories do."""
        City.objects.get_from_cache(pk=cities[0].pk)
        kept = pre_save.receivers, post_save.receivers
        pre_save.receivers, post_save.receivers = [], []
        pre_save.sender_receivers_cache.clear()
        post_save.sender_receivers_cache.clear()
        try:
            cities[0].population = 5
            cities[0].save()
        finally:
            pre_save.receivers, post_save.receivers = kept
            pre_save.sender_receivers_cache.clear()
            post_save.sender_receivers_cache.clear()
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 5

    def test_the_models_of_migrations(self, cities: list[City]) -> None:
        """They write the tables of the application's models."""
        City.objects.get_from_cache(pk=cities[0].pk)
        old = ProjectState.from_apps(writes.apps).apps.get_model("geo_app", "City")
        assert old is not City
        old.objects.filter(slug="oslo").update(population=5)
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 5
        row = old.objects.get(pk=cities[0].pk)
        row.population = 6
        row.save()
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 6

    def test_a_receiver_that_raises_before_ours(self, cities: list[City]) -> None:
        """A foreign receiver of post_save raises when the row is written: nothing is left held."""
        state = state_of("default")

        def fail(**_: Any) -> None:
            raise RuntimeError("foreign")

        post_save.connect(fail, sender=City)
        try:
            with pytest.raises(RuntimeError, match="foreign"):
                cities[0].save()
        finally:
            post_save.disconnect(fail, sender=City)
        state.settle()
        [entry] = caches["default"].backend.get([City.objects._current().key((cities[0].pk,))])
        assert not isinstance(entry, Hold)

    def test_many_to_many_tables(self) -> None:
        """Their rows are written by nobody's manager, and cached rows of other tables stay."""
        user, group = User.objects.create(username="ada"), Group.objects.create(name="staff")
        country = Country.objects.create(code="NO", name="Norway")
        Country.objects.get_from_cache(pk=country.pk)
        user.groups.add(group)
        user.groups.clear()
        hits = caches["default"].statistics.hits
        Country.objects.get_from_cache(pk=country.pk)
        assert caches["default"].statistics.hits == hits + 1
        assert Permission.objects.filter(group=group).count() == 0


class Remembering:
    """A dependent that remembers what it was told, and outdates one key for each value of a column."""

    needs_old = False
    any_update = False

    def __init__(self, *columns: str) -> None:
        self.columns = columns
        self.told: list[Mapping[str, Any]] = []
        self.all_told = 0

    def touched(self, alias: str, values: Mapping[str, Any]) -> Touched:
        self.told.append(dict(values))
        cached = City.objects._current()
        return cached.cache, [f"list:{sorted(values.items())}"], cached.policy

    def all_touched(self, alias: str) -> Touched:
        self.all_told += 1
        cached = City.objects._current()
        return cached.cache, [cached.records.entity.epoch_key], cached.policy


@pytest.fixture
def dependent(monkeypatch: pytest.MonkeyPatch, cities: list[City]) -> Iterator[Remembering]:
    """A dependent of cities by country and population."""
    made = Remembering("country_id", "population")
    monkeypatch.setattr(dependents, "_dependents", {})
    depend(City, made)
    writes.connect(City)
    yield made
    monkeypatch.undo()
    writes.connect(City)


class TestDependents:
    """What is derived from rows is told their values."""

    def test_an_insert(self, dependent: Remembering, norway: Country) -> None:
        """Of its instances; one whose value only the database knows outdates all."""
        City.objects.create(slug="a", name="A", country=norway, population=3)
        City.objects.bulk_create([City(slug=one, name=one, country=norway, population=4) for one in "bc"])
        assert dependent.told == [{"country_id": norway.pk, "population": n} for n in (3, 4, 4)]
        assert dependent.all_told == 0
        City(slug="d", name="D", country=norway, population=models.Value(1) + 1).save()
        assert dependent.all_told == 1

    def test_a_save(self, dependent: Remembering, cities: list[City], django_assert_num_queries: Any) -> None:
        """It writes all columns, so that no query is needed."""
        cities[0].population = 5
        with django_assert_num_queries(1):
            cities[0].save()
        assert dependent.told == [{"country_id": cities[0].country_id, "population": 5}]

    def test_a_save_of_some_columns(
        self, dependent: Remembering, cities: list[City], django_assert_num_queries: Any
    ) -> None:
        """What it does not write is asked of the database; a column nobody asked for tells nothing."""
        City.objects.filter(pk=cities[0].pk).update(name="Christiania")
        assert dependent.told == []
        with django_assert_num_queries(2):
            City(pk=cities[0].pk, population=5).save(update_fields=["population"])
        assert dependent.told == [{"country_id": cities[0].country_id, "population": 5}]

    def test_an_update(self, dependent: Remembering, cities: list[City], django_assert_num_queries: Any) -> None:
        """Of each row: what it writes, and what was there besides."""
        sweden = Country.objects.create(code="SE", name="Sweden")
        with django_assert_num_queries(3):  # which rows, what they hold, and the statement
            City.objects.filter(slug__in=["oslo", "bergen"]).update(country=sweden)
        assert dependent.told == [{"country_id": sweden.pk, "population": 0}] * 2
        City.objects.update(population=F("population") + 1)
        assert dependent.all_told == 1
        City.objects.filter(slug="oslo").delete()
        assert len(dependent.told) == 2

    def test_those_that_need_what_was_there(self, dependent: Remembering, cities: list[City]) -> None:
        """A dependent that asks for old values is told of rows as they were and as they are."""
        dependent.needs_old = True
        country = cities[0].country_id
        cities[0].population = 5
        cities[0].save()
        assert dependent.told == [{"country_id": country, "population": n} for n in (0, 5)]
        dependent.told.clear()
        City.objects.filter(slug="oslo").update(name="Christiania")
        assert dependent.told == [{"country_id": country, "population": 5}] * 2
        dependent.told.clear()
        City.objects.get(slug="oslo").delete()
        assert dependent.told == [{"country_id": country, "population": 5}]

    def test_those_that_count_any_update(self, dependent: Remembering, cities: list[City]) -> None:
        """Because the manager hides rows by other columns than those asked for."""
        dependent.any_update = True
        City.objects.filter(slug="oslo").update(name="Christiania")
        assert dependent.told == [{"country_id": cities[0].country_id, "population": 0}]

    def test_too_many_rows(self, dependent: Remembering, cities: list[City], monkeypatch: pytest.MonkeyPatch) -> None:
        """They are not told one by one."""
        monkeypatch.setattr(writes.Table, "bulk_threshold", lambda self, alias: 2)
        City.objects.update(population=7)
        assert (dependent.told, dependent.all_told) == ([], 1)

    def test_all_keys_are_held_together(
        self, dependent: Remembering, cities: list[City], fake_server: FakeBackend
    ) -> None:
        """The row and what is derived of it are outdated by the same statement."""
        fake_server.log.clear()
        cities[0].save()
        held = keys_held(fake_server)
        assert key(cities[0]) in held
        assert any("population" in one for one in held)


@pytest.mark.django_db(transaction=True)
class TestFailures:
    """A statement in autocommit that fails."""

    def test_of_known_outcome(self, cities: list[City]) -> None:
        """A save that violates a constraint leaves nothing held."""
        City.objects.get_from_cache(pk=cities[0].pk)
        cities[0].slug = "bergen"
        with pytest.raises(IntegrityError):
            cities[0].save()
        assert standing(cities[0]) is None

    def test_of_unknown_outcome(self, cities: list[City]) -> None:
        """A save whose connection is lost keeps its hold: perhaps the row was written."""
        City.objects.get_from_cache(pk=cities[0].pk)

        def lost(execute: Any, sql: str, *rest: Any) -> Any:
            if sql.startswith("UPDATE"):
                raise OperationalError("gone")
            return execute(sql, *rest)

        with pytest.raises(OperationalError), connection.execute_wrapper(lost):
            cities[0].save()
        assert isinstance(standing(cities[0]), Hold)


def standing(city: City) -> Any:
    """What stands under the key of a city's row."""
    [entry] = caches["default"].backend.get([City.objects._current().key((city.pk,))])
    return entry


@pytest.mark.django_db(transaction=True)
class TestReadCommitted:
    """On PostgreSQL a transaction that has only read fills what it reads; anywhere else none does."""

    @pytest.fixture(autouse=True)
    def _postgresql(self, cities: list[City]) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("about PostgreSQL: CACHECORE_TEST_DATABASE=postgresql")

    def test_a_transaction_that_reads_fills(self, cities: list[City]) -> None:
        """Under ATOMIC_REQUESTS a view that only reads caches what it reads."""
        with transaction.atomic():
            City.objects.get_from_cache(pk=cities[0].pk)
            City.objects.get(pk=cities[1].pk)
            City.objects.get_from_cache(pk=cities[2].pk)
        assert isinstance(standing(cities[0]), Value)
        assert isinstance(standing(cities[2]), Value)

    @pytest.mark.parametrize(
        "write",
        [
            lambda: Note.objects.create(title="x"),
            lambda: execute("UPDATE geo_app_landmark SET name = 'x'", None),
            lambda: execute("SET LOCAL transaction_isolation = 'repeatable read'", None),
        ],
    )
    def test_one_that_has_written_anything_does_not(self, write: Callable[[], Any], cities: list[City]) -> None:
        """Its own writes, those of triggers included, are not committed."""
        with transaction.atomic():
            write()
            City.objects.get_from_cache(pk=cities[0].pk)
        assert standing(cities[0]) is None
        with transaction.atomic():
            City.objects.get_from_cache(pk=cities[0].pk)
        assert isinstance(standing(cities[0]), Value)

    @pytest.mark.parametrize("read", ["row", "lookup", "many", "list", "function"])
    def test_one_that_has_written_by_a_function_does_not(self, read: str, cities: list[City]) -> None:
        """A SELECT may call a function that writes: nobody sees that, and PostgreSQL knows it."""
        stop = Stop.objects.create(slug="a", line=Line.objects.create(name="x"))
        total = cached_function(DependsOn("geo_app.Line"), name=f"total-{read}")(lambda: Stop.objects.get().position)
        body = "UPDATE geo_app_stop SET position = 5"
        execute(f"CREATE OR REPLACE FUNCTION move_all() RETURNS void LANGUAGE sql AS $$ {body} $$", None)
        ways: dict[str, Callable[[], list[int]]] = {
            "row": lambda: [Stop.objects.get_from_cache(pk=stop.pk).position],
            "lookup": lambda: [Stop.objects.get_from_cache(slug="a").position],
            "many": lambda: [one.position for one in Stop.objects.get_many_from_cache(["a", "b"], key="slug")],
            "list": lambda: [one.position for one in Stop.objects.get_list_from_cache(line=stop.line_id)],
            "function": lambda: [total()],
        }
        with transaction.atomic():
            execute("SELECT move_all()", None)
            assert [ways[read](), ways[read]()] == [[5], [5]]
            transaction.set_rollback(True)
        assert ways[read]() == [0]

    def test_one_with_an_old_snapshot_does_not(self, cities: list[City]) -> None:
        """REPEATABLE READ as the default of the connection."""
        execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ", None)
        try:
            with transaction.atomic():
                City.objects.get_from_cache(pk=cities[0].pk)
            assert standing(cities[0]) is None
        finally:
            execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED", None)

    def test_a_slow_reader_in_a_transaction_does_not_store_an_old_row(
        self, cities: list[City], parallel: Parallel
    ) -> None:
        """Its statement began before the commit of a writer, who has removed its lease."""
        load = City.objects._current().load

        def slow(identities: Any) -> Any:
            rows = list(load(identities))
            parallel.run(lambda: City.objects.filter(pk=cities[0].pk).update(population=5))
            return rows

        cached = City.objects._current()
        cached.load = slow
        try:
            with transaction.atomic():
                City.objects.get_from_cache(pk=cities[0].pk)
        finally:
            del cached.load
        assert City.objects.get_from_cache(pk=cities[0].pk).population == 5


def test_a_model_without_cache_is_written_as_ever(django_assert_num_queries: Any) -> None:
    """No query and no call more."""
    with django_assert_num_queries(1):
        group = Group.objects.create(name="x")
    with django_assert_num_queries(1):
        Group.objects.filter(name="x").update(name="y")
    assert writes.table_of(Group) is None
    assert isinstance(Place.objects, CacheManager)
    assert group.pk
