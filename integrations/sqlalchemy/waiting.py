"""Waiting for a reply in code that SQLAlchemy runs: a hook is a plain function, also where the engine is async.

SQLAlchemy runs the synchronous inside of its async API in greenlets, from which a coroutine can be awaited. Where there
is none, as when a connection is given back by the garbage collector, nothing can be awaited.
"""

from collections.abc import Coroutine
from typing import Any

from sqlalchemy.util import await_only


def wait(reply: Any) -> Any:
    """The reply of a call of a cache, awaited if it is a coroutine. Raises MissingGreenlet where that cannot be."""
    coroutine: Any = reply
    return await_only(coroutine) if isinstance(reply, Coroutine) else reply
