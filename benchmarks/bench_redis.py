"""Reads and fills on Redis: our round trips against the bare clients', and the whole path against its like.

It starts servers of its own. Their work is part of every round trip, so the times are those of the clock; both sides of
a ratio run in turns of milliseconds, one directly after the other, everything warm, and all of it on one processor
(`benchmarks.network` says why, and what the calls are).
"""

import pytest

from benchmarks.network import WATCH, Network
from benchmarks.versus import Versus, timed

GROUP = "redis"
pytestmark = timed(WATCH)
RAW, STOCK, SEED = "raw socket GET", "redis-py get, stock pool", "seed-like on RedisCache"

# What, ours, as it is shown, its reference, as it is shown, the target as a cost (<=) or a gain (>=).
CASES = [
    ("pk", "redis_pk", "Records.get", "raw_gets", RAW, "<=", 1.4),
    ("pk", "redis_pk", "Records.get", "redis_gets", STOCK, "<=", 1.25),
    ("lookup", "redis_slug", "Records.find", "raw_gets", RAW, "<=", 1.7),
    ("lookup", "redis_slug", "Records.find", "redis_gets", STOCK, "<=", 1.25),
    ("pk", "django_redis_pk", "get_from_cache", "raw_gets", RAW, "<=", 1.4),
    ("pk", "django_redis_pk", "get_from_cache", "redis_gets", STOCK, "<=", 1.25),
    ("lookup", "django_redis_slug", "get_from_cache", "raw_gets", RAW, "<=", 1.7),
    ("lookup", "django_redis_slug", "get_from_cache", "redis_gets", STOCK, "<=", 1.25),
    ("pk", "django_redis_pk", "get_from_cache", "seed_redis_pk", SEED, ">=", 3),
    ("lookup", "django_redis_slug", "get_from_cache", "seed_redis_slug", SEED, ">=", 3),
    ("100 at once", "redis_many", "get_many", "redis_mget", "MGET and decoding", "<=", 1.5),
    ("100 at once", "django_redis_many", "get_many_from_cache", "redis_mget_instances",
     "MGET, decoding, instances", "<=", 1.5),
    ("a fill", "redis_fill", "backend.fill", "redis_sets", "redis-py set, stock pool", "<=", 1.2),
    ("pk", "django_redis_pk", "get_from_cache", "raw_gets_without_timeout", "raw socket GET, no timeout", "<=", None),
    ("the backend's share of pk", "redis_acquire", "backend.acquire", "raw_gets", RAW, "<=", None),
    ("redis-py, a pinned connection", "pinned_gets", "pinned GET", "raw_gets", RAW, "<=", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "ours", "shown", "reference", "against", "sign", "target"), CASES)
def test_redis(
    versus: Versus,
    net: Network,
    name: str,
    ours: str,
    shown: str,
    reference: str,
    against: str,
    sign: str,
    target: float | None,
) -> None:
    """A hundred things a call."""
    versus(
        name,
        net.call(ours),
        net.call(reference),
        shown=shown,
        against=against,
        target=target,
        better="lower" if sign == "<=" else "higher",
        rounds=101,
        turn=0.005,
    )
