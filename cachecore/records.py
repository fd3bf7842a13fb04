"""The rows of one entity, read through the cache: what integrations build on, and usable without any ORM.

Rows are tuples in the order of the entity's columns. A loader is asked for the rows of a list of identities and returns
them in any order; identities without a row are left out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cachecore.coherence import Seen, fetch
from cachecore.drive import Source, awaited
from cachecore.entity import Row
from cachecore.errors import BackendError
from cachecore.list_access import AsyncLists, Lists
from cachecore.lookups import Claim, find_many
from cachecore.record_access import reading
from cachecore.shared_hits import Looked
from cachecore.unit import Unit, new_token

RowLoader = Callable[[Sequence[Any]], Iterable[Sequence[object]]]
"""Reads the rows of a list of identities."""
Look = tuple[bytes, Seen]
"""The token of an Acquire of the epoch and of some keys that was made outside the flow, and the reply."""
RowQuery = Callable[[tuple[Any, ...]], Sequence[object] | None]
"""Reads the row of one known lookup, whose values it is given in the order of the declaration."""


class Records(Lists):
    """The rows of one entity, sync. Made by ``Cache.entity``.

    ``unit`` is the unit of work of the transaction in which a call runs; what it has written comes from the database.
    ``may_fill=False`` keeps the cache unchanged: pass it where a statement could see an old snapshot, a replica or
    uncommitted data.
    """

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
        if self.read is not None or unit is not None or not may_fill:
            [row] = self.get_many((identity,), load, unit=unit, may_fill=may_fill)
            return row
        found = self._hits.get(identity)
        if not isinstance(found, Looked):
            return found
        flow = fetch(self.subject, {found.key: found.identity}, found.token, seen=found.seen)
        return self.driver.run(flow, Source(load=self._loading(load))).get(found.key)

    def look(self, keys: Sequence[str], token: bytes) -> Seen:
        """The first step of a read outside any transaction, without the flow: most reads end with it.

        ``token`` is random and this call's own. What the reply does not settle goes on with `fetch`, `find_by` or
        `find_many`, which are given it as ``look``.
        """
        backend: Any = self.driver.backend
        try:
            seen: Seen = backend.acquire((self._epoch_key, *keys), token, self.entity.policy.lease_ttl)
        except BackendError as error:
            return error
        return seen

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
        asked = dict(zip(keys, wanted, strict=True))
        if self.read is not None and (unit is None or not unit.dirty) and 0 < len(asked) == len(keys):
            rows_here = self._local_rows(keys)
            if rows_here is not None:
                return [*rows_here]
        look: Look | None = None
        if self.read is None and unit is None and may_fill and 0 < len(asked) == len(keys):
            token = new_token()
            look = token, self.look(keys, token)
            warm = self._hits.rows(look[1], wanted)
            if warm is not None:
                self._count_hits(keys)
                return [*warm]
        rows = self.fetch(asked, load, unit=unit, may_fill=may_fill, look=look)
        return [rows.get(key) for key in keys]

    def fetch(
        self,
        keys: Mapping[str, Any],
        load: RowLoader | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
        look: Look | None = None,
    ) -> dict[str, Row]:
        """Rows by coherent key, for keys (key to identity) made by `keys_for`, of which none or all were looked at."""
        flow = self._fetch_flow(keys, unit, may_fill, look)
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
        look: tuple[Claim, Look] | None = None
        if self.read is None and unit is None and may_fill:
            found = self._hits.find(tuple(fields), tuple(fields.values()))
            if found is not None:
                if not isinstance(found, Looked):
                    return found
                look = found.of_claim
        names, values = self.split(fields)
        if names == self.entity.identity:
            identity = values[0] if len(names) == 1 else values
            return self.get(identity, load, unit=unit, may_fill=may_fill)
        row = self._hit(names, values, unit)
        if row is not None:
            return row
        return self.find_by(names, values, query, load, unit=unit, may_fill=may_fill, look=look)

    def find_by(
        self,
        names: tuple[str, ...],
        values: Sequence[Any],
        query: RowQuery | None = None,
        load: RowLoader | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
        look: tuple[Claim, Look] | None = None,
    ) -> Row | None:
        """Like `find`, for columns and values in the order of the declared lookup.

        ``look`` is what was remembered of the lookup, and the look at the row that it leads to.
        """
        pointer, typed = self._pointer(names, values)
        if look is None and self.read is None and unit is None and may_fill:
            found = self._hits.find(names, typed)
            if found is not None:
                if not isinstance(found, Looked):
                    return found
                look = found.of_claim
        claim: Claim | None
        if look is not None:
            claim, (token, seen) = look
        else:
            claim, token, seen = self.claims.get(pointer), new_token(), None
        lookup, ask = self._lookup(names, pointer, typed), self.querier(names, query)
        flow = self._find_flow(lookup, unit, may_fill, token, claim, seen)
        row, claim = self.driver.run(flow, Source(load=self._loading(load), query=self._querying(ask)))
        self.claims.set(lookup, claim)
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
        look: tuple[Sequence[Claim], Look] | None = None,
    ) -> list[Row | None]:
        """The rows of many values of one declared lookup, in their order, None where there is no row.

        ``query_many`` is called once with the values that have no good pointer and returns their rows in any order.
        ``look`` is what was remembered of each lookup, and the look at the rows that they lead to, all of them
        different.
        """
        lookups = [self.lookup_for(names, value) for value in values]
        if look is None:
            claims, (token, seen) = self.claims.of(lookups), (new_token(), None)
        else:
            claims, (token, seen) = {one.key: claim for one, claim in zip(lookups, look[0], strict=True)}, look[1]
        flow = find_many(self.subject, lookups, token, claims=claims, seen=seen, **reading(unit, may_fill))

        def querying_many(wanted: Sequence[Row]) -> list[tuple[Any, Row]]:
            return list(self.entity.by_identity(query_many(wanted)).items())

        source = Source(
            load=self._loading(load), query=self._querying(self.querier(names, query)), query_many=querying_many
        )
        rows, claims = self.driver.run(flow, source)
        for lookup in lookups:
            self.claims.set(lookup, claims.get(lookup.key))
        return [rows.get(lookup.key) for lookup in lookups]

    def _querying(self, ask: RowQuery) -> Callable[[Row], tuple[Any, Row] | None]:
        return lambda values: self._found(ask(values))


class AsyncRecords(AsyncLists):
    """The rows of one entity, async. Made by ``AsyncCache.entity``; loaders and queries may be async. See `Records`."""

    async def get(
        self, identity: Any, load: Callable[..., Any] | None = None, *, unit: Unit | None = None, may_fill: bool = True
    ) -> Row | None:
        """The row of ``identity``, or None if there is none."""
        if self.read is not None and (unit is None or not unit.dirty):
            payload = self.payload(self.entity.key(identity))
            if payload is not None:
                return self.subject.load(payload)
        if self.read is not None or unit is not None or not may_fill:
            [row] = await self.get_many((identity,), load, unit=unit, may_fill=may_fill)
            return row
        identity = self.entity.typed_identity(identity)
        key, token = self.entity.key(identity), new_token()
        seen = await self.look((key,), token)
        row = self._hits.row(seen, identity)
        if row is not None:
            self._count_hit(key)
            return row
        flow = fetch(self.subject, {key: identity}, token, seen=seen)
        return (await self.driver.run(flow, Source(load=self._loading(load)))).get(key)

    async def look(self, keys: Sequence[str], token: bytes) -> Seen:
        """The first step of a read outside any transaction, without the flow. See `Records.look`."""
        backend: Any = self.driver.backend
        try:
            seen: Seen = await awaited(backend.acquire((self._epoch_key, *keys), token, self.entity.policy.lease_ttl))
        except BackendError as error:
            return error
        return seen

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
        asked = dict(zip(keys, wanted, strict=True))
        if self.read is not None and (unit is None or not unit.dirty) and 0 < len(asked) == len(keys):
            rows_here = self._local_rows(keys)
            if rows_here is not None:
                return [*rows_here]
        look: Look | None = None
        if self.read is None and unit is None and may_fill and 0 < len(asked) == len(keys):
            token = new_token()
            look = token, await self.look(keys, token)
            warm = self._hits.rows(look[1], wanted)
            if warm is not None:
                self._count_hits(keys)
                return [*warm]
        rows = await self.fetch(asked, load, unit=unit, may_fill=may_fill, look=look)
        return [rows.get(key) for key in keys]

    async def fetch(
        self,
        keys: Mapping[str, Any],
        load: Callable[..., Any] | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
        look: Look | None = None,
    ) -> dict[str, Row]:
        """Rows by coherent key, for keys (key to identity) made by `keys_for`, of which none or all were looked at."""
        flow = self._fetch_flow(keys, unit, may_fill, look)
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
        return await self.find_by(names, values, query, load, unit=unit, may_fill=may_fill)

    async def find_by(
        self,
        names: tuple[str, ...],
        values: Sequence[Any],
        query: Callable[..., Any] | None = None,
        load: Callable[..., Any] | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> Row | None:
        """Like `find`, for columns and values in the order of the declared lookup."""
        pointer, typed = self._pointer(names, values)
        claim, token, seen = self.claims.get(pointer), new_token(), None
        if claim is not None and unit is None and may_fill:
            key = self.entity.key(claim.identity)
            seen = await self.look((key,), token)
            row = self._hits.row_of(seen, names, claim)
            if row is not None:
                self._count_hit(key)
                return row
        lookup, ask = self._lookup(names, pointer, typed), self.querier(names, query)
        flow = self._find_flow(lookup, unit, may_fill, token, claim, seen)
        row, claim = await self.driver.run(flow, Source(load=self._loading(load), query=self._querying(ask)))
        self.claims.set(lookup, claim)
        return row

    async def find_many(
        self,
        names: Sequence[str],
        values: Iterable[Row],
        query_many: Callable[[Sequence[Row]], Any],
        query: Callable[..., Any] | None = None,
        load: Callable[..., Any] | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> list[Row | None]:
        """The rows of many values of one declared lookup, in their order. See `Records.find_many`."""
        lookups = [self.lookup_for(names, value) for value in values]
        claims = self.claims.of(lookups)
        flow = find_many(self.subject, lookups, new_token(), claims=claims, seen=None, **reading(unit, may_fill))

        async def querying_many(wanted: Sequence[Row]) -> list[tuple[Any, Row]]:
            return list(self.entity.by_identity(await awaited(query_many(wanted))).items())

        source = Source(
            load=self._loading(load), query=self._querying(self.querier(names, query)), query_many=querying_many
        )
        rows, found = await self.driver.run(flow, source)
        for lookup in lookups:
            self.claims.set(lookup, found.get(lookup.key))
        return [rows.get(lookup.key) for lookup in lookups]

    def _querying(self, ask: Callable[..., Any]) -> Callable[[Row], Any]:
        async def querying(values: Row) -> tuple[Any, Row] | None:
            return self._found(await awaited(ask(values)))

        return querying
