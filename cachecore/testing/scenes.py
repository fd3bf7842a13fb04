"""What the explorer explores: the shipped protocol under faults, with the verdict that is expected of each scene.

One row unless it says otherwise, and its value stands in the cache to begin with. What a scene breaks is not promised:
its ``why`` says so.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from cachecore.coherence import Subject
from cachecore.entries import Entry, Value
from cachecore.lookups import Claim
from cachecore.operations import Fill, Operation
from cachecore.testing import actors
from cachecore.testing.actors import (
    FINGERPRINT,
    autocommit_writer,
    by_slug,
    finder,
    key_of,
    many_finder,
    outsider,
    reader,
    straight_reader,
    subject,
    writer,
)
from cachecore.testing.lookers import looker, looking_finder, looking_many_finder
from cachecore.testing.model import SHIPPED, Rules, Send, Version
from cachecore.testing.program import Making, filtered
from cachecore.testing.scene import Actor, Scene

ROW = subject()
EPOCHAL = subject(epoch=True)
WAITING = subject(epoch=True, wait=1.0)
BOUNDED = subject(unreachable="bounded")

OLD_EPOCH = b"E0"
Truth = Callable[[tuple[Any, ...], Mapping[int, Version]], bool]
ONE: tuple[Version, ...] = ((1, "v0", ""),)
TWO: tuple[Version, ...] = ((1, "v0", "a"), (2, "w0", "b"))


@dataclass(frozen=True)
class Case:
    """A scene, and the promises that it is expected to break."""

    name: str
    scene: Scene
    breaks: str = ""
    """Such as "P2 P3"; empty: every promise is kept."""
    why: str = ""
    """What it shows, or why it breaks what it breaks."""
    deep: bool = False
    """Too long for every day."""


def returning(name: str, program: Making, twin: str | None = None) -> Actor:
    """An actor who returns rows."""
    return Actor(name, program, reads=True, twin=twin)


def readers(count: int, *identities: int, of: Subject = ROW) -> list[Actor]:
    """So many identical readers, R1, R2 and so on."""
    made: list[Actor] = []
    for name in ("R1", "R2", "R3")[:count]:
        program = reader(name, *(identities or (1,)), of=of)
        made.append(returning(name, program, made[-1].name if made else None))
    return made


def stage(
    *who: Actor,
    rows: tuple[Version, ...] = ONE,
    slugs: tuple[str, ...] = (),
    claims: Mapping[str, Truth] | None = None,
    claimed: Mapping[str, Entry] | None = None,
    of: Subject = ROW,
    cold: bool = False,
    rules: Rules = SHIPPED,
    **faults: int,
) -> Scene:
    """The scene of these actors. cold: nothing stands in the cache to begin with. The rest are budgets of faults.

    claims: coherent keys that are not of a row, to whether what stands there is true; claimed: what does to begin with.
    """
    epoch = OLD_EPOCH if of.epoch_key else b""
    keys: dict[str, int | None] = {} if of.epoch_key is None else {of.epoch_key: None}
    keys |= {key_of(version[0]): version[0] for version in rows}
    keys |= {by_slug(slug).key: None for slug in slugs} | dict.fromkeys(claims or ())
    stored: dict[str, Entry] = {} if of.epoch_key is None else {of.epoch_key: Value(b"", epoch)}
    stored |= {key_of(version[0]): actors.value(version, epoch) for version in rows if version[2] is not None}
    for identity, _, slug in rows:
        if slug in slugs:
            stored[by_slug(str(slug)).key] = Value(actors.dump((identity, slug))[0], FINGERPRINT)
    return Scene(
        actors=who,
        rows=rows,
        keys=keys,
        fingerprint=FINGERPRINT,
        load=actors.load,
        stored={} if cold else stored | dict(claimed or {}),
        epoch_key=of.epoch_key,
        claims=claims or {},
        faults=faults,
        rules=rules,
    )


def writing(name: str, *versions: Version, of: Subject = ROW, through: bool = False, rolls_back: bool = False) -> Actor:
    """A writer in a transaction; by default it writes row 1."""
    written = versions or ((1, name.lower(), ""),)
    return Actor(name, writer(name, *written, of=of, through=through, rolls_back=rolls_back))


def epochal(name: str, *versions: Version, of: Subject = EPOCHAL, through: bool = False, bulk: bool = False) -> Actor:
    """The same for a record type with an epoch."""
    return Actor(name, writer(name, *(versions or ((1, name.lower(), ""),)), of=of, through=through, bulk=bulk))


def autocommit(name: str, *, of: Subject = ROW, through: bool = False) -> Actor:
    """A writer of row 1 in autocommit."""
    return Actor(name, autocommit_writer(name, (1, name.lower(), ""), of=of, through=through))


def filler_unawaited(name: str, twin: str | None) -> Actor:
    """A reader who sends its fill and does not await the reply, as rule R12 allows."""

    def unawaited(operation: Operation) -> Generator[Operation, Any, Any]:
        if isinstance(operation, Fill):
            yield Send(operation)
            return [True] * len(operation.items)
        return (yield operation)

    return returning(name, filtered(reader(name, 1, of=ROW), unawaited), twin)


IN_FLIGHT = "the holds of writers in flight are lost"
NO_HOLD_LOST = "P3 is promised only while no hold is lost"

W1, W2 = writing("W1"), writing("W2")
THROUGH = writing("W1", through=True), writing("W2", through=True)
AUTO = autocommit("W1"), autocommit("W2")
AUTO_THROUGH = autocommit("W1", through=True), autocommit("W2", through=True)
BULK, ROW_WRITER = epochal("B", bulk=True), epochal("W1")
BULK_THEN = epochal("B", of=WAITING, bulk=True)
BULK_AUTO = Actor("B", autocommit_writer("B", (1, "b", ""), of=EPOCHAL, bulk=True))
READS_OWN = Actor("W1", writer("W1", (1, "v1", "a"), of=ROW, reads=(1, 2)))
READS_OWN_BULK = Actor("B", writer("B", (1, "b", ""), of=EPOCHAL, bulk=True, reads=(1,)))
SWAP = writing("W1", (1, "v1", "b"), (2, "w1", "a"))
BOTH = writing("W1", (1, "v1", "a"), (2, "w1", "b"))
RENAME = writing("W2", (1, "v2", "c"))
DELETE, RECREATE = writing("W1", (1, "v1", None)), writing("W2", (1, "v2", "a"))
BY_A = returning("L1", finder("L1", "a", of=ROW))
BY_A_TOO = returning("L2", finder("L2", "a", of=ROW), twin="L1")
REMEMBERS = returning("L2", finder("L2", "a", of=ROW, claim=Claim(1, ("a",))))
BY_BOTH = returning("L1", many_finder("L1", "a", "b", of=ROW))
PEEKS = returning("P", reader("P", 1, of=EPOCHAL, may_fill=False))
HITS = returning("H", straight_reader("H", 1, of=EPOCHAL))
LOOKS = returning("H1", looker("H1", 1, of=EPOCHAL)), returning("H2", looker("H2", 1, of=EPOCHAL), twin="H1")
LOOKS_AT_BOTH = returning("H1", looker("H1", 1, 2, of=EPOCHAL))
LOOKS_AND_WAITS = returning("H1", looker("H1", 1, of=WAITING))
LOOKS_BY_A = returning("H1", looking_finder("H1", "a", Claim(1, ("a",)), of=ROW))
LOOKS_BY_BOTH = returning("H1", looking_many_finder("H1", {"a": Claim(1, ("a",)), "b": Claim(2, ("b",))}, of=ROW))
OUTSIDER = Actor("X", outsider("X", (1, "x", "")))
UNREACHING = Actor("W1", writer("W1", (1, "w1", ""), of=BOUNDED))
UNAWAITED = filler_unawaited("R1", None), filler_unawaited("R2", "R1"), filler_unawaited("R3", "R2")

ROWS: tuple[Case, ...] = (
    Case("2 writers, 3 readers", stage(*readers(3), W1, W2)),
    Case("2 writers, 3 readers, cold, 2 crashes", stage(*readers(3), W1, W2, cold=True, crash=2)),
    Case("2 writers, 2 readers, 2 evictions, rubbish", stage(*readers(2), W1, W2, evict=2, garbage=1)),
    Case("a writer, a rollback, 2 readers, crash", stage(*readers(2), W1, writing("W2", rolls_back=True), crash=1)),
    Case("COMMIT unknown twice", stage(*readers(2), W1, W2, unknown=2)),
    Case("2 calls time out", stage(*readers(2), W1, W2, timeout=2)),
    Case("fills not awaited", stage(*UNAWAITED, W1, W2, cold=True)),
    Case("readers wait for leases", stage(*readers(3, of=subject(wait=1.0)), W1, cold=True, crash=1, evict=1)),
    Case("restart, empty", stage(*readers(3), W1, restart=1), "P3", IN_FLIGHT),
    Case(
        "failover, older contents", stage(*readers(3), W1, failover=1), "P3", "the holds of writers in flight are lost"
    ),
    Case("hold lost, no crash", stage(*readers(3), W1, W2, lose=1), "P3", NO_HOLD_LOST),
    Case("hold lost twice, no crash", stage(*readers(3), W1, W2, lose=2), "P3", NO_HOLD_LOST, deep=True),
    Case(
        "hold lost and writer killed",
        stage(*readers(3), W1, lose=1, crash=1),
        "P2 P3",
        "two faults, after a PREPARE that was acknowledged and so noted in no journal",
    ),
    Case(
        'the writer gets no answer, unreachable="bounded"',
        stage(*readers(3, of=BOUNDED), UNREACHING, cold=True, timeout=2),
        "P1 P2 P3",
        "the chosen policy: stale until the TTL ends",
    ),
    Case("writing through, 2 crashes", stage(*readers(2), *THROUGH, crash=2)),
    Case("writing through, 2 calls time out", stage(*readers(2), *THROUGH, timeout=2)),
    Case("writing through, COMMIT unknown twice", stage(*readers(2), *THROUGH, unknown=2)),
    Case("writing through, hold lost", stage(*readers(3), *THROUGH, lose=1), "P3", NO_HOLD_LOST),
    Case("writing through, hold lost twice", stage(*readers(3), *THROUGH, lose=2), "P3", NO_HOLD_LOST, deep=True),
    Case(
        "writing through, and one who writes past the cache",
        stage(*readers(2), THROUGH[0], OUTSIDER),
        "P3",
        "he holds nothing and only tells afterwards",
    ),
    Case("autocommit, 2 crashes, COMMIT unknown", stage(*readers(2), *AUTO, crash=2, unknown=1)),
    Case("autocommit, writing through, 2 crashes", stage(*readers(2), *AUTO_THROUGH, crash=2)),
    Case("autocommit, writing through, hold lost", stage(*readers(2), *AUTO_THROUGH, lose=1), "P3", NO_HOLD_LOST),
    Case("2 rows, batches, crash", stage(*readers(2, 1, 2), BOTH, W2, rows=TWO, crash=1)),
    Case("own writes in a transaction", stage(*readers(2, 1, 2), READS_OWN, rows=TWO)),
)

EPOCHS: tuple[Case, ...] = (
    Case("epoch: bulk and row writer, crash", stage(*readers(2, of=EPOCHAL), BULK, ROW_WRITER, of=EPOCHAL, crash=1)),
    Case("epoch: bulk and row writer, cold", stage(*readers(2, of=EPOCHAL), BULK, ROW_WRITER, of=EPOCHAL, cold=True)),
    Case("epoch: 3 readers", stage(*readers(3, of=EPOCHAL), BULK, of=EPOCHAL, cold=True)),
    Case("epoch: 2 bulk writers", stage(*readers(2, of=EPOCHAL), BULK, epochal("C", bulk=True), of=EPOCHAL)),
    Case("epoch: bulk write in autocommit", stage(*readers(2, of=EPOCHAL), BULK_AUTO, ROW_WRITER, of=EPOCHAL)),
    Case("epoch: eviction, rubbish", stage(*readers(2, of=EPOCHAL), BULK, of=EPOCHAL, evict=1, garbage=1)),
    Case("epoch: restart", stage(*readers(3, of=EPOCHAL), BULK, of=EPOCHAL, restart=1), "P3", IN_FLIGHT, deep=True),
    Case("epoch: a call times out", stage(*readers(2, of=EPOCHAL), BULK, of=EPOCHAL, timeout=1)),
    Case("epoch: own writes in a transaction", stage(*readers(2, of=EPOCHAL), READS_OWN_BULK, of=EPOCHAL)),
    Case(
        "epoch: writing through, crash",
        stage(*readers(2, of=EPOCHAL), BULK, epochal("W1", through=True), of=EPOCHAL, crash=1),
    ),
    Case("epoch: readers who may not fill, or hit straight", stage(PEEKS, HITS, BULK, ROW_WRITER, of=EPOCHAL, crash=1)),
    Case("epoch: readers look outside the flow, crash", stage(*LOOKS, BULK, ROW_WRITER, of=EPOCHAL, crash=1)),
    Case("epoch: readers look outside the flow, cold", stage(*LOOKS, BULK, ROW_WRITER, of=EPOCHAL, cold=True)),
    Case(
        "epoch: readers look outside the flow, rubbish, a call times out",
        stage(*LOOKS, BULK, of=EPOCHAL, garbage=1, timeout=1),
    ),
    Case(
        "epoch: a batch is looked at outside the flow",
        stage(LOOKS_AT_BOTH, *readers(1, of=EPOCHAL), BULK, of=EPOCHAL, rows=TWO, evict=1),
    ),
    Case(
        "epoch: a reader looks outside the flow and waits for leases",
        stage(LOOKS_AND_WAITS, *readers(1, of=WAITING), BULK_THEN, of=WAITING, cold=True, evict=1),
    ),
    Case(
        "epoch: readers wait for leases",
        stage(*readers(2, of=WAITING), BULK_THEN, of=WAITING, cold=True, evict=1),
    ),
    Case(
        "epoch: bulk and row writer, 3 readers, crash",
        stage(*readers(3, of=EPOCHAL), BULK, ROW_WRITER, of=EPOCHAL, crash=1),
        deep=True,
    ),
    Case(
        "epoch: bulk and row writer, 2 calls time out",
        stage(*readers(2, of=EPOCHAL), BULK, ROW_WRITER, of=EPOCHAL, timeout=2),
        deep=True,
    ),
    Case(
        "epoch: writing through, 2 evictions",
        stage(*readers(2, of=EPOCHAL), BULK, epochal("W1", through=True), of=EPOCHAL, evict=2),
        deep=True,
    ),
    Case(
        "epoch: writing through, failover",
        stage(*readers(2, of=EPOCHAL), BULK, epochal("W1", through=True), of=EPOCHAL, failover=1),
        deep=True,
    ),
    Case(
        "epoch: 3 readers wait for leases",
        stage(*readers(3, of=WAITING), BULK_THEN, of=WAITING, cold=True),
        deep=True,
    ),
)

LOOKUPS: tuple[Case, ...] = (
    Case("lookup: swap, rename, crash", stage(BY_A, BY_A_TOO, SWAP, RENAME, rows=TWO, slugs=("a",), crash=1)),
    Case("lookup: swap, a call times out", stage(BY_A, BY_A_TOO, SWAP, rows=TWO, slugs=("a",), timeout=1)),
    Case("lookup: swap, eviction, rubbish", stage(BY_A, BY_A_TOO, SWAP, rows=TWO, slugs=("a",), evict=1, garbage=1)),
    Case("lookup: remembered claim", stage(BY_A, REMEMBERS, SWAP, RENAME, rows=TWO, slugs=("a",))),
    Case(
        "lookup: looked at outside the flow, crash",
        stage(LOOKS_BY_A, BY_A, SWAP, RENAME, rows=TWO, slugs=("a",), crash=1),
    ),
    Case(
        "lookup: many looked at outside the flow, eviction",
        stage(LOOKS_BY_BOTH, *readers(1, 1, 2), SWAP, rows=TWO, slugs=("a", "b"), evict=1),
    ),
    Case("lookup: delete, recreate, crash", stage(BY_A, BY_A_TOO, DELETE, RECREATE, slugs=("a",), rows=TWO, crash=1)),
    Case("lookup: many at once, and by identity", stage(BY_BOTH, *readers(1, 1, 2), SWAP, rows=TWO, slugs=("a", "b"))),
)

SCENES = (*ROWS, *EPOCHS, *LOOKUPS)
