"""Which lives of a server an address has led to. One that has been left does not come back: a restart begins another.

If it does come back, the address is that of a load balancer, or the name has been pointed at another server and back.
What that one holds is as old as the day it was left, for no writer has told it since; so it is refused.
"""

import logging
import threading

from cachecore.backends.forks import at_fork
from cachecore.backends.memcached.peer import Peer
from cachecore.errors import BackendMisconfigured

_log = logging.getLogger("cachecore")


class Lives:
    """The lives of the server at one address, as the connections of this process have met them. Safe under threads."""

    def __init__(self) -> None:
        self.current = b""
        """The incarnation that was met last."""
        self._left: dict[bytes, float] = {}
        self._lock = threading.RLock()  # a log handler, a signal handler or a finalizer may connect too
        at_fork(self)

    def leave_to_parent(self) -> None:
        """In a forked child: the lives that were left stay left, but another thread may have had the lock."""
        self._lock = threading.RLock()

    def met(self, peer: Peer, now: float) -> None:
        """A new connection has led to ``peer``; ``now`` on the clock of it. Raises BackendMisconfigured."""
        incarnation = peer.incarnation
        if incarnation == self.current:
            return
        with self._lock:
            left = self._left.get(incarnation)
            if left is None:
                if self.current:
                    self._left[self.current] = now
                self.current = incarnation
                for sentence in peer.weaknesses:
                    _log.warning("%s", sentence)
            elif peer.asked > left:
                raise BackendMisconfigured(
                    f"there are several servers behind the address {peer.address} of memcached: it has led to another "
                    "one and back, and nobody tells the one what is written while the other is asked"
                )
