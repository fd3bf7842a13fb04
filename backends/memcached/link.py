"""One blocking connection: made, greeted, used for one exchange at a time, and closed after anything unexpected.

A thin socket of our own: pymemcache's connection would add a dependency and a layer, and its reader knows no meta
commands.

An interrupt may come anywhere, between two lines and in the code that handles errors. So a link is busy from before a
request until all its replies are there, and a busy one is never used again.

Timeouts are the kernel's (SO_RCVTIMEO) where that is possible, which saves the system call that Python's own spend on
each recv. It is not with TLS, where Python takes the end of such a timeout for a reason to read on; nor where a timer
of the process keeps sending signals, as profilers do: each begins the kernel's timeout anew. That is looked up once in
a second.
"""

import signal
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from select import POLLIN, poll

from cachecore.backends.memcached import meta
from cachecore.backends.memcached.batches import Batch, Reads, commands_of
from cachecore.backends.memcached.limits import CHUNK, LOOK_EVERY, WINDOW
from cachecore.backends.memcached.peer import Peer, greet
from cachecore.backends.memcached.replies import Parse, Reader, Reply
from cachecore.backends.memcached.settings import Address, Settings
from cachecore.backends.memcached.trouble import LOST, Closed, while_connecting, while_talking
from cachecore.errors import ConfigurationError

IDLE = 1.0
"""Seconds after which a connection is looked at before it is used: if it is readable, the server has closed it."""

GREETING_LIMIT = 1 << 20


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """How to speak TLS; None: not at all. Raises ConfigurationError for files that cannot be read."""
    if not settings.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_certs)
        if settings.certfile is not None:
            context.load_cert_chain(settings.certfile, settings.keyfile)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"memcached: cannot read ca_certs={settings.ca_certs!r}, certfile={settings.certfile!r}, "
            f"keyfile={settings.keyfile!r}: {error}"
        ) from error
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Link:
    """A connection to one server, and who that is (``peer``). Raises BackendError if there is none to be had.

    After an exchange that failed it ``is_closed``. ``can_be_replaced`` then tells whether the other end had ended it
    and it had served before: another may serve. ``clock``: seconds that never go back.
    """

    def __init__(
        self,
        address: Address,
        settings: Settings,
        context: ssl.SSLContext | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self.is_closed = True
        self.can_be_replaced = False
        self.is_busy = False
        """Whether something may have been asked on it that has not been answered yet."""
        self.has_served = False
        """Whether anything that was asked on it has been answered."""
        self._clock = clock
        self._timeout = settings.timeout
        self._parse: Parse = meta.parse
        self._limit = GREETING_LIMIT
        self._arrived: bytes | None = None
        self._rest: deque[tuple[bytes, int]] | None = None
        try:
            self._socket = _connected(address, settings, context)
            self.is_closed = False
            # Looked up once: an exchange is little more than these two calls.
            self.send_all, self.receive_some = self._socket.sendall, self._socket.recv
            self._may_block = context is None
            self._choose_timeouts()
            flow = greet(str(address), settings, clock)
            batch = next(flow)
            try:
                while True:
                    self._send(batch)
                    batch = flow.send(self._receive())
            except StopIteration as stop:
                self.peer: Peer = stop.value
        except Exception as error:
            self.close()
            raise while_connecting(address, error) from error
        except BaseException:
            self.close()
            raise
        self._parse = self.peer.dialect.parse
        self._limit = self.peer.item_limit
        self._used = clock()

    def __del__(self) -> None:
        # The thread that used it has ended, or the backend is gone.
        self.close()

    def close(self) -> None:
        """End the connection here; in a forked child this does not disturb the parent, whose it is."""
        if not self.is_closed:
            # In this order, for an interrupt in between: a socket may be closed twice.
            self._socket.close()
            self.is_closed = True

    def end(self) -> None:
        """End the connection, which another thread may be using: that one closes it, when it notices or ends.

        Closed here, its number could be that of somebody else's file by the time the other thread writes to it.
        """
        with suppress(OSError):
            # Not the method of TLS sockets, after which the other thread would read on without TLS.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def seems_alive(self) -> bool:
        """Whether it may be used: it was lately, or nothing has come from the other end meanwhile, not even its end."""
        if self.is_closed:
            return False
        now = self._clock()
        if now - self.looked > LOOK_EVERY:
            self._choose_timeouts()
        if now - self._used > IDLE:
            looking = poll()
            looking.register(self._socket, POLLIN)
            if looking.poll(0):
                self.close()
                return False
        return True

    def send(self, batch: Batch) -> None:
        """Send commands, of many only the first. Raises BackendError."""
        try:
            if self.is_busy or self.is_closed:
                raise Closed
            self.is_busy = True
            self._send(batch)
        except BaseException as error:
            raise self._failed(error) from error

    def resume(self, batch: Batch, arrived: bytes | Exception) -> None:
        """Go on where `ShortWay` has sent a batch: with what has arrived of the replies, or the error that came.

        Raises BackendError for the latter.
        """
        if isinstance(arrived, Exception):
            raise self._failed(arrived) from arrived
        self._expect(batch)
        self._arrived = arrived

    def receive(self) -> list[Reply]:
        """The replies to what was sent. Raises BackendError."""
        try:
            replies = self._receive()
        except BaseException as error:
            raise self._failed(error) from error
        self.has_served = True
        self._used = self._clock()
        self.is_busy = False
        return replies

    def _failed(self, error: BaseException) -> BaseException:
        """Close, so that nobody is ever given an answer to another's question; returns what is to be raised."""
        self.close()
        self.can_be_replaced = self.has_served and isinstance(error, LOST)
        return while_talking(self.address, error) if isinstance(error, Exception) else error

    def _choose_timeouts(self) -> None:
        """Use the kernel's timeouts, or Python's, as things are now."""
        self.looked = self._clock()
        """When this was done last."""
        self._socket.settimeout(None if self._may_block and not _is_disturbed() else self._timeout)

    def _expect(self, batch: Batch) -> bytes:
        """Be ready for the replies to the commands of a batch, which it returns."""
        self._arrived = self._rest = None
        if isinstance(batch, Reads):
            self._reads: Reads | None = batch
            self._count = batch.count
            return batch.data
        self._reads = None
        self._count = len(batch)
        return b"".join(batch)

    def _send(self, batch: Batch) -> None:
        data = self._expect(batch)
        if len(data) <= WINDOW:
            self.send_all(data)
        else:
            self._rest = deque(_chunks(commands_of(batch)))
            self.send_all(self._rest[0][0])

    def _receive(self) -> list[Reply]:
        if self._rest is not None:
            return self._receive_in_turn(self._rest)
        data = self.receive_some(CHUNK) if self._arrived is None else self._arrived
        reader = Reader(self._parse, self._count, self._limit, self._reads)
        patience = self._clock() + self._timeout
        while not reader.feed(_something(data)):
            patience = self._waited(patience, data)
            data = self.receive_some(CHUNK)
        return reader.replies

    def _receive_in_turn(self, rest: deque[tuple[bytes, int]]) -> list[Reply]:
        """Receive replies, and send the rest of the commands as far as the window allows."""
        reader = Reader(self._parse, self._count, self._limit, self._reads)
        data, count = rest.popleft()
        unanswered = deque([(count, len(data))])
        answered = count
        patience = self._clock() + self._timeout
        while True:
            while rest and (not unanswered or sum(size for _, size in unanswered) + len(rest[0][0]) <= WINDOW):
                data, count = rest.popleft()
                unanswered.append((unanswered[-1][0] + count if unanswered else answered + count, len(data)))
                self.send_all(data)
            data = _something(self.receive_some(CHUNK))
            patience = self._waited(patience, data)
            if reader.feed(data):
                return reader.replies
            while unanswered and reader.answered >= unanswered[0][0]:
                answered, _ = unanswered.popleft()

    def _waited(self, patience: float, data: bytes) -> float:
        """Until when replies may come, now that ``data`` has: a server that trickles is one that does not answer.

        A whole chunk earns an exchange as much time again as it had.
        """
        if self._clock() > patience:
            raise TimeoutError
        return patience + self._timeout * len(data) / CHUNK


def _is_disturbed() -> bool:
    """Whether a timer of this process sends signals again and again."""
    timers = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
    return any(signal.getitimer(timer)[1] for timer in timers)


def _chunks(batch: list[bytes]) -> Iterator[tuple[bytes, int]]:
    """A batch as (bytes, number of commands), none longer than half a window unless it is a single command."""
    part: list[bytes] = []
    size = 0
    for command in batch:
        if part and size + len(command) > WINDOW // 2:
            yield b"".join(part), len(part)
            part, size = [], 0
        part.append(command)
        size += len(command)
    yield b"".join(part), len(part)


def _something(data: bytes) -> bytes:
    if not data:
        raise Closed
    return data


def _connected(address: Address, settings: Settings, context: ssl.SSLContext | None) -> socket.socket:
    """A socket that is connected, and whose calls time out when it is made blocking, unless it speaks TLS."""
    if address.is_path:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        made = socket.create_connection((address.host, address.port), settings.connect_timeout)
    try:
        if address.is_path:
            made.settimeout(settings.connect_timeout)
            made.connect(address.host)
        else:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if context is not None:
            made = context.wrap_socket(made, server_hostname=address.host)
        seconds = int(settings.timeout)
        limit = struct.pack("@ll", seconds, max(1, int((settings.timeout - seconds) * 1e6)))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    except BaseException:
        made.close()
        raise
    return made
