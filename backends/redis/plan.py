"""Plans for a fleet of servers, and what those who make and those who run them have in common.

A plan says whom to ask what, without I/O: it is a generator that yields steps, each a list of calls to different
servers, and is sent for each call the replies, or the error. What a step asks is sent to all before any reply is
awaited, so it takes one round trip, and one timeout at most, however many servers it concerns. `cluster` and `sentinel`
make plans, `fleet` runs them in threads and `async_fleet` in event loops.

Scouts are connections that only ask about the fleet.
"""

from collections.abc import Generator, Iterable
from typing import Any, Protocol

import msgspec

from cachecore.backends.redis.link import Link
from cachecore.backends.redis.member import Login
from cachecore.backends.redis.requests import Batch, Replies
from cachecore.backends.redis.settings import Address, Settings
from cachecore.backends.redis.wire import REPLICATION
from cachecore.errors import BackendError, BackendUnavailable


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request to one server."""

    address: Address
    batch: Batch
    scout: bool = False
    """True: it asks about the fleet, not for entries."""


Outcome = Replies | BackendError
Plan = Generator[list[Call], list[Outcome], Any]


class FleetPlan(Protocol):
    """What a kind of fleet knows: which server serves what, and how to find that out."""

    scout_login: Login
    """What scouts log in with; None: as everybody does."""

    @property
    def members(self) -> frozenset[Address]:
        """The servers of the fleet, as far as they are known."""
        ...

    def exchange(self, batch: Batch) -> Plan:
        """The replies to a batch."""
        ...

    def clear(self) -> Plan:
        """Empty all servers."""
        ...

    def primaries(self) -> Plan:
        """The addresses of all servers that hold entries."""
        ...


class NotSent(BackendUnavailable):
    """Another server of the same step could not be connected. Never leaves this package's backend."""

    def __init__(self) -> None:
        super().__init__("not sent, for another server of the fleet cannot be reached")


def command(*words: bytes) -> bytes:
    """A command in the protocol of Redis."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def member_settings(settings: Settings, call: Call) -> Settings:
    """The settings for the server that a call is for."""
    return msgspec.structs.replace(settings, addresses=(call.address,), db=0 if call.scout else settings.db)


def weaknesses(settings: Settings, addresses: Iterable[Address]) -> list[str]:
    """What in the settings of these servers weakens the promise. Raises BackendError."""
    found: list[str] = []
    for address in sorted(addresses, key=str):
        link = Link(settings, address, any_role=True)
        try:
            found += link.identity.warnings(str(address))
            [info] = link.exchange(REPLICATION)
        finally:
            link.close()
        # INFO has this field only where the setting is not 0; CONFIG may be forbidden.
        if settings.topology == "sentinel" and "min_slaves_good_slaves:" not in str(info):
            found.append(
                f"{address} goes on serving when it is cut off from its replicas (min-replicas-to-write 0): after the "
                "sentinels have made another the primary, clients on its side would read outdated rows; set "
                "min-replicas-to-write to 1."
            )
    return found
