"""The awaited memcached backend; what `backend` says of holds is true of it too."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cachecore.backends.memcached.async_servers import AsyncServer, ask_all
from cachecore.backends.memcached.diagnosis import diagnosed
from cachecore.backends.memcached.fleet import Part, in_order
from cachecore.backends.memcached.link import tls_context
from cachecore.backends.memcached.requests import Requests
from cachecore.backends.memcached.settings import Settings
from cachecore.entries import Entry, Grant, Value


class AsyncMemcachedBackend:
    """Entries on one memcached server or a fleet; its methods are those of `cachecore.backend.AsyncBackend`.

    clock: seconds that never go back, for tests. It connects when it is first used. Raises ConfigurationError if the
    files for TLS cannot be read.
    """

    name = "memcached"
    keeps_objects = False

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests = Requests(settings)
        context = tls_context(settings)
        self._servers = [AsyncServer(address, settings, context, clock) for address in self._requests.addresses]

    @property
    def exchanges(self) -> int:
        """Round trips so far: those to several servers at once are several, and greetings are none."""
        return sum(server.exchanges for server in self._servers)

    async def get(self, keys: Sequence[str]) -> list[Entry | None]:
        return await self._results(self._requests.get(keys), len(keys))

    async def acquire(self, keys: Sequence[str], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        return await self._results(self._requests.acquire(keys, token, ttl), len(keys))

    async def displace(self, seen: Sequence[tuple[str, Entry]], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        return await self._results(self._requests.displace(seen, token, ttl), len(seen))

    async def fill(self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None) -> list[bool | None]:
        return await self._results(self._requests.fill(items, ttl), len(items))

    async def abandon(self, leases: Sequence[tuple[str, bytes]]) -> None:
        await ask_all(self._servers, self._requests.abandon(leases))

    async def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> None:
        await ask_all(self._servers, self._requests.hold(keys, token, ttl))

    async def complete(
        self, keys: Sequence[str], token: bytes, values: Mapping[str, tuple[Value, int]], ttl: float | None
    ) -> None:
        await ask_all(self._servers, self._requests.complete(keys, token, values, ttl))

    async def release(self, keys: Sequence[str], token: bytes) -> None:
        await ask_all(self._servers, self._requests.release(keys, token))

    async def put(self, items: Sequence[tuple[str, Value, int]], ttl: float | None) -> list[bool]:
        return await self._results(self._requests.put(items, ttl), len(items))

    async def swap(self, key: str, stamp: bytes, value: Value, weight: int, ttl: float | None) -> bool:
        [done, *_] = await ask_all(self._servers, self._requests.swap(key, stamp, value, ttl))
        return bool(done)

    async def forget(self, keys: Sequence[str]) -> list[bool]:
        return await self._results(self._requests.forget(keys), len(keys))

    async def clear(self) -> None:
        await ask_all(self._servers, self._requests.clear())

    async def diagnose(self) -> list[str]:
        found = await ask_all(self._servers, self._requests.examine())
        return diagnosed(self._requests.addresses, found, self._requests.hold_lifetime)

    async def close(self) -> None:
        """End the connections of the running event loop. It may be used again."""
        for server in self._servers:
            server.close()

    async def _results(self, parts: list[Part], count: int) -> list[Any]:
        return in_order(parts, await ask_all(self._servers, parts), count)
