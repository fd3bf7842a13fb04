"""Reading rows through the cache in an AsyncSession: the functions of `reading`, awaited.

A warm read runs no greenlet. What is read from the database does, as everything does that SQLAlchemy awaits.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy.util import greenlet_spawn

from cachecore.integrations.sqlalchemy.models import Found, Row, identity_in
from cachecore.integrations.sqlalchemy.reading import (
    NotCurrent,
    asked_many,
    is_named_otherwise,
    made_of,
    must_flush,
    one_of,
    outdated,
    present,
    row_otherwise_named,
    rows_of,
)
from cachecore.integrations.sqlalchemy.sessions import Reading, async_session

T = TypeVar("T")
R = TypeVar("R")


async def aget_from_cache(session: Any, cls: type[T], /, **lookup: Any) -> T | None:
    """The instance that one of the class's lookups names, or None if there is no such row. See `get_from_cache`.

    session: an AsyncSession or async_scoped_session of an async_sessionmaker that `cache_sessions` knows.
    """
    found = Reading(async_session(session).sync_session, cls)
    names, values = found.model.asked(lookup)
    instance: T | None = present(found, names, values)
    if instance is None and found.model.can_be(names, values):
        await _flush_pending(found)
        row = await _row(found, names, values)
        if row is None and is_named_otherwise(found, names):
            row = await greenlet_spawn(row_otherwise_named, found, names, values)
        instance = None if row is None else made_of(found, row)
    return instance


async def aget_one_from_cache(session: Any, cls: type[T], /, **lookup: Any) -> T:
    """Like `aget_from_cache`. Raises NoResultFound if there is no such row."""
    return one_of(await aget_from_cache(session, cls, **lookup), cls, lookup)


async def aget_many_from_cache(
    session: Any, cls: type[T], values: Sequence[Any], /, key: str | tuple[str, ...] = "pk"
) -> list[T]:
    """The instances that these values of a lookup name, in the order of the values, without those that do not exist.
    See `get_many_from_cache`."""
    found = Reading(async_session(session).sync_session, cls)
    names, wanted = asked_many(found.model, values, key)
    instances = await awaited_instances(found, names, wanted)
    return [instance for instance in map(instances.__getitem__, wanted) if instance is not None]


async def awaited_instances(found: Reading, names: tuple[str, ...], wanted: Sequence[Row]) -> dict[Row, Any]:
    """The instances that stored values of a lookup name, None where there is none."""
    instances = {one: present(found, names, one) for one in wanted}
    missing = [one for one, instance in instances.items() if instance is None and found.model.can_be(names, one)]
    if missing:
        await _flush_pending(found)
        rows = await _rows(found, names, missing)
        if is_named_otherwise(found, names):
            rows = [
                row or await greenlet_spawn(row_otherwise_named, found, names, one)
                for row, one in zip(rows, missing, strict=True)
            ]
        instances.update((one, made_of(found, row)) for one, row in zip(missing, rows, strict=True) if row is not None)
    return instances


async def ainvalidate(session: Any, cls: type[Any], *identities: Any) -> None:
    """Outdate rows that were changed and committed where nobody could see it; none given: all. See `invalidate`."""
    model = Reading(async_session(session).sync_session, cls).model
    await model.cache.replay(outdated(model, identities))


async def _flush_pending(found: Reading) -> None:
    if must_flush(found.session):
        await greenlet_spawn(found.session.flush)


async def _row(found: Reading, names: tuple[str, ...], values: Row) -> Row | None:
    records, model = found.model.records, found.model

    async def ask(may_fill: bool) -> Row | None:
        load, read = _loading(found, may_fill)

        async def query(values: Row) -> Row | None:
            rows = await read(model.query, names, values)
            return rows[0] if rows else None

        fields = dict(zip(names, values, strict=True))
        row: Row | None = await records.find(query, load, unit=found.unit, may_fill=may_fill, **fields)
        return row

    return await _reading(found, ask)


async def _rows(found: Reading, names: tuple[str, ...], values: Sequence[Row]) -> list[Row | None]:
    records, model = found.model.records, found.model

    async def ask(may_fill: bool) -> list[Row | None]:
        load, read = _loading(found, may_fill)
        if names == model.identity:
            identities = [identity_in(one) for one in values]
            rows: list[Row | None] = await records.get_many(identities, load, unit=found.unit, may_fill=may_fill)
            return rows

        async def query_many(wanted: Sequence[Row]) -> list[Row]:
            return await read(model.query_many, names, wanted)

        async def query(one: Row) -> Row | None:
            rows = await read(model.query, names, one)
            return rows[0] if rows else None

        return cast(
            "list[Row | None]",
            await records.find_many(names, values, query_many, query, load, unit=found.unit, may_fill=may_fill),
        )

    return await _reading(found, ask)


def _loading(
    found: Reading, may_fill: bool
) -> tuple[Callable[..., Awaitable[list[Row]]], Callable[..., Awaitable[list[Row]]]]:
    """The function that loads rows by identity, and the one that runs any read of the model."""

    async def read(ask: Callable[..., Found], *arguments: Any) -> list[Row]:
        return await greenlet_spawn(rows_of, found, may_fill, ask, *arguments)

    async def load(identities: Sequence[Any]) -> list[Row]:
        return await read(found.model.load, identities)

    return load, read


async def _reading(found: Reading, ask: Callable[[bool], Awaitable[R]]) -> R:
    if found.may_fill:
        try:
            return await ask(True)
        except NotCurrent:
            pass  # the transaction shows the past
    return await ask(False)
