"""Mapped classes with everything that one can have: relations, composites, inheritance, versions."""

from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import Mapped, mapped_column

from tests.sqlalchemy_types import Colour, Lower


class Base(orm.DeclarativeBase):
    """Of all the classes."""


class Money:
    """A composite value."""

    def __init__(self, amount: int, currency: str) -> None:
        self.amount, self.currency = amount, currency

    def __composite_values__(self) -> tuple[int, str]:
        return self.amount, self.currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and self.__composite_values__() == other.__composite_values__()

    def __hash__(self) -> int:
        return hash(self.__composite_values__())


class Country(Base):
    __tablename__ = "country"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class City(Base):
    """With everything that an attribute can be besides a column."""

    __tablename__ = "city"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column()
    notes: Mapped[str | None] = mapped_column("remarks")
    country_id: Mapped[int | None] = mapped_column(sa.ForeignKey("country.id"))
    data: Mapped[Any | None] = mapped_column(MutableDict.as_mutable(sa.JSON))
    amount: Mapped[int | None] = mapped_column()
    currency: Mapped[str | None] = mapped_column()
    essay: Mapped[str | None] = mapped_column(deferred=True)
    secret: Mapped[str | None] = mapped_column(deferred=True, deferred_raiseload=True)
    created: Mapped[str | None] = mapped_column(server_default="by the server")
    country: Mapped[Country | None] = orm.relationship()
    price: Mapped[Any] = orm.composite(Money, amount, currency)
    shouted: Mapped[str] = orm.column_property(sa.func.upper(name))
    label: Mapped[str] = orm.synonym("name")
    asked: Mapped[str | None] = orm.query_expression()
    __mapper_args__: ClassVar[dict[str, Any]] = {"eager_defaults": False}

    def __init__(self, **values: Any) -> None:
        self.made_by = "__init__"
        super().__init__(**values)

    @orm.reconstructor
    def reconstruct(self) -> None:
        self.made_by = f"the reconstructor, with {self.__dict__['name']}"

    @hybrid_property
    def initial(self) -> str:
        return self.name[:1]


class Versioned(Base):
    __tablename__ = "versioned"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int] = mapped_column()
    __mapper_args__: ClassVar[dict[str, Any]] = {"version_id_col": version}


class Seat(Base):
    """With a composite primary key, whose columns are not in the order of the attributes, one of a decorated type."""

    __tablename__ = "seat"
    colour: Mapped[str | None]
    number: Mapped[int] = mapped_column(sa.Integer)
    row: Mapped[str] = mapped_column("row_name", Lower)
    __table_args__ = (sa.PrimaryKeyConstraint("row_name", "number"),)


class Employee(Base):
    __tablename__ = "employee"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    boss_id: Mapped[int | None] = mapped_column(sa.ForeignKey("employee.id"))
    boss: Mapped["Employee | None"] = orm.relationship(remote_side=[id])
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_on": "kind", "polymorphic_identity": "employee"}


class Engineer(Employee):
    __tablename__ = "engineer"
    id: Mapped[int] = mapped_column(sa.ForeignKey("employee.id"), primary_key=True)
    language: Mapped[str]
    essay: Mapped[str | None] = mapped_column(deferred=True)
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "engineer"}


class Chief(Engineer):
    """One table for both, below two joined ones."""

    office: Mapped[str | None]
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "chief"}


class Animal(Base):
    __tablename__ = "animal"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[Colour] = mapped_column(sa.Enum(Colour, name="animal_kind"))
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_on": "kind", "polymorphic_identity": Colour.RED}


class Dog(Animal):
    barks: Mapped[bool | None]
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": Colour.GREEN}


class Shape(Base):
    """Whose class an SQL expression tells."""

    __tablename__ = "shape"
    id: Mapped[int] = mapped_column(primary_key=True)
    corners: Mapped[int] = mapped_column()
    __mapper_args__: ClassVar[dict[str, Any]] = {
        "polymorphic_on": sa.case((corners.column == 3, "triangle"), else_="shape"),
        "polymorphic_identity": "shape",
    }


class Triangle(Shape):
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "triangle"}
