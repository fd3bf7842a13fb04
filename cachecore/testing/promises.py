"""What the explorer checks when a read returns, as pure functions of the commits and of the floors of the read.

A floor is the number of a commit below which a row must not be seen: of a commit acknowledged before the read began
(P1), or of one that a read which had finished by then has seen (P3).
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from cachecore.testing.model import Commits, Own, Returned, Version, contents, row_of

PROMISES = ("P0", "P1", "P2", "P3", "P4", "LK")

Floors = tuple[tuple[int, int], ...]
"""Of each row: the number of the latest commit acknowledged, and of the latest that a finished read has seen."""
Places = Mapping[int, int]
"""Identity of a row to its place in the floors."""
Broken = tuple[str, str]
"""(promise, how it was broken)."""


def check_read(read: Returned, commits: Commits, began: Floors, places: Places) -> Iterator[Broken]:
    """The promises that a read outside transactions breaks by what it has returned."""
    found, asked = read.found, read.asked
    for identity, (row, looks_so) in _told(read, places).items():
        acknowledged, seen = began[places[identity]]
        latest = max(_positions(commits, identity, looks_so), default=None)
        if latest is None:
            yield ("P0", f"{row} was never committed") if identity in found else ("LK", f"{row} is not committed")
            continue
        if latest < acknowledged:
            yield "P1", f"{row} is older than commit {acknowledged}, acknowledged before this read began"
        if latest < seen:
            yield "P3", f"{row} is older than commit {seen}, which a read that had finished before has seen"
    for row in found.values():
        if asked is not None and (row is None or row[2] != asked):
            yield "LK", f"asked for {asked!r}, got {row}"
    if (
        asked is not None
        and not found
        and not read.listed
        and not _ever_without(commits, asked, max(floor[0] for floor in began))
    ):
        yield "LK", f"no row for {asked!r}, though there was one all the time"


def check_own(own: Own, writes: tuple[Version, ...]) -> Iterator[Broken]:
    """The promises that a read breaks in a transaction that wrote ``writes``."""
    for version in writes:
        row = row_of(version)
        if own.asked is None:
            told = version[0] not in own.found or own.found[version[0]] == row
        else:
            told = own.found.get(version[0]) == (row if version[2] == own.asked else None)
        if not told:
            yield "P4", f"{own.found.get(version[0])} is not {version}, written before in this transaction"


def raised_by_read(read: Returned, commits: Commits, began: Floors, floors: Floors, places: Places) -> Floors:
    """The floors after a read has returned: nobody who begins from now on may see anything older."""
    raised = list(floors)
    for identity, (_, looks_so) in _told(read, places).items():
        place = places[identity]
        # A row may look the same after several commits: what it proves is the earliest that it may have seen.
        allowed = [number for number in _positions(commits, identity, looks_so) if number >= max(began[place])]
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


def _told(read: Returned, places: Places) -> dict[int, tuple[object, Callable[[Version], bool]]]:
    """What a read says of each row: identity to (in words, whether a version of the row looks so).

    Who asks for all rows with a slug, or for the one that has it and gets none, is told of the others too: that they
    have it not.
    """
    told: dict[int, tuple[object, Callable[[Version], bool]]] = {}
    for identity, row in read.found.items():
        told[identity] = row, partial(_is_row, row)
    if read.asked is not None and (read.listed or not read.found):
        for identity in places:
            if identity not in read.found:
                told[identity] = f"row {identity} without {read.asked!r}", partial(_is_without, read.asked)
    return told


def _is_row(row: object, version: Version) -> bool:
    return row_of(version) == row


def _is_without(slug: str, version: Version) -> bool:
    return version[2] != slug


def _positions(commits: Commits, identity: int, looks_so: Callable[[Version], bool]) -> list[int]:
    """The numbers of the commits that made ``identity`` look so."""
    return [
        number
        for number, commit in enumerate(commits)
        for version in commit
        if version[0] == identity and looks_so(version)
    ]


def _ever_without(commits: Commits, slug: str, since: int) -> bool:
    """Whether after one of the commits from number ``since`` on there was no row with this slug."""
    return any(
        all(version[2] != slug for version in contents(commits[: number + 1]).values())
        for number in range(since, len(commits))
    )
