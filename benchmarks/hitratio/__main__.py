"""``./run bench hitratio [--quick] [--json FILE] [trace ...]``: hit ratios in percent, from an empty cache.

Nothing is timed: on any machine the numbers are the same. `benchmarks.hitratio.traces` says what the traces are.

Exit status 1 if a target is missed.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from benchmarks.hitratio.simulate import Row, simulate
from benchmarks.hitratio.traces import FULL, QUICK, TRACES, Scale
from benchmarks.results import Machine, this_machine
from cachecore.backends import store

COLUMNS = ("ours", "lru", "sieve", "s3fifo", "wtinylfu", "best")


class Document(msgspec.Struct, kw_only=True):
    """What the JSON file holds."""

    machine: Machine
    store: str
    """The implementation of ours: cython or python."""
    policy: str
    """Its default policy."""
    quick: bool
    rows: list[Row]


def rows(names: Iterable[str], scale: Scale) -> Iterator[Row]:
    """One row for each trace and each of its rooms."""
    for name in names:
        for trace in TRACES[name](scale):
            for share in trace.shares:
                yield simulate(trace, share)


def heading() -> str:
    """The line above the table."""
    return f"{'trace':16}{'room':>7}" + "".join(f"{name:>10}" for name in COLUMNS) + "  ours-lru  target  met"


def line(row: Row) -> str:
    """A row of it."""
    ratios = "".join(f"{getattr(row, name):10.1f}" for name in COLUMNS)
    met = "yes" if row.met else "NO"
    return f"{row.trace:16}{row.share:7.1%}{ratios}{row.difference:+10.1f}{row.target:+8.0f}  {met}"


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(prog="./run bench hitratio", description="Hit ratios of policies, in percent.")
    parser.add_argument("traces", nargs="*", metavar="trace", help=f"{', '.join(TRACES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small traces: seconds instead of minutes; not judged")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    chosen = parser.parse_args(arguments)
    for name in chosen.traces:
        if name not in TRACES:
            parser.error(f"there is no trace {name!r}; there are {', '.join(TRACES)}")
    return chosen


def main(argv: list[str]) -> int:
    """Print the table; 1 if a target is missed."""
    chosen = parse(argv)
    if sys.flags.hash_randomization:
        # The store's ghosts are fingerprints from the hashes of str: with a seed of each process the last digit moves.
        command = [sys.executable, "-m", "benchmarks.hitratio", *argv]
        return subprocess.run(command, check=False, env={**os.environ, "PYTHONHASHSEED": "0"}).returncode
    print(f"hit ratio in percent; ours: the store ({store.implementation}), policy {store.DEFAULT_POLICY}")
    print(heading(), flush=True)
    found: list[Row] = []
    for row in rows(chosen.traces or TRACES, QUICK if chosen.quick else FULL):
        found.append(row)
        print(line(row), flush=True)
    if chosen.json is not None:
        document = Document(
            machine=this_machine(),
            store=store.implementation,
            policy=store.DEFAULT_POLICY,
            quick=chosen.quick,
            rows=found,
        )
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    return int(not chosen.quick and not all(row.met for row in found))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
