"""A real memcached server for tests, and a tiny client to do things behind a backend's back."""

import os
import pwd
import signal
import socket
import ssl
import subprocess
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from io import BufferedReader
from typing import ClassVar

from cachecore.testing.certificates import Certificates
from cachecore.testing.server_base import HOST, PROBE_SECONDS, Server, ServerMissing

CALL_SECONDS = 5.0
"""How long `MemcachedServer.call` waits for an answer."""


class MemcachedServer(Server):
    """A memcached server.

    ``options``: flags of its command line, such as ["-m", "2"].
    ``tls``: None, or the certificates: the port then speaks TLS only. Raises ServerMissing if it was built without.
    """

    program: ClassVar[str] = "memcached"
    package: ClassVar[str] = "memcached"
    # Asked to end it takes a second; it has nothing to save, and to its clients both look the same.
    stop_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, options: Sequence[str] = (), tls: Certificates | None = None) -> None:
        super().__init__()
        self.options = list(options)
        self.tls = tls
        if tls is not None and not _speaks_tls(self._program):
            raise ServerMissing(f"{self._program} was built without TLS; it needs 1.5.13 or newer with --enable-tls")

    @property
    def url(self) -> str:
        """Its location, as `cachecore.registry.make_backend` takes it."""
        return f"{'memcacheds' if self.tls else 'memcached'}://{self.host}:{self.port}"

    def call(self, request: bytes, answers: int = 1) -> bytes:
        """The bytes of ``answers`` complete answers to a request, which is sent on a connection of its own.

        Raises OSError if the server is down, or closes the connection before it has answered.
        """
        return self._call(CALL_SECONDS, request, answers)

    def _call(self, seconds: float, request: bytes, answers: int) -> bytes:
        connection = socket.create_connection((self.host, self.port), seconds)
        if self.tls is not None:
            connection = self.tls.client_context().wrap_socket(connection, server_hostname=HOST)
        with closing(connection), connection.makefile("rb") as lines:
            connection.sendall(request)
            return b"".join(_answer(lines) for _ in range(answers))

    def stats(self) -> dict[str, str]:
        """The answer to "stats"."""
        return _stats(self.call(b"stats\r\n"))

    # -- as a Server -----------------------------------------------------------------------------------

    def command(self) -> Sequence[str]:
        command = [self._program, "-l", HOST, "-p", str(self.port), "-U", "0", *self.options]
        if os.geteuid() == 0:
            # It refuses to be root by accident.
            command += ["-u", pwd.getpwuid(0).pw_name]
        if self.tls is not None:
            command += ["-Z", "-o", f"ssl_chain_cert={self.tls.certificate},ssl_key={self.tls.key}"]
            command += ["-o", f"ssl_ca_cert={self.tls.ca}"]
        return command

    def is_ready(self) -> bool:
        try:
            return _stats(self._call(PROBE_SECONDS, b"stats\r\n", 1)).get("pid") == str(self.pid)
        except ssl.SSLError as error:
            # Another's server, or one that is still coming up.
            raise OSError(str(error)) from error


@cache
def _speaks_tls(program: str) -> bool:
    return "--enable-ssl" in subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout


def _stats(answer: bytes) -> dict[str, str]:
    lines = answer.decode(errors="replace").split("\r\n")
    return dict(line.split(" ", 2)[1:] for line in lines if line.startswith("STAT "))


def _answer(lines: BufferedReader) -> bytes:
    """One answer: a line, or blocks of data and lines up to END, of the classic and the meta commands."""
    found: list[bytes] = []
    while True:
        line = lines.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the server closed the connection")
        found.append(line)
        words = line.split()
        if words[:1] == [b"VA"]:
            found.append(lines.read(int(words[1]) + 2))
        elif words[:1] == [b"VALUE"]:
            found.append(lines.read(int(words[3]) + 2))
            continue
        elif words[:1] in ([b"STAT"], [b"ITEM"]):
            continue
        return b"".join(found)
