"""Every backend of this repository that needs no server passes the conformance suite, and the suite can fail."""

from collections.abc import Sequence
from typing import Any

import pytest

from cachecore.backends import _store_py, memory
from cachecore.backends.memory import MemoryBackend
from cachecore.entries import Entry, Grant, Hold, Lease, Value, encode_entry
from cachecore.errors import BackendTimeout, BackendUnavailable
from cachecore.testing import AsyncBackendSuite, AsyncFakeBackend, BackendSuite, Call, FakeBackend, ManualClock
from cachecore.testing.reference import ReferenceBackend
from cachecore.testing.suite_steps import OPERATIONS, STATES


class TestFake(BackendSuite):
    """The fake backend, which stores bytes."""

    too_large = 2_000_000

    def make_backend(self, clock: ManualClock | None) -> FakeBackend:
        return FakeBackend(clock, max_bytes=1_000_000)

    def inject(self, key: str, raw: bytes) -> None:
        self.backend.inject(key, raw)


class TestAsyncFake(AsyncBackendSuite):
    """The fake backend behind an async client."""

    too_large = 2_000_000
    examples = 25

    async def make_backend(self, clock: ManualClock | None) -> AsyncFakeBackend:
        return AsyncFakeBackend(clock, max_bytes=1_000_000)

    def inject(self, key: str, raw: bytes) -> None:
        self.backend.server.inject(key, raw)


class TestMemory(BackendSuite):
    """The in-process backend, on the compiled store where there is one."""

    too_large = 2_000_000

    def make_backend(self, clock: ManualClock | None) -> MemoryBackend:
        return MemoryBackend(max_bytes=1_000_000, clock=clock)


class TestMemoryPure(BackendSuite):
    """The in-process backend on the pure store."""

    too_large = 2_000_000

    def make_backend(self, clock: ManualClock | None) -> MemoryBackend:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memory, "Store", _store_py.Store)
            return MemoryBackend(max_bytes=1_000_000, clock=clock)

    def test_it_is_the_pure_store(self) -> None:
        """The tests of this class run on the store without the extension."""
        assert type(self.backend.store) is _store_py.Store


class TestMemoryForAsync(AsyncBackendSuite):
    """The in-process backend serves async code as it is."""

    too_large = 2_000_000
    examples = 25

    def make_backend(self, clock: ManualClock | None) -> Any:
        return MemoryBackend(max_bytes=1_000_000, clock=clock)


class _FillsAnything(FakeBackend):
    def fill(self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None) -> list[bool | None]:
        return self.put([(key, value, weight) for key, _, value, weight in items], ttl)


class _GrantsTwice(FakeBackend):
    def acquire(self, keys: Sequence[str], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        for key, entry in zip(keys, self.get(keys), strict=True):
            if isinstance(entry, Lease):
                self.evict(key)
        return super().acquire(keys, token, ttl)


class _DisplacesAnything(FakeBackend):
    def displace(self, seen: Sequence[tuple[str, Entry]], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        now = self.get([key for key, _ in seen])
        return super().displace([(key, entry or old) for (key, old), entry in zip(seen, now, strict=True)], token, ttl)


class _HoldsForOne(FakeBackend):
    def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> None:
        self.forget(keys)
        super().hold(keys, token, ttl)


class _CompletesForAll(FakeBackend):
    def complete(self, keys: Sequence[str], token: bytes, values: Any, ttl: float | None) -> None:
        self.forget(keys)


class _CompletesItsOwn(FakeBackend):
    def complete(self, keys: Sequence[str], token: bytes, values: Any, ttl: float | None) -> None:
        self.release(keys, token)


class _ForgetsThatItWasShared(FakeBackend):
    def complete(self, keys: Sequence[str], token: bytes, values: Any, ttl: float | None) -> None:
        for key, entry in zip(keys, self.get(keys), strict=True):
            if isinstance(entry, Hold) and len(entry.tokens) == 1:
                self.inject(key, encode_entry(Hold(entry.tokens), self.incarnation))
        super().complete(keys, token, values, ttl)


class _ReleasesForAll(FakeBackend):
    def release(self, keys: Sequence[str], token: bytes) -> None:
        self.forget(keys)


class _SwapsAnything(FakeBackend):
    def swap(self, key: str, stamp: bytes, value: Value, weight: int, ttl: float | None) -> bool:
        return self.put([(key, value, weight)], ttl)[0]


@pytest.mark.parametrize(
    "broken",
    [
        _FillsAnything,
        _GrantsTwice,
        _DisplacesAnything,
        _HoldsForOne,
        _CompletesForAll,
        _CompletesItsOwn,
        _ForgetsThatItWasShared,
        _ReleasesForAll,
        _SwapsAnything,
    ],
)
def test_the_suite_finds_a_broken_backend(broken: type[FakeBackend]) -> None:
    """A backend that breaks one row of the table fails the suite there."""
    suite = BackendSuite()
    suite.clock = ManualClock()
    failed: list[str] = []
    for state in STATES:
        for operation in OPERATIONS:
            suite.backend = broken(suite.clock)
            try:
                suite.test_transition(state, operation)
            except AssertionError:
                failed.append(f"{operation} on {state}")
    assert failed


def test_faults_of_the_fake() -> None:
    """The fake fails the calls it was told to fail, with or without their effect, and logs them all."""
    backend = FakeBackend()
    backend.fail("hold", times=2)
    backend.fail(error=BackendTimeout("late"), carried_out=True)
    for error in (BackendUnavailable, BackendUnavailable, BackendTimeout):
        with pytest.raises(error):
            backend.hold(["k"], b"writer--", 15.0)
    assert isinstance(backend.get(["k"])[0], Hold)
    assert backend.operations() == ["hold", "hold", "hold", "get"]
    assert backend.log[-1] == Call("get", ("k",))
    backend.fail()
    backend.recover()
    assert backend.get(["x"]) == [None]


def test_restarts_of_the_fake() -> None:
    """After a restart nothing is left, and what a failover brings back is nothing to the new incarnation."""
    backend = FakeBackend()
    value = Value(b"payload", b"stamp")
    backend.put([("k", value, 7)], None)
    before = backend.snapshot()
    assert backend.evict("k")
    assert not backend.evict("k")
    backend.restore(before)
    assert backend.get(["k"]) == [value]
    backend.restart(before)
    assert backend.snapshot() == before
    assert backend.get(["k"]) == [None]
    backend.put([("k", value, 7)], None)
    backend.restart()
    assert backend.snapshot() == {}


async def test_the_clock_of_tests() -> None:
    """A manual clock moves only when told to, by sleep too, and never back."""
    clock = ManualClock(5)
    assert clock() == 5.0
    clock.advance(1.5)
    clock.sleep(1)
    await clock.asleep(0.5)
    assert clock() == 8.0
    with pytest.raises(ValueError, match="advance"):
        clock.advance(-1)


@pytest.mark.parametrize("make", [FakeBackend, lambda clock: MemoryBackend(clock=clock), ReferenceBackend])
def test_a_hold_that_has_ended_leaves_no_value(make: Any) -> None:
    """A COMPLETE that comes when its hold has expired finds nothing to replace, on the reference as on the others."""
    clock = ManualClock()
    backend = make(clock)
    backend.hold(["row"], b"mine----", 15.0)
    clock.advance(15.0)
    backend.complete(["row"], b"mine----", {"row": (Value(b"old", b"stamp"), 1)}, 60.0)
    assert backend.get(["row"]) == [None]
