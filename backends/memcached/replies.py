"""What a server says, as both dialects report it, and the reading of it without I/O.

Each command of a batch gets exactly one reply, and each reply says by itself where it ends. So a reader needs to know
only how many there are to be. A reply that makes no sense ends the connection: what follows it could be anybody's.
"""

import re
from typing import Protocol

from cachecore.backends.memcached.batches import Reads
from cachecore.errors import BackendError

Reply = tuple[str, bytes, int, int, int]
"""(code, data, flags, CAS id, size of the data, which may not have been sent). The codes are those below."""

FOUND = "found"
WON = "won"
"""A lease that the server has just made for the asker."""
LEASED = "leased"
"""A lease that the server has made for somebody else."""
MISS = "miss"
DONE = "done"
REFUSED = "refused"
"""Append to nothing, or add to something."""
CHANGED = "changed"
"""The CAS id is another."""
GONE = "gone"
"""Nothing stands where something was to be changed."""
NO_ROOM = "no room"
"""The server has no memory for it, or it is too large."""
STATISTICS = "statistics"

MAX_LINE = 2048
MAX_STATISTICS = 1 << 17


class Garbled(Exception):
    """The server sent what is no reply."""


class ServerSaid(Exception):
    """The server refused to serve us, in its own words."""


class Parse(Protocol):
    """Read replies from ``data`` at ``start`` until there are ``count`` in ``out``; returns where the next one starts.

    Fewer than ``count`` are there if the rest has not arrived yet. ``limit`` is the size of the largest item. Raises
    Garbled and ServerSaid.
    """

    def __call__(self, data: bytes, start: int, count: int, limit: int, out: list[Reply]) -> int: ...


def other_reply(data: bytes, start: int, out: list[Reply]) -> int:
    """Read a reply that is no dialect's own, such as an error; returns where the next one starts, or ``start``."""
    end = data.find(b"\r\n", start)
    if end < 0:
        if len(data) - start > MAX_LINE:
            raise Garbled(f"a line of more than {MAX_LINE} bytes")
        return start
    if data.startswith(b"STAT ", start):
        end = data.find(b"\r\nEND\r\n", start)
        if end < 0:
            if len(data) - start > MAX_STATISTICS:
                raise Garbled(f"statistics of more than {MAX_STATISTICS} bytes")
            return start
        out.append((STATISTICS, data[start:end], 0, 0, 0))
        return end + len(b"\r\nEND\r\n")
    line = data[start:end]
    if line in (b"OK", b"STORED"):
        out.append((DONE, b"", 0, 0, 0))
        return end + 2
    if _NO_ROOM(line):
        out.append((NO_ROOM, b"", 0, 0, 0))
        return end + 2
    if _ERROR(line):
        raise ServerSaid(line.decode("ascii", "backslashreplace"))
    raise Garbled(f"{line[:60]!r}")


_NO_ROOM = re.compile(rb"SERVER_ERROR (?:object too large for cache|out of memory(?: storing object)?)\Z").match
_ERROR = re.compile(rb"(?:CLIENT_ERROR|SERVER_ERROR|ERROR)\b").match


class Reader:
    """Collects the replies to one batch from what the connection delivers.

    parse: the dialect's. count: how many replies there are to be. limit: bytes of the largest item. reads: the batch,
    if it is of reads: where its ``values`` are there in the end, there are no replies.
    """

    __slots__ = ("_count", "_limit", "_missing", "_parse", "_parts", "_reads", "replies")

    def __init__(self, parse: Parse, count: int, limit: int, reads: Reads | None = None) -> None:
        self.replies: list[Reply] = []
        self._reads = reads
        self._parse = parse
        self._count = count
        self._limit = limit
        self._parts: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> bool:
        """Take what has arrived; True when all replies are there. Raises Garbled and ServerSaid."""
        if self._reads is not None:
            if self._reads.awaits_more(data):
                return False
            if self._reads.values is not None:
                return True
            data, self._reads = self._reads.arrived, None
        if self._parts:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return False
            data = b"".join(self._parts)
            self._parts = []
        position = self._parse(data, 0, self._count, self._limit, self.replies)
        if len(self.replies) == self._count:
            if position != len(data):
                raise Garbled(f"{data[position : position + 60]!r} after the last reply")
            return True
        if position < len(data):
            self._parts.append(data[position:])
            # A large value is joined once, when it is complete, and not with each piece.
            self._missing = _announced(self._parts[0]) - len(self._parts[0])
        return False

    @property
    def answered(self) -> int:
        """To how many commands the replies are there so far."""
        return len(self.replies) if self._reads is None else self._reads.answered


_ANNOUNCED = re.compile(rb"(?:VA|VALUE \S+ \d+) (\d+)(?: [^\r]*)?\r\n").match


def _announced(start: bytes) -> int:
    """How long the reply that starts so will be at least."""
    head = _ANNOUNCED(start)
    return 0 if head is None else head.end() + int(head[1]) + 2


def statistics(data: bytes) -> dict[str, str]:
    """The lines of a STATISTICS reply: name to value."""
    found: dict[str, str] = {}
    for line in data.decode("utf-8", "backslashreplace").split("\r\n"):
        _, _, rest = line.partition(" ")
        name, _, value = rest.partition(" ")
        found[name] = value
    return found


def unexpected(reply: Reply, address: str) -> BackendError:
    """For a reply that is well-formed and no answer to what was asked."""
    return BackendError(f"memcached at {address} answered {reply[0]!r} to a command that has no such answer")
