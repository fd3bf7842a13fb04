"""The primary of a service, by its sentinels. No I/O: see the module `plan`.

Theory of operation
-------------------
All sentinels are asked at once where the primary is, and the newest answer counts: the one with the highest epoch,
which goes up with each failover; answers older than what is known do not. A sentinel that has not answered is left out
for ten seconds if there are others, for it would cost a timeout. The server that is named must say itself that it is a
primary when it is connected.

When it fails, or answers that it is a replica (READONLY; it has not carried out the command then), the sentinels are
asked again, but not more often than every quarter of a second in the whole process. If they name another server the
operation is begun again there, or else it fails. Values that the new primary has kept from the old one are another
incarnation's (rule R8).

A primary may have been replaced without knowing: it was stopped and is back, or is cut off from the sentinels, or a
failover was ordered while it is well. The sentinels take their time to tell it (at least 8 s), and it goes on serving.
So its own word is worth nothing: it is believed for a second after the sentinels have named it. In the second half of
that second one request asks them along, in the same step; later every request does, and without an answer it fails.
A second is less than a failover takes that begins when the primary fails (after down-after-milliseconds, 30 s by
default), so nothing outdated is read. One that is ordered ("SENTINEL FAILOVER") waits for nobody: for a second after
the promotion a process may still use the old primary. And a client that is cut off, together with the primary, with a
sentinel that has heard of nothing goes on using it. ``min-replicas-to-write 1`` ends both as soon as the replica has
left, and `weaknesses` says so where it is not set.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from cachecore.backends.forks import at_fork
from cachecore.backends.redis.link import LinkLost, NotPrimary
from cachecore.backends.redis.member import Login
from cachecore.backends.redis.plan import Call, NotSent, Outcome, Plan, command
from cachecore.backends.redis.replies import RAW, failure
from cachecore.backends.redis.requests import Batch, check, clear_one
from cachecore.backends.redis.resp import ErrorReply
from cachecore.backends.redis.settings import Address, Settings
from cachecore.errors import BackendError, BackendMisconfigured, BackendUnavailable

NAMED_FOR: Final = 1.0
"""Seconds for which the sentinels' word counts."""
PASSED_OVER: Final = 10.0
"""Seconds for which a sentinel is not asked after it has not answered, if there are others."""
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
        self._lock = threading.RLock()
        self._primary: Address | None = None
        self._named_at = _NEVER
        """When the primary was last named."""
        self._epoch = -1
        """Of that answer: an older one does not count."""
        self._asked = _NEVER
        self._passed_over: dict[Address, float] = {}
        """When these did not answer."""
        at_fork(self)

    def leave_to_parent(self) -> None:
        """In a forked child: what is known is the child's too, but not the lock, which another thread may have held."""
        self._lock = threading.RLock()

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
        known_for = now - self._named_at
        sentinels: list[Address] = []
        if known_for > NAMED_FOR or (known_for > NAMED_FOR / 2 and self._is_time()):
            sentinels = self._to_ask(now)
        outcome, *said = yield [Call(primary, batch), *self._calls(sentinels)]
        if isinstance(outcome, BackendError):
            raise (yield from self._after_failure(primary, outcome))
        if sentinels:
            try:
                named = self._named(sentinels, said, now)
            except BackendError:
                if known_for > NAMED_FOR:
                    raise
            else:
                if named != primary:
                    raise LinkLost(f"{primary} is no longer the primary of {self._service!r}", sent=True)
        for reply in outcome:
            if type(reply) is ErrorReply and reply.text.startswith("READONLY"):
                demoted = LinkLost(f"{primary}: {reply.text}", sent=len(batch) > 1)
                raise (yield from self._after_failure(primary, demoted))
        return outcome

    def clear(self) -> Plan:
        """Empty the primary."""
        check((yield from self.exchange(clear_one())))

    def primaries(self) -> Plan:
        """The address of the primary, as the sentinels name it now."""
        return {(yield from self._ask())}

    # -- the sentinels --------------------------------------------------------------------------------

    def _to_ask(self, now: float) -> list[Address]:
        """The sentinels that are thought to answer; all if none is."""
        since = now - PASSED_OVER
        ready = [address for address in self._sentinels if self._passed_over.get(address, _NEVER) < since]
        return ready or list(self._sentinels)

    def _calls(self, sentinels: Sequence[Address]) -> list[Call]:
        return [Call(address, self._question, scout=True) for address in sentinels]

    def _ask(self) -> Plan:
        """The address of the primary, asked for now. Raises BackendError."""
        now = self._clock()
        sentinels = self._to_ask(now)
        return self._named(sentinels, (yield self._calls(sentinels)), now)

    def _after_failure(self, primary: Address, error: BackendError) -> Plan:
        """What to raise when the primary has failed: `LinkLost` if there is hope in a second try."""
        self._named_at = _NEVER
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
        """Whether the sentinels may be asked though there may be no need; the caller then does so."""
        with self._lock:
            now = self._clock()
            if now - self._asked < ASK_EVERY:
                return False
            self._asked = now
            return True

    def _named(self, sentinels: Sequence[Address], outcomes: Sequence[Outcome], now: float) -> Address:
        """The primary by what these sentinels said when asked ``now``; it is used from then on. Raises BackendError."""
        named: list[tuple[int, Address]] = []
        errors: list[BackendError] = []
        for address, outcome in zip(sentinels, outcomes, strict=True):
            if isinstance(outcome, BackendError):
                errors.append(outcome)
                if not isinstance(outcome, NotSent):
                    self._passed_over[address] = now
                continue
            try:
                named.append(_read_answer(outcome))
            except BackendError as error:
                errors.append(type(error)(f"{address}: {error}"))
        if not named:
            worst = next((error for error in errors if isinstance(error, BackendMisconfigured)), errors[0])
            raise type(worst)(f"no sentinel says where the primary of {self._service!r} is: {worst}") from worst
        epoch, primary = max(named, key=lambda answer: answer[0])
        if epoch < self._epoch and len(named) < len(self._sentinels):
            # They have not heard of a failover yet. (Where all say so the epochs have begun anew.)
            raise BackendUnavailable(f"no sentinel knows yet what another said of {self._service!r}, and it is silent")
        self._epoch = epoch
        self._primary, self._named_at = primary, now
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
