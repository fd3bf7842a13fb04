"""The committed baseline: what each figure was when somebody looked, and how much slower than that it may become.

``instructions`` has a half for each toolchain that somebody updated it with: another build of the interpreter or
another release of a library executes others. ``time`` has the runs of one machine.
"""

import platform
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.results import Better, Machine

PATH: Final = Path(__file__).with_name("baseline.json")
USED: Final = ("Django", "SQLAlchemy", "redis", "hiredis", "pymemcache", "msgspec")
"""Libraries whose instructions are counted."""

Key = tuple[str, str, str, str]
Toolchain = dict[str, str]


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A figure as one run found it; the names are those of its `benchmarks.results.Figure`."""

    group: str
    name: str
    ours: str
    reference: str
    better: Better
    value: float
    ours_instructions: int | None = None
    """Of a call; None for what was not counted."""
    reference_instructions: int | None = None

    @property
    def key(self) -> Key:
        """What tells it from all others of its half."""
        return self.group, self.name, self.ours, self.reference

    def slower(self, now: float) -> float:
        """How many times as slow, or as large, it is where ``now`` is its value; below 1: faster."""
        return self.value / now if self.better == "higher" else now / self.value


class Entry(Reading, frozen=True, kw_only=True, omit_defaults=True):
    """A figure as it was: ``value`` is the median of the runs of an update."""

    margin: float
    """How much slower it may become: 0.05 is a twentieth."""
    runs: tuple[float, ...]
    """What each run gave."""


class Half(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one kind, found in one place."""

    how: str
    """How they were found, for people."""
    machine: Machine
    toolchain: Toolchain
    figures: list[Entry]


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What is committed."""

    instructions: list[Half] = []
    time: list[Half] = []
    """At most one."""


class Unreadable(Exception):
    """There is no baseline that can be read; the text says why and what to do."""


def load(path: Path = PATH) -> Baseline:
    """The baseline of this file. Raises Unreadable."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Baseline)
    except FileNotFoundError:
        raise Unreadable(f"there is no {path.name}: ./run bench gate --update makes it") from None
    except msgspec.DecodeError as error:
        raise Unreadable(f"{path.name}: {error}; delete it, and ./run bench gate --update makes it anew") from error


def save(baseline: Baseline, path: Path = PATH) -> None:
    """Write it, a line for each field, so that a change of one figure is a change of few lines."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(baseline)) + b"\n")


def toolchain(machine: Machine) -> Toolchain:
    """What decides, apart from our sources, which instructions run here: builds and releases."""
    build = f"{machine.python}, {' '.join(platform.python_build())}, {platform.python_compiler()}"
    libraries = {name: version for name, version in machine.libraries.items() if name in USED}
    return {"python": build, "system": f"{machine.system}, {' '.join(platform.libc_ver())}", **libraries}
