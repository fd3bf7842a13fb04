"""Rows and plain values come back exactly as they went in, or are refused; stored rubbish is only ever CorruptEntry."""

import contextlib
import enum
import math
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cachecore import _codec_py
from cachecore import codec as codec_module
from cachecore.codec import Column, RowCodec
from cachecore.errors import ConfigurationError, CorruptEntry, UnsupportedValue
from cachecore.value_codec import MAX_DEPTH, ValueCodec

try:
    from cachecore import _codec_c
except ImportError:
    if os.environ.get("CACHECORE_REQUIRE_EXTENSION") == "1":
        raise
    _codec_c = None  # type: ignore[assignment]

# Properties are not timed: the machine may be busy.
PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
ROOT = Path(__file__).parent.parent
VALUES = ValueCodec()


class Text(str):
    """As Django's SafeString."""

    def __str__(self) -> str:
        return "not the text"


class Colour(str, enum.Enum):  # noqa: UP042 - Django's TextChoices are made so
    RED = "red"

    def __str__(self) -> str:
        return "a colour"


class Level(enum.IntEnum):
    LOW = 1


class Plain(enum.Enum):
    RED = "red"


class Amount(Decimal):
    pass


class Number(int):
    pass


class Real(float):
    pass


class Blob(bytes):
    pass


class DriverUUID(UUID):
    pass


class Moment(datetime):
    pass


class Day(date):
    pass


class Wordless(tzinfo):
    """A zone that does not say its offset."""

    def utcoffset(self, moment: datetime | None) -> None:
        return None

    tzname = dst = utcoffset


def same(left: Any, right: Any) -> bool:
    """Whether two values are of precisely the same types and equal; NaN is itself and -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (left == right and math.copysign(1, left) == math.copysign(1, right)) or (
            left != left and right != right
        )
    if isinstance(left, Decimal):
        return left.as_tuple() == right.as_tuple()
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return all(map(same, left.items(), right.items())) and len(left) == len(right)
    if isinstance(left, (set, frozenset)):
        return len(left) == len(right) and all(any(same(item, other) for other in right) for item in left)
    if isinstance(left, (datetime, time)):
        return left.isoformat() == right.isoformat() and left.fold == right.fold
    return left == right


# Strategies -----------------------------------------------------------------------------------------------------

OFFSETS = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)
ZONES = st.sampled_from([UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("America/St_Johns"), ZoneInfo("Asia/Kathmandu")])
NAIVE = st.datetimes() | st.sampled_from([datetime.min, datetime.max, datetime(2020, 1, 1)])
AWARE = st.datetimes(timezones=OFFSETS | ZONES, allow_imaginary=True)
TIMES = st.times() | st.times(timezones=OFFSETS)
DECIMALS = st.decimals() | st.sampled_from([Decimal(x) for x in ("1.50", "1E+5", "-0", "1E-28", "sNaN12", "-Infinity")])
INTS = st.integers() | st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**4000])
SPANS = st.timedeltas() | st.sampled_from([timedelta.min, timedelta.max, timedelta(microseconds=-1)])
BY_TYPE: dict[type, st.SearchStrategy[Any]] = {
    int: INTS,
    str: st.text(),
    bool: st.booleans(),
    float: st.floats(),
    bytes: st.binary(),
    Decimal: DECIMALS,
    UUID: st.uuids(),
    date: st.dates(),
    datetime: NAIVE | AWARE,
    time: TIMES,
    timedelta: SPANS,
}
JSON_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(
    JSON_SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


def columns_and_row() -> st.SearchStrategy[tuple[list[Column], tuple[object, ...]]]:
    """Any list of columns and an exact row of them."""

    @st.composite
    def build(draw: st.DrawFn) -> tuple[list[Column], tuple[object, ...]]:
        columns: list[Column] = []
        row: list[object] = []
        for number in range(draw(st.integers(1, 6))):
            kind: Any = draw(st.sampled_from([*BY_TYPE, "json"]))
            if kind == "json":
                columns.append(Column(f"c{number}", object, kind="json"))
                row.append(draw(JSON))
            else:
                nullable = draw(st.booleans())
                columns.append(Column(f"c{number}", kind, nullable))
                row.append(draw(st.none() | BY_TYPE[kind] if nullable else BY_TYPE[kind]))
        return columns, tuple(row)

    return build()


def as_it_returns(value: object) -> object:
    """What a row's value must come back as: itself, but an aware datetime in UTC and fold forgotten."""
    if isinstance(value, datetime):
        offset = value.utcoffset()
        if offset is None:
            return value.replace(fold=0)
        fixed = value.replace(tzinfo=timezone(offset), fold=0)
        try:
            return fixed.astimezone(UTC)
        except OverflowError:
            return fixed
    return value.replace(fold=0) if isinstance(value, time) else value


def scalar(kind: type, *, nullable: bool = True) -> RowCodec:
    return RowCodec([Column("key", int), Column("x", kind, nullable)])


TWELVE = RowCodec(
    [Column(kind.__name__, kind, nullable=False) for kind in BY_TYPE] + [Column("data", object, kind="json")]
)
TWELVE_ROW = (
    7,
    "Oslo",
    True,
    1.5,
    b"\x00\xff",
    Decimal("12.50"),
    UUID(int=7),
    date(2024, 2, 29),
    datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=UTC),
    time(1, 2),
    timedelta(-1, 5),
    {"b": [1, {"a": None}], "a": "ø"},
)


# Rows -----------------------------------------------------------------------------------------------------------


@PROPERTY
@given(columns_and_row())
def test_row_round_trip(drawn: tuple[list[Column], tuple[object, ...]]) -> None:
    """Every row of exact values comes back from bytes equal and of the same types, aware datetimes in UTC."""
    columns, row = drawn
    codec = RowCodec(columns)
    assert same(codec.decode(codec.encode(row)), tuple(map(as_it_returns, row)))


@PROPERTY
@given(columns_and_row())
def test_frozen_round_trip(drawn: tuple[list[Column], tuple[object, ...]]) -> None:
    """Every row comes back from its frozen form, which can be hashed and is what decode_frozen makes of the bytes."""
    columns, row = drawn
    codec = RowCodec(columns)
    frozen, weight = codec.freeze(row)
    hash(tuple(value for value in frozen if not isinstance(value, Decimal)))  # a signaling NaN has no hash
    assert weight == codec.weigh(frozen) > 0
    assert same(tuple(map(as_it_returns, codec.thaw(frozen))), tuple(map(as_it_returns, row)))
    again = codec.decode_frozen(codec.encode(row))
    assert same(tuple(map(as_it_returns, frozen)), again)


def test_thaw_gives_each_reader_its_own_structure() -> None:
    """Changing what one reader got does not change what the next one gets."""
    frozen, _ = TWELVE.freeze(TWELVE_ROW)
    first: Any = TWELVE.thaw(frozen)
    first[-1]["b"].append("changed")
    assert TWELVE.mutable
    assert TWELVE.thaw(frozen) == TWELVE_ROW


def test_freeze_does_not_keep_the_given_structure() -> None:
    """Changing a structure after its row was frozen does not change the frozen row."""
    data: dict[str, object] = {"a": 1}
    codec = RowCodec([Column("data", object, kind="json")])
    frozen, _ = codec.freeze((data,))
    data["a"] = 2
    assert codec.thaw(frozen) == ({"a": 1},)


def test_thaw_is_identity_without_json() -> None:
    """A row without a json column is its own frozen form, so a hit copies nothing."""
    codec = scalar(str)
    row = (1, "x")
    frozen, _ = codec.freeze(row)
    assert not codec.mutable
    assert frozen is row
    assert codec.thaw(frozen) is row


def test_weight_grows_with_the_row() -> None:
    """The weight counts the payload: 10,000 more characters are 10,000 more bytes, in text and in json alike."""
    for codec, small, large in (
        (scalar(str), (1, "x"), (1, "x" * 10_001)),
        (RowCodec([Column("x", object, kind="json")]), (["x"],), (["x" * 10_001],)),
    ):
        assert codec.freeze(large)[1] - codec.freeze(small)[1] == 10_000


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (str, Text("a"), "a"),
        (str, Colour.RED, "red"),
        (int, Level.LOW, 1),
        (int, Number(2**70), 2**70),
        (float, Real(1.5), 1.5),
        (float, 3, 3.0),
        (bytes, Blob(b"x"), b"x"),
        (bytes, bytearray(b"x"), b"x"),
        (bytes, memoryview(b"abcd")[::2], b"ac"),
        (Decimal, Amount("1.50"), Decimal("1.50")),
        (UUID, DriverUUID(int=5), UUID(int=5)),
        (datetime, Moment(2020, 1, 1), datetime(2020, 1, 1)),
        (datetime, datetime(2020, 1, 1, tzinfo=Wordless()), datetime(2020, 1, 1)),
        (date, Day(2020, 1, 1), date(2020, 1, 1)),
        (time, time(1, tzinfo=Wordless()), time(1)),
    ],
)
def test_subclass_comes_back_as_its_base(kind: type, value: object, expected: object) -> None:
    """A subclass, and what a driver gives for its column, is stored as the builtin value it stands for."""
    codec = scalar(kind)
    assert same(codec.decode(codec.encode((1, value))), (1, expected))
    assert same(codec.thaw(codec.freeze((1, value))[0]), (1, expected))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (bool, 1),
        (int, True),
        (int, 1.0),
        (int, "1"),
        (float, 2**53 + 1),
        (float, 10**400),
        (float, True),
        (float, Decimal("1.5")),
        (str, 1),
        (str, UUID(int=1)),
        (str, date(2020, 1, 1)),
        (str, Plain.RED),
        (str, b"x"),
        (str, "\ud800"),
        (bytes, "x"),
        (Decimal, 1),
        (Decimal, "1.5"),
        (UUID, str(UUID(int=1))),
        (datetime, date(2020, 1, 1)),
        (datetime, "2020-01-01T00:00:00"),
        (date, datetime(2020, 1, 1)),
        (time, "01:00"),
        (timedelta, 5),
        (int, object()),
    ],
)
def test_value_of_another_type_is_refused(kind: type, value: object) -> None:
    """A value that would not come back as it is raises UnsupportedValue naming the column and the type."""
    codec = scalar(kind)
    with pytest.raises(UnsupportedValue, match=f"column 'x' .*{type(value).__name__}"):
        codec.encode((1, value))


def test_null_needs_a_nullable_column() -> None:
    """None in a column that is not nullable is refused, on the way in and on the way out."""
    with pytest.raises(UnsupportedValue, match=r"column 'x'.*NoneType"):
        scalar(int, nullable=False).encode((1, None))
    with pytest.raises(CorruptEntry):
        scalar(int, nullable=False).decode(scalar(int).encode((1, None)))


def test_row_of_another_length_is_refused() -> None:
    """A row with too few or too many values is refused."""
    for row in ((1,), (1, "x", 2), ()):
        with pytest.raises(UnsupportedValue, match="2 columns"):
            scalar(str).encode(row)


@pytest.mark.parametrize(
    "value",
    [
        {1: "a"},
        (1, 2),
        {"a": {"b": (1,)}},
        {"a": {1, 2}},
        {"a": b"x"},
        {"a": Decimal(1)},
        {"a": Decimal("sNaN")},
        {"a": UUID(int=1)},
        {"a": datetime(2020, 1, 1)},
        {"a": Plain.RED},
        ["\ud800"],
        {"\ud83d\ude00": 1},
        ["\ud83d\ude00"],
        object(),
    ],
)
def test_json_column_takes_only_json(value: object) -> None:
    """What JSON would change or cannot say is refused, naming the column and the place."""
    codec = RowCodec([Column("data", object, kind="json")])
    with pytest.raises(UnsupportedValue, match="column 'data'"):
        codec.encode((value,))
    with pytest.raises(UnsupportedValue, match="column 'data'"):
        codec.freeze((value,))


def test_json_subclasses_become_their_bases() -> None:
    """Inside JSON too, a subclass comes back as its base and dict keys keep their order."""
    codec = RowCodec([Column("data", object, kind="json")])
    value = OrderedDict([("z", Text("a")), (Text("y"), Level.LOW), ("x", Colour.RED), ("w", Real("nan"))])
    (decoded,) = codec.decode(codec.encode((value,)))
    assert same(decoded, {"z": "a", "y": 1, "x": "red", "w": math.nan})


def test_json_that_contains_itself_is_refused() -> None:
    """A structure that contains itself, or is nested without end, is refused and does not exhaust the stack."""
    loop: list[object] = []
    loop.append(loop)
    deep: list[object] = []
    for _ in range(200_000):
        deep = [deep]
    for value in (loop, deep):
        with pytest.raises(UnsupportedValue, match="nested more than"):
            RowCodec([Column("data", object, kind="json")]).encode((value,))


def test_many_combinations_of_nulls() -> None:
    """With more combinations of types than are remembered, every row is still checked."""
    codec = RowCodec([Column(f"c{number}", int) for number in range(10)])
    for bits in range(1024):
        row = tuple(None if bits >> number & 1 else number for number in range(10))
        assert codec.decode(codec.encode(row)) == row
    with pytest.raises(UnsupportedValue, match="column 'c9'"):
        codec.encode((*range(9), "9"))


def test_fingerprint_tells_columns_apart() -> None:
    """Name, type, nullability, kind, order and version each change the fingerprint; equal columns have the same."""
    base = [Column("a", int), Column("b", str)]
    codecs = [
        RowCodec(base),
        RowCodec(base[::-1]),
        RowCodec([Column("a", int), Column("c", str)]),
        RowCodec([Column("a", int), Column("b", bytes)]),
        RowCodec([Column("a", int), Column("b", str, nullable=False)]),
        RowCodec([Column("a", int), Column("b", object, kind="json")]),
        RowCodec(base, version=1),
        RowCodec(base, version="1"),
        RowCodec([*base, Column("c", int)]),
        RowCodec([]),
    ]
    fingerprints = {codec.fingerprint for codec in codecs}
    assert len(fingerprints) == len(codecs)
    assert {len(fingerprint) for fingerprint in fingerprints} == {8}
    assert RowCodec(list(base)).fingerprint == RowCodec(tuple(base)).fingerprint


def test_fingerprint_is_stable() -> None:
    """The fingerprint is the same in every process and release: a change makes every stored row unreadable."""
    program = (
        "from cachecore.codec import Column, RowCodec;"
        "print(RowCodec([Column('id', int, False), Column('Navn på', str)], version='2').fingerprint.hex())"
    )
    output = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "4541e60e091041d1"


def test_stored_form_is_stable() -> None:
    """The bytes of a row of every type, golden: a change of them is a change of FORMAT."""
    assert TWELVE.encode(TWELVE_ROW).hex() == (
        "9c07a44f736c6fc3cb3ff8000000000000c40200ffa531322e3530c41000000000000000000000000000000007aa323032342d30322d3239"
        "d7ff00004e2065e078c9a830313a30323a3030a92d5054383633393553c41d7b2262223a5b312c7b2261223a6e756c6c7d5d2c2261223a22"
        "c3b8227d"
    )


def test_wrong_columns() -> None:
    """A type without a stored form and a name used twice are configuration errors that name the column."""
    with pytest.raises(ConfigurationError, match=r"column 'x': the type .*complex"):
        RowCodec([Column("x", complex)])
    with pytest.raises(ConfigurationError, match="column 'x' is there 2 times"):
        RowCodec([Column("x", int), Column("x", int)])


# Plain values ---------------------------------------------------------------------------------------------------

HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | INTS
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.datetimes(timezones=OFFSETS)
    | st.dates()
    | TIMES
    | SPANS
    | st.decimals(allow_nan=False)
    | st.uuids(),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
ANY_VALUE = st.recursive(
    HASHABLE | st.floats() | DECIMALS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.sets(HASHABLE, max_size=4)
    ),
    max_leaves=12,
)


@PROPERTY
@given(ANY_VALUE)
@example({None: 1, 1.5: 2, b"x": 3, (1, 2): 4, 2**64: 5})
@example(1 << 20_000)
@example({1 << 20_000: [datetime(1, 1, 1)]})
@example(datetime(2020, 10, 25, 2, 30, fold=1))
@example([[], {}, (), set(), frozenset()])
def test_value_round_trip(value: object) -> None:
    """Every supported value comes back equal and of the same types throughout."""
    assert same(VALUES.decode(VALUES.encode(value)), value)


@PROPERTY
@given(AWARE)
def test_aware_datetime_keeps_instant_and_offset(value: datetime) -> None:
    """A datetime in a named zone comes back as the same instant at the same offset."""
    decoded = VALUES.decode(VALUES.encode(value))
    assert isinstance(decoded, datetime)
    assert decoded.isoformat() == value.isoformat()


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (object(), "value is of type builtins.object"),
        (Text("a"), "value is of type .*Text"),
        (Level.LOW, "value is of type .*Level"),
        ({"a": [1, {"b": 2j}]}, r"value\['a'\]\[1\]\['b'\] is of type builtins.complex"),
        ([OrderedDict()], r"value\[0\] is of type collections.OrderedDict"),
        ([bytearray()], r"value\[0\] is of type builtins.bytearray"),
        ({"a": "\ud800"}, r"value\['a'\] is a str with a lone surrogate"),
        ({"\ud800": 1}, "a key of value is a str with a lone surrogate"),
        ({Plain.RED: 1}, "a key of value is of type .*Plain"),
        (time(1, tzinfo=Wordless()), "does not say its offset"),
    ],
)
def test_unsupported_value_is_named(value: object, where: str) -> None:
    """A value without a faithful form raises UnsupportedValue with its type and the path to it."""
    with pytest.raises(UnsupportedValue, match=where):
        VALUES.encode(value)


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: (x,), lambda x: {"a": x}, lambda x: {None: x}])
def test_depth_limit(wrap: Callable[[object], object]) -> None:
    """A value nested MAX_DEPTH deep round-trips; one level more is refused, and so is one that contains itself."""
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = wrap(value)
    assert VALUES.decode(VALUES.encode(value)) == value
    with pytest.raises(UnsupportedValue, match="nested more than"):
        VALUES.encode(wrap(value))
    loop: list[object] = []
    loop.append(wrap(loop))
    with pytest.raises(UnsupportedValue, match="nested more than"):
        VALUES.encode(loop)


# Rubbish --------------------------------------------------------------------------------------------------------


def only_corrupt(decode: Callable[[bytes], object], data: bytes) -> None:
    with contextlib.suppress(CorruptEntry):
        decode(data)


GENERAL = RowCodec([Column("x", int), Column("y", object, kind="json")])
GENERAL_DATA = GENERAL.encode((2**200, {"a": math.nan}))


@PROPERTY
@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    """Arbitrary bytes, also behind the mark of the general form, decode to a value or raise CorruptEntry only."""
    for decode in (TWELVE.decode, GENERAL.decode, VALUES.decode):
        only_corrupt(decode, data)
        only_corrupt(decode, b"\xc1" + data)


@PROPERTY
@given(st.sampled_from(["twelve", "general", "value"]), st.data())
def test_bit_flips_and_truncations(which: str, data: st.DataObject) -> None:
    """Flipped bits give a row of the right types or CorruptEntry, and a truncated row always CorruptEntry."""
    value = VALUES.encode({"a": (1, Decimal("1.5"), {UUID(int=1), 2**70}), (1,): [datetime(2020, 1, 1, tzinfo=UTC)]})
    stored = {"twelve": TWELVE.encode(TWELVE_ROW), "general": GENERAL_DATA, "value": value}[which]
    codec: Any = {"twelve": TWELVE, "general": GENERAL, "value": VALUES}[which]
    cut = data.draw(st.integers(0, len(stored) - 1))
    with pytest.raises(CorruptEntry):
        codec.decode(stored[:cut])
    with pytest.raises(CorruptEntry):
        codec.decode(stored + b"\x00")
    flipped = bytearray(stored)
    for bit in data.draw(st.lists(st.integers(0, len(stored) * 8 - 1), min_size=1, max_size=3)):
        flipped[bit // 8] ^= 1 << bit % 8
    try:
        row = codec.decode(bytes(flipped))
    except CorruptEntry:
        return
    if which != "value":
        for item, column in zip(row, codec.columns, strict=True):
            assert item is None or column.kind == "json" or type(item) is column.type


@PROPERTY
@given(columns_and_row(), columns_and_row())
def test_row_of_other_columns(
    ours: tuple[list[Column], tuple[object, ...]], theirs: tuple[list[Column], tuple[object, ...]]
) -> None:
    """A row written for other columns comes out with our columns' types or as CorruptEntry."""
    codec = RowCodec(ours[0])
    try:
        row = codec.decode(RowCodec(theirs[0]).encode(theirs[1]))
    except CorruptEntry:
        return
    for value, column in zip(row, codec.columns, strict=True):
        assert column.kind == "json" or type(value) is column.type or (value is None and column.nullable)


def nested_extension(depth: int) -> bytes:
    data = msgspec.msgpack.encode([1])
    for _ in range(depth):
        data = msgspec.msgpack.encode([msgspec.msgpack.Ext(1, data)])
    return data


@pytest.mark.parametrize(
    "data",
    [
        b"\x91" * 100_000 + b"\xc0",
        b"\x81\xa1a" * 100_000 + b"\xc0",
        nested_extension(5000),
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xc7\x00\x63",
        b"\xc7\x01\x02\x01",
        b"\xc7\x03\x02\x91\x91\x01",
        b"\xc7\x02\x04\x91\x01",
        b"\xc7\x03\x061.x",
        b"\xc7\x02\x07\xff\xff",
        b"\x81\x81\x01\x02\x03",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",  # a pickle that runs a command
    ],
)
def test_hostile_bytes(data: bytes) -> None:
    """Deep nesting, promised but absent lengths, unknown extensions and broken payloads raise CorruptEntry only."""
    results: list[object] = []

    def attempt() -> None:
        for decode, attack in ((VALUES.decode, data), (GENERAL.decode, data), (GENERAL.decode, b"\xc1" + data)):
            try:
                results.append(decode(attack))
            except CorruptEntry:
                results.append(CorruptEntry)

    attempt()
    thread = threading.Thread(target=attempt)  # a thread's stack is the smaller one
    thread.start()
    thread.join()
    assert results == [CorruptEntry] * 6


def test_hostile_json_text() -> None:
    """Text in a json column that is no JSON, or nested without end, raises CorruptEntry only."""
    for text in (b"[" * 100_000, b'{"a":' * 100_000, b"", b"{", b"\xff", b"1" * 10_000, b"nul"):
        stored = msgspec.msgpack.encode((1, text))
        with pytest.raises(CorruptEntry):
            GENERAL.decode(stored)


# The compiled twin ------------------------------------------------------------------------------------------------

compiled = pytest.mark.skipif(_codec_c is None, reason="the compiled codec is not built")
STOCK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=40),
    st.binary(max_size=5),
    st.decimals(),
    st.uuids(),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.timezones() | st.just(UTC)),
    st.times(),
    st.times(timezones=st.just(UTC)),
    st.timedeltas(),
    st.sampled_from([Text("x"), Colour.RED, Level.LOW, object(), (1,), {1}]),
)
NESTED = st.recursive(
    STOCK, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
TYPES = (int, str, bool, float, bytes, Decimal, UUID, date, datetime, time, timedelta)


def with_twin(twin: Any, columns: list[Column]) -> RowCodec:
    """A codec made of one of the two implementations."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("freezer", "decoder", "json_value"):
            patch.setattr(codec_module, name, getattr(twin, name))
        return RowCodec(columns)


def shown_outcome(call: Callable[[Any], object], argument: object, *errors: type[Exception]) -> str:
    """What a call gives or raises, types and all."""
    try:
        return repr(call(argument))
    except errors as error:
        return f"{type(error).__name__}: {error}"


@compiled
@PROPERTY
@given(
    st.lists(st.tuples(st.sampled_from([*TYPES, "json"]), st.booleans(), NESTED), min_size=1, max_size=4), st.booleans()
)
def test_compiled_freezer(drawn: list[tuple[Any, bool, Any]], json_only: bool) -> None:
    """Both twins store the same bytes, freeze the same rows, and refuse with the same errors."""
    columns = [
        Column(f"c{i}", object, nullable, "json") if json_only or kind == "json" else Column(f"c{i}", kind, nullable)
        for i, (kind, nullable, _) in enumerate(drawn)
    ]
    row = tuple(value for _, _, value in drawn)
    ours, defined = with_twin(_codec_c, columns), with_twin(_codec_py, columns)
    assert shown_outcome(ours.encode, row, UnsupportedValue) == shown_outcome(defined.encode, row, UnsupportedValue)
    assert shown_outcome(ours.freeze, row, UnsupportedValue) == shown_outcome(defined.freeze, row, UnsupportedValue)


@compiled
def test_compiled_freezer_on_anything() -> None:
    """The compiled freezer passes on what is no row, JSON that is deep or contains itself, and what is no JSON."""
    loop: list[object] = []
    loop.append(loop)
    deep: object = 1
    for _ in range(100):
        deep = {"a": deep}
    columns = [
        Column("data", object, kind="json"),
        Column("at", datetime, nullable=False),
        Column("t", str, kind="text"),
    ]
    freeze = _codec_c.freezer(columns, [(2, repr)])
    now = datetime(2024, 1, 1)
    assert freeze(([1, {"a": None}, True, 1.5, "x"], now, loop)) == (b'[1,{"a":null},true,1.5,"x"]', now, "[[...]]")
    assert freeze((None, now, None)) == (None, now, None)
    for row in ((), [], None, ({}, now, 1, 1), [{}, now, 1], ({}, None, 1), ({}, date(2024, 1, 1), 1)):
        assert freeze(row) is None  # type: ignore[arg-type]
    for value in (loop, deep, {1: 1}, (1,), {"a": math.nan}, [math.inf], {Text("a"): 1}, object(), Colour.RED):
        assert freeze((value, now, None)) is None


def changed(draw: Callable[[Any], Any], data: bytes) -> bytes:
    """Bytes with some of them replaced, and perhaps the rest cut off."""
    mutable = bytearray(data)
    for _ in range(draw(st.integers(0, 2))):
        mutable[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(mutable[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(mutable)


@compiled
@PROPERTY
@given(columns_and_row(), st.data())
def test_compiled_decoder(drawn: tuple[list[Column], tuple[object, ...]], data: st.DataObject) -> None:
    """Both twins make the same rows of stored bytes, whole or damaged, and raise the same errors."""
    columns, row = drawn
    ours, defined = with_twin(_codec_c, columns), with_twin(_codec_py, columns)
    stored = changed(data.draw, ours.encode(row))
    for decode in ("decode_typed", "decode_frozen", "decode"):
        outcomes = [shown_outcome(getattr(twin, decode), stored, Exception) for twin in (ours, defined)]
        assert outcomes[0] == outcomes[1]


COLUMN_OF = [*(Column("c", kind) for kind in (int, str, bool, float, bytes, Decimal, UUID, date, datetime, time))]


@compiled
@pytest.mark.parametrize("column", [*COLUMN_OF, Column("c", object, kind="json"), Column("c", str, False)])
def test_every_form_of_a_value(column: Column) -> None:
    """Whatever stands where a value of a column should, the twins make the same of it: every first byte of msgpack,
    with every number of bytes behind it, and text at the bounds of dates, times and numbers."""
    ours, defined = with_twin(_codec_c, [column]), with_twin(_codec_py, [column])
    texts = [
        *("2024-02-29", "2023-02-29", "1900-02-29", "2000-02-29", "0000-01-01", "0001-01-01", "9999-12-31"),
        *("2024-04-31", "2024-00-10", "2024-13-01", "2024-01-00", "2024-1-01", "2024-02-29T00:00:00"),
        *("2024-02-29T23:59:59.999999", "2024-02-30T00:00:00", "2024-02-29T24:00:00", "2024-02-29t00:00:00"),
        *("2024-02-29 00:00:00", "2024-02-29T00:00:00Z", "2024-02-29T00:00:00+01:00", "2024-02-29T00:00:00.1"),
        *("00:00:00", "23:59:60", "23:60:00", "24:00:00", "12:30:00.123456", "12:30:00.12345", "12:30:00.1234567"),
        *("12:30:00Z", "0", "-0", "00", "1.50", "-1.50", ".", "1.", ".5", "-.5", "-.", "-", "--1", "1..5", "1.5.5"),
        *("+1", "1e5", "1E+5", "NaN", "-NaN", "sNaN", "Infinity", "1_000", "\u0663", "1-1", "true", " 1", "1 "),
    ]
    forms = [text.encode() for text in (*texts, "", "é", "漢字", "😀" * 20, "x" * 70_000, "1" * 200)]
    values = [
        *(bytes([first]) + bytes(range(1, size + 1)) for first in range(256) for size in range(19)),
        *(bytes([first]) + b"\xff" * size for first in range(0xC0, 0xE0) for size in range(19)),
        *(bytes([first, *size]) + text for text in forms for first, size in headers(len(text))),
        b"\xa2\xff\xfe",
        b"\xa3\xed\xa0\x80",
        *(b"\xd7\xff" + (nanos << 34 | seconds).to_bytes(8) for nanos in (0, 1, 1000, 999_999_000, 999_999_999, 10**9)
          for seconds in (0, 951_782_399, 951_782_400, 68_256_000, 4_107_542_400, 2**34 - 1)),
    ]  # fmt: skip
    for value in values:
        for data in (b"\x91" + value, b"\x91" + value + b"\0", b"\xdc\0\1" + value):
            results = [shown_outcome(twin.decode_typed, data, Exception) for twin in (ours, defined)]
            assert results[0] == results[1], data


def headers(size: int) -> list[tuple[int, bytes]]:
    """The headers of msgpack for text and for bytes of a size."""
    short = [(0xA0 | size, b"")] if size < 32 else []
    return short + [
        (first + power, size.to_bytes(1 << power))
        for first in (0xC4, 0xD9)
        for power in range(3)
        if size < 1 << (8 << power)
    ]


@compiled
def test_decoded_without_msgspec() -> None:
    """Rows of the plain types are read by the compiled decoder itself, also those of many columns."""
    row: tuple[object, ...] = (
        *(0, 127, 128, -1, -32, -33, 2**16, -(2**31), 2**32, 2**64 - 1, -(2**63)),
        *("", "x", "Ósló", "x" * 300, True, False, 1.5, b"\0" * 300, Decimal("-12.50"), Decimal(10**30)),
        *(UUID(int=2**127 + 1), UUID(int=0), date(2024, 2, 29), time(12), time(12, 30, 1, 5), datetime(1, 1, 1)),
        *(datetime(2024, 2, 29, 12, 30, 5, 123_456, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), None),
    )
    columns = tuple(Column(f"c{i}", str if value is None else type(value)) for i, value in enumerate(row))

    def typed(data: bytes) -> tuple[object, ...]:
        raise AssertionError("msgspec was asked")

    decode = _codec_c.decoder(columns, typed)
    assert same(decode(RowCodec(columns).encode(row)), row)
    assert _codec_c.decoder((Column("c", timedelta),), typed) is typed


def test_uuid_is_whole() -> None:
    """A UUID that was stored is like any other, down to what it says of its safety."""
    decode = RowCodec([Column("c", UUID)]).decode
    [back] = decode(RowCodec([Column("c", UUID)]).encode((UUID(int=5),)))
    assert (back, back.is_safe, back.hex, hash(back)) == (  # type: ignore[attr-defined]
        UUID(int=5),
        UUID(int=5).is_safe,
        UUID(int=5).hex,
        hash(UUID(int=5)),
    )


def test_implementation_is_chosen() -> None:
    """CACHECORE_IMPLEMENTATION=python makes the codec the one in Python."""
    program = "from cachecore import codec; print(codec.implementation)"
    environment = os.environ | {"CACHECORE_IMPLEMENTATION": "python"}
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == "python"
