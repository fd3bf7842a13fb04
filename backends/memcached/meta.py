"""The meta commands, as servers speak them from 1.6.13 on: bytes of commands and reading of replies.

Facts and flags are those of doc/protocol.txt of memcached. Until 1.6.18 at least, append does not make a missing item
(``ms MA N``), so PREPARE appends and adds: one of them does nothing. Neither ``md I`` nor flag E is ever used.
"""

import re

from cachecore.backends.memcached.replies import (
    CHANGED,
    DONE,
    FOUND,
    GONE,
    LEASED,
    MISS,
    REFUSED,
    WON,
    Garbled,
    Reply,
    other_reply,
)

name = "meta"
makes_leases = True
stored = b"HD\r\n"
"""What DONE is in the reply to `replace`."""

# "X" is somebody's `md I`: not ours, so the item says no size of its base and is nobody's entry.
_VALUE = re.compile(rb"VA (\d{1,10}) f(\d{1,10}) c(\d{1,20})((?: [WXZ])*)\r\n").match
_PLAIN = re.compile(rb"(HD|EN|NF|NS|EX)((?: [a-zA-Z]\S*)*)\r\n").match
_HD: Reply = (DONE, b"", 0, 0, 0)
_CODES = {b"HD": DONE, b"EN": MISS, b"NF": GONE, b"NS": REFUSED, b"EX": CHANGED}


def read(key: bytes) -> bytes:
    """FOUND, LEASED or MISS."""
    return b"mg %b v f c\r\n" % key


def acquire(key: bytes, lease_ttl: int) -> bytes:
    """FOUND; or LEASED; where nothing stands WON, for a lease is made; or MISS where there is no room for it."""
    return b"mg %b v f c N%d\r\n" % (key, lease_ttl)


def form(lease_ttl: int | None) -> tuple[bytes, bytes]:
    """What stands before and after a key in the command of `acquire`, or with None in that of `read`."""
    return b"mg ", b" v f c\r\n" if lease_ttl is None else b" v f c N%d\r\n" % lease_ttl


def store(key: bytes, data: bytes, flags: int, ttl: int) -> bytes:
    """DONE or NO_ROOM, whatever stood there; after NO_ROOM nothing does."""
    return b"ms %b %d T%d F%d\r\n%b\r\n" % (key, len(data), ttl, flags, data)


def replace(key: bytes, cas: int, data: bytes, flags: int, ttl: int) -> bytes:
    """DONE, CHANGED, GONE or NO_ROOM."""
    return b"ms %b %d C%d T%d F%d\r\n%b\r\n" % (key, len(data), cas, ttl, flags, data)


def delete(key: bytes) -> bytes:
    """DONE or GONE."""
    return b"md %b\r\n" % key


def delete_if(key: bytes, cas: int) -> bytes:
    """DONE, CHANGED or GONE."""
    return b"md %b C%d\r\n" % (key, cas)


def hold(key: bytes, record: bytes, lifetime: int) -> list[bytes]:
    """Append the record or store it alone, prolong the item, and tell its size, flags and CAS id in the last reply."""
    return [
        b"ms %b %d MA c\r\n%b\r\n" % (key, len(record), record),
        b"ms %b %d ME T%d F0 c\r\n%b\r\n" % (key, len(record), lifetime, record),
        b"mg %b s f c T%d\r\n" % (key, lifetime),
    ]


def is_held(replies: list[Reply], record: bytes) -> bool:
    """Whether, by the replies to hold, the record is in the item: nobody has changed it since it was put there."""
    appended, added, found = replies
    return (appended[0] == DONE and appended[3] == found[3]) or (added[0] == DONE and added[3] == found[3])


def claim(key: bytes, cas: int | None, data: bytes, flags: int, ttl: int) -> list[bytes]:
    """Replace the item that has this CAS id, and tell that of the new one."""
    assert cas is not None, "where nothing stands, acquire has made a lease"
    return [b"ms %b %d C%d T%d F%d c\r\n%b\r\n" % (key, len(data), cas, ttl, flags, data)]


def claimed(replies: list[Reply], data: bytes) -> int | None:
    """The CAS id of the new item, by the replies to claim; None if it was not made."""
    return replies[0][3] if replies[0][0] == DONE else None


def parse(data: bytes, start: int, count: int, limit: int, out: list[Reply]) -> int:
    """See `replies.Parse`."""
    found = len(out)
    while found < count:
        if data.startswith(b"HD\r\n", start):
            out.append(_HD)
            start += 4
            found += 1
            continue
        value = _VALUE(data, start)
        if value is not None:
            size, flags, cas = int(value[1]), int(value[2]), int(value[3])
            if size > limit:
                raise Garbled(f"an item of {size} bytes")
            begin = value.end()
            end = begin + size
            if len(data) < end + 2:
                return start
            if data[end : end + 2] != b"\r\n":
                raise Garbled(f"{data[end : end + 2]!r} after the {size} bytes of an item")
            marks = value[4]
            if not marks:
                out.append((FOUND, data[begin:end], flags, cas, size))
            elif b"X" in marks:
                out.append((FOUND, data[begin:end], size + 1, cas, size))
            elif size == 0:
                out.append((WON if marks == b" W" else LEASED, b"", 0, cas, 0))
            else:
                out.append((FOUND, data[begin:end], flags, cas, size))
            start = end + 2
        else:
            plain = _PLAIN(data, start)
            if plain is not None:
                out.append(_plain(plain))
                start = plain.end()
            else:
                after = other_reply(data, start, out)
                if after == start:
                    return start
                start = after
        found += 1
    return start


def _plain(match: re.Match[bytes]) -> Reply:
    size = flags = cas = 0
    for flag in match[2].split():
        if flag[:1] == b"s":
            size = _number(flag)
        elif flag[:1] == b"f":
            flags = _number(flag)
        elif flag[:1] == b"c":
            cas = _number(flag)
    return _CODES[match[1]], b"", flags, cas, size


def _number(flag: bytes) -> int:
    digits = flag[1:]
    if not digits.isdigit() or len(digits) > 20:
        raise Garbled(f"the flag {flag[:30]!r}")
    return int(digits)
