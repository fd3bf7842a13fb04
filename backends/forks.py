"""What must not be shared with a forked child: connections, and locks that another thread held when it was forked."""

import os
import weakref
from typing import Protocol


class Leaves(Protocol):
    """Who has something that a forked child must not use."""

    def leave_to_parent(self) -> None:
        """In the child: have something of one's own instead."""
        ...


_living: "weakref.WeakSet[Leaves]" = weakref.WeakSet()


def at_fork(owner: Leaves) -> None:
    """Have ``owner`` leave to the parent what is the parent's, in every child that is forked from now on."""
    _living.add(owner)


def _after_fork() -> None:
    for owner in list(_living):
        owner.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)
