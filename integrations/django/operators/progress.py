"""How far a long command has come: a bar on a terminal where rich is installed, lines where not, elsewhere nothing."""

import importlib
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TextIO

EVERY = 2.0
"""Seconds between two lines."""


@contextmanager
def progress(
    label: str, stream: TextIO, clock: Callable[[], float] = time.monotonic
) -> Generator[Callable[[int, int], None] | None, None, None]:
    """What to call with (done, of how many); None where nobody looks on."""
    if not stream.isatty():
        yield None
        return
    try:
        # What is only looked at must not be required.
        rich: Any = importlib.import_module("rich.progress")
        console: Any = importlib.import_module("rich.console")
    except ImportError:
        yield _lines(label, stream, clock)
        return
    with rich.Progress(console=console.Console(file=stream), transient=True) as bar:
        task = bar.add_task(label, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show


def _lines(label: str, stream: TextIO, clock: Callable[[], float]) -> Callable[[int, int], None]:
    due = clock() + EVERY

    def show(done: int, total: int) -> None:
        nonlocal due
        if clock() >= due:
            due = clock() + EVERY
            stream.write(f"{label}: {done} of {total}\n")
            stream.flush()

    return show
