"""The groups of benchmarks, and how one is run: by pytest, in a process of its own.

None sees the settings, the heap or the warm caches of another.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.results import Figure
from benchmarks.versus import FIGURE

HERE: Final = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Group:
    """Benchmarks of one subject: modules of this package, and the Django settings that they need."""

    modules: tuple[str, ...]
    settings: str = "benchmarks.django_settings"


GROUPS: Final = {
    "keys": Group(("bench_keys",)),
    "rows": Group(("bench_rows", "bench_sqlalchemy_rows")),
    "map": Group(("bench_map",)),
    "redis": Group(("bench_redis",)),
    "memcached": Group(("bench_memcached",)),
    "django": Group(("bench_django",)),
    "sqlalchemy": Group(("bench_sqlalchemy",)),
    "hit": Group(("bench_hit",)),
    "tracking": Group(("bench_tracking",)),
    "bulk": Group(("bench_bulk",)),
    "import": Group(("bench_import",)),
    "memory": Group(("bench_memory",)),
}

PEERS: Final = {
    "peers-map": Group(("bench_peers_map",)),
    "peers-django": Group(("bench_peers_django",)),
    "peers-sqlalchemy": Group(("bench_peers_sqlalchemy",)),
    "peers-async": Group(("bench_peers_async",)),
}
"""What others offer; the libraries are those of the extra ``bench``."""


class BenchmarkFailed(Exception):
    """A group could not be run; the text is what pytest printed."""


class _Benchmark(msgspec.Struct):
    extra_info: dict[str, msgspec.Raw]


class _Session(msgspec.Struct):
    benchmarks: list[_Benchmark]


def run(group: Group, *, quick: bool = False, arguments: Sequence[str] = ()) -> list[Figure]:
    """The figures of a group, measured now.

    quick: few short rounds. arguments: more of pytest's, such as ``["-k", "slug"]``. Raises BenchmarkFailed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "benchmark.json"
        command = [sys.executable, "-m", "pytest", *(str(HERE / f"{module}.py") for module in group.modules)]
        command += ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", f"--ds={group.settings}"]
        command += ["--benchmark-enable", "--benchmark-quiet", f"--benchmark-json={path}"]
        command += ["-W", "ignore:Not saving anything"]  # where a missing library skips all of them
        command += ["--quick"] if quick else []
        command += arguments
        # Where pytest-xdist has started this process, pytest-benchmark would switch itself off.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
        environment = {**inherited, "DJANGO_SETTINGS_MODULE": group.settings}
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=HERE.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        # 5: nothing was selected.
        if done.returncode not in (0, 5):
            raise BenchmarkFailed(done.stdout + done.stderr)
        if not path.exists() or not path.stat().st_size:
            return []
        session = msgspec.json.decode(path.read_bytes(), type=_Session)
    found = [benchmark.extra_info[FIGURE] for benchmark in session.benchmarks if FIGURE in benchmark.extra_info]
    return [msgspec.json.decode(figure, type=Figure) for figure in found]
