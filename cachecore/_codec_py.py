"""The pure Python twin of _codec_c: what makes the frozen form of an exact row, and what reads stored rows."""

from collections.abc import Callable, Sequence
from datetime import datetime, time
from typing import TYPE_CHECKING, Any, Final, cast

from cachecore.column_values import ZONES, json_text, json_value

if TYPE_CHECKING:
    from cachecore.codec import Column, Dump, Row

__all__ = ["decoder", "freezer", "json_value"]

_SIGNATURES: Final = 256  # remembered combinations of types in a row; there are as many as columns are null together


def freezer(columns: "Sequence[Column]", texts: "Sequence[tuple[int, Dump]]") -> "Callable[[Row], Row | None]":
    """The function that makes the frozen row of an exact row: the same row, with text for structures and objects.

    It answers None where it is not sure that the row is exact: for a value that is neither None in a nullable column
    nor precisely of its column's type, for a datetime whose tzinfo is neither None, a timezone nor a ZoneInfo, for a
    time with a tzinfo, and for what is not in the narrowest sense a structure of JSON in a json column. What is in a
    text column does not matter. It raises UnsupportedValue and UnicodeEncodeError for a structure without faithful
    text, and what the functions raise.

    texts: the places of the text columns and the functions that make text of what is in them.
    """
    return _Freezer(columns, texts).freeze


def decoder(columns: "Sequence[Column]", typed: "Callable[[bytes], Row]") -> "Callable[[bytes], Row]":
    """A function that decodes precisely as the given one does, in its results and in what it raises, and no slower.

    columns: of the rows.
    typed: decodes the msgpack array of a row, as msgspec does for these columns.
    """
    return typed


class _Freezer:
    def __init__(self, columns: "Sequence[Column]", texts: "Sequence[tuple[int, Dump]]") -> None:
        self._types = tuple(column.type if column.kind == "scalar" else None for column in columns)
        self._nullable = tuple(column.nullable or column.kind == "json" for column in columns)
        kinds: tuple[Any, ...] = self._types
        self._zoned = tuple((i, ZONES[kind]) for i, kind in enumerate(kinds) if kind in ZONES)
        structures = ((i, json_text) for i, column in enumerate(columns) if column.kind == "json")
        self._dumps: tuple[tuple[int, Callable[[Any], object]], ...] = (*structures, *texts)
        self._signatures: set[tuple[type, ...]] = set()

    def freeze(self, row: "Row") -> "Row | None":
        """See freezer; json_text itself compares what it wrote with what it got."""
        signature = tuple(map(type, row))
        if signature not in self._signatures and not self._admit(signature):
            return None
        for i, zones in self._zoned:
            moment = cast("datetime | time | None", row[i])
            if moment is not None and type(moment.tzinfo) not in zones:
                return None
        if not self._dumps:
            return row
        values = list(row)
        for i, dump in self._dumps:
            if values[i] is not None:
                values[i] = dump(values[i])
        return tuple(values)

    def _admit(self, signature: tuple[type, ...]) -> bool:
        """Whether values of these types make an exact row; remembered if so."""
        if len(signature) != len(self._types):
            return False
        for kind, expected, nullable in zip(signature, self._types, self._nullable, strict=True):
            if not (nullable if kind is type(None) else expected in (None, kind)):
                return False
        if len(self._signatures) < _SIGNATURES:
            self._signatures.add(signature)
        return True
