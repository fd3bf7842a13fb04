"""SIEVE (Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is simpler than LRU", NSDI 2024).

A FIFO in which nothing ever moves. A hit marks the entry as visited. To make room a hand walks from the oldest to the
newest: it takes the mark from who has it, and evicts the first who has none, wherever that stands. There it waits for
the next time; beyond the newest it starts at the oldest again.
"""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Node:
    """An entry between its neighbours."""

    key: int
    size: int
    older: "Node | None"
    newer: "Node | None" = None
    visited: bool = False


class Sieve:
    """A linked list and the hand; None: at its start."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.entries: dict[int, Node] = {}
        self.used = 0
        self._oldest: Node | None = None
        self._newest: Node | None = None
        self._hand: Node | None = None

    def request(self, key: int, size: int = 1) -> bool:
        """Whether key stands here; if not, it does from now on. size: in the unit of room."""
        node = self.entries.get(key)
        if node is not None:
            node.visited = True
            return True
        if size > self.room:
            return False
        while self.used + size > self.room:
            self._evict()
        node = self.entries[key] = Node(key, size, self._newest)
        if self._newest is None:
            self._oldest = node
        else:
            self._newest.newer = node
        self._newest = node
        self.used += size
        return False

    def _evict(self) -> None:
        node = self._hand or self._oldest
        assert node is not None
        while node.visited:
            node.visited = False
            node = node.newer or self._oldest
            assert node is not None
        self._hand = node.newer
        if node.newer is None:
            self._newest = node.older
        else:
            node.newer.older = node.older
        if node.older is None:
            self._oldest = node.newer
        else:
            node.older.newer = node.newer
        del self.entries[node.key]
        self.used -= node.size
