"""The protocol: how rows are read through the cache and how writes outdate them.

Theory of operation
-------------------
Only generators and no I/O: a flow yields operations (`cachecore.operations`) and is sent their replies. The same
flows therefore serve sync and async drivers, and the explorer visits their interleavings, crashes and faults.

*Read.* One round trip gets the epoch and every key, leaving a Lease where nothing stood. A Value with the current
stamp is a hit. A granted key is read from the database *after* the grant and filled: the fill replaces one's own
lease or does nothing. Under a Hold, or under another reader's lease that does not resolve in a short wait, the
database answers and nothing is filled.

*Write.* While the transaction runs, nothing is sent. PREPARE, the last thing before COMMIT, puts the writer's token
into the Hold of every key, which removes the value and voids every lease; its reply is awaited. After COMMIT and
before the caller regains control, COMPLETE takes the token out again. A reader who was granted a lease before
PREPARE finds it gone; one who is granted a lease after COMPLETE starts its statement after the commit.

*Epoch.* Each entity has one more coherent key, whose "row" is a random number. Every value is stamped with the epoch
read before its database read, so a bulk write holds this one key and outdates all rows at once.

Built on this: lookups by other columns than the identity (`cachecore.lookups`), complete lists (`cachecore.lists`) and
entries that say that a lookup has no row (`cachecore.absences`). The latter two are fetched like rows, with other keys.

Failures of the backend are thrown into the flow, so what they mean is written here and once: a read goes to the
database; a write follows the policy; a COMPLETE that fails leaves the hold to expire, which is safe.

Rules kept here (each has a control in the explorer that fails when it is dropped): a value is stored only from one's
own lease or own hold; the statement that fills starts after the lease; COMPLETE and release depend on one's token;
epochs are unique random values; never compare the clocks of two hosts; PREPARE and COMPLETE await their replies;
never yield in ``finally``; hold no lock across a yield. Being closed is a crash, and a crash is safe.
"""

from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Final

import msgspec

from cachecore.entries import Entry, Grant, Hold, Lease, Unusable, Value
from cachecore.errors import BackendError, BackendTimeout, CorruptEntry, UnsupportedValue, WriteRefused
from cachecore.events import Failure, Filled, FillRefused, Held, Hit, Invalidated, Journaled, Miss, MissReason
from cachecore.operations import (
    Abandon,
    Acquire,
    Complete,
    Displace,
    Fill,
    Get,
    Journal,
    Load,
    Note,
    Now,
    Operation,
    PlaceHold,
    Release,
    Sleep,
)
from cachecore.policy import Policy

Row = tuple[object, ...]


def nothing_written(key: str) -> bool:
    """For reads outside any unit of work: no key was written in it."""
    return False


class Subject(msgspec.Struct, frozen=True):
    """What the protocol needs to know of a cached record type on one backend."""

    name: str
    policy: Policy
    epoch_key: str | None
    """The coherent key of the entity's epoch; None gives up outdating all rows at once."""
    fingerprint: bytes
    """The schema of its rows: part of the stamp, so that code with other columns misses instead of misreading."""
    dump: Callable[[Row], tuple[object, int]]
    """Row to (payload, weight in bytes); raises UnsupportedValue."""
    load: Callable[[Any], Row]
    """Payload to row; raises CorruptEntry."""
    identity_of: Callable[[Row], Hashable]
    """Row to its identity: a row of another identity is never believed, however it came under the key."""


LEFT: Final = object()
"""In place of an identity: the entry is the right one, and what it says has been found to be so no longer."""

Seen = Sequence[Entry | Grant | None] | BackendError
"""The reply to an Acquire, or its failure."""
Reader = Callable[[Sequence[Any]], Generator[Operation, Any, Mapping[Any, Row]]]
"""How what is missing is read from the database: a flow from identities to a mapping from identity to row."""


def load_rows(identities: Sequence[Any]) -> Generator[Operation, Any, Mapping[Any, Row]]:
    """The rows of these identities, by one Load."""
    loaded: Mapping[Any, Row] = yield Load(identities)
    return loaded


class _Reading(msgspec.Struct):
    """What one fetch has found so far."""

    keys: Mapping[str, Hashable]
    """What was asked: key to identity."""
    rows: dict[str, Row]
    missing: dict[str, MissReason]
    """Keys that the database must answer, and why."""
    grants: dict[str, bytes]
    """Those of them that may be filled -> the token that the fill must show."""
    stamp: bytes | None
    """Epoch and schema for hits and fills; None while the epoch is unknown: nothing can be believed or filled then."""


# -- reading ---------------------------------------------------------------------------------------


def fetch(
    subject: Subject,
    keys: Mapping[str, Hashable],
    token: bytes,
    *,
    may_fill: bool = True,
    written: Callable[[str], bool] = nothing_written,
    seen: Seen | None = None,
    read: Reader = load_rows,
) -> Generator[Operation, Any, dict[str, Row]]:
    """The rows under ``keys`` (key -> identity), from the cache or by one Load; a key without a row is absent.

    ``token`` is random and this call's own. ``may_fill`` is False where a statement could see an old snapshot or
    uncommitted data. ``written`` tells which keys this transaction has written: those are read from the database.
    ``seen`` is the reply to the flow's first Acquire, the epoch's before those of all ``keys``, where the caller has
    made it outside; then ``may_fill`` is True and nothing is written. ``read`` is called at most once; what it does not
    bring is absent, and nothing is filled for it.

    Two fetches of one flow take two tokens: each may begin an epoch, whose value is made of the token.
    """
    reading = _Reading(keys, {}, {}, {}, None)
    all_written = subject.epoch_key is not None and written(subject.epoch_key)
    reading.missing.update((key, "written") for key in keys if all_written or written(key))
    wanted = [key for key in keys if key not in reading.missing]
    if wanted:
        look = _acquire(subject, reading, wanted, token, seen) if may_fill else _peek(subject, reading, wanted)
        try:
            yield from look
        except BackendError as error:
            yield Note(Failure(subject.name, "acquire", error))
            unanswered = (key for key in wanted if key not in reading.rows)
            reading.missing.update((key, "backend") for key in unanswered)
    if reading.rows:
        yield Note(Hit(subject.name, list(reading.rows)))
    if reading.missing:
        yield Note(Miss(subject.name, reading.missing))
        yield from _load(subject, reading, read)
    return reading.rows


def _acquire(
    subject: Subject, reading: _Reading, wanted: Sequence[str], token: bytes, seen: Seen | None
) -> Generator[Operation, Any, None]:
    """Sort ``wanted`` into hits and misses, leave leases for what may be filled, wait a little for others' fills."""
    if isinstance(seen, BackendError):
        raise seen
    policy = subject.policy
    head = [] if subject.epoch_key is None else [subject.epoch_key]
    waited, pause = 0.0, policy.lease_poll
    for look in count():
        replies: Sequence[Entry | Grant | None]
        if seen is not None and look == 0:
            replies = seen
        else:
            replies = yield Acquire([*head, *wanted], token, policy.lease_ttl)
        without_epoch = False
        if head:
            # A bulk write is in flight, or the server has no room for an epoch: waiting would not help.
            without_epoch = replies[0] is None or isinstance(replies[0], Hold)
            reading.stamp = yield from _renewed_stamp(subject, replies[0], token, look)
        else:
            reading.stamp = subject.fingerprint
        outdated, waiting = _sort(subject, reading, zip(wanted, replies[len(head) :], strict=True))
        if outdated:
            displaced: list[Entry | Grant | None] = yield Displace(outdated, token, policy.lease_ttl)
            for (key, _), reply in zip(outdated, displaced, strict=True):
                if isinstance(reply, Grant):
                    reading.grants[key] = reply.token
        if reading.stamp is not None and not waiting:
            return
        # Who holds a row's lease must not wait for another row's: two batches would wait for each other.
        in_the_way = reading.stamp is not None and bool(reading.grants)
        if without_epoch or in_the_way or waited >= policy.lease_wait:
            reading.missing.update((key, "held" if without_epoch else "leased") for key in waiting)
            return
        yield Sleep(pause)
        waited += pause
        pause *= 2
        wanted = waiting


def _peek(subject: Subject, reading: _Reading, wanted: Sequence[str]) -> Generator[Operation, Any, None]:
    """Sort ``wanted`` into hits and misses and leave no trace."""
    head = [] if subject.epoch_key is None else [subject.epoch_key]
    replies: list[Entry | None] = yield Get([*head, *wanted])
    reading.stamp = _stamp(subject, replies[0]) if head else subject.fingerprint
    _, waiting = _sort(subject, reading, zip(wanted, replies[len(head) :], strict=True))
    reading.missing.update((key, "leased") for key in waiting)


def _stamp(subject: Subject, epoch: Entry | Grant | None) -> bytes | None:
    """Epoch and schema, if the entry under the epoch's key tells the epoch."""
    return epoch.stamp + subject.fingerprint if isinstance(epoch, Value) else None


def _renewed_stamp(
    subject: Subject, epoch: Entry | Grant | None, token: bytes, look: int
) -> Generator[Operation, Any, bytes | None]:
    """Like `_stamp`, but begins a new epoch where there is none.

    Its value is the reader's own random token and the number of its look: a reader who waits may begin two epochs, and
    the second must not bring back what was read under the first.
    """
    assert subject.epoch_key is not None
    if isinstance(epoch, Unusable) and epoch.reason == "corrupt":
        [epoch] = yield Displace([(subject.epoch_key, epoch)], token, subject.policy.lease_ttl)
    if isinstance(epoch, Grant):
        begun = Value(b"", token + look.to_bytes(2, "big"))
        [stored] = yield Fill([(subject.epoch_key, epoch.token, begun, 0)], None)
        return begun.stamp + subject.fingerprint if stored else None
    return _stamp(subject, epoch)


def _sort(
    subject: Subject, reading: _Reading, replies: Iterable[tuple[str, Entry | Grant | None]]
) -> tuple[list[tuple[str, Entry]], list[str]]:
    """Put each reply where it belongs; returns the entries to be displaced and the keys that may soon be filled."""
    outdated: list[tuple[str, Entry]] = []
    waiting: list[str] = []
    for key, reply in replies:
        if reply is None:
            reading.missing[key] = "absent"
        elif isinstance(reply, Grant):
            reading.missing[key] = "absent"
            reading.grants[key] = reply.token
        elif isinstance(reply, Hold):
            reading.missing[key] = "held"
        elif isinstance(reply, Lease) or reading.stamp is None:
            waiting.append(key)
        else:
            reason = _believe(subject, reading, key, reply)
            if reason is not None:
                reading.missing[key] = reason
                # Another format version may be another release's hold: leave it alone.
                if reason != "format":
                    outdated.append((key, reply))
    return outdated, waiting


def _believe(subject: Subject, reading: _Reading, key: str, entry: Value | Unusable) -> MissReason | None:
    """None and the row is in ``reading``, or why the entry cannot be believed."""
    if isinstance(entry, Unusable):
        return entry.reason
    if entry.stamp != reading.stamp:
        return "epoch" if entry.stamp.endswith(subject.fingerprint) else "schema"
    try:
        row = subject.load(entry.payload)
    except CorruptEntry:
        return "corrupt"
    identity = subject.identity_of(row)
    if identity != reading.keys[key]:
        return "left" if identity is LEFT else "identity"
    reading.rows[key] = row
    return None


def _load(subject: Subject, reading: _Reading, read: Reader) -> Generator[Operation, Any, None]:
    """Read what is missing from the database, fill what may be filled, and give the other leases back."""
    try:
        loaded = yield from read([reading.keys[key] for key in reading.missing])
    except Exception:
        yield from _settle(subject, [], list(reading.grants.items()))
        raise
    fills: list[tuple[str, bytes, Value, int]] = []
    spare: list[tuple[str, bytes]] = []
    uncacheable: list[str] = []
    for key in reading.missing:
        row = loaded.get(reading.keys[key])
        if row is not None:
            reading.rows[key] = row
        grant = reading.grants.get(key)
        if grant is None:
            continue
        if row is None or reading.stamp is None:
            spare.append((key, grant))
            continue
        try:
            payload, weight = subject.dump(row)
        except UnsupportedValue:
            uncacheable.append(key)
            spare.append((key, grant))
        else:
            fills.append((key, grant, Value(payload, reading.stamp), weight))
    if uncacheable:
        yield Note(FillRefused(subject.name, uncacheable, "uncacheable"))
    yield from _settle(subject, fills, spare)


def _settle(
    subject: Subject, fills: Sequence[tuple[str, bytes, Value, int]], spare: Sequence[tuple[str, bytes]]
) -> Generator[Operation, Any, None]:
    """Fill and give back leases. The answer is known by now, so a failure here costs only the next reader's time."""
    try:
        if fills:
            stored: list[bool | None] = yield Fill(fills, subject.policy.ttl)
            by_outcome: dict[bool | None, list[str]] = {}
            for fill, outcome in zip(fills, stored, strict=True):
                by_outcome.setdefault(outcome, []).append(fill[0])
            for outcome, keys in by_outcome.items():
                if outcome:
                    yield Note(Filled(subject.name, keys))
                else:
                    yield Note(FillRefused(subject.name, keys, "room" if outcome is None else "lease"))
        if spare:
            yield Abandon(spare)
    except BackendError as error:
        yield Note(Failure(subject.name, "fill", error))


# -- writing ---------------------------------------------------------------------------------------


def begin_write(
    entity: str, keys: Sequence[str], token: bytes, policy: Policy, *, journal: bool = False
) -> Generator[Operation, Any, float | None]:
    """PREPARE. Returns when, on this process's monotonic clock, it must run again if COMMIT has not been sent by then.

    None means that it was not acknowledged and the policy bears it. Raises WriteRefused where the policy does not, and
    whatever the journal raises, if the keys go there. ``journal`` tells whether there is one.
    """
    failure: BackendError | None = None
    # An acknowledgement may come so late that the hold is about to end: then once more.
    for _ in range(2):
        started: float = yield Now()
        try:
            yield PlaceHold(keys, token, policy.hold_ttl)
        except BackendError as error:
            failure = error
            break
        prepare_by = started + policy.hold_ttl - policy.commit_margin
        acknowledged: float = yield Now()
        if acknowledged < prepare_by:
            yield Note(Held(entity, keys))
            return prepare_by
        failure = BackendTimeout(f"a hold of {policy.hold_ttl:g} s was acknowledged after {acknowledged - started:g} s")
    assert failure is not None
    yield Note(Failure(entity, "hold", failure))
    unreachable = policy.unreachable or ("journal" if journal else "refuse")
    if unreachable == "refuse":
        raise WriteRefused(
            f"the cache did not acknowledge that {len(keys)} entries are about to be outdated, and the policy is "
            f'unreachable="refuse": nothing was committed ({failure})'
        ) from failure
    if unreachable == "journal":
        yield Journal(keys)
        yield Note(Journaled(entity, keys))
    return None


def finish_write(
    entity: str,
    keys: Sequence[str],
    token: bytes,
    *,
    values: Mapping[str, tuple[Value, int]] | None = None,
    ttl: float | None = None,
) -> Generator[Operation, Any, bool]:
    """COMPLETE, after COMMIT returned and before the caller regains control. False if the backend failed.

    A failure needs no more than that: the hold that stands keeps the value out until it expires. ``values`` are rows
    read back under the row locks of this transaction, to be left in place of holds in which no other writer has been;
    none if PREPARE was not acknowledged: a hold placed late proves nothing.
    """
    try:
        yield Complete(keys, token, values or {}, ttl)
    except BackendError as error:
        yield Note(Failure(entity, "complete", error))
        return False
    yield Note(Invalidated(entity, keys))
    return True


def abandon_write(entity: str, keys: Sequence[str], token: bytes) -> Generator[Operation, Any, None]:
    """Take one's token out of the holds after a rollback. Never call it when the outcome of COMMIT is unknown."""
    try:
        yield Release(keys, token)
    except BackendError as error:
        yield Note(Failure(entity, "release", error))


def invalidate(entity: str, keys: Sequence[str], token: bytes) -> Generator[Operation, Any, None]:
    """Outdate rows that something else has changed and committed. ``token`` is random: a COMPLETE whose hold is gone.

    Raises BackendError: the caller asked for nothing else. Also how a journal is replayed; its rows are deleted after.
    """
    yield Complete(keys, token, {}, None)
    yield Note(Invalidated(entity, keys))
