"""A real Redis server for tests, and a tiny client to do things behind a backend's back."""

import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import closing
from io import BufferedReader
from typing import ClassVar
from urllib.parse import quote

from cachecore.errors import CachecoreError
from cachecore.testing.certificates import Certificates
from cachecore.testing.server_base import HOST, PROBE_SECONDS, Server

Reply = bytes | int | None | list["Reply"]

CALL_SECONDS = 5.0
"""How long `RedisServer.call` waits for a reply."""


class RedisReplyError(CachecoreError):
    """The error that a Redis server replied to `RedisServer.call`."""


class RedisServer(Server):
    """A Redis server that keeps nothing on disk, unless ``options`` say so.

    ``options``: directives of redis.conf, such as {"maxmemory": "2mb"}; a list of values gives one line for each.
    ``password``: of the user "default"; None: none is asked for.
    ``tls``: None, or the certificates: the port then speaks TLS only.
    ``unix_socket``: True adds a unix socket, which `url` then names; the port stays for `call`.
    """

    program: ClassVar[str] = "redis-server"
    package: ClassVar[str] = "redis-server"
    mode: ClassVar[Sequence[str]] = ()

    def __init__(
        self,
        options: Mapping[str, str | Sequence[str]] | None = None,
        password: str | None = None,
        tls: Certificates | None = None,
        unix_socket: bool = False,
    ) -> None:
        super().__init__()
        self.options = dict(options or {})
        self.password = password
        self.tls = tls
        self.unix_socket = unix_socket

    @property
    def url(self) -> str:
        """The location of its database 0, as `cachecore.registry.make_backend` takes it."""
        secret = "" if self.password is None else f":{quote(self.password, safe='')}@"
        if self.unix_socket:
            return f"unix://{secret}{self.data / 'socket'}?db=0"
        return f"{'rediss' if self.tls else 'redis'}://{secret}{self.host}:{self.port}/0"

    def call(self, *arguments: str | bytes | float) -> Reply:
        """The reply to one command, on a connection of its own. Raises RedisReplyError, or OSError if it is down."""
        return self._call(CALL_SECONDS, arguments)

    def _call(self, seconds: float, arguments: Sequence[str | bytes | float]) -> Reply:
        connection = socket.create_connection((self.host, self.port), seconds)
        if self.tls is not None:
            connection = self.tls.client_context().wrap_socket(connection, server_hostname=HOST)
        with closing(connection), connection.makefile("rb") as replies:
            if self.password is not None:
                _exchange(connection, replies, "AUTH", self.password)
            return _exchange(connection, replies, *arguments)

    def info(self, section: str = "everything") -> dict[str, str]:
        """The fields of INFO."""
        return fields(self.call("INFO", section))

    # -- as a Server -----------------------------------------------------------------------------------

    def directives(self) -> dict[str, str | Sequence[str]]:
        """What stands in its configuration file, before ``options``."""
        found: dict[str, str | Sequence[str]] = {
            "port": str(self.port),
            "save": '""',
            "appendonly": "no",
            "protected-mode": "no",
            "enable-debug-command": "yes",
            "repl-diskless-sync-delay": "0",
        }
        if self.password is not None:
            found |= {"requirepass": f'"{self.password}"', "masterauth": f'"{self.password}"'}
        if self.unix_socket:
            found["unixsocket"] = "socket"
        if self.tls is not None:
            found |= {
                "port": "0",
                "tls-port": str(self.port),
                "tls-ca-cert-file": str(self.tls.ca),
                "tls-cert-file": str(self.tls.certificate),
                "tls-key-file": str(self.tls.key),
                "tls-auth-clients": "no",
                "tls-replication": "yes",
            }
        return found

    def command(self) -> Sequence[str]:
        path = self.data / "redis.conf"
        # Servers rewrite their file when their role changes, and a restart is to find it so; the port may be a new one.
        if path.exists() and f"port {self.port}" in path.read_text().splitlines():
            return [self._program, str(path), *self.mode]
        lines = ["daemonize no", f"bind {HOST}", f'dir "{self.data}"']
        for name, value in (self.directives() | self.options).items():
            lines += [f"{name} {one}" for one in ([value] if isinstance(value, str) else value)]
        path.write_text("\n".join(lines) + "\n")
        os.chmod(path, 0o600)
        return [self._program, str(path), *self.mode]

    def is_ready(self) -> bool:
        try:
            answered = self._call(PROBE_SECONDS, ["PING"]) == b"PONG"
            return answered and fields(self._call(PROBE_SECONDS, ["INFO", "server"]))["process_id"] == str(self.pid)
        except RedisReplyError as error:
            if str(error).startswith(("LOADING", "MASTERDOWN", "BUSY")):
                return False
            raise
        except ssl.SSLError as error:
            # Another's server, or one that is still coming up.
            raise OSError(str(error)) from error


def fields(text: Reply) -> dict[str, str]:
    """The fields of a reply to INFO or CLUSTER INFO."""
    assert isinstance(text, bytes)
    lines = text.decode(errors="replace").split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def pack(arguments: Sequence[str | bytes | float]) -> bytes:
    """A command in the protocol of Redis."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in arguments]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def _exchange(connection: socket.socket, replies: BufferedReader, *arguments: str | bytes | float) -> Reply:
    connection.sendall(pack(arguments))
    return _read(replies)


def _read(replies: BufferedReader) -> Reply:
    """One reply of RESP2."""
    line = replies.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the server closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise RedisReplyError(rest.decode(errors="replace"))
    if kind == b"+":
        return rest
    if kind == b":":
        return int(rest)
    length = int(rest)
    if length < 0:
        return None
    if kind == b"$":
        return replies.read(length + 2)[:-2]
    return [_read_item(replies) for _ in range(length)]


def _read_item(replies: BufferedReader) -> Reply:
    """One item of a list: an error in it is shown as its text."""
    try:
        return _read(replies)
    except RedisReplyError as error:
        return str(error).encode()
