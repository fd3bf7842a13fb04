"""The pure Python twin of _hit_c: defines what a hit in this process means.

A hit is a question whose answer an in-process cache holds and which needs no second look: this thread's connection has
no uncommitted writes of cached rows, and each value has precisely the type of its column. Everything else is None
here, and goes the long way.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from cachecore.records import Records


class Plan(NamedTuple):
    """How the values of a question with certain keywords become a key."""

    kinds: tuple[type, ...]
    """The type a value must have precisely, for each keyword."""
    remotes: tuple[tuple[type, str] | None, ...]
    """For the keyword of a relation: the model whose instances stand for the value they have in this attribute."""
    order: tuple[int, ...]
    """The keywords in the order of the declared lookup."""
    key: Callable[..., str]
    positions: tuple[int, ...] | None
    """Where a row has the lookup's columns; None for the identity."""


class Dirty(Protocol):
    """Whether any connection of this process has uncommitted writes."""

    any: bool


class HitPath:
    """Answers questions about one model."""

    def __init__(
        self,
        dirty: Dirty,
        writes_here: Callable[[], bool],
        plan: Callable[[tuple[str, ...]], Plan | None],
        records: Records,
        instance: Callable[[Any, str, tuple[object, ...]], Any],
        alias: str,
        tracked: tuple[int, ...],
    ) -> None:
        """
        writes_here: whether this thread's connection is among the dirty ones.
        plan: makes the plan for keywords; None if they are no lookup, or one whose values need a look.
        records: of a cache whose backend is local.
        instance: makes an instance of a payload, the alias and the snapshot of the columns at ``tracked``.
        """
        self._dirty = dirty
        self._writes_here = writes_here
        self._plan = plan
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._records = records
        self._instance = instance
        self._alias = alias
        self._tracked = tracked

    def hit(self, query: Mapping[str, Any], /) -> Any:
        """The instance that answers a question, or None."""
        if self._dirty.any and self._writes_here():
            return None
        names = tuple(query)
        plan = self._plans.get(names)
        if plan is None:
            plan = self._plan(names)
            if plan is None:
                return None
            self._plans[names] = plan  # there are only so many spellings of the declared lookups
        values: list[Any] = []
        for value, kind, remote in zip(query.values(), plan.kinds, plan.remotes, strict=True):
            meant = value
            if type(meant) is not kind:
                if remote is None or type(meant) is not remote[0]:
                    return None
                meant = meant.__dict__.get(remote[1])
                if type(meant) is not kind:
                    return None
            values.append(meant)
        key = plan.key(*[values[position] for position in plan.order])
        records = self._records
        row = records.payload(key) if plan.positions is None else records.pointed_payload(key, plan.positions)
        if row is None:
            return None
        return self._instance(row, self._alias, tuple([row[position] for position in self._tracked]))
