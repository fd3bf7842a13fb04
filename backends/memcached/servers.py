"""The servers as blocking callers reach them: a connection for each thread, one breaker for each server.

Connections belong to their threads and end with them. A forked child forgets those of its parent, whose sockets it
closes without a word to the other end.
"""

import ssl
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from cachecore.backends.forks import at_fork
from cachecore.backends.memcached._short_way_py import Arrived
from cachecore.backends.memcached.any_server import AnyServer
from cachecore.backends.memcached.fleet import Part
from cachecore.backends.memcached.link import Link
from cachecore.backends.memcached.replies import Reply
from cachecore.backends.memcached.settings import Address, Settings
from cachecore.backends.memcached.trouble import casts_doubt, opens_the_breaker
from cachecore.errors import BackendError, BackendUnavailable


class Server(AnyServer):
    """One server, for blocking callers."""

    def __init__(
        self,
        address: Address,
        settings: Settings,
        context: ssl.SSLContext | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(address, settings, context, clock)
        self._closed = False
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()
        self._begin_anew()
        at_fork(self)

    def _begin_anew(self) -> None:
        self.mine = threading.local()
        """Of each thread: ``link``, its connection, unless there is none or it is in use."""
        # A signal handler or finalizer of the thread that has it may connect too.
        self._lock = threading.RLock()

    def leave_to_parent(self) -> None:
        """In a forked child: the connections are the parent's, so the child's copies of them are closed."""
        for link in list(self._links):
            link.close()
        self._links = weakref.WeakSet()
        self._begin_anew()

    def close(self) -> None:
        """End the connections of all threads. Who calls later is told that it is closed."""
        with self._lock:
            self._closed = True
            links = list(self._links)
        for link in links:
            link.end()
        # That of this thread, unless it is in use, by whom this one interrupts.
        own: Link | None = getattr(self.mine, "link", None)
        if own is not None:
            own.close()

    def take(self) -> Link:
        """The connection of this thread, made if there is none that seems alive. Raises BackendError.

        Nobody else finds it until it is given back: whoever interrupts this thread, such as a signal handler, has one
        for itself, and one whose exchange was interrupted, wherever that was, is never used again.
        """
        mine = self.mine
        link: Link | None = getattr(mine, "link", None)
        if link is not None:
            mine.link = None
            if link.peer.incarnation == self.lives.current and link.seems_alive():
                return link
        if self._closed:
            raise self._is_closed()
        made = Link(self.address, self._settings, self._context, self._clock)
        try:
            self.lives.met(made.peer, self._clock())
            with self._lock:
                if self._closed:
                    raise self._is_closed()
                self._links.add(made)
        except BackendError:
            made.close()
            raise
        if self.breaker.is_open:
            self.breaker.succeeded()
        return made

    def give_back(self, link: Link) -> None:
        """Keep a connection for the next call of this thread, if all that was asked on it has been answered."""
        if not (link.is_busy or link.is_closed):
            self.mine.link = link

    def _is_closed(self) -> BackendUnavailable:
        return BackendUnavailable(f"the connections to memcached at {self.address} have been closed")


def ask(server: Server, part: Part, begun: Arrived | None = None) -> Any:
    """Run a flow with its server; its result. Raises BackendError.

    If the connection was an older one and turns out to be lost, the flow is begun again on a new one, once, if it may.
    ``begun``: how far `ShortWay` has come, which has sent the first batch of the flow.
    """
    repeats = part.may_repeat
    while True:
        if begun is None and server.breaker.is_open:
            server.breaker.check()
        link: Link | None = None
        try:
            link = server.take() if begun is None else begun[0]
            flow = part.flow(link.peer, part.items, *part.arguments)
            batch = next(flow)
            while True:
                if begun is None:
                    link.send(batch)
                else:
                    arrived, begun = begun[1], None
                    link.resume(batch, arrived)
                replies = link.receive()
                server.exchanges += 1
                if server.breaker.is_open:
                    server.breaker.succeeded()
                batch = flow.send(replies)
        except StopIteration as stop:
            assert link is not None
            server.give_back(link)
            return stop.value
        except BackendError as error:
            if repeats and link is not None and link.can_be_replaced:
                repeats = False
                continue
            if link is not None and casts_doubt(error):
                link.close()
            if (link is None or link.is_closed) and opens_the_breaker(error):
                server.breaker.failed(error)
            if link is not None:
                server.give_back(link)
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
            self._link = server.take()
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
            self._server.give_back(self._link)
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
        if link is not None:
            self._server.give_back(link)
        self._link = None
        return False


def ask_all(servers: Sequence[Server], parts: Sequence[Part], begun: Arrived | None = None) -> list[Any]:
    """Run flows, each with its server, at the same time; their results in order.

    A server that fails keeps nobody from finishing with the others. Then the first BackendError is raised.
    ``begun``: see `ask`; there is one part then.
    """
    if len(parts) == 1:
        return [ask(servers[parts[0].server], parts[0], begun)]
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
