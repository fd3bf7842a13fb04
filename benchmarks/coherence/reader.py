"""A reader: asks for popular rows by primary key and by slug, one or several, and judges what it can at once."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random

from benchmarks.coherence.board import Board
from benchmarks.coherence.judge import Evidence
from benchmarks.coherence.store import Store
from benchmarks.coherence.world import State

BATCH = 100
"""Reads between two looks at whether to go on."""

MANY = 20
"""Rows asked for at once, or fewer, now and then."""


class Reader:
    """One reading process. ``number`` counts from 0; ``evidence`` is its file."""

    def __init__(self, number: int, store: Store, board: Board, evidence: Path, seed: int) -> None:
        self._number = number
        self._process = board.writers + number
        self._store = store
        self._board = board
        self._world = board.world
        self._path = evidence
        self._random = Random(seed)
        self.evidence = Evidence()
        self._weights = self._world.popularity()

    def run(self) -> None:
        """Read until the board says stop or the parent is gone."""
        pks = range(1, self._world.rows + 1)
        parent = os.getppid()
        written = time.monotonic()
        while not self._board.stopped and os.getppid() == parent:
            for pk in self._random.choices(pks, cum_weights=self._weights, k=BATCH):
                self._read(pk)
            if time.monotonic() - written > 0.5:
                self.evidence.append_to(self._path)
                written = time.monotonic()
        self.evidence.append_to(self._path)

    def _read(self, pk: int) -> None:
        chance = self._random.random()
        try:
            if chance < 0.61:
                self.read_pk(pk)
            elif chance < 0.91:
                self.read_slug(self._board.slug_of(pk))
            elif chance < 0.93:
                self.read_slug(self._random.choice(self._world.pool(self._world.group(pk))))
            elif chance < 0.98:
                self.read_many([*dict.fromkeys(self._random.choices(range(1, self._world.rows + 1), k=MANY))])
            else:
                with self._store.transaction():
                    self.read_pk(pk)
                    self.read_slug(self._board.slug_of(pk))
        except self._store.failures:
            self._count("reads")
            self._count("failed")

    def read_pk(self, pk: int) -> None:
        """Ask for a row by its primary key, and judge the answer."""
        thing = self._world.row(pk)
        committed, seen = self._board.committed(thing), self._board.seen(thing)
        queries = self._store.queries
        state = self._store.by_pk(pk)
        self._count_read(queries, 1)
        if state is None:
            self._absent(thing, committed)
        elif state.pk != pk:
            self._count("wrong")
        else:
            self._present(state, committed, seen, "primary key")

    def read_slug(self, slug: str) -> None:
        """Ask for a row by its slug, and judge the answer, whichever row of the group it is."""
        asked = self._world.slug(slug)
        floors = self._floors(self._world.members(self._world.group_of(slug)))
        committed = self._board.committed(asked)
        queries = self._store.queries
        state = self._store.by_slug(slug)
        self._count_read(queries, 1)
        if state is None:
            self._absent(asked, committed)
        elif state.slug != slug or state.pk not in floors:
            self._count("wrong")
        else:
            self._present(state, *floors[state.pk], "slug")

    def read_many(self, pks: list[int]) -> None:
        """Ask for several rows at once, and judge the answers."""
        floors = self._floors(pks)
        queries = self._store.queries
        found = {state.pk: state for state in self._store.many(pks)}
        self._count_read(queries, len(pks))
        for pk, (committed, seen) in floors.items():
            if pk in found:
                self._present(found[pk], committed, seen, "multi-get")
            else:
                self._absent(self._world.row(pk), committed)

    def _floors(self, pks: Iterable[int]) -> dict[int, tuple[int, int]]:
        things = ((pk, self._world.row(pk)) for pk in pks)
        return {pk: (self._board.committed(thing), self._board.seen(thing)) for pk, thing in things}

    # -- judging -----------------------------------------------------------------------------------

    def _present(self, state: State, committed: int, seen: int, how: str) -> None:
        if state.version < committed:
            self._count("stale")
            self.evidence.stale[state, committed, how] += 1
        elif state.version < seen:
            self._count("backward")
        self._board.see(self._number, self._world.row(state.pk), state.version)
        self.evidence.states[state] += 1

    def _absent(self, thing: int, committed: int) -> None:
        self.evidence.absences[thing, committed, self._board.issued(thing)] += 1

    def _count_read(self, queries_before: int, rows: int) -> None:
        self._count("reads", rows)
        self._count("calls")
        if self._store.queries == queries_before:
            self._count("hits")

    def _count(self, name: str, number: int = 1) -> None:
        self._board.count(self._process, name, number)
