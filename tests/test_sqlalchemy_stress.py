# ruff: noqa: F811 - fixtures are imported
"""Threads that write and read SQLAlchemy's rows at random: every answer is one that may be given.

A few seconds, or as many as CACHECORE_STRESS_SECONDS says; CACHECORE_STRESS_SEED repeats a run, as far as threads do.

Theory of operation. Every row has a history: the states that writers have given it, in their order, since a lock of
this process lets one writer at a time change a row. A writer appends a state before it writes it, says so when the
commit has returned, and marks it when it was rolled back. A reader notes before it asks which state is known to be
committed; what it is told must be that one or a later one, and none that was rolled back.
"""

import os
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from cachecore import Cache
from cachecore.integrations.sqlalchemy import cache_sessions, get_from_cache, get_many_from_cache
from cachecore.integrations.sqlalchemy.writing import engine as engine_module
from tests.conftest import PATIENT
from tests.orm_databases import Database, OpenDatabase, open_database, postgres  # noqa: F401
from tests.orm_models import Base, City

SECONDS = float(os.environ.get("CACHECORE_STRESS_SECONDS") or 3)
SEED = int(os.environ.get("CACHECORE_STRESS_SEED") or 1)
SLUGS = 3
GARBAGE = -1
"""The version of what is never committed."""


@dataclass
class State:
    """What one writer has made of a row; its population is the version."""

    version: int
    slug: str
    there: bool = True
    is_rolled_back: bool = False


class Row:
    """One primary key and its history."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.lock = threading.Lock()
        self.states = [State(0, f"s{key}-0")]
        self.committed = 0
        """Index of the last state whose commit has returned."""


class _ChangedOurMind(Exception):
    pass


class World:
    """The rows, what was done to them and what was wrong."""

    def __init__(self, engine: Engine, plain: Engine, rows: int = 8) -> None:
        self.is_sqlite = engine.dialect.name == "sqlite"
        self.engine = engine
        self.sessions = sessionmaker(engine)
        self.plain = plain
        self.snapshots = sessionmaker(engine.execution_options(isolation_level="SERIALIZABLE"))
        self.autocommit = sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))
        self.rows = {key: Row(key) for key in range(1, rows + 1)}
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self.stopped = threading.Event()
        self.pids: dict[int, int] = {}
        """The server processes of the writers, by thread."""
        self._counting = threading.Lock()
        self._version = 0
        with self.plain.begin() as connection:
            for row in self.rows.values():
                connection.execute(insert(City).values(id=row.key, **_values(row.states[0])))

    def count(self, name: str) -> None:
        """Count something that was done."""
        with self._counting:
            self.counts[name] += 1

    def next_version(self) -> int:
        """A number that was never given."""
        with self._counting:
            self._version += 1
            return self._version

    def floors(self) -> dict[int, int]:
        """Which states are known to be committed."""
        return {key: row.committed for key, row in self.rows.items()}

    def judge(self, how: str, key: int, floor: int, found: City | None, slug: str | None = None) -> None:
        """Whether a row, or none, is an answer that may be given to a question that was asked after ``floor``."""
        window = self.rows[key].states[floor:]
        self.count("reads")
        if found is None:
            if all(state.there and slug in (None, state.slug) for state in window):
                self.errors.append(f"{how}: row {key} is missing, but might be {window}")
            return
        fitting = [state for state in window if state.there and state.version == found.population]
        if not any(state.slug == found.slug for state in fitting) or slug not in (None, found.slug):
            self.errors.append(f"{how}: row {key} was {found.population} {found.slug}, but might be {window}")
        elif all(state.is_rolled_back for state in fitting):
            self.errors.append(f"{how}: row {key} was {found.population}, which was rolled back")

    def judge_all(self) -> None:
        """Nobody writes: the cache must say what the history says, twice."""
        self.engine.dispose()  # some of its connections are lost
        for key, row in [*self.rows.items()] * 2:
            with self.sessions() as session:
                self.judge("at rest", key, row.committed, get_from_cache(session, City, id=key))
            for number in range(SLUGS):
                with self.sessions() as session:
                    slug = f"s{key}-{number}"
                    self.judge(f"{slug} at rest", key, row.committed, get_from_cache(session, City, slug=slug), slug)

    def run(self, seconds: float, seed: int, *, writers: int = 4, readers: int = 4) -> None:
        """Let threads write and read, then judge what they have left."""
        self.stopped.clear()
        actors: list[Callable[[], None]] = [Writer(self, seed * 100 + n).run for n in range(writers)]
        actors += [Reader(self, seed * 100 + 50 + n).run for n in range(readers)]
        if not self.is_sqlite:
            actors.append(lambda: self._kill(random.Random(seed)))
        threads = [threading.Thread(target=self._guarded, args=(actor,), daemon=True) for actor in actors]
        for thread in threads:
            thread.start()
        self.stopped.wait(seconds)
        self.stopped.set()
        for thread in threads:
            thread.join(60)
            if thread.is_alive():
                self.errors.append("a thread hangs")
        if not self.errors:
            self.judge_all()

    def _guarded(self, actor: Callable[[], None]) -> None:
        try:
            actor()
        except BaseException as error:
            self.errors.append(f"{type(error).__name__}: {error}")

    def _kill(self, chance: random.Random) -> None:
        """Now and then end a server process in the middle of what it does."""
        while not self.stopped.wait(chance.uniform(0.1, 0.5)):
            pids = list(self.pids.values())
            if pids:
                with self.plain.connect() as connection:
                    connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": chance.choice(pids)})
                self.count("kills")


def _values(state: State) -> dict[str, Any]:
    return {"slug": state.slug, "name": state.slug, "population": state.version}


class Writer:
    """Changes rows in every way there is."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)

    def run(self) -> None:
        """Until the world is stopped."""
        world = self._world
        while not world.stopped.is_set():
            # One of SQLite's writers at a time would wait for the others in the database.
            keys = self._chance.sample(
                [*world.rows], len(world.rows) if world.is_sqlite else self._chance.randint(1, 3)
            )
            with ExitStack() as locks:
                rows = [world.rows[key] for key in sorted(keys)]
                for row in rows:
                    locks.enter_context(row.lock)
                self._change(self._chance.sample(rows, self._chance.randint(1, min(3, len(rows)))))
            world.stopped.wait(self._chance.expovariate(1 / 0.002))

    def _change(self, rows: Sequence[Row]) -> None:
        world, changed = self._world, dict[Row, State]()
        alone = len(rows) == 1 and self._chance.random() < 0.4
        pid = 0
        try:
            with (world.autocommit if alone else world.sessions)() as session:
                if not world.is_sqlite:
                    pid = world.pids[threading.get_ident()] = session.scalar(text("SELECT pg_backend_pid()")) or 0
                for row in rows:
                    self._write(session, row, changed, alone)
                if not alone:
                    self._look_around(session, changed)
                    if self._chance.random() < 0.2:
                        raise _ChangedOurMind
                session.commit()
        except _ChangedOurMind:
            for state in changed.values():
                state.is_rolled_back = True
            world.count("rollbacks")
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            self._find_out(changed, pid)
        else:
            for row in changed:
                row.committed = len(row.states) - 1
            world.count("commits alone" if alone else "commits")

    def _find_out(self, changed: dict[Row, State], pid: int) -> None:
        """The connection was lost, and with it the answer, perhaps to COMMIT: when it is over, ask."""
        world = self._world
        world.count("connections lost")
        with world.plain.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while connection.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid"), {"pid": pid}):
                time.sleep(0.005)
            for row, state in changed.items():
                version = connection.scalar(select(City.population).where(City.id == row.key))
                if version == (state.version if state.there else None):
                    row.committed = row.states.index(state)
                else:
                    state.is_rolled_back = True

    def _write(self, session: Session, row: Row, changed: dict[Row, State], alone: bool) -> None:
        now, chance = row.states[row.committed], self._chance
        state = State(self._world.next_version(), now.slug)
        if not alone and now.there and chance.random() < 0.2:
            with suppress(_ChangedOurMind), session.begin_nested():
                session.execute(update(City).where(City.id == row.key).values(population=GARBAGE))
                get_from_cache(session, City, id=row.key)
                raise _ChangedOurMind
        state.there = not now.there or chance.random() > 0.12
        if chance.random() < 0.3:
            state.slug = f"s{row.key}-{chance.randrange(SLUGS)}"
        row.states.append(state)
        changed[row] = state
        ways = self._creates if not now.there else self._updates if state.there else self._deletes
        chance.choice(ways(session, row, state))()
        session.flush()

    def _creates(self, session: Session, row: Row, state: State) -> list[Callable[[], object]]:
        values = {"id": row.key, **_values(state)}
        return [
            lambda: session.add(City(**values)),
            lambda: session.merge(City(**values)),
            lambda: session.execute(insert(City).values(**values)),
            lambda: session.bulk_insert_mappings(City.__mapper__, [values]),
        ]

    def _deletes(self, session: Session, row: Row, state: State) -> list[Callable[[], object]]:
        return [
            lambda: session.delete(session.get_one(City, row.key)),
            lambda: session.execute(delete(City).where(City.id == row.key)),
            lambda: session.execute(delete(City).where(City.slug.startswith(f"s{row.key}-"))),
            lambda: session.execute(text("DELETE FROM city WHERE id = :key"), {"key": row.key}),
        ]

    def _updates(self, session: Session, row: Row, state: State) -> list[Callable[[], object]]:
        values, keyed = _values(state), {"id": row.key, **_values(state)}

        def flush() -> None:
            city: Any = session.get_one(City, row.key, populate_existing=True)
            for name, value in values.items():
                setattr(city, name, value)

        sql = text("UPDATE city SET slug = :slug, name = :name, population = :population WHERE id = :id")
        return [
            flush,
            lambda: session.merge(City(**keyed)),
            lambda: session.execute(update(City).where(City.id == row.key).values(**values)),
            lambda: session.execute(update(City).where(City.slug.startswith(f"s{row.key}-")).values(**values)),
            lambda: session.execute(update(City), [keyed]),
            lambda: session.connection().execute(update(City.__table__).where(City.id == row.key).values(**values)),
            lambda: session.bulk_update_mappings(City.__mapper__, [keyed]),
            lambda: session.execute(sql, keyed),
        ]

    def _look_around(self, session: Session, changed: dict[Row, State]) -> None:
        """In the transaction: its own writes are seen."""
        for row, state in changed.items():
            if self._chance.random() < 0.5:
                session.expunge_all()
                found = get_from_cache(session, City, id=row.key)
                self._world.count("own reads")
                if (found.population if found else None) != (state.version if state.there else None):
                    self._world.errors.append(
                        f"own write of row {row.key}: {state}, but it was {found and vars(found)}"
                    )
                get_from_cache(session, City, slug=state.slug)


class Reader:
    """Asks in every way there is."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)

    def run(self) -> None:
        """Until the world is stopped."""
        world = self._world
        while not world.stopped.is_set():
            try:
                self._some(is_snapshot=self._chance.random() < 0.2)
            except DBAPIError as error:  # it has a connection that was a writer's
                if not error.connection_invalidated:
                    raise

    def _some(self, *, is_snapshot: bool) -> None:
        world = self._world
        with (world.snapshots if is_snapshot else world.sessions)() as session:
            floors = world.floors()
            for _ in range(self._chance.randint(1, 4)):
                self._read(session, floors if is_snapshot else world.floors())
                session.expunge_all()

    def _read(self, session: Session, floors: dict[int, int]) -> None:
        world, chance = self._world, self._chance
        key, what = chance.choice([*world.rows]), chance.random()
        if what < 0.4:
            world.judge("by key", key, floors[key], get_from_cache(session, City, id=key))
        elif what < 0.8:
            slug = f"s{key}-{chance.randrange(SLUGS)}"
            world.judge("by slug", key, floors[key], get_from_cache(session, City, slug=slug), slug)
        else:
            some = chance.sample([*world.rows], 4)
            found = {city.id: city for city in get_many_from_cache(session, City, some)}
            for one in some:
                world.judge("many", one, floors[one], found.get(one))


@pytest.fixture(params=["postgresql with redis", "postgresql with memory", "sqlite file with memory"])
def world(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[World]:
    """Rows in a database, and a cache."""
    name, _, cached = request.param.partition(" with ")
    location, options = "memory://", None
    if cached == "redis":
        location, options = request.getfixturevalue("redis_server").url, PATIENT
    database: Database = open_database(name, Base.metadata)
    engine, plain = database.engine(pool_size=20), database.engine()
    if database.is_sqlite:
        with plain.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    with Cache(location, namespace=uuid.uuid4().hex, options=options) as cache:
        world = World(engine, plain)
        for sessions in (world.sessions, world.snapshots, world.autocommit):
            cache_sessions(sessions, cache)
        yield world


def test_every_answer_is_one_that_may_be_given(world: World) -> None:
    """By primary key, by slug and many at once, while rows are written in every way, rolled back, and connections are
    lost."""
    until, number = time.monotonic() + SECONDS / 3, 0
    while not world.errors and (number == 0 or time.monotonic() < until):
        world.run(0.5, SEED * 1000 + number)
        number += 1
    print(dict(sorted(world.counts.items())))
    assert not world.errors, "\n".join(world.errors[:10])
    for what in ("reads", "commits", "rollbacks", "own reads", "commits alone"):
        assert world.counts[what] > 0


@pytest.mark.parametrize("world", ["postgresql with memory"], indirect=True)
@pytest.mark.parametrize("hole", ["touched_by_statement", "touched_by_text"])
def test_the_judges_find_what_is_wrong(world: World, hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing is outdated by statements of one kind, there are wrong answers."""
    nothing: Any = (
        (lambda here, state, connection, statement, parameters: (statement, [])) if "st" in hole[-9:] else None
    )
    monkeypatch.setattr(engine_module, hole, nothing or (lambda *arguments: []))
    until = time.monotonic() + 30
    while time.monotonic() < until and not world.errors:
        world.run(0.5, SEED)
    assert world.errors
