"""What can stand under a coherent key, its bytes, and the table of allowed transitions.

Theory of operation
-------------------
Under a coherent key stands one of: nothing, a Lease, a Value or a Hold.

* A **Lease** is the mark of one reader who found nothing and has gone to the database. Only its owner, who
  knows the token, may replace it by a Value.
* A **Value** is a row, with the stamp (epoch and schema) under which it was read.
* A **Hold** is the mark of writers between PREPARE and COMPLETE. It is a set of tokens, each with its own
  deadline, because writers may overlap. While it stands nobody reads the row from the cache or fills it.

===========  ==================  ===========================  ===================  =========================
operation    nothing             Lease                        Value                Hold
===========  ==================  ===========================  ===================  =========================
acquire      Lease (granted)     as it is                     as it is             as it is
displace     Lease (granted)     as it is                     seen: Lease, else -  as it is
fill         - (refused)         mine: Value, else -          - (refused)          - (refused)
abandon      -                   mine: nothing, else -        -                    -
hold         Hold{t}             Hold{t}                      Hold{t}              Hold + t
complete     -                   nothing                      nothing              - t; empty: nothing / Value
release      -                   -                            -                    - t; empty: nothing
===========  ==================  ===========================  ===================  =========================

``-`` leaves the entry unchanged. A Hold all of whose deadlines have passed counts as nothing. COMPLETE removes
a Lease or a Value because its token is gone: the hold was lost, and a reader may have filled the old row. It leaves
a Value only in place of a Hold that was never shared: a writer who has come and gone may have written a later row.

The functions below are that table. A backend that works by compare-and-set applies them as they are; one that
runs scripts on the server must do the same, which the conformance suite checks operation by operation.
"""

import struct
from math import isnan
from typing import Literal

import msgspec

from cachecore.errors import CorruptEntry

TOKEN_BYTES = 8
INCARNATION_BYTES = 8


class Lease(msgspec.Struct, frozen=True, gc=False):
    """Somebody's right to fill this key."""

    token: bytes


class Grant(msgspec.Struct, frozen=True, gc=False):
    """The reply to the reader who got the lease: the token that its fill must show. Never stored."""

    token: bytes


class Value(msgspec.Struct, frozen=True, gc=False):
    """A stored value.

    ``payload`` is bytes, or for a backend that keeps objects an immutable object. ``stamp`` says under which
    epoch and schema it was read; a reader accepts it only if that is still the stamp.
    """

    payload: object
    stamp: bytes = b""


class Hold(msgspec.Struct, frozen=True, gc=False):
    """Writers in flight: pairs of (token, deadline), the deadline in seconds on the clock of the backend."""

    tokens: tuple[tuple[bytes, float], ...]
    shared: bool = False
    """Whether several writers have been in it: then none of them knows which wrote last, and none leaves a value."""


class Unusable(msgspec.Struct, frozen=True, gc=False):
    """Bytes no entry of this format: ``reason`` is "corrupt" (rubbish) or "format" (another format version)."""

    reason: Literal["corrupt", "format"]
    raw: bytes


Entry = Lease | Value | Hold | Unusable


def standing(entry: Entry | None, now: float) -> Entry | None:
    """The entry as the protocol sees it: a Hold whose deadlines have all passed is nothing."""
    if type(entry) is Hold and all(deadline <= now for _, deadline in entry.tokens):
        return None
    return entry


def acquired(entry: Entry | None, token: bytes, now: float) -> tuple[Entry, Entry | Grant]:
    """(the entry afterwards, the reply): a lease where nothing stood, otherwise what stands."""
    found = standing(entry, now)
    if found is None:
        return Lease(token), Grant(token)
    return found, found


def displaced(entry: Entry | None, seen: Entry, token: bytes, now: float) -> tuple[Entry, Entry | Grant]:
    """Like `acquired`, but a Value or Unusable that equals ``seen`` is replaced by the lease too."""
    if type(seen) in (Value, Unusable) and entry == seen:
        return Lease(token), Grant(token)
    return acquired(entry, token, now)


def filled(entry: Entry | None, token: bytes, value: Value) -> tuple[Entry | None, bool]:
    """(the entry afterwards, whether the value was stored): only the owner of the lease may fill."""
    if type(entry) is Lease and entry.token == token:
        return value, True
    return entry, False


def abandoned(entry: Entry | None, token: bytes) -> Entry | None:
    """The entry after the owner of the lease gave it back unfilled."""
    return None if type(entry) is Lease and entry.token == token else entry


def held(entry: Entry | None, token: bytes, deadline: float, now: float) -> Hold:
    """The entry after PREPARE: the token joins the live holds of others, anything else is replaced."""
    if type(entry) is not Hold:  # as for nearly all of many rows
        return Hold(((token, deadline),))
    others = _others(entry, token, now)
    return Hold((*others, (token, deadline)), shared=bool(others) or _shares(entry, token))


def completed(entry: Entry | None, token: bytes, now: float, value: Value | None = None) -> Entry | None:
    """The entry after COMPLETE: the others' hold; else ``value`` if the hold was never shared; else nothing."""
    if type(entry) is not Hold:
        return None
    if len(entry.tokens) == 1 and entry.tokens[0][0] == token:  # nobody else has written meanwhile, as nearly always
        return None if entry.shared else value
    others = _others(entry, token, now)
    if others:
        return Hold(others, shared=True)
    return value if _owns(entry, token) and not _shares(entry, token) else None


def released(entry: Entry | None, token: bytes, now: float) -> Entry | None:
    """The entry after a rollback: the writer's token leaves the hold, and nothing else changes."""
    if not _owns(entry, token):
        return entry
    others = _others(entry, token, now)
    return Hold(others, shared=True) if others else None


def _owns(entry: Entry | None, token: bytes) -> bool:
    return type(entry) is Hold and any(holder == token for holder, _ in entry.tokens)


def _shares(entry: Entry | None, token: bytes) -> bool:
    return type(entry) is Hold and entry.shared and _owns(entry, token)


def _others(entry: Entry | None, token: bytes, now: float) -> tuple[tuple[bytes, float], ...]:
    """The live tokens of other writers."""
    if type(entry) is not Hold:
        return ()
    return tuple((holder, until) for holder, until in entry.tokens if holder != token and until > now)


# -- bytes ----------------------------------------------------------------------------------------
#
# magic, format version, incarnation of the server that stored it, kind, body.
# Lease: token. Hold, shared or not: (token, deadline)*. Value: length of the stamp, stamp, payload.

MAGIC = b"\xcc\x0e"
FORMAT = 1

_HEAD = struct.Struct(f">2sB{INCARNATION_BYTES}sc")
_HOLDER = struct.Struct(f">{TOKEN_BYTES}sd")
_LEASE, _VALUE, _HOLD, _SHARED_HOLD = b"l", b"v", b"h", b"s"


def encode_entry(entry: Entry, incarnation: bytes) -> bytes:
    """The bytes of ``entry`` as the server ``incarnation`` (8 bytes) is to store them. The payload must be bytes."""
    if type(entry) is Value:
        payload = entry.payload
        if type(payload) is not bytes:
            raise TypeError(f"the payload of a stored value is bytes, not {type(payload).__name__}")
        head = _HEAD.pack(MAGIC, FORMAT, incarnation, _VALUE)
        return b"".join((head, len(entry.stamp).to_bytes(1, "big"), entry.stamp, payload))
    if type(entry) is Lease:
        return _HEAD.pack(MAGIC, FORMAT, incarnation, _LEASE) + entry.token
    if type(entry) is Hold:
        body = b"".join(_HOLDER.pack(token, deadline) for token, deadline in entry.tokens)
        return _HEAD.pack(MAGIC, FORMAT, incarnation, _SHARED_HOLD if entry.shared else _HOLD) + body
    assert type(entry) is Unusable
    return entry.raw


def decode_entry(data: bytes, incarnation: bytes) -> Entry | None:
    """The entry in ``data``; None if another incarnation of the server stored it; Unusable if it is not ours to read.

    Never raises: whatever somebody else wrote under our key is at most a miss.
    """
    if len(data) < _HEAD.size or data[:2] != MAGIC:
        return Unusable("corrupt", data)
    _, version, stored_by, kind = _HEAD.unpack_from(data)
    if version != FORMAT:
        return Unusable("format", data)
    if stored_by != incarnation:
        return None
    try:
        return _decode_body(kind, data[_HEAD.size :])
    except CorruptEntry:
        return Unusable("corrupt", data)


def _decode_body(kind: bytes, body: bytes) -> Entry:
    if kind == _VALUE and body and len(body) > body[0]:
        return Value(body[1 + body[0] :], body[1 : 1 + body[0]])
    if kind == _LEASE and len(body) == TOKEN_BYTES:
        return Lease(body)
    if kind in (_HOLD, _SHARED_HOLD) and body and len(body) % _HOLDER.size == 0:
        tokens = tuple(_HOLDER.iter_unpack(body))
        if not any(isnan(deadline) for _, deadline in tokens):  # such a hold would neither stand nor have passed
            return Hold(tokens, shared=kind == _SHARED_HOLD)
    raise CorruptEntry(f"no entry of kind {kind!r} has such a body of {len(body)} bytes")
