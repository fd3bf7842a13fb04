"""Interrupts, signals, forks and ends that come at the worst moment of an exchange with a memcached server."""

import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import cachecore.backends.memcached.link
from cachecore.backends.breaker import Breaker
from cachecore.backends.memcached import _short_way_py
from cachecore.backends.memcached.backend import MemcachedBackend
from cachecore.backends.memcached.settings import parsed
from cachecore.entries import Value
from cachecore.errors import BackendError, BackendTimeout, BackendUnavailable
from cachecore.registry import make_backend
from cachecore.testing import ManualClock
from cachecore.testing.servers import Certificates, Fault, MemcachedServer, Proxy
from tests.conftest import require
from tests.programs import NEVER_CLOSES, run

MINE = b"mine----"
KEYS = [f"races:{number}" for number in range(6)]
VALUES = [Value(key.encode(), b"stamp") for key in KEYS]
PACKAGE = str(Path(cachecore.backends.memcached.__file__).parent)


@pytest.fixture
def proxy(memcached_server: MemcachedServer) -> Iterator[Proxy]:
    """A server behind a proxy that can be told to misbehave."""
    with Proxy(memcached_server) as proxy:
        yield proxy


# -- interrupts -------------------------------------------------------------------------------------


class Interrupted(BaseException):
    """What a signal handler raises."""


class Interrupter:
    """Raises `Interrupted` at the given step of this package's code; the steps are its lines, calls and returns.

    twice: whether the next call that it makes then, such as one that would close the connection, is interrupted too.
    """

    def __init__(self, step: int, twice: bool) -> None:
        self.step = step
        self.twice = twice
        self.happened = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        self.step -= 1
        if self.step == 0:
            self.happened = True
            raise Interrupted
        return self

    def again(self, frame: FrameType, event: str, argument: Any) -> None:
        """Python has forgotten the first function when it raised, but not this one."""
        if self.happened and event in ("call", "c_call") and frame.f_code.co_filename.startswith(PACKAGE):
            raise Interrupted

    def interrupt(self, request: Callable[[], object]) -> None:
        """Make the request; what it raises is of no interest.

        Where an interrupt is raised in a call that a handler makes, CPython 3.11 now and then tells it as a TypeError
        about its own stack. So this is no context manager, and takes that for the interrupt that it is.
        """
        before = sys.gettrace(), sys.getprofile()
        try:
            if self.twice:
                sys.setprofile(self.again)
            sys.settrace(self)
            request()
        except (Interrupted, BackendError):
            pass
        except TypeError as error:
            if str(error) != "'traceback' object is not callable":
                raise
        finally:
            sys.settrace(before[0])
            sys.setprofile(before[1])


def one_too_many(reply: bytes) -> bytes:
    """A reply, and a miss before it: a failure that must end the connection, on which more is to come."""
    return b"EN\r\n" + reply


# An interrupt of a generator's end, or of __del__, is told to nobody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("action", ["get", "get in Python", "hold"])
@pytest.mark.parametrize("servers", [1, 2])
def test_an_interrupt_anywhere_leaves_no_answer_for_the_next_caller(
    servers: int, action: str, failing: bool, twice: bool
) -> None:
    """Wherever an interrupt comes in a request, or while its failure or another interrupt is handled, the next one gets
    its own answer, and the one after that over the same connections."""
    with contextlib.ExitStack() as stack:
        fleet = [stack.enter_context(require(MemcachedServer)) for _ in range(servers)]
        proxies = [stack.enter_context(Proxy(server)) for server in fleet]
        url = "memcached://" + ",".join(f"{proxy.host}:{proxy.port}" for proxy in proxies)
        backend = stack.enter_context(contextlib.closing(make_backend(url, {"timeout": 5, "connect_timeout": 5})))
        request: Callable[[], Any] = {
            "get": lambda: backend.get(KEYS[:4]),
            "get in Python": lambda: backend.get(KEYS[:4]),
            "hold": lambda: backend.hold(["races:a", "races:b", "races:c"], MINE, 15.0),
        }[action]
        backend.put([(key, value, 3) for key, value in zip(KEYS, VALUES, strict=True)], None)
        if action == "get in Python" and servers == 1:
            backend._short_way = _short_way_py.ShortWay(backend._servers[0], time.monotonic)
        steps = 0
        while True:
            steps += 1
            backend.get(KEYS)
            interrupter = Interrupter(steps, twice)
            if failing:
                proxies[0].behave(Fault(replace=one_too_many))
            interrupter.interrupt(request)
            proxies[0].behave()
            for server in backend._servers:
                server.breaker = Breaker("it", 1.0, ManualClock())
            assert backend.get(KEYS[4:]) == VALUES[4:], steps
            assert backend.get(KEYS) == VALUES, steps
            # Not counted by the proxies, which may learn late of one that the interrupted request had begun.
            links = [getattr(server.mine, "link", None) for server in backend._servers]
            assert backend.get(KEYS[3:]) == VALUES[3:], steps
            assert [getattr(server.mine, "link", None) for server in backend._servers] == links, steps
            if not interrupter.happened:
                break
        # In the compiled short way there is nothing to interrupt.
        assert steps > (4 if action == "get" and servers == 1 and not failing else 30)


async def test_an_interrupt_between_the_socket_and_the_reader_ends_the_connection(proxy: Proxy) -> None:
    """Of a reply whose first part was lost to an interrupt the rest is not read: it could look like another reply."""
    backend = make_backend(proxy.url, {"timeout": 5}, awaited=True)
    value = Value(b"ends as a miss does: EN", b"stamp")
    await backend.put([(KEYS[0], value, 3)], None)
    [pool] = backend._servers[0]._pools.values()
    [link] = pool.idle
    loop = asyncio.get_running_loop()
    real, lost = link._socket, []

    class Interrupting:
        """Has received all but the last four bytes when it is interrupted."""

        def recv(self, size: int) -> bytes:
            if lost:
                return lost.pop()
            reply = real.recv(size)
            lost.append(reply[-4:])
            loop.call_soon(link._on_readable)
            raise Interrupted

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    def readable() -> None:
        with contextlib.suppress(Interrupted):
            link._on_readable()

    loop.remove_reader(real)
    loop.add_reader(real, readable)
    link._socket = Interrupting()
    # Over another connection, for the first one is not used again.
    assert await backend.get(KEYS[:1]) == [value]
    assert link.is_closed
    assert await backend.get(KEYS[:1]) == [value]
    await backend.close()


# -- time ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def alarms(every: float) -> Iterator[None]:
    """A timer that sends a signal again and again, as profilers do."""
    previous = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, every, every)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("connected", [False, True])
def test_a_profiler_does_not_stretch_the_timeout(proxy: Proxy, connected: bool) -> None:
    """A timer whose signals come faster than the timeout does not keep a reader at a server that hangs, whether it
    began before the connection or after it."""
    clock = ManualClock()
    backend = MemcachedBackend(parsed(proxy.url, {"timeout": 0.3}), clock=clock)
    give_up = threading.Timer(20, proxy.cut)
    if connected:
        backend.get(KEYS)
    with alarms(0.02):
        clock.advance(2.0)
        backend.get(KEYS)
        proxy.behave(Fault(stall_after=0))
        give_up.start()
        try:
            with pytest.raises(BackendTimeout):
                backend.get(KEYS)
        finally:
            give_up.cancel()
    backend.close()


@pytest.mark.parametrize("awaited", [False, True])
def test_a_server_that_hangs_costs_a_timeout_with_tls_too(certificates: Certificates, awaited: bool) -> None:
    """The timeout ends the wait for a reply on an encrypted connection."""
    with require(MemcachedServer, tls=certificates) as server, Proxy(server) as proxy:
        backend = make_backend(
            proxy.url, {"timeout": 0.3, "connect_timeout": 5, "ca_certs": str(certificates.ca)}, awaited=awaited
        )

        async def read() -> None:
            for _ in range(2):
                found = backend.get(KEYS)
                if awaited:
                    await found
                proxy.behave(Fault(stall_after=0))

        give_up = threading.Timer(20, proxy.cut)
        give_up.start()
        try:
            with pytest.raises(BackendTimeout):
                asyncio.run(read())
        finally:
            give_up.cancel()
        if not awaited:
            backend.close()


# -- ends ---------------------------------------------------------------------------------------------


def test_a_backend_is_closed_while_a_thread_waits(
    memcached_server: MemcachedServer, certificates: Certificates
) -> None:
    """Who waits for a reply is told at once, with TLS too, and its socket is left to it."""
    with require(MemcachedServer, tls=certificates) as secure:
        for server, options in ((memcached_server, {}), (secure, {"ca_certs": str(certificates.ca)})):
            with Proxy(server) as proxy:
                backend = make_backend(proxy.url, {"timeout": 60, "connect_timeout": 5, **options})
                links: list[Any] = []
                found: list[object] = []

                def read(backend: Any = backend, links: list[Any] = links, found: list[object] = found) -> None:
                    backend.get(KEYS)
                    links.extend(backend._servers[0]._links)
                    proxy.behave(Fault(stall_after=0))
                    try:
                        backend.get(KEYS)
                    except BackendError as error:
                        found.append(error)

                thread = threading.Thread(target=read)
                thread.start()
                while not (links and links[0].is_busy):
                    thread.join(0.001)
                number = links[0]._socket.fileno()
                closing = threading.Thread(target=backend.close)
                closing.start()
                closing.join()
                thread.join()
                assert number >= 0
                assert links[0].is_closed
                assert isinstance(found[0], BackendUnavailable)
                assert "closed" in str(found[0])


async def test_a_backend_is_closed_while_a_task_waits(memcached_server: MemcachedServer) -> None:
    """Who waits for a reply, or for a connection, is told at once, and its socket is left to it: another might get the
    same number, and with it what the event loop knows of the old one. Later calls are served, and nobody is suspected.
    """
    loop = asyncio.get_running_loop()
    with Proxy(memcached_server) as proxy:
        backend = make_backend(proxy.url, {"timeout": 600, "max_connections": 1}, awaited=True)
        await backend.get(KEYS)
        [server] = backend._servers
        [pool] = server._pools.values()
        [link] = pool.idle
        number = link._socket.fileno()
        proxy.behave(Fault(stall_after=0))
        reading = [loop.create_task(backend.get(KEYS)) for _ in range(2)]
        while not link.is_busy:
            await asyncio.sleep(0)
        await backend.close()
        assert link._socket.fileno() == number
        for one in reading:
            with pytest.raises(BackendUnavailable, match="closed"):
                await one
        assert link.is_closed
        assert not loop.remove_reader(number)
        proxy.behave()
        assert not server.breaker.is_open
        assert len(await backend.get(KEYS)) == len(KEYS)
        await backend.close()


@pytest.mark.parametrize("awaited", [False, True])
def test_a_backend_is_closed_while_it_connects(proxy: Proxy, awaited: bool) -> None:
    """A connection that is being made when the backend is closed serves nobody, and is closed."""
    backend = make_backend(proxy.url, {"timeout": 60, "connect_timeout": 60}, awaited=awaited)
    before = proxy.connections
    proxy.behave(Fault(stall_after=0))

    def read() -> None:
        with pytest.raises(BackendUnavailable, match="have been closed"):
            backend.get(KEYS)

    async def read_and_close() -> None:
        reading = asyncio.create_task(backend.get(KEYS))
        while proxy.connections == before:
            await asyncio.sleep(0.001)
        await backend.close()
        proxy.behave()
        with pytest.raises(BackendUnavailable, match="have been closed"):
            await reading

    if awaited:
        asyncio.run(read_and_close())
        return
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read)
        while proxy.connections == before:
            assert not reading.done()
        backend.close()
        proxy.behave()
        reading.result()
        assert not list(backend._servers[0]._links)


# -- processes ----------------------------------------------------------------------------------------


def test_a_child_that_is_forked_while_a_thread_has_a_lock(memcached_server: MemcachedServer) -> None:
    """The child does not wait for a lock that nobody there will give back, and knows what its parent knew."""
    run(
        """
        import asyncio, logging, os, signal, sys, threading
        from cachecore.errors import BackendUnavailable
        from cachecore.registry import make_backend

        logging.disable()
        backend, awaited = make_backend(sys.argv[1]), make_backend(sys.argv[1], awaited=True)
        backend.get(["races:fork"])
        [server], [other] = backend._servers, awaited._servers
        server.lives._left[b"before"] = 0.0
        other.breaker.failed(BackendUnavailable("it"))
        taken, done = threading.Event(), threading.Event()

        def hold():
            with server._lock, server.lives._lock, server.breaker._lock, other.lives._lock, other.breaker._lock:
                taken.set()
                done.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        taken.wait()
        if (child := os.fork()) == 0:
            signal.alarm(20)
            assert other.breaker.is_open
            for one in (server, other):
                one.breaker.failed(BackendUnavailable("it"))
                one.breaker.succeeded()
            assert server.lives._left
            server.lives.current = b""  # so that it takes the lock
            backend.get(["races:fork"])
            asyncio.run(awaited.get(["races:fork"]))
            backend.close()
            os._exit(0)
        ended = os.waitpid(child, 0)[1]
        done.set()
        thread.join()
        backend.close()
        assert ended == 0
        """,
        memcached_server.url,
    )


def test_a_child_that_is_forked_in_an_exchange_does_not_read_on(memcached_server: MemcachedServer) -> None:
    """A child that a signal handler forks while its thread waits has an error; the parent has its reply."""
    run(
        """
        import logging, os, signal, sys
        from cachecore.errors import BackendUnavailable
        from cachecore.registry import make_backend

        logging.disable()
        backend = make_backend(sys.argv[1])
        backend.get(["races:fork"])
        link = backend._servers[0].mine.link
        receive, children = link.receive_some, []

        def forking(size):
            if not children:
                children.append(os.fork())
                if children[0] == 0:
                    signal.alarm(20)
            return receive(size)

        link.receive_some = forking
        try:
            found = backend.get(["races:fork"])
        except BackendUnavailable:
            os._exit(0 if children == [0] else 1)
        if children == [0]:
            os._exit(2)
        assert os.waitpid(children[0], 0)[1] == 0
        assert found == [None]
        assert backend.get(["races:fork"]) == [None]
        backend.close()
        """,
        memcached_server.url,
    )


@pytest.mark.parametrize("awaited", [False, True])
def test_a_process_may_end_without_closing(memcached_server: MemcachedServer, awaited: bool) -> None:
    """A process that never closes its backend, and has daemon threads that use it, ends without a word."""
    run(NEVER_CLOSES, memcached_server.url, str(awaited))
