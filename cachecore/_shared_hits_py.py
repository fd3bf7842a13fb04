"""The pure Python twin of _shared_hits_c: the hits of a cache that is a round trip away, in straight code.

The protocol's flows are generators, which cost a few microseconds. Most reads are hits, so the steps of a hit are
written here once more without one; whatever is not a plain hit goes to the flow, with what has been seen so far.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from cachecore.entity import Row
from cachecore.entries import Value
from cachecore.errors import BackendError, CorruptEntry
from cachecore.events import Hit
from cachecore.keys import KeyMaker
from cachecore.unit import new_token

if TYPE_CHECKING:
    from cachecore.coherence import Seen
    from cachecore.lookups import Claim
    from cachecore.record_access import RecordAccess


class Looked(msgspec.Struct, frozen=True):
    """A look at a row that was no plain hit: what was asked, and what has been seen."""

    key: str
    identity: Any
    token: bytes
    """That of the Acquire."""
    seen: "Seen"
    """The reply to it."""
    claim: "Claim | None" = None
    """Which led to the row, if a lookup was asked for."""

    @property
    def of_claim(self) -> "tuple[Claim, tuple[bytes, Seen]] | None":
        """The claim and the look, if there is one."""
        return None if self.claim is None else (self.claim, (self.token, self.seen))


class Plan(NamedTuple):
    """How the values of a lookup become a key."""

    kinds: tuple[Any, ...]
    """The type that each value must have precisely."""
    key: KeyMaker
    positions: tuple[int, ...]
    """Where a row has the columns."""


def plans_of(access: "RecordAccess") -> dict[tuple[str, ...], Plan]:
    """The plans for the lookups of an entity, by their columns as they are declared."""
    entity = access.entity
    plans: dict[tuple[str, ...], Plan] = {}
    for names in entity.lookups:
        positions = tuple([entity.position[name] for name in names])
        columns = [entity.codec.columns[position] for position in positions]
        # Values of other columns have more than one type; None is the type of no value.
        kinds = tuple([column.type if column.kind == "scalar" else None for column in columns])
        plans[names] = Plan(kinds, entity.lookup_key[names], positions)
    return plans


class SharedHits:
    """Reads the rows of one entity in a shared cache, outside any transaction; ``access`` is where they are reached."""

    def __init__(self, access: "RecordAccess") -> None:
        entity = access.entity
        self._access = access
        self._typed: Callable[[Any], Any] = entity.typed_identity
        self._key = entity.key
        self._asked_with = entity.epoch_key, entity.policy.lease_ttl
        self._plans = plans_of(access)

    def get(self, identity: Any) -> Row | Looked:
        """The row of an identity, which is made the type of its column, or a look at it. Raises UncacheableLookup."""
        identity = self._typed(identity)
        return self._ask(self._key(identity), identity, None, None)

    def find(self, names: tuple[str, ...], values: tuple[Any, ...]) -> Row | Looked | None:
        """The row of a lookup, whose columns and values are in the order of the declaration, or a look at it.

        None, and nothing has been asked, where a value has not precisely the type of its column, no claim of the lookup
        is remembered, or these are no lookup.
        """
        plan = self._plans.get(names)
        if plan is None or tuple(map(type, values)) != plan.kinds:
            return None
        claim = self._access.claims.get(plan.key(*values))
        if claim is None:
            return None
        return self._ask(self._key(claim.identity), claim.identity, plan.positions, claim)

    def row(self, seen: "Seen", identity: Any) -> Row | None:
        """The row, if the reply to an Acquire of the epoch and its key is a hit; what else it is the flow finds out."""
        rows = self.rows(seen, (identity,))
        return None if rows is None else rows[0]

    def row_of(self, seen: "Seen", names: tuple[str, ...], claim: "Claim") -> Row | None:
        """Like `row`, by way of a claim of the lookup, which the row must confirm."""
        return self._confirmed(seen, claim.identity, self._plans[names].positions, claim)

    def rows(self, seen: "Seen", identities: Iterable[Any]) -> list[Row] | None:
        """Like `row`, for several; None if a single one is no hit."""
        if isinstance(seen, BackendError) or type(seen[0]) is not Value:
            return None
        subject = self._access.subject
        stamp, load, identity_of = seen[0].stamp + subject.fingerprint, subject.load, subject.identity_of
        rows: list[Row] = []
        try:
            for at, identity in enumerate(identities, 1):
                entry = seen[at]
                if type(entry) is not Value or entry.stamp != stamp:
                    return None
                row = load(entry.payload)
                if identity_of(row) != identity:
                    return None
                rows.append(row)
        except CorruptEntry:
            return None
        return rows

    def _ask(self, key: str, identity: Any, positions: tuple[int, ...] | None, claim: "Claim | None") -> Row | Looked:
        token, (epoch_key, ttl) = new_token(), self._asked_with
        access = self._access
        backend: Any = access.driver.backend
        seen: Seen
        try:
            seen = backend.acquire((epoch_key, key), token, ttl)
        except BackendError as error:
            seen = error
        row = self._confirmed(seen, identity, positions, claim)
        if row is None:
            return Looked(key, identity, token, seen, claim)
        access.statistics.hits += 1
        if access.hooks.subscribers:
            access.hooks.emit(Hit(access.entity.name, (key,)))
        return row

    def _confirmed(
        self, seen: "Seen", identity: Any, positions: tuple[int, ...] | None, claim: "Claim | None"
    ) -> Row | None:
        row = self.row(seen, identity)
        if row is None or claim is None or positions is None:
            return row
        return row if tuple([row[position] for position in positions]) == claim.spelling else None
