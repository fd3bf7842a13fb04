"""Attempts to make the cache lie: what an adversary of the Django integration would try.

Each was once a stale read, a read of something that was never committed, or a hold left behind.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import Error, OperationalError, connection, models, transaction
from django.db.models import Sum
from django.test.utils import isolate_apps
from django.utils.safestring import mark_safe

from cachecore.entries import Hold
from cachecore.integrations.django import CacheManager, caches, declaration
from cachecore.integrations.django.depends_on import DependsOn
from cachecore.integrations.django.functions import cached_function
from cachecore.integrations.django.local import local_cache
from cachecore.integrations.django.writing import databases, dependents, writes
from cachecore.integrations.django.writing.databases import database_of
from cachecore.testing.fake import FakeBackend
from tests.conftest import ON_SQLITE, sqlite_only
from tests.geo_app.caching import Parallel
from tests.geo_app.models import City, Country, CountryOption, Line, Note, Stop

pytestmark = pytest.mark.django_db(transaction=True)

postgresql_only = pytest.mark.skipif(ON_SQLITE, reason="about PostgreSQL: CACHECORE_TEST_DATABASE=postgresql")


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch, fake_server: FakeBackend) -> Iterator[None]:
    """Functions and models that a test declares end with it."""
    monkeypatch.setattr(dependents, "_dependents", {model: [*some] for model, some in dependents._dependents.items()})
    monkeypatch.setattr(declaration, "_declarations", dict(declaration._declarations))
    monkeypatch.setattr(writes, "_tables", dict(writes._tables))
    yield
    monkeypatch.undo()
    writes.connect_all()
    connection.close()  # whatever was set on it


@pytest.fixture
def countries() -> list[Country]:
    """Two countries."""
    return [Country.objects.create(code=code, name=code) for code in ("NO", "SE")]


@pytest.fixture
def oslo(countries: list[Country]) -> City:
    """A city of one inhabitant, in the cache."""
    city = City.objects.create(slug="oslo", name="Oslo", country=countries[0], population=1)
    assert [City.objects.get_from_cache(pk=city.pk).population for _ in range(2)] == [1, 1]
    return city


def population(city: City) -> int:
    """As the cache has it, which must be as the database has it."""
    found = City.objects.get_from_cache(pk=city.pk).population
    assert found == City.objects.get(pk=city.pk).population
    return found


def fill(city: City) -> None:
    """Somebody else reads it, twice because the first may find an epoch missing."""
    for _ in range(2):
        City.objects.get_from_cache(pk=city.pk)


def total(country_id: Any) -> int:
    """The inhabitants of a country."""
    return City.objects.filter(country_id=country_id).aggregate(n=Sum("population"))["n"] or 0


def execute(sql: str, parameters: Any = None) -> None:
    """SQL of the application."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def standing(row: Any) -> Any:
    """What stands under the key of a row."""
    [entry] = caches["default"].backend.get([type(row).objects._current().key((row.pk,))])
    return entry


class Meta:
    """Of models that a test makes."""

    app_label = "geo_app"


@contextmanager
def made(*found: Any, again: Any = ()) -> Iterator[None]:
    """Models with their tables; ``again``: others that are to be looked at once more."""
    for model in found:
        writes._declare(model)
    for model in (*found, *again):
        writes.connect(model)
    managed = [model for model in found if model._meta.managed and not model._meta.proxy]
    with connection.schema_editor() as editor:
        for model in managed:
            editor.create_model(model)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            for model in reversed(managed):
                editor.delete_model(model)


class TestFunctions:
    """Results that a write must outdate, and results that must not be stored."""

    @pytest.mark.parametrize(
        "write",
        [
            lambda new: City.objects.create(slug="moss", name="Moss", country_id=str(new), population=7),
            lambda new: City.objects.filter(slug="oslo").update(country=str(new), population=8),
            lambda new: City.objects.filter(slug="oslo").update(country_id=mark_safe(str(new)), population=8),
        ],
    )
    def test_a_value_that_is_not_converted_yet(self, write: Any, oslo: City, countries: list[Country]) -> None:
        """A row is told by what its columns will hold, not by what an application has assigned to them."""
        function = cached_function(DependsOn(City, "country"), name="total")(total)
        both = [(country.pk,) for country in countries]
        assert function.many(both) == [1, 0]
        write(countries[1].pk)
        assert function.many(both) == [total(pk) for (pk,) in both] != [1, 0]

    def test_an_argument_that_is_not_converted(self, oslo: City) -> None:
        """A result is the same whether it is asked for by 1 or "1", and the same writes outdate it."""
        function = cached_function(DependsOn(City, "country"), name="total")(total)
        assert function(str(oslo.country_id)) == 1
        City.objects.filter(pk=oslo.pk).update(population=5)
        assert function(str(oslo.country_id)) == function(oslo.country_id) == 5

    def test_a_value_of_a_type_of_its_own(self) -> None:
        """A write is not refused because a column gets an instance of a subclass of str."""

        class Code(models.TextChoices):
            FINLAND = "FI"

        @cached_function(DependsOn(Country, "code"), name="named")
        def named(code: str) -> int:
            return Country.objects.filter(code=code).count()

        assert named("FI") == 0
        Country.objects.create(code=Code.FINLAND, name="Finland")
        assert named("FI") == 1

    def test_a_column_whose_values_are_equal_though_they_differ(self) -> None:
        """5 and 5.00 are one decimal: each write of such a column outdates all results."""
        with isolate_apps("tests.geo_app"):
            sale: Any = type(
                "Sale",
                (models.Model,),
                {"__module__": __name__, "Meta": Meta, "price": models.DecimalField(max_digits=5, decimal_places=2)},
            )

        @cached_function(DependsOn(sale, "price"), name="sold")
        def sold(price: Any) -> int:
            return sale._base_manager.filter(price=price).count()

        with made(sale):
            assert sold(5) == sold("5.00") == 0
            sale._base_manager.create(price="5.0")
            assert sold(5) == sold("5.00") == 1

    def test_a_result_that_was_computed_in_front_of_a_local_cache(self, oslo: City, parallel: Parallel) -> None:
        """What a block remembers is its own affair: a result made of it would be everybody's."""

        @cached_function(DependsOn(City, "id"), name="people")
        def people(pk: int) -> int:
            return City.objects.get_from_cache(pk=pk).population

        with local_cache():
            assert City.objects.get_from_cache(pk=oslo.pk).population == 1
            parallel.run(lambda: City.objects.filter(pk=oslo.pk).update(population=5))
            assert people(oslo.pk) == 5
            assert City.objects.get_from_cache(pk=oslo.pk).population == 1
        assert people(oslo.pk) == 5

    def test_a_function_that_writes(self) -> None:
        """What it has written itself is stored when it is committed, and it is called once for one result."""

        @cached_function(DependsOn(City, "id"), name="writing")
        def writing(pk: int) -> int:
            Line.objects.create(name="x")
            return Line.objects.count()

        with transaction.atomic():
            assert writing(1) == 1
            transaction.set_rollback(True)
        assert writing(1) == 1

    @pytest.mark.parametrize("delete", ["instance", "queryset", "SQL"])
    def test_rows_that_the_database_deletes_itself(self, delete: str) -> None:
        """They are in the result until their parent goes, of which nobody is told more."""
        with isolate_apps("tests.geo_app"):
            owners: Any = type("Owner", (models.Model,), {"__module__": __name__, "Meta": Meta})
            columns = {
                "owner": models.ForeignKey(owners, models.DO_NOTHING, db_constraint=False),
                "kind": models.IntegerField(default=1),
            }
            things_there: Any = type("Thing", (models.Model,), {"__module__": __name__, "Meta": Meta, **columns})

        @cached_function(DependsOn(things_there, "kind"), name="things")
        def things(kind: int) -> int:
            return things_there._base_manager.filter(kind=kind).count()

        with made(things_there, owners):
            if connection.vendor == "postgresql":
                execute(
                    "ALTER TABLE geo_app_thing ADD FOREIGN KEY (owner_id) REFERENCES geo_app_owner ON DELETE CASCADE"
                )
            else:
                execute(
                    "CREATE TRIGGER cascade AFTER DELETE ON geo_app_owner BEGIN "
                    "DELETE FROM geo_app_thing WHERE owner_id = old.id; END"
                )
            owner = owners._base_manager.create()
            things_there._base_manager.create(owner=owner)
            assert [things(1), things(1)] == [1, 1]
            match delete:
                case "instance":
                    owner.delete()
                case "queryset":
                    owners._base_manager.all().delete()
                case _:
                    execute("DELETE FROM geo_app_owner")
            assert things(1) == 0

    def test_the_scope_of_a_mapping_that_is_not_converted(self, countries: list[Country]) -> None:
        """The same for options, which are a function of their scope."""
        norway, sweden = countries
        assert CountryOption.objects.get_value(norway, "a") is None
        CountryOption.objects.create(country_id=str(norway.pk), key="a", value=1)
        assert CountryOption.objects.get_value(norway, "a") == 1
        assert CountryOption.objects.get_value(sweden, "a") is None
        CountryOption.objects.filter(key="a").update(country_id=str(sweden.pk))
        assert CountryOption.objects.get_value(norway, "a") is None
        assert CountryOption.objects.get_value(sweden, "a") == 1


ODD = [
    "SELECT 1; UPDATE {city} SET population = 5",
    "SET search_path TO public; UPDATE {city} SET population = 5",
    "BEGIN; UPDATE {city} SET population = 5; COMMIT",
    ";UPDATE {city} SET population = 5",
    "/* UPDATE geo_app_landmark */ UPDATE {city} SET population = 5",
    "-- DELETE FROM geo_app_landmark\nUPDATE {city} SET population = 5",
    "/* /* nested */ SELECT */ UPDATE {city} SET population = 5",
    "UPDATE /* hint */ {city} SET population = 5",
    "UPDATE ONLY {city} SET population = 5",
    "UPDATE ONLY({city}) SET population = 5",
    'UPDATE ONLY"geo_app_city" SET population = 5',
    'UPDATE"geo_app_city" SET population = 5',
    'update public . "geo_app_city" as c set population = 5',
    "UPDATE GEO_APP_CITY SET population = 5",
    "INSERT /* x */ INTO {city} SELECT * FROM {city} ON CONFLICT (id) DO UPDATE SET population = 5",
    "WITH x AS (UPDATE {city} SET population = 5 RETURNING id) SELECT * FROM x",
    "WITH x AS (SELECT 1) UPDATE {city} SET population = 5",
    "EXPLAIN ANALYZE UPDATE {city} SET population = 5",
    "DO $$ BEGIN UPDATE {city} SET population = 5; END $$",
    "MERGE INTO {city} c USING (SELECT 1) x ON true WHEN MATCHED THEN UPDATE SET population = 5",
    "MERGE INTO ONLY {city} c USING (SELECT 1) x ON true WHEN MATCHED THEN UPDATE SET population = 5",
    "PREPARE p AS UPDATE {city} SET population = 5; EXECUTE p; DEALLOCATE p",
]


class TestSql:
    """Statements of the application."""

    @postgresql_only
    @pytest.mark.parametrize("sql", ODD)
    def test_however_it_is_spelled(self, sql: str, oslo: City) -> None:
        """A write is a write behind comments, in a statement of several and with an odd name."""
        execute(sql.format(city="geo_app_city"))
        assert population(oslo) == 5

    @postgresql_only
    @pytest.mark.parametrize("sql", ["TRUNCATE geo_app_country CASCADE", "TRUNCATE geo_app_city CASCADE"])
    def test_truncate_goes_on_to_others(self, sql: str, oslo: City) -> None:
        """Tables that are not named lose their rows too."""
        execute(sql)
        with pytest.raises(City.DoesNotExist):
            City.objects.get_from_cache(pk=oslo.pk)

    @pytest.mark.parametrize(
        "sql",
        [
            "WITH x AS (SELECT * FROM geo_app_city) SELECT * FROM x",
            "SELECT ';', id FROM geo_app_city",
            "SELECT id FROM geo_app_city;",
            "UPDATE geo_app_landmark SET name = (SELECT max(name) FROM geo_app_city)",
        ],
    )
    def test_what_writes_nothing_outdates_nothing(self, sql: str, oslo: City, fake_server: FakeBackend) -> None:
        """Nor does what writes another table."""
        fake_server.log.clear()
        execute(sql)
        assert fake_server.log == []

    @pytest.mark.parametrize("end", ["COMMIT", "END"])
    def test_a_transaction_that_sql_begins(self, end: str, oslo: City, parallel: Parallel) -> None:
        """Its rows are outdated when it is committed, and until then it sees its own."""
        execute("BEGIN")
        execute("UPDATE geo_app_city SET population = 5")
        City.objects.filter(pk=oslo.pk).update(name="Christiania")
        parallel.run(lambda: fill(oslo))
        assert population(oslo) == 5
        execute(end)
        assert population(oslo) == 5
        City.objects.filter(pk=oslo.pk).update(population=6)
        assert population(oslo) == 6

    def test_a_transaction_that_sql_begins_and_rolls_back(self, oslo: City, parallel: Parallel) -> None:
        """Nothing of it is ever stored, and nothing stays held."""
        execute("BEGIN")
        execute("UPDATE geo_app_city SET population = 5")
        assert population(oslo) == 5
        execute("ROLLBACK")
        assert population(oslo) == 1
        fill(oslo)
        assert standing(oslo) is not None
        assert not isinstance(standing(oslo), Hold)

    @sqlite_only
    def test_a_savepoint_that_begins_a_transaction(self, oslo: City, parallel: Parallel) -> None:
        """As it does on SQLite, where its release commits."""
        execute("SAVEPOINT a")
        City.objects.filter(pk=oslo.pk).update(population=5)
        parallel.run(lambda: fill(oslo))
        execute("RELEASE a")
        assert population(oslo) == 5

    @postgresql_only
    def test_an_old_snapshot_that_sql_begins(self, oslo: City, parallel: Parallel) -> None:
        """What is seen of the past is not stored."""
        execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        execute("SELECT 1")
        parallel.run(lambda: City.objects.filter(pk=oslo.pk).update(population=5))
        assert City.objects.get_from_cache(pk=oslo.pk).population == 1
        execute("COMMIT")
        assert population(oslo) == 5

    @postgresql_only
    @pytest.mark.parametrize("how", ["the driver", "a function"])
    def test_an_isolation_level_that_is_set_past_django(self, how: str, oslo: City, parallel: Parallel) -> None:
        """After the connection was found to be READ COMMITTED."""
        psycopg = pytest.importorskip("psycopg")
        City.objects.uncache_object(oslo.pk)
        with transaction.atomic():
            City.objects.get_from_cache(slug="oslo")
        City.objects.uncache_object(oslo.pk)
        if how == "the driver":
            connection.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        else:
            execute("SELECT set_config('default_transaction_isolation', 'repeatable read', false)")
        with transaction.atomic():
            Country.objects.count()
            parallel.run(lambda: City.objects.filter(pk=oslo.pk).update(population=5))
            City.objects.get_from_cache(pk=oslo.pk)
        assert population(oslo) == 5

    @postgresql_only
    def test_a_pipeline(self, oslo: City, parallel: Parallel) -> None:
        """What it sends is committed when it ends."""
        with connection.connection.pipeline():
            execute("UPDATE geo_app_city SET population = 5")
            parallel.run(lambda: fill(oslo))
        assert population(oslo) == 5

    def test_rows_that_a_write_returns(self, oslo: City, parallel: Parallel) -> None:
        """On SQLite it is committed when they have been fetched."""
        City.objects.create(slug="moss", name="Moss", country=oslo.country)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE geo_app_city SET population = 5 RETURNING id")
            cursor.fetchone()
            parallel.run(lambda: fill(oslo))
            cursor.fetchall()
        assert population(oslo) == 5

    def test_a_statement_in_the_middle_of_another(self, oslo: City) -> None:
        """A wrapper of the application keeps an account in a cached table."""

        def account(send: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if sql.startswith("INSERT"):
                execute("UPDATE geo_app_city SET population = population + 1")
            return send(sql, params, many, context)

        with connection.execute_wrapper(account):
            Line.objects.create(name="x")
        assert population(oslo) == 2

    @postgresql_only
    def test_a_procedure_in_a_transaction(self, oslo: City) -> None:
        """Nobody sees what it writes, and what it wrote is not stored before it is committed."""
        body = "UPDATE geo_app_city SET population = 5"
        execute(f"CREATE OR REPLACE FUNCTION more() RETURNS void LANGUAGE sql AS $$ {body} $$")
        City.objects.uncache_object(oslo.pk)
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.callproc("more")
            assert City.objects.get_from_cache(pk=oslo.pk).population == 5
            transaction.set_rollback(True)
        assert population(oslo) == 1

    @postgresql_only
    def test_a_transaction_in_which_a_statement_has_failed(self, oslo: City) -> None:
        """A hit is still a hit, and no error of the driver itself is raised."""
        with transaction.atomic():
            with pytest.raises(Error):
                execute("SELECT 1 / 0")
            assert City.objects.get_from_cache(pk=oslo.pk).population == 1
            transaction.set_rollback(True)

    def test_without_autocommit(self, oslo: City, parallel: Parallel) -> None:
        """Transactions that Django begins by itself."""
        transaction.set_autocommit(False)
        try:
            City.objects.filter(slug="oslo").update(population=5)
            if connection.vendor == "postgresql":
                parallel.run(lambda: fill(oslo))
            assert population(oslo) == 5
            transaction.rollback()
            assert population(oslo) == 1
            oslo.population = 6
            oslo.save()
            transaction.commit()
            assert population(oslo) == 6
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)
        assert population(oslo) == 6


class TestModels:
    """Rows that are written by another model than the cached one, or named by another key than the cached one."""

    def test_a_row_that_becomes_one_of_a_child(self) -> None:
        """The parent's columns of an instance without them are not what the table holds."""
        with isolate_apps("tests.geo_app"):
            manager: Any = CacheManager(cache_fields=["pk"], cache_lists=["town"])
            spots: Any = type(
                "Spot",
                (models.Model,),
                {"__module__": __name__, "Meta": Meta, "town": models.CharField(max_length=20)},
            )
            bars: Any = type("Bar", (spots,), {"__module__": __name__, "Meta": Meta, "objects": manager})
        with made(spots, bars):
            spot = spots._base_manager.create(town="Oslo")
            assert bars.objects.get_list_from_cache(town="Oslo") == []
            bars(spot_ptr_id=spot.pk).save_base(raw=True)
            assert [bar.pk for bar in bars.objects.get_list_from_cache(town="Oslo")] == [spot.pk]

    @staticmethod
    def twin(**columns: Any) -> Any:
        """An unmanaged model of the table of stops."""
        options = {"app_label": "geo_app", "managed": False, "db_table": "geo_app_stop"}
        with isolate_apps("tests.geo_app"):
            return type("Twin", (models.Model,), {"__module__": __name__, "Meta": type("Meta", (), options), **columns})

    def test_what_is_derived_from_a_twin(self) -> None:
        """A list of an unmanaged model, of a table that another model writes."""
        twin = self.twin(
            title=models.CharField(max_length=20, db_column="slug"),
            objects=CacheManager(cache_fields=["pk"], cache_lists=["title"]),
        )
        with made(twin, again=[Stop]):
            assert twin.objects.get_list_from_cache(title="x") == []
            stop = Stop.objects.create(slug="x")
            assert len(twin.objects.get_list_from_cache(title="x")) == 1
            Stop.objects.filter(pk=stop.pk).update(slug="y")
            assert twin.objects.get_list_from_cache(title="x") == []
            assert len(twin.objects.get_list_from_cache(title="y")) == 1

    def test_what_a_twin_writes(self) -> None:
        """A model that calls columns otherwise, as one of an old migration does."""
        twin = self.twin(
            number=models.BigAutoField(primary_key=True, db_column="id"),
            way=models.BigIntegerField(db_column="line_id", null=True),
            sort=models.CharField(max_length=10, db_column="kind"),
        )
        red, blue = [Line.objects.create(name=name) for name in ("red", "blue")]
        stop = Stop.objects.create(slug="a", line=red)

        def stops(line: Line) -> list[int]:
            return [one.pk for one in Stop.objects.get_list_from_cache(line=line)]

        with made(twin):
            assert (stops(red), stops(blue)) == ([stop.pk], [])
            twin._base_manager.filter(pk=stop.pk).update(way=blue.pk)
            assert (stops(red), stops(blue)) == ([], [stop.pk])
            twin._base_manager.filter(sort="tram").update(way=red.pk)
            assert (stops(red), stops(blue)) == ([stop.pk], [])
            twin._base_manager.filter(sort="tram").delete()
            assert (stops(red), stops(blue)) == ([], [])

    @pytest.mark.parametrize("how", ["update", "save", "delete"])
    def test_a_key_that_the_database_compares_otherwise(self, how: str) -> None:
        """A statement that names the row in other letters writes it."""
        if connection.vendor == "postgresql":
            execute(
                "CREATE COLLATION IF NOT EXISTS nocase "
                "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
            )
        columns = {
            "code": models.CharField(max_length=20, primary_key=True, db_collation="nocase"),
            "n": models.IntegerField(default=0),
            "objects": CacheManager(cache_fields=["pk"]),
        }
        with isolate_apps("tests.geo_app"):
            codes: Any = type("Code", (models.Model,), {"__module__": __name__, "Meta": Meta, **columns})
        with made(codes):
            codes.objects.create(code="oslo", n=1)
            assert [codes.objects.get_from_cache(pk="oslo").n for _ in range(2)] == [1, 1]
            match how:
                case "update":
                    codes.objects.filter(pk="OSLO").update(n=5)
                case "save":
                    codes(code="Oslo", n=5).save()
                case _:
                    codes.objects.filter(pk="OSLO").delete()
            left = [one.n for one in codes.objects.get_many_from_cache(["oslo"])]
            assert left == [*codes.objects.values_list("n", flat=True)] == ([] if how == "delete" else [5])

    def test_a_proxy_that_shows_what_its_model_hides(self) -> None:
        """A row that one manager shows and the other hides."""
        manager: Any = CacheManager(cache_fields=["title"])
        options = type("Meta", (), {"app_label": "geo_app", "proxy": True})
        with isolate_apps("tests.geo_app"):
            all_notes: Any = type("AllNotes", (Note,), {"__module__": __name__, "Meta": options, "objects": manager})
        with made(all_notes):
            note = Note.everything.create(title="a", hidden=True)
            assert [all_notes.objects.get_from_cache(pk=note.pk).hidden for _ in range(2)] == [True, True]
            with pytest.raises(Note.DoesNotExist):
                Note.objects.get_from_cache(pk=note.pk)

    def test_two_names_of_one_database(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A database is the same by another path, and one called "memory" is in no memory."""
        (tmp_path / "link").symlink_to(tmp_path)
        host = {"HOST": "", "PORT": ""}
        sqlite, postgresql = "django.db.backends.sqlite3", "django.db.backends.postgresql"
        settings = {
            "a": {"ENGINE": sqlite, "NAME": str(tmp_path / "memory.db"), **host},
            "b": {"ENGINE": sqlite, "NAME": tmp_path / "link" / "memory.db", **host},
            "c": {"ENGINE": postgresql, "NAME": "memory", **host},
            "d": {"ENGINE": postgresql, "NAME": "memory", **host},
            "e": {"ENGINE": sqlite, "NAME": ":memory:", **host},
            "f": {"ENGINE": sqlite, "NAME": ":memory:", **host},
        }
        monkeypatch.setattr(databases, "connections", SimpleNamespace(settings=settings))
        assert [database_of(alias) for alias in "abcdef"] == ["a", "a", "c", "c", "e", "f"]


class Interrupted(Exception):
    """What a task's time limit raises, wherever the task is."""


class TestFailures:
    """Statements whose end is known leave no hold, all others do."""

    @postgresql_only
    @pytest.mark.parametrize("setting", ["lock_timeout", "statement_timeout"])
    @pytest.mark.parametrize("within", [False, True])
    def test_a_statement_that_waits_too_long(self, setting: str, within: bool, oslo: City, parallel: Parallel) -> None:
        """PostgreSQL has said that nothing came of it."""
        ready, done = threading.Event(), threading.Event()

        def lock() -> None:
            with transaction.atomic():
                execute("SELECT * FROM geo_app_city FOR UPDATE")
                ready.set()
                assert done.wait(30)

        parallel.start(lock)
        assert ready.wait(30)
        execute(f"SET {setting} = '50ms'")
        with pytest.raises(OperationalError), transaction.atomic() if within else nullcontext():
            City.objects.filter(pk=oslo.pk).update(population=4)
        done.set()
        parallel.join()
        assert not isinstance(standing(oslo), Hold)

    @sqlite_only
    def test_a_database_that_is_locked(self, oslo: City, parallel: Parallel) -> None:
        """SQLite has said so."""
        ready, done = threading.Event(), threading.Event()

        def lock() -> None:
            with transaction.atomic():
                execute("UPDATE geo_app_country SET name = 'x'")
                ready.set()
                assert done.wait(30)

        parallel.start(lock)
        assert ready.wait(30)
        execute("PRAGMA busy_timeout = 10")
        with pytest.raises(OperationalError):
            City.objects.filter(pk=oslo.pk).update(population=4)
        done.set()
        parallel.join()
        assert not isinstance(standing(oslo), Hold)

    @postgresql_only
    def test_a_commit_that_cannot_be_serialized(self, oslo: City, parallel: Parallel) -> None:
        """It is certainly not committed."""
        serializable = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"

        def other() -> None:
            with transaction.atomic():
                execute(serializable)
                Country.objects.create(code="XX", name=str(sum(city.population for city in City.objects.all())))

        def this() -> None:
            with transaction.atomic():
                execute(serializable)
                City.objects.filter(pk=oslo.pk).update(population=Country.objects.count())
                parallel.run(other)

        with pytest.raises(OperationalError):
            this()
        assert not isinstance(standing(oslo), Hold)

    @postgresql_only
    def test_a_commit_that_a_trigger_refuses(self, oslo: City) -> None:
        """Neither is this."""
        execute(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no'; END $$"
        )
        execute(
            "CREATE CONSTRAINT TRIGGER refusing AFTER UPDATE ON geo_app_city DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        try:
            with pytest.raises(Error), transaction.atomic():
                City.objects.filter(pk=oslo.pk).update(population=4)
        finally:
            execute("DROP TRIGGER refusing ON geo_app_city")
        assert not isinstance(standing(oslo), Hold)

    @pytest.mark.parametrize("was_sent", [False, True])
    def test_a_statement_that_is_interrupted(self, was_sent: bool, oslo: City) -> None:
        """Whoever no longer waits for the answer does not know when it ends."""

        def interrupt(send: Any, sql: str, *rest: Any) -> Any:
            if sql.startswith("UPDATE"):
                if was_sent:
                    send(sql, *rest)
                raise Interrupted
            return send(sql, *rest)

        with pytest.raises(Interrupted), connection.execute_wrapper(interrupt):
            City.objects.filter(pk=oslo.pk).update(population=4)
        assert isinstance(standing(oslo), Hold)

    def test_an_error_before_anything_is_sent(self, oslo: City) -> None:
        """A value that no column can hold is nobody's secret."""
        with pytest.raises(ValueError, match="expected a number"):
            City.objects.filter(pk=oslo.pk).update(population="many")
        assert not isinstance(standing(oslo), Hold)


def test_what_a_save_costs(oslo: City, fake_server: FakeBackend, django_assert_num_queries: Any) -> None:
    """One statement and two round trips, with lists too."""
    stop = Stop.objects.create(slug="x")
    for row in (oslo, stop):
        fake_server.log.clear()
        with django_assert_num_queries(1):
            row.save()
        assert [call.name for call in fake_server.log] == ["hold", "complete"]
