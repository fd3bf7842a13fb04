"""What a fuzz target is, and what its assertions share."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from math import isnan
from typing import Any

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Target:
    """One reader of bytes, and what must hold for any bytes."""

    name: str
    check: Callable[[bytes], str]
    """Feeds an input to the reader and says in a word or two how it came out. Raises for what must never happen."""
    seeds: tuple[bytes, ...]
    """Inputs that reach deep, from which the engines go on."""
    outcomes: frozenset[str]
    """How inputs can come out. The kept corpus reaches every one, so that no check is idle."""


def canonical(value: Any, *, instants: bool = False) -> object:
    """Something that is equal for two values exactly if they are the same to their reader, types included.

    Differs from ``==`` in what that confuses (1, 1.0 and True; aware datetimes of one instant) and in what it never
    finds equal (NaN), and it never raises as the comparison of a signaling NaN does. ``instants``: but aware datetimes
    of one instant, and readings that differ in ``fold``, are the same.
    """
    kind = type(value)
    name = kind.__name__
    if kind in (list, tuple):
        return name, tuple(canonical(item, instants=instants) for item in value)
    if kind is dict:
        return name, tuple((canonical(key), canonical(item)) for key, item in value.items())
    if kind in (set, frozenset):
        return name, tuple(sorted(repr(canonical(item)) for item in value))
    if kind is float:
        return name, "nan" if isnan(value) else value.hex()
    if kind is datetime and instants and value.tzinfo is not None:
        return name, str(value - EPOCH)
    if kind in (datetime, time):
        return name, value.replace(tzinfo=None).isoformat(), value.utcoffset(), 0 if instants else value.fold
    if kind is date:
        return name, value.isoformat()
    return name, str(value) if kind is not str else value


def edited(data: bytes, script: bytes) -> bytes:
    """``data`` after small edits that ``script`` describes in three bytes each: what to do, where, with which byte."""
    result = bytearray(data)
    for what, where, byte in zip(script[::3], script[1::3], script[2::3], strict=False):
        place = where % (len(result) + 1)
        if what % 4 == 0:
            result[place : place + 1] = bytes([byte])
        elif what % 4 == 1:
            result[place:place] = bytes([byte])
        elif what % 4 == 2:
            del result[place : place + 1 + byte % 8]
        else:
            del result[place:]
    return bytes(result)
