"""The Redis backend behind real sentinels: conformance, failovers, and what it believes of whom."""

import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from cachecore.entries import Grant, Value
from cachecore.errors import BackendError, BackendMisconfigured, BackendUnavailable
from cachecore.registry import make_backend
from cachecore.testing import AsyncBackendSuite, BackendSuite, ManualClock
from cachecore.testing.servers import Certificates, RedisSentinel, RedisServer, free_port
from tests.conftest import PATIENT, require
from tests.redis_fleets import (
    HOLD_TTL,
    LEASE_TTL,
    TOKEN,
    TTL,
    Traffic,
    cut_off,
    grow_older,
    read_through,
    settled,
    write,
)

KEYS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def running() -> Iterator[RedisSentinel]:
    """A primary with one replica, and three sentinels."""
    require(RedisServer)
    with RedisSentinel(replicas=1) as fleet:
        yield fleet


@pytest.fixture
def fleet(running: RedisSentinel) -> RedisSentinel:
    """The same, made whole again whatever another test has done to it."""
    for server in (*running.servers, *running.sentinels):
        server.start()
    running.wait_until_ok()
    return running


@pytest.fixture
def backend(fleet: RedisSentinel) -> Iterator[Any]:
    """A backend on the service, which is empty."""
    backend = make_backend(fleet.url)
    backend.clear()
    yield backend
    backend.close()


def replica_of(fleet: RedisSentinel) -> RedisServer:
    """The server that is not the primary."""
    [replica] = [server for server in fleet.servers if server is not fleet.primary()]
    return replica


# -- conformance -----------------------------------------------------------------------------------


class BehindSentinels:
    """What the suites below have in common."""

    moves_clock = False
    too_large = 1_000_001
    examples = 25
    fleet: ClassVar[RedisSentinel]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _fleet(cls, running: RedisSentinel) -> None:
        for server in (*running.servers, *running.sentinels):
            server.start()
        running.wait_until_ok()
        cls.fleet = running

    def make_backend(self, clock: ManualClock | None) -> Any:
        return make_backend(self.fleet.url, {"max_value_bytes": 1_000_000, **PATIENT})

    def let_pass(self, seconds: float) -> None:
        grow_older(self.fleet.primary(), seconds)

    def inject(self, key: str, raw: bytes) -> None:
        self.fleet.primary().call("SET", key, raw)


class TestSentinel(BehindSentinels, BackendSuite):
    """Blocking, one connection for each thread."""


class TestAsyncSentinel(BehindSentinels, AsyncBackendSuite):
    """Awaited, a pool of connections."""

    def make_backend(self, clock: ManualClock | None) -> Any:
        return make_backend(self.fleet.url, {"max_value_bytes": 1_000_000, **PATIENT}, awaited=True)


# -- failover --------------------------------------------------------------------------------------


def test_a_failover_brings_back_no_old_value(fleet: RedisSentinel, backend: Any) -> None:
    """What a replica had not been told when its primary died is there, and is not read: P1 across a lossy failover."""
    replica = replica_of(fleet)
    assert read_through(backend, KEYS, b"old") == [b"old"] * 3
    cut_off(replica, fleet.primary())
    write(backend, KEYS)
    killed = fleet.kill_primary()
    replica.resume()
    assert fleet.wait_for_new_primary(killed) is replica
    raw = replica.call("GET", KEYS[0])
    assert isinstance(raw, bytes)
    assert raw.endswith(b"old")
    assert settled(lambda: read_through(backend, KEYS, b"new")) == [b"new"] * 3
    assert read_through(backend, KEYS, b"newer") == [b"new"] * 3


def test_a_hold_that_was_replicated_survives_a_failover(fleet: RedisSentinel, backend: Any) -> None:
    """A writer's hold stands on the promoted replica too, and ends with the writer."""
    backend.hold(KEYS, TOKEN, HOLD_TTL)
    replica = replica_of(fleet)
    cut_off(replica, fleet.primary())
    fleet.kill_primary()
    replica.resume()
    found = settled(lambda: backend.acquire(KEYS, b"reader 2", LEASE_TTL))
    assert not any(isinstance(entry, Grant) for entry in found)
    backend.complete(KEYS, TOKEN, {}, TTL)
    assert all(isinstance(entry, Grant) for entry in backend.acquire(KEYS, b"reader 2", LEASE_TTL))


def test_writes_are_refused_while_there_is_no_primary(fleet: RedisSentinel, backend: Any) -> None:
    """Between the death of the primary and the promotion of the replica PREPARE fails; afterwards it works."""
    write(backend, KEYS)
    fleet.kill_primary()
    with pytest.raises(BackendUnavailable):
        backend.hold(KEYS, TOKEN, HOLD_TTL)
    settled(lambda: write(backend, KEYS))


def test_no_outdated_read_under_traffic_and_failovers(fleet: RedisSentinel, backend: Any) -> None:
    """Readers and writers at work while primaries change and die never see a row older than a finished write."""
    with Traffic(backend, KEYS) as traffic:
        traffic.flows()
        fleet.failover()
        traffic.flows()
        # Until the old primary has become a replica there is nobody to promote.
        fleet.wait_until_ok()
        killed = fleet.kill_primary()
        fleet.wait_for_new_primary(killed)
        traffic.flows()
    assert traffic.outdated == []


async def test_an_awaited_backend_follows_a_failover(fleet: RedisSentinel) -> None:
    """Coroutines find the new primary too, and do not read what it had kept."""
    backend = make_backend(fleet.url, awaited=True)
    await backend.clear()
    await backend.acquire(["a"], TOKEN, LEASE_TTL)
    assert await backend.fill([("a", TOKEN, Value(b"old"), 3)], TTL) == [True]
    replica = replica_of(fleet)
    cut_off(replica, fleet.primary())
    fleet.kill_primary()
    replica.resume()
    until = time.monotonic() + 15
    found: Any = BackendError("not asked")
    while isinstance(found, BackendError) and time.monotonic() < until:
        try:
            [found] = await backend.acquire(["a"], TOKEN, LEASE_TTL)
        except BackendError as error:
            found = error
    assert isinstance(found, Grant)
    await backend.close()


def test_a_primary_that_was_replaced_while_it_hung_is_not_believed(fleet: RedisSentinel, backend: Any) -> None:
    """A process that was idle while the primary hung and was replaced does not read what that primary remembers."""
    primary = fleet.primary()
    assert read_through(backend, ["a"], b"old") == [b"old"]
    primary.pause()
    fleet.wait_for_new_primary(primary)
    other = make_backend(fleet.url)
    settled(lambda: write(other, ["a"]))
    other.close()
    primary.resume()
    # It has not been told yet: who asks it gets the old row.
    raw = primary.call("GET", "a")
    assert isinstance(raw, bytes)
    assert raw.endswith(b"old")
    assert settled(lambda: read_through(backend, ["a"], b"new")) == [b"new"]


def test_a_primary_that_was_replaced_while_it_was_well_is_not_believed(fleet: RedisSentinel, backend: Any) -> None:
    """After a failover that was ordered the old primary answers as before for seconds; a process that never ceases to
    read from it believes it no longer than a second."""
    now = time.monotonic()
    backend.topology._plan._clock = lambda: now
    primary = fleet.primary()
    assert read_through(backend, ["a"], b"old") == [b"old"]
    try:
        for milliseconds in (2000, 60_000):
            # They tell the old primary after four times as long. 2000 is the default.
            for sentinel in fleet.sentinels:
                sentinel.call("SENTINEL", "DEBUG", "PUBLISH-PERIOD", milliseconds)
            if fleet.primary() is primary:
                fleet.failover()
        other = make_backend(fleet.url)
        settled(lambda: write(other, ["a"]))
        other.close()
        assert primary.info("replication")["role"] == "master"
        raw = primary.call("GET", "a")
        assert isinstance(raw, bytes)
        assert raw.endswith(b"old")
        for _ in range(2):
            now += 0.45
            settled(lambda: read_through(backend, ["a"], b"new"))
        now += 0.45
        assert settled(lambda: read_through(backend, ["a"], b"new")) == [b"new"]
    finally:
        for sentinel in fleet.sentinels:
            sentinel.call("SENTINEL", "DEBUG", "PUBLISH-PERIOD", 250)


# -- sentinels -------------------------------------------------------------------------------------


def test_sentinels_that_are_down_are_passed_over(fleet: RedisSentinel) -> None:
    """One sentinel that answers is enough to find the primary."""
    for sentinel in fleet.sentinels[:2]:
        sentinel.stop()
    backend = make_backend(fleet.url)
    backend.clear()
    assert read_through(backend, KEYS, b"row") == [b"row"] * 3
    backend.close()


def test_no_sentinel_answers() -> None:
    """With no sentinel to ask, requests fail; the error names the service and who was asked."""
    port = free_port()
    backend = make_backend(f"redis+sentinel://127.0.0.1:{port}/shop")
    with pytest.raises(BackendUnavailable, match=f"'shop'.*{port}"):
        backend.get(["key"])
    backend.close()


def test_a_service_that_no_sentinel_watches(fleet: RedisSentinel) -> None:
    """A wrong name of the service is said to be one."""
    backend = make_backend(fleet.url.replace("mymaster", "nobody"))
    with pytest.raises(BackendMisconfigured, match=r"'nobody'.*watches no service"):
        backend.get(["key"])
    backend.close()


def test_a_server_that_is_no_sentinel(redis_server: RedisServer) -> None:
    """A server that does not know the commands of sentinels is refused."""
    backend = make_backend(f"redis+sentinel://127.0.0.1:{redis_server.port}/shop")
    with pytest.raises(BackendError, match="SENTINEL"):
        backend.get(["key"])
    backend.close()


def test_min_replicas_to_write_is_recommended(fleet: RedisSentinel, backend: Any) -> None:
    """The diagnosis names the setting without which a primary that is cut off goes on serving."""
    assert any("min-replicas-to-write" in sentence for sentence in backend.diagnose())
    fleet.primary().call("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        assert backend.diagnose() == []
    finally:
        fleet.primary().call("CONFIG", "SET", "min-replicas-to-write", 0)


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_service_with_tls_and_a_password(certificates: Certificates, protocol: int) -> None:
    """The servers are reached with the login and TLS of the URL, and the sentinels with their own login."""
    require(RedisServer)
    with RedisSentinel(replicas=0, sentinels=1, password="secret", tls=certificates) as fleet:
        backend = make_backend(fleet.url, {"ca_certs": str(certificates.ca), "protocol": protocol})
        assert read_through(backend, KEYS, b"row") == [b"row"] * 3
        assert backend.get(KEYS) == [Value(b"row")] * 3
        backend.close()
