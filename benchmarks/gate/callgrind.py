"""The instructions that the groups' benchmarks execute, counted by valgrind's callgrind.

A processor's time depends on what else the machine does, the instructions of a program do not: the same program on the
same data executes the same ones, give or take some in a thousand, however busy the machine is. What they do not tell
is how long each takes, nor what is waited for; for that there is `benchmarks.gate.timing`.

Under callgrind a program takes fifty times as long, so it is told by client requests (``requests.c``) to count only
inside the benchmarks. A group runs in one process, several groups at a time: they do not disturb each other.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.gate.baseline import Reading
from benchmarks.gate.counting import FOUND, LIBRARY, OUTPUT
from benchmarks.groups import GROUPS, HERE, BenchmarkFailed, Group

COUNTED: Final = ("bulk", "redis", "sqlalchemy", "memcached", "django", "rows", "map", "keys", "tracking")
"""The groups whose instructions are counted, those first that take longest."""

HINT: Final = "apt-get install valgrind gcc"


class CannotCount(Exception):
    """What instructions are counted with is missing; the text says what and how to get it."""


def counts(names: Sequence[str] = COUNTED) -> list[Reading]:
    """What the benchmarks of these groups execute.

    Raises CannotCount without valgrind or a C compiler, BenchmarkFailed.
    """
    with tempfile.TemporaryDirectory() as folder:
        library = compiled(Path(folder))
        with ThreadPoolExecutor(os.cpu_count()) as workers:
            found = list(workers.map(partial(_count, library), [GROUPS[name] for name in names]))
    return [reading for readings in found for reading in readings]


def compiled(folder: Path) -> Path:
    """The requests to callgrind as a library in this folder. Raises CannotCount."""
    if shutil.which("valgrind") is None:
        raise CannotCount(f"valgrind is not installed: {HINT}")
    library = folder / LIBRARY
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
    source = Path(__file__).with_name("requests.c")
    for name in dict.fromkeys((compiler, "cc")):
        command = [name, "-O1", "-shared", "-fPIC", str(source), "-o", str(library)]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True)
        except FileNotFoundError:
            continue
        if done.returncode:
            raise CannotCount(
                f"{source.name} could not be compiled; its header comes with valgrind: {HINT}\n{done.stderr}"
            )
        return library
    raise CannotCount(f"there is no C compiler {compiler!r}: {HINT}")


def _count(library: Path, group: Group) -> list[Reading]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(library, folder)
        command = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no"]
        command += [f"--callgrind-out-file={folder}/{OUTPUT}.%p", sys.executable, "-m", "pytest"]
        command += [str(HERE / f"{module}.py") for module in group.modules]
        command += ["-p", "benchmarks.gate.counting", f"--count-in={folder}", f"--ds={group.settings}"]
        command += ["-q", "--assert=plain", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist"]
        # The hash seed decides where a name stands in a dict and so what it takes to find it.
        fixed = {"PYTHONHASHSEED": "0", "DJANGO_SETTINGS_MODULE": group.settings}
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=HERE.parent,
            env={**os.environ, **fixed},
            stdin=subprocess.DEVNULL,
        )
        found = Path(folder) / FOUND
        # 5: nothing was selected.
        if done.returncode not in (0, 5) or not found.exists():
            raise BenchmarkFailed(done.stdout + done.stderr)
        return msgspec.json.decode(found.read_bytes(), type=list[Reading])
