"""What each operation of a backend asks of which servers: shared by the blocking and the awaited backend.

The methods are those of `cachecore.backend.Backend`; each returns parts, which are run at the same time. Writers tell
the owners of keys by both lists of servers, readers ask those by the first. No values are left with the second: what
its readers believe they have read themselves.
"""

from collections.abc import Mapping, Sequence

import msgspec

from cachecore.backends.memcached import flows, holds
from cachecore.backends.memcached.alone import Alone
from cachecore.backends.memcached.fleet import Fleet, Part, encoded, names_of
from cachecore.backends.memcached.settings import Settings
from cachecore.entries import Entry, Value
from cachecore.errors import BackendMisconfigured


class Requests:
    """Makes requests to the servers of ``settings``, which are listed in ``addresses``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._fleet = Fleet(settings)
        self._alone = Alone()
        self.addresses = self._fleet.addresses
        self.hold_lifetime = settings.hold_lifetime

    def get(self, keys: Sequence[str]) -> list[Part]:
        names = names_of(keys)
        return self._fleet.parts(flows.get, names, names)

    def acquire(self, keys: Sequence[str], token: bytes, ttl: float) -> list[Part]:
        names = names_of(keys)
        return self._fleet.parts(flows.acquire, names, names, token, ttl)

    def displace(self, seen: Sequence[tuple[str, Entry]], token: bytes, ttl: float) -> list[Part]:
        stood = {encoded(key): entry for key, entry in seen}
        names = list(stood)
        return self._fleet.parts(flows.acquire, names, names, token, ttl, stood)

    def fill(self, items: Sequence[tuple[str, bytes, Value, int]], ttl: float | None) -> list[Part]:
        fills = [(encoded(key), token, value) for key, token, value, _ in items]
        return self._fleet.parts(flows.fill, [fill[0] for fill in fills], fills, ttl)

    def abandon(self, leases: Sequence[tuple[str, bytes]]) -> list[Part]:
        given = [(encoded(key), token) for key, token in leases]
        return self._fleet.parts(flows.abandon, [key for key, _ in given], given)

    def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> list[Part]:
        settings = self._settings
        if ttl > settings.longest_hold:
            raise BackendMisconfigured(
                f"a hold of {ttl:g} s is longer than {settings.longest_hold:g} s, the longest that hold_lifetime="
                f"{settings.hold_lifetime:g} of memcached allows: set it to the policy's hold_ttl + 5 or more"
            )
        names = names_of(keys)
        arguments = (token, ttl, settings.hold_lifetime, self._alone)
        return self._fleet.parts(holds.hold, names, names, *arguments) + self._fleet.parts_of_the_other_list(
            holds.hold, names, names, *arguments
        )

    def complete(
        self, keys: Sequence[str], token: bytes, values: Mapping[str, tuple[Value, int]], ttl: float | None
    ) -> list[Part]:
        names = names_of(keys)
        left = {encoded(key): value for key, (value, _) in values.items()}
        times = (ttl, self._settings.hold_lifetime)
        return self._fleet.parts(
            holds.complete, names, names, token, left, *times, self._alone
        ) + self._fleet.parts_of_the_other_list(holds.complete, names, names, token, {}, *times, self._alone)

    def release(self, keys: Sequence[str], token: bytes) -> list[Part]:
        names = names_of(keys)
        arguments = (token, self._settings.hold_lifetime, self._alone)
        return self._fleet.parts(holds.release, names, names, *arguments) + self._fleet.parts_of_the_other_list(
            holds.release, names, names, *arguments
        )

    def put(self, items: Sequence[tuple[str, Value, int]], ttl: float | None) -> list[Part]:
        values = [(encoded(key), value) for key, value, _ in items]
        names = [name for name, _ in values]
        return self._fleet.parts(flows.put, names, values, ttl) + self._forgotten_elsewhere(names)

    def swap(self, key: str, stamp: bytes, value: Value, ttl: float | None) -> list[Part]:
        names = [encoded(key)]
        [part] = self._fleet.parts(flows.swap, names, names, stamp, value, ttl)
        # Done twice, the second would find another stamp and deny what the first has done.
        return [msgspec.structs.replace(part, may_repeat=False), *self._forgotten_elsewhere(names)]

    def forget(self, keys: Sequence[str]) -> list[Part]:
        names = names_of(keys)
        return self._fleet.parts(flows.forget, names, names) + self._forgotten_elsewhere(names)

    def clear(self) -> list[Part]:
        return self._fleet.everywhere(flows.clear)

    def examine(self) -> list[Part]:
        """For each server of `addresses`, in order: its statistics and its settings."""
        return self._fleet.everywhere(flows.examine)

    def _forgotten_elsewhere(self, names: Sequence[bytes]) -> list[Part]:
        return self._fleet.parts_of_the_other_list(flows.forget, names, names)
