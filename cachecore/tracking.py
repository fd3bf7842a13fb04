"""What an instance's tracked fields held when it was last in step with the database, and what differs now.

A snapshot is a plain tuple that lies on the instance itself: no registry and no weak references, so twins, copies,
pickles and other threads each have their own. It is taken from the instance's ``__dict__`` and never by getattr:
looking at a deferred field would ask the database.

Tracking makes invalidation cleaner and never right: the protocol does not need old values.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from enum import Enum
from operator import itemgetter
from typing import Final

Snapshot = tuple[object, ...]
"""The values of the tracked fields, in the order of their names."""


class Missing(Enum):
    """The type of `MISSING`. An enum, so that a pickled snapshot still holds the one member."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""Stands in a snapshot for a field that was deferred or absent."""


def taker(names: Sequence[str], *, immutable: bool = False) -> Callable[[Mapping[str, object]], Snapshot]:
    """The function that takes a snapshot of the fields ``names`` from an instance's ``__dict__``. Make it once a model.

    A value that cannot be hashed, such as a dict or list, is copied deeply, so that changing it in place is seen.
    ``immutable`` states that no field has such values, and saves the look.
    """
    if not names:
        return lambda mapping: ()
    if immutable and len(names) > 1:
        return _unseen(names)
    if len(names) == 1:
        [only] = names
        return lambda mapping: (_private(mapping.get(only, MISSING)),)
    pick: Callable[[Mapping[str, object]], Snapshot] = itemgetter(*names)

    def take(mapping: Mapping[str, object]) -> Snapshot:
        try:
            values = pick(mapping)
            hash(values)  # cheaper than a look at each type
        except (KeyError, TypeError):
            return tuple([_private(mapping.get(name, MISSING)) for name in names])
        return values

    return take


def _unseen(names: Sequence[str]) -> Callable[[Mapping[str, object]], Snapshot]:
    pick: Callable[[Mapping[str, object]], Snapshot] = itemgetter(*names)

    def take(mapping: Mapping[str, object]) -> Snapshot:
        try:
            return pick(mapping)
        except KeyError:
            return tuple([mapping.get(name, MISSING) for name in names])

    return take


def changed(before: Snapshot | None, names: Sequence[str], mapping: Mapping[str, object]) -> tuple[str, ...]:
    """The fields whose value in ``mapping`` differs from the snapshot.

    Nothing differs from a snapshot that was never taken (None: an unsaved instance), and a field that is missing on
    either side is not known to differ.
    """
    if before is None:
        return ()
    now = [mapping.get(name, MISSING) for name in names]
    return tuple([name for name, then, value in zip(names, before, now, strict=True) if _differs(then, value)])


def old(before: Snapshot | None, names: Sequence[str], name: str) -> object:
    """The value of one field in the snapshot; None without a snapshot and for a field missing there or not tracked."""
    if before is None or name not in names:
        return None
    value = before[names.index(name)]
    return None if value is MISSING else _private(value)


def _private(value: object) -> object:
    """A value that nobody else can change in place."""
    try:
        hash(value)
    except TypeError:
        return deepcopy(value)
    return value


def _differs(one: object, other: object) -> bool:
    if one is other or one is MISSING or other is MISSING:
        return False
    return bool(one != other)
