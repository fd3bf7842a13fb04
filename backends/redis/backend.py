"""The Redis backend, blocking: each operation is a flow of `requests`, run over the links of a topology.

Holds under pressure, restarts and failovers: holds are keys with a time to live, so a full server may evict them unless
its policy is noeviction (`diagnose` says so). What a restart or a failover brings back is believed by nobody, but for
holds. A server that is full answers reads, stores nothing new, and still takes and ends holds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from cachecore.backends.redis import requests
from cachecore.backends.redis.link import LinkLost
from cachecore.backends.redis.requests import Acquired, Batch, Operation, Replies, T
from cachecore.backends.redis.settings import Settings
from cachecore.entries import Entry, Grant, Value


class Topology(Protocol):
    """Which server has a key, and the links to it."""

    together: bool

    def exchange(self, batch: Batch) -> Replies: ...
    def leases(self, keys: Sequence[str], token: bytes, ttl: float) -> Replies: ...
    def clear(self) -> None: ...
    def diagnose(self) -> list[str]: ...
    def close(self) -> None: ...


class RedisBackend:
    """A backend on the servers of ``topology``."""

    name = "redis"
    keeps_objects = False

    def __init__(self, topology: Topology, settings: Settings) -> None:
        self.topology = topology
        self._exchange = topology.exchange
        self._leases = topology.leases
        self._limit = settings.max_value_bytes

    def get(self, keys: Sequence[str]) -> list[Entry | None]:
        return self._run(lambda: requests.get(keys, self.topology.together))

    def acquire(self, keys: Sequence[str], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        if not 0 < len(keys) <= requests.FEW:
            return self._run_with_leases(self._acquiring(keys, ttl), keys, token, ttl)
        # A hit goes straight; anything else takes the general way from where this has come to.
        try:
            replies = self._leases(keys, token, ttl)
            for reply in replies:
                if type(reply) is not Value:
                    return self._through(requests.settled(keys, token, ttl, replies, range(len(keys))))
            return replies
        except LinkLost:
            return self._through(requests.again(self._acquiring(keys, ttl), keys, token, ttl))

    def displace(self, seen: Sequence[tuple[str, Entry]], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        keys = [key for key, _ in seen]
        return self._run_with_leases(lambda token: requests.displace(seen, token, ttl), keys, token, ttl)

    def fill(self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None) -> list[bool | None]:
        return self._run(lambda: requests.fill(items, ttl, self._limit))

    def abandon(self, leases: Sequence[tuple[str, bytes]]) -> None:
        self._run(lambda: requests.abandon(leases))

    def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> None:
        self._run(lambda: requests.hold(keys, token, ttl))

    def complete(
        self, keys: Sequence[str], token: bytes, values: Mapping[str, tuple[Value, int]], ttl: float | None
    ) -> None:
        self._run(lambda: requests.complete(keys, token, values, ttl, self._limit))

    def release(self, keys: Sequence[str], token: bytes) -> None:
        self._run(lambda: requests.release(keys, token))

    def put(self, items: Sequence[tuple[str, Value, int]], ttl: float | None) -> list[bool]:
        return self._run(lambda: requests.put(items, ttl, self._limit))

    def swap(self, key: str, stamp: bytes, value: Value, weight: int, ttl: float | None) -> bool:
        return self._run(lambda: requests.swap(key, stamp, value, weight, ttl, self._limit), repeatable=False)

    def forget(self, keys: Sequence[str]) -> list[bool]:
        return self._run(lambda: requests.forget(keys))

    def clear(self) -> None:
        try:
            self.topology.clear()
        except LinkLost:
            self.topology.clear()

    def diagnose(self) -> list[str]:
        return self.topology.diagnose()

    def close(self) -> None:
        self.topology.close()

    def _run(self, begin: Callable[[], Operation[T]], *, repeatable: bool = True) -> T:
        """The answer of an operation; if the connection was lost it is begun once more, on a new one."""
        try:
            return self._through(begin())
        except LinkLost as lost:
            if lost.sent and not repeatable:
                raise
        return self._through(begin())

    def _acquiring(self, keys: Sequence[str], ttl: float) -> Callable[[bytes], Operation[Acquired]]:
        return lambda token: requests.acquire(keys, token, ttl, self.topology.together)

    def _run_with_leases(
        self, begin: Callable[[bytes], Operation[Acquired]], keys: Sequence[str], token: bytes, ttl: float
    ) -> Acquired:
        try:
            return self._through(begin(token))
        except LinkLost:
            return self._through(requests.again(begin, keys, token, ttl))

    def _through(self, operation: Operation[T]) -> T:
        exchange = self._exchange
        try:
            batch = next(operation)
            while True:
                batch = operation.send(exchange(batch))
        except StopIteration as stop:
            answer: T = stop.value
            return answer
