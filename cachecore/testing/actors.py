"""Those who act in the explorer's scenes: readers and writers made of the shipped flows.

Each function returns a program: a function that makes the generator anew. Tokens are fixed, one for each actor, since
the search needs the same actor to do the same thing again; that they differ is all that randomness is for.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal

import msgspec
from msgspec import structs

from cachecore.coherence import Subject, abandon_write, begin_write, fetch, finish_write, invalidate
from cachecore.entries import TOKEN_BYTES, Value
from cachecore.errors import BackendError, CorruptEntry, WriteRefused
from cachecore.lookups import Claim, Lookup, find, find_many
from cachecore.operations import Get, Journal, Operation
from cachecore.policy import Policy
from cachecore.testing.model import (
    Acknowledged,
    Announce,
    Commit,
    CommitUnknown,
    DeleteNotes,
    Own,
    ReadJournal,
    Returned,
    Rollback,
    Settle,
    Statement,
    Version,
    Write,
)
from cachecore.testing.program import Making, filtered

Flow = Generator[Operation, Any, None]

EPOCH = "epoch"
FINGERPRINT = b"schema.1"


def token(name: str) -> bytes:
    """The token of an actor: its name in as many bytes as a token has."""
    return name.encode().ljust(TOKEN_BYTES)


def key_of(identity: int) -> str:
    """The coherent key of a row."""
    return f"row:{identity}"


def dump(row: tuple[object, ...]) -> tuple[bytes, int]:
    """A row as (payload, weight)."""
    data = msgspec.msgpack.encode(row)
    return data, len(data)


def load(payload: Any) -> tuple[object, ...]:
    """`dump`'s payload as a row."""
    try:
        return tuple(msgspec.msgpack.decode(payload, type=list[Any]))
    except msgspec.DecodeError as error:
        raise CorruptEntry(str(error)) from error


def subject(
    *, epoch: bool = False, wait: float = 0.0, unreachable: Literal["journal", "refuse", "bounded"] = "refuse"
) -> Subject:
    """The record type of a scene. Readers look a second time at others' leases if ``wait`` (seconds) is not 0."""
    return Subject(
        name="row",
        policy=Policy(lease_wait=wait, lease_poll=wait or 1.0, unreachable=unreachable),
        epoch_key=EPOCH if epoch else None,
        fingerprint=FINGERPRINT,
        dump=dump,
        load=load,
        identity_of=lambda row: row[0],
    )


def value(row: tuple[object, ...], epoch: bytes = b"") -> Value:
    """A row as it stands in the cache."""
    return Value(dump(row)[0], epoch + FINGERPRINT)


def by_slug(slug: str) -> Lookup:
    """The lookup of the row with this slug."""
    return Lookup(
        key=f"slug:{slug}",
        values=(slug,),
        key_of=key_of,
        spelling_of=lambda row: (row[2],),
        dump=lambda claim: dump((claim.identity, *claim.spelling)),
        load=lambda payload: Claim(load(payload)[0], load(payload)[1:]),
    )


# -- readers -----------------------------------------------------------------------------------------


def reader(name: str, *identities: int, of: Subject, may_fill: bool = True, times: int = 1) -> Making:
    """Reads rows through the cache, outside transactions, ``times`` times in a row."""

    def program() -> Flow:
        for time in range(times):
            keys = {key_of(identity): identity for identity in identities}
            rows = yield from fetch(of, keys, token(f"{name}.{time}"), may_fill=may_fill)
            yield Returned({identity: rows.get(key) for key, identity in keys.items()})

    return program


def straight_reader(name: str, identity: int, *, of: Subject) -> Making:
    """Reads a row as a local backend's hit does, outside the flow: the row, then the epoch; both must agree."""

    def program() -> Flow:
        [entry] = yield Get([key_of(identity)])
        if isinstance(entry, Value):
            [epoch] = yield Get([EPOCH])
            if isinstance(epoch, Value) and entry.stamp == epoch.stamp + of.fingerprint:
                yield Returned({identity: of.load(entry.payload)})
                return
        rows = yield from fetch(of, {key_of(identity): identity}, token(name))
        yield Returned({identity: rows.get(key_of(identity))})

    return program


def finder(name: str, slug: str, *, of: Subject, claim: Claim | None = None, verified: bool = True) -> Making:
    """Reads one row by slug. claim: what its process remembers. verified: False drops rule R13."""
    lookup = by_slug(slug)
    if not verified:
        lookup = structs.replace(lookup, spelling_of=_spelled(slug))

    def program() -> Flow:
        row, _ = yield from find(of, lookup, token(name), claim=claim)
        yield Returned(found_row(row), asked=slug)

    return program


def many_finder(name: str, *slugs: str, of: Subject) -> Making:
    """Reads several rows by slug at once."""
    lookups = [by_slug(slug) for slug in slugs]

    def program() -> Flow:
        rows, _ = yield from find_many(of, lookups, token(name), claims={})
        for lookup, slug in zip(lookups, slugs, strict=True):
            yield Returned(found_row(rows.get(lookup.key)), asked=slug)

    return program


def _spelled(slug: str) -> Callable[[tuple[object, ...]], tuple[object, ...]]:
    """Any row as if it had this slug."""
    return lambda _: (slug,)


def found_row(row: tuple[object, ...] | None) -> dict[int, tuple[object, ...] | None]:
    """What a lookup has found, as `Returned` wants it."""
    return {} if row is None else {msgspec.convert(row[0], int): row}


# -- writers -----------------------------------------------------------------------------------------


def writer(
    name: str,
    *versions: Version,
    of: Subject,
    through: bool = False,
    bulk: bool = False,
    rolls_back: bool = False,
    reads: tuple[int, ...] = (),
    gains: Sequence[str] = (),
) -> Making:
    """Writes rows in a transaction.

    through: leaves the new rows in the cache. bulk: outdates all rows by the epoch. reads: rows that it reads
    in its transaction after it has written. gains: other keys that it outdates.
    """
    keys = [EPOCH] if bulk else [*(key_of(version[0]) for version in versions), *gains]

    def program() -> Flow:
        yield Write(versions)
        if reads:
            wanted = {key_of(identity): identity for identity in reads}
            rows = yield from fetch(of, wanted, token(f"{name}.r"), may_fill=False, written=set(keys).__contains__)
            yield Own({identity: rows.get(key) for key, identity in wanted.items()})
        values = (yield from _values(of, versions)) if through else {}
        try:
            prepared = yield from begin_write("row", keys, token(name), of.policy)
        except WriteRefused:
            yield Rollback()
            yield from abandon_write("row", keys, token(name))
            return
        if rolls_back:
            yield Rollback()
            yield from abandon_write("row", keys, token(name))
            return
        try:
            yield Commit()
        except CommitUnknown:
            return
        yield from finish_write("row", keys, token(name), values={} if prepared is None else values)
        yield Acknowledged(versions)

    return program


def autocommit_writer(
    name: str,
    *versions: Version,
    of: Subject,
    through: bool = False,
    bulk: bool = False,
    gains: Sequence[str] = (),
) -> Making:
    """Writes rows in a statement that is its own transaction: PREPARE comes before the row locks. See `writer`.

    What goes into the journal is committed before the statement, and its row is kept until the statement has ended.
    """
    keys = [EPOCH] if bulk else [*(key_of(version[0]) for version in versions), *gains]

    def program() -> Flow:
        values = (yield from _values(of, versions)) if through else {}
        try:
            prepared = yield from begin_write("row", keys, token(name), of.policy)
        except WriteRefused:
            return
        try:
            yield Statement(versions)
        except CommitUnknown:
            return
        yield from finish_write("row", keys, token(name), values={} if prepared is None else values)
        if prepared is None:
            yield Settle()
        yield Acknowledged(versions)

    def announced(operation: Operation) -> Generator[Operation, Any, Any]:
        return (yield Announce(operation.keys, pending=True) if isinstance(operation, Journal) else operation)

    return filtered(program, announced)


def replayer(name: str, times: int = 1) -> Making:
    """Outdates what the journal notes and then deletes the notes, ``times`` times in a row."""

    def program() -> Flow:
        for time in range(times):
            rows: list[tuple[int, tuple[str, ...], bool]] = yield ReadJournal()
            if not rows:
                continue
            keys = sorted({key for _, keys, _ in rows for key in keys})
            try:
                yield from invalidate("row", keys, token(f"{name}.{time}"))
            except BackendError:
                continue
            yield DeleteNotes(tuple((writer, keys) for writer, keys, settled in rows if settled))

    return program


def outsider(name: str, *versions: Version) -> Making:
    """Writes rows past the cache and then tells it."""

    def program() -> Flow:
        yield Statement(versions)
        yield from invalidate("row", [key_of(version[0]) for version in versions], token(name))
        yield Acknowledged(versions)

    return program


def _values(of: Subject, versions: tuple[Version, ...]) -> Generator[Operation, Any, dict[str, tuple[Value, int]]]:
    """The rows that a transaction wrote, as they may be left in the cache: under the epoch that is known now."""
    epoch = b""
    if of.epoch_key is not None:
        try:
            [entry] = yield Get([of.epoch_key])
        except BackendError:
            return {}
        if not isinstance(entry, Value):
            return {}
        epoch = entry.stamp
    return {key_of(version[0]): (value(version, epoch), 1) for version in versions if version[2] is not None}
