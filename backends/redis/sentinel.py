"""The primary of a service, by its sentinels. No I/O: see the module `plan`.

Theory of operation
-------------------
All sentinels are asked at once where the primary is, and the newest answer counts: the one with the highest epoch,
which goes up with each failover. The server that is named must say itself that it is a primary when it is connected.

When it fails, or answers that it is a replica (READONLY; it has not carried out the command then), the sentinels are
asked again, but not more often than every quarter of a second in the whole process. If they name another server the
operation is begun again there, or else it fails. Values that the new primary has kept from the old one are another
incarnation's (rule R8).

A primary that was stopped or cut off, and is back, does not know yet that it was replaced, and the sentinels take some
seconds to tell it. So a primary that has not answered this process for a second is believed only if the sentinels name
it still, in the same step. A second is less than any failover takes, which begins after down-after-milliseconds, 30 s
by default. What this cannot heal: a primary that is cut off from its replicas and sentinels, and not from a client,
goes on serving that client. ``min-replicas-to-write 1`` ends that, and `weaknesses` says so where it is not set.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from cachecore.backends.redis.link import LinkLost, NotPrimary
from cachecore.backends.redis.member import Login
from cachecore.backends.redis.plan import Call, Outcome, Plan, command
from cachecore.backends.redis.replies import RAW, failure
from cachecore.backends.redis.requests import Batch, clear_one
from cachecore.backends.redis.resp import ErrorReply
from cachecore.backends.redis.settings import Address, Settings
from cachecore.errors import BackendError, BackendMisconfigured, BackendUnavailable

UNHEARD: Final = 1.0
"""Seconds after which the primary's own word is not enough."""
ASK_EVERY: Final = 0.25
"""Seconds between two times that the sentinels are asked because something failed."""

_NEVER: Final = float("-inf")


class Sentinels:
    """What a process knows of a service, for all its threads or event loops together.

    clock: seconds that never go back.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        assert settings.service is not None
        self.scout_login: Login = (settings.sentinel_username, settings.sentinel_password)
        self._service = settings.service
        self._sentinels = settings.addresses
        name = settings.service.encode()
        # The address comes from the first: only it tells of a failover that is under way.
        where, state = command(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name), command(b"SENTINEL", b"MASTER", name)
        self._question: Batch = [("", (where,), RAW), ("", (state,), RAW)]
        self._clock = clock
        self._lock = threading.Lock()
        self._primary: Address | None = None
        self._heard = _NEVER
        """When the primary last answered, or was last named."""
        self._asked = _NEVER

    @property
    def members(self) -> frozenset[Address]:
        """The servers of the fleet, as far as they are known."""
        return frozenset(self._sentinels if self._primary is None else (*self._sentinels, self._primary))

    def exchange(self, batch: Batch) -> Plan:
        """The replies to ``batch``. Raises `LinkLost` if the same may be tried once more, or another BackendError."""
        primary = self._primary
        if primary is None:
            primary = yield from self._ask()
        now = self._clock()
        calls = [Call(primary, batch)]
        is_unheard = now - self._heard > UNHEARD
        outcome, *said = yield calls + self._calls() if is_unheard else calls
        if isinstance(outcome, BackendError):
            raise (yield from self._after_failure(primary, outcome))
        if is_unheard and self._named(said) != primary:
            raise LinkLost(f"{primary} is no longer the primary of {self._service!r}", sent=True)
        for reply in outcome:
            if type(reply) is ErrorReply and reply.text.startswith("READONLY"):
                demoted = LinkLost(f"{primary}: {reply.text}", sent=len(batch) > 1)
                raise (yield from self._after_failure(primary, demoted))
        self._heard = now
        return outcome

    def clear(self) -> Plan:
        """Empty the primary."""
        for reply in (yield from self.exchange(clear_one())):
            if type(reply) is ErrorReply:
                raise failure(reply)

    def primaries(self) -> Plan:
        """The address of the primary, as the sentinels name it now."""
        return {(yield from self._ask())}

    # -- the sentinels --------------------------------------------------------------------------------

    def _calls(self) -> list[Call]:
        return [Call(address, self._question, scout=True) for address in self._sentinels]

    def _ask(self) -> Plan:
        """The address of the primary, asked for now. Raises BackendError."""
        now = self._clock()
        primary = self._named((yield self._calls()))
        self._heard = now
        return primary

    def _after_failure(self, primary: Address, error: BackendError) -> Plan:
        """What to raise when the primary has failed: `LinkLost` if there is hope in a second try."""
        self._heard = _NEVER
        if self._primary == primary and self._is_time():
            try:
                yield from self._ask()
            except BackendError:
                # What failed first says more.
                return error
        if isinstance(error, LinkLost):
            return error
        if self._primary != primary:
            return LinkLost(f"{error}; {self._primary} is the primary now", sent=True)
        return BackendUnavailable(str(error)) if isinstance(error, NotPrimary) else error

    def _is_time(self) -> bool:
        """Whether the sentinels may be asked because something failed; the caller then does so."""
        with self._lock:
            now = self._clock()
            if now - self._asked < ASK_EVERY:
                return False
            self._asked = now
            return True

    def _named(self, outcomes: Sequence[Outcome]) -> Address:
        """The primary by what the sentinels said; it is the one from now on. Raises BackendError."""
        named: list[tuple[int, Address]] = []
        errors: list[BackendError] = []
        for address, outcome in zip(self._sentinels, outcomes, strict=True):
            if isinstance(outcome, BackendError):
                errors.append(outcome)
                continue
            try:
                named.append(_read_answer(outcome))
            except BackendError as error:
                errors.append(type(error)(f"{address}: {error}"))
        if not named:
            worst = next((error for error in errors if isinstance(error, BackendMisconfigured)), errors[0])
            raise type(worst)(f"no sentinel says where the primary of {self._service!r} is: {worst}") from worst
        _, primary = max(named, key=lambda answer: answer[0])
        self._primary = primary
        return primary


def _read_answer(replies: Sequence[Any]) -> tuple[int, Address]:
    """(epoch, address of the primary) in the replies of one sentinel. Raises BackendError."""
    where, state = replies
    for reply in replies:
        if type(reply) is ErrorReply:
            if "No such master" in reply.text:
                raise BackendMisconfigured("it watches no service of this name")
            raise failure(reply)
    if where is None:
        raise BackendMisconfigured("it watches no service of this name")
    shown = f"{where!r}, {state!r}"[:80]
    try:
        # RESP2 has a list of names and values, RESP3 a map.
        fields = cast(dict[bytes, bytes], state)
        if type(state) is list:
            pairs = cast(list[bytes], state)
            fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
        host, port = where
        return int(fields[b"config-epoch"]), Address(host.decode(), int(port))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BackendUnavailable(f"it sent what no sentinel sends: {shown}") from error
