"""Warm reads in SQLAlchemy: our integration beside dogpile.cache, used as SQLAlchemy's own caching example does it.

dogpile.cache keeps results of statements and learns of no write: what it gives is as old as its entries may get. Ours
keeps rows, and no read that starts after a commit sees what was before. In memory dogpile.cache keeps the instances
themselves and a read copies their columns by reference; ours decodes a row, so that nobody shares a mutable value. A
relation is one multi-get of ours and a lazy load for each row of theirs.
"""

from collections.abc import Iterator
from time import perf_counter, process_time
from typing import Any

import pytest

from benchmarks.peers import needs
from benchmarks.processor import one_processor
from benchmarks.versus import Versus, timed
from cachecore.testing.servers import RedisServer

GROUP = "peers-sqlalchemy"
# dogpile.cache stores by a command that redis-py no longer likes.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

CALLS = {
    "by_key": ("new session, primary key", "get_from_cache", "FromCache"),
    "by_slug": ("new session, slug", "get_from_cache", "FromCache"),
    "relation": ("100 rows and their relation", "from_cache", "RelationshipCache"),
}


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A Redis server on the processor that this process runs on."""
    with one_processor(), RedisServer() as server:
        yield server.url


def both(location: str, redis_url: str | None) -> Iterator[tuple[Any, Any]]:
    """Our side and theirs."""
    needs("SQLAlchemy", "dogpile.cache")
    from benchmarks.peers.sqlalchemy_sides import Ours, dogpile

    ours, other = Ours(location), dogpile(redis_url)
    yield ours, other
    ours.close()
    other.close()


@pytest.fixture(scope="module")
def in_memory() -> Iterator[tuple[Any, Any]]:
    """Both sides in memory."""
    yield from both("memory://", None)


@pytest.fixture(scope="module")
def on_redis(redis_url: str) -> Iterator[tuple[Any, Any]]:
    """Both sides on Redis."""
    needs("redis")
    yield from both(redis_url, redis_url)


@pytest.mark.parametrize("call", CALLS)
@timed(process_time)
def test_memory(versus: Versus, in_memory: tuple[Any, Any], call: str) -> None:
    """A hundred cities from memory, each in a session of its own or as the relations of a hundred shops."""
    measure(versus, in_memory, call, "memory")


@pytest.mark.parametrize("call", CALLS)
@timed(perf_counter)
def test_redis(versus: Versus, on_redis: tuple[Any, Any], call: str) -> None:
    """A hundred cities from Redis."""
    measure(versus, on_redis, call, "Redis")


def measure(versus: Versus, sides: tuple[Any, Any], call: str, place: str) -> None:
    """One call of both sides."""
    ours, other = sides
    name, shown, option = CALLS[call]
    versus(
        f"{place}, {name}",
        getattr(ours, call)(),
        getattr(other, call)(),
        shown=shown,
        against=f"dogpile.cache, {option}",
    )
