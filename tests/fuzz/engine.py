"""Fuzzing guided by coverage: one target under atheris, in a process of its own, since the engine never returns.

atheris 3 runs on CPython 3.11 to 3.13, on Linux and macOS. Without it there is the kept corpus and hypothesis, in the
ordinary tests.
"""

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parent.parent.parent
_SECONDS_AN_INPUT = 10
"""An input that takes longer counts as a hang."""
_LONGEST = 1000


class EngineMissing(Exception):
    """atheris is not installed, or not for this interpreter."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run found."""

    inputs: int
    """How many were tried."""
    corpus: list[bytes]
    """Those that reached something new, and those it started from."""
    failures: list[bytes]
    log: str
    """What the engine had to say."""


def fuzz(name: str, start: list[bytes], runs: int) -> Run:
    """Try ``runs`` inputs on the target ``name``, going on from ``start``; stops at the first failure."""
    with tempfile.TemporaryDirectory() as folder:
        corpus, failures = Path(folder, "corpus"), Path(folder, "failures")
        corpus.mkdir()
        failures.mkdir()
        for number, data in enumerate(start):
            (corpus / f"start-{number}").write_bytes(data)
        command = [sys.executable, "-m", "tests.fuzz.engine", name, str(corpus), f"-artifact_prefix={failures}/",
                   f"-runs={runs}", f"-timeout={_SECONDS_AN_INPUT}", f"-max_len={_LONGEST}", "-rss_limit_mb=2048",
                   "-print_final_stats=1"]  # fmt: skip
        ended = subprocess.run(command, cwd=_ROOT, text=True, errors="replace", capture_output=True, check=False)
        log = ended.stdout + ended.stderr
        if ended.returncode == 3:
            raise EngineMissing(ended.stderr.strip())
        found = [path.read_bytes() for path in failures.iterdir()]
        if ended.returncode and not found:
            raise RuntimeError(f"the engine failed:\n{log}")
        tried = re.search(r"number_of_executed_units: +(\d+)", log)
        return Run(int(tried[1]) if tried else 0, [path.read_bytes() for path in corpus.iterdir()], found, log)


def _main(name: str, options: list[str]) -> None:
    """The child: instrument cachecore, import the target, and let the engine have the process."""
    try:
        import atheris
    except ImportError as error:
        sys.stderr.write(f"{error}: pip install atheris (CPython 3.11 to 3.13, on Linux or macOS)\n")
        sys.exit(3)
    with atheris.instrument_imports(include=["cachecore"]):
        from tests.fuzz.targets import TARGETS
    check = TARGETS[name].check

    def run(data: bytes) -> None:
        check(data)

    atheris.Setup([sys.argv[0], *options], run)
    atheris.Fuzz()


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
