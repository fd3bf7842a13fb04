"""Which answers were right.

Theory of operation. A reader takes the *floor* before it asks: the highest version of which it is known that its commit
had returned. A row of a lower version is *stale*; the reader counts that itself. The rest needs to know what became of
every transaction, so the reader keeps evidence, and when all is over the database's own log decides:

- a version that is not in the log, or not the last of its transaction, or not of that row and slug: *dirty*;
- no row where the floor says that there is one: right only if a later transaction took it away, and its COMMIT may have
  been sent before the read ended (``ceiling``); otherwise *stale*.

Not judged as stale: an answer older than what another read has returned, when the commit had not yet returned. That is
counted apart, as *backward*: it cannot happen while no hold is lost.
"""

import bisect
import pickle
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.coherence.world import Event, State, World

EXAMPLES = 20
"""Wrong answers that a report names."""


@dataclass
class Evidence:
    """What readers have seen and cannot judge alone, with how often."""

    states: Counter[State] = field(default_factory=Counter)
    absences: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    """(object, floor, ceiling): the highest versions that were committed before and issued after the read."""
    stale: Counter[tuple[State, int, str]] = field(default_factory=Counter)
    """(state, floor, how it was asked for): already counted by the reader; kept for the report."""
    unfinished: set[int] = field(default_factory=set)
    """Versions whose commit returned though the cache had not acknowledged COMPLETE: writers' evidence."""

    def add(self, other: "Evidence") -> None:
        """Take in somebody else's."""
        self.states.update(other.states)
        self.absences.update(other.absences)
        self.stale.update(other.stale)
        self.unfinished |= other.unfinished

    def append_to(self, path: Path) -> None:
        """Write it at the end of a file, and begin anew."""
        with path.open("ab") as file:
            file.write(pickle.dumps((self.states, self.absences, self.stale, self.unfinished)))
        self.states, self.absences, self.stale, self.unfinished = Counter(), Counter(), Counter(), set()

    @classmethod
    def read(cls, paths: Iterable[Path]) -> "Evidence":
        """All that stands in files; the last piece of a process that was killed while it wrote is left out."""
        found = cls()
        for path in paths:
            with path.open("rb") as file:
                while True:
                    try:
                        found.add(cls(*pickle.load(file)))
                    except (EOFError, pickle.UnpicklingError):
                        break
        return found


class History:
    """What was committed. ``log`` holds (event, transaction), in the order of the versions."""

    def __init__(self, world: World, log: Iterable[tuple[Event, int]]) -> None:
        self.world = world
        self.visible: dict[int, State | None] = {}
        """Version to the state that others could see; None where the row was gone."""
        last_of_row: dict[tuple[int, int], Event] = {}
        last_of_object: dict[tuple[int, int], tuple[int, bool]] = {}
        for event, transaction in log:
            last_of_row[transaction, event.pk] = event
            for thing, there in world.touched(event):
                last_of_object[transaction, thing] = (event.version, there)
        for event in last_of_row.values():
            self.visible[event.version] = State(event.pk, event.new_slug, event.version) if event.new_slug else None
        self._presence: dict[int, list[tuple[int, bool]]] = defaultdict(list)
        for (_, thing), change in last_of_object.items():
            self._presence[thing].append(change)
        for changes in self._presence.values():
            changes.sort()

    def is_dirty(self, state: State) -> bool:
        """Whether nobody ever committed this state."""
        return self.visible.get(state.version) != state

    def may_be_absent(self, thing: int, floor: int, ceiling: int) -> bool:
        """Whether an object was not there at some moment between the commits of ``floor`` and of ``ceiling``."""
        changes = self._presence[thing]
        place = bisect.bisect_right(changes, (floor, True))
        if place == 0 or not changes[place - 1][1]:
            return True
        return any(version <= ceiling and not there for version, there in changes[place:])


@dataclass
class Verdict:
    """Answers that were wrong, by the log; ``stale`` has those only that the reader could not tell."""

    stale: int = 0
    dirty: int = 0
    examples: list[str] = field(default_factory=list)


def judge(evidence: Evidence, history: History) -> Verdict:
    """Hold the readers' evidence against the database's log."""
    verdict = Verdict()
    for state, times in evidence.states.items():
        if history.is_dirty(state):
            verdict.dirty += times
            verdict.examples.append(f"dirty, {times} times: {state}")
    for (thing, floor, ceiling), times in evidence.absences.items():
        if not history.may_be_absent(thing, floor, ceiling):
            verdict.stale += times
            name = history.world.name(thing)
            verdict.examples.append(f"missing, {times} times: {name!r} after version {floor}, before {ceiling}")
    for (state, floor, how), times in evidence.stale.items():
        told = ", of which the cache could not be told" if floor in evidence.unfinished else ""
        verdict.examples.append(f"stale, {times} times: {state} by {how}, after the commit of version {floor}{told}")
    del verdict.examples[EXAMPLES:]
    return verdict


def differing(answers: Mapping[int, State | None], rows: Mapping[int, State], world: World) -> list[str]:
    """The objects whose answer, all being quiet, is not what the database holds."""
    by_slug = {state.slug: state for state in rows.values()}
    wrong: list[str] = []
    for thing, answer in answers.items():
        name = world.name(thing)
        right = rows.get(name) if isinstance(name, int) else by_slug.get(name)
        if answer != right:
            wrong.append(f"{name!r} is {answer} and should be {right}")
    return wrong
