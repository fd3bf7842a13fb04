"""The straight path of a hit in a shared cache, and what becomes of a question that one round trip leaves open."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from cachecore.integrations.django.hit import Plan, SharedPath
from cachecore.integrations.django.rows import RowLayout
from cachecore.integrations.django.writing.connection import threads_connections
from cachecore.lookups import Claim
from cachecore.records import Look, Records

Row = tuple[Any, ...]


class Answering(Protocol):
    """What this needs of a `ModelCache`, which says what it means."""

    alias: str
    layout: RowLayout
    records: Records
    identity: tuple[str, ...]

    def plan(self, names: tuple[str, ...]) -> Plan | None: ...
    def are_scalar(self, positions: Iterable[int]) -> bool: ...
    def watching(self, asked: object) -> AbstractContextManager[None]: ...
    def load(self, identities: Sequence[Any]) -> Iterable[Row]: ...
    def query(self, names: tuple[str, ...]) -> Callable[[Row], Row | None]: ...
    def query_many(self, names: tuple[str, ...]) -> Callable[[Sequence[Row]], Iterable[Row]]: ...
    def instance(self, row: Row) -> Any: ...
    def does_not_exist(self) -> Exception: ...


def shared_path(cached: Answering, tracked: tuple[int, ...]) -> SharedPath | None:
    """The path for these rows, whose columns at ``tracked`` make the snapshot of an instance.

    None if their cache is in this process, if something in them is stored as another object's text that would have to
    be compared, or if this release of Django keeps the connections of threads in another way.
    """
    entity, threads = cached.records.entity, threads_connections()
    compared = {entity.position[name] for names in (cached.identity, *entity.lookups) for name in names}
    if cached.records.read is not None or threads is None or not cached.are_scalar(compared.union(tracked)):
        return None

    def resume(
        names: tuple[str, ...], values: Sequence[Any], claim: Claim | None, keys: dict[str, Any], look: Look
    ) -> Any:
        """The instance that answers a question whose first look was no hit. Raises DoesNotExist."""
        with cached.watching(values):
            if claim is None:
                row = next(iter(cached.records.fetch(keys, cached.load, look=look).values()), None)
            else:
                row = cached.records.find_by(names, values, cached.query(names), cached.load, look=(claim, look))
        if row is None:
            raise cached.does_not_exist()
        return cached.instance(row)

    def resume_many(
        names: tuple[str, ...], values: list[Any], claims: list[Claim] | None, keys: dict[str, Any], look: Look
    ) -> list[Any]:
        """The instances that answer many questions whose first look was not always a hit."""
        found: Iterable[Row | None]
        with cached.watching(values):
            if claims is None:
                rows = cached.records.fetch(keys, cached.load, look=look)
                found = map(rows.get, keys)
            else:
                asked = [(value,) for value in values]
                query, many = cached.query(names), cached.query_many(names)
                found = cached.records.find_many(names, asked, many, query, cached.load, look=(claims, look))
        return [cached.instance(row) for row in found if row is not None]

    return SharedPath(
        threads,
        cached.plan,
        cached.records,
        cached.layout.instance_of_frozen,
        cached.alias,
        tracked,
        resume,
        resume_many,
    )
