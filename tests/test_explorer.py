"""The explorer's verdicts on the shipped protocol and on the controls, and that it can tell the difference."""

import re
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from cachecore.operations import Load, Operation
from cachecore.testing import explore as command
from cachecore.testing.actors import key_of, value
from cachecore.testing.claim_scenes import LISTS, MISSING, WITHOUT_CLAIMS
from cachecore.testing.controls import WITHOUT
from cachecore.testing.explorer import explore
from cachecore.testing.journals import JOURNALS, WITHOUT_R7
from cachecore.testing.model import Acknowledged, Commit, Own, Returned, Rollback, Statement, Write
from cachecore.testing.naive import NAIVE
from cachecore.testing.promises import PROMISES
from cachecore.testing.scene import Actor
from cachecore.testing.scenes import SCENES, Case, stage

SHIPPED = (*SCENES, *LISTS, *MISSING, *JOURNALS)
CONTROLS = (*NAIVE, *WITHOUT, *WITHOUT_CLAIMS, *WITHOUT_R7)
EVERY_DAY = [case for case in (*SHIPPED, *CONTROLS) if not case.deep]


@pytest.mark.parametrize("case", EVERY_DAY, ids=lambda case: case.name)
def test_scene(case: Case) -> None:
    """The scene breaks exactly the promises that it is expected to break, whatever happens in whatever order."""
    report = explore(case.scene)
    assert " ".join(sorted(report.broken)) == case.breaks, report.broken


def test_every_control_breaks_something() -> None:
    """No control is expected to keep every promise, and no scene of the shipped protocol breaks one without reason."""
    assert all(case.breaks for case in CONTROLS)
    assert all(bool(case.breaks) == bool(case.why) for case in SHIPPED)


def test_names_are_unique() -> None:
    """Every scene and control can be asked for by its name."""
    names = [case.name for case in (*SHIPPED, *CONTROLS)]
    assert len(set(names)) == len(names)


def test_the_controls_break_every_promise() -> None:
    """For every promise there is a control that breaks it, so that each of the checks is known to work."""
    assert {promise for case in CONTROLS for promise in case.breaks.split()} == set(PROMISES)


def _does(name: str, *operations: Operation) -> Actor:
    def program() -> Generator[Operation, Any, None]:
        for operation in operations:
            _ = yield operation

    return Actor(name, program, reads=True)


OLD, NEW = (1, "v0", ""), (1, "v1", "")
MOVED = (1, "v1", "a")
WRITE, MOVE, SELECT = Statement((NEW,)), Statement((MOVED,)), Load([1])


@pytest.mark.parametrize(
    ("breaks", "one", "other"),
    [
        ("", [WRITE, Acknowledged((NEW,))], []),
        ("", [WRITE], [SELECT, Returned({1: OLD})]),
        ("", [WRITE, Returned({1: OLD})], [SELECT, Returned({1: OLD})]),
        ("P0", [], [SELECT, Returned({1: NEW})]),
        ("P0", [], [SELECT, Returned({1: None})]),
        ("P1", [WRITE, Acknowledged((NEW,))], [SELECT, Returned({1: OLD})]),
        ("P3", [WRITE, Returned({1: NEW})], [SELECT, Returned({1: OLD})]),
        ("LK", [], [SELECT, Returned({1: OLD}, asked="a")]),
        ("LK", [], [SELECT, Returned({}, asked="")]),
        ("P4", [], [Write((NEW,)), Own({1: OLD}), Rollback()]),
        ("P4", [], [Write((NEW,)), Own({}, asked=""), Rollback()]),
        ("P4", [], [Write((NEW,)), Own({1: NEW}, asked="a"), Rollback()]),
        ("", [], [Write((NEW,)), Own({}, asked="a"), Rollback()]),
        ("", [], [SELECT, Returned({1: OLD}, asked="", listed=True)]),
        ("LK", [], [SELECT, Returned({}, asked="", listed=True)]),
        ("", [MOVE, Returned({}, asked="", listed=True)], []),
        ("LK", [], [SELECT, Returned({1: OLD}, asked="a", listed=True)]),
        ("P1", [MOVE, Acknowledged((MOVED,))], [SELECT, Returned({}, asked="a", listed=True)]),
        ("P3", [MOVE, Returned({1: MOVED})], [SELECT, Returned({}, asked="a", listed=True)]),
        ("P3", [MOVE, Returned({}, asked="", listed=True)], [SELECT, Returned({1: OLD})]),
        ("P1 LK", [MOVE, Acknowledged((MOVED,))], [SELECT, Returned({}, asked="a")]),
    ],
)
def test_promise(breaks: str, one: list[Operation], other: list[Operation]) -> None:
    """Whoever returns this after that breaks exactly this promise."""
    report = explore(stage(_does("A", *one), _does("B", *other), cold=True))
    assert " ".join(report.broken) == breaks


def test_an_outdated_entry_breaks_p2_only_when_believed() -> None:
    """When everybody has left, an entry that differs from the database counts if its stamp is good."""
    scene = stage(_does("A", WRITE))
    assert set(explore(scene).broken) == {"P2"}
    assert not explore(replace(scene, fingerprint=b"other")).broken
    fresh = replace(scene, stored={key_of(1): value(NEW)})
    assert set(explore(fresh).broken) == set()


def test_actors_who_wait_for_ever_are_an_error() -> None:
    """A scene in which two writers lock two rows crosswise is refused, since no database would leave them so."""
    rows = ((1, "v0", "a"), (2, "w0", "b"))

    def crosswise(name: str, *identities: int) -> Actor:
        def program() -> Generator[Operation, Any, None]:
            for identity in identities:
                yield Write(((identity, name, "x"),))
            yield Commit()

        return Actor(name, program)

    with pytest.raises(AssertionError, match="everybody waits"):
        explore(stage(crosswise("W1", 1, 2), crosswise("W2", 2, 1), rows=rows))


def test_too_many_states_are_an_error() -> None:
    """A search that grows beyond its limit ends with an error and does not pass for complete."""
    with pytest.raises(AssertionError, match="more than 5 states"):
        explore(SCENES[0].scene, limit=5)


def test_a_counterexample_is_told_step_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    """--trace prints the shortest way to break each promise, a line for each step, and what is wrong in the end."""
    assert command.main(["--trace", "delete after commit, fill by set"]) == 0
    told = re.sub(r" +", " ", capsys.readouterr().out)
    assert "P2 breaks so:" in told
    for step in ("GET row:1 -> nothing", "SELECT rows 1 -> 1=v0", "COMMIT", "FORGET row:1", "PUT row:1 1=v0 -> yes"):
        assert step in told
    assert "=> P2: all is quiet, and row:1 keeps" in told


def test_the_table_says_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints a line for each scene and exits with 0 if everything was as expected."""
    assert command.main(["--only", "R13"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert re.fullmatch(r"rule dropped +R13 lookup not verified +\d+ +ok +ok +ok +ok +- +FAIL +fails, as it must", line)


def test_a_surprise_is_an_exit_status(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command exits with 1 and says so when a scene breaks what it should keep."""
    unexpected = replace(NAIVE[0], breaks="")
    monkeypatch.setattr(command, "GROUPS", (("naive", (unexpected,)),))
    assert command.main([]) == 1
    assert "UNEXPECTED, should break nothing" in capsys.readouterr().out


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Asking for a scene that does not exist is an error that repeats what was asked for."""
    with pytest.raises(SystemExit):
        command.main(["--only", "no such scene"])
    assert "'no such scene'" in capsys.readouterr().err
