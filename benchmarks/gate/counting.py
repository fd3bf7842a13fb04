"""A plugin of pytest: benchmarks are not timed, but their instructions are counted; see `benchmarks.gate.callgrind`.

It stands in for `benchmarks.versus.Versus`, so every benchmark is counted as it is written. Both sides run some times
uncounted, as the interpreter rewrites code that runs often; then each is counted in `TURNS` turns, and the median is
kept: what happens now and then, such as the growth of a table, is in one turn and not in the next.
"""

import ctypes
import gc
import os
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec
import pytest

from benchmarks.gate.baseline import Reading
from benchmarks.measure import Call
from benchmarks.results import Better
from benchmarks.versus import MEASURE

WARM_UPS: Final = 3
TURNS: Final = 3
LEAST: Final = 500_000
"""Instructions of one turn; a call that takes fewer is repeated, so that what happens once in some calls is in each."""
MOST: Final = 10_000_000
"""A call that takes more is counted once: whatever happens now and then is a small part of it."""

UNCOUNTED: Final = frozenset({"gets a second"})
"""Names of figures whose instructions say nothing: threads under valgrind run one after the other."""

LIBRARY: Final = "requests.so"
OUTPUT: Final = "callgrind"
FOUND: Final = "found.json"


class Counter:
    """Counts instructions of this process, which callgrind runs; its output and the requests are in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._requests = ctypes.CDLL(str(folder / LIBRARY))
        if not self._requests.gate_running():
            raise RuntimeError("instructions are counted under valgrind only")
        self._output = folder / f"{OUTPUT}.{os.getpid()}"
        self._parts = 0

    def counted(self, ours: Call, reference: Call) -> tuple[int, int]:
        """The instructions of one call of either."""
        for _ in range(WARM_UPS):
            ours()
            reference()
        collecting = gc.isenabled()
        gc.disable()
        self._requests.gate_on()
        try:
            return self._side(ours), self._side(reference)
        finally:
            self._requests.gate_off()
            if collecting:
                gc.enable()

    def _side(self, call: Call) -> int:
        """The instructions of one call."""
        around = min(self._once(_nothing, 1) for _ in range(TURNS))
        first = self._once(call, 1) - around
        if first >= MOST:
            return first
        calls = -(-LEAST // first)
        return round(median((self._once(call, calls) - around) / calls for _ in range(TURNS)))

    def _once(self, call: Call, calls: int) -> int:
        repeat = range(calls)
        self._requests.gate_zero()
        for _ in repeat:
            call()
        self._requests.gate_dump()
        self._parts += 1
        return self._summary(self._output.with_name(f"{self._output.name}.{self._parts}"))

    @staticmethod
    def _summary(part: Path) -> int:
        """The instructions of a part of callgrind's output, which is deleted."""
        with part.open("rb") as lines:
            found = next(int(line.split()[1]) for line in lines if line.startswith(b"summary:"))
        part.unlink()
        return found


def _nothing() -> None:
    """What calling something costs by itself."""


class Counting:
    """In place of Versus: the same arguments."""

    counter: Counter
    """That of this process."""
    found: Final[list[Reading]] = []
    figure = None

    def __init__(self, benchmark: Any, group: str, timer: object, quick: bool) -> None:
        self._group = group
        benchmark.pedantic(_nothing)  # pytest-benchmark objects to one that is not used

    def __call__(
        self,
        name: str,
        ours: Call,
        reference: Call,
        *,
        shown: str,
        against: str,
        better: Better = "higher",
        **_: object,
    ) -> None:
        if name in UNCOUNTED:
            return
        mine, theirs = self.counter.counted(ours, reference)
        self.found.append(
            Reading(
                group=self._group,
                name=name,
                ours=shown,
                reference=against,
                better=better,
                value=theirs / mine if better == "higher" else mine / theirs,
                ours_instructions=mine,
                reference_instructions=theirs,
            )
        )

    def value(self, *_: object, **__: object) -> None:
        """Nothing: what is no time is no instructions."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--count-in", type=Path, help="folder with the requests to callgrind, and for what is counted")


def pytest_configure(config: pytest.Config) -> None:
    Counting.counter = Counter(_folder(config))
    config.stash[MEASURE] = Counting


def pytest_unconfigure(config: pytest.Config) -> None:
    (_folder(config) / FOUND).write_bytes(msgspec.json.encode(Counting.found))


def _folder(config: pytest.Config) -> Path:
    folder = config.getoption("count_in")
    assert isinstance(folder, Path)
    return folder
