"""``./run bench [group ...]``: figures, their references and targets, as one table; `benchmarks.groups` has the groups.

Other words are benches of their own kind, each with ``--help``: coherence counts wrong answers under faults, hitratio
simulates traces, scaling draws curves, gate compares with the committed baseline, publish makes docs/benchmarks.md.

Exit status 1 if a target is missed, 2 if something could not be measured.
"""

import argparse
import importlib
import sys
from pathlib import Path

import msgspec

from benchmarks.groups import GROUPS, PEERS, BenchmarkFailed, run
from benchmarks.results import Document, Figure, merged, table, this_machine

WORDS = {
    "coherence": "benchmarks.coherence.__main__",
    "hitratio": "benchmarks.hitratio.__main__",
    "scaling": "benchmarks.scaling.__main__",
    "gate": "benchmarks.gate.__main__",
    "publish": "benchmarks.publish.__main__",
}


def measured(names: list[str], *, quick: bool, runs: int, select: str | None) -> tuple[list[Figure], list[str]]:
    """The figures of these groups, and the names of those that failed, whose output is printed."""
    arguments = [] if select is None else ["-k", select]
    found: list[list[Figure]] = []
    failed: list[str] = []
    for number in range(runs):
        for name in names:
            if name in failed:
                continue
            print(f"measuring {name}" + (f", run {number + 1} of {runs}" if runs > 1 else ""), file=sys.stderr)
            try:
                found.append(run((GROUPS | PEERS)[name], quick=quick, arguments=arguments))
            except BenchmarkFailed as error:
                print(f"{name} failed:\n{error}", file=sys.stderr)
                failed.append(name)
    return merged(found), failed


def main(argv: list[str]) -> int:
    """Run the groups one by one and print their table."""
    parser = argparse.ArgumentParser(
        prog="./run bench",
        description="Our figures beside their references, measured in turns in one run.",
        epilog=f"other words: {', '.join(WORDS)}; ./run bench WORD --help",
    )
    every = {**GROUPS, **PEERS}
    parser.add_argument("groups", nargs="*", metavar="group", help=f"{', '.join(every)}; default: all before the peers")
    parser.add_argument("--peers", action="store_true", help="the groups of peers too")
    parser.add_argument("--quick", action="store_true", help="few short rounds: it runs; the figures are noise")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="processes for each group (default: 1)")
    parser.add_argument(
        "-k", dest="select", metavar="EXPRESSION", help="only benchmarks whose names match, as in pytest"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    chosen = parser.parse_args(argv)
    for group in chosen.groups:
        if group not in every:
            parser.error(f"there is no group {group!r}; there are {', '.join(every)}")
    if chosen.runs < 1:
        parser.error(f"--runs is {chosen.runs}; it is at least 1")
    names = list(dict.fromkeys([*(chosen.groups or GROUPS), *(PEERS if chosen.peers else ())]))
    figures, failed = measured(names, quick=chosen.quick, runs=chosen.runs, select=chosen.select)
    print(table(figures), flush=True)
    if chosen.json is not None:
        document = Document(machine=this_machine(), figures=figures)
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    if failed or not figures:
        print("could not be measured: " + ", ".join(failed or names), file=sys.stderr)
        return 2
    return int(not chosen.quick and not all(figure.met for figure in figures))


if __name__ == "__main__":
    try:
        word = sys.argv[1] if len(sys.argv) > 1 else ""
        if word in WORDS:
            sys.exit(importlib.import_module(WORDS[word]).main(sys.argv[2:]))
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
