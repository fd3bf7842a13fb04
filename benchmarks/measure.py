"""Ratios that hold on a noisy machine: how many times as fast as its reference something is.

Absolute times drift by a factor of two on a shared machine, so none is ever quoted. Both sides run in short turns, one
after the other: reference, ours, reference, ours, ..., reference. A round is one turn of ours and the two turns of the
reference around it, whose mean it is compared with; what drifts slowly cancels within the round. The figure is the
median of the ratios of all rounds, and the 10th and 90th percentile say how far to trust it.

A side that takes less than a microsecond should do many operations a call (a loop over a list of distinct values, the
same on both sides); otherwise the call itself is measured.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from time import process_time

Call = Callable[[], object]
Timer = Callable[[], float]

ROUNDS = 31
TURN = 0.01


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the per-round ratios, and their 10th (low) and 90th (high) percentile."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> "Ratio":
        """That of these rounds, at least one."""
        if len(rounds) == 1:
            return cls(rounds[0], rounds[0], rounds[0])
        deciles = quantiles(rounds, n=10, method="inclusive")
        return cls(median(rounds), deciles[0], deciles[-1])

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def gains(ours: Sequence[float], reference: Sequence[float]) -> list[float]:
    """How many times as fast as the reference ours was in each round.

    ours: seconds a call, one for each round. reference: the same of the turns around them, so one more.
    """
    if len(reference) != len(ours) + 1:
        raise ValueError(f"{len(ours)} turns of ours need {len(ours) + 1} of the reference, not {len(reference)}")
    return [
        (before + after) / 2 / mine for mine, before, after in zip(ours, reference[:-1], reference[1:], strict=True)
    ]


def compare(
    ours: Call, reference: Call, *, rounds: int = ROUNDS, turn: float = TURN, timer: Timer = process_time
) -> list[float]:
    """How many times as fast as the reference ours is in each round: the time of the reference / the time of ours.

    ours, reference: called without arguments; both must do the same amount of work a call.
    rounds: turns of ours, at least 1.
    turn: seconds one turn should last; each side's number of calls a turn is found from it before the first round.
    timer: a clock in seconds; the default counts this process's own processor time, which other processes disturb less.
    """
    ours_calls = calls_a_turn(ours, turn, timer)
    reference_calls = calls_a_turn(reference, turn, timer)
    mine: list[float] = []
    theirs = [seconds_a_call(reference, reference_calls, timer)]
    for _ in range(rounds):
        mine.append(seconds_a_call(ours, ours_calls, timer))
        theirs.append(seconds_a_call(reference, reference_calls, timer))
    return gains(mine, theirs)


def seconds_a_call(call: Call, calls: int, timer: Timer) -> float:
    """Seconds a call, of so many. Without the garbage collector, which would fall on one side by chance."""
    repeat = range(calls)
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = timer()
        for _ in repeat:
            call()
        return (timer() - start) / calls
    finally:
        if collecting:
            gc.enable()


def calls_a_turn(call: Call, turn: float, timer: Timer) -> int:
    """Enough calls to last about ``turn`` seconds; also warms the code up."""
    calls = 1
    while True:
        took = seconds_a_call(call, calls, timer) * calls
        if took >= turn:
            return calls
        calls = max(calls * 2, int(calls * turn / took)) if took > turn / 10 else calls * 10
