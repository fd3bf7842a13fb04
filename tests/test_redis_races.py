"""Replies that are lost, late or interrupted on a Redis server: none of them makes an old value readable."""

import asyncio
import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import cachecore.backends.redis.link
from cachecore.backends.breaker import Breaker
from cachecore.backends.redis.scripts import HELD
from cachecore.entries import Grant, Lease, Value
from cachecore.errors import BackendError, BackendMisconfigured, BackendUnavailable
from cachecore.registry import make_backend
from cachecore.testing import ManualClock
from cachecore.testing.servers import Certificates, Fault, Proxy, RedisServer
from tests.conftest import require
from tests.programs import NEVER_CLOSES, run
from tests.redis_fleets import Connect, every_way

MINE, YOURS = b"mine----", b"yours---"
OLD, NEW = Value(b"old", b"stamp"), Value(b"new", b"stamp")
KEY, OTHER = "races:1", "races:2"
PACKAGE = str(Path(cachecore.backends.redis.__file__).parent)


@pytest.fixture(params=["blocking", "awaited"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes backends, blocking or awaited ones that are driven from outside their loop; they are closed afterwards."""
    with every_way(awaited=request.param == "awaited") as connect:
        yield connect


# -- requests that arrive late ----------------------------------------------------------------------


class Losing:
    """Where a request goes whose connection ends when it has been sent. It arrives all the same, some day."""

    def __init__(self) -> None:
        self.ours, self._theirs = socket.socketpair()
        self._sent = b""
        self._taking = threading.Thread(target=self._take)
        self._taking.start()

    def _take(self) -> None:
        with self._theirs:
            self._sent = self._theirs.recv(1_000_000)

    def sent(self) -> bytes:
        """What was sent, now that nobody uses our end any more."""
        self._taking.join()
        self.ours.close()
        return self._sent


def lose_next(backend: Any) -> Losing:
    """The next request of a backend is on its way when its connection ends."""
    [link] = [link for link in backend.topology._links if link.is_open]
    losing = Losing()
    losing.ours.settimeout(link.socket.gettimeout())
    link.socket = losing.ours
    return losing


def arrive(server: RedisServer, late: Losing) -> None:
    """What was on its way arrives, and has been carried out when this returns."""
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(late.sent() + b"*1\r\n$4\r\nPING\r\n")
        received = b""
        while b"+PONG\r\n" not in received:
            received += connection.recv(65_536)


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("displaced", [False, True])
def test_a_lease_that_arrives_late_is_nobodys(
    connect: Connect, redis_server: RedisServer, count: int, displaced: bool
) -> None:
    """A request for a lease that was sent again, and is carried out after a writer has come and gone, lets nobody fill
    what he read before."""
    backend = connect(redis_server.url)
    backend.clear()
    keys = [f"races:{number}" for number in range(count)]
    # In the round trip that leaves leases; before it, many keys are only read.
    if displaced:
        backend.put([(key, OLD, 3) for key in keys], None)
        late = lose_next(backend)
        granted = backend.displace([(key, OLD) for key in keys], MINE, 60.0)
    else:
        backend.get(keys)
        late = lose_next(backend)
        granted = backend.acquire(keys, MINE, 60.0)
    assert all(type(grant) is Grant for grant in granted)
    # The reader reads the old row; a writer outdates it.
    backend.hold(keys, YOURS, 60.0)
    backend.complete(keys, YOURS, {}, None)
    arrive(redis_server, late)
    if displaced or count == 1:
        assert backend.get(keys) == [Lease(MINE)] * count
    filled = backend.fill([(key, grant.token, OLD, 3) for key, grant in zip(keys, granted, strict=True)], None)
    assert filled == [False] * count
    assert not any(type(entry) is Value for entry in backend.get(keys))


def test_a_hold_that_arrives_late_stores_nothing(connect: Connect, redis_server: RedisServer) -> None:
    """A PREPARE or COMPLETE that was sent again, and is carried out late, keeps readers out or costs a miss."""
    backend = connect(redis_server.url)
    backend.clear()
    backend.get([KEY])
    late = lose_next(backend)
    backend.hold([KEY], MINE, 60.0)
    late_too = lose_next(backend)
    backend.complete([KEY], MINE, {KEY: (OLD, 3)}, None)
    assert backend.get([KEY]) == [OLD]
    # Another writes a newer row, and a reader fills it.
    backend.hold([KEY], YOURS, 60.0)
    backend.complete([KEY], YOURS, {KEY: (NEW, 3)}, None)
    arrive(redis_server, late_too)
    assert backend.get([KEY]) == [None]
    arrive(redis_server, late)
    [entry] = backend.acquire([KEY], YOURS, 60.0)
    assert [token for token, _ in entry.tokens] == [MINE]


# -- interrupts -------------------------------------------------------------------------------------


class Interrupted(BaseException):
    """What a signal handler raises."""


class Interrupter:
    """Raises `Interrupted` at the given step of this package's code; the steps are its lines, calls and returns."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.happened = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        self.step -= 1
        if self.step == 0:
            self.happened = True
            raise Interrupted
        return self

    def interrupt(self, request: Callable[[], object]) -> None:
        """Make the request; what it raises is of no interest.

        Not a context manager: now and then CPython 3.11 calls a traceback instead of __exit__ after such an interrupt.
        """
        before = sys.gettrace()
        try:
            sys.settrace(self)
            request()
        except (Interrupted, BackendError):
            pass
        finally:
            sys.settrace(before)


def read(backend: Any, *keys: str) -> Any:
    """What stands under the keys, by the general way."""
    return backend.get(keys)


def read_or_lease(backend: Any, *keys: str) -> Any:
    """The same, straight if it can be."""
    return backend.acquire(keys, MINE, 10.0)


# An interrupt of a generator's end, or of __del__, is told to nobody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("ask", [read, read_or_lease])
def test_an_interrupt_anywhere_leaves_no_answer_for_the_next_caller(
    redis_server: RedisServer, ask: Callable[..., Any], failing: bool
) -> None:
    """Wherever an interrupt comes in a request, or while its failure is handled, the next one gets its own answer."""
    with Proxy(redis_server) as proxy, contextlib.closing(make_backend(proxy.url, {"timeout": 5})) as backend:
        backend.put([(KEY, OLD, 3), (OTHER, NEW, 3)], None)
        steps = 0
        while True:
            steps += 1
            ask(backend, KEY)
            interrupter = Interrupter(steps)
            if failing:
                # One reply too many: the failure must end the connection, on which more is to come.
                proxy.behave(Fault(replace=lambda reply: b"$-1\r\n" + reply))
            interrupter.interrupt(lambda: ask(backend, KEY))
            proxy.behave()
            backend.topology.breaker = Breaker("it", 1.0, ManualClock())
            assert ask(backend, OTHER) == [NEW], steps
            assert ask(backend, OTHER, OTHER) == [NEW, NEW], steps
            if not interrupter.happened:
                break
        assert steps > 20


async def test_a_backend_is_closed_while_a_reader_waits(redis_server: RedisServer) -> None:
    """Who waits for a reply is told at once, and its socket is left to it: another might get the same number, and with
    it what the event loop knows of the old one."""
    loop = asyncio.get_running_loop()
    with Proxy(redis_server) as proxy:
        backend = make_backend(proxy.url, {"timeout": 600}, awaited=True)
        await backend.get([KEY])
        [link] = backend.topology._links
        number = link.socket.fileno()
        proxy.behave(Fault(stall_after=0))
        reading = loop.create_task(backend.get([KEY]))
        while not link.is_busy:
            await asyncio.sleep(0)
        await backend.close()
        assert link.socket.fileno() == number
        with pytest.raises(BackendUnavailable, match="closed"):
            await reading
        assert not link.is_open
        assert not loop.remove_reader(number)


@pytest.mark.parametrize("ask", [read, read_or_lease])
def test_a_backend_is_closed_while_a_thread_waits(
    redis_server: RedisServer, certificates: Certificates, ask: Callable[..., Any]
) -> None:
    """The same with threads, and with TLS."""
    with require(RedisServer, tls=certificates) as secure:
        for server, options in ((redis_server, {}), (secure, {"ca_certs": str(certificates.ca)})):
            with Proxy(server) as proxy:
                backend = make_backend(proxy.url, {"timeout": 600, **options})
                found: list[object] = []

                def wait(backend: Any = backend, found: list[object] = found) -> None:
                    ask(backend, KEY)
                    proxy.behave(Fault(stall_after=0))
                    try:
                        ask(backend, KEY)
                    except BackendError as error:
                        found.append(error)

                thread = threading.Thread(target=wait)
                thread.start()
                while not any(link.exchanges == 3 for link in list(backend.topology._links)):
                    thread.join(0.001)
                backend.close()
                thread.join()
                assert isinstance(found[0], BackendUnavailable)


# -- replies that are no acknowledgement --------------------------------------------------------------


def test_only_the_reply_of_a_hold_acknowledges_a_hold(connect: Connect, redis_server: RedisServer) -> None:
    """PREPARE fails on any other number than the one that only its script replies, such as another caller's."""
    with Proxy(redis_server) as proxy:
        backend = connect(proxy.url)
        backend.hold([KEY], MINE, 10.0)
        proxy.behave(Fault(replace=lambda reply: b":1\r\n"))
        with pytest.raises(BackendUnavailable, match=f"PREPARE for '{KEY}' is 1 and not {HELD}"):
            backend.hold([KEY], MINE, 10.0)


def test_a_server_that_refuses_to_be_cleared(connect: Connect) -> None:
    """That is an error, and nobody is told that it is empty."""
    with require(RedisServer) as server:
        server.call("ACL", "SETUSER", "user", "on", ">secret", "~*", "+@all", "-flushdb")
        backend = connect(server.url.replace("redis://", "redis://user:secret@"))
        backend.put([(KEY, OLD, 3)], None)
        with pytest.raises(BackendMisconfigured, match="flushdb"):
            backend.clear()
        assert backend.get([KEY]) == [OLD]


def test_a_reader_that_never_pauses_notices_a_demotion(
    connect: Connect, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that became a replica still answers reads, from what its new primary has told it so far: who only reads,
    and without a pause, is not answered by it for long."""
    monkeypatch.setattr(cachecore.backends.redis.link, "LOOK_EVERY", 0.05)
    with require(RedisServer) as server:
        backend = connect(server.url, timeout=5)
        keys = [f"races:{number}" for number in range(9)]
        backend.put([(key, OLD, 3) for key in keys], None)
        server.call("REPLICAOF", redis_server.host, str(redis_server.port))
        with pytest.raises(BackendMisconfigured, match="is a slave"):  # noqa: PT012
            for _ in range(100_000):
                backend.get(keys)


@pytest.mark.parametrize("error", [MemoryError("reply"), ValueError("hiredis"), RecursionError()])
def test_an_unknown_error_is_a_lost_connection(connect: Connect, redis_server: RedisServer, error: Exception) -> None:
    """Whatever the library that reads replies raises is an error of this package, and ends the connection."""
    backend = connect(redis_server.url)
    backend.put([(KEY, OLD, 3), (OTHER, NEW, 3)], None)
    [link] = backend.topology._links

    def fail(data: bytes) -> None:
        raise error

    link._wire._feed = fail
    with pytest.raises(BackendUnavailable, match=f"{redis_server.port} failed: {type(error).__name__}"):
        backend.get([KEY, "races:absent"])
    assert not link.is_open
    backend.topology.breaker.succeeded()
    assert backend.get([OTHER]) == [NEW]


# -- processes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("awaited", [False, True])
def test_a_process_may_end_without_closing(redis_server: RedisServer, awaited: bool) -> None:
    """A process that never closes its backend, and has daemon threads that use it, ends without a word."""
    run(NEVER_CLOSES, redis_server.url, str(awaited))


def test_a_child_that_is_forked_while_a_thread_has_a_lock(redis_server: RedisServer) -> None:
    """The child does not wait for a lock that nobody there will give back."""
    run(
        """
        import logging, os, signal, sys, threading
        from cachecore.backends.redis.cluster import Cluster
        from cachecore.backends.redis.sentinel import Sentinels
        from cachecore.backends.redis.settings import read_settings
        from cachecore.errors import BackendUnavailable
        from cachecore.registry import make_backend

        logging.disable()
        backend, awaited = make_backend(sys.argv[1]), make_backend(sys.argv[1], awaited=True)
        backend.get(["races:fork"])
        cluster = Cluster(read_settings("redis+cluster://h", {}))
        sentinels = Sentinels(read_settings("redis+sentinel://h/s", {}))
        both = backend.topology, awaited.topology
        taken, done = threading.Event(), threading.Event()

        def hold():
            with both[0].breaker._lock, both[1].breaker._lock, both[0]._lock, cluster._map._lock, sentinels._lock:
                taken.set()
                done.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        taken.wait()
        if (child := os.fork()) == 0:
            signal.alarm(20)
            for topology in both:
                topology.breaker.failed(BackendUnavailable("it"))
                topology.breaker.succeeded()
            assert awaited.topology._pool._breaker is awaited.topology.breaker
            backend.get(["races:fork"])
            assert cluster._map.is_time()
            assert sentinels._is_time()
            os._exit(0)
        ended = os.waitpid(child, 0)[1]
        done.set()
        thread.join()
        backend.close()
        assert ended == 0
        """,
        redis_server.url,
    )
