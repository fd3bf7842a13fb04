"""The bytes of one connection, both ways, without I/O: batches are packed and replies read under its incarnation."""

from typing import Any

from cachecore.backends.redis.replies import ENTRY, TEXT, Decoder, Identity, read_identity
from cachecore.backends.redis.requests import Batch
from cachecore.backends.redis.resp import MORE, ErrorReply, Garbled, make_reader
from cachecore.backends.redis.straight import plain_values

INFO: Batch = [("", (b"*1\r\n$4\r\nINFO\r\n",), TEXT)]
REPLICATION: Batch = [("", (b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n",), TEXT)]


class Wire:
    """Packs what is sent over a connection to ``server`` (its name) and reads what arrives; see `make_reader`."""

    def __init__(self, server: str, parser: str) -> None:
        self.server = server
        self._reader, self._pushed = make_reader(parser)
        self._feed, self._gets = self._reader.feed, self._reader.gets
        self._has_data = self._reader.has_data
        self._decoder = Decoder(b"")
        self._waiting: Batch = []
        self._replies: list[Any] = []
        self._is_first = False

    def introduce(self, info: Any) -> Identity:
        """Learn from the reply to `INFO` who answers; its incarnation is put into every entry from now on."""
        if type(info) is ErrorReply:
            raise info
        identity = read_identity(info, self.server)
        self._decoder = Decoder(identity.incarnation)
        return identity

    @property
    def head(self) -> bytes:
        """How every entry of the server's incarnation begins."""
        return self._decoder.head

    def expect(self, batch: Batch) -> None:
        """The replies to ``batch`` are awaited from now on."""
        self._waiting = batch
        self._replies = []
        self._is_first = True

    def pack(self, batch: Batch) -> bytes:
        """The bytes of ``batch``, whose replies are awaited from now on."""
        self.expect(batch)
        incarnation = self._decoder.incarnation
        return b"".join([incarnation.join(parts) for _, parts, _ in batch])

    def receive(self, data: bytes) -> list[Any] | None:
        """Read what has arrived: the replies to the whole batch, or None while some are missing. Raises Garbled."""
        if self._is_first:
            self._is_first = False
            values = self._plain(data)
            if values is not None:
                return values
        self._feed(data)
        replies, gets, entry = self._replies, self._gets, self._decoder.entry
        try:
            for _, _, expects in self._waiting[len(replies) :]:
                reply = gets()
                if type(reply) is bytes and expects == ENTRY:
                    replies.append(entry(reply))
                else:
                    while type(reply) is self._pushed:
                        reply = gets()
                    if reply is MORE:
                        return None
                    replies.append(self._decoded(reply, expects))
        except TypeError as error:  # hiredis makes a dict of a map, whatever its keys are
            raise Garbled(str(error)) from error
        if self._has_data():
            raise Garbled("more than was asked for")
        return replies

    def _plain(self, data: bytes) -> list[Any] | None:
        """The replies if all of them are there, and are plain values: much the most frequent answer to a read."""
        batch = self._waiting
        expectations = [expects for _, _, expects in batch]
        if expectations.count(ENTRY) == len(batch):
            return plain_values(data, 0, len(batch), self.head)
        expects = expectations[0]
        if expects >= 0 and len(batch) == 1:
            start = b"*%d\r\n" % expects
            values = plain_values(data, len(start), expects, self.head) if data.startswith(start) else None
            return None if values is None else [values]
        return None

    def _decoded(self, reply: Any, expects: int) -> Any:
        if type(reply) is ErrorReply:
            reply.server = self.server
        return self._decoder.by_kind[expects](reply) if expects < 0 else self._decoder.entries(reply, expects)
