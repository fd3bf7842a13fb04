"""The real servers of the tests: they start, hang, crash and come back as a test asks, and never outlive it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cachecore.testing import server_base
from cachecore.testing.servers import (
    Certificates,
    Fault,
    MemcachedServer,
    PostgresServer,
    Proxy,
    RedisCluster,
    RedisReplyError,
    RedisSentinel,
    RedisServer,
    Server,
    ServerFailed,
    ServerMissing,
    free_port,
)
from tests.conftest import require

ROOT = Path(__file__).resolve().parent.parent
KINDS = [RedisServer, MemcachedServer, PostgresServer]


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and whom nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ended(pids: list[int]) -> bool:
    """Whether all these processes have ended, or do within two seconds."""
    until = time.monotonic() + 2
    while any(map(runs, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(map(runs, pids))


def answers(server: Server) -> bool:
    """Whether the server answers a client within a moment."""
    request = {RedisServer: b"PING\r\n", MemcachedServer: b"version\r\n", PostgresServer: b"\0\0\0\x08\x04\xd2\x16\x2f"}
    try:
        with socket.create_connection((server.host, server.port), 0.3) as connection:
            connection.sendall(request[type(server)])
            return connection.recv(1) in (b"+", b"V", b"N")
    except OSError:
        return False


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def any_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One server of each kind."""
    with require(request.param) as server:
        yield server


# -- a server's life -------------------------------------------------------------------------------


def test_a_server_comes_and_goes(any_server: Server) -> None:
    """A server answers on its port from its start to its stop, and its folder goes when it is closed."""
    folder, pids = any_server.folder, any_server.processes()
    assert answers(any_server)
    any_server.stop()
    assert not any_server.is_running
    assert not answers(any_server)
    assert folder.exists()
    any_server.close()
    any_server.close()
    assert ended(pids)
    assert not folder.exists()


def test_a_paused_server_hangs_and_can_go_on(any_server: Server) -> None:
    """A paused server accepts connections and answers nothing until it is resumed."""
    any_server.pause()
    assert not answers(any_server)
    any_server.resume()
    assert answers(any_server)


def test_a_paused_server_can_be_stopped(any_server: Server) -> None:
    """Stop ends a paused server too, and whatever processes it had."""
    any_server.pause()
    pids = any_server.processes()
    any_server.stop()
    assert ended(pids)


def test_a_killed_server_comes_back_on_its_port(any_server: Server) -> None:
    """After a crash a server can be started again: another process on the same port."""
    port, pid = any_server.port, any_server.pid
    any_server.kill()
    assert not any_server.is_running
    any_server.start()
    assert any_server.port == port
    assert any_server.pid != pid
    assert answers(any_server)


def test_a_restart_keeps_data_or_not() -> None:
    """What a server has saved survives a restart, unless the test wants none of it."""
    with require(RedisServer) as server:
        server.call("SET", "key", "value")
        server.call("SAVE")
        assert server.restart().call("GET", "key") == b"value"
        assert server.restart(keep_data=False).call("GET", "key") is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_takes_another_port_when_its_own_is_taken(kind: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that somebody takes between the choice and the start is nobody's problem."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = iter([other.getsockname()[1], free_port()])
        monkeypatch.setattr(server_base, "free_port", lambda: next(ports))
        with require(kind) as server:
            assert server.port != other.getsockname()[1]
            assert answers(server)


def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    """A server that ends at once is an error with the end of its log, and leaves neither process nor folder."""
    server = require(RedisServer, {"maxmemory": "plenty"})
    with pytest.raises(ServerFailed, match="maxmemory"), server:
        pass
    assert not server.folder.exists()
    assert not server.is_running


def test_a_missing_server_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its program a server cannot be made; the error names the package."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerMissing, match="apt-get install redis-server"):
        RedisServer()


def test_a_missing_server_skips_a_test_or_fails_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that requires a missing server is skipped, and fails where servers are required."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CACHECORE_REQUIRE_SERVERS", "0")
    with pytest.raises(pytest.skip.Exception, match="apt-get install memcached"):
        require(MemcachedServer)
    monkeypatch.setenv("CACHECORE_REQUIRE_SERVERS", "1")
    with pytest.raises(ServerMissing):
        require(MemcachedServer)


# -- nothing is left -------------------------------------------------------------------------------

PROGRAM = """
import sys
from cachecore.testing import servers
server = getattr(servers, sys.argv[1])().start()
if sys.argv[2] == "paused":
    pids = server.processes()
    server.pause()
print(*server.processes(), server.folder, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["running", "paused"])
@pytest.mark.parametrize("kind", KINDS)
def test_servers_end_with_the_process_that_started_them(kind: type[Server], state: str) -> None:
    """A test run that is killed (SIGKILL) leaves no server behind, not even a paused one, and no folder."""
    require(kind)
    command = [sys.executable, "-c", PROGRAM, kind.__name__, state]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        *pids, folder = run.stdout.readline().split()
        assert all(runs(int(pid)) for pid in pids)
        run.kill()
    assert pids
    assert ended([int(pid) for pid in pids])
    assert not Path(folder).exists()


def test_a_server_outlives_the_thread_that_started_it() -> None:
    """A server that a thread has started stays when that thread has ended."""
    with closing(require(RedisServer)) as server:
        thread = threading.Thread(target=server.start)
        thread.start()
        thread.join()
        assert server.call("PING") == b"PONG"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_servers_alone() -> None:
    """A fork that ends, however it ends, or that stops what it inherited, ends none of the parent's servers."""
    with require(RedisServer) as server:
        child = os.fork()
        if child == 0:
            try:
                server.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert server.call("PING") == b"PONG"


def test_a_surviving_fork_does_not_keep_servers_alive() -> None:
    """When the process that started a server is gone, a fork of it that still runs does not keep the server."""
    require(RedisServer)
    program = PROGRAM.replace("sys.stdin.read()", "import os, time; os.fork() or time.sleep(30); sys.stdin.read()")
    command = [sys.executable, "-c", program, "RedisServer", "running"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stdout is not None
        pid, _ = run.stdout.readline().split()
        try:
            run.kill()
            assert ended([int(pid)])
        finally:
            os.killpg(run.pid, signal.SIGKILL)


# -- each kind -------------------------------------------------------------------------------------


def test_redis_takes_options_and_a_password() -> None:
    """Directives and a password reach the server, and its URL names the password as URLs do."""
    with require(RedisServer, {"maxmemory": "2mb"}, password="a b/c") as server:
        assert server.call("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"2097152"]
        assert server.url == f"redis://:a%20b%2Fc@127.0.0.1:{server.port}/0"
        server.password = None
        with pytest.raises(RedisReplyError, match="NOAUTH"):
            server.call("PING")


def test_redis_listens_on_a_unix_socket() -> None:
    """With a unix socket the URL names it, and it answers."""
    with require(RedisServer, unix_socket=True) as server, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(server.url.removeprefix("unix://").removesuffix("?db=0"))
        connection.sendall(b"PING\r\n")
        assert connection.recv(7) == b"+PONG\r\n"


def test_redis_call_takes_and_gives_any_bytes(redis_server: RedisServer) -> None:
    """Commands and replies are bytes as they are: lists, numbers, nothing and errors inside lists included."""
    value = bytes(range(256))
    assert redis_server.call("SET", b"bytes\0", value) == b"OK"
    assert redis_server.call("MGET", b"bytes\0", "no such key") == [value, None]
    assert redis_server.call("EVAL", "return {1, {redis.error_reply('BAD')}}", 0) == [1, [b"ERR BAD"]]


@pytest.mark.parametrize("kind", [RedisServer, MemcachedServer])
def test_tls(kind: Callable[..., RedisServer | MemcachedServer], certificates: Certificates) -> None:
    """A server with certificates speaks TLS on its port, to clients that know the authority, and nothing else."""
    with require(kind, tls=certificates) as server:
        assert server.url.startswith(("rediss://", "memcacheds://"))
        server.tls = None
        with pytest.raises((OSError, RedisReplyError)):
            server.call("PING") if isinstance(server, RedisServer) else server.call(b"version\r\n")


def test_memcached_call_reads_complete_answers(memcached_server: MemcachedServer) -> None:
    """An answer is complete with its data block, whatever is in it, and several can be asked for."""
    data = b"END\r\n" + bytes(range(256))
    request = b"set k 0 0 %d\r\n%s\r\nget k\r\nmg k v\r\nmg none\r\nbogus\r\n" % (len(data), data)
    block = b"%d\r\n%s\r\n" % (len(data), data)
    expected = b"STORED\r\nVALUE k 0 %sEND\r\nVA %sEN\r\nERROR\r\n" % (block, block)
    assert memcached_server.call(request, 5) == expected


def test_memcached_takes_options() -> None:
    """Flags reach the server."""
    with require(MemcachedServer, ["-m", "2"]) as server:
        assert server.stats()["limit_maxbytes"] == str(2 * 1024 * 1024)


def test_postgres_answers_queries(postgres_server: PostgresServer) -> None:
    """The DSN is one that psycopg connects to, as superuser."""
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(postgres_server.dsn) as connection:
        assert connection.execute("SHOW is_superuser").fetchone() == ("on",)


# -- fleets ----------------------------------------------------------------------------------------


def test_a_cluster_forms_and_fails_over() -> None:
    """A cluster serves all slots; when a primary is killed its replica takes its slots, and it returns as a replica."""
    require(RedisServer)
    with RedisCluster(primaries=3, replicas=1) as cluster:
        assert len({cluster.primary_of(slot).port for slot in (0, 8000, 16383)}) == 3
        primary = cluster.primary_of(0)
        [replica] = cluster.replicas_of(primary)
        assert cluster.url == "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)
        primary.kill()
        assert cluster.primary_of(0) is replica
        primary.start()
        cluster.wait_until_ok()
        assert cluster.replicas_of(replica) == [primary]


def test_sentinels_replace_a_primary() -> None:
    """Sentinels name the primary, and another when they are asked to or when it is killed."""
    require(RedisServer)
    with RedisSentinel(replicas=1) as fleet:
        first = fleet.primary()
        second = fleet.failover()
        assert second is not first
        assert fleet.url.endswith("/mymaster/0")
        fleet.wait_until_ok()
        assert fleet.kill_primary() is second
        assert fleet.wait_for_new_primary(second) is first


# -- the proxy -------------------------------------------------------------------------------------


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    """A proxy in front of the Redis server."""
    with Proxy(redis_server) as proxy:
        yield proxy


def ping(proxy: Proxy, times: int = 1) -> bytes:
    """What comes back within a moment when a client sends PING through the proxy."""
    with socket.create_connection((proxy.host, proxy.port), 2) as connection:
        connection.sendall(b"PING\r\n" * times)
        return received(connection, 7 * times)


def received(connection: socket.socket, size: int) -> bytes:
    connection.settimeout(0.2)
    found = b""
    try:
        while len(found) < size and (data := connection.recv(size)):
            found += data
    except TimeoutError:
        found += b"..."
    return found


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        (None, b"+PONG\r\n"),
        (Fault(delay=0.01, piece=1), b"+PONG\r\n"),
        (Fault(stall_after=3), b"+PO..."),
        (Fault(cut_after=3), b"+PO"),
        (Fault(cut_after=0), b""),
        (Fault(black_hole=True), b"..."),
        (Fault(replace=lambda reply: b"HTTP/1."), b"HTTP/1."),
    ],
)
def test_the_proxy_misbehaves_as_it_is_told(proxy: Proxy, fault: Fault | None, reply: bytes) -> None:
    """Each fault does to a reply what it says."""
    proxy.behave(fault)
    assert ping(proxy) == reply
    assert proxy.connections == 1


def test_faults_apply_to_open_connections_and_end(proxy: Proxy) -> None:
    """A stalled reply goes on when the fault ends."""
    with socket.create_connection((proxy.host, proxy.port), 2) as connection:
        proxy.behave(Fault(stall_after=8))
        connection.sendall(b"PING\r\nPING\r\n")
        assert received(connection, 14) == b"+PONG\r\n+..."
        proxy.behave()
        assert received(connection, 6) == b"PONG\r\n"
        proxy.cut()
        assert received(connection, 1) == b""


def test_the_proxy_refuses_connections(proxy: Proxy) -> None:
    """A proxy that refuses looks like a server that is down, and comes back on its port."""
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        ping(proxy)
    proxy.listen()
    assert ping(proxy, 2) == b"+PONG\r\n" * 2
    assert f":{proxy.port}/" in proxy.url
