"""Results of functions, cached as coherently as rows: `cached_function`.

Theory of operation
-------------------
A function computed from rows is like a row that its arguments identify. So its results are kept by the same protocol:
a reader takes a lease before it computes, and the result is stored only if no write has come between; a writer holds
the results that its rows are a part of, in the same PREPARE as the rows.

Which results those are is declared: for each model, the columns that tell the arguments. A row counts with the values
it had before a statement and with those it has after it, because a changed argument changes two results. What a row was
before is asked of the database where it is not known, which costs a save one query.
"""

import weakref
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import update_wrapper
from hashlib import blake2s
from inspect import iscoroutinefunction, isgeneratorfunction
from typing import Any, Generic, ParamSpec, TypeVar, cast

from asgiref.sync import sync_to_async
from django.apps import apps

from cachecore.errors import (
    BackendError,
    ClosedError,
    ConfigurationError,
    CorruptEntry,
    UncacheableLookup,
    UnsupportedValue,
)
from cachecore.integrations.django import local
from cachecore.integrations.django.conf import caches
from cachecore.integrations.django.declaration import DEFAULT, silently_led_by
from cachecore.integrations.django.depends_on import Arguments, DependsOn, calls
from cachecore.integrations.django.lookup_values import shown
from cachecore.integrations.django.writing.connection import Guard, state_of
from cachecore.integrations.django.writing.databases import database_of
from cachecore.integrations.django.writing.dependents import depend
from cachecore.integrations.django.writing.statement import Touched
from cachecore.integrations.django.writing.worlds import at_the_end
from cachecore.integrations.django.writing.writes import connect, require_installed
from cachecore.records import Records
from cachecore.unit import Unit
from cachecore.value_codec import ValueCodec

P = ParamSpec("P")
R = TypeVar("R")

_CODEC = ValueCodec()


class CachedFunction(Generic[P, R]):
    """A function whose results are cached; made by `cached_function`.

    Called like the function itself, by positional arguments of plain values. Each caller has a result of its own. A
    result of None is not cached. In a transaction that has written what a result depends on it is computed anew.
    """

    def __init__(
        self,
        function: Callable[P, R],
        depends: Sequence[DependsOn],
        name: str,
        using: str,
        cache: str,
        ttl: Any,
        version: int | str | None,
    ) -> None:
        self._function: Callable[..., R] = function
        self.using = using
        self.cache = cache
        self._ttl = ttl
        self._version = version
        self._records: dict[str, tuple[object, Records]] = {}
        self.name = name
        """What keys and events call it."""
        self.depends = depends
        if hasattr(function, "__name__"):
            update_wrapper(self, function)
        _all.add(self)
        if apps.models_ready:
            self.connect()
        else:
            _waiting.append(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result, from the cache or computed. Whatever the function raises is raised and nothing is stored."""
        self._refuse(kwargs)
        [result] = self.many([args])
        return result

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Like a call, awaited; the function itself runs in a thread."""
        return await sync_to_async(self.__call__)(*args, **kwargs)

    def many(self, arguments: Iterable[Sequence[Any]]) -> list[R]:
        """The results of many calls, in their order, in one round trip; each that is not cached is computed."""
        asked = [self._asked(one) for one in calls(arguments)]
        digests = [_digest(one) for one in asked]
        meant = dict(zip(digests, asked, strict=True))
        computed: dict[str, R] = {}

        def compute(identities: Sequence[str]) -> Generator[tuple[str, bytes], None, None]:
            for digest in identities:
                if digest not in computed:  # it may be asked for twice, and is called once
                    with local.passed_by():
                        computed[digest] = self._function(*meant[digest])
                result = computed[digest]
                if result is not None:
                    yield digest, self._encoded(result)

        rows = self._read(list(meant), compute)
        found: dict[str, Any] = dict(zip(meant, rows, strict=True))
        return [computed[one] if one in computed else self._decoded(found[one]) for one in digests]

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Outdate one result, for a change that nobody could see. In a transaction it takes effect at its commit."""
        self._refuse(kwargs)
        records = self.records(self.using)
        self._outdate([records.entity.key(self._digest(tuple(args)))])

    def invalidate_all(self) -> None:
        """Outdate every result."""
        self._outdate([self.records(self.using).entity.epoch_key])

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Outdate one result and compute it."""
        self.invalidate(*args, **kwargs)
        return self(*args, **kwargs)

    # -- inside ------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Look at the writes to the models it depends on. Raises ConfigurationError for one that is declared wrong."""
        for one in self.depends:
            depend(one.model, _Dependent(self, one))
            for model in (one.model, *one.model._meta.all_parents):
                for written in (model, *silently_led_by(model)):
                    connect(written)

    def touched(self, alias: str, results: Iterable[Arguments] | None) -> Touched:
        """The keys of these results, None: of all."""
        entity = self.records(alias).entity
        keys = [entity.epoch_key]
        if results is not None:
            with suppress(UncacheableLookup):  # what no result can be asked by may be equal to what one was asked by
                keys = [entity.key(self._digest(one)) for one in results]
        return caches[self.cache], keys, entity.policy

    def records(self, alias: str) -> Records:
        """The access to its results in the database ``alias``."""
        cache = caches[self.cache]
        made, records = self._records.get(alias, (None, None))
        if records is None or made is not cache:
            policy = cache.policy if self._ttl is DEFAULT else cache.policy.replace(ttl=self._ttl)
            records = cache.entity(
                self.name,
                {"arguments": str, "result": bytes},
                identity="arguments",
                version=self._version,
                alias=database_of(alias),
                policy=policy,
                ttl=policy.ttl,
            )
            self._records[alias] = cache, records
        return records

    def known_records(self) -> list[Records]:
        """Those of the databases that results have been asked of."""
        return [records for _, records in list(self._records.values())]

    def _read(self, digests: list[str], compute: Callable[[Sequence[str]], Iterable[Any]]) -> list[Any]:
        for one in self.depends:
            require_installed(one.model)

        def ask(unit: Unit | None, may_fill: bool, guard: Guard) -> list[Any]:
            return self.records(self.using).get_many(digests, guard(compute), unit=unit, may_fill=may_fill)

        return state_of(self.using).read(caches[self.cache], ask)

    def _outdate(self, keys: Sequence[str]) -> None:
        with state_of(self.using).writing([(caches[self.cache], keys, self.records(self.using).entity.policy)]):
            pass

    def _refuse(self, kwargs: Mapping[str, Any]) -> None:
        if kwargs:
            raise UncacheableLookup(f"{self.name} is cached by its positional arguments, not by {', '.join(kwargs)}")

    def _asked(self, arguments: Arguments) -> Arguments:
        """The arguments by which a result is kept, and computed."""
        try:
            for one in self.depends:
                arguments = one.asked(arguments)
        except UncacheableLookup as error:
            raise UncacheableLookup(f"{self.name}: {error}") from error
        return arguments

    def _digest(self, arguments: Any) -> str:
        if not isinstance(arguments, tuple | list):
            raise ConfigurationError(
                f"{self.name}: what arguments= of DependsOn returns are tuples of arguments, not {shown(arguments)}"
            )
        return _digest(self._asked(tuple(cast("Sequence[Any]", arguments))))

    def _encoded(self, result: R) -> bytes:
        try:
            return _CODEC.encode(result)
        except UnsupportedValue as error:
            raise UnsupportedValue(f"the result of {self.name} cannot be cached: {error}") from error

    def _decoded(self, row: Any) -> Any:
        if row is None:
            return None
        try:
            return _CODEC.decode(row[1])
        except CorruptEntry as error:
            raise UnsupportedValue(f"the stored result of {self.name}: {error}") from error


def _digest(arguments: Arguments) -> str:
    try:
        return blake2s(_CODEC.encode(arguments), digest_size=16).hexdigest()
    except ValueError as error:  # an UnsupportedValue, or an int of more digits than the interpreter converts
        raise UncacheableLookup(f"results cannot be cached by the arguments {shown(arguments)}: {error}") from error


class _Dependent:
    """Tells which results a written row outdates."""

    needs_old = True
    any_update = True

    def __init__(self, function: CachedFunction[Any, Any], depends: DependsOn) -> None:
        self._function = function
        self._depends = depends
        self.columns = depends.columns()

    def touched(self, alias: str, values: Mapping[str, Any]) -> Touched | None:
        results = self._depends.results([values[name] for name in self.columns], alias)
        return self._function.touched(alias, results)

    def all_touched(self, alias: str) -> Touched:
        return self._function.touched(alias, None)


_waiting: list[CachedFunction[Any, Any]] = []
"""Functions that were decorated before all models were there."""


_all: "weakref.WeakSet[CachedFunction[Any, Any]]" = weakref.WeakSet()


@at_the_end
def _outdate_results() -> None:
    for function in list(_all):
        for records in function.known_records():
            with suppress(BackendError, ClosedError):
                caches[function.cache].invalidate(records)


def connect_waiting() -> None:
    """Connect what was decorated while models were being imported."""
    while _waiting:
        _waiting.pop().connect()


def cached_function(
    *depends: DependsOn,
    ttl: Any = DEFAULT,
    version: int | str | None = None,
    using: str = "default",
    cache: str = "default",
    name: str | None = None,
) -> Callable[[Callable[P, R]], CachedFunction[P, R]]:
    """Cache the results of a function of plain values, until a row that they depend on is written.

        @cached_function(DependsOn(City, "country"), ttl=3600)
        def populations(country_id: int) -> dict[str, int]: ...

    depends: which results a row is a part of. What is not declared is not seen.
    ttl: seconds, default the setting's; None: until evicted.
    version: change it when the meaning of the result changes.
    using: the database it reads, whose transactions it follows.
    cache: which cache of CACHECORE.
    name: under which results are kept; default the function's module and name.
    Raises ConfigurationError if nothing is declared or a declaration is wrong.
    """
    if not depends or not all(isinstance(one, DependsOn) for one in cast("tuple[object, ...]", depends)):
        raise ConfigurationError("cached_function needs to know what results depend on: DependsOn(Model, ...)")

    def decorate(function: Callable[P, R]) -> CachedFunction[P, R]:
        if not callable(function) or iscoroutinefunction(function) or isgeneratorfunction(function):
            raise ConfigurationError(f"cached_function is for functions that return a value, not for {shown(function)}")
        wanted: Any = name or ""
        if not isinstance(wanted, str) or not (wanted or hasattr(function, "__qualname__")):
            raise ConfigurationError(f"cached_function: {shown(function)} needs a name=, a str, not {shown(name)}")
        called = name or f"{function.__module__}.{function.__qualname__}"
        return CachedFunction(function, depends, called, using, cache, ttl, version)

    return decorate
