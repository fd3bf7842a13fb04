"""Type checkers know what comes out of the cache: mypy with django-stubs' plugin and without it, and pyright."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "typing"

PLUGIN = """
[mypy]
plugins = mypy_django_plugin.main
[mypy.plugins.django-stubs]
django_settings_module = tests.django_settings
"""

Reported = dict[int, str]
"""Line to message."""


def run(*command: str) -> str:
    """What a checker prints. It finds the packages of this checkout, and not others' caches of them."""
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT), "CACHECORE_TEST_DATABASE": "sqlite"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(params=["mypy", "mypy with the plugin", "pyright"])
def check(request: pytest.FixtureRequest, pytestconfig: pytest.Config, tmp_path: Path) -> Callable[[str], Reported]:
    """What a checker, strict, says about a file of tests/typing."""
    checker, *plugin = str(request.param).split(" with ")
    pytest.importorskip(checker)
    if checker == "pyright":
        return lambda name: pyright(FOLDER / name)
    pytest.importorskip("mypy_django_plugin")
    settings = tmp_path / "mypy.ini"
    settings.write_text(PLUGIN if plugin else "[mypy]\n")
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir("cachecore-mypy-with-plugin" if plugin else "cachecore-mypy")
    return lambda name: mypy(FOLDER / name, settings, kept)


def mypy(file: Path, settings: Path, kept: Path) -> Reported:
    options = ["--strict", "--config-file", str(settings), "--cache-dir", str(kept), "--follow-imports", "silent"]
    printed = run("mypy", *options, "--explicit-package-bases", "--no-error-summary", "--hide-error-context", str(file))
    found = re.findall(rf"(?m)^{re.escape(str(file.relative_to(ROOT)))}:(\d+): error: (.*)$", printed)
    assert found or not printed.strip(), printed
    return {int(line): message for line, message in found}


def pyright(file: Path) -> Reported:
    printed = json.loads(run("pyright", "--outputjson", str(file)))
    assert printed["summary"]["filesAnalyzed"] == 1
    # What it does not know of fields and Django's own untyped parts is not about the cache.
    return {
        problem["range"]["start"]["line"] + 1: problem["message"]
        for problem in printed["generalDiagnostics"]
        if problem["severity"] == "error"
        and not problem.get("rule", "").startswith(("reportUnknown", "reportMissingParameter"))
    }


def test_reads_have_the_type_of_their_model(check: Callable[[str], Reported]) -> None:
    """get_from_cache of City.objects is a City, and so on for everything in tests/typing/reads.py."""
    assert check("reads.py") == {}


def test_mistakes_are_reported(check: Callable[[str], Reported]) -> None:
    """Every line that is marked as wrong in tests/typing/mistakes.py is reported, and no other."""
    lines = (FOLDER / "mistakes.py").read_text(encoding="utf-8").split("\n")
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert len(wrong) > 10
    reported = check("mistakes.py")
    assert set(reported) == wrong, reported
