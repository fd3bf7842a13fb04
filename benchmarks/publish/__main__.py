"""``./run bench publish``: measure everything, and make the tables and plots of docs/benchmarks.md of it.

The results are kept beside the plots as JSON, so that ``--redraw`` makes the same page again without measuring.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.groups import GROUPS, PEERS
from benchmarks.hitratio.__main__ import Document as HitRatios
from benchmarks.publish import tables
from benchmarks.publish.page import PageMismatch, rewritten
from benchmarks.results import Document, Figure
from benchmarks.scaling.curve import Curve, Curves

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PAGE = "benchmarks.md"
FOLDER = "benchmarks"

COMMANDS = {
    "figures.json": ["--peers"],
    "scaling.json": ["scaling"],
    "hitratio.json": ["hitratio"],
}
"""The results, and what measures them."""


@dataclass(frozen=True, slots=True)
class Results:
    """All that the page is made of."""

    figures: Document
    scaling: Curves
    hit_ratios: HitRatios

    @classmethod
    def read(cls, folder: Path) -> "Results":
        """Those that lie in a folder. Raises OSError, or msgspec.ValidationError for what they are not."""
        return cls(
            msgspec.json.decode((folder / "figures.json").read_bytes(), type=Document),
            msgspec.json.decode((folder / "scaling.json").read_bytes(), type=Curves),
            msgspec.json.decode((folder / "hitratio.json").read_bytes(), type=HitRatios),
        )

    def group(self, *names: str) -> list[Figure]:
        """The figures of these groups."""
        return [figure for figure in self.figures.figures if figure.group in names]

    def curves(self) -> dict[str, list[Curve]]:
        """The curves of each subject."""
        found: dict[str, list[Curve]] = {}
        for curve in self.scaling.curves:
            found.setdefault(curve.name.partition("-")[0], []).append(curve)
        return found


def parts(results: Results) -> dict[str, str]:
    """The parts of the page, by name."""
    made = {"machine": tables.machine(results.figures.machine), "hitratio": tables.hit_ratios(results.hit_ratios)}
    made |= {group: tables.figures(results.group(group)) for group in (*GROUPS, *PEERS)}
    made |= {f"scaling-{subject}": tables.curves(curves) for subject, curves in results.curves().items()}
    return made


def plots(results: Results) -> dict[str, Callable[[], Any]]:
    """The drawings, by the names of their files."""
    from benchmarks.publish import curve_plots, figure_plots  # matplotlib is in the extra bench only

    ratios = [figure for figure in results.figures.figures if figure.unit == "x" and len(figure.rounds) > 1]
    gains = [figure for figure in ratios if figure.better == "higher"]
    costs = [figure for figure in ratios if figure.better == "lower"]
    computing, network = ("keys", "rows", "map", "django", "sqlalchemy", "bulk", "tracking"), ("redis", "memcached")

    def dots(found: list[Figure], groups: tuple[str, ...], title: str, label: str) -> Callable[[], Any]:
        return partial(figure_plots.dots, [one for one in found if one.group in groups], title, label)

    drawn: dict[str, Callable[[], Any]] = {
        "gains.svg": dots(gains, (*computing, *network), "Gains", figure_plots.GAIN),
        "costs.svg": dots(costs, (*computing, *network), "Costs", figure_plots.COST),
        "hitratio.svg": partial(curve_plots.hit_ratios, results.hit_ratios),
    }
    for group in PEERS:
        drawn[f"{group}.svg"] = dots(gains, (group,), group, figure_plots.GAIN)
    for subject, found in results.curves().items():
        drawn[f"scaling-{subject}.svg"] = partial(curve_plots.curves, found)
    return drawn


def measure(folder: Path, *, quick: bool, runs: int) -> list[str]:
    """Measure everything into a folder; the names of what could not be."""
    failed: list[str] = []
    for name, words in COMMANDS.items():
        command = [sys.executable, "-m", "benchmarks", *words, "--json", str(folder / name)]
        command += ["--quick"] if quick else []
        command += ["--runs", str(runs)] if name == "figures.json" else []
        # 1: a target is missed, which the page will show.
        if subprocess.run(command, check=False, cwd=DOCS.parent).returncode > 1:
            failed.append(name)
    return failed


def publish(results: Results, docs: Path) -> None:
    """Make the page and its plots. Raises PageMismatch."""
    from benchmarks.publish.style import write

    page = docs / PAGE
    text = rewritten(page.read_text(), parts(results))
    drawn = plots(results)
    for old in (docs / FOLDER).glob("*.svg"):
        if old.name not in drawn:
            old.unlink()
    for name, draw in drawn.items():
        write(draw(), docs / FOLDER / name)
    page.write_text(text)


def main(argv: list[str]) -> int:
    """Measure, unless --redraw, and make the page."""
    parser = argparse.ArgumentParser(prog="./run bench publish", description="Make docs/benchmarks.md and its plots.")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: draw what was measured before")
    parser.add_argument("--quick", action="store_true", help="few short rounds: it runs; the figures are noise")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="processes for each group (default: 3)")
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="FOLDER", help="where the page is (default: docs)")
    chosen = parser.parse_args(argv)
    folder: Path = chosen.docs / FOLDER
    folder.mkdir(exist_ok=True)
    if not chosen.redraw:
        failed = measure(folder, quick=chosen.quick, runs=chosen.runs)
        if failed:
            print("could not be measured: " + ", ".join(failed), file=sys.stderr)
            return 2
    try:
        publish(Results.read(folder), chosen.docs)
    except (OSError, msgspec.ValidationError, PageMismatch) as error:
        print(f"the page was not made: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
