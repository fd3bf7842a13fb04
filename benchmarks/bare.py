"""The references of the network benchmarks: the same round trips with nothing around them."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from pymemcache.client.base import Client


class Stopwatch:
    """A clock that can be stopped while what is not to be measured is done."""

    def __init__(self) -> None:
        self._excluded = 0.0

    def __call__(self) -> float:
        """Seconds; those excluded do not count."""
        return time.perf_counter() - self._excluded

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What runs inside takes no time."""
        began = time.perf_counter()
        yield
        self._excluded += time.perf_counter() - began


def call(*words: bytes) -> bytes:
    """A command in Redis's protocol."""
    return b"".join((b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)))


def raw_gets(
    host: str, port: int, keys: Sequence[str], timeout: float | None
) -> tuple[socket.socket, Callable[[], None]]:
    """A plain socket, and the call that GETs each key over it: the request is ready and the reply is not looked at.

    timeout: seconds, for which Python asks the system before each call; None: it waits for ever, and does not ask.
    """
    connection = socket.create_connection((host, port), 5)
    connection.settimeout(timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    requests = [call(b"GET", key.encode()) for key in keys]
    send, receive = connection.sendall, connection.recv

    def run() -> None:
        for request in requests:
            send(request)
            receive(4096)

    return connection, run


def pinned_gets(client: "redis.Redis[Any]", keys: Sequence[str]) -> Callable[[], None]:
    """The call that GETs each key over one connection of redis-py's, the request ready."""
    connection: Any = client.connection_pool.get_connection()
    requests = [connection.pack_command("GET", key) for key in keys]
    send, receive = connection.send_packed_command, connection.read_response

    def run() -> None:
        for request in requests:
            send(request)
            receive()

    return run


def each(get: Callable[[Any], object], keys: Sequence[object]) -> Callable[[], None]:
    """The call that asks for each key, one by one."""

    def run() -> None:
        for key in keys:
            get(key)

    return run


def sets(put: Callable[[str, bytes], object], data: Mapping[str, bytes]) -> Callable[[], None]:
    """The call that stores each value, one by one."""

    def run() -> None:
        for key, value in data.items():
            put(key, value)

    return run


def mget(client: "redis.Redis[Any]", keys: Sequence[str], decode: Callable[[Any], object]) -> Callable[[], None]:
    """The call that gets all keys at once and decodes each value."""

    def run() -> None:
        for value in client.mget(keys):
            decode(value)

    return run


def get_many(client: Client, keys: Sequence[str], decode: Callable[[Any], object]) -> Callable[[], None]:
    """The same on memcached."""

    def run() -> None:
        for value in client.get_many(keys).values():
            decode(value)

    return run
