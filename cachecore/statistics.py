"""Counters of one cache in one process."""

import msgspec

from cachecore.events import Event, Failure, Filled, FillRefused, Hit, Invalidated, Journaled, Miss, MissReason


class Statistics(msgspec.Struct):
    """What has happened since the cache was made or `reset`. Rows and keys are counted, not calls."""

    hits: int = 0
    misses: int = 0
    fills: int = 0
    refused_fills: int = 0
    invalidations: int = 0
    journaled: int = 0
    failures: int = 0
    miss_reasons: dict[MissReason, int] = {}

    @property
    def hit_ratio(self) -> float:
        """Hits of all reads, 0 to 1; 0 before the first read."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else 0.0

    def reset(self) -> None:
        """Begin again at zero."""
        fresh = Statistics()
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))

    def count(self, event: Event) -> None:
        """Add one event.

        Threads share the counters without a lock. CPython switches threads at calls and backward jumps only, so nothing
        is called between the read and the write of an addition.
        """
        match event:
            case Hit(keys=keys):
                count = len(keys)
                self.hits += count
            case Miss(reasons=reasons):
                count = len(reasons)
                self.misses += count
                by_reason = self.miss_reasons
                for reason in reasons.values():
                    by_reason.setdefault(reason, 0)
                    by_reason[reason] += 1
            case Filled(keys=keys):
                count = len(keys)
                self.fills += count
            case FillRefused(keys=keys):
                count = len(keys)
                self.refused_fills += count
            case Invalidated(keys=keys):
                count = len(keys)
                self.invalidations += count
            case Journaled(keys=keys):
                count = len(keys)
                self.journaled += count
            case Failure():
                self.failures += 1
            case _:
                pass
