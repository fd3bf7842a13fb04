"""A Redis Cluster: which node serves a key, and what to do when that changes. No I/O: see the module `plan`.

Theory of operation
-------------------
A map from slots to nodes is asked of any node. A node that does not serve a slot says who does, and has not carried
out the command: MOVED, from now on, or ASK, for this once, while the slot is moving and the key has moved already.
Such a command, and only it, is sent again to the node that was named, three times at most. A key is asked of no other
node than the one that serves its slot (rule R9): where nobody does, or the node is down, the request fails.

A node that fails may have been replaced by its replica, so another is asked for the map, but not more often than every
quarter of a second in the whole process; if the slots have another owner by then the operation is begun again, or else
it fails. Values that the replica has kept are another incarnation's (rule R8), as are those that came with a slot.

A node that was stopped or cut off, and is back, does not know yet that its replica has replaced it: for a moment it
would answer from what it remembers. So a node that this process has not heard of for a second is believed only if
another says, in the same step, that its slots are still its own. A second is less than any failover takes, which
begins when cluster-node-timeout is over, 15 s by default.
"""

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Final

from cachecore.backends.redis.cluster_map import ASK_SLOTS, UNHEARD, ClusterMap
from cachecore.backends.redis.link import LinkLost, NotPrimary
from cachecore.backends.redis.member import Login
from cachecore.backends.redis.plan import Call, NotSent, Outcome, Plan, command
from cachecore.backends.redis.replies import STATUS
from cachecore.backends.redis.requests import Batch, Replies, check, clear_one
from cachecore.backends.redis.resp import ErrorReply
from cachecore.backends.redis.settings import Address, Settings
from cachecore.backends.redis.slots import Redirect, SlotMap, key_slot, read_redirect
from cachecore.errors import BackendError, BackendUnavailable

REDIRECTS: Final = 3
"""How often one command is sent on."""

_ASKING: Final = ("", (command(b"ASKING"),), STATUS)
# The node has not carried out the command, and another may soon serve the slot.
_UNSETTLED: Final = ("CLUSTERDOWN", "LOADING", "MASTERDOWN")

Sending = dict[Address, list[tuple[int, bool]]]
"""For each node the places of its commands in the batch, each with whether ASKING goes before it."""


class Cluster:
    """The plans for a cluster. ``clock``: seconds that never go back."""

    scout_login: Login = None

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._map = ClusterMap(settings.addresses, clock)
        self._clock = clock

    @property
    def members(self) -> frozenset[Address]:
        """The servers of the fleet, as far as they are known."""
        return self._map.members

    def exchange(self, batch: Batch) -> Plan:
        """The replies to ``batch``. Raises `LinkLost` if the same may be tried once more, or another BackendError."""
        slots = self._map.slots
        if slots is None or (self._map.is_unsettled and self._map.is_time()):
            slots = yield from self._ask_for_map()
        owners = self._owners(slots, batch)
        owner = owners[0]
        outcomes: list[Outcome] | None = None
        if owners.count(owner) == len(owners):
            # Nearly always: a node that is well known and serves it all.
            now = self._clock()
            if self._map.was_heard(owner, now - UNHEARD):
                outcomes = yield [Call(owner, batch)]
                if _is_plain(outcomes[0]):
                    self._map.heard(owners[:1], now)
                    return outcomes[0]
        sending: Sending = {}
        for at, owner in enumerate(owners):
            sending.setdefault(owner, []).append((at, False))
        replies: Replies = [None] * len(batch)
        redirects = yield from self._send(sending, batch, replies, slots, outcomes)
        for _ in range(REDIRECTS):
            if not redirects:
                return replies
            self._map.learn(redirects.values())
            redirects = yield from self._send(_sent_on(redirects), batch, replies, slots, moved=True)
        if redirects:
            key = batch[min(redirects)][0]
            raise BackendUnavailable(f"the cluster sent the request for {key!r} on, more than {REDIRECTS} times")
        return replies

    def clear(self) -> Plan:
        """Empty all primaries, as the cluster knows them now."""
        slots = yield from self._ask_for_map()
        for outcome in (yield [Call(address, clear_one()) for address in slots.primaries]):
            if isinstance(outcome, BackendError):
                raise outcome
            check(outcome)

    def primaries(self) -> Plan:
        """The addresses of all primaries, as the cluster knows them now."""
        slots = yield from self._ask_for_map()
        return slots.primaries

    # -- one step ------------------------------------------------------------------------------------

    def _owners(self, slots: SlotMap, batch: Batch) -> list[Address]:
        """The node for each command. Raises BackendUnavailable."""
        found: list[Address] = []
        for key, _, _ in batch:
            slot = key_slot(key)
            owner = slots.owners[slot]
            if owner is None:
                self._map.is_unsettled = True
                raise BackendUnavailable(f"no node of the cluster serves slot {slot}, to which {key!r} belongs")
            found.append(owner)
        return found

    def _send(
        self,
        sending: Sending,
        batch: Batch,
        replies: Replies,
        slots: SlotMap,
        outcomes: list[Outcome] | None = None,
        *,
        moved: bool = False,
    ) -> Generator[list[Call], list[Outcome], dict[int, Redirect]]:
        """Ask each node what it serves, and put the replies into their places; returns those that it sent on.

        ``outcomes``: what has come of it already.
        """
        now = self._clock()
        unheard: list[Address] = []
        witnesses: list[Address] = []
        if outcomes is None:
            unheard = self._map.unheard(sending, now)
            witnesses = self._map.witnesses(unheard) if unheard else []
            if moved and not witnesses and self._map.is_time():
                witnesses = [next(iter(sending))]
            calls = [Call(address, _commands(places, batch)) for address, places in sending.items()]
            outcomes = yield [*calls, *[Call(witness, ASK_SLOTS, scout=True) for witness in witnesses]]
            self._map.read(witnesses, outcomes[len(calls) :], now)
        redirects: dict[int, Redirect] = {}
        failed: dict[Address, BackendError] = {}
        for address, outcome in zip(sending, outcomes, strict=False):
            if isinstance(outcome, BackendError):
                failed[address] = outcome
                continue
            answers = iter(outcome)
            for at, asking in sending[address]:
                if asking:
                    next(answers)
                reply = replies[at] = next(answers)
                if type(reply) is ErrorReply:
                    redirect = read_redirect(reply, address)
                    if redirect is not None:
                        redirects[at] = redirect
                    elif reply.text.startswith(_UNSETTLED):
                        self._map.is_unsettled = True
        if failed:
            raise (yield from self._after_failures(failed, sending, batch, slots))
        for address in unheard:
            yield from self._confirm(address, witnesses, sending, batch, now)
        self._map.heard(sending, now)
        return redirects

    def _confirm(
        self, address: Address, witnesses: Sequence[Address], sending: Sending, batch: Batch, since: float
    ) -> Generator[list[Call], list[Outcome], None]:
        """Raise unless another node has said ``since`` that this one still serves what was asked of it."""
        tried = {*witnesses}
        while not self._map.was_heard(address, since) and not self._has_lost_slots(address, sending, batch):
            if self._map.is_alone(address):
                return
            witness = self._map.another_witness(address, tried)
            if witness is None:
                raise BackendUnavailable(f"no other node of the cluster says whether {address} still serves its slots")
            tried.add(witness)
            self._map.read([witness], (yield [Call(witness, ASK_SLOTS, scout=True)]), since)
        if self._has_lost_slots(address, sending, batch):
            raise LinkLost(f"{address} no longer serves what was asked of it", sent=True)

    def _after_failures(
        self, failed: dict[Address, BackendError], sending: Sending, batch: Batch, slots: SlotMap
    ) -> Generator[list[Call], list[Outcome], BackendError]:
        """What to raise when nodes have failed: `LinkLost` if there is hope in a second try."""
        failed = {address: error for address, error in failed.items() if not isinstance(error, NotSent)}
        self._map.failed(failed)
        [(address, error), *_] = failed.items()
        if self._map.slots is slots and self._map.is_time():
            try:
                yield from self._ask_for_map(failed)
            except BackendError:
                # What failed first says more.
                return error
        if isinstance(error, LinkLost):
            return error
        if self._has_lost_slots(address, sending, batch):
            return LinkLost(f"{error}; another node serves its slots now", sent=True)
        return BackendUnavailable(str(error)) if isinstance(error, NotPrimary) else error

    def _has_lost_slots(self, address: Address, sending: Sending, batch: Batch) -> bool:
        """Whether by the newest map another node serves what was asked of this one."""
        slots = self._map.slots
        assert slots is not None
        return any(slots.owners[key_slot(batch[at][0])] != address for at, asking in sending[address] if not asking)

    def _ask_for_map(self, failing: Iterable[Address] = ()) -> Generator[list[Call], list[Outcome], SlotMap]:
        """The map that the first node draws who answers. Raises the BackendError of the last who did not."""
        error: BackendError | None = None
        for address in self._map.candidates(failing):
            now = self._clock()
            error = self._map.read([address], (yield [Call(address, ASK_SLOTS, scout=True)]), now)
            if error is None and self._map.slots is not None:
                return self._map.slots
        assert error is not None
        raise error


def _is_plain(outcome: Outcome) -> bool:
    """Whether these are replies without a refusal among them."""
    if isinstance(outcome, BackendError):
        return False
    # A loop, for all() with a generator costs five times as much.
    for reply in outcome:  # noqa: SIM110
        if type(reply) is ErrorReply:
            return False
    return True


def _sent_on(redirects: Mapping[int, Redirect]) -> Sending:
    sending: Sending = {}
    for at, redirect in redirects.items():
        sending.setdefault(redirect.to, []).append((at, redirect.asking))
    return sending


def _commands(places: Sequence[tuple[int, bool]], batch: Batch) -> Batch:
    commands: Batch = []
    for at, asking in places:
        if asking:
            commands.append(_ASKING)
        commands.append(batch[at])
    return commands
