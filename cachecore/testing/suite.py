"""The conformance suite for backends: subclass it in a test module, say how to make a backend, and it runs.

    class TestMyBackend(BackendSuite):
        def make_backend(self, clock):
            return MyBackend(clock=clock)

It checks that every operation does to every entry what the functions of `cachecore.entries` do: alone, in random
sequences, in large batches and under threads. It needs pytest and hypothesis, and it calls ``clear``: never point it at
a server that is in use.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings

from cachecore.drive import awaited
from cachecore.entries import Grant, Hold, Lease, Unusable, Value
from cachecore.testing.clock import ManualClock
from cachecore.testing.reference import Observed, Paced, ReferenceBackend, essence
from cachecore.testing.suite_steps import (
    HOLD_TTL,
    KEY,
    KEYS,
    LEASE_TTL,
    MINE,
    NEW,
    OLD,
    OPERATIONS,
    PASSING,
    STATES,
    TTL,
    YOURS,
    perform,
    steps,
)
from cachecore.testing.suite_threads import ThreadSuite

PAYLOADS = [b"", bytes(range(256)) * 64, b"\xcc\x0e\x01", b"VALUE x 0 1\r\nEND\r\n", b"$-1\r\n"]


class BackendSuite(ThreadSuite):
    """Conformance tests of one backend. `make_backend` must be overridden, the rest may be."""

    moves_clock: ClassVar[bool] = True
    """False for a backend whose clock is its server's: `make_backend` then gets None, and `let_pass` must really wait
    or the tests in which time passes are skipped."""
    pace: ClassVar[float] = 1.0
    """How long a second is in the tests in which time passes: less for a backend that really waits."""
    too_large: ClassVar[int | None] = None
    """Bytes of a payload that the backend cannot store; None skips that test."""
    examples: ClassVar[int] = 100
    """How many random sequences are tried."""

    clock: ManualClock | None

    def make_backend(self, clock: ManualClock | None) -> Any:
        """A backend on ``clock``."""
        raise NotImplementedError

    def let_pass(self, seconds: float) -> None:
        """Let time pass for the backend."""
        if self.clock is None:
            pytest.skip("the clock of this backend cannot be moved")
        self.clock.advance(seconds)

    def inject(self, key: str, raw: bytes) -> None:
        """Put bytes under ``key`` past the backend; a backend that stores bytes overrides it."""
        pytest.skip("this backend stores no bytes")

    def opened(self) -> Any:
        """The backend as the tests call it."""
        return self.make_backend(self.clock)

    def finish(self) -> None:
        """What is left to do after a test, when the backend has been closed."""

    @pytest.fixture(autouse=True)
    def _backend_for_a_test(self) -> Iterator[None]:
        self.clock = ManualClock() if self.moves_clock else None
        self.backend = self.opened()
        self.backend.clear()
        yield
        self.backend.close()
        self.finish()

    # -- the table of transitions --------------------------------------------------------------------

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize("state", STATES)
    def test_transition(self, state: str, operation: str) -> None:
        """Every operation does to every entry what the table says, and replies so."""
        both = [Observed(self.backend), Observed(ReferenceBackend(lambda: 0.0))]
        for on in both:
            for action in STATES[state]:
                action(on)
        replies = [OPERATIONS[operation](on) for on in both]
        afterwards = [on.do("get", [KEY]) for on in both]
        assert replies[0] == replies[1]
        assert afterwards[0] == afterwards[1]

    def test_sequences(self) -> None:
        """Any sequence of operations on a few keys gives the replies of the reference and leaves what it leaves."""

        @settings(max_examples=self.examples, deadline=None)
        @given(steps)
        def run(taken: list[tuple[Any, ...]]) -> None:
            self.backend.clear()
            clock = ManualClock()
            tested, reference = Observed(self.backend), Observed(ReferenceBackend(clock))
            for step in taken:
                if step[0] == "pass":
                    if self.clock is not None:
                        self.clock.advance(PASSING)
                        clock.advance(PASSING)
                else:
                    assert perform(tested, step) == perform(reference, step), step
                assert tested.do("get", KEYS) == reference.do("get", KEYS), step

        run()

    # -- time ----------------------------------------------------------------------------------------

    def _pass(self, times: int = 1) -> None:
        self.let_pass(times * PASSING * self.pace)

    @property
    def paced(self) -> Any:
        """The backend, with every time to live as long as `pace` says."""
        return self.backend if self.pace == 1 else Paced(self.backend, self.pace)

    def test_a_lease_expires(self) -> None:
        """The lease of a reader who died is granted to the next reader after its time to live."""
        self.paced.acquire([KEY], MINE, LEASE_TTL)
        self._pass()
        assert isinstance(self.paced.acquire([KEY], YOURS, LEASE_TTL)[0], Lease)
        self._pass()
        assert isinstance(self.paced.acquire([KEY], YOURS, LEASE_TTL)[0], Grant)

    def test_a_late_fill_is_refused(self) -> None:
        """Who fills after the lease has expired stores nothing, even if another holds a lease by then."""
        [grant] = self.paced.acquire([KEY], MINE, LEASE_TTL)
        self._pass(2)
        assert self.paced.fill([(KEY, grant.token, NEW, 3)], TTL) == [False]
        self.paced.acquire([KEY], YOURS, LEASE_TTL)
        assert self.paced.fill([(KEY, grant.token, NEW, 3)], TTL) == [False]
        assert isinstance(self.paced.get([KEY])[0], Lease)

    def test_every_writer_has_a_deadline(self) -> None:
        """The hold of a writer who died ends at its own deadline, not at that of others who joined."""
        self.paced.hold([KEY], MINE, HOLD_TTL)
        self._pass()
        self.paced.hold([KEY], YOURS, 2 * HOLD_TTL)
        self._pass(2)
        self.paced.complete([KEY], YOURS, {}, TTL)
        assert self.paced.get([KEY]) == [None]

    def test_a_hold_expires(self) -> None:
        """After the last deadline a hold is nothing: the next reader is granted a lease."""
        self.paced.hold([KEY], MINE, HOLD_TTL)
        self._pass()
        assert isinstance(self.paced.get([KEY])[0], Hold)
        self._pass(2)
        assert self.paced.get([KEY]) == [None]
        assert isinstance(self.paced.acquire([KEY], YOURS, LEASE_TTL)[0], Grant)

    def test_prepare_again_prolongs_a_hold(self) -> None:
        """A writer who prepares again holds from then on."""
        self.paced.hold([KEY], MINE, HOLD_TTL)
        self._pass(2)
        self.paced.hold([KEY], MINE, HOLD_TTL)
        self._pass()
        assert isinstance(self.paced.get([KEY])[0], Hold)

    def test_a_value_expires(self) -> None:
        """A value lives for its time to live, and without one until it is replaced."""
        self.paced.put([(KEY, OLD, 3)], LEASE_TTL)
        self.paced.put([(KEYS[1], OLD, 3)], None)
        self._pass()
        assert self.paced.get(KEYS[:2]) == [OLD, OLD]
        self._pass()
        assert self.paced.get(KEYS[:2]) == [None, OLD]

    # -- batches and content -------------------------------------------------------------------------

    def test_a_thousand_keys(self) -> None:
        """Every operation takes a large batch and answers in its order."""
        keys = [f"suite:many:{number}" for number in range(1000)]
        values = [Value(b"%d" % number, b"stamp") for number in range(1000)]
        grants = self.backend.acquire(keys, MINE, LEASE_TTL)
        fills = [(key, grant.token, value, 4) for key, grant, value in zip(keys, grants, values, strict=True)]
        assert self.backend.fill(fills[::2], TTL) == [True] * 500
        self.backend.abandon([(key, token) for key, token, _, _ in fills[1::2]])
        assert self.backend.get(keys) == [value if number % 2 == 0 else None for number, value in enumerate(values)]
        self.backend.hold(keys, MINE, HOLD_TTL)
        assert all(isinstance(entry, Hold) for entry in self.backend.get(keys))
        self.backend.complete(keys, MINE, {keys[3]: (values[3], 4)}, TTL)
        assert self.backend.get(keys) == [value if number == 3 else None for number, value in enumerate(values)]
        self.backend.hold(keys, MINE, HOLD_TTL)
        self.backend.release(keys, MINE)
        assert self.backend.get(keys) == [None] * 1000
        assert (
            self.backend.put([(key, value, 4) for key, value in zip(keys, values, strict=True)], TTL) == [True] * 1000
        )
        replies = self.backend.displace(list(zip(keys, values, strict=True)), MINE, LEASE_TTL)
        assert all(isinstance(reply, Grant) for reply in replies)
        assert self.backend.forget(keys) == [True] * 1000

    def test_no_keys(self) -> None:
        """A batch of nothing does nothing."""
        assert self.backend.get([]) == []
        assert self.backend.acquire([], MINE, LEASE_TTL) == []
        assert self.backend.displace([], MINE, LEASE_TTL) == []
        assert self.backend.fill([], TTL) == []
        assert self.backend.put([], TTL) == []
        assert self.backend.forget([]) == []
        for done in (
            self.backend.abandon([]),
            self.backend.hold([], MINE, HOLD_TTL),
            self.backend.complete([], MINE, {}, TTL),
            self.backend.release([], MINE),
        ):
            assert done is None

    @pytest.mark.parametrize(
        "payload", [b"", bytes(range(256)) * 64, b"\xcc\x0e\x01", b"VALUE x 0 1\r\nEND\r\n", b"$-1\r\n"]
    )
    def test_any_payload(self, payload: bytes) -> None:
        """Payload and stamp come back as they were, whatever bytes they are."""
        value = Value(payload, bytes(range(32)))
        [grant] = self.backend.acquire([KEY], MINE, LEASE_TTL)
        assert self.backend.fill([(KEY, grant.token, value, len(payload))], TTL) == [True]
        assert self.backend.get([KEY]) == [value]

    def test_a_value_too_large(self) -> None:
        """A value too large for the server is not stored, and no other value stands in its place."""
        if self.too_large is None:
            pytest.skip("this backend has no such limit")
        value = Value(b"x" * self.too_large, b"stamp")
        self.backend.put([(KEY, OLD, 3)], TTL)
        assert self.backend.put([(KEY, value, self.too_large)], TTL) == [False]
        assert self.backend.get([KEY]) == [None]
        [grant] = self.backend.acquire([KEY], MINE, LEASE_TTL)
        assert self.backend.fill([(KEY, grant.token, value, self.too_large)], TTL) == [None]
        assert not isinstance(self.backend.get([KEY])[0], Value)
        self.backend.hold([KEY], MINE, HOLD_TTL)
        self.backend.complete([KEY], MINE, {KEY: (value, self.too_large)}, TTL)
        assert self.backend.get([KEY]) == [None]

    @pytest.mark.parametrize("raw", [b"", b"rubbish", b"\0" * 64, b"\xcc\x0e\xff" + b"12345678" + b"vx"])
    def test_unusable_bytes(self, raw: bytes) -> None:
        """Bytes that are no entry are shown as Unusable, never granted, and give way to a reader or writer."""
        self.inject(KEY, raw)
        [seen] = self.backend.get([KEY])
        assert isinstance(seen, Unusable)
        assert self.backend.acquire([KEY], MINE, LEASE_TTL) == [seen]
        assert self.backend.fill([(KEY, MINE, NEW, 3)], TTL) == [False]
        assert isinstance(self.backend.displace([(KEY, seen)], MINE, LEASE_TTL)[0], Grant)
        self.inject(KEY, raw)
        self.backend.hold([KEY], MINE, HOLD_TTL)
        assert essence(self.backend.get([KEY])[0]) == ("Hold", {MINE})
        self.inject(KEY, raw)
        self.backend.complete([KEY], MINE, {}, TTL)
        assert self.backend.get([KEY]) == [None]

    def test_clear(self) -> None:
        """After clear nothing stands anywhere."""
        self.backend.put([(key, OLD, 3) for key in KEYS], TTL)
        self.backend.hold(KEYS[:1], MINE, HOLD_TTL)
        self.backend.clear()
        assert self.backend.get(KEYS) == [None] * 3

    def test_diagnose(self) -> None:
        """A backend says in sentences what in its server's settings weakens the promise."""
        found: list[Any] = self.backend.diagnose()
        assert isinstance(found, list)
        assert all(isinstance(sentence, str) and sentence for sentence in found)

    def test_close_twice(self) -> None:
        """Closing twice is allowed."""
        self.backend.close()
        self.backend.close()

    def test_it_says_what_it_is(self) -> None:
        """A backend has a name for messages, and says whether it keeps objects or bytes."""
        assert isinstance(self.backend.name, str)
        assert self.backend.name
        assert type(self.backend.keeps_objects) is bool


class _Blocking:
    """An async backend as a blocking one: its calls run in an event loop of a thread of their own, so many at once."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._backend = self._run(make)

    def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        async def calling() -> Any:
            return await awaited(call(*arguments))

        return asyncio.run_coroutine_threadsafe(calling(), self._loop).result()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._backend, name)
        return partial(self._run, attribute) if callable(attribute) else attribute

    def stop(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class AsyncBackendSuite(BackendSuite):
    """The same tests for a backend whose calls are awaited; `make_backend` runs in the event loop and may be async."""

    def opened(self) -> Any:
        return _Blocking(lambda: self.make_backend(self.clock))

    def finish(self) -> None:
        self.backend.stop()
