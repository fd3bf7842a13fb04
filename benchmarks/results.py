"""What a benchmark found: figures, the document that holds them, and their table.

The document is JSON: ``machine`` says where, ``figures`` what. Nothing in it names a host, a user or a path.
"""

import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec

from benchmarks.measure import Ratio
from cachecore.keys import implementation

Better = Literal["higher", "lower"]

LIBRARIES = (
    "Django", "SQLAlchemy", "redis", "hiredis", "pymemcache", "msgspec", "django-cacheops", "django-cachalot",
    "dogpile.cache", "cashews", "cachetools", "cachebox", "lru-dict", "theine",
)  # fmt: skip
"""Whose versions belong to a figure, where they are installed."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    group: str
    """The subject, one word: keys, rows, memory."""
    name: str
    """What was measured, for people."""
    ours: str
    """The call measured on our side."""
    reference: str
    """What it was measured against, in the same run."""
    rounds: tuple[float, ...]
    """The ratio of each round; of what is no time a single value."""
    target: float | None = None
    """What the median is to reach; None: shown, not judged."""
    better: Better = "higher"
    """higher: a gain, times of the reference / times of ours. lower: a cost or a size, ours / the reference's."""
    unit: str = "x"
    """x: a ratio; else what the values are, such as ms or bytes."""

    @property
    def ratio(self) -> Ratio:
        """The median of the rounds and their spread."""
        return Ratio.of(self.rounds)

    @property
    def met(self) -> bool:
        """Whether the median reaches the target."""
        if self.target is None:
            return True
        middle = median(self.rounds)
        return middle >= self.target if self.better == "higher" else middle <= self.target

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from all others of a run."""
        return self.group, self.name, self.ours, self.reference


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where figures come from, as far as it matters to them."""

    when: str
    """Date and time, UTC."""
    commit: str
    """Of the sources; "" where that is not known."""
    python: str
    system: str
    processor: str
    processors: int
    """How many this process may use."""
    implementation: str
    """cython or python."""
    libraries: dict[str, str]


class Document(msgspec.Struct, kw_only=True):
    """Figures and where they come from."""

    machine: Machine
    figures: list[Figure]


def this_machine() -> Machine:
    """The machine this runs on, now."""
    return Machine(
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        commit=_commit(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        processors=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        implementation=implementation,
        libraries=dict(_versions(LIBRARIES)),
    )


def _commit() -> str:
    """The commit that is checked out, with a + if the sources differ from it; "" outside a checkout."""
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty=+"], check=False, capture_output=True, text=True)
    except FileNotFoundError:  # git itself is missing
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    """What the system calls the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _versions(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def merged(runs: Iterable[Sequence[Figure]]) -> list[Figure]:
    """The figures of several runs as those of one, with the rounds of all: a new process has another heap."""
    found: dict[tuple[str, str, str, str], Figure] = {}
    for run in runs:
        for figure in run:
            before = found.get(figure.key)
            if before is not None:
                figure = msgspec.structs.replace(figure, rounds=before.rounds + figure.rounds)
            found[figure.key] = figure
    return list(found.values())


HEAD = ("what [ours]", "reference", "ratio", "spread", "target", "met")


def cells(figure: Figure) -> tuple[str, ...]:
    """A figure as the cells of a table, one for each of `HEAD`."""
    ratio = figure.ratio
    unit = "" if figure.unit == "x" else f" {figure.unit}"
    sign = ">=" if figure.better == "higher" else "<="
    return (
        f"{figure.group}: {figure.name} [{figure.ours}]",
        figure.reference,
        f"{ratio.median:.4g}{unit}" if unit else f"{ratio.median:.2f}",
        f"{ratio.low:.2f} to {ratio.high:.2f}" if len(figure.rounds) > 1 else "",
        "" if figure.target is None else f"{sign} {figure.target:g}",
        "" if figure.target is None else "yes" if figure.met else "NO",
    )


def table(figures: Iterable[Figure]) -> str:
    """The figures as aligned plain text."""
    lines = [HEAD, *map(cells, figures)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(row.rstrip() for row in rows)
