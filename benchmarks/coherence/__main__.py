"""``./run bench coherence``: stale, dirty and permanently stale reads of ours and of others, under faults.

Real processes read and write a hot set of rows in PostgreSQL through a cache on a real server, while writers are
killed, processes frozen, connections cut and the cache server stopped, killed and emptied. Every answer is judged; see
`benchmarks.coherence.judge`.

Exit status 0 if ours shows no wrong answer and the control without invalidation does; 1 if not; 2 if it could not run.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import SystemRandom
from typing import Any

from benchmarks.coherence.contestants import BACKENDS, PATHS, RIVALS, Contestant, line_up
from benchmarks.coherence.host import Plan, Result
from benchmarks.coherence.report import failures, table
from cachecore.errors import CachecoreError
from cachecore.testing.servers import PostgresServer

LONG_READS = 5_000_000


class HostFailed(Exception):
    """A contestant could not be run; its process has printed why."""


class Host:
    """The process of one contestant."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "benchmarks.coherence.host"]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self._say(json.dumps(asdict(plan)))

    def wait(self) -> None:
        """Until the run is over, but for the last look."""
        if self._hear() != "ran":
            raise HostFailed(self.plan.contestant)

    def result(self) -> Result:
        """Let it take the last look, and end."""
        self._say("look")
        said = self._hear()
        if not said:
            raise HostFailed(self.plan.contestant)
        return Result(**json.loads(said))

    def close(self) -> None:
        """End it, if it still runs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._process:
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def contest(contestants: Sequence[Contestant], settings: argparse.Namespace) -> list[Result]:
    """Run one after another; the last look at each comes when all have run, so that nobody waits for holds to end."""
    hosts: list[Host] = []
    options = {"max_connections": "100", "synchronous_commit": "off"}
    with tempfile.TemporaryDirectory(prefix="cachecore-bench-") as folder, PostgresServer(options) as postgres:
        try:
            for contestant in contestants:
                place = Path(folder) / contestant.name
                place.mkdir()
                print(f"{contestant.title} ...", file=sys.stderr, flush=True)
                plan = Plan(
                    contestant=contestant.name,
                    dsn=postgres.dsn,
                    folder=str(place),
                    seconds=settings.seconds,
                    reads=settings.reads if contestant.is_ours else 0,
                    faults=settings.faults,
                    rows=settings.rows,
                    readers=settings.readers,
                    writers=settings.writers,
                    seed=settings.seed,
                )
                hosts.append(Host(plan))
                hosts[-1].wait()
            return [host.result() for host in hosts]
        finally:
            for host in hosts:
                host.close()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(prog="./run bench coherence", description="Wrong answers per million reads.")
    known = (*BACKENDS, *RIVALS)
    parser.add_argument(
        "contestants",
        nargs="*",
        metavar="contestant",
        help=f"{', '.join(known)}; default: redis, memcached and the rivals on that ORM",
    )
    driven = "how ours and the control are driven; the other rivals are Django's, and so is core's control"
    parser.add_argument("--orm", "--path", dest="path", choices=PATHS, default="django", help=driven)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each contestant (default: 8)")
    parser.add_argument("--reads", type=int, default=0, help="ours goes on until it has so many on each backend")
    parser.add_argument("--long", action="store_true", help=f"the same as --reads {LONG_READS}")
    parser.add_argument("--no-faults", dest="faults", action="store_false", help="readers and writers only")
    parser.add_argument("--rows", type=int, default=50, help="rows that everybody reads and writes (default: 50)")
    parser.add_argument("--readers", type=int, default=3, help="reading processes (default: 3)")
    parser.add_argument("--writers", type=int, default=3, help="writing processes (default: 3)")
    parser.add_argument("--seed", type=int, default=None, help="of the random choices (default: another every time)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    chosen = parser.parse_args(arguments)
    for name in chosen.contestants:
        if name not in (*known, "memory", "null"):  # the last two are not of any use but to try the bench itself
            parser.error(f"there is no contestant {name!r}; there are {', '.join(known)}")
    for name, least in (("readers", 2), ("writers", 1), ("rows", 20), ("seconds", 0.5)):
        if getattr(chosen, name) < least:
            parser.error(f"--{name} must be at least {least}, not {getattr(chosen, name)}")
    if chosen.rows % 2:
        parser.error(f"--rows must be even, not {chosen.rows}")
    chosen.reads = max(chosen.reads, LONG_READS if chosen.long else 0)
    chosen.seed = SystemRandom().getrandbits(32) if chosen.seed is None else chosen.seed
    return chosen


def main(arguments: Sequence[str]) -> int:
    """Run the contest and print its table; the exit status."""
    chosen = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # in an orderly way
    contestants = line_up(chosen.contestants, chosen.path)
    try:
        results = contest(contestants, chosen)
    except (HostFailed, CachecoreError) as error:
        print(f"could not run: {error}", file=sys.stderr)
        return 2
    titles = {contestant.name: contestant for contestant in contestants}
    wrong = [problem for result in results for problem in failures(titles[result.contestant], result, chosen.faults)]
    if chosen.json:
        settings: dict[str, Any] = {name: getattr(chosen, name) for name in ("faults", "seed", "rows")}
        settings |= {name: getattr(chosen, name) for name in ("readers", "writers", "path")}
        document = {"settings": settings, "results": [asdict(result) for result in results], "failures": wrong}
        print(json.dumps(document, indent=2))
    else:
        print(table([(titles[result.contestant].title, result) for result in results]))
        print(f"\nseed {chosen.seed}; {'with' if chosen.faults else 'without'} faults", flush=True)
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
