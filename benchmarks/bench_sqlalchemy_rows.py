"""Rows of SQLAlchemy against pickle: twelve columns, from stored bytes and from the in-process form to an instance.

The instances are persistent in a session, as they are after a hit; the unpickled ones are detached, which is less.
`./run bench rows` prints the table.
"""

import datetime
import pickle
import uuid
from collections.abc import Callable
from decimal import Decimal
from time import process_time
from typing import Any

import pytest
from sqlalchemy import JSON, Numeric, create_engine, inspect
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    make_transient_to_detached,
    mapped_column,
)
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.pool import StaticPool

from benchmarks.versus import Versus, timed
from cachecore.integrations.sqlalchemy.layout import RowLayout

GROUP = "rows"
pytestmark = timed(process_time)
NUMBER = 20  # a call handles so many different rows, for one takes less time than calling a function for it twice


class Base(DeclarativeBase):
    """Of the one class here."""


class Twelve(Base):
    """As the model of bench_rows."""

    __tablename__ = "twelve"
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str]
    name: Mapped[str]
    text: Mapped[str]
    created: Mapped[datetime.datetime]
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2, asdecimal=True))
    token: Mapped[uuid.UUID]
    data: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    active: Mapped[bool]
    note: Mapped[str | None]
    latitude: Mapped[float]
    day: Mapped[datetime.date]


def _row(number: int, *, with_json: bool = True) -> tuple[Any, ...]:
    return (
        123_456 + number,
        f"oslo-no-{number}",
        "Oslo",
        f"The capital of Norway, {number}.",
        datetime.datetime(2024, 2, 29, 12, 30, number, 123_456, tzinfo=datetime.UTC),
        Decimal(1250 + number) / 100,
        uuid.UUID(int=0xA8098C1AF86E11DABD1A00112444BE1E + number),
        {"population": 717_710 + number, "tags": ["capital", "port"]} if with_json else None,
        True,
        None,
        59.9139 + number,
        datetime.date(2024, 2, 1 + number),
    )


ENGINE = create_engine("sqlite://", poolclass=StaticPool)
LAYOUT = RowLayout(inspect(Twelve), ENGINE.dialect)
CODEC = LAYOUT.codec
SESSION = Session(ENGINE)
ROWS = [_row(number) for number in range(NUMBER)]
DATA = [CODEC.encode(row) for row in ROWS]
FROZEN = [CODEC.freeze(row)[0] for row in ROWS]
FROZEN_WITHOUT_JSON = [CODEC.freeze(_row(number, with_json=False))[0] for number in range(NUMBER)]
OTHER_SESSION = Session(ENGINE)  # in SESSION they would be found, and nothing decoded
INSTANCES = [LAYOUT.instance(OTHER_SESSION, row) for row in ROWS]
PICKLED = [pickle.dumps(instance, pickle.HIGHEST_PROTOCOL) for instance in INSTANCES]


def encode() -> None:
    """What a fill does: the row, as the query gave it, to bytes."""
    for row in ROWS:
        CODEC.encode(row)


def pickle_instance() -> None:
    for instance in INSTANCES:
        pickle.dumps(instance, pickle.HIGHEST_PROTOCOL)


def decode() -> None:
    """What a hit on a server does."""
    for data in DATA:
        LAYOUT.instance_of_frozen(SESSION, CODEC.decode_frozen(data))


def decode_in_two_steps() -> None:
    """The same by way of the thawed row."""
    for data in DATA:
        LAYOUT.instance(SESSION, CODEC.decode(data))


def thaw() -> None:
    """What a hit in the process does."""
    for frozen in FROZEN:
        LAYOUT.instance_of_frozen(SESSION, frozen)


def thaw_without_json() -> None:
    for frozen in FROZEN_WITHOUT_JSON:
        LAYOUT.instance_of_frozen(SESSION, frozen)


def unpickle() -> None:
    for data in PICKLED:
        pickle.loads(data)


def make_detached_and_add() -> None:
    """What the documented functions of SQLAlchemy do with rows."""
    manager = inspect(Twelve).class_manager
    for row in ROWS:
        instance = manager.new_instance()
        for key, value in zip(LAYOUT.keys, row, strict=True):
            set_committed_value(instance, key, value)
        make_transient_to_detached(instance)
        SESSION.add(instance)


# What, ours, its reference, the target.
CASES = [
    ("a row to bytes", encode, pickle_instance, None),
    ("bytes to a persistent instance", decode, unpickle, 3.5),
    ("bytes to a row to a persistent instance", decode_in_two_steps, unpickle, 3.5),
    ("in-process form to a persistent instance", thaw, unpickle, 4.5),
    ("in-process form to a persistent instance, no JSON", thaw_without_json, unpickle, 5),
    ("in-process form to a persistent instance", thaw, make_detached_and_add, None),
]


@pytest.mark.parametrize(("name", "ours", "reference", "target"), CASES)
def test_rows(
    versus: Versus, name: str, ours: Callable[[], object], reference: Callable[[], object], target: float | None
) -> None:
    """Twenty rows a call."""
    versus(f"SQLAlchemy, {name}", ours, reference, shown=ours.__name__, against=reference.__name__, target=target)
