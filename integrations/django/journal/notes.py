"""Writing into the journal: the keys of rows that a write outdates while their cache cannot be reached.

Theory of operation
-------------------
In a transaction a note is a row of the same transaction, so that it is there if and only if the write is. Whoever
replays it can do so only after COMMIT, and deletes it when the cache has acknowledged (`journal`).

A statement in autocommit has no transaction that the note could be a part of. Its note is committed before it, and is
to be kept for as long as the statement may be under way: a replay outdates its keys, too early perhaps, and leaves the
row. When the statement has ended the note is settled, and the next replay deletes it. The note of a statement that
nobody settled, because its process was killed or its outcome is unknown, is kept for `STATEMENT_MAY_TAKE`, by the clock
of the database.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now

from cachecore.cache import Cache
from cachecore.errors import WriteRefused
from cachecore.integrations.django.conf import caches

logger = logging.getLogger("cachecore")

TABLE = "cachecore_journal"

STATEMENT_MAY_TAKE = timedelta(hours=1)
"""How long a statement in autocommit may be under way. Too short: the row that it writes can stay outdated until its
TTL ends, if its process is killed besides. Too long: what was never settled is replayed in vain so many times more."""

KEYS_A_NOTE = 500
"""So that a note of the longest keys has about 100 kB."""

_found: set[str] = set()
"""Aliases of the databases that are known to have the table."""


def has_table(using: str) -> bool:
    """Whether the database has the journal's table. Asks it until it has."""
    if using not in _found:
        connection = connections[using]
        with connection.cursor() as cursor:
            if TABLE not in connection.introspection.table_names(cursor):
                return False
        _found.add(using)
    return True


def write(connection: BaseDatabaseWrapper, cache: Cache, keys: Sequence[str], *, announced: bool) -> list[int]:
    """Note keys of ``cache`` in the open transaction, or at once if there is none; the ids of the notes.

    announced: they are about a statement that is yet to be sent, and are kept until it is settled.
    Raises WriteRefused if the database has no journal, and DatabaseError.
    """
    alias = caches.alias_of(cache)
    if not has_table(connection.alias):
        raise WriteRefused(
            f"the cache {alias!r} did not acknowledge that {len(keys)} entries are about to be outdated, and the "
            f"database {connection.alias!r} has no table {TABLE} to note them in: nothing was committed "
            '("manage.py migrate" makes it; the policy unreachable="refuse" or "bounded" does without)'
        )
    # Here, for a model can be imported only when the applications are ready.
    from cachecore.integrations.django.models import Journal

    meta = Journal._meta
    fields = [meta.get_field(name) for name in ("cache", "entries", "keep_until")]
    keep_until: Any = Now() + STATEMENT_MAY_TAKE if announced else None
    # Not save() or bulk_create(): the receivers of signals and atomic blocks have no business inside a COMMIT.
    manager: Any = Journal._base_manager.using(connection.alias)
    return [
        manager._insert(
            [Journal(cache=alias, entries="\n".join(some), keep_until=keep_until)],
            fields,
            [meta.pk],
            using=connection.alias,
        )[0][0]
        for some in _batched(keys, KEYS_A_NOTE)
    ]


def settle(connection: BaseDatabaseWrapper, notes: Sequence[int]) -> None:
    """The statement that these notes announced has ended. Raises nothing: it may have been committed."""
    from cachecore.integrations.django.models import Journal

    try:
        Journal._base_manager.using(connection.alias).filter(pk__in=notes).update(keep_until=None)
    except DatabaseError:
        logger.warning(
            "the notes %s in %s of the database %r could not be settled and are kept for %s",
            notes,
            TABLE,
            connection.alias,
            STATEMENT_MAY_TAKE,
            exc_info=True,
        )


def _batched(keys: Iterable[str], size: int) -> Iterable[list[str]]:
    rest = iter(keys)
    while some := list(islice(rest, size)):
        yield some
