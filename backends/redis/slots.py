"""Which node of a Redis Cluster serves a key: slots, the map of their owners, and what redirections say.

The algorithm and the replies are those of the cluster specification:
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from binascii import crc_hqx
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cachecore.backends.redis.resp import ErrorReply, Garbled
from cachecore.backends.redis.settings import Address

SLOTS: Final = 16_384


def key_slot(key: str) -> int:
    """The slot of a key: CRC16 (XMODEM) of it, or of what stands in its first braces unless that is empty."""
    name = key.encode()
    if b"{" in name:
        opening = name.find(b"{")
        closing = name.find(b"}", opening + 1)
        if closing > opening + 1:
            name = name[opening + 1 : closing]
    return crc_hqx(name, 0) % SLOTS


class SlotMap:
    """Who served which slot when a node was asked. Never changes: a later answer is another map."""

    def __init__(self, owners: list[Address | None], nodes: frozenset[Address]) -> None:
        self.owners = owners
        """The primary of each slot; None where nobody serves it."""
        self.nodes = nodes
        """All nodes, replicas too."""
        self.primaries = frozenset(owner for owner in owners if owner is not None)

    def moved(self, to: Mapping[int, Address]) -> "SlotMap":
        """This map with other owners for some slots."""
        owners = self.owners.copy()
        for slot, address in to.items():
            owners[slot] = address
        return SlotMap(owners, self.nodes.union(to.values()))


def read_slots(reply: Any, asked: Address) -> SlotMap:
    """The map in a reply to CLUSTER SLOTS of the node ``asked``. Raises Garbled."""
    owners: list[Address | None] = [None] * SLOTS
    # One object for each node, so that comparing owners is quick.
    nodes: dict[Address, Address] = {}
    try:
        for first, last, *serving in reply:
            addresses = [_address(host, port, asked) for host, port, *_ in serving]
            addresses = [nodes.setdefault(address, address) for address in addresses]
            if not 0 <= first <= last < SLOTS:
                raise ValueError(f"slots {first} to {last}")
            owners[first : last + 1] = addresses[:1] * (last + 1 - first)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise Garbled(f"a map of slots that nobody can read: {error}") from error
    if len(owners) != SLOTS:
        raise Garbled("a map of slots in which a range has no primary")
    return SlotMap(owners, frozenset(nodes))


def _address(host: bytes | None, port: int, asked: Address) -> Address:
    """A node that does not know its own host is where it was asked."""
    if type(port) is not int:
        raise ValueError(f"port {port!r}")
    return Address(host.decode() if host and host != b"?" else asked.host, port)


class Redirect(msgspec.Struct, frozen=True):
    """Where a refused command belongs."""

    slot: int
    to: Address
    asking: bool
    """True: for this once (ASK), with the slot's map as it is. False: from now on (MOVED)."""


def read_redirect(reply: ErrorReply, asked: Address) -> Redirect | None:
    """What a refusal by the node ``asked`` says of where to go: "MOVED 3999 127.0.0.1:6381". None if nothing."""
    if not reply.text.startswith(("MOVED ", "ASK ")):
        return None
    try:
        kind, slot, where = reply.text.split(" ")[:3]
        host, _, port = where.rpartition(":")
        if not 0 <= int(slot) < SLOTS:
            return None
        return Redirect(int(slot), _address(host.encode(), int(port), asked), kind == "ASK")
    except ValueError:
        return None
