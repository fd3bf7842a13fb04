"""What is outdated when the world in which a test ran is over: everything that was cached of it."""

from collections.abc import Callable

_outdate: list[Callable[[], None]] = []


def at_the_end(outdate: Callable[[], None]) -> Callable[[], None]:
    """A decorator: call the function when a world ends. It raises nothing that a failing cache could cause."""
    _outdate.append(outdate)
    return outdate


def outdate_everything() -> None:
    """Outdate whatever this process may have cached."""
    for outdate in _outdate:
        outdate()
