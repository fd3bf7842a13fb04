"""The Redis backend on a real cluster: round trips, failovers, moving slots, and what it believes of whom."""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cachecore.backends.redis.member import MemberLink
from cachecore.backends.redis.slots import SLOTS, key_slot
from cachecore.entries import Grant, Value
from cachecore.errors import BackendError, BackendMisconfigured, BackendTimeout, BackendUnavailable
from cachecore.registry import make_backend
from cachecore.testing.servers import Certificates, ClusterNode, RedisCluster, RedisServer, free_port
from tests.conftest import require
from tests.redis_fleets import HOLD_TTL, LEASE_TTL, TOKEN, TTL, Traffic, cut_off, read_through, settled, write


@pytest.fixture(scope="module")
def running() -> Iterator[RedisCluster]:
    """Three primaries with a replica each."""
    require(RedisServer)
    with RedisCluster(primaries=3, replicas=1) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: RedisCluster) -> RedisCluster:
    """The same, made whole again whatever another test has done to it."""
    for node in running.nodes:
        node.start()
    running.wait_until_ok()
    return running


@pytest.fixture
def backend(cluster: RedisCluster) -> Iterator[Any]:
    """A backend on the cluster, which is empty."""
    backend = make_backend(cluster.url)
    backend.clear()
    yield backend
    backend.close()


def keys_of(cluster: RedisCluster, node: ClusterNode, count: int = 1) -> list[str]:
    """Keys that this node serves."""
    served: list[str] = []
    number = 0
    while len(served) < count:
        key = f"k{number}"
        number += 1
        if cluster.primary_of(key_slot(key)) is node:
            served.append(key)
    return served


# -- round trips -----------------------------------------------------------------------------------


def test_one_round_trip_for_any_number_of_keys_on_all_nodes(backend: Any) -> None:
    """All nodes are asked at once: a read, a hold, a completion and a multi-get are one round trip each."""
    keys = [f"key {number}" for number in range(300)]
    # A server that has not seen a script asks for it once.
    write(backend, keys)
    read_through(backend, keys, b"row")
    for operation in (
        lambda: backend.acquire(keys[:2], TOKEN, LEASE_TTL),
        lambda: backend.acquire(keys, TOKEN, LEASE_TTL),
        lambda: backend.get(keys[:100]),
        lambda: backend.hold(keys, TOKEN, HOLD_TTL),
        lambda: backend.complete(keys, TOKEN, {}, TTL),
        lambda: backend.forget(keys),
    ):
        before = backend.topology.round_trips
        operation()
        assert backend.topology.round_trips == before + 1


def test_an_interrupted_step_leaves_no_answers_for_the_next_caller(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a request to several nodes is interrupted, what they still answer is given to nobody."""
    keys = [f"key {number}" for number in range(30)]
    for key in keys:
        read_through(backend, [key], key.encode())

    def interrupted(link: MemberLink) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MemberLink, "receive_in_time", interrupted)
        with pytest.raises(KeyboardInterrupt):
            backend.get(keys)
    assert backend.get(keys[::-1]) == [Value(key.encode()) for key in keys[::-1]]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(backend: Any) -> None:
    """A child may use the backend that it inherited, and its parent's answers stay its parent's."""
    keys = [f"key {number}" for number in range(30)]
    read_through(backend, keys, b"row")
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if backend.get(keys) == [Value(b"row")] * 30 else 1)
        finally:
            os._exit(2)
    assert backend.get(keys) == [Value(b"row")] * 30
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert backend.get(keys) == [Value(b"row")] * 30


# -- failover --------------------------------------------------------------------------------------


def test_a_failover_brings_back_no_old_value(cluster: RedisCluster, backend: Any) -> None:
    """What a replica had not been told when its primary died is not read: P1 holds across a lossy failover."""
    primary = cluster.primary_of(0)
    [replica] = cluster.replicas_of(primary)
    keys = keys_of(cluster, primary, 3)
    assert read_through(backend, keys, b"old") == [b"old"] * 3
    cut_off(replica, primary)
    write(backend, keys)
    primary.kill()
    replica.resume()
    assert settled(lambda: read_through(backend, keys, b"new")) == [b"new"] * 3
    assert read_through(backend, keys, b"newer") == [b"new"] * 3
    assert cluster.primary_of(0) is replica


def test_the_old_value_is_still_there_after_a_failover(cluster: RedisCluster, backend: Any) -> None:
    """The control of the test above: the promoted replica does have the bytes of the value that nobody may read."""
    primary = cluster.primary_of(0)
    [replica] = cluster.replicas_of(primary)
    [key] = keys_of(cluster, primary)
    read_through(backend, [key], b"old")
    cut_off(replica, primary)
    write(backend, [key])
    primary.kill()
    replica.resume()
    assert cluster.primary_of(0) is replica
    raw = settled_call(replica, "GET", key)
    assert isinstance(raw, bytes)
    assert raw.endswith(b"old")
    assert settled(lambda: backend.get([key])) == [None]


def settled_call(node: ClusterNode, *arguments: str) -> Any:
    """The reply of a node as soon as it has one."""
    until = time.monotonic() + 10
    while True:
        try:
            return node.call(*arguments)
        except Exception:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def test_a_hold_that_was_replicated_survives_a_failover(cluster: RedisCluster, backend: Any) -> None:
    """A writer's hold stands on the promoted replica too, and ends with the writer."""
    primary = cluster.primary_of(0)
    [key] = keys_of(cluster, primary)
    [replica] = cluster.replicas_of(primary)
    backend.hold([key], TOKEN, HOLD_TTL)
    cut_off(replica, primary)
    primary.kill()
    replica.resume()
    assert not isinstance(settled(lambda: backend.acquire([key], b"reader 2", LEASE_TTL))[0], Grant)
    backend.complete([key], TOKEN, {}, TTL)
    assert isinstance(backend.acquire([key], b"reader 2", LEASE_TTL)[0], Grant)


def test_writes_are_refused_while_nobody_serves_a_slot(cluster: RedisCluster, backend: Any) -> None:
    """Between a primary's death and the promotion of its replica PREPARE fails, and no other node takes the key."""
    primary = cluster.primary_of(0)
    [key] = keys_of(cluster, primary)
    write(backend, [key])
    primary.kill()
    with pytest.raises(BackendUnavailable):
        backend.hold([key], TOKEN, HOLD_TTL)
    with pytest.raises(BackendUnavailable):
        backend.acquire([key], TOKEN, LEASE_TTL)
    settled(lambda: write(backend, [key]))
    assert backend.get([key]) == [None]


async def test_an_awaited_backend_follows_a_failover(cluster: RedisCluster) -> None:
    """Coroutines find the promoted replica too, and do not read what it had kept."""
    primary = cluster.primary_of(0)
    [key] = keys_of(cluster, primary)
    backend = make_backend(cluster.url, awaited=True)
    await backend.forget([key])
    assert isinstance((await backend.acquire([key], TOKEN, LEASE_TTL))[0], Grant)
    assert await backend.fill([(key, TOKEN, Value(b"old"), 3)], TTL) == [True]
    primary.kill()
    until = time.monotonic() + 15
    found: Any = BackendError("not asked")
    while isinstance(found, BackendError) and time.monotonic() < until:
        try:
            [found] = await backend.acquire([key], TOKEN, LEASE_TTL)
        except BackendError as error:
            found = error
    assert isinstance(found, Grant)
    await backend.close()


def test_no_outdated_read_under_traffic_and_a_failover(cluster: RedisCluster, backend: Any) -> None:
    """Readers and writers at work while a primary dies and returns never see a row older than a finished write."""
    primary = cluster.primary_of(0)
    with Traffic(backend, [*keys_of(cluster, primary, 4), "another", "and another"]) as traffic:
        traffic.flows()
        primary.kill()
        cluster.primary_of(0)
        traffic.flows()
        primary.start()
        cluster.wait_until_ok()
        traffic.flows()
    assert traffic.outdated == []


def test_a_primary_that_was_replaced_while_it_hung_is_not_believed(cluster: RedisCluster, backend: Any) -> None:
    """A process that was idle while a primary hung and was replaced does not read what that primary remembers."""
    primary = cluster.primary_of(0)
    [replica] = cluster.replicas_of(primary)
    [key] = keys_of(cluster, primary)
    assert read_through(backend, [key], b"old") == [b"old"]
    cut_off(replica, primary)
    replica.resume()
    primary.pause()
    other = make_backend(cluster.url)
    settled(lambda: write(other, [key]))
    other.close()
    assert cluster_without(cluster, primary).primary_of(0) is replica
    primary.resume()
    assert settled(lambda: read_through(backend, [key], b"new")) == [b"new"]


def cluster_without(cluster: RedisCluster, node: ClusterNode) -> RedisCluster:
    """The cluster as all but one node see it."""
    others = RedisCluster.__new__(RedisCluster)
    others.nodes = [one for one in cluster.nodes if one is not node]
    return others


def test_a_node_that_hangs_costs_one_timeout(cluster: RedisCluster) -> None:
    """While a node hangs, one request waits for it; the next ones fail at once, and other nodes serve."""
    primary = cluster.primary_of(0)
    [key] = keys_of(cluster, primary)
    [elsewhere] = keys_of(cluster, cluster.primary_of(SLOTS - 1))
    backend = make_backend(cluster.url, {"timeout": 0.2, "breaker_window": 60})
    read_through(backend, [key, elsewhere], b"row")
    primary.pause()
    try:
        with pytest.raises(BackendTimeout):
            backend.get([key])
        before = backend.topology.round_trips
        with pytest.raises(BackendUnavailable, match="is not asked again yet"):
            backend.get([key])
        assert backend.topology.round_trips <= before + 1
        assert backend.get([elsewhere]) == [Value(b"row")]
    finally:
        primary.resume()
        backend.close()


# -- slots that move -------------------------------------------------------------------------------


class Move:
    """A slot on its way from one node to another."""

    def __init__(self, cluster: RedisCluster, slot: int) -> None:
        self.cluster = cluster
        self.slot = slot
        self.source = cluster.primary_of(slot)
        self.target = next(cluster.primary_of(at) for at in (0, SLOTS - 1) if cluster.primary_of(at) != self.source)

    def begin(self) -> None:
        """Keys that the source does not have belong to the target from now on."""
        self.target.call("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source.id)
        self.source.call("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.target.id)

    def keys(self) -> None:
        """Move all keys of the slot."""
        while keys := self.source.call("CLUSTER", "GETKEYSINSLOT", self.slot, 100):
            assert isinstance(keys, list)
            names = [key for key in keys if isinstance(key, bytes)]
            self.source.call("MIGRATE", self.target.host, self.target.port, "", 0, 5000, "REPLACE", "KEYS", *names)

    def end(self) -> None:
        """The slot is the target's."""
        for node in (self.target, self.source, *self.cluster.nodes):
            if node.info("replication")["role"] == "master":
                node.call("CLUSTER", "SETSLOT", self.slot, "NODE", self.target.id)
        self.cluster.wait_until_ok()


@pytest.fixture
def move(cluster: RedisCluster) -> Iterator[Move]:
    """A slot that has not been moved yet; it is moved back in the end."""
    move = Move(cluster, key_slot("{moving}"))
    yield move
    back = Move(cluster, move.slot)
    if back.source is move.target:
        back.target = move.source
        back.begin()
        back.keys()
        back.end()


def test_a_slot_that_moves_is_followed(move: Move, backend: Any) -> None:
    """While a slot moves, each key is used where it is; afterwards one request goes astray, and no more."""
    stays, goes, new = keys = [f"{{moving}}:{name}" for name in ("stays", "goes", "new")]
    read_through(backend, keys[:2], b"row")
    move.begin()
    move.source.call("MIGRATE", move.target.host, move.target.port, goes, 0, 5000)
    assert backend.get([stays]) == [Value(b"row")]
    # What came with the slot was stored by another server (R8).
    assert backend.get([goes]) == [None]
    assert [type(entry) for entry in backend.acquire([new, stays, goes], TOKEN, LEASE_TTL)] == [Grant, Value, Grant]
    assert backend.fill([(new, TOKEN, Value(b"new"), 3)], TTL) == [True]
    backend.hold(keys, TOKEN, HOLD_TTL)
    move.keys()
    move.end()
    # A hold counts wherever it has gone.
    assert not any(isinstance(entry, Grant) for entry in backend.acquire(keys, b"reader 2", LEASE_TTL))
    backend.complete(keys, TOKEN, {}, TTL)
    before = backend.topology.round_trips
    assert backend.get(keys) == [None] * 3
    assert backend.topology.round_trips == before + 1


def test_no_outdated_read_under_traffic_and_a_moving_slot(move: Move, backend: Any) -> None:
    """Readers and writers of a slot that moves never see a row older than a finished write."""
    with Traffic(backend, [f"{{moving}}:{number}" for number in range(6)]) as traffic:
        traffic.flows()
        move.begin()
        traffic.flows(hits=50)
        move.keys()
        traffic.flows(hits=50)
        move.end()
        traffic.flows()
    assert traffic.outdated == []
    assert traffic.failures == 0


# -- finding the cluster ---------------------------------------------------------------------------


def test_one_node_that_answers_is_enough(cluster: RedisCluster) -> None:
    """Nodes of the URL that are down are passed over, and a replica knows the cluster as well as a primary."""
    replica = cluster.replicas_of(cluster.primary_of(0))[0]
    backend = make_backend(f"redis+cluster://127.0.0.1:{free_port()},localhost:{replica.port}")
    keys = [f"key {number}" for number in range(20)]
    backend.forget(keys)
    assert read_through(backend, keys, b"row") == [b"row"] * 20
    assert backend.get(keys) == [Value(b"row")] * 20
    backend.close()


def test_no_node_answers() -> None:
    """With no node to ask, requests fail and name who was asked."""
    port = free_port()
    backend = make_backend(f"redis+cluster://127.0.0.1:{port}")
    with pytest.raises(BackendUnavailable, match=str(port)):
        backend.get(["key"])
    backend.close()


def test_a_server_that_is_not_in_a_cluster_is_refused(redis_server: RedisServer) -> None:
    """redis+cluster:// and a server of its own do not go together; the error says so."""
    backend = make_backend(redis_server.url.replace("redis://", "redis+cluster://").removesuffix("/0"))
    with pytest.raises(BackendMisconfigured, match="not a node of a cluster"):
        backend.get(["key"])
    backend.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_cluster_with_tls_and_a_password(certificates: Certificates, protocol: int) -> None:
    """Every node is reached with the login and TLS of the URL. A cluster may be a single node."""
    require(RedisServer)
    with RedisCluster(primaries=1, replicas=0, password="secret", tls=certificates) as cluster:
        backend = make_backend(cluster.url, {"ca_certs": str(certificates.ca), "protocol": protocol})
        assert read_through(backend, ["a", "b"], b"row") == [b"row"] * 2
        assert backend.get(["a", "b"]) == [Value(b"row")] * 2
        assert backend.diagnose() == []
        backend.close()
