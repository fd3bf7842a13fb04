"""Units of work: what the cache does around a transaction, and that no reader sees what it must not."""

import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cachecore import Cache, Policy
from cachecore.backends.memory import MemoryBackend
from cachecore.errors import BackendTimeout, BackendUnavailable, ClosedError, ConfigurationError, WriteRefused
from cachecore.records import Records
from cachecore.testing import FakeBackend, ManualClock
from tests.cities import BERGEN, OSLO, Cities

RENAMED = (1, "oslo", "no", "Christiania", OSLO[4])
RENAME = "UPDATE city SET name = 'Christiania' WHERE id = 1"


def read_again(found: Records, cities: Cities, identity: int = 1) -> tuple[Any, int]:
    """(the row, how many statements it took)."""
    cities.asked()
    return found.get(identity), cities.asked()


def write_row(cache: Cache, found: Records, send: Callable[[], object]) -> None:
    """One transaction that writes row 1."""
    with cache.begin() as unit:
        unit.touch(found, 1)
        unit.commit(send)


# -- the ends of a unit ----------------------------------------------------------------------------


def test_a_commit_outdates_what_was_touched(cache: Cache, cities: Cities) -> None:
    """After commit the row is read from the database once, and cached again; other rows stay."""
    found = cities.records(cache)
    found.get_many([1, 2])
    unit = cache.begin()
    unit.touch(found, 1)
    assert unit.commit(lambda: cities.execute(RENAME)) == []
    assert read_again(found, cities) == (RENAMED, 1)
    assert read_again(found, cities) == (RENAMED, 0)
    assert read_again(found, cities, 2) == (BERGEN, 0)


def test_a_rollback_leaves_the_holds_and_readers_fill_again(cache: Cache, cities: Cities) -> None:
    """After a rolled back PREPARE the unchanged row is cached by the next reader."""
    found = cities.records(cache)
    found.get(1)
    unit = cache.begin()
    unit.touch(found, 1)
    unit.prepare()
    assert read_again(found, cities) == (OSLO, 1)
    assert read_again(found, cities) == (OSLO, 1)
    unit.rollback()
    assert read_again(found, cities) == (OSLO, 1)
    assert read_again(found, cities) == (OSLO, 0)


def test_a_rollback_before_prepare_keeps_the_cached_row(cache: Cache, cities: Cities) -> None:
    """A transaction that ends before its COMMIT was announced costs the cache nothing."""
    found = cities.records(cache)
    found.get(1)
    with cache.begin() as unit:
        unit.touch(found, 1)
    assert read_again(found, cities) == (OSLO, 0)


def test_between_prepare_and_complete_nobody_believes_or_fills(cache: Cache, cities: Cities) -> None:
    """While COMMIT is under way every read of the row goes to the database and stores nothing."""
    found = cities.records(cache)
    found.get(1)
    unit = cache.begin()
    unit.touch(found, 1)
    unit.prepare()
    assert read_again(found, cities) == (OSLO, 1)
    cities.execute(RENAME)
    assert read_again(found, cities) == (RENAMED, 1)
    assert read_again(found, cities) == (RENAMED, 1)
    assert cache.statistics.miss_reasons["held"] == 3
    unit.complete()
    assert read_again(found, cities) == (RENAMED, 1)
    assert read_again(found, cities) == (RENAMED, 0)


def test_a_reader_that_began_before_the_write_stores_nothing_old(cache: Cache, cities: Cities) -> None:
    """The slow reader: it loads the old row, the writer commits, and its fill is refused."""
    found = cities.records(cache)

    def slowly(identities: Any) -> Any:
        rows = cities.load(identities)
        with cache.begin() as unit:
            unit.touch(found, 1)
            unit.commit(lambda: cities.execute(RENAME))
        return rows

    assert found.get(1, slowly) == OSLO
    assert cache.statistics.refused_fills == 1
    assert found.get(1) == RENAMED


def test_an_unknown_outcome_leaves_the_holds_to_expire(cache: Cache, cities: Cities, clock: ManualClock) -> None:
    """If COMMIT raises nobody knows what happened: the row is uncached until the hold has ended, and never stale."""
    found = cities.records(cache)
    found.get(1)

    def send() -> None:
        cities.execute(RENAME)
        raise ConnectionError("the connection was lost while committing")

    with pytest.raises(ConnectionError):
        write_row(cache, found, send)
    for _ in range(2):
        assert read_again(found, cities) == (RENAMED, 1)
    clock.advance(Policy().hold_ttl + 1)
    assert read_again(found, cities) == (RENAMED, 1)
    assert read_again(found, cities) == (RENAMED, 0)


def test_a_block_that_raises_rolls_back(cache: Cache, cities: Cities) -> None:
    """Leaving the with block by an error leaves the holds at once."""
    found = cities.records(cache)

    def fail() -> None:
        with cache.begin() as unit:
            unit.touch(found, 1)
            unit.prepare()
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    found.get(1)
    assert read_again(found, cities) == (OSLO, 0)


def test_a_unit_that_touched_nothing_sends_nothing(remote: Cache, server: FakeBackend) -> None:
    """Read-only transactions cost no round trip, and COMMIT is sent all the same."""
    with remote.begin() as unit:
        assert unit.commit(lambda: "sent") == "sent"
    with remote.begin() as unit:
        unit.prepare()
    assert server.operations() == []


def test_a_rollback_before_prepare_sends_nothing(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """What was never announced need not be taken back."""
    with remote.begin() as unit:
        unit.touch(cities.records(remote), 1)
    assert unit.ended
    assert server.operations() == []


def test_a_write_costs_two_round_trips_for_any_number_of_rows(
    remote: Cache, server: FakeBackend, cities: Cities
) -> None:
    """One PREPARE and one COMPLETE, however many rows of however many entities."""
    found, other = cities.records(remote), cities.records(remote, alias="other")
    with remote.begin() as unit:
        unit.touch(found, *range(100))
        unit.touch(other, 1)
        unit.touch(found, 5)
        unit.commit(lambda: None)
    assert server.operations() == ["hold", "complete"]
    assert [len(call.keys) for call in server.log] == [101, 101]


def test_an_ended_unit_refuses_more(cache: Cache, cities: Cities) -> None:
    """After commit, rollback or an unknown outcome nothing may be touched; rollback and complete do nothing then."""
    found = cities.records(cache)

    def fail() -> None:
        raise ConnectionError

    def unknown(unit: Any) -> None:
        with pytest.raises(ConnectionError):
            unit.commit(fail)

    ends: list[Callable[[Any], Any]] = [
        lambda unit: unit.commit(lambda: None), lambda unit: unit.rollback(), lambda unit: unit.complete(), unknown,
    ]  # fmt: skip
    for end in ends:
        unit = cache.begin()
        unit.touch(found, 1)
        end(unit)
        with pytest.raises(ClosedError, match="has ended"):
            unit.touch(found, 2)
        with pytest.raises(ClosedError, match="has ended"):
            unit.touch_all(found)
        with pytest.raises(ClosedError, match="has ended"):
            unit.prepare()
        with pytest.raises(ClosedError):
            unit.commit(lambda: pytest.fail("COMMIT was sent by a unit that had ended"))
        unit.rollback()
        unit.complete()


def test_a_unit_refuses_the_records_of_another_cache(cache: Cache, cities: Cities) -> None:
    """It could not outdate them: its keys go to its own cache."""
    with Cache("memory://", namespace="shop") as other, cache.begin() as unit:
        foreign = cities.records(other)
        for touch in (lambda: unit.touch(foreign, 1), lambda: unit.touch_all(foreign)):
            with pytest.raises(ConfigurationError, match=r"geo\.City belongs to another cache"):
                touch()
        assert not unit.dirty


# -- what a transaction sees -----------------------------------------------------------------------


def test_a_transaction_sees_its_own_writes_and_stores_none(cache: Cache, cities: Cities) -> None:
    """Reads in the unit find its uncommitted rows by identity and lookup; nobody else does, nor after a rollback."""
    found = cities.records(cache)
    for _ in range(3):
        found.find(slug="oslo")
        found.find(slug="bergen")
    with cache.begin() as unit:
        cities.execute("BEGIN")
        cities.execute("UPDATE city SET slug = 'x' WHERE id = 1")
        unit.touch(found, 1)
        mine = (1, "x", *OSLO[2:])
        assert found.get(1, unit=unit) == mine
        assert found.get_many([1, 2], unit=unit) == [mine, BERGEN]
        assert found.find(slug="oslo", unit=unit) is None
        assert found.find(slug="x", unit=unit) == mine
        assert found.find(slug="x", unit=unit) == mine
        assert found.find(slug="bergen", unit=unit) == BERGEN
        assert found.get(1) == OSLO
        cities.execute("ROLLBACK")
    for _ in range(2):
        assert found.get(1) == OSLO
        assert found.find(slug="oslo") == OSLO
        assert found.find(slug="x") is None
    assert cache.statistics.miss_reasons["written"] == 4


def test_a_transaction_that_has_written_fills_nothing(cache: Cache, cities: Cities) -> None:
    """A trigger or cascade may have changed rows that were not touched: what such a transaction reads is not stored."""
    cities.execute("CREATE TRIGGER t AFTER UPDATE ON city WHEN NEW.id = 1 BEGIN "
                   "UPDATE city SET name = 'by trigger' WHERE id = 2; END")  # fmt: skip
    found = cities.records(cache)
    with cache.begin() as unit:
        assert found.get(1, unit=unit) == OSLO
        cities.execute("BEGIN")
        cities.execute(RENAME)
        unit.touch(found, 1)
        assert found.get(2, unit=unit) == (2, "bergen", "no", "by trigger", None)
        assert found.find(country="no", name="by trigger", unit=unit) == (2, "bergen", "no", "by trigger", None)
        cities.execute("ROLLBACK")
    assert found.get(2) == BERGEN
    assert found.find(country="no", name="by trigger") is None


def test_a_transaction_that_has_not_written_uses_the_cache(cache: Cache, cities: Cities) -> None:
    """A clean unit reads like anybody else."""
    found = cities.records(cache)
    unit = cache.begin()
    found.get(1, unit=unit)
    cities.asked()
    assert found.get(1, unit=unit) == OSLO
    assert cities.asked() == 0


def test_touching_all_outdates_every_row(cache: Cache, cities: Cities) -> None:
    """A bulk write holds the whole entity: in the unit all rows are its own, after commit all are new."""
    found = cities.records(cache)
    found.get_many([1, 2])
    other = cities.records(cache, alias="other")
    other.get(1)
    with cache.begin() as unit:
        unit.touch_all(found)
        cities.execute("BEGIN")
        cities.execute("UPDATE city SET country = 'xx'")
        assert [row and row[2] for row in found.get_many([1, 2], unit=unit)] == ["xx", "xx"]
        unit.prepare()
        cities.execute("COMMIT")
        for _ in range(2):
            row, asked = read_again(found, cities)
            assert (row[2], asked) == ("xx", 1)
        unit.complete()
    for asked in (1, 0):
        assert [read_again(found, cities, identity)[1] for identity in (1, 2)] == [asked, asked]
    assert read_again(other, cities) == (OSLO, 0)


def test_a_savepoint_that_is_rolled_back_keeps_its_keys(cache: Cache, cities: Cities) -> None:
    """Rows touched in a savepoint are outdated at commit whatever became of it: too many, never too few."""
    found = cities.records(cache)
    found.get_many([1, 2])
    with cache.begin() as unit:
        cities.execute("BEGIN")
        cities.execute(RENAME)
        unit.touch(found, 1)
        cities.execute("SAVEPOINT inner")
        cities.execute("UPDATE city SET name = 'x' WHERE id = 2")
        unit.touch(found, 2)
        cities.execute("ROLLBACK TO inner")
        assert found.get_many([1, 2], unit=unit) == [RENAMED, BERGEN]
        unit.commit(lambda: cities.execute("COMMIT"))
    assert read_again(found, cities) == (RENAMED, 1)
    assert read_again(found, cities, 2) == (BERGEN, 1)


# -- time ------------------------------------------------------------------------------------------


def test_prepare_runs_again_when_commit_is_late(
    remote: Cache, server: FakeBackend, cities: Cities, clock: ManualClock
) -> None:
    """COMMIT is never sent on holds that may end under it: past hold_ttl minus commit_margin PREPARE is repeated."""
    found = cities.records(remote)
    policy = remote.policy
    with remote.begin() as unit:
        unit.touch(found, 1)
        unit.prepare()
        clock.advance(policy.hold_ttl - policy.commit_margin - 0.1)
        unit.prepare()
        assert server.operations() == ["hold"]
        assert not unit.must_prepare_again()
        clock.advance(0.1)
        assert unit.must_prepare_again()
        unit.commit(lambda: cities.execute(RENAME))
    assert server.operations() == ["hold", "hold", "complete"]


class SlowServer(FakeBackend):
    """A server whose acknowledgement of a hold takes as many seconds as the next of ``delays``."""

    def __init__(self, clock: ManualClock, *delays: float) -> None:
        super().__init__(clock)
        self.delays = list(delays)
        self.wait = clock.advance

    def hold(self, keys: Sequence[str], token: bytes, ttl: float) -> None:
        super().hold(keys, token, ttl)
        self.wait(self.delays.pop(0) if self.delays else 0.0)


def test_a_hold_acknowledged_too_late_is_placed_again(cities: Cities, clock: ManualClock) -> None:
    """An acknowledgement that used up the hold's life counts for nothing: PREPARE runs once more before COMMIT."""
    server = SlowServer(clock, 16.0)
    cache = Cache(server, namespace="shop", clock=clock, sleep=clock.sleep)
    found = cities.records(cache)
    write_row(cache, found, lambda: cities.execute(RENAME))
    assert server.operations() == ["hold", "hold", "complete"]
    assert read_again(found, cities) == (RENAMED, 1)


def test_a_server_too_slow_to_hold_counts_as_unreachable(cities: Cities, clock: ManualClock) -> None:
    """Two acknowledgements that came too late are none: the policy decides, and COMMIT is not sent on a dead hold."""
    server = SlowServer(clock, 16.0, 16.0)
    cache = Cache(server, namespace="shop", clock=clock, sleep=clock.sleep)
    found = cities.records(cache)
    with pytest.raises(WriteRefused, match="a hold of 15 s was acknowledged after 16 s"):
        write_row(cache, found, lambda: cities.execute(RENAME))
    assert cities.select("id = 1") == [OSLO]


def test_touching_more_after_prepare_makes_prepare_due(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """A row touched after PREPARE is held before COMMIT all the same."""
    found = cities.records(remote)
    with remote.begin() as unit:
        unit.touch(found, 1)
        unit.prepare()
        unit.touch(found, 2)
        unit.commit(lambda: None)
    assert [len(call.keys) for call in server.log] == [1, 2, 2]


def test_a_hold_that_ended_early_leaves_nothing_stale(cache: Cache, cities: Cities, clock: ManualClock) -> None:
    """If COMMIT outlived the hold and a reader filled the old row, COMPLETE removes it."""
    found = cities.records(cache)
    with cache.begin() as unit:
        unit.touch(found, 1)
        unit.prepare()
        clock.advance(Policy().hold_ttl + 1)
        assert found.get(1) == OSLO
        cities.execute(RENAME)
        unit.complete()
    assert found.get(1) == RENAMED


def test_two_units_on_one_row_hold_it_until_both_have_ended(cache: Cache, cities: Cities) -> None:
    """Holds are sets of writers: the first to end neither serves nor lets fill what the second still writes."""
    found = cities.records(cache)
    for first_end, second_end in itertools.product(["complete", "rollback"], repeat=2):
        first, second = cache.begin(), cache.begin()
        for unit in (first, second):
            unit.touch(found, 1)
            unit.prepare()
        getattr(first, first_end)()
        for _ in range(2):
            assert read_again(found, cities)[1] == 1
        getattr(second, second_end)()
        assert read_again(found, cities)[1] == 1
        assert read_again(found, cities)[1] == 0


def test_the_strictest_policy_of_what_was_touched_counts(
    remote: Cache, server: FakeBackend, cities: Cities, clock: ManualClock
) -> None:
    """The longest hold, the widest margin, and one refusal refuses all, in whichever order they were touched."""
    lax = cities.records(remote, alias="lax", policy=Policy(hold_ttl=60, commit_margin=1, unreachable="bounded"))
    strict = cities.records(remote, alias="strict", policy=Policy(hold_ttl=20, commit_margin=5))
    for first, second in ((lax, strict), (strict, lax)):
        unit = remote.begin()
        unit.touch(first, 1)
        unit.touch(second, 1)
        assert (unit.policy.hold_ttl, unit.policy.commit_margin) == (60, 5)
        server.fail("hold")
        with pytest.raises(WriteRefused):
            unit.commit(lambda: pytest.fail("COMMIT was sent"))
    unit = remote.begin()
    unit.touch(lax, 1)
    server.fail("hold")
    assert unit.commit(lambda: "sent") == "sent"


# -- the cache cannot be reached -------------------------------------------------------------------


@pytest.mark.parametrize("carried_out", [False, True])
def test_refuse_raises_before_anything_is_committed(
    remote: Cache, server: FakeBackend, cities: Cities, clock: ManualClock, carried_out: bool
) -> None:
    """Without an acknowledged PREPARE nothing is sent; leaving the block also leaves what holds there may be."""
    found = cities.records(remote)
    found.get(1)
    server.fail("hold", BackendTimeout("no answer"), carried_out=carried_out)
    with pytest.raises(WriteRefused, match=r'unreachable="refuse".*no answer'):
        write_row(remote, found, lambda: cities.execute(RENAME))
    assert cities.select("id = 1") == [OSLO]
    assert remote.statistics.failures == 1
    assert server.operations()[-2:] == ["hold", "release"]
    found.get(1)
    assert read_again(found, cities) == (OSLO, 0)


def test_a_refused_unit_may_try_again(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """A unit whose PREPARE was refused is still open: the same transaction can be committed later."""
    found = cities.records(remote)
    unit = remote.begin()
    unit.touch(found, 1)
    server.fail("hold")
    with pytest.raises(WriteRefused):
        unit.prepare()
    unit.commit(lambda: cities.execute(RENAME))
    assert read_again(found, cities) == (RENAMED, 1)


def test_bounded_goes_on_and_counts(server: FakeBackend, cities: Cities, clock: ManualClock) -> None:
    """The write goes on, the failure is counted, and what is stale meanwhile ends with the ttl."""
    policy = Policy(unreachable="bounded")
    with Cache(server, namespace="shop", ttl=60, policy=policy, clock=clock, sleep=clock.sleep) as cache:
        found = cities.records(cache)
        found.get(1)
        server.fail("hold", BackendUnavailable("down"))
        server.fail("complete", BackendUnavailable("down"))
        with cache.begin() as unit:
            unit.touch(found, 1)
            unit.commit(lambda: cities.execute(RENAME))
        assert cache.statistics.failures == 2
        clock.advance(61)
        assert found.get(1) == RENAMED


@pytest.mark.parametrize("carried_out", [False, True])
def test_a_complete_that_fails_raises_nothing_and_the_hold_expires(
    remote: Cache, server: FakeBackend, cities: Cities, clock: ManualClock, carried_out: bool
) -> None:
    """After COMMIT nothing may fail any more: the row is uncached until the hold ends, and never stale."""
    found = cities.records(remote)
    found.get(1)
    server.fail("complete", BackendTimeout("no answer"), carried_out=carried_out)
    with remote.begin() as unit:
        unit.touch(found, 1)
        unit.commit(lambda: cities.execute(RENAME))
    assert read_again(found, cities) == (RENAMED, 1)
    clock.advance(Policy().hold_ttl + 1)
    found.get(1)
    assert read_again(found, cities) == (RENAMED, 0)


def test_a_rollback_that_fails_raises_nothing(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """A rollback cannot be made to fail by the cache; the hold expires."""
    found = cities.records(remote)
    unit = remote.begin()
    unit.touch(found, 1)
    unit.prepare()
    server.fail("release")
    unit.rollback()
    assert remote.statistics.failures == 1


# -- outside units ---------------------------------------------------------------------------------


def test_invalidate_outdates_rows_that_something_else_changed(cache: Cache, cities: Cities) -> None:
    """Some rows or all; rows being read meanwhile are not stored; other writers' holds stay."""
    found = cities.records(cache)
    found.get_many([1, 2])
    cities.execute(RENAME)
    cache.invalidate(found, 1)
    assert read_again(found, cities) == (RENAMED, 1)
    assert read_again(found, cities, 2) == (BERGEN, 0)
    cities.execute("UPDATE city SET country = 'xx'")
    cache.invalidate(found)
    assert [read_again(found, cities, identity)[1] for identity in (1, 2)] == [1, 1]
    with cache.begin() as unit:
        unit.touch(found, 1)
        unit.prepare()
        cache.invalidate(found, 1)
        found.get(1)
        assert read_again(found, cities)[1] == 1


def test_invalidate_tells_the_caller_that_it_failed(remote: Cache, server: FakeBackend, cities: Cities) -> None:
    """Nobody else would know that the rows may be stale."""
    server.fail("complete")
    with pytest.raises(BackendUnavailable):
        remote.invalidate(cities.records(remote), 1)


# -- all at once -----------------------------------------------------------------------------------

CITIES = 8


def slug_at(identity: int, version: int) -> str:
    """Every fourth version of a city has another slug."""
    return f"city-{identity}" if version % 4 else f"renamed-{identity}"


class History:
    """What the names of cities were, as numbers that only grow, and which answers contradict it."""

    def __init__(self) -> None:
        self.begun = [0] * CITIES
        """Version whose COMMIT may have happened."""
        self.committed = [0] * CITIES
        """Version whose COMMIT had returned, COMPLETE included."""
        self.wrong: list[str] = []
        self.answers = 0
        self._lock = threading.Lock()

    def ask(self, identity: int, find: Callable[[], Any], slug: str | None = None) -> None:
        """Ask by identity, or by ``slug``, and compare the answer with all that was true meanwhile."""
        first = self.committed[identity]
        row = find()
        true = range(first, self.begun[identity] + 1)
        if row is None:
            right = slug is not None and any(slug_at(identity, version) != slug for version in true)
        else:
            right = row[0] == identity and int(row[3]) in true and row[1] == slug_at(identity, int(row[3]))
            right = right and slug in (None, row[1])
        with self._lock:
            self.answers += 1
            if not right:
                self.wrong.append(f"city {identity} by {slug or 'id'}: {row} though its version was in {true}")


def read(history: History, cache: Cache, path: str, seed: int) -> None:
    """Ask 1500 times, by identity and by slug."""
    chance = random.Random(seed)
    cities = Cities(path)
    found = cities.records(cache)
    for _ in range(1500):
        identity = chance.randrange(CITIES)
        slug = chance.choice([None, f"city-{identity}", f"renamed-{identity}"])
        if slug is None:
            history.ask(identity, lambda identity=identity: found.get(identity))
        else:
            history.ask(identity, lambda slug=slug: found.find(slug=slug), slug)
    cities.close()


def write(history: History, cache: Cache, path: str, seed: int, mine: range) -> None:
    """Write 200 times in transactions, a third of them rolled back before or after PREPARE."""
    chance = random.Random(seed)
    cities = Cities(path)
    cities.execute("PRAGMA synchronous=OFF")
    found = cities.records(cache)
    change = "UPDATE city SET name = ?, slug = ? WHERE id = ?"
    for _ in range(200):
        identity = chance.choice(mine)
        version = history.committed[identity] + 1
        with cache.begin() as unit:
            cities.execute("BEGIN IMMEDIATE")
            unit.touch(found, identity)
            if chance.random() < 0.33:
                cities.execute(change, "-1", f"dirty-{identity}", identity)
                row: Any = found.get(identity, unit=unit)
                assert row[3] == "-1"
                if chance.random() < 0.5:
                    unit.prepare()
                cities.execute("ROLLBACK")
                continue
            cities.execute(change, str(version), slug_at(identity, version), identity)
            history.begun[identity] = version
            unit.commit(lambda: cities.execute("COMMIT"))
        history.committed[identity] = version
    cities.close()


@pytest.mark.parametrize("kind", ["memory", "fake"])
def test_threads_on_a_real_database_read_nothing_old(tmp_path: Path, kind: str) -> None:
    """Readers by identity and slug beside writers that update, rename and roll back: each answer is checked."""
    path = str(tmp_path / "cities.sqlite3")
    setup = Cities(path, rows=[(number, slug_at(number, 0), str(number), "0", None) for number in range(CITIES)])
    setup.execute("PRAGMA journal_mode=WAL")
    history = History()
    with (
        Cache(MemoryBackend() if kind == "memory" else FakeBackend(time.monotonic), namespace="shop") as cache,
        ThreadPoolExecutor(5) as pool,
    ):
        work = [pool.submit(read, history, cache, path, seed) for seed in range(3)]
        work += [pool.submit(write, history, cache, path, seed, range(seed, CITIES, 2)) for seed in range(2)]
        for done in work:
            done.result()
        found = setup.records(cache)
        for identity in range(CITIES):
            history.ask(identity, lambda identity=identity: found.get(identity))
        assert cache.statistics.hits > 100
    setup.close()
    assert history.wrong == []
    assert history.answers == 3 * 1500 + CITIES


def test_the_same_check_catches_delete_after_commit(cities: Cities) -> None:
    """Control: a reader that loads before and stores after a write that deletes the entry leaves the old row behind."""
    history = History()
    cities.execute("UPDATE city SET name = '0', slug = ? WHERE id = 1", slug_at(1, 0))
    with Cache("memory://", namespace="shop") as cache:

        def get(between: Callable[[], object] = lambda: None) -> Any:
            row = cache.get("city 1")
            if row is None:
                [row] = cities.load([1])
                between()
                cache.set("city 1", row)
            return row

        def commit() -> None:
            history.begun[1] = 1
            cities.execute("UPDATE city SET name = '1', slug = ? WHERE id = 1", slug_at(1, 1))
            cache.delete("city 1")
            history.committed[1] = 1

        history.ask(1, lambda: get(between=commit))
        assert history.wrong == []
        history.ask(1, get)
        assert len(history.wrong) == 1
        history.ask(1, lambda: cities.load([1])[0])
        assert len(history.wrong) == 1
