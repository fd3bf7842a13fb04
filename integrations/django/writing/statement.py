"""A statement in autocommit, which is a transaction of its own: PREPARE before it, COMPLETE after it."""

from collections.abc import Iterable, Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from cachecore.cache import Cache
from cachecore.integrations.django.journal import notes
from cachecore.integrations.django.journal.replays import replays
from cachecore.policy import Policy

Touched = tuple[Cache, Sequence[str], Policy]
"""Keys of one cache that a write outdates."""


class Statement:
    """What one statement outdates in one cache. Making it is PREPARE: raises WriteRefused by the policy."""

    __slots__ = ("_cache", "_connection", "_notes", "_unit")

    def __init__(self, connection: BaseDatabaseWrapper, cache: Cache, touched: Iterable[Touched]) -> None:
        self._connection = connection
        self._cache = cache
        self._notes: list[int] = []
        self._unit = cache.begin(journal=self._announce)
        for _, keys, policy in touched:
            self._unit.add(keys, policy)
        self._unit.prepare()

    def _announce(self, keys: Sequence[str]) -> None:
        # No transaction is open, so that this is committed before the statement is sent.
        self._notes += notes.write(self._connection, self._cache, keys, announced=True)

    def holds(self, cache: Cache, key: str) -> bool:
        """Whether it keeps this key's entry away, now and until a statement that is sent now has ended."""
        unit = self._unit
        return cache is self._cache and unit.has_written(key) and not (unit.prepare_by and unit.must_prepare_again())

    def complete(self) -> None:
        """It has ended, and a part of it at least may have been committed."""
        reached = self._unit.complete()
        if self._notes:
            notes.settle(self._connection, self._notes)
            replays.owe(self._connection.alias, self._cache)
        if reached:
            replays.reached(self._connection, self._cache)

    def leave_to_expire(self) -> None:
        """Its outcome is unknown: its hold expires by itself, and its notes are kept for as long as it may take."""
        self._unit.end()
