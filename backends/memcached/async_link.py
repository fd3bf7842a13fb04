"""One awaited connection.

A socket of our own that the event loop watches, and not asyncio's streams or transports: those complain when a loop
ends before its connections do, as loops of tests do.
"""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from cachecore.backends.memcached import meta
from cachecore.backends.memcached.batches import Batch, Reads
from cachecore.backends.memcached.limits import CHUNK
from cachecore.backends.memcached.link import GREETING_LIMIT
from cachecore.backends.memcached.peer import Peer, greet
from cachecore.backends.memcached.replies import Parse, Reader, Reply
from cachecore.backends.memcached.settings import Address, Settings
from cachecore.backends.memcached.tls import Tls
from cachecore.backends.memcached.trouble import LOST, Closed, while_connecting, while_talking


class AsyncLink:
    """A connection to one server, and who that is (``peer``); as `Link`, but awaited. Made by `connect`."""

    peer: Peer

    def __init__(self, address: Address, settings: Settings, clock: Callable[[], float]) -> None:
        self.address = address
        self.is_closed = True
        self.can_be_replaced = False
        self.is_busy = False
        """As of `Link`: from before a request until all its replies are there, and then it is never used again."""
        self._is_amid = False
        """Whether bytes are on their way from the socket to the reader, or have been sent and are not counted yet. If
        it is found so, that was interrupted."""
        self._has_served = False
        self._clock = clock
        self._timeout = settings.timeout
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._tls: Tls | None = None
        self._unsent = b""
        self._parse: Parse = meta.parse
        self._limit = GREETING_LIMIT
        self._reader: Reader | None = None
        """The batch, until the first of its replies has come."""
        self._waiter: asyncio.Future[list[Reply]] | None = None
        self._patience = 0.0

    @classmethod
    async def connect(
        cls,
        address: Address,
        settings: Settings,
        context: ssl.SSLContext | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """A connection that has been greeted. Raises BackendError if there is none to be had."""
        link = cls(address, settings, clock)
        try:
            async with asyncio.timeout(settings.connect_timeout):
                await link._open(context)
            flow = greet(str(address), settings, clock)
            batch = next(flow)
            try:
                while True:
                    batch = flow.send(await link._exchange(batch))
            except StopIteration as stop:
                link.peer = stop.value
        except Exception as error:
            link.close()
            raise while_connecting(address, error) from error
        except BaseException:
            link.close()
            raise
        link._parse = link.peer.dialect.parse
        link._limit = link.peer.item_limit
        return link

    def __del__(self) -> None:
        # Its event loop has been closed, or it would still be watching.
        self.close()

    def close(self) -> None:
        """End the connection. In the thread of its loop, or when that is closed."""
        if not self.is_closed:
            # What a forked child's loop watches is what its parent's does: the kernel has them share it.
            if not self._loop.is_closed() and self._process == os.getpid():
                self._loop.remove_reader(self._socket)
                self._loop.remove_writer(self._socket)
            self._socket.close()
            self.is_closed = True

    def end(self) -> None:
        """End the connection, which a task may be waiting on: that one closes it, when it hears of the end.

        Closed here, its number could be another's by the time the loop comes to what it has heard.
        """
        if self.is_busy:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        else:
            self.close()

    async def exchange(self, batch: Batch) -> list[Reply]:
        """Send commands and wait for their replies. Raises BackendError.

        After a failure, and if it is cancelled, the connection is closed: nobody is ever given an answer to another's
        question.
        """
        try:
            replies = await self._exchange(batch)
        except BaseException as error:
            self.close()
            self.can_be_replaced = self._has_served and isinstance(error, LOST)
            if isinstance(error, Exception):
                raise while_talking(self.address, error) from error
            raise
        self._has_served = True
        return replies

    async def _exchange(self, batch: Batch) -> list[Reply]:
        if self.is_closed or self.is_busy:
            raise Closed
        self.is_busy = True
        if isinstance(batch, Reads):
            data = batch.data
            self._reader = Reader(self._parse, batch.count, self._limit, batch)
        else:
            data = b"".join(batch)
            self._reader = Reader(self._parse, len(batch), self._limit)
        waiter: asyncio.Future[list[Reply]] = self._loop.create_future()
        self._waiter = waiter
        self._patience = self._loop.time() + self._timeout
        self._timer = self._loop.call_at(self._patience, self._look_at_the_time)
        try:
            self._write(data if self._tls is None else self._tls.wrapped(data))
            replies = await waiter
        finally:
            self._timer.cancel()
            self._waiter = self._reader = None
        self.is_busy = False
        return replies

    def _look_at_the_time(self) -> None:
        """Give up, unless enough has come meanwhile: a server that trickles is one that does not answer."""
        if self._loop.time() < self._patience:
            self._timer = self._loop.call_at(self._patience, self._look_at_the_time)
        else:
            self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        self.close()

    def _write(self, data: bytes) -> None:
        sent = 0
        if not self._unsent:
            with suppress(BlockingIOError):
                sent = self._socket.send(data)
            if sent == len(data):
                return
            self._loop.add_writer(self._socket, self._on_writable)
        self._unsent += data[sent:]

    def _on_writable(self) -> None:
        try:
            with suppress(BlockingIOError):
                self._begin()
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            if not self._unsent:
                self._loop.remove_writer(self._socket)
        except Exception as error:
            self._fail(error)
        self._is_amid = False

    def _begin(self) -> None:
        if self._is_amid:
            raise Closed
        self._is_amid = True

    def _on_readable(self) -> None:
        try:
            self._begin()
            data = self._socket.recv(CHUNK)
            waiter = self._waiter
            if self._reader is None or waiter is None or not data:
                # Its end, or words that nobody has asked for.
                raise Closed
            self._patience += self._timeout * len(data) / CHUNK
            if self._tls is not None:
                data = self._tls.unwrapped(data)
                answer = self._tls.wrapped(b"")
                if answer:
                    self._write(answer)
            if data and self._reader.feed(data) and not waiter.done():
                waiter.set_result(self._reader.replies)
        except BlockingIOError:
            pass
        except Exception as error:
            self._fail(error)
        self._is_amid = False

    async def _open(self, context: ssl.SSLContext | None) -> None:
        """Connect to the first of the server's addresses that accepts, and agree on TLS."""
        self._socket = await self._connected()
        self.is_closed = False
        if context is not None:
            tls = Tls(context, self.address.host)
            done, data = tls.handshake(b"")
            while True:
                await self._loop.sock_sendall(self._socket, data)
                if done:
                    break
                received = await self._loop.sock_recv(self._socket, CHUNK)
                if not received:
                    raise Closed
                done, data = tls.handshake(received)
            self._tls = tls
        self._loop.add_reader(self._socket, self._on_readable)

    async def _connected(self) -> socket.socket:
        address = self.address
        if address.is_path:
            return await self._connected_to(socket.AF_UNIX, address.host)
        found = await self._loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        for number, (family, _, _, _, where) in enumerate(found, 1):
            try:
                made = await self._connected_to(family, where)
            except OSError:
                if number == len(found):
                    raise
            else:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                return made
        raise OSError(f"{address.host} has no address")

    async def _connected_to(self, family: int, where: Any) -> socket.socket:
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            await self._loop.sock_connect(made, where)
        except BaseException:
            made.close()
            raise
        return made
