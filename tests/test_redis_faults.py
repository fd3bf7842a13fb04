"""What the Redis backend does when the server, the network or the process misbehaves: never an old value, never another
caller's answer, and at most one timeout."""

import asyncio
import gc
import logging
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachecore.backends.breaker import Breaker
from cachecore.backends.redis.replies import failure
from cachecore.backends.redis.resp import ErrorReply
from cachecore.entries import Grant, Hold, Lease, Unusable, Value
from cachecore.errors import (
    BackendError,
    BackendMisconfigured,
    BackendTimeout,
    BackendUnavailable,
)
from cachecore.registry import make_backend
from cachecore.testing import ManualClock
from cachecore.testing.servers import Certificates, Fault, Proxy, RedisServer
from tests.conftest import require
from tests.programs import run
from tests.redis_fleets import Connect, every_way
from tests.test_redis import need

MINE, YOURS = b"mine----", b"yours---"
OLD, NEW = Value(b"old", b"stamp"), Value(b"new", b"stamp")
KEY = "faults:1"


@pytest.fixture(params=["blocking", "awaited"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes backends, blocking or awaited ones that are driven from outside their loop; they are closed afterwards."""
    with every_way(awaited=request.param == "awaited") as connect:
        yield connect


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server for this test alone, which keeps its data on disk when it is told to SAVE."""
    with require(RedisServer) as server:
        yield server


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    """A way to the server on which replies can go wrong."""
    redis_server.call("FLUSHALL")
    with Proxy(redis_server) as proxy:
        yield proxy


# -- the server dies, and comes back ------------------------------------------------------------------


def test_what_a_restart_brings_back_is_not_believed(connect: Connect, own_server: RedisServer) -> None:
    """After kill -9 a server loads a value that was outdated since it was saved: to readers nothing stands there."""
    backend = connect(own_server.url)
    backend.put([(KEY, OLD, 3)], None)
    own_server.call("SAVE")
    backend.hold([KEY], MINE, 15.0)
    backend.complete([KEY], MINE, {}, None)
    own_server.kill()
    own_server.restart()
    assert b"old" in own_server.call("GET", KEY)
    assert backend.get([KEY]) == [None]
    [grant] = backend.acquire([KEY], YOURS, 10.0)
    assert grant == Grant(YOURS)
    assert backend.fill([(KEY, YOURS, NEW, 3)], None) == [True]
    assert backend.get([KEY, KEY]) == [NEW, NEW]


def test_a_lease_does_not_outlive_its_server(connect: Connect, own_server: RedisServer) -> None:
    """A lease that a restarted server has loaded is nobody's: its owner cannot fill, and another is granted."""
    backend = connect(own_server.url)
    backend.acquire([KEY], MINE, 60.0)
    own_server.call("SAVE")
    own_server.kill()
    own_server.restart()
    assert own_server.call("EXISTS", KEY) == 1
    assert backend.fill([(KEY, MINE, OLD, 3)], None) == [False]
    assert backend.acquire([KEY], YOURS, 10.0) == [Grant(YOURS)]


def test_a_hold_outlives_its_server(connect: Connect, own_server: RedisServer) -> None:
    """A hold that a restarted server has loaded still keeps readers out, but its writer leaves no value there."""
    backend = connect(own_server.url)
    backend.hold([KEY], MINE, 60.0)
    own_server.call("SAVE")
    own_server.kill()
    own_server.restart()
    [entry] = backend.acquire([KEY], YOURS, 10.0)
    assert isinstance(entry, Hold)
    backend.complete([KEY], MINE, {KEY: (NEW, 3)}, None)
    assert backend.get([KEY]) == [None]


def test_a_primary_that_was_demoted_meanwhile_is_another_incarnation(connect: Connect, own_server: RedisServer) -> None:
    """A process that was primary, took over an older state as a replica and is primary again shows no old value."""
    backend = connect(own_server.url, timeout=5)
    backend.put([(KEY, OLD, 3)], None)
    with require(RedisServer) as other:
        replicate(other, own_server)
        other.call("REPLICAOF", "NO", "ONE")
        backend.hold([KEY], MINE, 15.0)
        backend.complete([KEY], MINE, {}, None)
        replicate(own_server, other)
        own_server.call("REPLICAOF", "NO", "ONE")
    assert b"old" in own_server.call("GET", KEY)
    grow_idle(backend)
    assert backend.get([KEY]) == [None]
    assert backend.acquire([KEY], YOURS, 10.0) == [Grant(YOURS)]


def replicate(replica: RedisServer, primary: RedisServer) -> None:
    """Make one server a replica of another, and wait until it has its data."""
    replica.call("REPLICAOF", primary.host, str(primary.port))
    waiting = threading.Event()
    for _ in range(1000):
        if replica.info("replication").get("master_link_status") == "up":
            return
        waiting.wait(0.01)
    raise AssertionError("the replica did not get ready")


def grow_idle(backend: Any) -> None:
    """Make the connections of a backend look as if they had not been used for long."""
    for link in list(backend.topology._links):
        link.look_at = float("-inf")


def test_a_frozen_server_costs_one_timeout_in_a_window(connect: Connect, own_server: RedisServer) -> None:
    """Of the readers of a stopped server one waits for the timeout; others fail at once until the window is over."""
    clock = ManualClock()
    backend = connect(own_server.url, timeout=0.1)
    backend.put([(KEY, OLD, 3)], None)
    replace_breaker(backend, Breaker("it", 1.0, clock))
    own_server.pause()
    with pytest.raises(BackendTimeout, match=str(own_server.port)):
        backend.get([KEY])
    begun = sent(backend)
    for _ in range(20):
        with pytest.raises(BackendUnavailable, match="not asked again yet"):
            backend.get([KEY])
    assert sent(backend) == begun
    clock.advance(1.0)
    with pytest.raises(BackendTimeout):
        backend.get([KEY])
    own_server.resume()
    with pytest.raises(BackendUnavailable, match="not asked again yet"):
        backend.get([KEY])
    clock.advance(1.0)
    assert backend.get([KEY]) == [OLD]
    assert backend.get([KEY]) == [OLD]


def test_a_profiler_does_not_stretch_the_timeout(own_server: RedisServer) -> None:
    """A timer whose signals come faster than the timeout does not keep a reader at a server that hangs."""
    backend = make_backend(own_server.url, {"timeout": 0.3})
    backend.put([(KEY, OLD, 3)], None)
    give_up = threading.Timer(20, own_server.resume)
    previous = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        grow_idle(backend)
        assert backend.get([KEY]) == [OLD]
        own_server.pause()
        give_up.start()
        with pytest.raises(BackendTimeout):
            backend.get([KEY])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        give_up.cancel()
        own_server.resume()
    grow_idle(backend)
    backend.close()


def replace_breaker(backend: Any, breaker: Breaker) -> None:
    backend.topology.breaker = breaker
    if hasattr(backend.topology, "_pool"):
        backend.topology._pool._breaker = breaker


def sent(backend: Any) -> int:
    """How many requests have gone out to the server."""
    return sum(link.exchanges for link in list(backend.topology._links))


def test_a_dead_server_is_unavailable(connect: Connect, own_server: RedisServer) -> None:
    """A server that is gone is reported with its address, and works again when it is back."""
    clock = ManualClock()
    backend = connect(own_server.url)
    backend.put([(KEY, OLD, 3)], None)
    replace_breaker(backend, Breaker("it", 1.0, clock))
    own_server.kill()
    with pytest.raises(BackendUnavailable, match=f"127.0.0.1:{own_server.port}"):
        backend.get([KEY])
    own_server.restart()
    clock.advance(1.0)
    assert backend.get([KEY]) == [None]


# -- the server forgets -------------------------------------------------------------------------------


def test_flushed_while_a_reader_was_at_the_database(connect: Connect, redis_server: RedisServer) -> None:
    """A reader whose lease was flushed does not fill."""
    backend = connect(redis_server.url)
    backend.clear()
    backend.acquire([KEY], MINE, 10.0)
    redis_server.call("FLUSHALL")
    assert backend.fill([(KEY, MINE, OLD, 3)], None) == [False]
    assert backend.get([KEY]) == [None]


def test_scripts_that_were_forgotten_are_sent_again(connect: Connect, redis_server: RedisServer) -> None:
    """After SCRIPT FLUSH every operation works, and costs one round trip more, once."""
    backend = connect(redis_server.url)
    backend.clear()
    backend.acquire([KEY], MINE, 10.0)
    for operation, expected in [
        (lambda: backend.fill([(KEY, MINE, OLD, 3)], None), [True]),
        (lambda: backend.swap(KEY, b"stamp", NEW, 3, None), True),
        (lambda: backend.displace([(KEY, NEW)], YOURS, 10.0), [Grant(YOURS)]),
        (lambda: backend.abandon([(KEY, YOURS)]), None),
        (lambda: backend.hold([KEY, "faults:2"], MINE, 10.0), None),
        (lambda: backend.release([KEY], MINE), None),
        (lambda: backend.complete([KEY, "faults:2"], MINE, {"faults:2": (OLD, 3)}, None), None),
    ]:
        redis_server.call("SCRIPT", "FLUSH")
        assert operation() == expected
    assert backend.get([KEY, "faults:2"]) == [None, OLD]
    backend.hold([KEY], MINE, 10.0)
    begun = backend.topology.round_trips
    backend.hold([KEY], MINE, 10.0)
    assert backend.topology.round_trips == begun + 1


def test_a_server_that_evicts_is_named(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """A policy that may evict holds is reported, and logged once; whatever is evicted is a miss."""
    with require(RedisServer, {"maxmemory": "2mb", "maxmemory-policy": "allkeys-lru"}) as server:
        backend = connect(server.url)
        with caplog.at_level(logging.WARNING, "cachecore"):
            backend.get([KEY])
            backend.get([KEY])
        [record] = [record for record in caplog.records if "allkeys-lru" in record.getMessage()]
        assert str(server.port) in record.getMessage()
        [sentence] = backend.diagnose()
        assert "maxmemory-policy allkeys-lru" in sentence
        large = Value(b"x" * 20_000, b"stamp")
        keys = [f"faults:{number}" for number in range(300)]
        for key in keys:
            backend.acquire([key], MINE, 10.0)
            backend.fill([(key, MINE, large, 20_000)], None)
        found = backend.get(keys)
        assert None in found
        assert set(found) <= {None, large}


def test_a_full_server_answers_and_forgets(connect: Connect) -> None:
    """Under noeviction a full server still serves hits and takes holds; misses are not cached, writes leave nothing."""
    with require(RedisServer, {"maxmemory": "3mb", "maxmemory-policy": "noeviction"}) as server:
        backend = connect(server.url)
        assert backend.diagnose() == []
        backend.put([(KEY, OLD, 3), ("faults:lease", OLD, 3)], None)
        backend.forget(["faults:lease"])
        backend.acquire(["faults:lease"], MINE, 60.0)
        for size in (50_000, 1_000, 0):
            number = 0
            while backend.put([(f"faults:filler:{size}:{number}", Value(b"x" * size, b""), size)], None) == [True]:
                number += 1
        absent = ["faults:a", "faults:b", "faults:c", "faults:d", "faults:e"]
        assert backend.acquire([KEY, absent[0]], MINE, 10.0) == [OLD, None]
        assert backend.acquire([KEY, *absent], MINE, 10.0) == [OLD, None, None, None, None, None]
        assert backend.displace([(KEY, OLD)], MINE, 10.0) == [None]
        assert backend.fill([("faults:lease", MINE, NEW, 3)], None) == [None]
        assert isinstance(backend.get(["faults:lease"])[0], Lease)
        with pytest.raises(BackendUnavailable, match="OOM"):
            backend.swap(KEY, b"stamp", NEW, 3, None)
        backend.hold([KEY, absent[0]], MINE, 10.0)
        backend.hold([KEY], YOURS, 10.0)
        assert all(isinstance(entry, Hold) for entry in backend.get([KEY, absent[0]]))
        backend.release([KEY], YOURS)
        backend.hold([KEY], YOURS, 10.0)
        backend.complete([KEY], YOURS, {KEY: (NEW, 3)}, None)
        [entry] = backend.get([KEY])
        assert isinstance(entry, Hold)
        assert [token for token, _ in entry.tokens] == [MINE]
        backend.complete([KEY, absent[0]], MINE, {KEY: (NEW, 3), absent[0]: (NEW, 3)}, None)
        assert backend.get([KEY, absent[0]]) == [None, None]


# -- who will not serve us ----------------------------------------------------------------------------


def test_a_wrong_password(connect: Connect) -> None:
    """Without the password, or with a wrong one, the error says so and does not show it."""
    with require(RedisServer, password="correct horse") as server:
        assert connect(server.url).get([KEY]) == [None]
        for url in (
            f"redis://127.0.0.1:{server.port}/0",
            f"redis://:wr%6Fng@127.0.0.1:{server.port}/0",
            f"redis://somebody:wrong@127.0.0.1:{server.port}/0",
        ):
            for protocol in (2, 3):
                with pytest.raises(BackendMisconfigured, match=f"127.0.0.1:{server.port}") as caught:
                    connect(url, protocol=protocol).get([KEY])
                assert "wrong" not in str(caught.value).lower().replace("wrongpass", "")


def test_nobody_listens(connect: Connect, own_server: RedisServer) -> None:
    """A port that nobody listens on, and a socket that is not there, are unavailable."""
    own_server.stop()
    with pytest.raises(BackendUnavailable, match=f"127.0.0.1:{own_server.port}"):
        connect(own_server.url).get([KEY])
    with pytest.raises(BackendUnavailable, match=r"unix:/nowhere/redis\.sock"):
        connect("unix:///nowhere/redis.sock").get([KEY])


def test_a_replica_is_refused(connect: Connect, own_server: RedisServer, redis_server: RedisServer) -> None:
    """A replica is not believed: reads of it could be old."""
    own_server.call("REPLICAOF", redis_server.host, str(redis_server.port))
    backend = connect(own_server.url)
    with pytest.raises(BackendMisconfigured, match="is a slave"):
        backend.get([KEY])
    assert any("is a slave" in sentence for sentence in backend.diagnose())


def test_a_primary_that_becomes_a_replica(connect: Connect, own_server: RedisServer, redis_server: RedisServer) -> None:
    """A demotion under an open connection makes the server unavailable."""
    backend = connect(own_server.url)
    backend.get([KEY])
    own_server.call("REPLICAOF", redis_server.host, str(redis_server.port))
    with pytest.raises(BackendUnavailable, match="READONLY"):
        backend.hold([KEY], MINE, 10.0)
    grow_idle(backend)
    with pytest.raises(BackendMisconfigured, match="is a slave"):
        backend.get([KEY])


@pytest.mark.parametrize(
    ("said", "instead", "message"),
    [
        (b"redis_version:7", b"redis_version:6", "is Redis 6.* 7.0 is the oldest"),
        (b"redis_version:", b"other_version:", "which version"),
        (b"\nrun_id:", b"\nrun_xx:", "run_id"),
    ],
)
def test_an_old_or_silent_server(connect: Connect, proxy: Proxy, said: bytes, instead: bytes, message: str) -> None:
    """A server too old, or one that does not say who it is, is refused by name."""
    proxy.behave(Fault(replace=lambda reply: reply.replace(said, instead)))
    with pytest.raises(BackendMisconfigured, match=message):
        connect(proxy.url).get([KEY])


def test_tls_that_does_not_fit(connect: Connect, certificates: Certificates, redis_server: RedisServer) -> None:
    """A certificate nobody vouches for is a wrong configuration; TLS on one side only is an error and no hang."""
    with require(RedisServer, tls=certificates) as server:
        fitting = {"ca_certs": str(certificates.ca)}
        assert connect(server.url, **fitting).get([KEY]) == [None]
        assert connect(server.url, verify=False).get([KEY]) == [None]
        with pytest.raises(BackendMisconfigured, match=f"127.0.0.1:{server.port}.*TLS"):
            connect(server.url).get([KEY])
        with pytest.raises(BackendUnavailable, match="TLS"):
            connect(server.url.replace("rediss", "redis")).get([KEY])
        plain = redis_server.url.replace("redis://", "rediss://")
        with pytest.raises((BackendTimeout, BackendUnavailable, BackendMisconfigured), match=str(redis_server.port)):
            connect(plain, timeout=0.2, connect_timeout=0.2, **fitting).get([KEY])


def test_another_type_under_our_key(connect: Connect, redis_server: RedisServer) -> None:
    """A list or a hash that somebody keeps under our key is Unusable, and gives way to readers and writers."""
    backend = connect(redis_server.url)
    for give_way in (
        lambda: backend.displace([(KEY, Unusable("corrupt", b""))], MINE, 10.0),
        lambda: backend.hold([KEY], MINE, 10.0),
        lambda: backend.complete([KEY], MINE, {}, None),
        lambda: backend.put([(KEY, OLD, 3)], None),
    ):
        backend.clear()
        redis_server.call("RPUSH", KEY, "item")
        assert backend.acquire([KEY], MINE, 10.0) == [Unusable("corrupt", b"")]
        assert backend.fill([(KEY, MINE, OLD, 3)], None) == [False]
        backend.release([KEY], MINE)
        give_way()
        assert redis_server.call("TYPE", KEY) in (b"string", b"none")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("NOAUTH Authentication required.", BackendMisconfigured),
        ("WRONGPASS invalid username-password pair", BackendMisconfigured),
        ("NOPERM this user has no permissions", BackendMisconfigured),
        ("LOADING Redis is loading the dataset in memory", BackendUnavailable),
        ("BUSY Redis is busy running a script", BackendUnavailable),
        ("READONLY You can't write against a read only replica.", BackendUnavailable),
        ("MASTERDOWN Link with MASTER is down", BackendUnavailable),
        ("CLUSTERDOWN Hash slot not served", BackendUnavailable),
        ("ERR unknown command", BackendError),
    ],
)
def test_what_a_refusal_means(text: str, error: type[BackendError]) -> None:
    """Each refusal of a server is the error that says whose fault it is, with the server and its words."""
    reply = ErrorReply(text)
    reply.server = "Redis at there:6379"
    meant = failure(reply)
    assert type(meant) is error
    assert str(meant) == f"Redis at there:6379: {text}"


# -- the network --------------------------------------------------------------------------------------


@pytest.mark.parametrize("parser", ["hiredis", "python"])
@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0\xff" * 100,
        b":7\r\n",
        b"+PONG\r\n",
        b"*1\r\n$1\r\nx\r\n",
        b"$-1\r\n$5\r\nother\r\n",
        b"$3\r\nlonger than that\r\n",
        b"$99999999999999999999\r\n",
        b"*-7\r\n",
        b"%1\r\n+a\r\n:1\r\n",
    ],
)
def test_garbage_instead_of_a_reply(connect: Connect, proxy: Proxy, parser: str, garbage: bytes) -> None:
    """Bytes that are no reply to what was asked end the connection, and the next caller gets his own answer."""
    need(parser)
    clock = ManualClock()
    backend = connect(proxy.url, parser=parser)
    backend.put([(KEY, OLD, 3)], None)
    replace_breaker(backend, Breaker("it", 1.0, clock))
    proxy.behave(Fault(replace=lambda reply: garbage))
    with pytest.raises(BackendUnavailable, match=str(proxy.port)):
        backend.forget(["faults:2"]) if garbage != b":7\r\n" else backend.get(["faults:2"])
    proxy.behave()
    clock.advance(1.0)
    assert backend.get([KEY]) == [OLD]


@pytest.mark.parametrize("parser", ["hiredis", "python"])
def test_replies_byte_by_byte(connect: Connect, proxy: Proxy, parser: str) -> None:
    """A reply that comes in pieces of one byte is read all the same."""
    need(parser)
    backend = connect(proxy.url, parser=parser, timeout=5, connect_timeout=5)
    keys = [f"faults:{number}" for number in range(7)]
    backend.put([(key, OLD, 3) for key in keys], None)
    proxy.behave(Fault(piece=1))
    assert backend.acquire(keys, MINE, 10.0) == [OLD] * 7
    assert backend.acquire(keys[:2], MINE, 10.0) == [OLD] * 2


def test_replies_slower_than_the_timeout(connect: Connect, proxy: Proxy) -> None:
    """The timeout is for the whole of the replies: a server cannot stretch it byte by byte."""
    backend = connect(proxy.url, timeout=0.3)
    backend.put([(KEY, OLD, 3)], None)
    proxy.behave(Fault(piece=1, delay=0.02))
    with pytest.raises(BackendTimeout, match=r"within 0\.3 s"):
        backend.get([KEY])


@pytest.mark.parametrize("length", [0, 1, 5, 20])
def test_a_reply_that_is_cut_off(connect: Connect, proxy: Proxy, length: int) -> None:
    """A connection that ends within a reply is replaced by a new one, once, and the caller sees nothing of it."""
    backend = connect(proxy.url)
    backend.put([(KEY, OLD, 3)], None)
    before = proxy.connections

    def cut_once(reply: bytes) -> bytes:
        threading.Timer(0.02, proxy.cut).start()
        proxy.behave(Fault(stall_after=0))
        threading.Timer(0.04, proxy.behave).start()
        return reply[:length]

    proxy.behave(Fault(replace=cut_once))
    assert backend.get([KEY]) == [OLD]
    assert proxy.connections == before + 1


def test_connections_that_keep_ending(connect: Connect, proxy: Proxy) -> None:
    """A server that closes every connection is unavailable after the second; redis-py, which is asked to
    select a database, does not try again either."""
    backend = connect(proxy.url, db=1)
    backend.put([(KEY, OLD, 3)], None)
    before = proxy.connections
    proxy.behave(Fault(cut_after=0))
    with pytest.raises(BackendUnavailable, match=str(proxy.port)):
        backend.get([KEY])
    assert proxy.connections == before + 1


def test_a_lease_whose_reply_was_lost_is_found_again(connect: Connect, proxy: Proxy, redis_server: RedisServer) -> None:
    """When the reply that granted a lease is lost, the second try finds that lease, and has its own in its place."""
    backend = connect(proxy.url)
    backend.get([KEY])
    cut_next_reply(proxy)
    [grant] = backend.acquire([KEY], MINE, 10.0)
    assert type(grant) is Grant
    assert backend.acquire([KEY], YOURS, 10.0) == [Lease(grant.token)]
    keys = [f"faults:many:{number}" for number in range(9)]
    cut_next_reply(proxy)
    grants = backend.acquire(keys, MINE, 10.0)
    fills = [(key, grant.token, OLD, 3) for key, grant in zip([KEY, *keys], [grant, *grants], strict=True)]
    assert backend.fill(fills, None) == [True] * 10
    cut_next_reply(proxy)
    [grant] = backend.displace([(KEY, OLD)], YOURS, 10.0)
    assert backend.fill([(KEY, grant.token, NEW, 3)], None) == [True]


def test_a_swap_is_not_tried_twice(connect: Connect, proxy: Proxy) -> None:
    """A compare-and-set whose reply was lost fails: the second would meet its own value. Over an idle one it works."""
    backend = connect(proxy.url)
    backend.put([(KEY, OLD, 3)], None)
    assert backend.swap(KEY, b"stamp", OLD, 3, None)
    cut_next_reply(proxy)
    with pytest.raises(BackendUnavailable, match="lost"):
        backend.swap(KEY, b"stamp", NEW, 3, None)
    assert backend.get([KEY]) == [NEW]
    proxy.cut()
    wait_until_closed(backend)
    grow_idle(backend)
    assert backend.swap(KEY, b"stamp", OLD, 3, None)


def cut_next_reply(proxy: Proxy) -> None:
    """The next reply does not arrive: its connection is closed. The server has carried out what was asked."""

    def cut(reply: bytes) -> bytes:
        proxy.behave()
        proxy.cut()
        return b""

    proxy.behave(Fault(replace=cut))


def wait_until_closed(backend: Any) -> None:
    """Wait until the end of the other side has arrived here."""
    import select

    for link in list(backend.topology._links):
        if link.is_open:
            look = select.poll()
            look.register(link.socket, select.POLLIN)
            assert look.poll(5000)


def test_idle_connections_that_were_closed(connect: Connect, own_server: RedisServer) -> None:
    """Connections that the server has closed are replaced, whether they were idle or just used."""
    backend = connect(own_server.url)
    backend.put([(KEY, OLD, 3)], None)
    for idle in (False, True):
        own_server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_until_closed(backend)
        if idle:
            grow_idle(backend)
        assert backend.get([KEY]) == [OLD]
    grow_idle(backend)
    begun = sent(backend)
    assert backend.get([KEY]) == [OLD]
    assert sent(backend) == begun + 1


@pytest.mark.parametrize("tls", [False, True])
def test_a_batch_larger_than_all_buffers(connect: Connect, certificates: Certificates, tls: bool) -> None:
    """Requests and replies of many megabytes pass each other without a deadlock."""
    with require(RedisServer, tls=certificates if tls else None) as server:
        options = {"ca_certs": str(certificates.ca)} if tls else {}
        backend = connect(server.url, timeout=30, **options)
        keys = [f"faults:{number}:" + "k" * 100 for number in range(10_000)]
        value = Value(b"v" * 1000, b"stamp")
        assert backend.put([(key, value, 1000) for key in keys], None) == [True] * 10_000
        assert backend.displace([(key, OLD) for key in keys], MINE, 10.0) == [value] * 10_000
        assert backend.get(keys) == [value] * 10_000


# -- this process -------------------------------------------------------------------------------------


@pytest.mark.parametrize("straight", [False, True])
def test_an_interrupt_ends_the_connection(proxy: Proxy, straight: bool) -> None:
    """Who is interrupted while he waits for a reply leaves no connection on which it could reach the next caller."""
    backend = make_backend(proxy.url, {"timeout": 5})
    backend.put([(KEY, OLD, 3), ("faults:2", NEW, 3)], None)
    proxy.behave(Fault(stall_after=0))
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            backend.acquire([KEY], MINE, 10.0) if straight else backend.get([KEY])
    finally:
        signal.signal(signal.SIGALRM, previous)
    proxy.behave()
    assert backend.get(["faults:2"]) == [NEW]
    backend.close()


async def test_cancellation_ends_the_connection(proxy: Proxy) -> None:
    """A task that is cancelled while it waits for a reply leaves no connection on which it could reach the next one."""
    backend = make_backend(proxy.url, {"timeout": 5, "max_connections": 1}, awaited=True)
    await backend.put([(KEY, OLD, 3), ("faults:2", NEW, 3)], None)
    proxy.behave(Fault(stall_after=0))
    reading = asyncio.create_task(backend.get([KEY]))
    waiting = asyncio.create_task(backend.get(["faults:2"]))
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    proxy.behave()
    assert await waiting == [NEW]
    assert await backend.get([KEY]) == [OLD]
    assert proxy.connections == 2
    await backend.close()


async def test_the_pool_waits(proxy: Proxy) -> None:
    """Of many tasks at once, as many as there may be connections talk to the server; the others wait for their turn."""
    backend = make_backend(proxy.url, {"max_connections": 3, "timeout": 5}, awaited=True)
    await backend.put([(f"faults:{number}", Value(b"%d" % number, b""), 1) for number in range(50)], None)
    proxy.behave(Fault(delay=0.002))
    found = await asyncio.gather(*(backend.get([f"faults:{number}"]) for number in range(50)))
    assert found == [[Value(b"%d" % number, b"")] for number in range(50)]
    assert proxy.connections == 3
    await backend.close()


async def test_many_tasks_and_a_frozen_server(own_server: RedisServer) -> None:
    """Of many tasks that read from a stopped server only those that had a connection wait; the rest fail at once."""
    backend = make_backend(own_server.url, {"max_connections": 2, "timeout": 0.1}, awaited=True)
    replace_breaker(backend, Breaker("it", 1.0, ManualClock()))
    await asyncio.gather(backend.get([KEY]), backend.get([KEY]))
    own_server.pause()
    failures = await asyncio.gather(*(backend.get([KEY]) for _ in range(40)), return_exceptions=True)
    own_server.resume()
    assert (
        sorted(type(failure).__name__ for failure in failures) == ["BackendTimeout"] * 2 + ["BackendUnavailable"] * 38
    )
    await backend.close()


def test_loops_one_after_another(redis_server: RedisServer) -> None:
    """One backend serves several event loops, of which none closes it, and leaves nothing to be warned about."""
    backend = make_backend(redis_server.url, awaited=True)

    async def use() -> Any:
        await backend.put([(KEY, OLD, 3)], None)
        return await asyncio.gather(*(backend.get([KEY]) for _ in range(5)))

    for _ in range(3):
        assert asyncio.run(use()) == [[OLD]] * 5
    asyncio.run(backend.close())
    gc.collect()


def test_connections_end_with_their_threads(own_server: RedisServer) -> None:
    """A thread's connection is closed when the thread has ended, and all of them by close."""
    backend = make_backend(own_server.url)
    backend.get([KEY])

    def use() -> None:
        backend.get([KEY])

    for _ in range(5):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert connected(own_server, 2) == 2
    ready, leave = threading.Barrier(4), threading.Event()

    def stay() -> None:
        backend.get([KEY])
        ready.wait()
        leave.wait()

    threads = [threading.Thread(target=stay) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    assert connected(own_server, 5) == 5
    backend.close()
    assert connected(own_server, 1) == 1
    leave.set()
    for thread in threads:
        thread.join()
    with pytest.raises(BackendUnavailable, match="closed"):
        backend.get([KEY])


def connected(server: RedisServer, expected: int) -> int:
    """How many clients are connected, the one that asks included, as soon as it is as many as expected."""
    waiting, count = threading.Event(), -1
    for _ in range(500):
        count = int(server.info("clients")["connected_clients"])
        if count == expected:
            break
        waiting.wait(0.01)
    return count


def test_a_forked_child_has_connections_of_its_own(own_server: RedisServer) -> None:
    """A child process leaves its parent's connections alone, and both get their own answers."""
    script = """
        import os, sys
        from cachecore.entries import Value
        from cachecore.registry import make_backend

        backend = make_backend(sys.argv[1])
        backend.put([(f"fork:{number}", Value(b"%d" % number, b""), 1) for number in range(4)], None)
        mine = backend.topology.link()
        children = []
        for number in range(1, 4):
            child = os.fork()
            if child == 0:
                ok = all(backend.get([f"fork:{number}"]) == [Value(b"%d" % number, b"")] for _ in range(100))
                os._exit(0 if ok and backend.topology.link() is not mine and not mine.is_open else 1)
            children.append(child)
        assert all(backend.get(["fork:0"]) == [Value(b"0", b"")] for _ in range(100))
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        assert backend.get(["fork:0"]) == [Value(b"0", b"")]
        assert backend.topology.link() is mine
        backend.close()
    """
    run(script, own_server.url)


def test_the_rights_that_a_user_needs(connect: Connect) -> None:
    """A user with the rights that docs/redis.md names, and no others, can do everything."""
    text = (Path(__file__).parent.parent / "docs" / "redis.md").read_text()
    [rights] = re.findall(r"A user needs `([^`]+)`", text)
    with require(RedisServer) as server:
        server.call("ACL", "SETUSER", "user", "on", ">secret", "~faults:*", *rights.split(), "+flushdb")
        backend = connect(server.url.replace("redis://", "redis://user:secret@"), client_name="shop")
        keys = [f"faults:{number}" for number in range(9)]
        for _ in range(2):
            assert backend.acquire(keys, MINE, 10.0) == [Grant(MINE)] * 9
            assert backend.fill([(key, MINE, OLD, 3) for key in keys], 10.0) == [True] * 9
            assert backend.acquire(keys, MINE, 10.0) == [OLD] * 9
            assert backend.displace([(KEY, OLD)], MINE, 10.0) == [Grant(MINE)]
            backend.abandon([(KEY, MINE)])
            backend.hold(keys, MINE, 10.0)
            backend.release(keys[:1], MINE)
            backend.complete(keys, MINE, {KEY: (OLD, 3)}, 10.0)
            assert backend.put([(KEY, OLD, 3)], None) == [True]
            assert backend.swap(KEY, b"stamp", NEW, 3, None)
            assert backend.forget([KEY]) == [True]
            assert backend.get(keys) == [None] * 9
            assert backend.diagnose() == []
            backend.clear()
