"""Cache and AsyncCache: one backend, one namespace, and everything kept in it.

Both offer plain values (`get`, `set`, ...), the rows of entities (`entity`) and units of work (`begin`). A cache
belongs to the process that made it; threads may share it.
"""

import time
import weakref
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from cachecore.coherence import invalidate
from cachecore.derived import Derived, ListDeclarations
from cachecore.drive import AsyncDriver, Driver, Source, asleep, awaited, is_async
from cachecore.entity import Columns, Entity
from cachecore.errors import BackendError, ClosedError, ConfigurationError, InvalidKey
from cachecore.events import Event, Failure, Hooks
from cachecore.keys import make_key
from cachecore.policy import Policy, Ttl, lifetime
from cachecore.records import AsyncRecords, Records, RowLoader
from cachecore.registry import make_backend
from cachecore.statistics import Statistics
from cachecore.transaction import AsyncUnitOfWork, UnitOfWork
from cachecore.unit import new_token
from cachecore.values import Plain

T = TypeVar("T")


class ClosedBackend:
    """What a closed cache has in place of its backend: whatever is asked of it raises ClosedError."""

    def __getattr__(self, name: str) -> Any:
        raise ClosedError("this cache has been closed")


def _backend_at(location: object, options: Mapping[str, Any] | None, awaited: bool) -> Any:
    if isinstance(location, str):
        return make_backend(location, options, awaited=awaited)
    if not hasattr(location, "acquire") or not hasattr(location, "keeps_objects"):
        raise ConfigurationError(f"location must be a URL, a dotted path or a backend, not {location!r}")
    if options:
        raise ConfigurationError(f"options={options!r} belong to a URL or dotted path, not to a backend already made")
    return location


def _outdated(
    records: Records | AsyncRecords, identities: Iterable[Hashable], gained: Iterable[Mapping[str, Any]] | None
) -> list[str]:
    """The keys to invalidate for these rows and for what was gained."""
    keys = dict.fromkeys(records.keys_for(identities))
    for values in gained or ():
        keys.update(dict.fromkeys(records.gained(values)))
    return list(keys) if keys or gained is not None else [records.entity.epoch_key]


class _CacheBase:
    """What both caches share: settings, backend, hooks and statistics."""

    _awaited: ClassVar[bool]
    """Whether the calls of the backend are awaited."""

    def __init__(
        self,
        location: str | object,
        *,
        namespace: str,
        ttl: Ttl = 300.0,
        version: int | str = 1,
        secret: bytes | None = None,
        options: Mapping[str, Any] | None = None,
        policy: Policy | None = None,
    ) -> None:
        try:
            make_key(namespace, "#value", {"key": ""}, secret=secret)
        except InvalidKey as error:
            raise ConfigurationError(f"namespace={namespace!r}: {error}") from error
        self.namespace = namespace
        self.policy = (policy or Policy()).replace(ttl=lifetime(ttl))
        self.hooks = Hooks()
        """Subscribe here to what happens: ``cache.hooks.subscribe(function)``."""
        self.statistics = Statistics()
        self._secret = secret
        self._plain = Plain(namespace, self.policy.ttl, version, secret)
        self.backend: Any = _backend_at(location, options, self._awaited)
        """The backend; after `close` one whose every method raises ClosedError."""
        self._records: weakref.WeakSet[Records | AsyncRecords] = weakref.WeakSet()

    def _check_open(self) -> None:
        if isinstance(self.backend, ClosedBackend):
            raise ClosedError("this cache has been closed")

    def _end(self, driver: Driver | AsyncDriver) -> Any:
        """The backend to close, which nothing here can reach any more; None if there is none left."""
        if isinstance(self.backend, ClosedBackend):
            return None
        backend, self.backend = self.backend, ClosedBackend()
        driver.backend = self.backend
        for records in list(self._records):
            records.close()
        return backend

    def _note(self, event: Event) -> None:
        self.statistics.count(event)
        if self.hooks:
            self.hooks.emit(event)

    def _entity(
        self,
        name: str,
        columns: Columns,
        identity: str | Sequence[str],
        lookups: Sequence[str | Sequence[str]],
        ttl: Ttl,
        version: int | str | None,
        alias: str,
        policy: Policy | None,
    ) -> Entity:
        self._check_open()
        chosen = policy or self.policy
        if ttl is not None:
            chosen = chosen.replace(ttl=lifetime(ttl))
        return Entity(
            name,
            namespace=self.namespace,
            columns=columns,
            identity=identity,
            lookups=lookups,
            policy=chosen,
            version=version,
            alias=alias,
            secret=self._secret,
        )


class Cache(_CacheBase):
    """A cache whose calls block.

    location: a URL such as ``memory://?max_entries=100000``, a dotted path ``package.module:factory``, or a backend.
    namespace: what keeps this application's keys apart from others' on the same server; letters, digits, ``._-``.
    ttl: seconds or timedelta that entries live unless told otherwise, default 300; None means until evicted.
    version: of plain values; another version sees none of this one's.
    secret: 1 to 32 bytes; keys are then keyed hashes, so that nobody without it can aim at an entry.
    options: further options of the backend, added to those in the URL.
    policy: durations and choices of the protocol; its ``ttl`` is replaced by the argument.

    Raises ConfigurationError naming the argument. Closing it, or leaving its ``with`` block, ends its connections.
    """

    _awaited = False

    def __init__(
        self,
        location: str | object = "memory://",
        *,
        namespace: str,
        ttl: Ttl = 300.0,
        version: int | str = 1,
        secret: bytes | None = None,
        options: Mapping[str, Any] | None = None,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(
            location, namespace=namespace, ttl=ttl, version=version, secret=secret, options=options, policy=policy
        )
        if is_async(self.backend):
            raise ConfigurationError(f"the calls of the backend {location!r} are awaited: use AsyncCache")
        self._driver = Driver(self.backend, self._note, clock=clock, sleep=sleep)

    # -- rows of entities --------------------------------------------------------------------------

    def entity(
        self,
        name: str,
        columns: Columns,
        *,
        identity: str | Sequence[str] = "id",
        lookups: Sequence[str | Sequence[str]] = (),
        lists: ListDeclarations = (),
        missing: bool | Sequence[str | Sequence[str]] = False,
        ttl: Ttl = None,
        version: int | str | None = None,
        alias: str = "default",
        policy: Policy | None = None,
        load: RowLoader | None = None,
        query: Callable[[dict[str, Any]], Sequence[object] | None] | None = None,
        query_list: Callable[[dict[str, Any]], Iterable[Sequence[object]]] | None = None,
    ) -> Records:
        """Declare a cached record type and return the access to its rows; see `Entity` for the arguments.

        lists, missing: what is to be known besides rows; see `Derived`. Every write must then tell what rows gain, by
            `UnitOfWork.gain`.
        ttl: seconds or timedelta that rows live, ``math.inf`` until evicted; None means the policy's, or the cache's.
        policy: for this entity; None means the cache's.
        load: a list of identities to their rows, in any order; may be given per call instead.
        query: a dict of columns and values, one of the lookups, to the row or None; may be given per call instead.
        query_list: such a dict, of one of the lists, to all its rows, in any order; may be given per call instead.
        Raises ConfigurationError for a column that does not exist or cannot be stored.
        """
        entity = self._entity(name, columns, identity, lookups, ttl, version, alias, policy)
        records = Records(
            entity, self._driver, self.hooks, self.statistics, load, query, Derived(entity, lists, missing), query_list
        )
        self._records.add(records)
        return records

    def begin(self, *, journal: Callable[[Sequence[str]], object] | None = None) -> UnitOfWork:
        """Begin the unit of work of one database transaction.

        journal: called with keys, as text, when the cache cannot be reached; it writes them into a table of your own
        in the open transaction, from which they are later given to `replay`. None: there is no such table.
        """
        self._check_open()
        return UnitOfWork(self._driver, journal=journal)

    def replay(self, keys: Iterable[str]) -> None:
        """Outdate what a journal has noted. Delete it from the journal only when this has returned.

        Raises BackendError while the cache is still away.
        """
        noted = list(keys)
        if noted:
            self._driver.run(invalidate("", noted, new_token()))

    def invalidate(
        self, records: Records, *identities: Hashable, gained: Iterable[Mapping[str, Any]] | None = None
    ) -> None:
        """Outdate rows that something outside a unit of work has changed and committed; none given: everything.

        gained: the column values of rows that were inserted or moved, so that the lists and missing entries to which
            they now belong are outdated too; without them only the rows are.

        Raises BackendError: the rows may then still be served until their TTL ends.
        """
        keys = _outdated(records, identities, gained)
        if keys:
            self._driver.run(invalidate(records.entity.name, keys, new_token()))

    # -- plain values ------------------------------------------------------------------------------

    def get(self, key: str, version: int | str | None = None, *, default: Any = None) -> Any:
        """The value, or ``default`` where there is none. A failing backend is a miss."""
        return self.get_many([key], version).get(key, default)

    def get_many(self, keys: Iterable[str], version: int | str | None = None) -> dict[str, Any]:
        """The values that exist, by key, in the order asked. A failing backend is a miss."""
        stored = self._plain.keys(keys, version)
        try:
            entries = self.backend.get(list(stored.values()))
        except BackendError as error:
            self._note(Failure("", "get", error))
            return {}
        return self._plain.found(stored, entries)

    def set(self, key: str, value: object, ttl: Ttl = None, version: int | str | None = None) -> bool:
        """Store a value; False if it is too large to be stored, and nothing stands there then. Raises BackendError.

        ttl: seconds or timedelta; None means the cache's default, ``math.inf`` never.
        """
        return not self.set_many({key: value}, ttl, version)

    def set_many(self, values: Mapping[str, object], ttl: Ttl = None, version: int | str | None = None) -> list[str]:
        """Store values; returns the keys whose values are too large to be stored. Raises BackendError."""
        done = self.backend.put(self._plain.items(values, version), self._plain.ttl(ttl))
        return [key for key, stored in zip(values, done, strict=True) if not stored]

    def delete(self, key: str, version: int | str | None = None) -> bool:
        """Remove a value; whether there was one, or a creator at work, who then stores none. Raises BackendError."""
        return self.delete_many([key], version) == 1

    def delete_many(self, keys: Iterable[str], version: int | str | None = None) -> int:
        """Remove values; how many there were. Raises BackendError."""
        return sum(self.backend.forget(list(self._plain.keys(keys, version).values())))

    def gets(self, key: str, version: int | str | None = None) -> tuple[Any, bytes | None]:
        """(value, token for `cas`), or (None, None) where there is none. Raises BackendError."""
        [entry] = self.backend.get([self._plain.key(key, version)])
        return self._plain.with_token(entry)

    def cas(
        self, key: str, value: object, token: bytes | None, ttl: Ttl = None, version: int | str | None = None
    ) -> bool:
        """Store a value if nobody has since the `gets` that gave ``token``; a token of None never matches."""
        self._check_open()
        if token is None:
            return False
        fresh, weight = self._plain.pack(value)
        done: bool = self.backend.swap(self._plain.key(key, version), token, fresh, weight, self._plain.ttl(ttl))
        return done

    def get_or_create(self, key: str, creator: Callable[[], T], ttl: Ttl = None, version: int | str | None = None) -> T:
        """The value, or what ``creator`` returns, stored. Of many who miss at once one creates and the others wait."""
        flow = self._plain.create(self._plain.key(key, version), self._plain.ttl(ttl), new_token(), self.policy)
        value: T = self._driver.run(flow, Source(query=lambda _: creator()))
        return value

    def clear(self) -> None:
        """Empty the backend, of every namespace. Raises BackendError."""
        self.backend.clear()

    def diagnose(self) -> list[str]:
        """Sentences that name what in the cache servers' settings weakens the promise. Raises BackendError."""
        found: list[str] = self.backend.diagnose()
        return found

    def close(self) -> None:
        """End the backend's connections. Closing twice is allowed."""
        backend = self._end(self._driver)
        if backend is not None:
            backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncCache(_CacheBase):
    """A cache whose calls are awaited; the arguments are those of `Cache`.

    A backend whose calls never block, such as ``memory://``, is used as it is. Loaders, queries and creators may be
    async or plain functions.
    """

    _awaited = True

    def __init__(
        self,
        location: str | object = "memory://",
        *,
        namespace: str,
        ttl: Ttl = 300.0,
        version: int | str = 1,
        secret: bytes | None = None,
        options: Mapping[str, Any] | None = None,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asleep,
    ) -> None:
        super().__init__(
            location, namespace=namespace, ttl=ttl, version=version, secret=secret, options=options, policy=policy
        )
        self._driver = AsyncDriver(self.backend, self._note, clock=clock, sleep=sleep)

    # -- rows of entities --------------------------------------------------------------------------

    def entity(
        self,
        name: str,
        columns: Columns,
        *,
        identity: str | Sequence[str] = "id",
        lookups: Sequence[str | Sequence[str]] = (),
        lists: ListDeclarations = (),
        missing: bool | Sequence[str | Sequence[str]] = False,
        ttl: Ttl = None,
        version: int | str | None = None,
        alias: str = "default",
        policy: Policy | None = None,
        load: Callable[[Sequence[Any]], Any] | None = None,
        query: Callable[[dict[str, Any]], Any] | None = None,
        query_list: Callable[[dict[str, Any]], Any] | None = None,
    ) -> AsyncRecords:
        """Declare a cached record type and return the access to its rows. See `Cache.entity`."""
        entity = self._entity(name, columns, identity, lookups, ttl, version, alias, policy)
        records = AsyncRecords(
            entity, self._driver, self.hooks, self.statistics, load, query, Derived(entity, lists, missing), query_list
        )
        self._records.add(records)
        return records

    def begin(self, *, journal: Callable[[Sequence[str]], object] | None = None) -> AsyncUnitOfWork:
        """Begin the unit of work of one database transaction; ``journal`` may be async. See `Cache.begin`."""
        self._check_open()
        return AsyncUnitOfWork(self._driver, journal=journal)

    async def replay(self, keys: Iterable[str]) -> None:
        """Outdate what a journal has noted. Raises BackendError. See `Cache.replay`."""
        noted = list(keys)
        if noted:
            await self._driver.run(invalidate("", noted, new_token()))

    async def invalidate(
        self, records: AsyncRecords, *identities: Hashable, gained: Iterable[Mapping[str, Any]] | None = None
    ) -> None:
        """Outdate rows that something else has changed and committed; none given: all. See `Cache.invalidate`."""
        keys = _outdated(records, identities, gained)
        if keys:
            await self._driver.run(invalidate(records.entity.name, keys, new_token()))

    # -- plain values ------------------------------------------------------------------------------

    async def get(self, key: str, version: int | str | None = None, *, default: Any = None) -> Any:
        """The value, or ``default`` where there is none. A failing backend is a miss."""
        return (await self.get_many([key], version)).get(key, default)

    async def get_many(self, keys: Iterable[str], version: int | str | None = None) -> dict[str, Any]:
        """The values that exist, by key, in the order asked. A failing backend is a miss."""
        stored = self._plain.keys(keys, version)
        try:
            entries = await awaited(self.backend.get(list(stored.values())))
        except BackendError as error:
            self._note(Failure("", "get", error))
            return {}
        return self._plain.found(stored, entries)

    async def set(self, key: str, value: object, ttl: Ttl = None, version: int | str | None = None) -> bool:
        """Store a value; False if it is too large. Raises BackendError. See `Cache.set`."""
        return not await self.set_many({key: value}, ttl, version)

    async def set_many(
        self, values: Mapping[str, object], ttl: Ttl = None, version: int | str | None = None
    ) -> list[str]:
        """Store values; returns the keys whose values are too large to be stored. Raises BackendError."""
        done = await awaited(self.backend.put(self._plain.items(values, version), self._plain.ttl(ttl)))
        return [key for key, stored in zip(values, done, strict=True) if not stored]

    async def delete(self, key: str, version: int | str | None = None) -> bool:
        """Remove a value; whether there was one, or a creator at work, who then stores none. Raises BackendError."""
        return await self.delete_many([key], version) == 1

    async def delete_many(self, keys: Iterable[str], version: int | str | None = None) -> int:
        """Remove values; how many there were. Raises BackendError."""
        return sum(await awaited(self.backend.forget(list(self._plain.keys(keys, version).values()))))

    async def gets(self, key: str, version: int | str | None = None) -> tuple[Any, bytes | None]:
        """(value, token for `cas`), or (None, None) where there is none. Raises BackendError."""
        [entry] = await awaited(self.backend.get([self._plain.key(key, version)]))
        return self._plain.with_token(entry)

    async def cas(
        self, key: str, value: object, token: bytes | None, ttl: Ttl = None, version: int | str | None = None
    ) -> bool:
        """Store a value if nobody has since the `gets` that gave ``token``; a token of None never matches."""
        self._check_open()
        if token is None:
            return False
        fresh, weight = self._plain.pack(value)
        swap = self.backend.swap(self._plain.key(key, version), token, fresh, weight, self._plain.ttl(ttl))
        done: bool = await awaited(swap)
        return done

    async def get_or_create(
        self, key: str, creator: Callable[[], Any], ttl: Ttl = None, version: int | str | None = None
    ) -> Any:
        """The value, or what ``creator`` returns, stored. Of many who miss at once one creates and the others wait."""
        flow = self._plain.create(self._plain.key(key, version), self._plain.ttl(ttl), new_token(), self.policy)
        return await self._driver.run(flow, Source(query=lambda _: creator()))

    async def clear(self) -> None:
        """Empty the backend, of every namespace. Raises BackendError."""
        await awaited(self.backend.clear())

    async def diagnose(self) -> list[str]:
        """Sentences that name what in the cache servers' settings weakens the promise. Raises BackendError."""
        found: list[str] = await awaited(self.backend.diagnose())
        return found

    async def close(self) -> None:
        """End the backend's connections. Closing twice is allowed."""
        backend = self._end(self._driver)
        if backend is not None:
            await awaited(backend.close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
