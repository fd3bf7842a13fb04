"""What the tests of Redis have in common."""

import contextlib
import random
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from cachecore.entries import Entry, Grant, Value
from cachecore.errors import BackendError
from cachecore.registry import make_backend
from cachecore.testing.server_base import wait_until
from cachecore.testing.servers import RedisServer
from cachecore.testing.suite import _Blocking

TTL = 60.0
LEASE_TTL = 5.0
HOLD_TTL = 20.0
TOKEN = b"my token"
PATIENCE = 15.0
"""Seconds in which a fleet finds a new primary."""

Result = TypeVar("Result")
Connect = Callable[..., Any]


@contextlib.contextmanager
def every_way(*, awaited: bool) -> Iterator[Connect]:
    """Makes backends, blocking or awaited ones that are driven from outside their loop; closes them in the end."""
    with contextlib.ExitStack() as made:

        def connect(url: str, **options: Any) -> Any:
            if not awaited:
                backend = make_backend(url, options)
            else:
                backend = _Blocking(lambda: make_backend(url, options, awaited=True))
                made.callback(backend.stop)
            made.callback(backend.close)
            return backend

        yield connect


def grow_older(server: RedisServer, seconds: float) -> None:
    """Have everything that a server stores get older, as if time had passed there: no test must wait, or be quick."""
    keys = server.call("KEYS", "*")
    assert isinstance(keys, list)
    for key in keys:
        assert isinstance(key, bytes)
        left = server.call("PTTL", key)
        assert isinstance(left, int)
        if 0 <= left <= seconds * 1000:
            server.call("DEL", key)
        elif left > 0:
            raw = server.call("GET", key)
            assert isinstance(raw, bytes)
            if raw[11:12] in (b"h", b"s"):
                holders = struct.iter_unpack(">8sd", raw[12:])
                older = [struct.pack(">8sd", token, deadline - seconds) for token, deadline in holders]
                server.call("SET", key, raw[:12] + b"".join(older), "KEEPTTL")
            server.call("PEXPIRE", key, left - round(seconds * 1000))


def settled(attempt: Callable[[], Result]) -> Result:
    """The result of ``attempt`` as soon as it raises no BackendError."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return attempt()
        except BackendError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def read_through(backend: Any, keys: Sequence[str], row: bytes) -> list[bytes]:
    """What a reader gets who finds ``row`` in the database where the cache has nothing."""
    found: list[Entry | Grant | None] = backend.acquire(keys, TOKEN, LEASE_TTL)
    fills = [(key, entry.token, Value(row), 1) for key, entry in zip(keys, found, strict=True) if type(entry) is Grant]
    backend.fill(fills, TTL)
    return [entry.payload if type(entry) is Value else row for entry in found]  # type: ignore[misc]


def write(backend: Any, keys: Sequence[str]) -> None:
    """PREPARE and COMPLETE of a write."""
    backend.hold(keys, TOKEN, HOLD_TTL)
    backend.complete(keys, TOKEN, {}, TTL)


def cut_off(replica: RedisServer, primary: RedisServer) -> None:
    """Have the replica know all that the primary knows now, and hang, so that it learns nothing more of it."""
    for _ in wait_until(PATIENCE, f"{replica} had caught up"):
        at = replica.info("replication")["slave_repl_offset"]
        if at == primary.info("replication")["master_repl_offset"]:
            break
    replica.pause()
    # What the primary sent from now on would wait in the connection.
    primary.call("CLIENT", "KILL", "TYPE", "replica")


class Traffic:
    """Readers and writers of rows in a database that is a dict, until the ``with`` ends.

    A writer whose PREPARE fails does not write, and one whose COMPLETE fails tries again before it returns. A reader
    whose request fails asks the database.
    """

    def __init__(self, backend: Any, keys: Sequence[str]) -> None:
        self.backend = backend
        self.hits = self.writes = self.failures = 0
        self.outdated: list[str] = []
        """Reads that began after a write had returned, and saw an older row."""
        self._keys = keys
        self._rows = dict.fromkeys(keys, 0)
        self._written = dict.fromkeys(keys, 0)
        self._locks = {key: threading.Lock() for key in keys}
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._work, args=(one,)) for one in (self._read, self._write) * 2]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def flows(self, hits: int = 200, writes: int = 50) -> None:
        """Return when there have been so many more of each."""
        hits, writes, until = self.hits + hits, self.writes + writes, time.monotonic() + PATIENCE
        while self.hits < hits or self.writes < writes:
            assert time.monotonic() < until, (self.hits, self.writes, self.failures)
            assert not self._errors
            time.sleep(0.01)

    def _work(self, one: Callable[[str, bytes], None]) -> None:
        mine = random.Random()
        try:
            while not self._stop.is_set():
                one(mine.choice(self._keys), mine.randbytes(8))
        except BaseException as error:
            self._errors.append(error)

    def _read(self, key: str, token: bytes) -> None:
        least = self._written[key]
        try:
            [found] = self.backend.acquire([key], token, LEASE_TTL)
            if type(found) is Value:
                self.hits += 1
                assert type(found.payload) is bytes
                if int(found.payload) < least:
                    self.outdated.append(f"{key}: {int(found.payload)} after {least} had been written")
            elif type(found) is Grant:
                self.backend.fill([(key, found.token, Value(b"%d" % self._rows[key]), 1)], TTL)
        except BackendError:
            self.failures += 1
            time.sleep(0.01)

    def _write(self, key: str, token: bytes) -> None:
        with self._locks[key]:
            try:
                self.backend.hold([key], token, HOLD_TTL)
            except BackendError:
                self.failures += 1
            else:
                self._rows[key] += 1
                settled(lambda: self.backend.complete([key], token, {}, TTL))
                self._written[key] = self._rows[key]
                self.writes += 1
        time.sleep(0.002)
