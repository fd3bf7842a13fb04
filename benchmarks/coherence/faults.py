"""Faults, one after another: processes killed or frozen, the cache server stopped, killed or emptied, connections cut.

One at a time, with a pause between two: what is promised is promised for any single fault. (A hold that is lost while
its writer is killed too needs the journal, and has a test of its own.)
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol

import psycopg

from benchmarks.coherence.farm import Farm

WRITER, READER = "bench-writer", "bench-reader"
"""The application names of their database connections."""


class Crew(Protocol):
    """The processes of a run."""

    def writers(self) -> Sequence[int]:
        """The process numbers of the writers."""
        ...

    def victims(self) -> Sequence[int]:
        """The process numbers of the readers that may be killed."""
        ...

    def everybody(self) -> Sequence[int]:
        """The process numbers of all."""
        ...


class Faults:
    """Does one fault after another, and counts them by name. ``database`` is an autocommit connection."""

    def __init__(self, farm: Farm, crew: Crew, database: psycopg.Connection[Any], random: Random) -> None:
        self.counts: Counter[str] = Counter()
        self._farm = farm
        self._crew = crew
        self._database = database
        self._random = random
        self._faults: list[Callable[[], None]] = [
            self._kill_writer,
            self._kill_reader,
            self._freeze_process,
            self._cut_connection,
        ]
        if farm.servers:
            self._faults += [self._pause_server, self._restart_server, self._flush_server]
        self._turn: list[Callable[[], None]] = []

    def one(self) -> None:
        """Do the next fault: each once, in random order, then again. Returns when it is over."""
        if not self._turn:
            self._turn = self._random.sample(self._faults, len(self._faults))
        fault = self._turn.pop()
        fault()
        self.counts[fault.__name__.strip("_").replace("_", " ")] += 1

    def _kill_writer(self) -> None:
        os.kill(self._random.choice(self._crew.writers()), signal.SIGKILL)

    def _kill_reader(self) -> None:
        os.kill(self._random.choice(self._crew.victims()), signal.SIGKILL)

    def _freeze_process(self) -> None:
        """A pause of the process, wherever it is: between its SELECT and its fill, say."""
        pid = self._random.choice(self._crew.everybody())
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(self._random.uniform(0.05, 0.5))
        finally:
            os.kill(pid, signal.SIGCONT)

    def _cut_connection(self) -> None:
        """A writer loses its database connection, maybe with a COMMIT on its way."""
        self._database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = %s ORDER BY random() LIMIT 1",
            [WRITER],
        )

    def _pause_server(self) -> None:
        server = self._random.choice(self._farm.servers)
        server.pause()
        try:
            time.sleep(self._absence())
        finally:
            server.resume()

    def _restart_server(self) -> None:
        server = self._random.choice(self._farm.servers)
        server.kill()
        time.sleep(self._absence())
        server.start()

    def _absence(self) -> float:
        """Seconds, more often few than many."""
        return self._farm.longest_absence * self._random.random() ** 2

    def _flush_server(self) -> None:
        self._farm.flush(self._random.choice(self._farm.servers))
