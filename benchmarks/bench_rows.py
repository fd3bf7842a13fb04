"""Rows against pickle: a Django instance of twelve fields to stored bytes and back, and from the in-process form.

`./run bench rows` prints the table.
"""

import datetime
import os
import pickle
from collections.abc import Callable
from decimal import Decimal
from time import process_time
from uuid import UUID

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.django_settings")

import django

django.setup()

import pytest  # noqa: E402

from benchmarks.versus import Versus, timed  # noqa: E402
from cachecore.integrations.django.rows import RowLayout, implementation  # noqa: E402
from tests.django_app.models import Twelve  # noqa: E402

GROUP = "rows"
pytestmark = timed(process_time)
LAYOUT = RowLayout(Twelve)
CODEC = LAYOUT.codec
NUMBER = 20  # a call handles so many different rows, for one takes less time than calling a function for it twice


def _row(number: int, *, with_json: bool = True) -> tuple[object, ...]:
    return (
        123_456 + number,
        f"oslo-no-{number}",
        "Oslo",
        f"The capital of Norway, {number}.",
        datetime.datetime(2024, 2, 29, 12, 30, number, 123_456, tzinfo=datetime.UTC),
        Decimal(1250 + number) / 100,
        UUID(int=0xA8098C1AF86E11DABD1A00112444BE1E + number),
        {"population": 717_710 + number, "tags": ["capital", "port"]} if with_json else None,
        True,
        None,
        59.9139 + number,
        datetime.date(2024, 2, 1 + number),
    )


ROWS = [_row(number) for number in range(NUMBER)]
INSTANCES = [Twelve.from_db("default", LAYOUT.attnames, row) for row in ROWS]
DATA = [CODEC.encode(row) for row in ROWS]
FROZEN = [CODEC.freeze(row)[0] for row in ROWS]
FROZEN_WITHOUT_JSON = [CODEC.freeze(_row(number, with_json=False))[0] for number in range(NUMBER)]
PICKLED = [pickle.dumps(instance, pickle.HIGHEST_PROTOCOL) for instance in INSTANCES]


def encode() -> None:
    """What a fill does: the row, as the query gave it, to bytes."""
    for row in ROWS:
        CODEC.encode(row)


def encode_instance() -> None:
    """The row of an instance to bytes."""
    for instance in INSTANCES:
        CODEC.encode(LAYOUT.row_of(instance))


def pickle_instance() -> None:
    for instance in INSTANCES:
        pickle.dumps(instance, pickle.HIGHEST_PROTOCOL)


def decode() -> None:
    """What a hit on a server does."""
    for data in DATA:
        LAYOUT.instance_of_frozen(CODEC.decode_frozen(data), "default", None)


def decode_in_two_steps() -> None:
    """The same by way of the thawed row."""
    for data in DATA:
        LAYOUT.instance(CODEC.decode(data), "default", None)


def unpickle() -> None:
    for data in PICKLED:
        pickle.loads(data)


def thaw() -> None:
    """What a hit in the process does."""
    for frozen in FROZEN:
        LAYOUT.instance_of_frozen(frozen, "default", None)


def thaw_without_json() -> None:
    for frozen in FROZEN_WITHOUT_JSON:
        LAYOUT.instance_of_frozen(frozen, "default", None)


def from_db() -> None:
    """What Django does with a row from the database."""
    for row in ROWS:
        Twelve.from_db("default", LAYOUT.attnames, row)


# What, ours, its reference, the target.
CASES = [
    ("a row to bytes", encode, pickle_instance, 25),
    ("an instance to bytes", encode_instance, pickle_instance, None),
    ("bytes to an instance", decode, unpickle, 6.5),
    ("bytes to a row to an instance", decode_in_two_steps, unpickle, 5),
    ("in-process form to an instance", thaw, unpickle, 9),
    ("in-process form to an instance, no JSON", thaw_without_json, unpickle, 14),
    ("in-process form to an instance", thaw, from_db, None),
]


@pytest.mark.parametrize(("name", "ours", "reference", "target"), CASES)
def test_rows(
    versus: Versus, name: str, ours: Callable[[], object], reference: Callable[[], object], target: float | None
) -> None:
    """Twenty rows a call."""
    shown = f"{ours.__name__}, {implementation}"
    versus(f"Django, {name}", ours, reference, shown=shown, against=reference.__name__, target=target)


def test_bytes(versus: Versus) -> None:
    """What a row of twelve columns takes, beside its pickled instance."""
    stored, pickled = sum(map(len, DATA)) // NUMBER, sum(map(len, PICKLED)) // NUMBER
    versus.value(
        "Django, bytes stored",
        lambda: [stored / pickled],
        shown="encode",
        against="pickle",
        unit="x",
        target=0.35,
    )
