"""The scaling curves of `./run bench scaling`: their arithmetic, and a quick run of what needs no quiet machine."""

import subprocess
import sys
from math import isclose
from pathlib import Path

import msgspec
import pytest

from benchmarks.scaling.__main__ import main
from benchmarks.scaling.crew import Crew
from benchmarks.scaling.curve import Curve, Curves, Series, Values, series
from benchmarks.scaling.fit import fitted, local
from benchmarks.scaling.report import text
from benchmarks.scaling.subjects import SUBJECTS
from benchmarks.scaling.sweep import QUICK, Effort, against, ratios, relative, swept
from benchmarks.scaling.throughput import measured, processor_seconds
from cachecore.policy import Policy
from cachecore.testing.servers import MemcachedServer, PostgresServer, RedisServer
from tests.conftest import require

ROOT = Path(__file__).parent.parent
THRESHOLD = Policy().bulk_threshold
SIZES = [1, 10, 100, 1_000, 10_000]


def exactly(costs: dict[int, float], rounds: int = 5) -> Values:
    """The same costs in each round."""
    return {size: [cost] * rounds for size, cost in costs.items()}


def curve(*lines: Series, broken: list[str] | None = None) -> Curve:
    """A curve with these series."""
    return Curve(
        name="test", title="a test", x_label="size", y_label="cost", unit="x", docs="It grows.", series=list(lines),
        broken=broken or [],
    )  # fmt: skip


# -- exponents -------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("constant", [0.0, 1.0, 20.0])
def test_the_exponent_is_that_of_what_size_adds(power: float, constant: float) -> None:
    """Whatever the constant under it, which is told apart."""
    fit = fitted([(size, constant + 3 * size**power) for size in SIZES])
    assert isclose(fit.exponent, power, abs_tol=0.011)
    assert fit.constant is not None
    assert isclose(fit.constant, constant / (constant + 3), abs_tol=0.02)


def test_a_cost_that_hardly_grows_has_the_slope_of_the_whole() -> None:
    """A constant cannot be told from a small exponent, so none is."""
    fit = fitted([(size, 2 * size**0.05) for size in SIZES])
    assert isclose(fit.exponent, 0.05, abs_tol=1e-9)
    assert fit.constant is None
    assert isclose(fitted([(size, 7.0) for size in SIZES]).exponent, 0.0, abs_tol=1e-9)


def test_one_point_has_no_exponent() -> None:
    """It is refused, not guessed."""
    with pytest.raises(ValueError, match="one point"):
        fitted([(1, 1.0)])


def test_the_exponent_of_a_step_is_that_between_its_ends() -> None:
    """A hundred times the cost for ten times the size is a square."""
    assert isclose(local((10, 1.0), (100, 100.0)), 2.0)


# -- what is judged ----------------------------------------------------------------------------------


def test_a_cost_that_grows_as_promised_has_no_problem() -> None:
    """Neither one below the promise."""
    for power in (0.0, 0.5, 1.0):
        found = series("call", "ours", exactly({size: 5 + size**power for size in SIZES}), expected=1.0)
        assert found.problems == []
        assert found.cliffs == []


def test_a_cost_that_grows_faster_than_promised_is_a_problem() -> None:
    """A quadratic call is named with its exponent."""
    found = series("call", "ours", exactly({size: float(size**2) for size in SIZES}), expected=1.0)
    assert "call: the exponent is 2.00, not 1" in found.problems


def test_a_step_is_a_problem_unless_it_is_explained() -> None:
    """By the size at which it ends; the explanation of another step is none."""
    costs = exactly({1: 1.0, 10: 1.0, 100: 5.0, 1_000: 5.0})
    [problem] = series("call", "ours", costs, expected=0.0, tolerance=0.5).problems
    assert "from 10 to 100" in problem
    elsewhere = series("call", "ours", costs, expected=0.0, tolerance=0.5, explained={1_000: "why"})
    assert len(elsewhere.problems) == 1
    found = series("call", "ours", costs, expected=0.0, tolerance=0.5, explained={100: "why"})
    assert found.problems == []
    assert [(cliff.before, cliff.after, cliff.why) for cliff in found.cliffs] == [(10, 100, "why")]


def test_a_cost_that_falls_by_a_step_must_be_explained_too() -> None:
    """Something is done differently from there on."""
    costs = exactly({1: 9.0, 10: 9.0, 100: 1.0, 1_000: 1.0})
    assert len(series("call", "ours", costs, expected=1.0).cliffs) == 1
    assert series("call", "ratio", costs, expected=1.0).cliffs == []


def test_a_throughput_may_grow_and_not_fall() -> None:
    """For it a step down is a cliff, and a step up is none."""
    up, down = exactly({1: 1.0, 2: 2.0, 4: 4.0}), exactly({1: 4.0, 2: 2.0, 4: 1.0})
    assert series("reads", "ratio", up, expected=0.0, better="higher").problems == []
    assert len(series("reads", "ratio", down, expected=0.0, better="higher").problems) == 3


def test_what_differs_from_round_to_round_is_no_cliff() -> None:
    """A step in half of the rounds is noise; in all of them it is one, however much each differs."""
    noisy = {1: [1.0, 1.0, 1.0, 1.0], 10: [1.0, 9.0, 1.0, 9.0], 100: [1.0, 1.0, 9.0, 9.0]}
    assert series("call", "ours", noisy, expected=0.0).problems == []
    steep = {1: [1.0, 2.0, 3.0, 4.0], 10: [1.0, 2.0, 3.0, 4.0], 100: [9.0, 18.0, 27.0, 36.0]}
    assert len(series("call", "ours", steep, expected=0.0, tolerance=0.6).problems) == 1


def test_what_nobody_promised_is_not_judged() -> None:
    """The reference may grow as it likes."""
    found = series("dict", "reference", exactly({size: float(size**3) for size in SIZES}))
    assert found.problems == []
    assert curve(found, broken=["three failures"]).problems == ["three failures"]


def test_the_table_says_cost_exponent_promise_and_why() -> None:
    """One line for each size, and what is wrong below."""
    costs = exactly({1: 1.0, 10: 1.0, 100: 5.0, 1_000: 5.0})
    shown = curve(series("call", "ours", costs, expected=0.0, tolerance=0.5))
    printed = text(shown, shown.problems).splitlines()
    assert printed[4].split() == ["100", "5", "^0.70"]
    assert printed[7].split()[:3] == ["promised", "<=", "0,"]
    assert any("documented: It grows." in line for line in printed)
    assert sum("PROBLEM" in line for line in printed) == 1


# -- measuring ---------------------------------------------------------------------------------------


class Steps:
    """A clock that the calls advance."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def taking(self, seconds: float) -> "Steps.Call":
        """A call that takes so long."""
        return Steps.Call(self, seconds)

    class Call:
        """What advances the clock."""

        def __init__(self, clock: "Steps", seconds: float) -> None:
            self._clock = clock
            self._seconds = seconds

        def __call__(self) -> None:
            self._clock.now += self._seconds


def test_costs_are_relative_to_the_reference_at_its_smallest_size() -> None:
    """And a ratio to the reference at the same size, in each round."""
    clock = Steps()
    sides = {
        "ours": {size: clock.taking(size * 0.5) for size in (1, 10, 100)},
        "theirs": {size: clock.taking(size * 0.25) for size in (1, 10)},
    }
    times = swept(sides, Effort(rounds=4, turn=0.0), clock)
    assert relative(times, "ours", "theirs") == exactly({1: 2.0, 10: 20.0, 100: 200.0}, 4)
    assert ratios(times, "ours", "theirs") == exactly({1: 2.0, 10: 2.0}, 4)
    roles = [(one.role, one.name) for one in against(times, "ours", "theirs")]
    assert roles == [("ours", "ours"), ("reference", "theirs"), ("ratio", "ours / theirs")]


def test_a_crew_divides_its_calls_among_threads() -> None:
    """Each thread makes its own call, and a turn ends when all have done their part."""
    made: list[list[int]] = []

    def make() -> Steps.Call:
        mine: list[int] = []
        made.append(mine)
        return lambda: mine.append(1)  # type: ignore[return-value]

    with Crew(make, 3, 12) as crew:
        crew()
        crew()
        assert [len(mine) for mine in made] == [8, 8, 8]


def test_a_crew_raises_what_its_thread_raised() -> None:
    """Instead of waiting for it for ever."""

    def make() -> Steps.Call:
        raise LookupError("no such server")

    with pytest.raises(LookupError, match="no such server"), Crew(make, 2, 12) as crew:
        crew()


def test_the_work_of_a_crew_is_what_was_computed_meanwhile() -> None:
    """By the clock of processors that is given, for each read."""
    clock = Steps()
    found = measured({"side": (4, {1: clock.taking(2.0), 2: clock.taking(3.0)})}, QUICK, clock)
    assert found.work == {"side": {1: [0.5] * QUICK.rounds, 2: [0.75] * QUICK.rounds}}
    assert all(took > 0 for took in found.wall["side"][1])
    assert processor_seconds([2**22 + 1]) is None


# -- the command -------------------------------------------------------------------------------------


def quick(name: str, folder: Path) -> dict[str, Curve]:
    """The curves of a subject by their names, from a quick run of the command, which finds no broken promise."""
    path = folder / "curves.json"
    command = [sys.executable, "-m", "benchmarks", "scaling", name, "--quick", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    document = msgspec.json.decode(path.read_bytes(), type=Curves)
    assert document.machine.python
    assert all(one.name in done.stdout for one in document.curves)
    return {one.name: one for one in document.curves}


def medians(found: Curve, name: str) -> dict[int, float]:
    """The middle values of one of its series."""
    [line] = [one for one in found.series if one.name == name]
    return {size: middle for size, middle, *_ in line.points}


def test_a_save_costs_two_round_trips_with_one_lookup_or_twenty(tmp_path: Path) -> None:
    """Counted on real servers, and a warm read by the last of them one."""
    require(RedisServer)
    require(MemcachedServer)
    found = quick("lookups", tmp_path)["lookups"]
    for cache in ("redis", "memcached"):
        assert set(medians(found, f"{cache}: save").values()) == {2}
        assert set(medians(found, f"{cache}: save of new values").values()) == {2}
        assert set(medians(found, f"{cache}: a warm read").values()) == {1}
    assert 20 in medians(found, "redis: save")


def test_an_update_costs_two_round_trips_whatever_it_touches(tmp_path: Path) -> None:
    """And one statement more, on both sides of the bulk threshold."""
    require(RedisServer)
    require(PostgresServer)
    found = quick("updates", tmp_path)
    for line in (*found["updates-round-trips"].series, *found["updates-statements"].series):
        assert {middle for _, middle, *_ in line.points} == {2}
        assert {size for size, *_ in line.points} >= {1, THRESHOLD, 2 * THRESHOLD}


def test_what_memcached_refuses_is_counted_and_no_error(tmp_path: Path) -> None:
    """A value of the item limit is returned and not stored; below it both kinds of values are, on every backend."""
    require(RedisServer)
    require(MemcachedServer)
    found = quick("bytes", tmp_path)
    [note] = found["bytes-fill-memcached"].notes
    assert "3 refused fills, 0 failures" in note
    assert len(found) == 9


@pytest.mark.parametrize("name", ["threads", "processes", "entries", "keys"])
def test_a_quick_run_draws_every_curve(name: str, tmp_path: Path) -> None:
    """With real servers, threads and processes; each curve says what the documentation promises."""
    require(RedisServer)
    require(MemcachedServer)
    found = quick(name, tmp_path)
    assert found
    for one in found.values():
        assert one.docs.endswith(".")
        assert any(line.expected is not None for line in one.series)
        assert all(low <= middle <= high for line in one.series for _, middle, low, high in line.points)


def test_a_curve_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """With those that are; nothing is measured."""
    with pytest.raises(SystemExit) as stopped:
        main(["waves"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "there is no curve 'waves'" in said
    assert all(name in said for name in SUBJECTS)


def test_a_missing_server_is_said(tmp_path: Path) -> None:
    """Exit status 2, with the hint how to install it."""
    command = [sys.executable, "-m", "benchmarks", "scaling", "lookups", "--quick"]
    done = subprocess.run(
        command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "redis-server is not installed" in done.stderr
    assert "could not be measured: lookups" in done.stderr
