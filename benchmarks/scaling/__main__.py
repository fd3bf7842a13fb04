"""``./run bench scaling``: cost against size, with the exponent by which it grows, and what the documentation promises.

Exit status 1 if something grows faster than documented or has a cliff that nobody explains, 2 if something could not be
measured.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.results import this_machine
from benchmarks.scaling.curve import Curve, Curves
from benchmarks.scaling.report import text
from benchmarks.scaling.subjects import SUBJECTS

KEEPING: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 1024**2),
    "MALLOC_TOP_PAD_": str(64 * 1024**2),
}
"""Settings of glibc, by which it keeps what is freed. By itself the layout of the heap decides whether each large value
is given back to the system and got again, page by page: a copy of 1 MB then takes 14 times as long, now and then."""


def drawn(name: str, *, quick: bool) -> list[Curve] | None:
    """The curves of a subject, measured now in a process of its own; None if that failed, and it has said why."""
    command = [sys.executable, "-m", "benchmarks.scaling.child", name, *(["--quick"] if quick else [])]
    environment = {**KEEPING, **os.environ}
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment)
    return msgspec.json.decode(done.stdout, type=list[Curve]) if done.returncode == 0 else None


def _problems(curve: Curve, quick: bool) -> list[str]:
    """What few short rounds say of growth is noise; what was counted is not."""
    return curve.broken if quick else curve.problems


def main(argv: list[str]) -> int:
    """Measure the subjects one by one and print the table of each curve; the exit status."""
    parser = argparse.ArgumentParser(prog="./run bench scaling", description="Cost against size, and how it grows.")
    known = ", ".join(SUBJECTS)
    parser.add_argument("curves", nargs="*", metavar="curve", help=f"{known}; default: all")
    parser.add_argument("--quick", action="store_true", help="few sizes, few short rounds: it runs; figures are noise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the curves to FILE")
    chosen = parser.parse_args(argv)
    for name in chosen.curves:
        if name not in SUBJECTS:
            parser.error(f"there is no curve {name!r}; there are {known}")
    found: list[Curve] = []
    failed: list[str] = []
    problems: list[str] = []
    for name in chosen.curves or SUBJECTS:
        began = time.monotonic()
        curves = drawn(name, quick=chosen.quick)
        print(f"measured {name} in {time.monotonic() - began:.0f} s", file=sys.stderr)
        if curves is None:
            failed.append(name)
            continue
        found += curves
        for curve in curves:
            wrong = _problems(curve, chosen.quick)
            print(text(curve, wrong), end="\n\n", flush=True)
            problems += [f"{curve.name}: {problem}" for problem in wrong]
    if chosen.json is not None:
        document = Curves(machine=this_machine(), curves=found)
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    if failed:
        print("could not be measured: " + ", ".join(failed), file=sys.stderr)
        return 2
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
