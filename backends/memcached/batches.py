"""What is asked of a server in one round trip."""

from collections.abc import Sequence

from cachecore.backends.memcached.short_way import Values
from cachecore.entries import Value


class Reads:
    """A batch of nothing but reads. When the cache is warm its replies are values and no more, read as they come.

    keys: what is read. form: what stands before and after a key in its command, which is one line. reader: of values.
    """

    __slots__ = ("_found", "_needed", "_pieces", "_reader", "_rest", "count", "data", "values")

    def __init__(self, keys: Sequence[bytes], form: tuple[bytes, bytes], reader: Values) -> None:
        before, after = form
        self.data = before + (after + before).join(keys) + after
        self.count = len(keys)
        self.values: list[Value] | None = None
        """What was found, in order; None if the replies are to be read one by one, which whoever asked is then sent."""
        self._reader = reader
        self._found: list[Value] = []
        self._pieces: list[bytes] = []
        self._rest: list[bytes] = []
        """The pieces since the last value that is whole."""
        self._needed = 0
        """How many more bytes the next one takes, if that is known."""

    def awaits_more(self, data: bytes) -> bool:
        """Take a piece of the replies; whether there may be nothing but values once more has come.

        In the end either all of them are in `values`, or something else is in `arrived`.
        """
        self._pieces.append(data)
        self._rest.append(data)
        self._needed -= len(data)
        if self._needed > 0:  # a large value is joined once, when it is whole
            return True
        if len(self._rest) > 1:
            data = b"".join(self._rest)
        taken = self._reader.take(data, self.count, self._found)
        if taken is None:
            return False
        start, whole = taken
        if len(self._found) == self.count:
            self.values = self._found if start == len(data) else None
            return False
        self._rest = [data[start:]] if start < len(data) else []
        self._needed = whole - len(data)
        return True

    @property
    def answered(self) -> int:
        """How many values are there so far."""
        return len(self._found)

    @property
    def arrived(self) -> bytes:
        """All that has come."""
        return b"".join(self._pieces)


Batch = list[bytes] | Reads
"""Commands that are one round trip; the reply to it is as many `replies.Reply`, in their order."""


def commands_of(batch: Batch) -> list[bytes]:
    """Its commands, one by one."""
    return batch.data.splitlines(keepends=True) if isinstance(batch, Reads) else batch
