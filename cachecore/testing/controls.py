"""The shipped protocol with one rule dropped at a time, which must break a promise: so is seen what the rule is for.

A rule is dropped without changing the shipped code: by another transition of the cache (`Rules`), or by a filter
between a shipped flow and the world. The controls of R7 are in `cachecore.testing.journals`. R9 and R11 concern the
backends; no flow can break them by itself.
"""

from collections.abc import Callable, Generator
from typing import Any

from cachecore import entries
from cachecore.coherence import abandon_write, begin_write, fetch, finish_write
from cachecore.entries import TOKEN_BYTES, Entry, Hold, Value
from cachecore.operations import Complete, Fill, Get, Operation, PlaceHold
from cachecore.testing.actors import EPOCH, Flow, finder, key_of, token, value
from cachecore.testing.lookers import looker
from cachecore.testing.model import (
    Acknowledged,
    Commit,
    CommitUnknown,
    Own,
    Rollback,
    Rules,
    Send,
    Snapshot,
    Statement,
    Version,
    Write,
)
from cachecore.testing.program import Filter, filtered
from cachecore.testing.scene import Actor
from cachecore.testing.scenes import (
    AUTO,
    BULK,
    BULK_THEN,
    EPOCHAL,
    LOOKS,
    OLD_EPOCH,
    ROW,
    ROW_WRITER,
    SWAP,
    THROUGH,
    TWO,
    W1,
    W2,
    WAITING,
    Case,
    readers,
    returning,
    stage,
    writing,
)

KEY = key_of(1)
Replies = Generator[Operation, Any, Any]

# -- other transitions -----------------------------------------------------------------------------


def fill_any(entry: Entry | None, token: bytes, value: Value) -> tuple[Entry | None, bool]:
    """R1: store the value whatever stands there."""
    return value, True


def hold_alone(entry: Entry | None, token: bytes, deadline: float, now: float) -> Hold:
    """R4: a hold has room for one writer, the last."""
    return Hold(((token, deadline),))


def complete_any(entry: Entry | None, token: bytes, now: float, value: Value | None = None) -> Value | None:
    """R5: end others' part in the hold as well."""
    return value


def complete_only_own(entry: Entry | None, token: bytes, now: float, value: Value | None = None) -> Entry | None:
    """R5: leave alone what stands in place of a lost hold."""
    return entries.released(entry, token, now)


def complete_shared(entry: Entry | None, token: bytes, now: float, value: Value | None = None) -> Entry | None:
    """R5: take a hold for one's own if only oneself is left in it."""
    alone = Hold(entry.tokens) if isinstance(entry, Hold) else entry
    return entries.completed(alone, token, now, value)


def release_any(entry: Entry | None, token: bytes, now: float) -> None:
    """R5: a rollback ends others' part in the hold as well."""


# -- other actors ----------------------------------------------------------------------------------


def on_old_snapshot(actor: Actor) -> Actor:
    """R2: its statement sees the database as it was before the lease."""

    def program() -> Flow:
        yield Snapshot()
        yield from actor.program()

    return Actor(actor.name, program, actor.reads, actor.twin)


def fills_own_write(name: str) -> Actor:
    """R3: a transaction fills what it has written."""

    def program() -> Flow:
        yield Write(((1, name.lower(), ""),))
        yield from fetch(ROW, {KEY: 1}, token(name))
        yield Rollback()

    return Actor(name, program)


def reads_cached_own(name: str) -> Actor:
    """R3: a transaction reads from the cache what it has written."""

    def program() -> Flow:
        yield Write(((1, name.lower(), ""),))
        rows = yield from fetch(ROW, {KEY: 1}, token(name), may_fill=False)
        yield Own({1: rows[KEY]})
        yield Rollback()

    return Actor(name, program)


def prepares_too_early(name: str) -> Actor:
    """R4: its hold has ended before it commits, and PREPARE does not run again."""
    versions: tuple[Version, ...] = ((1, name.lower(), ""),)

    def program() -> Flow:
        yield from begin_write("row", [KEY], token(name), ROW.policy)
        yield from abandon_write("row", [KEY], token(name))
        yield Statement(versions)
        yield from finish_write("row", [KEY], token(name))
        yield Acknowledged(versions)

    return Actor(name, program)


def clears_in_doubt(name: str) -> Actor:
    """R6: takes a COMMIT that raised for a rollback."""
    versions: tuple[Version, ...] = ((1, name.lower(), ""),)

    def program() -> Flow:
        yield Write(versions)
        yield from begin_write("row", [KEY], token(name), ROW.policy)
        try:
            yield Commit()
        except CommitUnknown:
            yield from abandon_write("row", [KEY], token(name))
            return
        yield from finish_write("row", [KEY], token(name))
        yield Acknowledged(versions)

    return Actor(name, program)


def writes_through_late(name: str) -> Actor:
    """R10: stamps the row that it writes through with the epoch known after COMMIT."""
    versions: tuple[Version, ...] = ((1, name.lower(), ""),)

    def program() -> Flow:
        yield Write(versions)
        yield from begin_write("row", [KEY], token(name), EPOCHAL.policy)
        yield Commit()
        [epoch] = yield Get([EPOCH])
        values = {KEY: (value(versions[0], epoch.stamp), 1)} if isinstance(epoch, Value) else {}
        yield from finish_write("row", [KEY], token(name), values=values)
        yield Acknowledged(versions)

    return Actor(name, program)


# -- filters ---------------------------------------------------------------------------------------


def _restamped(fill: Fill, stamp_of: Callable[[str, bytes], bytes]) -> Fill:
    """The fill with other stamps: ``stamp_of`` is given the key and the stamp that the flow chose."""
    items = [
        (key, token, Value(row.payload, stamp_of(key, row.stamp)), weight) for key, token, row, weight in fill.items
    ]
    return Fill(items, fill.ttl)


def same_epoch(operation: Operation) -> Replies:
    """R10: every epoch has the same value, as a counter has that starts again after an eviction."""
    if isinstance(operation, Fill):
        operation = _restamped(operation, lambda key, _: OLD_EPOCH + (b"" if key == EPOCH else EPOCHAL.fingerprint))
    return (yield operation)


def same_epoch_at_every_look(operation: Operation) -> Replies:
    """R10: a reader who begins an epoch twice gives both the same value, its token without the number of the look."""

    def without_look(_: str, stamp: bytes) -> bytes:
        begun_by_a_look = stamp[TOKEN_BYTES : TOKEN_BYTES + 1] == b"\0"
        return stamp[:TOKEN_BYTES] + stamp[TOKEN_BYTES + 2 :] if begun_by_a_look else stamp

    return (yield _restamped(operation, without_look) if isinstance(operation, Fill) else operation)


def stamped_late(operation: Operation) -> Replies:
    """R10: a fill is stamped with the epoch of the moment at which it is sent."""
    if isinstance(operation, Fill) and operation.items[0][0] != EPOCH:
        [epoch] = yield Get([EPOCH])
        if isinstance(epoch, Value):
            stamp = epoch.stamp + EPOCHAL.fingerprint
            operation = _restamped(operation, lambda _key, _stamp: stamp)
    return (yield operation)


def hold_not_awaited(operation: Operation) -> Replies:
    """R12: PREPARE is sent, and COMMIT follows at once."""
    return (yield Send(operation) if isinstance(operation, PlaceHold) else operation)


def complete_not_awaited(operation: Operation) -> Replies:
    """R12: COMPLETE is sent, and the caller regains control at once."""
    return (yield Send(operation) if isinstance(operation, Complete) else operation)


def _all(actors: list[Actor], replace: Filter) -> list[Actor]:
    return [Actor(one.name, filtered(one.program, replace), one.reads, one.twin) for one in actors]


ONE_TOKEN = LOOKS[0], returning("H2", looker("H1", 1, of=EPOCHAL))
"""As a forked child would have it that inherits random tokens which its parent has drawn."""
SNAPSHOTS = [on_old_snapshot(one) for one in readers(3)]
ROLLS_BACK = writing("W1", rolls_back=True)
HASTY_HOLD, HASTY_COMPLETE = _all([W1], hold_not_awaited) + _all([W1], complete_not_awaited)
UNVERIFIED = returning("L1", finder("L1", "a", of=ROW, verified=False))

WITHOUT: tuple[Case, ...] = (
    Case("R1 fill whatever stands", stage(*readers(3), W1, cold=True, rules=Rules(filled=fill_any)), "P1 P2 P3"),
    Case("R2 old snapshot", stage(*SNAPSHOTS, W1, cold=True), "P1 P2 P3"),
    Case(
        "R2 old snapshot, looked at outside the flow",
        stage(*map(on_old_snapshot, LOOKS), ROW_WRITER, of=EPOCHAL, cold=True),
        "P1 P2",
    ),
    Case("R1 two readers with one token", stage(*ONE_TOKEN, ROW_WRITER, of=EPOCHAL, cold=True), "P2"),
    Case("R3 fill in a transaction that wrote", stage(*readers(2), fills_own_write("W1"), cold=True), "P0 P2"),
    Case("R3 cached read of own write", stage(reads_cached_own("W1")), "P4"),
    Case("R4 hold ends before COMMIT", stage(*readers(3), prepares_too_early("W1"), crash=1), "P2 P3"),
    Case(
        "R4 one token, PREPARE before the lock",
        stage(*readers(3), *AUTO, rules=Rules(held=hold_alone), crash=1),
        "P2 P3",
    ),
    Case(
        "R5 COMPLETE whatever stands",
        stage(*readers(3), W1, W2, rules=Rules(completed=complete_any), crash=1),
        "P2 P3",
    ),
    Case(
        "R5 COMPLETE only one's own hold",
        stage(*readers(3), W1, rules=Rules(completed=complete_only_own), lose=1),
        "P1 P2 P3",
    ),
    Case(
        "R5 release whatever stands",
        stage(*readers(3), ROLLS_BACK, W2, rules=Rules(released=release_any), crash=1),
        "P2 P3",
    ),
    Case(
        "R5 write through a shared hold",
        stage(*readers(2), *THROUGH, rules=Rules(completed=complete_shared)),
        "P1 P2 P3",
    ),
    Case("R6 COMMIT unknown taken for rollback", stage(*readers(3), clears_in_doubt("W1"), unknown=1), "P2 P3"),
    Case(
        "R8 incarnation ignored, failover",
        stage(*readers(2), W1, rules=Rules(incarnations=False), failover=1),
        "P1 P2 P3",
    ),
    Case(
        "R10 epochs repeat",
        stage(*_all(readers(3, of=EPOCHAL), same_epoch), BULK, of=EPOCHAL, cold=True),
        "P1 P2 P3",
    ),
    Case(
        "R10 a reader's epochs repeat",
        stage(*_all(readers(2, of=WAITING), same_epoch_at_every_look), BULK_THEN, of=WAITING, cold=True),
        "P2",
    ),
    Case(
        "R10 stamped at the fill",
        stage(*_all(readers(3, of=EPOCHAL), stamped_late), BULK, of=EPOCHAL, cold=True),
        "P1 P2 P3",
    ),
    Case(
        "R10 written through, stamped after COMMIT",
        stage(*readers(2, of=EPOCHAL), BULK, writes_through_late("W1"), of=EPOCHAL),
        "P1 P2 P3",
    ),
    Case("R12 PREPARE not awaited", stage(*readers(3), HASTY_HOLD, cold=True, crash=1), "P2 P3"),
    Case("R12 COMPLETE not awaited, hold lost", stage(*readers(3), HASTY_COMPLETE, lose=1), "P1 P2 P3"),
    Case("R13 lookup not verified", stage(UNVERIFIED, SWAP, rows=TWO, slugs=("a",)), "LK"),
)
