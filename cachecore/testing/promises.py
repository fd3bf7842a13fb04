"""What the explorer checks when a read returns, as pure functions of the commits and of the floors of the read.

A floor is the number of a commit below which a row must not be seen: of a commit acknowledged before the read began
(P1), or of one that a read which had finished by then has seen (P3).
"""

from collections.abc import Iterator, Mapping

from cachecore.testing.model import Commits, Version, contents, row_of

PROMISES = ("P0", "P1", "P2", "P3", "P4", "LK")

Floors = tuple[tuple[int, int], ...]
"""Of each row: the number of the latest commit acknowledged, and of the latest that a finished read has seen."""
Found = Mapping[int, tuple[object, ...] | None]
"""Identity to the row that a read returned, None for no row."""
Places = Mapping[int, int]
"""Identity of a row to its place in the floors."""
Broken = tuple[str, str]
"""(promise, how it was broken)."""


def check_read(found: Found, asked: str | None, commits: Commits, began: Floors, places: Places) -> Iterator[Broken]:
    """The promises that a read outside transactions breaks by returning ``found``."""
    for identity, row in found.items():
        acknowledged, seen = began[places[identity]]
        latest = max(_positions(commits, identity, row), default=None)
        if latest is None:
            yield "P0", f"{row} was never committed"
            continue
        if latest < acknowledged:
            yield "P1", f"{row} is older than commit {acknowledged}, acknowledged before this read began"
        if latest < seen:
            yield "P3", f"{row} is older than commit {seen}, which a read that had finished before has seen"
        if asked is not None and (row is None or row[2] != asked):
            yield "LK", f"asked for {asked!r}, got {row}"
    if asked is not None and not found and not _ever_without(commits, asked, max(floor[0] for floor in began)):
        yield "LK", f"no row for {asked!r}, though there was one all the time"


def check_own(found: Found, writes: tuple[Version, ...]) -> Iterator[Broken]:
    """The promises that a read breaks in a transaction that wrote ``writes``."""
    for version in writes:
        if version[0] in found and found[version[0]] != row_of(version):
            yield "P4", f"{found[version[0]]} is not {version}, written before in this transaction"


def raised_by_read(found: Found, commits: Commits, began: Floors, floors: Floors, places: Places) -> Floors:
    """The floors after a read has returned ``found``: nobody who begins from now on may see anything older."""
    raised = list(floors)
    for identity, row in found.items():
        place = places[identity]
        # A row may look the same after several commits: what it proves is the earliest that it may have seen.
        allowed = [number for number in _positions(commits, identity, row) if number >= max(began[place])]
        acknowledged, seen = raised[place]
        raised[place] = (acknowledged, max([seen, *allowed[:1]]))
    return tuple(raised)


def raised_by_commit(versions: tuple[Version, ...], commits: Commits, floors: Floors, places: Places) -> Floors:
    """The floors after the caller who committed ``versions`` has regained control."""
    raised = list(floors)
    for version in versions:
        numbers = [number for number, commit in enumerate(commits) if version in commit]
        acknowledged, seen = raised[places[version[0]]]
        raised[places[version[0]]] = (max([acknowledged, *numbers]), seen)
    return tuple(raised)


def _positions(commits: Commits, identity: int, row: object) -> list[int]:
    """The numbers of the commits that made ``identity`` look like ``row``."""
    return [
        number
        for number, commit in enumerate(commits)
        for version in commit
        if version[0] == identity and row_of(version) == row
    ]


def _ever_without(commits: Commits, slug: str, since: int) -> bool:
    """Whether after one of the commits from number ``since`` on there was no row with this slug."""
    return any(
        all(version[2] != slug for version in contents(commits[: number + 1]).values())
        for number in range(since, len(commits))
    )
