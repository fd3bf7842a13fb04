"""S3-FIFO as published (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP 2023).

A small queue with a tenth of the room, a main queue with the rest, and ghosts, the keys alone of what left the small
queue, as much as the main queue has room for. A new key enters the small queue, one that is a ghost the main queue. A
hit counts, up to three, and moves nothing. Where the paper leaves a choice this is the program that its figures are
from: room is made in the main queue if that has more than its nine tenths, else in the small one.

small   from the oldest: who was asked for twice moves to the main queue; the first other one leaves and is a ghost
main    from the oldest: who was asked for goes round once more with one less; the first other one leaves for good
"""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(slots=True)
class Entry:
    """What a queue knows of a key."""

    size: int
    frequency: int = 0


class S3Fifo:
    """Three queues, each from the oldest to the newest."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.small: OrderedDict[int, Entry] = OrderedDict()
        self.main: OrderedDict[int, Entry] = OrderedDict()
        self.ghosts: OrderedDict[int, int] = OrderedDict()
        self._main_room = room - room // 10
        self._small_used = self._main_used = self._ghosts_used = 0

    def request(self, key: int, size: int = 1) -> bool:
        """Whether key stands here; if not, it does from now on. size: in the unit of room."""
        entry = self.small.get(key) or self.main.get(key)
        if entry is not None:
            entry.frequency = min(3, entry.frequency + 1)
            return True
        if size > self.room:
            return False
        remembered = self.ghosts.pop(key, 0)
        self._ghosts_used -= remembered
        while self._small_used + self._main_used + size > self.room:
            if self._main_used > self._main_room or not self.small:
                self._evict_main()
            else:
                self._evict_small()
        if remembered:
            self.main[key] = Entry(size)
            self._main_used += size
        else:
            self.small[key] = Entry(size)
            self._small_used += size
        return False

    def _evict_small(self) -> None:
        while self.small:
            key, entry = self.small.popitem(last=False)
            self._small_used -= entry.size
            if entry.frequency < 2:
                self._remember(key, entry.size)
                return
            self.main[key] = Entry(entry.size)
            self._main_used += entry.size

    def _evict_main(self) -> None:
        while True:
            key, entry = self.main.popitem(last=False)
            if not entry.frequency:
                self._main_used -= entry.size
                return
            entry.frequency -= 1
            self.main[key] = entry

    def _remember(self, key: int, size: int) -> None:
        while self.ghosts and self._ghosts_used + size > self._main_room:
            self._ghosts_used -= self.ghosts.popitem(last=False)[1]
        self.ghosts[key] = size
        self._ghosts_used += size
