"""Visit every interleaving, crash and fault of the shipped protocol, and report which promises break.

Theory of operation
-------------------
An *actor* is a generator that runs the flows of `cachecore.coherence` and does what surrounds them: statements, COMMIT.
A flow is a function of the replies it got, so an actor's state is the list of these replies. What it asks for after
each list is found out once, by running a new generator through it, and remembered (`cachecore.testing.program`); from
then on an actor in a state is one number.

The *state* of the world (`cachecore.testing.world`) is: the commits so far, the bytes under every key of the cache,
every actor's number and open transaction, requests that were sent and will be carried out later, and how many faults
may still happen. From a state lead steps: one actor performs its next operation (on one key, if there are several), a
late request is carried out, or a fault happens. Breadth first search visits every state once, whatever way leads to it,
and remembers the first way to each, so that a counterexample is a shortest one. Time stands still: expiry is a fault.

What is local to an actor (notes, clocks, checks) happens together with the operation before it. A read begins with its
first operation and ends with its last; both are the strictest choice. Identical actors begin in their order, which
loses nothing.

Promises, checked at every return of a reader, inside transactions (P4), and when all who began have ended or died (P2):

P0  What was returned had been committed.
P1  It is not older than a commit acknowledged before the read began.
P2  No entry that would be believed differs from the database, but for those noted in the journal, whose replay comes.
P3  It is not older than what a read returned that had finished before this one began.
P4  A transaction sees its own writes.
LK  By lookup: the row has the value asked for; none was found only if at some moment there was none. Of a list every
    row has it; a row that is not in the list tells P1 and P3 that it has it not.

Faults, each with a budget: crash (of an actor, between any two parts), evict (a lease or value), lose (a hold, or one
writer in it), garbage (bytes of somebody else), restart (empty), failover (to a copy of an earlier moment), unknown
(COMMIT raises, and is done now, later or never), timeout (of a call of the cache, likewise).
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from cachecore.testing.scene import Scene, State
from cachecore.testing.telling import line
from cachecore.testing.world import World


@dataclass
class Report:
    """What a search found."""

    states: int = 0
    checked: set[str] = field(default_factory=set[str])
    """The promises that somebody had an occasion to break."""
    broken: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Each broken promise, and the shortest way to break it, a line for each step."""


def explore(scene: Scene, limit: int = 10_000_000) -> Report:
    """Visit every state of ``scene``.

    Raises AssertionError if actors wait for each other for ever, or if there are more than ``limit`` states.
    """
    world = World(scene)
    first = world.first()
    origins: list[tuple[int, tuple[Any, ...]]] = [(0, ("begin",))]
    numbers = {first: 0}
    queue: deque[State] = deque([first])
    report = Report()
    while queue:
        state = queue.popleft()
        number = numbers[state]
        stuck = world.living(state)
        for cause, following, broken in world.steps(state):
            stuck = False
            known = len(numbers)
            if numbers.setdefault(following, known) == known:
                origins.append((number, cause))
                queue.append(following)
                outdated = world.outdated(following)
                if outdated is not None:
                    broken = (*broken, ("P2", f"all is quiet, and {outdated}"))
            for promise, how in broken:
                if promise not in report.broken:
                    report.broken[promise] = [*_way(origins, number), line(cause), f"=> {promise}: {how}"]
        assert not stuck, f"everybody waits for somebody: {_way(origins, number)}"
        assert len(numbers) <= limit, f"more than {limit} states"
    report.states, report.checked = len(numbers), world.checked
    return report


def _way(origins: list[tuple[int, tuple[Any, ...]]], number: int) -> list[str]:
    """The steps from the beginning to the state of this number."""
    lines: list[str] = []
    while number:
        number, cause = origins[number]
        lines.append(line(cause))
    return lines[::-1]
