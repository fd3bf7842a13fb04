"""Figures as dots: where the median of the ratios is, from where to where it goes, and what it was to reach."""

from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import LogLocator

from benchmarks.publish.style import BAD, GOOD, GREY, axes
from benchmarks.results import Figure

GAIN = "times as fast as the reference (logarithmic; further right is better)"
COST = "times of the reference (logarithmic; further left is better)"


def dots(figures: Sequence[Figure], title: str, label: str) -> Any:
    """One line for each figure, all of them gains or all of them costs."""
    drawing, [axis] = axes(1, width=9.0, height=0.9 + 0.27 * len(figures))
    for place, figure in enumerate(reversed(figures)):
        ratio = figure.ratio
        colour = GOOD if figure.met else BAD
        axis.plot([ratio.low, ratio.high], [place, place], color=colour, linewidth=2, alpha=0.45, zorder=2)
        axis.plot([ratio.median], [place], "o", color=colour, markersize=5, zorder=3)
        if figure.target is not None:
            axis.plot([figure.target], [place], "|", color="black", markersize=10, zorder=4)
    names = [f"{figure.group}: {figure.name} [{figure.ours}] / {figure.reference}" for figure in reversed(figures)]
    axis.set_yticks(range(len(figures)), names)
    axis.set_ylim(-0.7, len(figures) - 0.3)
    axis.axvline(1, color=GREY, linewidth=1, zorder=1)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("")
    axis.set_xlabel(label)
    axis.set_title(title, loc="left")
    axis.grid(axis="x", which="both", color="#e4e4e4", zorder=0)
    return drawing
