"""Reads and fills on memcached: our round trips against the bare client's, and the whole path against its like.

It starts servers of its own. Their work is part of every round trip, so the times are those of the clock; both sides of
a ratio run in turns of milliseconds, one directly after the other, everything warm, and all of it on one processor
(`benchmarks.network` says why, and what the calls are).
"""

import pytest

from benchmarks.network import WATCH, Network
from benchmarks.versus import Versus, timed

GROUP = "memcached"
pytestmark = timed(WATCH)
STOCK, SEED = "pymemcache get", "seed-like on PyMemcacheCache"

# What, ours, as it is shown, its reference, as it is shown, the target as a cost (<=) or a gain (>=).
CASES = [
    ("pk", "memcached_pk", "Records.get", "memcached_gets", STOCK, "<=", 1.3),
    ("lookup", "memcached_slug", "Records.find", "memcached_gets", STOCK, "<=", 1.3),
    ("pk", "django_memcached_pk", "get_from_cache", "memcached_gets", STOCK, "<=", 1.3),
    ("lookup", "django_memcached_slug", "get_from_cache", "memcached_gets", STOCK, "<=", 1.3),
    ("pk", "django_memcached_pk", "get_from_cache", "seed_memcached_pk", SEED, ">=", 2.5),
    ("lookup", "django_memcached_slug", "get_from_cache", "seed_memcached_slug", SEED, ">=", 2.5),
    ("100 at once", "memcached_many", "get_many", "memcached_get_many", "get_many and decoding", "<=", 1.5),
    ("100 at once, three servers", "fleet_many", "get_many", "memcached_get_many", "get_many on one, and decoding",
     "<=", 1.3),
    ("100 at once", "django_memcached_many", "get_many_from_cache", "memcached_get_many_instances",
     "get_many, decoding, instances", "<=", 1.5),
    ("a fill", "memcached_fill", "backend.fill", "memcached_sets", "pymemcache set", "<=", 1.2),
    ("the backend's share of pk", "memcached_acquire", "backend.acquire", "memcached_gets", STOCK, "<=", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "ours", "shown", "reference", "against", "sign", "target"), CASES)
def test_memcached(
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
