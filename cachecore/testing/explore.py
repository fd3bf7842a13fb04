"""``python -m cachecore.testing.explore``: explore every scene and control, and print a table of what holds.

    --deep          also the scenes that take minutes
    --only TEXT     only those whose name contains TEXT
    --trace TEXT    instead of the table: every shortest way to break a promise, in those whose name contains TEXT

Exits with 1 if anything was not as expected.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from cachecore.testing.claim_scenes import LISTS, MISSING, WITHOUT_CLAIMS
from cachecore.testing.controls import WITHOUT
from cachecore.testing.explorer import Report, explore
from cachecore.testing.journals import JOURNALS, WITHOUT_R7
from cachecore.testing.naive import NAIVE
from cachecore.testing.promises import PROMISES
from cachecore.testing.scenes import SCENES, Case

GROUPS = (
    ("shipped", (*SCENES, *LISTS, *MISSING, *JOURNALS)),
    ("naive", NAIVE),
    ("rule dropped", (*WITHOUT, *WITHOUT_CLAIMS, *WITHOUT_R7)),
)


def as_expected(case: Case, report: Report) -> bool:
    """Whether exactly the expected promises were broken."""
    return set(report.broken) == set(case.breaks.split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cachecore.testing.explore", description="Explore the protocol.")
    parser.add_argument("--deep", action="store_true", help="also the scenes that take minutes")
    parser.add_argument("--only", metavar="TEXT", default="", help="only those whose name contains TEXT")
    parser.add_argument("--trace", metavar="TEXT", help="print the shortest ways to break each promise")
    options = parser.parse_args(arguments)
    wanted = options.only if options.trace is None else options.trace
    cases = [
        (group, case)
        for group, members in GROUPS
        for case in members
        if wanted.lower() in case.name.lower() and (options.deep or options.trace is not None or not case.deep)
    ]
    if not cases:
        parser.error(f"no scene or control has {wanted!r} in its name")
    if options.trace is not None:
        for _, case in cases:
            _print_traces(case)
        return 0
    return _print_table(cases)


def _print_table(cases: Sequence[tuple[str, Case]]) -> int:
    width = max(len(case.name) for _, case in cases)
    print(f"{'protocol':<12}  {'scene':<{width}}  {'states':>9}  {'   '.join(PROMISES)}    verdict")
    began, total, surprises = time.perf_counter(), 0, 0
    for group, case in cases:
        report = explore(case.scene)
        total += report.states
        marks = " ".join(f"{_mark(promise, report):<4}" for promise in PROMISES)
        expected = as_expected(case, report)
        surprises += not expected
        verdict = _verdict(group, case) if expected else f"UNEXPECTED, should break {case.breaks or 'nothing'}"
        print(f"{group:<12}  {case.name:<{width}}  {report.states:>9,}  {marks}  {verdict}", flush=True)
    seconds = time.perf_counter() - began
    print(f"\n{len(cases)} configurations, {total:,} states, {seconds:.0f} s; not as expected: {surprises}")
    print("ok: kept in every state. FAIL: broken. -: nothing in this scene could break it.")
    return 1 if surprises else 0


def _mark(promise: str, report: Report) -> str:
    if promise in report.broken:
        return "FAIL"
    return "ok" if promise in report.checked else "-"


def _verdict(group: str, case: Case) -> str:
    if group != "shipped":
        return "fails, as it must"
    return f"not promised: {case.why}" if case.breaks else "kept"


def _print_traces(case: Case) -> None:
    report = explore(case.scene)
    print(f"{case.name}: {report.states:,} states, {'as expected' if as_expected(case, report) else 'UNEXPECTED'}")
    for promise in sorted(report.broken):
        print(f"\n  {promise} breaks so:")
        for number, step in enumerate(report.broken[promise], 1):
            print(f"  {number:>4}  {step}")
    print()


if __name__ == "__main__":
    sys.exit(main())
