"""What a process knows of a Redis Cluster: the newest map, who drew it, and which nodes were heard of when. No I/O."""

import random
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from cachecore.backends.forks import at_fork
from cachecore.backends.redis.plan import Outcome, command
from cachecore.backends.redis.replies import RAW, failure
from cachecore.backends.redis.requests import Batch
from cachecore.backends.redis.resp import ErrorReply, Garbled
from cachecore.backends.redis.settings import Address
from cachecore.backends.redis.slots import Redirect, SlotMap, read_slots
from cachecore.errors import BackendError, BackendMisconfigured, BackendUnavailable

UNHEARD: Final = 1.0
"""Seconds after which a node's own word is not enough."""
MAP_EVERY: Final = 0.25
"""Seconds between two maps that are asked for because something failed."""
WITNESSES: Final = 3
"""How many nodes are asked for one map until one answers."""
ASK_SLOTS: Final[Batch] = [("", (command(b"CLUSTER", b"SLOTS"),), RAW)]

_NEVER: Final = float("-inf")


class ClusterMap:
    """The knowledge of all threads or event loops together.

    seeds: nodes that are asked when nothing is known. clock: seconds that never go back.
    """

    def __init__(self, seeds: Sequence[Address], clock: Callable[[], float]) -> None:
        self.slots: SlotMap | None = None
        """The newest map; None before the first."""
        self.is_unsettled = False
        """A node said that something is changing: the map is to be asked for soon."""
        self._seeds = seeds
        self._clock = clock
        self._heard: dict[Address, float] = {}
        """When each primary last answered, or was last said by another to be one."""
        self._asked = _NEVER
        self._drawn_by: Address | None = None
        self._lock = threading.RLock()
        self._random = random.Random()
        at_fork(self)

    def leave_to_parent(self) -> None:
        """In a forked child: what is known is the child's too, but not the lock, which another thread may have held."""
        self._lock = threading.RLock()

    @property
    def members(self) -> frozenset[Address]:
        """All nodes that are known."""
        return self.slots.nodes.union(self._seeds) if self.slots is not None else frozenset(self._seeds)

    # -- whom to believe -----------------------------------------------------------------------------

    def unheard(self, addresses: Iterable[Address], now: float) -> list[Address]:
        """Those that nobody in this process has heard of for so long that they may have been replaced."""
        heard = self._heard
        return [address for address in addresses if now - heard.get(address, _NEVER) > UNHEARD]

    def heard(self, addresses: Iterable[Address], now: float) -> None:
        """These have answered ``now``, as primaries."""
        for address in addresses:
            self._heard[address] = now

    def was_heard(self, address: Address, since: float) -> bool:
        """Whether it answered, or another spoke for it, since then."""
        return self._heard.get(address, _NEVER) >= since

    def failed(self, addresses: Iterable[Address]) -> None:
        """These have not answered."""
        for address in addresses:
            self._heard.pop(address, None)

    def witnesses(self, unheard: Sequence[Address]) -> list[Address]:
        """Whom to ask whether these are still what they were: nobody about itself, hence two if need be.

        None where the cluster has only one node.
        """
        others = self._others(unheard)
        if others:
            return [self._drawn_by if self._drawn_by in others else self._random.choice(others)]
        return list(unheard[:2]) if len(unheard) > 1 else []

    def is_alone(self, address: Address) -> bool:
        """Whether the cluster has no other node."""
        return not self._others([address])

    def another_witness(self, about: Address, tried: Iterable[Address]) -> Address | None:
        """Whom to ask about a node when those that were tried have not said; None when that is enough."""
        tried = {*tried}
        others = self._others({about, *tried})
        return self._random.choice(others) if others and len(tried) < WITNESSES else None

    def candidates(self, failing: Iterable[Address]) -> list[Address]:
        """Whom to ask for a map, in this order: those that have just failed last."""
        if self.slots is None:
            return list(self._seeds)
        failing = {*failing}
        known = self._others(())
        self._random.shuffle(known)
        known.sort(key=lambda address: (address in failing, address != self._drawn_by))
        return [*known[:WITNESSES], *self._seeds]

    def _others(self, than: Iterable[Address]) -> list[Address]:
        return list(self.slots.nodes.difference(than)) if self.slots is not None else []

    # -- what is learnt ------------------------------------------------------------------------------

    def is_time(self) -> bool:
        """Whether a map may be asked for because something failed; the caller then does so."""
        with self._lock:
            now = self._clock()
            if now - self._asked < MAP_EVERY:
                return False
            self._asked = now
            return True

    def read(self, asked: Sequence[Address], outcomes: Sequence[Outcome], now: float) -> BackendError | None:
        """Take over the maps that these nodes have drawn; returns the error of the last that has drawn none."""
        error: BackendError | None = None
        for address, outcome in zip(asked, outcomes, strict=True):
            drawn = outcome if isinstance(outcome, BackendError) else _drawn(outcome[0], address)
            if isinstance(drawn, BackendError):
                error = drawn
            else:
                self._take(drawn, address, now)
        return error

    def learn(self, redirects: Iterable[Redirect]) -> None:
        """Take over what redirections say."""
        now = self._clock()
        with self._lock:
            moved: dict[int, Address] = {}
            for redirect in redirects:
                self._heard[redirect.to] = now
                if not redirect.asking:
                    moved[redirect.slot] = redirect.to
            if moved and self.slots is not None:
                self.slots = self.slots.moved(moved)

    def _take(self, slots: SlotMap, drawn_by: Address, now: float) -> None:
        with self._lock:
            self.slots, self._drawn_by, self.is_unsettled = slots, drawn_by, False
            # A name that the cluster does not use may be that of any node, so it is not known for whom it speaks.
            if drawn_by in slots.nodes:
                for address in slots.primaries:
                    if address != drawn_by:
                        self._heard[address] = now


def _drawn(reply: object, address: Address) -> SlotMap | BackendError:
    """The map in a reply to `ASK_SLOTS`."""
    if type(reply) is ErrorReply:
        if "cluster support disabled" in reply.text:
            return BackendMisconfigured(f"{address} is not a node of a cluster: {reply.text}")
        return failure(reply)
    try:
        slots = read_slots(reply, address)
    except Garbled as garbled:
        return BackendUnavailable(f"{address} sent {garbled}")
    return slots if slots.primaries else BackendUnavailable(f"{address} knows of no node that serves a slot")
