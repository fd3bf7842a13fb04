"""The links to one server that is named by its address, for coroutines: a pool for each event loop."""

import asyncio

from cachecore.backends.redis.async_link import Pool
from cachecore.backends.redis.one_server import Guarded
from cachecore.backends.redis.requests import Batch, Replies, check, clear_one
from cachecore.backends.redis.settings import Settings


class AsyncOneServer(Guarded):
    """A server for all keys, for event loops."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._pool = self._new_pool()

    def _new_pool(self) -> Pool:
        return Pool(self._settings.max_connections, self._open, self.breaker)

    def leave_to_parent(self) -> None:
        super().leave_to_parent()
        self._pool = self._new_pool()

    async def exchange(self, batch: Batch) -> Replies:
        """The replies to ``batch``. Raises `LinkLost` if the same may be tried once more, or another BackendError."""
        self.round_trips += 1
        return await self._pool.exchange(batch)

    async def clear(self) -> None:
        """Empty the server."""
        check(await self.exchange(clear_one()))

    async def diagnose(self) -> list[str]:
        """What in the server's settings weakens the promise."""
        return await asyncio.get_running_loop().run_in_executor(None, self._weaknesses)

    async def close(self) -> None:
        """End the connections of all loops; there will be no new ones."""
        self._end()
