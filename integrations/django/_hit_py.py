"""The pure Python twin of _hit_c: defines what a hit means.

A hit in this process (`HitPath`) is a question whose answer an in-process cache holds and which needs no second look:
this thread's connection has no uncommitted writes of cached rows, and each value has precisely the type of its column.
Everything else is None here, and goes the long way.

A hit in a shared cache (`SharedPath`) is a question that its first round trip answers. That round trip also leaves a
lease where nothing stands, so it is made only where the lease may be used: nothing at all is under way on this thread's
connection, and each value has precisely the type of its column. What it does not answer goes on from there in the
protocol's flow; everything else is None here, and nothing has been asked.
"""

import threading
from asyncio import _get_running_loop  # pyright: ignore[reportPrivateUsage] # what asyncio offers: it never raises
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from cachecore.entries import Value
from cachecore.errors import BackendError, CorruptEntry
from cachecore.events import Hit
from cachecore.integrations.django.writing.connection import is_idle
from cachecore.keys import IdentityMaker, KeyMaker
from cachecore.lookups import Claim
from cachecore.records import Look, Records
from cachecore.unit import new_token


class Plan(NamedTuple):
    """How the values of a question with certain keywords become a key."""

    kinds: tuple[type, ...]
    """The type a value must have precisely, for each keyword."""
    remotes: tuple[tuple[type, str] | None, ...]
    """For the keyword of a relation: the model whose instances stand for the value they have in this attribute."""
    order: tuple[int, ...]
    """The keywords in the order of the declared lookup."""
    key: IdentityMaker | KeyMaker
    positions: tuple[int, ...] | None
    """Where a row has the lookup's columns; None for the identity."""
    names: tuple[str, ...]
    """The columns of the declared lookup, or of the identity."""


class _Plans:
    """Turns questions into the values of lookups."""

    def __init__(self, plan: Callable[[tuple[str, ...]], Plan | None]) -> None:
        self._make = plan
        self._plans: dict[tuple[str, ...], Plan] = {}

    def plan(self, names: tuple[str, ...]) -> Plan | None:
        """The plan for these keywords, if they are a lookup whose values need no look."""
        plan = self._plans.get(names)
        if plan is None:
            plan = self._make(names)
            if plan is not None:
                self._plans[names] = plan  # there are only so many spellings of the declared lookups
        return plan

    def asked(self, query: Mapping[str, Any]) -> tuple[Plan, list[Any]] | None:
        """The plan of a question, and its values in the order of the declared lookup."""
        plan = self.plan(tuple(query))
        if plan is None:
            return None
        values: list[Any] = []
        for value, kind, remote in zip(query.values(), plan.kinds, plan.remotes, strict=True):
            meant = _meant(value, kind, remote)
            if meant is None:
                return None
            values.append(meant)
        return plan, [values[position] for position in plan.order]


def _meant(value: Any, kind: type, remote: tuple[type, str] | None) -> Any:
    """A value of precisely this type, which an instance of the remote model may stand for; else None."""
    if type(value) is kind:
        return value
    if remote is None or type(value) is not remote[0]:
        return None
    value = value.__dict__.get(remote[1])
    return value if type(value) is kind else None


def _picked(row: Sequence[Any], positions: Sequence[int]) -> tuple[Any, ...]:
    return tuple([row[position] for position in positions])


class HitPath:
    """Answers questions about one model."""

    def __init__(
        self,
        dirty: list[bool],
        writes_here: Callable[[], bool],
        plan: Callable[[tuple[str, ...]], Plan | None],
        records: Records,
        instance: Callable[[Any, str, tuple[object, ...]], Any],
        alias: str,
        tracked: tuple[int, ...],
    ) -> None:
        """
        dirty: empty while no connection of this process has uncommitted writes.
        writes_here: whether this thread's connection is among the dirty ones.
        plan: makes the plan for keywords; None if they are no lookup, or one whose values need a look.
        records: of a cache whose backend is local.
        instance: makes an instance of a payload, the alias and the snapshot of the columns at ``tracked``.
        """
        self._dirty = dirty
        self._writes_here = writes_here
        self._plans = _Plans(plan)
        self._records = records
        self._instance = instance
        self._alias = alias
        self._tracked = tracked

    def hit(self, query: Mapping[str, Any], /) -> Any:
        """The instance that answers a question, or None."""
        if self._dirty and self._writes_here():
            return None
        asked = self._plans.asked(query)
        if asked is None:
            return None
        plan, values = asked
        key = plan.key(*values)
        records = self._records
        row = records.payload(key) if plan.positions is None else records.pointed_payload(key, plan.positions)
        if row is None:
            return None
        return self._instance(row, self._alias, _picked(row, self._tracked))


class SharedPath:
    """Answers questions about one model whose rows are in a shared cache."""

    def __init__(
        self,
        threads: threading.local,
        plan: Callable[[tuple[str, ...]], Plan | None],
        records: Records,
        instance: Callable[[Any, str, tuple[object, ...]], Any],
        alias: str,
        tracked: tuple[int, ...],
        resume: Callable[[tuple[str, ...], Sequence[Any], Claim | None, dict[str, Any], Look], Any],
        resume_many: Callable[[tuple[str, ...], list[Any], list[Claim] | None, dict[str, Any], Look], list[Any]],
    ) -> None:
        """
        threads: see `connection.threads_connections`.
        plan: as for HitPath.
        records: of a cache whose backend is not local. No column of the identity or a lookup is of kind json or text.
        instance: makes an instance of a frozen row, the alias and the snapshot of the columns at ``tracked``. Raises
            CorruptEntry for a row that is none.
        resume: answers a question whose first look was no hit: columns, values, claim, coherent key to identity, look.
        resume_many: the same for the values of many questions.
        """
        self._threads = threads
        self._plans = _Plans(plan)
        self._records = records
        self._decode = records.entity.codec.decode_frozen
        self._instance = instance
        self._alias = alias
        self._tracked = tracked
        self._resume = resume
        self._resume_many = resume_many

    def get(self, query: Mapping[str, Any], /) -> Any:
        """The instance that answers a question, or None. Raises what ``resume`` raises."""
        if not self._is_idle():
            return None
        asked = self._plans.asked(query)
        if asked is None:
            return None
        plan, values = asked
        key, records, claim = plan.key(*values), self._records, None
        identity = values[0]
        if plan.positions is not None:
            claim = records.claims.get(key)
            if claim is None:
                return None
            identity = claim.identity
            key = records.entity.key(identity)
        token = new_token()
        seen = records.look((key,), token)
        if not isinstance(seen, BackendError):
            instance = self._believed(seen[1], self._stamp(seen[0]), identity, plan, claim)
            if instance is not None:
                self._count([key])
                return instance
        return self._resume(plan.names, values, claim, {key: identity}, (token, seen))

    def get_many(self, name: str, values: Sequence[Any], /) -> list[Any] | None:
        """The instances that answer the questions {name: value}, without those that have none; or None."""
        plan = self._plans.plan((name,)) if values and self._is_idle() else None
        if plan is None:
            return None
        kind, remote, records, claims = plan.kinds[0], plan.remotes[0], self._records, None
        meant = [_meant(value, kind, remote) for value in values]
        if None in meant:
            return None
        keys, identities = plan.key.many(meant), meant
        if plan.positions is not None:
            claims = [claim for claim in map(records.claims.get, keys) if claim is not None]
            if len(claims) < len(keys):
                return None
            identities = [claim.identity for claim in claims]
            keys = records.entity.key.many(identities)
        asked = dict(zip(keys, identities, strict=True))
        if len(asked) < len(keys):
            return None
        token = new_token()
        seen = records.look(keys, token)
        instances: list[Any] = []
        if not isinstance(seen, BackendError):
            stamp = self._stamp(seen[0])
            for at, identity in enumerate(identities):
                claim = None if claims is None else claims[at]
                instance = self._believed(seen[at + 1], stamp, identity, plan, claim)
                if instance is None:
                    break
                instances.append(instance)
            else:
                self._count(keys)
                return instances
        return self._resume_many(plan.names, meant, claims, asked, (token, seen))

    def _is_idle(self) -> bool:
        return _get_running_loop() is None and is_idle(getattr(self._threads, self._alias, None))

    def _stamp(self, epoch: object) -> bytes | None:
        """The stamp of rows under this epoch."""
        return epoch.stamp + self._records.subject.fingerprint if type(epoch) is Value else None

    def _believed(self, entry: object, stamp: bytes | None, identity: Any, plan: Plan, claim: Claim | None) -> Any:
        """The read of the protocol: the instance of a hit, which is not yet counted."""
        if type(entry) is not Value or stamp is None or entry.stamp != stamp:
            return None
        try:
            row = self._decode(cast("bytes", entry.payload))
            if self._records.entity.identity_of(row) != identity:
                return None
            if claim is not None and plan.positions is not None and _picked(row, plan.positions) != claim.spelling:
                return None
            return self._instance(row, self._alias, _picked(row, self._tracked))
        except CorruptEntry:
            return None

    def _count(self, keys: Sequence[str]) -> None:
        records, count = self._records, len(keys)
        records.statistics.hits += count
        if records.hooks.subscribers:
            records.hooks.emit(Hit(records.entity.name, tuple(keys)))
