"""The links to one server that is named by its address: one for each thread, and the server's breaker."""

import logging
import threading
import weakref
from collections.abc import Sequence

from cachecore.backends.breaker import Breaker
from cachecore.backends.forks import at_fork
from cachecore.backends.redis.link import Link, LinkLost
from cachecore.backends.redis.requests import Batch, Replies, check, clear_one, leases
from cachecore.backends.redis.settings import Settings
from cachecore.errors import BackendError, BackendUnavailable

_log = logging.getLogger("cachecore")


class Guarded:
    """What the blocking and the awaited server have in common: the way in, past the breaker, and the warnings."""

    together = True
    """Whether a command may be about several keys."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        [self.address] = settings.addresses
        self.breaker = self._new_breaker()
        self.round_trips = 0
        """How many have begun, for tests that have a budget."""
        self._warned = self._closed = False
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()
        self._lock = threading.RLock()
        at_fork(self)

    def _open(self) -> Link:
        """A new link. Raises BackendError."""
        link = None if self._closed else self._new_link()
        with self._lock:
            if link is None or self._closed:
                raise BackendUnavailable(f"the connections to {self.address} have been closed")
            self._links.add(link)
        if not self._warned:
            self._warned = True
            for sentence in link.identity.warnings(str(self.address)):
                _log.warning(sentence)
        return link

    def _new_link(self) -> Link:
        return Link(self._settings, self.address)

    def _new_breaker(self) -> Breaker:
        return Breaker(str(self.address), self._settings.breaker_window)

    def _weaknesses(self) -> list[str]:
        link = Link(self._settings, self.address, any_role=True)
        try:
            return link.identity.warnings(str(self.address))
        finally:
            link.close()

    def _end(self) -> None:
        with self._lock:
            self._closed = True
            links = list(self._links)
        for link in links:
            link.end()

    def leave_to_parent(self) -> None:
        """In a forked child: the connections are the parent's, so the child's copies of them are closed."""
        self._lock = threading.RLock()
        for link in list(self._links):
            link.close()
        self._links = weakref.WeakSet()


class OneServer(Guarded):
    """A server for all keys, for threads."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._mine = threading.local()

    def exchange(self, batch: Batch) -> Replies:
        """The replies to ``batch``. Raises `LinkLost` if the same may be tried once more, or another BackendError."""
        breaker = self.breaker
        if breaker.is_open:
            breaker.check()
        self.round_trips += 1
        try:
            replies = self.link().exchange(batch)
        except LinkLost:
            raise
        except BackendError as error:
            breaker.failed(error)
            raise
        if breaker.is_open:
            breaker.succeeded()
        return replies

    def leases(self, keys: Sequence[str], token: bytes, ttl: float) -> Replies:
        """The replies to `requests.leases`. Raises as `exchange`."""
        link: Link | None = getattr(self._mine, "link", None)
        if link is None or not link.is_open or self.breaker.is_open:
            return self.exchange(leases(keys, token, ttl))
        self.round_trips += 1
        try:
            return link.leases(keys, token, ttl)
        except LinkLost:
            raise
        except BackendError as error:
            self.breaker.failed(error)
            raise

    def link(self) -> Link:
        """The open link of this thread. Raises BackendError if there is none and none can be opened."""
        link: Link | None = getattr(self._mine, "link", None)
        if link is None or not link.is_open:
            link = self._mine.link = self._open()
        return link

    def clear(self) -> None:
        """Empty the server."""
        check(self.exchange(clear_one()))

    def diagnose(self) -> list[str]:
        """What in the server's settings weakens the promise."""
        return self._weaknesses()

    def close(self) -> None:
        """End the connections of all threads; there will be no new ones."""
        self._end()

    def leave_to_parent(self) -> None:
        super().leave_to_parent()
        self._mine = threading.local()
