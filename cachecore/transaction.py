"""Units of work bound to a cache: what an integration, or an application without one, calls around COMMIT."""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from cachecore.coherence import abandon_write, begin_write, finish_write
from cachecore.drive import NO_SOURCE, AsyncDriver, Driver, Flow, Source, awaited
from cachecore.errors import ConfigurationError
from cachecore.records import AsyncRecords, Records
from cachecore.unit import Unit

T = TypeVar("T")
D = TypeVar("D", Driver, AsyncDriver)


class _UnitOfWork(Unit, Generic[D]):
    """What both kinds share: naming what is written."""

    __slots__ = ("_driver",)

    def __init__(self, driver: D, label: str = "", *, journal: Callable[[Sequence[str]], Any] | None = None) -> None:
        super().__init__(label, journal)
        self._driver: D = driver

    def touch(self, records: Records | AsyncRecords, *identities: Hashable) -> None:
        """These rows are written, created or deleted in this transaction. Sends nothing yet.

        Raises ConfigurationError for the records of another cache, whose rows this unit does not outdate.
        """
        self._check_cache(records)
        self.add(records.keys_for(identities), records.entity.policy)

    def gain(self, records: Records | AsyncRecords, /, **values: Any) -> None:
        """A row gets these column values in this transaction, by an insert or an update: lists, and lookups without a
        row, are outdated by that. Needed only for entities with ``lists`` or ``missing``, and besides `touch`.

        values: of every column that the statement sets, as the database will hold them; see `Derived.gained`.
        Raises UncacheableLookup for a name that is no column.
        """
        self._check_cache(records)
        keys = records.gained(values)
        if keys:
            self.add(keys, records.entity.policy)

    def touch_all(self, records: Records | AsyncRecords) -> None:
        """Any row of this entity may be written in this transaction: a bulk write."""
        self._check_cache(records)
        self.add([records.entity.epoch_key], records.entity.policy)

    def _check_cache(self, records: Records | AsyncRecords) -> None:
        if records.driver is not self._driver:
            raise ConfigurationError(f"{records.entity.name} belongs to another cache than this unit of work")

    def _begin_write(self) -> Flow[float | None]:
        return begin_write(self.label, self.keys, self.token, self.policy, journal=self.journal is not None)

    def _source(self) -> Source:
        return NO_SOURCE if self.journal is None else Source(journal=self.journal)

    def must_prepare_again(self) -> bool:
        """Whether the holds may have expired by now, or were never acknowledged."""
        return self.prepare_by is None or self._driver.now() >= self.prepare_by


class UnitOfWork(_UnitOfWork[Driver]):
    """What one database transaction writes. Made by `Cache.begin`; used by one thread at a time.

    Touch what is written, then let `commit` surround the database's COMMIT; or, where something else sends COMMIT, call
    `prepare` as the last thing before it and `complete` when it has returned. If its outcome is unknown call neither
    `complete` nor `rollback`: the holds expire by themselves. As a context manager it rolls back what was not
    committed.
    """

    __slots__ = ()

    def prepare(self) -> None:
        """Hold every touched row; no reader believes or fills them from now on.

        If the cache does not acknowledge that, it is as the policy says: WriteRefused is raised, or the keys go into
        the journal, whose errors are raised, or nothing happens.
        """
        if self.must_prepare(self._driver.now()):
            self.prepare_by = self._driver.run(self._begin_write(), self._source())

    def commit(self, send: Callable[[], T]) -> T:
        """Prepare, call ``send`` (the database's COMMIT), complete; returns what ``send`` returned.

        If ``send`` raises, the outcome is unknown: the holds are left to expire and the error is raised.
        """
        self.prepare()
        try:
            result = send()
        except BaseException:
            self.end()
            raise
        self.complete()
        return result

    def complete(self) -> bool:
        """COMMIT has succeeded: outdate the rows for good. Whether the cache has acknowledged that.

        A failing backend raises nothing: the holds then expire, and what was noted in the journal is replayed.
        """
        return self.end() and self._driver.run(finish_write(self.label, self.keys, self.token))

    def rollback(self) -> None:
        """The database has rolled back: leave the holds. Does nothing after the end."""
        if self.end() and self.was_prepared:
            self._driver.run(abandon_write(self.label, self.keys, self.token))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rollback()


class AsyncUnitOfWork(_UnitOfWork[AsyncDriver]):
    """What one database transaction writes, awaited. Made by `AsyncCache.begin`. See `UnitOfWork`."""

    __slots__ = ()

    async def prepare(self) -> None:
        """Hold every touched row; no reader believes or fills them from now on. See `UnitOfWork.prepare`."""
        if self.must_prepare(self._driver.now()):
            self.prepare_by = await self._driver.run(self._begin_write(), self._source())

    async def commit(self, send: Callable[[], Awaitable[T] | T]) -> T:
        """Prepare, call ``send`` (the database's COMMIT), complete; returns what ``send`` returned.

        If ``send`` raises or is cancelled, the outcome is unknown: the holds are left to expire.
        """
        await self.prepare()
        try:
            result: T = await awaited(send())
        except BaseException:
            self.end()
            raise
        await self.complete()
        return result

    async def complete(self) -> bool:
        """COMMIT has succeeded: outdate the rows for good. See `UnitOfWork.complete`."""
        return self.end() and await self._driver.run(finish_write(self.label, self.keys, self.token))

    async def rollback(self) -> None:
        """The database has rolled back: leave the holds. Does nothing after the end."""
        if self.end() and self.was_prepared:
            await self._driver.run(abandon_write(self.label, self.keys, self.token))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.rollback()
