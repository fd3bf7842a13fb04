"""What the explorer explores of the journal, and rule R7 dropped one way at a time.

A *note* is a row of the journal: the keys that a write outdates, noted because PREPARE was not acknowledged. A PREPARE
that gets no answer may be carried out late, or not at all. P2 is kept if every entry that is outdated stands in a note,
and the replay that deletes the note has mended it, whenever it comes and wherever it is killed.
"""

from collections.abc import Generator
from functools import partial
from typing import Any

from cachecore.coherence import begin_write, finish_write, invalidate
from cachecore.errors import BackendTimeout
from cachecore.operations import Complete, Journal, Operation, PlaceHold
from cachecore.testing.actors import Flow, key_of, replayer, subject, token, value
from cachecore.testing.model import (
    Acknowledged,
    Announce,
    Commit,
    DeleteNotes,
    ReadJournal,
    Send,
    Version,
    Write,
)
from cachecore.testing.program import Filter, filtered
from cachecore.testing.scene import Actor
from cachecore.testing.scenes import (
    BOUNDED,
    EPOCHAL,
    NO_HOLD_LOST,
    TWO,
    Case,
    autocommit,
    epochal,
    readers,
    stage,
    writing,
)

ROW, EPOCH_ROW = subject(unreachable="journal"), subject(epoch=True, unreachable="journal")
KEY = key_of(1)
Replies = Generator[Operation, Any, Any]


def between(actor: Actor, replace: Filter) -> Actor:
    """The actor with ``replace`` between it and the world."""
    return Actor(actor.name, filtered(actor.program, replace), actor.reads, actor.twin)


def _unanswered(which: Any, operation: Operation) -> Replies:
    if not isinstance(operation, which):
        return (yield operation)
    yield Send(operation)
    raise BackendTimeout


def without_hold(actor: Actor) -> Actor:
    """The actor who gets no answer to PREPARE."""
    return between(actor, partial(_unanswered, PlaceHold))


def away(actor: Actor) -> Actor:
    """The actor who gets no answer to PREPARE and none to COMPLETE."""
    return between(actor, partial(_unanswered, PlaceHold | Complete))


W1, W2 = writing("W1", of=ROW), writing("W2", of=ROW)
THROUGH = without_hold(writing("W1", of=ROW, through=True)), writing("W2", of=ROW, through=True)
BOTH = writing("W1", (1, "v1", "a"), (2, "w1", "b"), of=ROW)
AUTO = away(autocommit("W1", of=ROW)), away(autocommit("W2", of=ROW))
BULK = away(epochal("B", of=EPOCH_ROW, bulk=True))
REPLAY = Actor("P1", replayer("P1"))
TWO_REPLAY = REPLAY, Actor("P2", replayer("P2"), twin="P1")

EARLY = "who reaches the cache before the replay may see the old row"

JOURNALS: tuple[Case, ...] = (
    Case("journal: no answers, crash", stage(*readers(3), away(W1), REPLAY, crash=1), "P1", EARLY),
    Case("journal: the cache is back for COMPLETE", stage(*readers(3), without_hold(W1), REPLAY, crash=1)),
    Case("journal: no answers, another writer", stage(*readers(2), away(W1), W2, REPLAY), "P1", EARLY),
    Case(
        "journal: no answer, late hold lost and writer killed",
        stage(*readers(3), without_hold(W1), REPLAY, lose=1, crash=1),
        "P3",
        NO_HOLD_LOST,
    ),
    Case(
        "journal: no answers, COMMIT unknown, a replay times out",
        stage(*readers(2), away(W1), REPLAY, unknown=1, timeout=1),
        "P1 P3",
        EARLY,
    ),
    Case("journal: failover", stage(*readers(2), away(W1), REPLAY, failover=1), "P1", EARLY),
    Case("journal: 2 replayers, crash", stage(*readers(2), away(W1), *TWO_REPLAY, crash=1), "P1", EARLY),
    Case("journal: 2 rows, calls time out", stage(*readers(1, 1, 2), BOTH, REPLAY, rows=TWO, timeout=2), "P1", EARLY),
    Case(
        "journal: writing through",
        stage(*readers(2), *THROUGH, REPLAY),
        "P3",
        "a reader fills the old row while the first writer commits without a hold",
    ),
    Case("journal: bulk write", stage(*readers(2, of=EPOCHAL), BULK, REPLAY, of=EPOCHAL), "P1", EARLY),
    Case(
        "journal: autocommit, crash, COMMIT unknown",
        stage(*readers(2), AUTO[0], REPLAY, crash=1, unknown=1),
        "P1",
        EARLY,
    ),
    Case("journal: autocommit, 2 writers", stage(*readers(1), *AUTO, REPLAY), "P1", EARLY, deep=True),
)

# -- the rule dropped ------------------------------------------------------------------------------


def noted_at_once(operation: Operation) -> Replies:
    """The note is committed by itself, before what it is about, and not kept until that has ended."""
    if isinstance(operation, Journal | Announce):
        operation = Announce(operation.keys, pending=False)
    return (yield operation)


def notes_after_commit(name: str) -> Actor:
    """Notes its keys when COMMIT has returned, instead of in the transaction."""
    versions: tuple[Version, ...] = ((1, name.lower(), ""),)

    def program() -> Flow:
        yield Write(versions)
        yield from begin_write("row", [KEY], token(name), BOUNDED.policy)
        yield Commit()
        yield Announce([KEY], pending=False)
        yield from finish_write("row", [KEY], token(name))
        yield Acknowledged(versions)

    return away(Actor(name, program))


def writes_through_without_hold(name: str) -> Actor:
    """Leaves its row in the cache though PREPARE was not acknowledged."""
    versions: tuple[Version, ...] = ((1, name.lower(), ""),)

    def program() -> Flow:
        yield Write(versions)
        yield from begin_write("row", [KEY], token(name), ROW.policy)
        yield Commit()
        yield from finish_write("row", [KEY], token(name), values={KEY: (value(versions[0]), 1)})
        yield Acknowledged(versions)

    return without_hold(Actor(name, program))


def deletes_first() -> Flow:
    """A replay that deletes the notes and then outdates what they say."""
    rows: list[tuple[int, tuple[str, ...], bool]] = yield ReadJournal()
    if rows:
        yield DeleteNotes(tuple((writer, keys) for writer, keys, _ in rows))
        yield from invalidate("row", [KEY], token("P1"))


def looks_again() -> Flow:
    """A replay that deletes the notes that are settled when it has outdated what they say."""
    if (yield ReadJournal()):
        yield from invalidate("row", [KEY], token("P1"))
        rows: list[tuple[int, tuple[str, ...], bool]] = yield ReadJournal()
        yield DeleteNotes(tuple((writer, keys) for writer, keys, settled in rows if settled))


APART, UNKEPT = between(away(W1), noted_at_once), between(AUTO[0], noted_at_once)
TOO_LATE, HOLDLESS = notes_after_commit("W1"), writes_through_without_hold("W1")
DELETES_FIRST, LOOKS_AGAIN = Actor("P1", deletes_first), Actor("P1", looks_again)

WITHOUT_R7: tuple[Case, ...] = (
    Case("R7 noted in another transaction", stage(*readers(2), APART, REPLAY), "P1 P2"),
    Case("R7 noted after COMMIT", stage(*readers(2), TOO_LATE, REPLAY, crash=1), "P1 P2"),
    Case("R7 note deleted before its replay", stage(*readers(2), away(W1), DELETES_FIRST, crash=1), "P1 P2"),
    Case("R7 note of a statement under way deleted", stage(*readers(2), UNKEPT, REPLAY), "P1 P2"),
    Case("R7 note settled after its replay deleted", stage(*readers(2), AUTO[0], LOOKS_AGAIN), "P1 P2"),
    Case("R7 written through without a hold", stage(*readers(2), HOLDLESS, THROUGH[1], REPLAY), "P1 P2 P3"),
)
