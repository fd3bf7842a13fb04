"""The model world of the explorer: a database of versioned rows, and one entry of a cache at a time.

The database is a list of commits; the first holds the rows to begin with. A version of a row is the tuple
(identity, label, slug), its label unique; a row that does not exist is a version whose slug is None. A statement
is atomic and sees what is committed and what its own transaction wrote.

A cache operation on several keys is several parts, one for each key, since keys are atomic one by one. A part is
carried out on what stands under its key by the functions of `cachecore.entries`; ``Rules`` may replace some of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cachecore import entries
from cachecore.entries import Entry, Hold, Unusable, Value
from cachecore.operations import (
    Abandon,
    Acquire,
    Complete,
    Displace,
    Fill,
    Forget,
    Get,
    Operation,
    PlaceHold,
    Put,
    Release,
)

Version = tuple[int, str, str | None]
"""(identity, label, slug); a slug of None says that there is no such row."""
Commits = tuple[tuple[Version, ...], ...]

Noted = tuple[int, tuple[str, ...]]
"""A row of the journal: (who wrote it, keys)."""

NOW, LIVING, EXPIRED = 1.0, 2.0, 0.0
"""Time stands still: a deadline is either ahead or past."""


# -- what actors may ask for, beyond the operations of the protocol ----------------------------------


class Write(Operation, frozen=True):
    """Lock rows and write them in one's transaction. Reply: None. Waits for whoever has locked them."""

    versions: tuple[Version, ...]


class Commit(Operation, frozen=True):
    """Commit. Reply: None, or CommitUnknown is thrown."""


class Rollback(Operation, frozen=True):
    """Roll back. Reply: None."""


class Statement(Operation, frozen=True):
    """Write rows in autocommit. Reply: None, or CommitUnknown is thrown."""

    versions: tuple[Version, ...]


class Snapshot(Operation, frozen=True):
    """Begin a REPEATABLE READ transaction: reads see the database of this moment until it ends. Reply: None."""


class Send(Operation, frozen=True):
    """Send an operation of the cache without awaiting its reply: it is carried out at any time. Reply: None."""

    operation: Operation


class Add(Operation, frozen=True):
    """Store a value where nothing stands: what naive caches do. Reply: list of bool."""

    key: str
    value: Value


class Announce(Operation, frozen=True):
    """Note keys in the journal and commit that at once. Reply: None.

    pending: the row announces a statement that is yet to be sent, and is to be kept until that has ended.
    """

    keys: Sequence[str]
    pending: bool


class Settle(Operation, frozen=True):
    """One's statement has ended: what one has announced is pending no more. Reply: None."""


class ReadJournal(Operation, frozen=True):
    """Read the journal. Reply: list of its committed rows, as (writer, keys, whether the row may be deleted)."""


class DeleteNotes(Operation, frozen=True):
    """Delete these rows of the journal, whoever has deleted them before. Reply: None."""

    rows: Sequence[Noted]


class Acknowledged(Operation, frozen=True):
    """The caller who wrote these versions regains control after COMMIT."""

    versions: tuple[Version, ...]


class Returned(Operation, frozen=True):
    """A read outside transactions ends with these rows. ``asked`` is the slug, if the read was by slug.

    listed: whether all rows with that slug were asked for.
    """

    found: Mapping[int, tuple[object, ...] | None]
    asked: str | None = None
    listed: bool = False


class Own(Operation, frozen=True):
    """A read within one's transaction returned these rows; with ``asked`` these are all that have this slug."""

    found: Mapping[int, tuple[object, ...] | None]
    asked: str | None = None


CHECKS = (Acknowledged, Returned, Own)


class CommitUnknown(Exception):
    """The connection broke in COMMIT: it may have happened or not."""


# -- the database ----------------------------------------------------------------------------------


def contents(commits: Commits) -> dict[int, Version]:
    """The rows after these commits, by identity."""
    return {version[0]: version for commit in commits for version in commit}


def row_of(version: Version) -> tuple[object, ...] | None:
    """What a statement returns for it."""
    return None if version[2] is None else version


# -- the cache -------------------------------------------------------------------------------------

Part = tuple[Any, ...]
"""(name of the transition, key, arguments)."""

Transition = tuple[Entry | None, Any]
"""(the entry afterwards, the reply)."""

SILENT = (Abandon, PlaceHold, Complete, Release)
"""Operations whose reply is None."""


@dataclass(frozen=True)
class Rules:
    """The transitions of `cachecore.entries`; a control replaces one of them."""

    acquired: Callable[..., Transition] = entries.acquired
    displaced: Callable[..., Transition] = entries.displaced
    filled: Callable[..., Transition] = entries.filled
    abandoned: Callable[..., Entry | None] = entries.abandoned
    held: Callable[..., Entry | None] = entries.held
    completed: Callable[..., Entry | None] = entries.completed
    released: Callable[..., Entry | None] = entries.released
    incarnations: bool = True
    """Whether another incarnation's bytes are nothing."""

    def apply(self, part: Part, entry: Entry | None) -> Transition:
        """(the entry afterwards, the reply)."""
        match part:
            case ("acquire", _, token):
                return self.acquired(entry, token, NOW)
            case ("displace", _, seen, token):
                return self.displaced(entry, seen, token, NOW)
            case ("fill", _, token, value):
                return self.filled(entry, token, value)
            case ("abandon", _, token):
                return self.abandoned(entry, token), None
            case ("hold", _, token):
                return self.held(entry, token, LIVING, NOW), None
            case ("complete", _, token, value):
                return self.completed(entry, token, NOW, value), None
            case ("release", _, token):
                return self.released(entry, token, NOW), None
            case ("get", _):
                return entry, entries.standing(entry, NOW)
            case ("put", _, value):
                return value, True
            case ("add", _, value):
                return (value, True) if entry is None else (entry, False)
            case ("forget", _):
                return None, entry is not None
            case _:
                raise AssertionError(part)


SHIPPED = Rules()
"""Nothing replaced."""


def parts_of(operation: Operation) -> Sequence[Part]:
    """The parts of an operation of the cache; none for any other."""
    match operation:
        case Acquire(keys, token):
            return [("acquire", key, token) for key in keys]
        case Displace(seen, token):
            return [("displace", key, entry, token) for key, entry in seen]
        case Fill(items):
            return [("fill", key, token, value) for key, token, value, _ in items]
        case Abandon(leases):
            return [("abandon", key, token) for key, token in leases]
        case PlaceHold(keys, token):
            return [("hold", key, token) for key in keys]
        case Complete(keys, token, values):
            return [("complete", key, token, values[key][0] if key in values else None) for key in keys]
        case Release(keys, token):
            return [("release", key, token) for key in keys]
        case Get(keys):
            return [("get", key) for key in keys]
        case Put(items):
            return [("put", key, value) for key, value, _ in items]
        case Forget(keys):
            return [("forget", key) for key in keys]
        case Add(key, value):
            return [("add", key, value)]
        case _:
            return ()


def decayed(entry: Entry | None) -> list[tuple[str, str, Entry | None]]:
    """(budget, what happened, entry afterwards): everything that may befall an entry by itself."""
    if entry is None:
        return [("garbage", "rubbish appears", Unusable("corrupt", b"?"))]
    if not isinstance(entry, Hold):
        return [("evict", "evicted", None), ("garbage", "overwritten by rubbish", Unusable("corrupt", b"?"))]
    fates: list[tuple[str, str, Entry | None]] = [("lose", "hold evicted", None)]
    for index, (token, deadline) in enumerate(entry.tokens):
        if deadline == LIVING:
            tokens = (*entry.tokens[:index], (token, EXPIRED), *entry.tokens[index + 1 :])
            fates.append(("lose", f"hold of {token.decode().strip()} expires", Hold(tokens, entry.shared)))
    return fates
