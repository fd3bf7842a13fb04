"""The short way of reads and fills, in both implementations: what it settles, and what it leaves to the long way."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachecore.backends.memcached import _short_way_py, classic, meta, peer
from cachecore.backends.memcached.backend import MemcachedBackend
from cachecore.backends.memcached.batches import Reads
from cachecore.backends.memcached.fleet import names_of
from cachecore.backends.memcached.items import record, understood
from cachecore.backends.memcached.replies import FOUND, Garbled, Reader, ServerSaid
from cachecore.backends.memcached.settings import parsed
from cachecore.entries import Grant, Lease, Unusable, Value, decode_entry, encode_entry
from cachecore.errors import BackendError, BackendTimeout, BackendUnavailable, InvalidKey
from cachecore.testing import ManualClock
from cachecore.testing.servers import Fault, MemcachedServer, Proxy
from tests.conftest import PATIENT, require

try:
    from cachecore.backends.memcached import _short_way_c
except ImportError:
    if os.environ.get("CACHECORE_REQUIRE_EXTENSION") == "1":
        raise
    _short_way_c = None  # type: ignore[assignment]

MINE = b"mine----"
ROW, OTHER = Value(b"row", b"stamp"), Value(b"\r\nEND\r\n", b"")
LIFE = b"one life"

implementations = pytest.mark.parametrize(
    "way",
    [
        pytest.param(_short_way_py, id="python"),
        pytest.param(
            _short_way_c, id="cython", marks=pytest.mark.skipif(_short_way_c is None, reason="it is not built")
        ),
    ],
)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., MemcachedBackend]]:
    """Makes backends that read by the given implementation, and closes them."""
    with ExitStack() as stack:

        def make(url: str, way: Any, clock: Callable[[], float] = time.monotonic, **options: Any) -> MemcachedBackend:
            backend = MemcachedBackend(parsed(url, {**PATIENT, **options}), clock=clock)
            stack.callback(backend.close)
            monkeypatch.setattr(peer, "Values", way.Values)
            backend._short_way = way.ShortWay(backend._servers[0], clock)
            return backend

        yield make


def short(backend: MemcachedBackend) -> Any:
    """Its short way."""
    return backend._short_way


# -- commands --------------------------------------------------------------------------------------

KEYS = st.text(st.characters(codec="ascii") | st.sampled_from("é€😀\x85\xa0")) | st.sampled_from(["k" * 250, "k" * 251])


@implementations
@given(keys=st.lists(KEYS, max_size=3).map(tuple) | st.lists(KEYS, max_size=3))
def test_only_printable_ascii_keys_are_asked_for_the_short_way(way: Any, keys: list[str] | tuple[str, ...]) -> None:
    """The commands are those of the long way, or None where a key is none or would have to be encoded."""
    asked = way.commands(keys, b"mg ", b" v\r\n")
    plain = keys and all(0 < len(key) <= 250 and key.isascii() and key.isprintable() and " " not in key for key in keys)
    if not plain:
        assert asked is None
    else:
        assert asked == b"".join(b"mg %b v\r\n" % name for name in names_of(keys))


@implementations
def test_commands_beyond_the_window_go_the_long_way(way: Any) -> None:
    """What might fill the buffers of the sockets at both ends is not sent at once."""
    keys = ["k" * 246] * 256
    assert len(way.commands(keys, b"mg ", b" v\r\n")) == 256 * 253
    assert way.commands(["k" * 250] * 256, b"mg ", b" v\r\n") is None


# -- values ----------------------------------------------------------------------------------------

ITEM_BYTES = st.one_of(
    st.builds(lambda payload, stamp: encode_entry(Value(payload, stamp), LIFE), st.binary(), st.binary(max_size=20)),
    st.just(encode_entry(ROW, b"another.")),
    st.just(encode_entry(ROW, LIFE) + record(MINE, 1e12, LIFE)),
    st.just(encode_entry(Lease(MINE), LIFE)),
    st.binary(max_size=40),
)


@implementations
@pytest.mark.parametrize("dialect", [meta, classic])
@given(
    items=st.lists(st.tuples(ITEM_BYTES, st.sampled_from([0, 0, 0, 28, 1])), min_size=1, max_size=3),
    change=st.none()
    | st.tuples(st.integers(0, 150), st.sampled_from([b"", b"\r", b"\n", b" ", b"0", b"9", b"X", b"\xff"])),
    cut=st.none() | st.integers(0, 150),
)
def test_the_short_way_of_reading_agrees_with_the_long_one(
    way: Any, dialect: Any, items: list[tuple[bytes, int]], change: tuple[int, bytes] | None, cut: int | None
) -> None:
    """What is taken for nothing but values at a glance is that, the same ones, when each reply is read by itself."""
    shape = b"VA %d f%d c7\r\n%b\r\n" if dialect is meta else b"VALUE key %d %d 7\r\n%b\r\nEND\r\n"
    reply = b"".join(
        shape % (*(len(item), abs(len(item) - fewer))[:: 1 if dialect is meta else -1], item) for item, fewer in items
    )
    if change is not None:
        reply = reply[: change[0]] + change[1] + reply[change[0] + 1 :]
    reply = reply[:cut]
    at_a_glance = way.Values(dialect is classic, LIFE)(reply, len(items))
    assert at_a_glance == _short_way_py.Values(dialect is classic, LIFE)(reply, len(items))
    found: list[Any] = []
    try:
        end = dialect.parse(reply, 0, len(items), 1 << 20, found)
    except (Garbled, ServerSaid):
        end = -1
    long = [understood(data, flags, LIFE, LIFE, 0.0) if code == FOUND else None for code, data, flags, _, _ in found]
    if end == len(reply) and len(found) == len(items) and all(isinstance(entry, Value) for entry in long):
        assert at_a_glance == long
    else:
        assert at_a_glance is None


@implementations
@pytest.mark.parametrize("dialect", [meta, classic])
@given(
    items=st.lists(ITEM_BYTES, min_size=1, max_size=4),
    odd=st.none()
    | st.tuples(st.integers(0, 3), st.sampled_from([b"EN\r\n", b"END\r\n", b"HD\r\n", b"x" * 301, b"\n"])),
    sizes=st.lists(st.integers(1, 40) | st.integers(1, 400), min_size=1, max_size=8),
)
def test_replies_mean_the_same_in_whatever_pieces_they_come(
    way: Any, dialect: Any, items: list[bytes], odd: tuple[int, bytes] | None, sizes: list[int]
) -> None:
    """Values, replies of all kinds and what is none: read piece by piece they are what they are when read at once."""
    shape = b"VA %d f%d c7\r\n%b\r\n" if dialect is meta else b"VALUE key %d %d 7\r\n%b\r\nEND\r\n"
    replies = [shape % (len(item), len(item), item) for item in items]
    if odd is not None:
        replies.insert(odd[0], odd[1])
    whole = b"".join(replies)

    def read(pieces: Iterator[bytes]) -> tuple[Any, Any]:
        reads = Reads([b"key"] * len(replies), dialect.form(None), way.Values(dialect is classic, LIFE))
        reader = Reader(dialect.parse, len(replies), 1 << 20, reads)
        try:
            for piece in pieces:
                assert reader.answered < len(replies)
                if reader.feed(piece):
                    assert not list(pieces)
                    return reads.values, reader.replies
        except Garbled:
            return None, "garbled"
        return None, "more is awaited"

    def cut() -> Iterator[bytes]:
        start = 0
        for size in itertools.cycle(sizes):
            if start >= len(whole):
                return
            yield whole[start : start + size]
            start += size

    found = read(cut())
    assert found == read(iter([whole]))
    if odd is None and all(isinstance(decode_entry(item, LIFE), Value) for item in items):
        assert found == ([decode_entry(item, LIFE) for item in items], [])


@implementations
def test_the_end_of_a_large_value_is_known(way: Any) -> None:
    """Of a value that has begun it is said how long the whole is, from the line on; before, and after all, nothing."""
    values: list[Value] = []
    reply = b"VA 21 f21 c7\r\n" + ITEM + b"\r\n"
    take = way.Values(False, LIFE).take
    assert take(reply[:10], 1, values) == (0, 0)
    assert take(reply[:14], 1, values) == (0, len(reply))
    assert take(reply + reply[:30], 2, values) == (len(reply), 2 * len(reply))
    assert take(reply + b"more", 2, values) == (len(reply), 0)
    assert values == [ROW, ROW]
    assert take(b"V" * 300, 3, values) == (0, 0)
    assert take(b"V" * 301, 3, values) is None
    assert take(b"VA\n", 3, values) is None


ITEM = encode_entry(ROW, LIFE)


@implementations
@pytest.mark.parametrize(
    ("line", "believed"),
    [
        (b"VA 21 f21 c7\r\n", True),
        (b"VA 21 f21 c%d\r\n" % (10**20 - 1), True),
        (b"VA 0000021 f0000021 c7\r\n", True),
        (b"VA 00000021 f00000021 c7\r\n", False),
        (b"VA 21 f021 c7\r\n", False),
        (b"VA 21 f21 c\r\n", False),
        (b"VA 21 f21 c%d\r\n" % 10**20, False),
        (b"VA 21 f21 c7 X\r\n", False),
        (b"VA 21 f21 c7 Z\r\n", False),
        (b"VA  f c7\r\n", False),
        (b"VA 21 f21 c7\n", False),
        (b"VA -1 f-1 c7\r\n", False),
        (b"VA 9999999 f9999999 c7\r\n", False),
        (b"VA 12 f12 c7\r\n", False),
        (b"VA 11 f11 c7\r\n", False),
        (b"VALUE key 21 21 7\r\n", False),
    ],
)
def test_the_line_before_a_value(way: Any, line: bytes, believed: bool) -> None:
    """It is taken for one only in the one form that a server gives it, with flags that equal the size."""
    assert way.Values(False, LIFE)(line + ITEM + b"\r\n", 1) == ([ROW] if believed else None)


@implementations
@pytest.mark.parametrize(
    ("line", "believed"),
    [
        (b"VALUE key 21 21 7\r\n", True),
        (b"VALUE %b 21 21 7\r\n" % (b"\xff" * 250), True),
        (b"VALUE %b 21 21 7\r\n" % (b"k" * 251), False),
        (b"VALUE  21 21 7\r\n", False),
        (b"VALUE k\ty 21 21 7\r\n", False),
        (b"VALUE key 21 021 7\r\n", False),
        (b"VALUE key 21 21\r\n", False),
        (b"VALUE key 21 21 \r\n", False),
        (b"VA 21 f21 c7\r\n", False),
    ],
)
def test_the_line_before_a_value_of_an_old_server(way: Any, line: bytes, believed: bool) -> None:
    """The same in the classic dialect."""
    assert way.Values(True, LIFE)(line + ITEM + b"\r\nEND\r\n", 1) == ([ROW] if believed else None)


# -- reads -----------------------------------------------------------------------------------------


@implementations
@pytest.mark.parametrize("dialect", ["meta", "classic"])
@pytest.mark.parametrize("ttl", [None, 5.0])
def test_a_read_of_values_goes_the_short_way(
    memcached_server: MemcachedServer, made: Callable[..., Any], way: Any, dialect: str, ttl: float | None
) -> None:
    """Where a value stands under each key and the connection is there, they are returned in the order of the keys."""
    backend = made(memcached_server.url, way, dialect=dialect)
    backend.put([("warm:row", ROW, 3), ("warm:other", OTHER, 3)], None)
    before = backend.exchanges
    assert short(backend).read(("warm:row",), ttl) == [ROW]
    assert short(backend).read(["warm:other"], ttl) == [OTHER]
    assert backend.exchanges == before + 2
    if dialect == "meta":  # its replies to several commands come together
        assert short(backend).read(["warm:other", "warm:row", "warm:other"], ttl) == [OTHER, ROW, OTHER]


@implementations
def test_what_is_no_value_goes_on_the_long_way(
    memcached_server: MemcachedServer, made: Callable[..., MemcachedBackend], way: Any
) -> None:
    """A miss, a lease, a hold and rubbish are found as ever, in one round trip, over the same connection."""
    backend = made(memcached_server.url, way)
    backend.put([("warm:row", ROW, 3)], None)
    backend.forget(["warm:none", "warm:held"])
    memcached_server.call(b"ms warm:rubbish 3\r\nhey\r\n")
    link = backend._servers[0].mine.link
    before = backend.exchanges
    row, grant = backend.acquire(["warm:row", "warm:none"], MINE, 5.0)
    assert row == ROW
    assert isinstance(grant, Grant)
    assert backend.get(["warm:none", "warm:row"]) == [Lease(grant.token), ROW]
    assert backend.get(["warm:rubbish"]) == [Unusable("corrupt", b"hey")]
    assert backend.exchanges == before + 3
    backend.hold(["warm:held"], MINE, 15.0)
    row, held = backend.acquire(["warm:row", "warm:held"], MINE, 5.0)
    assert row == ROW
    assert [token for token, _ in held.tokens] == [MINE]  # type: ignore[union-attr]
    assert backend.fill([("warm:none", grant.token, OTHER, 3)], None) == [True]
    assert backend.get(["warm:none"]) == [OTHER]
    assert backend._servers[0].mine.link is link


@implementations
def test_what_is_asked_only_the_long_way(
    memcached_server: MemcachedServer, made: Callable[..., MemcachedBackend], way: Any
) -> None:
    """Nothing is sent for no keys, for keys that must be encoded or refused, and for leases beyond thirty days."""
    backend = made(memcached_server.url, way)
    backend.put([("warm:row", ROW, 3), ("wärm", OTHER, 3)], None)
    before = backend.exchanges
    for keys in ([], ["wärm"], ["warm:row", "a b"], ["k" * 251], [""]):
        assert short(backend).read(keys, 5.0) is None
    assert short(backend).read(["warm:row"], 30 * 24 * 3600 + 1) is None
    assert short(backend).read(["warm:row"], 0) is None
    assert backend.exchanges == before
    assert backend.get([]) == []
    assert backend.get(["wärm", "warm:row"]) == [OTHER, ROW]
    assert backend.acquire(["warm:row"], MINE, 40 * 24 * 3600.0) == [ROW]
    with pytest.raises(InvalidKey, match="no spaces"):
        backend.get(["warm:row", "a b"])


@implementations
def test_large_values_arrive_in_pieces(
    memcached_server: MemcachedServer, made: Callable[..., MemcachedBackend], way: Any
) -> None:
    """What does not come at once goes on the long way, from what has come."""
    backend = made(memcached_server.url, way)
    keys = [f"warm:large:{number}" for number in range(5)]
    values = [Value(bytes([number]) * 100_000, b"stamp") for number in range(5)]
    backend.put([(key, value, 100_000) for key, value in zip(keys, values, strict=True)], None)
    before = backend.exchanges
    assert backend.acquire(keys, MINE, 5.0) == values
    assert backend.exchanges == before + 1


@implementations
@pytest.mark.parametrize("dialect", ["meta", "classic"])
@pytest.mark.parametrize("count", [300, 3000])
def test_many_values_arrive_in_pieces(
    memcached_server: MemcachedServer, made: Callable[..., Any], way: Any, dialect: str, count: int
) -> None:
    """Answers of any length, also to more commands than are sent at once, are the values, or what else stands there."""
    backend = made(memcached_server.url, way, dialect=dialect)
    keys = [f"warm:many:{number}" for number in range(count)]
    values = [Value(key.encode() * 3, b"stamp") for key in keys]
    backend.put([(key, value, 100) for key, value in zip(keys, values, strict=True)], None)
    before = backend.exchanges
    assert backend.acquire(keys, MINE, 5.0) == values
    assert backend.get(keys) == values
    assert backend.exchanges == before + 2
    backend.forget(keys[-1:])
    assert backend.get(keys) == [*values[:-1], None]


@implementations
@pytest.mark.parametrize("size", [1, 7, 30])
def test_replies_in_small_pieces(memcached_server: MemcachedServer, way: Any, size: int, made: Any) -> None:
    """However a reply is cut, the values are the same."""
    with Proxy(memcached_server) as proxy:
        backend = made(proxy.url, way)
        backend.put([("warm:row", ROW, 3), ("warm:other", OTHER, 3)], None)
        proxy.behave(Fault(piece=size))
        for _ in range(3):
            assert backend.get(["warm:row", "warm:other"]) == [ROW, OTHER]


@implementations
def test_a_fleet_is_asked_the_long_way(made: Callable[..., MemcachedBackend], way: Any) -> None:
    """With several servers there is no short way, since keys have owners; with a second list for writers there is."""
    one, two = "memcached://127.0.0.1:1,127.0.0.1:2", "memcached://127.0.0.1:1"
    assert MemcachedBackend(parsed(one, {}))._short_way is None
    assert MemcachedBackend(parsed(two, {"also": "127.0.0.1:2"}))._short_way is not None


# -- fills -----------------------------------------------------------------------------------------


def granted(backend: MemcachedBackend, *keys: str) -> list[bytes]:
    """The tokens of leases for these keys, where nothing stands before."""
    backend.forget(keys)
    return [grant.token for grant in backend.acquire(keys, MINE, 60.0) if isinstance(grant, Grant)]


@implementations
@pytest.mark.parametrize("dialect", ["meta", "classic"])
@pytest.mark.parametrize(("ttl", "left"), [(None, -1), (0.2, 1), (3599.5, 3600), (30 * 24 * 3600, 30 * 24 * 3600)])
def test_fills_of_leases_go_the_short_way(
    memcached_server: MemcachedServer, made: Callable[..., Any], way: Any, dialect: str, ttl: float | None, left: int
) -> None:
    """Where each lease stands, it is replaced by the bytes that the long way would leave, with the time to live."""
    backend = made(memcached_server.url, way, dialect=dialect)
    values = [ROW, OTHER, Value(b"", b"s" * 255)]
    keys = [f"warm:{number}" for number in range(3)]
    tokens = granted(backend, *keys)
    items = [(key, token, value, 3) for key, token, value in zip(keys, tokens, values, strict=True)]
    before = backend.exchanges
    if dialect == "meta":  # its replies to several commands come together
        assert short(backend).fill(items, ttl) == [True, True, True]
        assert backend.exchanges == before + 1
    else:
        assert [short(backend).fill([item], ttl) for item in items] == [[True]] * 3
    mark = backend._servers[0].mine.link.peer.mark
    for key, value in zip(keys, values, strict=True):
        size = len(encode_entry(value, mark))
        reply = memcached_server.call(b"mg %b t f v\r\n" % key.encode())
        line, data = reply.split(b"\r\n", 1)
        assert line.split()[:2] == [b"VA", b"%d" % size]
        assert int(line.split()[2][1:]) in (left, left - 1)
        assert line.split()[3] == b"f%d" % size
        assert data == encode_entry(value, mark) + b"\r\n"


@implementations
@pytest.mark.parametrize("dialect", ["meta", "classic"])
def test_a_fill_without_its_lease_goes_on_the_long_way(
    memcached_server: MemcachedServer, made: Callable[..., Any], way: Any, dialect: str
) -> None:
    """Leases that have gone, of another life or of none, are refused as ever, and those beside them filled."""
    backend = made(memcached_server.url, way, dialect=dialect)
    one, two, three = granted(backend, "warm:1", "warm:2", "warm:3")
    backend.put([("warm:2", ROW, 3)], None)
    backend.forget(["warm:3"])
    before = backend.exchanges
    items = [("warm:1", one, OTHER, 3), ("warm:2", two, OTHER, 3), ("warm:3", three, OTHER, 3)]
    assert backend.fill(items, None) == [True, False, False]
    assert backend.exchanges == before + 1
    assert backend.get(["warm:1", "warm:2"]) == [OTHER, ROW]
    [again] = granted(backend, "warm:1")
    for foreign in (b"another." + again[8:], b"short", b""):
        assert short(backend).fill([("warm:1", foreign, ROW, 3)], None) is None
        assert backend.fill([("warm:1", again, ROW, 3), ("warm:2", foreign, ROW, 3)], None)[1] is False
        assert backend.get(["warm:1"]) == [ROW]
        [again] = granted(backend, "warm:1")
    assert backend.fill([], None) == []


@implementations
def test_what_is_filled_only_the_long_way(
    memcached_server: MemcachedServer, made: Callable[..., Any], way: Any
) -> None:
    """Nothing is sent for values beyond the window or the server's limit, odd keys, and lives beyond thirty days."""
    backend = made(memcached_server.url, way)
    large, odd, long = granted(backend, "warm:large", "wärm", "warm:long")
    before = backend.exchanges
    sent = short(backend)
    for size in (1 << 16, 1 << 20, 1 << 21):
        assert sent.fill([("warm:large", large, Value(b"x" * size, b"stamp"), size)], None) is None
    assert sent.fill([("wärm", odd, ROW, 3)], None) is None
    for ttl in (30 * 24 * 3600 + 1, 0, -1.0):
        assert sent.fill([("warm:long", long, ROW, 3)], ttl) is None
    assert sent.fill([], None) is None
    assert backend.exchanges == before
    assert backend.fill([("warm:large", large, Value(b"x" * (1 << 21), b"stamp"), 1 << 21)], None) == [None]
    assert backend.get(["warm:large"]) == [None]
    assert backend.fill([("wärm", odd, ROW, 3), ("warm:long", long, ROW, 3)], 40 * 24 * 3600.0) == [True, True]
    with pytest.raises(TypeError):
        backend.fill([("warm:long", long, Value("text", b"stamp"), 3)], None)
    with pytest.raises(OverflowError):
        backend.fill([("warm:long", long, Value(b"row", b"s" * 256), 3)], None)
    assert backend.get(["warm:long"]) == [ROW]


# -- connections -----------------------------------------------------------------------------------


@implementations
def test_a_connection_is_looked_at_once_in_a_second(
    memcached_server: MemcachedServer, made: Callable[..., MemcachedBackend], way: Any
) -> None:
    """One that has not been looked at for a second goes the long way, on which it is, and then the short one again."""
    clock = ManualClock()
    backend = made(memcached_server.url, way, clock)
    assert short(backend).read(["warm:row"], None) is None
    backend.put([("warm:row", ROW, 3)], None)
    assert short(backend).read(["warm:row"], None) == [ROW]
    clock.advance(1.5)
    link = backend._servers[0].mine.link
    assert short(backend).read(["warm:row"], None) is None
    assert backend.get(["warm:row"]) == [ROW]
    assert backend._servers[0].mine.link is link
    assert short(backend).read(["warm:row"], None) == [ROW]


@implementations
def test_a_lost_connection_is_replaced_unnoticed(
    memcached_server: MemcachedServer, made: Callable[..., MemcachedBackend], way: Any
) -> None:
    """A connection that is lost before or while a reply comes is replaced, once, and the read is answered."""
    with Proxy(memcached_server) as proxy:
        backend = made(proxy.url, way)
        backend.put([("warm:row", ROW, 3)], None)
        for _ in range(3):
            assert short(backend).read(["warm:row"], None) == [ROW]
            proxy.cut()
            assert backend.get(["warm:row"]) == [ROW]


@implementations
def test_a_server_that_hangs_opens_the_breaker(
    memcached_server: MemcachedServer, made: Callable[..., MemcachedBackend], way: Any
) -> None:
    """A timeout on the short way is the error and the state of the long one; while the breaker is open nobody asks."""
    clock = ManualClock()
    with Proxy(memcached_server) as proxy:
        backend = made(proxy.url, way, clock, timeout=0.2)
        backend.put([("warm:row", ROW, 3)], None)
        [server] = backend._servers
        proxy.behave(Fault(stall_after=0))
        with pytest.raises(BackendTimeout, match="did not answer in time"):
            backend.get(["warm:row"])
        assert getattr(server.mine, "link", None) is None
        assert server.breaker.is_open
        proxy.behave()
        with pytest.raises(BackendUnavailable, match="not asked again yet"):
            backend.get(["warm:row"])
        clock.advance(2.0)
        assert backend.get(["warm:row"]) == [ROW]
        server.breaker.failed(BackendError("another thread's"))
        assert short(backend).read(["warm:row"], None) is None


@implementations
def test_who_succeeds_closes_a_breaker_that_another_has_opened_meanwhile(
    memcached_server: MemcachedServer, made: Callable[..., MemcachedBackend], way: Any
) -> None:
    """A read that was under way when another thread failed shows that the server answers."""
    backend = made(memcached_server.url, way)
    backend.put([("warm:row", ROW, 3)], None)
    [server] = backend._servers
    receive = server.mine.link.receive_some

    def slowly(size: int) -> bytes:
        data: bytes = receive(size)
        server.breaker.failed(BackendError("another thread's"))
        return data

    server.mine.link.receive_some = slowly
    assert short(backend).read(["warm:row"], None) == [ROW]
    assert not server.breaker.is_open


@implementations
def test_a_connection_to_another_life_of_the_server_is_not_used(
    made: Callable[..., MemcachedBackend], way: Any
) -> None:
    """Once another thread has met the restarted server, a connection to the life before goes the long way and ends."""
    with require(MemcachedServer) as server:
        backend = made(server.url, way)
        backend.put([("warm:row", ROW, 3)], None)
        server.kill()
        server.start()
        other = threading.Thread(target=lambda: backend.put([("warm:row", OTHER, 3)], None))
        other.start()
        other.join()
        assert short(backend).read(["warm:row"], None) is None
        assert backend.get(["warm:row"]) == [OTHER]


@implementations
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("when", ["send_all", "receive_some"])
def test_an_interrupt_ends_the_connection(
    memcached_server: MemcachedServer, made: Any, way: Any, when: str, interrupt: type[BaseException]
) -> None:
    """What interrupts an exchange is raised, and the answer is nobody's."""
    backend = made(memcached_server.url, way)
    backend.put([("warm:row", ROW, 3), ("warm:other", OTHER, 3)], None)
    link = backend._servers[0].mine.link
    real = getattr(link, when)

    def interrupted(what: Any) -> Any:
        real(what)
        raise interrupt

    setattr(link, when, interrupted)
    with pytest.raises(interrupt):
        backend.get(["warm:row"])
    assert link.is_closed
    assert backend.get(["warm:other"]) == [OTHER]


@implementations
def test_what_interrupts_an_exchange_has_its_own(
    memcached_server: MemcachedServer, made: Callable[..., MemcachedBackend], way: Any
) -> None:
    """A signal handler or finalizer that reads while its thread waits for a reply gets its own; so does the thread."""
    backend = made(memcached_server.url, way)
    backend.put([("warm:row", ROW, 3), ("warm:other", OTHER, 3)], None)
    link: Any = backend._servers[0].mine.link
    receive = link.receive_some
    found: list[Any] = []

    def interrupted(size: int) -> bytes:
        if not found:
            found.append("once")
            found.append(backend.get(["warm:other"]))
        return receive(size)  # type: ignore[no-any-return]

    link.receive_some = interrupted
    assert backend.get(["warm:row"]) == [ROW]
    assert found == ["once", [OTHER]]


@implementations
def test_threads_read_over_connections_of_their_own(
    memcached_server: MemcachedServer, made: Callable[..., MemcachedBackend], way: Any
) -> None:
    """Each of several threads is given the answers to what it has asked itself."""
    backend = made(memcached_server.url, way)
    names = [f"warm:thread:{number}" for number in range(4)]
    backend.put([(name, Value(name.encode(), b"stamp"), 3) for name in names], None)
    wrong: list[Any] = []

    def read(name: str) -> None:
        mine = [Value(name.encode(), b"stamp")]
        wrong.extend(name for _ in range(300) if backend.get([name]) != mine)

    threads = [threading.Thread(target=read, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
