"""``python -m tests.fuzz [TARGET ...] [--runs N] [--keep] [--replay HEX]``: millions of inputs for each target.

Needs atheris (pip install atheris; CPython 3.11 to 3.13, on Linux or macOS). Exit status 1 if an input failed: it is
printed in hexadecimal, to be tried again with --replay and to become a named test; 2 without atheris.
"""

import argparse
import sys
import time

from tests.fuzz.corpus import keep, kept, smallest
from tests.fuzz.engine import EngineMissing, fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Fuzz the chosen targets one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what reads strangers' bytes.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)}; default: all")
    parser.add_argument("--runs", type=int, default=100_000, metavar="N", help="inputs a target, default 100000")
    parser.add_argument("--keep", action="store_true", help="add to the kept corpus what reaches something new")
    parser.add_argument("--replay", metavar="HEX", help="try this one input on the target, and raise what it raises")
    chosen = parser.parse_args()
    for name in chosen.targets:
        if name not in TARGETS:
            parser.error(f"there is no target {name!r}; there are {', '.join(TARGETS)}")
    if chosen.replay is not None:
        if len(chosen.targets) != 1:
            parser.error("--replay needs one target")
        print(TARGETS[chosen.targets[0]].check(bytes.fromhex(chosen.replay)))
        return 0
    return max(_fuzz(name, chosen.runs, chosen.keep) for name in chosen.targets or TARGETS)


def _fuzz(name: str, runs: int, keeping: bool) -> int:
    target = TARGETS[name]
    began = time.monotonic()
    try:
        run = fuzz(name, [*target.seeds, *kept(name)], runs)
    except EngineMissing as error:
        print(error, file=sys.stderr)
        return 2
    took = time.monotonic() - began
    print(f"{name}: {run.inputs:,} inputs in {took:.0f} s, {len(run.failures)} failed", flush=True)
    if run.failures:
        print(run.log)
        for data in run.failures:
            print(f"python -m tests.fuzz {name} --replay {data.hex()}")
    if keeping:
        chosen = smallest(target, [*target.seeds, *kept(name), *run.corpus])
        keep(name, chosen)
        print(f"{name}: {len(chosen)} inputs of {sum(map(len, chosen)):,} bytes are kept", flush=True)
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
