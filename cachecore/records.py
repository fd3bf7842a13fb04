"""The rows of one entity, read through the cache: what integrations build on, and usable without any ORM.

Rows are tuples in the order of the entity's columns. A loader is asked for the rows of a list of identities and returns
them in any order; identities without a row are left out.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypedDict

from cachecore.claims import NotRemembered, Remembered, dump_claim, freeze_claim, load_claim, thaw_claim
from cachecore.coherence import Subject, fetch, nothing_written
from cachecore.drive import AsyncDriver, Driver, Flow, Source, awaited
from cachecore.entity import Entity, Row
from cachecore.entries import Value
from cachecore.errors import ClosedError, CorruptEntry, UncacheableLookup
from cachecore.events import Hit, Hooks
from cachecore.lookups import Claim, Lookup, find, find_many
from cachecore.statistics import Statistics
from cachecore.unit import Unit, new_token

RowLoader = Callable[[Sequence[Any]], Iterable[Sequence[object]]]
"""Reads the rows of a list of identities."""
RowQuery = Callable[[tuple[Any, ...]], Sequence[object] | None]
"""Reads the row of one known lookup, whose values it is given in the order of the declaration."""


class _Records:
    """What sync and async access share: keys, claims, and the hit in straight code."""

    def __init__(
        self,
        entity: Entity,
        backend: Any,
        hooks: Hooks,
        statistics: Statistics,
        load: Callable[..., Any] | None,
        query: Callable[..., Any] | None,
    ) -> None:
        self.entity = entity
        self.hooks = hooks
        self.statistics = statistics
        self._load = load
        self._query = query
        keeps_objects: bool = backend.keeps_objects
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
        self.read: Callable[[str], object] | None = getattr(backend, "read", None)
        """A local backend's read; None where every read is a round trip."""
        self._dump_claim = freeze_claim if keeps_objects else dump_claim
        self._load_claim = thaw_claim if keeps_objects else load_claim
        self._claims = NotRemembered() if keeps_objects else Remembered()
        self._positions = {lookup: [entity.position[name] for name in lookup] for lookup in entity.lookups}
        self._epoch_key = entity.epoch_key
        self._current: tuple[object, bytes] = (None, b"")
        """The epoch last seen and the stamp that rows have under it."""

    def close(self) -> None:
        """The cache has been closed: hits too raise ClosedError from now on."""
        if self.read is not None:
            self.read = _closed

    def payload(self, key: str) -> Any:
        """The payload of a hit in a local backend, or None: not a hit, or not that simple."""
        payload = self._believed(key)
        if payload is not None:
            self._count_hit(key)
        return payload

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

    def _hit(self, names: tuple[str, ...], values: tuple[Any, ...], unit: Unit | None) -> Row | None:
        """The row of a lookup, if a local backend has it and its pointer."""
        maker = self.entity.lookup_key.get(names)
        if self.read is None or maker is None or (unit is not None and unit.dirty):
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
        maker = self.entity.lookup_key.get(lookup)
        if maker is None:
            known = ", ".join("+".join(one) for one in (self.entity.identity, *self.entity.lookups))
            raise UncacheableLookup(
                f"{self.entity.name} is not cached by {'+'.join(lookup)}, only by {known}; just hit the database"
            )
        typed = self.entity.typed(lookup, values)
        return Lookup(
            key=maker(*typed),
            values=typed,
            key_of=self.entity.key,
            spelling_of=lambda row: self.entity.values_of(row, lookup),
            dump=partial(self._dump_claim, typed),
            load=partial(self._claimed, lookup, typed),
        )

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
        self._claims.clear()

    def _fetch_flow(self, keys: Mapping[str, Any], unit: Unit | None, may_fill: bool) -> Flow[dict[str, Row]]:
        return fetch(self.subject, keys, new_token(), **_reading(unit, may_fill))

    def _find_flow(self, lookup: Lookup, unit: Unit | None, may_fill: bool) -> Flow[tuple[Row | None, Claim | None]]:
        return find(self.subject, lookup, new_token(), claim=self._claims.get(lookup), **_reading(unit, may_fill))

    def _found(self, row: Sequence[object] | None) -> tuple[Any, Row] | None:
        """A queried row as the protocol wants it. What a database driver calls a row may be any sequence."""
        if row is None:
            return None
        found = tuple(row)
        return self.entity.identity_of(found), found

    def loader(self, load: Callable[..., Any] | None) -> Callable[..., Any]:
        """The loader to use: the call's own or the entity's."""
        return _given(load or self._load, self.entity, "load")

    def querier(self, names: Sequence[str], query: Callable[..., Any] | None) -> Callable[..., Any]:
        """The querier to use: the call's own, or the entity's, which is told the columns too."""
        if query is not None:
            return query
        ask = _given(self._query, self.entity, "query")

        def asking(values: Row) -> Any:
            return ask(dict(zip(names, values, strict=True)))

        return asking

    def split(self, fields: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Names and values of a lookup in the order in which the entity declares it."""
        wanted = set(fields)
        for lookup in (self.entity.identity, *self.entity.lookups):
            if set(lookup) == wanted:
                return lookup, tuple(fields[name] for name in lookup)
        return tuple(fields), tuple(fields.values())


def _closed(key: str) -> object:
    raise ClosedError("this cache has been closed")


def _given(function: Callable[..., Any] | None, entity: Entity, name: str) -> Callable[..., Any]:
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


def _reading(unit: Unit | None, may_fill: bool) -> _Reading:
    """How a flow is to read. Nothing is filled in a transaction that has written: it may see what is not committed."""
    if unit is None:
        return {"may_fill": may_fill, "written": nothing_written}
    return {"may_fill": may_fill and not unit.dirty, "written": unit.has_written}


class Records(_Records):
    """The rows of one entity, sync. Made by ``Cache.entity``.

    ``unit`` is the unit of work of the transaction in which a call runs; what it has written comes from the database.
    ``may_fill=False`` keeps the cache unchanged: pass it where a statement could see an old snapshot, a replica or
    uncommitted data.
    """

    def __init__(self, entity: Entity, driver: Driver, hooks: Hooks, statistics: Statistics, load: Any, query: Any):
        super().__init__(entity, driver.backend, hooks, statistics, load, query)
        self.driver = driver

    def get(
        self,
        identity: Any,
        load: RowLoader | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> Row | None:
        """The row of ``identity``, or None if there is none."""
        if self.read is not None and (unit is None or not unit.dirty):
            payload = self.payload(self.entity.key(identity))
            if payload is not None:
                return self.subject.load(payload)
        [row] = self.get_many((identity,), load, unit=unit, may_fill=may_fill)
        return row

    def get_many(
        self,
        identities: Iterable[Any],
        load: RowLoader | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> list[Row | None]:
        """The rows of ``identities`` in their order, duplicates included, None where there is no row; one load."""
        keys, wanted = self._keyed(identities)
        rows = self.fetch(dict(zip(keys, wanted, strict=True)), load, unit=unit, may_fill=may_fill)
        return [rows.get(key) for key in keys]

    def fetch(
        self,
        keys: Mapping[str, Any],
        load: RowLoader | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> dict[str, Row]:
        """Rows by coherent key, for keys (key to identity) made by `keys_for`."""
        flow = self._fetch_flow(keys, unit, may_fill)
        return self.driver.run(flow, Source(load=self._loading(load)))

    def find(
        self,
        query: RowQuery | None = None,
        load: RowLoader | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
        **fields: Any,
    ) -> Row | None:
        """The row of a declared lookup, such as ``find(slug="oslo-no")``, or None.

        ``query`` is called with the values in the order of the declared lookup and returns the row or None; without it
        the entity's query is called with a dict of column to value. Raises UncacheableLookup for anything that is not
        declared.
        """
        names, values = self.split(fields)
        if names == self.entity.identity:
            identity = values[0] if len(names) == 1 else values
            return self.get(identity, load, unit=unit, may_fill=may_fill)
        row = self._hit(names, values, unit)
        if row is not None:
            return row
        lookup, ask = self.lookup_for(names, values), self.querier(names, query)
        return self.find_by(lookup, ask, load, unit=unit, may_fill=may_fill)

    def find_by(
        self,
        lookup: Lookup,
        query: RowQuery,
        load: RowLoader | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> Row | None:
        """Like `find`, for a lookup made by `lookup_for`; ``query`` is called with its values."""
        flow = self._find_flow(lookup, unit, may_fill)
        row, claim = self.driver.run(flow, Source(load=self._loading(load), query=self._querying(query)))
        self._claims.set(lookup, claim)
        return row

    def find_many(
        self,
        names: Sequence[str],
        values: Iterable[Row],
        query_many: Callable[[Sequence[Row]], Iterable[Sequence[object]]],
        query: RowQuery | None = None,
        load: RowLoader | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> list[Row | None]:
        """The rows of many values of one declared lookup, in their order, None where there is no row.

        ``query_many`` is called once with the values that have no good pointer and returns their rows in any order.
        """
        lookups = [self.lookup_for(names, value) for value in values]
        flow = find_many(
            self.subject,
            lookups,
            new_token(),
            claims=self._claims.of(lookups),
            **_reading(unit, may_fill),
        )

        def querying_many(wanted: Sequence[Row]) -> list[tuple[Any, Row]]:
            return list(self.entity.by_identity(query_many(wanted)).items())

        source = Source(
            load=self._loading(load), query=self._querying(self.querier(names, query)), query_many=querying_many
        )
        rows, claims = self.driver.run(flow, source)
        for lookup in lookups:
            self._claims.set(lookup, claims.get(lookup.key))
        return [rows.get(lookup.key) for lookup in lookups]

    def _loading(self, load: RowLoader | None) -> Callable[[Sequence[Any]], Any]:
        chosen = self.loader(load)
        return lambda identities: self.entity.by_identity(chosen(identities))

    def _querying(self, ask: RowQuery) -> Callable[[Row], tuple[Any, Row] | None]:
        return lambda values: self._found(ask(values))


class AsyncRecords(_Records):
    """The rows of one entity, async. Made by ``AsyncCache.entity``; loaders and queries may be async. See `Records`."""

    def __init__(
        self, entity: Entity, driver: AsyncDriver, hooks: Hooks, statistics: Statistics, load: Any, query: Any
    ) -> None:
        super().__init__(entity, driver.backend, hooks, statistics, load, query)
        self.driver = driver

    async def get(
        self, identity: Any, load: Callable[..., Any] | None = None, *, unit: Unit | None = None, may_fill: bool = True
    ) -> Row | None:
        """The row of ``identity``, or None if there is none."""
        if self.read is not None and (unit is None or not unit.dirty):
            payload = self.payload(self.entity.key(identity))
            if payload is not None:
                return self.subject.load(payload)
        [row] = await self.get_many((identity,), load, unit=unit, may_fill=may_fill)
        return row

    async def get_many(
        self,
        identities: Iterable[Any],
        load: Callable[..., Any] | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> list[Row | None]:
        """The rows of ``identities`` in their order, duplicates included, None where there is no row; one load."""
        keys, wanted = self._keyed(identities)
        rows = await self.fetch(dict(zip(keys, wanted, strict=True)), load, unit=unit, may_fill=may_fill)
        return [rows.get(key) for key in keys]

    async def fetch(
        self,
        keys: Mapping[str, Any],
        load: Callable[..., Any] | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> dict[str, Row]:
        """Rows by coherent key, for keys (key to identity) made by `keys_for`."""
        flow = self._fetch_flow(keys, unit, may_fill)
        return await self.driver.run(flow, Source(load=self._loading(load)))

    async def find(
        self,
        query: Callable[..., Any] | None = None,
        load: Callable[..., Any] | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
        **fields: Any,
    ) -> Row | None:
        """The row of a declared lookup, such as ``find(slug="oslo-no")``, or None. See `Records.find`."""
        names, values = self.split(fields)
        if names == self.entity.identity:
            identity = values[0] if len(names) == 1 else values
            return await self.get(identity, load, unit=unit, may_fill=may_fill)
        row = self._hit(names, values, unit)
        if row is not None:
            return row
        lookup, ask = self.lookup_for(names, values), self.querier(names, query)
        return await self.find_by(lookup, ask, load, unit=unit, may_fill=may_fill)

    async def find_by(
        self,
        lookup: Lookup,
        query: Callable[..., Any],
        load: Callable[..., Any] | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> Row | None:
        """Like `find`, for a lookup made by `lookup_for`; ``query`` is called with its values."""
        flow = self._find_flow(lookup, unit, may_fill)
        row, claim = await self.driver.run(flow, Source(load=self._loading(load), query=self._querying(query)))
        self._claims.set(lookup, claim)
        return row

    def _loading(self, load: Callable[..., Any] | None) -> Callable[[Sequence[Any]], Any]:
        chosen = self.loader(load)

        async def loading(identities: Sequence[Any]) -> Mapping[Hashable, Row]:
            return self.entity.by_identity(await awaited(chosen(identities)))

        return loading

    def _querying(self, ask: Callable[..., Any]) -> Callable[[Row], Any]:
        async def querying(values: Row) -> tuple[Any, Row] | None:
            return self._found(await awaited(ask(values)))

        return querying
