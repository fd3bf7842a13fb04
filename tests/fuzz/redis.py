"""The target of Redis: replies as both readers take them, cut into any pieces, and what they are turned into."""

import importlib.util
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from cachecore.backends.redis.replies import ENTRY, FOREIGN, NUMBER, STATUS, TEXT, Identity, read_identity
from cachecore.backends.redis.resp import ErrorReply, Garbled
from cachecore.backends.redis.wire import Wire
from cachecore.entries import Hold, Lease, Unusable, Value, decode_entry, encode_entry
from cachecore.errors import BackendMisconfigured
from tests.fuzz.target import Target

INFO = "# Server\r\nredis_version:7.0.15\r\nrun_id:0123456789abcdef\r\nrole:master\r\nmaster_replid:fedcba\r\n"
SERVER = read_identity(INFO, "here").incarnation
_PARSERS = ("python", "hiredis") if importlib.util.find_spec("hiredis") else ("python", "python")
_EXPECTED: tuple[tuple[int, ...], ...] = ((ENTRY,), (ENTRY, ENTRY), (3,), (NUMBER, STATUS), (TEXT,), (ENTRY, 1, NUMBER))
_ENTRIES = (Value, Lease, Hold, Unusable, type(None), type(FOREIGN), ErrorReply)
_TYPES: dict[int, tuple[type, ...]] = {
    ENTRY: _ENTRIES,
    NUMBER: (int, ErrorReply),
    STATUS: (bool, ErrorReply),
    TEXT: (str, ErrorReply),
}


def _fed(parser: str, expected: tuple[int, ...], pieces: Iterable[bytes]) -> tuple[str, list[Any], int]:
    """(how it ended, the replies, how many bytes were taken)."""
    wire = Wire("here", parser)
    wire.introduce(INFO)
    wire.pack([("", (b"",), expects) for expects in expected])
    taken = 0
    for piece in pieces:
        taken += len(piece)
        try:
            replies = wire.receive(piece)
        except Garbled:
            return "garbled", [], taken
        if replies is not None:
            return "complete", replies, taken
    return "waits", [], taken


def _shown(reply: Any) -> object:
    """A reply that can be compared."""
    return ("error", reply.text) if isinstance(reply, ErrorReply) else reply


def _check(reply: Any, expects: int) -> None:
    if expects >= 0 and type(reply) is list:
        assert len(reply) == expects
        for item in reply:
            assert type(item) is not ErrorReply
            _check(item, ENTRY)
        return
    assert type(reply) in (_TYPES[expects] if expects < 0 else (ErrorReply,))
    if isinstance(reply, ErrorReply):
        assert type(reply.text) is str
    elif isinstance(reply, Value | Lease):
        assert decode_entry(encode_entry(reply, SERVER), SERVER) == reply
    elif expects == TEXT:
        with suppress(BackendMisconfigured):
            assert type(Wire("there", "python").introduce(reply)) is Identity


def check_replies(data: bytes) -> str:
    """Any bytes are replies of the types that were expected, garbled, or not enough; in whatever pieces they come."""
    first = data[0] if data else 0
    parser, expected = _PARSERS[first % 2], _EXPECTED[first // 2 % len(_EXPECTED)]
    sent = data[1:]
    step = 1 + len(sent) // 64
    ended, found, taken = _fed(parser, expected, (sent[at : at + step] for at in range(0, len(sent), step)))
    if ended == "complete":
        for reply, expects in zip(found, expected, strict=True):
            _check(reply, expects)
    cut = first * taken // 256
    for pieces in ([sent[:taken]], [sent[:cut], sent[cut:taken]]):
        ended_too, found_too, _ = _fed(parser, expected, pieces)
        # What comes after the last reply is garbage only if it comes along with it.
        if "complete" in (ended, ended_too):
            assert "waits" not in (ended, ended_too), pieces
        if ended == ended_too:
            assert list(map(_shown, found_too)) == list(map(_shown, found)), pieces
    return f"{parser}: {ended}"


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _seeds() -> list[bytes]:
    entries = [
        encode_entry(entry, incarnation)
        for incarnation in (SERVER, b"another-")
        for entry in (Value(b"row", b"stamp"), Lease(b"reader-1"), Hold(((b"writer-1", 2e9),)))
    ]
    items = [*map(_bulk, entries), _bulk(b"rubbish"), b"$-1\r\n", b"_\r\n", b"-WRONGTYPE it is a list\r\n", b"+OK\r\n"]
    items += [b"-OOM no\r\n", b":5\r\n", b"!5\r\nERR x\r\n", b"=7\r\ntxt:row\r\n", b"$5\r\nab", b"?", b"$-7\r\n"]
    by_place = {
        0: items,
        1: [items[0] + items[1], b">2\r\n+message\r\n+x\r\n" + items[0] + items[8]],
        2: [
            b"*3\r\n" + items[0] + items[8] + items[2],
            b"*2\r\n:1\r\n:2\r\n",
            b"*-1\r\n",
            b"-ERR\r\n",
            b"*3\r\n" + items[0] * 2 + b"-NO\r\n",
        ],
        3: [b":1\r\n+OK\r\n", b":1\r\n-ERR no\r\n", b"#t\r\n", b",1.5\r\n", b"(12345678901234567890\r\n"],
        4: [
            _bulk(INFO.encode()),
            _bulk(b"redis_version:7.x"),
            _bulk(INFO.encode() + b"maxmemory:\xc2\xb2"),
            _bulk(INFO.encode() + b"maxmemory:" + b"9" * 4301),
            _bulk(b"\xff\xfe"),
            b"%1\r\n+a\r\n:1\r\n",
            b"~1\r\n:1\r\n",
            b"%1\r\n*0\r\n:1\r\n",
        ],
        5: [items[0] + b"*1\r\n" + items[0] + b":3\r\n", b"|1\r\n+a\r\n+b\r\n" + items[0]],
    }
    return [
        bytes([2 * place + parser]) + data for place, some in by_place.items() for data in some for parser in (0, 1)
    ]


REPLIES = Target(
    "redis-replies",
    check_replies,
    tuple(_seeds()),
    frozenset(f"{parser}: {ended}" for parser in _PARSERS for ended in ("complete", "waits", "garbled")),
)
