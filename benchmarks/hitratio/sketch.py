"""How often a key was asked for, lately and roughly: the frequency sketch of TinyLFU.

A count-min sketch (Cormode and Muthukrishnan, 2005) with four rows of counters up to 15, sixteen counters for each
entry of the cache; a key's frequency is the least of its four. Behind a doorkeeper: the first request of a key in a
period is noted there, only the next ones are counted. A period ends after ten increments an entry: the doorkeeper is
emptied and every counter halved, so that the past fades (Einziger, Friedman, Manes: "TinyLFU", ACM Transactions on
Storage 13(4), 2017). The doorkeeper here is an exact set where the paper has a Bloom filter: the best it could be.
"""

from typing import Final

ROWS: Final = 4
LIMIT: Final = 15
_HALF: Final = bytes(count // 2 for count in range(256))
_WORD: Final = 2**64 - 1


class FrequencySketch:
    """Frequencies, for a cache of so many entries."""

    def __init__(self, entries: int) -> None:
        slots = 1 << max(0, entries - 1).bit_length()  # a power of two, at least entries
        self.width: Final = 4 * slots
        self.period: Final = 10 * slots
        self.counters = bytearray(ROWS * self.width)
        self.doorkeeper: set[int] = set()
        self.increments = 0
        self._known: dict[int, tuple[int, int, int, int]] = {}

    def add(self, key: int) -> None:
        """The key was asked for."""
        if key not in self.doorkeeper:
            self.doorkeeper.add(key)
            return
        counters = self.counters
        added = False
        for place in self._known.get(key) or self._places(key):
            if counters[place] < LIMIT:
                counters[place] += 1
                added = True
        if added:
            self.increments += 1
            if self.increments == self.period:
                self._age()

    def frequency(self, key: int) -> int:
        """0 to 15."""
        counters = self.counters
        a, b, c, d = self._known.get(key) or self._places(key)
        return min(LIMIT, min(counters[a], counters[b], counters[c], counters[d]) + (key in self.doorkeeper))

    def _places(self, key: int) -> tuple[int, int, int, int]:
        """One counter in each row, by double hashing; the mixing is that of MurmurHash3's finalizer (Appleby)."""
        mixed = ((key ^ key >> 33) + 1) * 0xFF51AFD7ED558CCD & _WORD
        mixed = (mixed ^ mixed >> 33) * 0xC4CEB9FE1A85EC53 & _WORD
        mixed ^= mixed >> 33
        step = mixed >> 32 | 1
        last = self.width - 1
        places = self._known[key] = (
            mixed & last,
            self.width + (mixed + step & last),
            2 * self.width + (mixed + 2 * step & last),
            3 * self.width + (mixed + 3 * step & last),
        )
        return places

    def _age(self) -> None:
        odd = sum(self.counters.count(value) for value in range(1, LIMIT + 1, 2))
        self.counters = self.counters.translate(_HALF)
        self.increments = (self.increments - odd // ROWS) // 2
        self.doorkeeper.clear()
        self._known.clear()
