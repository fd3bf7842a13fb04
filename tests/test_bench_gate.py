"""The regression gate: it finds what became slower, by instructions and by time, and a busy machine is no alarm."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest

from benchmarks.gate import judging
from benchmarks.gate.__main__ import Document, main
from benchmarks.gate.baseline import Baseline, Entry, Half, Reading, Unreadable, load, save, toolchain
from benchmarks.gate.callgrind import CannotCount, compiled, counts
from benchmarks.gate.judging import Verdict, judge, nearest
from benchmarks.gate.kinds import Kind, kinds
from benchmarks.gate.report import changes, difference, table
from benchmarks.gate.timing import busy, times
from benchmarks.gate.timing import reading as reading_of
from benchmarks.gate.updating import entries, outdated, replaced
from benchmarks.groups import GROUPS
from benchmarks.results import Figure, this_machine
from cachecore import keys

pytestmark = pytest.mark.skipif(keys.implementation != "cython", reason="the gate is about the compiled modules")
ROOT = Path(__file__).parent.parent
MACHINE = this_machine()
HERE = toolchain(MACHINE)
# With margins of their own: what these tests say is so whatever the bounds are.
COUNTS, TIMES = (
    replace(kind, least=least, most=most) for kind, least, most in zip(kinds(), (0.03, 0.4), (0.1, 0.8), strict=True)
)


def reading(name: str = "pk", value: float = 10.0, group: str = "keys", lower: bool = False) -> Reading:
    """What a run found."""
    return Reading(
        group=group,
        name=name,
        ours="make_key",
        reference="seed",
        better="lower" if lower else "higher",
        value=value,
    )


def canned(kind: Kind, *runs: Iterable[Reading]) -> tuple[Kind, list[list[str]]]:
    """The kind with runs that were found before, and the groups that each was asked for."""
    asked: list[list[str]] = []

    def measure(groups: Sequence[str]) -> list[Reading]:
        asked.append(list(groups))
        return [found for found in list(runs)[len(asked) - 1] if found.group in groups]

    return replace(kind, measure=measure), asked


def half_of(kind: Kind, *readings: Reading, toolchain: dict[str, str] = HERE) -> Half:
    """A baseline of one run."""
    return Half(how=kind.how, machine=MACHINE, toolchain=toolchain, figures=entries(kind, [readings]))


def outcomes(verdicts: Iterable[Verdict]) -> dict[str, str]:
    """Name and outcome."""
    return {verdict.name: verdict.outcome for verdict in verdicts}


# -- judging ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lower", "value", "outcome"),
    [
        (False, 9.8, "as before"),
        (False, 9.6, "slower"),
        (False, 10.4, "faster"),
        (True, 10.2, "as before"),
        (True, 10.4, "slower"),
        (True, 9.6, "faster"),
    ],
)
def test_a_figure_is_slower_beyond_its_margin_in_the_direction_that_is_worse_for_it(
    lower: bool, value: float, outcome: str
) -> None:
    """A gain that fell and a cost that rose are slower, the other way round is faster; 2 % either way is neither."""
    half = half_of(COUNTS, reading(lower=lower))
    kind, _ = canned(COUNTS, *[[reading(value=value, lower=lower)]] * 3)
    [verdict] = judge(kind, half, HERE, ["keys"])
    assert verdict.outcome == outcome
    assert verdict.good == (outcome != "slower")


def test_what_looks_bad_is_measured_again_and_fails_only_if_every_run_is_bad() -> None:
    """A figure whose third run is good passes; only groups with bad figures are measured again."""
    names = ("noisy", "bad", "good")
    half = half_of(TIMES, *(reading(name, group="keys" if name == "good" else "map") for name in names))

    def run(noisy: float) -> list[Reading]:
        return [reading("noisy", noisy, "map"), reading("bad", 2.0, "map"), reading("good")]

    kind, asked = canned(TIMES, run(2.0), run(3.0), run(9.9))
    assert outcomes(judge(kind, half, HERE, ["keys", "map"])) == {
        "noisy": "as before",
        "bad": "slower",
        "good": "as before",
    }
    assert asked == [["keys", "map"], ["map"], ["map"]]


def test_a_figure_that_is_new_and_one_that_is_gone_are_bad() -> None:
    """Both are told by name, and neither is measured again; figures of groups that were not asked for are no matter."""
    half = half_of(COUNTS, reading("old"), reading("other", group="map"))
    kind, asked = canned(COUNTS, [reading("young")])
    verdicts = judge(kind, half, HERE, ["keys"])
    assert outcomes(verdicts) == {"old": "gone", "young": "new"}
    assert not any(verdict.good for verdict in verdicts)
    assert len(asked) == 1
    text = table(verdicts)
    assert "keys: old [make_key / seed] is in the baseline and was not measured" in text
    assert "keys: young [make_key / seed] is not in the baseline" in text
    assert "instructions: 2 figures, 2 bad" in text


def test_margins_are_wider_with_another_toolchain() -> None:
    """A tenth slower is bad in the baseline's own toolchain, and within the margin in another; the user is told."""
    there = {**HERE, "python": "CPython 3.11.0, built by somebody else"}
    kind, _ = canned(COUNTS, *[[reading(value=9.0)]] * 4)
    [verdict] = judge(kind, half_of(COUNTS, reading()), HERE, ["keys"])
    assert verdict.outcome == "slower"
    far = half_of(COUNTS, reading(), toolchain=there)
    [verdict] = judge(kind, far, HERE, ["keys"])
    assert verdict.outcome == "as before"
    assert "built by somebody else there" in difference(COUNTS, far, HERE)
    assert difference(COUNTS, half_of(COUNTS), HERE) == ""


def test_the_half_of_this_toolchain_is_the_one_compared_with() -> None:
    """Else the last; where there is none, the message says what makes one."""
    far, own, last = (half_of(COUNTS, toolchain=chain) for chain in ({"python": "a"}, HERE, {"python": "b"}))
    assert nearest([far, own, last], COUNTS, HERE) is own
    assert nearest([far, last], COUNTS, HERE) is last
    with pytest.raises(Unreadable, match="--update --only instructions"):
        nearest([], COUNTS, HERE)


def test_a_size_below_one_byte_counts_as_one() -> None:
    """What takes nothing is measured as a little more or less than nothing, which has no ratio."""

    def size(value: float, unit: str = "bytes") -> Reading:
        return reading_of(
            Figure(
                group="memory",
                name="tracked",
                ours="Row",
                reference="a row",
                rounds=(value,),
                better="lower",
                unit=unit,
            )
        )

    assert size(-0.06).slower(size(0.06).value) == 1
    assert size(0).slower(size(88).value) == 88
    assert size(0.5, "x").value == 0.5


# -- the baseline ----------------------------------------------------------------------------------


def test_an_entry_is_the_median_of_its_runs_and_its_margin_comes_from_their_spread() -> None:
    """The margin is a multiple of what the worst run was off, between the bounds of its kind."""

    def made(*values: float) -> Entry:
        [entry] = entries(TIMES, [[reading(value=value)] for value in values])
        return entry

    assert made(10, 11, 9.5).value == 10
    assert made(10, 11, 9.5).margin == TIMES.least
    assert made(10, 10, 7.5).margin == pytest.approx(1.5 / 3, abs=0.001)
    assert made(10, 10, 1).margin == TIMES.most
    assert made(10, 11, 9.5).runs == (10, 11, 9.5)


def test_every_margin_finds_what_became_twice_as_slow() -> None:
    """In its own toolchain and in another."""
    for kind in kinds():
        assert max(kind.least, kind.most, kind.elsewhere) < 1


def test_figures_that_are_not_once_in_every_run_make_no_baseline() -> None:
    """Two figures of one name, or one that a run lacks, are named."""
    with pytest.raises(ValueError, match="keys: pk: make_key: seed"):
        entries(COUNTS, [[reading(), reading()]])
    with pytest.raises(ValueError, match="keys: slug: make_key: seed"):
        entries(COUNTS, [[reading(), reading("slug")], [reading()]])


def test_an_update_replaces_the_groups_it_measured_and_keeps_the_rest() -> None:
    """Other groups and the instructions of other builds stay; other releases of libraries are replaced."""
    elsewhere = half_of(COUNTS, reading(value=7), toolchain={"python": "another build"})
    own = half_of(COUNTS, reading(value=8), reading("get", 3, "map"), toolchain={**HERE, "Django": "1.0"})
    before = Baseline(instructions=[own, elsewhere], time=[elsewhere])
    after = replaced(COUNTS, before, ["keys"], MACHINE, entries(COUNTS, [[reading(value=9)]]))
    assert after.time == before.time
    assert after.instructions[0] is elsewhere
    assert after.instructions[1].toolchain == HERE
    assert {entry.name: entry.value for entry in after.instructions[1].figures} == {"get": 3, "pk": 9}
    assert outdated(COUNTS, before, HERE) == [own]
    assert len(replaced(TIMES, before, ["keys"], MACHINE, []).time) == 1


def test_an_update_says_what_changed() -> None:
    """New and gone figures, and those that moved by more than half their margin."""
    before = entries(COUNTS, [[reading("same"), reading("worse"), reading("old")]])
    after = entries(COUNTS, [[reading("same", 10.1), reading("worse", 9.5), reading("young")]])
    text = changes(COUNTS, before, after)
    assert "instructions: 3 figures, 3 of them changed" in text
    for line in ("slower  keys: worse", "gone    keys: old", "new     keys: young"):
        assert line in text
    assert "same" not in text


def test_a_baseline_is_read_as_it_was_written_and_a_broken_one_is_told(tmp_path: Path) -> None:
    """Also that there is none."""
    path = tmp_path / "baseline.json"
    with pytest.raises(Unreadable, match=r"no baseline.json: ./run bench gate --update"):
        load(path)
    baseline = Baseline(instructions=[half_of(COUNTS, reading())])
    save(baseline, path)
    assert load(path) == baseline
    path.write_text('{"instructions": 3}')
    with pytest.raises(Unreadable, match="instructions"):
        load(path)


def test_every_group_of_the_gate_is_one_of_the_benchmarks() -> None:
    """And what is neither counted nor timed is known."""
    found = {group for kind in kinds() for group in kind.groups}
    assert found <= set(GROUPS)
    assert set(GROUPS) - found == {"hit", "import"}  # absolute times, which no two machines share


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv", [["no-such-group"], ["--only", "nothing"], ["--update", "--quick"], ["--update", "--runs", "0"]]
)
def test_a_command_line_that_makes_no_sense_is_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With the usage and what is wrong."""
    with pytest.raises(SystemExit) as exit:
        main(argv)
    assert exit.value.code == 2
    assert "usage: ./run bench gate" in capsys.readouterr().err


def test_without_valgrind_the_gate_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is counted."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotCount, match="apt-get install valgrind"):
        counts(["keys"])


def test_without_a_baseline_the_gate_says_how_to_make_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2."""
    assert main(["--baseline", str(tmp_path / "none.json"), "keys"]) == 2
    assert "there is no none.json: ./run bench gate --update makes it" in capsys.readouterr().err


# -- real regressions ------------------------------------------------------------------------------

# Plugins of pytest that make something slower: by so many keys a thousand, and so many times, as SLOWER says.
SLOWER_KEYS = """
    import os

    def pytest_configure(config):
        from benchmarks.bench_keys import CASES, ENTITY, LOOKUPS, PREFIX
        from cachecore.keys import make_key

        name, call, ours, what, target = CASES[0]
        more = LOOKUPS[what][: int(os.environ["SLOWER"])]

        def slower():
            ours()
            for fields in more:
                make_key(PREFIX, ENTITY, fields)

        CASES[0] = name, call, slower, what, target
"""
SLOWER_READS = """
    import os

    def pytest_configure(config):
        from cachecore.integrations.django import CacheManager

        calls, get_from_cache = range(int(os.environ["SLOWER"])), CacheManager.get_from_cache

        def slower(self, **query):
            for _ in calls:
                found = get_from_cache(self, **query)
            return found

        CacheManager.get_from_cache = slower
"""


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    """Where a baseline will be; pytest finds plugins beside it."""
    return tmp_path / "baseline.json"


def plugged(baseline: Path, monkeypatch: pytest.MonkeyPatch, source: str, select: str) -> None:
    """Let the benchmarks run with this plugin, and only those selected."""
    baseline.with_name("slower_plugin.py").write_text(dedent(source))
    monkeypatch.setenv("PYTHONPATH", str(baseline.parent))
    monkeypatch.setenv("PYTEST_ADDOPTS", f"-p slower_plugin -k '{select}'")


def verdicts_of(path: Path) -> list[Verdict]:
    """Those that a run wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Document).verdicts


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="apt-get install valgrind")
def test_a_make_key_that_executes_a_tenth_more_is_found_by_its_instructions(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A thousand keys and a hundred: exit status 1, the figure is named, and about a tenth, load or not."""
    plugged(baseline, monkeypatch, SLOWER_KEYS, "dict and pk")
    found = baseline.with_name("found.json")
    command = ["--only", "instructions", "--baseline", str(baseline), "keys"]
    monkeypatch.setenv("SLOWER", "0")
    with busy():
        assert main([*command, "--update", "--runs", "1"]) == 0
    monkeypatch.setenv("SLOWER", "100")
    monkeypatch.setattr(judging, "AGAIN", 0)
    capsys.readouterr()
    assert main([*command, "--json", str(found)]) == 1
    assert "SLOWER  instructions: keys: dict, pk [make_key / seed make_key]" in capsys.readouterr().out
    [verdict] = verdicts_of(found)
    assert verdict.slower == pytest.approx(1.1, abs=0.03)


def test_reads_that_take_twice_as_long_are_found_by_time_and_a_busy_machine_is_no_alarm(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every read is made three times: exit status 1. Once, beside two busy processes, it is as before."""
    plugged(baseline, monkeypatch, SLOWER_READS, "test_path and slug and not JSON and not two")
    command = ["--only", "time", "--baseline", str(baseline), "django"]
    monkeypatch.setenv("SLOWER", "1")
    assert main([*command, "--update", "--runs", "1"]) == 0
    with busy(2):
        assert main(command) == 0
    monkeypatch.setenv("SLOWER", "3")  # the second and the third find the processor's caches warm
    monkeypatch.setattr(judging, "AGAIN", 0)
    capsys.readouterr()
    assert main(command) == 1
    assert "SLOWER  time: django: slug [get_from_cache" in capsys.readouterr().out


def test_a_quick_gate_does_not_judge_times(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few short rounds say nothing of speed; that a figure is gone they do say."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k 'test_path and slug and not JSON and not two'")
    [found] = times(["django"], quick=True)
    unreachable = msgspec.structs.replace(found, value=found.value * 1000)
    save(Baseline(time=[half_of(TIMES, unreachable)]), baseline)
    command = ["--only", "time", "--quick", "--baseline", str(baseline), "django"]
    assert main(command) == 0
    save(Baseline(time=[half_of(TIMES, found, reading("never", group="django"))]), baseline)
    assert main(command) == 1


def test_the_counter_refuses_to_count_outside_valgrind(tmp_path: Path) -> None:
    """It would count nothing, and everything would look free."""
    if shutil.which("valgrind") is None:
        pytest.skip("apt-get install valgrind")
    compiled(tmp_path)
    command = [sys.executable, "-m", "pytest", "-p", "benchmarks.gate.counting", f"--count-in={tmp_path}"]
    done = subprocess.run([*command, "--co", "benchmarks/bench_keys.py"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode != 0
    assert "under valgrind only" in done.stderr + done.stdout
