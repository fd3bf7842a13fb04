"""What one column value becomes before it is stored: precisely a builtin type, or the JSON text of a structure.

ORMs and their users put subclasses into columns: SafeString, members of TextChoices and IntEnum, the UUID class of a
driver. They mean their base value, and only the base has a stored form. A value of another type means
something else than its column says, and is refused.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from cachecore.errors import CorruptEntry, UnsupportedValue
from cachecore.value_codec import MAX_DEPTH


def json_text(value: object) -> bytes:
    """The JSON text of a structure, from which json_value makes an equal one.

    Subclasses of the types JSON has become those. NaN and infinities are written as Python's json module writes
    them. Raises UnsupportedValue for what JSON would change, naming where it is.
    """
    try:
        text = plain_json_text(value)
        if _parse(text) == value:
            return text
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass
    _check_json(value, "$", 0)
    import json  # here and below: few ever need it

    try:
        return json.dumps(value, separators=(",", ":")).encode("ascii")
    except ValueError as error:  # an int of more digits than the interpreter converts
        raise UnsupportedValue(str(error)) from None


def json_value(text: bytes) -> object:
    """A new structure from JSON text. Raises CorruptEntry if it is none."""
    try:
        return _parse(text)
    except (ValueError, RecursionError):  # rarely: NaN, lone surrogates, ints of many digits
        import json

        try:
            return json.loads(text.decode())
        except (ValueError, RecursionError) as error:
            raise CorruptEntry(f"{len(text)} stored bytes are not JSON: {error}") from error


def _check_json(value: object, path: str, depth: int) -> None:
    """Raises UnsupportedValue unless JSON has a form for value and all in it."""
    if value is None or isinstance(value, (bool, int, float)):
        return
    if isinstance(value, str):
        _check_utf8(value, path)
        return
    if depth == MAX_DEPTH:
        raise UnsupportedValue(f"{path} is nested more than {MAX_DEPTH} levels deep, or contains itself")
    if isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            _check_json(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            if not isinstance(key, str):
                raise UnsupportedValue(f"{path} has a key of type {type(key).__name__}")
            _check_utf8(key, f"a key of {path}")
            _check_json(item, f"{path}[{key!r}]", depth + 1)
    else:
        raise UnsupportedValue(f"{path} is of type {type(value).__name__}")


def _check_utf8(text: str, path: str) -> None:
    """Escaped, lone surrogates would come back, but two of them as one character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnsupportedValue(f"{path} has a lone surrogate") from None


def base_value(kind: type, value: Any) -> object:
    """Value as precisely kind. Raises ValueError if it is not a kind, or is more than one."""
    if kind is bytes and isinstance(value, (bytearray, memoryview)):
        return bytes(cast("bytearray | memoryview[int]", value))
    if kind is float and type(value) is int:
        number = float(value)
        if number != value:
            raise ValueError("it is not a float exactly")
        return number
    if not isinstance(value, kind) or isinstance(value, _NOT_BASES.get(kind, ())):
        raise ValueError
    return BASES[kind](value)


def _base_str(value: str) -> str:
    text = str.__str__(value)
    text.encode()  # UnicodeEncodeError is a ValueError
    return text


def _base_datetime(value: datetime) -> datetime:
    offset = value.utcoffset()
    zone = None if offset is None else timezone(offset)
    base = datetime(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, tzinfo=zone
    )
    try:
        return base if zone is None else base.astimezone(UTC)
    except OverflowError:
        return base


def _base_time(value: time) -> time:
    offset = value.utcoffset()
    zone = None if offset is None else timezone(offset)
    return time(value.hour, value.minute, value.second, value.microsecond, tzinfo=zone)


# How to make precisely the type out of a value of a subclass, whatever the subclass overrides.
BASES: Final[dict[object, Callable[[Any], object]]] = {
    int: int.__int__,
    str: _base_str,
    bool: bool,
    float: float.__float__,
    bytes: lambda value: bytes(memoryview(value)),
    Decimal: Decimal,
    UUID: lambda value: UUID(int=value.int),
    date: lambda value: date(value.year, value.month, value.day),
    datetime: _base_datetime,
    time: _base_time,
    timedelta: lambda value: timedelta(value.days, value.seconds, value.microseconds),
}
_NOT_BASES: Final[dict[type, type]] = {int: bool, date: datetime}
# msgspec takes a zone that does not say its offset for UTC, and forgets the seconds in the offset of a time.
ZONES: Final = {datetime: frozenset({type(None), timezone, ZoneInfo}), time: frozenset({type(None)})}
plain_json_text: Final = msgspec.json.Encoder().encode
"""The text of a structure that is known to be JSON and finite: json_text without its check."""
_parse: Final[Callable[[bytes], object]] = msgspec.json.Decoder().decode
