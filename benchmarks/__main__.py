"""``python -m benchmarks [keys|rows|store|path|sqlalchemy|network|hitratio ...] [--quick]``: figures, targets, whether
they are met; without a word all of them. ``python -m benchmarks coherence`` is a bench of its own kind with options of
its own, see `benchmarks.coherence.__main__`.

Each group runs in a process of its own, so that none sees the settings, the heap or the warm caches of another. The
ratio is the median of the rounds and, in brackets, their 10th and 90th percentile; see `benchmarks.measure`.

Exit status 1 if a target is missed, 2 for a group that does not exist or failed.
"""

import argparse
import importlib
import subprocess
import sys
from collections.abc import Iterable

from benchmarks.measure import Figure, Ratio, table
from cachecore.errors import CachecoreError

GROUPS = {
    "keys": "benchmarks.bench_keys",
    "rows": "benchmarks.bench_rows",
    "store": "benchmarks.bench_store",
    "path": "benchmarks.bench_path",
    "sqlalchemy": "benchmarks.bench_sqlalchemy",
    "network": "benchmarks.bench_network",
    "hitratio": "benchmarks.hitratio",
}


def figures(group: str, quick: bool) -> list[Figure]:
    """The figures of a group, measured here and now."""
    if group == "hitratio":
        return list(hit_ratios(quick))
    found: list[Figure] = importlib.import_module(GROUPS[group]).figures()
    return found


def hit_ratios(quick: bool) -> Iterable[Figure]:
    """The hit ratios of the default policy, as points above those of LRU."""
    from benchmarks.hitratio import rows

    for row in rows(quick):
        points = Ratio(row.difference, row.difference, row.difference)
        name = f"{row.trace}, room for {row.share:.1%}, points"
        yield Figure("hitratio", name, f"s3fifo {row.s3fifo:.1f} %", f"lru {row.lru:.1f} %", points, row.target)


def main() -> int:
    """Run the groups one by one and print their tables."""
    parser = argparse.ArgumentParser(prog="./run bench", description="Our figures beside their references.")
    parser.add_argument("groups", nargs="*", metavar="group", help=f"{', '.join(GROUPS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small traces for the hit ratios: seconds, not minutes")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    for group in chosen.groups:
        if group not in GROUPS:
            parser.error(f"there is no group {group!r}; there are {', '.join(GROUPS)}")
    if chosen.in_this_process:
        try:
            found = [figure for group in chosen.groups for figure in figures(group, chosen.quick)]
        except CachecoreError as error:  # a server is missing
            print(f"{', '.join(chosen.groups)}: {error}", file=sys.stderr)
            return 2
        print(table(found), flush=True)
        return 0 if all(figure.met for figure in found) else 1
    statuses: list[int] = []
    for group in chosen.groups or GROUPS:
        options = ["--quick"] if chosen.quick else []
        command = [sys.executable, "-m", "benchmarks", group, "--in-this-process", *options]
        status = subprocess.run(command, check=False).returncode
        statuses.append(status if status in (0, 1) else 2)
        print(flush=True)
    return max(statuses)


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["coherence"]:
            sys.exit(importlib.import_module("benchmarks.coherence.__main__").main(sys.argv[2:]))
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
