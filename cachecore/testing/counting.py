"""What caches do while they are watched: rows found and missed, and the calls their backends get.

One call is one round trip to each server that it concerns, whatever the number of keys. A backend inside the process
answers a plain hit without a call.
"""

from collections.abc import Callable, Generator, Iterable, Sequence, Sized
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, cast

from cachecore.cache import Cache
from cachecore.events import Event, Failure, Filled, FillRefused, Hit, Invalidated, Journaled, Miss

CALLS = (
    "get",
    "acquire",
    "displace",
    "fill",
    "abandon",
    "hold",
    "complete",
    "release",
    "put",
    "swap",
    "forget",
    "clear",
)
"""The methods of `cachecore.backend.Backend` that go to the server."""


class Counts:
    """What happened so far, while it goes on and after it has ended. Rows and keys are counted, not events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        """Every event, in order."""
        self.calls: list[str] = []
        """The name of every call of a backend, in order, those that failed included."""
        self.told: list[str] = []
        """One line for each event and call, in order, for a message."""

    @property
    def hits(self) -> int:
        """Rows that the cache answered."""
        return sum(len(event.keys) for event in self.events if isinstance(event, Hit))

    @property
    def misses(self) -> int:
        """Rows that were asked of the database."""
        return sum(len(event.reasons) for event in self.events if isinstance(event, Miss))

    @property
    def fills(self) -> int:
        """Rows that were stored."""
        return sum(len(event.keys) for event in self.events if isinstance(event, Filled))

    @property
    def invalidations(self) -> int:
        """Keys that writes have outdated."""
        return sum(len(event.keys) for event in self.events if isinstance(event, Invalidated))

    @property
    def operations(self) -> int:
        """Calls of the backends."""
        return len(self.calls)

    def difference(self, **expected: int | None) -> str:
        """A message if a count is not the expected one: what was expected, what was counted, and all that happened.

        Empty if all are as expected; None is not looked at. Names are those of the properties.
        """
        wrong = {name: count for name, count in expected.items() if count is not None and getattr(self, name) != count}
        if not wrong:
            return ""
        said = ", ".join(f"{count} {name}" for name, count in wrong.items())
        counted = ", ".join(f"{getattr(self, name)} {name}" for name in wrong)
        return "\n  ".join([f"expected {said}; counted {counted}", *(self.told or ["nothing happened"])])

    def note(self, event: Event) -> None:
        """Add an event."""
        self.events.append(event)
        self.told.append(f"{type(event).__name__.lower()} {event.entity}: {_told(event)}")

    def note_call(self, name: str, arguments: Sequence[Any]) -> None:
        """Add a call of a backend."""
        self.calls.append(name)
        about = arguments[0] if arguments else ()
        keys = 1 if isinstance(about, str) else len(about) if isinstance(about, Sized) else 0
        self.told.append(f"operation {name}" + (f", {keys} key{'s' if keys > 1 else ''}" if keys else ""))


def _told(event: Event) -> str:
    match event:
        case Miss(reasons=reasons):
            return ", ".join(reasons.values())
        case FillRefused(keys=keys, reason=reason):
            return f"{len(keys)}, {reason}"
        case Hit(keys=keys) | Filled(keys=keys) | Invalidated(keys=keys) | Journaled(keys=keys):
            return str(len(keys))
        case Failure(operation=operation, error=error):
            return f"{operation}: {error}"
        case _:
            return str(len(cast("Sequence[str]", getattr(event, "keys", ()))))


@contextmanager
def counting(caches: Iterable[Cache], counts: Counts | None = None) -> Generator[Counts, None, None]:
    """Watch what these caches do inside the block, in all threads; what is returned grows meanwhile."""
    found = Counts() if counts is None else counts
    with ExitStack() as watched:
        for cache in caches:
            watched.callback(cache.hooks.subscribe(found.note))
            for name in CALLS:
                watched.enter_context(_watched(cache.backend, name, found))
        yield found


@contextmanager
def _watched(backend: Any, name: str, counts: Counts) -> Generator[None, None, None]:
    """Have ``counts`` told of each call of this method of this object."""
    was_own: bool = name in vars(backend)
    original: Callable[..., Any] = getattr(backend, name)

    @wraps(original)
    def call(*arguments: Any, **options: Any) -> Any:
        counts.note_call(name, arguments)
        return original(*arguments, **options)

    setattr(backend, name, call)
    try:
        yield
    finally:
        if was_own:
            setattr(backend, name, original)
        else:
            delattr(backend, name)
