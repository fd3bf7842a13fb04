"""Reading otherwise than by the cache: from the database alone, or with a replica of it for what is not cached.

Both look to a manager like the `ModelCache` whose rows they read (`Reading`), and both fill nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from cachecore.integrations.django.writing.connection import state_of

if TYPE_CHECKING:
    from cachecore.integrations.django.model_cache import ModelCache

Row = tuple[Any, ...]


class Reading(Protocol):
    """What a manager needs of a `ModelCache` to answer questions; it says what each means."""

    def hit(self, query: Mapping[str, Any], /) -> Any: ...
    def answer(self, query: Mapping[str, Any], /) -> Any: ...
    def answers(self, name: str, values: Sequence[Any], /) -> list[Any] | None: ...
    def question(self, query: Mapping[str, Any], /) -> tuple[tuple[str, ...], Row]: ...
    def list_question(self, query: Mapping[str, Any], /) -> tuple[tuple[str, ...], Row]: ...
    def rows(self, names: tuple[str, ...], values: Sequence[Row], /) -> list[Row | None]: ...
    def lists(self, names: tuple[str, ...], values: Sequence[Row], /) -> list[list[Row]]: ...
    def instance(self, row: Row, /) -> Any: ...
    def peers(self, instances: Iterable[Any], /) -> list[Any]: ...
    def does_not_exist(self) -> Exception: ...


class _Detour(ABC):
    """There is no straight path: each question goes by `rows`."""

    def __init__(self, cached: "ModelCache") -> None:
        self._cached = cached
        self.question = cached.question
        self.list_question = cached.list_question
        self.peers = cached.peers
        self.instance: Callable[[Row], Any] = cached.instance
        self.does_not_exist = cached.does_not_exist

    def hit(self, query: Mapping[str, Any], /) -> Any:
        """Nothing."""
        return None

    def answer(self, query: Mapping[str, Any], /) -> Any:
        """Nothing."""
        return None

    def answers(self, name: str, values: Sequence[Any], /) -> list[Any] | None:
        """Nothing."""
        return None

    def rows(self, names: tuple[str, ...], values: Sequence[Row], /) -> list[Row | None]:
        """The rows of many values of one lookup or of the identity, in their order; None where there is none."""
        return self._cached.only_possible(names, values, self._rows, None)

    def lists(self, names: tuple[str, ...], values: Sequence[Row], /) -> list[list[Row]]:
        """The rows of many lists by the same columns, each in its order."""
        return self._cached.only_possible(names, values, self._lists, [])

    @abstractmethod
    def _rows(self, names: tuple[str, ...], values: Sequence[Row], /) -> list[Row | None]: ...

    @abstractmethod
    def _lists(self, names: tuple[str, ...], values: Sequence[Row], /) -> list[list[Row]]: ...


class DatabaseReads(_Detour):
    """Rows from the database that writes go to. The cache is not asked, and nothing is counted."""

    def _rows(self, names: tuple[str, ...], values: Sequence[Row], /) -> list[Row | None]:
        cached, distinct = self._cached, list(dict.fromkeys(values))
        if names == cached.identity:
            identities = [value[0] if len(names) == 1 else value for value in values]
            found = cached.records.entity.by_identity(cached.load(list(dict.fromkeys(identities))))
            return [found.get(identity) for identity in identities]
        query = cached.query(names)
        if len(distinct) == 1:
            return [query(distinct[0])] * len(values)
        rows = list(cached.query_many(names)(distinct))
        answers: dict[Row, Row | None] = {cached.records.entity.values_of(row, names): row for row in rows}
        if len(rows) > sum(value in answers for value in distinct):
            # The database finds some equal to what was asked that Python does not.
            answers.update((value, query(value)) for value in distinct if value not in answers)
        return [answers.get(value) for value in values]

    def _lists(self, names: tuple[str, ...], values: Sequence[Row], /) -> list[list[Row]]:
        return _lists_of(self._cached, names, values)


def _lists_of(cached: "ModelCache", names: tuple[str, ...], values: Sequence[Row]) -> list[list[Row]]:
    """Lists as the database of ``cached`` has them, asked without any cache."""
    found: dict[Row, list[Row]] = {value: [] for value in values}
    for row in cached.query_many(names)(list(found)) if found else ():
        found[cached.records.entity.values_of(row, names)].append(tuple(row))
    return [cached.records.derived.sorted(names, found[value]) for value in values]


class ReplicaReads(_Detour):
    """Rows from the cache where they are, else from a replica, whose rows are never stored: they may be old already.

    Instances carry the replica's alias. Where this thread has uncommitted writes of cached rows, it is read what they
    have made of them, from the database that was written.
    """

    def __init__(self, cached: "ModelCache", replica: "ModelCache") -> None:
        """replica: the same declaration in the replica's database."""
        super().__init__(cached)
        self._replica = replica
        self.instance = replica.instance

    def _rows(self, names: tuple[str, ...], values: Sequence[Row], /) -> list[Row | None]:
        cached, there = self._cached, self._replica
        if state_of(cached.alias).units:
            return cached.rows(names, values)
        with cached.watching(values):
            if names == cached.identity:
                identities = [value[0] if len(names) == 1 else value for value in values]
                return list(cached.records.get_many(identities, there.load, may_fill=False))
            query, many = there.query(names), there.query_many(names)
            if len(values) == 1:
                return [cached.records.find_by(names, values[0], query, there.load, may_fill=False)]
            return list(cached.records.find_many(names, values, many, query, there.load, may_fill=False))

    def _lists(self, names: tuple[str, ...], values: Sequence[Row], /) -> list[list[Row]]:
        # All as the replica has them.
        cached = self._cached
        return cached.lists(names, values) if state_of(cached.alias).units else _lists_of(self._replica, names, values)
