"""The journal without a framework: what a write notes while the cache cannot be reached, and what replaying it does."""

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest

from cachecore import AsyncCache, Cache, Policy
from cachecore.errors import BackendTimeout, BackendUnavailable, ConfigurationError, WriteRefused
from cachecore.events import Event, Failure, Held, Invalidated, Journaled
from cachecore.records import Records
from cachecore.testing import AsyncFakeBackend, FakeBackend, ManualClock
from tests.cities import OSLO, Cities

RENAMED = (1, "oslo", "no", "Christiania", OSLO[4])
RENAME = "UPDATE city SET name = 'Christiania' WHERE id = 1"


class Journal:
    """A table in the database of the cities."""

    def __init__(self, cities: Cities) -> None:
        self._cities = cities
        cities.execute("CREATE TABLE journal (id INTEGER PRIMARY KEY, key TEXT NOT NULL)")

    def write(self, keys: Sequence[str]) -> None:
        """What is given to ``begin``."""
        assert self._cities.connection.in_transaction
        for key in keys:
            self._cities.execute("INSERT INTO journal (key) VALUES (?)", key)

    def keys(self) -> list[str]:
        """What is noted now."""
        return [key for (key,) in self._cities.execute("SELECT key FROM journal ORDER BY id")]

    def replay(self, cache: Cache) -> None:
        """Read, outdate, delete what was read."""
        rows = self._cities.execute("SELECT id, key FROM journal")
        cache.replay(key for _, key in rows)
        for number, _ in rows:
            self._cities.execute("DELETE FROM journal WHERE id = ?", number)


@pytest.fixture
def journal(cities: Cities) -> Journal:
    """An empty journal."""
    return Journal(cities)


@pytest.fixture
def found(remote: Cache, cities: Cities) -> Records:
    """The cities on the server, the first of them cached."""
    found = cities.records(remote)
    found.get(1)
    return found


def rename(cache: Cache, found: Records, cities: Cities, journal: Journal | None) -> None:
    """A transaction that renames city 1."""
    with cache.begin(journal=None if journal is None else journal.write) as unit:
        cities.execute("BEGIN")
        try:
            cities.execute(RENAME)
            unit.touch(found, 1)
            unit.commit(lambda: cities.execute("COMMIT"))
        finally:
            if cities.connection.in_transaction:
                cities.execute("ROLLBACK")


def server_is_away(server: FakeBackend) -> None:
    """From now on nobody reaches the server."""
    server.fail(times=1000)


# -- a write while the cache is away ---------------------------------------------------------------


def test_a_commit_leaves_its_keys_in_the_journal(
    remote: Cache, server: FakeBackend, found: Records, cities: Cities, journal: Journal
) -> None:
    """The write goes on, its keys are noted before COMMIT, and that is told and counted."""
    told: list[Event] = []
    remote.hooks.subscribe(told.append)
    server_is_away(server)
    rename(remote, found, cities, journal)
    assert cities.select("id = 1") == [RENAMED]
    assert journal.keys() == list(found.keys_for([1]))
    assert [(type(event), getattr(event, "operation", "")) for event in told] == [
        (Failure, "hold"), (Journaled, ""), (Failure, "complete"),
    ]  # fmt: skip
    assert told[1] == Journaled("", journal.keys())
    assert remote.statistics.journaled == 1


def test_replaying_outdates_what_was_noted(
    remote: Cache, server: FakeBackend, found: Records, cities: Cities, journal: Journal
) -> None:
    """Until the replay a reader who reaches the cache sees the old row, afterwards nobody does."""
    server_is_away(server)
    rename(remote, found, cities, journal)
    server.recover()
    assert found.get(1) == OSLO, "nothing was stale, so this proves nothing"
    journal.replay(remote)
    assert journal.keys() == []
    assert found.get(1) == RENAMED
    assert found.get(1) == RENAMED
    assert cities.asked() == 2, "once before the outage, once after the replay"


def test_a_reader_under_way_during_the_replay_stores_nothing_old(
    remote: Cache, server: FakeBackend, cities: Cities, journal: Journal
) -> None:
    """It read the old row before the commit; the replay takes its lease away."""
    found = cities.records(remote)

    def slowly(identities: Any) -> Any:
        rows = cities.load(identities)
        server_is_away(server)
        rename(remote, found, cities, journal)
        server.recover()
        journal.replay(remote)
        return rows

    assert found.get(1, slowly) == OSLO
    assert found.get(1) == RENAMED


def test_a_replay_that_fails_says_so(
    remote: Cache, server: FakeBackend, found: Records, cities: Cities, journal: Journal
) -> None:
    """While the cache is away replaying raises, so that the journal keeps its notes."""
    server_is_away(server)
    rename(remote, found, cities, journal)
    with pytest.raises(BackendUnavailable):
        journal.replay(remote)
    assert journal.keys() == list(found.keys_for([1]))
    server.recover()
    journal.replay(remote)
    assert found.get(1) == RENAMED


def test_replaying_again_or_nothing_is_harmless(
    remote: Cache, server: FakeBackend, found: Records, cities: Cities
) -> None:
    """Keys that were replayed before cost their readers one query; no keys cost nothing; a writer's hold stays."""
    [key] = found.keys_for([1])
    server.log.clear()
    remote.replay([])
    assert server.operations() == []
    for _ in range(2):
        remote.replay([key])
        assert found.get(1) == OSLO
    with remote.begin() as unit:
        unit.touch(found, 1)
        unit.prepare()
        remote.replay([key])
        found.get(1)
        cities.asked()
        found.get(1)
        assert cities.asked() == 1, "still held"


def test_a_rollback_leaves_nothing_in_the_journal(
    remote: Cache, server: FakeBackend, found: Records, cities: Cities, journal: Journal
) -> None:
    """What was noted goes with the transaction that it was a part of."""
    server_is_away(server)
    with remote.begin(journal=journal.write) as unit:
        cities.execute("BEGIN")
        cities.execute(RENAME)
        unit.touch(found, 1)
        unit.prepare()
        assert len(journal.keys()) == 1
        cities.execute("ROLLBACK")
    assert journal.keys() == []


def test_what_the_journal_raises_stops_the_write(
    remote: Cache, server: FakeBackend, found: Records, cities: Cities, journal: Journal
) -> None:
    """Without a note nothing is committed; the holds that may stand are left."""
    cities.execute("DROP TABLE journal")
    server.fail("hold", BackendTimeout("no answer"), carried_out=True)
    with pytest.raises(sqlite3.OperationalError, match="journal"):
        rename(remote, found, cities, journal)
    assert cities.select("id = 1") == [OSLO]
    assert server.operations()[-2:] == ["hold", "release"]


def test_the_journal_is_not_written_while_the_cache_answers(
    remote: Cache, found: Records, cities: Cities, journal: Journal
) -> None:
    """In good times it costs nothing."""
    rename(remote, found, cities, journal)
    assert journal.keys() == []
    assert remote.statistics.journaled == 0


@pytest.mark.parametrize("carried_out", [False, True])
def test_a_cache_that_is_back_for_complete_is_right_at_once(
    remote: Cache, server: FakeBackend, found: Records, cities: Cities, journal: Journal, carried_out: bool
) -> None:
    """COMPLETE is tried all the same, whether PREPARE got lost or only its answer; the note stays for the replay."""
    server.fail("hold", BackendTimeout("no answer"), carried_out=carried_out)
    rename(remote, found, cities, journal)
    assert found.get(1) == RENAMED
    assert len(journal.keys()) == 1
    journal.replay(remote)
    assert found.get(1) == RENAMED


def test_a_hold_that_nobody_ends_expires_and_the_replay_does_the_rest(
    remote: Cache, server: FakeBackend, found: Records, cities: Cities, journal: Journal, clock: ManualClock
) -> None:
    """PREPARE was carried out and only its answer got lost: the row is uncached until the hold ends, then right."""
    server.fail("hold", BackendTimeout("no answer"), carried_out=True)
    server.fail("complete", BackendTimeout("no answer"))
    rename(remote, found, cities, journal)
    assert found.get(1) == RENAMED
    journal.replay(remote)
    clock.advance(Policy().hold_ttl + 1)
    for _ in range(2):
        assert found.get(1) == RENAMED


def test_a_commit_of_unknown_outcome_is_replayed_if_it_happened(
    remote: Cache, server: FakeBackend, found: Records, cities: Cities, journal: Journal
) -> None:
    """The note is there if and only if the write is, whatever the caller was told."""
    server_is_away(server)

    def send() -> None:
        cities.execute("COMMIT")
        raise ConnectionError("the connection was lost while committing")

    unit = remote.begin(journal=journal.write)
    cities.execute("BEGIN")
    cities.execute(RENAME)
    unit.touch(found, 1)
    with pytest.raises(ConnectionError):
        unit.commit(send)
    server.recover()
    assert len(journal.keys()) == 1
    journal.replay(remote)
    assert found.get(1) == RENAMED


def test_complete_tells_whether_the_cache_has_acknowledged(remote: Cache, server: FakeBackend, found: Records) -> None:
    """True when it has, False when it failed or there was nothing to tell."""

    def completed(touch: bool = True) -> bool:
        unit = remote.begin()
        if touch:
            unit.touch(found, 1)
        unit.prepare()
        return unit.complete()

    assert completed()
    assert not completed(touch=False)
    server.fail("complete")
    assert not completed()


# -- which policy ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unreachable", "with_journal", "refused", "noted", "old"),
    [
        (None, True, False, 1, False),
        (None, False, True, 0, True),
        ("journal", True, False, 1, False),
        ("refuse", True, True, 0, True),
        ("refuse", False, True, 0, True),
        ("bounded", True, False, 0, True),
        ("bounded", False, False, 0, True),
    ],
)
def test_policies_side_by_side(
    remote: Cache,
    server: FakeBackend,
    cities: Cities,
    journal: Journal,
    unreachable: Any,
    with_journal: bool,
    refused: bool,
    noted: int,
    old: bool,
) -> None:
    """Whether the write is refused, what is noted, and whether the old row is still served after a replay.

    An old row is right where the write was refused, and stale under "bounded": what the journal is there for.
    """
    found = cities.records(remote, policy=Policy(unreachable=unreachable))
    found.get(1)
    server_is_away(server)
    if refused:
        with pytest.raises(WriteRefused, match='unreachable="refuse"'):
            rename(remote, found, cities, journal if with_journal else None)
    else:
        rename(remote, found, cities, journal if with_journal else None)
    server.recover()
    assert cities.select("id = 1") == [OSLO if refused else RENAMED]
    assert len(journal.keys()) == noted
    journal.replay(remote)
    assert found.get(1) == (OSLO if old else RENAMED)


def test_a_journal_that_is_not_there_is_found_before_it_is_needed(remote: Cache, cities: Cities) -> None:
    """An entity that is to use one refuses to be touched in a unit of work without, also while the cache answers."""
    found = cities.records(remote, policy=Policy(unreachable="journal"))
    with remote.begin() as unit:
        for touch in (lambda: unit.touch(found, 1), lambda: unit.touch_all(found)):
            with pytest.raises(ConfigurationError, match=r'unreachable="journal".*begin\(journal'):
                touch()
        assert not unit.dirty


@pytest.mark.parametrize(
    ("one", "other", "strictest"),
    [
        ("journal", "refuse", "refuse"),
        ("journal", "bounded", "journal"),
        ("journal", None, "journal"),
        (None, "refuse", "refuse"),
        (None, "bounded", None),
        ("bounded", "refuse", "refuse"),
    ],
)
def test_one_refusal_refuses_all_and_one_journal_notes_all(
    remote: Cache, cities: Cities, journal: Journal, one: Any, other: Any, strictest: Any
) -> None:
    """Of several policies in one transaction the strictest counts, in whichever order the rows were touched."""
    kinds = [cities.records(remote, alias=str(kind), policy=Policy(unreachable=kind)) for kind in (one, other)]
    for order in (kinds, kinds[::-1]):
        with remote.begin(journal=journal.write) as unit:
            for records in order:
                unit.touch(records, 1)
            assert unit.policy.unreachable == strictest


def test_all_keys_of_a_transaction_are_noted(
    remote: Cache, server: FakeBackend, cities: Cities, journal: Journal
) -> None:
    """Those of every entity and of a bulk write, also those of entities whose own policy would not care."""
    rows, other = cities.records(remote), cities.records(remote, alias="other", policy=Policy(unreachable="bounded"))
    server_is_away(server)
    with remote.begin(journal=journal.write) as unit:
        cities.execute("BEGIN")
        unit.touch(rows, 1, 2)
        unit.touch_all(other)
        unit.commit(lambda: cities.execute("COMMIT"))
    assert journal.keys() == [*rows.keys_for([1, 2]), other.entity.epoch_key]


# -- async -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [True, False])
async def test_an_async_unit_awaits_its_journal(cities: Cities, journal: Journal, is_async: bool) -> None:
    """The journal may be a coroutine function or a plain one, and AsyncCache replays like Cache."""
    backend = AsyncFakeBackend(ManualClock())
    cache = AsyncCache(backend, namespace="shop")
    found = cities.async_records(cache)
    await found.get(1)

    async def write(keys: Sequence[str]) -> None:
        await asyncio.sleep(0)
        journal.write(keys)

    server_is_away(backend.server)
    async with cache.begin(journal=write if is_async else journal.write) as unit:
        cities.execute("BEGIN")
        cities.execute(RENAME)
        unit.touch(found, 1)
        await unit.commit(lambda: cities.execute("COMMIT"))
    with pytest.raises(BackendUnavailable):
        await cache.replay(journal.keys())
    backend.server.recover()
    assert journal.keys() == list(found.keys_for([1]))
    await cache.replay([])
    assert await found.get(1) == OSLO
    await cache.replay(journal.keys())
    assert await found.get(1) == RENAMED
    assert cache.statistics.journaled == 1


def test_in_good_times_the_events_are_as_ever(remote: Cache, found: Records, cities: Cities, journal: Journal) -> None:
    """A unit of work that has a journal holds and outdates like any other."""
    told: list[Event] = []
    remote.hooks.subscribe(told.append)
    rename(remote, found, cities, journal)
    assert [type(event) for event in told] == [Held, Invalidated]
