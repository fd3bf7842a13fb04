"""The Redis backend, awaited: what `cachecore.backends.redis.backend` is, for coroutines."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from cachecore.backends.redis import requests
from cachecore.backends.redis.link import LinkLost
from cachecore.backends.redis.requests import Acquired, Batch, Operation, Replies, T
from cachecore.backends.redis.settings import Settings
from cachecore.entries import Entry, Grant, Value


class AsyncTopology(Protocol):
    """Which server has a key, and the links to it."""

    together: bool

    async def exchange(self, batch: Batch) -> Replies: ...
    async def clear(self) -> None: ...
    async def diagnose(self) -> list[str]: ...
    async def close(self) -> None: ...


class AsyncRedisBackend:
    """A backend on the servers of ``topology``."""

    name = "redis"
    keeps_objects = False

    def __init__(self, topology: AsyncTopology, settings: Settings) -> None:
        self.topology = topology
        self._exchange = topology.exchange
        self._limit = settings.max_value_bytes

    async def get(self, keys: Sequence[str]) -> list[Entry | None]:
        return await self._run(lambda: requests.get(keys, self.topology.together))

    async def acquire(self, keys: Sequence[str], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        if not 0 < len(keys) <= requests.FEW:
            return await self._run_with_leases(self._acquiring(keys, ttl), keys, token, ttl)
        # A hit goes straight; anything else takes the general way from where this has come to.
        try:
            replies = await self._exchange(requests.leases(keys, token, ttl))
            for reply in replies:
                if type(reply) is not Value:
                    return await self._through(requests.settled(keys, token, ttl, replies, range(len(keys))))
            return replies
        except LinkLost:
            return await self._through(requests.again(self._acquiring(keys, ttl), keys, token, ttl))

    async def displace(self, seen: Sequence[tuple[str, Entry]], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        keys = [key for key, _ in seen]
        return await self._run_with_leases(lambda token: requests.displace(seen, token, ttl), keys, token, ttl)

    async def fill(self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None) -> list[bool | None]:
        return await self._run(lambda: requests.fill(items, ttl, self._limit))

    async def abandon(self, leases: Sequence[tuple[str, bytes]]) -> None:
        await self._run(lambda: requests.abandon(leases))

    async def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> None:
        await self._run(lambda: requests.hold(keys, token, ttl))

    async def complete(
        self, keys: Sequence[str], token: bytes, values: Mapping[str, tuple[Value, int]], ttl: float | None
    ) -> None:
        await self._run(lambda: requests.complete(keys, token, values, ttl, self._limit))

    async def release(self, keys: Sequence[str], token: bytes) -> None:
        await self._run(lambda: requests.release(keys, token))

    async def put(self, items: Sequence[tuple[str, Value, int]], ttl: float | None) -> list[bool]:
        return await self._run(lambda: requests.put(items, ttl, self._limit))

    async def swap(self, key: str, stamp: bytes, value: Value, weight: int, ttl: float | None) -> bool:
        return await self._run(lambda: requests.swap(key, stamp, value, weight, ttl, self._limit), repeatable=False)

    async def forget(self, keys: Sequence[str]) -> list[bool]:
        return await self._run(lambda: requests.forget(keys))

    async def clear(self) -> None:
        try:
            await self.topology.clear()
        except LinkLost:
            await self.topology.clear()

    async def diagnose(self) -> list[str]:
        return await self.topology.diagnose()

    async def close(self) -> None:
        await self.topology.close()

    async def _run(self, begin: Callable[[], Operation[T]], *, repeatable: bool = True) -> T:
        """The answer of an operation; if the connection was lost it is begun once more, on a new one."""
        try:
            return await self._through(begin())
        except LinkLost as lost:
            if lost.sent and not repeatable:
                raise
        return await self._through(begin())

    def _acquiring(self, keys: Sequence[str], ttl: float) -> Callable[[bytes], Operation[Acquired]]:
        return lambda token: requests.acquire(keys, token, ttl, self.topology.together)

    async def _run_with_leases(
        self, begin: Callable[[bytes], Operation[Acquired]], keys: Sequence[str], token: bytes, ttl: float
    ) -> Acquired:
        try:
            return await self._through(begin(token))
        except LinkLost:
            return await self._through(requests.again(begin, keys, token, ttl))

    async def _through(self, operation: Operation[T]) -> T:
        exchange = self._exchange
        try:
            batch = next(operation)
            while True:
                batch = operation.send(await exchange(batch))
        except StopIteration as stop:
            answer: T = stop.value
            return answer
