"""Settings of the atlas: SQLite and a cache in the process, or what the environment says.

ATLAS_DATABASE   postgresql://user:password@host:port/name, sqlite:///file, or any URL of an asynchronous driver of
                 SQLAlchemy; default sqlite:///atlas.sqlite3
ATLAS_CACHE      redis://..., memcached://... and what else cachecore has; default memory://
ATLAS_NAMESPACE  keeps the keys of this atlas apart from others' on the same server; default "atlas"
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import URL, make_url

DRIVERS = {"postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
"""What a URL that names no driver means here."""


@dataclass(frozen=True)
class Settings:
    """Where everything is."""

    database: URL
    cache: str
    namespace: str

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """What the environment says. Raises sqlalchemy.exc.ArgumentError for a database that is no URL."""
        database = make_url(environment.get("ATLAS_DATABASE", "sqlite:///atlas.sqlite3"))
        return cls(
            database=database.set(drivername=DRIVERS.get(database.drivername, database.drivername)),
            cache=environment.get("ATLAS_CACHE", "memory://"),
            namespace=environment.get("ATLAS_NAMESPACE", "atlas"),
        )
