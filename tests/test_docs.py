"""Pages for users: their code runs, what they quote is so, the tests they name exist, their links lead somewhere."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachecore.integrations import django as integration
from cachecore.integrations.django import checks
from cachecore.integrations.django.conf import KNOWN

ROOT = Path(__file__).parent.parent
SHOP = ROOT / "examples" / "shop"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/*.md")])
DJANGO = [page for page in PAGES if page.name.startswith(("django", "coming-from"))]
RUNS = "<!-- runs in examples/shop -->"


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def marked(page: Path, mark: str) -> Iterator[tuple[int, re.Match[str], str]]:
    """The blocks of code after a line that ``mark`` matches: the line they begin in, the match, the code."""
    pattern = re.compile(rf"^{mark}\n```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
    for found in pattern.finditer(text(page)):
        yield text(page).count("\n", 0, found.start("code")), found, found["code"]


# -- code ------------------------------------------------------------------------------------------


RUNNER = """
import sys
from pathlib import Path
import django

sys.path.insert(0, sys.argv[1])
django.setup()
from django.core.management import call_command

call_command("migrate", verbosity=0)
call_command("fill", products=16, orders=2, verbosity=0)
exec(compile(sys.stdin.read(), sys.argv[2], "exec"), {})
print("it has run")
"""


@pytest.mark.parametrize("page", [page for page in DJANGO if RUNS in text(page)], ids=lambda page: page.name)
@pytest.mark.parametrize("cache", ["memory", "redis"])
def test_the_code_of_a_page_runs(cache: str, page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """From top to bottom, in the example's project, filled anew; its asserts hold, in process and on a server."""
    lines = [""] * (text(page).count("\n") + 1)
    for first, _, code in marked(page, re.escape(RUNS)):
        block = code.splitlines()
        lines[first : first + len(block)] = block  # so that an error names the line of the page
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "SHOP_DATABASE": str(tmp_path / "shop.sqlite3"),
        "SHOP_NAMESPACE": f"docs-{os.getpid()}-{page.stem}",
        "SHOP_DEBUG": "0",
        "SHOP_CACHE": f"{request.getfixturevalue('redis_server').url}?timeout=10" if cache == "redis" else "",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUNNER, str(SHOP), str(page)],
        input="\n".join(lines),
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.endswith("it has run\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_quotes_is_so(page: Path) -> None:
    """Every line of a block that is said to be from a file stands in that file, in this order."""
    for _, found, code in marked(page, r"<!-- from (?P<file>\S+) -->"):
        rest = iter(text(ROOT / found["file"]).splitlines())
        for line in filter(str.strip, code.splitlines()):
            assert line in rest, f"{found['file']} has no line {line!r}, or not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_is_python(page: Path) -> None:
    """Every block that is said to be can be parsed."""
    for block in re.finditer(r"^```python\n(.*?)^```$", text(page), re.DOTALL | re.MULTILINE):
        ast.parse(block[1])


# -- what is named ---------------------------------------------------------------------------------


def named_in(module: str) -> set[str]:
    """The tests of a module as pytest names them: "test_a", "TestB", "TestB::test_c"."""
    found: set[str] = set()
    for node in ast.parse(text(ROOT / "tests" / module)).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            inside = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
            found |= {f"{node.name}::{one.name}" for one in inside}
    return {name for name in found if name.rpartition("::")[2].startswith(("test_", "Test"))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tests_that_a_page_names_exist(page: Path) -> None:
    """As `test_django_x.py::TestY::test_z`, wherever it stands; and the modules that are named alone."""
    for module, name in re.findall(r"`(?:tests/)?(test_\w+\.py)(?:::([\w:]+))?`", text(page)):
        assert (ROOT / "tests" / module).exists(), module
        assert not name or name in named_in(module), f"{module} has no {name}"


def test_every_system_of_a_caching_manager_is_proven() -> None:
    """Each of the 27 rows names a test at least, and no test is named twice in a row."""
    rows = re.findall(r"^\| (S\d+) \|(.*)\|$", text(ROOT / "docs" / "coming-from-a-caching-manager.md"), re.MULTILINE)
    assert [name for name, _ in rows] == [f"S{n}" for n in range(1, 28)]
    for name, row in rows:
        tests = re.findall(r"`(test_\w+\.py::[\w:]+)`", row)
        assert tests, f"{name} names no test"
        assert len(set(tests)) == len(tests), name


def test_the_pages_name_everything_that_is_public() -> None:
    """What is imported from the package, the options of the setting, and the system checks."""
    said = "\n".join(map(text, DJANGO))
    assert [name for name in integration.__all__ if f"`{name}" not in said and f"{name}`" not in said] == []
    assert [name for name in KNOWN if f'"{name}": ' not in text(ROOT / "docs" / "django.md")] == []
    assert checks.__doc__ is not None
    ids = re.findall(r"^([EW]\d{3})  ", checks.__doc__, re.MULTILINE)
    assert (
        re.findall(r"^\| `cachecore\.([EW]\d{3})`", text(ROOT / "docs" / "django-operations.md"), re.MULTILINE) == ids
    )


# -- links -----------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Those that GitHub gives the headings of a page."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text(page), flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading of it."""
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text(page), flags=re.DOTALL | re.MULTILINE)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
