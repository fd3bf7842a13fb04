"""A table of cities in a real SQLite database, which counts its questions, and its declaration as an entity."""

import json
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from cachecore import AsyncCache, Cache
from cachecore.records import AsyncRecords, Records

COLUMNS = {"id": int, "slug": str, "country": str, "name": str, "facts": dict | None}
LOOKUPS = ("slug", ("country", "name"))

OSLO = (1, "oslo", "no", "Oslo", {"fjords": ["Oslofjord"]})
BERGEN = (2, "bergen", "no", "Bergen", None)
LYON = (3, "lyon", "fr", "Lyon", {"rivers": ["Rhône", "Saône"]})


class Cities:
    """The database. ``loads`` and ``queries`` are what it was asked so far."""

    def __init__(
        self, path: str = ":memory:", *, collation: str = "BINARY", rows: Iterable[Sequence[Any]] = ()
    ) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self._lock = threading.RLock()
        self.loads: list[list[Any]] = []
        self.queries: list[dict[str, Any]] = []
        self.execute(
            "CREATE TABLE IF NOT EXISTS city (id INTEGER PRIMARY KEY, "
            f"slug TEXT UNIQUE COLLATE {collation}, country TEXT, name TEXT, facts TEXT, UNIQUE (country, name))"
        )
        for row in rows:
            self.insert(row)

    def execute(self, statement: str, *parameters: Any) -> list[Any]:
        """Run one statement in the open transaction, or alone; its rows."""
        with self._lock:
            return self.connection.execute(statement, parameters).fetchall()

    def insert(self, row: Sequence[Any]) -> None:
        """Insert one row."""
        self.execute("INSERT INTO city VALUES (?, ?, ?, ?, ?)", *row[:4], json.dumps(row[4]) if row[4] else None)

    def select(self, condition: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows that meet a condition, uncounted."""
        found = self.execute(f"SELECT id, slug, country, name, facts FROM city WHERE {condition}", *parameters)
        return [(*row[:4], json.loads(row[4]) if row[4] else None) for row in found]

    def load(self, identities: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The loader of the entity."""
        self.loads.append(list(identities))
        return self.select(f"id IN ({', '.join('?' * len(identities))})", *identities)

    def query(self, fields: dict[str, Any]) -> tuple[Any, ...] | None:
        """The query of the entity."""
        self.queries.append(fields)
        rows = self.select(" AND ".join(f"{name} = ?" for name in fields), *fields.values())
        return rows[0] if rows else None

    def records(self, cache: Cache, **options: Any) -> Records:
        """This table as an entity of ``cache``."""
        options = {"lookups": LOOKUPS, "load": self.load, "query": self.query, **options}
        return cache.entity("geo.City", COLUMNS, **options)

    def async_records(self, cache: AsyncCache, **options: Any) -> AsyncRecords:
        """This table as an entity of ``cache``, with loader and query that are awaited."""

        async def load(identities: Sequence[Any]) -> list[tuple[Any, ...]]:
            return self.load(identities)

        async def query(fields: dict[str, Any]) -> tuple[Any, ...] | None:
            return self.query(fields)

        options = {"lookups": LOOKUPS, "load": load, "query": query, **options}
        return cache.entity("geo.City", COLUMNS, **options)

    def asked(self) -> int:
        """How many statements loads and queries have sent since this was last called."""
        count = len(self.loads) + len(self.queries)
        self.loads.clear()
        self.queries.clear()
        return count

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
