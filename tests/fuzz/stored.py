"""Targets that decode stored bytes: entries, rows, plain values and the claims of lookups."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import partial
from math import isnan
from typing import Any
from uuid import UUID

from cachecore import Cache
from cachecore.claims import load_claim
from cachecore.codec import Column, RowCodec
from cachecore.entries import MAGIC, Hold, Lease, Unusable, Value, decode_entry, encode_entry, standing
from cachecore.errors import CorruptEntry, UnsupportedValue
from cachecore.lookups import Claim
from cachecore.testing import FakeBackend
from cachecore.value_codec import MAX_DEPTH, ValueCodec
from tests.fuzz.target import Target, canonical

SERVER, ANOTHER = b"server01", b"server02"
TOKEN, OTHER_TOKEN = b"token--1", b"token--2"

# -- entries ---------------------------------------------------------------------------------------


def check_entry(data: bytes) -> str:
    """Any bytes are an entry that encodes to the same bytes, nothing, or unusable with the bytes; never an error."""
    own = data[3:11]
    for incarnation in (SERVER, own) if len(own) == len(SERVER) else (SERVER,):
        entry = decode_entry(data, incarnation)
        if entry is None:
            assert data[:2] == MAGIC
            assert own != incarnation
        elif isinstance(entry, Unusable):
            assert entry.raw == data
        else:
            assert own == incarnation
            assert encode_entry(entry, incarnation) == data
            assert decode_entry(data, incarnation) == entry
            assert decode_entry(data, bytes(byte ^ 1 for byte in incarnation)) is None
            if isinstance(entry, Hold):
                assert not any(isnan(deadline) for _, deadline in entry.tokens)
                stands = any(deadline > 0 for _, deadline in entry.tokens)
                assert standing(entry, 0.0) is (entry if stands else None)
    found = decode_entry(data, SERVER)
    return found.reason if isinstance(found, Unusable) else type(found).__name__


_ENTRIES = (
    Lease(TOKEN),
    Value(b"payload", b"stamp"),
    Value(b"", b""),
    Hold(((TOKEN, 100.0),)),
    Hold(((TOKEN, 100.0), (OTHER_TOKEN, -1.0)), shared=True),
)
ENTRY = Target(
    "entry",
    check_entry,
    (
        *(encode_entry(entry, incarnation) for entry in _ENTRIES for incarnation in (SERVER, ANOTHER)),
        b"",
        MAGIC + b"\x02" + SERVER + b"v\x00",
        MAGIC + b"\x01" + SERVER + b"h" + TOKEN + b"\x7f\xf8" + bytes(6),
    ),
    frozenset({"NoneType", "corrupt", "format", "Lease", "Value", "Hold"}),
)

# -- rows ------------------------------------------------------------------------------------------

KINDS = (int, str, bool, float, bytes, Decimal, UUID, date, datetime, time, timedelta)


def _complex(text: str) -> complex:
    try:
        return complex(text)
    except ValueError as error:
        raise CorruptEntry(str(error)) from error


_TEXTS: dict[str, tuple[Callable[[Any], str], Callable[[str], object]]] = {"text": (repr, _complex)}
_SPECIAL = (Column("json", object, kind="json"), Column("text", str, kind="text"))
CODECS: tuple[RowCodec, ...] = (
    RowCodec([*(Column(kind.__name__, kind) for kind in KINDS), *_SPECIAL], texts=_TEXTS),
    RowCodec([Column(kind.__name__, kind, nullable=False) for kind in KINDS]),
    RowCodec([Column("id", int, nullable=False), *_SPECIAL], texts=_TEXTS),
    *(RowCodec([Column(kind.__name__, kind)]) for kind in KINDS),
    *(RowCodec([column], texts=_TEXTS if column.kind == "text" else None) for column in _SPECIAL),
)
_PLAIN: tuple[object, ...] = (
    7, "Oslo", True, 59.5, b"\x00\xff", Decimal("12.50"), UUID(int=5), date(2024, 2, 29),
    datetime(2024, 2, 29, 12, 30, 1, 5, UTC), time(23, 59, 59, 1), timedelta(days=-1, microseconds=3),
)  # fmt: skip
_STRANGE: tuple[object, ...] = (
    2**70, "", False, float("nan"), b"", Decimal("sNaN"), UUID(int=0), date(1, 1, 1),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), time(0, fold=1), timedelta.max,
)  # fmt: skip
_JSON = {"a": [1, 2.5, None, True, {"b": "\u00e5"}], "n": float("inf")}


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str for key in value) and all(map(_is_json, value.values()))
    return all(map(_is_json, value)) if type(value) is list else type(value) in (str, int, float, bool, type(None))


def check_row(data: bytes) -> str:
    """Any bytes are corrupt, or a row with the types of its columns that is stored and read as the same row."""
    codec = CODECS[data[0] % len(CODECS)] if data else CODECS[0]
    stored = data[1:]
    try:
        frozen = codec.decode_frozen(stored)
        assert type(frozen) is tuple
        row = codec.decode(stored)
    except CorruptEntry:
        return "corrupt"
    for value, column in zip(row, codec.columns, strict=True):
        if column.kind == "json":
            assert _is_json(value)
        elif value is None:
            assert column.nullable
        else:
            assert type(value) is (complex if column.kind == "text" else column.type)
    known = canonical(row, instants=True)
    assert canonical(codec.decode(codec.encode(row)), instants=True) == known
    again, weight = codec.freeze(row)
    assert canonical(codec.thaw(again), instants=True) == known
    assert weight > 0
    return "general row" if stored[:1] == b"\xc1" else "row"


def _row_seeds() -> list[bytes]:
    seeds: list[bytes] = []
    for index, codec in enumerate(CODECS):
        for values in (_PLAIN, _STRANGE):
            by_name: dict[str, object] = {
                **dict(zip((kind.__name__ for kind in KINDS), values, strict=True)), "id": 1, "json": _JSON, "text": 1j
            }  # fmt: skip
            row = tuple(by_name[column.name] for column in codec.columns)
            seeds.append(bytes([index]) + codec.encode(row))
    return [*seeds, b"\x02" + CODECS[2].encode((1, [[[]]], None)), b""]


ROW = Target("row", check_row, tuple(_row_seeds()), frozenset({"corrupt", "row", "general row"}))

# -- plain values ----------------------------------------------------------------------------------

VALUES = ValueCodec()


def check_value(data: bytes) -> str:
    """Any bytes are corrupt, or a value that is stored and read as the same value, or nested too deeply for that."""
    try:
        value = VALUES.decode(data)
    except CorruptEntry:
        return "corrupt"
    try:
        again = VALUES.encode(value)
    except UnsupportedValue as error:
        if "nested more than" in str(error):
            return "deep"
        raise
    assert canonical(VALUES.decode(again)) == canonical(value)
    return "extension" if data[:1] in b"\xc7\xc8\xc9\xd4\xd5\xd6\xd7\xd8" else type(value).__name__


_SAMPLES: tuple[object, ...] = (
    None, *_PLAIN, *_STRANGE, -(2**90), [1, [2, {"a": {}}]], (1, (2, "x"), ()), {1, "a", (2, 3)}, frozenset({b""}),
    {1: 2, "a": [], (1, 2): {3}}, time(1, 2, 3, tzinfo=timezone(timedelta(minutes=-90))), {"k": Decimal("NaN")},
    datetime(2024, 2, 29, 1, 2, 3, 4, timezone(timedelta(microseconds=5))),
)  # fmt: skip
VALUE = Target(
    "value",
    check_value,
    (*(VALUES.encode(sample) for sample in _SAMPLES), b"", b"\x91" * (MAX_DEPTH + 1) + b"\x90"),
    frozenset({"corrupt", "deep", "extension", "NoneType", "bool", "int", "float", "str", "bytes", "list", "dict"}),
)

# -- claims ----------------------------------------------------------------------------------------

_CLAIM_COLUMNS = {"id": int, "name": str, "price": Decimal, "at": datetime, "token": UUID, "day": date, "share": float}
_ASKED: tuple[tuple[tuple[str, ...], tuple[Any, ...]], ...] = (
    (("name",), ("Oslo",)),
    (("price",), (Decimal("12.50"),)),
    (("at", "name"), (datetime(2024, 2, 29, tzinfo=UTC), "Oslo")),
    (("token",), (UUID(int=5),)),
    (("day", "share"), (date(2024, 2, 29), 0.5)),
)
_RECORDS = Cache(FakeBackend(), namespace="fuzz").entity(
    "fuzz.Claimed", _CLAIM_COLUMNS, lookups=[names for names, _ in _ASKED]
)
_LOOKUPS = [_RECORDS.lookup_for(names, values) for names, values in _ASKED]
_FOUND = (1, "Oslo", Decimal("12.50"), datetime(2024, 2, 29, tzinfo=UTC), UUID(int=5), date(2024, 2, 29), 0.5)


def check_claim(data: bytes) -> str:
    """Any bytes are corrupt, or a claim of right types about what was asked, which any row can confirm or refute."""
    lookup = _LOOKUPS[data[0] % len(_LOOKUPS)] if data else _LOOKUPS[0]
    stored = data[1:]
    try:
        load_claim(lookup.values, stored)
    except CorruptEntry:
        return "corrupt"
    try:
        claim = lookup.load(stored)
    except CorruptEntry:
        return "of no row"
    assert type(claim.identity) is int
    assert lookup.key_of(claim.identity) == lookup.key_of(int(claim.identity))
    assert len(claim.spelling) == len(lookup.values)
    confirmed = lookup.spelling_of(_FOUND) == claim.spelling
    assert (claim == Claim(claim.identity, lookup.spelling_of(_FOUND))) is confirmed
    payload, _ = lookup.dump(claim)
    assert canonical(lookup.load(payload).spelling) == canonical(claim.spelling)
    return "as asked" if claim.spelling == lookup.values else "spelled otherwise"


def _claim_seeds() -> list[bytes]:
    seeds: list[bytes] = []
    for index, lookup in enumerate(_LOOKUPS):
        store = partial(bytes.__add__, bytes([index]))
        payload: Any = lookup.dump(Claim(1, lookup.values))[0]
        seeds.append(store(payload))
        others = (
            (1, ("OSLO",)), (-5, (Decimal("sNaN"),)), (2**70, lookup.values), (1, (float("nan"),) * 2), (1, []),
            (1, lookup.values, lookup.values),
        )  # fmt: skip
        seeds.extend(store(VALUES.encode((*other, lookup.values))) for other in others)
    return seeds


CLAIM = Target(
    "claim",
    check_claim,
    tuple(_claim_seeds()),
    frozenset({"corrupt", "of no row", "as asked", "spelled otherwise"}),
)
