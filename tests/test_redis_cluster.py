"""The Redis backend on a real cluster passes the conformance suite, blocking and awaited."""

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from cachecore.backends.redis.slots import key_slot
from cachecore.registry import make_backend
from cachecore.testing import AsyncBackendSuite, BackendSuite, ManualClock
from cachecore.testing.servers import RedisCluster, RedisServer
from tests.conftest import PATIENT, require
from tests.redis_fleets import grow_older


@pytest.fixture(scope="module")
def running() -> Iterator[RedisCluster]:
    """Three primaries with a replica each."""
    require(RedisServer)
    with RedisCluster(primaries=3, replicas=1) as cluster:
        yield cluster


class OnCluster:
    """What the suites below have in common."""

    moves_clock = False
    too_large = 1_000_001
    examples = 25
    cluster: ClassVar[RedisCluster]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _cluster(cls, running: RedisCluster) -> None:
        cls.cluster = running

    def make_backend(self, clock: ManualClock | None) -> Any:
        return make_backend(self.cluster.url, {"max_value_bytes": 1_000_000, **PATIENT})

    def let_pass(self, seconds: float) -> None:
        for node in self.cluster.nodes:
            if node.info("replication")["role"] == "master":
                grow_older(node, seconds)

    def inject(self, key: str, raw: bytes) -> None:
        self.cluster.primary_of(key_slot(key)).call("SET", key, raw)


class TestCluster(OnCluster, BackendSuite):
    """Blocking, one connection for each thread and node."""


class TestAsyncCluster(OnCluster, AsyncBackendSuite):
    """Awaited, a pool of connections for each node."""

    def make_backend(self, clock: ManualClock | None) -> Any:
        return make_backend(self.cluster.url, {"max_value_bytes": 1_000_000, **PATIENT}, awaited=True)
