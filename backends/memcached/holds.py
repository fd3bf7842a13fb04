"""What writers say to one server: PREPARE, COMPLETE and rollback, as flows like those of `flows`.

Hold takes one round trip, and one more where the server protects short-lived items from eviction. Complete and release
take one because hold remembers the CAS ids of the items in which its writer is alone; otherwise the item is read,
changed by the functions of `cachecore.entries` and replaced if nobody was faster.
"""

from collections.abc import Callable, Generator, Mapping, Sequence

from cachecore import entries
from cachecore.backends.memcached.alone import Alone
from cachecore.backends.memcached.answers import TRIES, contended, expect, expect_all, standing
from cachecore.backends.memcached.batches import Batch
from cachecore.backends.memcached.items import RECORD_BYTES, record, records
from cachecore.backends.memcached.peer import Peer, synchronised
from cachecore.backends.memcached.replies import CHANGED, DONE, FOUND, GONE, MISS, NO_ROOM, Reply
from cachecore.entries import TOKEN_BYTES, Entry, Hold, Value, encode_entry
from cachecore.errors import BackendUnavailable

Transition = Callable[[bytes, Entry | None, float], Entry | None]
"""(key, what stands, the server's time) -> what is to stand. The very same object means: leave it."""


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
        exposed: list[tuple[bytes, int]] = []
        start = 0
        for key, part in zip(pending, parts, strict=True):
            answers = replies[start : start + len(part)]
            start += len(part)
            _, _, flags, cas, size = last = answers[-1]
            expect(peer, last, DONE, FOUND, MISS)
            if last[0] == MISS:
                if any(answer[0] == NO_ROOM for answer in answers[:2]):
                    raise BackendUnavailable(f"memcached at {peer.address} has no memory left for a hold")
                vanished.append(key)
            elif size <= flags or not peer.dialect.is_held(answers, mine):
                in_the_way.append(key)
            elif size == flags + RECORD_BYTES:
                alone.remember(peer.life, key, token, cas, until)
                if peer.shelters_holds and flags:
                    exposed.append((key, cas))
            else:
                alone.forget(peer.life, key, token)
        if in_the_way:
            vanished += yield from _hold_in_place(peer, in_the_way, token, deadline, expiry)
        if exposed:
            vanished += yield from _sheltered(peer, exposed, mine, expiry, alone, until)
        if not vanished:
            return
        pending = vanished
    raise contended(peer)


def _hold_in_place(
    peer: Peer, keys: Sequence[bytes], token: bytes, deadline: float, expiry: int
) -> Generator[Batch, list[Reply], list[bytes]]:
    """Replace items that were not appended to, or are none of ours; returns the keys that changed meanwhile."""
    replies = yield [peer.dialect.read(key) for key in keys]
    now = peer.early()
    there: list[bytes] = []
    vanished: list[bytes] = []
    batch: list[bytes] = []
    for key, reply in zip(keys, replies, strict=True):
        if reply[0] is MISS:
            vanished.append(key)
        else:
            there.append(key)
            held = entries.held(standing(peer, reply, now), token, deadline, now)
            batch.append(peer.dialect.replace(key, reply[3], records(held, peer.incarnation), 0, expiry))
    if not batch:
        return vanished
    replies = yield batch
    if any(reply[0] == NO_ROOM for reply in replies):
        raise BackendUnavailable(f"memcached at {peer.address} has no memory left for a hold")
    expect_all(peer, replies, DONE, CHANGED, GONE)
    return vanished + [key for key, reply in zip(there, replies, strict=True) if reply[0] != DONE]


def _sheltered(
    peer: Peer, keys: Sequence[tuple[bytes, int]], mine: bytes, expiry: int, alone: Alone, until: float
) -> Generator[Batch, list[Reply], list[bytes]]:
    """Store anew the holds that are appended to what was stored for longer, each (key, CAS id); returns those gone.

    An item stays with those among which it is evicted, however long it has to live later. Where somebody was faster
    the hold is left as it is, which costs its shelter and nothing else.
    """
    token = mine[:TOKEN_BYTES]
    parts = [peer.dialect.claim(key, cas, mine, 0, expiry) for key, cas in keys]
    replies = yield [command for part in parts for command in part]
    vanished: list[bytes] = []
    start = 0
    for (key, _), part in zip(keys, parts, strict=True):
        answers = replies[start : start + len(part)]
        start += len(part)
        if answers[0][0] == NO_ROOM:
            raise BackendUnavailable(f"memcached at {peer.address} has no memory left for a hold")
        cas = peer.dialect.claimed(answers, mine)
        if cas is not None:
            alone.remember(peer.life, key, token, cas, until)
        elif answers[0][0] == GONE:
            vanished.append(key)
    return vanished


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
    batch: list[bytes] = []
    for key in keys:
        cas = alone.take(peer.life, key, token, now)
        if cas is None:
            others.append(key)
        else:
            known.append(key)
            batch.append(_replacement(peer, key, cas, values.get(key), lifetimes))
    if known:
        replies = yield batch
        # A hold that is gone has expired, been evicted or flushed, and nothing stands in its place.
        expect_all(peer, replies, DONE, CHANGED, GONE, NO_ROOM)
        others += [key for key, reply in zip(known, replies, strict=True) if reply[0] == CHANGED]
    if others:
        yield from _rework(peer, others, end, lifetimes)


def _rework(
    peer: Peer, keys: Sequence[bytes], transition: Transition, lifetimes: tuple[float | None, float]
) -> Generator[Batch, list[Reply], None]:
    """Read each item, decide what is to stand, and replace it if nobody was faster; otherwise again."""
    # The holds of others must not look dead because our reading of the server's clock has aged.
    yield from synchronised(peer)
    pending = list(keys)
    for _ in range(TRIES):
        replies = yield [peer.dialect.read(key) for key in pending]
        now = peer.early()
        acting: list[bytes] = []
        batch: list[bytes] = []
        for key, reply in zip(pending, replies, strict=True):
            before = standing(peer, reply, now)
            after = transition(key, before, now)
            if reply[0] is not MISS and (after is not before or after is None):
                acting.append(key)
                batch.append(_replacement(peer, key, reply[3], after, lifetimes))
        if not acting:
            return
        replies = yield batch
        expect_all(peer, replies, DONE, CHANGED, GONE, NO_ROOM)
        pending = [key for key, reply in zip(acting, replies, strict=True) if reply[0] in (CHANGED, GONE)]
        if not pending:
            return
    raise contended(peer)


def _replacement(peer: Peer, key: bytes, cas: int, entry: Entry | None, lifetimes: tuple[float | None, float]) -> bytes:
    """The command that puts an entry, or nothing, in the place of the item with this CAS id."""
    if type(entry) is Hold:
        return peer.dialect.replace(key, cas, records(entry, peer.incarnation), 0, peer.expiry(lifetimes[1]))
    if type(entry) is Value:
        data = encode_entry(entry, peer.mark)
        if peer.fits(key, data):
            return peer.dialect.replace(key, cas, data, len(data), peer.expiry(lifetimes[0]))
    return peer.dialect.delete_if(key, cas)
