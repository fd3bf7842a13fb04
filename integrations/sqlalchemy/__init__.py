"""cachecore for SQLAlchemy: rows of mapped classes read through the cache, in sessions that block or are awaited.

Importing it changes nothing; `cache_sessions` begins to watch what engines write.
"""

from cachecore.integrations.sqlalchemy.asynchronous import (
    aget_from_cache,
    aget_many_from_cache,
    aget_one_from_cache,
    ainvalidate,
)
from cachecore.integrations.sqlalchemy.declaration import cached
from cachecore.integrations.sqlalchemy.reading import (
    get_from_cache,
    get_many_from_cache,
    get_one_from_cache,
    invalidate,
)
from cachecore.integrations.sqlalchemy.relations import from_cache
from cachecore.integrations.sqlalchemy.sessions import cache_sessions

__all__ = [
    "aget_from_cache",
    "aget_many_from_cache",
    "aget_one_from_cache",
    "ainvalidate",
    "cache_sessions",
    "cached",
    "from_cache",
    "get_from_cache",
    "get_many_from_cache",
    "get_one_from_cache",
    "invalidate",
]
