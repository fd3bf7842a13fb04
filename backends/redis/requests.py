"""What each operation of `cachecore.backend` asks of Redis, and how the replies become its answer. No I/O.

Each operation is a generator. It yields a batch, which is one round trip to each server concerned, and is sent as many
replies. A command of a batch is

    (key, parts, expects)

``key`` says which server it is for. ``parts`` are its bytes in the protocol of Redis, cut where the incarnation of that
server belongs: the connection that sends it puts its own there (rule R8). ``expects`` says what the reply must be, and
the connection turns it into that: an Entry or `FOREIGN` or None, a number, True; or an `ErrorReply`.

Which operations may be sent again after a connection was lost, the first sending perhaps carried out, or still on its
way: all but swap. acquire, displace: with another token, see `again`. fill: the value may stand there
already and the reply is False, which costs a count. abandon, hold, release, clear: the second changes nothing.
complete: the second finds the token gone and removes what a reader has filled since, which costs a miss. put: what
another has put in between is overwritten, as if both had been in flight at once. forget: the reply may be False where
the first sending removed something.
"""

import functools
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, TypeVar

from cachecore.backends.redis.replies import (
    ENTRY,
    FOREIGN,
    NUMBER,
    STATUS,
    failure,
    is_full,
    is_unknown_script,
)
from cachecore.backends.redis.resp import ErrorReply
from cachecore.backends.redis.scripts import (
    ABANDON,
    COMPLETE,
    COMPLETE_WITH_VALUE,
    DISPLACE,
    FILL,
    HELD,
    HOLD,
    RELEASE,
    SWAP,
    Script,
    in_full,
)
from cachecore.entries import (
    FORMAT,
    INCARNATION_BYTES,
    MAGIC,
    TOKEN_BYTES,
    Entry,
    Grant,
    Lease,
    Unusable,
    Value,
    encode_entry,
)
from cachecore.errors import BackendUnavailable

Command = tuple[str, tuple[bytes, ...], int]
Batch = list[Command]
Replies = list[Any]
T = TypeVar("T")
Operation = Generator[Batch, Replies, T]
Acquired = list[Entry | Grant | None]

FEW: Final = 4
"""Up to so many keys are acquired by one SET each; more are read first by one MGET, being there nearly always."""

_BEFORE: Final = MAGIC + bytes([FORMAT])
_FOREVER_MS: Final = 100 * 366 * 24 * 3600 * 1000
_NOBODY: Final = bytes(INCARNATION_BYTES)
_HEAD: Final = (b"$11\r\n" + _BEFORE, b"\r\n")


# -- commands -----------------------------------------------------------------------------------------


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _stored(after: bytes) -> tuple[bytes, bytes]:
    """An argument that is stored as it is: head, incarnation, and what comes after it."""
    return b"$%d\r\n%b" % (len(_BEFORE) + INCARNATION_BYTES + len(after), _BEFORE), after + b"\r\n"


def _entry(entry: Entry) -> tuple[bytes, ...]:
    """An entry as an argument. What is no entry has no incarnation either."""
    if type(entry) is Unusable:
        return (_bulk(entry.raw),)
    return _stored(encode_entry(entry, _NOBODY)[len(_BEFORE) + INCARNATION_BYTES :])


def _milliseconds(ttl: float) -> int:
    return max(1, min(round(ttl * 1000), _FOREVER_MS)) if ttl < _FOREVER_MS else _FOREVER_MS


def _expiry(ttl: float | None) -> tuple[bytes, ...]:
    return () if ttl is None else (_bulk(b"%d" % _milliseconds(ttl)),)


def _spliced(arguments: Sequence[tuple[bytes, ...]]) -> tuple[bytes, ...]:
    """Arguments one after the other, still cut only where the incarnation belongs."""
    parts = [b""]
    for argument in arguments:
        parts[-1] += argument[0]
        parts += argument[1:]
    return tuple(parts)


def _run(script: Script, key: str, *arguments: tuple[bytes, ...], expects: int = NUMBER) -> Command:
    """A script's command, by its hash. An empty argument is left out."""
    given = [argument for argument in arguments if argument]
    start = b"*%d\r\n%b$1\r\n1\r\n%b" % (4 + len(given), script.by_hash, _bulk(key.encode()))
    return key, _spliced([(start,), *given]), expects


def _plain(key: str, expects: int, *words: bytes) -> Command:
    return key, (b"*%d\r\n%b" % (len(words), b"".join(map(_bulk, words))),), expects


def _gets(keys: Sequence[str]) -> Batch:
    return [(key, (b"*2\r\n$3\r\nGET\r\n" + _bulk(key.encode()),), ENTRY) for key in keys]


def _mget(keys: Sequence[str]) -> Batch:
    names = [key.encode() for key in keys]
    body = b"".join([b"$%d\r\n%b\r\n" % (len(name), name) for name in names])
    return [(keys[0], (b"*%d\r\n$4\r\nMGET\r\n%b" % (len(keys) + 1, body),), len(keys))]


def leases(keys: Sequence[str], token: bytes, ttl: float) -> Batch:
    """SET key lease NX GET PX ttl for each key: what stands there, else nil and the lease (Redis 7.0).

    This is the request of every hit, so it is spelled out: its bytes cost less than a fifth of a general rendering.
    """
    rest = b"l" + token + lease_options(ttl)
    size = len(_BEFORE) + INCARNATION_BYTES + 1 + len(token)
    batch: Batch = []
    for key in keys:
        length = len(key) if key.isascii() else len(key.encode())
        begin = f"*7\r\n$3\r\nSET\r\n${length}\r\n{key}\r\n${size}\r\n".encode()
        batch.append((key, (begin + _BEFORE, rest), ENTRY))
    return batch


@functools.lru_cache(maxsize=64)
def lease_options(ttl: float) -> bytes:
    """What follows the lease in the SET of `leases`, as it is sent."""
    return b"\r\n$2\r\nNX\r\n$3\r\nGET\r\n$2\r\nPX\r\n" + _bulk(b"%d" % _milliseconds(ttl))


# -- rounds -------------------------------------------------------------------------------------------


def _exchanged(batch: Batch, *, may_be_full: bool = False) -> Generator[Batch, Replies, Replies]:
    """The replies to ``batch``. A script that the server has forgotten is sent again, in full.

    A refusal raises what it means; one for want of memory is left among the replies if it ``may_be_full``.
    """
    if not batch:
        return []
    replies = yield batch
    unknown = [at for at, reply in enumerate(replies) if type(reply) is ErrorReply and is_unknown_script(reply)]
    if unknown:
        refused = [batch[at] for at in unknown]
        again = yield [(key, (in_full(parts[0]), *parts[1:]), expects) for key, parts, expects in refused]
        for at, reply in zip(unknown, again, strict=True):
            replies[at] = reply
    for reply in replies:
        if type(reply) is ErrorReply and not (may_be_full and is_full(reply)):
            raise failure(reply)
    return replies


def _read(keys: Sequence[str], together: bool) -> Generator[Batch, Replies, Replies]:
    if together and len(keys) > 1:
        [replies] = yield from _exchanged(_mget(keys))
        found: Replies = replies
        return found
    return (yield from _exchanged(_gets(keys)))


# -- operations ---------------------------------------------------------------------------------------


def get(keys: Sequence[str], together: bool) -> Operation[list[Entry | None]]:
    """What stands under each key. ``together``: one server has them all, so that one MGET can ask for them."""
    replies = yield from _read(keys, together)
    return [None if reply is FOREIGN else reply for reply in replies]


def acquire(keys: Sequence[str], token: bytes, ttl: float, together: bool) -> Operation[Acquired]:
    """What stands under each key, else a Grant; None where nothing stands and the server is full."""
    if not keys:
        return []
    if len(keys) <= FEW:
        replies = yield leases(keys, token, ttl)
        wanted: Sequence[int] = range(len(keys))
    else:
        replies = yield from _read(keys, together)
        wanted = [at for at, reply in enumerate(replies) if reply is None]
        if wanted:
            granted = yield leases([keys[at] for at in wanted], token, ttl)
            for at, reply in zip(wanted, granted, strict=True):
                replies[at] = reply
    return (yield from settled(keys, token, ttl, replies, wanted))


def settled(
    keys: Sequence[str], token: bytes, ttl: float, replies: Replies, asked: Sequence[int]
) -> Operation[Acquired]:
    """What acquire answers, from the replies to `leases` for the keys at ``asked`` and what others were read."""
    full: list[int] = []
    for at in asked:
        reply = replies[at]
        if reply is None:
            replies[at] = Grant(token)
        elif type(reply) is ErrorReply:
            if not is_full(reply):
                raise failure(reply)
            full.append(at)
    if full:
        # A full server refuses SET NX GET even where it would only have read.
        read = yield from _exchanged(_gets([keys[at] for at in full]))
        for at, reply in zip(full, read, strict=True):
            replies[at] = reply
    # What another life of the server has left does not stand, but is in the way of SET NX.
    foreign = [at for at, reply in enumerate(replies) if reply is FOREIGN]
    if foreign:
        granted = yield from displace([(keys[at], None) for at in foreign], token, ttl)
        for at, reply in zip(foreign, granted, strict=True):
            replies[at] = reply
    return replies


def displace(seen: Sequence[tuple[str, Entry | None]], token: bytes, ttl: float) -> Operation[Acquired]:
    """A lease in place of what was seen, if it still stands there and is a Value or Unusable; else as acquire."""
    old = [(key, _entry(entry) if isinstance(entry, Value | Unusable) else ()) for key, entry in seen]
    return (yield from _replaced(old, token, ttl))


def _replaced(old: Sequence[tuple[str, tuple[bytes, ...]]], token: bytes, ttl: float) -> Operation[Acquired]:
    """A lease in place of these bytes under each key; else as acquire."""
    lease, milliseconds = _stored(b"l" + token), _expiry(ttl)
    batch = [_run(DISPLACE, key, _HEAD, lease, milliseconds, seen, expects=ENTRY) for key, seen in old]
    replies = yield from _exchanged(batch, may_be_full=True)
    return [
        Grant(token) if reply is None else None if reply is FOREIGN or type(reply) is ErrorReply else reply
        for reply in replies
    ]


def again(
    begin: Callable[[bytes], Operation[Acquired]], keys: Sequence[str], token: bytes, ttl: float
) -> Operation[Acquired]:
    """An acquire or displace of ``keys`` that was sent with ``token`` over a connection that is lost.

    It may have been carried out, and it may still be on its way: in a proxy, in the buffer of a server that is stopped.
    Then it leaves a lease at any time from now on, also after a writer has come and gone, and who had been granted its
    token would fill what he read before. So the second sending has a token of its own, which is granted also in place
    of a lease of the first; that one's token is granted to nobody.
    """
    fresh = os.urandom(TOKEN_BYTES)
    replies = yield from begin(fresh)
    mine = [at for at, reply in enumerate(replies) if type(reply) is Lease and reply.token == token]
    lease = _stored(b"l" + token)
    granted = yield from _replaced([(keys[at], lease) for at in mine], fresh, ttl)
    for at, reply in zip(mine, granted, strict=True):
        replies[at] = reply
    return replies


def fill(items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None, limit: int) -> Operation[list[bool | None]]:
    """Values in place of leases. None where the value is larger than ``limit`` bytes, or the server is full."""
    expiry = _expiry(ttl)
    batch: Batch = []
    for key, token, value, weight in items:
        lease = _stored(b"l" + token)
        batch.append(_run(ABANDON, key, lease) if weight > limit else _run(FILL, key, lease, _entry(value), expiry))
    replies = yield from _exchanged(batch, may_be_full=True)
    return [
        None if item[3] > limit or type(reply) is ErrorReply else reply == 1
        for item, reply in zip(items, replies, strict=True)
    ]


def abandon(leases: Sequence[tuple[str, bytes]]) -> Operation[None]:
    """Leases given back."""
    yield from _exchanged([_run(ABANDON, key, _stored(b"l" + token)) for key, token in leases])


def hold(keys: Sequence[str], token: bytes, ttl: float) -> Operation[None]:
    """One's token in the hold of every key."""
    who, milliseconds = (_bulk(token),), _expiry(ttl)
    replies = yield from _exchanged([_run(HOLD, key, _HEAD, who, milliseconds) for key in keys])
    for key, reply in zip(keys, replies, strict=True):
        if reply != HELD:
            raise BackendUnavailable(f"the reply to PREPARE for {key!r} is {reply!r} and not {HELD}")


def complete(
    keys: Sequence[str], token: bytes, values: Mapping[str, tuple[Value, int]], ttl: float | None, limit: int
) -> Operation[None]:
    """One's token out of the hold of every key; the value in its place where one is given and there is room for it."""
    who, expiry = (_bulk(token),), _expiry(ttl)
    batch: Batch = []
    for key in keys:
        value, weight = values.get(key, (None, 0))
        if value is None or weight > limit:
            batch.append(_run(COMPLETE, key, _HEAD, who))
        else:
            batch.append(_run(COMPLETE_WITH_VALUE, key, _HEAD, who, _entry(value), expiry))
    replies = yield from _exchanged(batch, may_be_full=True)
    full = [key for key, reply in zip(keys, replies, strict=True) if type(reply) is ErrorReply]
    yield from _exchanged([_run(COMPLETE, key, _HEAD, who) for key in full])


def release(keys: Sequence[str], token: bytes) -> Operation[None]:
    """One's token out of the hold of every key, and nothing else."""
    who = (_bulk(token),)
    yield from _exchanged([_run(RELEASE, key, _HEAD, who) for key in keys])


def put(items: Sequence[tuple[str, Value, int]], ttl: float | None, limit: int) -> Operation[list[bool]]:
    """Values whatever stands there. Where one is too large or the server full, nothing stands there afterwards."""
    expiry = () if ttl is None else ((b"$2\r\nPX\r\n",), _expiry(ttl))
    start = b"*%d\r\n$3\r\nSET\r\n" % (3 if ttl is None else 5)
    small = [
        (key, _spliced([(start + _bulk(key.encode()),), _entry(value), *expiry]), STATUS)
        for key, value, weight in items
        if weight <= limit
    ]
    replies = iter((yield from _exchanged(small, may_be_full=True)))
    result = [weight <= limit and next(replies) is True for _, _, weight in items]
    yield from forget([item[0] for item, stored in zip(items, result, strict=True) if not stored])
    return result


def swap(key: str, stamp: bytes, value: Value, weight: int, ttl: float | None, limit: int) -> Operation[bool]:
    """A value in place of the Value with this stamp. False too where it is too large."""
    if weight > limit:
        return False
    seen = _stored(b"v" + bytes([len(stamp)]) + stamp)
    [done] = yield from _exchanged([_run(SWAP, key, seen, _entry(value), _expiry(ttl))])
    return bool(done == 1)


def forget(keys: Sequence[str]) -> Operation[list[bool]]:
    """Whatever stands under each key removed; True where something did."""
    replies = yield from _exchanged([_plain(key, NUMBER, b"DEL", key.encode()) for key in keys])
    return [reply == 1 for reply in replies]


def clear_one() -> Batch:
    """What empties the server that it is sent to."""
    return [_plain("", STATUS, b"FLUSHDB", b"SYNC")]


def check(replies: Replies) -> None:
    """Raise what the first refusal among replies means."""
    for reply in replies:
        if type(reply) is ErrorReply:
            raise failure(reply)
