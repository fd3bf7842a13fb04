"""What the gate tells people: the figures that changed, and in one line those that did not."""

import sys
from collections.abc import Iterable, Sequence

from benchmarks.gate.baseline import Entry, Half, Reading, Toolchain
from benchmarks.gate.judging import Verdict
from benchmarks.gate.kinds import Kind


def say(what: str) -> None:
    """To whoever waits."""
    print(what, file=sys.stderr, flush=True)


def table(verdicts: Sequence[Verdict]) -> str:
    """A line for each figure that is not as before, and for each half a line about all of it."""
    lines = [line(verdict) for verdict in verdicts if verdict.outcome != "as before"]
    for kind in dict.fromkeys(verdict.kind for verdict in verdicts):
        of_kind = [verdict for verdict in verdicts if verdict.kind == kind]
        text = f"{kind}: {len(of_kind)} figures, {sum(not verdict.good for verdict in of_kind)} bad"
        known = [(verdict.slower, title(verdict)) for verdict in of_kind if verdict.slower is not None]
        if known:
            slower, name = max(known)
            text += f"; furthest behind its baseline: {name}, {slower:.3f} times as slow"
        lines.append(text)
    if any(verdict.outcome != "as before" for verdict in verdicts):
        lines.append("a change that is meant to be: ./run bench gate --update, and commit the baseline with it")
    return "\n".join(lines)


def title(of: Verdict | Reading) -> str:
    """The name of a figure."""
    return f"{of.group}: {of.name} [{of.ours} / {of.reference}]"


def line(verdict: Verdict) -> str:
    """One figure that changed."""
    head = f"{verdict.outcome.upper():8}{verdict.kind}: {title(verdict)}"
    before, now = verdict.before, verdict.now
    if before is None:
        return f"{head} is not in the baseline"
    if now is None:
        return f"{head} is in the baseline and was not measured: it was renamed, or its server is missing"
    text = (
        f"{head} {before.value:.4g} -> {now.value:.4g}, {verdict.slower:.3f} times as slow, margin {verdict.margin:.0%}"
    )
    if now.ours_instructions is None or before.ours_instructions is None:
        return text
    return (
        f"{text}; instructions of ours {before.ours_instructions:,} -> {now.ours_instructions:,}, "
        f"of the reference {before.reference_instructions:,} -> {now.reference_instructions:,}"
    )


def difference(kind: Kind, half: Half, here: Toolchain) -> str:
    """What it means that the baseline is of another toolchain; "" if it is not."""
    there = half.toolchain
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if not names:
        return ""
    found = "; ".join(f"{name} {there.get(name)} there, {here.get(name)} here" for name in names)
    return f"{kind.name}: the baseline is of another toolchain, so no margin is below {kind.elsewhere:.0%}: {found}"


def changes(kind: Kind, before: Iterable[Entry], now: Iterable[Entry]) -> str:
    """What an update changed: new and gone figures, and those that moved by more than half their margin."""
    old, new = ({entry.key: entry for entry in entries} for entries in (before, now))
    lines: list[str] = []
    for key in {**old, **new}:
        was, entry = old.get(key), new.get(key)
        if entry is None:
            lines.append(f"gone    {title(old[key])}")
        elif was is None:
            lines.append(f"new     {title(entry)} {entry.value:.4g}, margin {entry.margin:.0%}")
        elif abs(was.slower(entry.value) - 1) > entry.margin / 2:
            word = "slower" if was.slower(entry.value) > 1 else "faster"
            lines.append(f"{word:8}{title(entry)} {was.value:.4g} -> {entry.value:.4g}, margin {entry.margin:.0%}")
    return "\n".join([f"{kind.name}: {len(new)} figures, {len(lines)} of them changed", *lines])
