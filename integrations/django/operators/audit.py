"""The auditor: does the cache say what the database says? `audit` compares a sample, in production, and counts.

Theory of operation
-------------------
Rows are chosen from the database, and what the cache holds of them is looked at without a trace: no lease is left and
nothing is filled. A cached row and the row in the database that differ prove nothing yet, for the row may have been
written between the two looks. By the protocol a writer takes the cached row away before its COMMIT. So if the cache is
looked at again after the database, and the very same entry still stands there, it stood there while the database said
otherwise: it is outdated. One doubt is left, that a row was changed, read, and changed back meanwhile; therefore both
are looked at several times, and only what differs each time, in the same way, counts. What changes each time is
counted as undecided.

Rows that only the cache has are looked for too, where that can be: among the integers that are missing between the
primary keys of rows in the sample.

It runs outside transactions, for a snapshot would show an old database.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from django.db import models, router

from cachecore.entries import Value
from cachecore.errors import ConfigurationError, CorruptEntry, UncacheableLookup
from cachecore.integrations.django.declaration import declared
from cachecore.integrations.django.model_cache import ModelCache, model_cache
from cachecore.integrations.django.operators.audit_report import AuditReport, Difference
from cachecore.integrations.django.writing.connection import state_of

Row = tuple[Any, ...]
Run = tuple[Sequence[Any], Sequence[int]]
"""Primary keys of rows, and integers that are none."""

LOOKS = 3
"""How often a row must have differed in the same way."""
AT_ONCE = 100
"""Rows in one look at the cache and one query."""


def audit(
    model: type[models.Model],
    *,
    using: str | None = None,
    sample: int | None = 1000,
    seconds: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    chance: random.Random | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AuditReport:
    """Compare what the cache holds of a model's rows with the database, and leave no trace in either.

    using: alias of the database; None means the one that writes go to.
    sample: how many rows of the database to look at; None means all, in the order of their primary keys. A sample is
        taken in runs of consecutive rows at random places if the primary key is an integer, which costs little in a
        table of any size; otherwise row by row, for which most databases read the whole table.
    seconds: look at no more rows after this time; None means as long as it takes.
    progress: called with how many rows have been looked at, and of how many.
    chance, clock: of tests.

    Raises UncacheableLookup, a ValueError, for a model of which no rows are cached, ConfigurationError in a transaction
    and for a wrong sample or time, and BackendError if the cache cannot be reached.
    """
    declaration = declared(model)
    if declaration is None:
        raise UncacheableLookup(f"no rows of {model._meta.label} are cached")
    for name, value in (("sample", sample), ("seconds", seconds)):
        if value is not None and not value > 0:
            raise ConfigurationError(f"{name} must be a positive number or None, not {value!r}")
    alias = using or router.db_for_write(model)
    state = state_of(alias)
    state.settle()
    if state.in_transaction or not state.may_fill:
        raise ConfigurationError(
            f"audit() must not run in a transaction on {alias!r}, nor while a cursor is open there"
        )
    cached = model_cache(declaration, alias)
    report, auditor = AuditReport(model, alias), _Auditor(cached)
    deadline = math.inf if seconds is None else clock() + seconds
    chosen, is_all = auditor.count(sample)
    runs = auditor.all_runs() if is_all else auditor.sampled_runs(chosen, chance or random.Random())
    if progress is not None:
        progress(0, chosen)
    for run, missing in runs:
        report.sampled += len(run)
        auditor.look_at([*run, *missing], report)
        if progress is not None:
            progress(report.sampled, chosen)
        if clock() >= deadline:
            break
    else:
        report.is_complete = is_all
    return report


class _Auditor:
    """Chooses rows of one model, and compares them."""

    def __init__(self, cached: ModelCache) -> None:
        self._cached = cached
        manager = getattr(cached.model, cached.declaration.manager_name)
        self.rows: Any = manager.get_queryset().using(cached.alias)
        """Those that can be cached."""
        self._identity = cached.identity
        keys = cached.model._meta.pk_fields
        self._counts = len(keys) == 1 and isinstance(keys[0], models.IntegerField)
        """Whether the primary key is an integer."""

    # -- which rows --------------------------------------------------------------------------------

    def count(self, sample: int | None) -> tuple[int, bool]:
        """(how many rows to look at, whether these are all)."""
        if sample is None:
            return self.rows.count(), True
        # No more than that: to count a large table takes long.
        found: int = self.rows.order_by()[: sample + 1].count()
        return min(found, sample), found <= sample

    def all_runs(self) -> Iterator[Run]:
        """Every primary key, in their order."""
        run = self._run(self.rows)
        while run:
            yield run, self._missing(run)
            run = self._run(self.rows.filter(pk__gt=run[-1]))

    def sampled_runs(self, sample: int, chance: random.Random) -> Iterator[Run]:
        """So many primary keys, or a few less if runs meet."""
        if not self._counts:
            keys = list(self.rows.order_by("?").values_list("pk", flat=True)[:sample])
            for start in range(0, len(keys), AT_ONCE):
                yield keys[start : start + AT_ONCE], ()
            return
        ends = self.rows.aggregate(low=models.Min("pk"), high=models.Max("pk"))
        # Short runs in many places: neighbours are often cached and written alike.
        length, left, seen = max(1, min(AT_ONCE, sample // 20)), sample, set[int]()
        while left > 0 and ends["low"] is not None:
            place = chance.randint(ends["low"], ends["high"])
            for found in self._walk(place, min(length, left)):
                fresh = [key for key in found if key not in seen]
                if fresh:
                    missing = [key for key in self._missing(found) if key not in seen]
                    seen.update(fresh, missing)
                    left -= len(fresh)
                    yield fresh, missing
                    break
            else:
                return  # rows have been deleted meanwhile, and so many are not left

    def _walk(self, place: int, length: int) -> Iterator[list[Any]]:
        """All primary keys in runs of this length, from ``place`` on, and from the first when the last is reached.

        Where rows have been chosen already, behind a large gap say, the next are taken.
        """
        for rows in (self.rows.filter(pk__gte=place), self.rows.filter(pk__lt=place)):
            run = self._run(rows, length)
            while run:
                yield run
                run = self._run(rows.filter(pk__gt=run[-1]), length)

    def _run(self, rows: Any, length: int = AT_ONCE) -> list[Any]:
        return list(rows.order_by("pk").values_list("pk", flat=True)[:length])

    def _missing(self, run: Sequence[Any]) -> Sequence[int]:
        """Integers between these neighbouring primary keys that are none, as many as there are keys at most."""
        missing: list[int] = []
        for before, after in pairwise(run) if self._counts else ():
            missing += range(before + 1, min(after, before + 1 + len(run) - len(missing)))
        return missing

    # -- comparing ---------------------------------------------------------------------------------

    def look_at(self, identities: Sequence[Any], report: AuditReport) -> None:
        """Compare the rows of these primary keys, and add what is found."""
        keys = self._cached.records.keys_for(identities)
        held = self._held(list(keys))
        doubted = {
            key: self._differences(key, keys[key], held[key], row) for key, row in self._stored(keys, held).items()
        }
        report.cached += len(held)
        report.agreeing += sum(not found for found in doubted.values())
        doubted = {key: found for key, found in doubted.items() if found}
        for _ in range(LOOKS - 1):
            doubted = self._again(keys, doubted, held, report)
            if not doubted:
                return
        again = self._held(list(doubted))
        for key, found in doubted.items():
            if again.get(key) == held[key]:
                report.differences += found
            else:
                report.undecided += 1

    def _again(
        self,
        keys: dict[str, Any],
        doubted: dict[str, list[Difference]],
        held: dict[str, tuple[Value, Row]],
        report: AuditReport,
    ) -> dict[str, list[Difference]]:
        """Those that still differ in the same way; the others are counted."""
        again = self._held(list(doubted))
        stored = self._stored(keys, again)
        left: dict[str, list[Difference]] = {}
        for key, before in doubted.items():
            now = self._differences(key, keys[key], again[key], stored[key]) if key in again else []
            if now and again[key] == held[key] and now == before:
                left[key] = now
            elif key in again and not now:
                report.agreeing += 1
            else:
                report.undecided += 1
        return left

    def _held(self, keys: Sequence[str]) -> dict[str, tuple[Value, Row]]:
        """The entries, and the rows in them, that a reader would believe now."""
        if not keys:
            return {}
        subject = self._cached.records.subject
        epoch, *entries = self._cached.cache.backend.get([subject.epoch_key, *keys])
        if type(epoch) is not Value:
            return {}
        stamp, held = epoch.stamp + subject.fingerprint, dict[str, tuple[Value, Row]]()
        for key, entry in zip(keys, entries, strict=True):
            if type(entry) is Value and entry.stamp == stamp:
                try:
                    row = subject.load(entry.payload)
                except CorruptEntry:
                    continue
                if self._cached.key(self._cached.records.entity.values_of(row, self._identity)) == key:
                    held[key] = entry, row
        return held

    def _stored(self, keys: dict[str, Any], held: dict[str, tuple[Value, Row]]) -> dict[str, Row | None]:
        """The rows of the database under these keys now."""
        if not held:
            return {}
        found = self._cached.records.entity.by_identity(self._cached.load([keys[key] for key in held]))
        return {key: found.get(keys[key]) for key in held}

    def _differences(self, key: str, identity: Any, held: tuple[Value, Row], stored: Row | None) -> list[Difference]:
        if stored is None:
            return [Difference(key, identity, "", None, None)]
        names = self._cached.layout.attnames
        return [
            Difference(key, identity, name, cached, value)
            for name, cached, value in zip(names, held[1], stored, strict=True)
            if not _is_same(cached, value)
        ]


def _is_same(one: Any, other: Any) -> bool:
    if one is other or one == other:
        return True
    return isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
