"""What a curve says: cost at each size, how fast it grows, how fast it may, and where it has a cliff.

Costs are never times, which drift: a series of ours or of its reference is relative to the reference at the smallest
size in the same round (where there is none, to itself), a ratio is ours to the reference at the same size in the same
round. Counts (round trips, bytes) are what they are.

A cliff is a step between neighbouring sizes that is steeper than expected by more than the tolerance, or that goes the
other way by more than the tolerance, in nine rounds of ten. Each must be explained where the curve is made, under the
size at which the step ends. An exponent, too, is worse than promised only if it is so in nine rounds of ten: on a
machine that others use, a few rounds say nothing.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import msgspec

from benchmarks.measure import Ratio
from benchmarks.results import Better, Machine
from benchmarks.scaling.fit import fitted, local

Role = Literal["ours", "reference", "ratio", "count"]
Values = Mapping[int, Sequence[float]]
"""Size to the values of all rounds."""


class Cliff(msgspec.Struct, frozen=True, kw_only=True):
    """A step that is steeper than its series should be anywhere."""

    before: int
    after: int
    """The sizes at its ends."""
    exponent: float
    """Between them, of the medians."""
    why: str
    """The explanation; "" if there is none."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a curve."""

    name: str
    role: Role
    points: list[tuple[int, float, float, float]]
    """Size, median, 10th and 90th percentile of the rounds."""
    better: Better
    """lower: a cost. higher: a throughput, which may not fall."""
    exponent: float
    constant: float | None
    """Of the medians; see `benchmarks.scaling.fit.Fit`."""
    exponent_low: float
    exponent_high: float
    """10th and 90th percentile of those of each round."""
    expected: float | None
    """The exponent that the documentation promises; None: shown, not judged."""
    tolerance: float
    """By how much the exponent, and that of each step, may differ from it for the worse."""
    cliffs: list[Cliff]

    @property
    def problems(self) -> list[str]:
        """What is not as the documentation says."""
        if self.expected is None:
            return []
        found = [
            f"{self.name}: nothing explains the step from {one.before:,} to {one.after:,}, exponent {one.exponent:.2f}"
            for one in self.cliffs
            if not one.why
        ]
        if self.is_worse:
            found.append(f"{self.name}: the exponent is {self.exponent:.2f}, not {self.expected:g}")
        return found

    @property
    def is_worse(self) -> bool:
        """Whether the exponent is beyond what is expected and tolerated."""
        if self.expected is None:
            return False
        if self.better == "higher":
            return max(self.exponent, self.exponent_high) < self.expected - self.tolerance
        return min(self.exponent, self.exponent_low) > self.expected + self.tolerance


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One subject against size."""

    name: str
    """One word."""
    title: str
    x_label: str
    y_label: str
    unit: str
    """x: relative, see above; else what the values are: round trips, statements, bytes."""
    docs: str
    """The sentence of the documentation that says how it grows."""
    series: list[Series]
    notes: list[str] = []
    """What else there is to know, for whoever sees the curve."""
    broken: list[str] = []
    """What was measured besides and is not as promised."""

    @property
    def problems(self) -> list[str]:
        """What is not as the documentation says, in any series or besides."""
        return [*self.broken, *(problem for one in self.series for problem in one.problems)]


class Curves(msgspec.Struct, kw_only=True):
    """What a run found, and where."""

    machine: Machine
    curves: list[Curve]


def series(
    name: str,
    role: Role,
    values: Values,
    *,
    expected: float | None = None,
    tolerance: float = 0.25,
    better: Better = "lower",
    explained: Mapping[int, str] | None = None,
) -> Series:
    """The series of these values, fitted and with its cliffs.

    expected, tolerance: the exponent and by how much it, and that of each step, may be worse; None: not judged.
    explained: a size to why the step that ends there is a cliff; of a cliff that is not there it explains nothing.
    """
    points: list[tuple[int, float, float, float]] = []
    for size, rounds in values.items():
        ratio = Ratio.of(rounds)
        points.append((size, ratio.median, ratio.low, ratio.high))
    fit = fitted([(x, middle) for x, middle, *_ in points])
    spread = Ratio.of(
        [fitted(list(zip(values, one, strict=True))).exponent for one in zip(*values.values(), strict=True)]
    )
    return Series(
        name=name,
        role=role,
        points=points,
        better=better,
        exponent=fit.exponent,
        constant=fit.constant,
        exponent_low=spread.low,
        exponent_high=spread.high,
        expected=expected,
        tolerance=tolerance,
        cliffs=[] if expected is None else _cliffs(values, role, better, expected, tolerance, explained or {}),
    )


def _cliffs(
    values: Values, role: Role, better: Better, expected: float, tolerance: float, explained: Mapping[int, str]
) -> list[Cliff]:
    found: list[Cliff] = []
    for (x, before), (next_x, after) in pairwise(values.items()):
        step = Ratio.of([local((x, one), (next_x, other)) for one, other in zip(before, after, strict=True)])
        rises, falls = step.low > expected + tolerance, step.high < min(expected, 0.0) - tolerance
        # What gets better with size is a cliff only of a cost: a ratio falls where a constant is spread over more.
        if better == "higher":
            rises = False
        elif role == "ratio":
            falls = False
        if rises or falls:
            found.append(Cliff(before=x, after=next_x, exponent=step.median, why=explained.get(next_x, "")))
    return found
