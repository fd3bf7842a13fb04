"""The fixture ``versus``: one benchmark of pytest-benchmark, timed in turns with its reference.

pytest-benchmark runs and records the rounds of ours; after each of them, where it calls ``teardown``, the reference has
a turn of its own. So both are measured in one run and interleaved, and whatever pytest-benchmark shows or compares
works too. What comes of it, a `Figure`, is put into the benchmark's extra_info, which its JSON has.
"""

from collections.abc import Callable
from statistics import median
from typing import Any, Final

import msgspec
import pytest

from benchmarks.measure import ROUNDS, TURN, Call, Timer, calls_a_turn, gains, seconds_a_call
from benchmarks.results import Better, Figure

QUICK_ROUNDS: Final = 3
QUICK_TURN: Final = 0.001
FIGURE: Final = "figure"
"""The name in extra_info."""
MEASURE: Final = pytest.StashKey[type]()
"""Where a plugin may put, in pytest_configure, what is to measure instead of `Versus`, with the same arguments."""


def timed(timer: Timer) -> pytest.MarkDecorator:
    """The mark of benchmarks, of a module or of one: the clock of both sides.

    timer: seconds; process_time for what only computes, perf_counter for what waits for others.
    """
    return pytest.mark.benchmark(timer=timer, disable_gc=True)


class Versus:
    """Measures one thing against its reference; ``figure`` is what came of it, None before."""

    def __init__(self, benchmark: Any, group: str, timer: Timer | None, quick: bool) -> None:
        self._benchmark = benchmark
        self._group = group
        self._timer = timer
        self._quick = quick
        self.figure: Figure | None = None

    def __call__(
        self,
        name: str,
        ours: Call,
        reference: Call,
        *,
        shown: str,
        against: str,
        target: float | None = None,
        better: Better = "higher",
        rounds: int = ROUNDS,
        turn: float = TURN,
    ) -> None:
        """Run both in turns.

        name: what is measured, for people. ours, reference: called without arguments; both do the same amount of work
        a call. shown, against: what they are, for people. target: what the ratio is to reach; None: it is shown and not
        judged. better: "higher" for a ratio that is a gain, "lower" for one that is a cost. rounds: turns of ours.
        turn: seconds that one turn should last.
        """
        if self._timer is None:
            raise TypeError("a benchmark that uses versus names its clock: pytestmark = timed(process_time)")
        if self._quick:
            rounds, turn = QUICK_ROUNDS, QUICK_TURN
        if self._benchmark.disabled:  # only to see that they run
            self._benchmark(ours)
            reference()
            return
        timer = self._timer
        calls, reference_calls = calls_a_turn(ours, turn, timer), calls_a_turn(reference, turn, timer)
        theirs: list[float] = []
        self._benchmark.group = f"{self._group}: {name}"
        self._benchmark.pedantic(
            ours,
            teardown=lambda: theirs.append(seconds_a_call(reference, reference_calls, timer)),
            warmup_rounds=1,
            rounds=rounds,
            iterations=calls,
        )
        mine = self._benchmark.stats.stats.data
        found = gains(mine, theirs[: rounds + 1])  # a turn more than that is of the call that gives the result
        self._tell(
            name, found if better == "higher" else [1 / gain for gain in found], shown, against, target, better, "x"
        )
        self._benchmark.extra_info["reference_seconds"] = median(theirs)

    def value(
        self,
        name: str,
        measure: Callable[[], list[float]],
        *,
        shown: str,
        against: str,
        unit: str,
        target: float | None = None,
        better: Better = "lower",
    ) -> None:
        """Measure what is no ratio of times, such as a size.

        measure: gives the values, at least one; how long that takes says nothing. unit: of the values; "x": a ratio.
        """
        self._benchmark.group = f"{self._group}: {name}"
        values = self._benchmark.pedantic(measure)
        if not self._benchmark.disabled:
            self._tell(name, values, shown, against, target, better, unit)

    def _tell(
        self,
        name: str,
        rounds: list[float],
        shown: str,
        against: str,
        target: float | None,
        better: Better,
        unit: str,
    ) -> None:
        self.figure = Figure(
            group=self._group,
            name=name,
            ours=shown,
            reference=against,
            rounds=tuple(rounds),
            target=target,
            better=better,
            unit=unit,
        )
        self._benchmark.extra_info[FIGURE] = msgspec.to_builtins(self.figure)
