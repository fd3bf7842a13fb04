"""The bounded map in pure Python: the reference that says what a store does, and the fallback without a compiler.

The default policy, s3fifo
--------------------------
S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP 2023), with a small
queue that finds its size. New keys enter a SMALL queue; who is asked for again before its end moves to the MAIN queue,
the others leave: most keys are never asked for again and should not displace what is in use. MAIN is a clock: an entry
at its end that was asked for goes round again, up to MAX_FREQ times. What leaves is remembered for a while as a
fingerprint (a ghost); a key that comes back as a ghost enters MAIN at once.

The paper gives SMALL a tenth of the room. That loses two to three points to LRU where popularity moves, because new
favourites are thrown out before their second request. So the share adapts, as in ARC (Megiddo and Modha, FAST 2003):
a ghost of SMALL comes back -> one entry more for SMALL, up to half of the room; a ghost of MAIN comes back -> one less,
down to a tenth. There are as many ghosts as entries, half of them for each queue, again as in ARC: a key that comes
back later than that is no favourite. ``./run bench hitratio`` shows what that is worth, and what it costs: keys that
are asked for in a loop a little longer than the room come back as ghosts and push each other out, as from an LRU.

    set of a new key   ghost of SMALL or of MAIN -> newest of MAIN; else newest of SMALL; frequency 0
    get                frequency + 1, at most MAX_FREQ; nothing moves
    room is needed     SMALL has its share (of the entries or of the bytes) or MAIN is empty: take SMALL's oldest;
                           frequency > 0 -> newest of MAIN with frequency 0, and again; else it leaves
                       otherwise: take MAIN's oldest;
                           frequency > 0 -> newest of MAIN with frequency - 1, and again; else it leaves
                       an entry so taken that has expired leaves at once, without a ghost

``lru`` uses MAIN alone: get moves an entry to the newest place, the oldest leaves.

Pinned entries stand in a queue of their own and never make room; the expired ones among them do: each time room is
needed the oldest pinned entry is looked at and, if it still lives, goes to the newest place.

Threads: one re-entrant lock. A signal handler or a destructor that the garbage collector runs can call the store in
the middle of an operation of the same thread. Such a nested call finds ``_busy`` set and touches nothing: a read is a
miss, and a set or delete puts its key on ``_doomed``, to be removed before the next operation sees anything. A cache
may always forget, but never keep what it was told to drop. Removed values are collected, and released after the lock.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from operator import index
from threading import RLock
from typing import Final, TypeVar, TypeVarTuple, final

from cachecore.errors import ConfigurationError, InvalidKey, UnsupportedValue

POLICIES: Final = ("s3fifo", "lru")
DEFAULT_POLICY: Final = "s3fifo"
DEFAULT_MAX_ENTRIES: Final = 100_000
DEFAULT_MAX_BYTES: Final = 64 * 1024 * 1024
ENTRY_OVERHEAD: Final = 128
"""Bytes an entry is charged beyond its weight and the length of its key: the key's header, node, index and ghosts."""

_MAX_ENTRIES_LIMIT: Final = 2**31 - 1
_MAX_BYTES_LIMIT: Final = 2**50
_MAX_FREQ: Final = 3
_MIN_SHARE: Final = 0.1
_MAX_SHARE: Final = 0.5
_WAYS: Final = 8
_NEVER: Final = float("inf")
_SMALL, _MAIN, _PINNED = 0, 1, 2

T = TypeVar("T")
N = TypeVar("N")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What has happened in a store since it was made, and what stands in it now."""

    hits: int
    """get returned a value."""
    misses: int
    """get returned None."""
    evictions: int
    """Entries dropped because of the bounds before they expired."""
    expirations: int
    """Entries dropped because they had expired, by whichever operation met them."""
    entries: int
    """Entries now, expired ones that no operation has met included."""
    bytes: int
    """What they weigh: each its weight, the length of its key and ENTRY_OVERHEAD."""


def check_settings(max_entries: object, max_bytes: object, policy: object) -> None:
    """Raise ConfigurationError unless these are settings of a store."""
    for name, value, limit in (
        ("max_entries", max_entries, _MAX_ENTRIES_LIMIT),
        ("max_bytes", max_bytes, _MAX_BYTES_LIMIT),
    ):
        if type(value) is not int or not 1 <= value <= limit:
            raise ConfigurationError(f"{name} must be an int from 1 to {limit}, not {value!r}")
    if policy not in POLICIES:
        raise ConfigurationError(f"policy must be one of {', '.join(POLICIES)}, not {policy!r}")


def check_key(key: object) -> None:
    """Raise InvalidKey unless key is a str and of no subclass (whose __eq__ could run code inside the store)."""
    if type(key) is not str:
        raise InvalidKey(f"a store's key must be exactly a str, not {type(key).__name__}: {key!r}")


def check_entry(key: str, value: object, weight: int) -> None:
    """Raise UnsupportedValue unless value and weight can stand under key."""
    if value is None:
        raise UnsupportedValue(f"None cannot be stored under {key!r}: get says None for what is absent")
    if weight < 0:
        raise UnsupportedValue(f"the weight of the value under {key!r} must be 0 or more bytes, not {weight!r}")


class _Node:
    __slots__ = ("cost", "expires", "freq", "home", "queue", "value")

    def __init__(self, cost: int, home: int) -> None:
        self.value: object = None
        self.expires = _NEVER
        self.cost = cost
        self.freq = 0
        self.queue = home
        self.home = home  # SMALL or MAIN: where a pinned entry goes when it is no longer pinned


class _Ghosts:
    """Fingerprints of evicted keys: eight to a bucket, each bucket a FIFO, so the whole is nearly one.

    There is room for half as many as capacity.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.count = capacity // (2 * _WAYS) + 1
        self.buckets: dict[int, list[int]] = {}

    def _where(self, key: str) -> tuple[int, int]:
        hashed = hash(key) & 0xFFFFFFFFFFFFFFFF
        return ((hashed >> 32) * self.count) >> 32, hashed & 0xFFFFFFFF | 1

    def add(self, key: str) -> None:
        number, fingerprint = self._where(key)
        bucket = self.buckets.setdefault(number, [])
        bucket.insert(0, fingerprint)
        del bucket[_WAYS:]

    def take(self, key: str) -> bool:
        """Whether the key is remembered; from now on it is not."""
        number, fingerprint = self._where(key)
        bucket = self.buckets.get(number, ())
        if fingerprint not in bucket:
            return False
        self.buckets[number].remove(fingerprint)
        return True


@final
class Store:
    """A bounded map from str to objects in this process, with expiry; safe under threads.

    Bounded by entries and by bytes: what the policy values least makes room. An expired entry is never returned; it
    stays in memory until an operation meets it, it comes up for eviction, or purge drops it, whichever is first.

    Args:
        max_entries: the most entries, 1 to 2**31 - 1. Default 100,000.
        max_bytes: the most bytes, 1 to 2**50, counted as the sum over the entries of weight, length of the key
            and ENTRY_OVERHEAD. Default 64 MiB.
        policy: "s3fifo" (the default; the opening of ``_store_py`` describes it) or "lru".
        clock: a callable that gives seconds that never go back; it is called before anything changes. None: the
            monotonic clock; compiled its coarse form, in which an entry lives up to a tick (1 to 10 ms) longer.

    Raises:
        ConfigurationError: a setting is out of its range; the message names it.

    Every operation that takes a key raises InvalidKey unless the key is a str and of no subclass.
    """

    def __init__(
        self,
        *,
        max_entries: int = DEFAULT_MAX_ENTRIES,
        max_bytes: int = DEFAULT_MAX_BYTES,
        policy: str = DEFAULT_POLICY,
        clock: Callable[[], float] | None = None,
    ) -> None:
        check_settings(max_entries, max_bytes, policy)
        self.max_entries: Final = max_entries
        self.max_bytes: Final = max_bytes
        self.policy: Final = policy
        self._lru = policy == "lru"
        self._clock = time.monotonic if clock is None else clock
        self._lock = RLock()
        self._busy = False
        self._doomed: list[str | None] = []  # None: everything
        self._dropped: list[object] = []
        self._hits = self._misses = self._evictions = self._expirations = 0
        self._forget()

    # The public operations: arguments and the clock first, then one step under the lock.

    def get(self, key: str, /) -> object | None:
        """The value under key, or None if there is none or it has expired. Counts as an access."""
        check_key(key)
        return self._run(None, self._get, key, self._clock())

    def peek(self, key: str, /) -> object | None:
        """The same without counting an access, a hit or a miss."""
        check_key(key)
        return self._run(None, self._peek, key, self._clock())

    def set(self, key: str, value: object, weight: int, ttl: float | None, *, pinned: bool = False) -> bool:
        """Put value under key; True if it stands there now, False if it does not fit and the key is absent.

        A replacement is no access: the entry keeps its place in the queues and its frequency, so a lease that is filled
        does not look popular. (An entry that stops being pinned becomes the newest of the queue it came from.)

        Args:
            key: a str.
            value: anything but None; the store keeps a reference.
            weight: bytes of the value as the caller counts them, 0 or more; key and overhead are added here.
            ttl: seconds until it expires; None: never. 0 or less, or NaN: the key is absent at once.
            pinned: the bounds do not evict it, others make room for it, and if only pinned entries are left they may
                exceed the bounds together. It still expires and can be deleted, and it counts in len and bytes.

        False means: it alone weighs more than max_bytes, or (not pinned) the pinned entries leave no room, or ttl is 0
        or less. An old value under the key is gone then.

        Raises:
            UnsupportedValue: value is None or weight is negative. Nothing has changed.
        """
        check_key(key)
        weight = index(weight)
        check_entry(key, value, weight)
        lifetime = _NEVER if ttl is None else 0.0 + ttl
        now = self._clock()
        stored = self._run(None, self._set, key, value, weight + len(key) + ENTRY_OVERHEAD, lifetime, pinned, now)
        if stored is None:
            self._doomed.append(key)
        return bool(stored)

    def delete(self, key: str, /) -> bool:
        """Remove key; True if a value stood there that had not expired."""
        check_key(key)
        removed = self._run(None, self._delete, key, self._clock())
        if removed is None:
            self._doomed.append(key)
        return bool(removed)

    def clear(self) -> None:
        """Remove everything, what the policy learnt too; the counts of stats() go on."""
        if not self._run(False, self._clear):
            self._doomed.append(None)

    def start_empty(self) -> None:
        """Be empty in the child of a fork, where a thread that was in the middle of an operation does not exist."""
        self._lock = RLock()
        self._busy = False
        self._clear()
        self._dropped = []

    def purge(self) -> int:
        """Drop every entry that has expired; how many there were. Takes time in proportion to all entries."""
        return self._run(0, self._purge, self._clock())

    def keys(self) -> list[str]:
        """The keys that have not expired: small queue, main queue, pinned; in each the next one to go first."""
        nested: list[str] = []
        return self._run(nested, self._keys, self._clock())

    def __len__(self) -> int:
        """Entries, expired ones that no operation has met included."""
        return len(self._index)

    @property
    def bytes(self) -> int:
        """What the entries weigh: each its weight, the length of its key and ENTRY_OVERHEAD."""
        return sum(self._bytes)

    def stats(self) -> StoreStats:
        """What has happened so far, and what stands there now."""
        return StoreStats(
            hits=self._hits,
            misses=self._misses,
            evictions=self._evictions,
            expirations=self._expirations,
            entries=len(self),
            bytes=self.bytes,
        )

    # One operation at a time.

    def _run(self, nested: N, step: Callable[[*Ts], T], *args: *Ts) -> T | N:
        """Perform step alone and return its result; inside another step of this thread only return nested."""
        with self._lock:
            if self._busy:
                return nested
            try:
                self._busy = True
                while self._doomed:
                    key = self._doomed.pop()
                    if key is None:
                        self._clear()
                    elif key in self._index:
                        self._remove(key)
                return step(*args)
            except BaseException:  # an interrupt that came in the middle: what stands there may be half done
                self._clear()
                raise
            finally:
                # Released when this frame ends, which is after the lock.
                _released, self._dropped = self._dropped, []
                self._busy = False

    def _live(self, key: str, now: float) -> _Node | None:
        node = self._index.get(key)
        if node is not None and node.expires <= now:
            self._expirations += 1
            self._remove(key)
            return None
        return node

    def _get(self, key: str, now: float) -> object | None:
        node = self._live(key, now)
        if node is None:
            self._misses += 1
            return None
        self._hits += 1
        if not self._lru:
            node.freq = min(node.freq + 1, _MAX_FREQ)
        elif node.queue == _MAIN:
            self._queues[_MAIN].move_to_end(key)
        return node.value

    def _peek(self, key: str, now: float) -> object | None:
        node = self._live(key, now)
        return None if node is None else node.value

    def _set(self, key: str, value: object, cost: int, lifetime: float, pinned: bool, now: float) -> bool:
        node = self._live(key, now)
        if not lifetime > 0 or cost > self.max_bytes or not (pinned or self._admits(cost, node, now)):
            if node is not None:
                self._remove(key)
            return False
        if node is None:
            node = self._insert(key, cost, pinned, now)
        else:
            self._replace(key, node, cost, pinned, now)
        node.value = value
        node.expires = now + lifetime
        return True

    def _delete(self, key: str, now: float) -> bool:
        if self._live(key, now) is None:
            return False
        self._remove(key)
        return True

    def _purge(self, now: float) -> int:
        expired = [key for key, node in self._index.items() if node.expires <= now]
        for key in expired:
            self._remove(key)
        self._expirations += len(expired)
        return len(expired)

    def _keys(self, now: float) -> list[str]:
        return [key for queue in self._queues for key, node in queue.items() if node.expires > now]

    def _clear(self) -> bool:
        self._dropped.append(self._index)
        self._forget()
        return True

    def _forget(self) -> None:
        """Be an empty store, whatever stood there."""
        self._index: dict[str, _Node] = {}
        self._queues: tuple[OrderedDict[str, _Node], ...] = (OrderedDict(), OrderedDict(), OrderedDict())
        self._bytes = [0, 0, 0]
        self._ghosts = (_Ghosts(0), _Ghosts(0))
        self._share = _MIN_SHARE

    # The policy.

    def _admits(self, cost: int, node: _Node | None, now: float) -> bool:
        """Whether an entry can stand beside the pinned ones, which nothing displaces."""
        if self._fits_beside_pinned(cost, node):
            return True
        self._sweep(len(self._queues[_PINNED]), now)
        return self._fits_beside_pinned(cost, node)

    def _fits_beside_pinned(self, cost: int, node: _Node | None) -> bool:
        entries = len(self._queues[_PINNED]) + 1
        total = self._bytes[_PINNED] + cost
        if node is not None and node.queue == _PINNED:
            entries -= 1
            total -= node.cost
        return entries <= self.max_entries and total <= self.max_bytes

    def _replace(self, key: str, node: _Node, cost: int, pinned: bool, now: float) -> None:
        """Give an entry its new cost and make room for it."""
        self._dropped.append(node.value)
        self._bytes[node.queue] += cost - node.cost
        node.cost = cost
        if pinned != (node.queue == _PINNED):
            self._unlink(key, node)
            self._link(key, node, _PINNED if pinned else node.home)
        self._make_room(0, 0, key, now)

    def _insert(self, key: str, cost: int, pinned: bool, now: float) -> _Node:
        """Make room, then enter a new key."""
        node = _Node(cost, self._place(key))
        self._make_room(1, cost, None, now)
        self._index[key] = node
        self._link(key, node, _PINNED if pinned else node.home)
        return node

    def _place(self, key: str) -> int:
        """The queue for a new key, by what the ghosts remember of it; moves SMALL's share."""
        if self._lru:
            return _MAIN
        if self._ghosts[_SMALL].take(key):
            self._share = min(_MAX_SHARE, self._share + 1.0 / max(1, len(self._index)))
            return _MAIN
        if self._ghosts[_MAIN].take(key):
            self._share = max(_MIN_SHARE, self._share - 1.0 / max(1, len(self._index)))
            return _MAIN
        return _SMALL

    def _make_room(self, more: int, cost: int, keep: str | None, now: float) -> None:
        """Drop entries, but never keep, until so many more entries and bytes fit or only pinned ones are left."""
        while (len(self._index) + more > self.max_entries or sum(self._bytes) + cost > self.max_bytes) and (
            self._sweep(1, now) or self._evict(keep, now)
        ):
            pass

    def _sweep(self, steps: int, now: float) -> bool:
        """Look at the oldest pinned entries in turn and drop those that have expired; whether there were any."""
        pinned = self._queues[_PINNED]
        dropped = False
        for _ in range(min(steps, len(pinned))):
            key = next(iter(pinned))
            if pinned[key].expires <= now:
                self._expirations += 1
                self._remove(key)
                dropped = True
            else:
                pinned.move_to_end(key)
        return dropped

    def _evict(self, keep: str | None, now: float) -> bool:
        """Drop the one entry that the policy values least; False if there is none but keep and the pinned ones."""
        while True:
            small = self._next_to_go(_SMALL, keep)
            main = self._next_to_go(_MAIN, keep)
            key = small if small is not None and (main is None or self._small_is_full()) else main
            if key is None:
                return False
            node = self._index[key]
            if node.expires <= now:
                self._expirations += 1
                self._remove(key)
                return True
            if node.freq == 0:
                break
            node.freq = 0 if node.queue == _SMALL else node.freq - 1
            self._unlink(key, node)
            self._link(key, node, _MAIN)
        self._evictions += 1
        if not self._lru:
            self._remember(key, node.queue)
        self._remove(key)
        return True

    def _small_is_full(self) -> bool:
        return (
            len(self._queues[_SMALL]) >= self._share * self.max_entries
            or self._bytes[_SMALL] >= self._share * self.max_bytes
        )

    def _next_to_go(self, queue: int, keep: str | None) -> str | None:
        return next((key for key in self._queues[queue] if key != keep), None)

    def _remember(self, key: str, queue: int) -> None:
        """Add a ghost. Each queue's table has room for half as many as there are entries, and a quarter in reserve."""
        entries = len(self._index)
        if entries > self._ghosts[queue].capacity:
            capacity = max(entries, min(entries * 5 // 4, self.max_entries))
            self._ghosts = (_Ghosts(capacity), _Ghosts(capacity))
        self._ghosts[queue].add(key)

    def _link(self, key: str, node: _Node, queue: int) -> None:
        self._queues[queue][key] = node
        self._bytes[queue] += node.cost
        node.queue = queue
        if queue != _PINNED:
            node.home = queue

    def _unlink(self, key: str, node: _Node) -> None:
        del self._queues[node.queue][key]
        self._bytes[node.queue] -= node.cost

    def _remove(self, key: str) -> None:
        node = self._index.pop(key)
        self._unlink(key, node)
        self._dropped.append(node.value)

    # For tests.

    def check(self) -> None:
        """Raise AssertionError if anything the store relies on does not hold. Looks at every entry."""
        for number, queue in enumerate(self._queues):
            for key, node in queue.items():
                _require(self._index.get(key) is node, "an entry that the index does not find")
                _require(node.queue == number, "an entry in another queue than it says")
                _require(node.home == number or (number == _PINNED and node.home < _PINNED), "a wrong home")
                _require(node.freq <= (0 if self._lru else _MAX_FREQ), "a frequency beyond its cap")
                _require(node.value is not None, "an entry without a value")
            _require(self._bytes[number] == sum(node.cost for node in queue.values()), "a wrong sum")
        pinned = len(self._queues[_PINNED])
        _require(sum(map(len, self._queues)) == len(self._index), "an index of other entries")
        _require(not (self._lru and self._queues[_SMALL]), "lru with a small queue")
        _require(_MIN_SHARE <= self._share <= _MAX_SHARE, "a share out of its range")
        _require(len(self) <= self.max_entries or len(self) == pinned, "too many entries")
        _require(self.bytes <= self.max_bytes or len(self) == pinned, "too many bytes")
        _require(not self._busy and not self._dropped, "an operation that has not ended")


def _require(holds: bool, broken: str) -> None:
    if not holds:
        raise AssertionError(broken)
