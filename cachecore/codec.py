"""Rows as bytes and back: a database row, typed by its columns, in one msgspec call.

Theory of operation. A row is a tuple of column values and its bytes are the msgpack array of them. The columns'
types are not in the bytes: the decoder is compiled for them, and the fingerprint, which is stored beside the bytes,
says which columns they were written for. That makes a row small and fast to read, and neither rubbish nor a row of
other columns can come out as a row with a value of the wrong type.

msgspec writes whatever it knows without looking at the column (a UUID in a str column becomes a str). So a row
is written straight only if it is exact: each value has precisely its column's type. Any other row is normalised
value by value (a subclass becomes its base) or refused. A row with a value that the typed array has no form for (an int
beyond 64 bits, a datetime of the year 1 east of Greenwich) is stored in the general form of value_codec, behind a byte
with which no msgpack begins.

Some columns hold values that are stored as something else: a json column a structure, as JSON text, so that whatever
the bytes are it comes back as JSON-like; a text column objects of the application, as the text it makes of them. What
is stored, being immutable, is also what a frozen row holds, so no two callers ever share a list, a dict or an object.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, time
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from uuid import UUID

import msgspec

from cachecore.column_values import BASES, ZONES, base_value, json_text
from cachecore.compiled import Implementation, choose
from cachecore.errors import ConfigurationError, CorruptEntry, UnsupportedValue
from cachecore.value_codec import ValueCodec

implementation: Implementation

if TYPE_CHECKING:
    from cachecore._codec_py import decoder, freezer, json_value
else:
    _module, implementation = choose("cachecore._codec_c", "cachecore._codec_py")
    decoder = _module.decoder
    freezer = _module.freezer
    json_value = _module.json_value

Row = tuple[object, ...]

FORMAT: Final = 1
"""The version of the stored form; part of every fingerprint."""

_GENERAL: Final = b"\xc1"
_VALUES: Final = ValueCodec()
_UUID_INT: Final = getsizeof(1 << 127)


class Column(msgspec.Struct, frozen=True):
    """One column of a row."""

    name: str
    type: object
    """int, str, bool, float, bytes, Decimal, UUID, date, datetime, time or timedelta. Only kind scalar looks at it."""
    nullable: bool = True
    """Whether None may stand in it. A json column may always hold None."""
    kind: Literal["scalar", "json", "text"] = "scalar"
    """json: a structure of dict with str keys, list, str, int, float, bool and None. text: objects of the application,
    of which the codec is told how they become text and come back."""


Dump = Callable[[Any], object]
"""A value other than None to what is stored for it, precisely of the stored type, or UnsupportedValue."""
Load = Callable[[Any], object]
"""What is stored to a new value, or CorruptEntry."""


class RowCodec:
    """Stored and shareable forms of the rows of one list of columns."""

    columns: tuple[Column, ...]
    fingerprint: bytes
    """8 bytes that differ for other columns, another order, version or stored form; the same in every process."""
    decode_typed: Callable[[bytes], Row]
    """decode_frozen for those in a hurry: raises any exception for what is not in the plain form."""
    mutable: bool
    """Whether a row holds values that its owner can change, so that a frozen row must be thawed for each reader."""
    loads: tuple[tuple[int, Load], ...]
    """Where in a frozen row something stands for such values, and what makes each from it."""

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        version: int | str | None = None,
        texts: Mapping[str, tuple[Callable[[Any], str], Callable[[str], object]]] | None = None,
    ) -> None:
        """
        columns: in the order of the values in a row.
        version: the application's own mark, to make rows written before a change of meaning unreadable.
        texts: for each text column the function that makes text of a value, raising UnsupportedValue where it cannot,
            and the one that makes an equal value of the text, raising CorruptEntry. None: there is no such column.

        Raises ConfigurationError for a column of another type, two columns of one name, and a text column
        that texts does not tell of.
        """
        self.columns = tuple(columns)
        names = [column.name for column in self.columns]
        for column in self.columns:
            if column.kind == "scalar" and column.type not in BASES:
                raise ConfigurationError(f"column {column.name!r}: the type {column.type!r} has no stored form")
            if names.count(column.name) > 1:
                raise ConfigurationError(f"column {column.name!r} is there {names.count(column.name)} times")
        self.fingerprint = _fingerprint(self.columns, version)
        dumps: list[tuple[int, Dump]] = []
        loads: list[tuple[int, Load]] = []
        for i, column in enumerate(self.columns):
            if column.kind == "json":
                loads.append((i, json_value))
            elif column.kind == "text":
                if column.name not in (texts or {}):
                    raise ConfigurationError(
                        f"column {column.name!r} is of kind text, but texts has no functions for it"
                    )
                dump, load = (texts or {})[column.name]
                dumps.append((i, dump))
                loads.append((i, load))
        self._dumps = dict(dumps)
        self.loads = tuple(loads)
        self.mutable = bool(loads)
        self._types = tuple(_stored_type(column) for column in self.columns)
        self._nullable = tuple(column.nullable or column.kind == "json" for column in self.columns)
        declared = [
            kind | None if nullable else kind for kind, nullable in zip(self._types, self._nullable, strict=True)
        ]
        self._encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode
        typed: msgspec.msgpack.Decoder[Row] = msgspec.msgpack.Decoder(cast("Any", tuple)[tuple(declared)])
        self.decode_typed = decoder(self.columns, typed.decode)
        self._zoned = tuple((i, ZONES[kind]) for i, kind in enumerate(self._types) if kind in ZONES)
        self._freeze_exact = freezer(self.columns, dumps)

    def encode(self, row: Row) -> bytes:
        """The bytes that stand for row.

        decode gives back an equal row of builtin types: a subclass (SafeString, an IntEnum member) comes back as its
        base, bytearray and memoryview as bytes, an int in a float column as that float, an aware datetime as the same
        instant in UTC (in its own fixed offset where UTC would leave the years 1 to 9999).

        Raises UnsupportedValue naming the column and the type for a value that none of that makes faithful: one of
        another type, None in a column that is not nullable, a str with lone surrogates, a json column with anything
        but JSON in it, a row of another length.
        """
        try:
            frozen = self._freeze_exact(row)
            if frozen is not None:
                return self._encode(frozen)
        except (OverflowError, UnicodeEncodeError, UnsupportedValue):
            pass  # the long way stores it, or names the column
        normal = self._normalise(row)
        if self._has_plain_zones(normal):
            try:
                return self._encode(normal)
            except OverflowError:
                pass  # an int beyond 64 bits, or a year that is none in UTC
        return _GENERAL + _VALUES.encode(list(normal))

    def decode(self, data: bytes) -> Row:
        """The row that data stands for. Raises CorruptEntry for anything that is not a row of these columns."""
        return self.thaw(self.decode_frozen(data))

    def decode_frozen(self, data: bytes) -> Row:
        """The row that data stands for, in the frozen form, which takes less time.

        Raises CorruptEntry like decode, but what stands for structures and objects is not looked at yet.
        """
        try:
            return self.decode_typed(data)
        except Exception as error:  # hostile bytes reach many constructors; none may break a read
            if data[:1] == _GENERAL:
                return self._decode_general(data)
            raise CorruptEntry(f"{len(data)} stored bytes are not a row of these columns: {error}") from error

    def freeze(self, row: Row) -> tuple[Row, int]:
        """An immutable form of row that any number of readers may share, and its weight in bytes.

        The frozen row holds the same values, normalised as encode does, and text in place of structures and objects.
        The weight is what the interpreter says of the tuple and of each value in it (sys.getsizeof), and the
        integer in a UUID: an upper estimate, since small ints, None and interned strings exist once for all rows.

        Raises UnsupportedValue as encode does, except that a lone surrogate may stay in a str: no bytes are made of it.
        """
        try:
            frozen = self._freeze_exact(row)
        except (UnicodeEncodeError, UnsupportedValue):
            frozen = None  # the long way names the column
        if frozen is None:
            frozen = self._normalise(row)
        return frozen, self.weigh(frozen)

    def weigh(self, frozen: Row) -> int:
        """The weight of a frozen row in bytes, as freeze counts it."""
        return sum(map(getsizeof, frozen), getsizeof(frozen)) + _UUID_INT * self._types.count(UUID)

    def thaw(self, frozen: Row) -> Row:
        """The row that was frozen, with new structures and objects at each call; itself if the codec is not mutable.

        Raises CorruptEntry if nothing can be made of what stands for one of them.
        """
        if not self.mutable:
            return frozen
        values = list(frozen)
        for i, load in self.loads:
            if values[i] is not None:
                values[i] = load(values[i])
        return tuple(values)

    def _has_plain_zones(self, row: Row) -> bool:
        for i, zones in self._zoned:
            moment = cast("datetime | time | None", row[i])
            if moment is not None and type(moment.tzinfo) not in zones:
                return False
        return True

    def _normalise(self, row: Row) -> Row:
        """The frozen form of a row that may not be exact."""
        if len(row) != len(self.columns):
            raise UnsupportedValue(f"a row of {len(row)} values for {len(self.columns)} columns")
        dumps = self._dumps
        values: list[object] = []
        for i, value in enumerate(row):
            column = self.columns[i]
            try:
                if value is None and self._nullable[i]:
                    values.append(None)
                elif column.kind == "json":
                    values.append(json_text(value))
                else:
                    stored = dumps[i](value) if i in dumps else value
                    values.append(base_value(self._types[i], stored))
            except (ValueError, OverflowError) as error:
                wanted = self._types[i].__name__ if column.kind == "scalar" else column.kind
                raise UnsupportedValue(
                    f"column {column.name!r} ({wanted}): a value of type {type(value).__name__} has no faithful form"
                    f"{': ' if str(error) else ''}{error}"
                ) from None
        return tuple(values)

    def _decode_general(self, data: bytes) -> Row:
        values = _VALUES.decode(data[1:])
        if type(values) is not list:
            raise CorruptEntry(f"{len(data)} stored bytes are not a row of these columns")
        row = tuple(cast("list[object]", values))
        if not self._is_frozen(row):
            raise CorruptEntry(f"{len(data)} stored bytes are a row of other columns")
        return row

    def _is_frozen(self, row: Row) -> bool:
        return len(row) == len(self._types) and all(
            type(value) is kind or (value is None and nullable)
            for value, kind, nullable in zip(row, self._types, self._nullable, strict=True)
        )


def _stored_type(column: Column) -> type:
    if column.kind == "scalar":
        return cast("type", column.type)
    return bytes if column.kind == "json" else str


def _fingerprint(columns: Sequence[Column], version: int | str | None) -> bytes:
    from hashlib import blake2s  # here: it loads OpenSSL, and not everyone who imports this has rows

    digest = blake2s(digest_size=8)
    for column in columns:
        kind = cast("type", column.type).__qualname__ if column.kind == "scalar" else column.kind
        digest.update(ascii((column.name, kind, column.nullable)).encode())
    digest.update(ascii((FORMAT, version)).encode())
    return digest.digest()
