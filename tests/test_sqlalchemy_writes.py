"""Each way to write outdates exactly the rows that it says, in a transaction and in autocommit, on each database."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Engine, event, inspect, select
from sqlalchemy.orm import Session, sessionmaker

from cachecore import Cache
from cachecore.integrations.sqlalchemy import cache_sessions, get_from_cache, get_many_from_cache
from cachecore.integrations.sqlalchemy.attachments import watched
from cachecore.testing import FakeBackend, ManualClock
from tests.orm_databases import SYNC, Database, open_in, postgres  # noqa: F401
from tests.orm_models import Base, Tag
from tests.orm_write_paths import CACHED, LOOKUPS, PATHS, Identity, Path, script

Values = dict[str, Any]
Rows = dict[Identity, tuple[type[Any], Values]]


class World:
    """A database with rows, all of them in the cache, and who reads and writes it.

    There is one for each database, since new engines take long to compile their first statements. It is as new before
    each test.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.server = FakeBackend(ManualClock())
        self.cache = Cache(self.server, namespace="orm", clock=self.server.clock, sleep=self.server.clock.sleep)
        self.engine = database.engine()
        self.statements: list[str] = []
        """What this engine has sent."""
        _log_statements(self.engine, self.statements)
        self.sessions = sessionmaker(self.engine)
        cache_sessions(self.sessions, self.cache)
        self.autocommit = sessionmaker(self.engine.execution_options(isolation_level="AUTOCOMMIT"))
        cache_sessions(self.autocommit, self.cache)
        self.plain = database.engine() if database.is_shared else self.engine
        """An engine without a cache, where there can be one."""
        self.statements_without_a_cache: list[str] = []
        _log_statements(self.plain, self.statements_without_a_cache)
        self._script = script(self.engine.dialect)
        self._make_rows()
        self.rows = self.in_database()
        self._warm()
        self._warm_entries = self.server.snapshot()

    def renew(self) -> None:
        """Make database and cache what they were at first."""
        self._make_rows()
        self.server.restore(self._warm_entries)
        tables: Any = watched(self.engine.dialect)
        for model in tables.tables.all_models():
            model.records.forget_claims()  # what this process remembers of other tests
        for log in (self.server.log, self.statements, self.statements_without_a_cache):
            log.clear()

    def close(self) -> None:
        """The end of it."""
        self.cache.close()
        self.database.close()

    def _make_rows(self) -> None:
        with closing(self.plain.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            if self.database.is_sqlite:
                cursor.executescript("BEGIN;" + ";".join(self._script) + ";COMMIT")
            else:
                cursor.execute(";".join(["SET LOCAL session_replication_role = replica", *self._script]))
                connection.commit()

    def _warm(self) -> None:
        with self.sessions() as session:
            for cls in CACHED:
                rows = [values for one, values in self.rows.values() if one is cls]
                for names in [_identity(cls), *LOOKUPS.get(cls, [])]:
                    asked = [tuple(values[name] for name in names) for values in rows]
                    single = len(names) == 1
                    found = get_many_from_cache(
                        session, cls, [one[0] for one in asked] if single else asked, key=names[0] if single else names
                    )
                    assert len(found) == len(rows)
                    session.expunge_all()

    def in_database(self, session: Session | None = None) -> Rows:
        """What the database has, as this session sees it; None: what is committed."""
        found: Rows = {}
        with Session(self.engine) as own:
            for cls in CACHED:
                names, identity = _columns(cls), _identity(cls)
                for row in (session or own).execute(select(*(getattr(cls, name) for name in names))):
                    values = dict(zip(names, row, strict=True))
                    key = tuple(values[name] for name in identity)
                    found[cls, key if len(key) > 1 else key[0]] = cls, values
        return found

    def read(self, session: Session, cls: type[Any], lookup: Values) -> tuple[Values | None, bool]:
        """What the cache says of a row, and whether it was a hit: no SQL was sent."""
        session.expunge_all()
        sent = len(self.statements)
        instance = get_from_cache(session, cls, **lookup)
        is_hit = len(self.statements) == sent
        return None if instance is None else _values(cls, instance), is_hit

    def sayings(self) -> list[str]:
        """What was said to the cache, but for reads."""
        return [name for name in self.server.operations() if name in ("hold", "complete", "release")]


def _log_statements(engine: Engine, log: list[str]) -> None:
    event.listen(engine, "before_cursor_execute", lambda conn, cursor, sql, *rest: log.append(sql))


def _identity(cls: type[Any]) -> tuple[str, ...]:
    mapper = inspect(cls)
    return tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)


def _columns(cls: type[Any]) -> list[str]:
    return [one.key for one in inspect(cls).column_attrs]


def _values(cls: type[Any], instance: Any) -> Values:
    return {name: getattr(instance, name) for name in _columns(cls)}


def _lookups(cls: type[Any], values: Values) -> list[Values]:
    """The questions that name a row: by its primary key first."""
    names = [_identity(cls), *LOOKUPS.get(cls, [])]
    asked = [{name: values[name] for name in one} for one in names]
    return [one for one in asked if None not in one.values()]


Worlds = dict[str, World]


@pytest.fixture(scope="session")
def worlds() -> Iterator[Worlds]:
    """The world of each database, once it was asked for."""
    worlds: Worlds = {}
    yield worlds
    for world in worlds.values():
        world.close()


@pytest.fixture
def world(request: pytest.FixtureRequest, worlds: Worlds, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The rows of tests/orm_write_paths.py."""
    name, failed = request.param, request.session.testsfailed
    if name not in worlds:
        worlds[name] = World(open_in(tmp_path_factory.mktemp("world"), request, name, Base.metadata))
    worlds[name].renew()
    yield worlds[name]
    if request.session.testsfailed > failed:
        worlds.pop(name).close()  # it may be in the middle of something


def _each(paths: Sequence[Path], databases: Sequence[str] = tuple(SYNC)) -> Any:
    """Each path on each database that knows it."""
    cases = [
        pytest.param(database, path, id=f"{database}-{path.name}")
        for database in databases
        for path in paths
        if database.startswith(path.only)
    ]
    return pytest.mark.parametrize(("world", "path"), cases, indirect=["world"])


@_each(PATHS)
def test_in_a_transaction(path: Path, world: World) -> None:
    """Until COMMIT the transaction itself sees what it writes and all others the old rows; afterwards everybody sees
    the new ones, the rows that were not written are still in the cache, and it took one PREPARE and one COMPLETE."""
    without = _statements_without_a_cache(world, path) if world.database.is_shared else None
    with world.sessions() as session:
        sent = len(world.statements)
        path.write(session)
        session.flush()
        statements = world.statements[sent:]
        assert world.sayings() == (["hold"] if world.database.name.startswith(path.may_end) else [])
        if world.database.is_shared:
            _others_see_the_old(world, path)
        _sees_its_own(world, session)
        session.commit()
    assert world.sayings() == (["hold", "complete"] if path.says else [])
    if without is not None:
        assert len(statements) - len(without) == path.questions, "\n".join([*without, "---", *statements])
    _all_see_the_new(world, path.outdates)


@_each([path for path in PATHS if path.alone])
def test_in_autocommit(path: Path, world: World) -> None:
    """Each statement that writes is surrounded by a PREPARE and a COMPLETE of its own, and then everybody sees what it
    has written."""
    with world.autocommit() as session:
        path.write(session)
        session.flush()
        said = world.sayings()
        if world.database.is_sqlite and any(" RETURNING " in sql.replace("\n", " ") for sql in world.statements):
            said = [one for one in said if one != "complete"]  # holds expire by themselves: it commits at the last row
            assert said == ["hold"] * len(said)
        else:
            assert said == ["hold", "complete"] * (len(said) // 2)
        assert bool(said) is path.says
    _all_see_the_new(world, path.outdates)


@_each(PATHS, ["sqlite", "postgresql"])
def test_rolled_back(path: Path, world: World) -> None:
    """What was rolled back has never been, to anybody: every row is what it was, and still in the cache."""
    with world.sessions() as session:
        path.write(session)
        session.flush()
        session.rollback()
    might_end = world.database.name.startswith(path.may_end)
    assert world.sayings() == (["hold", "release"] if might_end else [])
    assert world.in_database() == world.rows
    _all_see_the_new(world, path.outdates if might_end else ())


def _statements_without_a_cache(world: World, path: Path) -> list[str]:
    """What the same sends if nothing is cached, rolled back."""
    world.statements_without_a_cache.clear()
    with Session(world.plain) as session:
        path.write(session)
        session.flush()
        session.rollback()
    return world.statements_without_a_cache


def _sees_its_own(world: World, session: Session) -> None:
    now = world.in_database(session)
    for identity, (cls, values) in _changed(world, now).items():
        expected = now[identity][1] if identity in now else None
        for lookup in _lookups(cls, values)[: 1 if expected is None else None]:
            assert world.read(session, cls, lookup)[0] == expected, f"{cls.__name__} {lookup} in the transaction"
    session.expunge_all()


def _changed(world: World, now: Rows) -> Rows:
    """The rows that are new, gone or other than they were, and one that is none of it."""
    there = {identity: row for identity, row in now.items() if world.rows.get(identity) != row}
    gone = {identity: row for identity, row in world.rows.items() if identity not in now}
    return {(Tag, 1): world.rows[Tag, 1], **gone, **there}


def _others_see_the_old(world: World, path: Path) -> None:
    with world.sessions() as session:
        for cls, values in [world.rows[one] for one in {(Tag, 1), *path.outdates}]:
            for lookup in _lookups(cls, values):
                found, is_hit = world.read(session, cls, lookup)
                assert found == values, f"{cls.__name__} {lookup} before COMMIT"
                assert is_hit or path.may_end != "-"


def _all_see_the_new(world: World, outdates: Sequence[Identity]) -> None:
    now, outdated, wrong = world.in_database(), set(), []
    with world.sessions() as session:

        def check(cls: type[Any], lookup: Values) -> bool:
            found, is_hit = world.read(session, cls, lookup)
            there = [one for kind, one in now.values() if kind is cls and lookup.items() <= one.items()]
            if found != (there[0] if there else None):
                wrong.append(f"{cls.__name__} {lookup}: {found}, but the database has {there}")
            return is_hit

        for identity, (cls, values) in world.rows.items():
            for lookup in _lookups(cls, values):
                if not check(cls, lookup):
                    outdated.add(identity)
        for cls, values in _changed(world, now).values():
            for lookup in _lookups(cls, values):
                check(cls, lookup)
    assert not wrong
    assert _shown(outdated) == _shown(set(outdates))


def _shown(identities: set[Identity]) -> list[str]:
    return sorted(f"{cls.__name__} {key}" for cls, key in identities)
