"""W-TinyLFU (Einziger, Friedman, Manes: "TinyLFU: a highly efficient cache admission policy", ACM ToS 13(4), 2017).

As the simulator of Caffeine, whose author is one of the paper's, describes it: a window of one hundredth of the room,
an LRU that all new keys enter; the rest is a segmented LRU, probation and protected, the latter of four fifths of it. A
hit in probation moves to protected, whose oldest goes back to the newest of probation when there are too many. What the
window has no room for becomes the newest of probation, a candidate. If all of it is too much, the candidate is weighed
against the oldest of probation: who was asked for more often, by the sketch, stays; on equality the candidate leaves.

Entries of different sizes: the candidate has to win against one victim after the other until there is room.
"""

from collections import OrderedDict
from typing import Final

from benchmarks.hitratio.sketch import FrequencySketch


class WTinyLfu:
    """Three LRU queues, each from the oldest to the newest, with a sketch that decides between them."""

    def __init__(self, room: int, entries: int | None = None) -> None:
        """entries: how many there will be about, which the sketch is made for; None: as many as room."""
        self.room: Final = room
        self.sketch: Final = FrequencySketch(room if entries is None else entries)
        self.window: OrderedDict[int, int] = OrderedDict()
        self.probation: OrderedDict[int, int] = OrderedDict()
        self.protected: OrderedDict[int, int] = OrderedDict()
        main = room * 99 // 100
        self._window_room: Final = room - main
        self._protected_room: Final = main * 4 // 5
        self._window_used = self._protected_used = self._used = 0

    def request(self, key: int, size: int = 1) -> bool:
        """Whether key stands here; if not, it is offered. size: in the unit of room."""
        self.sketch.add(key)
        if key in self.protected:
            self.protected.move_to_end(key)
        elif key in self.window:
            self.window.move_to_end(key)
        elif key in self.probation:
            self._protect(key)
        else:
            if size <= self.room:
                self._insert(key, size)
            return False
        return True

    def _protect(self, key: int) -> None:
        size = self.protected[key] = self.probation.pop(key)
        self._protected_used += size
        while self._protected_used > self._protected_room:
            key, size = self.protected.popitem(last=False)
            self._protected_used -= size
            self.probation[key] = size

    def _insert(self, key: int, size: int) -> None:
        self.window[key] = size
        self._window_used += size
        self._used += size
        while self._window_used > self._window_room:
            key, size = self.window.popitem(last=False)
            self._window_used -= size
            self.probation[key] = size
            self._admit(key)

    def _admit(self, candidate: int) -> None:
        """Evict others, or the candidate, until all of it fits."""
        while self._used > self.room:
            victim = next(iter(self.probation))
            if self.sketch.frequency(candidate) <= self.sketch.frequency(victim):
                victim = candidate
            self._used -= self.probation.pop(victim)
            if victim == candidate:
                return
