"""Real fleets of Redis servers for tests: a cluster, and a primary with replicas under sentinels."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import ClassVar, Self

from cachecore.testing.certificates import Certificates
from cachecore.testing.redis_server import RedisReplyError, RedisServer, Reply, fields
from cachecore.testing.server_base import HOST, free_port, wait_until

FORM_SECONDS = 30.0
"""How long a fleet may take to form, or to find a new primary."""
SLOTS = 16_384

Options = Mapping[str, str | Sequence[str]]


class ClusterNode(RedisServer):
    """One node of a cluster."""

    def directives(self) -> dict[str, str | Sequence[str]]:
        found = super().directives() | {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": "1000",
            # A replica is promoted however far behind it is, and stays with its primary: tests know who does what.
            "cluster-replica-validity-factor": "0",
            "cluster-allow-replica-migration": "no",
            # The default, the port + 10000, may be another's.
            "cluster-port": str(free_port()),
        }
        return found if self.tls is None else found | {"tls-cluster": "yes"}

    @property
    def id(self) -> str:
        """What the nodes call it."""
        return _text(self.call("CLUSTER", "MYID"))

    @property
    def bus_port(self) -> str:
        """Where the other nodes talk to it."""
        return _text(self.call("CONFIG", "GET", "cluster-port"), 1)

    def cluster_info(self) -> dict[str, str]:
        """The fields of CLUSTER INFO."""
        return fields(self.call("CLUSTER", "INFO"))


class _Fleet:
    """Servers that start and end together."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def form(self) -> None:
        """Start the servers and make a fleet of them."""
        raise NotImplementedError

    def started(self, server: RedisServer) -> None:
        """Start a server that ends with the fleet."""
        self._stack.enter_context(server)

    def close(self) -> None:
        """End all servers. Closing twice is allowed."""
        self._stack.close()

    def __enter__(self) -> Self:
        try:
            self.form()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RedisCluster(_Fleet):
    """A Redis Cluster, in ``nodes``: first the primaries, which share all slots, then the replicas of each in turn.

    ``options``, ``password`` and ``tls`` are those of every node. A context manager; it is formed on entry.
    """

    def __init__(
        self,
        primaries: int = 3,
        replicas: int = 1,
        options: Options | None = None,
        password: str | None = None,
        tls: Certificates | None = None,
    ) -> None:
        super().__init__()
        self._primaries = primaries
        self._replicas = replicas
        self.nodes = [ClusterNode(options, password, tls) for _ in range(primaries * (1 + replicas))]

    @property
    def url(self) -> str:
        """The location of the cluster, which names every node, as `cachecore.registry.make_backend` takes it."""
        return _fleet_url("cluster", self.nodes[0], self.nodes)

    def primary_of(self, slot: int) -> ClusterNode:
        """The running primary of a slot, as most nodes see it. Raises ServerFailed if there is none for long."""
        for _ in wait_until(FORM_SECONDS, f"slot {slot} had a primary"):
            seen = [port for node in self.nodes if node.is_running and (port := _port_of(node, slot)) is not None]
            port = max(seen, key=seen.count, default=None)
            for node in self.nodes:
                if node.port == port and node.is_running:
                    return node
        raise AssertionError

    def replicas_of(self, primary: ClusterNode) -> list[ClusterNode]:
        """The running nodes that replicate this one."""
        running = [node for node in self.nodes if node.is_running]
        return [node for node in running if node.info("replication").get("master_port") == str(primary.port)]

    def wait_until_ok(self) -> None:
        """Wait until every running node sees all slots served, and every running replica is linked."""
        for _ in wait_until(FORM_SECONDS, "every node found the cluster complete"):
            if all(self._is_ok(node) for node in self.nodes if node.is_running):
                return

    def form(self) -> None:
        for node in self.nodes:
            self.started(node)
        for number in range(self._primaries):
            first, beyond = (SLOTS * place // self._primaries for place in (number, number + 1))
            self.nodes[number].call("CLUSTER", "ADDSLOTSRANGE", first, beyond - 1)
        for number, node in enumerate(self.nodes):
            node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                node.call("CLUSTER", "MEET", HOST, self.nodes[0].port, self.nodes[0].bus_port)
        for _ in wait_until(FORM_SECONDS, "the nodes had met"):
            if all(node.cluster_info()["cluster_known_nodes"] == str(len(self.nodes)) for node in self.nodes):
                break
        for number in range(self._primaries, len(self.nodes)):
            self._replicate(self.nodes[number], self.nodes[number % self._primaries])
        self.wait_until_ok()

    def _replicate(self, replica: ClusterNode, primary: ClusterNode) -> None:
        for _ in wait_until(FORM_SECONDS, f"{replica} knew {primary}"):
            # It may know of a node by rumour, and not yet that it is a primary.
            with suppress(RedisReplyError):
                replica.call("CLUSTER", "REPLICATE", primary.id)
                return

    def _is_ok(self, node: ClusterNode) -> bool:
        if node.cluster_info()["cluster_state"] != "ok":
            return False
        replication = node.info("replication")
        if replication["role"] == "slave":
            return replication["master_link_status"] == "up"
        # Slots moved by a failover: until the nodes have heard of it, they send clients to the wrong one.
        return node.cluster_info()["cluster_slots_ok"] == str(SLOTS)


class Sentinel(RedisServer):
    """One sentinel, which watches the primary on ``watched`` under ``service``."""

    mode: ClassVar[Sequence[str]] = ("--sentinel",)

    def __init__(self, service: str, watched: RedisServer, quorum: int, options: Options | None = None) -> None:
        super().__init__(options, tls=watched.tls)
        self._service = service
        self._watched = watched
        self._quorum = quorum

    def start(self) -> Self:
        super().start()
        # By itself it looks for new replicas only every ten seconds.
        self.call("SENTINEL", "DEBUG", "INFO-PERIOD", 500, "PUBLISH-PERIOD", 250, "PING-PERIOD", 250)
        return self

    def directives(self) -> dict[str, str | Sequence[str]]:
        sentinel = [
            f"monitor {self._service} {HOST} {self._watched.port} {self._quorum}",
            f"down-after-milliseconds {self._service} 1000",
            f"failover-timeout {self._service} 3000",
        ]
        if self._watched.password is not None:
            sentinel.append(f'auth-pass {self._service} "{self._watched.password}"')
        # It takes fewer directives than other servers.
        known = {name: value for name, value in super().directives().items() if "port" in name or "tls" in name}
        return known | {"sentinel": sentinel}


class RedisSentinel(_Fleet):
    """A primary with replicas, in ``servers``, and three ``sentinels`` that replace it when it fails.

    ``options``, ``password`` and ``tls`` are those of the servers. A context manager; it is formed on entry.
    """

    service: str = "mymaster"

    def __init__(
        self,
        replicas: int = 1,
        sentinels: int = 3,
        options: Options | None = None,
        password: str | None = None,
        tls: Certificates | None = None,
    ) -> None:
        super().__init__()
        self.servers = [RedisServer(options, password, tls) for _ in range(1 + replicas)]
        self.sentinels = [Sentinel(self.service, self.servers[0], quorum=sentinels // 2 + 1) for _ in range(sentinels)]

    @property
    def url(self) -> str:
        """The location of the service, which names every sentinel, as `cachecore.registry.make_backend` takes it."""
        return f"{_fleet_url('sentinel', self.servers[0], self.sentinels)}/{self.service}/0"

    def primary(self) -> RedisServer:
        """The server that all running sentinels call the primary, and that says it is, as soon as there is one."""
        for _ in wait_until(FORM_SECONDS, "the sentinels agreed on a primary"):
            named = {self._named_by(sentinel) for sentinel in self.sentinels if sentinel.is_running}
            for server in self.servers:
                if {server.port} == named and server.is_running:
                    with suppress(OSError):
                        if server.info("replication")["role"] == "master":
                            return server
        raise AssertionError

    def failover(self) -> RedisServer:
        """Have the sentinels change the primary, as for maintenance; returns the new one."""
        before = self.primary()
        for _ in wait_until(FORM_SECONDS, f"the sentinels replaced {before}"):
            if self._named_by(self.sentinels[0]) != before.port:
                break
            # Refused while they find no replica good enough, or are still at the last failover, which may also fail.
            with suppress(RedisReplyError):
                self.sentinels[0].call("SENTINEL", "FAILOVER", self.service)
        return self.wait_for_new_primary(before)

    def kill_primary(self) -> RedisServer:
        """Kill the primary, and return it; nobody waits for the new one."""
        primary = self.primary()
        primary.kill()
        return primary

    def wait_for_new_primary(self, before: RedisServer) -> RedisServer:
        """The primary as soon as it is not ``before``."""
        for _ in wait_until(FORM_SECONDS, f"another than {before} was the primary"):
            if (primary := self.primary()) is not before:
                return primary
        raise AssertionError

    def wait_until_ok(self) -> None:
        """Wait until all sentinels know each other and every replica, and the replicas are linked."""
        for _ in wait_until(FORM_SECONDS, "every sentinel knew the others and the replicas"):
            # Connections are cut when a server's role changes.
            with suppress(OSError):
                linked = self.primary().info("replication")["connected_slaves"] == str(len(self.servers) - 1)
                if linked and all(self._knows_all(sentinel) for sentinel in self.sentinels):
                    return

    def form(self) -> None:
        for server in self.servers:
            self.started(server)
            if server is not self.servers[0]:
                server.call("REPLICAOF", HOST, self.servers[0].port)
        for _ in wait_until(FORM_SECONDS, "every replica was linked"):
            # So that a sentinel finds them all when it starts.
            if all(server.info("replication")["master_link_status"] == "up" for server in self.servers[1:]):
                break
        for sentinel in self.sentinels:
            self.started(sentinel)
        self.wait_until_ok()

    def _named_by(self, sentinel: Sentinel) -> int | None:
        reply = sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return None if reply is None else int(_text(reply, 1))

    def _knows_all(self, sentinel: Sentinel) -> bool:
        reply = sentinel.call("SENTINEL", "MASTER", self.service)
        assert isinstance(reply, list)
        known = dict(zip(reply[::2], reply[1::2], strict=True))
        others, replicas = known[b"num-other-sentinels"], known[b"num-slaves"]
        return others == b"%d" % (len(self.sentinels) - 1) and replicas == b"%d" % (len(self.servers) - 1)


def _fleet_url(kind: str, like: RedisServer, named: Sequence[RedisServer]) -> str:
    scheme, _, rest = like.url.partition("://")
    secret = rest.rpartition("@")[0]
    return f"{scheme}+{kind}://{secret}{'@' if secret else ''}{','.join(f'{HOST}:{server.port}' for server in named)}"


def _port_of(node: ClusterNode, slot: int) -> int | None:
    with suppress(OSError, RedisReplyError):
        ranges = node.call("CLUSTER", "SLOTS")
        assert isinstance(ranges, list)
        for one in ranges:
            assert isinstance(one, list)
            first, last, primary = one[:3]
            assert isinstance(first, int)
            assert isinstance(last, int)
            assert isinstance(primary, list)
            assert isinstance(primary[1], int)
            if first <= slot <= last:
                return primary[1]
    return None


def _text(reply: Reply, place: int | None = None) -> str:
    found = reply if place is None or not isinstance(reply, list) else reply[place]
    assert isinstance(found, bytes)
    return found.decode()
