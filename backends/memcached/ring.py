"""Which server of a fleet owns a key: rendezvous hashing.

Each server gives each key a number, and the highest owns it (Thaler and Ravishankar 1996, "A name-based mapping scheme
for rendezvous"). A server that joins or leaves so moves only the keys that it owns, and the order in which servers are
listed does not matter. The numbers are the same in every process, release and language: BLAKE2b of the key and of the
server's name, mixed by the finalizer of SplitMix64 (Steele, Lea and Flood 2014; constants of Stafford's variant 13).

The map is fixed by the list (rule R9): a server that is down keeps its keys, whose readers ask the database meanwhile.
"""

from collections.abc import Sequence
from hashlib import blake2b

_MASK = (1 << 64) - 1
_REMEMBERED = 1 << 16


def _number(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def score(key: int, server: int) -> int:
    """The number that a server gives to a key; both are themselves 64-bit numbers."""
    mixed = key ^ server
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


class Ring:
    """The map from keys to servers. names: the servers, at least one. Safe under threads."""

    def __init__(self, names: Sequence[str]) -> None:
        self._servers = [_number(name.encode()) for name in names]
        self._owners: dict[bytes, int] = {}

    def owner(self, key: bytes) -> int:
        """The index of the server that owns ``key``."""
        owner = self._owners.get(key)
        if owner is None:
            number = _number(key)
            scores = [score(number, server) for server in self._servers]
            owner = scores.index(max(scores))
            # Hot keys are asked for again and again; a full memory is begun anew.
            if len(self._owners) >= _REMEMBERED:
                self._owners = {}
            self._owners[key] = owner
        return owner
