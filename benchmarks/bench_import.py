"""What ``import cachecore`` adds to starting the interpreter."""

import os
import resource
import subprocess
import sys
import tempfile
from time import process_time

from benchmarks.versus import Versus, timed

GROUP = "import"
pytestmark = timed(process_time)
ROUNDS = 21


def test_import(versus: Versus) -> None:
    """Milliseconds of this machine's processor; an absolute time, for that is what the target is."""
    versus.value(
        "import cachecore",
        import_milliseconds,
        shown="the core",
        against="bare interpreter",
        unit="ms",
        target=40,
    )


def import_milliseconds() -> list[float]:
    """What it took more than a program that does nothing, run by run.

    Modules are compiled to bytecode beforehand, as those of an installed package are.
    """

    def took(program: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", program], check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        took("import cachecore")
        return [1000 * (took("import cachecore") - took("pass")) for _ in range(ROUNDS)]
