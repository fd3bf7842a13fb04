"""The kept corpus: for each target one text file, an input a line in hexadecimal, and how it is kept small.

An input is worth keeping if it takes a step through cachecore's Python code that no kept one takes, or takes it about
twice as often, or comes out in a way that none does. Steps inside compiled code are not seen; there, only the outcome
counts.
"""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.target import Target

FOLDER = Path(__file__).parent / "corpus"
_LONGEST = 2000
"""Bytes of an input that is worth keeping in a repository."""

Feature = tuple[object, ...]
"""An outcome, or a step from one line to another of a code object and how often it was taken, as a power of two."""


def kept(name: str) -> list[bytes]:
    """The kept inputs of a target, shortest first."""
    path = FOLDER / f"{name}.txt"
    return [bytes.fromhex(line) for line in path.read_text("ascii").splitlines()] if path.exists() else []


def keep(name: str, inputs: Iterable[bytes]) -> None:
    """Make these the kept inputs of a target."""
    FOLDER.mkdir(exist_ok=True)
    lines = [data.hex() for data in sorted(inputs, key=_size)]
    (FOLDER / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), "ascii")


def smallest(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """Few and short inputs that together reach all that ``inputs`` reach. Failing inputs are left out."""
    seen: set[Feature] = set()
    chosen: list[bytes] = []
    for data in sorted(set(inputs), key=_size):
        if len(data) <= _LONGEST:
            features = _features(target, data)
            if not features <= seen:
                seen |= features
                chosen.append(data)
    # Once more from the longest, which may make shorter ones superfluous.
    reached: set[Feature] = set()
    needed: list[bytes] = []
    for data in reversed(chosen):
        features = _features(target, data)
        if not features <= reached:
            reached |= features
            needed.append(data)
    return needed


def _size(data: bytes) -> tuple[int, bytes]:
    return len(data), data


def _features(target: Target, data: bytes) -> set[Feature]:
    """What an input reaches; nothing if the check fails."""
    steps: Counter[Feature] = Counter()

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if "cachecore" not in code.co_filename:
            return None
        before = 0

        def step(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal before
            if event == "line":
                steps[code.co_filename, code.co_firstlineno, before, frame.f_lineno] += 1
                before = frame.f_lineno
            return step

        return step

    previous = sys.gettrace()
    sys.settrace(enter)
    try:
        outcome = target.check(data)
    except Exception:
        return set()
    finally:
        sys.settrace(previous)
    return {*((step, times.bit_length()) for step, times in steps.items()), (outcome,)}
