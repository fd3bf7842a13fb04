"""Against the number of processes: reads and writes by Redis and memcached.

Processes share nothing of ours but the server, so they do as much together as bare clients do in as many processes,
until the machine's processors, which the server needs too, are busy.

A write is a unit of work of one row without a database: the hold and its end, two round trips. The bare reference sets
and deletes.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from benchmarks.measure import Call
from benchmarks.scaling import models
from benchmarks.scaling.curve import Curve
from benchmarks.scaling.stage import servers
from benchmarks.scaling.sweep import Effort
from benchmarks.scaling.threads import ROWS, TURN, by_pk, fill_bare
from benchmarks.scaling.throughput import CROWDED, DIVISIBLE, WORKERS, drawn, measured, processor_seconds

PAIRS: Final = {
    "redis-reads": ("get_from_cache, Redis", "redis-py get"),
    "memcached-reads": ("get_from_cache, memcached", "pymemcache get"),
    "redis-writes": ("a write, Redis", "redis-py set and delete"),
    "memcached-writes": ("a write, memcached", "pymemcache set and delete"),
}


class Worker:
    """A process that is told what to do; see `benchmarks.scaling.worker`."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "benchmarks.scaling.worker"]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def tell(self, name: str, calls: int) -> None:
        """Let it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name} {calls}\n")
        self._process.stdin.flush()

    def wait(self, word: str = "done") -> None:
        """Until it has said so. Raises RuntimeError if it ends instead."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if said != word:
            raise RuntimeError(f"a worker ended with status {self._process.wait(10)} instead of saying {word!r}")


def together(workers: Sequence[Worker], name: str, calls: int) -> Call:
    """A call that divides so many calls among these workers and returns when all are done."""
    part = calls // len(workers)

    def run() -> None:
        for worker in workers:
            worker.tell(name, part)
        for worker in workers:
            worker.wait()

    return run


def enough(worker: Worker, name: str, turn: float) -> int:
    """How many calls one worker does in a turn."""
    took = 0.0
    for _ in range(2):  # the first warms up
        start = time.perf_counter()
        together([worker], name, DIVISIBLE)()
        took = time.perf_counter() - start
    return max(1, round(turn / took)) * DIVISIBLE


def curves(effort: Effort) -> Iterator[Curve]:
    """Reads, then writes."""
    for model in (models.OnRedis, models.OnMemcached):
        models.create(model, ROWS)
        for _ in range(2):
            by_pk(model)()()
    fill_bare()
    turn = TURN / 3 if effort.quick else TURN
    with ExitStack() as stack:
        numbers = effort.sizes(WORKERS, 2)
        workers = [stack.enter_context(Worker()) for _ in numbers]
        for worker in workers:
            worker.wait("ready")
        pids = [*servers(), *(worker.pid for worker in workers)]
        for name, pair in PAIRS.items():
            crews: dict[str, tuple[int, dict[int, Call]]] = {}
            for one in pair:
                calls = enough(workers[0], one, turn)
                crews[one] = calls, {count: together(workers[:count], one, calls) for count in numbers}
            found = measured(crews, effort, lambda: processor_seconds(pids))
            where, _, what = name.partition("-")
            yield from drawn(
                found,
                [pair],
                name=f"processes-{name}",
                title=f"processes, {where}",
                workers="processes",
                reads=what,
                explained=CROWDED,
                docs="Processes do as much together as bare clients do: they share the server and nothing else.",
            )
