"""The local cache: rows that a block, a request or a task has read, in its memory in front of a shared cache.

Theory of operation
-------------------
Without it no read sees anything older than a commit that has returned. A local cache gives that up, on purpose and for
a while: what its block has read once it may read again as it was then. What is promised instead:

* nothing is older than the block's first read of it, nothing goes back behind a later one, and nothing outlives the
  block. Of two reads under way at once nobody knows which has seen the newer row, so that only the one that ends first
  is remembered;
* what the block itself has written is never read from it: `drop` takes the rows out before the statement is sent, and
  bars them, so that a reader who is slower than the write cannot put the old row back;
* a transaction that has written neither reads it nor fills it, nor does one whose reads may show the past fill it;
* rows are kept in their frozen form, and each read makes an instance of its own.

A block belongs to its context: another thread, and a task that was not started in it, do not see it. What is started in
it, tasks and sync_to_async calls, works for the same request and shares it, its writes included; nothing in it can be
changed in place, so that nothing mutable is shared. The end of the block ends it for all of them, also for a task that
goes on: from then on that one reads the shared cache.

While no local cache was ever opened in a process, nothing is asked and nothing costs anything (`used`).
"""

from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from cachecore.errors import ConfigurationError
from cachecore.integrations.django.local.rows import MOST_ROWS, LocalCache

current: ContextVar[LocalCache | None] = ContextVar("cachecore_local", default=None)
"""The innermost that was opened in this context, which may be over."""

_passed_by: ContextVar[bool] = ContextVar("cachecore_passed_by", default=False)

used = False
"""Whether any was ever opened in this process."""

_first_use: list[Callable[[], None]] = []


def on_first_use(called: Callable[[], None]) -> None:
    """Call this when the first local cache of this process is opened."""
    _first_use.append(called)


def begin(kind: str, caches: frozenset[str] | None = None, *, most: int = MOST_ROWS, nested: bool = True) -> LocalCache:
    """Open a local cache in this context. Not ``nested``: one of this kind that is still open was left behind."""
    global used
    if not used:
        used = True
        for called in _first_use:
            called()
    outer = current.get()
    while outer is not None and outer.kind == kind and not nested:
        outer.end()
        outer = outer.outer
    opened = LocalCache(kind, caches, outer, most)
    current.set(opened)
    return opened


def end(kind: str) -> None:
    """End the innermost local cache of this kind, and those inside it. Without one nothing happens."""
    innermost = found = current.get()
    while found is not None and found.kind != kind:
        found = found.outer
    if found is None:
        return
    while innermost is not None and innermost is not found.outer:
        innermost.end()
        innermost = innermost.outer
    current.set(found.outer)


def open_for(cache: str) -> LocalCache | None:
    """The local cache of this context, if it remembers rows of this cache."""
    found = current.get()
    while found is not None and not found.serves(cache):
        found = found.outer
    return None if found is None or _passed_by.get() else found


@contextmanager
def passed_by() -> Generator[None, None, None]:
    """Inside, no local cache of this context is read or filled: what is read is for others too. Own writes are still
    taken out of them."""
    token = _passed_by.set(True)
    try:
        yield
    finally:
        _passed_by.reset(token)


def unless_open(straight: Callable[..., Any]) -> Callable[..., Any]:
    """Like ``straight``, which is a straight path past all local caches, but None where one is open."""
    opened = current.get

    def answer(*question: Any) -> Any:
        return straight(*question) if opened() is None else None

    return answer


def drop(keys: Collection[str]) -> None:
    """These keys are about to be outdated by this context: forget them in all that are open in it, for good."""
    if not used:
        return
    found = current.get()
    while found is not None:
        found.drop(keys)
        found = found.outer


@contextmanager
def local_cache(*, rows: int = MOST_ROWS) -> Generator[LocalCache, None, None]:
    """Inside the ``with`` block a row that has been read from a shared cache is not asked for again.

    It is as it was when the block read it, except what the block itself has written, which is always read from the
    shared cache. It belongs to this thread or asyncio task and those that it starts in the block. A block inside
    another begins empty. A cache in this process is asked as ever, for it has nothing to gain.

    rows: how many are remembered at most; then the oldest make room.
    """
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"rows must be a positive int, not {rows!r}")
    opened = begin("block", most=rows)
    try:
        yield opened
    finally:
        opened.end()
        if current.get() is opened:
            current.set(opened.outer)


def clear_local_cache() -> None:
    """Forget every row of the local caches that are open in this context. They stay open."""
    found = current.get()
    while found is not None:
        found.clear()
        found = found.outer
