"""Django processes, one for each library that caches, and calls that run in them.

cacheops and cachalot patch Django, and so do we: in one process everybody would pay for all. So every side, ours too,
has a process with its own settings and its own database in memory, and is told through a pipe what to do:

    with Hosts(redis_url, memcached_address) as hosts:
        call = hosts.call("cacheops", "pk")    # made, warm and compared with what it must give
        call()                                 # runs there; returns when it has

A call through the pipe costs some ten microseconds, on all sides.
"""

import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.measure import Call

SIDES: Final = {
    "ours, memory": "ours",
    "ours, Redis": "ours",
    "ours, memcached": "ours",
    "Django": "Django",
    "seed-like, locmem": "Django",
    "seed-like, Redis": "Django",
    "seed-like, memcached": "Django",
    "cacheops": "cacheops",
    "cachalot, locmem": "cachalot, locmem",
    "cachalot, Redis": "cachalot, Redis",
}
"""The process of each side."""


class HostFailed(Exception):
    """A process ended or could not do what it was told; why is on its standard error, which is ours."""


class Host:
    """One process."""

    def __init__(self, peer: str, redis_url: str, memcached: str) -> None:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "benchmarks.peers.django_settings",
            "BENCHMARKS_PEER": peer,
            "BENCHMARKS_SERVERS": f"{redis_url} {memcached}",
        }
        self._peer = peer
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.django_host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=Path(__file__).resolve().parent.parent.parent,
            bufsize=0,
        )

    def call(self, side: str, name: str) -> Call:
        """A call of `benchmarks.peers.django_sides.Calls`, made there. Raises HostFailed."""
        self._tell(f"make {side}:{name}\n".encode())
        words = f"run {side}:{name}\n".encode()
        return lambda: self._tell(words)

    def _tell(self, words: bytes) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it ended: it does not answer either
            self._process.stdin.write(words)
        if self._process.stdout.readline() != b"done\n":
            raise HostFailed(f"the process of {self._peer} did not do {words.decode().strip()!r}")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Hosts:
    """All of them, each started when it is first asked for."""

    def __init__(self, redis_url: str, memcached: str) -> None:
        self._servers = redis_url, memcached
        self._open = ExitStack()
        self._hosts: dict[str, Host] = {}

    def call(self, side: str, name: str) -> Call:
        """A call of one of `SIDES`. Raises HostFailed."""
        peer = SIDES[side]
        if peer not in self._hosts:
            self._hosts[peer] = Host(peer, *self._servers)
            self._open.callback(self._hosts[peer].close)
        return self._hosts[peer].call(side, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
