"""What the explorer explores of lists and of missing entries, and the controls that show what their rules are for.

Two rows. Writers give them the slug a, or take it away; readers ask for all rows with it, or for the one that has it,
while the cache may hold a complete list, or that there is none.
"""

from typing import Any, NamedTuple

from cachecore.coherence import Subject
from cachecore.entries import Entry
from cachecore.lookups import Claim
from cachecore.testing.actors import autocommit_writer, writer
from cachecore.testing.claimants import (
    doubter,
    gains,
    is_absent,
    is_complete,
    list_key,
    lister,
    many_doubter,
    missing_key,
    reads_own,
    stored,
)
from cachecore.testing.controls import fill_any
from cachecore.testing.model import Rules, Version
from cachecore.testing.scene import Actor, Scene
from cachecore.testing.scenes import EPOCHAL, IN_FLIGHT, NO_HOLD_LOST, OLD_EPOCH, ROW, Case, readers, returning, stage


class Asked(NamedTuple):
    """The slugs by which readers ask for all rows, and those of which the cache may know that there is none."""

    lists: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


A, B, NONE = Asked(lists=("a",)), Asked(lists=("a", "b")), Asked(missing=("a",))
EITHER, NONE_OF_TWO = Asked(lists=("a",), missing=("a",)), Asked(missing=("a", "d"))
ONE_IN: tuple[Version, ...] = ((1, "v0", "a"), (2, "w0", None))
EACH: tuple[Version, ...] = ((1, "v0", "a"), (2, "w0", "b"))
BOTH_IN: tuple[Version, ...] = ((1, "v0", "a"), (2, "w0", "a"))
ONE_LEFT: tuple[Version, ...] = ((1, "v0", "b"), (2, "w0", None))
ABSENT: tuple[Version, ...] = ((1, "v0", "c"), (2, "w0", None))


def asking(*who: Actor, rows: tuple[Version, ...], asked: Asked, of: Subject = ROW, **options: Any) -> Scene:
    """The scene of these actors, who ask for these slugs; what is true of them stands in the cache to begin with."""
    lists, missing = asked
    epoch = OLD_EPOCH if of.epoch_key else b""
    claims = {list_key(slug): is_complete(slug) for slug in lists}
    claims |= {missing_key(slug): is_absent(slug) for slug in missing}
    claimed: dict[str, Entry] = {}
    for slug in lists:
        claimed[list_key(slug)] = stored(slug, [one[0] for one in rows if one[2] == slug], epoch)
    for slug in missing:
        if all(one[2] != slug for one in rows):
            claimed[missing_key(slug)] = stored(slug, None, epoch)
    return stage(*who, rows=rows, slugs=missing, claims=claims, claimed=claimed, of=of, **options)


def gaining(
    name: str, *versions: Version, asked: Asked, of: Subject = ROW, bulk: bool = False, **options: Any
) -> Actor:
    """Writes rows and holds what they gain of what is asked for."""
    held = () if bulk else gains(*versions, lists=asked.lists, missing=asked.missing)
    return Actor(name, writer(name, *versions, of=of, gains=held, bulk=bulk, **options))


def listers(*names: str, slugs: tuple[str, ...] = ("a",), of: Subject = ROW) -> list[Actor]:
    """Identical readers of lists."""
    return [
        returning(name, lister(name, *slugs, of=of), None if place == 0 else names[place - 1])
        for place, name in enumerate(names)
    ]


def doubters(*names: str, of: Subject = ROW) -> list[Actor]:
    """Identical readers of the row with the slug a, which may not exist."""
    return [
        returning(name, doubter(name, "a", of=of), None if place == 0 else names[place - 1])
        for place, name in enumerate(names)
    ]


INSERT, MOVE, LEAVE = (2, "w1", "a"), (2, "w1", "a"), (1, "v1", "b")
IN = gaining("W1", INSERT, asked=A)
IN_BOTH = gaining("W1", MOVE, asked=B)
OUT = gaining("W2", LEAVE, asked=B)
SWAP = gaining("W1", (1, "v1", "b"), (2, "w1", "a"), asked=B)
GONE = gaining("W2", (1, "v1", None), asked=A)
BACK = gaining("W1", (1, "v2", "a"), asked=A)
IN_EPOCHAL = gaining("W1", INSERT, asked=A, of=EPOCHAL)
BULK_IN = gaining("B", INSERT, asked=A, of=EPOCHAL, bulk=True)
NEW = gaining("W1", (1, "v1", "a"), asked=NONE)
NEW_EPOCHAL = gaining("W1", (1, "v1", "a"), asked=NONE, of=EPOCHAL)
BULK_NEW = gaining("B", (2, "w1", "a"), asked=NONE, of=EPOCHAL, bulk=True)
RENAMED = gaining("W2", (1, "v2", "d"), asked=NONE)
AUTO_IN = Actor("W1", autocommit_writer("W1", INSERT, of=ROW, gains=[list_key("a")]))
AUTO_NEW = Actor("W1", autocommit_writer("W1", (1, "v1", "a"), of=ROW, gains=[missing_key("a")]))
REMEMBERS = returning("D2", doubter("D2", "a", of=ROW, claim=Claim(1, ("a",))))
ROLLS_BACK = gaining("W1", INSERT, asked=A, rolls_back=True)
BOTH_LISTS = returning("L1", lister("L1", "a", "b", of=ROW))
UNVERIFIED = returning("L1", lister("L1", "a", of=ROW, verified=False))
OUT_OF_A = gaining("W2", LEAVE, asked=A)
BULK_OTHER = gaining("B", (1, "v1", "b"), asked=A, of=EPOCHAL, bulk=True)
TAKEN = gaining("W1", INSERT, asked=NONE)
MANY = returning("D2", many_doubter("D2", "a", "d", of=ROW))
OWN = Actor("W1", reads_own("W1", "a", INSERT, of=ROW))
OWN_OUT = Actor("W1", reads_own("W1", "a", (1, "v1", "b"), of=ROW))

LISTS: tuple[Case, ...] = (
    Case("list: insert, crash", asking(*listers("L1", "L2", "L3"), IN, rows=ONE_IN, asked=A, crash=1)),
    Case(
        "list: insert, cold, 2 crashes",
        asking(*listers("L1", "L2", "L3"), IN, rows=ONE_IN, asked=A, cold=True, crash=2),
    ),
    Case("list: insert, eviction, rubbish", asking(*listers("L1", "L2"), IN, rows=ONE_IN, asked=A, evict=1, garbage=1)),
    Case("list: insert, a call times out", asking(*listers("L1", "L2"), IN, rows=ONE_IN, asked=A, timeout=1)),
    Case("list: insert, COMMIT unknown", asking(*listers("L1", "L2", "L3"), IN, rows=ONE_IN, asked=A, unknown=1)),
    Case(
        "list: insert, rollback, crash", asking(*listers("L1", "L2", "L3"), ROLLS_BACK, rows=ONE_IN, asked=A, crash=1)
    ),
    Case("list: hold lost", asking(*listers("L1", "L2", "L3"), IN, rows=ONE_IN, asked=A, lose=1), "P3", NO_HOLD_LOST),
    Case(
        "list: restart, empty",
        asking(*listers("L1", "L2", "L3"), IN, rows=ONE_IN, asked=A, restart=1),
        "P3",
        IN_FLIGHT,
    ),
    Case(
        "list: insert in autocommit, crash", asking(*listers("L1", "L2", "L3"), AUTO_IN, rows=ONE_IN, asked=A, crash=1)
    ),
    Case("list: one row moves in, one leaves", asking(*listers("L1", "L2"), IN_BOTH, OUT, rows=EACH, asked=B)),
    Case("list: two lists at once, swap, crash", asking(BOTH_LISTS, SWAP, rows=EACH, asked=B, crash=1)),
    Case(
        "list: delete and come back, and by identity",
        asking(*listers("L1"), *readers(1), GONE, BACK, rows=EACH, asked=A),
    ),
    Case(
        "list: epoch, bulk insert", asking(*listers("L1", "L2", of=EPOCHAL), BULK_IN, rows=ONE_IN, of=EPOCHAL, asked=A)
    ),
    Case(
        "list: epoch, bulk and row insert, crash",
        asking(*listers("L1", of=EPOCHAL), IN_EPOCHAL, BULK_OTHER, rows=ONE_IN, of=EPOCHAL, asked=A, crash=1),
    ),
    Case(
        "list: epoch, bulk and row insert, 2 readers, crash",
        asking(*listers("L1", "L2", of=EPOCHAL), IN_EPOCHAL, BULK_OTHER, rows=ONE_IN, of=EPOCHAL, asked=A, crash=1),
        deep=True,
    ),
    Case(
        "list: epoch, bulk insert, cold, eviction",
        asking(*listers("L1", of=EPOCHAL), BULK_IN, rows=ONE_IN, of=EPOCHAL, asked=A, cold=True, evict=1),
    ),
    Case("list: own insert in a transaction", asking(*listers("L1"), OWN, rows=ONE_LEFT, asked=EITHER)),
    Case("list: own move out in a transaction", asking(*listers("L1"), OWN_OUT, rows=EACH, asked=EITHER)),
)

MISSING: tuple[Case, ...] = (
    Case("missing: gained, crash", asking(*doubters("D1", "D2"), NEW, rows=ABSENT, asked=NONE, crash=1)),
    Case(
        "missing: gained, cold, 2 crashes",
        asking(*doubters("D1", "D2"), NEW, rows=ABSENT, asked=NONE, cold=True, crash=2),
    ),
    Case(
        "missing: gained, eviction, rubbish",
        asking(*doubters("D1"), *readers(1), NEW, rows=ABSENT, asked=NONE, evict=1, garbage=1),
    ),
    Case("missing: gained, a call times out", asking(*doubters("D1", "D2"), NEW, rows=ABSENT, asked=NONE, timeout=1)),
    Case(
        "missing: gained in autocommit, crash",
        asking(*doubters("D1", "D2"), AUTO_NEW, rows=ABSENT, asked=NONE, crash=1),
    ),
    Case(
        "missing: hold lost",
        asking(*doubters("D1", "D2"), *readers(1), NEW, rows=ABSENT, asked=NONE, lose=1),
        "P3",
        NO_HOLD_LOST,
    ),
    Case("missing: gained and given up", asking(*doubters("D1", "D2"), NEW, RENAMED, rows=ABSENT, asked=NONE)),
    Case(
        "missing: given up, remembered claim, gained by another",
        asking(REMEMBERS, RENAMED, TAKEN, rows=ONE_IN, asked=NONE),
    ),
    Case("missing: many at once", asking(MANY, *doubters("D1"), NEW, rows=ABSENT, asked=NONE_OF_TWO)),
    Case(
        "missing: epoch, bulk and row write, crash",
        asking(*doubters("D1", of=EPOCHAL), NEW_EPOCHAL, BULK_NEW, rows=ABSENT, of=EPOCHAL, asked=NONE, crash=1),
    ),
    Case(
        "missing: epoch, bulk write, cold",
        asking(*doubters("D1", "D2", of=EPOCHAL), BULK_NEW, rows=ABSENT, of=EPOCHAL, asked=NONE, cold=True),
    ),
)

# -- controls ----------------------------------------------------------------------------------------

UNHELD = Actor("W1", writer("W1", INSERT, of=ROW))
UNHELD_NEW = Actor("W1", writer("W1", (1, "v1", "a"), of=ROW))
UNTOLD = Actor("W1", reads_own("W1", "a", INSERT, of=ROW, held=False))
ONE_TOKEN = returning("L1", lister("L1", "a", of=EPOCHAL, one_token=True))
BULK_OUT = gaining("B", (1, "v1", "b"), asked=A, of=EPOCHAL, bulk=True)
BULK_OUT_TOO = gaining("C", (2, "w1", "b"), asked=A, of=EPOCHAL, bulk=True)

WITHOUT_CLAIMS: tuple[Case, ...] = (
    Case(
        "list: nobody holds what is gained",
        asking(*listers("L1"), *readers(1, 2), UNHELD, rows=ONE_IN, asked=A),
        "P1 P2 P3",
    ),
    Case(
        "list: fill whatever stands",
        asking(*listers("L1", "L2", "L3"), IN, rows=ONE_IN, asked=A, cold=True, rules=Rules(filled=fill_any)),
        "P1 P2 P3",
    ),
    Case("list: rows not verified", asking(UNVERIFIED, OUT_OF_A, rows=EACH, asked=A), "LK"),
    Case("list: own insert not told", asking(UNTOLD, rows=ONE_LEFT, asked=EITHER), "P4"),
    Case(
        "list: one token for lists and rows",
        asking(ONE_TOKEN, BULK_OUT, BULK_OUT_TOO, rows=BOTH_IN, of=EPOCHAL, asked=A),
        "P2",
    ),
    Case(
        "missing: nobody holds what is gained",
        asking(*doubters("D1"), *readers(1), UNHELD_NEW, rows=ABSENT, asked=NONE),
        "LK P1 P2 P3",
    ),
    Case(
        "missing: fill whatever stands",
        asking(*doubters("D1", "D2"), NEW, rows=ABSENT, asked=NONE, cold=True, rules=Rules(filled=fill_any)),
        "LK P1 P2",
    ),
)
