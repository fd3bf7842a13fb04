"""Which connections have uncommitted writes of cached rows: while there is none, hits need not look."""

import threading
import weakref
from typing import Protocol


class Writing(Protocol):
    """What this needs of a `ConnectionState`."""

    @property
    def units(self) -> object: ...
    def leave_to_expire(self) -> None: ...


class _DirtyConnections:
    """They, of all threads."""

    def __init__(self) -> None:
        # Weak: a thread may end inside a transaction, and its connection must then be closed and not kept.
        self._states: weakref.WeakSet[Writing] = weakref.WeakSet()
        self._lock = threading.Lock()
        self.any: list[bool] = []
        """Empty while there is none. Always the same list: the hit path holds it, and needs no attribute."""

    def update(self, state: Writing) -> None:
        """Note whether ``state`` has uncommitted writes."""
        with self._lock:
            if state.units:
                self._states.add(state)
            else:
                self._states.discard(state)
            self.any[:] = [True] if self._states else []

    def forget(self) -> None:
        """Drop all writes that are noted: the caches they would outdate are being closed."""
        for state in list(self._states):
            state.leave_to_expire()


dirty = _DirtyConnections()
