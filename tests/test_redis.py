"""The Redis backend on one real server passes the conformance suite, however it is reached."""

import sys
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from cachecore.backends.redis.resp import PythonReader, make_reader
from cachecore.drive import awaited
from cachecore.entries import Grant, Lease, Value
from cachecore.errors import ConfigurationError
from cachecore.registry import make_backend
from cachecore.testing import AsyncBackendSuite, BackendSuite, ManualClock
from cachecore.testing.servers import Certificates, RedisServer
from tests.conftest import PATIENT, require
from tests.programs import run
from tests.redis_fleets import PATIENCE, grow_older

OLD, NEW = Value(b"old", b"stamp"), Value(b"new", b"stamp")
MINE, YOURS = b"mine----", b"yours---"
KEY = "redis:1"


class OnRedis:
    """What the suites below have in common."""

    moves_clock = False
    too_large = 1_000_001
    examples = 25
    options: ClassVar[dict[str, Any]] = {"max_value_bytes": 1_000_000, **PATIENT}
    server: ClassVar[RedisServer]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls, redis_server: RedisServer) -> None:
        cls.server = redis_server

    def make_backend(self, clock: ManualClock | None) -> Any:
        return make_backend(self.server.url, self.options)

    def let_pass(self, seconds: float) -> None:
        grow_older(self.server, seconds)

    def inject(self, key: str, raw: bytes) -> None:
        self.server.call("SET", key, raw)

    def test_prepare_again_in_a_hold_that_was_shared(self) -> None:
        """A writer who prepares again after another has come and gone leaves no value: it may be the older one."""
        self.backend.hold([KEY], MINE, 10.0)
        self.backend.hold([KEY], YOURS, 10.0)
        self.backend.complete([KEY], YOURS, {KEY: (NEW, 3)}, None)
        self.backend.hold([KEY], MINE, 10.0)
        self.backend.complete([KEY], MINE, {KEY: (OLD, 3)}, None)
        assert self.backend.get([KEY]) == [None]


class TestRedis(OnRedis, BackendSuite):
    """Blocking, one connection a thread."""


class TestRedisInPython(OnRedis, BackendSuite):
    """The same over RESP3, replies read without hiredis."""

    options: ClassVar[dict[str, Any]] = {"max_value_bytes": 1_000_000, "parser": "python", "protocol": "3", **PATIENT}
    examples = 10


class TestAsyncRedis(OnRedis, AsyncBackendSuite):
    """Awaited, a pool of connections for the event loop."""

    def make_backend(self, clock: ManualClock | None) -> Any:
        return make_backend(self.server.url, self.options, awaited=True)


# -- other ways to reach it ---------------------------------------------------------------------------


def need(parser: str) -> None:
    """Skip the test where the library that reads replies is not installed."""
    if parser == "hiredis":
        pytest.importorskip("hiredis")


async def use(location: str, options: dict[str, Any], awaited_calls: bool) -> None:
    """Take a few entries through their lives."""
    backend = make_backend(location, options, awaited=awaited_calls)

    async def do(name: str, *arguments: Any) -> Any:
        return await awaited(getattr(backend, name)(*arguments))

    keys = [f"ways:{number}" for number in range(9)]
    try:
        await do("clear")
        assert await do("acquire", keys[:2], MINE, 10.0) == [Grant(MINE)] * 2
        assert await do("acquire", keys, YOURS, 10.0) == [Lease(MINE)] * 2 + [Grant(YOURS)] * 7
        assert await do("fill", [(key, MINE, OLD, 3) for key in keys], 60.0) == [True] * 2 + [False] * 7
        assert await do("get", keys[:3]) == [OLD, OLD, Lease(YOURS)]
        await do("hold", keys[:2], MINE, 10.0)
        await do("complete", keys[:2], MINE, {keys[0]: (NEW, 3)}, None)
        assert await do("get", keys[:2]) == [NEW, None]
        assert await do("swap", keys[0], b"stamp", OLD, 3, None)
        large = Value(b"x" * 300_000, b"")
        assert await do("put", [(key, large, 300_000) for key in keys], None) == [True] * 9
        assert await do("get", keys) == [large] * 9
        assert await do("diagnose") == []
    finally:
        await do("close")


@pytest.mark.parametrize("awaited_calls", [False, True], ids=["blocking", "awaited"])
@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("parser", ["hiredis", "python"])
@pytest.mark.parametrize("way", ["tcp", "password", "user", "unix", "tls", "client certificate"])
async def test_every_way(
    way: str,
    parser: str,
    protocol: int,
    awaited_calls: bool,
    certificates: Certificates,
    servers: dict[str, RedisServer],
) -> None:
    """Plain and with TLS, by TCP and by a unix socket, with a password or a user: the operations are the same."""
    need(parser)
    options: dict[str, Any] = {"parser": parser, "protocol": protocol, "client_name": "ways", "timeout": 5}
    server = servers["tls" if way == "client certificate" else "password" if way == "user" else way]
    url = server.url
    if way == "user":
        server.call("ACL", "SETUSER", "us@r", "on", ">p:w/d", "~*", "&*", "+@all")
        url = f"redis://us%40r:p%3Aw%2Fd@127.0.0.1:{server.port}/0"
    if server.tls:
        options["ca_certs"] = str(certificates.ca)
    if way == "client certificate":
        options |= {"certfile": str(certificates.certificate), "keyfile": str(certificates.key)}
    await use(url, options, awaited_calls)


@pytest.fixture(scope="module")
def servers(certificates: Certificates, redis_server: RedisServer) -> Iterator[dict[str, RedisServer]]:
    """A server for each way."""
    with (
        require(RedisServer, password="p@ss:w/rd#?%") as password,
        require(RedisServer, unix_socket=True) as unix,
        require(RedisServer, tls=certificates) as tls,
    ):
        yield {"tcp": redis_server, "password": password, "unix": unix, "tls": tls}


async def test_databases_are_apart(redis_server: RedisServer) -> None:
    """The database of the URL is used, and clear empties only that one."""
    first, second = (make_backend(f"redis://127.0.0.1:{redis_server.port}/{number}") for number in (1, 2))
    first.put([("databases:1", OLD, 3)], None)
    assert second.get(["databases:1"]) == [None]
    second.clear()
    assert first.get(["databases:1"]) == [OLD]
    for backend in (first, second):
        backend.clear()
        backend.close()


def test_without_hiredis(redis_server: RedisServer) -> None:
    """Where hiredis is not installed the reader in Python is used; asking for hiredis is then an error."""
    script = """
        import sys
        sys.modules["hiredis"] = None
        from cachecore.entries import Value
        from cachecore.errors import ConfigurationError
        from cachecore.registry import make_backend

        backend = make_backend(sys.argv[1])
        backend.put([("reader:1", Value(b"old", b"stamp"), 3)], None)
        assert backend.get(["reader:1"]) == [Value(b"old", b"stamp")]
        assert type(backend.topology.link()._wire._reader).__name__ == "PythonReader"
        backend.close()
        try:
            make_backend(sys.argv[1], {"parser": "hiredis"})
        except ConfigurationError as error:
            assert "hiredis is not installed" in str(error)
        else:
            raise AssertionError
    """
    run(script, redis_server.url)


def test_a_hiredis_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 2.1 hiredis could not tell a null reply from none: the reader in Python is used, or it is an error."""

    class Old:
        __version__ = "2.0.0"

        @staticmethod
        def Reader(*, protocolError: type, replyError: type) -> None:  # noqa: N802, N803
            raise AssertionError

    monkeypatch.setitem(sys.modules, "hiredis", Old)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"hiredis 2\.0\.0 is older than 2\.1"):
        make_backend("redis://", {"parser": "hiredis"})
    reader, _ = make_reader()
    assert type(reader) is PythonReader


def test_nothing_is_connected_before_it_is_needed() -> None:
    """A backend for a server that is down can be made, and is in nobody's way until it is used."""
    backend = make_backend("redis://127.0.0.1:1/0")
    backend.close()
    backend.close()


def test_the_server_ends_what_has_lived_long_enough(redis_server: RedisServer) -> None:
    """Values, leases and holds end by the clock of the server; a shared hold lives as long as its last writer."""
    backend = make_backend(redis_server.url)
    backend.clear()
    for begin in (
        lambda: backend.put([("lives:1", OLD, 3)], 0.05),
        lambda: backend.acquire(["lives:1"], MINE, 0.05),
        lambda: backend.hold(["lives:1"], MINE, 0.05),
    ):
        begin()
        until = time.monotonic() + PATIENCE
        while backend.get(["lives:1"]) != [None]:
            assert time.monotonic() < until
            time.sleep(0.01)
    for token, ttl in ((MINE, 100.0), (YOURS, 50.0)):
        backend.hold(["lives:1"], token, ttl)
        assert 50_000 < redis_server.call("PTTL", "lives:1") <= 100_001
    backend.close()


def test_times_to_live_of_any_length(redis_server: RedisServer) -> None:
    """A time to live beyond all calendars is kept as a century; one below a millisecond as that."""
    backend = make_backend(redis_server.url)
    for ttl, shortest, longest in [
        (1e300, 3e12, 4e12),
        (float("inf"), 3e12, 4e12),
        (1e-9, -2, 1),
        (86_400.0, 8e7, 9e7),
    ]:
        backend.put([("lives:1", OLD, 3)], ttl)
        assert shortest <= redis_server.call("PTTL", "lives:1") <= longest
    backend.close()
