# ruff: noqa: F811 - fixtures are imported
"""Writes and transactions of AsyncSession: on each driver, in tasks that are cancelled, and in many at once."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import sessionmaker

from cachecore import AsyncCache, Cache, Policy
from cachecore.backends.memory import MemoryBackend
from cachecore.errors import WriteRefused
from cachecore.integrations.sqlalchemy import (
    aget_from_cache,
    aget_many_from_cache,
    ainvalidate,
    cache_sessions,
    get_from_cache,
)
from cachecore.testing import AsyncFakeBackend, ManualClock
from tests.orm_databases import Database, async_database, open_async_database, postgres  # noqa: F401
from tests.orm_models import City, Country, Note, Order, Tag


class GatedBackend(AsyncFakeBackend):
    """A fake server of which one call can be made to hang until a task is cancelled."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.hangs_in = ""
        self.is_hanging = asyncio.Event()

    async def _gate(self, name: str) -> None:
        if self.hangs_in == name:
            self.hangs_in = ""
            self.is_hanging.set()
            await asyncio.get_running_loop().create_future()

    async def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> None:
        await self._gate("hold")
        await super().hold(keys, token, ttl)

    async def complete(self, *arguments: Any) -> None:
        await self._gate("complete")
        await super().complete(*arguments)


class Shop:
    """A database with two cities, and a fake server as its cache."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = ManualClock()
        self.backend = GatedBackend(self.clock)
        self.server = self.backend.server
        self.cache = AsyncCache(self.backend, namespace="orm", clock=self.clock, sleep=self._sleep)
        self.plain = database.async_engine()
        """An engine without a cache."""
        self.engine = database.async_engine()
        self.journal: list[str] = []
        """PREPARE and COMPLETE, and the COMMITs of the driver."""
        self._journal()
        self.sessions = async_sessionmaker(self.engine)
        cache_sessions(self.sessions, self.cache)

    async def _sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    def _journal(self) -> None:
        dialect, journal = self.engine.dialect, self.journal
        commit = dialect.do_commit
        dialect.do_commit = lambda connection: (journal.append("COMMIT"), commit(connection))  # type: ignore[method-assign]

        class Log(list[Any]):
            def append(self, call: Any) -> None:
                super().append(call)
                if call.name in ("hold", "complete", "release"):
                    journal.append(call.name)

        self.server.log = Log()

    async def open(self) -> None:
        """Make the rows, and read them into the cache."""
        async with self.plain.begin() as connection:
            await connection.execute(insert(Country).values(id=1, code="NO", name="Norway"))
            rows = [{"id": key, "slug": f"c{key}", "name": f"n{key}", "population": 0} for key in (1, 2)]
            await connection.execute(insert(City), rows)
        for key in (1, 2):
            await self.population(key)

    async def population(self, key: int = 1, session: AsyncSession | None = None, **lookup: Any) -> int | None:
        """What a reader sees; a new session by default."""
        if session is None:
            async with self.sessions() as own:
                return await self.population(key, own, **lookup)
        await session.flush()
        session.expunge_all()
        city = await aget_from_cache(session, City, **(lookup or {"id": key}))
        return None if city is None else city.population

    async def is_hit(self, key: int = 1) -> bool:
        """Whether a reader finds the row in the cache."""
        hits = self.cache.statistics.hits
        await self.population(key)
        return self.cache.statistics.hits > hits

    async def in_database(self, key: int = 1) -> int | None:
        """What is committed."""
        async with self.plain.connect() as connection:
            return await connection.scalar(select(City.population).where(City.id == key))


@pytest.fixture
async def shop(async_database: Database) -> AsyncIterator[Shop]:
    """On each driver."""
    shop = Shop(async_database)
    await shop.open()
    yield shop
    await shop.cache.close()


async def grow(session: AsyncSession, to: int, key: int = 1) -> None:
    """Write a row."""
    await session.execute(update(City).where(City.id == key).values(population=to))


class TestWrites:
    """What is written is seen by whoever may see it."""

    async def test_prepare_is_the_last_before_commit_and_complete_the_first_after(self, shop: Shop) -> None:
        """Flushed together, said together."""
        async with shop.sessions.begin() as session:
            (await session.get_one(City, 1)).population = 1
            (await session.get_one(City, 2)).population = 2
        assert shop.journal == ["hold", "COMMIT", "complete"]
        assert [await shop.population(key) for key in (1, 2)] == [1, 2]

    async def test_own_writes_are_seen_by_nobody_else(self, shop: Shop) -> None:
        """The session sees what it has written, others when the commit has returned; what was not written is a hit."""
        async with shop.sessions() as session:
            await grow(session, 1)
            assert await shop.population(session=session) == 1
            assert [city.population for city in await aget_many_from_cache(session, City, [1, 2])] == [1, 0]
            assert await shop.population() == 0
            assert await shop.is_hit()
            await session.commit()
        assert await shop.population() == 1
        assert await shop.population(slug="c1") == 1
        assert await shop.is_hit(2)

    @pytest.mark.parametrize("end", ["rollback", "close"])
    async def test_what_was_rolled_back_has_never_been(self, shop: Shop, end: str) -> None:
        """The old row is still in the cache."""
        async with shop.sessions() as session:
            await grow(session, 1)
            if end == "rollback":
                await session.rollback()
        assert shop.journal == []
        assert await shop.population() == 0
        assert await shop.is_hit()

    async def test_savepoints(self, shop: Shop) -> None:
        """One is released, one rolled back."""
        async with shop.sessions() as session:
            await grow(session, 1, key=2)
            async with session.begin_nested():
                await grow(session, 1)
            savepoint = await session.begin_nested()
            await grow(session, 2)
            assert await shop.population(session=session) == 2
            await savepoint.rollback()
            assert await shop.population(session=session) == 1
            assert await shop.population() == 0
            await session.commit()
        assert [await shop.population(key) for key in (1, 2)] == [1, 1]

    async def test_each_way_to_write(self, shop: Shop) -> None:
        """Flushes, ORM statements, Core and SQL in text."""
        async with shop.sessions.begin() as session:
            city = await aget_from_cache(session, City, slug="c1")
            assert city is not None
            city.slug = "new"
        assert (await shop.population(slug="c1"), await shop.population(slug="new")) == (None, 0)
        async with shop.sessions.begin() as session:
            await session.execute(update(City).where(City.name == "n2").values(population=2))
        assert [await shop.population(key) for key in (1, 2)] == [0, 2]
        assert await shop.is_hit(1)
        async with shop.engine.begin() as connection:
            await connection.execute(update(City).values(population=3))
        assert [await shop.population(key) for key in (1, 2)] == [3, 3]
        async with shop.sessions.begin() as session:
            await session.execute(text("UPDATE city SET population = 4"))
        assert [await shop.population(key) for key in (1, 2)] == [4, 4]
        async with shop.sessions.begin() as session:
            await session.execute(update(City), [{"id": 1, "population": 5}, {"id": 2, "population": 6}])
        assert [await shop.population(key) for key in (1, 2)] == [5, 6]
        async with shop.sessions.begin() as session:
            await session.delete(await session.get_one(City, 1))
            session.add(City(id=50, slug="c50", name="n50", population=7))
        assert [await shop.population(key) for key in (1, 50)] == [None, 7]
        async with shop.sessions.begin() as session:
            await session.execute(delete(City).where(City.slug == "c50"))
        assert await shop.population(50) is None

    async def test_autocommit(self, shop: Shop) -> None:
        """Each statement stands between a PREPARE and a COMPLETE."""
        sessions = async_sessionmaker(shop.engine.execution_options(isolation_level="AUTOCOMMIT"))
        cache_sessions(sessions, shop.cache)
        async with sessions() as session:
            for number in (1, 2):
                await grow(session, number)
                assert await shop.population() == number
        assert [one for one in shop.journal if one != "COMMIT"] == ["hold", "complete"] * 2

    async def test_many_to_many_and_run_sync(self, shop: Shop) -> None:
        """Synchronous code in an AsyncSession writes like any other."""

        def write(session: Any) -> None:
            session.add(Order(id=1, text="a", tags=[Tag(id=1, name="t")]))
            session.get(City, 1).population = 1

        async with shop.sessions() as session:
            await session.run_sync(write)
            await session.commit()
        assert await shop.population() == 1

    async def test_a_write_that_nobody_saw(self, shop: Shop) -> None:
        """ainvalidate() tells of it."""
        async with shop.plain.begin() as connection:
            await connection.execute(update(City).values(population=1))
        assert await shop.population() == 0
        async with shop.sessions() as session:
            await ainvalidate(session, City, 1)
            assert [await shop.population(key) for key in (1, 2)] == [1, 0]
            await ainvalidate(session, City)
        assert await shop.population(2) == 1

    async def test_a_sync_engine_beside(self, async_database: Database) -> None:
        """One backend in the process serves both kinds of engine: each hears what the other has written."""
        backend, url = MemoryBackend(), async_database.url.replace("+aiosqlite", "").replace("asyncpg", "psycopg")
        beside = Database("beside", async_database.metadata, url)
        engine = beside.engine()
        with Cache(backend, namespace="orm") as cache:
            async_cache = AsyncCache(backend, namespace="orm")
            sessions, async_sessions = sessionmaker(engine), async_sessionmaker(async_database.async_engine())
            cache_sessions(sessions, cache)
            cache_sessions(async_sessions, async_cache)
            with sessions.begin() as session:
                session.add(City(id=1, slug="c1", name="n1", population=0))
            for number in range(1, 4):
                async with async_sessions.begin() as async_session:
                    assert (await aget_from_cache(async_session, City, id=1)).population == number - 1  # type: ignore[union-attr]
                with sessions.begin() as session:
                    assert get_from_cache(session, City, id=1).population == number - 1  # type: ignore[union-attr]
                async with async_sessions.begin() as async_session:
                    await grow(async_session, -number)
                with sessions.begin() as session:
                    assert get_from_cache(session, City, id=1).population == -number  # type: ignore[union-attr]
                    session.execute(update(City).values(population=number))
            await async_cache.close()
        beside.close()


class TestFailures:
    """Commits that fail, and a cache that cannot be reached."""

    async def test_refused(self, shop: Shop) -> None:
        """A write that nobody could hear of is refused before COMMIT; after a rollback the session goes on."""
        async with shop.sessions() as session:
            await grow(session, 1)
            shop.server.fail("hold")
            with pytest.raises(WriteRefused):
                await session.commit()
            await session.rollback()
            assert "COMMIT" not in shop.journal
            assert await shop.population() == await shop.in_database() == 0
            await grow(session, 2)
            await session.commit()
        assert await shop.population() == 2

    async def test_reads_are_answered_by_the_database(self, shop: Shop) -> None:
        """Whatever fails."""
        for name in ("get", "acquire", "fill"):
            shop.server.clear()
            shop.server.fail(name, times=10)
            assert await shop.population() == 0
            shop.server.recover()

    async def test_a_statement_that_fails(self, shop: Shop) -> None:
        """After the rollback the session writes on."""
        async with shop.sessions() as session:
            await grow(session, 1)
            with pytest.raises(IntegrityError):
                await session.execute(insert(City).values(id=2, slug="x", name="x"))
            await session.rollback()
            await grow(session, 3)
            await session.commit()
        assert await shop.population() == 3

    async def test_bounded(self, async_database: Database) -> None:
        """With unreachable="bounded" the write goes on."""
        backend = AsyncFakeBackend()
        cache = AsyncCache(backend, namespace="orm", policy=Policy(unreachable="bounded"))
        sessions = async_sessionmaker(async_database.async_engine())
        cache_sessions(sessions, cache)
        backend.server.fail(times=100)
        async with sessions.begin() as session:
            session.add(City(id=1, slug="c1", name="n1", population=5))
        async with sessions() as session:
            assert (await aget_from_cache(session, City, id=1)).population == 5  # type: ignore[union-attr]
        await cache.close()


class TestCancelled:
    """A task that is cancelled while it commits: readers are told what the database has, then and later."""

    async def _commit(self, shop: Shop) -> None:
        async with shop.sessions() as session:
            await grow(session, 1)
            await session.commit()

    async def _is_right(self, shop: Shop, expected: int) -> None:
        assert await shop.in_database() == expected
        assert await shop.population() == expected
        shop.clock.advance(60)
        assert await shop.population() == expected
        assert await shop.is_hit()
        async with shop.sessions.begin() as session:
            await grow(session, 9)
        assert await shop.population() == 9

    @pytest.mark.parametrize(("call", "expected"), [("hold", 0), ("complete", 1)])
    async def test_while_it_speaks_to_the_cache(self, shop: Shop, call: str, expected: int) -> None:
        """In PREPARE nothing has been committed, in COMPLETE everything."""
        shop.backend.hangs_in = call
        task, hanging = (asyncio.create_task(one) for one in (self._commit(shop), shop.backend.is_hanging.wait()))
        await asyncio.wait([task, hanging], return_when=asyncio.FIRST_COMPLETED)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await self._is_right(shop, expected)

    @pytest.mark.parametrize("async_database", ["asyncpg", "psycopg"], indirect=True)
    async def test_while_it_waits_for_commit(self, shop: Shop) -> None:
        """Nobody can tell how COMMIT ends: the holds stand until they expire, whatever becomes of it."""
        body = "BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END"
        async with shop.plain.begin() as connection:
            await connection.execute(
                text(f"CREATE OR REPLACE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS '{body}'")
            )
            await connection.execute(
                text(
                    "CREATE CONSTRAINT TRIGGER waits AFTER UPDATE ON city DEFERRABLE INITIALLY DEFERRED "
                    "FOR EACH ROW EXECUTE FUNCTION wait()"
                )
            )
        try:
            await self._cancel_in_commit(shop)
        finally:
            async with shop.plain.begin() as connection:
                await connection.execute(text("DROP TRIGGER waits ON city"))
        await self._is_right(shop, await shop.in_database() or 0)

    async def _cancel_in_commit(self, shop: Shop) -> None:
        async with shop.plain.connect() as locking:
            await locking.execute(select(func.pg_advisory_xact_lock(1)))
            task = asyncio.create_task(self._commit(shop))
            waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            while not task.done() and await locking.scalar(waiting) == 0:
                await asyncio.sleep(0)
            assert shop.journal == ["hold", "COMMIT"]
            task.cancel()
            # What the driver does now may wait for the server, which waits for this lock.
            await locking.rollback()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert "release" not in shop.journal
        assert await shop.population() == await shop.in_database()


async def test_many_tasks(shop: Shop) -> None:
    """Tasks with sessions of their own write and read at random: who reads after a commit has returned sees it, or a
    later one, and never one that was rolled back."""
    chance = random.Random(1)
    committed, versions = {1: 0, 2: 0}, {1: 0, 2: 0}
    rolled_back: set[int] = set()
    locks = {1: asyncio.Lock(), 2: asyncio.Lock()}
    writing = asyncio.Lock() if shop.database.is_sqlite else None

    async def write(number: int) -> None:
        key = chance.choice((1, 2))
        async with locks[key], writing or asyncio.Lock():
            version = versions[key] = versions[key] + 1
            async with shop.sessions() as session:
                city = await aget_from_cache(session, City, id=key)
                assert city is not None
                await session.refresh(city, with_for_update=not shop.database.is_sqlite)
                city.population = version
                session.add(Note(text="x"))
                await session.flush()
                assert await shop.population(key, session) == version
                if chance.random() < 0.3:
                    rolled_back.add(key * 1000 + version)
                    await session.rollback()
                else:
                    await session.commit()
                    committed[key] = version

    async def read() -> None:
        key = chance.choice((1, 2))
        floor = committed[key]
        found = await shop.population(key) if chance.random() < 0.5 else await shop.population(slug=f"c{key}")
        assert found is not None
        assert floor <= found <= versions[key]
        assert key * 1000 + found not in rolled_back

    await asyncio.gather(*(write(n) if n % 3 == 0 else read() for n in range(90)))
    assert [await shop.population(key) for key in (1, 2)] == [committed[1], committed[2]]
    assert sum(committed.values()) > 5
    assert rolled_back


async def test_an_engine_that_is_disposed_and_used_again(shop: Shop) -> None:
    """New connections begin with nothing under way."""
    async with shop.sessions() as session:
        await grow(session, 1)
        await session.rollback()
    await shop.engine.dispose()
    async with shop.sessions.begin() as session:
        await grow(session, 2)
    assert await shop.population() == 2
    engine: AsyncEngine = shop.engine
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
