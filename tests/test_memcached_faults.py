"""What memcached servers and networks do to the backend: each fault ends in a clear error or a miss, never in a lie."""

import asyncio
import gc
import os
import pwd
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cachecore.backends.memcached.async_backend import AsyncMemcachedBackend
from cachecore.backends.memcached.backend import MemcachedBackend
from cachecore.backends.memcached.settings import parsed
from cachecore.entries import Entry, Grant, Hold, Value
from cachecore.errors import BackendError, BackendMisconfigured, BackendTimeout, BackendUnavailable
from cachecore.registry import make_backend
from cachecore.testing import ManualClock
from cachecore.testing.servers import Certificates, Fault, MemcachedServer, Proxy, free_port
from tests.conftest import require

MINE, YOURS = b"mine----", b"yours---"
OLD, NEW = Value(b"old", b"stamp"), Value(b"new", b"stamp")


@pytest.fixture
def server() -> Iterator[MemcachedServer]:
    """A server for one test, which may stop it."""
    with require(MemcachedServer) as server:
        yield server


@pytest.fixture
def proxy(memcached_server: MemcachedServer) -> Iterator[Proxy]:
    """A server behind a proxy that can be told to misbehave."""
    with Proxy(memcached_server) as proxy:
        yield proxy


class Blocking:
    """Either kind of backend, its calls awaited by a loop of their own."""

    def __init__(self, url: str, awaited: bool, **options: Any) -> None:
        self.runner = asyncio.Runner() if awaited else None
        self.backend = make_backend(url, options, awaited=awaited)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.backend, name)
        if self.runner is None or not callable(attribute):
            return attribute
        runner = self.runner

        async def call(*arguments: Any) -> Any:
            return await attribute(*arguments)

        return lambda *arguments: runner.run(call(*arguments))

    def finish(self) -> None:
        self.close()
        if self.runner is not None:
            self.runner.close()


@pytest.fixture(params=["blocking", "awaited"])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes backends of either kind."""
    made: list[Blocking] = []

    def make(url: str, **options: Any) -> Blocking:
        # Patient, for the machine may be busy; a test of a timeout gives its own.
        patient = {"timeout": 5.0, "connect_timeout": 5.0}
        made.append(Blocking(url, request.param == "awaited", **(patient | options)))
        return made[-1]

    yield make
    for one in made:
        one.finish()


# -- restarts, flushes, evictions ------------------------------------------------------------------


def cas_of(answer: bytes) -> bytes:
    return next(word for word in answer.split() if word[:1] == b"c")[1:]


def test_a_restarted_server_grants_an_old_cas_id_again(server: MemcachedServer) -> None:
    """The control for the next test: without incarnations, the fill of a reader from before a restart is accepted."""
    before = cas_of(server.call(b"mg row v f c N30\r\n"))
    server.kill()
    server.start()
    assert cas_of(server.call(b"mg row v f c N30\r\n")) == before
    assert server.call(b"ms row 3 C%b\r\nold\r\n" % before) == b"HD\r\n"


@pytest.mark.parametrize("dialect", ["meta", "classic"])
def test_a_lease_from_before_a_restart_fills_nothing(
    server: MemcachedServer, make: Callable[..., Any], dialect: str
) -> None:
    """A fill is refused when its lease was granted by another life of the server, whatever its CAS id."""
    backend = make(server.url, breaker_window=0.001, dialect=dialect)
    [grant] = backend.acquire(["row"], MINE, 30.0)
    server.kill()
    server.start()
    [again] = _patiently(lambda: backend.acquire(["row"], YOURS, 30.0))
    assert isinstance(again, Grant)
    assert again.token[8:] == grant.token[8:]
    assert backend.fill([("row", grant.token, OLD, 3)], None) == [False]
    assert backend.fill([("row", again.token, NEW, 3)], None) == [True]
    assert backend.get(["row"]) == [NEW]


def _patiently(ask: Callable[[], Any]) -> Any:
    """The answer when the breaker, whose window is short, lets somebody through."""
    for _ in range(1000):
        try:
            return ask()
        except BackendError:
            time.sleep(0.002)
    return ask()


@pytest.mark.parametrize("dialect", ["meta", "classic"])
def test_a_complete_from_before_a_restart_replaces_nothing_of_today(
    server: MemcachedServer, make: Callable[..., Any], dialect: str
) -> None:
    """A writer whose hold was lost in a restart leaves no value, though its CAS id is that of another's hold by now."""
    backend = make(server.url, breaker_window=0.001, dialect=dialect)
    backend.hold(["row"], MINE, 15.0)
    server.kill()
    server.start()
    _patiently(lambda: backend.hold(["row"], YOURS, 15.0))
    backend.complete(["row"], MINE, {"row": (OLD, 3)}, None)
    [hold] = backend.get(["row"])
    assert isinstance(hold, Hold)
    assert [token for token, _ in hold.tokens] == [YOURS]


def test_a_flush_takes_leases_and_holds_and_nothing_old_comes_back(
    server: MemcachedServer, make: Callable[..., Any]
) -> None:
    """After flush_all an old lease fills nothing, and COMPLETE without its hold removes what was filled meanwhile."""
    backend = make(server.url)
    [grant] = backend.acquire(["row"], MINE, 30.0)
    server.call(b"flush_all\r\n")
    assert backend.fill([("row", grant.token, OLD, 3)], None) == [False]
    backend.hold(["row"], MINE, 15.0)
    server.call(b"flush_all\r\n")
    [grant] = backend.acquire(["row"], YOURS, 30.0)
    assert backend.fill([("row", grant.token, OLD, 3)], None) == [True]
    backend.complete(["row"], MINE, {"row": (NEW, 3)}, None)
    assert backend.get(["row"]) == [None]


def stands(server: MemcachedServer) -> bool:
    # Unlike a read, this leaves it as near to eviction as it is.
    return server.call(b"me row\r\n") != b"EN\r\n"


def crowd_out(backend: MemcachedBackend, gone: Callable[[], bool]) -> bool:
    """Store small values until ``gone``; False if 100,000 were not enough."""
    for batch in range(50):
        # As small as a hold, so that they are taken from the same memory.
        backend.put([(f"{batch}:{number}", Value(b""), 0) for number in range(2000)], None)
        if gone():
            return True
    return False


def test_a_hold_that_is_evicted_leaves_nothing_old() -> None:
    """When a small server has evicted a hold and a reader filled the old row, COMPLETE removes it."""
    with require(MemcachedServer, ["-m", "2"]) as server:
        backend = make_backend(server.url, {"timeout": 5})
        backend.hold(["row"], MINE, 50.0)
        assert crowd_out(backend, lambda: not stands(server))
        [grant] = backend.acquire(["row"], YOURS, 30.0)
        assert backend.fill([("row", grant.token, OLD, 3)], None) == [True]
        backend.complete(["row"], MINE, {"row": (NEW, 3)}, None)
        assert backend.get(["row"]) == [None]
        assert ["-m" in sentence for sentence in backend.diagnose()] == [True]
        backend.close()


@pytest.mark.parametrize("dialect", ["meta", "classic"])
@pytest.mark.parametrize("cached", [True, False])
def test_short_lived_items_can_be_protected_from_eviction(cached: bool, dialect: str) -> None:
    """With temporary_ttl above hold_lifetime, holds survive what evicts them otherwise, and diagnose is content."""
    with require(MemcachedServer, ["-m", "2", "-o", "temporary_ttl=61"]) as server:
        backend = make_backend(server.url, {"timeout": 5, "dialect": dialect})
        if cached:
            backend.put([("row", OLD, 3)], 300.0)
        backend.hold(["row"], MINE, 50.0)
        assert not crowd_out(backend, lambda: not stands(server))
        assert int(server.stats()["evictions"]) > 40_000
        assert isinstance(backend.get(["row"])[0], Hold)
        before = backend.exchanges
        backend.complete(["row"], MINE, {"row": (NEW, 3)}, None)
        assert backend.exchanges == before + 1
        assert backend.get(["row"]) == [NEW]
        assert backend.diagnose() == []
        backend.close()
        longer = make_backend(server.url, {"hold_lifetime": 100})
        assert ["temporary_ttl=101" in sentence for sentence in longer.diagnose()] == [True]
        longer.close()


def test_a_full_server_that_never_evicts(make: Callable[..., Any]) -> None:
    """With -M a full server still gives hits; fills and leases find no room, and PREPARE is refused."""
    with require(MemcachedServer, ["-m", "2", "-M"]) as server:
        backend = make(server.url, timeout=5)
        row = Value(b"x" * 600)
        [stored] = backend.put([("hit", row, 600)], None)
        assert stored
        grants = [backend.acquire([f"lease:{number}"], MINE, 300.0)[0] for number in range(3)]
        for size in (600, 0, 20, 40, 60, 100, 200, 300, 400):
            stored = [True]
            while all(stored):
                names = [os.urandom(4).hex() for number in range(500)]
                stored = backend.put([(name, Value(b"x" * size), size) for name in names], None)
        assert backend.get(["hit"]) == [row]
        assert backend.fill([("lease:0", grants[0].token, row, 600)], None) == [None]
        assert not isinstance(backend.get(["lease:0"])[0], Value)
        assert _until(lambda: backend.acquire([os.urandom(8).hex()], MINE, 30.0)[0] is None)
        with pytest.raises(BackendUnavailable, match="no memory left"):
            _until(lambda: bool(backend.hold([os.urandom(8).hex()], MINE, 15.0)))
        [sentence] = backend.diagnose()
        assert "-M" in sentence


def _until(done: Callable[[], bool]) -> bool:
    """Whether it was done within a thousand attempts: a full server may have room for a few of a size."""
    return any(done() for _ in range(1000))


def test_a_value_that_is_too_large_drops_no_hold(server: MemcachedServer, make: Callable[..., Any]) -> None:
    """The server drops even a hold when it refuses a fill for its size, so that such a fill is never sent."""
    backend = make(server.url)
    [grant] = backend.acquire(["row"], MINE, 30.0)
    backend.hold(["row"], YOURS, 15.0)
    large = Value(b"x" * 2_000_000)
    assert backend.fill([("row", grant.token, large, 1)], None) == [False]
    assert isinstance(backend.get(["row"])[0], Hold)
    # The control: what the server does.
    answer = server.call(b"ms row 2000000 C%b\r\n%b\r\n" % (b"1", large.payload))
    assert answer.startswith(b"SERVER_ERROR")
    assert backend.get(["row"]) == [None]


def test_a_hold_on_a_value_that_leaves_no_room_for_it(server: MemcachedServer, make: Callable[..., Any]) -> None:
    """Where a value is so large that nothing can be appended, the hold takes its place."""
    server.call(b"ms row 1048500 T0 F1048500\r\n%b\r\n" % (b"x" * 1048500))
    backend = make(server.url, timeout=5)
    backend.hold(["row"], MINE, 15.0)
    [hold] = backend.get(["row"])
    assert isinstance(hold, Hold)
    backend.hold(["row"], YOURS, 15.0)
    backend.complete(["row"], MINE, {}, None)
    backend.complete(["row"], YOURS, {"row": (NEW, 3)}, None)
    assert backend.get(["row"]) == [None]


# -- servers that do not answer --------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MemcachedBackend, AsyncMemcachedBackend])
async def test_a_server_that_hangs_costs_one_timeout_in_each_window(server: MemcachedServer, kind: Any) -> None:
    """While a server is stopped only the first read of a window waits for it; afterwards it is used again."""
    clock = ManualClock()
    backend = kind(parsed(server.url, {"timeout": 0.7, "connect_timeout": 0.7, "breaker_window": 10.0}), clock=clock)

    async def read() -> str:
        try:
            reply = backend.get(["row"])
            return str(reply if kind is MemcachedBackend else await reply)
        except BackendError as error:
            return "not asked" if "not asked again" in str(error) else type(error).__name__

    assert await read() == "[None]"
    server.pause()
    assert await read() == "BackendTimeout"
    assert [await read() for _ in range(50)] == ["not asked"] * 50
    clock.advance(10.5)
    # The kernel still accepts connections for a stopped server, which then does not say who it is.
    assert await read() == "BackendUnavailable"
    assert await read() == "not asked"
    server.resume()
    assert await read() == "not asked"
    clock.advance(10.5)
    assert await read() == "[None]"
    closing = backend.close()
    if closing is not None:
        await closing


def test_a_killed_server_is_unavailable_and_then_used_again(server: MemcachedServer, make: Callable[..., Any]) -> None:
    """Reads and writes of a server that is gone raise BackendUnavailable with its address; no value outlives it."""
    backend = make(server.url, breaker_window=0.001)
    backend.put([("row", OLD, 3)], None)
    server.kill()
    for ask in (lambda: backend.get(["row"]), lambda: backend.hold(["row"], MINE, 15.0)):
        with pytest.raises(BackendUnavailable, match=f"127.0.0.1:{server.port}"):
            ask()
    server.start()
    assert _patiently(lambda: backend.get(["row"])) == [None]


def test_nobody_listens(make: Callable[..., Any]) -> None:
    """A wrong port is BackendUnavailable with the address."""
    port = free_port()
    with pytest.raises(BackendUnavailable, match=f"127.0.0.1:{port}"):
        make(f"memcached://127.0.0.1:{port}").get(["row"])


def test_a_name_that_nobody_has(make: Callable[..., Any]) -> None:
    """A host that cannot be resolved is BackendUnavailable with its name."""
    with pytest.raises(BackendUnavailable, match=r"nowhere\.invalid"):
        make("memcached://nowhere.invalid", connect_timeout=5).get(["row"])


def test_a_lost_connection_is_replaced_unnoticed(proxy: Proxy, make: Callable[..., Any]) -> None:
    """A connection that the other end has closed, idle or not, is replaced within the call."""
    backend = make(proxy.url)
    backend.put([("row", OLD, 3)], None)
    for _ in range(3):
        proxy.cut()
        assert backend.get(["row"]) == [OLD]
        proxy.cut()
        backend.hold(["row"], MINE, 15.0)
        proxy.cut()
        backend.complete(["row"], MINE, {"row": (OLD, 3)}, None)
        backend.put([("row", OLD, 3)], None)
    assert proxy.connections > 3


def test_a_swap_whose_answer_is_lost_is_not_repeated(proxy: Proxy, make: Callable[..., Any]) -> None:
    """Done twice, the second would deny what the first has done: it is an error instead."""
    backend = make(proxy.url)
    backend.put([("row", OLD, 3)], None)
    proxy.cut()
    with pytest.raises(BackendUnavailable):
        backend.swap("row", OLD.stamp, NEW, 3, None)


def test_an_idle_connection_is_looked_at_before_it_is_used(proxy: Proxy) -> None:
    """After a second without use, a connection that the server has closed is replaced before anything is sent on it."""
    clock = ManualClock()
    backend = MemcachedBackend(parsed(proxy.url, {}), clock=clock)
    backend.put([("row", OLD, 3)], None)
    proxy.cut()
    clock.advance(2.0)
    # A swap is never repeated, so that it would fail on the old connection.
    assert backend.swap("row", OLD.stamp, NEW, 3, None)
    backend.close()


# -- replies that are none -------------------------------------------------------------------------

GARBAGE = [
    b"\x00\xff\xfe garbage",
    b"VA 99999999999 f0 c1\r\n",
    b"VA 5 f0 c1\r\nabcdefghij",
    b"VA -1 f0 c1\r\n\r\n",
    b"HD\r\nHD\r\nHD\r\nHD\r\n",
    b"HD c\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"STAT x y\r\n" * 20_000,
    b"x" * 5000,
    b"SERVER_ERROR out of memory reading request\r\n",
    b"CLIENT_ERROR bad data chunk\r\nERROR\r\n",
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_an_error_and_the_next_call_is_served(
    proxy: Proxy, make: Callable[..., Any], garbage: bytes
) -> None:
    """Whatever comes instead of a reply, the call fails, its connection is not used again, and no value is invented."""
    backend = make(proxy.url, breaker_window=0.001, timeout=0.2)
    _patiently(lambda: backend.put([("row", OLD, 3), ("other", NEW, 3)], None))
    proxy.behave(Fault(replace=lambda reply: garbage))
    with pytest.raises(BackendError):
        backend.get(["row"])
    proxy.behave()
    for key, value in (("other", NEW), ("row", OLD)):
        assert _patiently(lambda key=key: backend.get([key])) == [value]


def test_an_answer_to_another_question_ends_the_connection(proxy: Proxy, make: Callable[..., Any]) -> None:
    """A well-formed reply that no read has is an error, and nothing more is asked on the connection it came by."""
    backend = make(proxy.url)
    backend.put([("row", OLD, 3)], None)
    proxy.behave(Fault(replace=lambda reply: b"NF\r\n"))
    with pytest.raises(BackendError, match="no such answer"):
        backend.get(["row"])
    proxy.behave()
    before = proxy.connections
    assert _patiently(lambda: backend.get(["row"])) == [OLD]
    assert proxy.connections == before + 1


@pytest.mark.parametrize("count", [0, 1, 7, 30])
def test_a_truncated_reply_is_an_error(proxy: Proxy, make: Callable[..., Any], count: int) -> None:
    """A connection that ends in the middle of a reply gives no part of a value."""
    backend = make(proxy.url, breaker_window=0.001)
    value = Value(b"x" * 100)
    backend.put([("row", value, 3)], None)
    proxy.behave(Fault(cut_after=count))
    with pytest.raises(BackendUnavailable):
        backend.get(["row"])
    proxy.behave()
    assert _patiently(lambda: backend.get(["row"])) == [value]


def test_a_reply_that_stalls_is_a_timeout(proxy: Proxy, make: Callable[..., Any]) -> None:
    """A reply that stops in the middle raises BackendTimeout, and its rest is never read as another's."""
    backend = make(proxy.url, breaker_window=0.001, timeout=0.1)
    _patiently(lambda: backend.put([("row", OLD, 3), ("other", NEW, 3)], None))
    proxy.behave(Fault(stall_after=10))
    with pytest.raises(BackendTimeout):
        backend.get(["row"])
    proxy.behave()
    assert _patiently(lambda: backend.get(["other"])) == [NEW]


def test_replies_byte_by_byte(proxy: Proxy, make: Callable[..., Any]) -> None:
    """A reply in pieces is put together; one that trickles for longer than the timeout is a timeout."""
    backend = make(proxy.url, breaker_window=0.001, timeout=1.0)
    backend.put([("row", Value(b"x" * 200), 3), ("other", NEW, 3)], None)
    proxy.behave(Fault(piece=1))
    assert backend.get(["row", "other", "absent"]) == [Value(b"x" * 200), NEW, None]
    backend.hold(["other"], MINE, 15.0)
    backend.complete(["other"], MINE, {}, None)
    proxy.behave(Fault(piece=1, delay=0.02))
    with pytest.raises(BackendTimeout):
        backend.get(["row"])
    proxy.behave()


def test_large_replies_and_requests_in_one_batch(memcached_server: MemcachedServer, make: Callable[..., Any]) -> None:
    """Batches far beyond the buffers of sockets neither block for ever nor mix up their answers."""
    backend = make(memcached_server.url, timeout=10)
    values = {f"large:{number}": Value(bytes([number]) * 300_000) for number in range(60)}
    assert all(backend.put([(key, value, 1) for key, value in values.items()], 60.0))
    names = [f"large:{number % 60}" for number in range(200)]
    names += [f"absent:{number}" + "k" * 200 for number in range(5000)]
    found = backend.get(names)
    assert found[:200] == [values[name] for name in names[:200]]
    assert found[200:] == [None] * 5000
    backend.forget(list(values))
    backend.close()


# -- threads, forks, loops -------------------------------------------------------------------------


def connections(server: MemcachedServer) -> int:
    """How many connections the server has, this question's included."""
    return int(server.stats()["curr_connections"])


def settled_connections(server: MemcachedServer) -> int:
    """The same when it no longer changes: a server counts them, and forgets them, when its threads come to it."""
    counts = [connections(server)]
    while len(counts) < 10 or len(set(counts[-10:])) > 1:
        time.sleep(0.005)
        counts.append(connections(server))
    return counts[-1]


def eventually(server: MemcachedServer, count: int) -> bool:
    # A server counts connections when its threads come to it.
    return _within(lambda: connections(server) == count)


def _within(done: Callable[[], bool]) -> bool:
    for _ in range(500):
        if done():
            return True
        time.sleep(0.01)
    return False


def test_connections_end_with_their_threads(server: MemcachedServer) -> None:
    """Each thread has one connection, which is closed when the thread ends or the backend is closed."""
    without = settled_connections(server)
    backend = make_backend(server.url)
    barrier, barrier_of_two = threading.Barrier(5), threading.Barrier(2)

    def work() -> None:
        for _ in range(10):
            backend.get(["row"])
        barrier.wait()
        barrier.wait()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    barrier.wait()
    assert eventually(server, without + 4)
    barrier.wait()
    for thread in threads:
        thread.join()
    gc.collect()
    assert eventually(server, without)
    backend.get(["row"])
    assert eventually(server, without + 1)
    thread = threading.Thread(target=lambda: (backend.get(["row"]), barrier_of_two.wait(), barrier_of_two.wait()))
    thread.start()
    barrier_of_two.wait()
    assert eventually(server, without + 2)
    backend.close()
    assert eventually(server, without)
    barrier_of_two.wait()
    thread.join()
    with pytest.raises(BackendUnavailable, match="closed"):
        backend.get(["row"])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_its_own_connection(server: MemcachedServer) -> None:
    """Parent and child use one backend at once, and neither reads the other's replies or ends its connection."""
    backend = make_backend(server.url)
    backend.put([("parent", OLD, 3), ("child", NEW, 3)], None)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if all(backend.get(["child"]) == [NEW] for _ in range(300)) else 1)
        finally:
            os._exit(2)
    assert all(backend.get(["parent"]) == [OLD] for _ in range(300))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    before = int(server.stats()["total_connections"])
    assert backend.get(["parent"]) == [OLD]
    assert int(server.stats()["total_connections"]) == before + 1
    backend.close()


async def test_a_cancelled_call_leaves_no_answer_behind(proxy: Proxy) -> None:
    """Whoever is cancelled while it waits takes its connection with it; the next caller gets its own answer."""
    backend = make_backend(proxy.url, {"max_connections": 1, "timeout": 5}, awaited=True)
    await backend.put([("row", OLD, 3), ("other", NEW, 3)], None)
    for _ in range(5):
        proxy.behave(Fault(delay=0.05))
        waiting = asyncio.create_task(backend.get(["row"]))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        proxy.behave()
        assert await backend.get(["other"]) == [NEW]
    await backend.close()


async def test_the_pool_is_bounded_and_waits(server: MemcachedServer) -> None:
    """A hundred calls at once share two connections, and all are answered."""
    without = settled_connections(server)
    backend = make_backend(server.url, {"max_connections": 2}, awaited=True)
    await backend.put([(f"row:{number}", Value(b"%d" % number), 3) for number in range(100)], None)
    found = await asyncio.gather(*(backend.get([f"row:{number}"]) for number in range(100)))
    assert found == [[Value(b"%d" % number)] for number in range(100)]
    assert eventually(server, without + 2)
    await backend.close()
    assert eventually(server, without)


def test_one_backend_in_several_loops(server: MemcachedServer) -> None:
    """Event loops one after another use one backend, though none of them closes it, and no connection is left."""
    without = settled_connections(server)
    backend = make_backend(server.url, awaited=True)

    async def work(backend: AsyncMemcachedBackend) -> list[Entry | None]:
        await backend.put([("row", OLD, 3)], None)
        found: list[Entry | None] = await backend.get(["row"])
        return found

    for _ in range(3):
        assert asyncio.run(work(backend)) == [OLD]
    del backend
    gc.collect()
    assert eventually(server, without)


# -- servers that will not serve us ----------------------------------------------------------------


def test_tls(certificates: Certificates, make: Callable[..., Any]) -> None:
    """By TLS all is as without, for small and large values; a server that is not trusted is named."""
    with require(MemcachedServer, tls=certificates) as server:
        ca = str(certificates.ca)
        backend = make(server.url, ca_certs=ca, timeout=5)
        values = {f"row:{number}": Value(b"%d" % number * 40_000) for number in range(50)}
        assert all(backend.put([(key, value, 1) for key, value in values.items()], None))
        assert backend.get(list(values)) == list(values.values())
        backend.hold(["row:1"], MINE, 15.0)
        assert isinstance(backend.acquire(["row:1"], MINE, 30.0)[0], Hold)
        unverified = make(server.url, verify="false", timeout=5)
        assert unverified.get(["row:2"]) == [values["row:2"]]
        with pytest.raises(BackendMisconfigured, match=r"TLS.*certificate"):
            make(server.url, timeout=5).get(["row"])
        with pytest.raises(BackendUnavailable, match="memcacheds"):
            make(server.url.replace("memcacheds", "memcached"), timeout=5).get(["row"])


def test_tls_with_a_server_that_has_none(server: MemcachedServer, make: Callable[..., Any]) -> None:
    """memcacheds:// with a plain server is an error that names the server."""
    with pytest.raises(BackendError, match=f"127.0.0.1:{server.port}"):
        make(server.url.replace("memcached", "memcacheds"), connect_timeout=0.3).get(["row"])


def test_user_and_password(tmp_path: Path, make: Callable[..., Any]) -> None:
    """With --auth-file the server serves who knows a password, and the message to others does not show theirs."""
    file = tmp_path / "users"
    file.write_text("user:secret\n")
    with require(_WithPasswords, ["-Y", str(file)]) as server:
        port = server.port
        backend = make(f"memcached://user:secret@127.0.0.1:{port}")
        backend.put([("row", OLD, 3)], None)
        assert backend.get(["row"]) == [OLD]
        for credentials in ("user:wrong@", ""):
            with pytest.raises(BackendMisconfigured, match="user and password") as caught:
                make(f"memcached://{credentials}127.0.0.1:{port}").get(["row"])
            assert "wrong" not in str(caught.value)


class _WithPasswords(MemcachedServer):
    """Answers no question without a password, not even whether it is ready."""

    def is_ready(self) -> bool:
        return self.call(b"version\r\n").startswith(b"CLIENT_ERROR unauthenticated")


def test_a_server_without_cas_ids_is_refused(make: Callable[..., Any]) -> None:
    """With -C there is no compare-and-set, and no coherence: the message names the flag."""
    with require(MemcachedServer, ["-C"]) as server, pytest.raises(BackendMisconfigured, match="-C"):
        make(server.url).acquire(["row"], MINE, 30.0)


def test_flush_is_disabled(make: Callable[..., Any]) -> None:
    """clear() with -F is an error in the server's words, and nothing else is disturbed."""
    with require(MemcachedServer, ["-F"]) as server:
        backend = make(server.url)
        backend.put([("row", OLD, 3)], None)
        with pytest.raises(BackendError, match="flush_all"):
            backend.clear()
        assert any("-F" in sentence for sentence in _patiently(backend.diagnose))


def test_a_server_with_no_connection_left(make: Callable[..., Any]) -> None:
    """A server at its limit of connections is unavailable, by its own words."""
    with require(MemcachedServer, ["-c", "60"]) as server:
        taken: list[socket.socket] = []
        with ExitStack() as open_until_the_end:
            while not taken or _is_served(taken[-1]):
                taken.append(open_until_the_end.enter_context(socket.create_connection((server.host, server.port))))
            with pytest.raises(BackendUnavailable, match=f"127.0.0.1:{server.port}"):
                make(server.url).get(["row"])


def _is_served(connection: socket.socket) -> bool:
    # A connection beyond the limit is told so and closed.
    try:
        connection.sendall(b"version\r\n")
        return connection.recv(100).startswith(b"VERSION")
    except ConnectionError:
        return False


@contextmanager
def listening_at(path: Path) -> Iterator[None]:
    """A memcached server on a unix socket, and on nothing else."""
    require(MemcachedServer)
    user = pwd.getpwuid(os.geteuid()).pw_name
    process = subprocess.Popen([MemcachedServer.find_program("memcached"), "-s", str(path), "-u", user])
    try:
        assert _within(path.exists)
        yield
    finally:
        process.kill()
        process.wait()


def test_a_unix_socket(tmp_path: Path, make: Callable[..., Any]) -> None:
    """A path in place of the hosts is the path of a unix socket."""
    path = tmp_path / "memcached.sock"
    with listening_at(path):
        backend = make(f"memcached://{path}")
        backend.put([("row", OLD, 3)], None)
        assert backend.get(["row"]) == [OLD]
    with pytest.raises(BackendUnavailable, match=r"memcached\.sock"):
        make(f"memcached://{path}").get(["row"])


def of_version(version: bytes) -> Fault:
    """A server that says it is of this version."""
    return Fault(replace=lambda reply: reply.replace(b"STAT version 1.6.", b"STAT version %b was 1.6." % version))


def test_an_old_server_is_spoken_to_in_the_classic_way(proxy: Proxy, make: Callable[..., Any]) -> None:
    """A server before 1.6.13 gets no meta command; dialect=meta says that it needs a newer one."""
    proxy.behave(of_version(b"1.6.12"))
    backend = make(proxy.url)
    [grant] = backend.acquire([os.urandom(8).hex()], MINE, 30.0)
    assert isinstance(grant, Grant)
    # A miss: gets, then add and gets.
    assert backend.exchanges == 2
    with pytest.raises(BackendMisconfigured, match=r"1\.6\.13"):
        make(proxy.url, dialect="meta").get(["row"])


@pytest.mark.parametrize("version", [b"1.4.7", b"0.9.1", b"unknown"])
def test_a_server_that_is_too_old_is_refused(proxy: Proxy, make: Callable[..., Any], version: bytes) -> None:
    """Before 1.4.8 there is no touch: the message names the version."""
    proxy.behave(Fault(replace=lambda reply: reply.replace(b"STAT version 1.6.18", b"STAT version " + version)))
    with pytest.raises(BackendMisconfigured, match=r"1\.4\.8"):
        make(proxy.url).get(["row"])


@pytest.mark.parametrize("name", [b"pid", b"time", b"uptime"])
def test_a_server_that_does_not_say_who_it_is_is_refused(proxy: Proxy, make: Callable[..., Any], name: bytes) -> None:
    """Without process id and start time one life of the server cannot be told from the next."""
    proxy.behave(Fault(replace=lambda reply: reply.replace(b"STAT %b " % name, b"STAT no ")))
    with pytest.raises(BackendMisconfigured, match=name.decode()):
        make(proxy.url).get(["row"])
