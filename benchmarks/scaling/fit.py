"""How fast a cost grows: the exponent k of x^k, over all points and between neighbours.

A cost is measured as a + b * x^k: what a call costs anyway, and what size adds. Where the last cost is GROWN times the
first, a, b and k are found together: for each k of a grid the best a and b, neither negative, solve a linear problem of
two unknowns, and the k with the least error wins (variable projection: Golub and Pereyra, "The differentiation of
pseudo-inverses and nonlinear least squares problems whose variables separate", SIAM Journal on Numerical Analysis 10,
1973). Errors are relative, so that the small sizes count as much as the large ones.

Below that the constant hides the growth, and k cannot be told from it: the exponent is then the slope of log(cost) on
log(x) by least squares, which is what the cost as a whole does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Final

Point = tuple[float, float]
"""Size, and cost."""

GROWN: Final = 3.0
_POWERS: Final = [step / 100 for step in range(5, 301)]


@dataclass(frozen=True, slots=True)
class Fit:
    """What was fitted: the exponent, and which part of the first cost is the constant; None: no constant was fitted."""

    exponent: float
    constant: float | None


def fitted(points: Sequence[Point]) -> Fit:
    """That of points of at least two sizes, in the order of their sizes; all costs are positive."""
    if len(points) < 2:
        raise ValueError("one point has no exponent")
    if len(points) < 4 or points[-1][1] < GROWN * points[0][1]:
        return Fit(_slope(points), None)
    _, power, constant = min(_with_constant(points, power) for power in _POWERS)
    return Fit(power, constant / points[0][1])


def local(before: Point, after: Point) -> float:
    """The exponent between two points."""
    return log(after[1] / before[1]) / log(after[0] / before[0])


def _slope(points: Sequence[Point]) -> float:
    xs, ys = [log(x) for x, _ in points], [log(y) for _, y in points]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - x_mean) ** 2 for x in xs)


def _with_constant(points: Sequence[Point], power: float) -> tuple[float, float, float]:
    """(squared relative error, power, a) of the best a + b * x^power with a and b not negative."""
    largest = points[-1][0]
    us = [1 / y for _, y in points]
    vs = [(x / largest) ** power / y for x, y in points]
    uu, uv, vv = _dot(us, us), _dot(us, vs), _dot(vs, vs)
    u, v = sum(us), sum(vs)
    determinant = uu * vv - uv * uv
    a, b = (u * vv - v * uv) / determinant, (v * uu - u * uv) / determinant
    if a < 0:
        a, b = 0.0, v / vv
    elif b < 0:
        a, b = u / uu, 0.0
    return sum((a * one + b * other - 1) ** 2 for one, other in zip(us, vs, strict=True)), power, a


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(one, other, strict=True))
