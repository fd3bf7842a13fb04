"""The terms of the explorer: a scene, those who act in it, and a state of its world."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cachecore.entries import Entry
from cachecore.testing.model import SHIPPED, Commits, Noted, Part, Rules, Version
from cachecore.testing.program import Making
from cachecore.testing.promises import Broken, Floors

FAULTS = ("crash", "evict", "lose", "garbage", "restart", "failover", "unknown", "timeout")

ENDED, DEAD = -1, -2
"""In place of the node of an actor who has ended or was killed."""


@dataclass(frozen=True)
class Actor:
    """Somebody who does ``program``. ``reads``: it yields Returned. ``twin``: an identical actor who begins first."""

    name: str
    program: Making
    reads: bool = False
    twin: str | None = None


@dataclass(frozen=True)
class Scene:
    """A world and those who act in it."""

    actors: tuple[Actor, ...]
    rows: tuple[Version, ...]
    """To begin with, those that do not exist yet included."""
    keys: Mapping[str, int | None]
    """Every key of the cache, with the identity of its row, or None where it has none."""
    fingerprint: bytes
    load: Callable[[Any], tuple[object, ...]]
    """Payload to row."""
    stored: Mapping[str, Entry] = field(default_factory=dict[str, Entry])
    """What stands in the cache to begin with."""
    epoch_key: str | None = None
    claims: Mapping[str, Callable[[tuple[Any, ...], Mapping[int, Version]], bool]] = field(
        default_factory=dict[str, Any]
    )
    """Coherent keys that are not of a row: whether what stands there, as `load` gives it, is true of these rows."""
    faults: Mapping[str, int] = field(default_factory=dict[str, int])
    """How often each may happen."""
    rules: Rules = SHIPPED


class Local(NamedTuple):
    """One actor: its node, the replies of a half-done operation, the floors when its read began, its transaction."""

    node: int = 0
    done: tuple[tuple[int, Any], ...] = ()
    began: Floors | None = None
    writes: tuple[Version, ...] = ()
    snapshot: int | None = None
    noted: tuple[str, ...] = ()
    """Keys that its open transaction has written into the journal."""


class State(NamedTuple):
    """The world at one moment."""

    commits: Commits
    cache: tuple[bytes | None, ...]
    copy: tuple[bytes | None, ...] | None
    """What a failover would bring back."""
    incarnation: int
    actors: tuple[Local, ...]
    late: tuple[Part, ...]
    """Sent, and not yet carried out."""
    floors: Floors
    budgets: tuple[int, ...]
    journal: tuple[tuple[Noted, bool], ...] = ()
    """Its committed rows, and whether the statement that a row announces may still be under way."""


class Step(NamedTuple):
    """Who did what, the state afterwards, and the promises that it broke."""

    cause: tuple[Any, ...]
    state: State
    broken: tuple[Broken, ...] = ()
