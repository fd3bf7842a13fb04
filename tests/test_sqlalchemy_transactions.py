# ruff: noqa: F811, PT012 - fixtures are imported, and here it is the end of a block that raises.
"""What readers see while transactions begin, commit, roll back and fail: on real transactions."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from sqlalchemy import Engine, delete, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from cachecore import Cache, Policy
from cachecore.errors import BackendTimeout, WriteRefused
from cachecore.integrations.sqlalchemy import cache_sessions, get_from_cache, get_many_from_cache, invalidate
from cachecore.testing import FakeBackend, ManualClock
from tests.conftest import PATIENT
from tests.orm_databases import Database, OpenDatabase, open_database, postgres  # noqa: F401
from tests.orm_models import Base, City, Country, Note, Parcel

SHARED = ["sqlite file", "postgresql"]
ADD = update(City).where(City.id == 1)


class Log(list[Any]):
    """The log of a fake server, whose calls are told to a journal too."""

    def __init__(self, journal: list[str]) -> None:
        self._journal = journal

    def append(self, call: Any) -> None:
        super().append(call)
        self._journal.append(call.name)


class Shop:
    """A database with two cities, a fake server as its cache, and one journal of what is said to both."""

    def __init__(self, database: Database, policy: Policy | None = None) -> None:
        self.database = database
        self.journal: list[str] = []
        """The calls of the cache, the first words of statements, and the COMMITs and ROLLBACKs of the driver."""
        self.clock = ManualClock()
        self.server = FakeBackend(self.clock)
        self.server.log = Log(self.journal)
        self.cache = Cache(self.server, namespace="orm", clock=self.clock, sleep=self.clock.sleep, policy=policy)
        self.engine = self.make_engine()
        self.plain = database.engine() if database.is_shared else self.engine
        """An engine without a cache, where there can be one."""
        with Session(self.plain) as session:
            session.add(Country(id=1, code="NO", name="Norway"))
            session.flush()
            for key, slug in enumerate(("oslo", "bergen"), 1):
                session.add(City(id=key, slug=slug, name=slug.title(), country_id=1, population=0))
            session.commit()
        self.sessions = sessionmaker(self.engine)
        cache_sessions(self.sessions, self.cache)

    def make_engine(self, **options: Any) -> Engine:
        """Another engine that is journaled, and the cache of which is still to be given."""
        engine = self.database.engine(**options)
        dialect: Any = engine.dialect
        for name in ("do_execute", "do_executemany", "do_execute_no_params"):
            self._journal_calls(dialect, name, lambda cursor, sql, *rest, **options: sql.split()[0])
        for name in ("do_commit", "do_rollback", "do_prepare_twophase", "do_commit_twophase", "do_rollback_twophase"):
            said = name.removeprefix("do_").upper()
            self._journal_calls(dialect, name, lambda *rest, said=said, **options: said)
        return engine

    def _journal_calls(self, dialect: Any, name: str, said: Callable[..., str]) -> None:
        original = getattr(dialect, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.journal.append(said(*arguments, **options))
            return original(*arguments, **options)

        setattr(dialect, name, call)

    def other(self, **options: Any) -> sessionmaker[Session]:
        """Sessions with other options of the engine, such as an isolation level."""
        sessions = sessionmaker(self.engine.execution_options(**options))
        cache_sessions(sessions, self.cache)
        return sessions

    def population(self, key: int = 1, session: Session | None = None) -> int | None:
        """What a reader sees; a new session by default."""
        if session is not None:
            session.flush()
            session.expunge_all()
            city = get_from_cache(session, City, id=key)
            return None if city is None else city.population
        with self.sessions() as own:
            return self.population(key, own)

    def is_hit(self, key: int = 1) -> bool:
        """Whether a reader finds the row in the cache."""
        hits = self.cache.statistics.hits
        self.population(key)
        return self.cache.statistics.hits > hits

    def in_database(self, key: int = 1) -> int | None:
        """What is committed."""
        with self.plain.connect() as connection:
            return connection.scalar(select(City.population).where(City.id == key))

    def warm(self) -> None:
        """Both cities are in the cache, and the journal is empty."""
        for key in (1, 2):
            self.population(key)
        self.journal.clear()

    def told(self) -> list[str]:
        """The journal without reads and rollbacks of connections that had nothing to roll back."""
        return [one for one in self.journal if one in ("UPDATE", "hold", "complete", "release", "COMMIT")]


OpenShop = Callable[..., Shop]


@pytest.fixture
def open_shop(open_database: OpenDatabase) -> Iterator[OpenShop]:
    """Opens shops, closed when the test ends: name of the database, and the policy of the cache."""
    opened: list[Shop] = []

    def open_one(name: str, policy: Policy | None = None) -> Shop:
        opened.append(Shop(open_database(name, Base.metadata), policy))
        opened[-1].warm()
        return opened[-1]

    yield open_one
    for shop in opened:
        shop.cache.close()


@pytest.fixture(params=SHARED)
def shop(request: pytest.FixtureRequest, open_shop: OpenShop) -> Shop:
    """On each database where sessions have transactions of their own, with both cities in the cache."""
    return open_shop(request.param)


@pytest.fixture
def pg(open_shop: OpenShop) -> Shop:
    """On PostgreSQL."""
    return open_shop("postgresql")


class Abort(Exception):
    """Ends a block by an error."""


def grow(session: Any, to: int, key: int = 1) -> None:
    """Write a row."""
    session.execute(update(City).where(City.id == key).values(population=to))


def backend_of(connection: Any) -> int:
    """The number of the server process of a connection to PostgreSQL."""
    pid: int = connection.scalar(text("SELECT pg_backend_pid()"))
    return pid


def kill(shop: Shop, pid: int) -> None:
    """End a server process, and wait until it is gone."""
    with shop.plain.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})


class TestOrder:
    """What is said to the cache, and when."""

    def test_prepare_is_the_last_before_commit_and_complete_the_first_after(self, shop: Shop) -> None:
        """PREPARE comes after everything was flushed, right before the driver's COMMIT."""
        with shop.sessions.begin() as session:
            session.get_one(City, 1).population = 1
            session.get_one(City, 2).population = 2
        assert shop.told() == ["UPDATE", "UPDATE", "hold", "COMMIT", "complete"]
        assert shop.journal[-4:] == ["hold", "COMMIT", "complete", "ROLLBACK"]  # by the pool

    @pytest.mark.parametrize("name", ["sqlite", *SHARED])
    def test_whoever_uses_the_engine(self, name: str, open_shop: OpenShop) -> None:
        """Core, with begin() or as it goes, and the driver's SQL are seen like a session."""
        shop = open_shop(name)
        sql = "UPDATE city SET population = population + 1 WHERE id = 1"
        with shop.engine.begin() as connection:
            connection.execute(ADD.values(population=1))
        with shop.engine.connect() as connection:
            connection.execute(ADD.values(population=2))
            connection.commit()
            connection.exec_driver_sql(sql)
            connection.commit()
            connection.execute(ADD.values(population=7))
            connection.rollback()
        assert shop.told() == ["UPDATE", "hold", "COMMIT", "complete"] * 3 + ["UPDATE"]
        assert shop.population() == 3

    def test_autocommit_of_core(self, shop: Shop) -> None:
        """Each statement of a connection in AUTOCOMMIT stands between a PREPARE and a COMPLETE."""
        with shop.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for number in (1, 2):
                connection.execute(ADD.values(population=number))
                assert shop.population() == number
        assert [one for one in shop.told() if one != "COMMIT"] == ["hold", "UPDATE", "complete"] * 2

    def test_a_transaction_in_words(self, shop: Shop) -> None:
        """BEGIN and COMMIT in text, on a connection in AUTOCOMMIT, are the bounds of a transaction."""
        with shop.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("BEGIN")
            connection.execute(ADD.values(population=1))
            assert shop.population() == 0
            connection.exec_driver_sql("COMMIT")
            assert shop.population() == 1
            connection.exec_driver_sql("BEGIN")
            connection.execute(ADD.values(population=2))
            connection.exec_driver_sql("ROLLBACK")
            assert shop.population() == 1

    @pytest.mark.parametrize("end", ["commit", "rollback"])
    def test_what_sqlite_commits_at_once(self, open_shop: OpenShop, end: str) -> None:
        """The sqlite3 module begins a transaction for INSERT, UPDATE and DELETE, not for WITH .. UPDATE: that is
        committed whatever becomes of the session, and outdates at once."""
        shop = open_shop("sqlite file")
        sql = "WITH one AS (SELECT 1 AS id) UPDATE city SET population = 7 WHERE id IN (SELECT id FROM one)"
        with shop.sessions() as session:
            session.execute(text(sql))
            assert shop.in_database() == 7
            assert shop.population() == shop.population(session=session) == 7
            getattr(session, end)()
        assert shop.population() == 7
        with shop.sessions() as session:
            grow(session, 1)
            session.execute(text(sql))
            assert shop.population() == 7
            assert shop.population(session=session) == 7
            getattr(session, end)()
        assert shop.population() == shop.in_database() == 7

    def test_reads_say_nothing(self, shop: Shop) -> None:
        """A transaction that has written nothing that is cached neither prepares nor completes."""
        with shop.sessions.begin() as session:
            session.scalars(select(City)).all()
            session.add(Note(text="x"))
        assert shop.told() == ["COMMIT"]

    def test_a_hit_begins_no_transaction(self, shop: Shop) -> None:
        """A session that has found its row in the cache has sent nothing to the database."""
        assert shop.population() == 0
        assert shop.journal == ["acquire"]

    def test_a_long_transaction_prepares_when_it_commits(self, shop: Shop) -> None:
        """However long it took before: holds are young when COMMIT is sent."""
        with shop.sessions.begin() as session:
            grow(session, 1)
            shop.clock.advance(3600)
            assert shop.told() == ["UPDATE"]
        assert shop.told() == ["UPDATE", "hold", "COMMIT", "complete"]
        assert shop.population() == 1

    def test_more_than_bulk_threshold_rows_are_one_key(self, shop: Shop) -> None:
        """Rows are counted over the whole transaction: then one key, the epoch's, is held."""
        with shop.plain.begin() as connection:
            connection.execute(insert(Parcel), [{"id": key, "label": f"l{key}", "weight": 0} for key in range(1, 6)])

        def write(*keys: int) -> int:
            shop.server.log.clear()
            with shop.sessions.begin() as session:
                for key in keys:
                    session.execute(update(Parcel).where(Parcel.id == key).values(weight=Parcel.weight + 1))
            [held] = [call for call in shop.server.log if call.name == "hold"]
            return len(held.keys)

        def is_hit(key: int) -> bool:
            hits = shop.cache.statistics.hits
            with shop.sessions() as session:
                get_from_cache(session, Parcel, id=key)
            return shop.cache.statistics.hits > hits

        assert [is_hit(key) for key in (1, 5)] == [False, False]
        assert write(1, 2, 3) == 3
        assert [is_hit(key) for key in (1, 5)] == [False, True]
        assert write(1, 2, 3, 4) == 4  # three rows and the epoch
        assert [is_hit(key) for key in (1, 5)] == [False, False]
        with shop.sessions.begin() as session:
            session.execute(delete(Parcel))
        assert [is_hit(key) for key in (1, 5)] == [False, False]


class TestOutcomes:
    """Each way in which a transaction can end."""

    def test_own_writes_are_seen_by_nobody_else(self, shop: Shop) -> None:
        """The session sees what it has written, flushed or not; others see it when COMMIT has returned."""
        with shop.sessions() as session:
            get_from_cache(session, City, slug="oslo").population = 1  # type: ignore[union-attr]
            assert shop.population(session=session) == 1
            assert shop.population() == 0
            grow(session, 2)
            assert [city.population for city in get_many_from_cache(session, City, [1, 2])] == [2, 0]
            assert shop.population() == 0
            session.commit()
            assert shop.population() == 2

    @pytest.mark.parametrize("end", ["rollback", "close", "error"])
    def test_what_was_rolled_back_has_never_been(self, shop: Shop, end: str) -> None:
        """However the transaction ends without a commit: the old row is still in the cache."""
        with suppress(Abort), shop.sessions() as session:
            grow(session, 1)
            assert shop.population(session=session) == 1
            assert shop.is_hit()
            if end == "rollback":
                session.rollback()
            elif end == "error":
                raise Abort
        assert shop.population() == 0
        assert shop.is_hit()
        assert [one for one in shop.told() if one != "UPDATE"] == []

    def test_a_session_goes_on_after_a_rollback(self, shop: Shop) -> None:
        """What was rolled back is forgotten, and the next transaction of the session counts alone."""
        with shop.sessions() as session:
            grow(session, 1)
            session.rollback()
            grow(session, 2, key=2)
            session.commit()
            assert [shop.population(key) for key in (1, 2)] == [0, 2]
        [held] = [call for call in shop.server.log if call.name == "hold"]
        assert len(held.keys) == 1

    def test_a_statement_that_fails(self, shop: Shop) -> None:
        """An error in the middle loses nothing: after the rollback the session writes on."""
        with shop.sessions() as session:
            grow(session, 1)
            with pytest.raises(IntegrityError):
                session.execute(insert(City).values(id=2, slug="x", name="x"))
            session.rollback()
            assert shop.population(session=session) == 0
            grow(session, 3)
            session.commit()
        assert shop.population() == 3

    @pytest.mark.parametrize("expire", [False, True])
    def test_after_the_commit_the_session_reads_what_it_wrote(self, shop: Shop, expire: bool) -> None:
        """With and without expire_on_commit."""
        with shop.sessions(expire_on_commit=expire) as session:
            city = session.get_one(City, 1)
            city.population = 1
            session.commit()
            assert get_from_cache(session, City, id=1) is city
            assert city.population == 1
            grow(session, 2)
            session.commit()
            session.expire_all()
            assert get_from_cache(session, City, slug="oslo") is city
            assert city.population == 2

    def test_a_commit_that_the_database_refuses(self, shop: Shop) -> None:
        """A deferred constraint fails in COMMIT: nothing has changed, the holds are taken back, the session goes on."""
        with shop.sessions() as session:
            if shop.database.is_sqlite:
                session.execute(text("PRAGMA foreign_keys = ON"))
                session.rollback()
                grow(session, 1)  # the sqlite3 module begins a transaction only now
                session.execute(text("PRAGMA defer_foreign_keys = ON"))
            else:
                alter = "ALTER TABLE city ALTER CONSTRAINT city_country_id_fkey DEFERRABLE INITIALLY DEFERRED"
                session.execute(text(alter))
            session.execute(ADD.values(population=1, country_id=99))
            with pytest.raises(IntegrityError):
                session.commit()
            session.rollback()
            assert shop.told()[-3:] == ["hold", "COMMIT", "release"]
            assert shop.population() == 0
            assert shop.is_hit()
            grow(session, 2)
            session.commit()
        assert shop.population() == 2
        assert shop.is_hit()

    def test_a_serialization_failure(self, pg: Shop) -> None:
        """One of two transactions that depend on each other fails; what readers see is what the other has written."""
        sessions = pg.other(isolation_level="SERIALIZABLE")
        with sessions() as one, sessions() as two:
            for session in (one, two):
                session.execute(select(City.population)).all()
            grow(one, 1, key=1)
            grow(two, 2, key=2)
            one.commit()
            with pytest.raises(OperationalError):
                two.commit()
            two.rollback()
            assert [pg.population(key) for key in (1, 2)] == [1, 0]
            grow(two, 3, key=2)
            two.commit()
        assert [pg.population(key) for key in (1, 2)] == [1, 3]

    def test_a_connection_lost_before_the_commit(self, pg: Shop) -> None:
        """Nobody knows how it ended: the holds stay until they expire, and until then the database answers."""
        with pg.sessions() as session:
            grow(session, 1)
            kill(pg, backend_of(session))
            with pytest.raises(OperationalError):
                session.commit()
        assert "release" not in pg.journal
        assert pg.population() == 0
        assert not pg.is_hit()
        pg.clock.advance(60)
        assert pg.population() == 0
        assert pg.is_hit()

    def test_a_connection_lost_in_the_commit(self, pg: Shop) -> None:
        """COMMIT is carried out, but nobody hears of it: readers are told by the database, before and after."""
        with pg.plain.connect().execution_options(isolation_level="AUTOCOMMIT") as setting:
            # A COMMIT that waits for a standby server that is not there hangs when it is written, before it is visible.
            setting.execute(text("ALTER SYSTEM SET synchronous_standby_names = 'nobody'"))
            setting.execute(text("SELECT pg_reload_conf()"))
            try:
                self._lose_it(pg)
            finally:
                setting.execute(text("ALTER SYSTEM RESET synchronous_standby_names"))
                setting.execute(text("SELECT pg_reload_conf()"))

    def _lose_it(self, pg: Shop) -> None:
        errors: list[BaseException] = []
        with pg.sessions() as session:
            session.execute(text("SET LOCAL synchronous_commit = on"))
            pid = backend_of(session)
            grow(session, 1)
            thread = threading.Thread(target=self._commit, args=(session, errors))
            thread.start()
            waits = "SELECT wait_event FROM pg_stat_activity WHERE pid = :pid"
            with pg.plain.connect().execution_options(isolation_level="AUTOCOMMIT") as looking:
                while thread.is_alive() and looking.scalar(text(waits), {"pid": pid}) != "SyncRep":
                    pass
            assert pg.population() == 0
            assert not pg.is_hit()
            kill(pg, pid)
            thread.join(30)
        assert isinstance(errors[0], OperationalError)
        assert pg.in_database() == 1
        assert pg.population() == 1
        pg.clock.advance(60)
        assert pg.population() == 1
        assert pg.is_hit()

    @staticmethod
    def _commit(session: Session, errors: list[BaseException]) -> None:
        try:
            session.commit()
        except BaseException as error:
            errors.append(error)

    def test_a_write_that_nobody_saw(self, shop: Shop) -> None:
        """invalidate() after a write past the engine: of one row, and of all."""
        for number, keys in ((1, (1,)), (2, ())):
            with closing(shop.plain.raw_connection()) as connection, closing(connection.cursor()) as cursor:
                cursor.execute(f"UPDATE city SET population = {number}")
                connection.commit()
            with shop.sessions() as session:
                invalidate(session, City, *keys)
            assert shop.population(1) == number
            assert shop.population(2) == (0 if keys else number)


class TestSavepoints:
    """Transactions in transactions."""

    def test_released(self, shop: Shop) -> None:
        """What a savepoint has written is a part of the transaction, which says it when it commits."""
        with shop.sessions() as session:
            grow(session, 1, key=2)
            with session.begin_nested():
                grow(session, 1)
                with session.begin_nested():
                    grow(session, 2)
                assert shop.population(session=session) == 2
            assert shop.population() == 0
            assert "complete" not in shop.journal
            session.commit()
        assert "complete" in shop.journal
        assert [shop.population(key) for key in (1, 2)] == [2, 1]

    @pytest.mark.parametrize("outer", ["commit", "rollback"])
    def test_rolled_back(self, shop: Shop, outer: str) -> None:
        """In the transaction the row is again what it was before the savepoint, and so it is to others afterwards."""
        with shop.sessions() as session:
            grow(session, 1)
            savepoint = session.begin_nested()
            grow(session, 2)
            grow(session, 2, key=2)
            assert shop.population(session=session) == 2
            savepoint.rollback()
            assert [shop.population(key, session) for key in (1, 2)] == [1, 0]
            assert [shop.population(key) for key in (1, 2)] == [0, 0]
            getattr(session, outer)()
        assert [shop.population(key) for key in (1, 2)] == [1 if outer == "commit" else 0, 0]

    def test_rolled_back_by_an_error(self, shop: Shop) -> None:
        """An error in a savepoint leaves the transaction as it was."""
        with shop.sessions.begin() as session:
            grow(session, 1)
            with pytest.raises(IntegrityError), session.begin_nested():
                grow(session, 2)
                session.execute(insert(City).values(id=2, slug="x", name="x"))
            assert shop.population(session=session) == 1
        assert shop.population() == 1

    def test_many_savepoints_take_one_prepare(self, pg: Shop) -> None:
        """A savepoint for each row costs the cache nothing."""
        with pg.sessions.begin() as session:
            for number in range(1, 21):
                with session.begin_nested():
                    grow(session, number)
        assert [one for one in pg.told() if one != "UPDATE"] == ["hold", "COMMIT", "complete"]

    def test_a_savepoint_that_sqlite_takes_for_a_transaction(self, open_shop: OpenShop) -> None:
        """The sqlite3 module begins none before a savepoint, and its release commits: it is prepared and completed."""
        shop = open_shop("sqlite file")
        with shop.sessions() as session:
            with session.begin_nested():
                grow(session, 1)
            assert shop.in_database() == 1
            assert shop.population() == 1
            assert [one for one in shop.told() if one != "UPDATE"] == ["hold", "complete"]


class TestOuterTransactions:
    """A session that is a part of a transaction which somebody else has begun."""

    @pytest.mark.parametrize("mode", ["control_fully", "rollback_only", "create_savepoint"])
    @pytest.mark.parametrize("end", ["commit", "rollback"])
    def test_joined(self, shop: Shop, mode: Any, end: str) -> None:
        """Its commit is the cache's business only if it is the database's."""
        with shop.engine.connect() as connection:
            transaction = connection.begin()
            connection.execute(insert(Note).values(text="x"))  # on SQLite it begins here
            with Session(connection, join_transaction_mode=mode) as session:
                grow(session, 1)
                assert shop.population(session=session) == 1
                session.commit()
                assert shop.population(session=session) == 1
            is_open = mode != "control_fully"
            assert transaction.is_active is is_open
            assert shop.population() == (0 if is_open else 1)
            if is_open:
                getattr(transaction, end)()
        is_committed = not is_open or end == "commit"
        assert shop.in_database() == (1 if is_committed else 0)
        assert shop.population() == (1 if is_committed else 0)
        assert ("complete" in shop.journal) is is_committed

    def test_a_test_suite_that_rolls_back(self, shop: Shop) -> None:
        """The usual fixture: everything in one outer transaction, which is rolled back, leaves the cache as it was."""
        with shop.engine.connect() as connection:
            transaction = connection.begin()
            connection.execute(insert(Note).values(text="x"))
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                for number in (1, 2):
                    grow(session, number)
                    session.commit()
                    assert shop.population(session=session) == number
            transaction.rollback()
        assert shop.population() == 0
        assert shop.is_hit()


class TestTwoPhases:
    """PREPARE TRANSACTION and COMMIT PREPARED of PostgreSQL."""

    @pytest.fixture
    def sessions(self, pg: Shop) -> sessionmaker[Session]:
        sessions = sessionmaker(pg.engine, twophase=True)
        cache_sessions(sessions, pg.cache)
        return sessions

    def test_committed(self, pg: Shop, sessions: sessionmaker[Session]) -> None:
        """PREPARE comes before PREPARE TRANSACTION, and COMPLETE after COMMIT PREPARED."""
        with sessions() as session:
            grow(session, 1)
            session.prepare()
            assert pg.population() == 0
            assert not pg.is_hit()
            session.commit()
        said = [one for one in pg.journal if one in ("hold", "PREPARE_TWOPHASE", "COMMIT_TWOPHASE", "complete")]
        assert said == ["hold", "PREPARE_TWOPHASE", "COMMIT_TWOPHASE", "complete"]
        assert pg.population() == 1
        assert pg.is_hit()

    def test_prepared_long_ago(self, pg: Shop, sessions: sessionmaker[Session]) -> None:
        """Holds that may have expired are renewed before COMMIT PREPARED."""
        with sessions() as session:
            grow(session, 1)
            session.prepare()
            pg.clock.advance(3600)
            assert pg.population() == 0
            pg.journal.clear()
            session.commit()
        assert pg.journal.index("hold") < pg.journal.index("COMMIT_TWOPHASE") < pg.journal.index("complete")
        assert pg.population() == 1

    def test_rolled_back(self, pg: Shop, sessions: sessionmaker[Session]) -> None:
        """The holds of what was prepared are taken back."""
        with sessions() as session:
            grow(session, 1)
            session.prepare()
            session.rollback()
        assert "release" in pg.journal
        assert pg.population() == 0
        assert pg.is_hit()

    @pytest.mark.parametrize("end", ["commit", "rollback"])
    def test_ended_by_another_connection(self, pg: Shop, end: str) -> None:
        """Nobody knows what was written there: all rows of all classes are outdated if it is committed."""
        identifier = uuid.uuid4().hex
        with pg.engine.connect() as connection:
            transaction = connection.begin_twophase(identifier)
            connection.execute(ADD.values(population=1))
            transaction.prepare()
            connection.invalidate()
        pg.clock.advance(3600)
        assert pg.population() == 0
        with pg.engine.connect() as connection:
            getattr(connection, f"{end}_prepared")(identifier, recover=True)
        assert pg.population() == pg.in_database() == (1 if end == "commit" else 0)


class TestUnreachable:
    """The cache cannot be reached."""

    def test_a_commit_is_refused(self, shop: Shop) -> None:
        """A write that nobody could hear of is refused before COMMIT; after a rollback the session goes on."""
        with shop.sessions() as session:
            grow(session, 1)
            shop.server.fail("hold")
            with pytest.raises(WriteRefused):
                session.commit()
            session.rollback()
            assert "COMMIT" not in shop.journal
            assert shop.in_database() == 0
            assert shop.population() == 0
            grow(session, 2)
            session.commit()
        assert shop.population() == 2

    def test_a_timeout_is_no_acknowledgement(self, shop: Shop) -> None:
        """The holds may stand although nobody said so: the write is refused, and they are taken back."""
        with shop.sessions() as session:
            grow(session, 1)
            shop.server.fail("hold", BackendTimeout("too late"), carried_out=True)
            with pytest.raises(WriteRefused):
                session.commit()
        assert shop.in_database() == 0
        assert shop.population() == 0
        assert shop.is_hit()

    def test_a_block_that_is_refused(self, shop: Shop) -> None:
        """sessions.begin() raises what was refused, and nothing is committed."""
        shop.server.fail("hold")
        with pytest.raises(WriteRefused), shop.sessions.begin() as session:
            grow(session, 1)
        with pytest.raises(WriteRefused), shop.engine.begin() as connection:
            shop.server.fail("hold")
            connection.execute(ADD.values(population=1))
        with shop.sessions.begin() as session:  # with the same connection
            grow(session, 5, key=2)
        assert [shop.in_database(key) for key in (1, 2)] == [0, 5]
        assert [shop.population(key) for key in (1, 2)] == [0, 5]

    def test_a_statement_in_autocommit_is_refused(self, shop: Shop) -> None:
        """It is never sent."""
        with shop.other(isolation_level="AUTOCOMMIT")() as session:
            shop.server.fail("hold")
            with pytest.raises(WriteRefused):
                grow(session, 1)
            assert "UPDATE" not in shop.told()
            session.rollback()
            grow(session, 2)
            assert shop.population() == 2

    def test_two_phases_are_refused_before_the_first(self, pg: Shop) -> None:
        """PREPARE TRANSACTION is not sent."""
        sessions = sessionmaker(pg.engine, twophase=True)
        cache_sessions(sessions, pg.cache)
        with sessions() as session:
            grow(session, 1)
            pg.server.fail("hold")
            with pytest.raises(WriteRefused):
                session.prepare()
            session.rollback()
        assert "PREPARE_TWOPHASE" not in pg.journal
        assert pg.population() == 0

    def test_bounded(self, open_shop: OpenShop) -> None:
        """With unreachable="bounded" the write goes on, and readers see the old row until its TTL ends."""
        shop = open_shop("sqlite file", Policy(unreachable="bounded"))
        shop.server.fail("hold")
        shop.server.fail("complete")
        with shop.sessions.begin() as session:
            grow(session, 1)
        assert shop.in_database() == 1
        assert shop.population() == 0
        shop.clock.advance(301)
        assert shop.population() == 1

    def test_complete_is_not_heard(self, shop: Shop) -> None:
        """The commit has succeeded: readers are told by the database until the holds expire."""
        shop.server.fail("complete")
        with shop.sessions.begin() as session:
            grow(session, 1)
        assert shop.population() == 1
        assert not shop.is_hit()
        shop.clock.advance(60)
        assert shop.population() == 1
        assert shop.is_hit()

    def test_reads_are_answered_by_the_database(self, shop: Shop) -> None:
        """Whatever fails."""
        for name in ("get", "acquire", "fill"):
            shop.server.clear()
            shop.server.fail(name, times=10)
            assert shop.population() == 0
            with shop.sessions() as session:
                assert [city.id for city in get_many_from_cache(session, City, [2, 1])] == [2, 1]
                assert get_from_cache(session, City, slug="bergen") is not None
            shop.server.recover()


class TestWhatMayBeStored:
    """Only what was committed when it was read, and nothing older than the lease."""

    @pytest.fixture
    def cold(self, pg: Shop) -> Shop:
        """Nothing is in the cache."""
        pg.server.clear()
        return pg

    def _changed_meanwhile(self, shop: Shop) -> None:
        with shop.sessions.begin() as session:
            grow(session, 1)

    def test_read_committed(self, cold: Shop) -> None:
        """In a transaction that shows what is committed now, whatever it has read before, rows are stored."""
        with cold.sessions() as session:
            session.scalars(select(City)).all()
            self._changed_meanwhile(cold)
            assert cold.population(session=session) == 1
        assert cold.is_hit()

    @pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
    def test_a_snapshot(self, cold: Shop, level: str) -> None:
        """A transaction with a snapshot reads it, and stores nothing."""
        with cold.other(isolation_level=level)() as session:
            session.scalars(select(Country)).all()
            self._changed_meanwhile(cold)
            assert cold.population(session=session) == 0
            assert [city.population for city in get_many_from_cache(session, City, [1, 2])] == [0, 0]
            session.expunge_all()
            assert get_from_cache(session, City, slug="oslo").population == 0  # type: ignore[union-attr]
        assert cold.population() == 1

    @pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
    def test_the_first_statement_of_a_snapshot(self, cold: Shop, level: str) -> None:
        """It takes the snapshot itself, so what it reads is stored."""
        with cold.other(isolation_level=level)() as session:
            assert cold.population(session=session) == 0
        assert cold.is_hit()

    @pytest.mark.parametrize(
        "sql",
        [
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "/* so */ set transaction isolation level serializable",
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SELECT set_config('default_transaction_isolation', 'repeatable read', false)",
        ],
    )
    def test_an_isolation_level_set_by_sql(self, cold: Shop, sql: str) -> None:
        """The database itself says at each read what it shows."""
        with cold.sessions() as session:
            session.execute(text(sql))
            if "TRANSACTION ISOLATION" not in sql.upper() or "SESSION" in sql:
                session.commit()  # from the next transaction on
            session.scalars(select(Country)).all()
            self._changed_meanwhile(cold)
            assert cold.population(session=session) == 0
            session.connection().invalidate()
        assert cold.population() == 1

    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE city SET population = 7 WHERE id = 1",
            "SELECT grow()",
            "DO $$ BEGIN PERFORM grow(); END $$",
            "CREATE TEMPORARY TABLE grown ON COMMIT DROP AS SELECT grow()",
        ],
    )
    def test_after_a_write_that_may_not_have_been_seen(self, cold: Shop, sql: str) -> None:
        """What a function writes in a SELECT is not committed either: nothing is stored until the transaction ends."""
        body = "UPDATE city SET population = 7 WHERE id = 1"
        with cold.plain.begin() as connection:
            connection.execute(
                text(f"CREATE OR REPLACE FUNCTION grow() RETURNS int LANGUAGE sql AS $$ {body} RETURNING 1 $$")
            )
        with cold.sessions() as session:
            session.execute(text(sql))
            assert cold.population(session=session) == 7
            assert cold.population(2, session) == 0
            assert [city.population for city in get_many_from_cache(session, City, [1, 2])] == [7, 0]
            session.rollback()
        assert [cold.population(key) for key in (1, 2)] == [0, 0]

    def test_a_writing_function_behind_an_orm_query(self, cold: Shop) -> None:
        """Nor is it if a query of the ORM calls it."""
        with cold.plain.begin() as connection:
            connection.execute(
                text(
                    "CREATE OR REPLACE FUNCTION grown() RETURNS int LANGUAGE sql AS "
                    "$$ UPDATE city SET population = 7 WHERE id = 1 RETURNING 1 $$"
                )
            )
        with cold.sessions() as session:
            session.scalar(select(text("grown()")))
            assert cold.population(session=session) == 7
            session.rollback()
        assert cold.population() == 0

    def test_a_session_that_has_written_stores_nothing(self, shop: Shop) -> None:
        """Not even rows that it has not written: it may show what it has changed by a trigger."""
        shop.server.clear()
        with shop.sessions() as session:
            grow(session, 1, key=2)
            assert shop.population(1, session) == 0
        assert not shop.is_hit()

    def test_sqlite_with_a_transaction_begun_in_words(self, open_shop: OpenShop) -> None:
        """BEGIN takes no snapshot, the first statement does: it may be stored, and later ones may not."""
        shop = open_shop("sqlite file")
        with shop.plain.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        engine = shop.make_engine()

        def connect(connection: Any, record: Any) -> None:
            connection.isolation_level = None

        event.listen(engine, "connect", connect)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        sessions = sessionmaker(engine)
        cache_sessions(sessions, shop.cache)
        shop.server.clear()
        with sessions() as session:
            session.connection()  # what was done to a new one before is not known
        with sessions() as session:
            assert shop.population(2, session) == 0
            assert shop.is_hit(2)
            self._changed_meanwhile(shop)
            assert shop.population(1, session) == 0
        assert shop.population() == 1
        with sessions.begin() as session:
            grow(session, 2)
            assert shop.population() == 1
        assert shop.population() == 2

    def test_sqlite_with_an_unfinished_cursor(self, open_shop: OpenShop) -> None:
        """While the rows of a statement are being fetched the connection keeps its snapshot: nothing is stored."""
        shop = open_shop("sqlite file")
        with shop.plain.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        shop.server.clear()
        with shop.sessions() as session:
            result = session.connection().execute(select(City.id))
            result.fetchone()
            self._changed_meanwhile(shop)
            assert shop.population(session=session) == 0
            result.close()
        assert shop.population() == 1


class TestCaches:
    """The core promises with each cache."""

    @pytest.fixture(params=["memory", "redis", "memcached"])
    def sessions(self, request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[sessionmaker[Session]]:
        location, options = "memory://", None
        if request.param != "memory":
            location, options = request.getfixturevalue(f"{request.param}_server").url, PATIENT
        engine = open_database("sqlite file", Base.metadata).engine()
        with Cache(location, namespace=uuid.uuid4().hex, options=options) as cache:
            sessions = sessionmaker(engine)
            cache_sessions(sessions, cache)
            with sessions.begin() as session:
                session.add_all([City(id=key, slug=f"c{key}", name="x", population=0) for key in (1, 2)])
            yield sessions

    def test_a_row_through_its_life(self, sessions: sessionmaker[Session]) -> None:
        """Read, written, rolled back, renamed and deleted."""

        def read(**lookup: Any) -> int | None:
            with sessions() as session:
                city = get_from_cache(session, City, **lookup)
                return None if city is None else city.population

        assert read(id=1) == read(slug="c1") == 0
        with sessions() as session:
            grow(session, 1)
            assert get_from_cache(session, City, id=1).population == 1  # type: ignore[union-attr]
            assert read(id=1) == read(slug="c1") == 0
            session.rollback()
        assert read(id=1) == read(slug="c1") == 0
        with sessions.begin() as session:
            session.get_one(City, 1).slug = "new"
            session.execute(update(City).values(population=2))
        assert [read(slug="c1"), read(slug="new"), read(id=1), read(id=2)] == [None, 2, 2, 2]
        with sessions.begin() as session:
            session.execute(text("UPDATE city SET population = 3"))
        assert read(id=1) == read(slug="c2") == 3
        with sessions.begin() as session:
            session.delete(session.get_one(City, 1))
        assert [read(slug="new"), read(id=1), read(id=2)] == [None, None, 3]


def test_errors_of_the_database_are_not_hidden(pg: Shop) -> None:
    """A connection lost in a read is the driver's error, and the session is usable after a rollback."""
    pg.server.clear()
    with pg.sessions() as session:
        kill(pg, backend_of(session))
        with pytest.raises(DBAPIError):
            pg.population(session=session)
        session.rollback()
        assert pg.population(session=session) == 0
