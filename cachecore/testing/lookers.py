"""Readers whose first Acquire is made outside the flow, as `Records` and the integrations read from a shared cache.

Whatever is not a hit goes on in the flow, from what was seen: by then something else may stand there.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeGuard

from cachecore.coherence import Seen, Subject, fetch
from cachecore.entries import Entry, Grant, Value
from cachecore.errors import BackendError
from cachecore.lookups import Claim, find, find_many
from cachecore.operations import Acquire, Operation
from cachecore.testing.actors import Flow, by_slug, found_row, key_of, token
from cachecore.testing.model import Returned
from cachecore.testing.program import Making


def looker(name: str, *identities: int, of: Subject) -> Making:
    """Reads rows as `Records` does in a shared cache: asks for them outside the flow, which goes on from that reply."""
    keys = {key_of(identity): identity for identity in identities}

    def program() -> Flow:
        seen = yield from _look(of, list(keys), token(name))
        hits = _hits(of, list(keys), seen)
        rows = (yield from fetch(of, keys, token(name), seen=seen)) if hits is None else hits
        yield Returned({identity: rows.get(key) for key, identity in keys.items()})

    return program


def looking_finder(name: str, slug: str, claim: Claim, *, of: Subject) -> Making:
    """Reads one row by slug, of which its process remembers a claim: asks for that row outside the flow."""
    lookup, key = by_slug(slug), key_of(claim.identity)

    def program() -> Flow:
        seen = yield from _look(of, [key], token(name))
        hits = _hits(of, [key], seen) or {}
        row = hits.get(key)
        if row is None or lookup.spelling_of(row) != claim.spelling:
            row, _ = yield from find(of, lookup, token(name), claim=claim, seen=seen)
        yield Returned(found_row(row), asked=slug)

    return program


def looking_many_finder(name: str, claims: Mapping[str, Claim], *, of: Subject) -> Making:
    """Reads several rows by slug at once, all claims remembered (slug to claim): asks for all rows outside the flow."""
    lookups = {slug: by_slug(slug) for slug in claims}
    known = {lookups[slug].key: claim for slug, claim in claims.items()}

    def program() -> Flow:
        seen = yield from _look(of, [key_of(claim.identity) for claim in claims.values()], token(name))
        rows, _ = yield from find_many(of, list(lookups.values()), token(name), claims=known, seen=seen)
        for slug, lookup in lookups.items():
            yield Returned(found_row(rows.get(lookup.key)), asked=slug)

    return program


def _look(of: Subject, keys: Sequence[str], own: bytes) -> Generator[Operation, Any, Seen]:
    head = [] if of.epoch_key is None else [of.epoch_key]
    try:
        seen: Seen = yield Acquire([*head, *keys], own, of.policy.lease_ttl)
    except BackendError as error:
        return error
    return seen


def _hits(of: Subject, keys: Sequence[str], seen: Seen) -> dict[str, tuple[object, ...]] | None:
    """The rows, if every one of them is a hit."""
    if isinstance(seen, BackendError):
        return None
    stamp, found = of.fingerprint, list(seen)
    if of.epoch_key is not None:
        epoch = found.pop(0)
        if not isinstance(epoch, Value):
            return None
        stamp = epoch.stamp + of.fingerprint
    hits = {key: of.load(one.payload) for key, one in zip(keys, found, strict=True) if _is_hit(one, stamp)}
    return hits if len(hits) == len(keys) else None


def _is_hit(entry: Entry | Grant | None, stamp: bytes) -> TypeGuard[Value]:
    return isinstance(entry, Value) and entry.stamp == stamp
