"""What is asked of a server in one round trip."""

from collections.abc import Callable

from cachecore.entries import Value


class Reads:
    """A batch of nothing but reads. When the cache is warm its replies are values and no more, taken apart at once.

    data: the commands, each of one line. count: how many. take: the values in the replies to so many reads, or None
    if anything else is there.
    """

    __slots__ = ("_take", "count", "data", "values")

    def __init__(self, data: bytes, count: int, take: Callable[[bytes, int], list[Value] | None]) -> None:
        self.data = data
        self.count = count
        self.values: list[Value] | None = None
        """What was found, in order; None if the replies are to be read one by one, which whoever asked is then sent."""
        self._take = take

    def is_answered_by(self, replies: bytes) -> bool:
        """Whether these are all the replies, and values; they are in `values` then."""
        self.values = self._take(replies, self.count)
        return self.values is not None


Batch = list[bytes] | Reads
"""Commands that are one round trip; the reply to it is as many `replies.Reply`, in their order."""


def commands_of(batch: Batch) -> list[bytes]:
    """Its commands, one by one."""
    return batch.data.splitlines(keepends=True) if isinstance(batch, Reads) else batch
