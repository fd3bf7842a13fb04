"""The frame of the benchmarks: rounds become ratios, figures a table, and a group that fails is no figure."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.groups import GROUPS, HERE, PEERS, BenchmarkFailed, Group, run
from benchmarks.measure import Ratio, calls_a_turn, compare, gains
from benchmarks.results import Document, Figure, merged, table

ROOT = Path(__file__).resolve().parent.parent


class Clock:
    """A clock that goes on when work is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


def figure(*rounds: float, target: float | None = None, better: str = "higher", name: str = "pk") -> Figure:
    """A figure of these rounds."""
    return msgspec.convert(
        {
            "group": "keys",
            "name": name,
            "ours": "make_key",
            "reference": "md5",
            "rounds": rounds,
            "target": target,
            "better": better,
        },
        Figure,
    )


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What ./run bench does once it is set up."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )


def test_a_round_is_compared_with_the_turns_around_it() -> None:
    """A reference that becomes slower and slower is met in the middle."""
    assert gains([1.0, 2.0], [3.0, 5.0, 7.0]) == [4.0, 3.0]


def test_turns_that_do_not_fit_are_refused() -> None:
    """Each round has a turn of the reference before and after it."""
    with pytest.raises(ValueError, match="2 turns of ours need 3 of the reference, not 2"):
        gains([1.0, 2.0], [3.0, 5.0])


def test_what_drifts_slowly_cancels() -> None:
    """A machine that becomes slower during the run does not change the ratio."""
    clock, slowness = Clock(), 1.0

    def takes(seconds: float) -> None:
        nonlocal slowness
        slowness *= 1.001
        clock.work(seconds * slowness)

    rounds = compare(lambda: takes(1), lambda: takes(3), rounds=50, turn=1, timer=clock)
    assert len(rounds) == 50
    assert Ratio.of(rounds).median == pytest.approx(3, rel=0.01)
    assert Ratio.of(rounds).low == pytest.approx(Ratio.of(rounds).high, rel=0.01)


def test_a_turn_lasts_as_long_as_it_should() -> None:
    """So many calls are made in it, however short one is."""
    clock = Clock()
    assert calls_a_turn(lambda: clock.work(0.25), 1.0, clock) == 4


@pytest.mark.parametrize(
    ("rounds", "target", "better", "met"),
    [
        ((7, 8, 9), 8, "higher", True),
        ((7, 8, 9), 8.1, "higher", False),
        ((1.1, 1.2, 1.9), 1.2, "lower", True),
        ((1.1, 1.3, 1.9), 1.2, "lower", False),
        ((0.1,), None, "higher", True),
    ],
)
def test_the_median_is_judged(rounds: tuple[float, ...], target: float | None, better: str, met: bool) -> None:
    """A gain must reach its target, a cost must not exceed it, and what has none is only shown."""
    found = figure(*rounds, target=target, better=better)
    assert found.met is met
    [_, line] = table([found]).splitlines()
    assert line.endswith("yes" if met and target else "NO" if target else f"{found.ratio.median:.2f}")


def test_several_runs_become_one() -> None:
    """The rounds of the same figure are put together, in the order of the runs; another one stays by itself."""
    runs = [[figure(1, 2), figure(9, name="slug")], [figure(3)]]
    assert [one.rounds for one in merged(runs)] == [(1, 2, 3), (9,)]


def test_every_module_belongs_to_a_group() -> None:
    """./run bench leaves out no bench_*.py, and names none that is not there."""
    named = [module for group in {**GROUPS, **PEERS}.values() for module in group.modules]
    assert sorted(named) == sorted(path.stem for path in HERE.glob("bench_*.py"))


def test_a_group_is_measured_and_written(tmp_path: Path) -> None:
    """The table shows each figure beside its reference, and the JSON says the same and where it comes from."""
    path = tmp_path / "figures.json"
    done = bench("keys", "--quick", "-k", "dict and slug", "--json", str(path))
    assert done.returncode == 0, done.stderr
    head, line = done.stdout.splitlines()
    assert head.split("  ")[0] == "what [ours]"
    assert line.startswith("keys: dict, slug [make_key]")
    [found] = msgspec.json.decode(path.read_bytes(), type=Document).figures
    assert found.reference == "seed make_key"
    assert len(found.rounds) == 3
    assert all(0.05 < one < 100 for one in found.rounds)
    machine = json.loads(path.read_text())["machine"]
    assert machine["python"].endswith(sys.version.split()[0])
    assert machine["libraries"]["Django"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["kyes"], "there is no group 'kyes'; there are keys, rows"),
        (["keys", "--runs", "0"], "--runs is 0; it is at least 1"),
        (["keys", "--quick", "-k", "nothing_is_called_so"], "could not be measured: keys"),
    ],
)
def test_bad_arguments_are_named(arguments: list[str], says: str) -> None:
    """Exit status 2, and what was wrong."""
    done = bench(*arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_group_that_fails_tells_why() -> None:
    """What pytest printed is in the error: nothing is measured that did not work."""
    with pytest.raises(BenchmarkFailed, match="bench_of_nothing"):
        run(Group(("bench_of_nothing",)))


def test_a_missed_target_is_an_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """1, unless few short rounds were asked for, which say nothing."""
    from benchmarks import __main__ as command

    monkeypatch.setattr(command, "run", lambda group, **options: [figure(1.0, target=2)])
    assert command.main(["keys"]) == 1
    assert "NO" in capsys.readouterr().out
    assert command.main(["keys", "--quick"]) == 0
