"""How a new baseline is made: several runs, whose median is the value and whose spread the margin."""

from collections.abc import Sequence
from contextlib import nullcontext
from statistics import median

import msgspec

from benchmarks.gate.baseline import Baseline, Entry, Half, Key, Reading, Toolchain, toolchain
from benchmarks.gate.kinds import Kind
from benchmarks.gate.report import say
from benchmarks.gate.timing import busy
from benchmarks.results import Machine


def measured(kind: Kind, groups: Sequence[str], runs: int) -> list[Entry]:
    """Entries of these groups, from so many runs. Raises CannotCount, BenchmarkFailed, ValueError as `entries` does."""
    found: list[list[Reading]] = []
    for turn in range(runs):
        say(f"{kind.name}: run {turn + 1} of {runs}")
        with busy() if kind.name == "time" and turn % 3 == 2 else nullcontext():
            found.append(kind.measure(groups))
    return entries(kind, found)


def entries(kind: Kind, runs: Sequence[Sequence[Reading]]) -> list[Entry]:
    """What these runs of the same groups say together. Raises ValueError for figures that are not once in each."""
    found: dict[Key, list[Reading]] = {}
    for run in runs:
        for reading in run:
            found.setdefault(reading.key, []).append(reading)
    uneven = [": ".join(key) for key, readings in found.items() if len(readings) != len(runs)]
    if uneven:
        raise ValueError(f"not once in every run: {'; '.join(uneven)}")
    return [_entry(kind, readings) for readings in found.values()]


def _entry(kind: Kind, runs: Sequence[Reading]) -> Entry:
    values = tuple(run.value for run in runs)
    middle = msgspec.structs.replace(sorted(runs, key=lambda run: run.value)[len(runs) // 2], value=median(values))
    off = max(middle.slower(value) for value in values) - 1
    margin = round(min(max(kind.least, kind.spreads * off), kind.most), 3)
    return Entry(**msgspec.structs.asdict(middle), margin=margin, runs=values)


def outdated(kind: Kind, baseline: Baseline, here: Toolchain) -> list[Half]:
    """The halves whose place an update takes.

    Those of the same build of the interpreter, with whatever releases of libraries; of times, whatever there is.
    """
    return [half for half in kind.halves(baseline) if kind.name == "time" or half.toolchain["python"] == here["python"]]


def replaced(
    kind: Kind, baseline: Baseline, groups: Sequence[str], machine: Machine, figures: Sequence[Entry]
) -> Baseline:
    """The baseline with these figures of these groups; what it has of other groups stays."""
    here = toolchain(machine)
    old = outdated(kind, baseline, here)
    kept = [entry for half in old for entry in half.figures if entry.group not in groups]
    half = Half(how=kind.how, machine=machine, toolchain=here, figures=[*kept, *figures])
    others = [other for other in kind.halves(baseline) if other not in old]
    return msgspec.structs.replace(baseline, **{kind.name: [*others, half]})
