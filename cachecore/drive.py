"""Drivers: perform the operations of a flow on a backend, sync or async.

A call of the backend may return its reply or something to await; `arun` takes both, so that a backend inside the
process serves async code without a second implementation.
"""

import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from cachecore.backend import AsyncBackend, Backend
from cachecore.events import Event
from cachecore.operations import (
    Abandon,
    Acquire,
    Complete,
    Displace,
    Fill,
    Forget,
    Get,
    Journal,
    Load,
    Note,
    Now,
    Operation,
    PlaceHold,
    Put,
    Query,
    QueryMany,
    Release,
    Sleep,
)

CO_COROUTINE = 0x80  # as in inspect, which is slow to import

T = TypeVar("T")
Flow = Generator[Operation, Any, T]


def _absent(_: object) -> Any:
    raise AssertionError("this flow asks nothing of the database")


class Source(msgspec.Struct, frozen=True):
    """Where rows come from: plain functions, or for `AsyncDriver` also functions that return awaitables."""

    load: Callable[[Sequence[Any]], Any] = _absent
    """Identities to a mapping from identity to row."""
    query: Callable[[tuple[Any, ...]], Any] = _absent
    """Values of a lookup to (identity, row) or None."""
    query_many: Callable[[Sequence[tuple[Any, ...]]], Any] = _absent
    """Values of many lookups to the (identity, row) pairs found."""
    journal: Callable[[Sequence[str]], Any] = _absent
    """Writes keys into the journal in the open transaction."""


NO_SOURCE = Source()

_BACKEND_CALLS: Mapping[type[Operation], Callable[[Any, Any], Any]] = {
    Acquire: lambda backend, op: backend.acquire(op.keys, op.token, op.ttl),
    Displace: lambda backend, op: backend.displace(op.seen, op.token, op.ttl),
    Fill: lambda backend, op: backend.fill(op.items, op.ttl),
    Abandon: lambda backend, op: backend.abandon(op.leases),
    PlaceHold: lambda backend, op: backend.hold(op.keys, op.token, op.ttl),
    Complete: lambda backend, op: backend.complete(op.keys, op.token, op.values, op.ttl),
    Release: lambda backend, op: backend.release(op.keys, op.token),
    Get: lambda backend, op: backend.get(op.keys),
    Put: lambda backend, op: backend.put(op.items, op.ttl),
    Forget: lambda backend, op: backend.forget(op.keys),
}


def on_backend(backend: Backend | AsyncBackend, operation: Operation) -> Any:
    """Perform one operation of the cache; the reply, or an awaitable of it from an async backend."""
    return _BACKEND_CALLS[type(operation)](backend, operation)


async def awaited(reply: Any) -> Any:
    """The reply of a backend that may be async or merely non-blocking."""
    waiting: Any = reply
    return await waiting if isinstance(reply, Awaitable) else reply


def is_async(backend: Any) -> bool:
    """Whether the calls of a backend are coroutines, as opposed to blocking or not blocking at all."""
    code = getattr(getattr(backend.acquire, "__func__", backend.acquire), "__code__", None)
    return bool(code is not None and code.co_flags & CO_COROUTINE)


async def asleep(seconds: float) -> None:
    """Let seconds pass in the running event loop. asyncio is imported here: sync users need not pay for it."""
    import asyncio

    await asyncio.sleep(seconds)


class _Performer:
    """One backend, and everything else a flow may ask for."""

    def __init__(
        self,
        backend: Backend | AsyncBackend,
        note: Callable[[Event], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Any],
    ) -> None:
        self.backend = backend
        self._note = note
        self._clock = clock
        self._sleep = sleep

    def now(self) -> float:
        """Seconds on the local monotonic clock."""
        return self._clock()

    def _perform(self, operation: Operation, source: Source) -> Any:
        """The reply, or an awaitable of it."""
        match operation:
            case Note(event):
                return self._note(event)
            case Load(identities):
                return source.load(identities)
            case Query(values):
                return source.query(values)
            case QueryMany(values):
                return source.query_many(values)
            case Journal(keys):
                return source.journal(keys)
            case Sleep(seconds):
                return self._sleep(seconds)
            case Now():
                return self._clock()
            case _:
                return on_backend(self.backend, operation)


class Driver(_Performer):
    """Runs flows on one backend.

    ``note`` is told every event. ``clock`` gives seconds that never go back; ``sleep`` lets seconds pass and may be
    replaced together with it by a test.
    """

    def __init__(
        self,
        backend: Backend,
        note: Callable[[Event], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(backend, note, clock=clock, sleep=sleep)

    def run(self, flow: Flow[T], source: Source = NO_SOURCE) -> T:
        """Run ``flow`` to its end and return its result; what it raises is raised."""
        step: Callable[[Any], Operation] = flow.send
        reply: Any = None
        while True:
            try:
                operation = step(reply)
            except StopIteration as stop:
                result: T = stop.value
                return result
            try:
                reply = self._perform(operation, source)
                step = flow.send
            except Exception as error:
                reply = error
                step = flow.throw


class AsyncDriver(_Performer):
    """Runs flows on one backend, async or non-blocking. The arguments are those of `Driver`."""

    def __init__(
        self,
        backend: Backend | AsyncBackend,
        note: Callable[[Event], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asleep,
    ) -> None:
        super().__init__(backend, note, clock=clock, sleep=sleep)

    async def run(self, flow: Flow[T], source: Source = NO_SOURCE) -> T:
        """Run ``flow`` to its end and return its result; what it raises is raised. Cancellation is a crash of it."""
        step: Callable[[Any], Operation] = flow.send
        reply: Any = None
        while True:
            try:
                operation = step(reply)
            except StopIteration as stop:
                result: T = stop.value
                return result
            try:
                reply = await awaited(self._perform(operation, source))
                step = flow.send
            except Exception as error:
                reply = error
                step = flow.throw
