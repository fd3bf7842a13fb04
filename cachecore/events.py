"""What happens inside the cache, told to whoever listens.

An event is a frozen record. ``Hooks`` calls every subscriber with it, in the thread or task in which it happened.
A subscriber that raises is logged and otherwise ignored: watching the cache must not break it.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import msgspec

MissReason = Literal[
    "absent", "leased", "held", "epoch", "schema", "corrupt", "identity", "left", "format", "backend", "written"
]
"""Why a read went to the database: nothing stored; another reader is loading it; a writer is in flight; a bulk write
outdated it; stored by code with other columns; not an entry; another row; a list that rows have left; an entry of
another format version; the backend failed; this transaction wrote it."""


class Event(msgspec.Struct, frozen=True):
    """The root of all events. ``entity`` is the entity's name, or "" for plain values.

    What is said of rows is said of lists and of entries that no row exists, too: each is one key.
    """

    entity: str


class Hit(Event, frozen=True):
    """Rows were answered from the cache."""

    keys: Sequence[str]


class Miss(Event, frozen=True):
    """Rows were asked of the database: key -> why."""

    reasons: Mapping[str, MissReason]


class Filled(Event, frozen=True):
    """Rows read from the database were stored."""

    keys: Sequence[str]


class FillRefused(Event, frozen=True):
    """Rows were not stored: the lease was gone, the server had no room (they are too large, or it is full), or they
    have no stored form, such as a list that is too long (``reason``)."""

    keys: Sequence[str]
    reason: Literal["lease", "room", "uncacheable"]


class Held(Event, frozen=True):
    """PREPARE was acknowledged for these keys."""

    keys: Sequence[str]


class Invalidated(Event, frozen=True):
    """COMPLETE was acknowledged for these keys."""

    keys: Sequence[str]


class Journaled(Event, frozen=True):
    """PREPARE was not acknowledged, and these keys were noted in the journal instead."""

    keys: Sequence[str]


class Failure(Event, frozen=True):
    """The backend failed in ``operation``; what it meant for the caller is stated by the policy."""

    operation: str
    error: Exception


class Hooks:
    """The subscribers of one cache. False while there are none, so that the hot path can skip building events."""

    __slots__ = ("_lock", "subscribers")

    def __init__(self) -> None:
        self.subscribers: tuple[Callable[[Event], None], ...] = ()
        """Empty while nobody listens."""
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self.subscribers)

    def subscribe(self, subscriber: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``subscriber`` with every event from now on; returns the function that ends it.

        A function that subscribes twice is called twice, and each of its subscriptions ends alone.
        """
        subscription = partial(subscriber)  # an object of its own, whoever else subscribes the same function
        with self._lock:
            self.subscribers = (*self.subscribers, subscription)

        def unsubscribe() -> None:
            with self._lock:
                self.subscribers = tuple([one for one in self.subscribers if one is not subscription])

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Tell every subscriber; never raises."""
        for subscriber in self.subscribers:
            try:
                subscriber(event)
            except Exception:
                import logging  # here: most processes that import this package have it by then, small tools do not

                logging.getLogger("cachecore").exception("a subscriber of cache events failed on %r", event)
