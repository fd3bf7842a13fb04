"""That a lookup has no row, remembered coherently. Flows, like those of `cachecore.coherence`.

Theory of operation
-------------------
"No row has the slug x" cannot be verified by any row, so it is an entry like a row: under a coherent key made of the
lookup's values, with leases, holds, the epoch and all rules. Whoever gives a row that slug holds the key
(`cachecore.derived`). A row that loses the slug needs no hold: the entry was not there while the row was.

Only absence is stored here. That the lookup is row 5 stands in its pointer, which the row verifies; the key's lease is
given back when the database has found a row.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import msgspec

from cachecore.coherence import Row, Subject, fetch
from cachecore.entries import Entry, Value
from cachecore.errors import CorruptEntry
from cachecore.operations import Operation, Query

Asked = tuple[object, ...]
"""The values of a lookup as they were asked for."""


class Absence(msgspec.Struct, frozen=True):
    """Where it stands that one lookup has no row."""

    key: str
    token: bytes
    """Random, this call's own, and another than that for the row."""
    subject: Subject


def absence_of(asked: Asked) -> Row:
    """What is stored for a lookup without a row."""
    return asked, None


def is_missing(absence: Absence, asked: Asked, epoch: Entry | None, entry: Entry | None) -> bool:
    """Whether what stands under the keys of the epoch and of the absence says that there is no row."""
    subject = absence.subject
    if not isinstance(entry, Value):
        return False
    stamp = subject.fingerprint
    if subject.epoch_key is not None:
        if not isinstance(epoch, Value):
            return False
        stamp = epoch.stamp + stamp
    try:
        return entry.stamp == stamp and subject.identity_of(subject.load(entry.payload)) == asked
    except CorruptEntry:
        return False


def ask_unless_missing(
    absence: Absence, asked: Asked, *, may_fill: bool, written: Callable[[str], bool]
) -> Generator[Operation, Any, tuple[Any, Row] | None]:
    """(identity, row) of a lookup by a Query, or None: it has none, as the cache or the database says."""
    found: tuple[Any, Row] | None = None

    def read(_: Sequence[Asked]) -> Generator[Operation, Any, Mapping[Asked, Row]]:
        nonlocal found
        found = yield Query(asked)
        return {asked: absence_of(asked)} if found is None else {}

    yield from fetch(
        absence.subject, {absence.key: asked}, absence.token, may_fill=may_fill, written=written, read=read
    )
    return found


def ask_many_unless_missing(
    absences: Mapping[Asked, Absence],
    ask: Callable[[Sequence[Asked]], Generator[Operation, Any, dict[Asked, tuple[Any, Row]]]],
    *,
    may_fill: bool,
    written: Callable[[str], bool],
) -> Generator[Operation, Any, dict[Asked, tuple[Any, Row]]]:
    """The same for many lookups of the same columns: values to (identity, row). ``ask`` asks the database for some."""
    found: dict[Asked, tuple[Any, Row]] = {}

    def read(wanted: Sequence[Asked]) -> Generator[Operation, Any, Mapping[Asked, Row]]:
        found.update((yield from ask(wanted)))
        return {asked: absence_of(asked) for asked in wanted if asked not in found}

    one = next(iter(absences.values()))
    keys = {absence.key: asked for asked, absence in absences.items()}
    yield from fetch(one.subject, keys, one.token, may_fill=may_fill, written=written, read=read)
    return found
