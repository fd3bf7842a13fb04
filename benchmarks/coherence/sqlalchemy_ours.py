"""Ours through the SQLAlchemy integration: a Cache beside an Engine."""

import time
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from benchmarks.coherence.sqlalchemy_row import Group, Row
from benchmarks.coherence.sqlalchemy_store import SqlalchemyStore, state_of, states_of
from benchmarks.coherence.store import at_once
from benchmarks.coherence.terms import BULK_THRESHOLD, HOLD_TTL, TTL, is_unfinished, options_for
from benchmarks.coherence.world import State
from cachecore import Cache
from cachecore.errors import WriteRefused
from cachecore.integrations.sqlalchemy import (
    cache_sessions,
    cached,
    from_cache,
    get_from_cache,
    get_many_from_cache,
)
from cachecore.policy import Policy

cached(lookups=["slug"])(Row)


class OursOnSqlalchemy(SqlalchemyStore):
    """Rows through ``get_from_cache`` and its kin; every write outdates what it changes."""

    refused: tuple[type[Exception], ...] = (WriteRefused,)

    def __init__(self, dsn: str, url: str) -> None:
        super().__init__(dsn)
        self._url = url
        self._old_snapshots = cycle([True] + [False] * 49)
        self._relationships = cycle([True, False, False])

    def open(self, role: str, after_reply: Callable[[], None] = at_once) -> None:
        super().open(role, after_reply)
        policy = Policy(hold_ttl=HOLD_TTL, bulk_threshold=BULK_THRESHOLD, unreachable="refuse")
        cache = self._make_cache(self._url, namespace="bench", ttl=TTL, policy=policy, options=options_for(self._url))
        cache.hooks.subscribe(self._happened)
        cache_sessions(self.sessions, cache)

    _make_cache: Any = Cache

    def _happened(self, event: object) -> None:
        self.unfinished += is_unfinished(event)

    # -- the calls of the integration ----------------------------------------------------------------

    def _get(self, session: Session, **lookup: Any) -> Row | None:
        return get_from_cache(session, Row, **lookup)

    def _get_many(self, session: Session, pks: Sequence[int]) -> list[Row]:
        return get_many_from_cache(session, Row, pks)

    # -- reading -----------------------------------------------------------------------------------

    def by_pk(self, pk: int) -> State | None:
        if self._session is None and next(self._old_snapshots):
            self._look_into_the_past(pk)
        with self._reading() as session:
            return state_of(self._get(session, id=pk))

    def by_slug(self, slug: str) -> State | None:
        with self._reading() as session:
            return state_of(self._get(session, slug=slug))

    def many(self, pks: Sequence[int]) -> list[State]:
        with self._reading() as session:
            if not next(self._relationships):
                return states_of(self._get_many(session, pks))
            query = select(Group).where(Group.id.in_(pks)).options(from_cache(Group.row))
            groups = {group.id: group.row for group in session.scalars(query)}
            others = [pk for pk in pks if pk not in groups]
            return states_of(row for row in [*groups.values(), *self._get_many(session, others)] if row is not None)

    def _look_into_the_past(self, pk: int) -> None:
        """Ask in a transaction whose snapshot is older than the question: what it reads must stay with it."""
        with self._make_session() as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            session.execute(text("SELECT 1 FROM bench_group"))
            time.sleep(0.005)
            self._get(session, id=pk)
