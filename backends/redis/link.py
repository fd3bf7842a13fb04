"""One connection to one server: open, exchange one batch after the other, dead or alive.

A link is used by one thread at a time. Whatever goes wrong in the middle of an exchange ends the connection: what would
arrive later belongs to nobody, and least of all to the next caller. An interrupt may come anywhere, between two lines
and in the code that handles errors, so a link is ``busy`` from before a request until all its replies are there, and a
busy one is never used again.

Once in a second a link is looked at before use: what can be read from it then is its end. And that request asks along
(in the same round trip) whether the server is still the primary that it was: otherwise it may have been demoted, and
answer reads from what its new primary has told it so far, or have taken over an older state and have become the primary
again meanwhile.

Most requests are hits: `Link.leases` makes them straight, see `cachecore.backends.redis._straight_py`.

Timeouts are the kernel's (SO_RCVTIMEO) where that is possible, which saves two system calls an exchange. It is not with
TLS, nor where a timer of the process keeps sending signals, as profilers do: each begins the kernel's timeout anew.
Replies that come in pieces have one deadline for all of them.
"""

import select
import signal
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn, cast

from cachecore.backends.redis.client import open_socket
from cachecore.backends.redis.replies import Identity, failure
from cachecore.backends.redis.requests import Batch, Replies, lease_options, leases
from cachecore.backends.redis.resp import ErrorReply, Garbled
from cachecore.backends.redis.settings import Address, Settings
from cachecore.backends.redis.straight import StraightLink
from cachecore.backends.redis.wire import INFO, REPLICATION, Wire
from cachecore.errors import BackendError, BackendMisconfigured, BackendTimeout, BackendUnavailable

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at a link. A server is not demoted and promoted again in less."""

CHUNK: Final = 64 * 1024
"""Bytes that are sent without looking whether replies have come. More could fill the buffers of both sides."""

RECORD: Final = 16 * 1024
"""Bytes that TLS sends together; a record that has been begun must be sent to its end."""


class LinkLost(BackendUnavailable):
    """The connection ended, and it had served before: a new one may do. Never leaves this package's backend."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent
        """False: the server has not seen the request."""


class NotPrimary(BackendMisconfigured):
    """The server is a replica, or has been replaced as primary."""


class Link(StraightLink):
    """A connection to the server at ``address``.

    login: (username, password) to use; None takes those of the settings.
    any_role: whether a replica will do; otherwise `NotPrimary` is raised.

    Raises BackendUnavailable, BackendTimeout or BackendMisconfigured if it cannot be opened.
    """

    def __init__(
        self,
        settings: Settings,
        address: Address,
        login: tuple[str | None, str | None] | None = None,
        *,
        any_role: bool = False,
    ) -> None:
        super().__init__(settings.timeout)
        self.address = address
        self.server = str(address)
        self._connection: Any = None
        self._may_block = not settings.tls and not any_role
        self.piece = RECORD if settings.tls else None
        """Bytes that are sent at once, where not all must be taken at once; None: as many as the kernel takes."""
        self._wire = Wire(self.server, settings.parser)
        self._served = self._asks_along = False
        self._early: Replies | None = None
        username, password = (settings.username, settings.password) if login is None else login
        self._connection, self.socket = open_socket(settings, address, username, password)
        self.is_open = True
        self.look_at = time.monotonic() + LOOK_EVERY
        self._choose_timeouts()
        [info] = self.exchange(INFO)
        try:
            self.identity: Identity = self._wire.introduce(info)
            if self.identity.role != "master" and not any_role:
                raise NotPrimary(f"{self.server} is a {self.identity.role}, not the primary")
        except BaseException as error:
            self.fail(error)
        self._served = True
        self.head = self._wire.head

    def leases(self, keys: Sequence[str], token: bytes, ttl: float) -> Replies:
        """The replies to `requests.leases`: one round trip. Raises as `exchange`."""
        options = lease_options(ttl)
        try:
            found = self.straight(keys, token, options)
            if type(found) is bytes:
                self._early = None
                self._wire.expect(leases(keys, token, ttl))
                found = self.taken(found)
                if found is None:
                    found = self._rest()
        except BaseException as error:
            self.fail(error)
        return self.exchange(leases(keys, token, ttl)) if found is None else cast("Replies", found)

    def exchange(self, batch: Batch) -> Replies:
        """The replies to ``batch``: one round trip. Raises `LinkLost`, BackendUnavailable or BackendTimeout."""
        self.send(batch)
        return self.receive()

    def send(self, batch: Batch) -> None:
        """Send ``batch``, to whose replies `receive` must be called next."""
        try:
            data = self.packed(batch)
            if self._asks_along:
                self._choose_timeouts()
            if len(data) <= CHUNK:
                self.socket.sendall(data)
            else:
                self._send_large(data)
        except BaseException as error:
            self.fail(error)

    def receive(self) -> Replies:
        """The replies to what was sent last."""
        try:
            replies, self._early = self._early, None
            if replies is None:
                replies = self.taken(self._more())
            if replies is None:
                replies = self._rest()
            return replies
        except BaseException as error:
            self.fail(error)

    def end(self) -> None:
        """End the connection, from any thread: whoever is at work on it finds its end, and closes it then.

        A socket that another waits on must not be closed: the next one of the process might get its number. So who
        comes now is refused first.
        """
        self.is_open = False
        if self.is_busy:
            with suppress(OSError):
                # Not the method of TLS sockets, which would read on without TLS.
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
        else:
            self.close()

    def close(self) -> None:
        """End the connection. In a forked child this closes the child's copy and leaves the parent's alone."""
        self.is_open = False
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def __del__(self) -> None:
        self.close()

    # -- between the network and the wire, for whoever does the I/O ------------------------------------

    def packed(self, batch: Batch) -> bytes:
        """The bytes to send for ``batch``; its time begins. Raises `LinkLost` if the connection has ended meanwhile."""
        if not self.is_open:
            raise LinkLost(f"the connection to {self.server} was closed", sent=False)
        if self.is_busy:
            raise LinkLost(f"an exchange with {self.server} was interrupted", sent=False)
        self.is_busy = True
        now = time.monotonic()
        if now > self.look_at:
            if _is_readable(self.socket):
                raise LinkLost(f"{self.server} closed an idle connection", sent=False)
            self.look_at = now + LOOK_EVERY
            self._asks_along = True
            batch = [*REPLICATION, *batch]
        self.exchanges += 1
        self._early = None
        self.deadline = now + self.timeout
        return self._wire.pack(batch)

    def taken(self, data: bytes) -> Replies | None:
        """The replies when ``data`` is what arrived next; None while some are missing."""
        if not data:
            raise ConnectionResetError("it closed the connection")
        replies = self._wire.receive(data)
        if replies is not None and self._asks_along:
            self._asks_along = False
            info = replies.pop(0)
            if type(info) is ErrorReply:
                raise info
            if not self.identity.is_same_reign(info):
                raise ConnectionResetError("it is no longer the primary that it was")
        self.is_busy = replies is None
        return replies

    def fail(self, error: BaseException) -> NoReturn:
        """End the connection, and raise what ``error`` means."""
        self.close()
        if isinstance(error, BackendError) or not isinstance(error, Exception):
            raise error
        if isinstance(error, TimeoutError | BlockingIOError):  # the kernel's timeouts are the latter
            raise BackendTimeout(f"{self.server} did not answer within {self.timeout:g} s") from error
        if isinstance(error, ErrorReply):
            raise failure(error) from error
        if isinstance(error, Garbled):
            raise BackendUnavailable(f"{self.server} sent what no Redis server sends: {error}") from error
        if isinstance(error, OSError) and self._served:
            raise LinkLost(f"the connection to {self.server} was lost: {error}", sent=True) from error
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            raise BackendMisconfigured(f"{self.server}: TLS failed: {error}") from error
        if isinstance(error, OSError):
            raise BackendUnavailable(
                f"{self.server} closed a new connection before it answered ({error}); does it expect TLS, or not?"
            ) from error
        raise BackendUnavailable(f"talking to {self.server} failed: {type(error).__name__}: {error}") from error

    def remaining(self) -> float:
        """Seconds until the replies must be there."""
        return self.deadline - time.monotonic()

    # -- inside ----------------------------------------------------------------------------------------

    def _choose_timeouts(self) -> None:
        self.patience = None if self._may_block and not _is_disturbed() else self.timeout
        self.socket.settimeout(self.patience)

    def _more(self) -> bytes:
        data: bytes = self.socket.recv(CHUNK)
        return data

    def _rest(self) -> Replies:
        """The replies when the first piece did not hold them all; the deadline is for all pieces together."""
        replies: Replies | None = None
        usual, self.patience = self.patience, self.timeout
        while replies is None:
            remaining = self.remaining()
            if remaining <= 0:
                raise TimeoutError
            self.socket.settimeout(remaining)
            replies = self.taken(self._more())
        self.socket.settimeout(usual)
        self.patience = usual
        return replies

    def _send_large(self, data: bytes) -> None:
        """Send, and take in what is replied meanwhile."""
        unsent = memoryview(data)
        usual, self.patience = self.patience, self.timeout
        self.socket.settimeout(self.timeout)
        both = select.poll()
        both.register(self.socket, select.POLLIN | select.POLLOUT)
        while unsent:
            remaining = self.remaining()
            events = both.poll(remaining * 1000) if remaining > 0 else []
            if not events:
                raise TimeoutError
            if events[0][1] & ~select.POLLOUT:
                self._early = self.taken(self._more())
            if events[0][1] & select.POLLOUT:
                unsent = unsent[self.socket.send(unsent[: self.piece]) :]
        self.socket.settimeout(usual)
        self.patience = usual


def _is_disturbed() -> bool:
    """Whether a timer of this process sends signals again and again."""
    timers = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
    return any(signal.getitimer(timer)[1] for timer in timers)


def _is_readable(opened: socket.socket) -> bool:
    """Whether something has arrived, or the end."""
    look = select.poll()
    look.register(opened, select.POLLIN)
    return bool(look.poll(0))
