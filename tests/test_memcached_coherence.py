"""Attacks on the promise: interleavings, clocks and impostors by which an old row could come back. None succeeds."""

import asyncio
import gc
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from cachecore.backends.memcached import holds, link, meta
from cachecore.backends.memcached.alone import Alone
from cachecore.backends.memcached.async_link import AsyncLink
from cachecore.backends.memcached.backend import MemcachedBackend
from cachecore.backends.memcached.items import record
from cachecore.backends.memcached.settings import parsed
from cachecore.entries import Hold, Value
from cachecore.errors import BackendMisconfigured
from cachecore.registry import make_backend
from cachecore.testing.servers import Fault, MemcachedServer, Proxy
from tests.conftest import PATIENT, require

MINE, YOURS = b"mine----", b"yours---"
OLD, NEW = Value(b"old", b"stamp"), Value(b"new", b"stamp")


@pytest.fixture
def server(memcached_server: MemcachedServer) -> MemcachedServer:
    """A server that no test stops, empty."""
    memcached_server.call(b"flush_all\r\n")
    return memcached_server


@pytest.fixture
def made() -> Iterator[Callable[..., MemcachedBackend]]:
    """Makes backends, each as if in a process of its own, and closes them."""
    with ExitStack() as stack:

        def make(url: str, **options: Any) -> MemcachedBackend:
            backend: MemcachedBackend = make_backend(url, {**PATIENT, **options})
            stack.callback(backend.close)
            return backend

        yield make


class Skewed:
    """A backend whose process's clock can be set ahead: what a suspended machine, or days of drift, come to."""

    def __init__(self, url: str) -> None:
        self.ahead = 0.0
        self.backend = MemcachedBackend(parsed(url, PATIENT), clock=lambda: time.monotonic() + self.ahead)


@pytest.fixture
def skewed(server: MemcachedServer) -> Iterator[Skewed]:
    skewed = Skewed(server.url)
    yield skewed
    skewed.backend.close()


def holders(backend: Any, key: str = "row") -> set[bytes]:
    """The tokens in the hold under a key."""
    [entry] = backend.get([key])
    return {token for token, _ in entry.tokens} if isinstance(entry, Hold) else set()


# -- clocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["complete", "release"])
def test_a_connection_long_unused_takes_no_living_hold_for_dead(
    server: MemcachedServer, skewed: Skewed, made: Callable[..., MemcachedBackend], end: str
) -> None:
    """Whoever leaves a shared hold asks for the time first, if it has not lately: the others' holds stand."""
    other = made(server.url)
    skewed.backend.hold(["row"], MINE, 15.0)
    other.hold(["row"], YOURS, 15.0)
    skewed.ahead = 100.0
    if end == "complete":
        skewed.backend.complete(["row"], MINE, {"row": (OLD, 3)}, None)
    else:
        skewed.backend.release(["row"], MINE)
    assert holders(other) == {YOURS}


def test_a_reading_of_the_clock_that_runs_backwards_shortens_no_hold(
    server: MemcachedServer, made: Callable[..., MemcachedBackend]
) -> None:
    """A server that was just stalled tells an old time; deadlines by it are as late as by what was known before."""
    with Proxy(server) as proxy:
        skewed = Skewed(proxy.url)
        skewed.backend.hold(["another"], MINE, 15.0)
        proxy.behave(Fault(replace=lambda reply: re.sub(rb"STAT time (\d+)", _earlier, reply)))
        skewed.ahead = 61.0
        skewed.backend.hold(["row"], MINE, 15.0)
        skewed.backend.close()
        assert holders(made(server.url)) == {MINE}


def _earlier(found: re.Match[bytes]) -> bytes:
    return b"STAT time %d" % (int(found[1]) - 30)


# -- interleavings ---------------------------------------------------------------------------------


def carried_out(server: MemcachedServer, commands: list[bytes], between: dict[int, Callable[[], object]]) -> list[Any]:
    """The replies to commands that a server carries out one by one, with something else before some of them."""
    replies: list[Any] = []
    for number, command in enumerate(commands):
        between.get(number, lambda: None)()
        answer = server.call(command)
        assert meta.parse(answer, 0, number + 1, 1 << 20, replies) == len(answer)
    return replies


def test_a_hold_that_vanishes_while_it_is_placed_is_placed_again(
    server: MemcachedServer, made: Callable[..., MemcachedBackend]
) -> None:
    """A hold that another writer's has replaced before its own placing was over is not taken for one's own."""
    other = made(server.url)
    peer = link.Link(parsed(server.url, {}).servers[0], parsed(server.url, {}), None).peer
    alone = Alone()

    def replaced() -> None:
        server.call(b"md row\r\n")
        other.hold(["row"], YOURS, 15.0)

    def ended(flow: Any, between: dict[int, Callable[[], object]]) -> None:
        batch = next(flow)
        try:
            while True:
                batch, between = flow.send(carried_out(server, batch, between)), {}
        except StopIteration:
            return

    ended(holds.hold(peer, [b"row"], MINE, 15.0, 60.0, alone), {2: replaced})
    assert holders(other) == {MINE, YOURS}
    ended(holds.complete(peer, [b"row"], MINE, {b"row": OLD}, None, 60.0, alone), {})
    assert holders(other) == {YOURS}


# -- impostors -------------------------------------------------------------------------------------


def test_a_row_that_looks_like_a_hold_is_none(server: MemcachedServer, made: Callable[..., MemcachedBackend]) -> None:
    """Bytes in a row that read like a writer's hold record do not keep the row from being cached."""
    backend = made(server.url)
    backend.put([("row", OLD, 3)], None)
    item = server.call(b"mg row v\r\n").split(b"\r\n", 1)[1]
    forged = record(b"intruder", 1e12, item[3:11])
    backend.put([("row", Value(forged), 3)], None)
    assert backend.get(["row"]) == [Value(forged)]
    backend.hold(["row"], MINE, 15.0)
    assert holders(backend) == {MINE}
    backend.complete(["row"], MINE, {}, None)
    assert backend.get(["row"]) == [None]


def of_one_life(reply: bytes) -> bytes:
    """As a server says that has process id 1 and was started at a certain second: so do two in two containers."""
    now = re.search(rb"STAT time (\d+)", reply)
    if now is None:
        return reply
    reply = re.sub(rb"STAT pid \d+", b"STAT pid 1", reply)
    return re.sub(rb"STAT uptime \d+", b"STAT uptime %d" % (int(now[1]) - 1_700_000_000), reply)


@pytest.mark.parametrize("ahead", [0, 1])
def test_two_servers_of_one_pid_and_second_are_two(made: Callable[..., MemcachedBackend], ahead: int) -> None:
    """What a writer knows of its hold on one server is not used on another that calls itself the same."""
    with require(MemcachedServer) as one, MemcachedServer() as other, Proxy(one) as first, Proxy(other) as second:
        for proxy in (first, second):
            proxy.behave(Fault(replace=of_one_life))
        both = made(first.url, also=f"{second.host}:{second.port}")
        # The CAS ids of one server are one ahead, so that there they are what the next change makes them here.
        made((first, second)[ahead].url).put([("another", OLD, 3)], None)
        both.hold(["row"], MINE, 15.0)
        here = made((first, second)[1 - ahead].url)
        here.hold(["row"], YOURS, 15.0)
        both.complete(["row"], MINE, {"row": (OLD, 3)}, None)
        assert holders(here) == {YOURS}


def test_several_servers_behind_one_address_are_refused(made: Callable[..., MemcachedBackend]) -> None:
    """An address that leads to one server and then another, turn about, is a load balancer: there is no coherence."""
    with require(MemcachedServer) as one, MemcachedServer() as other, Proxy(one) as proxy:
        backend = made(proxy.url, breaker_window=0.001)
        backend.get(["row"])
        for server in (other, one):
            proxy.lead_to(server)
            proxy.cut()
            time.sleep(0.002)
            if server is other:
                backend.get(["row"])
        with pytest.raises(BackendMisconfigured, match="several servers"):
            backend.get(["row"])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_leaves_the_connections_of_its_parents_loop_alone(server: MemcachedServer) -> None:
    """A child that drops the backend of an event loop it has inherited does not stop that loop from hearing replies."""
    runner = asyncio.Runner()
    backend = make_backend(server.url, {"timeout": 5}, awaited=True)

    async def read() -> list[Any]:
        found: list[Any] = await backend.get(["row"])
        return found

    assert runner.run(read()) == [None]
    links = [found for found in gc.get_objects() if type(found) is AsyncLink]
    child = os.fork()
    if child == 0:
        # Whatever happens, this is no second run of the tests.
        try:
            for link in links:
                link.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    before = server.stats()["total_connections"]
    assert runner.run(read()) == [None]
    assert int(server.stats()["total_connections"]) == int(before) + 1
    runner.run(backend.close())
    runner.close()
