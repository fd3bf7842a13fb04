"""One frozen record of durations and choices; each field says what breaks when it is wrong."""

import math
from datetime import timedelta
from typing import Any, Literal, Self

import msgspec

from cachecore.errors import ConfigurationError

MINIMUM_HOLD_TTL = 5.0
"""Seconds. memcached rounds expiry to its one-second tick, so shorter holds may end while COMMIT is under way."""

Ttl = float | timedelta | None
"""How long something lives, as callers say it: seconds or a timedelta, ``math.inf`` for ever."""


def lifetime(ttl: Ttl) -> float | None:
    """Seconds, and None for ever, which is what backends take. Raises ConfigurationError unless it is positive."""
    if ttl is None:
        return None
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if not _is_number(seconds) or not seconds > 0:
        raise ConfigurationError(f"ttl must be a positive number of seconds, a timedelta or None, not {ttl!r}")
    return None if seconds == math.inf else seconds


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How long things live and what to do when the cache cannot be reached. All durations in seconds."""

    ttl: float | None = 300.0
    """Life of a stored row; None or ``math.inf`` means until evicted. Too long: more memory. It is no means of
    correctness."""

    lease_ttl: float = 10.0
    """Life of a reader's lease. Too short: slow queries never fill. Too long: after a reader's crash the row stays
    uncached for that long."""

    lease_wait: float = 0.1
    """How long a reader waits for another reader's fill before it asks the database itself. 0 never waits: a cold
    popular row is then read by everybody at once."""

    lease_poll: float = 0.001
    """First pause between two looks while waiting; it doubles each time."""

    hold_ttl: float = 15.0
    """Life of a writer's hold. At least 5. Too short: a slow COMMIT outlives it, and the row may be filled too early;
    COMPLETE then removes it. Too long: after a writer's crash the row stays uncached for that long."""

    commit_margin: float = 2.0
    """COMMIT is sent only while the hold has this long to live, otherwise PREPARE runs again. Too short: a pause of
    the process lets the hold end inside COMMIT."""

    bulk_threshold: int = 1000
    """A bulk write of more rows than this outdates the whole entity by its epoch instead of holding each row."""

    unreachable: Literal["journal", "refuse", "bounded"] | None = None
    """When PREPARE is not acknowledged. "journal": the write goes on, and its keys go into a journal in the same
    transaction, from which they are outdated once the cache is back; readers who reach it before may see the old row.
    "refuse": the write raises before COMMIT, and nobody ever sees stale data. "bounded": the write goes on, and readers
    may see the old row until its TTL ends. None: "journal" where the unit of work was given one, otherwise "refuse"."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "ttl", lifetime(self.ttl))
        for name in ("lease_ttl", "lease_wait", "lease_poll", "hold_ttl", "commit_margin", "bulk_threshold"):
            value: float = getattr(self, name)
            if not _is_number(value) or not 0 <= value < math.inf:
                raise ConfigurationError(f"{name} must be a number, finite and not negative, not {value!r}")
        for name in ("lease_ttl", "lease_poll", "bulk_threshold"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be positive, not {getattr(self, name)!r}")
        if self.hold_ttl < MINIMUM_HOLD_TTL:
            raise ConfigurationError(f"hold_ttl must be at least {MINIMUM_HOLD_TTL} seconds, not {self.hold_ttl!r}")
        if self.commit_margin >= self.hold_ttl:
            raise ConfigurationError(
                f"commit_margin must be shorter than hold_ttl ({self.hold_ttl}), not {self.commit_margin!r}"
            )
        if self.unreachable not in ("journal", "refuse", "bounded", None):
            raise ConfigurationError(
                f'unreachable must be "journal", "refuse", "bounded" or None, not {self.unreachable!r}'
            )

    @classmethod
    def names(cls) -> frozenset[str]:
        """The names of all fields, for whoever reads settings."""
        return frozenset(cls.__struct_fields__)

    def replace(self, **changes: Any) -> Self:
        """This policy with other values for some fields. Raises as the constructor does, and TypeError for no field."""
        return msgspec.structs.replace(self, **changes)
