"""What the demo asks of an application, whatever its ORM: the rest of the demo speaks to a database only through this.

Rows, lookups and changes are dicts by the names of columns. Any thread may use an application.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from cachecore import Cache

TTL = 300
"""Seconds for which both caches, ours and that of the control, keep a city."""

Row = dict[str, Any]
Lookup = dict[str, Any]
Get = Callable[..., "City"]
"""The city of a lookup, given as keyword arguments; `Application.get` is one."""


class City(Protocol):
    """What an answer must have to be judged."""

    id: Any
    version: Any
    slug: Any
    country_id: Any
    name: Any


class Changes(Protocol):
    """The two usual ways of changing a city."""

    def update(self, pk: int, values: Row) -> None:
        """By a statement, without reading it."""
        ...

    def save(self, pk: int, values: Row) -> None:
        """As an object that is read, changed and saved."""
        ...


class Store(Protocol):
    """Where the control keeps its answers for `TTL` seconds: what a cache without invalidation is made of."""

    def get(self, key: str, /) -> Any:
        """The city stored under this key, or None."""
        ...

    def set(self, key: str, city: City, /) -> None:
        """Store a copy of a city."""
        ...


class Application(ABC):
    """Countries and cities in a database, and a cache before it."""

    cache: Cache
    implementation: str
    """What makes keys, or rows, at a hit: "cython" or "python"."""
    store: Store
    no_row: type[Exception]

    @abstractmethod
    def get(self, **lookup: Any) -> City:
        """The city of a lookup, by a query. Raises `no_row` if there is none."""

    @abstractmethod
    def get_from_cache(self, **lookup: Any) -> City:
        """The same through the cache."""

    @abstractmethod
    def create_tables(self) -> None:
        """In a database that has none."""

    @abstractmethod
    def add_countries(self, rows: Iterable[Row]) -> None:
        """Insert them in one transaction."""

    @abstractmethod
    def add_cities(self, rows: Iterable[Row]) -> None:
        """The same for cities."""

    @abstractmethod
    def get_many_from_cache(self, values: Sequence[Any], key: str | tuple[str, ...] = "pk") -> Iterable[City]:
        """The cities that have these values in the column or columns ``key``."""

    @abstractmethod
    def largest(self, count: int) -> Iterable[City]:
        """By a query: so many, those of most people first; among equals the lowest primary key."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Changes]:
        """Commits at the end of the block, and rolls back if the block raises."""

    @abstractmethod
    def counting_queries(self) -> AbstractContextManager[list[int]]:
        """A list of one number: the queries of this thread since the block began."""

    @abstractmethod
    def end_thread(self) -> None:
        """Let go of what belongs to this thread, which asks for nothing more."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything."""
