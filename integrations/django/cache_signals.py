"""What happens inside the caches, as Django signals: `signals` says what each is sent with.

They cost nothing until a receiver is connected: only then are the caches subscribed to, and while nobody listens the
caches make no events. Core's events name entities by text and rows by keys; here they become models and identities,
which are read off the keys as far as these can be read.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from django.db import models
from django.dispatch import Signal

from cachecore.cache import Cache
from cachecore.errors import CachecoreError
from cachecore.events import Event, Hit, Invalidated, Miss
from cachecore.integrations.django.conf import caches
from cachecore.integrations.django.declaration import Declaration, all_declared
from cachecore.integrations.django.model_cache import model_cache


class CacheSignal(Signal):
    """A signal that is fed with events of one kind as long as it has receivers."""

    def __init__(self, kind: type[Event]) -> None:
        super().__init__()
        _signals[kind] = self

    def connect(self, *args: Any, **options: Any) -> None:
        """As Django's."""
        super().connect(*args, **options)
        _feeding.begin()

    def disconnect(self, *args: Any, **options: Any) -> bool:
        """As Django's."""
        disconnected: bool = super().disconnect(*args, **options)
        _feeding.end_if_idle()
        return disconnected


_signals: dict[type[Event], CacheSignal] = {}


class _Feeding:
    """The subscriptions to the caches, while any of the signals has a receiver."""

    def __init__(self) -> None:
        self._ends: dict[Cache, Callable[[], None]] = {}
        self._lock = threading.Lock()
        self._is_on = False

    def begin(self) -> None:
        """Subscribe to every cache there is, and to those that are made later."""
        with self._lock:
            self._is_on = True
            for cache in caches.made():
                self._subscribe(cache)

    def on_make(self, cache: Cache) -> None:
        """A cache has been made."""
        with self._lock:
            if self._is_on:
                self._subscribe(cache)

    def on_close(self) -> None:
        """All caches are being closed."""
        with self._lock:
            self._ends.clear()

    def end_if_idle(self) -> None:
        """Unsubscribe if no signal has a receiver any more."""
        with self._lock:
            if any(signal.receivers for signal in _signals.values()):
                return
            self._is_on = False
            for end in self._ends.values():
                end()
            self._ends.clear()

    def _subscribe(self, cache: Cache) -> None:
        if cache not in self._ends:
            self._ends[cache] = cache.hooks.subscribe(partial(_tell, cache))


_feeding = _Feeding()
caches.on_make.append(_feeding.on_make)
caches.on_close.append(_feeding.on_close)


def _tell(cache: Cache, event: Event) -> None:
    """Send a signal for each entity that an event is about."""
    signal = _signals.get(type(event))
    if signal is None:
        return
    if signal.receivers and isinstance(event, Hit | Miss | Invalidated):
        alias = _alias(cache)
        for (name, database), keys in _by_entity(event.reasons if isinstance(event, Miss) else event.keys).items():
            declaration = _declaration(name, alias)
            sender: type[models.Model] | None = None if declaration is None else declaration.concrete
            told: dict[str, Any] = {"cache": alias, "using": database, "keys": keys, "identities": _known(keys)}
            if isinstance(event, Miss):
                told["reasons"] = {key: event.reasons[key] for key in keys}
            if isinstance(event, Invalidated):
                told["all_rows"] = declaration is not None and _has_epoch(declaration, database, keys)
            signal.send_robust(sender, **told)
    if not signal.receivers:
        # Receivers are held weakly, and those that are gone disconnect nothing: sending has just swept them away.
        _feeding.end_if_idle()


def _by_entity(keys: Iterable[str]) -> Mapping[tuple[str, str], Sequence[str]]:
    """Keys by the entity and the database that they name: ``shop:geo.City@default:i42``."""
    found: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        entity = unquote(key.split(":")[1])
        name, _, database = entity.rpartition("@")
        found.setdefault((name, database), []).append(key)
    return found


def _known(keys: Iterable[str]) -> Mapping[str, int | UUID]:
    """The primary keys that keys show."""
    known: dict[str, int | UUID] = {}
    for key in keys:
        tail = key.rpartition(":")[2]
        if tail.startswith("i"):
            known[key] = int(tail[1:])
        elif tail.startswith("u"):
            known[key] = UUID(tail[1:])
    return known


def _declaration(name: str, alias: str | None) -> Declaration | None:
    for declaration in all_declared():
        if declaration.concrete._meta.label == name and declaration.cache == alias:
            return declaration
    return None


def _has_epoch(declaration: Declaration, database: str, keys: Sequence[str]) -> bool:
    return model_cache(declaration, database).records.entity.epoch_key in keys


def _alias(cache: Cache) -> str | None:
    try:
        return caches.alias_of(cache)
    except CachecoreError:
        return None  # it has been closed meanwhile
