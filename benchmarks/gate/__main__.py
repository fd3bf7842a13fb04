"""``./run bench gate``: fails if anything has become slower than the committed baseline allows.

Two halves: the instructions that our benchmarks execute beside their references (callgrind; hardly any noise, so small
margins), and the time of whole paths and of the network (noisy, so wide margins, and what looks bad is measured again).

Exit status 1 if a figure is slower than its margin allows, is new or is gone, 2 if the gate could not be run.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.gate.baseline import PATH, Baseline, Unreadable, load, save, toolchain
from benchmarks.gate.callgrind import CannotCount
from benchmarks.gate.judging import Verdict, judge, nearest
from benchmarks.gate.kinds import Kind, kinds
from benchmarks.gate.report import changes, difference, say, table
from benchmarks.gate.updating import measured, outdated, replaced
from benchmarks.groups import BenchmarkFailed
from benchmarks.results import Machine, this_machine

Halves = Sequence[tuple[Kind, Sequence[str]]]


class Document(msgspec.Struct, kw_only=True):
    """What the gate found."""

    machine: Machine
    verdicts: list[Verdict]


def parse(argv: list[str]) -> tuple[argparse.Namespace, Halves]:
    """The command line, checked, and what it wants measured."""
    every = list(dict.fromkeys(group for kind in kinds() for group in kind.groups))
    parser = argparse.ArgumentParser(
        prog="./run bench gate", description="Compare with the committed baseline; fail where anything became slower."
    )
    parser.add_argument("groups", nargs="*", metavar="group", help=f"{', '.join(every)}; default: all of them")
    parser.add_argument("--only", choices=[kind.name for kind in kinds()], help="one half (default: both)")
    parser.add_argument("--update", action="store_true", help="measure several times and write the baseline")
    parser.add_argument(
        "--runs",
        type=int,
        metavar="N",
        help=f"of an update (default: {', '.join(f'{kind.runs} of {kind.name}' for kind in kinds())})",
    )
    parser.add_argument("--quick", action="store_true", help="few short rounds; times are noise then, and not judged")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every verdict to FILE")
    parser.add_argument("--baseline", type=Path, default=PATH, metavar="FILE", help="another than the committed one")
    chosen = parser.parse_args(argv)
    for group in chosen.groups:
        if group not in every:
            parser.error(f"there is no group {group!r}; there are {', '.join(every)}")
    if chosen.runs is not None and chosen.runs < 1:
        parser.error(f"--runs is {chosen.runs}; it is at least 1")
    if chosen.update and chosen.quick:
        parser.error("--update measures with care: it takes no --quick")
    wanted = [kind for kind in kinds(quick=chosen.quick) if chosen.only in (None, kind.name)]
    halves = [(kind, [name for name in kind.groups if name in (chosen.groups or every)]) for kind in wanted]
    return chosen, [(kind, groups) for kind, groups in halves if groups]


def main(argv: list[str]) -> int:
    """Judge, or update the baseline."""
    chosen, halves = parse(argv)
    machine = this_machine()
    try:
        if machine.implementation != "cython":
            raise CannotCount("the baseline is of the compiled modules, and the pure Python twins are in use")
        if chosen.update:
            return update(halves, machine, chosen.runs, chosen.baseline)
        verdicts = gate(halves, machine, chosen.baseline)
    except (BenchmarkFailed, CannotCount, Unreadable) as error:
        say(f"the gate could not be run: {error}")
        return 2
    print(table(verdicts), flush=True)
    if chosen.json is not None:
        document = Document(machine=machine, verdicts=verdicts)
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    bad = [verdict for verdict in verdicts if not verdict.good]
    return int(any(not (chosen.quick and verdict.kind == "time" and verdict.outcome == "slower") for verdict in bad))


def gate(halves: Halves, machine: Machine, path: Path) -> list[Verdict]:
    """The verdicts on all figures of these groups. Raises BenchmarkFailed, CannotCount, Unreadable."""
    baseline, here = load(path), toolchain(machine)
    found: list[Verdict] = []
    for kind, groups in halves:
        half = nearest(kind.halves(baseline), kind, here)
        if other := difference(kind, half, here):
            say(other)
        began = time.monotonic()
        found += judge(kind, half, here, groups)
        say(f"{kind.name}: {time.monotonic() - began:.0f} s")
    return found


def update(halves: Halves, machine: Machine, runs: int | None, path: Path) -> int:
    """Measure these groups several times, write the baseline, and say what changed."""
    baseline = load(path) if path.exists() else Baseline()
    for kind, groups in halves:
        before = [entry for half in outdated(kind, baseline, toolchain(machine)) for entry in half.figures]
        figures = measured(kind, groups, runs or kind.runs)
        baseline = replaced(kind, baseline, groups, machine, figures)
        print(changes(kind, before, kind.halves(baseline)[-1].figures), flush=True)
        save(baseline, path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
