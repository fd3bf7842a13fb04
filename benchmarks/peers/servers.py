"""Where the cache servers of these benchmarks run."""

import os
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def one_processor() -> Generator[None, None, None]:
    """This process, and those that it starts meanwhile, on one processor, where the system lets us choose.

    On two, a round trip lasts several times as long whenever the other has gone to sleep, as the machine has it.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
