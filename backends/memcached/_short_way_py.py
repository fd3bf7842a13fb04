"""The pure Python twin of _short_way_c: defines what the short way of an exchange is.

Most reads of a warm cache find a value under each key, and most fills find the lease. Neither needs a flow or a look at
each reply: its commands are joined at once, the thread's connection is used if there is nothing to be said against it,
and the replies are taken apart together (`Values`). `ShortWay` is all of that in one call.

Whatever is out of the ordinary goes the long way, which begins where the short one ends: with no commands sent, or with
what has arrived of the replies to them, or with the error that came instead. So the long way alone says what becomes
of it, and the short one decides nothing but that this is a hit, or a fill that was done.
"""

import re
from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from cachecore.backends.memcached.items import cas_of
from cachecore.backends.memcached.limits import CHUNK, LONGEST_LINE, LOOK_EVERY, MAX_KEY, MAX_RELATIVE, WINDOW
from cachecore.entries import FORMAT, MAGIC, Value, encode_entry

if TYPE_CHECKING:
    from cachecore.backends.memcached.link import Link
    from cachecore.backends.memcached.servers import Server

Arrived = tuple["Link", bytes | Exception]
"""The connection that was asked, and what has arrived of the replies, or the error that came instead."""


def commands(keys: Sequence[str], before: bytes, after: bytes) -> bytes | None:
    """The commands for these keys, what stands before and after each; None if one may be no key, or if they are long.

    A key is one of 1 to 250 printable ASCII characters but the space.
    """
    text = " ".join(keys)
    if not (text.isascii() and text.isprintable()):
        return None
    names = text.encode().split(b" ")
    if len(names) != len(keys) or not 0 < min(map(len, names)) <= max(map(len, names)) <= MAX_KEY:
        return None
    data = before + (after + before).join(names) + after
    return data if len(data) <= WINDOW else None


class Values:
    """Reads what a warm cache answers: replies to reads that are values and no more.

    It says the same of them as the parser of the dialect and `items.understood` together, sooner. is_classic: the
    dialect. mark: what the values are stored under.
    """

    def __init__(self, is_classic: bool, mark: bytes) -> None:
        head = MAGIC + bytes([FORMAT]) + mark + b"v"
        # The line before an item has its size and its flags, which equal that.
        line = rb"VALUE \S{1,250} (\d{1,7}) \1 \d{1,20}\r\n" if is_classic else rb"VA (\d{1,7}) f\1 c\d{1,20}\r\n"
        self._line = re.compile(line).match
        self._item = re.compile(line + re.escape(head) + b"(?s:.)").match
        self._before_stamp = len(head) + 1
        self._end = b"\r\nEND\r\n" if is_classic else b"\r\n"

    def __call__(self, data: bytes, count: int) -> list[Value] | None:
        """The values in the replies to so many reads; None if anything else is there, or too little."""
        values: list[Value] = []
        return values if self.take(data, count, values) == (len(data), 0) and len(values) == count else None

    def take(self, data: bytes, count: int, values: list[Value]) -> tuple[int, int] | None:
        """Add the values that are there whole, until there are ``count``; None if something else is there.

        Otherwise returns where the next one begins, and the size of ``data`` up to its end, 0 where that is not known.
        """
        start = 0
        while len(values) < count:
            matched = self._item(data, start)
            if matched is None:
                return self._begun(data, start)
            stamp = matched.end()
            payload = stamp + data[stamp - 1]
            stop = stamp - self._before_stamp + int(matched[1])
            if payload > stop or not data.startswith(self._end, stop):
                return self._begun(data, start)
            values.append(Value(data[payload:stop], data[stamp:payload]))
            start = stop + len(self._end)
        return start, 0

    def _begun(self, data: bytes, start: int) -> tuple[int, int] | None:
        """What `take` returns where no value stands whole."""
        line = self._line(data, start)
        if line is None:
            return None if len(data) - start > LONGEST_LINE or b"\n" in data[start:] else (start, 0)
        whole = line.end() + int(line[1]) + len(self._end)
        return (start, whole) if len(data) < whole else None


class ShortWay:
    """The short way to one server, for blocking callers. clock: the server's.

    Where its methods do not return what was asked for, they return what has arrived, from where the long way is to go
    on; or None: nothing has been sent.
    """

    def __init__(self, server: "Server", clock: Callable[[], float]) -> None:
        self._server = server
        self._clock = clock

    def read(self, keys: Sequence[str], ttl: float | None) -> list[Any] | Arrived | None:
        """The values under the keys, in order. ttl: seconds that a lease would last; None: none is asked for."""
        link = self._link()
        if link is None or (ttl is not None and not 0 < ttl <= MAX_RELATIVE):
            return None
        peer = link.peer
        asked = commands(keys, *peer.dialect.form(None if ttl is None else ceil(ttl)))
        answer = None if asked is None else self._exchange(link, asked)
        if not isinstance(answer, bytes):
            return answer
        values = peer.values_in(answer, len(keys))
        if values is None:
            return link, answer
        self._succeeded(link)
        return values

    def fill(self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None) -> list[Any] | Arrived | None:
        """True for each lease that was replaced by a value, all of them; see `Backend.fill`."""
        link = self._link()
        if link is None or (ttl is not None and not 0 < ttl <= MAX_RELATIVE):
            return None
        peer, expiry = link.peer, 0 if ttl is None else ceil(ttl)
        batch: list[bytes] = []
        for key, token, value, _ in items:
            name, cas = commands([key], b"", b""), cas_of(token, peer.incarnation)
            data = encode_entry(value, peer.mark)
            if name is None or cas is None or not peer.fits(name, data):
                return None
            batch.append(peer.dialect.replace(name, cas, data, len(data), expiry))
        asked = b"".join(batch)
        answer = self._exchange(link, asked) if 0 < len(asked) <= WINDOW else None
        if not isinstance(answer, bytes):
            return answer
        if answer != peer.dialect.stored * len(items):
            return link, answer
        self._succeeded(link)
        return [True] * len(items)

    def _link(self) -> "Link | None":
        """The thread's connection, if nobody is to be asked before it is used."""
        server = self._server
        return None if server.breaker.is_open else getattr(server.mine, "link", None)

    def _exchange(self, link: "Link", asked: bytes) -> bytes | Arrived | None:
        """The answer, or its first part; or what came instead; or None if the connection is not to be used so."""
        server = self._server
        mine = server.mine
        # As `Server.take`: while it is in use nobody else finds it.
        mine.link = None
        if link.is_closed or link.peer.incarnation != server.lives.current or self._clock() - link.looked > LOOK_EVERY:
            mine.link = link
            return None
        link.is_busy = True
        try:
            link.send_all(asked)
            return link.receive_some(CHUNK)
        except Exception as error:
            return link, error
        except BaseException:
            link.close()
            raise

    def _succeeded(self, link: "Link") -> None:
        """All that was asked on a connection has been answered."""
        server = self._server
        link.has_served = True
        link.is_busy = False
        server.mine.link = link
        server.exchanges += 1
        if server.breaker.is_open:
            server.breaker.succeeded()
