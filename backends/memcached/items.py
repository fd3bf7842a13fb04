"""The bytes of an item, and what they mean.

Theory of operation
-------------------
memcached runs no scripts, but one of its commands changes an item without anybody having to read it first: append. So
an item is a *base* followed by zero or more *hold records*, and a writer joins the hold by appending a record of its
own, whatever stands there: a value, a lease, the holds of others. The client flags of the item are the length of the
base; append leaves them as they are. Hence, with ``size`` the length of the whole item:

* ``size == flags``: no records. The base is an entry as `cachecore.entries` writes it, a Value or a Lease;
* ``size == flags == 0``: a lease that the server itself has made on a miss (``mg N``); its CAS id is the token;
* ``size > flags``: records are appended, and whatever the base is, it is not to be believed any more.

A record names the incarnation of the server at which it was written and a deadline on that server's clock, so dead
ones are recognised. An item all of whose records are dead counts as nothing, and is replaced by compare-and-set.

Values are written under a *mark*, which is the incarnation mixed with the configured generation; records under the
incarnation alone, so that processes of two generations do not believe each other's values but respect their holds.
"""

import struct
from hashlib import blake2s

from cachecore.entries import (
    INCARNATION_BYTES,
    TOKEN_BYTES,
    Entry,
    Hold,
    Unusable,
    decode_entry,
)

CAS = struct.Struct(f">{INCARNATION_BYTES}sQ")
"""The token of a grant: the incarnation that granted it and the CAS id of the lease."""


def cas_of(token: bytes, incarnation: bytes) -> int | None:
    """The CAS id in the token of a grant, if this life of the server has granted it."""
    if len(token) != CAS.size:
        return None
    granted_by, cas = CAS.unpack(token)
    return cas if granted_by == incarnation else None


_RECORD = struct.Struct(f">{TOKEN_BYTES}sd{INCARNATION_BYTES}scB2s")
_MAGIC, _VERSION = b"\xcc\x0f", 1
_ALONE, _SHARED = b"h", b"s"

RECORD_BYTES = _RECORD.size


def mark_of(incarnation: bytes, generation: str) -> bytes:
    """What the values of a generation are stored under; "" is the incarnation itself."""
    if not generation:
        return incarnation
    return blake2s(incarnation + generation.encode(), digest_size=INCARNATION_BYTES).digest()


def record(token: bytes, deadline: float, incarnation: bytes, *, shared: bool = False) -> bytes:
    """A hold record."""
    return _RECORD.pack(token, deadline, incarnation, _SHARED if shared else _ALONE, _VERSION, _MAGIC)


def records(hold: Hold, incarnation: bytes) -> bytes:
    """The bytes of an item that is this hold and nothing else: its base is empty, so its flags are 0."""
    return b"".join(record(token, until, incarnation, shared=hold.shared) for token, until in hold.tokens)


def understood(data: bytes, flags: int, incarnation: bytes, mark: bytes, now: float) -> Entry | None:
    """The entry in an item; None if it counts as nothing: of another incarnation, or a hold that has ended.

    ``now`` is in seconds on the server's clock, and no later than it is there. An empty item is Unusable: whoever
    can tell that it is a lease does so before. Never raises.
    """
    if len(data) == flags:
        entry = decode_entry(data, mark)
        return Unusable("corrupt", data) if type(entry) is Hold else entry
    deadlines: dict[bytes, float] = {}
    shared = found = False
    # From the end, for what was here before the first record may be anything: somebody else's bytes and flags. Where
    # the flags can be the length of the base they are: writers replace an item that is no longer than its flags say.
    first = flags if flags < len(data) and (len(data) - flags) % RECORD_BYTES == 0 else 0
    start = len(data) - RECORD_BYTES
    while start >= first:
        token, deadline, written_at, kind, version, magic = _RECORD.unpack_from(data, start)
        if magic != _MAGIC or version != _VERSION:
            break
        found = True
        if written_at == incarnation:
            deadlines.setdefault(token, deadline)
            shared = shared or kind == _SHARED
        start -= RECORD_BYTES
    if not found:
        return _foreign(data)
    # Who has ever been in it counts, the dead included: one of them may have committed late.
    shared = shared or len(deadlines) > 1
    living = tuple((token, deadline) for token, deadline in deadlines.items() if deadline > now)
    return Hold(living, shared) if living else None


def _foreign(data: bytes) -> Unusable:
    """Bytes that this release cannot read, if they are an entry at all: another release's may be a hold."""
    ours = data[-2:] == _MAGIC or (data[:2] == b"\xcc\x0e" and data[2:3] != b"\x01")
    return Unusable("format" if ours else "corrupt", data)
