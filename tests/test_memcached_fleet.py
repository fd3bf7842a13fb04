"""A fleet of memcached servers: which owns a key, servers that die and return, and lists of servers that change."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import pytest

from cachecore.backends.memcached.async_backend import AsyncMemcachedBackend
from cachecore.backends.memcached.backend import MemcachedBackend
from cachecore.backends.memcached.ring import Ring
from cachecore.backends.memcached.settings import parsed
from cachecore.entries import Grant, Value
from cachecore.errors import BackendError, BackendUnavailable
from cachecore.registry import make_backend
from cachecore.testing import AsyncBackendSuite, BackendSuite, ManualClock
from cachecore.testing.servers import MemcachedServer
from tests.conftest import PATIENT, require

MINE, YOURS = b"mine----", b"yours---"
OLD, NEW = Value(b"old", b"stamp"), Value(b"new", b"stamp")
KEYS = [f"row:{number}" for number in range(60)]


def url_of(servers: Sequence[MemcachedServer], options: str = "") -> str:
    return "memcached://" + ",".join(f"{server.host}:{server.port}" for server in servers) + options


def listed(servers: Sequence[MemcachedServer]) -> str:
    return ",".join(f"{server.host}:{server.port}" for server in servers)


@pytest.fixture(scope="module")
def three() -> Iterator[list[MemcachedServer]]:
    """Three servers that no test stops."""
    with require(MemcachedServer) as one, MemcachedServer() as two, MemcachedServer() as three:
        yield [one, two, three]


@pytest.fixture
def fleet(three: list[MemcachedServer]) -> Iterator[MemcachedBackend]:
    backend = make_backend(url_of(three), PATIENT)
    backend.clear()
    yield backend
    backend.close()


class OnFleet:
    """What the suites below have in common."""

    moves_clock = False
    too_large = 2_000_000
    examples = 25
    servers: ClassVar[list[MemcachedServer]]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _servers(cls, three: list[MemcachedServer]) -> None:
        cls.servers = three

    def let_pass(self, seconds: float) -> None:
        pytest.skip("time passes in test_memcached.py")

    def make_backend(self, clock: ManualClock | None) -> Any:
        return MemcachedBackend(parsed(url_of(self.servers), PATIENT))

    def inject(self, key: str, raw: bytes) -> None:
        for server in self.servers:
            server.call(b"set %b 0 0 %d\r\n%b\r\n" % (key.encode(), len(raw), raw))


class TestFleet(OnFleet, BackendSuite):
    """Three servers, blocking."""


class TestAsyncFleet(OnFleet, AsyncBackendSuite):
    """Three servers, awaited."""

    def make_backend(self, clock: ManualClock | None) -> Any:
        return AsyncMemcachedBackend(parsed(url_of(self.servers), PATIENT))


class TestFleetThatChanges(OnFleet, BackendSuite):
    """Two servers with a second list of other two: writers tell both, and readers see no difference."""

    def make_backend(self, clock: ManualClock | None) -> Any:
        return MemcachedBackend(parsed(url_of(self.servers[:2]), {"also": listed(self.servers[1:]), **PATIENT}))


# -- which server owns a key -----------------------------------------------------------------------

NAMES = ["cache-a:11211", "cache-b:11211", "cache-c:11211"]
VECTOR = "2121222111112112122200111220001101001020"


def test_owners_of_keys_are_fixed() -> None:
    """These owners hold in every process, Python and release: a change would lose every value of every fleet."""
    ring = Ring(NAMES)
    assert "".join(str(ring.owner(b"key:%d" % number)) for number in range(40)) == VECTOR


def test_the_order_of_servers_does_not_matter() -> None:
    """Two processes that list the same servers differently agree on the owner of every key."""
    one, other = Ring(NAMES), Ring(NAMES[::-1])
    for number in range(1000):
        key = b"key:%d" % number
        assert NAMES[one.owner(key)] == NAMES[::-1][other.owner(key)]


@pytest.mark.parametrize("count", [2, 3, 8])
def test_every_server_owns_its_share(count: int) -> None:
    """Of 20,000 keys each server owns its part, give or take a tenth of it."""
    ring = Ring([f"10.0.0.{number}:11211" for number in range(count)])
    owned = Counter(ring.owner(b"app:Row:i%d" % number) for number in range(20_000))
    assert len(owned) == count
    assert all(abs(keys * count / 20_000 - 1) < 0.1 for keys in owned.values())


def test_a_server_that_joins_takes_only_what_is_its_own() -> None:
    """No key moves between two servers that stay."""
    before, after = Ring(NAMES), Ring([*NAMES, "cache-d:11211"])
    owners = [(before.owner(b"%d" % number), after.owner(b"%d" % number)) for number in range(4000)]
    moved = [pair for pair in owners if pair[0] != pair[1]]
    assert {new for _, new in moved} == {3}
    assert 800 < len(moved) < 1200


def test_keys_are_on_the_servers_that_own_them(fleet: MemcachedBackend, three: list[MemcachedServer]) -> None:
    """A batch is split by owner, answered in its order, and no server is told of another's keys."""
    assert fleet.put([(key, Value(key.encode()), 3) for key in KEYS], None) == [True] * len(KEYS)
    assert fleet.get(KEYS) == [Value(key.encode()) for key in KEYS]
    ring = Ring([f"{server.host}:{server.port}" for server in three])
    for key in KEYS:
        found = [server.call(b"mg %b\r\n" % key.encode()) == b"HD\r\n" for server in three]
        assert found.index(True) == ring.owner(key.encode())
        assert found.count(True) == 1


def test_a_large_map_of_owners_begins_anew() -> None:
    """The memory of owners is bounded, and what it answers does not change."""
    ring = Ring(NAMES)
    first = [ring.owner(b"%d" % number) for number in range(70_000)]
    assert [ring.owner(b"%d" % number) for number in range(100)] == first[:100]


# -- servers that die ------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[list[MemcachedServer]]:
    """Two servers for one test, which may stop them."""
    with require(MemcachedServer) as one, MemcachedServer() as other:
        yield [one, other]


def keys_of(pair: Sequence[MemcachedServer], owner: int) -> list[str]:
    ring = Ring([f"{server.host}:{server.port}" for server in pair])
    return [key for key in KEYS if ring.owner(key.encode()) == owner]


def test_the_keys_of_a_dead_server_move_to_nobody(pair: list[MemcachedServer]) -> None:
    """Readers and writers of its keys are told that it is away; the other server serves its own keys only."""
    backend = make_backend(url_of(pair, "?breaker_window=60"))
    backend.put([(key, OLD, 3) for key in KEYS], None)
    theirs, ours = keys_of(pair, 0), keys_of(pair, 1)
    pair[0].kill()
    for ask in (
        lambda: backend.get(theirs),
        lambda: backend.acquire(theirs, MINE, 10.0),
        lambda: backend.hold(theirs, MINE, 15.0),
        lambda: backend.put([(theirs[0], NEW, 3)], None),
        lambda: backend.get(KEYS),
    ):
        with pytest.raises(BackendUnavailable, match=str(pair[0].port)):
            ask()
    assert backend.get(ours) == [OLD] * len(ours)
    assert all(pair[1].call(b"mg %b\r\n" % key.encode()) == b"EN\r\n" for key in theirs)
    backend.close()


async def test_a_dead_server_keeps_nobody_from_finishing_with_the_others(pair: list[MemcachedServer]) -> None:
    """A COMPLETE that fails for one server has been done at the other, blocking and awaited."""
    backend = make_backend(url_of(pair), PATIENT)
    awaited = make_backend(url_of(pair), PATIENT, awaited=True)
    backend.hold(KEYS, MINE, 15.0)
    await awaited.hold(KEYS, YOURS, 15.0)
    pair[0].kill()
    with pytest.raises(BackendUnavailable):
        backend.complete(KEYS, MINE, {}, None)
    with pytest.raises(BackendUnavailable):
        await awaited.complete(KEYS, YOURS, {}, None)
    ours = keys_of(pair, 1)
    assert backend.get(ours) == [None] * len(ours)
    backend.close()
    await awaited.close()


def test_a_server_that_returns_brings_nothing_old(pair: list[MemcachedServer]) -> None:
    """A server that was restarted is asked again, is empty, and refuses the leases it granted before."""
    backend = make_backend(url_of(pair, "?breaker_window=0.001"))
    [key, *_] = keys_of(pair, 0)
    [grant] = backend.acquire([key], MINE, 10.0)
    assert isinstance(grant, Grant)
    pair[0].kill()
    with pytest.raises(BackendError):
        backend.get([key])
    pair[0].start()
    assert backend.fill([(key, grant.token, OLD, 3)], None) == [False]
    assert backend.get([key]) == [None]
    backend.close()


# -- lists of servers that change ------------------------------------------------------------------


class Process:
    """A process with its own settings, which reads and writes one row through the cache."""

    def __init__(self, servers: Sequence[MemcachedServer], database: dict[str, bytes], **options: str) -> None:
        self.backend: MemcachedBackend = make_backend(url_of(servers), {**PATIENT, **options})
        self.database = database

    def read(self, key: str) -> bytes:
        [reply] = self.backend.acquire([key], MINE, 10.0)
        if isinstance(reply, Value):
            assert isinstance(reply.payload, bytes)
            return reply.payload
        row = self.database[key]
        if isinstance(reply, Grant):
            self.backend.fill([(key, reply.token, Value(row), 1)], None)
        return row

    def write(self, key: str, row: bytes) -> None:
        self.backend.hold([key], YOURS, 15.0)
        self.database[key] = row
        self.backend.complete([key], YOURS, {}, None)


def rollout(steps: Sequence[Process], keys: Sequence[str], database: dict[str, bytes]) -> list[str]:
    """Processes of two neighbouring steps run at once, then those of the next two: which keys were read outdated."""
    outdated: list[str] = []
    version = 0
    for old, new in pairwise(steps):
        for writer in (old, new, old):
            version += 1
            for key in keys:
                for reader in (old, new):
                    reader.read(key)
                writer.write(key, b"%d" % version)
                outdated += [key for reader in (old, new) if reader.read(key) != database[key]]
    for process in steps:
        process.backend.close()
    return outdated


def test_a_list_changed_at_once_shows_old_rows(pair: list[MemcachedServer]) -> None:
    """The control: processes that know of a new server and such that do not tell different owners."""
    database = dict.fromkeys(KEYS, b"0")
    steps = [Process(pair[:1], database), Process(pair, database)]
    assert rollout(steps, KEYS, database) != []


@pytest.mark.parametrize("direction", [1, -1])
def test_a_list_changed_in_three_steps_shows_none(pair: list[MemcachedServer], direction: int) -> None:
    """Writers tell both owners before anybody reads from the new list, and until nobody reads from the old one."""
    database = dict.fromkeys(KEYS, b"0")
    one, two = (pair[:1], pair)[::direction]
    steps = [
        Process(one, database),
        Process(one, database, also=listed(two)),
        Process(two, database, also=listed(one)),
        Process(two, database),
    ]
    assert rollout(steps, KEYS, database) == []


def returned(pair: list[MemcachedServer], **options: str) -> list[str]:
    """A server leaves the list, rows are written, and it returns as it was: which keys are read outdated?"""
    database = dict.fromkeys(KEYS, b"0")
    both = Process(pair, database)
    for key in KEYS:
        both.read(key)
    alone = Process(pair[1:], database)
    for key in KEYS:
        alone.write(key, b"1")
    again = Process(pair, database, **options)
    outdated = [key for key in KEYS if again.read(key) != database[key]]
    for process in (both, alone, again):
        process.backend.close()
    return outdated


def test_a_server_that_returns_to_the_list_with_its_memory_shows_old_rows(pair: list[MemcachedServer]) -> None:
    """The control: nobody told it of the writes meanwhile."""
    assert returned(pair) != []


def test_another_generation_believes_nothing_of_what_was_before(pair: list[MemcachedServer]) -> None:
    """With a new generation, a server that returns to the list with its memory shows no old rows."""
    assert returned(pair, generation="2") == []


async def test_both_lists_are_told_by_awaited_backends_too(pair: list[MemcachedServer]) -> None:
    """hold, complete, release, forget, put and swap reach the other owner of a key, and leave no value there."""
    settings = {"also": listed(pair[1:])}
    backend = make_backend(url_of(pair[:1]), settings, awaited=True)
    other = make_backend(url_of(pair[1:]))
    for finish in (
        lambda: backend.complete(["row"], MINE, {"row": (NEW, 3)}, None),
        lambda: backend.release(["row"], MINE),
    ):
        other.put([("row", OLD, 3)], None)
        await backend.hold(["row"], MINE, 15.0)
        assert type(other.get(["row"])[0]).__name__ == "Hold"
        await finish()
        assert other.get(["row"]) == [None]
    await backend.put([("row", OLD, 3)], None)
    for change in (
        lambda: backend.forget(["row"]),
        lambda: backend.put([("row", OLD, 3)], None),
        lambda: backend.swap("row", OLD.stamp, NEW, 3, None),
    ):
        other.put([("row", OLD, 3)], None)
        assert await change()
        assert other.get(["row"]) == [None]
    await backend.clear()
    await backend.close()
    other.close()
