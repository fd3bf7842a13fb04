"""The target of what tells where a key is: the reply to CLUSTER SLOTS, and redirections."""

from typing import Any

from cachecore.backends.redis.resp import MORE, ErrorReply, Garbled, PythonReader
from cachecore.backends.redis.settings import Address
from cachecore.backends.redis.slots import SLOTS, read_redirect, read_slots
from tests.fuzz.target import Target

_ASKED = Address("127.0.0.1", 7000)


def check_maps(data: bytes) -> str:
    """Any reply is a map of all slots, a redirection to a slot there is, or neither; never another error."""
    reader = PythonReader()
    reader.feed(data)
    try:
        reply: Any = reader.gets()
    except Garbled:
        return "garbled"
    if reply is MORE:
        return "waits"
    if isinstance(reply, ErrorReply):
        redirect = read_redirect(reply, _ASKED)
        if redirect is None:
            return "refusal"
        assert 0 <= redirect.slot < SLOTS
        _check(redirect.to)
        return "ask" if redirect.asking else "moved"
    try:
        found = read_slots(reply, _ASKED)
    except Garbled:
        return "no map"
    assert len(found.owners) == SLOTS
    assert found.primaries <= found.nodes
    for address in found.nodes:
        _check(address)
    return "map"


def _check(address: Address) -> None:
    assert type(address.host) is str
    assert type(address.port) is int
    assert str(address)


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _node(host: bytes, port: bytes) -> bytes:
    return b"*3\r\n" + _bulk(host) + b":" + port + b"\r\n" + _bulk(b"0123456789abcdef")


def _range(first: int, last: int, *nodes: bytes) -> bytes:
    return b"*%d\r\n:%d\r\n:%d\r\n%b" % (2 + len(nodes), first, last, b"".join(nodes))


_HERE, _THERE = _node(b"127.0.0.1", b"7000"), _node(b"127.0.0.1", b"7001")
MAPS = Target(
    "redis-maps",
    check_maps,
    (
        b"*1\r\n" + _range(0, SLOTS - 1, _HERE, _THERE),
        b"*2\r\n" + _range(0, 99, _HERE) + _range(100, SLOTS - 1, _THERE),
        b"*1\r\n" + _range(5, SLOTS, _HERE),
        b"*1\r\n" + _range(5, 6),
        b"*1\r\n" + _range(5, 6, _node(b"?", b"-1")),
        b"*1\r\n" + _range(5, 6, b"*3\r\n*1\r\n:1\r\n:7000\r\n:1\r\n"),
        b"*1\r\n" + _range(5, 6, b"*2\r\n$-1\r\n:7000\r\n"),
        b"*0\r\n",
        b":1\r\n",
        b"-MOVED 3999 127.0.0.1:6381\r\n",
        b"-ASK 3999 ::1:6381\r\n",
        b"-MOVED 3999 :6381\r\n",
        b"-MOVED x y\r\n",
        b"-ERR\r\n",
        b"*1\r\n",
        b"?",
    ),
    frozenset({"garbled", "waits", "refusal", "ask", "moved", "no map", "map"}),
)
