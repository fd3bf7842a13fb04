"""Mapped classes with an attribute of every type, and a value for each."""

import enum
import uuid
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm, types
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.orm import Mapped, mapped_column


class Base(orm.DeclarativeBase):
    """Of the classes in both databases."""


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Lower(types.TypeDecorator[str]):
    """Text that is stored in lower case and shouted in Python."""

    impl = types.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.lower()

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.upper()


class Quoted(types.TypeDecorator[str]):
    """A decorator of a decorator."""

    impl = Lower
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.strip('"')

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else f'"{value}"'


class Tags(types.TypeDecorator[list[str]]):
    """A list, empty for NULL, stored as text."""

    impl = types.Text
    cache_ok = True

    def process_bind_param(self, value: list[str] | None, dialect: sa.Dialect) -> str | None:
        return ",".join(value) if value else None

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> list[str]:
        return value.split(",") if value else []


@dataclass(frozen=True)
class Point:
    x: int
    y: int


class JsonPoint(types.TypeDecorator[Point]):
    """An object stored as JSON."""

    impl = types.JSON
    cache_ok = True

    def process_bind_param(self, value: Point | None, dialect: sa.Dialect) -> Any:
        return None if value is None else [value.x, value.y]

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Point | None:
        return None if value is None else Point(*value)


class IntLevel(types.TypeDecorator[Level]):
    """An enumeration stored by number."""

    impl = types.SmallInteger
    cache_ok = True

    def process_bind_param(self, value: Level | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else int(value)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> Level | None:
        return None if value is None else Level(value)


class EnumCode(types.TypeDecorator[str]):
    """A decorator of an Enum."""

    impl = types.Enum(Colour, name="colour_code", values_callable=lambda kind: [member.name.lower() for member in kind])
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> Colour | None:
        return None if value is None else Colour[value]

    def process_result_value(self, value: Colour | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.name


class PerDialect(types.TypeDecorator[str]):
    """A UUID where there is one, else text; text in Python."""

    impl = types.String
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> types.TypeEngine[Any]:
        return types.Uuid() if dialect.name == "postgresql" else types.String()

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> Any:
        return uuid.UUID(value) if value is not None and dialect.name == "postgresql" else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else str(value)


class Reversed(types.TypeDecorator[str]):
    """Text that SQL turns round on its way in and out."""

    impl = types.String
    cache_ok = True

    def bind_expression(self, bindvalue: Any) -> Any:
        return sa.func.upper(bindvalue, type_=self)

    def column_expression(self, column: Any) -> Any:
        return sa.func.lower(column, type_=self)


class EveryType(Base):
    __tablename__ = "every_type"
    id: Mapped[int] = mapped_column(primary_key=True)
    small: Mapped[Any | None] = mapped_column(sa.SmallInteger)
    big: Mapped[Any | None] = mapped_column(sa.BigInteger)
    string: Mapped[Any | None] = mapped_column(sa.String(50))
    text: Mapped[Any | None] = mapped_column(sa.Text)
    unicode: Mapped[Any | None] = mapped_column(sa.Unicode(50))
    boolean: Mapped[Any | None] = mapped_column(sa.Boolean)
    float: Mapped[Any | None] = mapped_column(sa.Float)
    float_decimal: Mapped[Any | None] = mapped_column(sa.Float(asdecimal=True))
    numeric: Mapped[Any | None] = mapped_column(sa.Numeric(10, 2))
    numeric_float: Mapped[Any | None] = mapped_column(sa.Numeric(10, 2, asdecimal=False))
    binary: Mapped[Any | None] = mapped_column(sa.LargeBinary)
    uuid: Mapped[Any | None] = mapped_column(sa.Uuid)
    uuid_text: Mapped[Any | None] = mapped_column(sa.Uuid(as_uuid=False))
    uuid_char: Mapped[Any | None] = mapped_column(sa.Uuid(native_uuid=False))
    date: Mapped[Any | None] = mapped_column(sa.Date)
    datetime: Mapped[Any | None] = mapped_column(sa.DateTime)
    time: Mapped[Any | None] = mapped_column(sa.Time)
    interval: Mapped[Any | None] = mapped_column(sa.Interval)
    epoch: Mapped[Any | None] = mapped_column(sa.Interval(native=False))
    json: Mapped[Any | None] = mapped_column(sa.JSON)
    enum: Mapped[Any | None] = mapped_column(sa.Enum(Colour, name="colour"))
    enum_values: Mapped[Any | None] = mapped_column(
        sa.Enum(Level, name="level", values_callable=lambda kind: [f"level {member.value}" for member in kind])
    )
    enum_char: Mapped[Any | None] = mapped_column(sa.Enum(Colour, native_enum=False))
    enum_text: Mapped[Any | None] = mapped_column(sa.Enum("small", "large", name="size"))
    lower: Mapped[Any | None] = mapped_column(Lower)
    quoted: Mapped[Any | None] = mapped_column(Quoted)
    tags: Mapped[Any | None] = mapped_column(Tags)
    point: Mapped[Any | None] = mapped_column(JsonPoint)
    level: Mapped[Any | None] = mapped_column(IntLevel)
    code: Mapped[Any | None] = mapped_column(EnumCode)
    per_dialect: Mapped[Any | None] = mapped_column(PerDialect)
    reversed: Mapped[Any | None] = mapped_column(Reversed)
    variant: Mapped[Any | None] = mapped_column(sa.String().with_variant(sa.Integer(), "sqlite"))
    variant_decorated: Mapped[Any | None] = mapped_column(sa.String().with_variant(Lower(), "sqlite", "postgresql"))
    decorated_variant: Mapped[Any | None] = mapped_column(sa.JSON().with_variant(postgresql.JSONB(), "postgresql"))


A_UUID = uuid.UUID(int=0xA8098C1AF86E11DABD1A00112444BE1E)


def every_value(dialect: str) -> dict[str, Any]:
    """A value for each attribute of EveryType."""
    return {
        "small": -7,
        "big": 2**62,
        "string": "Ósló",
        "text": "",
        "unicode": "東京",
        "boolean": False,
        "float": 59.9139,
        "float_decimal": Decimal("2.5"),
        "numeric": Decimal("12.50"),
        "numeric_float": 0.25,
        "binary": b"\0\xff",
        "uuid": A_UUID,
        "uuid_text": str(A_UUID),
        "uuid_char": A_UUID,
        "date": date(2024, 2, 29),
        "datetime": datetime(2024, 2, 29, 12, 30, 1, 123_456),
        "time": time(23, 59, 59, 999_999),
        "interval": timedelta(days=3, microseconds=1),
        "epoch": timedelta(hours=30),
        "json": {"a": [1, 2.5, None, "x", {"b": True}]},
        "enum": Colour.GREEN,
        "enum_values": Level.HIGH,
        "enum_char": Colour.RED,
        "enum_text": "large",
        "lower": "LOUD",
        "quoted": '"QUOTED"',
        "tags": ["a", "b"],
        "point": Point(3, 4),
        "level": Level.LOW,
        "code": "RED",
        "per_dialect": str(A_UUID),
        "reversed": "abc",
        "variant": 17 if dialect == "sqlite" else "seventeen",
        "variant_decorated": "VARIANT",
        "decorated_variant": {"k": [1]},
    }


class PostgresBase(orm.DeclarativeBase):
    """Of the classes in PostgreSQL only."""


class PostgresTypes(PostgresBase):
    __tablename__ = "postgres_types"
    id: Mapped[Any | None] = mapped_column(postgresql.UUID, primary_key=True)
    jsonb: Mapped[Any | None] = mapped_column(postgresql.JSONB)
    integers: Mapped[Any | None] = mapped_column(postgresql.ARRAY(sa.Integer))
    words: Mapped[Any | None] = mapped_column(sa.ARRAY(sa.Text, dimensions=2))
    structures: Mapped[Any | None] = mapped_column(postgresql.ARRAY(postgresql.JSONB))
    tracked: Mapped[Any | None] = mapped_column(MutableList.as_mutable(postgresql.ARRAY(sa.Integer)))
    store: Mapped[Any | None] = mapped_column(MutableDict.as_mutable(postgresql.HSTORE))
    caseless: Mapped[Any | None] = mapped_column(postgresql.CITEXT)
    bytea: Mapped[Any | None] = mapped_column(postgresql.BYTEA)
    interval: Mapped[Any | None] = mapped_column(postgresql.INTERVAL)
    aware: Mapped[Any | None] = mapped_column(sa.DateTime(timezone=True))
    aware_time: Mapped[Any | None] = mapped_column(sa.Time(timezone=True))
    enum: Mapped[Any | None] = mapped_column(postgresql.ENUM("a", "b", name="letters"))
    member: Mapped[Any | None] = mapped_column(postgresql.ENUM(Colour, name="colour_of_postgres"))
    double: Mapped[Any | None] = mapped_column(postgresql.DOUBLE_PRECISION)
    real: Mapped[Any | None] = mapped_column(postgresql.REAL)


POSTGRES_VALUES: dict[str, Any] = {
    "id": A_UUID,
    "jsonb": {"a": {"b": [1, None]}},
    "integers": [3, 1, 2],
    "words": [["a", "b"], ["c", "d"]],
    "structures": [{"a": 1}, [2]],
    "tracked": [1],
    "store": {"a": "1", "b": None},
    "caseless": "Oslo",
    "bytea": b"\0\xfe",
    "interval": timedelta(days=-1, seconds=5, microseconds=7),
    "aware": datetime(2024, 2, 29, 12, 30, tzinfo=timezone(timedelta(hours=2))),
    "aware_time": time(12, 30, tzinfo=timezone(timedelta(hours=2))),
    "enum": "b",
    "member": Colour.GREEN,
    "double": 0.1,
    "real": 0.5,
}
