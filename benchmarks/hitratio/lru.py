"""LRU: who was asked for longest ago leaves."""

from collections import OrderedDict


class Lru:
    """The entries from the oldest request to the newest."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.entries: OrderedDict[int, int] = OrderedDict()
        self.used = 0

    def request(self, key: int, size: int = 1) -> bool:
        """Whether key stands here; if not, it does from now on. size: in the unit of room."""
        if key in self.entries:
            self.entries.move_to_end(key)
            return True
        if size > self.room:
            return False
        while self.used + size > self.room:
            self.used -= self.entries.popitem(last=False)[1]
        self.entries[key] = size
        self.used += size
        return False
