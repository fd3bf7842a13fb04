"""Whether figures are as good as their baseline.

One run can be bad by chance, so what looks bad is measured again: a figure fails only if every run of it is bad.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from benchmarks.gate.baseline import Entry, Half, Key, Reading, Toolchain, Unreadable
from benchmarks.gate.kinds import Kind, Name

AGAIN: Final = 2
"""How often what looks bad is measured again."""

Outcome = Literal["as before", "slower", "faster", "new", "gone"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One figure, judged."""

    kind: Name
    group: str
    name: str
    ours: str
    reference: str
    outcome: Outcome
    slower: float | None
    """How many times as slow as the baseline, in the best of the runs; None if it is new or gone."""
    margin: float | None
    before: Reading | None
    now: Reading | None

    @property
    def good(self) -> bool:
        """Whether it may stay so."""
        return self.outcome in ("as before", "faster")


def nearest(halves: Sequence[Half], kind: Kind, here: Toolchain) -> Half:
    """The half of this toolchain, or else the one that was updated last. Raises Unreadable if there is none."""
    if not halves:
        raise Unreadable(f"the baseline has no {kind.name}: ./run bench gate --update --only {kind.name}")
    return next((half for half in halves if half.toolchain == here), halves[-1])


def judge(kind: Kind, half: Half, here: Toolchain, groups: Sequence[str]) -> list[Verdict]:
    """Measure these groups and compare each figure with its entry. Raises CannotCount, BenchmarkFailed.

    here: this toolchain; if it is not the half's, margins are wider.
    """
    entries = {entry.key: entry for entry in half.figures if entry.group in groups}
    least = 0.0 if half.toolchain == here else kind.elsewhere
    best: dict[Key, Reading] = {}

    def measured(names: Sequence[str]) -> list[Verdict]:
        for reading in kind.measure(names):
            entry, known = entries.get(reading.key), best.get(reading.key)
            if entry is None or known is None or entry.slower(reading.value) < entry.slower(known.value):
                best[reading.key] = reading
        return [_verdict(kind, least, entries.get(key), best.get(key)) for key in {**entries, **best}]

    verdicts = measured(groups)
    for _ in range(AGAIN):
        again = dict.fromkeys(verdict.group for verdict in verdicts if verdict.outcome == "slower")
        if not again:
            break
        verdicts = measured(tuple(again))
    return verdicts


def _verdict(kind: Kind, least: float, entry: Entry | None, now: Reading | None) -> Verdict:
    known = entry or now
    assert known is not None
    outcome: Outcome = "gone" if now is None else "new"
    slower = margin = None
    if entry is not None and now is not None:
        slower, margin = entry.slower(now.value), max(entry.margin, least)
        outcome = "slower" if slower > 1 + margin else "faster" if slower < 1 / (1 + margin) else "as before"
    return Verdict(
        kind=kind.name,
        group=known.group,
        name=known.name,
        ours=known.ours,
        reference=known.reference,
        outcome=outcome,
        slower=slower,
        margin=margin,
        before=entry,
        now=now,
    )
