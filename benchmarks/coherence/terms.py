"""The terms that all contestants run on: how long things live, and how long a client waits for the cache server."""

from typing import Any

from cachecore.events import Failure

HOLD_TTL = 5.0
BULK_THRESHOLD = 8
TTL = 3600
"""Seconds; longer than any run, so that no value's age hides that it is outdated."""
TIMEOUT = 0.2
"""Seconds everybody's client waits for the cache server, so that a run of a few seconds sees it come and go often."""


def is_unfinished(event: object) -> bool:
    """Whether an event of ours says that COMPLETE failed."""
    return isinstance(event, Failure) and event.operation == "complete"


def options_for(url: str) -> dict[str, Any]:
    """Options of our backend: those in this process, memory:// and null://, need none."""
    if url.endswith("://"):
        return {}
    return {"timeout": TIMEOUT, "connect_timeout": TIMEOUT, "breaker_window": TIMEOUT}
