"""Plain Python values as bytes and back, exactly, and without ever executing what was stored.

Theory of operation. The bytes are msgpack. None, bool, int of 64 bits, float, str, bytes, list, and dict with
str or int keys are msgpack's own types; a value made of nothing else takes one msgspec call, after a look at
the types in it. Everything else is a msgpack extension: a code of `_Tag` and a payload, which for a
collection is again msgpack. So the stored form is closed: no class name in it, nothing to import, nothing to call.

Types are compared exactly. A subclass (SafeString, IntEnum, OrderedDict, namedtuple) would come back as its base and
is refused, since only the caller knows whether that loses anything.
"""

from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from functools import partial
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from cachecore.errors import CorruptEntry, UnsupportedValue

MAX_DEPTH: Final = 100
"""Collections inside collections: encode refuses a value nested deeper, decode one whose extensions are. Plain lists
and dicts that somebody else has stored may come out deeper, as far as msgspec goes."""


class _Tag(IntEnum):
    """The extension codes. They are stored: a number is never given a second meaning."""

    TUPLE = 1
    SET = 2
    FROZENSET = 3
    PAIRS = 4  # a dict with keys other than str and int: key, value, key, value ...
    INT = 5  # beyond 64 bits
    DECIMAL = 6
    UUID = 7
    DATETIME = 8
    DATE = 9
    TIME = 10
    TIMEDELTA = 11


_Path = tuple[object, ...]
_KEY: Final = object()
"""The last step of a path that leads to a dict's key, not to a value."""
_ATOMS: Final = frozenset({type(None), bool, int, float, str, bytes})
_KEYS: Final = frozenset({str, int})
_NESTABLE: Final = frozenset({list, dict})
_encode: Final = msgspec.msgpack.Encoder().encode


class ValueCodec:
    """Encodes plain values for the cache: what comes back equals what went in and has the same type.

    Supported: None, bool, int (any size), float, str, bytes, list, tuple, dict (of any hashable supported keys; the
    order is kept), set, frozenset, datetime, date, time, timedelta, Decimal, UUID, nested up to MAX_DEPTH.
    An aware datetime or time comes back with the fixed offset from UTC that its zone had then: the same instant and
    the same clock reading, but no longer the rules of a named zone.
    """

    def encode(self, value: object) -> bytes:
        """The bytes that stand for value.

        Raises UnsupportedValue naming the type and where in the value it is, for anything without a faithful form:
        other types, subclasses, a str with lone surrogates, a value that contains itself or is nested too deeply.
        """
        try:
            if type(value) in _ATOMS or _is_plain(value, MAX_DEPTH):
                return _encode(value)
        except (OverflowError, UnicodeEncodeError):
            pass  # an int beyond 64 bits or a lone surrogate, somewhere inside
        return _encode(_tagged(value, (), 0))

    def decode(self, data: bytes) -> object:
        """The value that data stands for. Raises CorruptEntry for anything that encode did not produce."""
        try:
            return _DECODERS[0].decode(data)
        except Exception as error:  # hostile bytes reach many constructors; none may break a read
            raise CorruptEntry(f"{len(data)} stored bytes are not a value: {error}") from error


def _is_plain(value: object, depth: int) -> bool:
    """Whether value is a list or dict that msgpack keeps exactly as it is, but for the size of its ints."""
    if type(value) is list:
        items: Iterable[object] = cast("list[object]", value)
    elif type(value) is dict:
        mapping = cast("dict[object, object]", value)
        if not _KEYS.issuperset(map(type, mapping)):
            return False
        items = mapping.values()
    else:
        return False
    nested = set(map(type, items)) - _ATOMS
    if not nested:
        return depth > 0
    if depth == 0 or not nested <= _NESTABLE:
        return False
    return all(_is_plain(item, depth - 1) for item in items if type(item) in nested)


def _tagged(value: object, path: _Path, depth: int) -> object:
    """The same value in types that msgpack keeps, extensions where it has none."""
    kind = type(value)
    wrap = _WRAPPERS.get(kind)
    if wrap is not None:
        return wrap(value, path)
    if kind not in _COLLECTIONS:
        raise UnsupportedValue(
            f"{_shown(path)} is of type {kind.__module__}.{kind.__qualname__}, which has no stored form"
        )
    if depth == MAX_DEPTH:
        raise UnsupportedValue(f"{_shown(path)} is nested more than {MAX_DEPTH} levels deep, or contains itself")
    if kind is dict:
        return _tagged_dict(cast("dict[object, object]", value), path, depth + 1)
    items = cast("Iterable[object]", value)
    parts = [_tagged(item, (*path, index), depth + 1) for index, item in enumerate(items)]
    tag = _COLLECTIONS[kind]
    return parts if tag is None else _ext(tag, _encode(parts))


def _tagged_dict(mapping: dict[object, object], path: _Path, depth: int) -> object:
    values = {key: _tagged(value, (*path, key), depth) for key, value in mapping.items()}
    if all(type(key) is str or (type(key) is int and _fits(key)) for key in values):
        for key in values:
            _tagged(key, (*path, _KEY), depth)
        return values
    pairs: list[object] = []
    for key, value in values.items():
        pairs.append(_tagged(key, (*path, _KEY), depth))
        pairs.append(value)
    return _ext(_Tag.PAIRS, _encode(pairs))


def _shown(path: _Path) -> str:
    """The path to a part of the value, for an error message."""
    text = "value"
    for step in path:
        if step is _KEY:
            text = f"a key of {text}"
        else:
            readable = (type(step) is int and _fits(step)) or (type(step) is str and len(step) <= 100)
            text += f"[{step!r}]" if readable else f"[{type(step).__name__}]"
    return text


def _ext(tag: _Tag, payload: bytes) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(tag.value, payload)


def _fits(number: int) -> bool:
    """Whether msgpack has a form for it."""
    return -(1 << 63) <= number < 1 << 64


def _int_bytes(number: int) -> bytes:
    """Two's complement, big endian, as short as it gets."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


def _same(value: object, path: _Path) -> object:
    return value


def _wrap_int(value: int, path: _Path) -> object:
    return value if _fits(value) else _ext(_Tag.INT, _int_bytes(value))


def _wrap_str(value: str, path: _Path) -> object:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UnsupportedValue(f"{_shown(path)} is a str with a lone surrogate, which has no UTF-8 form") from None
    return value


def _wrap_moment(tag: _Tag, value: datetime | time, path: _Path) -> object:
    """fold, microseconds east of UTC or nothing, the clock reading in ISO 8601.

    The offset is apart since fromisoformat takes one of less than a second for UTC.
    """
    offset = value.utcoffset()
    if offset is None and value.tzinfo is not None:
        raise UnsupportedValue(f"{_shown(path)} has the time zone {value.tzinfo!r}, which does not say its offset")
    east = "" if offset is None else _microseconds(offset)
    return _ext(tag, f"{value.fold},{east},{value.replace(tzinfo=None).isoformat()}".encode())


def _microseconds(value: timedelta) -> int:
    return (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds


_WRAPPERS: Final[dict[type, Callable[[Any, _Path], object]]] = {
    type(None): _same,
    bool: _same,
    float: _same,
    bytes: _same,
    int: _wrap_int,
    str: _wrap_str,
    Decimal: lambda value, path: _ext(_Tag.DECIMAL, str(value).encode()),
    UUID: lambda value, path: _ext(_Tag.UUID, value.bytes),
    datetime: partial(_wrap_moment, _Tag.DATETIME),
    date: lambda value, path: _ext(_Tag.DATE, value.isoformat().encode()),
    time: partial(_wrap_moment, _Tag.TIME),
    timedelta: lambda value, path: _ext(_Tag.TIMEDELTA, _int_bytes(_microseconds(value))),
}
_COLLECTIONS: Final[dict[type, _Tag | None]] = {
    list: None,
    dict: None,
    tuple: _Tag.TUPLE,
    set: _Tag.SET,
    frozenset: _Tag.FROZENSET,
}


def _untag(depth: int, code: int, payload: memoryview) -> object:
    """The value of an extension that lies inside `depth` others."""
    tag = _Tag(code)
    data = bytes(payload)
    if tag > _Tag.PAIRS:
        return _UNWRAPPERS[tag](data)
    if depth == MAX_DEPTH:
        raise ValueError(f"extensions nested more than {MAX_DEPTH} deep")
    parts = _DECODERS[depth + 1].decode(data)
    if type(parts) is not list:
        raise ValueError(f"the extension {tag.name} holds no array")
    items = cast("list[object]", parts)
    if tag is _Tag.PAIRS:
        return dict(zip(items[::2], items[1::2], strict=True))
    if tag is _Tag.TUPLE:
        return tuple(items)
    return set(items) if tag is _Tag.SET else frozenset(items)


def _unwrap_moment(kind: type[datetime] | type[time], data: bytes) -> datetime | time:
    fold, east, reading = data.decode("ascii").split(",")
    zone = timezone(timedelta(microseconds=int(east))) if east else None
    return kind.fromisoformat(reading).replace(tzinfo=zone, fold=int(fold))


_UNWRAPPERS: Final[dict[_Tag, Callable[[bytes], object]]] = {
    _Tag.INT: partial(int.from_bytes, byteorder="big", signed=True),
    _Tag.DECIMAL: lambda data: Decimal(data.decode("ascii")),
    _Tag.UUID: lambda data: UUID(bytes=data),
    _Tag.DATETIME: partial(_unwrap_moment, datetime),
    _Tag.DATE: lambda data: date.fromisoformat(data.decode("ascii")),
    _Tag.TIME: partial(_unwrap_moment, time),
    _Tag.TIMEDELTA: lambda data: timedelta(microseconds=int.from_bytes(data, "big", signed=True)),
}
# One decoder a level, since an extension hook is not told how deep it is.
_DECODERS: Final = [msgspec.msgpack.Decoder(ext_hook=partial(_untag, depth)) for depth in range(MAX_DEPTH + 1)]
