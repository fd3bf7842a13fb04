"""The demo, run as a person would run it: what its table says must be what it promises."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORMS = ["django", "sqlalchemy"]
with_each_orm = pytest.mark.parametrize("orm", ORMS)


def start(*arguments: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    """The demo, whose temporary files are to be made in ``folder``."""
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONIOENCODING": "utf-8", **variables}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-m", "examples.demo", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def demo(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The ended demo."""
    with start(*arguments, folder=folder, **variables) as running:
        output, errors = running.communicate(timeout=300)
    return subprocess.CompletedProcess(running.args, running.returncode, output, errors)


@dataclass
class Line:
    """One run in the demo's table."""

    queries: int
    hit_ratio: float
    answers: int
    stale: int
    stale_at_rest: int
    cached_at_rest: int


def lines(output: str) -> dict[str, Line]:
    """The runs of the table by their names."""
    found: dict[str, Line] = {}
    for line in output.splitlines():
        cells = [cell.strip().replace(",", "") for cell in line.split("│")[1:-1]]
        if cells and cells[0] in ("no cache", "cachecore", "control"):
            name, queries, ratio, _p50, _p99, _rate, answers, stale, at_rest = cells
            numbers = [int(number) for number in re.findall(r"\d+", at_rest)] or [0, 0]
            found[name] = Line(int(queries), float(ratio.rstrip("%")), int(answers), int(stale), *numbers)
    return found


@with_each_orm
def test_the_demo_shows_that_no_answer_is_stale_and_that_its_control_is(orm: str, tmp_path: Path) -> None:
    """Of 34,006 cities and the same stream of lookups: without a cache, through cachecore, and without invalidation."""
    done = demo("--orm", orm, "--lookups", "1500", "--warm", "5000", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = lines(done.stdout)
    assert list(runs) == ["no cache", "cachecore", "control"], done.stdout
    database, ours, control = runs.values()
    assert database.queries == database.answers == 1500
    assert database.hit_ratio == 0
    assert ours.answers == 1500
    assert ours.queries < database.queries
    assert 50 < ours.hit_ratio < 100
    assert (ours.stale, ours.stale_at_rest) == (0, 0)
    assert ours.cached_at_rest > 1000
    assert control.answers >= 1500
    assert control.stale > 0
    assert control.stale_at_rest > 0
    assert "34006/34006" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@with_each_orm
def test_a_cache_that_keeps_nothing_makes_no_answer_stale_and_no_hit(orm: str, tmp_path: Path) -> None:
    """--cache chooses the backend: with null:// every lookup asks the database."""
    done = demo("--orm", orm, "--lookups", "300", "--cities", "500", "--cache", "null://", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    ours = lines(done.stdout)["cachecore"]
    assert (ours.hit_ratio, ours.stale, ours.cached_at_rest) == (0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cache", "carrier-pigeon://roof"], "unknown cache backend 'carrier-pigeon'"),
        (["--cache", "memory://somewhere"], "memory://, not 'memory://somewhere'"),
        (["--cache", "memory://?max_entries=many"], "max_entries must be a whole number, not 'many'"),
        (["--cache", ""], "BACKEND must be a non-empty str"),
        (["--orm", "sqlalchemy", "--cache", "carrier-pigeon://roof"], "unknown cache backend 'carrier-pigeon'"),
        (["--orm", "sqlalchemy", "--cache", ""], "unknown cache backend ''"),
        (["--orm", "peewee"], "argument --orm: invalid choice: 'peewee'"),
        (["--seconds", "0"], "--seconds must be positive, not 0"),
        (["--lookups", "0"], "--lookups must be at least 1, not 0"),
        (["--cities", "-1"], "--cities must be at least 1, not -1"),
    ],
)
def test_what_the_demo_cannot_use_is_named_in_one_line(arguments: list[str], says: str, tmp_path: Path) -> None:
    """Exit status 2, no traceback, and nothing left behind."""
    done = demo(*arguments, folder=tmp_path)
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if not line.startswith(("usage:", " "))]
    assert says in line
    assert list(tmp_path.iterdir()) == []


@with_each_orm
def test_a_missing_library_is_named_with_what_installs_it(orm: str, tmp_path: Path) -> None:
    """Exit status 2 and the command; nothing is left behind."""
    without, temporary = tmp_path / "without", tmp_path / "temporary"
    temporary.mkdir()
    without.mkdir()
    (without / f"{orm}.py").write_text(f"raise ModuleNotFoundError(name={orm!r})")
    done = demo("--orm", orm, folder=temporary, PYTHONPATH=str(without))
    assert done.returncode == 2
    assert done.stderr == f'demo: {orm} is not installed: pip install -e ".[demo]", or ./run demo\n'
    assert list(temporary.iterdir()) == []


@with_each_orm
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_ends_without_a_trace(orm: str, sent: signal.Signals, status: int, tmp_path: Path) -> None:
    """Ctrl-C, or being told to terminate, while the threads are at work."""
    with start("--orm", orm, "--seconds", "100", "--cities", "500", folder=tmp_path) as running:
        assert running.stdout is not None
        assert "500/500" in running.stdout.readline()
        assert list(tmp_path.iterdir()) != []
        running.send_signal(sent)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == status
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
