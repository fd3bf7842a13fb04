"""The time that groups take, for what instructions do not tell: waiting, and how long each instruction takes."""

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Final

from benchmarks.gate.baseline import Reading
from benchmarks.groups import GROUPS, run
from benchmarks.results import Figure

TIMED: Final = ("django", "sqlalchemy", "redis", "memcached", "memory")
"""Whole paths and the network; and what entries take in memory, which is no time but belongs to this half."""


def times(names: Sequence[str], *, quick: bool = False) -> list[Reading]:
    """The medians of these groups' figures. Raises BenchmarkFailed."""
    return [reading(figure) for name in names for figure in run(GROUPS[name], quick=quick)]


def reading(figure: Figure) -> Reading:
    """A figure as the gate compares it. Less than one byte, which may be less than nothing, counts as one."""
    middle = median(figure.rounds)
    return Reading(
        group=figure.group,
        name=figure.name,
        ours=figure.ours,
        reference=figure.reference,
        better=figure.better,
        value=middle if figure.unit == "x" else max(middle, 1.0),
    )


@contextmanager
def busy(processes: int | None = None) -> Generator[None]:
    """Processes that do nothing but compute, so many or one for each processor: a machine with other work."""
    with ExitStack() as stack:
        for _ in range(processes or os.cpu_count() or 1):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield
