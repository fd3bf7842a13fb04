"""Rows of an entity by their identity."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from cachecore import Cache, Column, Policy
from cachecore.entries import Value as StoredValue
from cachecore.entries import encode_entry
from cachecore.errors import ClosedError, ConfigurationError, InvalidKey, UncacheableLookup
from cachecore.events import FillRefused
from cachecore.testing import FakeBackend, ManualClock
from tests.cities import BERGEN, COLUMNS, LYON, OSLO, Cities

# -- get and get_many ------------------------------------------------------------------------------


def test_a_row_is_loaded_once_and_then_served(cache: Cache, cities: Cities) -> None:
    """The second read of a row asks no database and returns an equal row of the same types."""
    records = cities.records(cache)
    assert records.get(1) == OSLO
    assert cities.asked() == 1
    assert records.get(1) == OSLO
    assert cities.asked() == 0
    assert (cache.statistics.hits, cache.statistics.misses, cache.statistics.fills) == (1, 1, 1)


def test_a_row_that_does_not_exist_is_none_and_not_remembered(cache: Cache, cities: Cities) -> None:
    """Absence is asked of the database each time, so that a row is seen as soon as it is there."""
    records = cities.records(cache)
    assert records.get(9) is None
    cities.insert((9, "new", "no", "New", None))
    assert records.get(9) == (9, "new", "no", "New", None)


def test_many_rows_come_in_the_order_asked_with_one_load_for_the_misses(cache: Cache, cities: Cities) -> None:
    """Order and duplicates of the question are kept, None stands for what does not exist, and hits are not loaded."""
    records = cities.records(cache)
    assert records.get_many([3, 9, 1, 3]) == [LYON, None, OSLO, LYON]
    assert cities.loads == [[3, 9, 1]]
    cities.asked()
    assert records.get_many(iter([2, 3, 1, 2])) == [BERGEN, LYON, OSLO, BERGEN]
    assert cities.loads == [[2]]
    cities.asked()
    assert records.get_many([1, 2, 3]) == [OSLO, BERGEN, LYON]
    assert records.get_many([]) == []
    assert cities.asked() == 0


def test_hits_of_many_rows_are_counted_and_told_once(cache: Cache, cities: Cities) -> None:
    """Each row of a question counts once, its duplicates not, and who listens is told all keys in one event."""
    records = cities.records(cache)
    records.get_many([1, 2, 3])
    told: list[Any] = []
    cache.hooks.subscribe(told.append)
    before = cache.statistics.hits
    assert records.get_many([3, 1]) == [LYON, OSLO]
    assert records.get_many([2, 1, 2]) == [BERGEN, OSLO, BERGEN]
    assert cache.statistics.hits == before + 4
    keys = [records.entity.key(identity) for identity in (1, 2, 3)]
    assert [sorted(event.keys) for event in told] == [[keys[0], keys[2]], [keys[0], keys[1]]]
    with cache.begin() as unit:
        unit.touch(records, 1)
        cities.execute("UPDATE city SET name = 'Kristiania' WHERE id = 1")
        rows: Any = records.get_many([1, 2], unit=unit)
        assert [row[3] for row in rows] == ["Kristiania", "Bergen"]


def test_a_row_with_json_is_never_shared(cache: Cache, cities: Cities) -> None:
    """Changing the structures of a row in place, loaded or served, changes no other caller's row."""
    records = cities.records(cache)
    for _ in range(3):
        row: Any = records.get(1)
        assert row == OSLO
        row[4]["fjords"].append("changed")
    [row] = records.get_many([1])
    row[4].clear()
    found: Any = records.find(slug="oslo")
    found[4].clear()
    found = records.find(slug="oslo")
    assert found == OSLO
    assert records.get(1) == OSLO


def test_a_loaders_rows_may_be_any_sequence_and_are_not_kept(cache: Cache) -> None:
    """A driver's lists become tuples; who changes the list afterwards changes nothing that is cached."""
    mine = [1, "oslo"]
    records = cache.entity(
        "shop.Item", {"id": int, "name": str}, lookups=["name"], load=lambda ids: [mine], query=lambda fields: mine
    )
    assert records.get(1) == (1, "oslo")
    mine[1] = "changed"
    assert records.get(1) == (1, "oslo")
    mine[1] = "oslo"
    assert records.find(name="oslo") == (1, "oslo")


def test_a_call_may_bring_its_own_loader(cache: Cache, cities: Cities) -> None:
    """The loader of a call goes before the entity's, and an entity without one needs it."""
    records = cities.records(cache)
    assert records.get(1, lambda ids: [BERGEN, OSLO]) == OSLO
    bare = cities.records(cache, load=None, query=None, alias="other")
    with pytest.raises(UncacheableLookup, match=r"geo\.City has no load"):
        bare.get(1)
    assert bare.get(1, cities.load) == OSLO
    with pytest.raises(UncacheableLookup, match=r"geo\.City has no query"):
        bare.find(load=cities.load, slug="oslo")
    assert bare.find(lambda values: OSLO, cities.load, slug="oslo") == OSLO


@pytest.mark.parametrize("identity", ["1", True, 1.0, b"1", UUID(int=1), (1,)])
def test_an_identity_of_another_type_is_refused(cache: Cache, cities: Cities, identity: Any) -> None:
    """A database may find row 1 by "1" or True; as a second key it would be outdated by nobody, so it is refused."""
    records = cities.records(cache)
    unit = cache.begin()
    calls: list[Any] = [
        lambda: records.get(identity), lambda: records.get_many([1, identity]), lambda: records.find(id=identity),
        lambda: unit.touch(records, identity), lambda: cache.invalidate(records, identity),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(UncacheableLookup, match="id is int"):
            call()
    assert not unit.dirty
    assert cities.asked() == 0


def test_none_and_unhashable_identities_are_refused(cache: Cache, cities: Cities) -> None:
    """None names no row, and what cannot be part of a key is refused as such."""
    records = cities.records(cache)
    with pytest.raises(UncacheableLookup, match="id=None names no row"):
        records.get(None)
    with pytest.raises((UncacheableLookup, InvalidKey)):
        records.get([1])
    assert cities.asked() == 0


def test_a_subclass_of_the_identitys_type_means_its_base(cache: Cache, cities: Cities) -> None:
    """An int subclass finds, fills and outdates the same row as the int."""

    class Id(int):
        pass

    records = cities.records(cache)
    assert records.get(Id(1)) == records.get(1) == OSLO
    assert cities.asked() == 1
    cache.invalidate(records, Id(1))
    records.get(1)
    assert cities.asked() == 1


def test_a_composite_identity_is_a_tuple(cache: Cache) -> None:
    """Several columns identify a row together, in their order, and each has its type."""
    rows = {("no", 1): ("no", 1, "Oslo"), ("fr", 1): ("fr", 1, "Lyon")}
    loads: list[Any] = []

    def load(identities: Any) -> list[Any]:
        loads.append(list(identities))
        return [rows[identity] for identity in identities if identity in rows]

    columns = {"country": str, "number": int, "name": str}
    records = cache.entity("geo.Place", columns, identity=("country", "number"), load=load)
    for _ in range(2):
        assert records.get_many([("fr", 1), ("no", 1), ("no", 2)]) == [rows["fr", 1], rows["no", 1], None]
        assert records.find(number=1, country="no") == rows["no", 1]
    assert loads == [[("fr", 1), ("no", 1), ("no", 2)], [("no", 2)]]
    wrong: list[Any] = ["no", ("no",), ("no", 1, 2), ["no", 1]]
    for identity in wrong:
        with pytest.raises((UncacheableLookup, InvalidKey)):
            records.get(identity)
    with pytest.raises(UncacheableLookup, match="number is int"):
        records.get(("no", "1"))


# -- what is stored --------------------------------------------------------------------------------


def test_a_row_lives_for_the_ttl_of_its_entity(cache: Cache, cities: Cities, clock: ManualClock) -> None:
    """After its ttl a row is loaded again."""
    records = cities.records(cache, ttl=60)
    records.get(1)
    clock.advance(59)
    records.get(1)
    assert cities.asked() == 1
    clock.advance(2)
    records.get(1)
    assert cities.asked() == 1


@pytest.mark.parametrize("change", [{"version": 2}, {"columns": {**COLUMNS, "name": str | None}}])
def test_rows_of_another_version_or_schema_are_counted_misses(
    cache: Cache, cities: Cities, change: dict[str, Any]
) -> None:
    """Old and new code misread nothing of each other, share the keys, and outdate each other's rows."""
    old = cities.records(cache)
    new = cache.entity("geo.City", load=cities.load, **{"columns": COLUMNS, **change})
    old.get(1)
    assert new.get(1) == OSLO
    assert cache.statistics.miss_reasons == {"absent": 1, "schema": 1}
    assert new.get(1) == OSLO
    assert cities.asked() == 2
    cities.execute("UPDATE city SET name = 'Christiania' WHERE id = 1")
    cache.invalidate(old, 1)
    assert new.get(1) == (1, "oslo", "no", "Christiania", OSLO[4])


def _key_of_row(records: Any, identity: Any) -> str:
    [key] = records.keys_for([identity])
    return str(key)


def test_a_corrupt_entry_is_a_counted_miss_and_is_replaced(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """Bytes that are no entry, or an entry whose payload is no row, cost one load and are gone then."""
    records = cities.records(remote)
    records.get(1)
    key = _key_of_row(records, 1)
    good = server.snapshot()[key][0]
    stamp = good[13 : 13 + good[12]]
    bad_row = encode_entry(StoredValue(b"\xc0", stamp), server.incarnation)
    for count, rubbish in enumerate([b"", b"rubbish", good[:-1], bad_row, good[:12] + b"?" + good[13:]], 1):
        server.inject(key, rubbish)
        cities.asked()
        assert records.get(1) == OSLO
        assert cities.asked() == 1
        assert remote.statistics.miss_reasons["corrupt"] == count
        assert records.get(1) == OSLO
        assert cities.asked() == 0


def test_a_foreign_format_version_is_a_counted_miss_and_is_left_alone(
    remote: Cache, server: FakeBackend, cities: Cities
) -> None:
    """What a later release has stored is not read, not replaced and never an error: it may be its hold."""
    records = cities.records(remote)
    records.get(1)
    key = _key_of_row(records, 1)
    foreign = bytearray(server.snapshot()[key][0])
    foreign[2] += 1
    server.inject(key, bytes(foreign))
    for _ in range(2):
        assert records.get(1) == OSLO
    assert remote.statistics.miss_reasons["format"] == 2
    assert server.snapshot()[key][0] == bytes(foreign)
    remote.invalidate(records, 1)


def test_a_row_of_another_identity_is_a_counted_miss_and_is_replaced(
    remote: Cache, server: FakeBackend, cities: Cities
) -> None:
    """A row that stands under another's key is never served."""
    records = cities.records(remote)
    records.get_many([1, 2])
    server.inject(_key_of_row(records, 1), server.snapshot()[_key_of_row(records, 2)][0])
    for _ in range(2):
        assert records.get(1) == OSLO
    assert remote.statistics.miss_reasons["identity"] == 1


def test_rows_from_before_a_restart_are_not_believed(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """A server that failed over to old data is as good as empty."""
    records = cities.records(remote)
    records.get(1)
    before = server.snapshot()
    cities.execute("UPDATE city SET name = 'Christiania' WHERE id = 1")
    remote.invalidate(records, 1)
    server.restart(before)
    assert records.get(1) == (1, "oslo", "no", "Christiania", OSLO[4])


@pytest.mark.parametrize("row", [(1, object()), (1, None), (1,), (1, "a", "b"), (1, 5)])
def test_a_row_without_stored_form_is_returned_and_counted(cache: Cache, clock: ManualClock, row: Any) -> None:
    """The caller gets what the database gave; nothing is stored, and nobody has to wait."""
    records = cache.entity("shop.Item", {"id": int, "name": Column(name="name", type=str, nullable=False).type},
                           load=lambda ids: [row])  # fmt: skip
    before = clock()
    for count in (1, 2):
        assert records.get(1) == row
        assert cache.statistics.refused_fills == count
    assert cache.statistics.fills == 0
    assert clock() == before


def test_a_loader_that_raises_gives_its_leases_back(cache: Cache, cities: Cities, clock: ManualClock) -> None:
    """The error reaches the caller, and the next reader loads and fills at once."""

    def fail(_: Any) -> Any:
        raise LookupError("the database is down")

    records = cities.records(cache)
    before = clock()
    with pytest.raises(LookupError, match="the database is down"):
        records.get_many([1, 2], fail)
    assert records.get_many([1, 2]) == [OSLO, BERGEN]
    assert cache.statistics.fills == 2
    assert clock() == before


def test_a_loader_that_forgets_to_return_is_an_error_of_the_caller(cache: Cache, cities: Cities) -> None:
    """A loader without rows to iterate raises TypeError and blocks nobody."""
    records = cities.records(cache)
    nothing: Any = lambda ids: None  # noqa: E731
    with pytest.raises(TypeError):
        records.get(1, nothing)
    assert records.get(1) == OSLO
    assert cache.statistics.fills == 1


def test_a_failing_backend_costs_a_load_and_nothing_else(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """Reads are answered by the database and counted, whichever operation fails."""
    records = cities.records(remote)
    records.get(2)
    for name in ("acquire", "fill"):
        server.fail(name)
        assert records.get(1) == OSLO
    assert remote.statistics.failures == 2
    assert remote.statistics.miss_reasons["backend"] == 1
    server.fail(times=10)
    assert records.get_many([1, 2]) == [OSLO, BERGEN]
    assert records.find(slug="oslo") == OSLO
    server.recover()
    assert remote.statistics.failures > 2
    with pytest.raises(LookupError, match="down"):
        records.get(3, _down)


def _down(_: Any) -> Any:
    raise LookupError("down")


# -- apart and together ----------------------------------------------------------------------------


def test_namespaces_aliases_and_entities_are_apart(server: FakeBackend) -> None:
    """Two databases, two applications and two entities with the same identity share no row."""
    shop, blog = Cache(server, namespace="shop"), Cache(server, namespace="blog")
    places = [(shop, "geo.City", "default"), (shop, "geo.City", "archive"), (blog, "geo.City", "default"),
              (shop, "geo.Town", "default")]  # fmt: skip
    records = [
        cache.entity(name, {"id": int, "n": int}, alias=alias, load=lambda ids, n=number: [(id, n) for id in ids])
        for number, (cache, name, alias) in enumerate(places)
    ]
    for _ in range(2):
        assert [one.get(1) for one in records] == [(1, 0), (1, 1), (1, 2), (1, 3)]
    shop.invalidate(records[0])
    assert [one.get(1) for one in records] == [(1, 0), (1, 1), (1, 2), (1, 3)]
    assert shop.statistics.misses == 3 + 1


def test_eight_threads_on_a_cold_row_load_it_once(cities: Cities) -> None:
    """One reader loads while seven wait for its fill."""
    waiting = threading.Semaphore(0)
    pause = threading.Event()

    def sleep(seconds: float) -> None:
        waiting.release()
        pause.wait(seconds)

    def load(identities: Any) -> Any:
        for _ in range(7):
            assert waiting.acquire(timeout=30)  # every other thread has met the lease
        return cities.load(identities)

    policy = Policy(lease_wait=60, lease_ttl=120)
    with Cache("memory://", namespace="shop", policy=policy, sleep=sleep) as cache, ThreadPoolExecutor(8) as pool:
        records = cities.records(cache, load=load)
        rows = [future.result() for future in [pool.submit(records.get, 1) for _ in range(8)]]
    assert rows == [OSLO] * 8
    assert cities.loads == [[1]]
    assert len({id(row[4]) for row in rows if row}) == 8


def test_a_reader_that_waits_too_long_asks_the_database_itself(
    cache: Cache, cities: Cities, clock: ManualClock
) -> None:
    """A lease of a reader that never comes back delays others by lease_wait, and blocks fills for lease_ttl."""
    records = cities.records(cache)

    def die(_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.get(1, die)
    before = clock()
    assert records.get(1) == OSLO
    assert 0 < clock() - before <= 4 * Policy().lease_wait
    assert cache.statistics.miss_reasons["leased"] == 1
    assert cache.statistics.fills == 0
    clock.advance(Policy().lease_ttl)
    records.get(1)
    assert cache.statistics.fills == 1


# -- budgets ---------------------------------------------------------------------------------------


def test_the_operations_of_reads(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """Warm: one round trip for one row and for a hundred. Cold: acquire and fill, and once more for a new epoch."""
    for number in range(4, 104):
        cities.insert((number, f"slug-{number}", "xx", f"name {number}", None))
    records = cities.records(remote)

    def operations() -> list[str]:
        names = server.operations()
        server.log.clear()
        return names

    records.get(1)
    assert operations() == ["acquire", "fill", "fill"]
    records.get(2)
    assert operations() == ["acquire", "fill"]
    records.get(2)
    assert operations() == ["acquire"]
    records.get(999)
    assert operations() == ["acquire", "abandon"]
    many = list(range(4, 104))
    records.get_many(many)
    assert operations() == ["acquire", "fill"]
    records.get_many(many)
    assert operations() == ["acquire"]
    records.get_many([1, 2, 3, *many])
    assert operations() == ["acquire", "fill"]
    remote.invalidate(records, *many)
    assert operations() == ["complete"]
    assert cities.asked() == 5


def test_reading_without_filling_leaves_no_trace(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """With may_fill=False a read asks for what stands and changes nothing; hits still count."""
    records = cities.records(remote)
    assert records.get(1, may_fill=False) == OSLO
    assert server.operations() == ["get"]
    assert not server.snapshot()
    records.get(1)
    cities.asked()
    assert records.get_many([1, 2], may_fill=False) == [OSLO, BERGEN]
    assert cities.loads == [[2]]


# -- declarations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"identity": "nosuch"}, ["'nosuch'", "id, slug"]),
        ({"identity": ()}, ["at least one column"]),
        ({"lookups": ["nosuch"]}, ["'nosuch'", "id, slug"]),
        ({"lookups": [("slug", "nosuch")]}, ["'nosuch'"]),
        ({"lookups": [("slug", "slug")]}, ["slug", "twice"]),
        ({"lookups": [()]}, ["at least one column"]),
        ({"lookups": ["facts"]}, ["'facts'", "JSON"]),
        ({"identity": "facts"}, ["'facts'", "JSON"]),
        ({"columns": {"id": int, "place": complex}}, ["'place'", "complex"]),
        ({"columns": {"id": int | str}}, ["'id'", "int | str"]),
        ({"columns": [Column("id", int), Column("id", str)]}, ["'id'", "2 times"]),
    ],
)
def test_a_wrong_declaration_is_refused_by_name(cache: Cache, options: dict[str, Any], named: list[str]) -> None:
    """A declaration that cannot work is refused when it is made, naming the column."""
    with pytest.raises(ConfigurationError) as caught:
        cache.entity("geo.City", **{"columns": COLUMNS, **options})
    for part in named:
        assert part in str(caught.value)


@pytest.mark.parametrize("kind", [dict, list, dict[str, int], list[str], dict[str, object] | None, list[int] | None])
def test_a_structure_is_declared_by_dict_or_list(cache: Cache, kind: Any) -> None:
    """A dict or list column, also with types of its contents or None, is JSON."""
    value: Any = [{"a": [1]}]
    records = cache.entity("shop.Item", {"id": int, "data": kind}, load=lambda ids: [(1, value)])
    records.get(1)
    value[0]["a"].append(2)
    assert records.get(1) == (1, [{"a": [1]}])


# -- the documentation -----------------------------------------------------------------------------


def test_the_page_for_users_without_an_orm_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code blocks of docs/framework-neutral.md run as they stand, from top to bottom, and their asserts hold."""
    page = Path(__file__).parent.parent / "docs" / "framework-neutral.md"
    text = page.read_text(encoding="utf-8")
    # Everything but the code becomes empty lines, so that an error names the line of the page.
    lines = [""] * (text.count("\n") + 1)
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        first = text.count("\n", 0, block.start(1))
        code = block[1].splitlines()
        lines[first : first + len(code)] = code
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile("\n".join(lines), str(page), "exec"), names)
    assert names["cities"].entity.name == "geo.City"
    assert (tmp_path / "cities.sqlite3").exists()


# -- on a server -----------------------------------------------------------------------------------


def test_a_warm_read_is_one_operation(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """On a server a warm row costs one round trip, by its identity and by a lookup this process remembers."""
    records = cities.records(remote)
    assert records.get(1) == OSLO
    assert records.find(slug="oslo") == OSLO
    server.log.clear()
    assert records.get(1) == OSLO
    assert records.find(slug="oslo") == OSLO
    assert server.operations() == ["acquire", "acquire"]


def test_a_question_of_a_wrong_type_reaches_no_server(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """No lease is left under a key that no row has."""
    with pytest.raises(UncacheableLookup):
        cities.records(remote).get("1")
    assert server.operations() == []


def test_a_miss_uses_what_its_first_look_has_seen(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """A cold row is asked for once, loaded and filled; only the epoch, where there is none yet, is begun besides."""
    records = cities.records(remote)
    assert records.get(1) == OSLO
    assert server.operations() == ["acquire", "fill", "fill"]
    server.log.clear()
    assert records.get(2) == BERGEN
    assert server.operations() == ["acquire", "fill"]


def test_a_failing_server_is_asked_once(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """A read whose first look fails goes to the database, counts one failure, and does not try again."""
    records = cities.records(remote)
    records.find(slug="oslo")
    records.find(slug="oslo")
    server.log.clear()
    for read in (lambda: records.get(1), lambda: records.find(slug="oslo")):
        server.fail("acquire")
        assert read() == OSLO
    assert server.operations() == ["acquire", "acquire"]
    assert remote.statistics.failures == 2
    assert remote.statistics.miss_reasons["backend"] == 2


def test_a_full_server_serves_what_it_has(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """Without room for a lease a hit is a hit, a miss is the database's at once, and nothing is sent to be filled."""
    records = cities.records(remote)
    records.get(1)
    server.full = True
    server.log.clear()
    assert records.get_many([1, 2]) == [OSLO, BERGEN]
    assert records.get(2) == BERGEN
    assert server.operations() == ["acquire", "acquire"]
    assert remote.statistics.hits == 1


def test_a_full_server_without_an_epoch_makes_nobody_wait(
    remote: Cache, server: FakeBackend, clock: ManualClock, cities: Cities
) -> None:
    """Where not even the epoch finds room, rows come from the database and no reader sleeps."""
    started = clock()
    server.full = True
    records = cities.records(remote)
    assert records.get(1) == OSLO
    assert records.get_many([1, 2]) == [OSLO, BERGEN]
    assert clock() == started


def test_a_row_that_finds_no_room_is_counted_and_reported(clock: ManualClock, cities: Cities) -> None:
    """A value over the server's limit is returned, not stored, and told as such."""
    told: list[Any] = []
    with Cache(FakeBackend(clock, max_bytes=20), namespace="shop", clock=clock, sleep=clock.sleep) as cache:
        cache.hooks.subscribe(told.append)
        assert cities.records(cache).get(1) == OSLO
        assert cache.statistics.refused_fills == 1
    assert [event.reason for event in told if isinstance(event, FillRefused)] == ["room"]


def test_who_borrowed_the_read_of_a_cache_is_given_another_when_it_is_closed(cities: Cities) -> None:
    """Once at the loan and once at the end; what it then has raises, and so does a loan after the end."""
    cache = Cache("memory://", namespace="shop")
    lent: list[Any] = []
    records = cities.records(cache)
    assert records.get(1) == OSLO
    records.lend_read(lent.append)
    assert [type(read(records.entity.key(1))) for read in lent] == [StoredValue]
    cache.close()
    records.lend_read(lent.append)
    assert len(lent) > 2
    for read in lent[1:]:
        with pytest.raises(ClosedError, match="closed"):
            read(records.entity.key(1))
