"""Every type of column comes back from a row as SQLAlchemy loads it; what has no stored form is refused."""

import ipaddress
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm, types
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from cachecore.errors import ConfigurationError, UncacheableLookup, UnsupportedValue
from cachecore.testing.servers import PostgresServer
from tests.sqlalchemy_layouts import (
    POSTGRES,
    SQLITE,
    WAYS,
    Make,
    from_bytes,
    layout_of,
    loaded,
    rows_of,
    saved,
    statements,
)
from tests.sqlalchemy_types import (
    A_UUID,
    POSTGRES_VALUES,
    Base,
    Colour,
    EveryType,
    IntLevel,
    Level,
    Lower,
    Point,
    PostgresBase,
    PostgresTypes,
    Reversed,
    every_value,
)

pytestmark = pytest.mark.filterwarnings("ignore:Dialect sqlite.* does .not. support Decimal")


@pytest.fixture
def engine() -> Iterator[sa.Engine]:
    """A new database in memory, with one connection for all."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: sa.Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


@pytest.fixture(params=WAYS, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    """Each way from a row that was read to an instance."""
    found: Make = request.param
    return found


@pytest.fixture(scope="module")
def postgres(postgres_server: PostgresServer) -> Iterator[sa.URL]:
    """A new database with the tables."""
    name = f"rows_{uuid.uuid4().hex}"
    admin = sa.create_engine(_by(postgres_server.url, "psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    url = _by(postgres_server.url, "psycopg").set(database=name)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for extension in ("hstore", "citext"):
            connection.exec_driver_sql(f"CREATE EXTENSION {extension}")
        for base in (Base, PostgresBase):
            base.metadata.create_all(connection)
    engine.dispose()
    yield url
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


def _by(url: str | sa.URL, driver: str) -> sa.URL:
    return sa.make_url(url).set(drivername=f"postgresql+{driver}")


@pytest.fixture
def psycopg(postgres: sa.URL) -> Iterator[sa.Engine]:
    """That database, empty, by psycopg."""
    engine = sa.create_engine(postgres)
    with engine.begin() as connection:
        for kind in (EveryType, PostgresTypes):
            connection.execute(sa.delete(kind))
    yield engine
    engine.dispose()


@pytest.fixture
async def asyncpg(psycopg: sa.Engine, postgres: sa.URL) -> AsyncIterator[AsyncEngine]:
    """The same by asyncpg."""
    engine = create_async_engine(_by(postgres, "asyncpg"))
    yield engine
    await engine.dispose()


# -- types -----------------------------------------------------------------------------------------


def assert_same(instance: Any, other: Any) -> None:
    """Equal attributes of the same types, and of which none is the other's own list or dict."""
    ours, theirs = loaded(instance), loaded(other)
    assert ours == theirs
    for key, value in ours.items():
        assert type(value) is type(theirs[key]) or isinstance(value, uuid.UUID), key  # asyncpg has a class of its own
        assert value is not theirs[key] or not isinstance(value, list | dict), key


@pytest.mark.parametrize("is_empty", [False, True], ids=["values", "nulls"])
def test_every_type_on_sqlite(engine: sa.Engine, make: Make, is_empty: bool) -> None:
    """An instance of a row has the values and types that SQLAlchemy loads, for every type and for NULL."""
    saved(engine, EveryType(id=1, **({"json": None} if is_empty else every_value("sqlite"))))
    layout = layout_of(EveryType, engine.dialect)
    [row] = rows_of(layout, engine)
    with Session(engine) as ours, Session(engine) as theirs:
        with statements(engine) as executed:
            instance = make(layout, ours, row)
        assert executed == []
        assert_same(instance, theirs.get(EveryType, 1))
        if not is_empty:
            assert {key: getattr(instance, key) for key in every_value("sqlite")} == every_value("sqlite")


@pytest.mark.parametrize("is_empty", [False, True], ids=["values", "nulls"])
def test_every_type_on_postgresql(psycopg: sa.Engine, make: Make, is_empty: bool) -> None:
    """The same on PostgreSQL by psycopg, with its own types."""
    saved(
        psycopg,
        EveryType(id=1, **({"json": None} if is_empty else every_value("postgresql"))),
        PostgresTypes(**({"id": A_UUID} if is_empty else POSTGRES_VALUES)),
    )
    for kind, identity in ((EveryType, 1), (PostgresTypes, A_UUID)):
        layout = layout_of(kind, psycopg.dialect)
        [row] = rows_of(layout, psycopg)
        with Session(psycopg) as ours, Session(psycopg) as theirs:
            assert_same(make(layout, ours, row), theirs.get(kind, identity))


@pytest.mark.parametrize("is_empty", [False, True], ids=["values", "nulls"])
async def test_every_type_by_asyncpg(psycopg: sa.Engine, asyncpg: AsyncEngine, make: Make, is_empty: bool) -> None:
    """The same by asyncpg, in the session that an AsyncSession is for."""
    saved(
        psycopg,
        EveryType(id=1, **({"json": None} if is_empty else every_value("postgresql"))),
        PostgresTypes(**({"id": A_UUID} if is_empty else POSTGRES_VALUES)),
    )
    for kind, identity in ((EveryType, 1), (PostgresTypes, A_UUID)):
        layout = layout_of(kind, asyncpg.dialect)
        async with asyncpg.connect() as connection:
            [row] = [tuple(row) for row in await connection.execute(layout.select())]
        async with AsyncSession(asyncpg) as ours, AsyncSession(asyncpg) as theirs:
            assert_same(make(layout, ours.sync_session, row), await theirs.get(kind, identity))


@pytest.mark.parametrize("key", [key for key in every_value("") if not isinstance(every_value("")[key], dict | Point)])
def test_values_asked_for_find_their_row_on_postgresql(psycopg: sa.Engine, key: str) -> None:
    """The stored value of one asked for, compared with what is selected, finds the row, as the value itself does."""
    value = every_value("postgresql")[key]
    saved(psycopg, EveryType(id=1, **every_value("postgresql")), EveryType(id=2))
    layout = layout_of(EveryType, psycopg.dialect)
    column = layout.columns[key]
    with psycopg.connect() as connection:
        if key == "reversed":
            with pytest.raises(UncacheableLookup, match=r"EveryType\.reversed"):
                layout.asked(key, value)
            return
        asked = sa.literal(layout.asked(key, value), column.expression.type)
        found = connection.execute(layout.select().where(column.expression == asked)).all()
    assert [row[0] for row in found] == [1]
    assert found[0][layout.keys.index(key)] == layout.asked(key, value)


@pytest.mark.parametrize(
    "key", ["enum", "enum_values", "enum_char", "enum_text", "code", "per_dialect", "uuid", "level"]
)
async def test_values_asked_for_find_their_row_by_asyncpg(psycopg: sa.Engine, asyncpg: AsyncEngine, key: str) -> None:
    """The same by asyncpg, which sends the type of each value, so that of an Enum must be that of its column."""
    saved(psycopg, EveryType(id=1, **every_value("postgresql")), EveryType(id=2))
    layout = layout_of(EveryType, asyncpg.dialect)
    asked = layout.asked(key, every_value("postgresql")[key])
    async with asyncpg.connect() as connection:
        found = (await connection.execute(layout.select().where(layout.columns[key].expression == asked))).all()
    assert [row[0] for row in found] == [1]


def test_rows_hold_stored_values(engine: sa.Engine) -> None:
    """A row has what is stored: of a TypeDecorator what its impl gives, of an Enum the label."""
    saved(engine, EveryType(id=1, **every_value("sqlite")))
    layout = layout_of(EveryType)
    row = dict(zip(layout.keys, rows_of(layout, engine)[0], strict=True))
    expected = {
        "enum": "GREEN",
        "enum_values": "level 2",
        "enum_char": "RED",
        "enum_text": "large",
        "lower": "loud",
        "quoted": "quoted",
        "tags": "a,b",
        "point": [3, 4],
        "level": 1,
        "code": "red",
        "reversed": "abc",
        "variant": 17,
        "variant_decorated": "variant",
        "interval": timedelta(days=3, microseconds=1),
    }
    assert {key: row[key] for key in expected} == expected


def test_a_label_that_the_enum_does_not_have_is_an_error_as_in_sqlalchemy(engine: sa.Engine, session: Session) -> None:
    """A stored label that the enumeration has no longer raises the LookupError that loading it would raise."""
    layout = layout_of(EveryType)
    row = tuple(1 if key == "id" else "BLUE" if key == "enum" else None for key in layout.keys)
    with pytest.raises(LookupError, match="'BLUE' is not among the defined enum values"):
        layout.instance(session, row)
    assert len(session.identity_map) == 0


class Celsius(types.UserDefinedType[float]):
    """A type of the application, of which nothing is known."""

    cache_ok = True

    def get_col_spec(self, **options: Any) -> str:
        return "FLOAT"


class Shouted(types.String):
    """A type with a result processor of its own."""

    def result_processor(self, dialect: sa.Dialect, coltype: Any) -> Any:
        return str.upper


class Hidden(Lower):
    """A decorator that does not say in parts what it does."""

    cache_ok = True

    def result_processor(self, dialect: sa.Dialect, coltype: Any) -> Any:
        return str.upper


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (sa.PickleType(), "PickleType"),
        (postgresql.INET(), "INET"),
        (postgresql.CIDR(), "CIDR"),
        (postgresql.INT4RANGE(), "INT4RANGE"),
        (postgresql.TSVECTOR(), "TSVECTOR"),
        (postgresql.MONEY(), "MONEY"),
        (postgresql.BIT(4), "BIT"),
        (postgresql.ARRAY(sa.Integer, as_tuple=True), "ARRAY"),
        (postgresql.ARRAY(sa.Uuid), "ARRAY"),
        (postgresql.ARRAY(sa.Enum(Colour, name="c")), "ARRAY"),
        (postgresql.ARRAY(Lower), "ARRAY"),
        (Celsius(), "Celsius"),
        (Shouted(), "Shouted"),
        (Hidden(), "Hidden"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_types_without_a_stored_form_are_refused(kind: types.TypeEngine[Any], name: str) -> None:
    """A type whose values have no stored form is a ConfigurationError that names class, attribute, type and way out."""

    class Local(orm.DeclarativeBase):
        pass

    class Odd(Local):
        __tablename__ = "odd"
        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[Any | None] = mapped_column(kind)

    with pytest.raises(ConfigurationError, match=rf"Odd\.value: .*{name}.*exclude=\[\"value\"\]"):
        layout_of(Odd, POSTGRES)
    assert layout_of(Odd, POSTGRES, exclude=["value"]).keys == ("id",)


def test_a_driver_object_has_no_stored_form() -> None:
    """A value that is no value of the column's type, as SQLite may hold, is refused when it would be stored."""
    layout = layout_of(EveryType)
    row = tuple(ipaddress.ip_address("10.0.0.1") if key == "text" else None for key in layout.keys)
    with pytest.raises(UnsupportedValue, match="text"):
        layout.codec.encode((1, *row[1:]))


@pytest.mark.parametrize(
    ("kind", "dialect", "is_exact"),
    [
        (sa.Integer(), SQLITE, True),
        (sa.BigInteger(), POSTGRES, True),
        (sa.Boolean(), SQLITE, True),
        (sa.Uuid(), SQLITE, True),
        (sa.Uuid(as_uuid=False), POSTGRES, True),
        (sa.String(), SQLITE, True),
        (sa.VARCHAR(5), POSTGRES, True),
        (sa.Text(), POSTGRES, True),
        (sa.Unicode(), SQLITE, True),
        (sa.Date(), SQLITE, True),
        (sa.LargeBinary(), POSTGRES, True),
        (sa.Enum(Colour, name="c"), POSTGRES, True),
        (Lower(), POSTGRES, True),
        (IntLevel(), SQLITE, True),
        (sa.String(collation="NOCASE"), SQLITE, False),
        (sa.Text(collation="de_DE"), POSTGRES, False),
        (sa.String(), mysql.dialect(), False),
        (sa.CHAR(5), POSTGRES, False),
        (postgresql.CITEXT(), POSTGRES, False),
        (sa.Numeric(), POSTGRES, False),
        (sa.Float(), SQLITE, False),
        (sa.DateTime(), SQLITE, False),
        (sa.Time(), SQLITE, False),
        (sa.Interval(), SQLITE, False),
        (sa.JSON(), SQLITE, False),
        (Reversed(), SQLITE, False),
        (sa.String().with_variant(sa.CHAR(5), "postgresql"), POSTGRES, False),
    ],
    ids=lambda value: value.name if isinstance(value, sa.Dialect) else repr(value),
)
def test_which_types_are_exact(kind: types.TypeEngine[Any], dialect: sa.Dialect, is_exact: bool) -> None:
    """A column is exact if its database finds values equal exactly if Python does, judged by the type in it."""

    class Local(orm.DeclarativeBase):
        pass

    class Holder(Local):
        __tablename__ = "holder"
        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[Any | None] = mapped_column(kind)

    assert layout_of(Holder, dialect).columns["value"].is_exact is is_exact


# -- values asked for ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("id", 1, 1),
        ("id", Level.HIGH, 2),
        ("string", "x", "x"),
        ("numeric", 3, Decimal(3)),
        ("numeric", Decimal("1.50"), Decimal("1.50")),
        ("float", 3, 3.0),
        ("uuid", A_UUID, A_UUID),
        ("uuid_text", str(A_UUID).upper(), str(A_UUID)),
        ("uuid_text", A_UUID.hex, str(A_UUID)),
        ("enum", Colour.RED, "RED"),
        ("enum", "RED", "RED"),
        ("enum_values", Level.LOW, "level 1"),
        ("lower", "LOUD", "loud"),
        ("quoted", '"LOUD"', "loud"),
        ("tags", ["a"], "a"),
        ("code", "RED", "red"),
        ("level", Level.LOW, 1),
        ("boolean", True, True),
        ("binary", bytearray(b"x"), b"x"),
    ],
)
def test_what_is_stored_for_a_value_asked_for(key: str, value: Any, stored: Any) -> None:
    """A value asked for becomes precisely what rows hold for it."""
    found = layout_of(EveryType).asked(key, value)
    assert (found, type(found)) == (stored, type(stored))


class Angry:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("id", None, "names no row"),
        ("id", "1", "cannot be '1'"),
        ("id", 1.0, "cannot be 1.0"),
        ("id", True, "cannot be True"),
        ("id", EveryType.id, "SQL expression"),
        ("id", sa.func.now(), "SQL expression"),
        ("id", sa.literal(1), "SQL expression"),
        ("id", sa.text("1"), "SQL expression"),
        ("id", sa.select(sa.literal(1)).scalar_subquery(), "SQL expression"),
        ("id", EveryType(id=1), "cannot be <"),
        ("id", Angry(), "cannot be a Angry that cannot be shown"),
        ("string", "\ud800", "cannot be"),
        ("string", b"x", "cannot be b'x'"),
        ("string", "x" * 999 + "\ud800", r"cannot be 'x{199}\.\.\."),
        ("boolean", 1, "cannot be 1"),
        ("float", "x", "cannot be 'x'"),
        ("float", float("nan"), "NaN"),
        ("numeric", Decimal("nan"), "NaN"),
        ("numeric", Decimal("snan"), "cannot be|NaN"),
        ("numeric", 1.5, "cannot be 1.5"),
        ("uuid", str(A_UUID), "cannot be"),
        ("uuid_text", "x", "badly formed"),
        ("date", datetime(2024, 1, 1), "cannot be"),
        ("datetime", date(2024, 1, 1), "cannot be"),
        ("enum", "BLUE", "none of RED, GREEN"),
        ("enum", 1, "cannot be 1"),
        ("enum_text", "huge", "none of small, large"),
        ("level", "x", "cannot be 'x'"),
        ("code", "BLUE", "cannot be 'BLUE'"),
        ("tags", [], "names no row"),
        ("json", {"a": 1}, "a structure"),
        ("point", Point(1, 2), "a structure"),
        ("reversed", "x", "bind_expression"),
        ("nothing", 1, "is not in the cached rows"),
    ],
)
def test_what_cannot_be_asked_for(key: str, value: Any, reason: str) -> None:
    """A value that the column cannot be is an UncacheableLookup that names attribute and value."""
    with pytest.raises(UncacheableLookup, match=rf"EveryType\.{key}.*({reason})"):
        layout_of(EveryType).asked(key, value)


def test_aware_times_come_back_in_utc(psycopg: sa.Engine) -> None:
    """What was stored is the instant, so that every reader sees the same, whatever the time zone of its connection."""
    saved(psycopg, PostgresTypes(**POSTGRES_VALUES))
    layout = layout_of(PostgresTypes, psycopg.dialect)
    with psycopg.connect() as connection:
        connection.exec_driver_sql("SET TIME ZONE 'Europe/Oslo'")
        row = tuple(connection.execute(layout.select()).one())
    with Session(psycopg) as session:
        instance = from_bytes(layout, session, row)
        assert instance.aware == POSTGRES_VALUES["aware"]
        assert instance.aware.tzinfo is UTC


def test_instances_share_nothing_that_can_change(engine: sa.Engine) -> None:
    """Each instance of a frozen row has lists and objects of its own, and the frozen row stays as it was."""
    saved(engine, EveryType(id=1, **every_value("sqlite")))
    layout = layout_of(EveryType)
    frozen, _ = layout.codec.freeze(rows_of(layout, engine)[0])
    with Session(engine) as one, Session(engine) as two:
        first, second = layout.instance_of_frozen(one, frozen), layout.instance_of_frozen(two, frozen)
        assert isinstance(first, EveryType)
        assert isinstance(second, EveryType)
        first.json["a"].append("changed")
        first.tags.append("changed")  # type: ignore[union-attr]
        assert second.json == every_value("sqlite")["json"]
        assert second.tags == ["a", "b"]
    with Session(engine) as three:
        third = layout.instance_of_frozen(three, frozen)
        assert isinstance(third, EveryType)
        assert third.json == every_value("sqlite")["json"]


class Blank(types.TypeDecorator[str]):
    """Text that stores an empty one for None."""

    impl = types.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str:
        return value or ""


def test_none_names_no_row_whatever_is_stored_for_it() -> None:
    """None is compared as NULL by SQLAlchemy, so it is not looked up, even where a type stores a value for it."""

    class Local(orm.DeclarativeBase):
        pass

    class Holder(Local):
        __tablename__ = "holder"
        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[str] = mapped_column(Blank)

    layout = layout_of(Holder)
    assert layout.asked("value", "x") == "x"
    with pytest.raises(UncacheableLookup, match=r"Holder\.value=None names no row"):
        layout.asked("value", None)


class Numbered(types.TypeDecorator[str]):
    """Digits, as a number where the impl is one."""

    impl = types.String().with_variant(types.Integer(), "sqlite")
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> Any:
        return int(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else str(value)


@pytest.mark.parametrize(("dialect", "stored"), [(SQLITE, 17), (POSTGRES, "17")], ids=["sqlite", "postgresql"])
def test_a_decorator_of_a_variant(dialect: sa.Dialect, stored: Any) -> None:
    """What a TypeDecorator stores is of the variant of its impl for the database."""

    class Local(orm.DeclarativeBase):
        pass

    class Holder(Local):
        __tablename__ = "holder"
        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[str] = mapped_column(Numbered)

    layout = layout_of(Holder, dialect)
    assert layout.columns["value"].column.type is type(stored)
    assert layout.asked("value", "17") == stored
    with Session() as session:
        instance = layout.instance(session, (1, stored))
        assert isinstance(instance, Holder)
        assert instance.value == "17"


class ByDriver(types.TypeDecorator[Any]):
    """A number for one driver, text for others."""

    impl = types.String
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> types.TypeEngine[Any]:
        return dialect.type_descriptor(types.Integer() if dialect.driver == "psycopg" else types.String())


@pytest.mark.parametrize(("dialect", "kind"), [(POSTGRES, int), (postgresql.asyncpg.dialect(), str)], ids=["a", "b"])
def test_a_decorator_that_asks_the_dialect(dialect: sa.Dialect, kind: type) -> None:
    """What a TypeDecorator makes of the dialect is what the dialect in use is."""

    class Local(orm.DeclarativeBase):
        pass

    class Holder(Local):
        __tablename__ = "holder"
        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[Any] = mapped_column(ByDriver)

    assert layout_of(Holder, dialect).columns["value"].column.type is kind
