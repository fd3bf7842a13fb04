"""What each operation of a backend says to one server: generators without I/O, for any kind of connection.

A flow is begun with the `Peer` of a connection. It yields batches, each of them one round trip, is sent the replies,
and returns the results in the order of the keys it was given. If the connection is lost in the middle, the flow is
begun again on a new one, perhaps with another incarnation of the server. All but swap bear that:

* acquire, displace: the lease that was made and not heard of is taken for somebody else's until it expires;
* fill: reports that the lease is gone, while the value stands; put, forget: done twice;
* hold: the token is twice in the item, which is once in the hold;
* complete, release: the second finds its token gone, and removes the value that the first has left.

In good times every operation is one round trip. Complete and release are because hold remembers the CAS ids of the
items in which its writer is alone; otherwise the item is read, changed by the functions of `cachecore.entries` and
replaced if nobody was faster.
"""

from collections.abc import Callable, Generator, Mapping, Sequence

from cachecore import entries
from cachecore.backends.memcached.alone import Alone
from cachecore.backends.memcached.items import CAS, RECORD_BYTES, record, records, understood
from cachecore.backends.memcached.peer import STATS, STATS_SETTINGS, Batch, Peer, synchronised
from cachecore.backends.memcached.replies import (
    CHANGED,
    DONE,
    FOUND,
    GONE,
    LEASED,
    MISS,
    NO_ROOM,
    STATISTICS,
    WON,
    Reply,
    statistics,
    unexpected,
)
from cachecore.entries import Entry, Grant, Hold, Lease, Unusable, Value, encode_entry
from cachecore.errors import BackendError, BackendMisconfigured, BackendUnavailable

FLUSH_ALL = b"flush_all\r\n"

TRIES = 32
"""How often a change by compare-and-set is tried; each failure means that somebody else has succeeded."""

NOTHING_SEEN: Mapping[bytes, Entry] = {}

Transition = Callable[[bytes, Entry | None, float], Entry | None]
"""(key, what stands, the server's time) -> what is to stand. The very same object means: leave it."""


# -- reading ---------------------------------------------------------------------------------------


def get(peer: Peer, keys: Sequence[bytes]) -> Generator[Batch, list[Reply], list[Entry | None]]:
    """What stands under each key."""
    read = peer.dialect.read
    replies = yield [read(key) for key in keys]
    now = peer.early()
    return [_standing(peer, reply, now) for reply in replies]


def acquire(
    peer: Peer, keys: Sequence[bytes], token: bytes, ttl: float, seen: Mapping[bytes, Entry] = NOTHING_SEEN
) -> Generator[Batch, list[Reply], list[Entry | Grant | None]]:
    """Get each key or make a lease. ``seen``: entries that give way to a lease if they still stand (displace)."""
    ask, expiry = peer.dialect.acquire, peer.expiry(ttl)
    results: list[Entry | Grant | None] = [None] * len(keys)
    pending: Sequence[int] = range(len(keys))
    for _ in range(TRIES):
        replies = yield [ask(keys[index], expiry) for index in pending]
        now = peer.early()
        claims: list[tuple[int, int | None]] = []
        for index, reply in zip(pending, replies, strict=True):
            code = reply[0]
            if code is WON:
                results[index] = _grant(peer, reply[3])
            elif code is not NO_ROOM and not (code is MISS and peer.dialect.makes_leases):
                entry = results[index] = _standing(peer, reply, now)
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
    parts = [peer.dialect.claim(keys[index], cas, lease, expiry) for index, cas in claims]
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


def _standing(peer: Peer, reply: Reply, now: float) -> Entry | None:
    """The entry in a reply to read or acquire; None if what is there counts as nothing."""
    code = reply[0]
    if code is FOUND:
        return understood(reply[1], reply[2], peer.incarnation, peer.mark, now)
    if code is MISS:
        return None
    if code is LEASED or code is WON:
        return Lease(CAS.pack(peer.incarnation, reply[3]))
    raise unexpected(reply, peer.address)


# -- what readers leave ----------------------------------------------------------------------------


def fill(
    peer: Peer, items: Sequence[tuple[bytes, bytes, Value]], ttl: float | None
) -> Generator[Batch, list[Reply], list[bool | None]]:
    """Replace leases, each (key, token of the grant, value), by values."""
    dialect, expiry = peer.dialect, peer.expiry(ttl)
    results: list[bool | None] = [False] * len(items)
    batch: Batch = []
    sent: list[tuple[int, bool]] = []
    for index, (key, token, value) in enumerate(items):
        cas = _own_cas(peer, token)
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
                _expect(peer, reply, CHANGED, GONE)
    return results


def abandon(peer: Peer, leases: Sequence[tuple[bytes, bytes]]) -> Generator[Batch, list[Reply], None]:
    """Remove one's own leases, each (key, token of the grant)."""
    batch: Batch = []
    for key, token in leases:
        cas = _own_cas(peer, token)
        if cas is not None:
            batch.append(peer.dialect.delete_if(key, cas))
    if batch:
        replies = yield batch
        _expect_all(peer, replies, DONE, CHANGED, GONE)


def _own_cas(peer: Peer, token: bytes) -> int | None:
    """The CAS id in the token of a grant, if this life of the server has granted it."""
    if len(token) != CAS.size:
        return None
    incarnation, cas = CAS.unpack(token)
    return cas if incarnation == peer.incarnation else None


# -- what writers do -------------------------------------------------------------------------------


def hold(
    peer: Peer, keys: Sequence[bytes], token: bytes, ttl: float, lifetime: float, alone: Alone
) -> Generator[Batch, list[Reply], None]:
    """Join the hold of every key. Items with holds live for ``lifetime`` seconds."""
    yield from synchronised(peer)
    deadline = peer.late() + ttl
    until = peer.local_deadline(ttl)
    mine, expiry = record(token, deadline, peer.incarnation), peer.expiry(lifetime)
    pending = keys
    for _ in range(TRIES):
        parts = [peer.dialect.hold(key, mine, expiry) for key in pending]
        replies = yield [command for part in parts for command in part]
        vanished: list[bytes] = []
        in_the_way: list[bytes] = []
        start = 0
        for key, part in zip(pending, parts, strict=True):
            answers = replies[start : start + len(part)]
            start += len(part)
            _, _, flags, cas, size = last = answers[-1]
            _expect(peer, last, DONE, FOUND, MISS)
            placed = any(answer[0] == DONE for answer in answers[:2])
            if last[0] == MISS:
                if any(answer[0] == NO_ROOM for answer in answers[:2]):
                    raise BackendUnavailable(f"memcached at {peer.address} has no memory left for a hold")
                vanished.append(key)
            elif not placed or size <= flags:
                in_the_way.append(key)
            elif size == flags + RECORD_BYTES:
                alone.remember(peer.incarnation, key, token, cas, until)
            else:
                alone.forget(peer.incarnation, key, token)
        if in_the_way:
            vanished += yield from _hold_in_place(peer, in_the_way, token, deadline, expiry)
        if not vanished:
            return
        pending = vanished
    raise _contended(peer)


def _hold_in_place(
    peer: Peer, keys: Sequence[bytes], token: bytes, deadline: float, expiry: int
) -> Generator[Batch, list[Reply], list[bytes]]:
    """Replace items that cannot be appended to, or are none of ours; returns the keys that changed meanwhile."""
    replies = yield [peer.dialect.read(key) for key in keys]
    now = peer.early()
    batch: Batch = []
    for key, reply in zip(keys, replies, strict=True):
        held = entries.held(_standing(peer, reply, now), token, deadline, now)
        batch.append(peer.dialect.replace(key, reply[3], records(held, peer.incarnation), 0, expiry))
    replies = yield batch
    if any(reply[0] == NO_ROOM for reply in replies):
        raise BackendUnavailable(f"memcached at {peer.address} has no memory left for a hold")
    _expect_all(peer, replies, DONE, CHANGED, GONE)
    return [key for key, reply in zip(keys, replies, strict=True) if reply[0] != DONE]


def complete(
    peer: Peer,
    keys: Sequence[bytes],
    token: bytes,
    values: Mapping[bytes, Value],
    ttl: float | None,
    lifetime: float,
    alone: Alone,
) -> Generator[Batch, list[Reply], None]:
    """End one's part in the hold of every key after a commit."""

    def end(key: bytes, entry: Entry | None, now: float) -> Entry | None:
        return entries.completed(entry, token, now, values.get(key))

    yield from _leave(peer, keys, token, values, end, (ttl, lifetime), alone)


def release(
    peer: Peer, keys: Sequence[bytes], token: bytes, lifetime: float, alone: Alone
) -> Generator[Batch, list[Reply], None]:
    """Leave the hold of every key after a rollback."""

    def end(key: bytes, entry: Entry | None, now: float) -> Entry | None:
        return entries.released(entry, token, now)

    yield from _leave(peer, keys, token, {}, end, (None, lifetime), alone)


def _leave(
    peer: Peer,
    keys: Sequence[bytes],
    token: bytes,
    values: Mapping[bytes, Value],
    end: Transition,
    lifetimes: tuple[float | None, float],
    alone: Alone,
) -> Generator[Batch, list[Reply], None]:
    """Where the hold is known to be one's own, replace or delete it at once; elsewhere, read first."""
    now = peer.local_deadline(0)
    known: list[bytes] = []
    others: list[bytes] = []
    batch: Batch = []
    for key in keys:
        cas = alone.take(peer.incarnation, key, token, now)
        if cas is None:
            others.append(key)
        else:
            known.append(key)
            batch.append(_replacement(peer, key, cas, values.get(key), lifetimes))
    if known:
        replies = yield batch
        # A hold that is gone has expired, been evicted or flushed, and nothing stands in its place.
        _expect_all(peer, replies, DONE, CHANGED, GONE, NO_ROOM)
        others += [key for key, reply in zip(known, replies, strict=True) if reply[0] == CHANGED]
    if others:
        yield from _rework(peer, others, end, lifetimes)


def _rework(
    peer: Peer, keys: Sequence[bytes], transition: Transition, lifetimes: tuple[float | None, float]
) -> Generator[Batch, list[Reply], None]:
    """Read each item, decide what is to stand, and replace it if nobody was faster; otherwise again."""
    pending = list(keys)
    for _ in range(TRIES):
        replies = yield [peer.dialect.read(key) for key in pending]
        now = peer.early()
        acting: list[bytes] = []
        batch: Batch = []
        for key, reply in zip(pending, replies, strict=True):
            before = _standing(peer, reply, now)
            after = transition(key, before, now)
            if reply[0] is not MISS and (after is not before or after is None):
                acting.append(key)
                batch.append(_replacement(peer, key, reply[3], after, lifetimes))
        if not acting:
            return
        replies = yield batch
        _expect_all(peer, replies, DONE, CHANGED, GONE, NO_ROOM)
        pending = [key for key, reply in zip(acting, replies, strict=True) if reply[0] in (CHANGED, GONE)]
        if not pending:
            return
    raise _contended(peer)


def _replacement(peer: Peer, key: bytes, cas: int, entry: Entry | None, lifetimes: tuple[float | None, float]) -> bytes:
    """The command that puts an entry, or nothing, in the place of the item with this CAS id."""
    if type(entry) is Hold:
        return peer.dialect.replace(key, cas, records(entry, peer.incarnation), 0, peer.expiry(lifetimes[1]))
    if type(entry) is Value:
        data = encode_entry(entry, peer.mark)
        if peer.fits(key, data):
            return peer.dialect.replace(key, cas, data, len(data), peer.expiry(lifetimes[0]))
    return peer.dialect.delete_if(key, cas)


# -- without conditions ----------------------------------------------------------------------------


def put(
    peer: Peer, items: Sequence[tuple[bytes, Value]], ttl: float | None
) -> Generator[Batch, list[Reply], list[bool]]:
    """Store values whatever stands there; one too large is not sent, since nothing is to stand in its place."""
    dialect, expiry = peer.dialect, peer.expiry(ttl)
    batch: Batch = []
    sent: list[bool] = []
    for key, value in items:
        data = encode_entry(value, peer.mark)
        sent.append(peer.fits(key, data))
        batch.append(dialect.store(key, data, len(data), expiry) if sent[-1] else dialect.delete(key))
    replies = yield batch
    _expect_all(peer, replies, DONE, GONE, NO_ROOM)
    return [stored and reply[0] == DONE for stored, reply in zip(sent, replies, strict=True)]


def swap(
    peer: Peer, keys: Sequence[bytes], stamp: bytes, value: Value, ttl: float | None
) -> Generator[Batch, list[Reply], bool]:
    """Replace the value that has this stamp under the one key there is."""
    [key] = keys
    [reply] = yield [peer.dialect.read(key)]
    entry = _standing(peer, reply, peer.early())
    data = encode_entry(value, peer.mark)
    if type(entry) is not Value or entry.stamp != stamp or not peer.fits(key, data):
        return False
    [reply] = yield [peer.dialect.replace(key, reply[3], data, len(data), peer.expiry(ttl))]
    _expect(peer, reply, DONE, CHANGED, GONE, NO_ROOM)
    return reply[0] == DONE


def forget(peer: Peer, keys: Sequence[bytes]) -> Generator[Batch, list[Reply], list[bool]]:
    """Remove whatever stands."""
    replies = yield [peer.dialect.delete(key) for key in keys]
    _expect_all(peer, replies, DONE, GONE)
    return [reply[0] == DONE for reply in replies]


def clear(peer: Peer, _: Sequence[bytes]) -> Generator[Batch, list[Reply], None]:
    """Remove everything on this server."""
    replies = yield [FLUSH_ALL]
    _expect_all(peer, replies, DONE)


def examine(peer: Peer, _: Sequence[bytes]) -> Generator[Batch, list[Reply], tuple[dict[str, str], dict[str, str]]]:
    """The statistics and settings of the server as they are now."""
    replies = yield [STATS, STATS_SETTINGS]
    _expect_all(peer, replies, STATISTICS)
    return statistics(replies[0][1]), statistics(replies[1][1])


# -- for all ---------------------------------------------------------------------------------------


def _expect(peer: Peer, reply: Reply, *codes: str) -> None:
    if reply[0] not in codes:
        raise unexpected(reply, peer.address)


def _expect_all(peer: Peer, replies: Sequence[Reply], *codes: str) -> None:
    for reply in replies:
        if reply[0] not in codes:
            raise unexpected(reply, peer.address)


def _contended(peer: Peer) -> BackendError:
    return BackendUnavailable(f"memcached at {peer.address}: an entry changed {TRIES} times while it was being changed")
