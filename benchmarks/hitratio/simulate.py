"""Every policy over one trace, with one room."""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Final, Protocol

import msgspec

from benchmarks.hitratio.best import belady, bound
from benchmarks.hitratio.lru import Lru
from benchmarks.hitratio.ours import charged, replay
from benchmarks.hitratio.s3fifo import S3Fifo
from benchmarks.hitratio.sieve import Sieve
from benchmarks.hitratio.tinylfu import WTinyLfu
from benchmarks.hitratio.traces import Trace
from cachecore.backends.store import Store

WITHIN: Final = -2.0
"""Points the default policy may stand below LRU, on any trace."""
ABOVE: Final = 7.0
"""Points it must stand above LRU on zipf(0.99) with room for 1 % of the keys."""
BOUNDLESS: Final = 2**40
"""Bytes."""


class Policy(Protocol):
    """A cache without values."""

    def request(self, key: int, size: int = 1, /) -> bool:
        """Whether key stands there; if not, it may from now on."""
        ...


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The hit ratios of one trace and one room, in percent of the requests, from an empty cache."""

    trace: str
    requests: int
    keys: int
    share: float
    """The room, as a share of all keys or of what they all weigh."""
    room: int
    unit: str
    """Of room: entries or bytes."""
    ours: float
    lru: float
    sieve: float
    s3fifo: float
    wtinylfu: float
    best: float
    """The best possible; of bytes a bound that may be beyond it."""
    target: float
    """The least that ours is to have more than lru, in points."""

    @property
    def difference(self) -> float:
        """Points of ours above lru."""
        return self.ours - self.lru

    @property
    def met(self) -> bool:
        """Whether that reaches the target."""
        return self.difference >= self.target


def hits(policy: Policy, requests: Iterable[int], sizes: Iterable[int]) -> int:
    """How many requests hit."""
    return sum(map(policy.request, requests, sizes))


def simulate(trace: Trace, share: float) -> Row:
    """All policies, with room for that share of the keys, or of what they all weigh."""
    requests = trace.requests
    sizes: Sequence[int] | None = None
    if trace.weights is None:
        unit = "entries"
        room = entries = max(1, int(trace.keys * share))
        store = Store(max_entries=room, max_bytes=BOUNDLESS)
        most = belady(requests, room)
    else:
        unit = "bytes"
        size_of = {key: charged(key, weight) for key, weight in trace.weights.items()}
        mean = sum(size_of.values()) / len(size_of)
        entries = max(1, int(trace.keys * share))
        room = int(entries * mean)
        sizes = [size_of[key] for key in requests]
        store = Store(max_entries=len(size_of), max_bytes=room)
        most = bound(requests, sizes, room)

    def percent(count: int) -> float:
        return round(100 * count / len(requests), 2)

    def simulated(policy: Policy) -> float:
        return percent(hits(policy, requests, repeat(1) if sizes is None else sizes))

    return Row(
        trace=trace.name,
        requests=len(requests),
        keys=trace.keys,
        share=share,
        room=room,
        unit=unit,
        ours=percent(replay(store, requests, trace.weights)),
        lru=simulated(Lru(room)),
        sieve=simulated(Sieve(room)),
        s3fifo=simulated(S3Fifo(room)),
        wtinylfu=simulated(WTinyLfu(room, entries)),
        best=percent(most),
        target=ABOVE if trace.name == "zipf 0.99" and share == 0.01 else WITHIN,
    )
