"""Targets of memcached: its replies, in both dialects and cut into any pieces, and the bytes of its items."""

from collections.abc import Iterable
from math import isnan
from types import ModuleType

from cachecore.backends.memcached import classic, meta, replies
from cachecore.backends.memcached.items import mark_of, record, understood
from cachecore.backends.memcached.replies import Garbled, Reader, Reply, ServerSaid
from cachecore.entries import Hold, Lease, Unusable, Value, encode_entry
from tests.fuzz.target import Target

LIMIT = 10_000
_CODES = {
    replies.FOUND, replies.WON, replies.LEASED, replies.MISS, replies.DONE, replies.REFUSED, replies.CHANGED,
    replies.GONE, replies.NO_ROOM, replies.STATISTICS,
}  # fmt: skip
_DIALECTS: tuple[ModuleType, ...] = (meta, classic)

# -- replies ---------------------------------------------------------------------------------------


def _fed(dialect: ModuleType, count: int, pieces: Iterable[bytes]) -> tuple[str, list[Reply], int]:
    """(how it ended, the replies, how many bytes were taken)."""
    reader = Reader(dialect.parse, count, LIMIT)
    taken = 0
    for piece in pieces:
        taken += len(piece)
        try:
            if reader.feed(piece):
                return "complete", reader.replies, taken
        except (Garbled, ServerSaid) as error:
            return type(error).__name__, reader.replies, taken
    return "waits", reader.replies, taken


def check_replies(data: bytes) -> str:
    """Any bytes are well-formed replies, garbled, or not enough; and never anything else for coming in other pieces."""
    first = data[0] if data else 0
    dialect, count = _DIALECTS[first % 2], 1 + first // 2 % 3
    sent = data[1:]
    step = 1 + len(sent) // 64
    ended, found, taken = _fed(dialect, count, (sent[at : at + step] for at in range(0, len(sent), step)))
    assert len(found) <= count
    assert len(found) == count if ended == "complete" else len(found) < count or ended == "Garbled"
    for code, body, flags, cas, size in found:
        assert code in _CODES
        assert type(body) is bytes
        assert type(flags) is type(cas) is type(size) is int
        assert 0 <= size <= LIMIT + 1 or not body
        if code == replies.FOUND:
            assert size == len(body)
        elif code in (replies.WON, replies.LEASED):
            assert body == b""
    # The same bytes in one piece, and in two of any sizes.
    cut = first * taken // 256
    for pieces in ([sent[:taken]], [sent[:cut], sent[cut:taken]]):
        ended_too, found_too, _ = _fed(dialect, count, pieces)
        # Otherwise a reader may wait for the rest of what was announced before it looks at it.
        if "complete" in (ended, ended_too):
            assert found_too == found, pieces
    return f"{dialect.name}: {ended}"


_META = [
    b"VA 5 f5 c17\r\nhello\r\n", b"VA 0 f0 c18 W\r\n\r\n", b"VA 0 f0 c18 Z\r\n\r\n", b"VA 1 f1 c9 X W\r\na\r\n",
    b"EN\r\n", b"HD\r\n", b"HD s35 f0 c99\r\n", b"NF\r\n", b"NS\r\n", b"EX\r\n",
]  # fmt: skip
_CLASSIC = [
    b"VALUE key 5 5 17\r\nhello\r\nEND\r\n", b"END\r\n", b"STORED\r\n", b"NOT_STORED\r\n", b"EXISTS\r\n",
    b"NOT_FOUND\r\n", b"DELETED\r\n", b"TOUCHED\r\n", b"OK\r\n",
]  # fmt: skip
_EITHER = [
    b"SERVER_ERROR out of memory storing object\r\n", b"SERVER_ERROR object too large for cache\r\n", b"ERROR\r\n",
    b"CLIENT_ERROR bad data chunk\r\n", b"STAT pid 1\r\nSTAT uptime 5\r\nEND\r\n", b"", b"VA 99999 f0 c1\r\n",
    b"VA 9 f0",
]  # fmt: skip
REPLIES = Target(
    "memcached-replies",
    check_replies,
    (
        *(b"\x00" + one for one in (*_META, *_EITHER)),
        *(b"\x01" + one for one in (*_CLASSIC, *_EITHER)),
        b"\x04" + _META[0] + _META[4] + _META[6],
        b"\x05" + _CLASSIC[0] + _CLASSIC[2] + _CLASSIC[1],
    ),
    frozenset(
        f"{dialect.name}: {ended}" for dialect in _DIALECTS for ended in ("complete", "waits", "Garbled", "ServerSaid")
    ),
)

# -- items -----------------------------------------------------------------------------------------

_LIFE, _FORMER = b"a life--", b"a former"
_MARK = mark_of(_LIFE, "2")
_NOW = 1000.0


def check_item(data: bytes) -> str:
    """Any item is an entry, nothing, or unusable with its bytes; what is appended to a value makes it unbelievable."""
    flags, item = int.from_bytes(data[:2], "big"), data[2:]
    entry = understood(item, flags, _LIFE, _MARK, _NOW)
    if isinstance(entry, Unusable):
        assert entry.raw == item
        return entry.reason
    if isinstance(entry, Value | Lease):
        assert len(item) == flags
        assert encode_entry(entry, _MARK) == item
        assert understood(item, flags, _LIFE, _LIFE, _NOW) is None
    elif isinstance(entry, Hold):
        assert len(item) != flags
        assert entry.tokens
        assert all(deadline > _NOW and not isnan(deadline) for _, deadline in entry.tokens)
        assert b"no life!" in item or understood(item, flags, b"no life!", _MARK, _NOW) is None
    return type(entry).__name__


def _item(flags: int, data: bytes) -> bytes:
    return flags.to_bytes(2, "big") + data


def _item_seeds() -> list[bytes]:
    value, lease = encode_entry(Value(b"row", b"stamp"), _MARK), encode_entry(Lease(b"reader-1"), _MARK)
    hold = encode_entry(Hold(((b"writer-1", 2000.0),)), _MARK)
    alive, dead = record(b"writer-1", 2000.0, _LIFE), record(b"writer-2", 10.0, _LIFE)
    former, shared = record(b"writer-3", 3000.0, _FORMER), record(b"writer-4", 2500.0, _LIFE, shared=True)
    bases = [_item(len(one), one) for one in (value, lease, hold, b"", b"rubbish", value[:2] + b"\x02" + value[3:])]
    held = [
        _item(len(value), value + one) for one in (alive, dead, former, shared, alive + shared, alive + alive, dead[1:])
    ]
    return [
        *bases,
        *held,
        _item(0, alive + former),
        _item(0, record(b"writer-5", float("nan"), _LIFE)),
        _item(9999, value),
        b"",
        b"\x00",
    ]


ITEM = Target(
    "memcached-item",
    check_item,
    tuple(_item_seeds()),
    frozenset({"corrupt", "format", "Value", "Lease", "Hold", "NoneType"}),
)
