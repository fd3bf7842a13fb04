"""A writer: transactions of all kinds, of which some are slow and some are rolled back.

When a commit has returned, and not before, it says so on the board. Locks are taken in one order, groups before rows
and both by number, but for bulk statements, whose order is PostgreSQL's: now and then it ends a deadlock, as in life.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.coherence.board import Board
from benchmarks.coherence.judge import Evidence
from benchmarks.coherence.store import Store

PAUSE = 0.008
"""Seconds between two transactions, on average."""


class _ChangedOurMind(Exception):
    pass


class Writer:
    """One writing process. ``number`` counts from 0; ``evidence`` is its file."""

    def __init__(self, number: int, store: Store, board: Board, evidence: Path, seed: int) -> None:
        self._number = number
        self._store = store
        self._board = board
        self._path = evidence
        self._world = board.world
        self._random = Random(seed)
        self._weights = self._world.popularity()
        self._deleted: list[int] = []
        """Rows to be made again soon: most are to be there, or the readers would seldom have anything to hit."""
        self.changes: dict[Callable[[], None], int] = {
            self._change_one: 20,
            self._change_by_statement: 20,
            self._change_without_transaction: 10,
            self._change_several: 15,
            self._rename: 12,
            self._swap: 6,
            self._delete_or_create: 12,
            self._change_few_in_bulk: 4,
            self._change_many_in_bulk: 1,
        }

    def run(self) -> None:
        """Write until the board says stop or the parent is gone."""
        parent = os.getppid()
        changes, weights = list(self.changes), list(self.changes.values())
        while not self._board.stopped and os.getppid() == parent:
            self.write(self._random.choices(changes, weights)[0])
            if self._deleted:
                time.sleep(self._random.uniform(0, 0.05))
                self.write(self._delete_or_create)
            time.sleep(self._random.expovariate(1 / PAUSE))

    def write(self, change: Callable[[], None]) -> None:
        """Make one change; if its commit returns, say so on the board."""
        store = self._store
        store.events.clear()
        unfinished = store.unfinished
        try:
            change()
        except _ChangedOurMind:
            self._count("rollbacks")
        except store.refused:
            self._count("refused")
        except store.aborted:
            self._count("aborted")
            store.reconnect()
        else:
            self._board.commit(self._number, store.events)
            if store.events:
                self._count("commits")
            if store.unfinished > unfinished:
                self._count("unfinished")
                Evidence(unfinished={event.version for event in store.events}).append_to(self._path)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        store = self._store
        with store.transaction():
            yield
            if self._random.random() < 0.1:
                with suppress(_ChangedOurMind), self._savepoint():
                    self._store.save_number(self._pk(), self._value())
                    raise _ChangedOurMind
            if store.events and self._random.random() < 0.2:
                self._see_own_write()
            if self._random.random() < 0.2:
                time.sleep(self._random.uniform(0.005, 0.05))  # a slow transaction: the rows stay locked
            self._board.issue(self._number, store.events)
            if self._random.random() < 0.15:
                raise _ChangedOurMind

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        """Inside the transaction. What happens in it is forgotten if it is rolled back."""
        with self._store.transaction():
            before = len(self._store.events)
            try:
                yield
            except _ChangedOurMind:
                del self._store.events[before:]
                raise

    def _see_own_write(self) -> None:
        event = self._store.events[-1]
        state = self._store.by_pk(event.pk)
        self._count("own_reads")
        if (state and state.version) != (event.version if event.new_slug is not None else None):
            self._count("own_unseen")

    # -- what is changed ---------------------------------------------------------------------------

    def _change_one(self) -> None:
        with self._transaction():
            for row in self._store.lock_rows([self._pk()]).values():
                self._store.save(row, self._value())

    def _change_by_statement(self) -> None:
        pk = self._pk()
        with self._transaction():
            self._store.update(pk, pk, self._value())

    def _change_without_transaction(self) -> None:
        pk = self._pk()
        if self._random.random() < 0.5:
            self._store.save_number(pk, self._value())
        else:
            self._store.update(pk, pk, self._value())

    def _change_several(self) -> None:
        with self._transaction():
            for row in self._store.lock_rows([self._pk() for _ in range(self._random.randint(2, 4))]).values():
                self._store.save(row, self._value())

    def _rename(self) -> None:
        pk = self._pk()
        with self._locked_groups([pk]) as rows:
            if pk in rows:
                self._store.save(rows[pk], self._value(), self._free(pk, rows))

    def _swap(self) -> None:
        """Two rows exchange their slugs; while they do, one of them has a third."""
        pk = self._pk()
        with self._locked_groups([pk]) as rows:
            if len(rows) == 2:
                one, other = rows.values()
                slugs = one.slug, other.slug
                self._store.save(one, self._value(), self._free(pk, rows))
                self._store.save(other, self._value(), slugs[0])
                self._store.save(one, self._value(), slugs[1])

    def _delete_or_create(self) -> None:
        """A row that is there is deleted, and made again at once or soon; one that is not there is made."""
        pk = self._deleted.pop() if self._deleted else self._pk()
        with self._locked_groups([pk]) as rows:
            slug = self._free(pk, rows)
            if pk in rows:
                if self._random.random() < 0.3:
                    slug = rows[pk].slug
                self._store.delete(rows[pk])
                if self._random.random() < 0.5:
                    self._deleted.append(pk)
                    return
            self._store.insert(pk, slug, self._value())

    def _change_few_in_bulk(self) -> None:
        self._change_in_bulk(4)

    def _change_many_in_bulk(self) -> None:
        """More rows than the threshold above which the whole entity is outdated."""
        self._change_in_bulk(self._world.rows // 2)

    def _change_in_bulk(self, count: int) -> None:
        first = self._random.randint(1, self._world.rows - count)
        if self._random.random() < 0.3:
            self._store.update(first, first + count - 1, self._value())
            return
        with self._transaction():
            self._store.lock_rows(range(first, first + count))
            self._store.update(first, first + count - 1, self._value())

    # -- tools -------------------------------------------------------------------------------------

    @contextmanager
    def _locked_groups(self, pks: Sequence[int]) -> Iterator[dict[int, Any]]:
        groups = sorted({self._world.group(pk) for pk in pks})
        with self._transaction():
            self._store.lock_groups(groups)
            yield self._store.lock_rows([pk for group in groups for pk in self._world.members(group)])

    def _free(self, pk: int, rows: dict[int, Any]) -> str:
        taken = {row.slug for row in rows.values()}
        return self._random.choice([slug for slug in self._world.pool(self._world.group(pk)) if slug not in taken])

    def _pk(self) -> int:
        [pk] = self._random.choices(range(1, self._world.rows + 1), cum_weights=self._weights)
        return pk

    def _value(self) -> int:
        return self._random.randrange(1_000_000)

    def _count(self, name: str) -> None:
        self._board.count(self._number, name)
