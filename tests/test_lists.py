"""Complete lists and missing entries: what no row can verify is right all the same, and warm it asks no database."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachecore import AsyncCache, Cache, claims, lists
from cachecore.backends.memory import MemoryBackend
from cachecore.entries import Lease, Value, encode_entry
from cachecore.errors import BackendUnavailable, ConfigurationError, UncacheableLookup
from cachecore.events import Event, FillRefused, Hit
from cachecore.records import AsyncRecords, Records
from cachecore.testing import FakeBackend, ManualClock
from cachecore.value_codec import ValueCodec
from tests.cities import BERGEN, LYON, OSLO, Cities

TROMSO = (4, "tromso", "no", "Tromso", None)
NORWAY = [BERGEN, OSLO]


class Country(Cities):
    """The database of cities, which are also asked for by lists. ``listed`` is what it was asked so far."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.listed: list[Any] = []

    def query_list(self, fields: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The query of the entity's lists."""
        self.listed.append(dict(fields))
        return self.select(" AND ".join(f"{name} = ?" for name in fields), *fields.values())

    def query_countries(self, values: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """The rows of many countries at once."""
        self.listed.append(list(values))
        return self.select(f"country IN ({', '.join('?' * len(values))})", *[country for (country,) in values])

    def records(self, cache: Cache, **options: Any) -> Records:
        """This table as an entity of ``cache``."""
        return super().records(cache, **{**DECLARED, "query_list": self.query_list, **options})

    def async_records(self, cache: AsyncCache, **options: Any) -> AsyncRecords:
        """This table as an entity of ``cache``, with functions that are awaited."""

        async def query_list(fields: dict[str, Any]) -> list[tuple[Any, ...]]:
            return self.query_list(fields)

        return super().async_records(cache, **{**DECLARED, "query_list": query_list, **options})

    def asked(self) -> int:
        """How many statements were sent since this was last called."""
        count = super().asked() + len(self.listed)
        self.listed.clear()
        return count


DECLARED: dict[str, Any] = {"lists": {"country": "name", ("country", "name"): ()}, "missing": ["slug"]}


@pytest.fixture
def cities() -> Iterator[Country]:
    """The database."""
    cities = Country(rows=[OSLO, BERGEN, LYON])
    yield cities
    cities.close()


@pytest.fixture
def found(cache: Cache, cities: Country) -> Records:
    """The table as an entity of a cache in the process, and of one on a server."""
    return cities.records(cache)


def warm(cities: Country, read: Callable[[], object]) -> Any:
    """Read until the answer needs no database."""
    for _ in range(3):
        read()
    cities.asked()
    answer = read()
    assert cities.asked() == 0
    return answer


def write(
    cache: Cache,
    cities: Country,
    found: Records,
    statement: str,
    *touched: int,
    gained: Mapping[str, Any] | None = None,
) -> None:
    """One transaction under the protocol."""
    with cache.begin() as unit:
        cities.execute("BEGIN IMMEDIATE")
        cities.execute(statement)
        unit.touch(found, *touched)
        if gained is not None:
            unit.gain(found, **gained)
        unit.commit(lambda: cities.execute("COMMIT"))


INSERT_TROMSO = "INSERT INTO city VALUES (4, 'tromso', 'no', 'Tromso', NULL)"
GAINED_TROMSO = {"slug": "tromso", "country": "no", "name": "Tromso"}


def operations(server: FakeBackend, ask: Callable[[], object]) -> list[str]:
    """The names of the operations that asking takes."""
    server.log.clear()
    ask()
    return server.operations()


# -- lists: reading --------------------------------------------------------------------------------


def test_a_list_is_read_once_and_then_served_in_its_order(found: Records, cities: Country) -> None:
    """One statement brings a cold list; warm it asks nothing and comes in the same declared order."""
    assert found.get_list(country="no") == NORWAY
    assert cities.listed == [{"country": "no"}]
    assert cities.loads == []
    assert found.get_list(country="no") == NORWAY
    assert [sorted(loaded) for loaded in cities.loads] == [[1, 2]]
    assert warm(cities, lambda: found.get_list(country="no")) == NORWAY


def test_an_empty_list_is_an_answer(found: Records, cities: Country) -> None:
    """That there are no rows is stored like any other list."""
    assert found.get_list(country="se") == []
    assert cities.asked() == 1
    assert found.get_list(country="se") == []
    assert cities.asked() == 0


def test_a_list_by_several_columns_takes_them_in_any_order(found: Records, cities: Country) -> None:
    """The order in which columns are named makes no other list, and the query is told them by name."""
    assert found.get_list(name="Oslo", country="no") == [OSLO]
    assert cities.listed == [{"country": "no", "name": "Oslo"}]
    assert warm(cities, lambda: found.get_list(country="no", name="Oslo")) == [OSLO]


def test_the_operations_of_a_list(remote: Cache, server: FakeBackend, cities: Country) -> None:
    """Cold: one round trip before and one after the statement, besides the epoch's. Warm: one for the list, one for the
    rows, however many there are."""
    found = cities.records(remote)

    def read() -> object:
        return found.get_list(country="no")

    assert operations(server, read) == ["acquire", "fill", "fill"]
    assert operations(server, read) == ["acquire", "acquire", "fill"]
    assert operations(server, read) == ["acquire", "acquire"]
    assert len(server.log[0].keys) == 2
    assert len(server.log[1].keys) == 3
    assert operations(server, lambda: found.get_list(country="fr")) == ["acquire", "fill"]


def test_what_a_list_counts(found: Records, cache: Cache, cities: Country) -> None:
    """A list is one key among the hits, misses and fills, beside its rows."""
    events: list[Event] = []
    cache.hooks.subscribe(events.append)
    found.get_list(country="no")
    assert (cache.statistics.hits, cache.statistics.misses, cache.statistics.fills) == (0, 1, 1)
    warm(cities, lambda: found.get_list(country="no"))
    cache.statistics.reset()
    events.clear()
    found.get_list(country="no")
    assert (cache.statistics.hits, cache.statistics.misses) == (3, 0)
    [key] = found.gained({"country": "no"})[:1]
    assert next(event.keys for event in events if isinstance(event, Hit)) == [key]


def test_a_call_may_bring_its_own_queries(found: Records, cities: Country, cache: Cache) -> None:
    """The query of a call is given the values in the order of the declaration and goes before the entity's."""
    asked: list[Any] = []

    def query(values: tuple[Any, ...]) -> list[Any]:
        asked.append(values)
        return [list(OSLO)]

    assert found.get_list(query, cities.load, name="Oslo", country="no") == [OSLO]
    assert asked == [("no", "Oslo")]
    bare = cities.records(cache, load=None, query_list=None, alias="other")
    with pytest.raises(UncacheableLookup, match=r"geo\.City has no query_list"):
        bare.get_list(load=cities.load, country="no")
    with pytest.raises(UncacheableLookup, match=r"geo\.City has no load"):
        bare.get_list(query, country="no")


def test_a_query_that_raises_leaves_no_trace(found: Records, cities: Country) -> None:
    """The error reaches the caller, and the next reader is granted the lease at once."""

    def fail(_: Any) -> Any:
        raise LookupError("down")

    with pytest.raises(LookupError):
        found.get_list(fail, country="no")
    assert found.get_list(country="no") == NORWAY
    assert warm(cities, lambda: found.get_list(country="no")) == NORWAY


def test_rows_of_lists_are_never_shared(found: Records) -> None:
    """Changing the structures of a row in place changes no other caller's row."""
    for _ in range(4):
        rows: list[Any] = found.get_list(country="no")
        assert rows == NORWAY
        rows[1][4]["fjords"].append("changed")
        rows.clear()


def test_a_failing_backend_is_a_miss(remote: Cache, server: FakeBackend, cities: Country) -> None:
    """The cache being away, at the list or at its rows or at the fill, costs statements and never the answer."""
    found = cities.records(remote)
    warm(cities, lambda: found.get_list(country="no"))
    for name in ("acquire", "fill"):
        server.fail(name, times=2)
        assert found.get_list(country="no") == NORWAY
        server.recover()
        server.restart()
    assert remote.statistics.failures == 2


# -- lists: writes ---------------------------------------------------------------------------------


def test_an_insert_is_in_the_list_at_once(cache: Cache, found: Records, cities: Country) -> None:
    """A transaction that gives a row the values of a list outdates the list."""
    warm(cities, lambda: found.get_list(country="no"))
    write(cache, cities, found, INSERT_TROMSO, 4, gained=GAINED_TROMSO)
    assert found.get_list(country="no") == [BERGEN, OSLO, TROMSO]
    assert warm(cities, lambda: found.get_list(country="no")) == [BERGEN, OSLO, TROMSO]


def test_a_row_moves_from_list_to_list(cache: Cache, found: Records, cities: Country) -> None:
    """The list that gains is held; the one that loses is not, and is right all the same."""
    for country in ("no", "fr"):
        warm(cities, partial(found.get_list, country=country))
    write(
        cache, cities, found, "UPDATE city SET country = 'fr' WHERE id = 1", 1, gained={"country": "fr", "name": "Oslo"}
    )
    moved = (1, "oslo", "fr", "Oslo", OSLO[4])
    assert found.get_list(country="no") == [BERGEN]
    assert found.get_list(country="fr") == [LYON, moved]
    assert warm(cities, lambda: found.get_list(country="no")) == [BERGEN]
    assert warm(cities, lambda: found.get_list(country="fr")) == [LYON, moved]


def test_a_deleted_row_needs_no_hold_and_is_looked_for_once(
    remote: Cache, server: FakeBackend, cities: Country
) -> None:
    """Whoever finds that a listed row has left replaces the list: later readers find a list that is right."""
    found = cities.records(remote)

    def read() -> object:
        return found.get_list(country="no")

    warm(cities, read)
    write(remote, cities, found, "DELETE FROM city WHERE id = 1", 1)
    assert operations(server, read) == ["acquire", "acquire", "abandon", "acquire", "displace", "fill"]
    assert remote.statistics.miss_reasons.get("left") == 1
    assert operations(server, read) == ["acquire", "acquire"]
    assert read() == [BERGEN]


def test_a_change_of_the_order_needs_no_hold(cache: Cache, found: Records, cities: Country) -> None:
    """The rows are sorted by what they are when they are read."""
    warm(cities, lambda: found.get_list(country="no"))
    write(cache, cities, found, "UPDATE city SET name = 'Aslo' WHERE id = 1", 1)
    assert [row[0] for row in found.get_list(country="no")] == [1, 2]


def test_a_bulk_write_outdates_lists_too(cache: Cache, found: Records, cities: Country) -> None:
    """Lists stand under the epoch of their entity."""
    warm(cities, lambda: found.get_list(country="no"))
    with cache.begin() as unit:
        cities.execute("BEGIN IMMEDIATE")
        cities.execute("UPDATE city SET country = 'no'")
        unit.touch_all(found)
        assert len(found.get_list(unit=unit, country="no")) == 3
        unit.commit(lambda: cities.execute("COMMIT"))
    assert len(found.get_list(country="no")) == 3


def test_what_was_changed_outside_is_invalidated_by_its_values(cache: Cache, found: Records, cities: Country) -> None:
    """cache.invalidate outdates lists and missing entries when it is told the values, and everything without a row."""
    for gained in ([GAINED_TROMSO], None):
        warm(cities, lambda: found.get_list(country="no"))
        assert found.find(slug="tromso") is None
        cities.insert(TROMSO)
        assert found.get_list(country="no") == NORWAY  # nobody has told
        cache.invalidate(found, gained=gained)
        assert found.get_list(country="no") == [BERGEN, OSLO, TROMSO]
        assert found.find(slug="tromso") == TROMSO
        cities.execute("DELETE FROM city WHERE id = 4")
        cache.invalidate(found)
    cache.invalidate(found, gained=[])


def test_own_writes_are_seen_in_lists(cache: Cache, found: Records, cities: Country) -> None:
    """In its transaction a list that has gained comes from the database, one that has lost is without the row; for
    others nothing has changed before COMMIT, and nothing after a rollback."""
    for country in ("no", "fr"):
        warm(cities, partial(found.get_list, country=country))
    moved = (1, "oslo", "fr", "Oslo", OSLO[4])
    with cache.begin() as unit:
        cities.execute("BEGIN IMMEDIATE")
        cities.execute("UPDATE city SET country = 'fr' WHERE id = 1")
        unit.touch(found, 1)
        unit.gain(found, country="fr", name="Oslo")
        assert found.get_list(unit=unit, country="no") == [BERGEN]
        assert found.get_list(unit=unit, country="fr") == [LYON, moved]
        assert found.get_list(country="no") == NORWAY
        assert found.get_list(country="fr") == [LYON]
        cities.execute("ROLLBACK")
    assert found.get_list(country="no") == NORWAY
    assert found.get_list(country="fr") == [LYON]


def test_a_read_that_may_not_fill_leaves_no_trace(remote: Cache, server: FakeBackend, cities: Country) -> None:
    """may_fill=False uses a warm list, and a cold or an outdated one comes from the database and stores nothing."""
    found = cities.records(remote)

    def peek(country: str) -> object:
        return found.get_list(may_fill=False, country=country)

    assert operations(server, lambda: peek("no")) == ["get"]
    warm(cities, lambda: found.get_list(country="no"))
    assert operations(server, lambda: peek("no")) == ["get", "get"]
    write(remote, cities, found, "DELETE FROM city WHERE id = 1", 1)
    assert operations(server, lambda: peek("no")) == ["get", "get", "get"]
    assert peek("no") == [BERGEN]


def test_under_a_hold_the_database_answers_and_nothing_is_filled(cache: Cache, found: Records, cities: Country) -> None:
    """While a writer that gains is between PREPARE and COMPLETE its list is neither believed nor filled."""
    warm(cities, lambda: found.get_list(country="no"))
    unit = cache.begin()
    unit.gain(found, country="no", name="Tromso")
    unit.prepare()
    cache.statistics.reset()
    assert found.get_list(country="no") == NORWAY
    assert cities.asked() == 1
    assert cache.statistics.miss_reasons == {"held": 1}
    assert cache.statistics.fills == 0
    cities.insert(TROMSO)
    unit.complete()
    assert found.get_list(country="no") == [BERGEN, OSLO, TROMSO]


def test_another_readers_lease_is_awaited_a_little(remote: Cache, server: FakeBackend, cities: Country) -> None:
    """Whoever finds another's lease waits, then asks the database and fills nothing."""
    found = cities.records(remote)
    warm(cities, lambda: found.get_list(country="no"))
    [key, _] = found.gained({"country": "no", "name": "Oslo"})
    server.inject(key, encode_entry(Lease(b"somebody"), server.incarnation))
    remote.statistics.reset()
    assert found.get_list(country="no") == NORWAY
    assert remote.statistics.miss_reasons == {"leased": 1}
    assert remote.statistics.fills == 0


def test_a_fill_whose_lease_was_voided_by_a_writer_is_refused(cache: Cache, found: Records, cities: Country) -> None:
    """A row inserted while a reader's statement runs is not missing from what the next reader gets."""

    def slow(_: Any) -> list[Any]:
        old = cities.select("country = 'no'")
        write(cache, cities, found, INSERT_TROMSO, 4, gained=GAINED_TROMSO)
        return old

    found.get_list(country="fr")  # begins the epoch
    assert found.get_list(slow, country="no") == NORWAY
    assert cache.statistics.refused_fills == 1
    assert found.get_list(country="no") == [BERGEN, OSLO, TROMSO]


def test_a_journal_notes_the_lists_too(remote: Cache, server: FakeBackend, cities: Country) -> None:
    """Where PREPARE gets no answer the keys of what was gained are noted with the row's, and replayed with it."""
    found = cities.records(remote)
    warm(cities, lambda: found.get_list(country="no"))
    noted: list[str] = []
    with remote.begin(journal=noted.extend) as unit:
        cities.execute("BEGIN IMMEDIATE")
        cities.execute(INSERT_TROMSO)
        unit.touch(found, 4)
        unit.gain(found, **GAINED_TROMSO)
        server.fail(times=2)
        unit.commit(lambda: cities.execute("COMMIT"))
    assert set(found.gained(GAINED_TROMSO)) < set(noted)
    assert found.get_list(country="no") == NORWAY
    remote.replay(noted)
    assert found.get_list(country="no") == [BERGEN, OSLO, TROMSO]


# -- lists: order ----------------------------------------------------------------------------------

MOMENTS = [datetime(2024, 1, 1), datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC), None]


@pytest.mark.parametrize(
    ("kind", "values", "ascending"),
    [
        (str, ["b", "a", None, "B", "é", ""], ["", "B", "a", "b", "é", None]),
        (int, [3, None, -1, 2**70], [-1, 3, 2**70, None]),
        (float, [1.5, float("nan"), None, -0.5], [-0.5, 1.5, "nan", None]),
        (Decimal, [Decimal(2), Decimal("NaN"), Decimal("-1.5")], [Decimal("-1.5"), Decimal(2), "nan"]),
        (bytes, [b"b", bytearray(b"a"), memoryview(b"c")], [b"a", b"b", b"c"]),
        (datetime, MOMENTS, [MOMENTS[2], MOMENTS[1], MOMENTS[0], None]),
        (time, [time(2), time(1)], [time(1), time(2)]),
    ],
)
@pytest.mark.parametrize("descending", [False, True])
def test_a_list_is_sorted_alike_on_every_path(
    cache: Cache, kind: type, values: list[Any], ascending: list[Any], descending: bool
) -> None:
    """Missed or hit the order is the declared one: None last, or first if descending; equal ones by identity."""
    rows = [(number, "g", value) for number, value in enumerate(values)] + [(99, "g", values[0])]
    random.Random(1).shuffle(rows)
    found = cache.entity(
        "shop.Item",
        {"id": int, "of": str, "by": kind | None},
        lists={"of": "-by" if descending else ["by"]},
        load=lambda ids: [row for row in rows if row[0] in ids],
        query_list=lambda fields: rows,
    )
    for _ in range(3):
        read = found.get_list(of="g")
        seen = ["nan" if row[2] != row[2] else row[2] for row in read]
        twice = ["nan" if values[0] != values[0] else values[0]]
        wanted = [one for value in ascending for one in ([value, value] if value in twice else [value])]
        assert seen == (wanted[::-1] if descending else wanted)
        twins = [row[0] for row in read if row[2] == values[0]]
        assert twins == [0, 99]


def test_a_list_without_an_order_is_sorted_by_identity(cache: Cache) -> None:
    """The default order is the identity's, all columns of it."""
    rows = [(2, "a", "g"), (1, "b", "g"), (1, "a", "g")]
    found = cache.entity(
        "shop.Part", {"id": int, "code": str, "of": str}, identity=("id", "code"), lists=["of"],
        load=lambda ids: [row for row in rows if row[:2] in ids], query_list=lambda fields: rows,
    )  # fmt: skip
    for _ in range(3):
        assert found.get_list(of="g") == rows[::-1]


# -- lists: what is not believed or not stored -----------------------------------------------------


def forged_entries(found: Records, server: FakeBackend, true: bytes) -> list[bytes]:
    """What an enemy, a defect or another release could put in place of the list of Norway or of a missing entry."""
    encode, fingerprint = ValueCodec().encode, found.subject.fingerprint
    epoch: Any = server.get([found.entity.epoch_key])[0]
    contents: list[Any] = [
        (("fr",), (3,)), (("no",), (1,), 1), (("no",),), (("no",), [1]), (["no"], (1,)), (("no",), ("1",)),
        (("no",), (True,)), (("no",), (None,)), (("no",), ((1,),)), ((5,), (1,)), ("no", (1,)), (("no", "no"), (1,)),
        ((), ()), (("other",), None), (("no",), 1), (("no",), float("nan")), 1, "rubbish", {}, None, [], (),
    ]  # fmt: skip
    return [
        b"", b"rubbish", encode_entry(Value(b"", epoch.stamp + fingerprint), server.incarnation),
        encode_entry(Value(true, b"otherepoch" + fingerprint), server.incarnation),
        encode_entry(Value(true, epoch.stamp + b"otherone"), server.incarnation),
        encode_entry(Value(true, epoch.stamp + fingerprint), b"another1"),
        *(encode_entry(Value(encode(one), epoch.stamp + fingerprint), server.incarnation) for one in contents),
    ]  # fmt: skip


def test_a_forged_or_corrupt_list_costs_a_statement_and_never_the_answer(
    remote: Cache, server: FakeBackend, cities: Country
) -> None:
    """Whatever stands under the key of a list, its rows are right at the first try and the entry is repaired."""
    found = cities.records(remote)
    warm(cities, lambda: found.get_list(country="no"))
    [key, _] = found.gained({"country": "no", "name": "Oslo"})
    for forged in forged_entries(found, server, ValueCodec().encode((("no",), (1,)))):
        server.inject(key, forged)
        assert found.get_list(country="no") == NORWAY
        assert cities.asked() >= 1
        warm(cities, lambda: found.get_list(country="no"))


def test_a_list_with_rows_of_other_lists_is_read_again(remote: Cache, server: FakeBackend, cities: Country) -> None:
    """Identities that do not belong, or have no row, are no part of the answer, whoever put them there."""
    found = cities.records(remote)
    warm(cities, lambda: found.get_list(country="no"))
    [key, _] = found.gained({"country": "no", "name": "Oslo"})
    epoch: Any = server.get([found.entity.epoch_key])[0]
    for identities in [(1, 2, 3), (1, 2, 77)]:
        payload = ValueCodec().encode((("no",), identities))
        server.inject(key, encode_entry(Value(payload, epoch.stamp + found.subject.fingerprint), server.incarnation))
        assert found.get_list(country="no") == NORWAY
        warm(cities, lambda: found.get_list(country="no"))


def test_lists_of_another_schema_are_not_believed(remote: Cache, cities: Country) -> None:
    """Code with other columns reads the list anew, and each outdates the other's."""
    first, second = cities.records(remote), cities.records(remote, version=2)
    warm(cities, lambda: first.get_list(country="no"))
    assert second.get_list(country="no") == NORWAY
    assert cities.listed == [{"country": "no"}]
    write(remote, cities, first, INSERT_TROMSO, 4, gained=GAINED_TROMSO)
    assert second.get_list(country="no") == [BERGEN, OSLO, TROMSO]


def test_a_list_that_is_too_long_is_answered_and_not_stored(
    cache: Cache, found: Records, cities: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit a list is a refused fill, each time."""
    monkeypatch.setattr(lists, "LIST_LIMIT", 1)
    events: list[Event] = []
    cache.hooks.subscribe(events.append)
    for _ in range(2):
        assert found.get_list(country="no") == NORWAY
        assert cities.asked() == 1
    assert [event.reason for event in events if isinstance(event, FillRefused)] == ["uncacheable"] * 2
    assert cache.statistics.refused_fills == 2
    assert warm(cities, lambda: found.get_list(country="fr")) == [LYON]


def test_a_list_by_which_the_database_finds_other_values_is_not_stored(cache: Cache) -> None:
    """A case-insensitive column is answered as the database answers, and never from the cache: nobody holds its key."""
    cities = Country(collation="NOCASE", rows=[OSLO, BERGEN])
    found = cities.records(cache, lists=["slug"], missing=False)

    def by_slugs(values: Any) -> list[Any]:
        return cities.select(f"slug IN ({', '.join('?' * len(values))})", *[slug for (slug,) in values])

    for _ in range(3):
        assert found.get_list(slug="OSLO") == [OSLO]
        assert cities.asked() == 1
        assert found.get_lists(("slug",), [("OSLO",), ("bergen",)], by_slugs) == [[OSLO], [BERGEN]]
        cities.asked()
    assert cache.statistics.refused_fills == 6
    cities.close()


def test_identities_without_stored_form_are_answered(cache: Cache, cities: Country) -> None:
    """A driver's own type of identity is answered and not stored; a subclass is stored as its base."""

    class Number(int):
        pass

    for identity, asked in ((Number(1), 1), ("one", 3)):
        rows = [(identity, "oslo", "no", "Oslo", None)]
        queries: list[Any] = []

        def query(values: Any, rows: Any = rows, queries: list[Any] = queries) -> Any:
            queries.append(values)
            return rows

        found = cities.records(cache, alias=f"asked{asked}", load=lambda ids, rows=rows: rows)
        for _ in range(3):
            assert found.get_list(query, country="no") == rows
        assert len(queries) == asked


# -- lists: many at once ---------------------------------------------------------------------------


def test_many_lists_take_one_round_trip_for_lists_and_one_for_rows(
    remote: Cache, server: FakeBackend, cities: Country
) -> None:
    """Order and duplicates of the question are kept; one statement answers all that is not cached."""
    found = cities.records(remote)
    asked = [("no",), ("se",), ("fr",), ("no",)]
    wanted = [NORWAY, [], [LYON], NORWAY]

    def read() -> list[Any]:
        return found.get_lists(("country",), iter(asked), cities.query_countries)

    assert read() == wanted
    assert cities.listed == [[("no",), ("se",), ("fr",)]]
    assert warm(cities, read) == wanted
    assert operations(server, read) == ["acquire", "acquire"]
    write(remote, cities, found, INSERT_TROMSO, 4, gained=GAINED_TROMSO)
    assert read() == [[BERGEN, OSLO, TROMSO], [], [LYON], [BERGEN, OSLO, TROMSO]]
    assert cities.listed == [[("no",)]]
    write(remote, cities, found, "DELETE FROM city WHERE id IN (1, 3)", 1, 3)
    assert read() == [[BERGEN, TROMSO], [], [], [BERGEN, TROMSO]]
    assert found.get_lists(("country",), [], cities.query_countries) == []


# -- missing entries -------------------------------------------------------------------------------


def test_an_unknown_lookup_is_asked_once(found: Records, cities: Country, cache: Cache) -> None:
    """That a lookup has no row is known without the database, until a row gains the value."""
    assert found.find(slug="tromso") is None
    assert cities.asked() == 1
    assert found.find(slug="tromso") is None
    assert cities.asked() == 0
    assert cache.statistics.hits == 1
    write(cache, cities, found, INSERT_TROMSO, 4, gained=GAINED_TROMSO)
    assert found.find(slug="tromso") == TROMSO
    assert warm(cities, lambda: found.find(slug="tromso")) == TROMSO


def test_a_row_that_gives_up_its_value_is_missing_and_another_may_gain_it(
    cache: Cache, found: Records, cities: Country
) -> None:
    """Deleted, renamed away and renamed back: each answer is right at the first try, and soon needs no database."""
    warm(cities, lambda: found.find(slug="oslo"))
    write(cache, cities, found, "UPDATE city SET slug = 'o' WHERE id = 1", 1, gained={"slug": "o"})
    assert found.find(slug="oslo") is None
    assert warm(cities, lambda: found.find(slug="oslo")) is None
    write(cache, cities, found, "UPDATE city SET slug = 'oslo' WHERE id = 2", 2, gained={"slug": "oslo"})
    assert found.find(slug="oslo") == (2, "oslo", "no", "Bergen", None)
    write(cache, cities, found, "DELETE FROM city WHERE id = 2", 2)
    assert found.find(slug="oslo") is None
    assert warm(cities, lambda: found.find(slug="oslo")) is None


def test_the_operations_of_missing_lookups(remote: Cache, server: FakeBackend, cities: Country) -> None:
    """Known to be missing: one round trip. Not known: one more, and a fill. A row that exists costs what it did."""
    found = cities.records(remote)
    assert operations(server, lambda: found.find(slug="nosuch")) == ["get", "acquire", "fill", "fill"]
    assert operations(server, lambda: found.find(slug="nosuch")) == ["get"]
    assert operations(server, lambda: found.find(slug="other")) == ["get", "acquire", "fill"]
    assert operations(server, lambda: found.find(slug="oslo")) == ["get", "acquire", "abandon", "put"]
    assert operations(server, lambda: found.find(slug="oslo")) == ["acquire", "fill"]
    assert operations(server, lambda: found.find(slug="oslo")) == ["acquire"]
    assert operations(server, lambda: found.find(country="no", name="Nosuch")) == ["get"]


def test_only_declared_lookups_remember_that_they_are_missing(found: Records, cities: Country, cache: Cache) -> None:
    """The others ask each time; missing=True declares all of them."""
    for _ in range(2):
        assert found.find(country="no", name="Nosuch") is None
        assert cities.asked() == 1
    every = cities.records(cache, missing=True, alias="every")
    assert warm(cities, lambda: every.find(country="no", name="Nosuch")) is None


def test_many_lookups_know_what_is_missing(remote: Cache, server: FakeBackend, cities: Country) -> None:
    """find_many asks one statement for what is unknown, and nothing when it is warm, for rows and for their absence."""
    found = cities.records(remote)
    asked: list[Any] = []

    def by_slugs(values: Any) -> list[Any]:
        asked.append(list(values))
        return cities.select(f"slug IN ({', '.join('?' * len(values))})", *[slug for (slug,) in values])

    slugs = [("lyon",), ("nosuch",), ("oslo",), ("other",), ("nosuch",)]

    def read() -> object:
        return found.find_many(["slug"], slugs, by_slugs)

    assert read() == [LYON, None, OSLO, None, None]
    assert read() == [LYON, None, OSLO, None, None]
    assert asked == [[("lyon",), ("nosuch",), ("oslo",), ("other",)]]
    assert operations(server, read) == ["get", "acquire"]
    write(remote, cities, found, "UPDATE city SET slug = 'other' WHERE id = 1", 1, gained={"slug": "other"})
    assert read() == [LYON, None, None, (1, "other", "no", "Oslo", OSLO[4]), None]


def test_own_writes_are_seen_by_missing_lookups(cache: Cache, found: Records, cities: Country) -> None:
    """A transaction finds what it has inserted; others do not before COMMIT."""
    assert warm(cities, lambda: found.find(slug="tromso")) is None
    with cache.begin() as unit:
        cities.execute("BEGIN IMMEDIATE")
        cities.execute(INSERT_TROMSO)
        unit.touch(found, 4)
        unit.gain(found, **GAINED_TROMSO)
        assert found.find(unit=unit, slug="tromso") == TROMSO
        cities.execute("ROLLBACK")
    assert found.find(slug="tromso") is None
    with cache.begin() as unit:
        unit.touch_all(found)
        cities.asked()
        assert found.find(unit=unit, slug="tromso") is None
        assert cities.asked() == 1


def test_a_forged_missing_entry_costs_a_statement_and_never_the_answer(
    remote: Cache, server: FakeBackend, cities: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands under the key of a missing entry, a row that exists is found at the first try."""
    monkeypatch.setattr(claims, "REMEMBERED_CLAIMS", 0)
    found = cities.records(remote)
    found.find(slug="other")  # begins the epoch
    pointer = found.lookup_for(["slug"], ["oslo"])
    assert pointer.absence is not None
    for forged in forged_entries(found, server, ValueCodec().encode((("oslo",), None))):
        server.evict(pointer.key)
        server.inject(pointer.absence.key, forged)
        assert found.find(slug="oslo") == OSLO


def test_a_failing_backend_leaves_missing_lookups_to_the_database(
    remote: Cache, server: FakeBackend, cities: Country
) -> None:
    """The cache being away costs the statement that it saves."""
    found = cities.records(remote)
    warm(cities, lambda: found.find(slug="nosuch"))
    for name in ("get", None):
        server.fail(name, BackendUnavailable("away"), times=3)
        assert found.find(slug="nosuch") is None
        assert found.find(slug="lyon") == LYON
        server.recover()


def test_an_identity_is_not_remembered_as_missing(found: Records, cities: Country) -> None:
    """The database gives an insert its identity, and nobody can hold what he does not know."""
    for _ in range(2):
        assert found.get(9) is None
        assert found.find(id=9) is None
        assert cities.asked() == 2


# -- what a write gains ----------------------------------------------------------------------------


def keys_of(found: Records) -> dict[str, str]:
    """What each key that a row of Oslo belongs to is for."""
    derived = found.derived
    return {
        found.entity.epoch_key: "epoch",
        derived.list_key["country",]("no"): "country",
        derived.list_key["country", "name"]("no", "Oslo"): "country+name",
        derived.missing_key["slug",]("oslo"): "slug",
    }


class Spelled(str):
    """A text of an application's own type."""


@pytest.mark.parametrize(
    ("values", "gained"),
    [
        ({"id": 1, "slug": "oslo", "country": "no", "name": "Oslo", "facts": {}}, {"country", "country+name", "slug"}),
        ({"country": "no", "name": "Oslo"}, {"country", "country+name"}),
        ({"slug": "oslo"}, {"slug"}),
        ({"slug": Spelled("oslo")}, {"slug"}),
        ({"facts": None, "id": 5}, set[str]()),
        ({}, set[str]()),
        ({"slug": None, "country": None}, set[str]()),
        ({"country": "no", "name": None}, {"country"}),
        ({"country": None, "name": "Oslo"}, set[str]()),
        ({"country": "no"}, {"country", "epoch"}),
        ({"name": "Oslo"}, {"epoch"}),
        ({"slug": 5}, {"epoch"}),
        ({"slug": b"oslo", "country": "no", "name": "Oslo"}, {"country", "country+name", "epoch"}),
        ({"country": ["no"], "name": "Oslo"}, {"epoch"}),
        ({"slug": "\ud800"}, {"epoch"}),
        ({"slug": object()}, {"epoch"}),
        ({"slug": ..., "country": "no", "name": ...}, {"country", "epoch"}),
    ],
)
def test_gained(remote: Cache, cities: Country, values: dict[str, Any], gained: set[str]) -> None:
    """The keys of all lists and missing entries of these values; of those that cannot be told, the epoch's."""
    found = cities.records(remote)
    names, keys = keys_of(found), found.gained(values)
    assert {names[key] for key in keys} == gained
    assert len(set(keys)) == len(keys)
    with remote.begin() as unit:
        unit.gain(found, **values)
        assert unit.keys == keys


def test_a_name_that_is_no_column_gains_nothing_silently(cache: Cache, found: Records) -> None:
    """Whoever mistypes a column would not outdate its lists, so it is refused."""
    with cache.begin() as unit:
        with pytest.raises(UncacheableLookup, match="no column 'contry'; there are id, slug, country"):
            unit.gain(found, contry="no")
        assert not unit.dirty
    with pytest.raises(ConfigurationError, match="another cache"), Cache(namespace="other").begin() as unit:
        unit.gain(found, country="no")


def test_no_two_kinds_of_entries_share_a_key(cache: Cache, cities: Country) -> None:
    """The list, the missing entry and the pointer of one value stand under three keys, and the row under a fourth."""
    found = cities.records(cache, lists=["slug", ("country", "name")], missing=True)
    for names, values in ((("slug",), ("oslo",)), (("country", "name"), ("no", "Oslo"))):
        lookup = found.lookup_for(names, values)
        assert lookup.absence is not None
        keys = {lookup.key, lookup.absence.key, found.derived.list_key[names](*values), found.entity.key(1)}
        assert len(keys | {found.entity.epoch_key}) == 5


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"slug": "oslo"}, r"no lists of geo\.City are cached by slug, only by country, country\+name; just hit"),
        ({}, "cached by nothing"),
        ({"country": "no", "slug": "oslo"}, r"cached by country\+slug"),
        ({"country": None}, "country=None names no row"),
        ({"country": 5}, "country is str"),
        ({"country": ["no"]}, "country is str"),
        ({"country": "no", "name": True}, "name is str"),
    ],
)
def test_lists_that_are_not_declared_and_wrong_values_are_refused(
    found: Records, cities: Country, fields: dict[str, Any], message: str
) -> None:
    """What no key stands for is a clear error, and the database is not asked."""
    with pytest.raises(UncacheableLookup, match=message):
        found.get_list(**fields)
    assert cities.asked() == 0


def test_columns_by_position_are_given_as_declared(found: Records, cities: Country) -> None:
    """get_list_by and get_lists take the columns in the declared order and say so otherwise."""
    assert found.get_list_by(("country", "name"), ("no", "Oslo")) == [OSLO]
    with pytest.raises(UncacheableLookup, match=r"declared as country\+name, in this order"):
        found.get_list_by(("name", "country"), ("Oslo", "no"))
    with pytest.raises(UncacheableLookup, match="cached by nosuch"):
        found.get_lists(("nosuch",), [("x",)], cities.query_countries)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lists": ["nosuch"]}, "no column 'nosuch'"),
        ({"lists": "country"}, "lists is a sequence of columns, not 'country'"),
        ({"lists": 5}, "lists is a sequence of columns, not 5"),
        ({"lists": [()]}, "not one or more columns"),
        ({"lists": [("country", "country")]}, "not one or more columns"),
        ({"lists": ["facts"]}, "facts is json, whose equality is not exact"),
        ({"lists": ["area"]}, "area is float, whose equality is not exact"),
        ({"lists": ["country", ("country",)]}, "declares the same columns twice"),
        ({"lists": [("country", "name"), ("name", "country")]}, "declares the same columns twice"),
        ({"lists": {"country": "nosuch"}}, "no column 'nosuch'"),
        ({"lists": {"country": "-facts"}}, "no list can be sorted by facts"),
        ({"missing": ["name"]}, r"missing=\('name',\) is none of the lookups"),
        ({"missing": "slug"}, "missing is a sequence of columns, not 'slug'"),
        ({"missing": True, "lookups": []}, "missing=True, and no lookups are declared"),
        ({"missing": True, "lookups": ["area"]}, "area is float"),
    ],
)
def test_wrong_declarations_are_refused(cache: Cache, options: dict[str, Any], message: str) -> None:
    """A declaration that cannot be kept raises when it is made and names what is wrong."""
    columns = {"id": int, "slug": str, "country": str, "name": str, "facts": dict, "area": float}
    with pytest.raises(ConfigurationError, match=message) as caught:
        cache.entity("geo.City", columns, **{"lookups": ["slug"], **options})
    assert "geo.City" in str(caught.value)


# -- async -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "fake"])
async def test_async(kind: str, clock: ManualClock, cities: Country) -> None:
    """Awaited, lists and missing entries are the same, and so are units of work."""

    async def sleep(seconds: float) -> None:
        clock.sleep(seconds)

    backend = MemoryBackend(clock=clock) if kind == "memory" else FakeBackend(clock)
    async with AsyncCache(backend, namespace="shop", clock=clock, sleep=sleep) as cache:
        found = cities.async_records(cache)
        for _ in range(3):
            cities.asked()
            assert await found.get_list(country="no") == NORWAY
            assert await found.find(slug="tromso") is None
            assert await found.get_lists(("country",), [("fr",), ("se",)], cities.query_countries) == [[LYON], []]
        assert cities.asked() == 0

        async def query(values: Any) -> list[Any]:
            return cities.query_countries(values)

        async with cache.begin() as unit:
            cities.execute("BEGIN IMMEDIATE")
            cities.execute(INSERT_TROMSO)
            unit.touch(found, 4)
            unit.gain(found, **GAINED_TROMSO)
            assert await found.get_list(unit=unit, country="no") == [BERGEN, OSLO, TROMSO]
            await unit.commit(lambda: cities.execute("COMMIT"))
        assert await found.get_lists(("country",), [("fr",), ("no",)], query) == [[LYON], [BERGEN, OSLO, TROMSO]]
        assert await found.find(slug="tromso") == TROMSO
        cities.execute("DELETE FROM city WHERE id = 4")
        await cache.invalidate(found, 4, gained=[GAINED_TROMSO])
        assert await found.get_list_by(("country",), ("no",)) == NORWAY


# -- random steps ----------------------------------------------------------------------------------

GROUPS, SLUGS = ["a", "b"], ["x", "y", "z"]
STEP = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 3), st.sampled_from([*GROUPS, None]), st.sampled_from(SLUGS)),
    st.tuples(st.just("delete"), st.integers(1, 3)),
    st.tuples(st.just("rollback"), st.integers(1, 3), st.sampled_from(GROUPS), st.sampled_from(SLUGS)),
    st.tuples(st.just("bulk"), st.sampled_from(GROUPS)),
    st.tuples(st.just("evict"), st.integers(0, 20)),
    st.tuples(st.just("killed"), st.integers(1, 3), st.sampled_from(GROUPS)),
    st.tuples(st.just("read"), st.booleans()),
)


@pytest.mark.parametrize("kind", ["memory", "fake"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=25))
def test_random_steps_never_show_anything_but_the_table(kind: str, steps: list[tuple[Any, ...]]) -> None:
    """After any writes, rollbacks, bulk writes, evictions and killed writers every list and lookup is the table's."""
    clock = ManualClock()
    backend: Any = MemoryBackend(clock=clock) if kind == "memory" else FakeBackend(clock)
    table: dict[int, tuple[int, str | None, str]] = {1: (1, "a", "x")}
    cache = Cache(backend, namespace="shop", clock=clock, sleep=clock.sleep)

    def query(fields: Mapping[str, Any]) -> list[Any]:
        [(name, value)] = fields.items()
        return [row for row in table.values() if row[1 if name == "of" else 2] == value]

    found = cache.entity(
        "shop.Item", {"id": int, "of": str | None, "slug": str}, lookups=["slug"], lists=["of"], missing=True,
        load=lambda ids: [table[one] for one in ids if one in table],
        query=lambda fields: next(iter(query(fields)), None), query_list=query,
    )  # fmt: skip

    def is_free(identity: int, slug: str) -> bool:
        return all(row[2] != slug for row in table.values() if row[0] != identity)

    for step in steps:
        match step:
            case ("write", int(identity), group, str(slug)) if is_free(identity, slug):
                with cache.begin() as unit:
                    unit.touch(found, identity)
                    unit.gain(found, of=group, slug=slug)
                    unit.commit(partial(table.update, {identity: (identity, group, slug)}))
            case ("rollback", int(identity), group, str(slug)):
                with cache.begin() as unit:
                    unit.touch(found, identity)
                    unit.gain(found, of=group, slug=slug)
                    unit.prepare()
            case ("delete", int(identity)):
                with cache.begin() as unit:
                    unit.touch(found, identity)
                    unit.commit(lambda: table.pop(identity, None))
            case ("bulk", str(group)):
                with cache.begin() as unit:
                    unit.touch_all(found)
                    unit.commit(partial(table.update, {one: (one, group, row[2]) for one, row in table.items()}))
            case ("killed", int(identity), str(group)) if identity in table:
                unit = cache.begin()
                unit.touch(found, identity)
                unit.gain(found, of=group)
                unit.prepare()
                table[identity] = (identity, group, table[identity][2])
            case ("evict", int(number)) if isinstance(backend, FakeBackend) and backend.snapshot():
                keys = sorted(backend.snapshot())
                key = keys[number % len(keys)]
                [entry] = backend.get([key])
                if isinstance(entry, Value | Lease):
                    backend.evict(key)
            case ("read", bool(may_fill)):
                for group in GROUPS:
                    rows = [row for row in table.values() if row[1] == group]
                    assert found.get_list(may_fill=may_fill, of=group) == sorted(rows)
            case _:
                pass
        for slug in SLUGS:
            assert found.find(slug=slug) == next((row for row in table.values() if row[2] == slug), None)
    for group in GROUPS:
        assert found.get_list(of=group) == sorted(row for row in table.values() if row[1] == group)
