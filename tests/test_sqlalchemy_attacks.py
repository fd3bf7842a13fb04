# ruff: noqa: F811 - fixtures are imported.
"""Ways in which a cached row could be left outdated, or a write be lost, each of which once did so."""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    create_engine,
    delete,
    event,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from cachecore import Cache
from cachecore.errors import ConfigurationError, WriteRefused
from cachecore.integrations.sqlalchemy import cache_sessions, cached, get_from_cache, get_many_from_cache
from cachecore.testing import FakeBackend
from tests.orm_databases import Database, OpenDatabase, open_database, postgres  # noqa: F401


class Base(DeclarativeBase):
    """Of the classes here."""


class Plus(TypeDecorator[int]):
    """Stores a hundred more."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Any) -> int | None:
        return None if value is None else value + 100

    def process_result_value(self, value: int | None, dialect: Any) -> int | None:
        return None if value is None else value - 100


@cached(lookups=["slug"])
class Item(Base):
    """A row."""

    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    slug: Mapped[str] = mapped_column(String(20), unique=True)
    name: Mapped[str]


@cached()
class Part(Base):
    """A row that the database deletes with its item, and changes with its slug."""

    __tablename__ = "part"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    item_id: Mapped[int | None] = mapped_column(ForeignKey("item.id", ondelete="CASCADE"))
    slug: Mapped[str | None] = mapped_column(ForeignKey("item.slug", onupdate="CASCADE", ondelete="SET NULL"))


@cached()
class Pair(Base):
    """A primary key of two columns."""

    __tablename__ = "pair"
    a: Mapped[int] = mapped_column(primary_key=True)
    b: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@cached()
class Shifted(Base):
    """A primary key that is stored as another value."""

    __tablename__ = "shifted"
    id: Mapped[int] = mapped_column(Plus, primary_key=True, autoincrement=False)
    name: Mapped[str]


@cached()
class Setting(Base):
    """The one row of a table, whose key is a default."""

    __tablename__ = "setting"
    id: Mapped[int] = mapped_column(primary_key=True, default=1, autoincrement=False)
    name: Mapped[str]


class World:
    """A database with a few rows, all of them cached."""

    def __init__(self, database: Database, **options: Any) -> None:
        self.database = database
        self.engine = database.engine(**options)
        if database.is_sqlite:
            event.listen(self.engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys = ON"))
        self.server = FakeBackend()
        self.cache = Cache(self.server, namespace="attack")
        self.sessions = sessionmaker(self.engine)
        cache_sessions(self.sessions, self.cache)
        with self.sessions.begin() as session:
            session.add_all(Item(id=key, slug=f"s{key}", name="old") for key in range(1, 31))
            session.flush()
            session.add(Part(id=1, item_id=1, slug="s2"))
            session.add_all([Pair(a=1, b=2, name="old"), Pair(a=2, b=1, name="old")])
            session.add_all([Shifted(id=1, name="old"), Setting(name="old")])
        self.warm()

    def warm(self) -> None:
        """Put all rows into the cache."""
        for _ in range(2):
            with self.sessions() as session:
                get_many_from_cache(session, Item, range(1, 31))
                get_many_from_cache(session, Pair, [(1, 2), (2, 1)])
                for cls in (Part, Shifted, Setting):
                    get_from_cache(session, cls, pk=1)

    def check(self) -> None:
        """Every row that the cache gives is the one that the database has."""
        with self.sessions() as session, Session(self.engine) as plain:
            for cls, keys in (
                (Item, list(range(1, 31))),
                (Pair, [(1, 2), (2, 1)]),
                (Part, [1]),
                (Shifted, [1]),
                (Setting, [1]),
            ):
                for key in keys:
                    row, true = get_from_cache(session, cls, pk=key), plain.get(cls, key)
                    assert (row is None) == (true is None), (cls, key)
                    for column in cls.__mapper__.column_attrs if row is not None else ():
                        assert getattr(row, column.key) == getattr(true, column.key), (cls, key, column.key)


@pytest.fixture(params=["sqlite file", "postgresql"])
def world(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Iterator[World]:
    """The test runs on both databases."""
    world = World(open_database(request.param, Base.metadata), pool_size=1, max_overflow=2)
    yield world
    world.cache.close()


class TestRefusedCommits:
    """A COMMIT that does not happen leaves nothing behind on the connection, which others will get."""

    def test_what_was_refused_is_not_committed_by_the_next(self, world: World) -> None:
        """SQLAlchemy sends no ROLLBACK after a COMMIT that raised."""
        world.server.fail("hold")
        with world.sessions() as session:
            session.execute(update(Item).where(Item.id == 1).values(name="refused"))
            with pytest.raises(WriteRefused):
                session.commit()
        with world.sessions.begin() as session:
            session.execute(update(Item).where(Item.id == 2).values(name="new"))
        with Session(world.engine) as session:
            assert [session.get_one(Item, key).name for key in (1, 2)] == ["old", "new"]
        world.check()

    def test_what_the_database_refused_is_not_held(self, world: World) -> None:
        """A deferred constraint that COMMIT finds violated: the next transaction begins with nothing."""
        with world.engine.begin() as connection:
            if world.database.is_sqlite:
                connection.execute(text("DROP TABLE part"))
                connection.execute(
                    text(
                        "CREATE TABLE part (id INTEGER PRIMARY KEY, slug VARCHAR(20),"
                        " item_id INTEGER REFERENCES item (id) DEFERRABLE INITIALLY DEFERRED)"
                    )
                )
                connection.execute(text("INSERT INTO part (id, item_id) VALUES (1, 1)"))
            else:
                change = "ALTER TABLE part ALTER CONSTRAINT part_item_id_fkey DEFERRABLE INITIALLY"
                connection.execute(text(f"{change} DEFERRED"))
        with world.sessions() as session:
            session.execute(update(Part).where(Part.id == 1).values(item_id=99))
            with pytest.raises(IntegrityError):
                session.commit()
        world.server.log.clear()
        with world.sessions.begin() as session:
            session.execute(update(Item).where(Item.id == 2).values(name="new"))
        assert [len(call.keys) for call in world.server.log if call.name == "hold"] == [1]
        world.check()
        if not world.database.is_sqlite:  # others use this table too
            with world.engine.begin() as connection:
                connection.execute(text("ALTER TABLE part ALTER CONSTRAINT part_item_id_fkey NOT DEFERRABLE"))


class TestRowsNobodyNames:
    """What a statement writes is what it outdates, however it says it."""

    @pytest.mark.parametrize("rule", ["limit", "function", "literal", "cte"])
    def test_a_where_that_answers_otherwise_the_second_time(self, world: World, rule: str) -> None:
        """It is not asked which rows it will write: each statement writes as many as it says."""
        chosen: Any = select(Item.id).where(Item.name == "old").order_by(func.random()).limit(1)
        statement = update(Item).values(name="new").execution_options(synchronize_session=False)
        match rule:
            case "limit":
                statement = statement.where(Item.id == chosen.scalar_subquery())
            case "function":
                statement = statement.where(func.coalesce(func.random(), 0) != func.random())
            case "literal":
                statement = statement.where(literal_column("abs(random())") >= 0, Item.id == 7)
            case _:
                one = chosen.cte("chosen")
                statement = statement.where(Item.id.in_(select(one.c.id)))
        with world.sessions.begin() as session:
            session.execute(statement)
        with Session(world.engine) as session:
            assert session.scalar(select(func.count()).where(Item.name == "new")) >= 1  # type: ignore[operator]
        world.check()

    def test_rows_that_the_database_deletes_and_changes(self, world: World) -> None:
        """ON DELETE and ON UPDATE of foreign keys send no statement."""
        with world.sessions.begin() as session:
            session.execute(update(Item).where(Item.id == 2).values(slug="moved"))
        world.check()
        with world.sessions.begin() as session:
            session.execute(delete(Item).where(Item.id == 2))
        world.check()
        with world.engine.begin() as connection:
            connection.execute(text("DELETE FROM item WHERE id = 1"))
        world.check()

    def test_a_foreign_key_to_a_table_that_is_not_there(self, open_database: OpenDatabase) -> None:
        """A class that was imported before the one that it points to, or without it, stops no write of others."""

        class Local(DeclarativeBase):
            """Of two classes."""

        @cached()
        class Here(Local):
            __tablename__ = "here"
            id: Mapped[int] = mapped_column(primary_key=True)

        class Early(Local):
            __tablename__ = "early"
            id: Mapped[int] = mapped_column(primary_key=True)
            later_id: Mapped[int] = mapped_column(ForeignKey("later.id", ondelete="CASCADE", onupdate="CASCADE"))

        engine = open_database("sqlite file", MetaData()).engine()
        Here.__table__.create(engine)  # type: ignore[attr-defined]
        sessions = sessionmaker(engine)
        with Cache(FakeBackend(), namespace="attack") as cache:
            cache_sessions(sessions, cache)
            with sessions.begin() as session:
                session.add(Here(id=1))
                session.flush()
                session.execute(update(Here).values(id=2))
                session.execute(delete(Here))
        assert Early.__tablename__ == "early"

    def test_an_upsert_leaves_rows_that_follow(self, world: World) -> None:
        """It deletes nothing, so what would be deleted with a row stays in the cache."""
        dialect: Any = sqlite if world.database.is_sqlite else postgresql
        statement = dialect.insert(Item).values(id=1, slug="s1", name="new")
        world.server.log.clear()
        with world.sessions.begin() as session:
            session.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"name": "new"}))
        assert [len(call.keys) for call in world.server.log if call.name == "hold"] == [
            2
        ]  # the item, all parts by slug
        world.check()

    def test_an_upsert_whose_key_is_a_default(self, world: World) -> None:
        """It writes the row that is there."""
        dialect: Any = sqlite if world.database.is_sqlite else postgresql
        statement = dialect.insert(Setting).values(name="new")
        with world.sessions.begin() as session:
            session.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"name": "new"}))
        world.check()

    def test_a_lock_is_no_write(self, world: World) -> None:
        """A query that begins with WITH and locks rows outdates nothing."""
        if world.database.is_sqlite:
            pytest.skip("about FOR UPDATE")
        locked = select(Item.id).where(Item.id == 3).with_for_update(skip_locked=True).cte()
        world.server.log.clear()
        with world.sessions.begin() as session:
            session.execute(select(locked.c.id))
        assert world.server.log == []


class TestOtherNames:
    """A table is known by whatever object a statement has for it."""

    def test_the_default_schema(self, world: World) -> None:
        """With its name and without."""
        schema = "main" if world.database.is_sqlite else "public"
        other = Table(
            "item", MetaData(), Column("id", Integer, primary_key=True), Column("name", String), schema=schema
        )
        with world.engine.begin() as connection:
            connection.execute(update(other).where(other.c.id == 1).values(name="new"))
        world.check()

    def test_another_order_of_the_primary_key(self, world: World) -> None:
        """The parts are known by their names."""
        other = Table(
            "pair",
            MetaData(),
            Column("b", Integer, primary_key=True),
            Column("a", Integer, primary_key=True),
            Column("name", String),
        )
        with world.engine.begin() as connection:
            connection.execute(update(other).where(other.c.a == 1, other.c.b == 2).values(name="new"))
        world.check()

    def test_a_key_that_is_stored_otherwise(self, world: World) -> None:
        """The values of a table that was read from the database are stored ones already."""
        other = Table("shifted", MetaData(), Column("id", Integer, primary_key=True), Column("name", String))
        with world.engine.begin() as connection:
            connection.execute(update(other).where(other.c.id == 101).values(name="new"))
        world.check()

    def test_an_engine_with_other_options(self, world: World) -> None:
        """Engines that share a pool outdate alike, and none is given what another has declared."""
        other = sessionmaker(world.engine.execution_options(logging_token="other"))
        for number, sessions in enumerate((other, world.sessions, other), 1):
            with sessions.begin() as session:
                session.get_one(Item, number).name = "new"
            world.check()


class TestTransactions:
    """Where a transaction begins and ends."""

    def test_begun_in_words_on_a_connection_in_autocommit(self, world: World) -> None:
        """COMPLETE waits for COMMIT: who reads in between stores nothing."""
        with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("BEGIN"))
            connection.execute(update(Item).where(Item.id == 1).values(name="new"))
            with world.sessions() as session:
                assert get_from_cache(session, Item, id=1).name == "old"  # type: ignore[union-attr]
            connection.execute(text("COMMIT"))
        world.check()

    def test_a_hit_ends_with_the_transaction(self, world: World) -> None:
        """A rollback expires what a hit has brought, as it does what was loaded."""
        with world.sessions() as session:
            item = get_from_cache(session, Item, id=1)
            assert item is not None
            with world.sessions.begin() as other:
                other.get_one(Item, 1).name = "new"
            session.rollback()
            assert item.name == "new"
            assert get_from_cache(session, Item, id=1) is item

    def test_two_engines_of_a_session(self, world: World) -> None:
        """Each has a transaction of its own, also where they share a dialect."""
        other = world.engine.execution_options(logging_token="other")
        sessions = sessionmaker(binds={Item: world.engine, Pair: other})
        cache_sessions(sessions, world.cache)
        with sessions() as session:
            session.execute(update(Item).where(Item.id == 1).values(name="new"))
            assert session.get_one(Pair, (1, 2)).name == "old"
            assert get_from_cache(session, Item, id=1).name == "new"  # type: ignore[union-attr]

    def test_a_long_connection_in_autocommit(self, world: World) -> None:
        """Writes are counted by statement there: many small ones do not outdate all rows."""
        with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for number in range(1100):
                connection.execute(update(Item).where(Item.id == 1).values(name=f"n{number}"))
        world.server.log.clear()
        with world.sessions() as session:
            get_from_cache(session, Item, id=5)
        assert [call.name for call in world.server.log] == ["acquire"]
        world.check()


class TestWhoIsAttached:
    """Which caches an engine outdates."""

    def test_an_engine_that_has_never_connected(self, open_database: OpenDatabase) -> None:
        """Its first connection, with which SQLAlchemy looks at the database, is like any other."""
        database = open_database("postgresql", Base.metadata)
        engine = create_engine(database.url)
        with Cache(FakeBackend(), namespace="attack") as cache:
            cache_sessions(engine, cache)
            with Session(engine) as session:
                assert get_from_cache(session, Item, id=1) is None
        engine.dispose()

    def test_a_cache_that_was_closed_has_a_successor(self, world: World) -> None:
        """Writes go on with the cache that is given next."""
        world.cache.close()
        world.cache = Cache(FakeBackend(), namespace="attack")
        cache_sessions(world.sessions, world.cache)
        with world.sessions.begin() as session:
            session.get_one(Item, 1).name = "new"
        world.check()

    def test_tenants_hold_their_own_rows_only(self, world: World) -> None:
        """Engines with other schemas share a dialect, and each has an alias of its own."""
        schema = "main" if world.database.is_sqlite else "public"
        engine = world.engine.execution_options(schema_translate_map={None: schema})
        tenant = sessionmaker(engine)
        cache_sessions(tenant, world.cache, alias="tenant")
        world.server.log.clear()
        with tenant.begin() as session:
            session.get_one(Item, 1).name = "new"
        assert [len(call.keys) for call in world.server.log if call.name == "hold"] == [1]

    def test_two_databases_of_one_name(self, world: World, open_database: OpenDatabase) -> None:
        """Rows of another database are refused, and not served from this one's entries."""
        other = sessionmaker(open_database("sqlite", Base.metadata).engine())
        cache_sessions(other, world.cache)
        with other() as session, pytest.raises(ConfigurationError, match="alias="):
            get_from_cache(session, Item, id=1)

    def test_an_engine_is_freed(self) -> None:
        """A cache outlives the engines that it was attached to."""

        def use() -> "weakref.ref[Engine]":
            engine = create_engine("sqlite://")
            Base.metadata.create_all(engine)
            cache_sessions(engine, cache)
            with Session(engine) as session:
                get_from_cache(session, Item, id=1)
            engine.dispose()
            return weakref.ref(engine)

        with Cache(FakeBackend(), namespace="attack") as cache:
            left = use()
            gc.collect()
            assert left() is None
