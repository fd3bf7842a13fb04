"""Lookups are claims: "slug 'x' is row 5, whose slug the database spells 'x'". Flows, like those of `coherence`.

Theory of operation
-------------------
Only the row under its identity needs the protocol in full. A pointer is a claim about it that the row itself confirms:
row 5 is read coherently, and if its slug is not what the claim says, the claim is old and the database is asked. A
wrong pointer therefore costs one query and never gives a wrong row, needs no hold, and may be remembered by each
process.

The row that a Query brings is not stored under its identity: no lease was held on it while it was read. What a row
cannot verify is not claimed here; that none exists may be known from an entry of its own (`cachecore.absences`).
"""

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from typing import Any

import msgspec

from cachecore.absences import Absence, Asked, ask_many_unless_missing, ask_unless_missing, is_missing
from cachecore.coherence import Row, Seen, Subject, fetch, nothing_written
from cachecore.entries import Entry, Value
from cachecore.errors import BackendError, CorruptEntry, UnsupportedValue
from cachecore.events import Failure, FillRefused, Hit
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
    absence: Absence | None = None
    """Where it may stand that there is no row; None: that is not remembered."""


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
        claims, missing = yield from _pointers(subject, [lookup], written)
        if missing:
            return None, None
        claim = claims.get(lookup.key)
    if claim is not None:
        key = lookup.key_of(claim.identity)
        rows = yield from fetch(subject, {key: claim.identity}, token, may_fill=may_fill, written=written, seen=seen)
        row = rows.get(key)
        if row is not None and lookup.spelling_of(row) == claim.spelling:
            return row, claim
    found: tuple[Hashable, Row] | None
    if lookup.absence is None:
        found = yield Query(lookup.values)
    else:
        found = yield from ask_unless_missing(lookup.absence, lookup.values, may_fill=may_fill, written=written)
    if found is None:
        if claim is not None:
            yield from _attempt(subject, "forget", Forget([lookup.key]))
        return None, None
    identity, row = found
    fresh = Claim(identity, lookup.spelling_of(row))
    if fresh != claim:
        yield from _point(subject, [(lookup, fresh)])
    return row, fresh


def _pointers(
    subject: Subject, lookups: Sequence[Lookup], written: Callable[[str], bool]
) -> Generator[Operation, Any, tuple[dict[str, Claim], list[str]]]:
    """(claims in the cache that this code can read, those known to have no row), by pointer key, in one round trip."""
    absences = {lookup.key: lookup.absence for lookup in lookups if lookup.absence is not None}
    epoch_keys = [] if subject.epoch_key is None or not absences else [subject.epoch_key]
    pointer_keys = [lookup.key for lookup in lookups]
    keys = [*pointer_keys, *epoch_keys, *(absence.key for absence in absences.values())]
    replies: list[Entry | None] | None = yield from _attempt(subject, "get", Get(keys))
    if replies is None:
        return {}, []
    entries = dict(zip(keys, replies, strict=True))
    claims = {lookup.key: _read_claim(subject, lookup, entries[lookup.key]) for lookup in lookups}
    epoch = entries.get(epoch_keys[0]) if epoch_keys else None
    missing: list[str] = []
    for lookup in lookups:
        absence = absences.get(lookup.key)
        if absence is None or claims[lookup.key] is not None or any(map(written, [*epoch_keys, absence.key])):
            continue
        if is_missing(absence, lookup.values, epoch, entries[absence.key]):
            missing.append(lookup.key)
    if missing:
        yield Note(Hit(subject.name, [absences[key].key for key in missing]))
    return {key: claim for key, claim in claims.items() if claim is not None}, missing


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
    unknown = [lookup for key, lookup in asked.items() if key not in known]
    missing: frozenset[str] = frozenset()
    if unknown:
        learned_claims, found_missing = yield from _pointers(subject, unknown, written)
        missing = frozenset(found_missing)
        known.update(learned_claims)
    rows: dict[str, Row] = {}
    if known:
        row_keys = {key: asked[key].key_of(claim.identity) for key, claim in known.items()}
        identities = {row_keys[key]: claim.identity for key, claim in known.items()}
        found = yield from fetch(subject, identities, token, may_fill=may_fill, written=written, seen=seen)
        for key, claim in known.items():
            row = found.get(row_keys[key])
            if row is not None and asked[key].spelling_of(row) == claim.spelling:
                rows[key] = row
    open_keys = [key for key in asked if key not in rows and key not in missing]
    if not open_keys:
        return rows, known
    learned = yield from _ask_many([asked[key] for key in open_keys], may_fill, written)
    rows.update((key, row) for key, (_, row) in learned.items())
    fresh = {key: Claim(identity, asked[key].spelling_of(row)) for key, (identity, row) in learned.items()}
    old = [key for key in open_keys if key in known and key not in fresh]
    if old:
        yield from _attempt(subject, "forget", Forget(old))
    yield from _point(subject, [(asked[key], claim) for key, claim in fresh.items() if known.get(key) != claim])
    return rows, {**{key: claim for key, claim in known.items() if key in rows}, **fresh}


def _ask_many(
    lookups: Sequence[Lookup], may_fill: bool, written: Callable[[str], bool]
) -> Generator[Operation, Any, dict[str, tuple[Hashable, Row]]]:
    """Pointer key to (identity, row), from the database but for lookups known to have no row."""
    by_values = {lookup.values: lookup for lookup in lookups}
    absences = {values: lookup.absence for values, lookup in by_values.items() if lookup.absence is not None}
    if not absences:
        return (yield from _query_many(lookups))

    def ask(wanted: Sequence[Asked]) -> Generator[Operation, Any, dict[Asked, tuple[Any, Row]]]:
        found = yield from _query_many([by_values[values] for values in wanted])
        return {values: found[by_values[values].key] for values in wanted if by_values[values].key in found}

    learned = yield from ask_many_unless_missing(absences, ask, may_fill=may_fill, written=written)
    return {by_values[values].key: found for values, found in learned.items()}


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
