"""The closed vocabulary of what the protocol may ask for.

A flow of `cachecore.coherence` or `cachecore.lookups` yields one of these and is sent the reply named in its
docstring; if the operation fails, the error is thrown into the flow. Drivers (`cachecore.drive`) carry them out, sync
or async; the explorer (`cachecore.testing.explorer`) carries them out on a model world in every order.
"""

from collections.abc import Hashable, Mapping, Sequence

import msgspec

from cachecore.entries import Entry, Value
from cachecore.events import Event


class Operation(msgspec.Struct, frozen=True, gc=False):
    """The root of all operations."""


class Acquire(Operation, frozen=True):
    """Get each key, leaving a lease where nothing stands. Reply: list of Value, Hold, Lease, Unusable or Grant.

    None where nothing stands and the server had no room for a lease.
    """

    keys: Sequence[str]
    token: bytes
    ttl: float


class Displace(Operation, frozen=True):
    """Replace each (key, unusable entry as seen) by a lease if it still stands. Reply: as for Acquire."""

    seen: Sequence[tuple[str, Entry]]
    token: bytes
    ttl: float


class Fill(Operation, frozen=True):
    """Replace one's own lease by the value: (key, token of the grant, value, weight in bytes). Reply: list of bool.

    None where the server had no room for the value.
    """

    items: Sequence[tuple[str, bytes, Value, int]]
    ttl: float | None


class Abandon(Operation, frozen=True):
    """Give leases back unfilled: (key, token). Reply: None."""

    leases: Sequence[tuple[str, bytes]]


class PlaceHold(Operation, frozen=True):
    """PREPARE: join the hold of every key. Reply: None, once every server has acknowledged."""

    keys: Sequence[str]
    token: bytes
    ttl: float


class Complete(Operation, frozen=True):
    """COMPLETE after a commit; ``values``: key to the (value, weight) to leave in place of a sole hold. Reply: None."""

    keys: Sequence[str]
    token: bytes
    values: Mapping[str, tuple[Value, int]]
    ttl: float | None


class Release(Operation, frozen=True):
    """Leave the hold after a rollback. Reply: None."""

    keys: Sequence[str]
    token: bytes


class Get(Operation, frozen=True):
    """Read without acquiring. Reply: list of Entry or None."""

    keys: Sequence[str]


class Put(Operation, frozen=True):
    """Store (key, value, weight) whatever stands there; for verified claims, never for rows. Reply: list of bool."""

    items: Sequence[tuple[str, Value, int]]
    ttl: float | None


class Forget(Operation, frozen=True):
    """Remove claims. Reply: list of bool, whether something stood there."""

    keys: Sequence[str]


class Load(Operation, frozen=True):
    """Read rows from the database now. Reply: a mapping from identity to row; an identity that has no row is absent."""

    identities: Sequence[Hashable]


class Query(Operation, frozen=True):
    """Ask the source for one lookup. Reply: (identity, row) or None; for a plain value, the value itself."""

    values: tuple[object, ...]


class QueryMany(Operation, frozen=True):
    """Ask the source for many lookups at once. Reply: the (identity, row) pairs found, in any order."""

    values: Sequence[tuple[object, ...]]


class Journal(Operation, frozen=True):
    """Note keys in the journal, as a part of the open database transaction. Reply: None."""

    keys: Sequence[str]


class Sleep(Operation, frozen=True):
    """Let ``seconds`` pass. Reply: None."""

    seconds: float


class Now(Operation, frozen=True):
    """Read this process's monotonic clock. Reply: seconds, float."""


class Note(Operation, frozen=True):
    """Tell whoever listens what happened. Reply: None."""

    event: Event
