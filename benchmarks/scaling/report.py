"""A curve as text: a line for each size, a column for each series, and what is to be said below."""

from collections.abc import Iterator, Sequence

from benchmarks.scaling.curve import Curve, Series
from benchmarks.scaling.fit import local


def text(curve: Curve, problems: Sequence[str]) -> str:
    """The table of a curve with its notes, and with these problems."""
    sizes = sorted({point[0] for one in curve.series for point in one.points})
    columns = [
        [curve.x_label, *(f"{size:,}" for size in sizes), "exponent", "promised"],
        *([one.name, *_cells(one, sizes), *_exponents(one)] for one in curve.series),
    ]
    widths = [max(map(len, column)) for column in columns]
    rows = (
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in zip(*columns, strict=True)
    )
    return "\n".join(
        [f"{curve.name}: {curve.title}", *rows, *_below(curve), *(f"  PROBLEM: {problem}" for problem in problems)]
    )


def _cells(one: Series, sizes: list[int]) -> Iterator[str]:
    """The value at each size, with the exponent of the step that leads there."""
    points = {point[0]: point for point in one.points}
    before = None
    for size in sizes:
        point = points.get(size)
        if point is None:
            yield "-"
            continue
        step = "" if before is None else f"^{local(before[:2], point[:2]):.2f}"
        yield f"{_number(point[1])} {step:>6}"
        before = point


def _exponents(one: Series) -> Iterator[str]:
    yield f"{one.exponent:.2f} {'+ c' if one.constant else '':>6}"
    sign = ">=" if one.better == "higher" else "<="
    yield "" if one.expected is None else f"{sign} {one.expected:g}, {one.tolerance:g} tolerated"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"


def _below(curve: Curve) -> Iterator[str]:
    yield f"  values: {curve.y_label}; ^: the exponent of a step; + c: over a constant"
    yield f"  documented: {curve.docs}"
    for note in curve.notes:
        yield f"  {note}"
    for one in curve.series:
        for cliff in one.cliffs:
            yield f"  step of {one.name} from {cliff.before:,} to {cliff.after:,}: {cliff.why or 'not explained'}"
