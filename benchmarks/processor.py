"""On one processor: what every benchmark needs that asks a server of its own.

On two, a round trip takes either as long or, where the other processor has gone to sleep meanwhile, several times as
long, as the rest of the machine has it: that time is on both sides of a ratio and is all that it then tells of.
(Measured: a raw GET of 19 us became one of 80.)
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_processor() -> Iterator[None]:
    """This process, and those that it starts meanwhile, on one processor, where the system lets us choose."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
