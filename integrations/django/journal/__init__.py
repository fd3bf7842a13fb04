"""Replaying the journal: what writes have noted while a cache could not be reached is outdated in it.

A note is deleted only when its cache has acknowledged, and only if it was settled when it was read: one that was
settled meanwhile may be about a statement that was committed after the keys were outdated. So replays may be killed at
any point, and any number of processes may replay at once.

Who replays: a process that reaches the cache again, by itself (`replays`); ``manage.py cachecore replay``; and whoever
calls `replay`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections, router
from django.db.models.functions import Now

from cachecore.cache import Cache
from cachecore.errors import BackendError
from cachecore.integrations.django.conf import caches, configured
from cachecore.integrations.django.journal.notes import has_table
from cachecore.integrations.django.writing.databases import database_of

AT_ONCE = 20
"""Notes. Each has up to 500 keys, and the keys of all go to the cache in one call."""


@dataclass
class Replayed:
    """What became of the notes of one cache in one database."""

    done: int = 0
    """Outdated and deleted."""
    kept: int = 0
    """Outdated, and kept because the statement that they announce may still be under way."""
    waiting: int = 0
    """Left, because the cache could not be reached."""
    error: BackendError | None = None
    """Why it could not."""


def replay(alias: str | None = None, using: str | None = None) -> int:
    """Outdate what the journals note, and delete the notes; how many were deleted.

    alias: of a cache in CACHECORE; None means all.
    using: alias of a database; None means all that have a journal.
    Raises BackendError if a cache cannot be reached: its notes are left, and all others have been replayed by then.
    """
    results = [
        replay_notes(cache, database)
        for database in (databases() if using is None else [using])
        for cache in (configured() if alias is None else [alias])
        if has_table(database)
    ]
    for result in results:
        if result.error is not None:
            raise result.error
    return sum(result.done for result in results)


def databases() -> list[str]:
    """The databases that may have a journal: each once, by the first of its aliases, if migrations reach it."""
    from cachecore.integrations.django.models import Journal

    return [
        alias for alias in connections if database_of(alias) == alias and router.allow_migrate_model(alias, Journal)
    ]


def replay_notes(alias: str, using: str) -> Replayed:
    """Replay the notes of the cache ``alias`` in the database ``using``, which has a journal."""
    cache = caches[alias]
    notes = _notes(using).filter(cache=alias).order_by("pk")
    result, last = Replayed(), 0
    while some := list(notes.filter(pk__gt=last).values_list("pk", "entries", "keep_until", Now())[:AT_ONCE]):
        last = some[-1][0]
        acknowledged = _deliver(cache, some, result)
        settled = [pk for pk, _, keep_until, now in acknowledged if keep_until is None or keep_until < now]
        if settled:
            # One statement, as delete() is not: SQLite would keep other writers waiting.
            _notes(using).filter(pk__in=settled)._raw_delete(using)
        result.done += len(settled)
        result.kept += len(acknowledged) - len(settled)
        if not acknowledged:
            break  # the cache is away, and not merely one of its servers
    if result.error is not None:
        result.waiting = notes.count() - result.kept
    return result


def unknown_caches(using: str) -> dict[str, int]:
    """How many notes there are of each cache that CACHECORE does not have. Nobody here can replay them."""
    names = _notes(using).exclude(cache__in=list(configured())).values_list("cache", flat=True)
    found = list(names)
    return {name: found.count(name) for name in dict.fromkeys(found)}


def _notes(using: str) -> Any:
    from cachecore.integrations.django.models import Journal

    return Journal._base_manager.using(using)


def _deliver(cache: Cache, notes: Sequence[Any], result: Replayed) -> Sequence[Any]:
    """Outdate the keys of these notes; those of which the cache has acknowledged all. One dead server of several fails
    a call as a whole, so what has failed is tried by halves."""
    try:
        cache.replay(dict.fromkeys(key for _, entries, *_ in notes for key in entries.split("\n")))
    except BackendError as error:
        result.error = error
        if len(notes) == 1:
            return []
        middle = len(notes) // 2
        return [*_deliver(cache, notes[:middle], result), *_deliver(cache, notes[middle:], result)]
    return notes
