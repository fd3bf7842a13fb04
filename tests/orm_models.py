"""Mapped classes of the SQLAlchemy tests: each kind of key, relation and inheritance once. All but Note are cached."""

import enum
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    Column,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    Numeric,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from cachecore import Policy
from cachecore.integrations.sqlalchemy import cached


class Base(DeclarativeBase):
    """Of all classes here."""


# -- what most tests are about -----------------------------------------------------------------------


@cached(lookups=["code"])
class Country(Base):
    """A country."""

    __tablename__ = "country"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(2), unique=True)
    name: Mapped[str] = mapped_column(String(50))
    cities: Mapped[list["City"]] = relationship(back_populates="country")


@cached(lookups=["slug", ("country_id", "name")])
class City(Base):
    """A city: two lookups besides the primary key."""

    __tablename__ = "city"
    __table_args__ = (UniqueConstraint("country_id", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(50), unique=True)
    name: Mapped[str] = mapped_column(String(50))
    population: Mapped[int | None]
    country_id: Mapped[int | None] = mapped_column(ForeignKey("country.id"))
    country: Mapped[Country | None] = relationship(back_populates="cities")


# -- relations -------------------------------------------------------------------------------------


@cached(lookups=["email"])
class Customer(Base):
    """A customer, whose orders are deleted with it, and orders that it gives up too."""

    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(50), unique=True)
    country_id: Mapped[int | None] = mapped_column(ForeignKey("country.id"))
    country: Mapped[Country | None] = relationship()
    orders: Mapped[list["Order"]] = relationship(back_populates="customer", cascade="all, delete-orphan")


@cached()
class Order(Base):
    """An order of a customer."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(50), default="")
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("customer.id"))
    customer: Mapped[Customer | None] = relationship(back_populates="orders")
    tags: Mapped[list["Tag"]] = relationship(secondary=lambda: order_tags)


@cached(lookups=["name"])
class Tag(Base):
    """A tag of orders."""

    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)


order_tags = Table(
    "order_tags",
    Base.metadata,
    Column("order_id", ForeignKey("orders.id"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id"), primary_key=True),
)
"""Which orders have which tags. Not mapped, so not cached."""


@cached()
class Folder(Base):
    """A tree: a folder in another one, and the one that is shown first, written by a second UPDATE (post_update)."""

    __tablename__ = "folder"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("folder.id"))
    first_id: Mapped[int | None] = mapped_column(ForeignKey("folder.id", name="fk_first", use_alter=True))
    parent: Mapped["Folder | None"] = relationship(
        remote_side=[id], foreign_keys=[parent_id], back_populates="children"
    )
    children: Mapped[list["Folder"]] = relationship(foreign_keys=[parent_id], back_populates="parent")
    first: Mapped["Folder | None"] = relationship(remote_side=[id], foreign_keys=[first_id], post_update=True)


@cached()
class Album(Base):
    """An album, whose pictures the database itself deletes."""

    __tablename__ = "album"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    pictures: Mapped[list["Picture"]] = relationship(cascade="all, delete", passive_deletes=True)


@cached()
class Picture(Base):
    """A picture that goes with its album: ON DELETE CASCADE."""

    __tablename__ = "picture"
    id: Mapped[int] = mapped_column(primary_key=True)
    album_id: Mapped[int | None] = mapped_column(ForeignKey("album.id", ondelete="CASCADE"))


# -- inheritance -----------------------------------------------------------------------------------


@cached(lookups=["name"])
class Place(Base):
    """A place: joined inheritance."""

    __tablename__ = "place"
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_on": "kind", "polymorphic_identity": "place"}
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(50), unique=True)


class Restaurant(Place):
    """A place with a table of its own."""

    __tablename__ = "restaurant"
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "restaurant"}
    restaurant_id: Mapped[int] = mapped_column("id", ForeignKey("place.id"), primary_key=True)
    stars: Mapped[int] = mapped_column(default=0)


@cached()
class Animal(Base):
    """An animal: single-table inheritance."""

    __tablename__ = "animal"
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(50))


class Dog(Animal):
    """An animal in the same table."""

    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "dog"}
    tricks: Mapped[int | None]


# -- keys ------------------------------------------------------------------------------------------


@cached(lookups=["code"])
class Seat(Base):
    """Two columns are the key, and neither is the first column."""

    __tablename__ = "seat"
    code: Mapped[str] = mapped_column(String(10), unique=True)
    row: Mapped[str] = mapped_column(String(5), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    taken: Mapped[bool] = mapped_column(default=False)


@cached()
class Ticket(Base):
    """Points to a seat by its composite key."""

    __tablename__ = "ticket"
    __table_args__ = (ForeignKeyConstraint(["seat_row", "seat_number"], ["seat.row", "seat.number"]),)
    id: Mapped[int] = mapped_column(primary_key=True)
    seat_row: Mapped[str | None] = mapped_column(String(5))
    seat_number: Mapped[int | None]
    seat: Mapped[Seat | None] = relationship()


class Reversed(TypeDecorator[str]):
    """Text that the application reads backwards."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else value[::-1]

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else value[::-1]


@cached()
class Word(Base):
    """Its key is of an application's type."""

    __tablename__ = "word"
    text: Mapped[str] = mapped_column(Reversed, primary_key=True)
    meaning: Mapped[str] = mapped_column(String(50))


@cached()
class Price(Base):
    """Its key is a decimal number, of which the database finds several spellings equal."""

    __tablename__ = "price"
    amount: Mapped[Decimal] = mapped_column(Numeric(8, 2), primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(String(50))


class Colour(enum.Enum):
    """A colour; the database has the names."""

    RED = "red"
    GREEN = "green"


@cached(lookups=["colour"])
class Paint(Base):
    """An enumeration that is looked up, and a value that can be changed in place."""

    __tablename__ = "paint"
    id: Mapped[int] = mapped_column(primary_key=True)
    colour: Mapped[Colour] = mapped_column(unique=True)
    recipe: Mapped[Any | None] = mapped_column(JSON)


# -- the rest --------------------------------------------------------------------------------------


@cached(lookups=["title"])
class Document(Base):
    """A version counter tells who was late."""

    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(50), unique=True)
    version: Mapped[int] = mapped_column(Integer, nullable=False)
    __mapper_args__: ClassVar[dict[str, Any]] = {"version_id_col": version}


@cached(lookups=["number"])
class Invoice(Base):
    """In a schema; another table of the same name is in the default one."""

    __tablename__ = "invoice"
    __table_args__: ClassVar[dict[str, Any]] = {"schema": "billing"}
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(String(20), unique=True)


@cached()
class PlainInvoice(Base):
    """In the default schema."""

    __tablename__ = "invoice"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(String(20))


@cached(lookups=["label"], policy=Policy(bulk_threshold=3))
class Parcel(Base):
    """Of which more than three rows written together are outdated by one key."""

    __tablename__ = "parcel"
    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(String(20), unique=True)
    weight: Mapped[int] = mapped_column(default=0)


class Note(Base):
    """Not cached."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(50))
