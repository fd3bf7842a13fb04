"""Reading rows through the cache in SQLAlchemy sessions: which instance is found, what that costs, how it lives.

Bad input is in test_sqlalchemy_bad_input, relations in test_sqlalchemy_relations.
"""

# ruff: noqa: F401, F402, F811 -- fixtures are imported

import asyncio
import copy
import pickle
import threading
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    create_engine,
    event,
    insert,
    inspect,
    text,
    update,
)
from sqlalchemy.exc import (
    IntegrityError,
    InvalidRequestError,
    MultipleResultsFound,
    NoResultFound,
    PendingRollbackError,
)
from sqlalchemy.ext.asyncio import AsyncEngine, async_scoped_session
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    make_transient,
    mapped_column,
    scoped_session,
    sessionmaker,
)
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.pool import StaticPool

from cachecore import AsyncCache, Cache, Policy
from cachecore.backends.memory import MemoryBackend
from cachecore.errors import ConfigurationError
from cachecore.events import Event, Filled, Hit, Miss
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
from tests.conftest import PATIENT
from tests.orm_databases import (
    ASYNC,
    SYNC,
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
from tests.orm_models import (
    Animal,
    City,
    Colour,
    Country,
    Document,
    Dog,
    Invoice,
    Paint,
    Place,
    PlainInvoice,
    Price,
    Restaurant,
    Seat,
    Word,
)
from tests.orm_worlds import COLD, WARM, AsyncWorld, World, ainsert_rows, async_world, insert_rows, quick, world


def slugs(cities: list[City]) -> list[str]:
    """What tells cities apart."""
    return [city.slug for city in cities]


LOOKUPS: list[dict[str, Any]] = [
    {"id": 1},
    {"pk": 1},
    {"slug": "oslo"},
    {"country_id": 1, "name": "Oslo"},
    {"name": "Oslo", "country_id": 1},
]


# -- one -------------------------------------------------------------------------------------------


class TestOne:
    """get_from_cache and get_one_from_cache."""

    @pytest.mark.parametrize("lookup", LOOKUPS, ids=str)
    def test_the_row_is_found_by_the_primary_key_and_by_each_lookup(self, world: World, lookup: dict[str, Any]) -> None:
        """Cold, learnt and warm: the same row with all of its columns, and no other one."""
        for _ in range(3):
            with world.sessions() as session:
                city = get_one_from_cache(session, City, **lookup)
                assert isinstance(city, City)
                assert (city.id, city.slug, city.name, city.population, city.country_id) == (
                    1,
                    "oslo",
                    "Oslo",
                    700_000,
                    1,
                )
                assert get_from_cache(session, City, **lookup) is city

    @pytest.mark.parametrize("lookup", LOOKUPS, ids=str)
    def test_a_hit_asks_the_cache_once_and_the_database_nothing(self, world: World, lookup: dict[str, Any]) -> None:
        """No statement is sent and no connection taken; the cache has one round trip."""
        for _ in range(2):
            with world.sessions() as session:
                get_from_cache(session, City, **lookup)
        with world.sessions() as session, world.asked() as asked:
            get_from_cache(session, City, **lookup)
        assert (asked.statements, asked.connections, asked.calls) == ([], 0, WARM)

    def test_a_miss_is_one_select_and_one_fill(self, world: World) -> None:
        """Two round trips to the cache, around one statement; what it has read is what the next one finds."""
        with world.sessions() as session, world.asked() as asked:
            get_from_cache(session, City, id=2)
        assert (len(asked.statements), asked.calls) == (1, COLD)
        with world.sessions() as session, world.asked() as asked:
            get_from_cache(session, City, id=1)
        assert (len(asked.statements), asked.calls) == (1, ["acquire", "fill"])
        assert asked.statements[0].startswith("SELECT city.id")

    def test_a_new_lookup_of_a_warm_row_costs_one_select(self, world: World) -> None:
        """It learns the primary key; the row itself was there, and from then on both are answered by the cache."""
        with world.sessions() as session:
            get_from_cache(session, City, id=1)
        with world.sessions() as session, world.asked() as asked:
            get_from_cache(session, City, slug="oslo")
        assert (len(asked.statements), asked.calls) == (1, ["get", "put"])
        with world.sessions() as session, world.asked() as asked:
            get_from_cache(session, City, slug="oslo")
        assert (asked.statements, asked.calls) == ([], WARM)

    @pytest.mark.parametrize("lookup", [{"id": 99}, {"slug": "paris"}, {"country_id": 2, "name": "Oslo"}], ids=str)
    def test_what_does_not_exist_is_none(self, world: World, lookup: dict[str, Any]) -> None:
        """get_from_cache returns None, get_one_from_cache raises what SQLAlchemy's one() does, saying what was asked;
        when the row is there it is found."""
        with world.sessions() as session:
            assert get_from_cache(session, City, **lookup) is None
            with pytest.raises(NoResultFound, match=r"no City with .*=") as error:
                get_one_from_cache(session, City, **lookup)
            assert all(repr(value) in str(error.value) for value in lookup.values())
        with world.sessions.begin() as session:
            session.add(City(**{"id": 99, "slug": "paris", "name": "Paris", "country_id": 2, **lookup}))
        with world.sessions() as session:
            assert get_from_cache(session, City, **lookup) is not None

    def test_an_instance_is_persistent_and_unchanged(self, world: World) -> None:
        """As if the session had loaded it: in its identity map, not modified, nothing to flush."""
        for _ in range(2):
            with world.sessions() as session:
                city = get_one_from_cache(session, City, id=1)
                state: Any = inspect(city)
                assert state.persistent
                assert not state.modified
                assert city in session
                assert not session.dirty
                assert session.get(City, 1) is city
                with world.asked() as asked:
                    session.flush()
                assert asked.statements == []

    def test_each_session_has_an_instance_of_its_own(self, world: World) -> None:
        """What one does to its instance no other one sees."""
        with world.sessions() as one, world.sessions() as other:
            mine, theirs = get_one_from_cache(one, City, id=1), get_one_from_cache(other, City, id=1)
            assert mine is not theirs
            mine.name = "Mine"
            assert theirs.name == "Oslo"
            with world.sessions(autoflush=False) as third:
                assert get_one_from_cache(third, City, id=1).name == "Oslo"

    def test_a_mutable_value_is_never_shared(self, sync_engine: Engine) -> None:
        """JSON that one session changes in place stays what it was for all others, also in process."""
        with Session(sync_engine) as session:
            session.add(Paint(id=1, colour=Colour.RED, recipe={"parts": [1, 2]}))
            session.commit()
        world = World(sync_engine, MemoryBackend())
        for _ in range(3):
            with world.sessions() as session:
                paint = get_one_from_cache(session, Paint, id=1)
                assert paint.recipe == {"parts": [1, 2]}
                paint.recipe["parts"].append(3)


class TestMany:
    """get_many_from_cache."""

    @pytest.mark.parametrize(
        ("key", "values"),
        [
            ("pk", [3, 99, 1, 2, 1]),
            ("id", [3, 99, 1, 2, 1]),
            ("slug", ["lyon", "paris", "oslo", "bergen", "oslo"]),
            (("country_id", "name"), [(2, "Lyon"), (2, "Oslo"), (1, "Oslo"), (1, "Bergen"), (1, "Oslo")]),
            (("name", "country_id"), [("Lyon", 2), ("Oslo", 2), ("Oslo", 1), ("Bergen", 1), ("Oslo", 1)]),
        ],
        ids=str,
    )
    def test_rows_come_in_the_order_asked_without_those_that_do_not_exist(
        self, world: World, key: Any, values: list[Any]
    ) -> None:
        """As often as they are asked for, cold and warm; equal ones are the same instance."""
        for _ in range(3):
            with world.sessions() as session:
                found = get_many_from_cache(session, City, values, key=key)
                assert slugs(found) == ["lyon", "oslo", "bergen", "oslo"]
                assert found[1] is found[3]

    @pytest.mark.parametrize(("key", "values"), [("pk", [1, 2, 3]), ("slug", ["oslo", "lyon", "bergen"])], ids=str)
    def test_many_are_one_multi_get_and_one_select(self, world: World, key: str, values: list[Any]) -> None:
        """However many: cold one statement, warm none, and no connection."""
        with world.sessions() as session, world.asked() as asked:
            get_many_from_cache(session, City, values, key=key)
        assert len(asked.statements) == 1
        assert len(asked.calls) <= 3
        for _ in range(2):
            with world.sessions() as session, world.asked() as asked:
                get_many_from_cache(session, City, values, key=key)
        assert (asked.statements, asked.connections, asked.calls) == ([], 0, WARM)

    def test_only_what_is_missing_is_selected(self, world: World) -> None:
        """Rows that are cached, or in the session, are not asked of the database."""
        with world.sessions() as session:
            get_many_from_cache(session, City, [1, 2])
        selected: list[Any] = []
        event.listen(world.engine, "before_cursor_execute", lambda *sent: selected.append(sent[3]))
        with world.sessions() as session:
            session.add(known := City(id=50, slug="kiruna", name="Kiruna"))
            session.flush()
            selected.clear()
            found = get_many_from_cache(session, City, [1, 3, 2, 50])
            assert slugs(found) == ["oslo", "lyon", "bergen", "kiruna"]
            assert found[3] is known
        given = selected[0].values() if isinstance(selected[0], dict) else selected[0]
        assert [one for one in given if isinstance(one, int)] == [3]

    @pytest.mark.parametrize("values", [[], ()], ids=repr)
    def test_nothing_is_asked_for_nothing(self, world: World, values: Any) -> None:
        """No values: no instances, no statement, no call."""
        with world.sessions() as session, world.asked() as asked:
            assert get_many_from_cache(session, City, values) == []
            assert get_many_from_cache(session, City, values, key="slug") == []
        assert (asked.statements, asked.calls) == ([], [])

    def test_ever_so_many_are_found(self, quick: World) -> None:
        """More than go into one statement: as few statements as can be, and one multi-get when they are cached."""
        many = 6000
        with quick.engine.begin() as connection:
            new = [{"id": 1000 + one, "slug": f"s{one}", "name": f"n{one}", "country_id": 1} for one in range(many)]
            connection.execute(insert(City), new)
        keys = range(1000, 1000 + many)
        with quick.sessions() as session, quick.asked() as asked:
            assert len(get_many_from_cache(session, City, keys)) == many
        assert len(asked.statements) == 2
        with quick.sessions() as session, quick.asked() as asked:
            assert [city.id for city in get_many_from_cache(session, City, keys)] == list(keys)
        assert (asked.statements, asked.calls) == ([], WARM)
        with quick.sessions() as session, quick.asked() as asked:
            wanted = [(1, f"n{one}") for one in range(1000)]
            assert len(get_many_from_cache(session, City, wanted, key=("country_id", "name"))) == 1000
        assert len(asked.statements) == 3


# -- keys ------------------------------------------------------------------------------------------


def add(engine: Engine, *instances: Any) -> None:
    """Insert rows with a session that knows no cache."""
    with Session(engine) as session:
        session.add_all(instances)
        session.commit()


class TestKeys:
    """Primary keys and lookups of all kinds."""

    def test_a_composite_primary_key(self, world: World) -> None:
        """By its attributes in any order, by pk= in the mapper's order, and many by tuples in either."""
        for _ in range(2):
            with world.sessions() as session:
                seat = get_one_from_cache(session, Seat, row="A", number=2)
                assert seat.code == "S2"
                assert get_one_from_cache(session, Seat, number=2, row="A") is seat
                assert get_one_from_cache(session, Seat, pk=("A", 2)) is seat
                assert get_one_from_cache(session, Seat, code="S2") is seat
                wanted = [("B", 1), ("A", 2), ("B", 2), ("A", 2)]
                assert [one.code for one in get_many_from_cache(session, Seat, wanted)] == ["S3", "S2", "S2"]
                turned = [(1, "B"), (2, "A"), (2, "B")]
                found = get_many_from_cache(session, Seat, turned, key=("number", "row"))
                assert [one.code for one in found] == ["S3", "S2"]
        with world.sessions() as session, world.asked() as asked:
            get_many_from_cache(session, Seat, [("B", 1), ("A", 2)])
        assert (asked.statements, asked.calls) == ([], WARM)

    def test_a_key_of_a_type_of_the_application(self, world: World) -> None:
        """It is asked for by the application's value, and the instance has the application's value."""
        add(world.engine, Word(text="stressed", meaning="under pressure"))
        for _ in range(2):
            with world.sessions() as session:
                word = get_one_from_cache(session, Word, text="stressed")
                assert (word.text, word.meaning) == ("stressed", "under pressure")
                assert session.get(Word, "stressed") is word
                assert get_from_cache(session, Word, text="desserts") is None

    def test_a_key_that_the_database_finds_equal_in_several_spellings(self, world: World) -> None:
        """One row, one instance: 1.5, 1.50, and an int."""
        add(world.engine, Price(amount=Decimal("1.50"), text="half"), Price(amount=Decimal(2), text="two"))
        for _ in range(2):
            with world.sessions() as session:
                prices = get_many_from_cache(session, Price, [Decimal("1.5"), Decimal("1.50"), Decimal("1.500"), 2])
                assert [price.text for price in prices] == ["half", "half", "half", "two"]
                assert prices[0] is prices[1] is prices[2]

    def test_a_key_that_the_database_compares_otherwise(self, open_database: OpenDatabase) -> None:
        """Whatever spelling names the row, it is the row, also when another spelling was written by."""

        class Local(DeclarativeBase):
            pass

        @cached(lookups=["alias"])
        class Word(Local):
            __tablename__ = "nocase"
            text: Mapped[str] = mapped_column(String(20, collation="NOCASE"), primary_key=True)
            alias: Mapped[str] = mapped_column(String(20, collation="NOCASE"), unique=True)
            meaning: Mapped[str]

        world = World(open_database("sqlite file", Local.metadata).engine())
        with world.sessions.begin() as session:
            session.add(Word(text="Oslo", alias="Tiger", meaning="a"))
        for meaning in ("a", "b", "c"):
            for _ in range(3):
                for lookup in ({"text": "OSLO"}, {"text": "Oslo"}, {"alias": "TIGER"}, {"alias": "Tiger"}):
                    with world.sessions() as session:
                        word = get_one_from_cache(session, Word, **lookup)
                        assert (word.text, word.meaning) == ("Oslo", meaning)
                        assert get_many_from_cache(session, Word, ["oslo", "OSLO"]) == [word, word]
            with world.sessions.begin() as session:
                if meaning == "a":
                    session.execute(update(Word).where(Word.text == "OSLO").values(meaning="b"))
                else:
                    session.execute(update(Word).where(Word.alias == "tiger").values(meaning="c"))

    def test_an_enumeration_is_looked_up_by_its_member(self, world: World) -> None:
        """The instance has the member, cold and warm."""
        add(world.engine, Paint(id=1, colour=Colour.RED), Paint(id=2, colour=Colour.GREEN))
        for _ in range(3):
            with world.sessions() as session:
                assert get_one_from_cache(session, Paint, colour=Colour.GREEN).colour is Colour.GREEN
                assert get_one_from_cache(session, Paint, colour=Colour.RED).id == 1

    def test_tables_of_the_same_name_in_two_schemas(self, world: World) -> None:
        """Each class has the rows of its own."""
        add(world.engine, Invoice(id=1, number="in billing"), PlainInvoice(id=1, number="plain"))
        for _ in range(2):
            with world.sessions() as session:
                assert get_one_from_cache(session, Invoice, id=1).number == "in billing"
                assert get_one_from_cache(session, PlainInvoice, id=1).number == "plain"

    def test_joined_inheritance(self, world: World) -> None:
        """A row is an instance of its own class, whichever class it is asked by; not of a class that it is none of."""
        add(world.engine, Place(id=1, name="Park"), Restaurant(id=2, name="Inn", stars=3))
        for _ in range(2):
            with world.sessions() as session:
                park, inn = get_many_from_cache(session, Place, [1, 2])
                assert (type(park), type(inn)) == (Place, Restaurant)
                assert inn.stars == 3  # type: ignore[attr-defined]
                assert get_from_cache(session, Restaurant, name="Park") is None
            with world.sessions() as session:
                inn = get_one_from_cache(session, Restaurant, name="Inn")
                assert (inn.stars, inn.name, inn.kind) == (3, "Inn", "restaurant")
                assert get_one_from_cache(session, Place, name="Inn") is inn
                assert get_from_cache(session, Restaurant, pk=1) is None
        with world.sessions() as session, world.asked() as asked:
            assert get_one_from_cache(session, Restaurant, pk=2).stars == 3
        assert (asked.statements, asked.calls) == ([], WARM)

    def test_single_table_inheritance(self, world: World) -> None:
        """The same, where all classes have one table."""
        add(world.engine, Animal(id=1, name="Cat"), Dog(id=2, name="Rex", tricks=4))
        for _ in range(2):
            with world.sessions() as session:
                assert [type(one) for one in get_many_from_cache(session, Animal, [1, 2])] == [Animal, Dog]
                assert get_one_from_cache(session, Animal, id=2).tricks == 4  # type: ignore[attr-defined]
            with world.sessions() as session:
                assert get_one_from_cache(session, Dog, id=2).tricks == 4
                assert get_from_cache(session, Dog, id=1) is None

    def test_a_cached_instance_keeps_its_version(self, world: World) -> None:
        """Who changes a cached row that another has changed meanwhile is told, as of a loaded one."""
        add(world.engine, Document(id=1, title="Plan"))
        with world.sessions() as session:
            get_from_cache(session, Document, id=1)
        with world.sessions() as session:
            mine = get_one_from_cache(session, Document, title="Plan")
            assert mine.version == 1
            with Session(world.engine) as other:
                other.execute(text("UPDATE document SET version = 2 WHERE id = 1"))
                other.commit()
            mine.title = "Other"
            with pytest.raises(StaleDataError):
                session.flush()


# -- instances in a session ------------------------------------------------------------------------


@pytest.fixture
def warm(quick: World) -> World:
    """The rows of the cities are cached by all that they are asked by."""
    for _ in range(2):
        with quick.sessions() as session:
            get_many_from_cache(session, City, [1, 2, 3, 4])
            get_many_from_cache(session, City, ["oslo", "bergen", "lyon"], key="slug")
            get_many_from_cache(session, City, [(1, "Oslo"), (1, "Bergen")], key=("country_id", "name"))
    return quick


class TestIdentityMap:
    """An instance that the session has already wins."""

    @pytest.mark.parametrize("lookup", LOOKUPS, ids=str)
    def test_a_loaded_instance_is_the_answer(self, warm: World, lookup: dict[str, Any]) -> None:
        """Whichever lookup asks, and whatever the cache has."""
        with warm.sessions() as session:
            loaded = session.get(City, 1)
            with warm.asked() as asked:
                assert get_from_cache(session, City, **lookup) is loaded
            assert asked.statements == []

    def test_the_cache_is_not_asked_for_a_primary_key_in_the_session(self, warm: World) -> None:
        """As session.get asks no database."""
        with warm.sessions() as session:
            city = get_from_cache(session, City, id=1)
            with warm.asked() as asked:
                assert get_from_cache(session, City, id=1) is city
                assert get_many_from_cache(session, City, [1, 1]) == [city, city]
        assert (asked.statements, asked.calls) == ([], [])

    @pytest.mark.parametrize("autoflush", [True, False])
    def test_a_changed_instance_keeps_its_changes(self, warm: World, autoflush: bool) -> None:
        """A read returns it and overwrites nothing."""
        with warm.sessions(autoflush=autoflush) as session:
            city = get_one_from_cache(session, City, id=1)
            city.population = 5
            assert get_from_cache(session, City, id=1) is city
            assert get_from_cache(session, City, slug="oslo") is city
            assert city.population == 5
            session.commit()
        with warm.sessions() as session:
            assert get_one_from_cache(session, City, id=1).population == 5

    @pytest.mark.parametrize("is_open", [True, False], ids=["in a transaction", "without one"])
    def test_pending_changes_are_flushed_first(self, warm: World, is_open: bool) -> None:
        """A lookup sees what the session has changed, added and deleted, as a query would."""
        with warm.sessions() as session:
            one, two = get_one_from_cache(session, City, id=1), get_one_from_cache(session, City, id=2)
            if is_open:
                session.connection()
            one.slug = "christiania"
            session.delete(two)
            session.add(added := City(id=50, slug="kiruna", name="Kiruna", country_id=1))
            assert get_from_cache(session, City, slug="oslo") is None
            assert get_from_cache(session, City, slug="christiania") is one
            assert get_from_cache(session, City, slug="bergen") is None
            assert get_from_cache(session, City, id=2) is None
            assert get_from_cache(session, City, slug="kiruna") is added
            assert get_from_cache(session, City, id=50) is added
            found = get_many_from_cache(session, City, ["oslo", "christiania", "bergen", "kiruna"], key="slug")
            assert found == [one, added]

    @pytest.mark.parametrize("read", ["slug", "name", "many", "many slugs"])
    def test_the_first_statement_of_a_session_may_be_that_flush(self, warm: World, read: str) -> None:
        """What is read then is what the flush has left, not the row that is cached."""
        with warm.sessions() as session:
            session.delete(get_one_from_cache(session, City, id=1))
            match read:
                case "slug":
                    assert get_from_cache(session, City, slug="oslo") is None
                case "name":
                    assert get_from_cache(session, City, country_id=1, name="Oslo") is None
                case "many":
                    assert slugs(get_many_from_cache(session, City, [2, 3])) == ["bergen", "lyon"]
                    assert get_many_from_cache(session, City, [1]) == []
                case _:
                    assert slugs(get_many_from_cache(session, City, ["oslo", "lyon"], key="slug")) == ["lyon"]

    def test_without_autoflush_pending_changes_are_not_seen(self, warm: World) -> None:
        """As a query would not see them either; nothing of them is lost."""
        with warm.sessions(autoflush=False) as session:
            city = get_one_from_cache(session, City, id=1)
            city.slug = "christiania"
            session.add(City(id=50, slug="kiruna", name="Kiruna"))
            assert get_from_cache(session, City, slug="christiania") is None
            assert get_from_cache(session, City, slug="oslo") is city
            assert get_from_cache(session, City, id=50) is None
            assert (city.slug, len(session.new), len(session.dirty)) == ("christiania", 1, 1)
            session.commit()
        with warm.sessions() as session:
            assert slugs(get_many_from_cache(session, City, [1, 50])) == ["christiania", "kiruna"]

    def test_a_read_within_no_autoflush_flushes_nothing(self, warm: World) -> None:
        """The session's own switch is obeyed."""
        with warm.sessions() as session, session.no_autoflush, warm.asked() as asked:
            session.add(City(id=50, slug="kiruna", name="Kiruna"))
            assert get_from_cache(session, City, slug="oslo") is not None
            assert session.new
        assert asked.statements == []

    def test_what_is_marked_deleted_is_found_until_it_is_flushed(self, warm: World) -> None:
        """As session.get does."""
        with warm.sessions(autoflush=False) as session:
            city = get_one_from_cache(session, City, id=1)
            session.delete(city)
            assert get_from_cache(session, City, id=1) is session.get(City, 1) is city
            session.flush()
            assert get_from_cache(session, City, id=1) is None
            assert get_from_cache(session, City, slug="oslo") is None
            session.rollback()
            assert get_from_cache(session, City, id=1) is city

    def test_an_expired_instance_is_filled_from_the_cache(self, warm: World) -> None:
        """The same instance, without a statement; what of it was changed since stays so."""
        with warm.sessions(autoflush=False) as session:
            city = get_one_from_cache(session, City, id=1)
            session.expire(city)
            with warm.asked() as asked:
                assert get_from_cache(session, City, id=1) is city
                assert (city.name, city.population) == ("Oslo", 700_000)
            assert asked.statements == []
            session.expire(city)
            city.population = 5
            with warm.asked() as asked:
                assert get_from_cache(session, City, slug="oslo") is city
                assert (city.name, city.population) == ("Oslo", 5)
            assert asked.statements == []
            session.commit()
        with warm.sessions() as session:
            assert get_one_from_cache(session, City, id=1).population == 5

    def test_one_expired_attribute_is_filled(self, warm: World) -> None:
        """The others stay as they are."""
        with warm.sessions() as session:
            city = get_one_from_cache(session, City, id=1)
            session.expire(city, ["name"])
            with warm.asked() as asked:
                get_from_cache(session, City, id=1)
                assert city.name == "Oslo"
            assert asked.statements == []
            assert not inspect(city).modified

    def test_after_an_expiry_the_cache_is_asked_once(self, warm: World) -> None:
        """Not again at each later read, though the relations of the instance are still to be loaded."""
        with warm.sessions() as session:
            city = get_one_from_cache(session, City, id=1)
            session.expire(city)
            get_from_cache(session, City, id=1)
            with warm.asked() as asked:
                assert get_from_cache(session, City, id=1) is city
        assert (asked.statements, asked.calls) == ([], [])

    def test_an_expired_instance_whose_row_is_gone_is_none(self, warm: World) -> None:
        """As of session.get."""
        with warm.sessions() as session:
            city = get_one_from_cache(session, City, id=4)
            with warm.sessions.begin() as other:
                other.delete(get_one_from_cache(other, City, id=4))
            assert get_from_cache(session, City, id=4) is city  # it was loaded, and has not expired
            session.expire(city)
            assert get_from_cache(session, City, id=4) is None
            assert get_many_from_cache(session, City, [4, 1]) == [get_from_cache(session, City, id=1)]

    def test_an_instance_that_nobody_holds_is_forgotten(self, warm: World) -> None:
        """The identity map holds cached instances as weakly as loaded ones."""
        with warm.sessions() as session:
            get_from_cache(session, City, id=1)
            assert not session.identity_map.keys()


class TestLife:
    """What happens to a cached instance later."""

    def test_changes_are_flushed_as_usual(self, warm: World) -> None:
        """Only the changed columns are written, and others see them after the commit."""
        with warm.sessions() as session:
            city = get_one_from_cache(session, City, slug="oslo")
            city.population = 710_000
            assert inspect(city).attrs.population.history.deleted == [700_000]
            with warm.asked() as asked:
                session.commit()
        assert asked.statements == ["UPDATE city SET population=? WHERE city.id = ?"]
        with warm.sessions() as session:
            assert get_one_from_cache(session, City, id=1).population == 710_000

    def test_setting_what_it_was_flushes_nothing(self, warm: World) -> None:
        """A cached value is known to be the committed one."""
        with warm.sessions() as session, warm.asked() as asked:
            city = get_one_from_cache(session, City, id=1)
            city.name = "Oslo"
            session.commit()
        assert asked.statements == []

    def test_refresh_reads_the_database(self, warm: World) -> None:
        """Whatever the cache has."""
        with warm.sessions() as session:
            city = get_one_from_cache(session, City, id=1)
            with Session(warm.engine) as unseen:
                unseen.connection().connection.driver_connection.execute(  # type: ignore[union-attr]
                    "UPDATE city SET name = 'Kristiania' WHERE id = 1"
                )
                unseen.commit()
            session.refresh(city)
            assert city.name == "Kristiania"

    def test_a_rollback_of_a_session_that_has_sent_nothing_expires_it(self, warm: World) -> None:
        """As it expires every instance: the next read is of what is committed now."""
        with warm.sessions() as session:
            city = get_one_from_cache(session, City, id=1)
            with warm.sessions.begin() as other:
                get_one_from_cache(other, City, id=1).name = "Kristiania"
            assert city.name == "Oslo"
            session.rollback()
            assert get_one_from_cache(session, City, slug="oslo").name == "Kristiania"
            assert city.name == "Kristiania"

    def test_a_rollback_expires_it(self, warm: World) -> None:
        """Its changes are gone, and its values come back at their first use."""
        with warm.sessions() as session:
            city = get_one_from_cache(session, City, id=1)
            city.name = "Kristiania"
            session.flush()
            session.rollback()
            assert inspect(city).expired_attributes
            assert get_from_cache(session, City, id=1) is city
            assert city.name == "Oslo"

    @pytest.mark.parametrize("expire", [True, False])
    def test_a_commit_expires_it_or_not(self, quick: World, expire: bool) -> None:
        """As expire_on_commit says; then a read by primary key fills it from the cache, not from the database."""
        world = World(quick.engine, expire_on_commit=expire)
        for name in ("Oslo", "Kristiania"):
            with world.sessions() as session:
                city = get_one_from_cache(session, City, id=1)
                city.population = len(name)
                city.name = name
                session.commit()
                assert bool(inspect(city).expired_attributes) is expire
                if expire:
                    with world.sessions() as other:
                        get_from_cache(other, City, id=1)
                with world.asked() as asked:
                    assert get_from_cache(session, City, id=1) is city
                    assert (city.name, city.population) == (name, len(name))
                assert (asked.statements, asked.calls) == ([], WARM if expire else [])

    def test_expunged_it_keeps_its_values(self, warm: World) -> None:
        """And the next read makes another instance."""
        with warm.sessions() as session:
            city = get_one_from_cache(session, City, id=1)
            session.expunge(city)
            assert inspect(city).detached
            assert get_from_cache(session, City, id=1) is not city
        assert (city.name, city.population) == ("Oslo", 700_000)

    def test_detached_it_can_be_added_and_merged(self, warm: World) -> None:
        """To another session, where its changes are written."""
        with warm.sessions() as session:
            one, two = get_many_from_cache(session, City, [1, 2])
        one.name, two.name = "Kristiania", "Bjorgvin"
        with warm.sessions() as session:
            session.add(one)
            merged = session.merge(two)
            assert merged is not two
            session.commit()
        with warm.sessions() as session:
            assert [city.name for city in get_many_from_cache(session, City, [1, 2])] == ["Kristiania", "Bjorgvin"]

    def test_merge_meets_a_cached_instance(self, warm: World) -> None:
        """What is merged goes into the instance that came from the cache."""
        with warm.sessions() as session:
            city = get_one_from_cache(session, City, id=1)
            assert session.merge(City(id=1, slug="oslo", name="Kristiania", country_id=1)) is city
            session.commit()
        with warm.sessions() as session:
            assert get_one_from_cache(session, City, slug="oslo").name == "Kristiania"

    @pytest.mark.parametrize(
        "how", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy], ids=["pickle", "copy"]
    )
    def test_it_can_be_pickled(self, warm: World, how: Callable[[City], City]) -> None:
        """What comes back is detached, with the same values and key, and can be merged without a statement."""
        with warm.sessions() as session:
            one = how(get_one_from_cache(session, City, id=1))
        state: Any = inspect(one)
        assert (one.name, one.population, state.key[1]) == ("Oslo", 700_000, (1,))
        with warm.sessions() as session, warm.asked() as asked:
            assert session.merge(one, load=False) in session
        assert asked.statements == []

    def test_it_can_be_made_transient(self, warm: World) -> None:
        """And inserted again as another row."""
        with warm.sessions() as session:
            city = get_one_from_cache(session, City, id=1)
            make_transient(city)
            city.id, city.slug, city.name = 50, "kiruna", "Kiruna"
            session.add(city)
            session.commit()
        with warm.sessions() as session:
            assert slugs(get_many_from_cache(session, City, [1, 50])) == ["oslo", "kiruna"]

    def test_it_can_be_deleted(self, warm: World) -> None:
        """After the commit nobody finds it."""
        with warm.sessions() as session:
            session.delete(get_one_from_cache(session, City, slug="bergen"))
            session.commit()
            assert get_from_cache(session, City, slug="bergen") is None
        with warm.sessions() as session:
            assert get_from_cache(session, City, id=2) is None

    def test_its_relations_load_lazily(self, warm: World) -> None:
        """By a statement, as of any other instance; an object set there is flushed."""
        with warm.sessions() as session:
            city = get_one_from_cache(session, City, id=1)
            assert city.country is not None
            assert city.country.name == "Norway"
            city.country = session.get(Country, 2)
            session.commit()
        with warm.sessions() as session:
            assert get_one_from_cache(session, City, id=1).country_id == 2
            country = get_one_from_cache(session, Country, code="fr")
            assert sorted(slugs(country.cities)) == ["lyon", "oslo"]

    def test_those_who_listen_for_loads_are_told(self, warm: World) -> None:
        """The events load and refresh come for instances of the cache too."""
        told: list[str] = []

        def on_load(*_: Any) -> None:
            told.append("load")

        def on_refresh(*_: Any) -> None:
            told.append("refresh")

        event.listen(City, "load", on_load)
        event.listen(City, "refresh", on_refresh)
        try:
            with warm.sessions() as session:
                city = get_one_from_cache(session, City, id=1)
                session.expire(city)
                get_from_cache(session, City, id=1)
        finally:
            event.remove(City, "load", on_load)
            event.remove(City, "refresh", on_refresh)
        assert told == ["load", "refresh"]


# -- awaited ---------------------------------------------------------------------------------------


class TestAwaited:
    """The functions whose names begin with a."""

    @pytest.mark.parametrize("lookup", LOOKUPS, ids=str)
    async def test_the_row_is_found_by_each_lookup(self, async_world: AsyncWorld, lookup: dict[str, Any]) -> None:
        """Cold, learnt and warm; a hit sends no statement, takes no connection and is one call."""
        for _ in range(3):
            async with async_world.sessions() as session:
                with async_world.asked() as asked:
                    city = await aget_one_from_cache(session, City, **lookup)
                assert (city.slug, city.population) == ("oslo", 700_000)
                assert await aget_from_cache(session, City, **lookup) is city
                assert await session.get(City, 1) is city
        assert (asked.statements, asked.connections, asked.calls) == ([], 0, WARM)

    async def test_many(self, async_world: AsyncWorld) -> None:
        """One multi-get and one statement, in the order asked; missing ones are left out."""
        async with async_world.sessions() as session:
            with async_world.asked() as asked:
                found = await aget_many_from_cache(session, City, [3, 99, 1, 3])
            assert slugs(found) == ["lyon", "oslo", "lyon"]
        assert len(asked.statements) == 1
        async with async_world.sessions() as session:
            with async_world.asked() as asked:
                assert slugs(await aget_many_from_cache(session, City, [3, 1])) == ["lyon", "oslo"]
            assert (asked.statements, asked.calls) == ([], WARM)
            wanted = [(2, "Lyon"), (1, "Oslo"), (2, "Oslo")]
            found = await aget_many_from_cache(session, City, wanted, key=("country_id", "name"))
            assert slugs(found) == ["lyon", "oslo"]
            assert await aget_many_from_cache(session, City, []) == []

    async def test_what_does_not_exist(self, async_world: AsyncWorld) -> None:
        """None, or NoResultFound."""
        async with async_world.sessions() as session:
            assert await aget_from_cache(session, City, slug="paris") is None
            with pytest.raises(NoResultFound, match="no City with slug='paris'"):
                await aget_one_from_cache(session, City, slug="paris")

    async def test_an_expired_instance_is_filled(self, async_world: AsyncWorld) -> None:
        """After a commit its attributes can be read again without a greenlet."""
        async with async_world.sessions() as session:
            city = await aget_one_from_cache(session, City, id=1)
            city.population = 5
            await session.commit()
            assert inspect(city).expired_attributes
            assert await aget_from_cache(session, City, id=1) is city
            assert (city.name, city.population) == ("Oslo", 5)
            session.expire(city)
            assert await aget_many_from_cache(session, City, [1]) == [city]
            assert (city.name, city.population) == ("Oslo", 5)
            session.expire(city)
            assert await aget_from_cache(session, City, slug="oslo") is city
            assert (city.name, city.population) == ("Oslo", 5)

    async def test_pending_changes_are_flushed_first(self, async_world: AsyncWorld) -> None:
        """A lookup sees them, though the flush is the first statement of the session."""
        for lookup in ({"id": 1}, {"slug": "oslo"}, {"slug": "oslo"}):
            async with async_world.sessions() as session:
                await aget_from_cache(session, City, **lookup)
        async with async_world.sessions() as session:
            city = await aget_one_from_cache(session, City, id=1)
            city.slug = "christiania"
            assert await aget_from_cache(session, City, slug="oslo") is None
            assert await aget_from_cache(session, City, slug="christiania") is city
            assert await aget_many_from_cache(session, City, ["oslo", "christiania"], key="slug") == [city]
            await session.rollback()
            assert await aget_from_cache(session, City, slug="oslo") is city

    async def test_changes_are_flushed_as_usual(self, async_world: AsyncWorld) -> None:
        """And others see them after the commit."""
        for population in (1, 2):
            async with async_world.sessions.begin() as session:
                city = await aget_one_from_cache(session, City, slug="oslo")
                city.population = population
            async with async_world.sessions() as session:
                assert (await aget_one_from_cache(session, City, id=1)).population == population

    async def test_invalidate(self, async_world: AsyncWorld) -> None:
        """After a write that nobody could see: the rows named, or all."""
        async with async_world.sessions() as session:
            await aget_many_from_cache(session, City, [1, 2])
        for identities, asked_for in (((1,), 1), ((), 2)):
            async with async_world.sessions() as session:
                await ainvalidate(session, City, *identities)
                with async_world.asked() as asked:
                    await aget_from_cache(session, City, id=asked_for)
                assert len(asked.statements) == 1

    async def test_many_tasks_that_miss_at_once_send_one_select(self, async_engine: AsyncEngine) -> None:
        """Each with a session of its own."""
        await ainsert_rows(async_engine)
        world = AsyncWorld(async_engine)
        cache = AsyncCache(AsyncFakeBackend(), namespace="patient", policy=Policy(lease_wait=60.0))
        sessions = world.sessions
        sessions.configure(info={})
        cache_sessions(sessions, cache)

        async def read() -> str:
            async with sessions() as session:
                return (await aget_one_from_cache(session, City, id=1)).slug

        with world.asked() as asked:
            assert await asyncio.gather(*(read() for _ in range(8))) == ["oslo"] * 8
        assert len([one for one in asked.statements if one.startswith("SELECT city")]) == 1

    async def test_a_scoped_session(self, async_world: AsyncWorld) -> None:
        """It is read as the session is that stands behind it."""
        scoped = async_scoped_session(async_world.sessions, asyncio.current_task)
        for _ in range(2):
            city = await aget_one_from_cache(scoped, City, id=1)
            assert city in scoped
            await scoped.remove()
        with async_world.asked() as asked:
            await aget_one_from_cache(scoped, City, id=1)
        await scoped.remove()
        assert (asked.statements, asked.calls) == ([], WARM)

    async def test_a_session_within_run_sync_is_read_by_its_async_session(self, async_world: AsyncWorld) -> None:
        """The Session behind an AsyncSession is told so."""
        async with async_world.sessions() as session:
            with pytest.raises(ConfigurationError, match="async"):
                await session.run_sync(lambda it: get_from_cache(it, City, id=1))
            assert await aget_from_cache(session, City, id=1) is not None


# -- caches ----------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "redis", "memcached"])
def each_backend(request: pytest.FixtureRequest) -> Iterator[Callable[[type[Any]], Any]]:
    """Makes caches of one kind after another: in this process, and on real servers."""
    made: list[Any] = []

    def make(kind: type[Any]) -> Any:
        options: Any = {}
        location = "memory://"
        if request.param != "memory":
            location, options = request.getfixturevalue(f"{request.param}_server").url, {"options": PATIENT}
        made.append(kind(location, namespace=uuid.uuid4().hex, **options))
        return made[-1]

    yield make
    for cache in made:
        if isinstance(cache, Cache):
            cache.close()


class TestEachCache:
    """The same on each kind of cache."""

    def test_reads_and_writes(self, quick: World, each_backend: Callable[[type[Any]], Any]) -> None:
        """Rows are hits once they were read by each lookup, and after a commit everybody sees what it has written."""
        cache = each_backend(Cache)
        sessions = sessionmaker(quick.engine)
        cache_sessions(sessions, cache)

        def read() -> list[tuple[str, int | None]]:
            with sessions() as session:
                cities = [
                    get_one_from_cache(session, City, id=1),
                    get_one_from_cache(session, City, slug="bergen"),
                    get_one_from_cache(session, City, country_id=2, name="Lyon"),
                    *get_many_from_cache(session, City, [2, 1, 77]),
                ]
                return [(city.slug, city.population) for city in cities]

        for _ in range(2):
            assert [slug for slug, _ in read()] == ["oslo", "bergen", "lyon", "bergen", "oslo"]
        with quick.asked() as asked:
            before = read()
        assert [one for one in asked.statements if "77" in one or "IN" not in one] == []
        with sessions.begin() as session:
            session.execute(update(City).where(City.id == 1).values(population=1))
            get_one_from_cache(session, City, slug="bergen").slug = "bjorgvin"
        with sessions() as session:
            assert get_from_cache(session, City, slug="bergen") is None
            assert get_one_from_cache(session, City, slug="bjorgvin").id == 2
            assert get_one_from_cache(session, City, id=1).population == 1
            assert get_one_from_cache(session, City, id=3).slug == before[2][0]

    async def test_awaited(
        self,
        open_async_database: Callable[[str, MetaData], Database],
        each_backend: Callable[[type[Any]], Any],
    ) -> None:
        """The same, awaited."""
        engine = open_async_database("aiosqlite", City.metadata).async_engine()
        await ainsert_rows(engine)
        cache = each_backend(AsyncCache)
        world = AsyncWorld(engine)
        world.sessions.configure(info={})
        cache_sessions(world.sessions, cache)
        for population in (700_000, 1, 2):
            for _ in range(2):
                async with world.sessions() as session:
                    assert (await aget_one_from_cache(session, City, slug="oslo")).population == population
                    assert slugs(await aget_many_from_cache(session, City, [2, 1])) == ["bergen", "oslo"]
            with world.asked() as asked:
                async with world.sessions() as session:
                    await aget_one_from_cache(session, City, slug="oslo")
            assert asked.statements == []
            async with world.sessions.begin() as session:
                await session.execute(update(City).where(City.slug == "oslo").values(population=population % 7 + 1))
            if population == 700_000:
                assert population % 7 + 1 == 1
        await cache.close()


class TestConcurrent:
    """Readers at the same time."""

    def test_many_threads_that_miss_at_once_send_one_select(self, quick: World) -> None:
        """One of them reads the row, the others wait for it."""
        cache = Cache(MemoryBackend(), namespace="patient", policy=Policy(lease_wait=60.0))
        sessions = sessionmaker(quick.engine)
        cache_sessions(sessions, cache)
        start, found = threading.Barrier(8), list[str]()

        def read() -> None:
            with sessions() as session:
                start.wait()
                found.append(get_one_from_cache(session, City, id=1).slug)

        threads = [threading.Thread(target=read) for _ in range(8)]
        with quick.asked() as asked:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert found == ["oslo"] * 8
        assert len(asked.statements) == 1


# -- sessions and engines --------------------------------------------------------------------------


class TestSessions:
    """Which sessions read through a cache."""

    def test_a_scoped_session(self, quick: World) -> None:
        """Also one that was made before its cache was."""
        scoped = scoped_session(sessionmaker(quick.engine))
        cache = Cache(FakeBackend(), namespace="scoped")
        cache_sessions(scoped, cache)
        for hits in (0, 1, 2):
            assert get_one_from_cache(scoped, City, id=1) in scoped
            assert cache.statistics.hits == hits
            scoped.remove()

    def test_the_sessions_of_an_engine(self, open_database: OpenDatabase) -> None:
        """An engine that has one cache gives it to sessions that know nothing of it."""
        engine = open_database("sqlite file", City.metadata).engine()
        insert_rows(engine)
        cache = Cache(FakeBackend(), namespace="engine")
        cache_sessions(engine, cache)
        for hits in (0, 1):
            with Session(engine) as session:
                assert get_one_from_cache(session, City, id=1).slug == "oslo"
            assert cache.statistics.hits == hits

    def test_a_sessionmaker_that_gets_its_engine_later(self, quick: World) -> None:
        """What its sessions write, and whoever else writes through that engine from then on, is seen."""
        sessions: sessionmaker[Session] = sessionmaker()
        cache = Cache(FakeBackend(), namespace="later")
        cache_sessions(sessions, cache)
        sessions.configure(bind=quick.engine)
        with sessions() as session:
            get_from_cache(session, City, id=1)
        with sessions.begin() as session:
            get_one_from_cache(session, City, id=1).name = "Kristiania"
        assert cache.statistics.hits == 1
        with sessions() as session:
            assert get_one_from_cache(session, City, id=1).name == "Kristiania"
        with Session(quick.engine) as session:
            session.execute(update(City).where(City.id == 1).values(name="Christiania"))
            session.commit()
        with sessions() as session:
            assert get_one_from_cache(session, City, id=1).name == "Christiania"

    def test_a_write_may_come_before_the_first_read(self, quick: World) -> None:
        """Of another process, say: the first transaction of such a sessionmaker outdates what it writes."""
        backend = FakeBackend()
        reader = World(quick.engine, backend)
        with reader.sessions() as session:
            get_from_cache(session, City, id=1)
        engine = create_engine(quick.engine.url)
        sessions: sessionmaker[Session] = sessionmaker()
        cache_sessions(sessions, Cache(backend, namespace="world"))
        with sessions(bind=engine) as session:
            session.execute(update(City).where(City.id == 1).values(name="Kristiania"))
            session.commit()
        engine.dispose()
        with reader.sessions() as session:
            assert get_one_from_cache(session, City, id=1).name == "Kristiania"

    def test_an_engine_given_to_one_session(self, quick: World) -> None:
        """sessionmaker()(bind=engine)."""
        sessions: sessionmaker[Session] = sessionmaker()
        cache = Cache(FakeBackend(), namespace="given")
        cache_sessions(sessions, cache)
        for hits in (0, 1):
            with sessions(bind=quick.engine) as session:
                get_from_cache(session, City, id=1)
            assert cache.statistics.hits == hits

    def test_a_session_of_a_connection(self, quick: World) -> None:
        """It sees what its connection has written and not committed, and nobody else does; the end of the outer
        transaction is the commit."""
        with quick.sessions() as session:
            get_from_cache(session, City, id=1)
        with quick.engine.connect() as connection:
            outer = connection.begin()
            with quick.sessions(bind=connection) as session:
                get_one_from_cache(session, City, id=1).name = "Kristiania"
                session.commit()
            with quick.sessions(bind=connection) as session:
                assert get_one_from_cache(session, City, id=1).name == "Kristiania"
            with quick.sessions() as other:
                assert get_one_from_cache(other, City, id=1).name == "Oslo"
            outer.commit()
        with quick.sessions() as other:
            assert get_one_from_cache(other, City, id=1).name == "Kristiania"

    def test_a_session_that_must_be_rolled_back(self, warm: World) -> None:
        """A read that needs the database raises what a query does, until it is rolled back."""
        with warm.sessions() as session:
            session.add(City(id=1, slug="again", name="Again"))
            with pytest.raises(IntegrityError):
                get_from_cache(session, City, slug="bergen")
            for lookup in ({"id": 99}, {"slug": "paris"}):
                with pytest.raises(PendingRollbackError):
                    get_from_cache(session, City, **lookup)
            session.rollback()
            assert get_one_from_cache(session, City, slug="bergen").id == 2

    def test_a_session_that_begins_by_hand(self, warm: World) -> None:
        """Without begin() a read raises what a query does, hit or not."""
        with warm.sessions(autobegin=False) as session:
            for key in (1, 99):
                with pytest.raises(InvalidRequestError, match="Autobegin is disabled"):
                    get_from_cache(session, City, id=key)
            with session.begin():
                assert get_one_from_cache(session, City, id=1).slug == "oslo"

    def test_a_session_that_is_closed_for_good(self, warm: World) -> None:
        """A read raises what a query does."""
        session = warm.sessions(close_resets_only=False)
        session.close()
        with pytest.raises(InvalidRequestError, match="permanently closed"):
            get_from_cache(session, City, id=1)

    @pytest.mark.parametrize("name", ["before_flush", "after_flush"])
    def test_a_read_within_a_flush(self, warm: World, name: str) -> None:
        """Listeners may read; nothing is flushed within the flush."""
        with warm.sessions() as session:
            found: list[str] = []

            def listener(session: Session, *_: Any) -> None:
                found.append(get_one_from_cache(session, City, slug="bergen").slug)

            event.listen(session, name, listener)
            session.add(Country(id=9, code="dk", name="Denmark"))
            session.commit()
        assert found == ["bergen"]

    @pytest.fixture
    def two(self, open_database: OpenDatabase) -> tuple[Engine, Engine]:
        """Two databases with the same tables; the rows of the second one are called otherwise."""
        engines = [open_database("sqlite file", City.metadata).engine() for _ in range(2)]
        for engine in engines:
            insert_rows(engine)
        with engines[1].begin() as connection:
            connection.execute(update(City).values(name=City.name + " 2"))
            connection.execute(update(Country).values(name=Country.name + " 2"))
        return engines[0], engines[1]

    def test_two_databases_with_two_aliases(self, two: tuple[Engine, Engine]) -> None:
        """Each has its own rows in the same cache, and a write to one leaves those of the other."""
        backend = FakeBackend()
        worlds = [World(engine, backend, alias=alias) for engine, alias in zip(two, ("one", "two"), strict=True)]
        for hits in (0, 1):
            for world, name in zip(worlds, ("Oslo", "Oslo 2"), strict=True):
                with world.sessions() as session:
                    assert get_one_from_cache(session, City, id=1).name == name
                assert world.cache.statistics.hits == hits
        with worlds[0].sessions.begin() as session:
            get_one_from_cache(session, City, id=1).name = "Kristiania"
        with worlds[1].sessions() as session, worlds[1].asked() as asked:
            assert get_one_from_cache(session, City, id=1).name == "Oslo 2"
        assert asked.statements == []
        with worlds[0].sessions() as session:
            assert get_one_from_cache(session, City, id=1).name == "Kristiania"

    def test_each_class_in_a_database_of_its_own(self, two: tuple[Engine, Engine]) -> None:
        """binds={}: rows come from their database, and a commit that writes both outdates both."""
        sessions = sessionmaker(binds={City: two[0], Country: two[1]})
        cache = Cache(FakeBackend(), namespace="binds")
        cache_sessions(sessions, cache)

        def names() -> tuple[str, str]:
            with sessions() as session:
                return get_one_from_cache(session, City, id=1).name, get_one_from_cache(session, Country, id=1).name

        assert [names(), names()] == [("Oslo", "Norway 2")] * 2
        assert cache.statistics.hits == 2
        with sessions.begin() as session:
            get_one_from_cache(session, City, id=1).name = "Kristiania"
            get_one_from_cache(session, Country, id=1).name = "Norge"
        assert [names(), names()] == [("Kristiania", "Norge")] * 2

    def test_a_session_that_chooses_its_engine(self, two: tuple[Engine, Engine]) -> None:
        """get_bind of a class of one's own is asked."""

        class Routing(Session):
            def get_bind(self, mapper: Any = None, **_: Any) -> Engine:
                return two[1] if mapper is not None and mapper.class_ is Country else two[0]

        sessions = sessionmaker(class_=Routing)
        cache = Cache(FakeBackend(), namespace="routing")
        cache_sessions(sessions, cache)
        for hits in (0, 2):
            with sessions() as session:
                assert get_one_from_cache(session, City, id=1).name == "Oslo"
                assert get_one_from_cache(session, Country, id=1).name == "Norway 2"
            assert cache.statistics.hits == hits

    def test_tenants_with_schemas_of_their_own(self) -> None:
        """An engine with a schema_translate_map and an alias for each: each has its own rows."""
        engine = create_engine("sqlite://", poolclass=StaticPool)
        backend = FakeBackend()
        worlds: list[World] = []
        for schema in ("one", "two"):
            with engine.begin() as connection:
                connection.exec_driver_sql(f"ATTACH ':memory:' AS {schema}")
            tenant = engine.execution_options(schema_translate_map={None: schema, "billing": schema})
            for table in (Country.__table__, City.__table__):
                table.create(tenant)  # type: ignore[attr-defined]
            add(tenant, City(id=1, slug="oslo", name=schema))
            worlds.append(World(tenant, backend, alias=schema))
        for _ in range(2):
            for world, name in zip(worlds, ("one", "two"), strict=True):
                with world.sessions() as session:
                    assert get_one_from_cache(session, City, slug="oslo").name == name
                    session.expunge_all()
                    assert get_one_from_cache(session, City, id=1).name == name
        with worlds[0].sessions.begin() as session:
            session.execute(update(City).values(name="new"))
        for world, name in zip(worlds, ("new", "two"), strict=True):
            with world.sessions() as session:
                assert get_one_from_cache(session, City, id=1).name == name
        engine.dispose()

    def test_one_cache_in_the_process_for_both_kinds_of_sessions(self, quick: World) -> None:
        """A backend that both share: what one writes the other sees."""
        backend = MemoryBackend()
        sync = World(quick.engine, backend)

        async def awaited() -> None:
            from sqlalchemy.ext.asyncio import create_async_engine

            engine = create_async_engine(quick.engine.url.set(drivername="sqlite+aiosqlite"))
            world = AsyncWorld(engine, backend)
            async with world.sessions.begin() as session:
                city = await aget_one_from_cache(session, City, id=1)
                assert (city.name, world.cache.statistics.hits) == ("Oslo", 1)
                city.name = "Kristiania"
            with sync.sessions.begin() as session:
                city = get_one_from_cache(session, City, id=1)
                assert city.name == "Kristiania"
                city.name = "Christiania"
            async with world.sessions() as session:
                assert (await aget_one_from_cache(session, City, id=1)).name == "Christiania"
            await engine.dispose()

        with sync.sessions() as session:
            get_from_cache(session, City, id=1)
        asyncio.run(awaited())


# -- declarations ----------------------------------------------------------------------------------


class TestDeclared:
    """Classes that are declared at any time, and by processes of several versions."""

    def test_a_class_declared_after_the_sessions(self, open_database: OpenDatabase) -> None:
        """It is cached from then on, and its writes are seen."""

        class Local(DeclarativeBase):
            pass

        class Late(Local):
            __tablename__ = "late"
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str]

        engine = open_database("sqlite file", Local.metadata).engine()
        world = World(engine)
        with world.sessions.begin() as session:
            session.add(Late(id=1, name="a"))
        cached()(Late)
        for name in ("a", "b"):
            for _ in range(2):
                with world.sessions() as session:
                    assert get_one_from_cache(session, Late, id=1).name == name
            with world.sessions.begin() as session:
                session.execute(update(Late).values(name="b"))
        assert world.cache.statistics.hits == 2

    def test_a_class_that_inherits_later(self, open_database: OpenDatabase) -> None:
        """It is cached as its parent is, without a word; a write to either table outdates it."""

        class Local(DeclarativeBase):
            pass

        @cached(lookups=["name"])
        class Parent(Local):
            __tablename__ = "parent"
            __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "parent"}  # noqa: RUF012
            id: Mapped[int] = mapped_column(primary_key=True)
            kind: Mapped[str]
            name: Mapped[str] = mapped_column(unique=True)

        engine = open_database("sqlite file", Local.metadata).engine()
        world = World(engine)
        with world.sessions.begin() as session:
            session.add(Parent(id=1, name="p"))
        with world.sessions() as session:
            get_from_cache(session, Parent, id=1)

        class Child(Parent):
            __tablename__ = "child"
            __mapper_args__ = {"polymorphic_identity": "child"}  # noqa: RUF012
            id: Mapped[int] = mapped_column(ForeignKey("parent.id"), primary_key=True)
            age: Mapped[int]

        Local.metadata.create_all(engine)
        with world.sessions.begin() as session:
            session.add(Child(id=2, name="c", age=1))
        for _ in range(2):
            with world.sessions() as session:
                assert get_one_from_cache(session, Child, name="c").age == 1
                assert isinstance(get_one_from_cache(session, Parent, id=2), Child)
        with world.sessions.begin() as session:
            session.execute(update(Child.__table__).values(age=2))  # type: ignore[arg-type]
        with world.sessions() as session:
            assert get_one_from_cache(session, Child, id=2).age == 2
        with world.sessions.begin() as session:
            session.execute(update(Parent.__table__).where(Parent.id == 2).values(name="d"))  # type: ignore[arg-type]
        with world.sessions() as session:
            assert get_from_cache(session, Child, name="c") is None
            assert get_one_from_cache(session, Child, name="d").age == 2
        Local.metadata.drop_all(engine)

    def test_a_rolling_deploy(self, open_database: OpenDatabase) -> None:
        """Processes with another list of columns read none of each other's rows, which is counted as such, and each
        sees at once what the other one writes."""

        class Old(DeclarativeBase):
            pass

        class New(DeclarativeBase):
            pass

        def item(base: type[DeclarativeBase], **columns: Any) -> Any:
            return cached(lookups=["name"])(
                type(
                    "Item",
                    (base,),
                    {
                        "__tablename__": "item",
                        "__module__": __name__,
                        "id": mapped_column("id", Integer, primary_key=True),
                        "name": mapped_column(String(20), unique=True),
                        **columns,
                    },
                )
            )

        old = item(Old)
        new = item(New, size=mapped_column(Integer))
        opened = open_database("sqlite file", New.metadata)
        backend = FakeBackend()
        before, after = World(opened.engine(), backend), World(opened.engine(), backend)
        with after.sessions.begin() as session:
            session.add(new(id=1, name="a", size=1))
        with before.sessions() as session:
            get_from_cache(session, old, id=1)
        with after.sessions() as session:
            assert get_one_from_cache(session, new, id=1).size == 1
        assert after.cache.statistics.miss_reasons.get("schema") == 1
        for world, cls, name in ((before, old, "b"), (after, new, "c")):
            with world.sessions.begin() as session:
                get_one_from_cache(session, cls, id=1).name = name
            with before.sessions() as session:
                assert get_one_from_cache(session, old, id=1).name == name
            with after.sessions() as session:
                assert get_one_from_cache(session, new, name=name).size == 1

    def test_another_version_is_not_read(self, open_database: OpenDatabase) -> None:
        """version= says that a column means something else, though it looks the same."""

        class Local(DeclarativeBase):
            pass

        class Thing(Local):
            __tablename__ = "thing"
            id: Mapped[int] = mapped_column(primary_key=True)

        opened = open_database("sqlite file", Local.metadata)
        backend = FakeBackend()
        for version, reasons in ((1, {"absent": 1}), (2, {"schema": 1}), (2, {})):
            cached(version=version)(Thing)
            world = World(opened.engine(), backend)
            if version == 1:
                with world.sessions.begin() as session:
                    session.add(Thing(id=1))
            with world.sessions() as session:
                assert get_from_cache(session, Thing, id=1) is not None
            assert world.cache.statistics.miss_reasons == reasons


class TestForged:
    """Whatever stands in the cache, a read answers with the row."""

    def test_no_bytes_break_a_read(self, quick: World) -> None:
        """Garbage, another row's bytes, and cut or flipped ones: the row comes from the database."""
        for _ in range(2):
            with quick.sessions() as session:
                get_many_from_cache(session, City, [1, 2])
                get_from_cache(session, City, slug="oslo")
                get_from_cache(session, Country, id=1)
        content = dict(quick.server.snapshot())
        raws = [raw for raw, _ in content.values()]
        forged = [b"", b"\x00", b"garbage" * 9, *raws]
        for raw in raws:
            forged += [raw[:cut] for cut in (1, len(raw) // 2, len(raw) - 1)]
            forged += [raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :] for at in range(0, len(raw), len(raw) // 4)]
        for key in content:
            for raw in forged:
                quick.server.restore(content)
                quick.server.inject(key, raw)
                world = World(quick.engine, quick.server)
                with world.sessions() as session:
                    one, two = get_many_from_cache(session, City, [1, 2])
                    assert (one.id, two.id) == (1, 2)
                    assert get_one_from_cache(session, City, slug="oslo") is one

    def test_a_cache_that_is_away_costs_statements_only(self, quick: World) -> None:
        """Reads come from the database, and the failures are counted."""
        with quick.sessions() as session:
            get_from_cache(session, City, id=1)
        quick.server.fail(times=1000)
        with quick.sessions() as session, quick.asked() as asked:
            assert get_one_from_cache(session, City, id=1).slug == "oslo"
            assert slugs(get_many_from_cache(session, City, [3, 2])) == ["lyon", "bergen"]
            assert get_one_from_cache(session, City, slug="nowhere").id == 4
        assert len(asked.statements) == 3
        assert quick.cache.statistics.failures >= 3
        quick.server.recover()
        with quick.sessions() as session, quick.asked() as asked:
            assert get_one_from_cache(session, City, id=1).slug == "oslo"
        assert asked.statements == []

    def test_hooks_tell_what_happens(self, quick: World) -> None:
        """Misses with their reasons, fills and hits, by the name of table and class."""
        told: list[Event] = []
        quick.cache.hooks.subscribe(told.append)
        for _ in range(2):
            with quick.sessions() as session:
                get_from_cache(session, City, id=1)
        kinds = [type(one) for one in told if isinstance(one, Hit | Miss | Filled)]
        assert kinds == [Miss, Filled, Hit]
        assert {one.entity for one in told} == {"city.City"}
        statistics = quick.cache.statistics
        assert (statistics.hits, statistics.misses, statistics.fills) == (1, 1, 1)

    def test_invalidate_after_a_write_that_nobody_saw(self, quick: World) -> None:
        """The rows named, or all of the class; others stay cached."""
        with quick.sessions() as session:
            get_many_from_cache(session, City, [1, 2])
        driver: Any = quick.engine.raw_connection()
        driver.driver_connection.execute("UPDATE city SET name = 'new ' || id")
        driver.driver_connection.commit()
        driver.close()
        with quick.sessions() as session:
            assert get_one_from_cache(session, City, id=1).name == "Oslo"
            invalidate(session, City, 1)
        with quick.sessions() as session:
            assert [city.name for city in get_many_from_cache(session, City, [1, 2])] == ["new 1", "Bergen"]
            invalidate(session, City)
        with quick.sessions() as session:
            assert get_one_from_cache(session, City, id=2).name == "new 2"


def test_a_lookup_that_is_not_unique_after_all(open_database: OpenDatabase) -> None:
    """The declaration says unique, the table is not: an error as of one_or_none(), not one of the rows."""

    class Local(DeclarativeBase):
        pass

    @cached(lookups=["name"])
    class Twin(Local):
        __tablename__ = "twin"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(unique=True)

    engine = open_database("sqlite file", MetaData()).engine()
    world = World(engine)
    with world.sessions() as session:
        session.execute(text("CREATE TABLE twin (id INTEGER PRIMARY KEY, name TEXT)"))
        session.execute(text("INSERT INTO twin VALUES (1, 'a'), (2, 'a')"))
        session.commit()
        with pytest.raises(MultipleResultsFound, match="Twin"):
            get_from_cache(session, Twin, name="a")
        assert get_one_from_cache(session, Twin, id=2).name == "a"


def test_excluded_columns_load_at_their_first_use(open_database: OpenDatabase) -> None:
    """They are not in the cache; deferred ones neither."""

    class Local(DeclarativeBase):
        pass

    @cached(exclude=["body"])
    class Page(Local):
        __tablename__ = "page"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        body: Mapped[str]
        notes: Mapped[str] = mapped_column(deferred=True)

    world = World(open_database("sqlite file", Local.metadata).engine())
    with world.sessions.begin() as session:
        session.add(Page(id=1, title="t", body="b", notes="n"))
    for _ in range(2):
        with world.sessions() as session:
            page = get_one_from_cache(session, Page, id=1)
            assert page.title == "t"
            with world.asked() as asked:
                assert (page.body, page.notes) == ("b", "n")
            assert len(asked.statements) == 2
    assert b"b" not in [raw for raw, _ in world.server.snapshot().values()]
