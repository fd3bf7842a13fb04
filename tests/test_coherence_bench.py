"""The coherence bench: its judge is right about histories made up here, and a short run of it shows what it should."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, product
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psycopg")
pytest.importorskip("sqlalchemy")

import psycopg

from benchmarks.coherence import sqlalchemy_writing
from benchmarks.coherence import world as database
from benchmarks.coherence.board import Board
from benchmarks.coherence.contestants import RIVALS, line_up, named, ours
from benchmarks.coherence.host import Result
from benchmarks.coherence.judge import Evidence, History, differing, judge
from benchmarks.coherence.reader import Reader
from benchmarks.coherence.report import failures, table
from benchmarks.coherence.sqlalchemy_store import SqlalchemyStore
from benchmarks.coherence.store import Store
from benchmarks.coherence.world import Event, State, World, told
from benchmarks.coherence.writer import Writer
from cachecore.testing.servers import MemcachedServer, PostgresServer, RedisServer
from tests.conftest import require

ROOT = Path(__file__).parent.parent
WORLD = World(20)
_databases = count()

# Row 1 is made, is g0-0; is changed; becomes g0-1 in a transaction that first makes it g0-2; is deleted; is made again.
MADE, CHANGED, PASSING, RENAMED, GONE, AGAIN = 10, 20, 30, 31, 40, 50
LOG = [
    (Event(MADE, 1, None, "g0-0"), 1),
    (Event(CHANGED, 1, "g0-0", "g0-0"), 2),
    (Event(PASSING, 1, "g0-0", "g0-2"), 3),
    (Event(RENAMED, 1, "g0-2", "g0-1"), 3),
    (Event(GONE, 1, "g0-1", None), 4),
    (Event(AGAIN, 1, None, "g0-0"), 5),
]


def evidence(*seen: State, absent: Sequence[tuple[int | str, int, int]] = ()) -> Evidence:
    """What readers saw: states, and (what was missing, floor, ceiling)."""
    found = Evidence()
    found.states.update(seen)
    for name, floor, ceiling in absent:
        found.absences[WORLD.row(name) if isinstance(name, int) else WORLD.slug(name), floor, ceiling] += 1
    return found


# -- the judge ---------------------------------------------------------------------------------------


def test_every_state_that_was_committed_may_be_seen() -> None:
    """However old: whether it was stale is for the reader to count, who knows what had returned."""
    seen = evidence(
        State(1, "g0-0", MADE), State(1, "g0-0", CHANGED), State(1, "g0-1", RENAMED), State(1, "g0-0", AGAIN)
    )
    verdict = judge(seen, History(WORLD, LOG))
    assert (verdict.dirty, verdict.stale, verdict.examples) == (0, 0, [])


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(State(1, "g0-0", 15), id="rolled back, so not in the log"),
        pytest.param(State(1, "g0-2", PASSING), id="an earlier statement of a transaction"),
        pytest.param(State(1, "g0-1", GONE), id="a row that was deleted"),
        pytest.param(State(1, "g0-1", CHANGED), id="one state's slug with another's version"),
        pytest.param(State(2, "g0-0", CHANGED), id="another row"),
    ],
)
def test_what_nobody_committed_is_dirty(state: State) -> None:
    """Each time it was seen counts, and the report has the state."""
    verdict = judge(evidence(state, state), History(WORLD, LOG))
    assert verdict.dirty == 2
    assert str(state) in verdict.examples[0]


@pytest.mark.parametrize(
    ("name", "floor", "ceiling", "right"),
    [
        pytest.param(1, CHANGED, RENAMED, False, id="a row before anybody deleted it"),
        pytest.param(1, RENAMED, GONE, True, id="a row whose deletion may have been committed meanwhile"),
        pytest.param(1, GONE, GONE, True, id="a row whose deletion had returned"),
        pytest.param(1, AGAIN, AGAIN, False, id="a row that had been made again"),
        pytest.param(1, 0, 0, True, id="a row before it was ever made"),
        pytest.param("g0-0", CHANGED, RENAMED, True, id="a slug that may have been given up meanwhile"),
        pytest.param("g0-0", MADE, CHANGED, False, id="a slug whose row was only changed"),
        pytest.param("g0-2", MADE, RENAMED, True, id="a slug that a row had only inside a transaction"),
        pytest.param("g0-1", RENAMED, RENAMED, False, id="a slug that had been taken"),
        pytest.param("g0-1", RENAMED, GONE, True, id="a slug whose row may have been deleted meanwhile"),
    ],
)
def test_a_missing_answer_is_stale_unless_something_was_missing(
    name: int | str, floor: int, ceiling: int, right: bool
) -> None:
    """There must have been a moment without it after the floor, by a transaction begun before the read ended."""
    verdict = judge(evidence(absent=[(name, floor, ceiling)]), History(WORLD, LOG))
    assert verdict.stale == (0 if right else 1)
    assert verdict.dirty == 0


def test_two_rows_that_exchange_their_slugs_leave_no_moment_without_them() -> None:
    """In the middle of the transaction one of them has a third slug, which nobody else can see."""
    log = [
        (Event(1, 1, None, "g0-0"), 1),
        (Event(2, 2, None, "g0-1"), 2),
        (Event(3, 1, "g0-0", "g0-4"), 3),
        (Event(4, 2, "g0-1", "g0-0"), 3),
        (Event(5, 1, "g0-4", "g0-1"), 3),
    ]
    history = History(WORLD, log)
    missing = evidence(absent=[("g0-0", 1, 5), ("g0-1", 2, 5), (1, 1, 5), (2, 2, 5)])
    assert judge(missing, history).stale == 4
    assert judge(evidence(absent=[("g0-4", 5, 5), ("g0-4", 0, 3)]), history).stale == 0
    assert judge(evidence(State(1, "g0-1", 5), State(2, "g0-0", 4)), history).dirty == 0


def test_a_deletion_that_was_rolled_back_excuses_nothing() -> None:
    """Its version was issued before the read ended, and is not in the log."""
    assert judge(evidence(absent=[(1, CHANGED, 25)]), History(WORLD, LOG[:2])).stale == 1


def test_what_stays_wrong_is_found_by_comparison_with_the_database() -> None:
    """By primary key and by slug: another version, a row too many, a row too few."""
    rows = {1: State(1, "g0-1", 7), 3: State(3, "g1-0", 8)}
    right = dict.fromkeys(range(WORLD.objects)) | {
        WORLD.row(1): rows[1],
        WORLD.slug("g0-1"): rows[1],
        WORLD.row(3): rows[3],
        WORLD.slug("g1-0"): rows[3],
    }
    assert differing(right, rows, WORLD) == []
    old = State(1, "g0-0", 6)
    wrong = right | {WORLD.row(1): old, WORLD.slug("g0-0"): old, WORLD.slug("g1-0"): None}
    assert len(differing(wrong, rows, WORLD)) == 3


def test_evidence_survives_the_end_of_its_process(tmp_path: Path) -> None:
    """Pieces are added up, of several files too; half a piece, of a process killed in the middle, is left out."""
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        for _ in range(2):
            evidence(State(1, "g0-0", MADE), absent=[(2, 0, 5)]).append_to(path)
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole + whole[: len(whole) // 3])
    found = Evidence.read(paths)
    assert found.states == {State(1, "g0-0", MADE): 4}
    assert found.absences == {(WORLD.row(2), 0, 5): 4}


# -- the world and the board -------------------------------------------------------------------------


def test_every_object_has_a_name_and_a_number() -> None:
    """Rows by primary key and slugs by their text; the trigger's notices tell which of them have changed."""
    for thing in range(WORLD.objects):
        name = WORLD.name(thing)
        assert thing == (WORLD.row(name) if isinstance(name, int) else WORLD.slug(name))
    assert told("bench 12 3 g1-0 g1-4") == Event(12, 3, "g1-0", "g1-4")
    assert told("bench 12 3 g1-0 -") == Event(12, 3, "g1-0", None)
    assert told("bench 12 3 - g1-4") == Event(12, 3, None, "g1-4")
    assert told("relation is being vacuumed") is None
    moved = dict(WORLD.touched(Event(12, 3, "g1-0", "g1-4")))
    assert moved == {WORLD.row(3): True, WORLD.slug("g1-0"): False, WORLD.slug("g1-4"): True}
    assert dict(WORLD.touched(Event(12, 3, "g1-0", "g1-0"))) == {WORLD.row(3): True}


def test_the_board_is_shared_and_only_ever_rises(tmp_path: Path) -> None:
    """The highest of all writers counts; what was committed, issued and seen are told apart; counters add up."""
    one = Board(tmp_path / "board", WORLD, writers=2, readers=2)
    other = Board(tmp_path / "board", WORLD, writers=2, readers=2)
    row, old, new = WORLD.row(3), WORLD.slug("g1-0"), WORLD.slug("g1-4")
    one.issue(0, [Event(5, 3, "g1-0", "g1-4")])
    assert (other.issued(row), other.issued(old), other.committed(row)) == (5, 5, 0)
    one.commit(0, [Event(5, 3, "g1-0", "g1-4")])
    other.commit(1, [Event(4, 3, "g1-4", "g1-0")])
    assert [one.committed(thing) for thing in (row, old, new, WORLD.row(4))] == [5, 5, 5, 0]
    one.see(1, row, 9)
    one.see(1, row, 8)
    assert (other.seen(row), other.committed(row)) == (9, 5)
    one.count(0, "commits")
    other.count(1, "commits", 2)
    other.count(3, "reads")
    assert (one.totals()["commits"], one.totals()["reads"], one.totals()["hits"]) == (3, 1, 0)
    assert not other.stopped
    one.stop()
    assert other.stopped


# -- the reader --------------------------------------------------------------------------------------


class MadeUp:
    """The reading half of a store, whose answers a test has made up."""

    failures: tuple[type[Exception], ...] = (OSError,)

    def __init__(self) -> None:
        self.queries = 0
        self.answers: dict[int | str, State] = {}
        self.meanwhile = lambda: None
        """What happens while it is asked."""

    def by_pk(self, pk: int) -> State | None:
        self.meanwhile()
        return self.answers.get(pk)

    by_slug: Any = by_pk

    def many(self, pks: Sequence[int]) -> list[State]:
        self.meanwhile()
        return [self.answers[pk] for pk in pks if pk in self.answers]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A board of one writer and two readers; row 1 is committed as g0-0 with version 10."""
    board = Board(tmp_path / "board", WORLD, writers=1, readers=2)
    board.issue(0, [Event(10, 1, None, "g0-0")])
    board.commit(0, [Event(10, 1, None, "g0-0")])
    return board


@pytest.fixture
def store() -> MadeUp:
    """A store that answers nothing yet."""
    return MadeUp()


@pytest.fixture
def reader(board: Board, store: MadeUp, tmp_path: Path) -> Reader:
    """The first of the two readers."""
    return Reader(0, store, board, tmp_path / "evidence", seed=1)  # type: ignore[arg-type]


def ask_in_every_way(reader: Reader) -> None:
    """For row 1: by primary key, by its slug, and among others."""
    reader.read_pk(1)
    reader.read_slug("g0-0")
    reader.read_many([1, 2])


@pytest.mark.parametrize(("version", "stale"), [(9, 3), (10, 0), (11, 0)])
def test_an_answer_below_the_floor_is_stale(
    version: int, stale: int, reader: Reader, store: MadeUp, board: Board
) -> None:
    """The floor is what had returned before the question; a commit that returns meanwhile is no excuse and no blame."""
    state = State(1, "g0-0", version)
    store.answers = {1: state, "g0-0": state}
    ask_in_every_way(reader)
    assert board.totals()["stale"] == stale
    assert board.totals()["reads"] == 4
    assert reader.evidence.states == {state: 3}
    ways = {(state, 10, how): 1 for how in ("primary key", "slug", "multi-get")}
    assert reader.evidence.stale == (ways if stale else {})


def test_a_commit_that_returns_while_one_asks_is_no_floor(reader: Reader, store: MadeUp, board: Board) -> None:
    """The old row was right when the read began."""
    store.answers = {1: State(1, "g0-0", 10), "g0-0": State(1, "g0-0", 10)}
    versions = iter([12, 13, 14])

    def commit() -> None:
        version = next(versions)
        store.answers = {name: State(1, "g0-0", version - 1) for name in (1, "g0-0")}
        board.commit(0, [Event(version, 1, "g0-0", "g0-0")])

    store.meanwhile = commit
    ask_in_every_way(reader)
    # It answered 11, 12 and 13 when the floors were 10, 12 and 13.
    assert board.totals()["stale"] == 0
    store.meanwhile = lambda: None
    reader.read_pk(1)
    assert board.totals()["stale"] == 1


def test_older_than_what_another_has_read_is_backward_and_not_stale(
    reader: Reader, store: MadeUp, board: Board
) -> None:
    """A state can be seen before its commit has returned; then nobody should see an older one, but that is P3."""
    board.see(1, WORLD.row(1), 12)
    store.answers = {1: State(1, "g0-0", 11), "g0-0": State(1, "g0-0", 11)}
    ask_in_every_way(reader)
    assert (board.totals()["backward"], board.totals()["stale"]) == (3, 0)


def test_a_row_that_was_not_asked_for_is_wrong(reader: Reader, store: MadeUp, board: Board) -> None:
    """Another row under the primary key, or a row that does not have the slug."""
    store.answers = {1: State(2, "g0-1", 99), "g0-0": State(1, "g0-3", 99)}
    reader.read_pk(1)
    reader.read_slug("g0-0")
    assert board.totals()["wrong"] == 2


def test_what_is_missing_is_noted_with_what_was_known(reader: Reader, board: Board) -> None:
    """The floor from before, and the highest version issued until the answer came."""
    board.issue(0, [Event(15, 1, "g0-0", None)])
    ask_in_every_way(reader)
    row, slug = WORLD.row(1), WORLD.slug("g0-0")
    assert reader.evidence.absences == {(row, 10, 15): 2, (slug, 10, 15): 1, (WORLD.row(2), 0, 0): 1}


def test_a_call_without_a_statement_is_a_hit(reader: Reader, store: MadeUp, board: Board) -> None:
    """However the cache counts."""
    ask_in_every_way(reader)
    assert board.totals()["hits"] == 3

    def query() -> None:
        store.queries += 1

    store.meanwhile = query
    ask_in_every_way(reader)
    assert [board.totals()[name] for name in ("hits", "calls", "reads")] == [3, 6, 8]


# -- the writer, on a real database ------------------------------------------------------------------


@pytest.fixture
def dsn(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """A database with the rows in it."""
    return database.create(postgres_server.dsn, f"bench_{next(_databases)}_{id(request):x}", WORLD)


@pytest.mark.parametrize("path", ["core", "sqlalchemy", "sqlalchemy-async"])
def test_the_board_knows_what_was_committed_and_the_log_agrees(path: str, dsn: str, tmp_path: Path) -> None:
    """Every kind of change, with its rollbacks, savepoints and own reads; the cache keeps nothing."""
    board = Board(tmp_path / "board", WORLD, writers=1, readers=2)
    store = named(f"null-{path}").make(dsn, "null://")

    def work() -> None:
        store.open("test")
        try:
            write_and_compare(store, board, dsn, tmp_path / "evidence")
        finally:
            store.reconnect()

    store.run(work)


def write_and_compare(store: Store, board: Board, dsn: str, evidence: Path) -> None:
    """Make changes of every kind; then the board, the log, the rows and what the store reads must agree."""
    writer = Writer(0, store, board, evidence, seed=7)
    for _ in range(12):
        for change in writer.changes:
            writer.write(change)
    totals = board.totals()
    assert totals["commits"] > 50
    assert totals["rollbacks"] > 5
    assert totals["own_reads"] > 5
    assert (totals["own_unseen"], totals["aborted"], totals["refused"]) == (0, 0, 0)
    with psycopg.connect(dsn) as connection:
        rows = database.states(connection)
        history = History(WORLD, database.log(connection))
    by_slug = {state.slug: state for state in rows.values()}
    for thing in range(WORLD.objects):
        name, floor = WORLD.name(thing), board.committed(thing)
        right = rows.get(name) if isinstance(name, int) else by_slug.get(name)
        there = store.by_pk(name) if isinstance(name, int) else store.by_slug(name)
        assert there == right
        if floor:
            assert history.may_be_absent(thing, floor, floor) == (right is None), name
            assert right is None or right.version >= floor
            assert right is None or isinstance(name, str) or right.version == floor
    pks = range(1, WORLD.rows + 1)
    for _ in range(3):
        assert sorted(store.many(pks)) == [rows[pk] for pk in pks if pk in rows]


@pytest.fixture
def plain(dsn: str) -> Iterator[SqlalchemyStore]:
    """SQLAlchemy without a cache."""
    store = SqlalchemyStore(dsn)
    store.open("test")
    yield store
    store.reconnect()


@contextmanager
def changed(store: SqlalchemyStore, dsn: str) -> Iterator[dict[int, tuple[str, int] | None]]:
    """A transaction; in the end, what the rows are of which the trigger has told: {primary key: (slug, number)}."""
    rows: dict[int, tuple[str, int] | None] = {}
    store.events.clear()
    with store.transaction():
        yield rows
    with psycopg.connect(dsn) as connection:
        for event in store.events:
            rows[event.pk] = connection.execute(
                "SELECT slug, number FROM bench_row WHERE id = %s", [event.pk]
            ).fetchone()


def test_every_way_to_save_a_row_by_sqlalchemy_changes_it(plain: SqlalchemyStore, dsn: str) -> None:
    """And no other; with another slug or without."""
    slug = "g0-0"
    for number, (save, other) in enumerate(product(sqlalchemy_writing.SAVING, (None, "g0-2", "g0-3")), 1):
        slug = other or slug
        changes = {"number": number} | ({"slug": slug} if other else {})
        with changed(plain, dsn) as rows:
            save(plain.within(), plain.lock_rows([1])[1], changes)
        assert rows == {1: (slug, number)}, save


def test_every_way_to_update_rows_by_sqlalchemy_changes_them(plain: SqlalchemyStore, dsn: str) -> None:
    """And no others; one or several, in the session or not."""
    ways = product(sqlalchemy_writing.UPDATING, (3, 5), (True, False))
    for number, (update, last, are_there) in enumerate(ways):
        with changed(plain, dsn) as rows:
            kept = plain.lock_rows(range(3, 6)) if are_there else {}
            update(plain.within(), 3, last, number)
            del kept
        assert {pk: row and row[1] for pk, row in rows.items()} == dict.fromkeys(range(3, last + 1), number), update


def test_every_way_to_delete_and_insert_a_row_by_sqlalchemy_does_so(plain: SqlalchemyStore, dsn: str) -> None:
    """In one transaction or in two."""
    ways = product(sqlalchemy_writing.DELETING, sqlalchemy_writing.INSERTING)
    for number, (delete, insert) in enumerate(ways):
        with changed(plain, dsn) as rows:
            delete(plain.within(), plain.lock_rows([7])[7])
        assert rows == {7: None}, delete
        with changed(plain, dsn) as rows:
            insert(plain.within(), {"id": 7, "slug": "g3-2", "number": number})
        assert rows == {7: ("g3-2", number)}, insert
        with changed(plain, dsn) as rows:
            delete(plain.within(), plain.lock_rows([7])[7])
            insert(plain.within(), {"id": 7, "slug": "g3-3", "number": number + 1})
        assert rows == {7: ("g3-3", number + 1)}, (delete, insert)


def test_versions_rise_and_are_never_given_twice(dsn: str) -> None:
    """Whatever was rolled back, in any kind of statement: the next version is higher, and others never saw it."""
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as other:
        before = database.states(one)[1]
        one.execute("UPDATE bench_row SET number = 5 WHERE id = 1")
        passing = database.states(one)[1]
        assert database.states(other)[1] == before
        one.rollback()
        one.execute("UPDATE bench_row SET number = 6 WHERE id <= 2")
        after = database.states(one)
        one.commit()
        other.rollback()
        assert before.version < passing.version < after[1].version
        assert database.states(other)[1] == after[1]
        history = History(WORLD, database.log(other))
    assert not history.is_dirty(before)
    assert history.is_dirty(passing)
    assert not history.is_dirty(after[1])


CUT_IN_A_SAVEPOINT = """
import sys
from contextlib import suppress

import psycopg

from benchmarks.coherence.contestants import named


class Enough(Exception):
    pass


dsn = sys.argv[1]
store = named(sys.argv[2]).make(dsn, "null://")
store.open("cut")
try:
    with store.transaction():
        store.update(1, 1, 5)
        with suppress(Enough), store.transaction():
            with psycopg.connect(dsn, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'cut'"
                )
            raise Enough
except store.aborted:
    print("aborted")
"""


@pytest.mark.parametrize("path", ["django", "sqlalchemy"])
def test_a_transaction_that_is_rolled_back_without_a_word_is_no_commit(path: str, dsn: str) -> None:
    """A connection that is cut while a savepoint is rolled back: the writer must not say that it has committed."""
    command = [sys.executable, "-c", CUT_IN_A_SAVEPOINT, dsn, f"null-{path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("aborted\n", 0), done.stderr


# -- who takes part ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "path", "names"),
    [
        ([], "django", ["redis-django", "memcached-django", "control", "aside", "cacheops"]),
        ([], "core", ["redis-core", "memcached-core", "control", "aside", "cacheops"]),
        ([], "sqlalchemy", ["redis-sqlalchemy", "memcached-sqlalchemy", "control-sqlalchemy"]),
        (["control", "fleet", "fleet"], "sqlalchemy-async", ["control-sqlalchemy", "fleet-sqlalchemy-async"]),
        (["aside", "control"], "sqlalchemy", ["aside", "control-sqlalchemy"]),
    ],
)
def test_ours_and_the_control_are_driven_by_the_same_orm(asked: list[str], path: str, names: list[str]) -> None:
    """Each takes part once; a process that is told a contestant's name finds the same contestant."""
    contestants = line_up(asked, path)
    assert [contestant.name for contestant in contestants] == names
    assert [named(name) for name in names] == contestants


# -- the report --------------------------------------------------------------------------------------


def test_the_run_fails_if_ours_is_wrong_or_the_control_is_not() -> None:
    """Of rivals nothing is demanded; a cache that never hits proves nothing."""
    mine, control = ours("redis", "django"), RIVALS["control"]
    good = Result("redis-django", seconds=2, reads=1000, calls=1000, hits=900)
    assert failures(mine, good, faults=True) == []
    for name in ("stale", "dirty", "permanent", "failed", "own_unseen"):
        [problem] = failures(
            mine, Result("redis-django", 2, reads=1000, calls=1000, hits=900, **{name: 1}), faults=True
        )
        assert "1 " in problem
    backward = Result("redis-django", 2, reads=1000, calls=1000, hits=900, backward=1)
    assert failures(mine, backward, faults=True) == []
    assert len(failures(mine, backward, faults=False)) == 1
    assert len(failures(mine, Result("redis-django", 2, reads=1000, calls=1000, hits=50), faults=True)) == 1
    assert len(failures(control, Result("control", 2, reads=1000, calls=1000, hits=900), faults=True)) == 1
    assert failures(control, Result("control", 2, reads=1000, stale=1), faults=True) == []
    assert failures(RIVALS["aside"], Result("aside", 2, reads=1000, stale=9, permanent=9), faults=True) == []


def test_the_table_gives_wrong_answers_per_million_reads() -> None:
    """And how many keys stayed wrong."""
    result = Result(
        "aside", seconds=2, reads=20_000, calls=10_000, hits=7_500, stale=30, permanent=2, keys=70, commits=100
    )
    cells = table([("aside", result)]).splitlines()[1].split("  ")
    assert [cell.strip() for cell in cells if cell.strip()] == [
        "aside", "20,000", "1,500.0", "0", "0", "2 of 70", "100.0", "10,000", "75.0%", "50", "0", "0",
    ]  # fmt: skip


# -- a short run -------------------------------------------------------------------------------------


def bench(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """(exit status, JSON, errors) of the command."""
    command = [sys.executable, "-m", "benchmarks", "coherence", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


@pytest.mark.parametrize(
    ("server", "backend", "path", "reads"),
    [
        (RedisServer, "redis", "core", 5000),
        (MemcachedServer, "memcached", "core", 5000),
        (RedisServer, "redis", "sqlalchemy", 5000),
        (MemcachedServer, "memcached", "sqlalchemy", 5000),
        (RedisServer, "redis", "sqlalchemy-async", 1500),  # each of which is several tasks' at once
    ],
)
def test_ours_is_never_wrong_under_faults(server: type[Any], backend: str, path: str, reads: int) -> None:
    """Real processes, database and server: of thousands of reads none is stale, dirty or permanently stale."""
    require(PostgresServer)
    require(server)
    options = ["--orm", path, "--seconds", "2", "--reads", str(reads), "--rows", "20"]
    status, document, errors = bench(backend, *options)
    assert status == 0, errors
    [result] = document["results"]
    assert result["reads"] >= reads
    assert result["commits"] > 5
    assert sum(result["faults"].values()) > 0
    assert [result[name] for name in ("stale", "dirty", "permanent", "failed", "own_unseen")] == [0] * 5
    assert result["keys"] == 70


@pytest.mark.parametrize("path", ["django", "sqlalchemy"])
def test_the_bench_finds_what_is_wrong(path: str) -> None:
    """The control without invalidation, and ours on a backend that is not shared by its processes."""
    require(PostgresServer)
    require(RedisServer)
    options = ["--orm", path, "--seconds", "1", "--rows", "20", "--no-faults"]
    status, document, errors = bench("control", "memory", *options)
    assert status == 1, errors
    control, memory = document["results"]
    assert control["stale"] > 0
    assert control["permanent"] > 0
    assert memory["stale"] > 0
    assert f"memory, {path}: " in errors
    assert "no invalidation" not in "".join(document["failures"])


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_bench_leaves_nothing(sent: signal.Signals, status: int) -> None:
    """Ctrl-C, or being told to terminate, while all are at work: no process, no server and no file stays."""
    require(PostgresServer)
    require(RedisServer)
    folder = Path(tempfile.mkdtemp())  # not tmp_path: PostgreSQL, which does not run as root, must get there
    try:
        folder.chmod(0o755)
        command = [sys.executable, "-m", "benchmarks", "coherence", "control", "--seconds", "100", "--rows", "20"]
        environment = {**os.environ, "TMPDIR": str(folder)}
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as running:
            until = time.monotonic() + 60
            while not list(folder.glob("cachecore-bench-*/control/board")):
                assert time.monotonic() < until
                time.sleep(0.05)
            running.send_signal(sent)
            _, errors = running.communicate(timeout=60)
        assert running.returncode == status
        assert "Traceback" not in errors
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["carrier-pigeon"], "no contestant 'carrier-pigeon'"),
        (["--orm", "hibernate"], "invalid choice: 'hibernate'"),
        (["--rows", "21"], "--rows must be even, not 21"),
        (["--seconds", "0"], "--seconds must be at least 0.5"),
        (["--readers", "1"], "--readers must be at least 2"),
    ],
)
def test_what_the_bench_cannot_do_is_named(arguments: list[str], says: str) -> None:
    """Exit status 2, and nothing was started."""
    status, _, errors = bench(*arguments)
    assert status == 2
    assert says in errors
