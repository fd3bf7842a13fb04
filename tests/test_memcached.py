"""The memcached backend on one real server passes the conformance suite: both dialects, blocking and awaited."""

import threading
import time
from typing import Any, ClassVar

import pytest

from cachecore.backends.memcached.async_backend import AsyncMemcachedBackend
from cachecore.backends.memcached.backend import MemcachedBackend
from cachecore.backends.memcached.settings import parsed
from cachecore.entries import Grant, Hold, Lease, Value
from cachecore.errors import BackendMisconfigured, ConfigurationError, InvalidKey
from cachecore.registry import make_backend
from cachecore.testing import AsyncBackendSuite, BackendSuite, ManualClock
from cachecore.testing.servers import MemcachedServer
from tests.conftest import PATIENT

MINE, YOURS = b"mine----", b"yours---"
VALUE = Value(b"row", b"stamp")

# Their time is that of the deadlines in hold records, which the backend compares with its own clock: no need to wait.
OF_DEADLINES = {
    "test_every_writer_has_a_deadline",
    "test_a_hold_expires",
    "test_prepare_again_prolongs_a_hold",
}


class OnMemcached:
    """What the suites below have in common."""

    moves_clock = False
    too_large = 2_000_000
    examples = 25
    options: ClassVar[dict[str, Any]] = {"dialect": "meta"}
    really_waits: ClassVar[bool] = False
    server: ClassVar[MemcachedServer]
    offset = 0.0

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls, memcached_server: MemcachedServer) -> None:
        cls.server = memcached_server

    @pytest.fixture(autouse=True)
    def _pace(self, request: pytest.FixtureRequest) -> None:
        self.of_deadlines = request.function.__name__ in OF_DEADLINES
        # memcached counts whole seconds: 10 of these are 4 of its, and 14 are more than 4 of its.
        self.pace = 1.0 if self.of_deadlines else 0.35

    def clock_of_backend(self) -> float:
        return time.monotonic() + self.offset

    def make_backend(self, clock: ManualClock | None) -> Any:
        return MemcachedBackend(parsed(self.server.url, {**PATIENT, **self.options}), clock=self.clock_of_backend)

    def let_pass(self, seconds: float) -> None:
        if self.of_deadlines:
            self.offset += seconds
        elif self.really_waits:
            time.sleep(seconds)
        else:
            pytest.skip("the server's own expiry is waited for once, by TestMeta")

    def inject(self, key: str, raw: bytes) -> None:
        assert self.server.call(b"set %b 0 0 %d\r\n%b\r\n" % (key.encode(), len(raw), raw)) == b"STORED\r\n"


class TestMeta(OnMemcached, BackendSuite):
    """Blocking, by meta commands."""

    really_waits = True
    examples = 50


class TestClassic(OnMemcached, BackendSuite):
    """Blocking, by the commands of old servers."""

    options: ClassVar[dict[str, Any]] = {"dialect": "classic"}


class OnMemcachedAwaited(OnMemcached):
    """A pool of connections for the event loop."""

    def make_backend(self, clock: ManualClock | None) -> Any:
        return AsyncMemcachedBackend(parsed(self.server.url, {**PATIENT, **self.options}), clock=self.clock_of_backend)


class TestAsyncMeta(OnMemcachedAwaited, AsyncBackendSuite):
    """Awaited, by meta commands."""


class TestAsyncClassic(OnMemcachedAwaited, AsyncBackendSuite):
    """Awaited, by the commands of old servers."""

    options: ClassVar[dict[str, Any]] = {"dialect": "classic"}


@pytest.fixture
def backend(memcached_server: MemcachedServer) -> Any:
    backend = make_backend(memcached_server.url, PATIENT)
    backend.clear()
    yield backend
    backend.close()


# -- what stands under a key -----------------------------------------------------------------------


def test_the_bytes_of_an_item_are_fixed(backend: MemcachedBackend, memcached_server: MemcachedServer) -> None:
    """A value is the entry, with its length as flags; a hold is a record appended to it, as in other releases."""
    backend.put([("row", VALUE, 3)], None)
    entry = backend.get(["row"])
    [line, rest] = memcached_server.call(b"mg row v f s\r\n").split(b"\r\n", 1)
    assert line == b"VA 21 f21 s21"
    assert rest[:3] == b"\xcc\x0e\x01"
    assert rest[11:21] == b"v\x05stamprow"
    assert entry == [VALUE]
    backend.hold(["row"], MINE, 15.0)
    [line, rest] = memcached_server.call(b"mg row v f s\r\n").split(b"\r\n", 1)
    assert line == b"VA 49 f21 s49"
    assert rest[21:29] == MINE
    assert rest[45:49] == b"h\x01\xcc\x0f"
    assert rest[37:45] == rest[3:11]


def test_dialects_of_one_server_understand_each_other(memcached_server: MemcachedServer) -> None:
    """What one process writes by meta commands another, by classic ones, respects, and the other way round."""
    both = [make_backend(memcached_server.url, {"dialect": name, **PATIENT}) for name in ("meta", "classic")]
    for one, other in (both, both[::-1]):
        one.clear()
        assert other.get(["row"]) == [None]
        [grant] = one.acquire(["row"], MINE, 10.0)
        assert not isinstance(other.acquire(["row"], YOURS, 10.0)[0], Grant | Value)
        assert one.fill([("row", grant.token, VALUE, 3)], None) == [True]
        assert other.get(["row"]) == [VALUE]
        one.hold(["row"], MINE, 15.0)
        other.hold(["row"], YOURS, 15.0)
        one.complete(["row"], MINE, {"row": (VALUE, 3)}, None)
        [hold] = one.get(["row"])
        assert isinstance(hold, Hold)
        assert [token for token, _ in hold.tokens] == [YOURS]
        other.complete(["row"], YOURS, {"row": (VALUE, 3)}, None)
        assert one.get(["row"]) == [None]
    for backend in both:
        backend.close()


def test_values_of_another_generation_are_no_hits_but_holds_are_respected(memcached_server: MemcachedServer) -> None:
    """Two processes with different generations never believe each other's values, and never fill under a hold."""
    old = make_backend(memcached_server.url, PATIENT)
    new = make_backend(f"{memcached_server.url}?generation=2", PATIENT)
    old.clear()
    old.put([("row", VALUE, 3)], None)
    assert new.get(["row"]) == [None]
    assert isinstance(new.acquire(["row"], MINE, 10.0)[0], Grant)
    old.hold(["row"], YOURS, 15.0)
    assert isinstance(new.acquire(["row"], MINE, 10.0)[0], Hold)
    for backend in (old, new):
        backend.close()


def test_a_stranger_that_marks_our_item_stale_makes_it_a_miss(
    backend: MemcachedBackend, memcached_server: MemcachedServer
) -> None:
    """An item that somebody has invalidated by `md I` is no hit, and gives way to a lease."""
    backend.put([("row", VALUE, 3)], None)
    assert memcached_server.call(b"md row I T30\r\n") == b"HD\r\n"
    [seen] = backend.acquire(["row"], MINE, 10.0)
    assert seen is not None
    assert not isinstance(seen, Value | Grant | Lease)
    assert isinstance(backend.displace([("row", seen)], MINE, 10.0)[0], Grant)


@pytest.mark.parametrize("raw", [b"", b"rubbish", bytes(28), bytes(56), b"\xcc\x0f" * 14])
@pytest.mark.parametrize("flags", [0, 7, 28, 35, 56, 2**32 - 1])
def test_a_hold_over_a_strangers_bytes_is_seen(
    backend: MemcachedBackend, memcached_server: MemcachedServer, raw: bytes, flags: int
) -> None:
    """Whatever bytes and flags somebody has put under our key, a writer's hold on it stands and ends."""
    assert memcached_server.call(b"set row %d 0 %d\r\n%b\r\n" % (flags, len(raw), raw)) == b"STORED\r\n"
    backend.hold(["row"], MINE, 15.0)
    [hold] = backend.acquire(["row"], YOURS, 10.0)
    assert isinstance(hold, Hold)
    assert [token for token, _ in hold.tokens] == [MINE]
    backend.complete(["row"], MINE, {}, None)
    assert backend.get(["row"]) == [None]


def test_the_hold_of_another_release_is_left_alone(
    backend: MemcachedBackend, memcached_server: MemcachedServer
) -> None:
    """A record of a later format is Unusable as "format", which readers do not displace."""
    later = bytes(25) + b"\x02\xcc\x0f"
    memcached_server.call(b"set row 0 0 28\r\n%b\r\n" % later)
    [seen] = backend.acquire(["row"], MINE, 10.0)
    assert getattr(seen, "reason", None) == "format"


# -- lifetimes -------------------------------------------------------------------------------------


def remaining(server: MemcachedServer, key: bytes) -> int:
    """The seconds that an item has to live on the server; -1 for ever."""
    return int(server.call(b"mg %b t\r\n" % key).split()[1][1:])


@pytest.mark.parametrize("dialect", ["meta", "classic"])
@pytest.mark.parametrize(
    ("ttl", "least", "most"),
    [(0.2, 0, 1), (59.5, 59, 60), (30 * 86400, 2591998, 2592000), (30 * 86400 + 1, 2592000, 2592004), (1e12, -1, -1)],
)
def test_any_time_to_live(memcached_server: MemcachedServer, dialect: str, ttl: float, least: int, most: int) -> None:
    """Beyond 30 days a time to live is a point in time to the server, and beyond what it can count it is for ever."""
    backend = make_backend(memcached_server.url, {"dialect": dialect, **PATIENT})
    backend.put([("row", VALUE, 3)], ttl)
    assert least <= remaining(memcached_server, b"row") <= most
    [grant] = backend.acquire(["another"], MINE, ttl) if ttl < 1e9 else [None]
    if isinstance(grant, Grant):
        assert backend.fill([("another", grant.token, VALUE, 3)], ttl) == [True]
        assert least <= remaining(memcached_server, b"another") <= most
    backend.clear()
    backend.close()


def test_a_hold_outlives_the_item_it_is_appended_to(
    backend: MemcachedBackend, memcached_server: MemcachedServer
) -> None:
    """PREPARE over a value that is about to expire, or a short hold over a long one, prolongs the item."""
    backend.put([("row", VALUE, 3)], 1.0)
    backend.hold(["row"], MINE, 50.0)
    assert remaining(memcached_server, b"row") >= 59
    backend.hold(["row"], YOURS, 5.0)
    assert remaining(memcached_server, b"row") >= 59
    backend.complete(["row"], YOURS, {}, None)
    assert remaining(memcached_server, b"row") >= 59


def test_a_hold_ends_on_the_servers_clock(backend: MemcachedBackend) -> None:
    """A writer's hold that nobody completes stands for its time to live, and soon after it is granted."""
    backend.put([("row", VALUE, 3)], None)
    backend.hold(["row"], MINE, 1.0)
    time.sleep(1.0)
    assert isinstance(backend.acquire(["row"], YOURS, 10.0)[0], Hold)
    time.sleep(4.1)
    assert isinstance(backend.acquire(["row"], YOURS, 10.0)[0], Grant)


def test_the_server_is_asked_for_the_time_again(memcached_server: MemcachedServer) -> None:
    """Before it writes a deadline, a connection that has not heard the time for a minute asks for it."""
    offset = [0.0]
    backend = MemcachedBackend(parsed(memcached_server.url, PATIENT), clock=lambda: time.monotonic() + offset[0])
    backend.clear()
    backend.hold(["row"], MINE, 15.0)
    before = backend.exchanges
    backend.hold(["row"], MINE, 15.0)
    assert backend.exchanges == before + 1
    offset[0] = 61.0
    # As if this process's clock had run 61 s ahead of the server's: a hold is taken for dead only after it was asked.
    assert isinstance(backend.acquire(["row"], YOURS, 10.0)[0], Hold)
    assert backend.exchanges == before + 4
    offset[0] = 130.0
    backend.hold(["row"], MINE, 15.0)
    assert backend.exchanges == before + 6
    backend.close()


def test_a_hold_longer_than_its_item_may_live_is_refused(memcached_server: MemcachedServer) -> None:
    """The message names hold_lifetime, which a longer hold needs and an option gives."""
    backend = make_backend(memcached_server.url, PATIENT)
    with pytest.raises(BackendMisconfigured, match="hold_lifetime=60"):
        backend.hold(["row"], MINE, 56.0)
    backend.close()
    backend = make_backend(f"{memcached_server.url}?hold_lifetime=120", PATIENT)
    backend.hold(["row"], MINE, 56.0)
    backend.release(["row"], MINE)
    backend.close()


# -- keys and settings -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "a\r\nflush_all", "a\x00", "\x7f", "k" * 251, "\u00e9" * 126])
def test_a_key_that_memcached_cannot_have_is_refused(backend: MemcachedBackend, key: str) -> None:
    """Nothing is sent for a key with spaces or control characters, or longer than 250 bytes."""
    before = backend.exchanges
    with pytest.raises(InvalidKey):
        backend.get([key])
    with pytest.raises(InvalidKey):
        backend.complete([], MINE, {key: (VALUE, 3)}, None)
    assert backend.exchanges == before


@pytest.mark.parametrize("key", ["k" * 250, "\u00e9" * 125, "!~"])
def test_every_other_key_is_taken(backend: MemcachedBackend, key: str) -> None:
    """A key of 250 bytes, also such as are not ASCII, is stored and found."""
    assert backend.put([(key, VALUE, 3)], None) == [True]
    assert backend.get([key]) == [VALUE]


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("memcached://a,a", "twice"),
        ("memcached://a:port", "a:port"),
        ("memcached://a/0", "'/0'"),
        ("memcached://a?tiemout=1", "'tiemout'"),
        ("memcached://a?timeout=0", "timeout"),
        ("memcached://a?timeout=x", "'x'"),
        ("memcached://a?dialect=binary", "'binary'"),
        ("memcached://a?max_connections=0", "max_connections"),
        ("memcached://a?hold_lifetime=3", "hold_lifetime"),
        ("memcached://a?also=b:b", "b:b"),
        ("memcached://a?verify=false", "memcacheds"),
        ("memcacheds://a?verify=perhaps", "'perhaps'"),
        ("memcacheds://a?ca_certs=/nowhere.pem", "/nowhere.pem"),
        ("memcacheds:///run/socket", "/run/socket"),
    ],
)
def test_a_wrong_setting_is_named(url: str, names: str) -> None:
    """A URL that means nothing raises ConfigurationError with the part that is wrong."""
    for awaited in (False, True):
        with pytest.raises(ConfigurationError, match=names):
            make_backend(url, awaited=awaited)


def test_addresses_have_many_forms() -> None:
    """IPv4, IPv6, names, default ports, unix sockets and lists of them are understood; a password is never shown."""
    settings = parsed("memcached://us%40er:p%2Fw@cache1,[::1]:1,10.0.0.1:2", {"also": ["b:1", "c"], "timeout": "0.1"})
    assert [str(address) for address in settings.servers] == ["cache1:11211", "[::1]:1", "10.0.0.1:2"]
    assert [str(address) for address in settings.also] == ["b:1", "c:11211"]
    assert (settings.username, settings.password, settings.timeout) == ("us@er", "p/w", 0.1)
    assert "p/w" not in repr(settings)
    [path] = parsed("memcached:///run/memcached.sock", {}).servers
    assert path.is_path
    assert str(path) == "/run/memcached.sock"
    assert [str(address) for address in parsed("memcached://", {}).servers] == ["localhost:11211"]


def test_diagnose_names_what_weakens_the_promise() -> None:
    """A server without evictions, or with little memory, is named with the flag that is the reason."""
    with MemcachedServer(["-m", "8", "-M"]) as full, MemcachedServer(["-m", "2"]) as small, MemcachedServer() as good:
        backend = make_backend(f"memcached://{full.host}:{full.port},{small.host}:{small.port},{good.host}:{good.port}")
        first, second = backend.diagnose()
        backend.close()
        assert f":{full.port}" in first
        assert "-M" in first
        assert f":{small.port}" in second
        assert "-m" in second


def test_what_weakens_the_promise_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The first connection to a server logs what diagnose says of it, and the next ones do not."""
    with MemcachedServer(["-m", "2"]) as small:
        backend = make_backend(small.url)
        threads = [threading.Thread(target=backend.get, args=(["row"],)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [record.getMessage() for record in caplog.records] == backend.diagnose()
        backend.close()
