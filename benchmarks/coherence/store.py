"""What a contestant must be able to do: read rows through its cache and write them as an application would.

A contestant through another ORM is one more class with these methods.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from random import Random
from typing import Any, Protocol

from benchmarks.coherence.world import Event, State


def at_once() -> None:
    """Replies that come without delay."""


class LateReplies:
    """Some replies of the database come milliseconds late: what was read is old, what was committed is visible by then.

    It is as if the network were slow, and opens the gaps in which caches go wrong: between SELECT and fill, between
    COMMIT and whatever comes after it.
    """

    SHARE = 0.04
    LONGEST = 0.012

    def __init__(self, random: Random) -> None:
        self._random = random

    def __call__(self) -> None:
        if self._random.random() < self.SHARE:
            time.sleep(self._random.uniform(0, self.LONGEST))


class Store(Protocol):
    """One process's access to the rows, with a database connection of its own."""

    queries: int
    """Statements sent to the database so far: a read that sends none was a hit."""
    events: list[Event]
    """What the trigger has told of this connection's writes; the writer empties it."""
    unfinished: int
    """Commits so far of which the cache has not acknowledged that it was told. Rivals do not know."""
    failures: tuple[type[Exception], ...]
    """What a read may raise when the cache is away. Ours: nothing."""
    refused: tuple[type[Exception], ...]
    """What a write raises that the cache has refused before COMMIT."""
    aborted: tuple[type[Exception], ...]
    """What a write raises when the database gives it up, or its connection is lost."""

    def run(self, work: Callable[[], None]) -> None:
        """Do the work of a process, which opens this store first: as its driver needs it, in an event loop or as is."""
        ...

    def open(self, role: str, after_reply: Callable[[], None] = at_once) -> None:
        """Connect, in the process that is going to use it; ``role`` becomes the connection's application name.

        ``after_reply`` is called after each statement and COMMIT, before anybody learns that they are done.
        """
        ...

    def reconnect(self) -> None:
        """Leave a connection that may be lost; the next statement connects again."""
        ...

    def by_pk(self, pk: int) -> State | None:
        """The row of a primary key, through the cache."""
        ...

    def by_slug(self, slug: str) -> State | None:
        """The row that has this slug, through the cache."""
        ...

    def many(self, pks: Sequence[int]) -> list[State]:
        """The rows of several primary keys, through the cache."""
        ...

    def transaction(self) -> AbstractContextManager[Any]:
        """A transaction, or inside one a savepoint: committed at the end of the block, rolled back by an exception."""
        ...

    def lock_groups(self, groups: Sequence[int]) -> None:
        """Lock the rows of these groups, in order."""
        ...

    def lock_rows(self, pks: Sequence[int]) -> dict[int, Any]:
        """Lock and read the rows that there are, in order of their keys; each has a ``slug``."""
        ...

    def save(self, row: Any, number: int, slug: str | None = None) -> None:
        """Write a locked row back, with another slug if one is given."""
        ...

    def save_number(self, pk: int, number: int) -> None:
        """Write one column of a row that was not read, if it is there, in whatever transaction there is or none."""
        ...

    def update(self, first: int, last: int, number: int) -> None:
        """Write one column of all rows between two primary keys by one statement."""
        ...

    def insert(self, pk: int, slug: str, number: int) -> None:
        """Make a row with this primary key."""
        ...

    def delete(self, row: Any) -> None:
        """Delete a locked row."""
        ...
