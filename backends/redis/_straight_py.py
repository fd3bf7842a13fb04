"""The pure twin of _straight_c: defines what it means to ask for a few keys straight.

Most exchanges are hits: one or two keys are asked for by `requests.leases`, and their values are the reply. Everything
that they need is done here, in one call that makes nothing but the values: the request is written, sent and answered,
and the reply read, without a batch, a reader of the protocol or an entry in between. It serves a link that

* is open and idle, and need not be looked at yet (see `cachecore.backends.redis.link`), and
* whose socket blocks, with the kernel's timeouts: then nothing has to be polled.

Otherwise nothing is sent, and the caller goes the general way. He also does where the reply is anything but plain
values of our incarnation that have arrived in full: a lease, a hold, nothing, an error, the first half. He is then
given what has arrived, the link is still busy, and the general way goes on from there.

What may come between. The compiled twin gives up the GIL while the kernel sends and receives, and only then. Another
thread may end the link meanwhile: `cachecore.backends.redis.link.Link.end` finds it busy and leaves it its socket.
A signal's handler is run as Python's sockets run it, and the exchange then goes on; if the handler raises, or has used
this thread's link itself and so ended it, the exchange fails, and the link stays busy and is never used again.
"""

import time
from collections.abc import Sequence
from typing import Any, Final

from cachecore.entries import INCARNATION_BYTES, MAGIC, Value

CHUNK: Final = 64 * 1024
"""Bytes that are received at once."""

LONGEST: Final = 4096
"""Bytes of the longest request that is made straight."""

NUMBERS: Final = 64
"""What the lengths in a request, and the words between them, take at most for each key."""

HEAD: Final = len(MAGIC) + 1 + INCARNATION_BYTES
"""Bytes of a head: magic, format version, incarnation."""


class StraightLink:
    """What of a link the straight exchange looks at. `cachecore.backends.redis.link.Link` says more."""

    def __init__(self, timeout: float) -> None:
        """
        timeout: seconds for an exchange.
        """
        self.socket: Any = None
        self.is_open = False
        """Whether it can be used, as far as is known without a look at the network."""
        self.is_busy = False
        """Whether replies are awaited, or will never be."""
        self.exchanges = 0
        """How many requests have been sent over it."""
        self.timeout = timeout
        self.deadline = 0.0
        """When the replies must be there, by the monotonic clock."""
        self.look_at = 0.0
        """When the link is to be looked at before its next use, by the monotonic clock."""
        self.patience: float | None = timeout
        """The timeout of which Python is told; None: the kernel's is in force, and the socket blocks."""
        self.head = b""
        """How an entry of our incarnation begins; empty until the server is known."""

    def straight(self, keys: Sequence[str], token: bytes, options: bytes, /) -> "list[Value] | bytes | None":
        """The values under ``keys``, else what has arrived of the replies, else None: then nothing has been sent.

        token: of the leases, where nothing stands. options: what follows the lease in each SET, as it is sent.

        Raises OSError where the network fails, and what a signal's handler raises; the link is then busy for ever.
        """
        request = lease_request(keys, self.head, token, options) if self.head else None
        if request is None:
            return None
        now = time.monotonic()
        if not self.is_open or self.is_busy or self.patience is not None or now > self.look_at:
            return None
        self.is_busy = True
        self.exchanges += 1
        self.deadline = now + self.timeout
        self.socket.sendall(request)
        data: bytes = self.socket.recv(CHUNK)
        values = plain_values(data, 0, len(keys), self.head)
        if values is None:
            return data
        self.is_busy = False
        return values


def lease_request(keys: Sequence[str], head: bytes, token: bytes, options: bytes, /) -> bytes | None:
    """The bytes of `requests.leases` for a server of this head; None if they are too many or a key is not ASCII."""
    rest = len(head) + len(token) + len(options) + NUMBERS
    lease = b"\r\n$%d\r\n%bl%b%b" % (len(head) + 1 + len(token), head, token, options)
    request = b""
    for key in keys:
        if type(key) is not str or not key.isascii() or len(request) + len(key) + rest > LONGEST:
            return None
        request += b"*7\r\n$3\r\nSET\r\n$%d\r\n%b%b" % (len(key), key.encode(), lease)
    return request


def plain_values(data: bytes, at: int, count: int, head: bytes, /) -> list[Value] | None:
    """The values in ``data`` if from ``at`` it is precisely ``count`` replies, each a Value of this head; else None."""
    values: list[Value] = []
    for _ in range(count):
        end = data.find(b"\r\n", at, at + 12)
        digits = data[at + 1 : end]
        if end < 0 or data[at : at + 1] != b"$" or not digits.isdigit():
            return None
        start = end + 2
        at = start + int(digits)
        value = plain_value(data[start:at], head)
        if value is None or data[at : at + 2] != b"\r\n":
            return None
        values.append(value)
        at += 2
    return values if at == len(data) else None


def plain_value(entry: bytes, head: bytes, /) -> Value | None:
    """The Value that these bytes are; None if they are anything else, or of another head."""
    if len(head) != HEAD or len(entry) < HEAD + 2 or not entry.startswith(head + b"v"):
        return None
    start = HEAD + 2 + entry[HEAD + 1]
    return Value(entry[start:], entry[HEAD + 2 : start]) if len(entry) >= start else None
