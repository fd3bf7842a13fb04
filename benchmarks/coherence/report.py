"""The table, and what in it must not be."""

from collections.abc import Sequence

from benchmarks.coherence.contestants import Contestant
from benchmarks.coherence.host import Result

LEAST_HIT_RATIO = 0.1
"""A cache that answers nothing is never wrong."""

NOTES = (
    "stale: older than a commit that had returned before the read began, or missing. dirty: never committed, or not",
    "what was asked for. backward: older than what another read had returned, whose commit had not yet returned;",
    "possible only when a hold is lost. stuck: wrong in the end, when all was quiet, and until the TTL. refused:",
    'writes rolled back because the cache could not be told of them (policy "refuse"). /M: per million reads.',
)


def table(results: Sequence[tuple[str, Result]]) -> str:
    """(title, result) of each contestant as aligned plain text."""
    lines = [
        ("contestant", "reads", "stale/M", "dirty/M", "backward/M", "stuck keys", "stuck/M", "reads/s", "hit ratio",
         "writes/s", "refused", "faults"),
    ]  # fmt: skip
    for title, result in results:
        lines.append((
            title,
            f"{result.reads:,}",
            _rate(result.per_million(result.stale)),
            _rate(result.per_million(result.dirty)),
            _rate(result.per_million(result.backward)),
            f"{result.permanent} of {result.keys}",
            _rate(result.per_million(result.permanent)),
            f"{result.reads / result.seconds:,.0f}",
            f"{result.hits / max(1, result.calls):.1%}",
            f"{result.commits / result.seconds:,.0f}",
            f"{result.refused:,}",
            f"{sum(result.faults.values()):,}",
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows: list[str] = []
    for line in lines:
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        rows.append("  ".join([line[0].ljust(widths[0]), *cells]))
    return "\n".join([*rows, "", *NOTES])


def failures(contestant: Contestant, result: Result, faults: bool) -> list[str]:
    """Sentences for what must not be; none if all is well."""
    name = contestant.title
    if contestant.is_control:
        return [] if result.stale else [f"{name}: no stale read, so this bench proves nothing"]
    if not contestant.is_ours:
        return []
    found: list[str] = []
    counts = {
        "stale reads": result.stale,
        "dirty reads": result.dirty,
        "permanently stale keys": result.permanent,
        "failed reads": result.failed,
        "transactions that did not see what they had written": result.own_unseen,
        "reads older than another's, though no hold was lost": 0 if faults else result.backward,
    }
    found += [f"{name}: {count} {what}" for what, count in counts.items() if count]
    if found:
        found += [f"    {example}" for example in result.examples]
    if result.hits < LEAST_HIT_RATIO * result.calls:
        found.append(f"{name}: only {result.hits} of {result.calls} calls were hits, so this run proves nothing")
    return found


def _rate(per_million: float) -> str:
    return "0" if per_million == 0 else f"{per_million:,.1f}"
