"""The hits of a shared cache in straight code, in both implementations: what is one, and what is left to the flow."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachecore import Cache, _shared_hits_py
from cachecore._shared_hits_py import Looked
from cachecore.entries import Grant, Hold, Lease, Unusable, Value
from cachecore.errors import BackendError, BackendTimeout, ClosedError, CorruptEntry, UncacheableLookup
from cachecore.events import Hit
from cachecore.lookups import Claim
from cachecore.testing import FakeBackend, ManualClock

try:
    from cachecore import _shared_hits_c
except ImportError:
    if os.environ.get("CACHECORE_REQUIRE_EXTENSION") == "1":
        raise
    _shared_hits_c = None  # type: ignore[assignment]

IMPLEMENTATIONS: Any = [_shared_hits_py, *([] if _shared_hits_c is None else [_shared_hits_c])]

PLAIN = {"id": int, "slug": str, "country": str | None}
MUTABLE = {"id": int, "slug": str, "facts": dict}
PAIR = {"country": str, "number": int, "name": str}
ROWS = {1: (1, "oslo", "no"), 2: (2, "bergen", None)}


@pytest.fixture
def cache() -> Iterator[Cache]:
    clock = ManualClock()
    with Cache(FakeBackend(clock), namespace="hits", clock=clock, sleep=clock.sleep) as cache:
        yield cache


def records_of(cache: Cache, implementation: Any, **more: Any) -> Any:
    """Records of three columns, whose hits are found by this implementation."""
    options: dict[str, Any] = {"columns": PLAIN, "lookups": ["slug", ("country", "slug")], **more}
    records = cache.entity(
        f"hits.{implementation.__name__[-2:]}",
        load=lambda identities: [ROWS[identity] for identity in identities if identity in ROWS],
        query=lambda fields: next((row for row in ROWS.values() if row[1] == fields["slug"]), None),
        **options,
    )
    records._hits = implementation.SharedHits(records)
    return records


each = pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda module: module.__name__[-2:])


# -- what a hit is ---------------------------------------------------------------------------------

EPOCH = b"an epoch"


def entries(records: Any) -> Any:
    """Whatever may stand under a key, most of it something like a value."""
    encode, fingerprint = records.entity.codec.encode, records.subject.fingerprint
    payloads = st.sampled_from([encode(row) for row in ROWS.values()]) | st.binary(max_size=12)
    payloads |= st.just(encode((1 << 70, "large", None)))  # in the general form
    stamps = st.sampled_from([EPOCH, EPOCH + fingerprint, fingerprint, b"", b"another!" + fingerprint])
    return st.one_of(
        st.builds(Value, payloads, st.just(EPOCH + fingerprint)),
        st.builds(Value, payloads, stamps),
        st.sampled_from([None, Lease(b"lease---"), Grant(b"grant---"), Hold(()), Unusable("corrupt", b"")]),
    )


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[Any, Any]]:
    """Records, and the implementations of their hits."""
    clock = ManualClock()
    with Cache(FakeBackend(clock), namespace="hits", clock=clock, sleep=clock.sleep) as cache:
        records = records_of(cache, _shared_hits_py)
        yield records, [module.SharedHits(records) for module in IMPLEMENTATIONS]


@given(data=st.data())
def test_both_implementations_believe_the_same(twins: tuple[Any, Any], data: st.DataObject) -> None:
    """Of any reply both say what the protocol says: a hit is a value of this epoch and schema, the row asked for."""
    records, hits = twins
    identities = data.draw(st.lists(st.sampled_from([1, 2, 1 << 70]), min_size=1, max_size=3))
    epoch = data.draw(st.sampled_from([Value(b"", EPOCH)] * 5 + [None, Lease(b"lease---"), Value(b"", b"another!")]))
    seen: Any = [epoch, *(data.draw(entries(records)) for _ in identities)]
    decode, expected = records.entity.codec.decode, []
    for entry, identity in zip(seen[1:], identities, strict=True):
        row = None
        stamp = epoch.stamp + records.subject.fingerprint if isinstance(epoch, Value) else None
        if isinstance(entry, Value) and entry.stamp == stamp:
            with suppress(CorruptEntry):
                row = decode(entry.payload)
        expected.append(row if row is not None and row[0] == identity else None)
    for one in hits:
        assert one.rows(seen, identities) == (None if None in expected else expected)
        assert one.row(seen[:2], identities[0]) == expected[0]
        for spelling in (("oslo",), ("bergen",), ("large",)):
            found = one.row_of(seen[:2], ("slug",), Claim(identities[0], spelling))
            assert found == (expected[0] if expected[0] is not None and expected[0][1:2] == spelling else None)


@each
def test_a_failure_is_no_hit(cache: Cache, implementation: Any) -> None:
    """Where the backend has failed nothing is believed."""
    hits, error = records_of(cache, implementation)._hits, BackendError("gone")
    assert hits.row(error, 1) is None
    assert hits.rows(error, [1]) is None
    assert hits.row_of(error, ("slug",), Claim(1, ("oslo",))) is None


@each
def test_a_backend_that_answers_too_little_is_no_hit(cache: Cache, implementation: Any) -> None:
    """A reply shorter than the question is an error, and nobody's row."""
    with pytest.raises(IndexError):
        records_of(cache, implementation)._hits.rows([Value(b"", EPOCH)], [1])


# -- reads -----------------------------------------------------------------------------------------


@each
def test_a_warm_row_is_one_acquire_and_counted(cache: Cache, implementation: Any) -> None:
    """By its identity and by a remembered lookup: one hit each, told to those who listen with the row's key."""
    records = records_of(cache, implementation)
    for _ in range(2):
        records.get(1)
        records.find(slug="oslo")
    backend: Any = cache.backend
    backend.log.clear()
    told: list[Any] = []
    cache.hooks.subscribe(told.append)
    before = cache.statistics.hits
    assert records.get(1) == ROWS[1]
    assert records.find(slug="oslo") == ROWS[1]
    assert records.find_by(("slug",), ["oslo"]) == ROWS[1]
    assert records.get_many([1]) == [ROWS[1]]
    assert backend.operations() == ["acquire"] * 4
    assert cache.statistics.hits == before + 4
    key = records.entity.key(1)
    assert told == [Hit(records.entity.name, (key,))] * 4


@each
def test_what_is_no_hit_is_what_has_been_seen(cache: Cache, implementation: Any) -> None:
    """A look at a cold row tells its key, its identity, and the reply to the Acquire that has left a lease."""
    records = records_of(cache, implementation)
    records.get(2)
    looked = records._hits.get(1)
    assert type(looked) is Looked
    assert (looked.key, looked.identity, looked.of_claim) == (records.entity.key(1), 1, None)
    assert [type(entry) for entry in looked.seen] == [Value, Grant]
    assert len(looked.token) == 8
    assert records._hits.get(1).token != looked.token


@each
def test_a_failing_backend_is_a_look_too(cache: Cache, implementation: Any) -> None:
    """Its error is what has been seen; what is no error of a backend is raised."""
    records = records_of(cache, implementation)
    backend: Any = cache.backend
    backend.fail("acquire", BackendTimeout("too late"))
    assert type(records._hits.get(1).seen) is BackendTimeout
    assert records.get(1) == ROWS[1]


@each
def test_a_lookup_is_asked_for_only_as_it_is_declared(cache: Cache, implementation: Any) -> None:
    """Nothing is asked for values of other types, unknown lookups, or without a remembered claim."""
    records = records_of(cache, implementation)
    hits, backend = records._hits, cache.backend
    for _ in range(2):
        records.find(slug="oslo")
    backend.log.clear()  # type: ignore[attr-defined]
    for names, values in [
        (("slug",), ("bergen",)),
        (("slug",), (5,)),
        (("slug",), (type("Text", (str,), {})("oslo"),)),
        (("slug",), (None,)),
        (("slug",), ()),
        (("slug",), ("oslo", "no")),
        (("id",), (1,)),
        (("slug", "country"), ("oslo", "no")),
        (("country", "slug"), ("no", "oslo")),
        ((), ()),
    ]:
        assert hits.find(names, values) is None
    assert backend.operations() == []  # type: ignore[attr-defined]
    assert hits.find(("slug",), ("oslo",)) == ROWS[1]


@each
def test_a_claim_that_the_row_does_not_confirm_is_looked_at(cache: Cache, implementation: Any) -> None:
    """A row that has another value now is no hit for a lookup that led to it; the flow finds the right answer."""
    records = records_of(cache, implementation)
    for _ in range(2):
        records.find(slug="oslo")
    records.get(2)
    lookup = records.lookup_for(("slug",), ("oslo",))
    wrong = Claim(2, ("oslo",))
    records.claims.set(lookup, wrong)
    looked = records._hits.find(("slug",), ("oslo",))
    assert type(looked) is Looked
    assert looked.of_claim == (wrong, (looked.token, looked.seen))
    assert records.find(slug="oslo") == ROWS[1]
    assert records._hits.find(("slug",), ("oslo",)) == ROWS[1]


@each
def test_identities_are_made_the_type_of_their_column_or_refused(cache: Cache, implementation: Any) -> None:
    """A subclass of int is that int; another type asks nothing."""
    records = records_of(cache, implementation)
    records.get(1)
    number = type("Number", (int,), {})(1)
    assert records._hits.get(number) == ROWS[1]
    backend: Any = cache.backend
    backend.log.clear()
    for identity in ("1", True, 1.0, None):
        with pytest.raises(UncacheableLookup):
            records._hits.get(identity)
    assert backend.operations() == []


@each
def test_structures_are_new_for_each_reader(cache: Cache, implementation: Any) -> None:
    """Rows with JSON are hits too, and no two share it."""
    row = (1, "oslo", {"fjords": ["oslofjord"]})
    records = records_of(cache, implementation, columns=MUTABLE, lookups=["slug"])
    records.get(1, lambda _: [row])
    first, second = records._hits.get(1), records._hits.get(1)
    assert first == second == row
    assert first[2] is not second[2]


@each
def test_an_identity_of_several_columns(cache: Cache, implementation: Any) -> None:
    """It is a tuple; a row of another identity under its key is no hit."""
    records = records_of(cache, implementation, columns=PAIR, lookups=["name"], identity=("country", "number"))
    row, other = ("no", 1, "Oslo"), ("no", 2, "Bergen")
    records.get(("no", 1), lambda _: [row])
    assert records._hits.get(("no", 1)) == row
    stamp = records._hits.get(("no", 2)).seen[0].stamp + records.subject.fingerprint
    cache.backend.put([(records.entity.key(("no", 1)), Value(records.entity.codec.encode(other), stamp), 9)], None)
    assert type(records._hits.get(("no", 1))) is Looked
    assert records._hits.row([Value(b"", stamp[:-8]), Value(b"rubbish", stamp)], ("no", 1)) is None


@each
def test_a_closed_cache_has_no_hits(cache: Cache, implementation: Any) -> None:
    """After close the backend that is asked is the one that refuses."""
    records = records_of(cache, implementation)
    records.get(1)
    cache.close()
    with pytest.raises(ClosedError, match="closed"):
        records.get(1)
