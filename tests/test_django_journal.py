"""The journal of Django: what writes note while the cache is away, on SQLite and PostgreSQL, and who replays it."""
# ruff: noqa: PT012 - here it is the end of a block that raises, so blocks stand inside pytest.raises.

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, ManagementUtility, call_command
from django.db import DatabaseError, IntegrityError, OperationalError, connection, connections, models, transaction
from django.db.models.functions import Now
from django.db.models.signals import pre_save
from django.test.utils import isolate_apps

from cachecore.cache import Cache
from cachecore.errors import BackendUnavailable
from cachecore.integrations.django import CacheManager, CommitRefused, caches, journal
from cachecore.integrations.django.checks import check_journal, check_models
from cachecore.integrations.django.journal import notes
from cachecore.integrations.django.journal.replays import PAUSE, Replays, replays
from cachecore.integrations.django.models import Journal
from cachecore.integrations.django.writing.connection import state_of
from cachecore.testing.clock import ManualClock
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import FAKE, MEMORY, Parallel
from tests.geo_app.caching import server as server_now
from tests.geo_app.models import BoundedCity, City, Country

pytestmark = pytest.mark.django_db(transaction=True)


def cache_is(**options: Any) -> dict[str, Any]:
    """CACHECORE with one fake server."""
    return {"default": {**FAKE["default"], **options}}


@pytest.fixture
def server(transactional_db: None, settings: Any) -> FakeBackend:
    """The server of the default cache, whose notes nobody replays unasked."""
    settings.CACHECORE = FAKE
    return server_now()


@pytest.fixture(scope="module")
def postgres(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> dict[str, Any]:
    """The settings of a PostgreSQL database with all tables."""
    found = request.getfixturevalue("postgres_server")
    settings: dict[str, Any] = {
        **connections.databases["default"],
        "ENGINE": "django.db.backends.postgresql",
        "HOST": found.host,
        "PORT": str(found.port),
        "NAME": "postgres",
        "USER": "postgres",
        "OPTIONS": {},
    }
    with django_db_blocker.unblock(), default_is(settings):
        call_command("migrate", run_syncdb=True, verbosity=0)
    return settings


@contextmanager
def default_is(settings: dict[str, Any]) -> Iterator[None]:
    """The alias "default" is another database."""
    before, connection = connections.databases["default"], connections["default"]
    connections.databases["default"] = settings
    del connections["default"]
    try:
        yield
    finally:
        connections["default"].close()
        connections.databases["default"] = before
        connections["default"] = connection


@pytest.fixture(params=["sqlite", "postgresql"])
def using(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[str]:
    """The test runs on SQLite and on PostgreSQL; the alias of the database."""
    if request.param == "sqlite":
        yield "default"
        return
    pytest.importorskip("psycopg")
    with default_is(request.getfixturevalue("postgres")):
        yield "default"
        tables = ", ".join(model._meta.db_table for model in (Country, BoundedCity, Journal))
        with connections["default"].cursor() as cursor:
            cursor.execute(f"TRUNCATE {tables} CASCADE")


@pytest.fixture
def oslo(using: str, server: FakeBackend) -> City:
    """A city, committed and in the cache."""
    norway = Country.objects.using(using).create(code="NO", name="Norway")
    city = City.objects.using(using).create(slug="oslo", name="Oslo", country=norway)
    assert cached(city) == 0
    return city


def cached(city: Any) -> int:
    """What the cache says."""
    return type(city).objects.db_manager(city._state.db).get_from_cache(pk=city.pk).population


def grow(city: Any, to: int) -> None:
    """Write the row by one statement."""
    type(city).objects.using(city._state.db).filter(pk=city.pk).update(population=to)


def population(city: Any) -> int:
    """What the database says."""
    return type(city).objects.using(city._state.db).get(pk=city.pk).population


def noted(using: str) -> list[tuple[list[str], bool]]:
    """The notes that are committed or one's own: keys, and whether they are kept."""
    rows = Journal.objects.using(using).order_by("pk").values_list("entries", "keep_until")
    return [(entries.split("\n"), keep_until is not None) for entries, keep_until in rows]


def key_of(city: City) -> str:
    """The key of its row."""
    return City.objects.db_manager(city._state.db)._current().key((city.pk,))


def goes_away(server: FakeBackend) -> None:
    """Nobody reaches the server from now on."""
    server.fail(times=1000)


def replay() -> int:
    """Replay the journal of the database."""
    return journal.replay(using="default")


class Abort(Exception):
    """Ends a block by an error."""


class Wrapper:
    """Does something around the statements that begin with a word, each time or once."""

    def __init__(self, word: str, before: Callable[[], object], *, once: bool = True) -> None:
        self._word, self._before, self._once, self.count = word, before, once, 0

    def __call__(self, execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith(self._word) and not (self._once and self.count):
            self.count += 1
            self._before()
        return execute(sql, *args)


def fail() -> None:
    """What a broken connection does."""
    raise OperationalError("the server closed the connection unexpectedly")


# -- transactions ----------------------------------------------------------------------------------


class TestTransactions:
    """Notes are a part of the transaction."""

    def test_a_commit_leaves_its_keys(self, using: str, oslo: City, server: FakeBackend) -> None:
        """The block commits, its keys are noted, and the replay outdates them and deletes the note."""
        goes_away(server)
        with transaction.atomic(using):
            grow(oslo, 5)
            assert noted(using) == []
        assert population(oslo) == 5
        assert noted(using) == [([key_of(oslo)], False)]
        server.recover()
        assert cached(oslo) == 0, "nothing was stale, so this proves nothing"
        assert replay() == 1
        assert noted(using) == []
        assert cached(oslo) == cached(oslo) == 5

    def test_the_default_is_the_journal(self, using: str, oslo: City, server: FakeBackend) -> None:
        """Nothing has to be said where the table exists."""
        assert caches["default"].policy.unreachable is None
        goes_away(server)
        with transaction.atomic(using):
            grow(oslo, 5)
        assert caches["default"].statistics.journaled == 1

    def test_a_rollback_leaves_no_note(self, using: str, oslo: City, server: FakeBackend) -> None:
        """Neither that of a block that raises, nor one that was written before COMMIT failed."""
        goes_away(server)
        with pytest.raises(Abort), transaction.atomic(using):
            grow(oslo, 5)
            raise Abort
        with pytest.raises(IntegrityError), transaction.atomic(using):
            City.objects.using(using).filter(pk=oslo.pk).update(country_id=999)
        assert caches["default"].statistics.journaled == 1, "the second was to have been noted"
        assert noted(using) == []
        server.recover()
        assert cached(oslo) == 0

    def test_autocommit_off(self, oslo: City, using: str, server: FakeBackend) -> None:
        """commit() notes in the transaction that it ends, and rollback() takes no note with it."""
        goes_away(server)
        transaction.set_autocommit(False, using)
        try:
            grow(oslo, 5)
            transaction.commit(using)
            grow(oslo, 6)
            transaction.rollback(using)
        finally:
            transaction.set_autocommit(True, using)
        assert noted(using) == [([key_of(oslo)], False)]
        assert population(oslo) == 5

    def test_a_delete_in_autocommit(self, using: str, oslo: City, server: FakeBackend) -> None:
        """Django deletes in a transaction, and so the note is a part of it."""
        goes_away(server)
        oslo.delete(using=using)
        [(keys, kept)] = noted(using)
        assert not kept
        server.recover()
        replay()
        assert keys
        with pytest.raises(City.DoesNotExist):
            City.objects.db_manager(using).get_from_cache(slug="oslo")

    def test_a_note_that_cannot_be_written_stops_the_commit(self, using: str, oslo: City, server: FakeBackend) -> None:
        """Its DatabaseError rolls the block back."""
        goes_away(server)
        insert = Wrapper('INSERT INTO "cachecore_journal"', fail)
        with pytest.raises(OperationalError), connections[using].execute_wrapper(insert), transaction.atomic(using):
            grow(oslo, 5)
        assert insert.count == 1
        assert population(oslo) == 0
        assert noted(using) == []
        assert connections[using].get_autocommit()
        assert not connections[using].in_atomic_block

    def test_a_cache_that_is_back_for_complete(self, using: str, oslo: City, server: FakeBackend) -> None:
        """The row is right at once; the note waits for its replay, which is harmless."""
        server.fail("hold")
        with transaction.atomic(using):
            grow(oslo, 5)
        assert cached(oslo) == 5
        assert len(noted(using)) == 1
        assert replay() == 1
        assert cached(oslo) == 5

    def test_many_keys_are_several_notes(
        self, using: str, oslo: City, server: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No note has more than a few hundred keys, and together they have all."""
        monkeypatch.setattr(notes, "KEYS_A_NOTE", 2)
        country = oslo.country_id
        made = [City.objects.using(using).create(slug=f"c{n}", name=f"C{n}", country_id=country) for n in range(5)]
        goes_away(server)
        with transaction.atomic(using):
            for city in made:
                grow(city, 5)
        assert [len(keys) for keys, _ in noted(using)] == [2, 2, 1]
        assert {key for keys, _ in noted(using) for key in keys} == set(map(key_of, made))
        server.recover()
        assert replay() == 3
        assert [cached(city) for city in made] == [5] * 5

    def test_a_commit_of_unknown_outcome(
        self, using: str, oslo: City, server: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """COMMIT was carried out and its answer got lost: the note is there, as the write is."""
        goes_away(server)
        commit = connections[using]._commit

        def commit_and_lose_connection() -> None:
            commit()
            fail()

        monkeypatch.setattr(connections[using], "_commit", commit_and_lose_connection)
        with pytest.raises(OperationalError), transaction.atomic(using):
            grow(oslo, 5)
        monkeypatch.undo()
        server.recover()
        assert replay() == 1
        assert cached(oslo) == 5


# -- autocommit ------------------------------------------------------------------------------------


class Killed(BaseException):
    """In place of a process that ends: nobody does anything afterwards."""


def save(city: City) -> None:
    """By signals."""
    city.population = 5
    city.save()


def update(city: City) -> None:
    """By the query set."""
    grow(city, 5)


class TestAutocommit:
    """Notes are committed before the statement, and kept until it has ended."""

    @pytest.mark.parametrize("write", [save, update])
    def test_a_statement_leaves_its_keys(
        self, using: str, oslo: City, server: FakeBackend, write: Callable[[City], None]
    ) -> None:
        """The note stands before the statement is sent; when it has ended the note is settled, and replayed."""
        seen: list[Any] = []
        goes_away(server)
        with connections[using].execute_wrapper(Wrapper('UPDATE "geo_app_city"', lambda: seen.append(noted(using)))):
            write(oslo)
        assert seen == [[([key_of(oslo)], True)]]
        assert noted(using) == [([key_of(oslo)], False)]
        server.recover()
        assert cached(oslo) == 0, "nothing was stale, so this proves nothing"
        assert replay() == 1
        assert cached(oslo) == population(oslo) == 5

    @pytest.mark.parametrize("write", [save, update])
    def test_a_replay_during_the_statement_leaves_the_note(
        self, using: str, oslo: City, server: FakeBackend, parallel: Parallel, write: Callable[[City], None]
    ) -> None:
        """It comes too early: a reader fills the old row again, which the next replay outdates."""

        def replay_and_read() -> None:
            server.recover()
            assert parallel.run(replay) == 0
            assert parallel.run(cached, oslo) == 0
            goes_away(server)

        goes_away(server)
        with connections[using].execute_wrapper(Wrapper('UPDATE "geo_app_city"', replay_and_read)):
            write(oslo)
        server.recover()
        assert cached(oslo) == 0, "nothing was stale, so this proves nothing"
        assert replay() == 1
        assert cached(oslo) == 5

    def test_a_note_that_is_settled_during_its_replay_stays(
        self, using: str, oslo: City, server: FakeBackend, parallel: Parallel
    ) -> None:
        """What counts is what the replay has read: the statement was committed after it had outdated the row."""
        has_replayed, go_on = threading.Event(), threading.Event()

        def pause() -> None:
            has_replayed.set()
            assert go_on.wait(30)

        def replay_slowly() -> int:
            # The keys are outdated by then, and nothing is deleted yet.
            invalidate = server.complete

            def complete(*args: Any) -> None:
                invalidate(*args)
                pause()

            server.complete = complete
            try:
                return replay()
            finally:
                del server.complete

        def while_it_runs() -> None:
            server.recover()
            parallel.start(replay_slowly)
            assert has_replayed.wait(30)
            assert Parallel().run(cached, oslo) == 0
            goes_away(server)

        goes_away(server)
        with connections[using].execute_wrapper(Wrapper('UPDATE "geo_app_city"', while_it_runs)):
            save(oslo)
        server.recover()
        go_on.set()
        parallel.join()
        assert cached(oslo) == 0, "nothing was stale, so this proves nothing"
        assert noted(using) == [([key_of(oslo)], False)]
        assert replay() == 1
        assert cached(oslo) == 5

    def test_the_note_of_a_process_that_was_killed(self, using: str, oslo: City, server: FakeBackend) -> None:
        """Nobody settles it: replays outdate its keys and leave it, until no statement can be under way any more."""
        goes_away(server)
        state = state_of(using)
        records = City.objects.db_manager(using)._current()
        with pytest.raises(Killed), state.writing([(records.cache, [key_of(oslo)], records.policy)]):
            with connections[using].cursor() as cursor:
                cursor.execute("UPDATE geo_app_city SET population = 5")
            raise Killed
        server.recover()
        for _ in range(2):
            assert replay() == 0
            assert noted(using) == [([key_of(oslo)], True)]
        assert cached(oslo) == 5
        Journal.objects.using(using).update(keep_until=Now() - timedelta(seconds=1))
        assert replay() == 1
        assert noted(using) == []

    def test_how_long_a_note_is_kept(self, using: str, oslo: City, server: FakeBackend) -> None:
        """As long as a statement may take, by the clock of the database."""
        goes_away(server)
        with pytest.raises(OperationalError), connections[using].execute_wrapper(Wrapper('UPDATE "geo_app', fail)):
            save(oslo)
        [note] = Journal.objects.using(using).exclude(keep_until=None)
        assert note.keep_until is not None
        assert note.keep_until - note.created == pytest.approx(notes.STATEMENT_MAY_TAKE, abs=timedelta(seconds=1))

    def test_a_statement_that_fails(self, using: str, oslo: City, server: FakeBackend) -> None:
        """update() settles its note, for a part may have been written; of unknown outcome it keeps it."""
        City.objects.using(using).create(slug="moss", name="Moss", country_id=oslo.country_id)
        goes_away(server)
        with pytest.raises(IntegrityError):
            City.objects.using(using).filter(pk=oslo.pk).update(slug="moss")
        assert [kept for _, kept in noted(using)] == [False]
        with pytest.raises(OperationalError), connections[using].execute_wrapper(Wrapper("UPDATE", fail)):
            grow(oslo, 6)
        assert [kept for _, kept in noted(using)] == [False, True]

    def test_a_note_that_cannot_be_settled(
        self, using: str, oslo: City, server: FakeBackend, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The statement was committed and nothing is raised; the note is kept, and that is logged."""
        goes_away(server)
        with connections[using].execute_wrapper(Wrapper('UPDATE "cachecore_journal"', fail)):
            save(oslo)
        assert population(oslo) == 5
        assert noted(using) == [([key_of(oslo)], True)]
        assert "could not be settled" in caplog.text

    def test_a_save_inside_a_save(self, using: str, oslo: City, server: FakeBackend) -> None:
        """Both are settled, though one is begun while the other is: by a receiver of pre_save."""
        moss = City.objects.using(using).create(slug="moss", name="Moss", country_id=oslo.country_id)

        def save_other(instance: City, **_: Any) -> None:
            if instance == oslo:
                save(moss)

        goes_away(server)
        pre_save.connect(save_other, sender=City)
        try:
            save(oslo)
        finally:
            pre_save.disconnect(save_other, sender=City)
        assert sorted(noted(using)) == sorted([([key_of(oslo)], False), ([key_of(moss)], False)])


# -- policies --------------------------------------------------------------------------------------


class TestPolicies:
    """What is chosen, and what is possible."""

    @pytest.mark.parametrize(
        ("unreachable", "written", "count"),
        [(None, 5, 1), ("journal", 5, 1), ("refuse", 0, 0), ("bounded", 5, 0)],
    )
    @pytest.mark.parametrize("atomic", [True, False])
    def test_side_by_side(
        self, server: FakeBackend, settings: Any, unreachable: Any, written: int, count: int, atomic: bool
    ) -> None:
        """What the database has and how many notes there are, after a write that the cache did not acknowledge."""
        settings.CACHECORE = cache_is(POLICY={"unreachable": unreachable})
        country = Country.objects.create(code="NO")
        city = City.objects.create(slug="oslo", name="Oslo", country=country)
        goes_away(server_now())

        def write() -> None:
            if atomic:
                with transaction.atomic():
                    grow(city, 5)
            else:
                grow(city, 5)

        if unreachable == "refuse":
            with pytest.raises(CommitRefused, match='unreachable="refuse"'):
                write()
        else:
            write()
        assert population(city) == written
        assert len(noted("default")) == count

    def test_a_model_of_its_own_policy(self, server: FakeBackend) -> None:
        """Alone it is bounded; with another model in the block the stricter policy notes the keys of both."""
        bounded = BoundedCity.objects.create(slug="moss")
        country = Country.objects.create(code="NO")
        goes_away(server)
        with transaction.atomic():
            grow(bounded, 1)
        assert noted("default") == []
        with transaction.atomic():
            grow(bounded, 2)
            Country.objects.filter(pk=country.pk).update(name="Norway")
        server.recover()
        assert replay() in (0, 1)

    @pytest.fixture
    def no_table(self, server: FakeBackend) -> Iterator[None]:
        """A database in which nobody has run "migrate"."""
        with connection.schema_editor() as editor:
            editor.delete_model(Journal)
        notes._found.discard("default")
        yield
        with connection.schema_editor() as editor:
            editor.create_model(Journal)
        notes._found.discard("default")

    @pytest.mark.parametrize("unreachable", [None, "journal"])
    @pytest.mark.parametrize("atomic", [True, False])
    def test_without_the_table(self, no_table: None, settings: Any, unreachable: Any, atomic: bool) -> None:
        """The write is refused, by default and by "journal", and the error names table, database and way out."""
        settings.CACHECORE = cache_is(POLICY={"unreachable": unreachable})
        country = Country.objects.create(code="NO", name="Norway")
        goes_away(server_now())

        def write() -> None:
            if atomic:
                with transaction.atomic():
                    Country.objects.filter(pk=country.pk).update(name="x")
            else:
                country.name = "x"
                country.save()

        with pytest.raises(
            CommitRefused, match=r"'default' has no table cachecore_journal.*manage.py migrate"
        ) as caught:
            write()
        assert isinstance(caught.value, DatabaseError)
        assert not connection.in_atomic_block
        assert Country.objects.get(pk=country.pk).name == "Norway"
        assert replay() == 0

    def test_the_table_is_found_when_it_has_been_made(self, no_table: None) -> None:
        """A process that began before "migrate" needs no restart."""
        country = Country.objects.create(code="NO", name="Norway")
        goes_away(server_now())
        with pytest.raises(CommitRefused):
            country.save()
        with connection.schema_editor() as editor:
            editor.create_model(Journal)
        country.save()
        assert len(noted("default")) == 1
        with connection.schema_editor() as editor:
            editor.delete_model(Journal)

    def test_the_table_is_looked_for_once(self, server: FakeBackend, django_assert_num_queries: Any) -> None:
        """And not while the cache answers: then a write costs no statement more."""
        country = Country.objects.create(code="NO", name="Norway")
        notes._found.discard("default")
        with django_assert_num_queries(1):
            country.save()
        goes_away(server)
        with django_assert_num_queries(4):  # is there a table; the note; the statement; the note is settled
            country.save()
        with django_assert_num_queries(3):
            country.save()

    @isolate_apps("tests.geo_app")
    def test_e009_routers_keep_the_table_out(self, settings: Any) -> None:
        """Who asks for the journal where it can never be is told so by the system checks."""

        class Journaled(models.Model):
            slug = models.SlugField(unique=True)
            objects = CacheManager(cache_fields=["slug"], cache_policy={"unreachable": "journal"})

            class Meta:
                app_label = "geo_app"

        class App:
            def get_models(self) -> list[type[models.Model]]:
                return [Journaled]

        settings.CACHECORE = FAKE
        assert check_models([App()]) == []
        settings.DATABASE_ROUTERS = ["tests.test_django_journal.NoJournal"]
        [message] = check_models([App()])
        assert message.id == "cachecore.E009"
        assert "geo_app.Journaled" in message.msg
        assert "'default'" in message.msg

    def test_w003_the_table_is_not_there_yet(self, no_table: None, settings: Any) -> None:
        """``check --database`` warns of each model; it is no error, for "migrate" begins with the same check."""
        settings.CACHECORE = cache_is(POLICY={"unreachable": "journal"})
        found = [one for one in run_checks(databases=["default"]) if one.id == "cachecore.W003"]
        assert {one.obj for one in found} >= {City, Country}
        assert BoundedCity not in {one.obj for one in found}
        assert "cachecore_journal" in found[0].msg
        assert check_journal(databases=None) == []
        settings.CACHECORE = FAKE
        assert check_journal(databases=["default"]) == []

    def test_w003_is_silent_where_the_table_is(self, server: FakeBackend, settings: Any) -> None:
        """After "migrate" there is nothing to say."""
        settings.CACHECORE = cache_is(POLICY={"unreachable": "journal"})
        assert check_journal(databases=["default"]) == []

    def test_replay_must_be_a_bool(self, settings: Any) -> None:
        """The option is checked like all others."""
        settings.CACHECORE = cache_is(REPLAY="never")
        with pytest.raises(ValueError, match=r"CACHECORE\['default'\]: REPLAY must be True or False, not 'never'"):
            caches["default"]

    def test_the_migration_is_complete(self, db: None) -> None:
        """``makemigrations`` finds nothing that is not in it."""
        call_command("makemigrations", "cachecore", check=True, dry_run=True, verbosity=0)


class NoJournal:
    """A router that keeps the journal out of every database."""

    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool | None:
        return False if app_label == "cachecore" else None


# -- replaying -------------------------------------------------------------------------------------


def leave_note(city: City, server: FakeBackend, to: int) -> None:
    """A transaction that the cache did not see."""
    goes_away(server)
    with transaction.atomic(city._state.db):
        grow(city, to)
    server.recover()


class TestReplay:
    """Who replays may be killed, be late, and be several."""

    def test_while_the_cache_is_away(self, using: str, oslo: City, server: FakeBackend) -> None:
        """It raises, and the notes wait."""
        leave_note(oslo, server, 5)
        goes_away(server)
        with pytest.raises(BackendUnavailable):
            replay()
        assert len(noted(using)) == 1

    def test_killed_between_the_cache_and_the_table(self, using: str, oslo: City, server: FakeBackend) -> None:
        """The note is still there, and is replayed again."""
        leave_note(oslo, server, 5)
        with pytest.raises(OperationalError), connections[using].execute_wrapper(Wrapper("DELETE", fail)):
            replay()
        assert cached(oslo) == 5
        assert len(noted(using)) == 1
        assert replay() == 1
        assert cached(oslo) == 5

    def test_two_at_once(self, using: str, oslo: City, server: FakeBackend, parallel: Parallel) -> None:
        """Each deletes what it has read and outdated, and not the note of a write that came in between."""
        leave_note(oslo, server, 5)

        def meanwhile() -> None:
            assert parallel.run(replay) == 1
            assert parallel.run(cached, oslo) == 5
            parallel.run(leave_note, oslo, server, 6)
            assert parallel.run(cached, oslo) == 5, "nothing was stale, so this proves nothing"

        with connections[using].execute_wrapper(Wrapper("DELETE", meanwhile)):
            assert replay() == 2, "what it had read, and what it found when it looked again"
        assert noted(using) == []
        assert cached(oslo) == 6

    def test_an_uncommitted_note_is_not_seen(
        self, oslo: City, using: str, server: FakeBackend, parallel: Parallel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A replay between the note and its COMMIT does nothing; the next one does."""
        commit = connections[using]._commit

        def replay_first() -> None:
            server.recover()
            assert parallel.run(replay) == 0
            assert parallel.run(cached, oslo) == 0
            goes_away(server)
            commit()

        monkeypatch.setattr(connections[using], "_commit", replay_first)
        goes_away(server)
        with transaction.atomic(using):
            grow(oslo, 5)
        monkeypatch.undo()
        server.recover()
        assert cached(oslo) == 0, "nothing was stale, so this proves nothing"
        assert replay() == 1
        assert cached(oslo) == 5

    def test_many_notes(self, using: str, oslo: City, server: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are read by parts, and every part goes to the cache in one call."""
        monkeypatch.setattr(journal, "AT_ONCE", 3)
        goes_away(server)
        for number in range(1, 8):
            with transaction.atomic(using):
                grow(oslo, number)
        server.recover()
        server.log.clear()
        assert replay() == 7
        assert server.operations() == ["complete"] * 3
        assert cached(oslo) == 7

    def test_one_dead_server_of_several_does_not_stop_the_rest(
        self, using: str, oslo: City, server: FakeBackend
    ) -> None:
        """Notes with keys on the dead server wait, all others are replayed."""
        made = [
            City.objects.using(using).create(slug=f"c{n}", name=f"C{n}", country_id=oslo.country_id) for n in range(5)
        ]
        for city in made:
            cached(city)
            leave_note(city, server, 5)
        dead, complete = key_of(made[2]), server.complete

        def complete_on_others(keys: Any, *args: Any) -> None:
            if dead in keys:
                raise BackendUnavailable("one of the servers is down")
            complete(keys, *args)

        server.complete = complete_on_others
        with pytest.raises(BackendUnavailable, match="one of the servers"):
            replay()
        assert noted(using) == [([dead], False)]
        assert [cached(city) for city in made] == [5, 5, 0, 5, 5]
        del server.complete
        assert replay() == 1
        assert cached(made[2]) == 5

    def test_only_one_cache_or_database(self, oslo: City, using: str, server: FakeBackend, settings: Any) -> None:
        """The arguments of replay() choose."""
        leave_note(oslo, server, 5)
        Journal.objects.using(using).create(cache="other", entries="k")
        settings.CACHECORE = {**FAKE, "other": {**FAKE["default"], "NAMESPACE": "other"}}
        assert journal.replay("other", using) == 1
        assert len(noted(using)) == 1
        assert journal.replay(using=using) == 1

    def test_notes_of_an_unknown_cache_are_left(self, oslo: City, using: str, server: FakeBackend) -> None:
        """Another release may have it."""
        Journal.objects.using(using).create(cache="gone", entries="k")
        leave_note(oslo, server, 5)
        assert replay() == 1
        assert len(noted(using)) == 1
        assert journal.unknown_caches(using) == {"gone": 1}


def manage(*words: str) -> None:
    """manage.py with these words."""
    ManagementUtility(["manage.py", *words]).execute()


class TestCommand:
    """``manage.py cachecore replay``."""

    @pytest.fixture
    def city(self, server: FakeBackend) -> City:
        """A city with a note."""
        city = City.objects.create(slug="oslo", name="Oslo", country=Country.objects.create(code="NO"))
        cached(city)
        leave_note(city, server, 5)
        return city

    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    def test_it_replays(self, city: City, capsys: pytest.CaptureFixture[str]) -> None:
        """A line for each database and cache, without an alias twice, and the exit status 0."""
        manage("cachecore", "replay")
        told = capsys.readouterr()
        assert told.out.splitlines() == [
            "default: 1 notes of the cache 'default' replayed",
            "other: 0 notes of the cache 'default' replayed",
        ]
        assert cached(city) == 5

    def test_it_fails_while_the_cache_is_away(
        self, city: City, server: FakeBackend, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """How many notes wait, and why; the exit status is 1."""
        goes_away(server)
        with pytest.raises(SystemExit) as ended:
            manage("cachecore", "replay", "--database", "default")
        assert ended.value.code == 1
        assert "default: 1 notes of the cache 'default' wait: the fake server is down" in capsys.readouterr().err
        assert len(noted("default")) == 1

    def test_it_tells_what_is_kept_and_what_is_left(
        self, city: City, server: FakeBackend, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Notes of statements that may be under way, and of caches that are not configured."""
        Journal.objects.create(cache="default", entries="k", keep_until=Now() + timedelta(hours=1))
        Journal.objects.create(cache="gone", entries="k")
        manage("cachecore", "replay", "--database", "default", "--cache", "default")
        assert capsys.readouterr().out.splitlines() == [
            "default: 1 notes of the cache 'default' replayed, 1 kept: their statements may be under way",
            "default: 1 notes of the cache 'gone', which CACHECORE does not have, are left",
        ]

    def test_a_database_without_journal(
        self, city: City, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is named, and nothing is wrong with it."""
        monkeypatch.setattr(notes, "TABLE", "nosuch")
        notes._found.discard("default")
        manage("cachecore", "replay", "--database", "default")
        assert capsys.readouterr().out == 'default: no journal; "manage.py migrate" makes it\n'

    def test_it_can_be_silent(self, city: City, capsys: pytest.CaptureFixture[str]) -> None:
        """With --verbosity 0."""
        manage("cachecore", "replay", "--database", "default", "--verbosity", "0")
        assert capsys.readouterr().out == ""
        assert noted("default") == []

    def test_unknown_words(self, server: FakeBackend) -> None:
        """An unknown task, cache or database is an error that names it."""
        for words in (["nosuch"], ["replay", "--cache", "nosuch"], ["replay", "--database", "nosuch"]):
            with pytest.raises(CommandError, match="nosuch"):
                call_command("cachecore", *words)


# -- a process that replays by itself --------------------------------------------------------------


class Looks:
    """The threads that look into a journal, in the order in which they began."""

    def __init__(self) -> None:
        self._begun: list[tuple[str, str]] = []

    def begin(self, look: Callable[..., None]) -> Callable[..., None]:
        """``look``, counted."""

        def counted(replays: Replays, using: str, alias: str) -> None:
            self._begun.append((using, alias))
            look(replays, using, alias)

        return counted

    def wait(self) -> int:
        """Wait until all have ended; how many have begun since this was last called."""
        for thread in threading.enumerate():
            if thread.name == "cachecore replay":
                thread.join(30)
        count = len(self._begun)
        self._begun.clear()
        return count


class TestByItself:
    """A process that reaches the cache replays what it owes, in a thread of its own."""

    @pytest.fixture
    def looks(self, transactional_db: None) -> Iterator[Looks]:
        """Counts them; none is left in the end."""
        looks = Looks()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Replays, "_replay", looks.begin(Replays._replay))
            yield looks
            looks.wait()

    @pytest.fixture
    def server(self, looks: Looks, settings: Any) -> Iterator[FakeBackend]:
        """A server whose notes are replayed, in a process that has just begun."""
        settings.CACHECORE = cache_is(REPLAY=True)
        replays.forget()
        yield server_now()
        replays.forget()

    @pytest.fixture
    def oslo(self, looks: Looks, using: str, server: FakeBackend) -> City:
        """A city that is cached, in a process that has looked into the journal."""
        norway = Country.objects.using(using).create(code="NO", name="Norway")
        city = City.objects.using(using).create(slug="oslo", name="Oslo", country=norway)
        Country.objects.using(using).update(name="Noreg")
        assert looks.wait() == 1
        assert cached(city) == 0
        return city

    def test_the_next_write_that_reaches_the_cache_replays(
        self, looks: Looks, using: str, oslo: City, server: FakeBackend
    ) -> None:
        """What was noted before, by this process."""
        leave_note(oslo, server, 5)
        assert looks.wait() == 0
        assert cached(oslo) == 0, "nothing was stale, so this proves nothing"
        Country.objects.using(using).update(name="Norge")
        assert looks.wait() == 1
        assert noted(using) == []
        assert cached(oslo) == 5

    def test_a_statement_in_autocommit_is_replayed_too(
        self, looks: Looks, using: str, oslo: City, server: FakeBackend
    ) -> None:
        """By the write after it."""
        goes_away(server)
        save(oslo)
        server.recover()
        Country.objects.using(using).update(name="Norge")
        assert looks.wait() == 1
        assert noted(using) == []
        assert cached(oslo) == 5

    def test_a_complete_that_is_acknowledged_is_occasion_enough(
        self, looks: Looks, using: str, oslo: City, server: FakeBackend
    ) -> None:
        """If the cache is back when the transaction that noted has ended."""
        server.fail("hold")
        with transaction.atomic(using):
            grow(oslo, 5)
        assert looks.wait() == 1
        assert noted(using) == []

    def test_a_new_process_looks_once(self, looks: Looks, using: str, oslo: City, server: FakeBackend) -> None:
        """What others have noted before it began; afterwards only when it has noted something itself."""
        Journal.objects.using(using).create(cache="default", entries=key_of(oslo))
        Country.objects.using(using).update(name="Norge")
        assert looks.wait() == 0
        replays.forget()
        Country.objects.using(using).update(name="Norge")
        assert looks.wait() == 1
        assert noted(using) == []

    def test_a_note_that_was_committed_during_a_replay(
        self, looks: Looks, using: str, oslo: City, server: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It was invisible then and is owed since its COMMIT: the next occasion brings another replay."""
        wire = connections[using]
        commit = wire._commit

        def replay_first() -> None:
            server.recover()
            replays.owe(using, caches["default"])
            replays.reached(wire, caches["default"])
            assert looks.wait() == 1
            goes_away(server)
            commit()

        goes_away(server)
        with monkeypatch.context() as patched:
            patched.setattr(wire, "_commit", replay_first)
            with transaction.atomic(using):
                grow(oslo, 5)
        server.recover()
        assert len(noted(using)) == 1
        Country.objects.using(using).update(name="Norge")
        assert looks.wait() == 1
        assert cached(oslo) == 5

    def test_not_when_it_is_told_not_to(self, looks: Looks, oslo: City, using: str, settings: Any) -> None:
        """With "REPLAY": False only the command replays."""
        settings.CACHECORE = cache_is(REPLAY=False)
        leave_note(oslo, server_now(), 5)
        Country.objects.using(using).update(name="Norge")
        assert looks.wait() == 0
        assert len(noted(using)) == 1

    def test_not_in_the_world_of_a_test_case(self, looks: Looks, oslo: City, using: str, server: FakeBackend) -> None:
        """Its transaction is never committed, and another connection would see nothing."""
        replays.forget()
        world = transaction.atomic(using)
        world._from_testcase = True
        with world:
            grow(oslo, 5)
            with transaction.atomic(using):
                grow(oslo, 6)
            assert cached(oslo) == 6
            assert looks.wait() == 0
            transaction.set_rollback(True, using)

    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    def test_not_for_a_database_in_memory_nor_a_cache_in_the_process(
        self, looks: Looks, server: FakeBackend, settings: Any
    ) -> None:
        """The one has no second connection, the other no outage."""
        Country.objects.using("other").create(code="NO")
        assert looks.wait() == 0
        settings.CACHECORE = MEMORY
        replays.forget()
        Country.objects.create(code="NO")
        assert looks.wait() == 0

    def test_a_replay_that_fails_is_tried_again_after_a_pause(
        self, looks: Looks, oslo: City, using: str, server: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not at every write; and what it could not do is logged."""
        clock = ManualClock()
        own = Replays(clock)
        cache, wire = caches["default"], connections[using]
        leave_note(oslo, server, 5)
        server.fail("complete")
        own.reached(wire, cache)
        assert looks.wait() == 1
        assert len(noted(using)) == 1
        own.reached(wire, cache)
        clock.advance(PAUSE - 1)
        own.reached(wire, cache)
        assert looks.wait() == 0
        clock.advance(1)
        own.reached(wire, cache)
        assert looks.wait() == 1
        assert noted(using) == []
        clock.advance(10 * PAUSE)
        own.reached(wire, cache)
        assert looks.wait() == 0

    def test_errors_of_the_thread_are_logged(
        self,
        looks: Looks,
        oslo: City,
        using: str,
        server: FakeBackend,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Nobody is there to catch them."""
        leave_note(oslo, server, 5)
        monkeypatch.setattr(journal, "replay_notes", lambda *_: fail())
        Country.objects.using(using).update(name="Norge")
        assert looks.wait() == 1
        assert "the notes of the cache 'default'" in caplog.text

    def test_a_closed_cache_and_too_many_threads_are_no_error(
        self, looks: Looks, oslo: City, using: str, server: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A write that was committed is not made to fail by what it would start."""
        own, cache = Replays(ManualClock()), caches["default"]

        def no_more(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", no_more)
            own.reached(connections[using], cache)
        caches.close()
        own.reached(connections[using], cache)
        own.owe(using, cache)
        assert looks.wait() == 0


def test_the_journal_is_no_part_of_the_cache(each_cache: Cache) -> None:
    """Its own table is written without signals, holds or notes."""
    events: list[Any] = []
    each_cache.hooks.subscribe(events.append)
    Journal.objects.create(cache="default", entries="k")
    replay()
    assert [type(event).__name__ for event in events] == ["Invalidated"]
