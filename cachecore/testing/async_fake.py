"""The fake backend behind a client that is awaited."""

from collections.abc import Callable, Mapping, Sequence

from cachecore.entries import Entry, Grant, Value
from cachecore.testing.fake import FakeBackend


class AsyncFakeBackend:
    """A fake server whose calls are awaited; ``server`` is the `FakeBackend` to fail, evict and restart."""

    name = "fake"
    keeps_objects = False

    def __init__(self, clock: Callable[[], float] | None = None, *, max_bytes: int | None = None) -> None:
        self.server = FakeBackend(clock, max_bytes=max_bytes)

    async def get(self, keys: Sequence[str]) -> list[Entry | None]:
        return self.server.get(keys)

    async def acquire(self, keys: Sequence[str], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        return self.server.acquire(keys, token, ttl)

    async def displace(self, seen: Sequence[tuple[str, Entry]], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        return self.server.displace(seen, token, ttl)

    async def fill(self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None) -> list[bool | None]:
        return self.server.fill(items, ttl)

    async def abandon(self, leases: Sequence[tuple[str, bytes]]) -> None:
        self.server.abandon(leases)

    async def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> None:
        self.server.hold(keys, token, ttl)

    async def complete(
        self, keys: Sequence[str], token: bytes, values: Mapping[str, tuple[Value, int]], ttl: float | None
    ) -> None:
        self.server.complete(keys, token, values, ttl)

    async def release(self, keys: Sequence[str], token: bytes) -> None:
        self.server.release(keys, token)

    async def put(self, items: Sequence[tuple[str, Value, int]], ttl: float | None) -> list[bool]:
        return self.server.put(items, ttl)

    async def swap(self, key: str, stamp: bytes, value: Value, weight: int, ttl: float | None) -> bool:
        return self.server.swap(key, stamp, value, weight, ttl)

    async def forget(self, keys: Sequence[str]) -> list[bool]:
        return self.server.forget(keys)

    async def clear(self) -> None:
        self.server.clear()

    async def diagnose(self) -> list[str]:
        return self.server.diagnose()

    async def close(self) -> None:
        self.server.close()
