"""How much a crew of workers does: the curves of threads and of processes.

Each call of a crew does the same number of reads, divided among the workers. Two things are measured of each, and
beside it, in the same round, of as many workers who do the same by bare means:

* Reads a second: the time of one worker by the time of several. What the interpreter's lock, the machine's processors
  and the server leave to gain is what the bare reference shows. On a machine that does other things it is noisy.
* The processor time of a read, of the workers and the server together, which other processes disturb less. If it does
  not grow, so many workers do as much as there are processors for.

The ratios to the reference are what is judged.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.measure import Call
from benchmarks.scaling.curve import Curve, Series, Values, series
from benchmarks.scaling.sweep import Effort, Times, against

WORKERS: Final = [1, 2, 3, 4]
DIVISIBLE: Final = 12
"""What all WORKERS divide: the calls of a crew are a multiple of it."""
TOLERANCE: Final = 0.35
"""A lock that all wait for would be 1. Below this it is the processors: who is switched to finds its code and data gone
from their caches, and pays for it in proportion to how much of them it uses."""
CROWDED: Final = {
    2: "where there are two processors the second worker takes the one that the server had to itself: from there on who"
    " runs finds its code and data gone from the caches. What is sent and waited for stays the same",
    3: "a bare client that mostly waits leaves some of two processors to a third; who computes more between its waits"
    " has used them up with two",
}
"""What explains steps where there is a server."""
SHARED: Final = (
    "a worker more is no processor more: where there are few, which the servers need too, both curves end where the"
    " processors do"
)

Crews = Mapping[str, tuple[int, Mapping[int, Call]]]
"""The name of a side to the reads of a call, and to its crews by the number of workers."""


@dataclass(frozen=True, slots=True)
class Found:
    """Seconds a read, on the wall and of processors, of each side, number of workers and round."""

    wall: Times
    work: Times


def processor_seconds(pids: Sequence[int]) -> float | None:
    """What all threads of these processes have computed so far; None where the system does not say it precisely."""
    try:
        tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except OSError:
        return None


def measured(crews: Crews, effort: Effort, busy: Callable[[], float | None]) -> Found:
    """Call every crew once a round. busy: processor seconds so far of all that take part; see above."""
    wall, work = (
        {name: {count: list[float]() for count in some} for name, (_, some) in crews.items()} for _ in range(2)
    )
    for _, some in crews.values():
        for crew in some.values():
            crew()  # to warm it up
    plan = [(name, count) for name, (_, some) in crews.items() for count in some]
    for number in range(effort.rounds):
        for name, count in plan if number % 2 else reversed(plan):
            reads, some = crews[name]
            crew = some[count]
            before, start = busy(), time.perf_counter()
            crew()
            took, after = time.perf_counter() - start, busy()
            wall[name][count].append(took / reads)
            if before is not None and after is not None:
                work[name][count].append((after - before) / reads)
    return Found(wall, work)


def drawn(
    found: Found,
    pairs: Sequence[tuple[str, str]],
    *,
    name: str,
    title: str,
    workers: str,
    reads: str,
    docs: str,
    explained: Mapping[int, str],
) -> list[Curve]:
    """The curve of reads a second, and that of processor time where it was measured."""
    curves = [
        Curve(
            name=name,
            title=f"{title}, {reads} a second",
            x_label=workers,
            y_label=f"{reads} a second, of one = 1",
            unit="x",
            docs=docs,
            series=_speeds(found.wall, pairs, explained),
            notes=[SHARED],
        )
    ]
    if all(rounds for side in found.work.values() for rounds in side.values()):
        work = [one for ours, reference in pairs for one in _work(found.work, ours, reference, explained)]
        curves.append(
            Curve(
                name=f"{name}-work",
                title=f"{title}, processor time of all that take part",
                x_label=workers,
                y_label="processor time, bare reference of one = 1",
                unit="x",
                docs=docs,
                series=list({one.name: one for one in work}.values()),
            )
        )
    return curves


def _work(times: Times, ours: str, reference: str, explained: Mapping[int, str]) -> list[Series]:
    return against(times, ours, reference, expected_ratio=0.0, tolerance=TOLERANCE, explained=explained)


def _speeds(times: Times, pairs: Sequence[tuple[str, str]], explained: Mapping[int, str]) -> list[Series]:
    """For each pair what both do, and ours by the reference's, which may not fall: it would be a lock of ours."""
    found: dict[str, Series] = {}
    for ours, reference in pairs:
        mine, theirs = _speed(times, ours), _speed(times, reference)
        ratio = {
            count: [one / other for one, other in zip(rounds, theirs[count], strict=True)]
            for count, rounds in mine.items()
        }
        name = f"{ours} / {reference}"
        found[ours] = series(ours, "ours", mine, better="higher")
        found[reference] = series(reference, "reference", theirs, better="higher")
        found[name] = series(
            name, "ratio", ratio, better="higher", expected=0.0, tolerance=TOLERANCE, explained=explained
        )
    return list(found.values())


def _speed(times: Times, side: str) -> Values:
    """How many times as much as one worker so many do, in each round."""
    alone = times[side][1]
    return {
        count: [one / many for one, many in zip(alone, rounds, strict=True)] for count, rounds in times[side].items()
    }
