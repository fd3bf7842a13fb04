"""The circuit breaker that stands before each server."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cachecore.backends.breaker import Breaker
from cachecore.errors import BackendTimeout, BackendUnavailable
from cachecore.testing import ManualClock
from tests.programs import run


@pytest.fixture
def breaker(clock: ManualClock) -> Breaker:
    """A breaker with a window of two seconds."""
    return Breaker("redis at 127.0.0.1:6379", window=2.0, clock=clock)


def test_a_closed_breaker_lets_everybody_pass(breaker: Breaker) -> None:
    """Before the first failure nothing is refused."""
    assert not breaker.is_open
    for _ in range(3):
        breaker.check()


def test_after_a_failure_nobody_passes_until_the_window_is_over(breaker: Breaker, clock: ManualClock) -> None:
    """An open breaker refuses at once and says why; it names the server and the failure."""
    breaker.failed(BackendTimeout("no answer in 0.5 s"))
    assert breaker.is_open
    for _ in range(3):
        with pytest.raises(BackendUnavailable, match=r"redis at 127.0.0.1:6379 .* no answer in 0.5 s"):
            breaker.check()
    clock.advance(1.9)
    with pytest.raises(BackendUnavailable):
        breaker.check()


def test_one_caller_probes_after_the_window(breaker: Breaker, clock: ManualClock) -> None:
    """Of many who ask when the window is over one passes; the others are refused until its answer is known."""
    breaker.failed(BackendTimeout("late"))
    clock.advance(2.0)
    barrier = threading.Barrier(8)

    def ask(_: int) -> bool:
        barrier.wait()
        try:
            breaker.check()
        except BackendUnavailable:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 1


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: ManualClock) -> None:
    """After a good answer everybody passes again."""
    breaker.failed(BackendTimeout("late"))
    clock.advance(2.0)
    breaker.check()
    breaker.succeeded()
    assert not breaker.is_open
    breaker.check()
    breaker.check()


def test_a_probe_that_fails_begins_another_window(breaker: Breaker, clock: ManualClock) -> None:
    """A dead server costs one probe in each window."""
    breaker.failed(BackendTimeout("late"))
    for _ in range(3):
        clock.advance(2.0)
        breaker.check()
        breaker.failed(BackendTimeout("late"))
        with pytest.raises(BackendUnavailable):
            breaker.check()


def test_a_prober_who_disappears_blocks_nobody_for_ever(breaker: Breaker, clock: ManualClock) -> None:
    """If the one who probes never tells what came of it, another may probe a window later."""
    breaker.failed(BackendTimeout("late"))
    clock.advance(2.0)
    breaker.check()
    with pytest.raises(BackendUnavailable):
        breaker.check()
    clock.advance(2.0)
    breaker.check()


def test_it_logs_when_it_opens_and_closes_and_not_in_between(
    breaker: Breaker, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log when a server is given up, one when it is back."""
    with caplog.at_level(logging.WARNING, logger="cachecore"):
        for _ in range(5):
            breaker.failed(BackendTimeout("late"))
        clock.advance(2.0)
        breaker.check()
        breaker.succeeded()
        breaker.succeeded()
    assert len(caplog.records) == 2
    assert "is not asked for 2 s: late" in caplog.messages[0]
    assert "answers again" in caplog.messages[1]


def test_who_interrupts_a_thread_that_has_the_lock_may_ask_too(clock: ManualClock) -> None:
    """A signal handler or finalizer that comes upon the breaker in the middle of its thread's call does not wait for
    that thread."""
    interrupting: list[None] = []

    def interrupted() -> float:
        if interrupting:
            interrupting.pop()
            breaker.failed(BackendTimeout("interrupted"))
        return clock()

    breaker = Breaker("it", window=2.0, clock=interrupted)
    interrupting.append(None)
    thread = threading.Thread(target=breaker.failed, args=(BackendTimeout("late"),), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert breaker.is_open


def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent() -> None:
    """A child knows what its parent knew of the server, and has a lock of its own, whoever had the parent's."""
    script = """
        import logging, os, signal, threading
        from cachecore.backends.breaker import Breaker
        from cachecore.errors import BackendTimeout, BackendUnavailable

        logging.disable()
        breaker = Breaker("it", window=3600.0)
        breaker.failed(BackendTimeout("late"))
        taken, done = threading.Event(), threading.Event()

        def hold():
            with breaker._lock:
                taken.set()
                done.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        taken.wait()
        if (child := os.fork()) == 0:
            signal.alarm(20)
            try:
                breaker.check()
            except BackendUnavailable:
                breaker.succeeded()
                os._exit(0)
            os._exit(1)
        ended = os.waitpid(child, 0)[1]
        done.set()
        thread.join()
        assert ended == 0
    """
    run(script)
