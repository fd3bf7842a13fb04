"""Keys: what shares one and what does not, the two implementations against each other and against hashlib."""

import json
import os
import pickle
import subprocess
import sys
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal, localcontext
from enum import IntEnum, StrEnum
from hashlib import blake2s
from pathlib import Path
from struct import pack
from types import MappingProxyType, ModuleType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cachecore import _keys_py, keys
from cachecore.errors import ConfigurationError, InvalidKey

try:
    from cachecore import _keys_c
except ImportError:
    if os.environ.get("CACHECORE_REQUIRE_EXTENSION") == "1":
        raise
    _keys_c = None  # type: ignore[assignment]

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "data" / "keys_golden.json"

compiled = pytest.mark.skipif(_keys_c is None, reason="the compiled module is not built")
BOTH = [
    pytest.param(_keys_py, id="python"),
    pytest.param(_keys_c, id="cython", marks=compiled),
]


@pytest.fixture(params=BOTH)
def module(request: pytest.FixtureRequest) -> ModuleType:
    """Each implementation in turn."""
    return request.param


class Text(str):
    """A str that lies about everything a subclass can override."""

    def encode(self, *_: Any) -> bytes:  # type: ignore[override]
        return b"lie"

    def __str__(self) -> str:
        return "lie"

    def __len__(self) -> int:
        return 3

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


class Number(int):
    """An int that does the same."""

    def to_bytes(self, *_: Any, **__: Any) -> bytes:  # type: ignore[override]
        return b"lie"

    def bit_length(self) -> int:
        return 3

    def __index__(self) -> int:
        return 3

    def __str__(self) -> str:
        return "3"


class Bytes(bytes):
    """And bytes."""

    def __len__(self) -> int:
        return 1

    def __bytes__(self) -> bytes:
        return b"lie"


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Lie:
    """An object whose __class__ says int, as lazy proxies do."""

    __class__ = int  # type: ignore[assignment]


class AwkwardUUID(UUID):
    pass


Pair = namedtuple("Pair", "left right")

SECRET = b"0123456789abcdef"
IDENTIFIER = UUID("12345678-9abc-def0-1234-56789abcdef0")
INSTANT = datetime(2024, 2, 29, 12, 30, 15, 7, tzinfo=UTC)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = (value,)
    return value


# Name -> value of one field. Every two of these are different questions.
VALUES: dict[str, Any] = {
    "none": None,
    "none as text": "None",
    "true": True,
    "false": False,
    "zero": 0,
    "one": 1,
    "one as text": "1",
    "one as bytes": b"1",
    "one as float": 1.0,
    "one as decimal": Decimal(1),
    "one in a tuple": (1,),
    "minus one": -1,
    "int 127": 127,
    "int 128": 128,
    "int -128": -128,
    "int -129": -129,
    "int 255": 255,
    "int 256": 256,
    "int max 64": 2**63 - 1,
    "int min 64": -(2**63),
    "int 2**63": 2**63,
    "int below 64": -(2**63) - 1,
    "int huge": 10**100,
    "int huge negative": -(10**5000),
    "text empty": "",
    "text ascii": "oslo-no",
    "text colon": "1:b=2",
    "text latin": "Tromsø",
    "text cjk": "東京",
    "text astral": "🦀",
    "text nul": "a\0b",
    "text 127": "x" * 127,
    "text 128": "x" * 128,
    "text long": "long " * 4000,
    "bytes empty": b"",
    "bytes high": bytes(range(256)),
    "float zero": 0.0,
    "float third": 1 / 3,
    "float minus": -2.5,
    "float inf": float("inf"),
    "float -inf": float("-inf"),
    "float tiny": 5e-324,
    "decimal zero": Decimal(0),
    "decimal tenth": Decimal("0.1"),
    "decimal big exponent": Decimal("-1.25E+100"),
    "decimal 40 digits": Decimal("1234567890123456789012345678901234567890.5"),
    "decimal inf": Decimal("Infinity"),
    "uuid": IDENTIFIER,
    "uuid zero": UUID(int=0),
    "uuid as text": str(IDENTIFIER),
    "datetime": INSTANT,
    "datetime before 1970": datetime(1, 1, 1, tzinfo=UTC),
    "date": date(2024, 2, 29),
    "date as text": "2024-02-29",
    "time": time(10, 30),
    "time with microseconds": time(10, 30, 0, 1),
    "timedelta": timedelta(days=-1, microseconds=1),
    "tuple empty": (),
    "tuple": (1, "a", None),
    "tuple nested": ((1, "a"), None),
    "tuple nested otherwise": (1, ("a", None)),
    "tuple 16 deep": nested(16),
}

# Name -> the other arguments, for the golden file and for what makes questions differ apart from one value.
QUESTIONS: dict[str, tuple[str, str, dict[str, Any], bytes | None]] = {
    **{name: ("shop", "geo.City", {"field": value}, None) for name, value in VALUES.items()},
    "another prefix": ("shop2", "geo.City", {"field": 1}, None),
    "another entity": ("shop", "geo.Town", {"field": 1}, None),
    "another name": ("shop", "geo.City", {"name": 1}, None),
    "name in two scripts": ("shop", "geo.City", {"größe": 1}, None),
    "two fields": ("shop", "geo.City", {"a": 1, "b": 2}, None),
    "two fields in one": ("shop", "geo.City", {"a": "1:b=2"}, None),
    "two fields, values swapped": ("shop", "geo.City", {"a": 2, "b": 1}, None),
    "three fields": ("shop", "geo.City", {"b": "x", "a": None, "c": 1.5}, None),
    "twenty fields": ("shop", "geo.City", {f"field {number}": number for number in range(20)}, None),
    "entity in another script": ("shop", "географія.Місто", {"field": 1}, None),
    "entity with a colon": ("shop", "geo:City", {"field": 1}, None),
    "entity that looks encoded": ("shop", "geo%3ACity", {"field": 1}, None),
    "database alias": ("shop/v2@eu", "geo.City@replica", {"field": 1}, None),
    "a secret": ("shop", "geo.City", {"field": 1}, SECRET),
    "a secret of 32 bytes": ("shop", "geo.City", {"field": 1}, SECRET * 2),
    "a secret of one byte": ("shop", "geo.City", {"field": 1}, b"\0"),
    "a secret of two bytes": ("shop", "geo.City", {"field": 1}, b"\0\0"),
}


def every_key(module: Any) -> dict[str, str]:
    """The key of each question; the secret-less identity forms too."""
    found = {
        name: module.make_key(prefix, entity, fields, secret=secret)
        for name, (prefix, entity, fields, secret) in QUESTIONS.items()
    }
    identity = module.IdentityMaker("shop", "geo.City")
    hidden = module.IdentityMaker("shop", "geo.City", secret=SECRET)
    for name in ("one", "minus one", "int min 64", "int 2**63", "true", "uuid", "uuid as text", "none", "tuple"):
        found[f"identity {name}"] = identity(VALUES[name])
        found[f"identity {name}, a secret"] = hidden(VALUES[name])
    return found


# An encoder and a reader of messages, written from the table in _keys_py and independent of its code.


def part(tag: str, payload: bytes, length: int | None = None) -> bytes:
    rest = len(payload) if length is None else length
    digits: list[int] = []
    while True:
        digits.append(rest % 128)
        rest //= 128
        if not rest:
            break
    return tag.encode() + bytes([digit + 128 for digit in digits[:-1]] + digits[-1:]) + payload


def signed(number: int) -> bytes:
    size = 1
    while not -(256**size) // 2 < number < 256**size // 2:
        size += 1
    return (number % 256**size).to_bytes(size, "big")


def expected_part(value: Any) -> bytes:
    match value:
        case None:
            return part("n", b"")
        case bool():
            return part("b", bytes([value]))
        case int():
            return part("i", signed(value))
        case str():
            return part("s", value.encode())
        case bytes():
            return part("y", value)
        case float():
            return part("f", pack(">d", value if value else 0.0))
        case UUID():
            return part("u", value.bytes)
        case datetime():
            return part("m", signed((value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)))
        case date():
            return part("D", str(value).encode())
        case time():
            return part("T", str(value).encode())
        case timedelta():
            return part("l", signed(value // timedelta(microseconds=1)))
        case tuple():
            return part("(", b"".join(map(expected_part, value)), len(value))
        case Decimal():
            if value.is_infinite():
                return part("d", str(value).encode())
            if not value:
                return part("d", b"0E0")
            number, exponent = int(value.scaleb(-value.as_tuple().exponent, EXACT)), int(value.as_tuple().exponent)
            while number % 10 == 0:
                number, exponent = number // 10, exponent + 1
            return part("d", f"{number}E{exponent}".encode())
    raise AssertionError(value)


def expected_key(prefix: str, entity: str, fields: dict[str, Any], secret: bytes | None) -> str:
    message = b"\x01" + part("s", prefix.encode()) + part("s", entity.encode())
    for name in sorted(fields):
        message += part("s", name.encode()) + expected_part(fields[name])
    return f"{prefix}:{entity}:{blake2s(message, digest_size=16, key=secret or b'').hexdigest()}"


def take(message: bytes, at: int = 0) -> tuple[Any, int]:
    """One part of a message as something comparable, and where the next part starts."""
    tag = message[at : at + 1]
    at += 1
    length = shift = 0
    while message[at] & 128:
        length |= (message[at] & 127) << shift
        shift += 7
        at += 1
    length |= message[at] << shift
    at += 1
    if tag == b"(":
        items: list[Any] = []
        for _ in range(length):
            item, at = take(message, at)
            items.append(item)
        return (tag, *items), at
    return (tag, message[at : at + length]), at + length


EXACT = Context(prec=2000, Emax=999999, Emin=-999999)

unhurried = settings(deadline=None)  # the machine may be busy

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    texts,
    st.binary(max_size=200),
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.datetimes(timezones=st.sampled_from([UTC, ZoneInfo("Europe/Oslo"), timezone(timedelta(hours=-11))])),
    st.dates(),
    st.times(),
    st.timedeltas(),
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)
names = texts.filter(bool)
plain = st.text("abcXYZ019._-/@", min_size=1, max_size=40)
secrets = st.one_of(st.none(), st.binary(min_size=1, max_size=32))
field_sets = st.dictionaries(names, values, min_size=1, max_size=20)


@unhurried
@given(prefix=plain, entity=plain, fields=field_sets, secret=secrets)
def test_the_python_key_is_the_documented_hash_of_the_documented_message(
    prefix: str, entity: str, fields: dict[str, Any], secret: bytes | None
) -> None:
    """The reference implementation agrees with an encoder written from its documentation and with hashlib."""
    assert _keys_py.make_key(prefix, entity, fields, secret=secret) == expected_key(prefix, entity, fields, secret)


@compiled
@unhurried
@given(prefix=plain, entity=plain, fields=field_sets, secret=secrets)
def test_the_compiled_key_is_the_documented_hash_of_the_documented_message(
    prefix: str, entity: str, fields: dict[str, Any], secret: bytes | None
) -> None:
    """The compiled implementation agrees with an encoder written from the documentation and with hashlib."""
    assert _keys_c.make_key(prefix, entity, fields, secret=secret) == expected_key(prefix, entity, fields, secret)


@unhurried
@given(values)
def test_a_part_can_be_read_back_without_guessing(value: Any) -> None:
    """The encoding of a value ends where its own tag and length say, so parts in a row cannot imitate each other."""
    message = _keys_py.encode(value, "field")
    for following in (b"", b"s\x01x", message):
        assert take(message + following)[1] == len(message)


@unhurried
@given(st.lists(values, min_size=2, max_size=6))
def test_values_share_a_part_only_if_they_are_equal_and_of_one_type(found: list[Any]) -> None:
    """Two values have the same encoding exactly if their canonical forms are the same."""
    for left in found:
        for right in found:
            same = _keys_py.encode(left, "field") == _keys_py.encode(right, "field")
            assert same == (canonical(left) == canonical(right))


def canonical(value: Any) -> Any:
    if isinstance(value, tuple):
        return (tuple, *map(canonical, value))
    if isinstance(value, datetime):
        return datetime, value.astimezone(UTC) if value.year not in (1, 9999) else value - INSTANT
    return type(value), value


def test_no_two_questions_share_a_key(module: Any) -> None:
    """None, "None", 1, "1", True, 1.0, b"1" and every other pair of different questions have different keys."""
    found = every_key(module)
    assert len(set(found.values())) == len(found)


def test_keys_are_those_of_the_golden_file(module: Any) -> None:
    """The keys of this release are those of every release since the golden file was written."""
    assert every_key(module) == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("implementation", BOTH)
def test_keys_do_not_depend_on_the_process(implementation: Any) -> None:
    """Processes with different hash seeds make the keys of the golden file."""
    program = (
        "import json, sys; from tests import test_keys; from importlib import import_module; "
        "print(json.dumps(test_keys.every_key(import_module(sys.argv[1]))))"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, implementation.__name__],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (0.0, -0.0),
        (Decimal("1.0"), Decimal("1.00")),
        (Decimal(100), Decimal("1E2")),
        (Decimal(0), Decimal("-0.000")),
        (INSTANT, INSTANT.astimezone(ZoneInfo("Asia/Tokyo"))),
        (
            datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Oslo")),
            datetime(2024, 10, 27, 1, 30, tzinfo=UTC),
        ),
        (time(1, 30), time(1, 30, fold=1)),
        (timedelta(hours=24), timedelta(days=1)),
        ("red", Colour.RED),
        ("text", Text("text")),
        (3, Level.HIGH),
        (42, Number(42)),
        (b"abc", Bytes(b"abc")),
        ((1, 2), Pair(1, 2)),
        (IDENTIFIER, AwkwardUUID(int=IDENTIFIER.int)),
    ],
    ids=repr,
)
def test_equal_values_of_one_type_share_a_key(module: Any, left: Any, right: Any) -> None:
    """What is equal, and of the same base type, is one question, whatever a subclass overrides."""
    assert module.make_key("p", "E", {"f": left}) == module.make_key("p", "E", {"f": right})
    assert module.IdentityMaker("p", "E")(left) == module.IdentityMaker("p", "E")(right)


def test_decimal_keys_do_not_depend_on_the_context(module: Any) -> None:
    """Two decimals that a small context would round to the same number are two keys."""
    with localcontext(Context(prec=3)):
        left, right = Decimal("1.00001"), Decimal("1.00002")
        assert module.make_key("p", "E", {"f": left}) != module.make_key("p", "E", {"f": right})


@unhurried
@given(st.data())
def test_the_order_of_fields_is_irrelevant(data: st.DataObject) -> None:
    """A mapping's order never changes the key, in either implementation."""
    fields = data.draw(field_sets)
    shuffled = dict(data.draw(st.permutations(list(fields.items()))))
    for implementation in filter(None, (_keys_py, _keys_c)):
        assert implementation.make_key("p", "E", fields) == implementation.make_key("p", "E", shuffled)


def test_any_mapping_is_accepted(module: Any) -> None:
    """Mappings that are not dicts make the same keys."""
    fields = {"b": 1, "a": "x"}
    expected = module.make_key("p", "E", fields)
    assert module.make_key("p", "E", MappingProxyType(fields)) == expected
    assert module.make_key("p", "E", OrderedDict(fields)) == expected


def test_names_that_are_str_subclasses_count_as_their_text(module: Any) -> None:
    """A name whose class lies about equality and hash is the text it holds."""
    assert module.make_key("p", "E", {Text("a"): 1}) == module.make_key("p", "E", {"a": 1})
    assert module.make_key(Text("p"), Text("E"), {"a": 1}) == module.make_key("p", "E", {"a": 1})
    assert module.KeyMaker("p", "E", [Text("a"), "b"])(1, 2) == module.make_key("p", "E", {"a": 1, "b": 2})


@unhurried
@given(fields=field_sets, entity=st.one_of(plain, names.filter(lambda name: len(name) < 10)), secret=secrets)
@example(fields={"f" * 100: "x"}, entity="E", secret=None)
@example(fields={"a": "x" * 63, "b": "y" * 65}, entity="E", secret=SECRET)
def test_every_way_to_one_question_gives_one_key(fields: dict[str, Any], entity: str, secret: bytes | None) -> None:
    """make_key, make_keys, a maker's call and its batch, compiled and pure, agree on generated questions."""
    expected = _keys_py.make_key("p", entity, fields, secret=secret)
    row = tuple(fields.values())
    for implementation in filter(None, (_keys_py, _keys_c)):
        maker = implementation.KeyMaker("p", entity, tuple(fields), secret=secret)
        assert implementation.make_key("p", entity, fields, secret=secret) == expected
        assert maker(*row) == expected
        if len(row) == 1:
            assert maker.many(iter([row[0]] * 9)) == [expected] * 9
            assert implementation.make_keys("p", entity, next(iter(fields)), row, secret=secret) == [expected]
        else:
            assert maker.many([row] * 9) == [expected] * 9
        identity = implementation.IdentityMaker("p", entity, secret=secret)
        assert identity.many(row) == [identity(value) for value in row]
        assert identity.many(row) == _keys_py.IdentityMaker("p", entity, secret=secret).many(row)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 16, 17, 100])
@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_batch_keeps_the_order_and_mixes_short_and_long_values(module: Any, count: int, secret: bytes | None) -> None:
    """Batches of every size around the number of lanes give each value's own key, in order."""
    batch = [("x" * (number * 7 % 150), number, None)[number % 3] for number in range(count)]
    expected = [_keys_py.make_key("p", "E", {"f": value}, secret=secret) for value in batch]
    assert module.make_keys("p", "E", "f", batch, secret=secret) == expected
    assert module.make_keys("p", "E", "f", (value for value in batch), secret=secret) == expected


def test_a_key_is_ascii_without_spaces_and_short(module: Any) -> None:
    """Every key is printable ASCII without spaces, at most 200 bytes, in three parts by colons."""
    for key in every_key(module).values():
        assert key.isascii()
        assert key.isprintable()
        assert " " not in key
        assert len(key) <= 200
        assert key.count(":") == 2


def test_an_entity_is_percent_encoded_in_the_readable_part_only(module: Any) -> None:
    """Characters outside the safe set are encoded, so an entity cannot fake the parts of a key."""
    key = module.make_key("p", "a:b %é", {"f": 1})
    assert key.startswith("p:a%3Ab%20%25%C3%A9:")
    assert key.rpartition(":")[2] != module.make_key("p", "a%3Ab%20%25%C3%A9", {"f": 1}).rpartition(":")[2]


def test_a_key_of_200_bytes_is_made_and_one_of_201_refused(module: Any) -> None:
    """The limit is exact for hashed keys, and for identities counts the longest readable form."""
    assert len(module.make_key("p", "E" * 165, {"f": 1})) == 200
    with pytest.raises(InvalidKey, match="201 bytes, more than 200"):
        module.make_key("p", "E" * 166, {"f": 1})
    assert len(module.IdentityMaker("p", "E" * 164)(IDENTIFIER)) == 200
    with pytest.raises(InvalidKey, match="201 bytes, more than 200"):
        module.IdentityMaker("p", "E" * 165)
    assert len(module.KeyMaker("p", "é" * 27, ["f"])(1)) == 197


def test_identities_are_readable_where_that_is_safe(module: Any) -> None:
    """64-bit ints and UUIDs are shown; all else, and everything under a secret, is hashed."""
    identity = module.IdentityMaker("p", "E")
    assert identity(42) == "p:E:i42"
    assert identity(0) == "p:E:i0"
    assert identity(-7) == "p:E:i-7"
    assert identity(2**63 - 1) == "p:E:i9223372036854775807"
    assert identity(-(2**63)) == "p:E:i-9223372036854775808"
    assert identity(10**18) == "p:E:i1000000000000000000"
    assert identity(IDENTIFIER) == "p:E:u123456789abcdef0123456789abcdef0"
    hidden = module.IdentityMaker("p", "E", secret=SECRET)
    for value in (2**63, -(2**63) - 1, True, "42", None, ("a", 1)):
        assert len(identity(value)) == len("p:E:") + 32
    for value in (42, IDENTIFIER, True):
        assert len(hidden(value)) == len("p:E:") + 32


@unhurried
@given(st.integers(-(2**64), 2**64))
def test_every_readable_int_is_its_decimal_form(number: int) -> None:
    """The compiled decimal digits are those of str."""
    for implementation in filter(None, (_keys_py, _keys_c)):
        key = implementation.IdentityMaker("p", "E")(number)
        assert (key == f"p:E:i{number}") == (-(2**63) <= number < 2**63)


def test_no_field_shares_a_key_with_an_identity(module: Any) -> None:
    """A lookup by any field, whatever its name, is another question than the row under its identity."""
    hidden = module.IdentityMaker("p", "E", secret=SECRET)
    for name in ("identity", "pk", "id", "None", "n", "\0"):
        assert module.make_key("p", "E", {name: 42}, secret=SECRET) != hidden(42)


# What is refused. Each case: how to call the module, and what the message must say.
BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "nan": (lambda m: m.make_key("p", "E", {"f": float("nan")}), InvalidKey, "field 'f'.*NaN"),
    "decimal nan": (lambda m: m.make_key("p", "E", {"f": Decimal("sNaN")}), InvalidKey, "field 'f'.*NaN"),
    "naive": (
        lambda m: m.make_key("p", "E", {"born": datetime(2024, 1, 1)}),
        InvalidKey,
        "field 'born': a naive datetime does not name an instant",
    ),
    "aware time": (lambda m: m.make_key("p", "E", {"f": time(1, tzinfo=UTC)}), InvalidKey, "field 'f'.*naive time"),
    "object": (lambda m: m.make_key("p", "E", {"f": object()}), InvalidKey, "'f'.*builtins.object.*accepted are None"),
    "list": (lambda m: m.make_key("p", "E", {"f": [1]}), InvalidKey, "field 'f'.*builtins.list"),
    "dict": (lambda m: m.make_key("p", "E", {"a": 1, "f": {}}), InvalidKey, "field 'f'.*builtins.dict"),
    "bytearray": (lambda m: m.make_key("p", "E", {"f": bytearray(b"x")}), InvalidKey, "builtins.bytearray"),
    "proxy": (lambda m: m.make_key("p", "E", {"f": Lie()}), InvalidKey, "field 'f'.*Lie"),
    "in a tuple": (lambda m: m.make_key("p", "E", {"f": (1, (2, []))}), InvalidKey, "field 'f'.*builtins.list"),
    "too deep": (lambda m: m.make_key("p", "E", {"f": nested(17)}), InvalidKey, "deeper than 16"),
    "far too deep": (lambda m: m.make_key("p", "E", {"f": nested(50_000)}), InvalidKey, "deeper than 16"),
    "surrogate": (lambda m: m.make_key("p", "E", {"f": "ab\ud800"}), InvalidKey, "field 'f'.*character 2.*surrogate"),
    "surrogate name": (lambda m: m.make_key("p", "E", {"\ud800": 1}), InvalidKey, "surrogate"),
    "surrogate entity": (lambda m: m.make_key("p", "E\ud800", {"f": 1}), InvalidKey, "entity.*surrogate"),
    "no fields": (lambda m: m.make_key("p", "E", {}), InvalidKey, "fields is empty"),
    "no mapping": (lambda m: m.make_key("p", "E", [("f", 1)]), InvalidKey, "mapping.*list"),
    "name empty": (lambda m: m.make_key("p", "E", {"": 1}), InvalidKey, "name must not be empty"),
    "name of two, one empty": (lambda m: m.make_key("p", "E", {"a": 1, "": 1}), InvalidKey, "must not be empty"),
    "name no str": (lambda m: m.make_key("p", "E", {1: 1}), InvalidKey, "name must be a str, not int"),
    "name twice": (lambda m: m.KeyMaker("p", "E", ["a", "b", "a"]), InvalidKey, "'a' is named twice"),
    "name twice by a lie": (
        lambda m: m.make_key("p", "E", {"f": 1, type("S", (str,), {"__hash__": lambda _: 5})("f"): 2}),
        InvalidKey,
        "'f' is named twice",
    ),
    "prefix empty": (lambda m: m.make_key("", "E", {"f": 1}), InvalidKey, "prefix.*''"),
    "prefix long": (lambda m: m.make_key("p" * 65, "E", {"f": 1}), InvalidKey, "prefix must be 1 to 64"),
    "prefix colon": (lambda m: m.make_key("a:b", "E", {"f": 1}), InvalidKey, "prefix.*'a:b'"),
    "prefix space": (lambda m: m.KeyMaker("a b", "E", ["f"]), InvalidKey, "prefix.*'a b'"),
    "prefix newline": (lambda m: m.IdentityMaker("a\n", "E"), InvalidKey, "prefix"),
    "prefix not ascii": (lambda m: m.make_key("é", "E", {"f": 1}), InvalidKey, "prefix.*'é'"),
    "prefix none": (lambda m: m.make_key(None, None, {"f": 1}), InvalidKey, "prefix must be a str, not NoneType"),
    "entity empty": (lambda m: m.make_key("p", "", {"f": 1}), InvalidKey, "entity must not be empty"),
    "entity no str": (lambda m: m.make_key("p", int, {"f": 1}), InvalidKey, "entity must be a str, not type"),
    "entity long": (lambda m: m.make_key("p", "é" * 28, {"f": 1}), InvalidKey, "203 bytes, more than 200"),
    "secret empty": (
        lambda m: m.make_key("p", "E", {"f": 1}, secret=b""),
        ConfigurationError,
        "secret.*1 to 32.*not 0",
    ),
    "secret long": (lambda m: m.KeyMaker("p", "E", ["f"], secret=b"x" * 33), ConfigurationError, "secret.*not 33"),
    "secret text": (lambda m: m.IdentityMaker("p", "E", secret="x"), ConfigurationError, "secret must be bytes.*str"),
    "secret before prefix": (lambda m: m.make_key("", "", {}, secret=b""), ConfigurationError, "secret"),
    "mapping before prefix": (lambda m: m.make_key("", "", None), InvalidKey, "fields must be a mapping"),
    "prefix before names": (lambda m: m.make_key("", "E", {"": 1}), InvalidKey, "prefix"),
    "names before values": (lambda m: m.make_key("p", "E", {"a": [], "": 1}), InvalidKey, "name must not be empty"),
    "values by name": (lambda m: m.make_key("p", "E", {"b": [], "a": {}}), InvalidKey, "field 'a'"),
    "maker without fields": (lambda m: m.KeyMaker("p", "E", ()), InvalidKey, "fields is empty"),
    "maker of a str": (lambda m: m.KeyMaker("p", "E", "slug"), InvalidKey, "fields.*single str 'slug'"),
    "too few": (lambda m: m.KeyMaker("p", "E", ["a", "b"])(1), InvalidKey, r"\('a', 'b'\) take 2 values, not 1"),
    "too many": (lambda m: m.KeyMaker("p", "E", ["a"])(1, 2), InvalidKey, "take 1 values, not 2"),
    "row too short": (lambda m: m.KeyMaker("p", "E", ["a", "b"]).many([(1, 2), (1,)]), InvalidKey, "take 2.*not 1"),
    "row no tuple": (lambda m: m.KeyMaker("p", "E", ["a", "b"]).many([[1, 2]]), InvalidKey, "a tuple of 2.*not list"),
    "batch of a str": (lambda m: m.make_keys("p", "E", "f", "abc"), InvalidKey, "values must be an iterable.*str"),
    "batch of one": (lambda m: m.make_keys("p", "E", "f", 5), TypeError, "not iterable"),
    "bad in a batch": (lambda m: m.make_keys("p", "E", "f", [1, 2, []]), InvalidKey, "field 'f'.*list"),
    "bad identity": (lambda m: m.IdentityMaker("p", "E")([]), InvalidKey, "field 'identity'.*list"),
    "bad identity in a batch": (lambda m: m.IdentityMaker("p", "E").many([1, {}]), InvalidKey, "'identity'.*dict"),
    "identities of bytes": (lambda m: m.IdentityMaker("p", "E").many(b"x"), InvalidKey, "values.*bytes"),
}


def refusal(call: Any, module: Any) -> tuple[type[Exception], str]:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the caller compares class and message
        call(module)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_a_key_is_refused_by_name(module: Any, case: str) -> None:
    """A refused value, name, prefix, entity or secret raises the documented class and names what is wrong."""
    call, error, message = BAD[case]
    with pytest.raises(error, match=message) as caught:
        call(module)
    assert type(caught.value) is error


@compiled
@pytest.mark.parametrize("case", BAD)
def test_both_implementations_refuse_in_the_same_words(case: str) -> None:
    """Compiled and pure raise the same class with the same message."""
    assert refusal(BAD[case][0], _keys_c) == refusal(BAD[case][0], _keys_py)


@compiled
@unhurried
@given(
    prefix=st.one_of(plain, st.text(max_size=3)),
    entity=st.text(max_size=60),
    fields=st.dictionaries(
        st.text(max_size=3),
        st.one_of(values, st.floats(), st.datetimes(), st.text(), st.lists(st.none()), st.decimals()),
        max_size=3,
    ),
)
def test_both_implementations_agree_on_good_and_bad_alike(prefix: str, entity: str, fields: dict[str, Any]) -> None:
    """Whatever the arguments, compiled and pure return the same key or raise the same error."""

    def outcome(module: Any) -> Any:
        try:
            return module.make_key(prefix, entity, fields)
        except InvalidKey as error:
            return str(error)

    assert outcome(_keys_c) == outcome(_keys_py)


def test_makers_take_no_keywords(module: Any) -> None:
    """Values are positional: a keyword is a TypeError, not a silently ignored field."""
    with pytest.raises(TypeError):
        module.KeyMaker("p", "E", ["f"])(f=1)
    with pytest.raises(TypeError):
        module.IdentityMaker("p", "E")(identity=1)
    with pytest.raises(TypeError):
        module.IdentityMaker("p", "E")()


def test_a_dict_changed_while_its_values_are_encoded_harms_nothing(module: Any) -> None:
    """A tzinfo that empties the mapping during the call cannot reach freed memory."""

    class Wiping(tzinfo):
        def utcoffset(self, _: Any) -> timedelta:
            fields.clear()
            return timedelta(0)

    for number in range(100):
        first, second = f"a{number}", f"b{number}"  # only the dict keeps these alive
        fields: dict[str, Any] = {first: INSTANT.replace(tzinfo=Wiping()), second: "x" * number}
        expected = module.make_key("p", "E", {first: INSTANT, second: "x" * number})
        del first, second
        assert module.make_key("p", "E", fields) == expected
        fields = {f"c{number}": INSTANT.replace(tzinfo=Wiping())}
        assert module.make_key("p", "E", fields) == module.make_key("p", "E", {f"c{number}": INSTANT})


def test_errors_of_a_tzinfo_or_an_iterator_reach_the_caller(module: Any) -> None:
    """An exception of the caller's own code passes through unchanged."""

    def failing() -> Any:
        yield 1
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        module.make_keys("p", "E", "f", failing())


@pytest.mark.parametrize("secret", [None, SECRET])
def test_makers_survive_pickling(module: Any, secret: bytes | None) -> None:
    """A maker that went through a pickle makes the same keys, whichever implementation reads it."""
    maker = pickle.loads(pickle.dumps(module.KeyMaker("p", "E", ["b", "a"], secret=secret)))
    assert maker(1, "x") == module.make_key("p", "E", {"b": 1, "a": "x"}, secret=secret)
    assert maker.fields == ("b", "a")
    identity = pickle.loads(pickle.dumps(module.IdentityMaker("p", "E", secret=secret)))
    assert identity(42) == module.IdentityMaker("p", "E", secret=secret)(42)


def test_a_maker_keeps_its_names_and_hides_its_secret(module: Any) -> None:
    """fields are the names in the order given, and no repr shows the secret."""
    maker = module.KeyMaker("p", "E", ["b", "a"], secret=SECRET)
    assert maker.fields == ("b", "a")
    for one in (maker, module.IdentityMaker("p", "E", secret=SECRET)):
        assert "0123456789" not in repr(one)
        assert "<hidden>" in repr(one)
    assert repr(module.IdentityMaker("p", "E")) == "IdentityMaker('p', 'E')"


def test_one_bad_call_does_not_spoil_the_next(module: Any) -> None:
    """After a refusal in the middle of a batch or a row the maker still makes the right keys."""
    maker = module.KeyMaker("p", "E", ["a", "b"])
    expected = module.make_key("p", "E", {"a": 1, "b": 2})
    for bad in ([], float("nan"), "\ud800"):
        with pytest.raises(InvalidKey):
            maker(1, bad)
        with pytest.raises(InvalidKey):
            maker.many([(1, 2), (1, bad)])
        assert maker(1, 2) == expected
        assert maker.many([(1, 2)] * 3) == [expected] * 3


# BLAKE2s itself


def self_test_input(size: int, seed: int) -> bytes:
    """selftest_seq of RFC 7693, appendix E: a Fibonacci generator."""
    a, b = 0xDEAD4BAD * seed & 0xFFFFFFFF, 1
    found = bytearray()
    for _ in range(size):
        a, b = b, (a + b) & 0xFFFFFFFF
        found.append(b >> 24)
    return bytes(found)


@compiled
def test_blake2s_gives_the_vectors_of_the_rfc() -> None:
    """RFC 7693: BLAKE2s-256 of "abc" (appendix B) and the grand hash of the self-test (appendix E)."""
    assert _keys_c.blake2s(b"abc").hex() == "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"
    seen = b""
    for digest_size in (16, 20, 28, 32):
        for size in (0, 3, 64, 65, 255, 1024):
            data = self_test_input(size, size)
            seen += _keys_c.blake2s(data, digest_size=digest_size)
            key = self_test_input(digest_size, digest_size)
            seen += _keys_c.blake2s(data, key=key, digest_size=digest_size)
    assert _keys_c.blake2s(seen).hex() == "6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe"


@compiled
@unhurried
@given(data=st.binary(max_size=400), key=st.binary(max_size=32), digest_size=st.integers(1, 32))
@example(data=b"x" * 64, key=b"", digest_size=16)
@example(data=b"x" * 128, key=b"k" * 32, digest_size=16)
def test_blake2s_agrees_with_hashlib(data: bytes, key: bytes, digest_size: int) -> None:
    """Any data, key and digest size give hashlib's digest."""
    expected = blake2s(data, key=key, digest_size=digest_size).digest()
    assert _keys_c.blake2s(data, key=key, digest_size=digest_size) == expected


@compiled
@pytest.mark.parametrize("kernel", [0, 1, 2, 3])
@settings(max_examples=200, deadline=None)
@given(head=st.binary(max_size=130), data=st.data())
def test_every_lane_kernel_agrees_with_hashlib(kernel: Any, head: bytes, data: st.DataObject) -> None:
    """The scalar, the generic vector, the AVX2 and the AVX-512 kernel hash up to eight messages as hashlib does."""
    room = 64 - (len(head) % 64 or (64 if head else 0))
    tails = data.draw(st.lists(st.binary(max_size=room), min_size=1, max_size=8))
    found = _keys_c.lane_digests(kernel, head, tails)
    if found is None:
        pytest.skip("this machine has no such kernel")
    assert found == [blake2s(head + tail, digest_size=16).digest() for tail in tails]


# The choice of the implementation


def choose(**environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "CACHECORE_IMPLEMENTATION"}
    return subprocess.run(
        [sys.executable, "-c", "from cachecore import keys; print(keys.implementation, keys.make_key.__module__)"],
        cwd=ROOT,
        env={**env, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


def test_the_implementation_can_be_forced_to_python() -> None:
    """CACHECORE_IMPLEMENTATION=python takes the reference even where the compiled module exists."""
    assert choose(CACHECORE_IMPLEMENTATION="python").stdout.split() == ["python", "cachecore._keys_py"]


@compiled
@pytest.mark.parametrize("wanted", ["cython", ""])
def test_the_compiled_implementation_is_taken_if_it_can_be_imported(wanted: str) -> None:
    """Forced or by default, the compiled module is used where it exists."""
    assert choose(CACHECORE_IMPLEMENTATION=wanted).stdout.split() == ["cython", "cachecore._keys_c"]


def test_an_unknown_implementation_fails_at_import() -> None:
    """A value that names no implementation is a ConfigurationError with the setting and the value."""
    done = choose(CACHECORE_IMPLEMENTATION="rust")
    assert done.returncode != 0
    assert "ConfigurationError: CACHECORE_IMPLEMENTATION must be cython, python or unset, not 'rust'" in done.stderr


@pytest.mark.parametrize("wanted", ["cython", ""])
def test_a_missing_compiled_module_is_an_error_only_if_it_was_wanted(wanted: str) -> None:
    """Without the compiled module, unset falls back to the reference, and cython is a ConfigurationError."""
    env = {**os.environ, "CACHECORE_IMPLEMENTATION": wanted}
    program = (
        "import sys; sys.modules['cachecore._keys_c'] = None; from cachecore import keys; print(keys.implementation)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True)
    if wanted:
        assert "ConfigurationError: CACHECORE_IMPLEMENTATION is cython" in done.stderr
    else:
        assert done.stdout.strip() == "python"


def test_the_public_module_offers_one_implementation() -> None:
    """cachecore.keys says which implementation it bound, and binds all of it."""
    expected: Any = _keys_c if keys.implementation == "cython" else _keys_py
    for name in ("make_key", "make_keys", "KeyMaker", "IdentityMaker"):
        assert getattr(keys, name) is getattr(expected, name)
        assert getattr(keys, name).__doc__


if __name__ == "__main__":  # python -m tests.test_keys writes the golden file: only for a new version byte
    GOLDEN.write_text(json.dumps(every_key(_keys_py), indent=1, ensure_ascii=False) + "\n")
