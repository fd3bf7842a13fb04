"""What a connection knows of the server at its other end: who it is, what time it is there, how to speak to it.

All of it is read once for each connection, in one round trip before anything else is sent.

*Incarnation.* CAS ids begin anew when a server does, so that a lease of yesterday may have the id of one of today. The
process id and the second at which it started tell one life of a server from the next; both are in its statistics. Not
told apart are two lives under the same process id, as in a container, that begin in the same second: a server that has
lived for less than that has hardly granted a lease that matters.

*Clock.* Deadlines of holds are on the server's clock, which ticks once a second. A reading T means that the true time
was at least T and less than T + 2. Deadlines are written by the late end of that and judged by the early end: so a
living hold is never taken for dead, and a dead one is taken for living for at most four seconds.
"""

import math
import re
import time
from collections.abc import Callable, Generator
from hashlib import blake2s
from typing import Protocol

from cachecore.backends.memcached import classic, meta
from cachecore.backends.memcached.batches import Batch
from cachecore.backends.memcached.diagnosis import sentences, shelters
from cachecore.backends.memcached.items import mark_of
from cachecore.backends.memcached.limits import ITEM_OVERHEAD, MAX_RELATIVE
from cachecore.backends.memcached.replies import DONE, STATISTICS, Reply, statistics, unexpected
from cachecore.backends.memcached.settings import Settings
from cachecore.backends.memcached.short_way import Values
from cachecore.entries import INCARNATION_BYTES
from cachecore.errors import BackendMisconfigured

META_SINCE = (1, 6, 13)
OLDEST = (1, 4, 8)

STATS = b"stats\r\n"
STATS_SETTINGS = b"stats settings\r\n"

END_OF_TIME = 2**31 - 1
"""The last second that the server can read."""

SYNCHRONISED_FOR = 60.0
"""Seconds after which a server is asked for the time again, before a deadline is written or a hold taken for dead."""


class Dialect(Protocol):
    """Commands, and the parsing of replies; the modules `meta` and `classic` are its two implementations."""

    name: str
    makes_leases: bool
    """Whether acquire makes a lease where nothing stands; a MISS then means that there is no room for one."""

    stored: bytes
    """What DONE is in the reply to `replace`."""

    def read(self, key: bytes) -> bytes: ...
    def acquire(self, key: bytes, lease_ttl: int) -> bytes: ...
    def form(self, lease_ttl: int | None) -> tuple[bytes, bytes]: ...
    def store(self, key: bytes, data: bytes, flags: int, ttl: int) -> bytes: ...
    def replace(self, key: bytes, cas: int, data: bytes, flags: int, ttl: int) -> bytes: ...
    def delete(self, key: bytes) -> bytes: ...
    def delete_if(self, key: bytes, cas: int) -> bytes: ...
    def hold(self, key: bytes, record: bytes, lifetime: int) -> list[bytes]: ...
    def is_held(self, replies: list[Reply], record: bytes) -> bool: ...
    def claim(self, key: bytes, cas: int | None, data: bytes, flags: int, ttl: int) -> list[bytes]: ...
    def claimed(self, replies: list[Reply], data: bytes) -> int | None: ...
    def parse(self, data: bytes, start: int, count: int, limit: int, out: list[Reply]) -> int: ...


class Peer:
    """The server at the other end of one connection.

    address: for messages. found: its statistics; configured: its settings. settings: ours. sent, received: when the
    statistics were asked for and arrived, on ``clock``. Raises BackendMisconfigured if it cannot keep the promise.
    """

    __slots__ = (
        "_clock", "_early", "_late", "_synchronised", "address", "asked", "dialect", "incarnation", "item_limit",
        "life", "mark", "shelters_holds", "values_in", "weaknesses",
    )  # fmt: skip

    def __init__(
        self,
        address: str,
        found: dict[str, str],
        configured: dict[str, str],
        settings: Settings,
        clock: Callable[[], float],
        sent: float,
        received: float,
    ) -> None:
        self.address = address
        self.dialect = _dialect(address, found.get("version", ""), settings.dialect)
        if configured.get("cas_enabled") == "no":
            raise BackendMisconfigured(
                f"memcached at {address} was started with -C (disable-cas): without CAS ids there is no coherence"
            )
        self._clock = clock
        now = _whole(address, found, "time")
        life = b"%d %d" % (_whole(address, found, "pid"), now - _whole(address, found, "uptime"))
        self.incarnation = blake2s(life, digest_size=INCARNATION_BYTES).digest()
        self.life = address, self.incarnation
        self.asked = sent
        """When it was asked who it is, on the local clock."""
        self.mark = mark_of(self.incarnation, settings.generation)
        self.values_in = Values(self.dialect is classic, self.mark)
        self.item_limit = int(configured.get("item_size_max", 1 << 20))
        self.shelters_holds = shelters(configured, settings.hold_lifetime)
        """Whether holds that are stored, not appended, are not evicted by what lives longer."""
        self.weaknesses = sentences(address, found, configured, settings.hold_lifetime)
        """What weakens the promise there."""
        self._late = -math.inf
        self._synchronised = received
        self.synchronise(found, sent, received)

    def synchronise(self, found: dict[str, str], sent: float, received: float) -> None:
        """Learn the server's time from its statistics, which were asked for and came at these local times."""
        now = _whole(self.address, found, "time")
        self._early = now - received
        # Right after a stall a server may tell the time at which that began. But clocks that run alike to a hundredth
        # cannot have parted by more since the last reading, and deadlines may be too late, never too early.
        self._late = max(now + 2.0 - sent, self._late - (received - self._synchronised) / 100)
        self._synchronised = received

    @property
    def must_synchronise(self) -> bool:
        """Whether the last reading is too old for the two clocks to have run alike since."""
        return self._clock() - self._synchronised > SYNCHRONISED_FOR

    def early(self) -> float:
        """The server's time, or a little less."""
        return self._clock() + self._early

    def late(self) -> float:
        """The server's time, or a little more."""
        return self._clock() + self._late

    def local_deadline(self, ttl: float) -> float:
        """When ``ttl`` seconds will have passed, for `has_passed`."""
        return self._clock() + ttl

    def has_passed(self, deadline: float) -> bool:
        """Whether a `local_deadline` is over."""
        return self._clock() >= deadline

    def fits(self, key: bytes, data: bytes) -> bool:
        """Whether an item is surely small enough for the server."""
        return len(key) + len(data) + ITEM_OVERHEAD <= self.item_limit

    def expiry(self, ttl: float | None) -> int:
        """A time to live as the server takes it: whole seconds, 0 for ever, a point in time if it is beyond 30 days."""
        if ttl is None:
            return 0
        seconds = math.ceil(ttl)
        if seconds <= MAX_RELATIVE:
            return seconds if seconds > 0 else 1
        moment = int(self.late()) + seconds
        return moment if moment <= END_OF_TIME else 0


Greeting = Generator[Batch, list[Reply], Peer]


def greet(address: str, settings: Settings, clock: Callable[[], float] = time.monotonic) -> Greeting:
    """Say who we are, if that is asked for, and learn who it is. What a connection does first."""
    batch = [STATS, STATS_SETTINGS]
    if settings.username or settings.password:
        secret = f"{settings.username} {settings.password}".encode()
        batch.insert(0, b"set auth 0 0 %d\r\n%b\r\n" % (len(secret), secret))
    sent = clock()
    replies = yield batch
    received = clock()
    if len(batch) == 3 and replies[0][0] != DONE:
        raise unexpected(replies[0], address)
    for reply in replies[-2:]:
        if reply[0] != STATISTICS:
            raise unexpected(reply, address)
    found, configured = statistics(replies[-2][1]), statistics(replies[-1][1])
    return Peer(address, found, configured, settings, clock, sent, received)


def synchronised(peer: Peer) -> Generator[Batch, list[Reply], None]:
    """Ask the server for the time if the last answer is too old."""
    if peer.must_synchronise:
        sent = peer.local_deadline(0)
        [reply] = yield [STATS]
        if reply[0] != STATISTICS:
            raise unexpected(reply, peer.address)
        peer.synchronise(statistics(reply[1]), sent, peer.local_deadline(0))


def _whole(address: str, found: dict[str, str], name: str) -> int:
    try:
        return int(found[name])
    except (KeyError, ValueError):
        raise BackendMisconfigured(
            f"memcached at {address} does not say its {name} ({found.get(name)!r}): one life of the server cannot be "
            "told from the next, so that an old lease could fill after a restart"
        ) from None


def _dialect(address: str, version: str, wanted: str) -> Dialect:
    number = _numbers(version)
    if number < OLDEST:
        raise BackendMisconfigured(
            f"memcached at {address} is of version {version!r}; 1.4.8 is the oldest that will do"
        )
    if wanted == "meta" and number < META_SINCE:
        raise BackendMisconfigured(
            f"memcached at {address} is of version {version}, and dialect=meta needs 1.6.13: use dialect=auto"
        )
    return classic if wanted == "classic" or number < META_SINCE else meta


def _numbers(version: str) -> tuple[int, ...]:
    """The version for comparison; nothing, which is older than any, if it has another form."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else ()
