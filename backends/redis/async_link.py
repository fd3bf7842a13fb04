"""The same link, awaited, and the pool of them that an event loop has for one server.

A link is opened by the blocking code, in a thread: that is rare, and the ways in which it fails are then the same. From
then on its socket is used without blocking, by ``add_reader`` of the running loop and not by a transport: a socket can
be closed at any time, in any thread, after its loop and in a forked child, so that loops may come and go without a
warning; and it costs less. Measured on loopback against the streams of asyncio (redis.asyncio is built on those):
see ``benchmarks``.
"""

import asyncio
import ssl
import weakref
from collections.abc import Callable

from cachecore.backends.breaker import Breaker
from cachecore.backends.redis.link import CHUNK, Link, LinkLost
from cachecore.backends.redis.requests import Batch, Replies
from cachecore.errors import BackendError

_NOT_YET = (BlockingIOError, ssl.SSLWantReadError)


class AsyncLink:
    """An open `Link` for coroutines of one event loop, one at a time."""

    def __init__(self, link: Link) -> None:
        self.link = link
        link.socket.setblocking(False)

    async def exchange(self, batch: Batch) -> Replies:
        """The replies to ``batch``: one round trip. Raises as `Link.exchange`; being cancelled ends the connection."""
        link = self.link
        try:
            unsent = memoryview(link.packed(batch))
            replies: Replies | None = None
            while unsent:
                try:
                    unsent = unsent[link.socket.send(unsent[: link.piece]) :]
                except (*_NOT_YET, ssl.SSLWantWriteError):
                    # Both at once: a server may wait until its replies are read before it reads on.
                    await self._ready(to_send=True)
                    replies = self._received()
            while replies is None:
                await self._ready()
                replies = self._received()
            return replies
        except BaseException as error:
            link.fail(error)

    def _received(self) -> Replies | None:
        """What can be read without waiting; the replies when they are complete."""
        replies: Replies | None = None
        try:
            while replies is None:
                replies = self.link.taken(self.link.socket.recv(CHUNK))
        except (*_NOT_YET, ssl.SSLWantWriteError):
            return None
        return replies

    async def _ready(self, *, to_send: bool = False) -> None:
        """Wait until something has arrived, or can be sent; TimeoutError at the deadline of the link."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        opened = self.link.socket.fileno()
        timer = loop.call_at(loop.time() + self.link.remaining(), _late, ready)
        loop.add_reader(opened, _done, ready)
        if to_send:
            loop.add_writer(opened, _done, ready)
        try:
            await ready
        finally:
            timer.cancel()
            loop.remove_reader(opened)
            if to_send:
                loop.remove_writer(opened)


def _done(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


def _late(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_exception(TimeoutError())


class _OfOneLoop:
    def __init__(self, size: int) -> None:
        self.turn = asyncio.Semaphore(size)
        self.idle: list[AsyncLink] = []


class Pool:
    """At most ``size`` links an event loop; who comes when all are busy waits. The last one used is used next.

    open_link: opens one, blocking.
    breaker: the server's. It is asked when a link is free: who has waited for one may find it open by then.
    """

    def __init__(self, size: int, open_link: Callable[[], Link], breaker: Breaker) -> None:
        self._size = size
        self._open_link = open_link
        self._breaker = breaker
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _OfOneLoop] = weakref.WeakKeyDictionary()

    async def exchange(self, batch: Batch) -> Replies:
        """The replies to ``batch``. Raises `LinkLost` if the same may be tried once more, or another BackendError."""
        loop = asyncio.get_running_loop()
        mine = self._loops.get(loop)
        if mine is None:
            mine = self._loops[loop] = _OfOneLoop(self._size)
        breaker = self._breaker
        async with mine.turn:
            if breaker.is_open:
                breaker.check()
            try:
                link = mine.idle.pop() if mine.idle else None
                if link is None or not link.link.is_open:
                    link = AsyncLink(await loop.run_in_executor(None, self._open_link))
                try:
                    replies = await link.exchange(batch)
                finally:
                    if link.link.is_open:
                        mine.idle.append(link)
            except LinkLost:
                raise
            except BackendError as error:
                breaker.failed(error)
                raise
        if breaker.is_open:
            breaker.succeeded()
        return replies
