"""A TCP proxy in front of a server, which a test can tell to misbehave."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from cachecore.testing.server_base import HOST, free_port

_CHUNK = 65_536


class _Behind(Protocol):
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def url(self) -> str: ...


@dataclass
class Fault:
    """How replies are passed on from now on; the default is: as they are. Counts go over all connections together."""

    delay: float = 0.0
    """Seconds before each piece of a reply."""
    piece: int | None = None
    """Bytes of a reply that are sent at a time; None: as they come."""
    stall_after: int | None = None
    """After so many bytes of replies nothing more comes, until there is another fault or none."""
    cut_after: int | None = None
    """After so many bytes of replies connections are closed."""
    replace: Callable[[bytes], bytes] | None = None
    """What is sent instead of each piece of a reply, such as ``lambda reply: b"garbage"``."""
    black_hole: bool = False
    """Requests are read and not passed on."""
    passed: int = field(default=0, init=False)
    """Bytes of replies so far."""

    def left(self, limit: int | None) -> int | None:
        """How many bytes may still be passed on."""
        return None if limit is None else max(0, limit - self.passed)


@dataclass(eq=False)
class _Pair:
    client: socket.socket
    server: socket.socket
    ended: bool = False


class Proxy:
    """Passes connections on to ``server``, on a port of its own. A context manager.

    `connections` counts those that were accepted.
    """

    host: str = HOST

    def __init__(self, server: _Behind) -> None:
        self._behind = server
        self._fault = Fault()
        self._changed = threading.Condition()
        self._open: list[_Pair] = []
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.connections = 0
        self.port = 0
        self.listen()

    @property
    def url(self) -> str:
        """The location of the server, by way of this proxy."""
        return self._behind.url.replace(f":{self._behind.port}", f":{self.port}")

    def behave(self, fault: Fault | None = None) -> None:
        """Misbehave so from now on, connections that are open included; None: pass everything on."""
        with self._changed:
            self._fault = fault or Fault()
            self._changed.notify_all()

    def lead_to(self, server: _Behind) -> None:
        """Pass new connections on to another server."""
        self._behind = server

    def cut(self) -> None:
        """Close all open connections."""
        with self._changed:
            for pair in self._open:
                self._end(pair)

    def refuse(self) -> None:
        """Refuse new connections, and close those that are open."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def listen(self) -> None:
        """Accept connections again, on the same port."""
        while self._listener is None:
            port = self.port or free_port()
            with contextlib.suppress(OSError):
                self._listener = socket.create_server((HOST, port), backlog=128)
                self.port = port
            time.sleep(0 if self._listener else 0.01)
        self._run(self._accept, self._listener)

    def close(self) -> None:
        """End everything. Closing twice is allowed."""
        self.refuse()
        while self._threads:
            self._threads.pop().join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- threads ---------------------------------------------------------------------------------------

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((self._behind.host, self._behind.port))
            except OSError:
                client.close()
                continue
            pair = _Pair(client, server)
            with self._changed:
                self.connections += 1
                self._open.append(pair)
            self._run(self._connection, pair)
            if self._listener is not listener:
                self.cut()

    def _connection(self, pair: _Pair) -> None:
        requests = threading.Thread(target=self._pass_requests, args=(pair,), daemon=True)
        requests.start()
        self._pass_replies(pair)
        requests.join()
        with self._changed:
            self._open.remove(pair)
            pair.client.close()
            pair.server.close()

    def _pass_requests(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := pair.client.recv(_CHUNK):
                if not self._fault.black_hole:
                    pair.server.sendall(data)
        self._end(pair)

    def _pass_replies(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := pair.server.recv(_CHUNK):
                if not self._pass_on(data, pair):
                    break
        self._end(pair)

    def _pass_on(self, data: bytes, pair: _Pair) -> bool:
        """Pass one piece of a reply on as the fault says. False: the connection is to be closed."""
        while data:
            fault = self._fault
            if fault.delay and not self._waits(pair, fault, fault.delay):
                return False
            limits = [fault.piece, fault.left(fault.cut_after), fault.left(fault.stall_after)]
            room = min([len(data), *(limit for limit in limits if limit is not None)])
            if room:
                piece, data = data[:room], data[room:]
                fault.passed += room
                pair.client.sendall(piece if fault.replace is None else fault.replace(piece))
            elif fault.left(fault.cut_after) == 0 or not self._waits(pair, fault, None):
                return False
        return True

    def _waits(self, pair: _Pair, fault: Fault, seconds: float | None) -> bool:
        """Wait, until the fault changes at most. False if the connection has ended meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._fault is not fault or pair.ended, seconds)
            return not pair.ended

    def _end(self, pair: _Pair) -> None:
        with self._changed:
            pair.ended = True
            self._changed.notify_all()
            for connection in (pair.client, pair.server):
                # Wakes up the other thread, which may be reading from it.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
