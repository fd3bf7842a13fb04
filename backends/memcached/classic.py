"""The classic commands, for servers before 1.6.13: the same interface as `meta`, at the price of more round trips.

A miss costs one round trip more (gets, then add), and PREPARE is sent back the item it has appended to. The classic
protocol has no conditional delete, but ``cas`` with an expiry in the past is one.
"""

import re

from cachecore.backends.memcached.replies import (
    CHANGED,
    DONE,
    FOUND,
    GONE,
    MISS,
    REFUSED,
    Garbled,
    Reply,
    other_reply,
)

name = "classic"
makes_leases = False
stored = b"STORED\r\n"
"""What DONE is in the reply to `replace`."""

_VALUE = re.compile(rb"VALUE (\S{1,250}) (\d{1,10}) (\d{1,10}) (\d{1,20})\r\n").match
_PLAIN = re.compile(rb"(STORED|NOT_STORED|EXISTS|NOT_FOUND|DELETED|TOUCHED|OK|END)\r\n").match
_CODES = {
    b"STORED": DONE,
    b"DELETED": DONE,
    b"TOUCHED": DONE,
    b"OK": DONE,
    b"NOT_STORED": REFUSED,
    b"EXISTS": CHANGED,
    b"NOT_FOUND": GONE,
    b"END": MISS,
}


def read(key: bytes) -> bytes:
    """FOUND or MISS."""
    return b"gets %b\r\n" % key


def acquire(key: bytes, lease_ttl: int) -> bytes:
    """FOUND or MISS: here nothing makes a lease but `claim`."""
    return b"gets %b\r\n" % key


def form(lease_ttl: int | None) -> tuple[bytes, bytes]:
    """What stands before and after a key in the command of `acquire`, or with None in that of `read`."""
    return b"gets ", b"\r\n"


def store(key: bytes, data: bytes, flags: int, ttl: int) -> bytes:
    """DONE or NO_ROOM, whatever stood there; after NO_ROOM nothing does."""
    return b"set %b %d %d %d\r\n%b\r\n" % (key, flags, ttl, len(data), data)


def replace(key: bytes, cas: int, data: bytes, flags: int, ttl: int) -> bytes:
    """DONE, CHANGED, GONE or NO_ROOM."""
    return b"cas %b %d %d %d %d\r\n%b\r\n" % (key, flags, ttl, len(data), cas, data)


def delete(key: bytes) -> bytes:
    """DONE or GONE."""
    return b"delete %b\r\n" % key


def delete_if(key: bytes, cas: int) -> bytes:
    """DONE, CHANGED or GONE."""
    return b"cas %b 0 -1 0 %d\r\n\r\n" % (key, cas)


def hold(key: bytes, record: bytes, lifetime: int) -> list[bytes]:
    """Append the record or store it alone, prolong the item, and tell its size, flags and CAS id in the last reply."""
    return [
        b"append %b 0 0 %d\r\n%b\r\n" % (key, len(record), record),
        b"add %b 0 %d %d\r\n%b\r\n" % (key, lifetime, len(record), record),
        b"touch %b %d\r\n" % (key, lifetime),
        b"gets %b\r\n" % key,
    ]


def is_held(replies: list[Reply], record: bytes) -> bool:
    """Whether, by the replies to hold, the record is in the item."""
    return record in replies[-1][1]


def claim(key: bytes, cas: int | None, data: bytes, flags: int, ttl: int) -> list[bytes]:
    """Make an item where nothing stands, or replace that which has this CAS id, and tell that of the new one."""
    if cas is None:
        return [b"add %b %d %d %d\r\n%b\r\n" % (key, flags, ttl, len(data), data), read(key)]
    return [replace(key, cas, data, flags, ttl), read(key)]


def claimed(replies: list[Reply], data: bytes) -> int | None:
    """The CAS id of the new item, by the replies to claim; None if it was not made or stands no more."""
    made, found = replies
    return found[3] if made[0] == DONE and found[0] == FOUND and found[1] == data else None


def parse(data: bytes, start: int, count: int, limit: int, out: list[Reply]) -> int:
    """See `replies.Parse`."""
    found = len(out)
    while found < count:
        value = _VALUE(data, start)
        if value is not None:
            flags, size, cas = int(value[2]), int(value[3]), int(value[4])
            if size > limit:
                raise Garbled(f"an item of {size} bytes")
            begin = value.end()
            end = begin + size
            tail = data[end : end + 7]
            if not b"\r\nEND\r\n".startswith(tail):
                raise Garbled(f"{tail!r} after the {size} bytes of an item")
            if len(tail) < 7:
                return start
            out.append((FOUND, data[begin:end], flags, cas, size))
            start = end + 7
        else:
            plain = _PLAIN(data, start)
            if plain is not None:
                out.append((_CODES[plain[1]], b"", 0, 0, 0))
                start = plain.end()
            else:
                after = other_reply(data, start, out)
                if after == start:
                    return start
                start = after
        found += 1
    return start
