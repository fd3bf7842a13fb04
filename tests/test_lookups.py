"""Lookups are claims that the row verifies: whatever a pointer says, the answer is right at the first try."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cachecore import Cache, claims
from cachecore.backends.memory import MemoryBackend
from cachecore.entries import Value, encode_entry
from cachecore.errors import UncacheableLookup
from cachecore.lookups import Claim
from cachecore.records import Records
from cachecore.testing import FakeBackend, ManualClock
from cachecore.value_codec import ValueCodec
from tests.cities import BERGEN, LYON, OSLO, Cities

NEW_OSLO = (1, "christiania", "no", "Oslo", OSLO[4])


@pytest.fixture(params=["memory", "fake", "fake, nothing remembered"])
def cache(request: pytest.FixtureRequest, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cache]:
    """A cache in the process, one on a server, and one on a server in a process that remembers no pointers."""
    if "nothing" in request.param:
        monkeypatch.setattr(claims, "REMEMBERED_CLAIMS", 0)
    backend = MemoryBackend(clock=clock) if request.param == "memory" else FakeBackend(clock)
    with Cache(backend, namespace="shop", clock=clock, sleep=clock.sleep) as cache:
        yield cache


def warm(found: Records, cities: Cities, **fields: Any) -> None:
    """Ask until the answer needs no database."""
    for _ in range(3):
        found.find(**fields)
    cities.asked()
    found.find(**fields)
    assert cities.asked() == 0


def write(cache: Cache, cities: Cities, found: Records, *statements: str, touch: tuple[int, ...]) -> None:
    """One transaction under the protocol."""
    with cache.begin() as unit:
        cities.execute("BEGIN IMMEDIATE")
        for statement in statements:
            cities.execute(statement)
        unit.touch(found, *touch)
        unit.commit(lambda: cities.execute("COMMIT"))


# -- finding ---------------------------------------------------------------------------------------


def test_a_row_is_found_by_each_declared_lookup(cache: Cache, cities: Cities) -> None:
    """One column, several columns in any order, and the identity find the row; the second time without a query."""
    found = cities.records(cache)
    questions: list[dict[str, Any]] = [
        {"slug": "oslo"}, {"country": "no", "name": "Oslo"}, {"name": "Oslo", "country": "no"}, {"id": 1},
    ]  # fmt: skip
    for question in questions:
        assert found.find(**question) == OSLO
    assert cities.queries == [{"slug": "oslo"}, {"country": "no", "name": "Oslo"}]
    cities.asked()
    for question in questions:
        assert found.find(**question) == OSLO
    assert cities.asked() == 0


def test_a_lookup_without_a_row_is_none_and_asked_each_time(cache: Cache, cities: Cities) -> None:
    """Absence is not remembered, so that a new row is found at once."""
    found = cities.records(cache)
    assert found.find(slug="new") is None
    cities.insert((9, "new", "no", "New", None))
    assert found.find(slug="new") == (9, "new", "no", "New", None)


def test_an_undeclared_lookup_is_refused_with_those_that_exist(cache: Cache, cities: Cities) -> None:
    """A lookup that no key stands for is a ValueError which names what could be asked."""
    found = cities.records(cache)
    questions: list[dict[str, Any]] = [{"name": "Oslo"}, {"country": "no"}, {"slug": "a", "id": 1}, {"nosuch": 1}, {}]
    for question in questions:
        with pytest.raises(UncacheableLookup) as caught:
            found.find(**question)
        assert isinstance(caught.value, ValueError)
        for known in ("geo.City", "id", "slug", "country+name", "just hit the database"):
            assert known in str(caught.value)
    assert cities.asked() == 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"slug": None}, "slug=None names no row"),
        ({"country": "no", "name": None}, "name=None names no row"),
        ({"slug": 5}, "slug is str"),
        ({"slug": b"oslo"}, "slug is str"),
        ({"country": "no", "name": ["Oslo"]}, "name is str"),
    ],
)
def test_none_and_values_of_other_types_are_refused(
    cache: Cache, cities: Cities, fields: dict[str, Any], named: str
) -> None:
    """NULLs equal nothing and a wrong type finds nothing; both say so and ask no database."""
    with pytest.raises(UncacheableLookup, match=named):
        cities.records(cache).find(**fields)
    assert cities.asked() == 0


def test_a_query_that_raises_leaves_no_trace(cache: Cache, cities: Cities) -> None:
    """The error reaches the caller and the next one is answered."""

    def fail(_: Any) -> Any:
        raise LookupError("down")

    found = cities.records(cache)
    with pytest.raises(LookupError):
        found.find(fail, slug="oslo")
    assert found.find(slug="oslo") == OSLO


def test_many_lookups_are_answered_in_their_order(cache: Cache, cities: Cities) -> None:
    """find_many keeps order and duplicates, with one query for what has no pointer and none when warm."""
    asked: list[Any] = []

    def by_slugs(values: Any) -> list[Any]:
        asked.append(list(values))
        return cities.select(f"slug IN ({', '.join('?' * len(values))})", *[slug for (slug,) in values])

    found = cities.records(cache)
    slugs = [("lyon",), ("nosuch",), ("oslo",), ("lyon",)]
    for _ in range(2):
        assert found.find_many(["slug"], slugs, by_slugs) == [LYON, None, OSLO, LYON]
    assert asked[0] == [("lyon",), ("nosuch",), ("oslo",)]
    assert asked[1] == [("nosuch",)]


# -- writes ----------------------------------------------------------------------------------------


def test_a_rename_moves_the_lookup(cache: Cache, cities: Cities) -> None:
    """The new name finds the row, the old one finds nothing, each at the first try."""
    found = cities.records(cache)
    warm(found, cities, slug="oslo")
    write(cache, cities, found, "UPDATE city SET slug = 'christiania' WHERE id = 1", touch=(1,))
    assert found.find(slug="oslo") is None
    assert cities.asked() == 2  # the row the pointer names, then the lookup
    assert found.find(slug="oslo") is None
    assert cities.asked() == 1  # the old pointer is gone
    assert found.find(slug="christiania") == NEW_OSLO
    assert cities.asked() == 1
    assert found.find(slug="christiania") == NEW_OSLO
    assert cities.asked() == 0


def test_a_swap_of_two_slugs_swaps_the_answers(cache: Cache, cities: Cities) -> None:
    """Both pointers are wrong after a swap, and both answers right."""
    found = cities.records(cache)
    for slug in ("oslo", "bergen"):
        warm(found, cities, slug=slug)
    write(
        cache,
        cities,
        found,
        "UPDATE city SET slug = '-' WHERE id = 1",
        "UPDATE city SET slug = 'oslo' WHERE id = 2",
        "UPDATE city SET slug = 'bergen' WHERE id = 1",
        touch=(1, 2),
    )
    assert found.find(slug="oslo") == (2, "oslo", "no", "Bergen", None)
    assert cities.asked() == 2
    assert found.find(slug="bergen") == (1, "bergen", "no", "Oslo", OSLO[4])
    assert cities.asked() == 2
    for slug, identity in (("oslo", 2), ("bergen", 1)):
        row: Any = found.find(slug=slug)
        assert row[0] == identity
    assert cities.asked() == 0


def test_a_row_deleted_and_created_again_with_the_same_slug_is_the_new_one(cache: Cache, cities: Cities) -> None:
    """The pointer to the deleted row dangles, and the new row is found."""
    found = cities.records(cache)
    warm(found, cities, slug="oslo")
    write(cache, cities, found, "DELETE FROM city WHERE id = 1", touch=(1,))
    assert found.find(slug="oslo") is None
    again = (7, "oslo", "no", "Oslo", None)
    cities.insert(again)
    cities.asked()
    assert found.find(slug="oslo") == again
    assert cities.asked() == 1
    assert found.find(slug="oslo") == again
    assert found.find(slug="oslo") == again
    assert cities.asked() == 1


def test_a_delete_and_create_in_one_transaction_is_found_at_the_first_try(cache: Cache, cities: Cities) -> None:
    """A dangling pointer costs one load, and never the answer."""
    found = cities.records(cache)
    warm(found, cities, slug="oslo")
    write(cache, cities, found, "DELETE FROM city WHERE id = 1",
          "INSERT INTO city VALUES (7, 'oslo', 'no', 'Oslo', NULL)", touch=(1, 7))  # fmt: skip
    assert found.find(slug="oslo") == (7, "oslo", "no", "Oslo", None)
    assert cities.asked() == 2


def test_a_pointer_needs_no_hold(cache: Cache, cities: Cities) -> None:
    """Touching the row is enough: the writer need not know under which lookups it was asked for."""
    found = cities.records(cache)
    for question in ({"slug": "oslo"}, {"country": "no", "name": "Oslo"}):
        warm(found, cities, **question)
    write(cache, cities, found, "UPDATE city SET slug = 'o', name = 'O' WHERE id = 1", touch=(1,))
    assert found.find(slug="oslo") is None
    assert found.find(country="no", name="Oslo") is None
    assert found.find(country="no", name="O") == (1, "o", "no", "O", OSLO[4])


# -- spellings -------------------------------------------------------------------------------------


def test_a_case_insensitive_database_is_believed(cache: Cache) -> None:
    """Asked for OSLO, a NOCASE column answers oslo; the pointer keeps the database's spelling and is verified by it."""
    cities = Cities(collation="NOCASE", rows=[OSLO, BERGEN])
    found = cities.records(cache)
    assert found.find(slug="OSLO") == OSLO
    warm(found, cities, slug="OSLO")
    assert found.find(slug="Oslo") == OSLO
    write(cache, cities, found, "UPDATE city SET slug = 'oSlO' WHERE id = 1", touch=(1,))
    for slug in ("OSLO", "oslo"):
        cities.asked()
        assert found.find(slug=slug) == (1, "oSlO", "no", "Oslo", OSLO[4])
        assert cities.asked() <= 2
    write(cache, cities, found, "UPDATE city SET slug = 'christiania' WHERE id = 1", touch=(1,))
    assert found.find(slug="OSLO") is None
    cities.close()


# -- forged pointers -------------------------------------------------------------------------------


def forged_pointers(found: Records, server: FakeBackend) -> list[bytes]:
    """What an enemy or a defect could put in place of the pointer to row 1."""
    encode = ValueCodec().encode

    def stored(payload: bytes, stamp: bytes = found.subject.fingerprint) -> bytes:
        return encode_entry(Value(payload, stamp), server.incarnation)

    claims: list[Any] = [
        (2, ("bergen",)), (2, ("oslo",)), (99, ("oslo",)), (True, ("oslo",)), ("1", ("oslo",)), (None, ("oslo",)),
        (2, ("bergen",), ("bergen",)), (2, ("oslo",), ("oslo",)), (1, ("oslo",), ("oslo",), 1), (1, "oslo", ("oslo",)),
        (1, ("oslo", "no")), (1, ()), (1, (5,)), ((1,), ("oslo",)), ([1], ("oslo",)), (([1],), ("oslo",)),
        (float("nan"), ("oslo",)), (1,), 1, "rubbish", [1, ["oslo"]], (1, ["oslo"]), {}, None,
    ]  # fmt: skip
    return [
        b"", b"rubbish", stored(b""), stored(b"\xc1"), stored(encode((1, ("oslo",))), b"other"),
        encode_entry(Value(b"\xff" * 40, b"x" * 16), b"another1"), *(stored(encode(claim)) for claim in claims),
    ]  # fmt: skip


def test_a_forged_or_corrupt_pointer_costs_a_query_and_never_the_answer(
    remote: Cache, server: FakeBackend, cities: Cities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands under the key of a pointer, the right row is found at the first try and the pointer repaired."""
    monkeypatch.setattr(claims, "REMEMBERED_CLAIMS", 0)
    found = cities.records(remote)
    warm(found, cities, slug="oslo")
    pointer = found.lookup_for(["slug"], ["oslo"]).key
    for forged in forged_pointers(found, server):
        server.inject(pointer, forged)
        assert found.find(slug="oslo") == OSLO
        assert cities.asked() <= 2
        assert found.find(slug="oslo") == OSLO
        assert cities.asked() == 0


def test_a_forged_pointer_cannot_make_a_second_key_for_a_row(
    remote: Cache, server: FakeBackend, cities: Cities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An identity of another type than the column's is not followed: nobody would outdate the row under that key."""
    monkeypatch.setattr(claims, "REMEMBERED_CLAIMS", 0)
    found = cities.records(remote)
    pointer = found.lookup_for(["slug"], ["oslo"]).key
    server.inject(
        pointer,
        encode_entry(Value(ValueCodec().encode((True, ("oslo",))), found.subject.fingerprint), server.incarnation),
    )
    found.find(slug="oslo")
    assert found.entity.key(True) not in server.snapshot()


def test_a_pointer_of_another_schema_is_not_followed(remote: Cache, cities: Cities) -> None:
    """Pointers carry the schema of their rows: code with other columns asks again."""
    first, second = cities.records(remote), cities.records(remote, version=2)
    first.find(slug="oslo")
    cities.asked()
    assert second.find(slug="oslo") == OSLO
    assert cities.queries == [{"slug": "oslo"}]


# -- budgets ---------------------------------------------------------------------------------------


def test_the_operations_of_lookups(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """A remembered pointer makes a warm lookup one round trip; another process reads the pointer first."""

    def operations(ask: Callable[[], object]) -> list[str]:
        server.log.clear()
        ask()
        return server.operations()

    found = cities.records(remote)
    assert operations(lambda: found.find(slug="oslo")) == ["get", "put"]
    assert operations(lambda: found.find(slug="oslo")) == ["acquire", "fill", "fill"]
    assert operations(lambda: found.find(slug="oslo")) == ["acquire"]
    elsewhere = cities.records(Cache(server, namespace="shop"))
    assert operations(lambda: elsewhere.find(slug="oslo")) == ["get", "acquire"]
    assert operations(lambda: elsewhere.find(slug="oslo")) == ["acquire"]
    found.forget_claims()
    assert operations(lambda: found.find(slug="oslo")) == ["get", "acquire"]
    assert operations(lambda: found.find(slug="nosuch")) == ["get"]


def test_the_oldest_remembered_pointers_give_way(
    remote: Cache, server: FakeBackend, cities: Cities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process remembers so many pointers and no more; a forgotten one costs one round trip."""
    monkeypatch.setattr(claims, "REMEMBERED_CLAIMS", 2)
    found = cities.records(remote)
    for slug in ("oslo", "bergen", "lyon"):
        warm(found, cities, slug=slug)
    server.log.clear()
    for slug in ("lyon", "bergen", "oslo"):
        found.find(slug=slug)
    assert server.operations() == ["acquire", "acquire", "get", "acquire"]


def test_a_pointer_without_stored_form_is_counted_and_asked_again(cache: Cache) -> None:
    """A row whose lookup column holds what cannot be stored is still found, each time by a query."""
    row = (1, object())
    found = cache.entity(
        "shop.Item", {"id": int, "name": str}, lookups=["name"], load=lambda ids: [row], query=lambda fields: row
    )
    for _ in range(2):
        assert found.find(name="a") == row
    assert cache.statistics.refused_fills >= 1


def test_a_claim_is_what_a_local_backend_keeps() -> None:
    """In the process a pointer is an object; one that is not is not followed."""
    with Cache("memory://", namespace="shop") as cache:
        cities = Cities(rows=[OSLO])
        found = cities.records(cache)
        warm(found, cities, slug="oslo")
        pointer = found.lookup_for(["slug"], ["oslo"]).key
        forged: list[object] = [b"rubbish", None, Claim("1", ("oslo",)), Claim(2, ("oslo",)), Claim(9, ("oslo",))]
        for payload in forged:
            cache.backend.put([(pointer, Value(payload, found.subject.fingerprint), 1)], None)
            assert found.find(slug="oslo") == OSLO
        cities.close()


def test_a_row_that_denies_a_pointer_is_counted_once(cities: Cities) -> None:
    """A cached row that is looked at and does not have what was asked is one hit, not one for each way to it."""
    with Cache("memory://", namespace="shop") as cache:
        found = cities.records(cache)
        for _ in range(3):
            assert found.find(slug="oslo") is not None
        cities.execute("UPDATE city SET slug = 'christiania' WHERE id = 1")
        cache.invalidate(found, 1)
        found.get(1)
        hits = cache.statistics.hits
        assert found.find(slug="oslo") is None
        assert cache.statistics.hits <= hits + 1
