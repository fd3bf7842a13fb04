"""The subjects: which module draws the curves of each, and what it needs.

Each is measured in a process of its own, so that none sees the heap, the models or the servers of another.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from benchmarks.scaling.curve import Curve
from benchmarks.scaling.sweep import Effort

Draw = Callable[[Effort], Iterator[Curve]]


@dataclass(frozen=True, slots=True)
class Subject:
    """A module of this package whose ``curves(effort)`` draws."""

    module: str
    servers: tuple[str, ...] = ()
    """Those that are started for it."""
    one_processor: bool = True
    """Whether it is kept on one processor, with its servers."""

    @property
    def draw(self) -> Draw:
        """What measures; the servers run and Django is set up by then."""
        draw: Draw = import_module(f"benchmarks.scaling.{self.module}").curves
        return draw


SUBJECTS: Final = {
    "threads": Subject("threads", ("redis", "memcached"), one_processor=False),
    "processes": Subject("processes", ("redis", "memcached"), one_processor=False),
    "entries": Subject("entries", ("redis",)),
    "bytes": Subject("value_bytes", ("redis", "memcached")),
    "keys": Subject("keys_a_call", ("redis", "memcached")),
    "updates": Subject("updates", ("redis", "postgres")),
    "lookups": Subject("lookups", ("redis", "memcached")),
}
