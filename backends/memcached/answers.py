"""What replies are in the protocol's terms, for the flows of `flows` and `holds`."""

from collections.abc import Sequence

from cachecore.backends.memcached.items import CAS, understood
from cachecore.backends.memcached.peer import Peer
from cachecore.backends.memcached.replies import FOUND, LEASED, MISS, WON, Reply, unexpected
from cachecore.entries import Entry, Lease
from cachecore.errors import BackendError, BackendUnavailable

TRIES = 32
"""How often a change by compare-and-set is tried; each failure means that somebody else has succeeded."""


def standing(peer: Peer, reply: Reply, now: float) -> Entry | None:
    """The entry in a reply to read or acquire; None if what is there counts as nothing."""
    code = reply[0]
    if code is FOUND:
        return understood(reply[1], reply[2], peer.incarnation, peer.mark, now)
    if code is MISS:
        return None
    if code is LEASED or code is WON:
        return Lease(CAS.pack(peer.incarnation, reply[3]))
    raise unexpected(reply, peer.address)


def expect(peer: Peer, reply: Reply, *codes: str) -> None:
    """Raise BackendError unless the reply is one of these."""
    if reply[0] not in codes:
        raise unexpected(reply, peer.address)


def expect_all(peer: Peer, replies: Sequence[Reply], *codes: str) -> None:
    """Raise BackendError unless each reply is one of these."""
    for reply in replies:
        if reply[0] not in codes:
            raise unexpected(reply, peer.address)


def contended(peer: Peer) -> BackendError:
    """For a change that others were always faster than."""
    return BackendUnavailable(f"memcached at {peer.address}: an entry changed {TRIES} times while it was being changed")
