"""What ``import cachecore`` adds to starting the interpreter."""

import os
import resource
import subprocess
import sys
import tempfile
from time import process_time

import pytest

from benchmarks.versus import Versus, timed

GROUP = "import"
pytestmark = timed(process_time)
ROUNDS = 21


@pytest.mark.parametrize(("module", "target"), [("cachecore", 40), ("msgspec", None)])
def test_import(versus: Versus, module: str, target: float | None) -> None:
    """Milliseconds of this machine's processor: absolute times, for that is what the target is.

    msgspec, which the core imports, and most of what it imports in turn, is a floor.
    """
    versus.value(
        f"import {module}",
        lambda: import_milliseconds(module),
        shown=module,
        against="bare interpreter",
        unit="ms",
        target=target,
    )


def import_milliseconds(module: str) -> list[float]:
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
        took(f"import {module}")
        return [1000 * (took(f"import {module}") - took("pass")) for _ in range(ROUNDS)]
