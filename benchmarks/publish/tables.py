"""Results as Markdown tables."""

from collections.abc import Iterable, Sequence

from benchmarks.hitratio.__main__ import COLUMNS
from benchmarks.hitratio.__main__ import Document as HitRatios
from benchmarks.results import Figure, Machine
from benchmarks.scaling.curve import Curve, Series


def machine(where: Machine) -> str:
    """Where figures come from, as a sentence."""
    libraries = ", ".join(f"{name} {version}" for name, version in where.libraries.items())
    return (
        f"Measured {where.when} UTC at commit {where.commit or 'unknown'}: {where.python}, {where.implementation}, "
        f"{where.processors} processors ({where.processor}), {where.system}. {libraries}."
    )


def figures(found: Iterable[Figure]) -> str:
    """A line for each figure."""
    lines = []
    for one in found:
        ratio = one.ratio
        unit = "" if one.unit == "x" else f" {one.unit}"
        spread = f"{ratio.low:.2f} to {ratio.high:.2f}" if len(one.rounds) > 1 else ""
        sign = "at least" if one.better == "higher" else "at most"
        target = "" if one.target is None else f"{sign} {one.target:g}{unit}"
        met = "" if one.target is None else "yes" if one.met else "**no**"
        middle = f"{ratio.median:.2f}{unit}"
        kind = "gain" if one.better == "higher" else "cost" if one.unit == "x" else ""
        lines.append((one.name, f"`{one.ours}`", one.reference, f"{middle} {kind}".strip(), spread, target, met))
    return _table(("what", "ours", "reference", "ratio", "spread", "target", "met"), lines)


def curves(found: Iterable[Curve]) -> str:
    """Each curve's exponents, and its cliffs with their explanations."""
    parts = []
    for curve in found:
        lines = [_growth(series) for series in curve.series]
        cliffs = [
            f"- {series.name}, {cliff.before:,} to {cliff.after:,}: {cliff.why or '**not explained**'}"
            for series in curve.series
            for cliff in series.cliffs
        ]
        notes = [f"- {note}" for note in curve.notes]
        table = _table(("series", "first", "last", "exponent", "documented"), lines)
        more = "\n".join([*cliffs, *notes])
        parts.append(f"**{curve.title}** ({curve.x_label}). {curve.docs}\n\n{table}" + (f"\n\n{more}" if more else ""))
    return "\n\n".join(parts)


def _growth(series: Series) -> tuple[str, ...]:
    (first, low, *_), (last, high, *_) = series.points[0], series.points[-1]
    name = series.name if series.role == "ours" else f"{series.name} ({series.role})"
    return (
        name,
        f"{low:.3g} at {first:,}",
        f"{high:.3g} at {last:,}",
        f"{series.exponent:.2f}",
        "" if series.expected is None else f"{series.expected:g} ± {series.tolerance:g}",
    )


def hit_ratios(found: HitRatios) -> str:
    """A line for each trace and room."""
    lines = []
    for row in found.rows:
        ratios = [f"{getattr(row, name):.1f}" for name in COLUMNS]
        met = "yes" if row.met else "**no**"
        lines.append((row.trace, f"{row.share:.1%}", *ratios, f"{row.difference:+.1f}", f"{row.target:+.0f}", met))
    return _table(("trace", "room", *COLUMNS, "ours - lru", "target", "met"), lines)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
