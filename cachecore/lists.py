"""Complete lists: "the rows of country no are 1, 5 and 7". Flows, like those of `cachecore.coherence`.

Theory of operation
-------------------
A list of identities is an entry like a row, under a coherent key made of the values that its rows have in common. What
it claims is that no row is *missing* from it, which no row can verify; so every transaction that gives a row these
values holds the key (`cachecore.derived`), and the entry is filled only from one's own lease.

That a row *belongs* to the list, the row itself says: each is read coherently under its identity, and its columns are
compared with what was asked. A row that was deleted or moved away therefore needs no hold. Who finds one in a list
reads the list again from the database and replaces the entry, so that the next reader need not look for it.

Cold, one statement brings the rows and answers; only the identities are filled, since no lease on the rows was held
while they were read. Each row of the answer is as it was at some moment of the read, like the rows of `get_many`.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

from cachecore.coherence import LEFT, Row, Subject, fetch
from cachecore.operations import Operation, QueryMany

Asked = tuple[object, ...]
"""The values that the rows of a list have in common."""

LIST_LIMIT = 10_000
"""Longer lists are answered and not stored."""


class ListSubject(msgspec.Struct, frozen=True):
    """What the protocol needs to know of one kind of lists of an entity."""

    rows: Subject
    entries: Subject
    """Of answers: (values, identities), or as the database gave it (values, None, rows)."""
    keys_for: Callable[[Sequence[Any]], Mapping[str, Any]]
    """Identities to their coherent keys, in order: key to identity."""
    values_of: Callable[[Row], Asked]
    """Row to its values in the columns of the list."""


def get_lists(
    of: ListSubject,
    lists: Mapping[str, Asked],
    new_token: Callable[[], bytes],
    *,
    may_fill: bool,
    written: Callable[[str], bool],
) -> Generator[Operation, Any, dict[str, list[Row]]]:
    """The rows of ``lists`` (key to values) by key, in no order: one round trip for all lists and one for all rows.

    ``new_token`` makes random tokens. ``may_fill`` and ``written`` are as for `fetch`.
    """
    found: dict[str, list[Row]] = {}
    outdated: list[Row] = []

    def read(wanted: Sequence[Asked]) -> Generator[Operation, Any, Mapping[Asked, Row]]:
        return (yield from _query(of, wanted))

    def claimed(answer: Row) -> object:
        return LEFT if answer in outdated else answer[0]

    for last_look in (False, True):
        wanted = {key: asked for key, asked in lists.items() if key not in found}
        entries = of.entries if not outdated else structs.replace(of.entries, identity_of=claimed)
        answers: dict[str, Any] = yield from fetch(
            entries, wanted, new_token(), may_fill=may_fill, written=written, read=read
        )
        claims: dict[str, Mapping[str, Any]] = {}
        for key, (_, identities, *rows) in answers.items():
            if identities is None:
                found[key] = list(rows[0])
            else:
                claims[key] = of.keys_for(identities)
        rows_asked = {row_key: identity for claim in claims.values() for row_key, identity in claim.items()}
        by_key: Mapping[str, Row] = {}
        if rows_asked:
            by_key = yield from fetch(of.rows, rows_asked, new_token(), may_fill=may_fill, written=written)
        for key, claim in claims.items():
            rows = [by_key[row_key] for row_key in claim if row_key in by_key]
            belonging = [row for row in rows if of.values_of(row) == lists[key]]
            if len(belonging) == len(claim) or last_look:
                found[key] = belonging
            else:
                outdated.append(answers[key])
        if len(found) == len(lists):
            break
    return found


def _query(of: ListSubject, wanted: Sequence[Asked]) -> Generator[Operation, Any, Mapping[Asked, Row]]:
    """The answers of the database, by one statement for all lists.

    If it finds rows equal to what was asked that Python does not, each list is asked for by itself.
    """
    if len(wanted) > 1:
        found: Sequence[tuple[Any, Row]] = yield QueryMany(wanted)
        rows: dict[Asked, list[Row]] = {asked: [] for asked in wanted}
        for _, row in found:
            rows.setdefault(of.values_of(row), []).append(row)
        if len(rows) == len(wanted):
            return {asked: (asked, None, its) for asked, its in rows.items()}
    answers: dict[Asked, Row] = {}
    for asked in wanted:
        found = yield QueryMany([asked])
        answers[asked] = (asked, None, [row for _, row in found])
    return answers
