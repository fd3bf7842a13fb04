"""The blocking memcached backend.

What becomes of holds: under memory pressure they are evicted like anything else, unless the server runs with
``-o temporary_ttl=61``; a row may then be filled while its writer is uncommitted, and COMPLETE removes it. After a
restart or flush they are gone, and so are all values, and leases from before are refused. There is no failover: a
server that is down is a miss for readers and unreachable for writers.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cachecore.backends.memcached._short_way_py import Arrived
from cachecore.backends.memcached.diagnosis import diagnosed
from cachecore.backends.memcached.fleet import Part, in_order
from cachecore.backends.memcached.link import tls_context
from cachecore.backends.memcached.requests import Requests
from cachecore.backends.memcached.servers import Server, ask_all
from cachecore.backends.memcached.settings import Settings
from cachecore.backends.memcached.short_way import ShortWay
from cachecore.entries import Entry, Grant, Value


class MemcachedBackend:
    """Entries on one memcached server or a fleet; its methods are those of `cachecore.backend.Backend`.

    clock: seconds that never go back, for tests. It connects when it is first used. Raises ConfigurationError if the
    files for TLS cannot be read.
    """

    name = "memcached"
    keeps_objects = False

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests = Requests(settings)
        context = tls_context(settings)
        self._servers = [Server(address, settings, context, clock) for address in self._requests.addresses]
        self._short_way = ShortWay(self._servers[0], clock) if len(settings.servers) == 1 else None

    @property
    def exchanges(self) -> int:
        """Round trips so far: those to several servers at once are several, and greetings are none."""
        return sum(server.exchanges for server in self._servers)

    def get(self, keys: Sequence[str]) -> list[Entry | None]:
        begun = None if self._short_way is None else self._short_way.read(keys, None)
        if isinstance(begun, list):
            return begun
        return self._results(self._requests.get(keys), len(keys), begun)

    def acquire(self, keys: Sequence[str], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        begun = None if self._short_way is None else self._short_way.read(keys, ttl)
        if isinstance(begun, list):
            return begun
        return self._results(self._requests.acquire(keys, token, ttl), len(keys), begun)

    def displace(self, seen: Sequence[tuple[str, Entry]], token: bytes, ttl: float) -> list[Entry | Grant | None]:
        return self._results(self._requests.displace(seen, token, ttl), len(seen))

    def fill(self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None) -> list[bool | None]:
        begun = None if self._short_way is None else self._short_way.fill(items, ttl)
        if isinstance(begun, list):
            return begun
        return self._results(self._requests.fill(items, ttl), len(items), begun)

    def abandon(self, leases: Sequence[tuple[str, bytes]]) -> None:
        ask_all(self._servers, self._requests.abandon(leases))

    def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> None:
        ask_all(self._servers, self._requests.hold(keys, token, ttl))

    def complete(
        self, keys: Sequence[str], token: bytes, values: Mapping[str, tuple[Value, int]], ttl: float | None
    ) -> None:
        ask_all(self._servers, self._requests.complete(keys, token, values, ttl))

    def release(self, keys: Sequence[str], token: bytes) -> None:
        ask_all(self._servers, self._requests.release(keys, token))

    def put(self, items: Sequence[tuple[str, Value, int]], ttl: float | None) -> list[bool]:
        return self._results(self._requests.put(items, ttl), len(items))

    def swap(self, key: str, stamp: bytes, value: Value, weight: int, ttl: float | None) -> bool:
        [done, *_] = ask_all(self._servers, self._requests.swap(key, stamp, value, ttl))
        return bool(done)

    def forget(self, keys: Sequence[str]) -> list[bool]:
        return self._results(self._requests.forget(keys), len(keys))

    def clear(self) -> None:
        ask_all(self._servers, self._requests.clear())

    def diagnose(self) -> list[str]:
        found = ask_all(self._servers, self._requests.examine())
        return diagnosed(self._requests.addresses, found, self._requests.hold_lifetime)

    def close(self) -> None:
        for server in self._servers:
            server.close()

    def _results(self, parts: list[Part], count: int, begun: Arrived | None = None) -> list[Any]:
        return in_order(parts, ask_all(self._servers, parts, begun), count)
