"""What is installed, what pyproject.toml declares, and ./run: the fast checks. .ci/run builds and installs for real."""

import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
DECLARED: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = {"cachecore": "cachecore", "cachecore.backends": "backends", "cachecore.integrations": "integrations"}


@pytest.fixture
def installed() -> metadata.Distribution:
    """The installed distribution; ./run installs it, a bare checkout on sys.path has none."""
    try:
        return metadata.distribution("cachecore")
    except metadata.PackageNotFoundError:
        pytest.skip("cachecore is not installed in this environment")


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ROOT / "run"), *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_installed_metadata_is_what_pyproject_declares(installed: metadata.Distribution) -> None:
    """Version, Python versions and extras of the installed package are the declared ones: no stale installation."""
    project = DECLARED["project"]
    assert installed.version == project["version"]
    assert installed.metadata["Requires-Python"] == project["requires-python"]
    assert set(installed.metadata.get_all("Provides-Extra") or ()) == set(project["optional-dependencies"])


def test_only_cachecore_is_installed_at_the_top(installed: metadata.Distribution) -> None:
    """Names as common as "backends" and "integrations" are never taken from other packages."""
    assert (installed.read_text("top_level.txt") or "").split() == ["cachecore"]


def test_the_promised_extras_exist() -> None:
    """README and documentation tell people to install these."""
    extras = DECLARED["project"]["optional-dependencies"]
    assert {"django", "sqlalchemy", "redis", "memcached", "otel", "all", "dev"} <= set(extras)


def test_every_package_is_declared() -> None:
    """A folder that is not listed in pyproject.toml would be missing from the wheel."""
    found = set[str]()
    for package, folder in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            inside = init.parent.relative_to(ROOT / folder).parts
            if not (package == "cachecore" and inside and inside[0] in FOLDERS.values()):
                found.add(".".join((package, *inside)))
    assert found == set(DECLARED["tool"]["setuptools"]["packages"])


def test_every_extension_module_has_a_stub() -> None:
    """Type checkers cannot read a .pyx file."""
    sources = [path for folder in FOLDERS.values() for path in (ROOT / folder).rglob("*.pyx")]
    assert sources
    assert [str(path) for path in sources if not path.with_suffix(".pyi").is_file()] == []


def test_the_package_says_that_it_is_typed() -> None:
    """Without py.typed, type checkers ignore every annotation of an installed package (PEP 561)."""
    assert (ROOT / "cachecore" / "py.typed").is_file()


@pytest.mark.parametrize("arguments", [(), ("help",), ("--help",)])
def test_run_explains_itself(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """./run without a word, or with help, lists the words, from any folder and without setting anything up."""
    finished = run(*arguments, cwd=tmp_path)
    assert finished.returncode == 0
    assert finished.stderr == ""
    listed = {line.split()[0] for line in finished.stdout.splitlines() if line.startswith("  ")}
    assert {"demo", "test", "check", "bench", "help"} <= listed


def test_run_refuses_an_unknown_word() -> None:
    """A mistyped word is named, the real ones are listed, and the exit status is 2."""
    finished = run("tset")
    assert finished.returncode == 2
    assert "unknown word 'tset'" in finished.stderr
    assert "test" in finished.stderr.replace("tset", "")


@pytest.mark.parametrize("script", ["run", ".ci/run"])
def test_the_shell_scripts_are_well_formed_and_executable(script: str) -> None:
    """A POSIX shell can read them, and they can be started by name."""
    path = ROOT / script
    assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0
    assert path.stat().st_mode & 0o111
