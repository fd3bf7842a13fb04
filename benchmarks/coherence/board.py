"""What all processes of a run know at once: which commits have returned, which answers were seen, and the counters.

A file in shared memory, of 64-bit words. Every word has one process that writes it, so there is no lock for a killed
process to take with it, and a word is written at once. Time needs no clock: a reader looks at the board before it asks,
and what stands there was written by somebody whose commit had returned by then.
"""

import mmap
import os
from collections.abc import Iterable
from pathlib import Path

from benchmarks.coherence.world import Event, World

COUNTERS = (
    "reads", "calls", "hits", "stale", "backward", "wrong", "failed",
    "commits", "rollbacks", "refused", "aborted", "unfinished", "own_reads", "own_unseen",
)  # fmt: skip
"""Of readers, then of writers. calls: questions, of one row or many; hits: those that sent no statement; own_unseen:
reads inside a transaction that did not show what it had written."""


class Board:
    """The words of ``writers`` and ``readers``. Opening the same file again gives the same words."""

    def __init__(self, path: Path, world: World, writers: int, readers: int) -> None:
        self.world = world
        self.writers = writers
        self.readers = readers
        processes = writers + readers
        self._committed = 1
        self._issued = self._committed + world.objects * writers
        self._seen = self._issued + world.objects * writers
        self._hint = self._seen + world.objects * readers
        self._counters = self._hint + world.rows
        size = (self._counters + processes * len(COUNTERS)) * 8
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, size)
            self._words = memoryview(mmap.mmap(descriptor, size)).cast("Q")
        finally:
            os.close(descriptor)

    # -- the end -----------------------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Whether everybody is to end."""
        return self._words[0] != 0

    def stop(self) -> None:
        """Tell everybody to end."""
        self._words[0] = 1

    # -- versions ----------------------------------------------------------------------------------

    def committed(self, thing: int) -> int:
        """The highest version of an object whose commit has returned to its caller; 0 for none."""
        start = self._committed + thing * self.writers
        return max(self._words[start : start + self.writers])

    def issued(self, thing: int) -> int:
        """The highest version of an object of which COMMIT may have been sent, by a transaction that said so before."""
        start = self._issued + thing * self.writers
        return max(self._words[start : start + self.writers])

    def seen(self, thing: int) -> int:
        """The highest version of an object that a finished read has returned."""
        start = self._seen + thing * self.readers
        return max(self._words[start : start + self.readers])

    def issue(self, writer: int, events: Iterable[Event]) -> None:
        """A writer is about to commit these events."""
        self._raise(self._issued, writer, events)

    def commit(self, writer: int, events: Iterable[Event]) -> None:
        """The commit of these events has returned to the writer."""
        for event in events:
            if event.new_slug is not None:
                self._words[self._hint + event.pk - 1] = self.world.slug(event.new_slug)
        self._raise(self._committed, writer, events)

    def see(self, reader: int, thing: int, version: int) -> None:
        """A read has returned this version of an object."""
        place = self._seen + thing * self.readers + reader
        if self._words[place] < version:
            self._words[place] = version

    def slug_of(self, pk: int) -> str:
        """A slug that the row had a moment ago: a good guess, and no more than that."""
        thing = self._words[self._hint + pk - 1]
        return str(self.world.name(thing)) if thing else self.world.pool(self.world.group(pk))[0]

    def _raise(self, section: int, writer: int, events: Iterable[Event]) -> None:
        for event in events:
            for thing, _ in self.world.touched(event):
                place = section + thing * self.writers + writer
                if self._words[place] < event.version:
                    self._words[place] = event.version

    # -- counters ----------------------------------------------------------------------------------

    def count(self, process: int, name: str, number: int = 1) -> None:
        """Add to a counter of a process: writers are numbered from 0, readers after them."""
        self._words[self._counters + process * len(COUNTERS) + COUNTERS.index(name)] += number

    def totals(self) -> dict[str, int]:
        """The counters of all processes, added up."""
        step = len(COUNTERS)
        return {name: sum(self._words[self._counters + place :: step]) for place, name in enumerate(COUNTERS)}
