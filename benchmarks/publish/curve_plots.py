"""Scaling curves and hit ratios as lines."""

from collections.abc import Sequence
from typing import Any

from benchmarks.hitratio.__main__ import COLUMNS
from benchmarks.hitratio.__main__ import Document as HitRatios
from benchmarks.publish.style import GREY, PALETTE, axes
from benchmarks.scaling.curve import Curve


def curves(found: Sequence[Curve]) -> Any:
    """Cost against size, both logarithmic, a drawing for each curve; references are dashed."""
    columns = min(2, len(found))
    drawing, every = axes(len(found), width=5.2 * columns, height=3.9 * -(-len(found) // columns), columns=columns)
    for axis, one in zip(every, found, strict=True):
        for number, series in enumerate(one.series):
            x, middle, low, high = zip(*series.points, strict=True)
            colour = PALETTE[number % len(PALETTE)]
            style = "--" if series.role == "reference" else "-"
            label = f"{series.name}: {series.exponent:.2f}"
            axis.plot(x, middle, style, marker="o", markersize=3, color=colour, label=label, zorder=3)
            axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0, zorder=2)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel(one.x_label)
        axis.set_ylabel(one.y_label)
        axis.set_title(one.title, loc="left")
        axis.grid(color="#e4e4e4", zorder=0)
        axis.legend(
            title="exponents", loc="upper center", bbox_to_anchor=(0.5, -0.18), fontsize=7.5, title_fontsize=7.5
        )
    return drawing


def hit_ratios(found: HitRatios) -> Any:
    """How many points each policy stands above or below LRU, on each trace and room."""
    rows = found.rows
    drawing, [axis] = axes(1, width=8.0, height=0.9 + 0.26 * len(rows))
    shown = [name for name in COLUMNS if name != "lru"]
    for number, name in enumerate(shown):
        values = [getattr(row, name) - row.lru for row in reversed(rows)]
        colour = GREY if name == "best" else PALETTE[number]
        marker = "|" if name == "best" else "o" if name == "ours" else "."
        axis.plot(values, range(len(rows)), marker, color=colour, label=name, markersize=7, alpha=0.85)
    axis.set_yticks(range(len(rows)), [f"{row.trace}, room {row.share:.1%}" for row in reversed(rows)])
    axis.axvline(0, color=GREY, linewidth=1)
    axis.set_xlabel("points above LRU")
    axis.set_title("Hit ratio", loc="left")
    axis.grid(axis="x", color="#e4e4e4")
    axis.legend(loc="lower right")
    return drawing
