"""The page on SQLAlchemy: its code runs, from top to bottom."""

import os
import re
import subprocess
import sys
from pathlib import Path

from cachecore.integrations import sqlalchemy as integration
from cachecore.integrations.sqlalchemy import cached

PAGE = Path(__file__).parent.parent / "docs" / "sqlalchemy.md"


def test_the_code_of_the_page_runs(tmp_path: Path) -> None:
    """In a new directory; its asserts hold, and it warns of nothing."""
    page = PAGE.read_text(encoding="utf-8")
    lines = [""] * (page.count("\n") + 1)
    for found in re.finditer(r"^<!-- runs -->\n```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        first = page.count("\n", 0, found.start(1))
        block = found[1].splitlines()
        lines[first : first + len(block)] = block  # so that an error names the line of the page
    assert len(" ".join(lines)) > 3000
    lines.append("engine.dispose()")  # which a page for users need not say
    program = f"exec(compile({chr(10).join(lines)!r}, {str(PAGE)!r}, 'exec'), {{'__name__': 'page'}})"
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_names_everything_that_is_public() -> None:
    """What is imported from the package, and the arguments of the decorator."""
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in integration.__all__ if name not in page] == []
    arguments = list(cached.__code__.co_varnames[: cached.__code__.co_argcount + 5])
    assert [name for name in arguments if f"| `{name}` |" not in page] == []
