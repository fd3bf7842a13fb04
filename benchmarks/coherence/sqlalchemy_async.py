"""Ours through AsyncSessions: asyncpg, an AsyncCache, and several tasks that ask for the same at once.

Theory of operation. All of a process's work runs inside the greenlet in which SQLAlchemy runs its own, so what it does
with a session is what AsyncSession's methods do with theirs, and what is to be awaited is awaited there.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only, greenlet_spawn

from benchmarks.coherence.sqlalchemy_ours import OursOnSqlalchemy
from benchmarks.coherence.sqlalchemy_row import Row
from benchmarks.coherence.world import State
from cachecore import AsyncCache
from cachecore.integrations.sqlalchemy import aget_from_cache, aget_many_from_cache

CROWD = 3
"""Tasks that ask at once."""


class OursAwaited(OursOnSqlalchemy):
    """Everything inside an event loop."""

    # asyncpg's adapter has no OperationalError: what the server has given up is a plain error of the driver.
    aborted: tuple[type[Exception], ...] = (DBAPIError, PendingRollbackError, OSError)

    _make_cache: Any = AsyncCache

    def __init__(self, dsn: str, url: str) -> None:
        super().__init__(dsn, url)
        self._ways_to_begin = [self._begun, self._left_open]

    def run(self, work: Callable[[], None]) -> None:
        asyncio.run(greenlet_spawn(work))

    # -- the engine --------------------------------------------------------------------------------

    def _connect(self, role: str) -> None:
        settings = {"application_name": role}
        self.bind = create_async_engine(self._url_for("asyncpg"), connect_args={"server_settings": settings})
        self._engine = self.bind.sync_engine
        self.sessions = async_sessionmaker(self.bind)

    def _make_session(self, **options: Any) -> Session:
        awaited: AsyncSession = self.sessions(**options)
        awaited.sync_session.info["awaited"] = awaited
        return awaited.sync_session

    def reconnect(self) -> None:
        await_only(self.bind.dispose())

    def _listen(self, connection: Any, _: object) -> None:
        connection.driver_connection.add_log_listener(lambda _, notice: self._heard(notice.message))

    # -- the calls of the integration ----------------------------------------------------------------

    def _get(self, session: Session, **lookup: Any) -> Row | None:
        return await_only(aget_from_cache(session.info["awaited"], Row, **lookup))

    def _get_many(self, session: Session, pks: Sequence[int]) -> list[Row]:
        return await_only(aget_many_from_cache(session.info["awaited"], Row, pks))

    # -- reading -----------------------------------------------------------------------------------

    def by_pk(self, pk: int) -> State | None:
        return self._oldest(super().by_pk, pk)

    def by_slug(self, slug: str) -> State | None:
        return self._oldest(super().by_slug, slug)

    def _oldest(self, ask: Callable[[Any], State | None], name: int | str) -> State | None:
        """Of the answers that several tasks get: each has to be right."""
        if self._session is not None:
            return ask(name)  # there is one session, and tasks must not share it
        answers = await_only(asyncio.gather(*(greenlet_spawn(ask, name) for _ in range(CROWD))))
        return min(answers, key=lambda state: state.version if state else 0)
