"""docs/benchmarks.md is made of the results that lie beside it."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks.publish.__main__ import DOCS, FOLDER, PAGE, Results, main, parts, plots
from benchmarks.publish.page import PageMismatch, rewritten


@pytest.fixture(scope="module")
def results() -> Results:
    """Those that are committed."""
    return Results.read(DOCS / FOLDER)


def test_the_page_says_what_was_measured(results: Results) -> None:
    """Made anew, no table of it differs: nobody has edited one, and no result is newer."""
    page = (DOCS / PAGE).read_text()
    assert rewritten(page, parts(results)) == page


def test_every_plot_is_shown(results: Results) -> None:
    """The page shows each drawing once, and there is no other in the folder."""
    pytest.importorskip("matplotlib", reason="plots need the extra bench")
    page = (DOCS / PAGE).read_text()
    names = sorted(plots(results))
    assert sorted(path.name for path in (DOCS / FOLDER).glob("*.svg")) == names
    assert [page.count(f"({FOLDER}/{name})") for name in names] == [1] * len(names)


def test_a_part_is_replaced() -> None:
    """What stood between the marks goes, what stands around them stays."""
    page = "before\n<!-- made: keys -->\n\nold\n\n<!-- end -->\nafter\n"
    assert rewritten(page, {"keys": "new \\1"}) == "before\n<!-- made: keys -->\n\nnew \\1\n\n<!-- end -->\nafter\n"


@pytest.mark.parametrize("names", [(), ("keys", "rows"), ("rows",)])
def test_a_part_without_its_place_is_refused(names: tuple[str, ...]) -> None:
    """A page that has no place for a result, or asks for one that is not there, is named, and not written."""
    page = "<!-- made: keys -->\n<!-- end -->\n"
    with pytest.raises(PageMismatch, match="the page has places for \\['keys'\\]"):
        rewritten(page, dict.fromkeys(names, "new"))


def test_redrawing(tmp_path: Path) -> None:
    """The page and its plots come of the results alone: well-formed drawings, the same bytes each time."""
    pytest.importorskip("matplotlib", reason="plots need the extra bench")
    (tmp_path / FOLDER).mkdir()
    for path in [DOCS / PAGE, *(DOCS / FOLDER).glob("*.json")]:
        (tmp_path / path.relative_to(DOCS)).write_bytes(path.read_bytes())
    (tmp_path / FOLDER / "old.svg").write_text("<svg/>")
    assert main(["--redraw", "--docs", str(tmp_path)]) == 0
    drawn = {path.name: path.read_bytes() for path in (tmp_path / FOLDER).glob("*.svg")}
    assert "old.svg" not in drawn
    assert all(ElementTree.fromstring(data).tag.endswith("svg") for data in drawn.values())
    assert (tmp_path / PAGE).read_bytes() == (DOCS / PAGE).read_bytes()
    assert main(["--redraw", "--docs", str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / FOLDER).glob("*.svg")} == drawn


def test_results_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be read is named, and the page stays as it is."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / PAGE).write_text("a page")
    assert main(["--redraw", "--docs", str(tmp_path)]) == 2
    assert "figures.json" in capsys.readouterr().err
    (tmp_path / FOLDER / "figures.json").write_text("{}")
    assert main(["--redraw", "--docs", str(tmp_path)]) == 2
    assert "machine" in capsys.readouterr().err
    assert (tmp_path / PAGE).read_text() == "a page"
