"""What one local cache remembers. `local` says what it is for, and what it promises."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from cachecore.errors import CorruptEntry, UnsupportedValue
from cachecore.events import Hit
from cachecore.records import Records

Row = tuple[Any, ...]

MOST_ROWS = 1000
"""In one local cache; then the oldest make room."""

_MOST_BARRED = 100_000
"""A block that writes more rows than these has no local cache from then on."""


class State(Protocol):
    """What this needs of a `ConnectionState`, which says what it means."""

    @property
    def units(self) -> Any: ...
    @property
    def may_fill(self) -> bool: ...


class Reading(Protocol):
    """What this needs of a `ModelCache`, which says what it means."""

    @property
    def records(self) -> Records: ...
    @property
    def identity(self) -> tuple[str, ...]: ...
    def state(self) -> State: ...


class LocalCache:
    """The rows of one block. Also what ``with local_cache() as local`` gives: ``local.hits`` counts what was found."""

    def __init__(self, kind: str, caches: frozenset[str] | None, outer: "LocalCache | None", most: int) -> None:
        """
        kind: of the block, so that each end finds its beginning.
        caches: of the CACHECORE setting; None: all.
        outer: the one that is open around it, and that its writes concern too.
        """
        self.kind = kind
        self.outer = outer
        self.hits = 0
        """Rows that were found here. They count as hits of the cache too."""
        self._caches = caches
        self._most = most
        self._is_open = True
        self._rows: dict[str, tuple[Reading, str, Row]] = {}
        """By coherent key: whose row it is, the key of its epoch, the row."""
        self._pointers: dict[str, tuple[str, Row]] = {}
        """By the key of a lookup: the coherent key of its row, and what the lookup's columns hold in it."""
        self._epochs: set[str] = set()
        """The keys of the epochs of rows that were ever here."""
        self._barred: set[str] = set()
        self._asked = 0
        """How many times what was missing here has been asked for."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def serves(self, cache: str) -> bool:
        """Whether rows of this cache are remembered here now."""
        return self._is_open and (self._caches is None or cache in self._caches)

    # -- reading -----------------------------------------------------------------------------------

    def rows(
        self,
        cached: Reading,
        names: tuple[str, ...],
        values: Sequence[Row],
        ask: Callable[[tuple[str, ...], Sequence[Row]], list[Row | None]],
    ) -> list[Row | None]:
        """The rows of many values of one lookup or of the identity: remembered ones, and for the rest those that
        ``ask`` gives, which are remembered."""
        state = cached.state()
        if state.units:
            return ask(names, values)
        hits: list[str] = []
        found: list[Row | None] = [self._find(cached, names, value, hits) for value in values]
        missing = [value for value, row in zip(values, found, strict=True) if row is None]
        self._count(cached, hits)
        if not missing:
            return found
        before, may_keep = self._asked, state.may_fill
        asked = ask(names, missing)
        with self._lock:
            may_keep = may_keep and before == self._asked
            self._asked += 1
            for value, row in zip(missing, asked, strict=True):
                if row is not None:
                    self._keep(cached, names, value, row, may_keep)
        rest = iter(asked)
        return [next(rest) if row is None else row for row in found]

    def _find(self, cached: Reading, names: tuple[str, ...], value: Row, hits: list[str]) -> Row | None:
        entity, spelled = cached.records.entity, None
        typed = entity.typed(names, value)
        if names == cached.identity:
            key = entity.key(typed[0] if len(typed) == 1 else typed)
        else:
            pointer = self._pointers.get(entity.lookup_key[names](*typed))
            if pointer is None:
                return None
            key, spelled = pointer
        kept = self._rows.get(key)
        if kept is None or kept[0] is not cached:
            return None
        row = kept[2]
        if spelled is not None and entity.values_of(row, names) != spelled:
            return None
        try:
            thawed = entity.codec.thaw(row)
        except CorruptEntry:
            return None
        hits.append(key)
        return thawed

    def _count(self, cached: Reading, keys: Sequence[str]) -> None:
        if keys:
            records, count = cached.records, len(keys)
            self.hits += count
            records.statistics.hits += count
            if records.hooks.subscribers:
                records.hooks.emit(Hit(records.entity.name, tuple(keys)))

    def _keep(self, cached: Reading, names: tuple[str, ...], value: Row, row: Row, may_keep: bool) -> None:
        """Remember a row that was read; if that may not be, forget the one from an earlier read."""
        entity = cached.records.entity
        key = entity.key(entity.identity_of(row))
        self._rows.pop(key, None)
        if not may_keep or not self._is_open or key in self._barred or entity.epoch_key in self._barred:
            return
        try:
            frozen, _ = entity.codec.freeze(row)
        except UnsupportedValue:
            return
        self._epochs.add(entity.epoch_key)
        _put(self._rows, key, (cached, entity.epoch_key, frozen), self._most)
        if names != cached.identity:
            pointer = entity.lookup_key[names](*entity.typed(names, value))
            _put(self._pointers, pointer, (key, entity.values_of(frozen, names)), self._most)

    # -- forgetting --------------------------------------------------------------------------------

    def drop(self, keys: Iterable[str]) -> None:
        """These keys, of rows or of the epoch of all rows of a model, are about to be outdated by this block: forget
        them, and never remember them again."""
        with self._lock:
            for key in keys:
                self._barred.add(key)
                if self._rows.pop(key, None) is None and key in self._epochs:
                    self._rows = {row: kept for row, kept in self._rows.items() if kept[1] != key}
            if len(self._barred) > _MOST_BARRED:
                self._end()

    def clear(self) -> None:
        """Forget every row."""
        with self._lock:
            self._rows.clear()
            self._pointers.clear()

    def end(self) -> None:
        """The block is over, for whoever still has it."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        self._is_open = False
        for kept in (self._rows, self._pointers, self._barred):
            kept.clear()


def _put(kept: dict[str, Any], key: str, value: Any, most: int) -> None:
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]
