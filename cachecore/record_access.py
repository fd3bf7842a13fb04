"""What the sync and the async access to an entity's rows share: keys, pointers, and the hit in straight code.

The protocol's flows are generators, which cost a few microseconds. Most reads are hits, so the steps of a hit in a
local cache are written here once more without one, and those of one in a shared cache in `cachecore.shared_hits`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypedDict

from cachecore.absences import Absence
from cachecore.claims import NotRemembered, Remembered, dump_claim, freeze_claim, load_claim, thaw_claim
from cachecore.coherence import Seen, Subject, fetch, nothing_written
from cachecore.derived import Derived
from cachecore.derived_entries import absence_entries
from cachecore.drive import AsyncDriver, Driver, Flow
from cachecore.entity import Entity, Row
from cachecore.entries import Value
from cachecore.errors import ClosedError, CorruptEntry, UncacheableLookup
from cachecore.events import Hit, Hooks
from cachecore.lookups import Claim, Lookup, find
from cachecore.shared_hits import SharedHits
from cachecore.statistics import Statistics
from cachecore.unit import Unit, new_token


class RecordAccess:
    """What sync and async access share: keys, claims, and the hit in straight code."""

    def __init__(
        self,
        entity: Entity,
        driver: Driver | AsyncDriver,
        hooks: Hooks,
        statistics: Statistics,
        load: Callable[..., Any] | None,
        query: Callable[..., Any] | None,
        derived: Derived | None = None,
    ) -> None:
        self.entity = entity
        self.derived = derived or Derived(entity)
        """Its lists and missing entries."""
        self.hooks = hooks
        self.statistics = statistics
        self.driver: Any = driver
        """A Driver, or of awaited records an AsyncDriver."""
        self._load = load
        self._query = query
        keeps_objects: bool = driver.backend.keeps_objects
        codec = entity.codec
        self.subject = Subject(
            name=entity.name,
            policy=entity.policy,
            epoch_key=entity.epoch_key,
            fingerprint=codec.fingerprint,
            dump=codec.freeze if keeps_objects else _dump_bytes(codec.encode),
            load=codec.thaw if keeps_objects else codec.decode,
            identity_of=entity.identity_of,
        )
        self.read: Callable[[str], object] | None = getattr(driver.backend, "read", None)
        """A local backend's read; None where every read is a round trip."""
        self._readers: list[Callable[[Callable[[str], object] | None], object]] = []
        self._dump_claim = freeze_claim if keeps_objects else dump_claim
        self._load_claim = thaw_claim if keeps_objects else load_claim
        self._absent = {
            lookup: absence_entries(entity, self.subject, lookup, keeps_objects=keeps_objects)
            for lookup in self.derived.missing_key
        }
        self.claims = NotRemembered() if keeps_objects else Remembered()
        """What this process remembers of lookups."""
        self._positions = {lookup: [entity.position[name] for name in lookup] for lookup in entity.lookups}
        self._hits = SharedHits(self)
        # Of two declarations of the same columns the first counts, whatever the order in which they are asked for.
        self._declared_as = {frozenset(lookup): lookup for lookup in (*reversed(entity.lookups), entity.identity)}
        self._declared = set(self._declared_as.values())
        self._epoch_key = entity.epoch_key
        self._current: tuple[object, bytes] = (None, b"")
        """The epoch last seen and the stamp that rows have under it."""

    def close(self) -> None:
        """The cache has been closed: hits too raise ClosedError from now on."""
        if self.read is not None:
            self.read = _closed
            for take in self._readers:
                take(_closed)

    def lend_read(self, take: Callable[[Callable[[str], object] | None], object]) -> None:
        """Call ``take`` with `read`, now and again when the cache is closed: who has it need not look it up."""
        self._readers.append(take)
        take(self.read)
        if self.read is _closed:  # since we began
            take(self.read)

    def payload(self, key: str) -> Any:
        """The payload of a hit in a local backend, or None: not a hit, or not that simple."""
        payload = self._believed(key)
        if payload is not None:
            self._count_hit(key)
        return payload

    def _local_rows(self, keys: Sequence[str]) -> list[Row] | None:
        """The rows of different keys in a local backend; None if a single one is not a hit, or not that simple."""
        payloads: list[Any] = []
        for key in keys:
            payload = self._believed(key)
            if payload is None:
                return None
            payloads.append(payload)
        self._count_hits(keys)
        load = self.subject.load
        return [load(payload) for payload in payloads]

    def pointed_payload(self, pointer: str, positions: Sequence[int]) -> Any:
        """Like `payload`, by way of a pointer whose claim the row confirms; ``positions`` are those of its columns."""
        read: Any = self.read
        entry = read(pointer)
        if type(entry) is not Value or type(entry.payload) is not Claim:
            return None
        claim = entry.payload
        key = self.entity.key(claim.identity)
        payload = self._believed(key)
        if payload is None:
            return None
        for position, spelled in zip(positions, claim.spelling, strict=True):
            if payload[position] != spelled:
                return None
        self._count_hit(key)
        return payload

    def _believed(self, key: str) -> Any:
        """The read of the protocol in straight code: the payload of a Value under the current epoch and schema."""
        read: Any = self.read
        entry = read(key)
        if type(entry) is not Value:
            return None
        epoch = read(self._epoch_key)
        # One tuple, read and replaced as a whole: threads must not mix one's epoch with another's stamp.
        current = self._current
        if epoch is not current[0]:
            if type(epoch) is not Value:
                return None
            current = self._current = (epoch, epoch.stamp + self.subject.fingerprint)
        return entry.payload if entry.stamp == current[1] else None

    def _count_hit(self, key: str) -> None:
        self.statistics.hits += 1
        if self.hooks.subscribers:
            self.hooks.emit(Hit(self.entity.name, (key,)))

    def _count_hits(self, keys: Sequence[str]) -> None:
        count = len(keys)
        self.statistics.hits += count
        if self.hooks.subscribers:
            self.hooks.emit(Hit(self.entity.name, tuple(keys)))

    def _hit(self, names: tuple[str, ...], values: tuple[Any, ...], unit: Unit | None) -> Row | None:
        """The row of a lookup, if a local backend has it and its pointer."""
        if self.read is None:
            return None
        maker = self.entity.lookup_key.get(names)
        if maker is None or (unit is not None and unit.dirty):
            return None
        payload = self.pointed_payload(maker(*self.entity.typed(names, values)), self._positions[names])
        return None if payload is None else self.subject.load(payload)

    def keys_for(self, identities: Iterable[Any]) -> dict[str, Any]:
        """Coherent key to identity, duplicates merged, in order; raises UncacheableLookup for one of a wrong type."""
        keys, wanted = self._keyed(identities)
        return dict(zip(keys, wanted, strict=True))

    def _keyed(self, identities: Iterable[Any]) -> tuple[list[str], list[Any]]:
        """(coherent keys, identities of precisely the columns' types), in order."""
        wanted = self.entity.typed_identities(identities)
        return self.entity.key.many(wanted), wanted

    def lookup_for(self, names: Sequence[str], values: Sequence[Any]) -> Lookup:
        """The lookup of the row whose columns ``names`` have these values; raises UncacheableLookup."""
        lookup = tuple(names)
        return self._lookup(lookup, *self._pointer(lookup, values))

    def _pointer(self, lookup: tuple[str, ...], values: Sequence[Any]) -> tuple[str, tuple[object, ...]]:
        """(pointer key, values of precisely the columns' types)."""
        maker = self.entity.lookup_key.get(lookup)
        if maker is None:
            known = ", ".join("+".join(one) for one in (self.entity.identity, *self.entity.lookups))
            raise UncacheableLookup(
                f"{self.entity.name} is not cached by {'+'.join(lookup)}, only by {known}; just hit the database"
            )
        typed = self.entity.typed(lookup, values)
        return maker(*typed), typed

    def _lookup(self, lookup: tuple[str, ...], pointer: str, typed: tuple[object, ...]) -> Lookup:
        return Lookup(
            key=pointer,
            values=typed,
            key_of=self.entity.key,
            spelling_of=lambda row: self.entity.values_of(row, lookup),
            dump=partial(self._dump_claim, typed),
            load=partial(self._claimed, lookup, typed),
            absence=self._absence(lookup, typed) if self._absent else None,
        )

    def _absence(self, lookup: tuple[str, ...], typed: tuple[Any, ...]) -> Absence | None:
        subject = self._absent.get(lookup)
        if subject is None:
            return None
        return Absence(key=self.derived.missing_key[lookup](*typed), token=new_token(), subject=subject)

    def gained(self, values: Mapping[str, Any]) -> list[str]:
        """The keys of lists and missing entries to be held by who gives a row these values; see `Derived.gained`."""
        return self.derived.gained(values)

    def _claimed(self, lookup: tuple[str, ...], asked: tuple[object, ...], payload: object) -> Claim:
        """A stored claim that can be true: whoever wrote it, its values have the types of their columns, and keys."""
        try:
            claim = self._load_claim(asked, payload)
            self.entity.key(self.entity.typed_identity(claim.identity))
            self.entity.lookup_key[lookup](*self.entity.typed(lookup, claim.spelling))
        except (ValueError, ArithmeticError) as error:
            raise CorruptEntry(f"no pointer of {self.entity.name}: {error}") from error
        return claim

    def forget_claims(self) -> None:
        """Forget what this process remembers of lookups."""
        self.claims.clear()

    def _fetch_flow(
        self, keys: Mapping[str, Any], unit: Unit | None, may_fill: bool, look: tuple[bytes, Seen] | None = None
    ) -> Flow[dict[str, Row]]:
        token, seen = (new_token(), None) if look is None else look
        return fetch(self.subject, keys, token, seen=seen, **reading(unit, may_fill))

    def _find_flow(
        self,
        lookup: Lookup,
        unit: Unit | None,
        may_fill: bool,
        token: bytes,
        claim: Claim | None,
        seen: Seen | None = None,
    ) -> Flow[tuple[Row | None, Claim | None]]:
        return find(self.subject, lookup, token, claim=claim, seen=seen, **reading(unit, may_fill))

    def _found(self, row: Sequence[object] | None) -> tuple[Any, Row] | None:
        """A queried row as the protocol wants it. What a database driver calls a row may be any sequence."""
        if row is None:
            return None
        found = tuple(row)
        return self.entity.identity_of(found), found

    def loader(self, load: Callable[..., Any] | None) -> Callable[..., Any]:
        """The loader to use: the call's own or the entity's."""
        return given(load or self._load, self.entity, "load")

    def querier(self, names: Sequence[str], query: Callable[..., Any] | None) -> Callable[..., Any]:
        """The querier to use: the call's own, or the entity's, which is told the columns too."""
        if query is not None:
            return query
        ask = given(self._query, self.entity, "query")

        def asking(values: Row) -> Any:
            return ask(dict(zip(names, values, strict=True)))

        return asking

    def split(self, fields: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Names and values of a lookup in the order in which the entity declares it."""
        names = tuple(fields)
        lookup = names if names in self._declared else self._declared_as.get(frozenset(names), names)
        return lookup, tuple(fields.values()) if lookup is names else tuple([fields[name] for name in lookup])


def _closed(key: str) -> object:
    raise ClosedError("this cache has been closed")


def given(function: Callable[..., Any] | None, entity: Entity, name: str) -> Callable[..., Any]:
    """The entity's function of this name; raises UncacheableLookup if it has none."""
    if function is None:
        raise UncacheableLookup(f"{entity.name} has no {name}: pass {name}= here or to Cache.entity")
    return function


def _dump_bytes(encode: Callable[[Row], bytes]) -> Callable[[Row], tuple[object, int]]:
    def dump(row: Row) -> tuple[object, int]:
        data = encode(row)
        return data, len(data)

    return dump


class _Reading(TypedDict):
    may_fill: bool
    written: Callable[[str], bool]


def reading(unit: Unit | None, may_fill: bool) -> _Reading:
    """How a flow is to read. Nothing is filled in a transaction that has written: it may see what is not committed."""
    if unit is None:
        return {"may_fill": may_fill, "written": nothing_written}
    return {"may_fill": may_fill and not unit.dirty, "written": unit.has_written}
