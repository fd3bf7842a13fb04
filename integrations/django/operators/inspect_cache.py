"""What stands in a cache under the keys of one question, looked at without a trace: for operators and debuggers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models, router

from cachecore.entries import Entry, Hold, Lease, Value
from cachecore.errors import CorruptEntry, UncacheableLookup
from cachecore.integrations.django.declaration import declared
from cachecore.integrations.django.model_cache import ModelCache, model_cache


@dataclass(frozen=True)
class Standing:
    """One key, and what stands under it."""

    role: str
    """What the key is for: "row", "epoch" or "lookup"."""
    key: str
    entry: Entry | None

    def __str__(self) -> str:
        return f"{self.role}: {self.key}: {describe(self.entry)}"


@dataclass(frozen=True)
class Found:
    """What a cache knows of the answer to one question."""

    standings: Sequence[Standing]
    verdict: str
    """What a reader would make of it, in one sentence."""
    row: Mapping[str, Any] | None
    """The cached row by column, whether it would be believed or not; None if none can be read."""


def cached_model(label: str) -> type[models.Model]:
    """The cached model called "app.Model". Raises UncacheableLookup if there is none such."""
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise UncacheableLookup(f'{label!r} is no model such as "app.Model": {error}') from error
    if declared(model) is None:
        raise UncacheableLookup(f"no rows of {model._meta.label} are cached")
    return model


def cached_rows(model: type[models.Model], using: str | None = None) -> ModelCache:
    """The cached rows of a model in the database ``using``, or in the one that writes go to."""
    declaration = declared(model)
    if declaration is None:
        raise UncacheableLookup(f"no rows of {model._meta.label} are cached")
    return model_cache(declaration, using or router.db_for_write(model))


def keys_of(cached: ModelCache, query: Mapping[str, Any]) -> dict[str, str]:
    """Role -> key, of a question such as {"slug": "oslo"}: "lookup" or "row", and "epoch".

    Raises UncacheableLookup for what is no cached lookup.
    """
    names, values = cached.question(query)
    entity = cached.records.entity
    if names == cached.identity:
        return {"row": cached.key(values), "epoch": entity.epoch_key}
    return {"lookup": cached.records.lookup_for(names, values).key, "epoch": entity.epoch_key}


def look(cached: ModelCache, query: Mapping[str, Any]) -> Found:
    """What the cache holds for a question. Raises UncacheableLookup and BackendError."""
    names, values = cached.question(query)
    backend, records = cached.cache.backend, cached.records
    standings: list[Standing] = []
    if names == cached.identity:
        key = cached.key(values)
    else:
        lookup = records.lookup_for(names, values)
        [pointer] = backend.get([lookup.key])
        standings.append(Standing("lookup", lookup.key, pointer))
        if type(pointer) is not Value:
            return Found(standings, "a miss: nothing leads from this lookup to a row", None)
        try:
            key = records.entity.key(lookup.load(pointer.payload).identity)
        except CorruptEntry as error:
            return Found(standings, f"a miss: the lookup cannot be read: {error}", None)
    epoch, entry = backend.get([records.entity.epoch_key, key])
    standings += [Standing("row", key, entry), Standing("epoch", records.entity.epoch_key, epoch)]
    return _judged(cached, standings, dict(zip(names, values, strict=True)))


def _judged(cached: ModelCache, standings: Sequence[Standing], asked: Mapping[str, Any]) -> Found:
    subject = cached.records.subject
    *_, row_standing, epoch_standing = standings
    entry, epoch = row_standing.entry, epoch_standing.entry
    if type(entry) is not Value:
        return Found(standings, f"a miss: {describe(entry)}", None)
    try:
        columns = dict(zip(cached.layout.attnames, subject.load(entry.payload), strict=True))
    except CorruptEntry as error:
        return Found(standings, f"a miss: the row cannot be read, it is corrupt or of other columns ({error})", None)
    if type(epoch) is not Value:
        verdict = f"a miss: the epoch of all rows is not there: {describe(epoch)}"
    elif not entry.stamp.endswith(subject.fingerprint):
        verdict = "a miss: stored by code with other columns or another cache_version"
    elif entry.stamp != epoch.stamp + subject.fingerprint:
        verdict = "a miss: outdated by a bulk write, which began a new epoch"
    elif cached.key(tuple(columns[name] for name in cached.identity)) != row_standing.key:
        verdict = "a miss: this is the key of another row"
    elif any(columns[name] != value for name, value in asked.items()):
        verdict = "a miss: the row has another value by now"
    else:
        verdict = "a hit"
    return Found(standings, verdict, columns)


def describe(entry: Entry | None) -> str:
    """What stands there, in words. How long it has to live no backend tells."""
    if entry is None:
        return "nothing"
    if isinstance(entry, Value):
        size = len(entry.payload) if isinstance(entry.payload, bytes) else None
        return "a value" if size is None else f"a value of {size} bytes"
    if isinstance(entry, Lease):
        return "a lease: a reader is loading it"
    if isinstance(entry, Hold):
        return f"a hold of {len(entry.tokens)} writers: being written, or left to expire by one who died"
    return f"nothing of ours that can be read ({entry.reason})"
