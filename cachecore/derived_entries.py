"""The stored forms of lists and of missing entries: (values asked for, identities or None).

They stand under the epoch and the schema of the rows. The values are in them, so that an entry of another list, however
it came under the key, is never believed.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

from cachecore import lists
from cachecore.coherence import Subject
from cachecore.entity import Entity, Row
from cachecore.errors import CorruptEntry, UncacheableLookup, UnsupportedValue
from cachecore.lists import ListSubject
from cachecore.value_codec import ValueCodec

Names = tuple[str, ...]

_CODEC = ValueCodec()


def absence_entries(entity: Entity, rows: Subject, names: Names, *, keeps_objects: bool) -> Subject:
    """What the protocol needs to know of entries that say that a lookup by these columns has no row."""

    def checked(stored: object) -> None:
        if stored is not None:
            raise ValueError("it says something else")

    return _subject(entity, rows, names, keeps_objects, content=lambda _: None, checked=checked)


def list_entries(entity: Entity, rows: Subject, names: Names, *, keeps_objects: bool) -> ListSubject:
    """What the protocol needs to know of the lists by these columns."""

    def values_of(row: Row) -> Row:
        return entity.values_of(row, names)

    def content(answer: Row) -> tuple[Any, ...]:
        asked, _, found = cast("tuple[Row, None, list[Row]]", answer)
        if len(found) > lists.LIST_LIMIT:
            raise UnsupportedValue(f"a list of {len(found)} rows is not stored, {lists.LIST_LIMIT} is the limit")
        if any(values_of(row) != asked for row in found):
            raise UnsupportedValue(f"the database takes other values for equal to {asked!r}: the list is not stored")
        try:
            return tuple(entity.typed_identities([entity.identity_of(row) for row in found]))
        except UncacheableLookup as error:
            raise UnsupportedValue(str(error)) from error

    def checked(stored: object) -> tuple[Any, ...]:
        identities = tuple(entity.typed_identities(_tuple(stored)))
        entity.key.many(identities)  # raises InvalidKey for what cannot be an identity
        return identities

    def keys_for(identities: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(entity.key.many(identities), identities, strict=True))

    entries = _subject(entity, rows, names, keeps_objects, content=content, checked=checked)
    return ListSubject(rows=rows, entries=entries, keys_for=keys_for, values_of=values_of)


def _subject(
    entity: Entity,
    rows: Subject,
    names: Names,
    keeps_objects: bool,
    *,
    content: Callable[[Row], object],
    checked: Callable[[object], object],
) -> Subject:
    """The subject of entries about the values of ``names``, which share the epoch and the schema of the rows.

    content: from what was read, a tuple that begins with the values, to what is stored beside them. checked: from that
    to what stands in the tuple that a hit gives; raises ValueError for what cannot be true.
    """

    def dump(answer: Row) -> tuple[object, int]:
        stored = (answer[0], content(answer))
        data = _CODEC.encode(stored)
        return stored if keeps_objects else data, len(data)

    def load(payload: Any) -> Row:
        try:
            asked, stored = _tuple(payload if keeps_objects else _CODEC.decode(payload))
            return entity.typed(names, _tuple(asked)), checked(stored)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise CorruptEntry(f"no entry of {entity.name} by {'+'.join(names)}: {error}") from error

    return Subject(
        name=rows.name,
        policy=rows.policy,
        epoch_key=rows.epoch_key,
        fingerprint=rows.fingerprint,
        dump=dump,
        load=load,
        identity_of=lambda answer: answer[0],
    )


def _tuple(stored: Any) -> tuple[Any, ...]:
    if type(stored) is not tuple:
        raise ValueError(f"{type(stored).__name__} in place of a tuple")
    return stored  # pyright: ignore[reportUnknownVariableType]
