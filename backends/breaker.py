"""A circuit breaker for one server: after a failure nobody waits for it again until a while has passed.

Closed: every call goes through. Open: every call fails at once. When the window is over one caller may probe; its
success closes the breaker, its failure begins another window. (The pattern is that of Michael Nygard, "Release It!".)

Its lock may be taken again by the thread that has it, whose signal handlers and finalizers may ask the same server; and
a forked child has one of its own.
"""

import logging
import threading
import time
from collections.abc import Callable

from cachecore.backends.forks import at_fork
from cachecore.errors import BackendUnavailable

_log = logging.getLogger("cachecore")


class Breaker:
    """The breaker of one server, shared by the threads of a process.

    name: the server, for messages.
    window: seconds that it stays open after a failure, default 1; a dead server costs one timeout in each.
    clock: seconds that never go back.
    """

    def __init__(self, name: str, window: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.is_open = False
        """Look at it before `check`: in good times that is all there is to do."""
        self._window = window
        self._clock = clock
        self._lock = threading.RLock()
        self._probe_at = 0.0
        self._reason: Exception | None = None
        at_fork(self)

    def check(self) -> None:
        """Let the caller pass, or raise BackendUnavailable. Who passes calls `succeeded` or `failed` when it knows.

        A prober that never does costs one more window, after which another may probe.
        """
        if not self.is_open:
            return
        with self._lock:
            now = self._clock()
            if now >= self._probe_at:
                self._probe_at = now + self._window
                return
        raise BackendUnavailable(f"{self.name} is not asked again yet after: {self._reason}") from self._reason

    def succeeded(self) -> None:
        """The server answered."""
        if self.is_open:
            with self._lock:
                self.is_open = False
                self._reason = None
            _log.warning("%s answers again", self.name)

    def failed(self, error: Exception) -> None:
        """The server did not answer, or would not serve us."""
        with self._lock:
            was_open, self.is_open = self.is_open, True
            self._probe_at = self._clock() + self._window
            self._reason = error
        if not was_open:
            _log.warning("%s is not asked for %g s: %s", self.name, self._window, error)

    def leave_to_parent(self) -> None:
        """In a forked child: what is known of the server holds there too, but another thread may have had the lock."""
        self._lock = threading.RLock()
