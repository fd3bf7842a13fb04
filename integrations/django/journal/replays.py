"""When a process replays the journal by itself: so soon as it reaches the cache, and never while anybody waits.

A process looks into the journal of a database once after its start, and again after it has written a note itself. The
occasion is a COMPLETE that the cache has acknowledged: the cache is there, and the transaction is over. The replay
runs in a thread that ends with it, on a connection of its own.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cachecore.cache import Cache
from cachecore.errors import ClosedError
from cachecore.integrations.django.conf import caches, configured
from cachecore.integrations.django.journal.notes import has_table

logger = logging.getLogger("cachecore")

PAUSE = 60.0
"""Seconds until the next look after one that has left something, or has failed."""


class Replays:
    """What this process owes to the journals of its databases."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._not_before: dict[tuple[str, str], float] = {}
        """Database and cache -> local monotonic time; absent: look at the next occasion."""

    def owe(self, using: str, cache: Cache) -> None:
        """Notes about this cache stand in this database."""
        with suppress(ClosedError):
            self._not_before.pop((using, caches.alias_of(cache)), None)

    def forget(self) -> None:
        """Begin anew, as a process does: in a child its parent's threads do not run."""
        self._not_before.clear()

    def reached(self, connection: BaseDatabaseWrapper, cache: Cache) -> None:
        """The cache has acknowledged a write of this database, and no transaction is open. Returns at once."""
        try:
            here = using, alias = connection.alias, caches.alias_of(cache)
        except ClosedError:
            return
        if self._not_before.get(here, 0.0) > self._clock() or not _can_replay(connection, cache):
            return
        # Before the look: a note that is committed from now on is owed again.
        self._not_before[here] = math.inf
        if not configured()[alias].get("REPLAY", True):
            return
        try:
            threading.Thread(target=self._replay, args=(using, alias), name="cachecore replay", daemon=True).start()
        except RuntimeError:  # no more threads
            self._later(here)

    def _later(self, here: tuple[str, str]) -> None:
        # Unless it has become due meanwhile.
        if here in self._not_before:
            self._not_before[here] = self._clock() + PAUSE

    def _replay(self, using: str, alias: str) -> None:
        # Here, for the journal needs the connections, which need this module.
        from cachecore.integrations.django.journal import replay_notes

        try:
            if not has_table(using):
                return
            result = replay_notes(alias, using)
            if result.done:
                logger.info("%d notes of the cache %r in the database %r were replayed", result.done, alias, using)
            if result.kept or result.waiting:
                self._later((using, alias))
        except Exception:
            logger.warning("the notes of the cache %r in the database %r wait", alias, using, exc_info=True)
            self._later((using, alias))
        finally:
            connections[using].close()


def _can_replay(connection: BaseDatabaseWrapper, cache: Cache) -> bool:
    """Not for a cache inside this process, which is always reached; nor where another connection sees nothing: inside
    the transaction of a test case, or in a database in memory."""
    if cache.backend.keeps_objects or connection.in_atomic_block:
        return False
    in_memory: Callable[[], bool] | None = getattr(connection, "is_in_memory_db", None)
    return in_memory is None or not in_memory()


replays = Replays()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=replays.forget)
