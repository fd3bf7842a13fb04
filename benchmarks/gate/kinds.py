"""The two halves of the gate: what each measures, how, and how wide its margins are.

Margins of instructions: runs of the same sources in one checkout differ by 0.3 % at most, those of one commit in two
checkouts by up to 4 % (rows of SQLAlchemy; why is not known). With another build of the same Python, one that was
optimised by profiles, our compiled code gained less than its references: figures were up to 16 % worse, hence the
margin elsewhere. Margins of time come from the runs of the update, every third of them on a busy machine, where figures
were up to 1.4 times as bad; they have bounds, and the widest still finds what became twice as slow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from benchmarks.gate.baseline import Baseline, Half, Reading
from benchmarks.gate.callgrind import COUNTED, counts
from benchmarks.gate.timing import TIMED, times

Name = Literal["instructions", "time"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One half of the gate."""

    name: Name
    how: str
    """For people who read the baseline."""
    groups: tuple[str, ...]
    measure: Callable[[Sequence[str]], list[Reading]]
    """Gives the figures of these groups. Raises CannotCount, BenchmarkFailed."""
    runs: int
    """Of an update."""
    least: float
    """The smallest margin."""
    most: float
    """The largest."""
    elsewhere: float
    """The smallest with another toolchain than the baseline's."""
    spreads: float
    """Between the bounds a margin is so many times what the worst run of the update was off."""

    def halves(self, baseline: Baseline) -> list[Half]:
        """Those of this kind in a baseline."""
        return baseline.instructions if self.name == "instructions" else baseline.time


def kinds(*, quick: bool = False) -> list[Kind]:
    """Both; quick: the times are of few short rounds."""
    return [
        Kind(
            name="instructions",
            how="instructions of one call under callgrind, as the ratio of the benchmark; the median of some runs",
            groups=COUNTED,
            measure=counts,
            runs=3,
            least=0.06,
            most=0.15,
            elsewhere=0.25,
            spreads=3,
        ),
        Kind(
            name="time",
            how="the figures of ./run bench; the median of some runs, every third beside busy processes",
            groups=TIMED,
            measure=partial(times, quick=quick),
            runs=10,
            least=0.6,
            most=0.9,
            elsewhere=0.8,
            spreads=1.5,
        ),
    ]
