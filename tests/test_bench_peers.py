"""The benchmarks beside other libraries compare what they say they compare."""

import asyncio
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
from sqlalchemy import event, select

from benchmarks.groups import PEERS, run
from benchmarks.peers import installed, needs
from benchmarks.peers.awaited import NUMBERS, Cashews, Ours, at_once, made, one_by_one
from benchmarks.peers.django_hosts import SIDES, HostFailed, Hosts
from benchmarks.peers.maps import OTHERS, Map, copies, keys_of
from benchmarks.peers.maps import Ours as OurMap
from benchmarks.peers.resident import resident_bytes
from cachecore.testing.servers import MemcachedServer, RedisServer
from tests.conftest import require

SELECTIONS = {
    "peers-map": "test_hit and HomeMade and not threads",
    "peers-async": "test_memory and shared and one",
    "peers-sqlalchemy": "test_memory and slug",
    "peers-django": "test_read and seed-like and locmem and many",
}


def test_a_library_that_is_missing_is_named() -> None:
    """A benchmark of a library that is not installed skips, and says which one."""
    needs("pytest", "")
    with pytest.raises(pytest.skip.Exception, match="no-such-library"):
        needs("pytest", "no-such-library")


@pytest.mark.parametrize("name", PEERS)
def test_every_group_gives_figures(name: str) -> None:
    """Each group runs by itself, and what it measures comes back as figures of its name; none without the library."""
    figures = run(PEERS[name], quick=True, arguments=["-k", SELECTIONS[name]])
    library = {"peers-async": "cashews", "peers-sqlalchemy": "dogpile.cache"}.get(name)
    if library is not None and not installed(library):
        assert figures == []
        needs(library)
    assert figures
    assert {figure.group for figure in figures} == {name}
    assert all(figure.ratio.median > 0 for figure in figures)


# -- maps ------------------------------------------------------------------------------------------


@pytest.fixture(params=[OurMap, *OTHERS], ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[Map]:
    """Each map whose library is installed."""
    kind: type[Map] = request.param
    needs(kind.distribution)
    return kind


def test_a_map_holds_what_it_was_given(kind: type[Map]) -> None:
    """What is stored is found by an equal key, and the calls that are measured run."""
    keys, absent = keys_of(100), keys_of(100, seed=2)
    one = kind(1_000)
    one.fill(keys)
    asked = copies(keys)
    assert not any(copy is key for copy, key in zip(asked, keys, strict=True))
    assert len(one) == 100
    one.hits(asked)()
    if one.asked:
        one.misses(absent)()
        assert [one.value(key) for key in absent] == [None] * 100
    assert [one.value(key) for key in asked] == keys


def test_a_map_evicts(kind: type[Map]) -> None:
    """A full map takes new keys, turn by turn, and holds what it has room for, and the few that theine lets wait."""
    keys = keys_of(4_000)
    one = kind(1_000)
    sets = one.sets(cycle([keys[start : start + 500] for start in range(0, len(keys), 500)]))
    for _ in range(20):
        sets()
    assert 500 <= len(one) <= 1_100
    found = {key: one.value(key) for key in keys}
    assert any(value is not None for value in found.values())
    assert all(value in (None, key) for key, value in found.items())


@pytest.mark.parametrize("kind", [OurMap, OTHERS[-1]], ids=lambda kind: kind.__name__)
def test_the_bytes_of_an_entry_are_those_of_a_fresh_process(kind: type[Map]) -> None:
    """An entry is more than a pointer to its key and one to its value, and less than a kilobyte."""
    assert 16 < resident_bytes(kind, 20_000) < 1_000


# -- awaited caches --------------------------------------------------------------------------------


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A Redis server of its own."""
    with require(RedisServer) as server:
        yield server.url


async def fill_and_read(cache: Any) -> None:
    """Make all values, and read them in both manners."""
    expected = [made(number) for number in NUMBERS]
    try:
        assert await cache.get(1) is None
        assert await one_by_one(cache.get_or_create) == expected
        assert await one_by_one(cache.get) == await at_once(cache.get) == expected
        assert await at_once(cache.get_or_create) == expected
    finally:
        await cache.close()


async def test_ours_gives_the_values(redis_url: str) -> None:
    """AsyncCache gives every value, made once, in memory and from Redis."""
    for location in ("memory://", redis_url):
        await fill_and_read(Ours(location))


@pytest.mark.parametrize(
    ("location", "options"),
    [("mem://", {}), ("mem://", {"pickle_type": "default"}), ("redis", {}), ("redis", {"client_side": True})],
    ids=["memory", "pickle", "Redis", "client side"],
)
def test_cashews_gives_the_values(redis_url: str, location: str, options: dict[str, Any]) -> None:
    """cashews gives the same values, however it is set up."""
    needs("cashews")
    url = redis_url if location == "redis" else location
    asyncio.run(_cashews(url, options))


async def _cashews(url: str, options: dict[str, Any]) -> None:
    await fill_and_read(Cashews(url, **options))


# -- SQLAlchemy ------------------------------------------------------------------------------------


@pytest.fixture(params=["ours", "dogpile.cache"])
def side(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each side, in memory."""
    needs("dogpile.cache")
    from benchmarks.peers import sqlalchemy_sides as sides

    side = sides.Ours("memory://") if request.param == "ours" else sides.dogpile(None)
    yield side
    side.close()


def test_a_warm_read_of_sqlalchemy_asks_no_database(side: Any) -> None:
    """By key, by slug and by relation each side gives the right cities without a statement for them."""
    for call in (side.by_key, side.by_slug, side.relation):
        call()()


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_dogpile_pickles_on_redis(redis_url: str) -> None:
    """Results and relations come back from Redis as they were."""
    needs("dogpile.cache")
    from benchmarks.peers.sqlalchemy_sides import dogpile

    side = dogpile(redis_url)
    try:
        for call in (side.by_key, side.by_slug, side.relation):
            call()()
    finally:
        side.close()


def test_the_option_of_dogpile_caches_its_own_statement_only() -> None:
    """A result is stored for a statement with the option, once for each value, and for nothing else."""
    needs("dogpile.cache")
    from benchmarks.peers.dogpile_option import FromCache, RelationshipCache
    from benchmarks.peers.sqlalchemy_sides import TheirCity, TheirShop, dogpile

    side = dogpile(None)
    sent: list[str] = []
    event.listen(side.engine, "before_cursor_execute", lambda *given: sent.append(given[2]))

    def slugs(*options: Any, key: int) -> list[str]:
        with side.sessions() as session:
            statement = select(TheirCity).where(TheirCity.id == key).options(*options)
            return [city.slug for city in session.scalars(statement)]

    def of_shop(*options: Any) -> str:
        with side.sessions() as session:
            slug: str = session.scalars(select(TheirShop).where(TheirShop.id == 7).options(*options)).one().city.slug
            return slug

    try:
        assert [slugs(FromCache(), key=key) for key in (1, 2, 1, 2)] == [["c1"], ["c2"], ["c1"], ["c2"]]
        assert len(sent) == 2
        assert slugs(key=1) == slugs(key=1) == ["c1"]
        assert len(sent) == 4
        del sent[:]
        assert of_shop(RelationshipCache(TheirShop.city)) == of_shop(RelationshipCache(TheirShop.city)) == "c7"
        assert len(sent) == 3, "the shop twice, its city once"
        del sent[:]
        assert of_shop() == of_shop() == "c7"
        assert len(sent) == 4, "nothing of these is cached"
    finally:
        side.close()


# -- Django ----------------------------------------------------------------------------------------


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Django processes with servers of their own."""
    with (
        require(RedisServer) as redis,
        require(MemcachedServer) as memcached,
        Hosts(redis.url, f"{memcached.host}:{memcached.port}") as hosts,
    ):
        yield hosts


@pytest.mark.parametrize("process", dict.fromkeys(SIDES.values()))
def test_every_side_does_what_is_measured(hosts: Hosts, process: str) -> None:
    """Reads are right and warm, and a write is seen by the read after it, but by the seed-like managers."""
    needs({"cacheops": "django-cacheops", "ours": "", "Django": ""}.get(process, "django-cachalot"))
    for side in [side for side, host in SIDES.items() if host == process]:
        for name in ("pk", "slug", "many"):
            hosts.call(side, name)()
        if not side.startswith("seed-like"):
            for name in ("save", "save_and_read", "update"):
                hosts.call(side, name)()


def test_a_side_that_fails_is_named(hosts: Hosts, capfd: pytest.CaptureFixture[str]) -> None:
    """What a process cannot do ends it: the error names the process and the call, and the reason can be read."""
    with pytest.raises(HostFailed, match=r"Django.*'make seed-like, locmem:save'"):
        hosts.call("seed-like, locmem", "save")
    assert "never sees what is written" in capfd.readouterr().err
    with pytest.raises(HostFailed, match=r"Django.*'make Django:pk'"):
        hosts.call("Django", "pk")
