"""The row as a mapped class. Its table is made by `benchmarks.coherence.world`, whose trigger sets the version."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, FetchedValue, Integer, Numeric, String, Table, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, foreign, mapped_column, relationship, remote


class Base(DeclarativeBase):
    """All that is mapped."""


class Row(Base):
    """A row; cached where a contestant says so."""

    __tablename__ = "bench_row"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    slug: Mapped[str] = mapped_column(String(40), unique=True)
    version: Mapped[int] = mapped_column(BigInteger, FetchedValue(), server_onupdate=FetchedValue(for_update=True))
    number: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(String(100), default="Oslo")
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2), default=Decimal(12))
    active: Mapped[bool] = mapped_column(default=True)
    changed: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))
    note: Mapped[str] = mapped_column(Text, default="The capital of Norway.")


class Group(Base):
    """A group, whose number is also that of some row: a relationship from many groups to that one row."""

    __tablename__ = "bench_group"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    row: Mapped[Row | None] = relationship(
        primaryjoin=lambda: foreign(Group.id) == remote(Row.id), viewonly=True, uselist=False
    )


TABLE: Any = Row.__table__
assert isinstance(TABLE, Table)
