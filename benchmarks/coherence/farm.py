"""The cache servers of one contestant."""

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from cachecore.testing.servers import MemcachedServer, RedisCluster, RedisSentinel, RedisServer


class Farm:
    """Real servers of one kind, alive inside the ``with`` block: redis, cluster, sentinel, memcached, fleet or none."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.servers: Sequence[Any] = ()
        self.url = ""
        self.longest_absence = 1.0
        """Seconds that one of them may be stopped or gone; where another can take its place, long enough for that."""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        enter = self._stack.enter_context
        match self.kind:
            case "redis":
                self.servers = [enter(RedisServer())]
                self.url = self.servers[0].url
            case "cluster":
                cluster = enter(RedisCluster())
                self.servers, self.url, self.longest_absence = cluster.nodes, cluster.url, 4.0
            case "sentinel":
                group = enter(RedisSentinel())
                self.servers, self.url, self.longest_absence = group.servers, group.url, 4.0
            case "memcached":
                self.servers = [enter(MemcachedServer())]
                self.url = self.servers[0].url
            case "fleet":
                self.servers = [enter(MemcachedServer()) for _ in range(3)]
                places = ",".join(f"{server.host}:{server.port}" for server in self.servers)
                self.url = f"memcached://{places}"
            case _:
                self.url = f"{self.kind}://"

    def flush(self, server: Any) -> None:
        """Empty one of them; where that is a replica, which cannot be emptied, any primary."""
        if self.kind in ("cluster", "sentinel"):
            server = next(one for one in [server, *self.servers] if one.call("ROLE")[0] == b"master")
        if self.kind in ("redis", "cluster", "sentinel"):
            server.call("FLUSHALL")
        else:
            server.call(b"flush_all\r\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
