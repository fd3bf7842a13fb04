"""Lookups are claims: "slug 'x' is row 5, whose slug the database spells 'x'". Flows, like those of `coherence`.

Theory of operation
-------------------
Only the row under its identity needs the protocol in full. A pointer is a claim about it that the row itself confirms:
row 5 is read coherently, and if its slug is not what the claim says, the claim is old and the database is asked. A
wrong pointer therefore costs one query and never gives a wrong row, needs no hold, and may be remembered by each
process.

The row that a Query brings is not stored under its identity: no lease was held on it while it was read. What a row
cannot verify, that none exists or that a list is complete, is not claimed here.
"""

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from typing import Any

import msgspec

from cachecore.coherence import Row, Seen, Subject, fetch, nothing_written
from cachecore.entries import Entry, Value
from cachecore.errors import BackendError, CorruptEntry, UnsupportedValue
from cachecore.events import Failure, FillRefused
from cachecore.operations import Forget, Get, Note, Operation, Put, Query, QueryMany


class Claim(msgspec.Struct, frozen=True):
    """What a pointer says: the lookup is the row of ``identity``, whose columns the database spells ``spelling``."""

    identity: Any
    spelling: tuple[object, ...]


class Lookup(msgspec.Struct, frozen=True):
    """One question about one unique combination of columns."""

    key: str
    """Of the pointer."""
    values: tuple[object, ...]
    """As asked."""
    key_of: Callable[[Any], str]
    """Identity to the coherent key of its row."""
    spelling_of: Callable[[Row], tuple[object, ...]]
    """Row to the values of the lookup's columns."""
    dump: Callable[[Claim], tuple[object, int]]
    load: Callable[[Any], Claim]
    """Claim to (payload, weight in bytes) and back; ``load`` raises CorruptEntry."""


def find(
    subject: Subject,
    lookup: Lookup,
    token: bytes,
    *,
    claim: Claim | None = None,
    may_fill: bool = True,
    written: Callable[[str], bool] = nothing_written,
    seen: Seen | None = None,
) -> Generator[Operation, Any, tuple[Row | None, Claim | None]]:
    """(row or None, the claim to remember or None): follow a pointer and verify it by the row, or ask the database.

    ``claim`` is what this process remembers, ``seen`` what it has already asked about that row; see `fetch`. The row of
    a Query is never stored under its identity: no lease was held on it while it was read.
    """
    if claim is None:
        claim = yield from _pointer(subject, lookup)
    if claim is not None:
        key = lookup.key_of(claim.identity)
        rows = yield from fetch(subject, {key: claim.identity}, token, may_fill=may_fill, written=written, seen=seen)
        row = rows.get(key)
        if row is not None and lookup.spelling_of(row) == claim.spelling:
            return row, claim
    found: tuple[Hashable, Row] | None = yield Query(lookup.values)
    if found is None:
        if claim is not None:
            yield from _attempt(subject, "forget", Forget([lookup.key]))
        return None, None
    identity, row = found
    fresh = Claim(identity, lookup.spelling_of(row))
    if fresh != claim:
        yield from _point(subject, [(lookup, fresh)])
    return row, fresh


def _pointer(subject: Subject, lookup: Lookup) -> Generator[Operation, Any, Claim | None]:
    """The claim in the cache, if there is one this code can read."""
    replies: list[Entry | None] | None = yield from _attempt(subject, "get", Get([lookup.key]))
    return _read_claim(subject, lookup, replies[0]) if replies else None


def _read_claim(subject: Subject, lookup: Lookup, entry: Entry | None) -> Claim | None:
    if isinstance(entry, Value) and entry.stamp == subject.fingerprint:
        try:
            return lookup.load(entry.payload)
        except CorruptEntry:
            return None
    return None


def _attempt(subject: Subject, name: str, operation: Operation) -> Generator[Operation, Any, Any]:
    """The reply, or None where the backend fails: for what a read can do without."""
    try:
        return (yield operation)
    except BackendError as error:
        yield Note(Failure(subject.name, name, error))
        return None


def find_many(
    subject: Subject,
    lookups: Sequence[Lookup],
    token: bytes,
    *,
    claims: Mapping[str, Claim],
    may_fill: bool = True,
    written: Callable[[str], bool] = nothing_written,
    seen: Seen | None = None,
) -> Generator[Operation, Any, tuple[dict[str, Row], dict[str, Claim]]]:
    """(rows, claims to remember), both by pointer key: `find` for many lookups of the same columns at once.

    One round trip for unknown pointers, one for rows, one Load for rows that are not cached and one Query for lookups
    without a good pointer. ``claims`` is what this process remembers, by pointer key. ``seen`` is what it has already
    asked about their rows, which are all different and in the order of ``lookups``, none of which then lacks a claim.
    """
    asked = {lookup.key: lookup for lookup in lookups}
    known = {key: claims[key] for key in asked if key in claims}
    unknown = [key for key in asked if key not in known]
    if unknown:
        pointers: list[Entry | None] | None = yield from _attempt(subject, "get", Get(unknown))
        for key, entry in zip(unknown, pointers or (), strict=False):
            claim = _read_claim(subject, asked[key], entry)
            if claim is not None:
                known[key] = claim
    rows: dict[str, Row] = {}
    if known:
        row_keys = {key: asked[key].key_of(claim.identity) for key, claim in known.items()}
        identities = {row_keys[key]: claim.identity for key, claim in known.items()}
        found = yield from fetch(subject, identities, token, may_fill=may_fill, written=written, seen=seen)
        for key, claim in known.items():
            row = found.get(row_keys[key])
            if row is not None and asked[key].spelling_of(row) == claim.spelling:
                rows[key] = row
    open_keys = [key for key in asked if key not in rows]
    if not open_keys:
        return rows, known
    learned = yield from _query_many([asked[key] for key in open_keys])
    rows.update((key, row) for key, (_, row) in learned.items())
    fresh = {key: Claim(identity, asked[key].spelling_of(row)) for key, (identity, row) in learned.items()}
    old = [key for key in open_keys if key in known and key not in fresh]
    if old:
        yield from _attempt(subject, "forget", Forget(old))
    yield from _point(subject, [(asked[key], claim) for key, claim in fresh.items() if known.get(key) != claim])
    return rows, {**{key: claim for key, claim in known.items() if key in rows}, **fresh}


def _query_many(lookups: Sequence[Lookup]) -> Generator[Operation, Any, dict[str, tuple[Hashable, Row]]]:
    """Pointer key to (identity, row), by one Query for all.

    A row the database found equal to what was asked, though Python does not, is matched by a Query of its own.
    """
    found: Sequence[tuple[Hashable, Row]] = yield QueryMany([lookup.values for lookup in lookups])
    spelling_of = lookups[0].spelling_of
    by_spelling = {spelling_of(row): (identity, row) for identity, row in found}
    matched = {lookup.key: by_spelling[lookup.values] for lookup in lookups if lookup.values in by_spelling}
    if len(found) > len(matched):
        for lookup in lookups:
            if lookup.key not in matched:
                one: tuple[Hashable, Row] | None = yield Query(lookup.values)
                if one is not None:
                    matched[lookup.key] = one
    return matched


def _point(subject: Subject, pointers: Sequence[tuple[Lookup, Claim]]) -> Generator[Operation, Any, None]:
    """Store claims, as far as they have a stored form."""
    items: list[tuple[str, Value, int]] = []
    for lookup, claim in pointers:
        try:
            payload, weight = lookup.dump(claim)
        except UnsupportedValue:
            yield Note(FillRefused(subject.name, [lookup.key], "uncacheable"))
        else:
            items.append((lookup.key, Value(payload, subject.fingerprint), weight))
    if items:
        yield from _attempt(subject, "put", Put(items, subject.policy.ttl))
