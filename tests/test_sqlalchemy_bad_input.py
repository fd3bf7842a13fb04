"""What becomes of bad input: a clear error that names it, and a session that goes on as if nobody had asked.

A value of the wrong type is refused; one of the right type that its column cannot hold names no row.
"""

# ruff: noqa: F401, F811 -- fixtures are imported

import asyncio
import datetime
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    DateTime,
    Engine,
    Index,
    UniqueConstraint,
    create_engine,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    mapped_column,
    relationship,
    scoped_session,
    sessionmaker,
)

from cachecore import AsyncCache, Cache
from cachecore.backends.memory import MemoryBackend
from cachecore.errors import CachecoreError, ClosedError, ConfigurationError, UncacheableLookup
from cachecore.integrations.sqlalchemy import (
    aget_from_cache,
    aget_many_from_cache,
    aget_one_from_cache,
    ainvalidate,
    cache_sessions,
    cached,
    get_from_cache,
    get_many_from_cache,
    get_one_from_cache,
    invalidate,
)
from cachecore.testing import AsyncFakeBackend, FakeBackend
from tests.orm_databases import (
    Database,
    OpenDatabase,
    async_database,
    async_engine,
    database,
    open_async_database,
    open_database,
    postgres,
    sync_engine,
)
from tests.orm_models import City, Colour, Country, Note, Paint, Price, Restaurant, Seat, Ticket, Word
from tests.orm_worlds import AsyncWorld, World, async_world, insert_rows, quick, world


@contextmanager
def at_work(world: World) -> Iterator[Session]:
    """A session that has read, changed, flushed and not flushed something. All of that is there afterwards."""
    with world.sessions() as session:
        session.add(Country(id=8, code="se", name="Sweden"))
        session.flush()
        oslo = get_one_from_cache(session, City, id=1)
        with session.no_autoflush:
            oslo.population = 1
            session.add(Country(id=9, code="dk", name="Denmark"))
            yield session
        session.commit()
    with world.sessions() as session:
        assert get_one_from_cache(session, City, id=1).population == 1
        assert [one.name for one in get_many_from_cache(session, Country, [8, 9])] == ["Sweden", "Denmark"]


@asynccontextmanager
async def awaited_at_work(world: AsyncWorld) -> AsyncIterator[AsyncSession]:
    """The same, awaited."""
    async with world.sessions() as session:
        session.add(Country(id=8, code="se", name="Sweden"))
        await session.flush()
        with session.no_autoflush:
            session.add(Country(id=9, code="dk", name="Denmark"))
            yield session
        await session.commit()
    async with world.sessions() as session:
        found = await aget_many_from_cache(session, Country, [8, 9])
        assert [one.name for one in found] == ["Sweden", "Denmark"]


# -- values ----------------------------------------------------------------------------------------


class Unshowable:
    """Its repr raises, as that of an application may."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


WRONG: list[tuple[type[Any], dict[str, Any], str]] = [
    (City, {"id": "1"}, "City.id .*'1'"),
    (City, {"id": b"1"}, "City.id"),
    (City, {"id": 1.0}, "City.id .*1.0"),
    (City, {"id": True}, "City.id .*True"),
    (City, {"id": Decimal(1)}, "City.id .*Decimal"),
    (City, {"id": None}, "City.id=None"),
    (City, {"id": math.nan}, "City.id .*nan"),
    (City, {"id": [1]}, r"City.id .*\[1\]"),
    (City, {"id": (1,)}, r"City.id .*\(1,\)"),
    (City, {"id": {}}, "City.id"),
    (City, {"id": object()}, "City.id .*object"),
    (City, {"id": Unshowable()}, "City.id .*Unshowable"),
    (City, {"id": City.id}, "City.id .*SQL expression"),
    (City, {"id": text("1")}, "City.id .*SQL expression"),
    (City, {"id": select(City.id)}, "City.id .*SQL expression"),
    (City, {"id": City(id=1)}, "City.id .*City"),
    (City, {"pk": City(id=1)}, "City.id .*City"),
    (City, {"pk": None}, "City.id=None"),
    (City, {"pk": (1,)}, r"\(1,\)"),
    (City, {"pk": "1"}, "City.id .*'1'"),
    (City, {"slug": 1}, "City.slug .*1"),
    (City, {"slug": b"oslo"}, "City.slug .*b'oslo'"),
    (City, {"slug": None}, "City.slug=None"),
    (City, {"slug": math.nan}, "City.slug .*nan"),
    (City, {"slug": "\ud800"}, r"City.slug .*\\ud800"),
    (City, {"slug": ["oslo"]}, "City.slug .*oslo"),
    (City, {"country_id": None, "name": "Oslo"}, "City.country_id=None"),
    (City, {"country_id": 1, "name": None}, "City.name=None"),
    (City, {"country_id": "1", "name": "Oslo"}, "City.country_id .*'1'"),
    (Seat, {"pk": 1}, r"row.*number.*1"),
    (Seat, {"pk": ("A",)}, r"row.*number.*'A'"),
    (Seat, {"pk": ("A", 1, 1)}, r"row.*number"),
    (Seat, {"pk": ["A", 1]}, r"row.*number"),
    (Seat, {"pk": {"row": "A", "number": 1}}, r"row.*number"),
    (Seat, {"pk": (1, "A")}, "Seat.row .*1"),
    (Seat, {"pk": ("A", None)}, "Seat.number=None"),
    (Price, {"amount": 1.5}, "Price.amount .*1.5"),
    (Price, {"amount": "1.5"}, "Price.amount .*'1.5'"),
    (Price, {"amount": Decimal("NaN")}, "Price.amount .*NaN"),
    (Price, {"amount": Decimal("sNaN")}, "Price.amount .*NaN"),
    (Word, {"text": 5}, "Word.text .*5"),
    (Paint, {"colour": "BLUE"}, "Paint.colour .*BLUE"),
    (Paint, {"colour": 1}, "Paint.colour .*1"),
]

OTHER_LOOKUPS: list[tuple[type[Any], dict[str, Any], str]] = [
    (City, {}, "by id, slug, country_id.name"),
    (City, {"nothing": 1}, "nothing.*by id, slug, country_id.name"),
    (City, {"name": "Oslo"}, "name.*by id"),
    (City, {"population": 1}, "population.*by id"),
    (City, {"country_id": 1}, "country_id.*by id"),
    (City, {"id": 1, "slug": "oslo"}, r"id\+slug.*by id"),
    (City, {"pk": 1, "id": 1}, r"pk\+id.*by id"),
    (City, {"country_id": 1, "name": "Oslo", "slug": "oslo"}, "by id"),
    (City, {"country": None}, "country.*by id"),
    (City, {"slug__startswith": "o"}, "slug__startswith.*by id"),
    (Seat, {"row": "A"}, r"row.*by row\+number, code"),
    (Seat, {"number": 1}, r"number.*by row\+number, code"),
]


class TestValues:
    """What is asked for."""

    @pytest.mark.parametrize(("cls", "lookup", "message"), WRONG, ids=lambda it: None if isinstance(it, str) else "")
    def test_a_value_of_the_wrong_type_is_refused(
        self, quick: World, cls: type[Any], lookup: dict[str, Any], message: str
    ) -> None:
        """Class, attribute and value are named, neither database nor cache is asked, and all goes on."""
        with at_work(quick) as session:
            with quick.asked() as asked:
                for ask in (get_from_cache, get_one_from_cache):
                    with pytest.raises(UncacheableLookup, match=message):
                        ask(session, cls, **lookup)
                if len(lookup) == 1:
                    [(key, value)] = lookup.items()
                    with pytest.raises(UncacheableLookup, match=message):
                        get_many_from_cache(session, cls, [value], key=key)
            assert (asked.statements, asked.calls) == ([], [])

    @pytest.mark.parametrize(("cls", "lookup", "message"), OTHER_LOOKUPS, ids=lambda it: None)
    def test_what_is_no_lookup_is_refused(
        self, quick: World, cls: type[Any], lookup: dict[str, Any], message: str
    ) -> None:
        """The error names the class, what was asked, and the lookups that there are."""
        with at_work(quick) as session:
            with quick.asked() as asked, pytest.raises(UncacheableLookup, match=f"{cls.__name__}.*{message}"):
                get_from_cache(session, cls, **lookup)
            assert (asked.statements, asked.calls) == ([], [])

    async def test_it_is_refused_awaited_too(self, async_world: AsyncWorld) -> None:
        """The same errors."""
        async with awaited_at_work(async_world) as session:
            for cls, lookup, message in [*WRONG[:3], *WRONG[-3:], *OTHER_LOOKUPS[:3]]:
                with pytest.raises(UncacheableLookup, match=message):
                    await aget_from_cache(session, cls, **lookup)
                with pytest.raises(UncacheableLookup, match=message):
                    await aget_one_from_cache(session, cls, **lookup)
            with pytest.raises(UncacheableLookup, match=r"City\.id .*'x'"):
                await aget_many_from_cache(session, City, [1, "x"])

    TOO_MUCH: list[tuple[type[Any], dict[str, Any]]] = [  # noqa: RUF012
        (City, {"id": 2**31}),
        (City, {"id": -(2**31) - 1}),
        (City, {"id": 2**63}),
        (City, {"id": -(2**63) - 1}),
        (City, {"id": 10**30}),
        (City, {"id": 10**6000}),
        (City, {"id": -1}),
        (City, {"country_id": 10**30, "name": "Oslo"}),
        (City, {"slug": ""}),
        (City, {"slug": "a\0b"}),
        (City, {"slug": "\0"}),
        (City, {"slug": "x" * 100_000}),
        (City, {"slug": "🏙️"}),
        (City, {"slug": "os\u0301lo"}),
        (City, {"slug": "' OR 1=1 --"}),
        (City, {"slug": "%"}),
        (City, {"country_id": 1, "name": "a\0b"}),
        (Seat, {"row": "A", "number": 2**40}),
        (Seat, {"row": "A\0", "number": 1}),
        (Word, {"text": "a\0b"}),
        (Price, {"amount": Decimal("1e100")}),
        (Price, {"amount": Decimal("1.501")}),
        (Price, {"amount": Decimal("-0")}),
        (Price, {"amount": Decimal("Infinity")}),
    ]

    def test_a_value_that_no_row_can_have_names_no_row(self, world: World) -> None:
        """Too large, with a NUL, too precise, infinite: None, and the transaction goes on."""
        for cls, lookup in self.TOO_MUCH:
            with at_work_again(world) as session:
                assert get_from_cache(session, cls, **lookup) is None
                assert get_from_cache(session, cls, **lookup) is None

    def test_it_is_left_out_of_many(self, world: World) -> None:
        """The others are found."""
        with at_work_again(world) as session:
            found = get_many_from_cache(session, City, [2**31, 1, 10**30, 2, -(2**63) - 1])
            assert [city.slug for city in found] == ["oslo", "bergen"]
            found = get_many_from_cache(session, City, ["a\0b", "oslo", "x" * 100_000, "🏙️"], key="slug")
            assert [city.slug for city in found] == ["oslo"]
            wanted = [(10**30, "Oslo"), (1, "Oslo"), (1, "a\0b")]
            found = get_many_from_cache(session, City, wanted, key=("country_id", "name"))
            assert [city.slug for city in found] == ["oslo"]

    async def test_awaited_it_names_no_row_either(self, async_world: AsyncWorld) -> None:
        """With each driver, some of which have checks of their own."""
        async with awaited_at_work(async_world) as session:
            for cls, lookup in self.TOO_MUCH:
                assert await aget_from_cache(session, cls, **lookup) is None
            found = await aget_many_from_cache(session, City, [2**31, 1, 10**30, 2])
            assert [city.slug for city in found] == ["oslo", "bergen"]

    def test_strange_texts_that_columns_hold_are_found(self, world: World) -> None:
        """Emoji, quotes, spaces, combining marks and the empty text are themselves, cold and warm."""
        slugs = ["", " ", "🏙️", "o'slo\"", "%_", "é", "e\u0301", "\u202eolso", "\t\n", "ﷺ" * 50, "{}"]
        with Session(world.engine) as session:
            session.add_all([City(id=100 + at, slug=slug, name=str(at)) for at, slug in enumerate(slugs)])
            session.commit()
        for _ in range(3):
            with world.sessions() as session:
                found = get_many_from_cache(session, City, slugs, key="slug")
                assert [city.id for city in found] == [100 + at for at in range(len(slugs))]
                assert all(get_one_from_cache(session, City, slug=slug).slug == slug for slug in slugs)

    @pytest.mark.parametrize(
        "values",
        ["oslo", b"oslo", None, 5, City, {"oslo"}, {"oslo": 1}, (one for one in ["oslo"])],
        ids=lambda it: type(it).__name__,
    )
    def test_many_want_a_sequence(self, quick: World, values: Any) -> None:
        """A text is not taken for its letters, and what has no order for a list; the error shows it."""
        with at_work(quick) as session, pytest.raises(ConfigurationError, match="values"):
            get_many_from_cache(session, City, values, key="slug")

    @pytest.mark.parametrize("values", [[], [1]], ids=repr)
    @pytest.mark.parametrize("key", ["nothing", "name", "", None, 5, (), ("slug", "name"), ("id", 5)], ids=repr)
    def test_many_want_a_lookup(self, quick: World, key: Any, values: list[Any]) -> None:
        """Anything else is refused, whether there are values or not."""
        with at_work(quick) as session, pytest.raises(CachecoreError, match=r"City|key"):
            get_many_from_cache(session, City, values, key=key)

    @pytest.mark.parametrize("value", [1, "Oslo", (1,), (1, "Oslo", 2), [1, "Oslo"], None], ids=repr)
    def test_many_by_several_attributes_want_tuples(self, quick: World, value: Any) -> None:
        """As many values as attributes."""
        with at_work(quick) as session, pytest.raises(UncacheableLookup, match="country_id"):
            get_many_from_cache(session, City, [(1, "Oslo"), value], key=("country_id", "name"))

    def test_one_wrong_value_refuses_all_of_them(self, quick: World) -> None:
        """Before anything is asked."""
        with at_work(quick) as session, quick.asked() as asked:
            for value in ("x", None, math.nan, City(), [1]):
                with pytest.raises(UncacheableLookup, match=r"City\.id"):
                    get_many_from_cache(session, City, [1, value, 2])
        assert not [one for one in asked.statements if "SELECT" in one]

    @pytest.mark.parametrize("identity", [None, "1", (1,), City(id=1), math.nan], ids=lambda it: type(it).__name__)
    def test_invalidate_wants_primary_keys(self, quick: World, identity: Any) -> None:
        """A value of another type is refused, and nothing is outdated."""
        with quick.sessions() as session:
            get_from_cache(session, City, id=1)
            with pytest.raises(UncacheableLookup, match="City"):
                invalidate(session, City, 2, identity)
        with quick.sessions() as session, quick.asked() as asked:
            get_from_cache(session, City, id=1)
        assert asked.statements == []

    def test_a_naive_time_in_a_key(self, open_database: OpenDatabase) -> None:
        """A column without a time zone is no key that can be asked for: the error names class and attribute."""

        class Local(DeclarativeBase):
            pass

        @cached()
        class Day(Local):
            __tablename__ = "day"
            at: Mapped[datetime.datetime] = mapped_column(DateTime, primary_key=True)

        world = World(open_database("sqlite file", Local.metadata).engine())
        at = datetime.datetime(2026, 5, 17)
        with world.sessions.begin() as session:
            session.add(Day(at=at))
        with world.sessions() as session:
            with pytest.raises(CachecoreError, match=r"(?i)day\.at|time zone"):
                get_from_cache(session, Day, at=at)
            assert session.get(Day, at) is not None


@contextmanager
def at_work_again(world: World) -> Iterator[Session]:
    """A session that has written; what it has written is there afterwards, though it is not committed."""
    with world.sessions() as session:
        session.add(Country(id=8, code="se", name="Sweden"))
        session.flush()
        yield session
        assert session.scalars(select(Country.name).where(Country.id == 8)).one() == "Sweden"
        session.rollback()


# -- classes and sessions --------------------------------------------------------------------------


class Plain:
    """Mapped by nobody."""


def sync_calls(session: Any, cls: Any) -> list[Callable[[], Any]]:
    """Every function that takes a session and a class."""
    return [
        lambda: get_from_cache(session, cls, id=1),
        lambda: get_one_from_cache(session, cls, id=1),
        lambda: get_many_from_cache(session, cls, [1]),
        lambda: invalidate(session, cls, 1),
    ]


class TestClassesAndSessions:
    """What is asked, and of whom."""

    @pytest.mark.parametrize(
        ("cls", "message"),
        [
            (Plain, "Plain.*not a class that SQLAlchemy has mapped"),
            (Note, "Note is not cached.*@cached"),
            (City(), "City object.*not a class"),
            (City.__table__, "not a class"),
            (aliased(City), "not a class"),
            (City.id, "not a class"),
            ("City", "'City' is not a class"),
            (None, "None is not a class"),
            (DeclarativeBase, "DeclarativeBase.*not a class"),
        ],
        ids=lambda it: None if isinstance(it, str) else "",
    )
    def test_what_is_no_cached_class(self, quick: World, cls: Any, message: str) -> None:
        """It is named, and what it lacks."""
        with at_work(quick) as session:
            for call in sync_calls(session, cls):
                with pytest.raises(ConfigurationError, match=message):
                    call()

    @pytest.mark.parametrize("kind", ["None", "engine", "connection", "sessionmaker", "instance", "class", "cache"])
    def test_what_is_no_session(self, quick: World, kind: str) -> None:
        """It is shown."""
        with quick.engine.connect() as connection:
            thing: Any = {
                "None": None,
                "engine": quick.engine,
                "connection": connection,
                "sessionmaker": quick.sessions,
                "instance": City(),
                "class": Session,
                "cache": quick.cache,
            }[kind]
            for call in sync_calls(thing, City):
                with pytest.raises(ConfigurationError, match="session must be a Session, not"):
                    call()
            with pytest.raises(ConfigurationError, match="session must be an AsyncSession, not"):
                asyncio.run(aget_from_cache(thing, City, id=1))

    async def test_an_async_session_is_not_read_by_the_sync_functions(self, async_world: AsyncWorld) -> None:
        """Nor one that is scoped, nor the Session behind it; the error says which functions are meant."""
        scoped = async_scoped_session(async_world.sessions, asyncio.current_task)
        async with awaited_at_work(async_world) as session:
            for one in (session, scoped):
                for call in sync_calls(one, City):
                    with pytest.raises(ConfigurationError, match="aget_from_cache"):
                        call()
            for call in sync_calls(session.sync_session, City):
                with pytest.raises(ConfigurationError, match="async"):
                    call()
            assert await aget_from_cache(session, City, id=1) is not None
        await scoped.remove()

    async def test_a_session_is_not_read_by_the_awaited_functions(self, quick: World) -> None:
        """Nor one that is scoped."""
        scoped = scoped_session(quick.sessions)
        with at_work(quick) as session:
            for one in (session, scoped):
                for call in (
                    aget_from_cache(one, City, id=1),
                    aget_one_from_cache(one, City, id=1),
                    aget_many_from_cache(one, City, [1]),
                    ainvalidate(one, City, 1),
                ):
                    with pytest.raises(ConfigurationError, match="get_from_cache"):
                        await call
        scoped.remove()

    def test_sessions_without_a_cache(self, open_database: OpenDatabase) -> None:
        """The error says what to call, and the session goes on."""
        engine = open_database("sqlite file", City.metadata).engine()
        insert_rows(engine)
        with Session(engine) as session:
            session.add(Country(id=8, code="se", name="Sweden"))
            for call in sync_calls(session, City):
                with pytest.raises(ConfigurationError, match=r"no cache.*cache_sessions"):
                    call()
            session.commit()
        with Session(engine) as session:
            assert session.get(Country, 8) is not None

    def test_a_session_without_a_database(self) -> None:
        """What SQLAlchemy raises."""
        with Session() as session, pytest.raises(UnboundExecutionError):
            get_from_cache(session, City, id=1)

    def test_sessions_that_could_mean_several_caches(self, quick: World) -> None:
        """A session that no sessionmaker of cache_sessions has made, of an engine with two caches, must say which."""
        World(quick.engine, alias="other")
        with Session(quick.engine) as session, pytest.raises(ConfigurationError, match="several caches"):
            get_from_cache(session, City, id=1)

    @pytest.mark.parametrize("of", ["one sessionmaker", "two", "engines"])
    def test_one_class_from_two_databases(self, open_database: OpenDatabase, of: str) -> None:
        """Under one alias their rows would have the same keys: the second one is refused, and names both."""
        engines = [open_database("sqlite file", City.metadata).engine() for _ in range(2)]
        for engine in engines:
            insert_rows(engine)
        cache = Cache(FakeBackend(), namespace="two")
        sessions: list[Session] = []
        if of == "one sessionmaker":
            maker: sessionmaker[Session] = sessionmaker()
            cache_sessions(maker, cache)
            sessions = [maker(bind=engine) for engine in engines]
        elif of == "two":
            for engine in engines:
                cache_sessions(each := sessionmaker(engine), cache)
                sessions.append(each())
        else:
            for engine in engines:
                cache_sessions(engine, cache)
                sessions.append(Session(engine))
        with sessions[0], sessions[1]:
            assert get_from_cache(sessions[0], City, id=1) is not None
            with pytest.raises(ConfigurationError, match=r"City.*two databases.*'default'.*alias="):
                get_from_cache(sessions[1], City, id=1)
            assert sessions[1].get(City, 1) is not None

    def test_a_connection_with_another_schema_than_its_engine(self, quick: World) -> None:
        """It would read another tenant's rows under the keys of this one."""
        with quick.sessions() as session:
            get_from_cache(session, City, id=1)
        translated = {"schema_translate_map": {None: "elsewhere"}}
        with quick.sessions() as session:
            session.connection(execution_options=translated)
            with pytest.raises(ConfigurationError, match="schema_translate_map"):
                get_from_cache(session, City, id=1)
        with quick.engine.connect().execution_options(**translated) as connection:
            session = quick.sessions(bind=connection)
            with pytest.raises(ConfigurationError, match="schema_translate_map"):
                get_from_cache(session, City, id=1)
            session.close()

    def test_a_closed_cache(self, quick: World) -> None:
        """ClosedError, of every read; the session itself goes on."""
        with quick.sessions() as session:
            get_from_cache(session, City, id=1)
        quick.cache.close()
        with quick.sessions() as session:
            for call in sync_calls(session, City):
                with pytest.raises(ClosedError):
                    call()
            assert session.get(City, 1) is not None

    def test_a_closed_cache_in_the_process_does_not_stop_writes(self, open_database: OpenDatabase) -> None:
        """Nobody can read from it any more, so there is nothing to outdate."""
        engine = open_database("sqlite file", City.metadata).engine()
        insert_rows(engine)
        world = World(engine, MemoryBackend())
        with world.sessions.begin() as session:
            get_one_from_cache(session, City, id=1).name = "Kristiania"
        world.cache.close()
        with world.sessions.begin() as session:
            session.get_one(City, 1).name = "Christiania"
        with Session(engine) as session:
            assert session.get_one(City, 1).name == "Christiania"

    @pytest.mark.parametrize("state", ["transient", "detached"])
    def test_instances_are_no_values(self, quick: World, state: str) -> None:
        """Not even detached ones: the primary key is asked for."""
        with quick.sessions() as session:
            city = session.get_one(City, 1) if state == "detached" else City(id=1)
        assert getattr(inspect(city), state)
        with at_work(quick) as session:
            for call in (
                lambda: get_from_cache(session, City, pk=city),
                lambda: get_from_cache(session, City, country_id=city, name="Oslo"),
                lambda: get_many_from_cache(session, City, [city]),
            ):
                with pytest.raises(UncacheableLookup, match=r"City\.(id|country_id) .*City"):
                    call()


# -- cache_sessions --------------------------------------------------------------------------------


class TestCacheSessions:
    """What goes with what."""

    @pytest.mark.parametrize(
        "sessions",
        [None, 5, "memory://", Session, AsyncSession, City, lambda: None, Session()],
        ids=lambda it: getattr(it, "__name__", type(it).__name__),
    )
    def test_what_makes_no_sessions(self, sessions: Any) -> None:
        """The error lists what does, and shows what was given."""
        with pytest.raises(ConfigurationError, match=r"sessionmaker, scoped_session.*Engine.*not "):
            cache_sessions(sessions, Cache(FakeBackend(), namespace="x"))

    @pytest.mark.parametrize("cache", [None, 5, "memory://", FakeBackend(), Cache], ids=lambda it: type(it).__name__)
    def test_what_is_no_cache(self, quick: World, cache: Any) -> None:
        """A backend or a URL is none."""
        with pytest.raises(ConfigurationError, match="cache must be a Cache or an AsyncCache, not"):
            cache_sessions(quick.sessions, cache)

    @pytest.mark.parametrize("alias", [None, "", 5], ids=repr)
    def test_what_is_no_alias(self, quick: World, alias: Any) -> None:
        """An alias is a name."""
        with pytest.raises(ConfigurationError, match="alias"):
            cache_sessions(quick.sessions, quick.cache, alias=alias)

    async def test_a_sync_cache_with_async_sessions(self, async_engine: AsyncEngine) -> None:
        """Refused, whichever way the sessions are given, also if the engine comes later."""
        cache = Cache(FakeBackend(), namespace="x")
        maker = async_sessionmaker(async_engine)
        for one in (maker, async_engine, async_scoped_session(maker, asyncio.current_task)):
            with pytest.raises(ConfigurationError, match="an AsyncCache"):
                cache_sessions(one, cache)
        with pytest.raises(ConfigurationError, match="an AsyncCache"):
            cache_sessions(sessionmaker(async_engine.sync_engine), cache)
        later: sessionmaker[Session] = sessionmaker()
        cache_sessions(later, cache)
        session = later(bind=async_engine.sync_engine)
        with pytest.raises(ConfigurationError, match=r"an AsyncCache|async"):
            get_from_cache(session, City, id=1)
        session.close()

    def test_an_async_cache_with_sync_sessions(self, quick: World) -> None:
        """Refused, whichever way the sessions are given."""
        cache = AsyncCache(AsyncFakeBackend(), namespace="x")
        for one in (quick.sessions, quick.engine, scoped_session(quick.sessions)):
            with pytest.raises(ConfigurationError, match="a Cache, not with AsyncCache"):
                cache_sessions(one, cache)

    def test_a_closed_cache(self, quick: World) -> None:
        """It cannot be given any more."""
        cache = Cache(MemoryBackend(), namespace="x")
        cache.close()
        with pytest.raises(ClosedError, match="closed"):
            cache_sessions(quick.sessions, cache)

    def test_two_caches_in_the_process_for_one_database(self, open_database: OpenDatabase) -> None:
        """Each would miss the other's writes: refused, naming the database and the remedy, until one is closed."""
        opened = open_database("sqlite file", City.metadata)
        one, other = opened.engine(), opened.engine()
        first = Cache(MemoryBackend(), namespace="x")
        cache_sessions(one, first)
        second = Cache(MemoryBackend(), namespace="x")
        for engine in (one, other):
            with pytest.raises(ConfigurationError, match=r"another cache in this process.*MemoryBackend"):
                cache_sessions(engine, second)
        later: sessionmaker[Session] = sessionmaker()
        cache_sessions(later, second)
        with later(bind=other) as session, pytest.raises(ConfigurationError, match="another cache in this process"):
            session.execute(select(City))
        first.close()
        cache_sessions(other, second)
        second.close()

    def test_again_is_harmless(self, quick: World) -> None:
        """Neither statements nor round trips come twice."""
        for _ in range(3):
            cache_sessions(quick.sessions, quick.cache)
            cache_sessions(quick.engine, quick.cache)
        with quick.sessions() as session, quick.asked() as asked:
            session.execute(update(City).where(City.id == 1).values(population=1))
            session.commit()
        assert len(asked.statements) == 1
        assert asked.calls == ["hold", "complete"]


# -- declarations ----------------------------------------------------------------------------------


class Local(DeclarativeBase):
    """Of what is declared wrongly here."""


class Thing(Local):
    """With columns that are unique in various ways, and some that are not."""

    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    plain: Mapped[int]
    unique: Mapped[int] = mapped_column(unique=True)
    indexed: Mapped[int] = mapped_column(index=True)
    partial: Mapped[int]
    lower: Mapped[str]
    one: Mapped[int]
    two: Mapped[int]
    parent_id: Mapped[int | None]
    both: Mapped[str]
    __table_args__ = (
        Index(
            "partially", "partial", unique=True, sqlite_where=text("partial > 0"), postgresql_where=text("partial > 0")
        ),
        Index("lowered", func.lower("lower"), unique=True),
        Index("of_both", "both", unique=True),
        UniqueConstraint("one", "two"),
    )
    parent: Mapped["Thing | None"] = relationship(
        primaryjoin="foreign(Thing.parent_id) == Thing.id", remote_side="Thing.id", viewonly=True
    )


class TestDeclaring:
    """@cached(...)."""

    @pytest.mark.parametrize(
        "lookups", [["unique"], ["id"], ["both"], [("one", "two")], [("plain", "unique")]], ids=str
    )
    def test_unique_lookups(self, lookups: Any) -> None:
        """By a constraint, an index, the primary key, or with one of them among several."""
        assert cached(lookups=lookups)(Thing) is Thing

    @pytest.mark.parametrize(
        ("lookups", "message"),
        [
            (["nothing"], "no column attribute 'nothing'.*unique"),
            (["parent"], "no column attribute 'parent'"),
            (["metadata"], "no column attribute 'metadata'"),
            ([""], "no column attribute ''"),
            (["plain"], "'plain'.*not unique"),
            (["indexed"], "'indexed'.*not unique"),
            (["partial"], "'partial'.*not unique.*partial"),
            (["lower"], "'lower'.*not unique"),
            (["one"], "'one'.*not unique"),
            ([("plain", "one")], "'plain', 'one'.*not unique"),
            ([()], "at least one attribute"),
            ([("unique", "unique")], "each once"),
            ("unique", "lookups"),
            (5, "lookups"),
            ([5], "lookups?"),
            ([None], "lookups?"),
            ([("unique", 5)], "lookups?|5"),
            ([Thing.unique], "lookups?"),
        ],
        ids=lambda it: None,
    )
    def test_other_lookups(self, lookups: Any, message: str) -> None:
        """They are named, with the class, where the class is declared."""
        with pytest.raises(ConfigurationError, match=message) as error:
            cached(lookups=lookups)(Thing)
        assert "Thing" in str(error.value) or "lookups" in str(error.value)

    def test_a_lookup_that_rows_do_not_hold(self, open_database: OpenDatabase) -> None:
        """A deferred column is refused where it is declared, JSON when it is read; writes go on either way."""

        class Other(DeclarativeBase):
            pass

        class Page(Other):
            __tablename__ = "page"
            id: Mapped[int] = mapped_column(primary_key=True)
            body: Mapped[str] = mapped_column(unique=True, deferred=True)
            data: Mapped[Any] = mapped_column(JSON, unique=True)

        with pytest.raises(ConfigurationError, match=r"Page.*body"):
            cached(lookups=["body"])(Page)
        cached(lookups=["data"])(Page)
        world = World(open_database("sqlite file", Other.metadata).engine())
        with world.sessions.begin() as session:
            session.add(Page(id=1, body="b", data={}))
        with world.sessions() as session, pytest.raises(ConfigurationError, match="data"):
            get_from_cache(session, Page, id=1)
        cached()(Page)
        with world.sessions() as session:
            assert get_one_from_cache(session, Page, id=1).body == "b"

    @pytest.mark.parametrize("exclude", [["id"], ["unique"], ["nothing"], ["parent"], "plain", [5]], ids=str)
    def test_what_cannot_be_excluded(self, exclude: Any) -> None:
        """Keys, and what is no column."""
        with pytest.raises(ConfigurationError, match=r"Thing|exclude"):
            cached(lookups=["unique"], exclude=exclude)(Thing)

    @pytest.mark.parametrize(
        "options",
        [
            {"ttl": 0},
            {"ttl": -1},
            {"ttl": math.nan},
            {"ttl": "5"},
            {"ttl": True},
            {"policy": 5},
            {"policy": {"ttl": 5}},
            {"version": []},
            {"version": 1.5},
            {"name": ""},
            {"name": 5},
        ],
        ids=str,
    )
    def test_other_arguments(self, options: dict[str, Any]) -> None:
        """The argument is named, and shown."""
        [name] = options
        with pytest.raises(ConfigurationError, match=name):
            cached(**options)(Thing)

    def test_without_parentheses(self) -> None:
        """@cached alone is refused: it would replace the class."""
        with pytest.raises(ConfigurationError, match=r"@cached\("):
            cached(Thing)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "cls", [Plain, Local, City(), len, None, Thing.__table__, aliased(Thing)], ids=lambda it: type(it).__name__
    )
    def test_what_is_not_mapped(self, cls: Any) -> None:
        """It is shown."""
        with pytest.raises(ConfigurationError, match="not a class that SQLAlchemy has mapped"):
            cached()(cls)

    def test_what_is_mapped_to_no_table(self) -> None:
        """A query has no rows of its own."""

        class Result(Local):
            __table__ = select(Thing.id, Thing.plain).subquery()
            __mapper_args__ = {"primary_key": [__table__.c.id]}  # noqa: RUF012

        with pytest.raises(ConfigurationError, match=r"Result is mapped to .*only tables"):
            cached()(Result)
