"""Reading complete lists of rows: what sync and async access share, and the methods of both."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cachecore.derived import Derived
from cachecore.derived_entries import list_entries
from cachecore.drive import AsyncDriver, Driver, Flow, Source, awaited
from cachecore.entity import Entity, Row
from cachecore.errors import UncacheableLookup
from cachecore.events import Hooks
from cachecore.lists import get_lists
from cachecore.record_access import RecordAccess, given, reading
from cachecore.statistics import Statistics
from cachecore.unit import Unit, new_token

ListQuery = Callable[[tuple[Any, ...]], Iterable[Sequence[object]]]
"""Reads all rows of one list, whose values it is given in the order of the declaration."""


class ListAccess(RecordAccess):
    """What sync and async access to lists share."""

    def __init__(
        self,
        entity: Entity,
        driver: Driver | AsyncDriver,
        hooks: Hooks,
        statistics: Statistics,
        load: Callable[..., Any] | None,
        query: Callable[..., Any] | None,
        derived: Derived | None = None,
        query_list: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(entity, driver, hooks, statistics, load, query, derived)
        self._query_list = query_list
        self._lists = {
            names: list_entries(entity, self.subject, names, keeps_objects=driver.backend.keeps_objects)
            for names in self.derived.list_key
        }

    def _asked(self, names: tuple[str, ...], values: Iterable[Sequence[Any]]) -> list[tuple[str, Row]]:
        """(key, values of precisely the columns' types) of each list; raises UncacheableLookup."""
        maker = self.derived.list_key.get(names)
        if maker is None:
            names, _ = self.derived.named(dict.fromkeys(names))  # raises, or it is another order
            raise UncacheableLookup(f"lists of {self.entity.name} are declared as {'+'.join(names)}, in this order")
        typed = [self.entity.typed(names, one) for one in values]
        return [(maker(*one), one) for one in typed]

    def _list_flow(
        self, names: tuple[str, ...], asked: Iterable[tuple[str, Row]], unit: Unit | None, may_fill: bool
    ) -> Flow[dict[str, list[Row]]]:
        return get_lists(self._lists[names], dict(asked), new_token, **reading(unit, may_fill))

    def _list_querier(self, names: tuple[str, ...], query_list: Callable[..., Any] | None) -> Callable[..., Any]:
        """The call's own querier of a list, or the entity's, which is told the columns too."""
        if query_list is not None:
            return query_list
        ask = given(self._query_list, self.entity, "query_list")

        def asking(values: Row) -> Any:
            return ask(dict(zip(names, values, strict=True)))

        return asking

    def _pairs(self, rows: Iterable[Sequence[object]]) -> list[tuple[Any, Row]]:
        """Queried rows as the protocol wants them."""
        return list(self.entity.by_identity(rows).items())


class Lists(ListAccess):
    """Complete lists of rows, sync."""

    driver: Driver

    def get_list(
        self,
        query_list: ListQuery | None = None,
        load: Callable[..., Any] | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
        **fields: Any,
    ) -> list[Row]:
        """All rows of a declared list, such as ``get_list(country="no")``, in its order.

        Complete: every row that has these values when the call begins is in it. Each row is as it was at some moment of
        the call, like the rows of `get_many`; together they are no snapshot.

        ``query_list`` is called with the values in the order of the declaration and returns the rows in any order;
        without it the entity's is called with a dict of column to value. Raises UncacheableLookup for a list that is
        not declared, and for None, which equals nothing.
        """
        names, values = self.derived.named(fields)
        return self.get_list_by(names, values, query_list, load, unit=unit, may_fill=may_fill)

    def get_list_by(
        self,
        names: tuple[str, ...],
        values: Sequence[Any],
        query_list: ListQuery | None = None,
        load: Callable[..., Any] | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> list[Row]:
        """Like `get_list`, for columns and values in the order of the declaration."""
        asked, ask = self._asked(names, [values]), self._list_querier(names, query_list)
        source = Source(load=self._loading(load), query_many=lambda wanted: self._pairs(ask(wanted[0])))
        found = self.driver.run(self._list_flow(names, asked, unit, may_fill), source)
        return self.derived.sorted(names, found[asked[0][0]])

    def get_lists(
        self,
        names: tuple[str, ...],
        values: Iterable[Sequence[Any]],
        query_lists: Callable[[Sequence[Row]], Iterable[Sequence[object]]],
        load: Callable[..., Any] | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> list[list[Row]]:
        """Many lists by the same columns, in the order of ``values``: one round trip for all lists, one for all rows.

        ``query_lists`` is called with the values of those that are not cached, in the order of the declaration, and
        returns the rows of all, in any order.
        """
        asked = self._asked(names, values)
        source = Source(load=self._loading(load), query_many=lambda wanted: self._pairs(query_lists(wanted)))
        found = self.driver.run(self._list_flow(names, asked, unit, may_fill), source)
        return [self.derived.sorted(names, found[key]) for key, _ in asked]

    def _loading(self, load: Callable[..., Any] | None) -> Callable[[Sequence[Any]], Any]:
        chosen = self.loader(load)
        return lambda identities: self.entity.by_identity(chosen(identities))


class AsyncLists(ListAccess):
    """Complete lists of rows, async; queries and loaders may be async. See `Lists`."""

    driver: AsyncDriver

    async def get_list(
        self,
        query_list: Callable[..., Any] | None = None,
        load: Callable[..., Any] | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
        **fields: Any,
    ) -> list[Row]:
        """All rows of a declared list, such as ``get_list(country="no")``, in its order. See `Lists.get_list`."""
        names, values = self.derived.named(fields)
        return await self.get_list_by(names, values, query_list, load, unit=unit, may_fill=may_fill)

    async def get_list_by(
        self,
        names: tuple[str, ...],
        values: Sequence[Any],
        query_list: Callable[..., Any] | None = None,
        load: Callable[..., Any] | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> list[Row]:
        """Like `get_list`, for columns and values in the order of the declaration."""
        asked, ask = self._asked(names, [values]), self._list_querier(names, query_list)

        async def query(wanted: Sequence[Row]) -> list[tuple[Any, Row]]:
            return self._pairs(await awaited(ask(wanted[0])))

        source = Source(load=self._loading(load), query_many=query)
        found = await self.driver.run(self._list_flow(names, asked, unit, may_fill), source)
        return self.derived.sorted(names, found[asked[0][0]])

    async def get_lists(
        self,
        names: tuple[str, ...],
        values: Iterable[Sequence[Any]],
        query_lists: Callable[[Sequence[Row]], Any],
        load: Callable[..., Any] | None = None,
        *,
        unit: Unit | None = None,
        may_fill: bool = True,
    ) -> list[list[Row]]:
        """Many lists by the same columns, in the order of ``values``. See `Lists.get_lists`."""
        asked = self._asked(names, values)

        async def query(wanted: Sequence[Row]) -> list[tuple[Any, Row]]:
            return self._pairs(await awaited(query_lists(wanted)))

        source = Source(load=self._loading(load), query_many=query)
        found = await self.driver.run(self._list_flow(names, asked, unit, may_fill), source)
        return [self.derived.sorted(names, found[key]) for key, _ in asked]

    def _loading(self, load: Callable[..., Any] | None) -> Callable[[Sequence[Any]], Any]:
        chosen = self.loader(load)

        async def loading(identities: Sequence[Any]) -> Any:
            return self.entity.by_identity(await awaited(chosen(identities)))

        return loading
