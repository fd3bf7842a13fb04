"""Which holds are known to be one writer's alone: what makes COMPLETE a single round trip."""

import msgspec

MOST = 1 << 14
"""Holds beyond this many at once are completed the slow way, the oldest first."""


Life = tuple[str, bytes]
"""Address and incarnation: two servers may have been started in the same second under the same process id."""


class _Known(msgspec.Struct, frozen=True, gc=False):
    cas: int
    until: float


class Alone:
    """The CAS ids of items in which a writer's hold was alone when it was placed. Shared by threads.

    Losing an entry costs a round trip and nothing else, so nothing here is locked.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[Life, bytes, bytes], _Known] = {}

    def remember(self, life: Life, key: bytes, token: bytes, cas: int, until: float) -> None:
        """The item under ``key`` has this CAS id; ``until`` is when the hold ends, on the local clock."""
        known = self._known
        known[life, key, token] = _Known(cas, until)
        while len(known) > MOST:
            try:
                del known[next(iter(known))]
            except (KeyError, RuntimeError, StopIteration):  # another thread was faster
                continue

    def take(self, life: Life, key: bytes, token: bytes, now: float) -> int | None:
        """The CAS id, once; None if it is not known, or the hold has ended."""
        known = self._known.pop((life, key, token), None)
        return known.cas if known is not None and now < known.until else None

    def forget(self, life: Life, key: bytes, token: bytes) -> None:
        """The hold is not known to be alone any more."""
        self._known.pop((life, key, token), None)
