"""Times at several sizes in one run: each round visits every size, and at each size every side has a turn.

Within a round, which lasts a second or so, little drifts; what is compared is compared within it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measure import Call, Timer, calls_a_turn, seconds_a_call
from benchmarks.scaling.curve import Series, Values, series


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: everything, or just enough to see that it works."""

    rounds: int
    turn: float
    """Seconds one turn should last."""
    quick: bool = False

    def sizes(self, full: Sequence[int], most: int) -> list[int]:
        """These sizes; if it is to be quick, those up to ``most``."""
        return [size for size in full if not self.quick or size <= most]

    def fewer(self, rounds: int) -> "Effort":
        """The same with at most so many rounds."""
        return Effort(min(rounds, self.rounds), self.turn, self.quick)


FULL = Effort(rounds=15, turn=0.008)
QUICK = Effort(rounds=3, turn=0.002, quick=True)

Sides = Mapping[str, Mapping[int, Call]]
"""The name of a side to its calls at each size; all sides need not have the same sizes."""
Times = dict[str, dict[int, list[float]]]
"""The name of a side and a size to the seconds a call in each round."""


def swept(sides: Sides, effort: Effort, timer: Timer) -> Times:
    """Measure all sides at all sizes."""
    sizes = sorted({size for calls in sides.values() for size in calls})
    plan = [
        (name, size, call, calls_a_turn(call, effort.turn, timer))
        for size in sizes
        for name, calls in sides.items()
        if (call := calls.get(size)) is not None
    ]
    times: Times = {name: {size: [] for size in sorted(calls)} for name, calls in sides.items()}
    for number in range(effort.rounds):
        # Who goes first would meet what the one before has left in the processor's caches.
        for name, size, call, calls in plan if number % 2 else reversed(plan):
            times[name][size].append(seconds_a_call(call, calls, timer))
    return times


def relative(times: Times, side: str, base: str) -> Values:
    """A side's times in each round as multiples of the base's at its smallest size."""
    unit = next(iter(times[base].values()))
    return {
        size: [one / other for one, other in zip(rounds, unit, strict=True)] for size, rounds in times[side].items()
    }


def ratios(times: Times, side: str, base: str) -> Values:
    """A side's times in each round as multiples of the base's at the same size, at the sizes that both have."""
    return {
        size: [one / other for one, other in zip(rounds, times[base][size], strict=True)]
        for size, rounds in times[side].items()
        if size in times[base]
    }


def against(
    times: Times,
    ours: str,
    reference: str,
    *,
    expected: float | None = None,
    expected_ratio: float | None = None,
    tolerance: float = 0.25,
    explained: Mapping[int, str] | None = None,
) -> list[Series]:
    """Three series: ours and the reference relative to the reference's smallest size, and their ratio at each size."""
    return [
        series(
            ours,
            "ours",
            relative(times, ours, reference),
            expected=expected,
            tolerance=tolerance,
            explained=explained,
        ),
        series(reference, "reference", relative(times, reference, reference)),
        series(
            f"{ours} / {reference}",
            "ratio",
            ratios(times, ours, reference),
            expected=expected_ratio,
            tolerance=tolerance,
            explained=explained,
        ),
    ]
