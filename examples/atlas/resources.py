"""What the application holds while it runs: an engine, its sessions, the cache, and a count of statements."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from cachecore import AsyncCache
from cachecore.integrations.sqlalchemy import cache_sessions
from examples.atlas.settings import Settings


@dataclass
class Atlas:
    """Made once for each process."""

    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    cache: AsyncCache
    statements: int = 0
    """How many statements this process has sent to the database."""

    def count(self, *_: Any) -> None:
        """One more."""
        self.statements += 1


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[Atlas, None]:
    """The atlas, whose connections end with the block: those to the cache first, then those to the database."""
    engine = create_async_engine(settings.database)
    try:
        async with AsyncCache(settings.cache, namespace=settings.namespace) as cache:
            sessions = async_sessionmaker(engine)
            cache_sessions(sessions, cache)
            atlas = Atlas(engine, sessions, cache)
            event.listen(engine.sync_engine, "before_cursor_execute", atlas.count)
            yield atlas
    finally:
        await engine.dispose()
