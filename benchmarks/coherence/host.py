"""The process that runs one contestant: ``python -m benchmarks.coherence.host``, started by `benchmarks.coherence`.

Theory of operation. It reads a `Plan` from its input, starts the cache servers, makes the store once (which imports the
ORM) and forks readers and writers from itself, so that one that is killed is back within milliseconds. It does the
faults meanwhile. When the time is up it writes "ran" and waits for a line; then, everything having been quiet for
longer than any hold lives, a fresh process asks for every key there is and compares with the database. Its last line is
the `Result`. If its input ends it ends too, and with it all its processes.
"""

import json
import logging
import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psycopg

from benchmarks.coherence import world as database
from benchmarks.coherence.board import Board
from benchmarks.coherence.contestants import named
from benchmarks.coherence.farm import Farm
from benchmarks.coherence.faults import READER, WRITER, Faults
from benchmarks.coherence.judge import EXAMPLES, Evidence, History, differing, judge
from benchmarks.coherence.reader import Reader
from benchmarks.coherence.store import LateReplies, Store
from benchmarks.coherence.world import State, World
from benchmarks.coherence.writer import Writer

QUIET = 7.5
"""Seconds after the last write by which every hold of ours has expired: its time to live and the servers' roundings."""

GAP = (0.2, 0.8)
"""Seconds between the end of a fault and the next one."""

FAULTS_END = 0.8
"""The share of the run after which there are no more: what is wrong in the end must not be wiped away by a fault."""


@dataclass(frozen=True)
class Plan:
    """What to run. ``reads``: go on until there are so many, however long it takes."""

    contestant: str
    dsn: str
    """Of the PostgreSQL server."""
    folder: str
    seconds: float
    reads: int
    faults: bool
    rows: int
    readers: int
    writers: int
    seed: int


@dataclass
class Result:
    """What a run has shown."""

    contestant: str
    seconds: float = 0.0
    reads: int = 0
    """Rows asked for."""
    calls: int = 0
    hits: int = 0
    """Of the calls, those that sent no statement to the database."""
    stale: int = 0
    dirty: int = 0
    backward: int = 0
    failed: int = 0
    permanent: int = 0
    keys: int = 0
    """How many were looked at in the end, of which ``permanent`` were wrong."""
    commits: int = 0
    rollbacks: int = 0
    refused: int = 0
    aborted: int = 0
    unfinished: int = 0
    """Commits of which the cache could not be told afterwards: their holds expired by themselves."""
    own_reads: int = 0
    own_unseen: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def per_million(self, count: int) -> float:
        """So many of a million reads."""
        return count / self.reads * 1e6 if self.reads else 0.0


class Crew:
    """The forked processes. The last reader is the one that may be killed."""

    def __init__(self, plan: Plan, store: Store, board: Board) -> None:
        self._plan = plan
        self._store = store
        self._board = board
        self._seeds = Random(plan.seed)
        self._pids: dict[int, int] = {}
        """Process number to place: writers from 0, readers after them."""

    def start(self) -> None:
        """Fork all of them."""
        for place in range(self._plan.writers + self._plan.readers):
            self._fork(place)

    def writers(self) -> Sequence[int]:
        return [pid for pid, place in self._pids.items() if place < self._plan.writers]

    def victims(self) -> Sequence[int]:
        last = self._plan.writers + self._plan.readers - 1
        return [pid for pid, place in self._pids.items() if place == last]

    def everybody(self) -> Sequence[int]:
        return list(self._pids)

    def replace(self) -> None:
        """Fork anew who was killed. Raises RuntimeError for one that ended by itself: its error was printed."""
        for pid in list(self._pids):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                place = self._pids.pop(pid)
                if not os.WIFSIGNALED(status):
                    raise RuntimeError(f"process {place} ended by itself")
                self._fork(place)

    def stop(self) -> None:
        """Wait until all have ended. Raises RuntimeError for one that failed or does not end."""
        self._board.stop()
        deadline = time.monotonic() + 20
        failed = 0
        while self._pids and time.monotonic() < deadline:
            for pid in list(self._pids):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del self._pids[pid]
                    failed += os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0
            time.sleep(0.01)
        if failed or self._pids:
            raise RuntimeError(f"{failed} processes failed, {len(self._pids)} did not end")

    def kill(self) -> None:
        """End what is left."""
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._pids.clear()

    def _fork(self, place: int) -> None:
        seed = self._seeds.getrandbits(32)
        self._pids[_child(lambda: self._store.run(lambda: self._work(place, seed)))] = place

    def _work(self, place: int, seed: int) -> None:
        late = LateReplies(Random(seed))
        # A killed process may leave half a piece of evidence, so each life has a file of its own.
        evidence = Path(self._plan.folder) / f"evidence-{place}-{os.getpid()}"
        if place < self._plan.writers:
            self._store.open(WRITER, late)
            Writer(place, self._store, self._board, evidence, seed).run()
        else:
            number = place - self._plan.writers
            self._store.open(READER, late)
            Reader(number, self._store, self._board, evidence, seed).run()


def _child(work: Callable[[], None]) -> int:
    """Fork a process that does this and nothing else; its number."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)  # none of the parent's handlers and finalizers


def try_it(store: Store) -> None:
    """One read in one process: what is wrong with the store is then told once, and not by all processes."""

    def read() -> None:
        store.open(READER)
        if store.by_pk(1) is None:
            raise RuntimeError("there is no first row")

    _, status = os.waitpid(_child(lambda: store.run(read)), 0)
    if status:
        raise SystemExit(1)


def run(plan: Plan, farm: Farm, store: Store, dsn: str, world: World) -> Result:
    """Readers and writers at work, with faults, for as long as planned; then what the log says of it."""
    board = Board(Path(plan.folder) / "board", world, plan.writers, plan.readers)
    random = Random(plan.seed)
    crew = Crew(plan, store, board)
    with psycopg.connect(dsn, autocommit=True) as connection:
        faults = Faults(farm, crew, connection, random)
        crew.start()
        start = time.monotonic()
        try:
            done = 0.0
            while done < 1:
                _listen(random.uniform(*GAP))
                crew.replace()
                done = (time.monotonic() - start) / plan.seconds
                if plan.reads:
                    done = min(done, board.totals()["reads"] / plan.reads)
                if plan.faults and done < FAULTS_END:
                    faults.one()
                    crew.replace()
            seconds = time.monotonic() - start
            crew.stop()
        finally:
            crew.kill()
        _wait_for_the_last_commit(connection)
        history = History(world, database.log(connection))
    evidence = Evidence.read(Path(plan.folder).glob("evidence-*"))
    verdict = judge(evidence, history)
    totals = board.totals()
    return Result(
        contestant=plan.contestant,
        seconds=seconds,
        reads=totals["reads"],
        calls=totals["calls"],
        hits=totals["hits"],
        stale=totals["stale"] + verdict.stale,
        dirty=totals["wrong"] + verdict.dirty,
        backward=totals["backward"],
        failed=totals["failed"],
        commits=totals["commits"],
        rollbacks=totals["rollbacks"],
        refused=totals["refused"],
        aborted=totals["aborted"],
        unfinished=totals["unfinished"],
        own_reads=totals["own_reads"],
        own_unseen=totals["own_unseen"],
        faults=dict(faults.counts),
        examples=verdict.examples,
    )


def _wait_for_the_last_commit(connection: psycopg.Connection[Any]) -> None:
    """PostgreSQL may still be at work for a process that was killed."""
    query = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        row = connection.execute(query).fetchone()
        if row is not None and row[0] == 0:
            return
        time.sleep(0.02)
    raise RuntimeError("database connections of ended processes are still open")


def look_at_all(plan: Plan, store: Store, dsn: str, world: World) -> tuple[list[str], int]:
    """(what is wrong, how many keys) when a fresh process asks for every row and slug, twice: a miss may fill."""
    path = Path(plan.folder) / "answers"

    def ask() -> None:
        store.open(READER)
        for number in range(2):
            answers: dict[int, State | None] = {}
            for thing in range(world.objects):
                name = world.name(thing)
                answers[thing] = store.by_pk(name) if isinstance(name, int) else store.by_slug(name)
            path.with_suffix(f".{number}").write_bytes(pickle.dumps(answers))

    _, status = os.waitpid(_child(lambda: store.run(ask)), 0)
    if status:
        raise RuntimeError("the process that looks at all keys has failed")
    with psycopg.connect(dsn) as connection:
        rows = database.states(connection)
    wrong: dict[str, None] = {}
    for number in range(2):
        answers = pickle.loads(path.with_suffix(f".{number}").read_bytes())
        wrong.update(dict.fromkeys(differing(answers, rows, world)))
    return list(wrong), world.objects


class Abandoned(Exception):
    """Whoever started this run is gone."""


def _listen(seconds: float) -> None:
    """Wait; if whoever started this process is gone, end."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    if ready:
        raise Abandoned


def main() -> None:
    """Run the plan on the first line of the input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started this: then the input ends
    plan = Plan(**json.loads(sys.stdin.readline()))
    world = World(plan.rows)
    dsn = database.create(plan.dsn, "bench_" + plan.contestant.replace("-", "_"), world)
    contestant = named(plan.contestant)
    logging.getLogger("cachecore").setLevel(logging.ERROR)  # that servers come and go is what the run is about
    with Farm(contestant.farm) as farm:
        store = contestant.make(dsn, farm.url)
        try_it(store)
        result = run(plan, farm, store, dsn, world)
        ended = time.monotonic()
        print("ran", flush=True)
        if not sys.stdin.readline():
            return
        if contestant.is_ours and farm.servers:
            time.sleep(max(0.0, ended + QUIET - time.monotonic()))
        wrong, result.keys = look_at_all(plan, store, dsn, world)
        result.permanent = len(wrong)
        result.examples += wrong[:EXAMPLES]
        print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    try:
        main()
    except Abandoned:
        sys.exit(1)
