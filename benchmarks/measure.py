"""Ratios that hold on a noisy machine: how many times as fast as its reference something is.

Absolute times drift by a factor of two on a shared machine, so none is ever quoted. Both sides run in short
turns, one directly after the other, and every pair of turns gives one ratio; what drifts slowly cancels
within the pair. The figure is the median of those ratios, and the 10th and 90th percentile say how far to
trust it.

A side that takes less than a microsecond should do many operations a call (a loop over a list of distinct
values, the same on both sides); otherwise the call itself is measured.
"""

import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median, quantiles
from time import process_time
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the per-round ratios, and their 10th (low) and 90th (high) percentile."""

    median: float
    low: float
    high: float

    def inverse(self) -> "Ratio":
        """The cost instead of the gain: ours / reference where compare gave reference / ours."""
        return Ratio(1 / self.median, 1 / self.high, 1 / self.low)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table that the benchmark command prints."""

    group: str
    """The subject, one word: keys, rows, memory."""
    name: str
    """What was measured, for people."""
    ours: str
    """The call measured on our side."""
    reference: str
    """What it was measured against, in the same run."""
    ratio: Ratio
    target: float
    """The ratio to reach."""
    better: Better = "higher"
    """higher: the ratio is reference / ours, a gain; lower: ours / reference, a cost or a size."""

    @property
    def met(self) -> bool:
        """Whether the median reaches the target."""
        return self.ratio.median >= self.target if self.better == "higher" else self.ratio.median <= self.target


def compare(
    ours: Callable[[], object],
    reference: Callable[[], object],
    *,
    rounds: int = 31,
    turn: float = 0.01,
    timer: Callable[[], float] = process_time,
) -> Ratio:
    """How many times as fast as the reference ours is: the time of the reference / the time of ours.

    ours, reference: called without arguments; both must do the same amount of work a call.
    rounds: pairs of turns, at least 2. Which side goes first alternates.
    turn: seconds one turn should last; each side's number of calls a turn is found from it before the first round.
    timer: a clock in seconds; the default counts this process's own processor time, which other processes disturb less.
    """
    ours_calls = _calls_a_turn(ours, turn, timer)
    reference_calls = _calls_a_turn(reference, turn, timer)
    ratios: list[float] = []
    collecting = gc.isenabled()
    gc.disable()  # a collection falls on one side by chance
    try:
        for number in range(rounds):
            if number % 2:
                ours_time = _time(ours, ours_calls, timer)
                reference_time = _time(reference, reference_calls, timer)
            else:
                reference_time = _time(reference, reference_calls, timer)
                ours_time = _time(ours, ours_calls, timer)
            ratios.append(reference_time / ours_time)
    finally:
        if collecting:
            gc.enable()
    deciles = quantiles(ratios, n=10, method="inclusive")
    return Ratio(median(ratios), deciles[0], deciles[-1])


def table(figures: Iterable[Figure]) -> str:
    """The figures as aligned plain text: figure, reference, ratio, target, met."""
    lines = [("figure", "reference", "ratio", "target", "met")]
    for figure in figures:
        sign = ">=" if figure.better == "higher" else "<="
        name = f"{figure.group}: {figure.name} [{figure.ours}]"
        met = "yes" if figure.met else "NO"
        lines.append((name, figure.reference, str(figure.ratio), f"{sign} {figure.target:g}", met))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(row.rstrip() for row in rows)


def _time(call: Callable[[], object], calls: int, timer: Callable[[], float]) -> float:
    """Seconds a call."""
    repeat = range(calls)
    start = timer()
    for _ in repeat:
        call()
    return (timer() - start) / calls


def _calls_a_turn(call: Callable[[], object], turn: float, timer: Callable[[], float]) -> int:
    """Enough calls to last about `turn` seconds; also warms the code up."""
    calls = 1
    while True:
        took = _time(call, calls, timer) * calls
        if took >= turn:
            return calls
        calls = max(calls * 2, int(calls * turn / took)) if took > turn / 10 else calls * 10
