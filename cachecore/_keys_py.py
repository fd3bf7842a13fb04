"""The reference implementation of keys: this module defines the bytes.

A key reads `prefix:entity:digest`. The digest is 32 hexadecimal digits of BLAKE2s (RFC 7693) with a digest of 16
bytes, keyed if there is a secret, over a message that starts with a version byte and goes on with parts:

    version, prefix, entity, then name and value of each field, by the code points of the names

Every part is a tag, a length and that many bytes of payload; the length is base 128, low digits first, the high
bit set on all bytes but the last (LEB128). A reader could take the message apart again without ever guessing,
so two different lists of parts never give the same message:

    tag  value            payload
    n    None             nothing
    b    bool             1 or 0
    i    int              two's complement, high byte first, one bit or more of sign
    s    str              UTF-8
    y    bytes            as they are
    f    float            IEEE 754 double, high byte first; -0.0 as 0.0
    d    Decimal          [-]digits E exponent, without zeros at either end of the digits
    u    UUID             16 bytes, high byte first
    D    date             2024-02-29
    T    time             10:30:00[.000001]
    m    aware datetime   microseconds since 1970-01-01 UTC, as an int
    l    timedelta        microseconds, as an int
    (    tuple            its values as parts; here the length counts values instead of bytes

A row's key under its identity has the same message with None for the name, which no field can have. An int of 64
bits and a UUID without a secret stay readable instead: `prefix:entity:i42`, `prefix:entity:u<32 hex digits>`.
Neither can be mistaken for a digest.

The compiled twin has its own way for what is frequent and calls this module for the rest, so that every error has
one place.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from math import isnan
from re import compile as pattern
from struct import Struct
from typing import Any, TypeAlias, cast, final
from uuid import UUID

from cachecore.errors import ConfigurationError, InvalidKey

KeyValue: TypeAlias = (
    bool
    | int
    | str
    | bytes
    | float
    | Decimal
    | UUID
    | date
    | datetime
    | time
    | timedelta
    | tuple["KeyValue", ...]
    | None
)

VERSION = b"\x01"
DIGEST_SIZE = 16
MAX_KEY = 200
"""Bytes a key may have: below memcached's 250, with room for a backend's own prefix."""
MAX_SECRET = 32
MAX_NESTING = 16
"""How deep tuples may be nested."""
HASHED_TAIL = 2 * DIGEST_SIZE
IDENTITY_TAIL = 1 + 2 * 16
"""The longest readable identity: u and the digits of a UUID."""
ACCEPTED = (
    "None, bool, int, str, bytes, float, Decimal, UUID, date, aware datetime, naive time, timedelta and tuples of these"
)

_PREFIX = pattern(r"[A-Za-z0-9._@/-]{1,64}")
_UNSAFE = pattern(rb"[^A-Za-z0-9._@/-]")
_DOUBLE = Struct(">d").pack
_MINUS_ZERO = _DOUBLE(-0.0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SMALL_LENGTHS = [bytes([number]) for number in range(128)]
_IDENTITY_NAME = b"n\x00"


def make_key(prefix: str, entity: str, fields: Mapping[str, KeyValue], *, secret: bytes | None = None) -> str:
    """The key of one question: these fields of this kind of record have these values.

    prefix, entity, secret: see cachecore.keys; so are the values and what is refused.
    fields: one or more values by field name; their order does not matter.
    Raises InvalidKey and ConfigurationError.
    """
    if fields.__class__ is not dict:
        fields = check_fields(fields)
    for argument in (prefix, entity, *fields):
        if type(argument) is not str:  # a subclass may compare and hash as it likes: never let one into the cache
            return KeyMaker(prefix, entity, tuple(fields), secret=secret)(*fields.values())
    if secret is not None and type(secret) is not bytes:
        secret = check_secret(secret)
    return _maker(prefix, entity, tuple(fields), secret)(*fields.values())


def make_keys(
    prefix: str, entity: str, field: str, values: Iterable[KeyValue], *, secret: bytes | None = None
) -> list[str]:
    """The keys of many values of one field, in their order; each is make_key(prefix, entity, {field: value}).

    values: any iterable but a str or bytes. One that is refused raises InvalidKey for all.
    """
    return KeyMaker(prefix, entity, (field,), secret=secret).many(values)


@final
class KeyMaker:
    """Makes keys for the same fields of the same kind of record: make_key with everything but the values prepared.

    fields: the names, one or more, in the order in which calls give the values. The order does not change the keys.
    prefix, entity, secret: as for make_key. Raises InvalidKey and ConfigurationError.

    Makers may be shared by threads and pickled; a pickle holds the secret.
    """

    __slots__ = ("_entity", "_fields", "_prefix", "_secret", "_segments", "_start", "_text")

    def __init__(self, prefix: str, entity: str, fields: Sequence[str], *, secret: bytes | None = None) -> None:
        if secret is not None:
            secret = check_secret(secret)
        from hashlib import blake2s  # here: it loads OpenSSL, for which the compiled twin has no use

        self._text, start = head(prefix, entity)
        self._prefix, self._entity, self._secret = prefix, entity, secret
        self._fields = check_names(fields)
        (name, part, place), *rest = sorted_names(self._fields)
        self._segments = [(name, b"", place), *rest]  # the first name is in the start already
        self._start = blake2s(start + part, digest_size=DIGEST_SIZE, key=secret or b"")

    @property
    def fields(self) -> tuple[str, ...]:
        """The names as they were given."""
        return self._fields

    def __call__(self, *values: KeyValue) -> str:
        """The key for these values, one for each field, in the order of `fields`."""
        if len(values) != len(self._fields):
            raise wrong_count(self._fields, len(values))
        hasher = self._start.copy()
        for name, part, place in self._segments:
            hasher.update(part + encode(values[place], name))
        return self._text + hasher.hexdigest()

    def many(self, values: Iterable[Any]) -> list[str]:
        """The keys for many values, in their order: values of the one field, or tuples of values of the several."""
        check_batch(values)
        if len(self._fields) == 1:
            return [self(value) for value in values]
        return [self(*check_row(row, self._fields)) for row in values]

    def __reduce__(self) -> tuple[Any, ...]:
        return remake, ("KeyMaker", self._secret, self._prefix, self._entity, self._fields)

    def __repr__(self) -> str:
        return maker_repr("KeyMaker", self._secret, self._prefix, self._entity, self._fields)


@final
class IdentityMaker:
    """Makes the keys of rows under their identity: readable for an int of 64 bits or a UUID, hashed for all else.

    With a secret every key is hashed. No identity shares a key with a lookup by field.
    prefix, entity, secret: as for make_key. Raises InvalidKey and ConfigurationError.

    Makers may be shared by threads and pickled; a pickle holds the secret.
    """

    __slots__ = ("_entity", "_prefix", "_readable", "_secret", "_start", "_text")

    def __init__(self, prefix: str, entity: str, *, secret: bytes | None = None) -> None:
        if secret is not None:
            secret = check_secret(secret)
        from hashlib import blake2s  # here: as above

        self._text, start = head(prefix, entity, IDENTITY_TAIL)
        self._prefix, self._entity, self._secret = prefix, entity, secret
        self._readable = secret is None
        self._start = blake2s(start + _IDENTITY_NAME, digest_size=DIGEST_SIZE, key=secret or b"")

    def __call__(self, identity: KeyValue, /) -> str:
        """The key of the row with this identity."""
        if self._readable:
            readable = readable_identity(identity)
            if readable is not None:
                return self._text + readable
        hasher = self._start.copy()
        hasher.update(encode(identity, "identity"))
        return self._text + hasher.hexdigest()

    def many(self, identities: Iterable[KeyValue]) -> list[str]:
        """The keys of many rows, in the order of their identities."""
        check_batch(identities)
        return [self(identity) for identity in identities]

    def __reduce__(self) -> tuple[Any, ...]:
        return remake, ("IdentityMaker", self._secret, self._prefix, self._entity)

    def __repr__(self) -> str:
        return maker_repr("IdentityMaker", self._secret, self._prefix, self._entity)


@lru_cache(maxsize=256)
def _maker(prefix: str, entity: str, fields: tuple[str, ...], secret: bytes | None) -> KeyMaker:
    return KeyMaker(prefix, entity, fields, secret=secret)


def head(prefix: str, entity: str, tail: int = HASHED_TAIL) -> tuple[str, bytes]:
    """The start of the readable key, ending in a colon, and of the message.

    tail: how many characters can follow, for the limit on the length.
    """
    prefix, entity = _plain_text("prefix", prefix), _plain_text("entity", entity)
    if _PREFIX.fullmatch(prefix) is None:
        raise InvalidKey(f"prefix must be 1 to 64 ASCII letters, digits or any of . _ - / @, not {prefix!r}")
    if not entity:
        raise InvalidKey("entity must not be empty")
    name = _utf8(entity, "entity")
    escaped = _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], name).decode("ascii")
    text = f"{prefix}:{escaped}:"
    if len(text) + tail > MAX_KEY:
        raise InvalidKey(
            f"a key of prefix {prefix!r} and entity {entity!r} has up to {len(text) + tail} bytes, more than {MAX_KEY}"
        )
    return text, VERSION + _part(b"s", prefix.encode("ascii")) + _part(b"s", name)


def sorted_names(names: Iterable[str]) -> list[tuple[str, bytes, int]]:
    """Each name, its part of the message and its place among the names, in the order of the message."""
    found = [_name(name, place) for place, name in enumerate(names)]
    if len(found) > 1:
        found.sort()
        for (name, _, _), (following, _, _) in pairwise(found):
            if name == following:
                raise InvalidKey(f"field {name!r} is named twice")
    return found


def _name(name: str, place: int) -> tuple[str, bytes, int]:
    if type(name) is not str:
        name = _plain_text("a field's name", name)
    if not name:
        raise InvalidKey("a field's name must not be empty")
    return name, _part(b"s", _utf8(name, f"the name {name!r}")), place


def encode(value: object, field: str, nesting: int = 0) -> bytes:
    """One value as a part of the message.

    field: the name that errors say.
    nesting: how many tuples the value is in.
    """
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        encoder = next((_ENCODERS[base] for base in type(value).__mro__ if base in _ENCODERS), _refuse)
    return encoder(value, field, nesting)


# The encoders call the methods of the base types: a subclass counts as its base value whatever it overrides.


def _none(value: None, field: str, nesting: int) -> bytes:
    return b"n\x00"


def _bool(value: bool, field: str, nesting: int) -> bytes:
    return b"b\x01\x01" if value else b"b\x01\x00"


def _int(value: int, field: str, nesting: int) -> bytes:
    return _part(b"i", _twos_complement(value))


def _str(value: str, field: str, nesting: int) -> bytes:
    return _part(b"s", _utf8(value, f"field {field!r}"))


def _bytes(value: bytes, field: str, nesting: int) -> bytes:
    return _part(b"y", bytes.__getitem__(value, slice(None)))


def _float(value: float, field: str, nesting: int) -> bytes:
    if isnan(value):
        raise InvalidKey(f"field {field!r}: NaN equals nothing, so no key can stand for it")
    payload = _DOUBLE(value)
    return b"f\x08" + (b"\x00" * 8 if payload == _MINUS_ZERO else payload)


def _decimal(value: Decimal, field: str, nesting: int) -> bytes:
    sign, digits, exponent = Decimal.as_tuple(value)
    minus = "-" if sign else ""
    if exponent in ("n", "N"):
        raise InvalidKey(f"field {field!r}: NaN equals nothing, so no key can stand for it")
    if not isinstance(exponent, int):
        return _part(b"d", f"{minus}Infinity".encode())
    figures = "".join(map(str, digits))
    kept = figures.rstrip("0")
    text = f"{minus}{kept}E{exponent + len(figures) - len(kept)}" if kept else "0E0"
    return _part(b"d", text.encode())


def _uuid(value: UUID, field: str, nesting: int) -> bytes:
    return b"u\x10" + value.int.to_bytes(16, "big")


def _datetime(value: datetime, field: str, nesting: int) -> bytes:
    if datetime.utcoffset(value) is None:
        raise InvalidKey(
            f"field {field!r}: a naive datetime does not name an instant, give {datetime.isoformat(value)} a tzinfo"
        )
    return _part(b"m", _twos_complement(datetime.__sub__(value, _EPOCH) // _MICROSECOND))


def _date(value: date, field: str, nesting: int) -> bytes:
    return _part(b"D", date.isoformat(value).encode())


def _time(value: time, field: str, nesting: int) -> bytes:
    if value.tzinfo is not None:
        raise InvalidKey(
            f"field {field!r}: a time with a tzinfo does not name an instant, only a naive time is accepted"
        )
    return _part(b"T", time.isoformat(value).encode())


def _timedelta(value: timedelta, field: str, nesting: int) -> bytes:
    return _part(b"l", _twos_complement(timedelta.__floordiv__(value, _MICROSECOND)))


def _tuple(value: tuple[object, ...], field: str, nesting: int) -> bytes:
    if nesting == MAX_NESTING:
        raise InvalidKey(f"field {field!r}: tuples are nested deeper than {MAX_NESTING} levels")
    plain = tuple[object, ...].__getitem__(value, slice(None))
    return b"(" + _length(len(plain)) + b"".join([encode(item, field, nesting + 1) for item in plain])


def _refuse(value: object, field: str, nesting: int) -> bytes:
    kind = type(value)
    raise InvalidKey(
        f"field {field!r}: a value of type {kind.__module__}.{kind.__qualname__} cannot be part of a key; "
        f"accepted are {ACCEPTED}"
    )


_ENCODERS: dict[type, Callable[[Any, str, int], bytes]] = {
    type(None): _none,
    bool: _bool,
    int: _int,
    str: _str,
    bytes: _bytes,
    float: _float,
    Decimal: _decimal,
    UUID: _uuid,
    datetime: _datetime,
    date: _date,
    time: _time,
    timedelta: _timedelta,
    tuple: _tuple,
}


def _part(tag: bytes, payload: bytes) -> bytes:
    return tag + _length(len(payload)) + payload


def _length(number: int) -> bytes:
    if number < 128:
        return _SMALL_LENGTHS[number]
    return bytes([number & 127 | 128]) + _length(number >> 7)


def _twos_complement(number: int) -> bytes:
    return int.to_bytes(number, (int.bit_length(number) + 8) // 8, "big", signed=True)


def _utf8(text: str, where: str) -> bytes:
    try:
        return str.encode(text)
    except UnicodeEncodeError as error:
        raise InvalidKey(f"{where}: the str has no UTF-8 form, character {error.start} is a lone surrogate") from None


def _plain_text(what: str, text: object) -> str:
    if not issubclass(type(text), str):
        raise InvalidKey(f"{what} must be a str, not {type(text).__name__}")
    return str.__str__(cast(str, text))


def readable_identity(identity: object) -> str | None:
    """The readable end of an identity's key, or None if this identity is to be hashed."""
    kind = type(identity)
    if issubclass(kind, int) and kind is not bool:
        number = int.__index__(cast(int, identity))
        return f"i{number}" if -(1 << 63) <= number < 1 << 63 else None
    return f"u{cast(UUID, identity).int:032x}" if issubclass(kind, UUID) else None


def check_secret(secret: object) -> bytes:
    """The secret, if it is one; its value is never part of a message."""
    if not isinstance(secret, bytes):
        raise ConfigurationError(f"secret must be bytes or None, not {type(secret).__name__}")
    secret = bytes.__getitem__(secret, slice(None))
    if not 1 <= len(secret) <= MAX_SECRET:
        raise ConfigurationError(f"secret must have 1 to {MAX_SECRET} bytes, not {len(secret)}")
    return secret


def check_fields(fields: object) -> dict[str, KeyValue]:
    """A mapping that is not a plain dict as one."""
    if not isinstance(fields, Mapping):
        raise InvalidKey(f"fields must be a mapping of names to values, not {type(fields).__name__}")
    mapping = cast(Mapping[str, KeyValue], fields)
    return {name: mapping[name] for name in mapping}


def check_names(fields: object) -> tuple[str, ...]:
    """The names of a maker's fields as a tuple."""
    if isinstance(fields, str):
        raise InvalidKey(f"fields must be a sequence of names, not the single str {fields!r}")
    names = tuple(cast(Sequence[str], fields))
    if not names:
        raise InvalidKey("fields is empty: a key stands for the value of at least one field")
    return names


def check_batch(values: object) -> None:
    """Refuse a str or bytes, which are iterable but hardly ever meant as a batch."""
    if isinstance(values, str | bytes):
        raise InvalidKey(f"values must be an iterable of values, not one {type(values).__name__}")


def check_row(row: object, fields: tuple[str, ...]) -> tuple[KeyValue, ...]:
    """One element of a batch for several fields."""
    if not isinstance(row, tuple):
        raise InvalidKey(f"fields {fields!r} take a tuple of {len(fields)} values, not {type(row).__name__}")
    return cast(tuple[KeyValue, ...], row)


def wrong_count(fields: tuple[str, ...], given: int) -> InvalidKey:
    """The error for a number of values that is not the number of fields."""
    return InvalidKey(f"fields {fields!r} take {len(fields)} values, not {given}")


def remake(kind: str, secret: bytes | None, *arguments: Any) -> Any:
    """A maker out of a pickle, in whichever implementation this process uses."""
    from cachecore import keys

    return getattr(keys, kind)(*arguments, secret=secret)


def maker_repr(kind: str, secret: bytes | None, *arguments: object) -> str:
    """The repr of a maker, which keeps its secret."""
    shown = ", ".join(map(repr, arguments))
    return f"{kind}({shown}, secret=<hidden>)" if secret is not None else f"{kind}({shown})"
