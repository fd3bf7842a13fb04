"""Readers of the protocol of Redis (RESP2 and RESP3): hiredis where it is installed, else one in Python.

Both have ``feed(bytes)``, ``gets()`` that gives the next reply or `MORE`, and ``has_data()``. An error reply is an
`ErrorReply`, given and not raised. Bytes that are no reply raise `Garbled`; the connection is then of no more use.

The protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from cachecore.errors import ConfigurationError

MORE: Final = object()
"""What ``gets`` gives while the next reply has not arrived in full."""

_MAX_DEPTH = 8
_MAX_LENGTH = 2**32
_KINDS = (b"", *(b"%c" % kind for kind in b"+-:(,_#$=!*~>%|"))


class Garbled(Exception):
    """What arrived is not what a Redis server would reply. Never leaves this package's backend."""


class ErrorReply(Exception):
    """The server's refusal of one command."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.server = ""
        """Who said so."""


class Push(list[Any]):
    """A message of RESP3 that is no reply to anything."""


class Reader(Protocol):
    """What turns bytes into replies."""

    def feed(self, data: bytes, /) -> Any: ...
    def gets(self) -> Any: ...
    def has_data(self) -> bool: ...


def make_reader(parser: str = "auto") -> tuple[Reader, type]:
    """A reader, and the type of its pushed messages. ``parser``: "hiredis", "python" or "auto": what there is."""
    if parser != "python":
        try:
            import hiredis
        except ImportError:
            if parser == "hiredis":
                raise ConfigurationError('parser="hiredis" was asked for, and hiredis is not installed') from None
        else:
            try:
                reader = hiredis.Reader(protocolError=Garbled, replyError=ErrorReply, notEnoughData=MORE)
            except TypeError:
                if parser == "hiredis":
                    raise ConfigurationError(
                        f'parser="hiredis" was asked for, and hiredis {hiredis.__version__} is older than 2.1'
                    ) from None
            else:
                return reader, getattr(hiredis, "PushNotification", Push)
    return PythonReader(), Push


class _Incomplete(Exception):
    pass


class PythonReader:
    """Replies from bytes. A reply that has arrived in part is read from its beginning when more has come."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0

    def feed(self, data: bytes, /) -> None:
        del self._data[: self._at]
        self._at = 0
        self._data += data

    def gets(self) -> Any:
        start = self._at
        try:
            return self._reply(0)
        except _Incomplete:
            self._at = start
            return MORE

    def has_data(self) -> bool:
        """Whether bytes are left that no reply has used."""
        return self._at < len(self._data)

    def _line(self) -> bytes:
        end = self._data.find(b"\r\n", self._at)
        if end < 0:
            raise _Incomplete
        line = bytes(self._data[self._at : end])
        self._at = end + 2
        return line

    def _reply(self, depth: int) -> Any:
        if bytes(self._data[self._at : self._at + 1]) not in _KINDS:
            raise Garbled(f"no reply begins with {bytes(self._data[self._at : self._at + 20])!r}")
        line = self._line()
        kind, rest = line[:1], line[1:]
        make = _SIMPLE.get(kind)
        if make is not None:
            return make(rest)
        if kind in b"$=!":
            return self._bulk(kind, _number(rest))
        if depth == _MAX_DEPTH:
            raise Garbled("a reply within a reply within a reply")
        return self._aggregate(kind, _number(rest), depth + 1)

    def _bulk(self, kind: bytes, length: int) -> Any:
        if length == -1 and kind == b"$":
            return None
        if not 0 <= length < _MAX_LENGTH:
            raise Garbled(f"a reply of {length} bytes")
        end = self._at + length
        if len(self._data) < end + 2:
            raise _Incomplete
        body = bytes(self._data[self._at : end])
        if not self._data.startswith(b"\r\n", end):
            raise Garbled("a reply is longer than it says")
        self._at = end + 2
        # A verbatim string begins with three letters that name its format, and a colon.
        return body[4:] if kind == b"=" else body if kind == b"$" else _error(body)

    def _aggregate(self, kind: bytes, length: int, depth: int) -> Any:
        if length == -1 and kind == b"*":
            return None
        if not 0 <= length < _MAX_LENGTH:
            raise Garbled(f"a reply of {length} items")
        if kind == b"|":
            for _ in range(2 * length):
                self._reply(depth)
            return self._reply(depth)
        if kind == b"%":
            pairs = [(self._reply(depth), self._reply(depth)) for _ in range(length)]
            return {str(name): value for name, value in pairs}
        items = [self._reply(depth) for _ in range(length)]
        return Push(items) if kind == b">" else items


def _number(text: bytes) -> int:
    digits = text[1:] if text[:1] in (b"-", b"+") else text
    if not digits.isdigit() or len(digits) > 20:
        raise Garbled(f"not a number: {text[:20]!r}")
    return int(text)


def _error(text: bytes) -> ErrorReply:
    return ErrorReply(text.decode("utf-8", "replace"))


def _double(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        raise Garbled(f"not a number: {text[:20]!r}") from None


_SIMPLE: dict[bytes, Callable[[bytes], Any]] = {
    b"+": lambda rest: rest,
    b"-": _error,
    b":": _number,
    b"(": _number,
    b",": _double,
    b"_": lambda rest: None,
    b"#": lambda rest: rest == b"t",
}
