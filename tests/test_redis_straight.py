"""A few keys asked for straight: the same answers from both twins, and never another caller's."""

import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType, ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachecore.backends.redis import _straight_py, straight
from cachecore.backends.redis.requests import lease_options, leases
from cachecore.entries import Grant, Hold, Lease, Unusable, Value, decode_entry, encode_entry
from cachecore.errors import BackendError, BackendUnavailable
from cachecore.registry import make_backend
from cachecore.testing.servers import Fault, Proxy, RedisServer
from tests.conftest import PATIENT

SERVER = b"server01"
HEAD = b"\xcc\x0e\x01" + SERVER
TOKEN = b"my token"
OPTIONS = lease_options(5.0)
KEYS = ("straight:1", "straight:2")
OLD, NEW = Value(b"old", b"stamp"), Value(b"new", b"stamp")


def twins() -> list[ModuleType]:
    """The pure module and, where it is compiled, the compiled one."""
    found: list[ModuleType] = [_straight_py]
    if straight.implementation == "cython":
        from cachecore.backends.redis import _straight_c

        found.append(_straight_c)
    return found


@pytest.fixture(params=twins(), ids=lambda module: module.__name__.rpartition(".")[2])
def twin(request: pytest.FixtureRequest) -> Any:
    """Either module."""
    return request.param


def bulk(data: bytes) -> bytes:
    """A reply."""
    return b"$%d\r\n%b\r\n" % (len(data), data)


ANSWER = bulk(encode_entry(OLD, SERVER)) + bulk(encode_entry(NEW, SERVER))

# -- bytes --------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="ascii"), max_size=1500) | st.text(max_size=5) | st.text("k", min_size=900)
STORED = st.one_of(
    st.builds(Value, st.binary(max_size=20), st.binary(max_size=255)),
    st.builds(Lease, st.binary(min_size=8, max_size=8)),
    st.just(Hold(((TOKEN, 1.0),))),
).map(lambda entry: encode_entry(entry, SERVER))
REPLIES = st.one_of(
    STORED.map(bulk),
    STORED.map(lambda stored: bulk(stored[:-1])),
    STORED.map(lambda stored: bulk(b"\xcc\x0e\x01another!" + stored[11:])),
    st.binary(max_size=30).map(bulk),
    st.sampled_from([b"$-1\r\n", b"_\r\n", b"+OK\r\n", b"-ERR no\r\n", b"$00000000000\r\n\r\n", b"$012\r\n", b"$\r\n"]),
)


@given(st.lists(TEXTS, max_size=4), st.binary(max_size=8))
def test_requests_of_both_twins_are_those_of_the_general_way(keys: list[str], token: bytes) -> None:
    """The bytes are precisely those of `requests.leases`, or there are none."""
    made = [twin.lease_request(keys, HEAD, token, OPTIONS) for twin in twins()]
    assert made.count(made[0]) == len(made)
    if made[0] is not None:
        general = b"".join(SERVER.join(parts) for _, parts, _ in leases(keys, token, 5.0))
        assert made[0] == general
    else:
        assert sum(map(len, keys)) > 3000 or not all(map(str.isascii, keys))


@given(st.lists(REPLIES, max_size=3).map(b"".join), st.integers(0, 3), st.binary(max_size=2), st.booleans())
def test_replies_are_values_for_both_twins_or_for_none(data: bytes, count: int, rest: bytes, cut: bool) -> None:
    """Only so many whole values of this server are an answer; the rest is left to the general way."""
    data = data[: -len(rest)] if cut and rest else data + rest
    read = [twin.plain_values(b"before" + data, 6, count, HEAD) for twin in twins()]
    assert read.count(read[0]) == len(read)
    if read[0] is not None:
        assert [type(value) for value in read[0]] == [Value] * count
        assert b"".join(bulk(encode_entry(value, SERVER)) for value in read[0]) == data


@given(STORED | st.binary(max_size=40) | st.binary(max_size=40).map(lambda rest: HEAD + b"v" + rest))
def test_a_value_is_what_the_format_says(stored: bytes) -> None:
    """Both twins take for a value what `decode_entry` takes for one, and nothing else."""
    decoded = decode_entry(stored, SERVER)
    expected = decoded if type(decoded) is Value else None
    assert [twin.plain_value(stored, HEAD) for twin in twins()] == [expected] * len(twins())


def test_values_are_read(twin: Any) -> None:
    """A stamp and a payload may be empty, and 255 bytes and many."""
    for value in (Value(b"", b""), Value(b"x" * 100_000, b"s" * 255), OLD):
        stored = encode_entry(value, SERVER)
        assert twin.plain_value(stored, HEAD) == value
        assert twin.plain_values(bulk(stored) * 3, 0, 3, HEAD) == [value] * 3
        assert twin.plain_value(stored, b"\xcc\x0e\x01") is None


# -- one exchange -------------------------------------------------------------------------------------


@contextmanager
def linked(twin: Any) -> Iterator[tuple[Any, socket.socket]]:
    """An idle link, and the other end of its connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        link = twin.StraightLink(5.0)
        link.socket, link.head = ours, HEAD
        link.is_open, link.patience, link.look_at = True, None, time.monotonic() + 1000
        yield link, theirs


def test_a_hit_leaves_the_link_idle(twin: Any) -> None:
    """The request goes out once, the values come back, and the next request may follow."""
    with linked(twin) as (link, theirs):
        for number in range(1, 3):
            theirs.sendall(ANSWER)
            assert link.straight(KEYS, TOKEN, OPTIONS) == [OLD, NEW]
            assert theirs.recv(10_000) == twin.lease_request(KEYS, HEAD, TOKEN, OPTIONS)
            assert (link.is_busy, link.exchanges) == (False, number)
        assert 0 < link.deadline - time.monotonic() <= 5.0


@pytest.mark.parametrize("answer", [b"$-1\r\n" * 2, ANSWER[:-1], ANSWER + b"$", bulk(b"other") * 2, b"-OOM no\r\n" * 2])
def test_what_is_no_hit_is_handed_on(twin: Any, answer: bytes) -> None:
    """The caller is given what has arrived, and the link stays busy until he has made something of it."""
    with linked(twin) as (link, theirs):
        theirs.sendall(answer)
        assert link.straight(KEYS, TOKEN, OPTIONS) == answer
        assert link.is_busy
        assert link.straight(KEYS, TOKEN, OPTIONS) is None


UNFIT: dict[str, Callable[[Any], object]] = {
    "closed": lambda link: setattr(link, "is_open", False),
    "busy": lambda link: setattr(link, "is_busy", True),
    "not blocking": lambda link: setattr(link, "patience", 5.0),
    "to be looked at": lambda link: setattr(link, "look_at", time.monotonic() - 1),
    "to an unknown server": lambda link: setattr(link, "head", b""),
}


@pytest.mark.parametrize("state", UNFIT)
def test_an_unfit_link_sends_nothing(twin: Any, state: str) -> None:
    """One that is closed, busy, not blocking, to be looked at, or whose server is unknown."""
    with linked(twin) as (link, theirs):
        UNFIT[state](link)
        assert link.straight(KEYS, TOKEN, OPTIONS) is None
        assert link.exchanges == 0
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


@pytest.mark.parametrize("keys", [["k" * 4096], ["k" * 1000] * 4, ["\xe9"], ["\ud800"], [b"bytes"]])
def test_an_unusual_request_is_not_sent(twin: Any, keys: Any) -> None:
    """Long ones and keys that are not ASCII are for the general way."""
    with linked(twin) as (link, _):
        assert link.straight(keys, TOKEN, OPTIONS) is None
        assert not link.is_busy


def test_the_end_of_the_connection(twin: Any) -> None:
    """It is told apart from an answer; the link is of no more use."""
    with linked(twin) as (link, theirs):
        theirs.shutdown(socket.SHUT_WR)
        assert link.straight(KEYS, TOKEN, OPTIONS) == b""
        assert link.is_busy
    with linked(twin) as (link, theirs):
        theirs.close()
        with pytest.raises(BrokenPipeError):
            link.straight(KEYS, TOKEN, OPTIONS)
        assert link.is_busy


def test_the_timeout_of_the_kernel(twin: Any) -> None:
    """When it is over the exchange fails, and the link is of no more use."""
    with linked(twin) as (link, _):
        link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 10_000))
        with pytest.raises(BlockingIOError):
            link.straight(KEYS, TOKEN, OPTIONS)
        assert link.is_busy
        assert link.straight(KEYS, TOKEN, OPTIONS) is None


# -- signals ------------------------------------------------------------------------------------------


@contextmanager
def signalled(handle: Callable[[], None]) -> Iterator[None]:
    """Signals come again and again, and the first is handled."""
    pending = [handle]

    def handler(number: int, frame: FrameType | None) -> None:
        if pending:
            pending.pop()()

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_exchange_goes_on_after_a_signal(twin: Any) -> None:
    """A handler runs while the reply is awaited; the reply is then received."""
    with linked(twin) as (link, theirs), signalled(lambda: theirs.sendall(ANSWER)):
        assert link.straight(KEYS, TOKEN, OPTIONS) == [OLD, NEW]
        assert not link.is_busy


def test_a_handler_that_raises(twin: Any) -> None:
    """What it raises ends the exchange, and the link is never used again."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with linked(twin) as (link, theirs):
        with signalled(interrupt), pytest.raises(KeyboardInterrupt):
            link.straight(KEYS, TOKEN, OPTIONS)
        theirs.sendall(ANSWER)
        assert link.straight(KEYS, TOKEN, OPTIONS) is None


def test_a_handler_that_closes_the_link(twin: Any) -> None:
    """The exchange fails at once: its socket's number may be another's by now."""
    with linked(twin) as (link, _):

        def close() -> None:
            link.is_open = False
            link.socket.close()

        with signalled(close), pytest.raises(OSError, match=r"closed|Bad file descriptor"):
            link.straight(KEYS, TOKEN, OPTIONS)
        assert link.is_busy


def test_a_handler_that_reads_too(redis_server: RedisServer) -> None:
    """A handler that asks the same backend in the midst of a request has its answer, and so has who was interrupted."""
    with Proxy(redis_server) as proxy, closing(make_backend(proxy.url, {"timeout": 30})) as backend:
        backend.put([(KEYS[0], OLD, 3), (KEYS[1], NEW, 3)], None)
        assert backend.acquire(KEYS[:1], TOKEN, 10.0) == [OLD]
        proxy.behave(Fault(stall_after=0))
        found: list[object] = []

        def read() -> None:
            proxy.behave()
            try:
                found.extend(backend.acquire(KEYS[1:], TOKEN, 10.0))
            except BackendError as error:
                found.append(error)

        with signalled(read):
            assert backend.acquire(KEYS[:1], TOKEN, 10.0) == [OLD]
        assert found == [NEW]


# -- threads ------------------------------------------------------------------------------------------


def test_threads_that_are_interrupted_by_close(redis_server: RedisServer) -> None:
    """While a backend is closed under its readers, and other connections are opened, everybody reads his own value."""
    values = {f"straight:{number}": Value(b"%d" % number, b"stamp") for number in range(4)}
    with closing(make_backend(redis_server.url, PATIENT)) as other:
        other.put([(key, value, 3) for key, value in values.items()], None)
        for _ in range(20):
            backend = make_backend(redis_server.url, PATIENT)
            ready, wrong = threading.Barrier(len(values) + 1), list[object]()

            def read(key: str, backend: Any = backend, ready: Any = ready, wrong: list[object] = wrong) -> None:
                found = backend.acquire((key,), TOKEN, 10.0)
                ready.wait()
                try:
                    while found == [values[key]]:
                        found = backend.acquire((key,), TOKEN, 10.0)
                    wrong.append(found)
                except BackendUnavailable as error:
                    if "closed" not in str(error):
                        wrong.append(error)

            threads = [threading.Thread(target=read, args=(key,)) for key in values]
            for thread in threads:
                thread.start()
            ready.wait()
            backend.close()
            with closing(make_backend(redis_server.url, PATIENT)) as next_one:
                for key, value in values.items():
                    assert next_one.acquire((key,), TOKEN, 10.0) == [value]
            for thread in threads:
                thread.join()
            assert wrong == []


# -- on a server --------------------------------------------------------------------------------------


def test_hits_go_straight_and_the_rest_as_before(redis_server: RedisServer) -> None:
    """Whatever stands under the keys, one request is sent and its answer is the one that the table of entries wants."""
    redis_server.call("FLUSHALL")
    with closing(make_backend(redis_server.url, PATIENT)) as backend:
        backend.put([(KEYS[0], OLD, 3), (KEYS[1], NEW, 3)], None)
        link = backend.topology.link()
        asked = {"hits": KEYS, "absent": (KEYS[0], "straight:absent"), "rubbish": (KEYS[0], "straight:rubbish")}
        redis_server.call("SET", "straight:rubbish", "rubbish")
        sent, answers = link.exchanges, {what: backend.acquire(keys, TOKEN, 10.0) for what, keys in asked.items()}
        assert answers == {
            "hits": [OLD, NEW],
            "absent": [OLD, Grant(TOKEN)],
            "rubbish": [OLD, Unusable("corrupt", b"rubbish")],
        }
        assert link.exchanges - sent == 3
        large = Value(b"x" * 200_000, b"stamp")
        backend.put([(KEYS[0], large, 3)], None)
        assert backend.acquire(KEYS, TOKEN, 10.0) == [large, NEW]
        assert not link.is_busy
        assert backend.topology.link() is link
