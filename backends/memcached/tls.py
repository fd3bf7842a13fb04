"""TLS without I/O: what goes over the wire for what is said, for connections whose socket is somebody else's."""

import ssl

_PIECE = 1 << 16


class Tls:
    """One end of a TLS connection. Raises ssl.SSLError where the other end is not what was expected.

    host: whose certificate is asked for, if the context checks names.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def handshake(self, received: bytes) -> tuple[bool, bytes]:
        """Go on with the handshake after these bytes: (whether it is done, what is to be sent)."""
        self._incoming.write(received)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False, self._outgoing.read()
        return True, self._outgoing.read()

    def wrapped(self, data: bytes) -> bytes:
        """What is to be sent for ``data``."""
        if data:
            self._tls.write(data)
        return self._outgoing.read()

    def unwrapped(self, received: bytes) -> bytes:
        """What has been said, by these bytes; empty if they only begin it."""
        self._incoming.write(received)
        parts: list[bytes] = []
        while True:
            try:
                part = self._tls.read(_PIECE)
            except ssl.SSLWantReadError:
                break
            if not part:
                break
            parts.append(part)
        return b"".join(parts)
