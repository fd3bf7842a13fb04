"""How all plots look, and how they become files that change only where what they show does."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot

# The palette of Okabe and Ito (2008), which people with any colour vision can tell apart.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
GOOD, BAD, GREY = PALETTE[0], PALETTE[1], "#8a8a8a"

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "cachecore",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "legend.frameon": False,
}


def axes(count: int, *, width: float, height: float, columns: int = 1) -> tuple[Any, list[Any]]:
    """A drawing of so many axes, in inches, and these axes from left to right and top to bottom."""
    pyplot.rcParams.update(_STYLE)
    rows = -(-count // columns)
    drawing, grid = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained")
    every = list(grid.flat)
    for unused in every[count:]:
        unused.set_visible(False)
    return drawing, every[:count]


def write(drawing: Any, path: Path) -> None:
    """Write it as SVG, and close it."""
    drawing.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(drawing)
    # Trailing blanks and a missing last newline would be somebody's diff one day.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
