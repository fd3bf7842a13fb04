"""Which caches the writes of an engine outdate, and which the sessions of a sessionmaker read."""

import itertools
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import Mapper

from cachecore.cache import AsyncCache, Cache, ClosedBackend
from cachecore.errors import CachecoreError, ConfigurationError
from cachecore.integrations.sqlalchemy.declaration import Declaration, all_cached, generation
from cachecore.integrations.sqlalchemy.models import CachedModel
from cachecore.integrations.sqlalchemy.tables import Tables

Schemas = tuple[tuple[str, str], ...]
_NO_TABLES: tuple[int, Sequence["Attachment"], Tables] = (-1, (), Tables(()))


class Attachment:
    """A cache, and the alias under which the rows of one database are in it."""

    def __init__(self, cache: Cache | AsyncCache, alias: str) -> None:
        self.cache: Any = cache
        self.alias = alias
        self.schemas: frozenset[Schemas] = frozenset()
        """What the engines to which it is attached mean by the schemas of tables."""
        self._is_local: bool = cache.backend.keeps_objects
        self._checked: weakref.WeakKeyDictionary[Engine, set[Mapper[Any]]] = weakref.WeakKeyDictionary()

    def check_database(self, mapper: Mapper[Any], engine: Engine) -> None:
        """Raise ConfigurationError if the rows of a class come from another database than before: both have the same
        keys."""
        checked = self._checked.get(engine)
        if checked is not None and mapper in checked:
            return
        here = database_of(engine)
        known = _databases.setdefault(self.cache, {}).setdefault((self.alias, mapper), here)
        if known != here:
            raise ConfigurationError(
                f"{mapper.class_.__name__} is read through cachecore from two databases, {_shown(known)} and "
                f"{_shown(here)}, and both are called {self.alias!r}: give cache_sessions another alias= for one of "
                "them, and sessions of its own"
            )
        self._checked.setdefault(engine, set()).add(mapper)

    def serves_as(self, other: "Attachment") -> bool:
        """Whether both mean the same."""
        return self.cache is other.cache and self.alias == other.alias

    @property
    def is_closed(self) -> bool:
        """Whether its cache has been closed in this process."""
        return isinstance(self.cache.backend, ClosedBackend)

    @property
    def is_in_process(self) -> bool:
        """Whether its cache is open, and hears only of what this process writes."""
        return self._is_local and not self.is_closed

    @property
    def is_over(self) -> bool:
        """Whether its cache was in this process and is closed: nobody can read from it any more."""
        return self._is_local and self.is_closed


class Watched:
    """The caches that the writes of an engine outdate, and the tables of which they hold rows.

    It hangs on the dialect, which engines with other execution options share, and ends with it.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._models: dict[tuple[Attachment, Mapper[Any]], CachedModel] = {}
        self._engines: weakref.WeakSet[Engine] = weakref.WeakSet()
        self.attachments: list[Attachment] = []
        self._tables: dict[Schemas | None, tuple[int, Sequence[Attachment], Tables]] = {}

    def attach(self, engine: Engine, attachment: Attachment) -> Attachment:
        """Outdate what is in this cache too; the attachment that it has, if there is one."""
        with _lock:
            self._engines.add(engine)
            known = self.known(attachment)
            if known is None:
                known = attachment
                # One that was closed has a successor now.
                others = [one for one in self.attachments if one.alias != attachment.alias or not one.is_closed]
                self.attachments = [*others, attachment]
            known.schemas |= {_key_of(engine)}
            self._tables = {}
        return known

    def known(self, attachment: Attachment) -> Attachment | None:
        """The attachment here that means the same; None: what is in that cache is not outdated."""
        for one in self.attachments:
            if one is attachment or one.serves_as(attachment):
                return one
        return None

    def model(self, attachment: Attachment, mapper: Mapper[Any], declaration: Declaration) -> CachedModel:
        """What is known of a cached class in one of the caches."""
        found = self._models.get((attachment, mapper))
        if found is None:
            found = CachedModel(attachment.cache, attachment.alias, mapper, declaration, self._dialect)
            self._models[attachment, mapper] = found
        return found

    def databases(self) -> Iterator[tuple[Attachment, tuple[Any, ...]]]:
        """Every cache with every database whose rows are in it."""
        for engine in list(self._engines):
            for attachment in self.attachments:
                yield attachment, database_of(engine)

    @property
    def tables(self) -> Tables:
        """Everything that is cached, by table."""
        return self._tables_of(None)

    def tables_for(self, connection: Connection) -> Tables:
        """What is cached of the schemas that a connection means: engines of several tenants share a dialect."""
        return self._tables_of(_key_of(connection))

    def _tables_of(self, schemas: Schemas | None) -> Tables:
        now, attachments = generation(), [one for one in self.attachments if not one.is_over]
        # One tuple, read and replaced as a whole: threads must not mix one's tables with another's attachments.
        known, served, tables = self._tables.get(schemas, _NO_TABLES)
        if known != now or served != attachments:
            wanted = [one for one in attachments if schemas is None or schemas in one.schemas]
            tables = Tables(self._all_models(wanted or attachments))
            self._tables[schemas] = now, attachments, tables
        return tables

    def _all_models(self, attachments: Sequence[Attachment]) -> list[CachedModel]:
        found: list[CachedModel] = []
        for mapper, declaration in all_cached():
            for attachment in attachments:
                # Else who wants to read its rows is told.
                with suppress(CachecoreError):
                    found.append(self.model(attachment, mapper, declaration))
        return found


_databases: weakref.WeakKeyDictionary[Any, dict[tuple[str, Mapper[Any]], tuple[Any, ...]]] = weakref.WeakKeyDictionary()
"""Of each cache the databases from which its rows come, by alias and class."""
_pools: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
"""Of databases in memory, which are as many as there are pools, a number each."""
_watched: weakref.WeakSet[Watched] = weakref.WeakSet()
_PLACES = frozenset({"host", "port", "dbname", "service", "options", "unix_socket"})
_numbers = itertools.count(1)
_ATTRIBUTE = "cachecore_watched"
_lock = threading.Lock()


def watched(dialect: Dialect) -> Watched | None:
    """What is watched of the engines that have this dialect object; None if nobody has attached a cache to them."""
    return dialect.__dict__.get(_ATTRIBUTE)


def watch(dialect: Dialect) -> tuple[Watched, bool]:
    """The same, made if it is not there; and whether it was made."""
    with _lock:
        found = watched(dialect)
        if found is not None:
            return found, False
        found = dialect.__dict__[_ATTRIBUTE] = Watched(dialect)
        _watched.add(found)
        return found, True


def all_watched() -> Iterator[Watched]:
    """Every engine's."""
    return iter(list(_watched))


def database_of(engine: Engine) -> tuple[Any, ...]:
    """What tells two databases apart: where they are, and which schemas are meant in them."""
    url = engine.url
    # What else in a URL says where a database is.
    query = [(name, url.query[name]) for name in sorted(url.query) if name in _PLACES]
    file = url.database if url.get_backend_name() != "sqlite" else os.path.abspath(url.database or "")
    place: tuple[Any, ...] = (url.get_backend_name(), url.host, url.port, file, *query)
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        place = ("sqlite", "in memory", _number_of(engine.pool))
    return (*place, *_key_of(engine))


def _key_of(target: Engine | Connection) -> Schemas:
    return tuple(sorted((str(old), str(new)) for old, new in schemas_of(target).items()))


def is_told(engine: Engine) -> bool:
    """Whether the URL of an engine says where its database is; if not, its driver or a function of the application."""
    return engine.url.host is not None or engine.url.database is not None or bool(engine.url.query)


def _number_of(pool: Any) -> int:
    if pool not in _pools:
        _pools[pool] = next(_numbers)
    return _pools[pool]


def schemas_of(target: Engine | Connection) -> dict[Any, Any]:
    """The schemas that an engine or a connection means by those that tables name."""
    found: dict[Any, Any] = target.get_execution_options().get("schema_translate_map") or {}
    return {schema: other for schema, other in found.items() if schema != "_none"}  # which SQLAlchemy adds to it


def _shown(database: tuple[Any, ...]) -> str:
    return "/".join(str(part) for part in database if part is not None)
