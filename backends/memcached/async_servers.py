"""The servers as awaiting callers reach them: a bounded pool of connections for each event loop and server.

Who finds all connections in use waits for one. Connections belong to their event loop; those of a loop that has been
closed are closed when the next loop comes, or with the backend.
"""

import asyncio
import ssl
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from cachecore.backends.forks import at_fork
from cachecore.backends.memcached.any_server import AnyServer
from cachecore.backends.memcached.async_link import AsyncLink
from cachecore.backends.memcached.fleet import Part
from cachecore.backends.memcached.settings import Address, Settings
from cachecore.backends.memcached.trouble import casts_doubt, opens_the_breaker
from cachecore.errors import BackendError, BackendUnavailable


class _Pool:
    """The connections of one event loop."""

    def __init__(self, size: int) -> None:
        self.idle: list[AsyncLink] = []
        """The last to be used is the next to be."""
        self.room = asyncio.Semaphore(size)
        self.links: weakref.WeakSet[AsyncLink] = weakref.WeakSet()
        """The idle ones and those in use."""
        self.is_closed = False


class AsyncServer(AnyServer):
    """One server, for awaiting callers."""

    def __init__(
        self,
        address: Address,
        settings: Settings,
        context: ssl.SSLContext | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(address, settings, context, clock)
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}
        at_fork(self)

    def leave_to_parent(self) -> None:
        """In a forked child: the connections are the parent's, so the child's copies of them are closed."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            for link in list(pool.links):
                link.close()

    def close(self) -> None:
        """End the connections of the running loop, and those of loops that have been closed.

        Who waits for a reply or for a connection is told so. Who calls later is served.
        """
        self._drop_closed_loops()
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            _close(pool)

    async def ask(self, part: Part) -> Any:
        """Run a flow; its result. Raises BackendError. As `servers.ask`."""
        pool = self._pool()
        async with pool.room:
            link: AsyncLink | None = None
            try:
                repeats = part.may_repeat
                while True:
                    if self.breaker.is_open:
                        self.breaker.check()
                    try:
                        link = await self._link(pool)
                        return await self._run(link, part)
                    except BackendError as error:
                        if repeats and link is not None and link.can_be_replaced:
                            repeats, link = False, None
                            continue
                        if link is not None and casts_doubt(error):
                            link.close()
                        if pool.is_closed:
                            raise self._is_closed() from error
                        if (link is None or link.is_closed) and opens_the_breaker(error):
                            self.breaker.failed(error)
                        raise
            finally:
                if link is not None:
                    if link.is_busy or pool.is_closed:
                        link.close()
                    elif not link.is_closed:
                        pool.idle.append(link)

    async def _run(self, link: AsyncLink, part: Part) -> Any:
        flow = part.flow(link.peer, part.items, *part.arguments)
        try:
            batch = next(flow)
            while True:
                replies = await link.exchange(batch)
                self.exchanges += 1
                if self.breaker.is_open:
                    self.breaker.succeeded()
                batch = flow.send(replies)
        except StopIteration as stop:
            return stop.value

    def _is_closed(self) -> BackendUnavailable:
        return BackendUnavailable(f"the connections to memcached at {self.address} have been closed")

    async def _link(self, pool: _Pool) -> AsyncLink:
        while pool.idle:
            link = pool.idle.pop()
            if link.peer.incarnation != self.lives.current:
                link.close()
            if not link.is_closed:
                return link
        if pool.is_closed:
            raise self._is_closed()
        link = await AsyncLink.connect(self.address, self._settings, self._context, self._clock)
        try:
            if pool.is_closed:
                raise self._is_closed()
            self.lives.met(link.peer, self._clock())
            pool.links.add(link)
        except BackendError:
            link.close()
            raise
        if self.breaker.is_open:
            self.breaker.succeeded()
        return link

    def _pool(self) -> _Pool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            self._drop_closed_loops()
            pool = self._pools[loop] = _Pool(self._settings.max_connections)
        return pool

    def _drop_closed_loops(self) -> None:
        for loop in [loop for loop in self._pools if loop.is_closed()]:
            _close(self._pools.pop(loop))


def _close(pool: _Pool) -> None:
    pool.is_closed = True
    for link in list(pool.links):
        link.end()


async def ask_all(servers: Sequence[AsyncServer], parts: Sequence[Part]) -> list[Any]:
    """Run flows, each with its server, at the same time; their results in order.

    A server that fails keeps nobody from finishing with the others. Then the first error is raised.
    """
    if len(parts) == 1:
        return [await servers[parts[0].server].ask(parts[0])]
    results = await asyncio.gather(*(servers[part.server].ask(part) for part in parts), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
