"""What each operation of a backend says to one server: generators without I/O, for any kind of connection.

A flow is begun with the `Peer` of a connection. It yields batches, each of them one round trip, is sent the replies,
and returns the results in the order of the keys it was given. If the connection is lost in the middle, the flow is
begun again on a new one, perhaps with another incarnation of the server. All but swap bear that:

* acquire, displace: the lease that was made and not heard of is taken for somebody else's until it expires;
* fill: reports that the lease is gone, while the value stands; put, forget: done twice;
* hold: the token is twice in the item, which is once in the hold;
* complete, release: the second finds its token gone, and removes the value that the first has left.

In good times every operation is one round trip. Those of writers are in `holds`.
"""

from collections.abc import Generator, Mapping, Sequence

from cachecore.backends.memcached.answers import TRIES, expect, expect_all, standing
from cachecore.backends.memcached.batches import Batch, Reads
from cachecore.backends.memcached.items import CAS, cas_of
from cachecore.backends.memcached.peer import STATS, STATS_SETTINGS, Peer, synchronised
from cachecore.backends.memcached.replies import (
    CHANGED,
    DONE,
    FOUND,
    GONE,
    MISS,
    NO_ROOM,
    STATISTICS,
    WON,
    Reply,
    statistics,
)
from cachecore.entries import Entry, Grant, Lease, Unusable, Value, encode_entry
from cachecore.errors import BackendMisconfigured

FLUSH_ALL = b"flush_all\r\n"

NOTHING_SEEN: Mapping[bytes, Entry] = {}


# -- reading ---------------------------------------------------------------------------------------


def get(peer: Peer, keys: Sequence[bytes]) -> Generator[Batch, list[Reply], Sequence[Entry | None]]:
    """What stands under each key."""
    reads = Reads(keys, peer.dialect.form(None), peer.values_in)
    replies = yield reads
    if reads.values is not None:
        return reads.values
    now = peer.early()
    return [standing(peer, reply, now) for reply in replies]


def acquire(
    peer: Peer, keys: Sequence[bytes], token: bytes, ttl: float, seen: Mapping[bytes, Entry] = NOTHING_SEEN
) -> Generator[Batch, list[Reply], Sequence[Entry | Grant | None]]:
    """Get each key or make a lease. ``seen``: entries that give way to a lease if they still stand (displace)."""
    ask, expiry = peer.dialect.acquire, peer.expiry(ttl)
    if seen:
        replies = yield [ask(key, expiry) for key in keys]
    else:
        reads = Reads(keys, peer.dialect.form(expiry), peer.values_in)
        replies = yield reads
        if reads.values is not None:
            return reads.values
    results: list[Entry | Grant | None] = [None] * len(keys)
    pending: Sequence[int] = range(len(keys))
    for _ in range(TRIES):
        now = peer.early()
        claims: list[tuple[int, int | None]] = []
        for index, reply in zip(pending, replies, strict=True):
            code = reply[0]
            if code is WON:
                results[index] = _grant(peer, reply[3])
            elif code is not NO_ROOM and not (code is MISS and peer.dialect.makes_leases):
                entry = results[index] = standing(peer, reply, now)
                if entry is None or (seen and _gives_way(entry, seen.get(keys[index]))):
                    claims.append((index, reply[3] if code is FOUND else None))
        if not claims:
            return results
        if peer.must_synchronise:
            # A hold may look dead because our reading of the server's clock has aged.
            yield from synchronised(peer)
            pending = [index for index, _ in claims]
        else:
            pending = yield from _claim(peer, keys, claims, token, expiry, results)
        if not pending:
            return results
        replies = yield [ask(keys[index], expiry) for index in pending]
    return results


def _gives_way(entry: Entry, seen: Entry | None) -> bool:
    return type(entry) in (Value, Unusable) and entry == seen


def _claim(
    peer: Peer,
    keys: Sequence[bytes],
    claims: Sequence[tuple[int, int | None]],
    token: bytes,
    expiry: int,
    results: list[Entry | Grant | None],
) -> Generator[Batch, list[Reply], list[int]]:
    """Make leases in place of items with these CAS ids; returns the indexes at which somebody else was faster."""
    lease = encode_entry(Lease(token), peer.mark)
    parts = [peer.dialect.claim(keys[index], cas, lease, len(lease), expiry) for index, cas in claims]
    replies = yield [command for part in parts for command in part]
    again: list[int] = []
    start = 0
    for (index, _), part in zip(claims, parts, strict=True):
        answers = replies[start : start + len(part)]
        start += len(part)
        cas = peer.dialect.claimed(answers, lease)
        results[index] = None if cas is None else _grant(peer, cas)
        if cas is None and answers[0][0] != NO_ROOM:
            again.append(index)
    return again


def _grant(peer: Peer, cas: int) -> Grant:
    if cas == 0:
        raise BackendMisconfigured(f"memcached at {peer.address} gives no CAS ids (-C): there is no coherence then")
    return Grant(CAS.pack(peer.incarnation, cas))


# -- what readers leave ----------------------------------------------------------------------------


def fill(
    peer: Peer, items: Sequence[tuple[bytes, bytes, Value]], ttl: float | None
) -> Generator[Batch, list[Reply], list[bool | None]]:
    """Replace leases, each (key, token of the grant, value), by values."""
    dialect, expiry = peer.dialect, peer.expiry(ttl)
    results: list[bool | None] = [False] * len(items)
    batch: list[bytes] = []
    sent: list[tuple[int, bool]] = []
    for index, (key, token, value) in enumerate(items):
        cas = cas_of(token, peer.incarnation)
        if cas is None:
            continue
        data = encode_entry(value, peer.mark)
        fits = peer.fits(key, data)
        # The lease of a value that cannot be stored is given back: nobody is to wait for it.
        batch.append(dialect.replace(key, cas, data, len(data), expiry) if fits else dialect.delete_if(key, cas))
        sent.append((index, fits))
    if batch:
        replies = yield batch
        for (index, fits), reply in zip(sent, replies, strict=True):
            if reply[0] == DONE:
                results[index] = True if fits else None
            elif reply[0] == NO_ROOM:
                results[index] = None
            else:
                expect(peer, reply, CHANGED, GONE)
    return results


def abandon(peer: Peer, leases: Sequence[tuple[bytes, bytes]]) -> Generator[Batch, list[Reply], None]:
    """Remove one's own leases, each (key, token of the grant)."""
    batch: list[bytes] = []
    for key, token in leases:
        cas = cas_of(token, peer.incarnation)
        if cas is not None:
            batch.append(peer.dialect.delete_if(key, cas))
    if batch:
        replies = yield batch
        expect_all(peer, replies, DONE, CHANGED, GONE)


# -- without conditions ----------------------------------------------------------------------------


def put(
    peer: Peer, items: Sequence[tuple[bytes, Value]], ttl: float | None
) -> Generator[Batch, list[Reply], list[bool]]:
    """Store values whatever stands there; one too large is not sent, since nothing is to stand in its place."""
    dialect, expiry = peer.dialect, peer.expiry(ttl)
    batch: list[bytes] = []
    sent: list[bool] = []
    for key, value in items:
        data = encode_entry(value, peer.mark)
        sent.append(peer.fits(key, data))
        batch.append(dialect.store(key, data, len(data), expiry) if sent[-1] else dialect.delete(key))
    replies = yield batch
    expect_all(peer, replies, DONE, GONE, NO_ROOM)
    return [stored and reply[0] == DONE for stored, reply in zip(sent, replies, strict=True)]


def swap(
    peer: Peer, keys: Sequence[bytes], stamp: bytes, value: Value, ttl: float | None
) -> Generator[Batch, list[Reply], bool]:
    """Replace the value that has this stamp under the one key there is."""
    [key] = keys
    [reply] = yield [peer.dialect.read(key)]
    entry = standing(peer, reply, peer.early())
    data = encode_entry(value, peer.mark)
    if type(entry) is not Value or entry.stamp != stamp or not peer.fits(key, data):
        return False
    [reply] = yield [peer.dialect.replace(key, reply[3], data, len(data), peer.expiry(ttl))]
    expect(peer, reply, DONE, CHANGED, GONE, NO_ROOM)
    return reply[0] == DONE


def forget(peer: Peer, keys: Sequence[bytes]) -> Generator[Batch, list[Reply], list[bool]]:
    """Remove whatever stands."""
    replies = yield [peer.dialect.delete(key) for key in keys]
    expect_all(peer, replies, DONE, GONE)
    return [reply[0] == DONE for reply in replies]


def clear(peer: Peer, _: Sequence[bytes]) -> Generator[Batch, list[Reply], None]:
    """Remove everything on this server."""
    replies = yield [FLUSH_ALL]
    expect_all(peer, replies, DONE)


def examine(peer: Peer, _: Sequence[bytes]) -> Generator[Batch, list[Reply], tuple[dict[str, str], dict[str, str]]]:
    """The statistics and settings of the server as they are now."""
    replies = yield [STATS, STATS_SETTINGS]
    expect_all(peer, replies, STATISTICS)
    return statistics(replies[0][1]), statistics(replies[1][1])
