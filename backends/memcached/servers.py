"""The servers as blocking callers reach them: a connection for each thread, one breaker for each server.

Connections belong to their threads and end with them. A forked child forgets those of its parent, whose sockets it
closes without a word to the other end.
"""

import os
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from cachecore.backends.breaker import Breaker
from cachecore.backends.memcached.fleet import Part
from cachecore.backends.memcached.link import Link
from cachecore.backends.memcached.lives import Lives
from cachecore.backends.memcached.replies import Reply
from cachecore.backends.memcached.settings import Address, Settings
from cachecore.backends.memcached.trouble import casts_doubt, opens_the_breaker
from cachecore.errors import BackendError, BackendUnavailable


class Server:
    """One server. ``exchanges`` counts round trips, greetings aside; ``clock`` gives seconds that never go back."""

    def __init__(
        self,
        address: Address,
        settings: Settings,
        context: ssl.SSLContext | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self.exchanges = 0
        self._settings = settings
        self._context = context
        self._clock = clock
        self._closed = False
        self.forget_connections()
        _living.add(self)

    def forget_connections(self) -> None:
        """Begin anew, as in a forked child."""
        self.breaker = Breaker(f"memcached at {self.address}", self._settings.breaker_window, self._clock)
        self.lives = Lives()
        self._local = threading.local()
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the connections of all threads. Who calls later is told that it is closed."""
        own: Link | None = getattr(self._local, "link", None)
        with self._lock:
            self._closed = True
            links = list(self._links)
        for link in links:
            if link is not own:
                link.end()
        if own is not None:
            own.close()

    def link(self) -> Link:
        """The connection of this thread, made if there is none that seems alive. Raises BackendError."""
        link: Link | None = getattr(self._local, "link", None)
        is_busy = False
        if link is not None:
            # A signal handler or finalizer of a thread that waits for a reply has a connection for itself.
            is_busy = link.is_busy and not link.is_closed
            if not is_busy and link.peer.incarnation == self.lives.current and link.seems_alive():
                return link
        if self._closed:
            raise BackendUnavailable(f"the connections to memcached at {self.address} have been closed")
        made = Link(self.address, self._settings, self._context, self._clock)
        try:
            self.lives.met(made.peer, self._clock())
        except BackendError:
            made.close()
            raise
        if not is_busy:
            self._local.link = made
        if self.breaker.is_open:
            self.breaker.succeeded()
        with self._lock:
            self._links.add(made)
        return made


def ask(server: Server, part: Part) -> Any:
    """Run a flow with its server; its result. Raises BackendError.

    If the connection was an older one and turns out to be lost, the flow is begun again on a new one, once, if it may.
    """
    repeats = part.may_repeat
    while True:
        if server.breaker.is_open:
            server.breaker.check()
        link: Link | None = None
        try:
            link = server.link()
            flow = part.flow(link.peer, part.items, *part.arguments)
            batch = next(flow)
            while True:
                link.send(batch)
                replies = link.receive()
                server.exchanges += 1
                if server.breaker.is_open:
                    server.breaker.succeeded()
                batch = flow.send(replies)
        except StopIteration as stop:
            return stop.value
        except BackendError as error:
            if repeats and link is not None and link.can_be_replaced:
                repeats = False
                continue
            if link is not None and casts_doubt(error):
                link.close()
            if (link is None or link.is_closed) and opens_the_breaker(error):
                server.breaker.failed(error)
            raise
        except BaseException:
            # Perhaps between asking and being answered.
            if link is not None:
                link.close()
            raise


class _Talk:
    """What `ask` does, in steps, so that all servers of a batch are asked before any is waited for."""

    __slots__ = ("_flow", "_link", "_repeats", "_server", "error", "part", "result")

    def __init__(self, server: Server, part: Part) -> None:
        self.result: Any = None
        self.error: BackendError | None = None
        self._server = server
        self.part = part
        self._repeats = part.may_repeat
        self._link: Link | None = None

    def begin(self) -> bool:
        """Send the first batch; False if the flow has come to its end."""
        server, part = self._server, self.part
        self._link = None
        try:
            if server.breaker.is_open:
                server.breaker.check()
        except BackendError as error:
            self.error = error
            return False
        try:
            self._link = server.link()
            self._flow = part.flow(self._link.peer, part.items, *part.arguments)
            return self._send(None)
        except BackendError as error:
            return self._begin_again(error)

    def go_on(self) -> bool:
        """Receive replies and send the next batch; False if the flow has come to its end."""
        assert self._link is not None
        try:
            replies = self._link.receive()
            self._server.exchanges += 1
            if self._server.breaker.is_open:
                self._server.breaker.succeeded()
            return self._send(replies)
        except BackendError as error:
            return self._begin_again(error)

    def interrupt(self) -> None:
        """Close the connection: something may have been sent on it whose reply nobody will receive."""
        if self._link is not None:
            self._link.close()

    def _send(self, replies: list[Reply] | None) -> bool:
        assert self._link is not None
        try:
            batch = next(self._flow) if replies is None else self._flow.send(replies)
        except StopIteration as stop:
            self.result = stop.value
            self._link = None
            return False
        self._link.send(batch)
        return True

    def _begin_again(self, error: BackendError) -> bool:
        link = self._link
        if self._repeats and link is not None and link.can_be_replaced:
            self._repeats = False
            return self.begin()
        if link is not None and casts_doubt(error):
            link.close()
        if (link is None or link.is_closed) and opens_the_breaker(error):
            self._server.breaker.failed(error)
        self.error = error
        self._link = None
        return False


def ask_all(servers: Sequence[Server], parts: Sequence[Part]) -> list[Any]:
    """Run flows, each with its server, at the same time; their results in order.

    A server that fails keeps nobody from finishing with the others. Then the first BackendError is raised.
    """
    if len(parts) == 1:
        return [ask(servers[parts[0].server], parts[0])]
    talks = [_Talk(servers[part.server], part) for part in parts]
    waiting: list[_Talk] = talks
    try:
        while waiting:
            # A thread has one connection to each server. By two lists of servers one may have two parts: in turn.
            first: dict[int, _Talk] = {talk.part.server: talk for talk in reversed(waiting)}
            going = [talk for talk in first.values() if talk.begin()]
            while going:
                going = [talk for talk in going if talk.go_on()]
            waiting = [talk for talk in waiting if first[talk.part.server] is not talk]
    except BaseException:
        for talk in talks:
            talk.interrupt()
        raise
    for talk in talks:
        if talk.error is not None:
            raise talk.error
    return [talk.result for talk in talks]


_living: "weakref.WeakSet[Server]" = weakref.WeakSet()


def _after_fork() -> None:
    for server in list(_living):
        server.forget_connections()


os.register_at_fork(after_in_child=_after_fork)
