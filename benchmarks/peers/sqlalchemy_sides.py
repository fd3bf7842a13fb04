"""A hundred cities and a hundred shops in them, on SQLite in memory, read by our cache and by dogpile.cache.

Each side has its own classes, database and sessions. A read is made by a new session, as in a web request.
"""

from collections.abc import Callable, Iterable
from typing import Any

from dogpile.cache import make_region
from sqlalchemy import ForeignKey, String, bindparam, create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker
from sqlalchemy.pool import StaticPool

from benchmarks.measure import Call
from benchmarks.peers.dogpile_option import FromCache, RelationshipCache, listen
from cachecore import Cache
from cachecore.integrations.sqlalchemy import cache_sessions, cached, from_cache, get_from_cache

TTL = 3600
KEYS = range(1, 101)
SLUGS = [f"c{key}" for key in KEYS]


class CityColumns:
    """A row of a usual size."""

    __tablename__ = "city"
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(40), unique=True)
    name: Mapped[str]
    country: Mapped[str]
    population: Mapped[int]
    latitude: Mapped[float]
    longitude: Mapped[float]
    note: Mapped[str | None]


class ShopColumns:
    """A row that points to another."""

    __tablename__ = "shop"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    city_id: Mapped[int] = mapped_column(ForeignKey("city.id"))


class OurBase(DeclarativeBase):
    """Of our classes."""


@cached(lookups=["slug"])
class OurCity(CityColumns, OurBase):
    """A city in our cache."""


class OurShop(ShopColumns, OurBase):
    """A shop."""

    city: Mapped[OurCity] = relationship()


class TheirBase(DeclarativeBase):
    """Of the classes without us."""


class TheirCity(CityColumns, TheirBase):
    """A city."""


class TheirShop(ShopColumns, TheirBase):
    """A shop."""

    city: Mapped[TheirCity] = relationship()


class Side:
    """Sessions on a database with all rows, and the statements that they have sent."""

    def __init__(self, base: type[DeclarativeBase], city: Any, shop: Any) -> None:
        self.engine = create_engine("sqlite://", poolclass=StaticPool)
        self.sessions = sessionmaker(self.engine)
        self.city, self.shop = city, shop
        self._statements = 0
        event.listen(self.engine, "before_cursor_execute", self._count)
        base.metadata.create_all(self.engine)
        self.attach()
        with self.sessions.begin() as session:
            session.add_all(
                city(id=key, slug=slug, name=slug, country="no", population=key, latitude=59.9, longitude=10.7)
                for key, slug in zip(KEYS, SLUGS, strict=True)
            )
            session.flush()
            session.add_all(shop(id=key, name=f"shop {key}", city_id=key) for key in KEYS)

    def attach(self) -> None:
        """Give the sessions their cache."""

    def by_key(self) -> Call:
        """A hundred sessions that read a city each by its primary key."""
        raise NotImplementedError

    def by_slug(self) -> Call:
        """The same by its slug."""
        raise NotImplementedError

    def relation(self) -> Call:
        """A session that reads a hundred shops from the database, and the city of each from the cache."""
        raise NotImplementedError

    def close(self) -> None:
        """End its connections."""
        self.engine.dispose()

    def _count(self, *_: Any) -> None:
        self._statements += 1

    def reading(self, read: Callable[[Any, Any], Any], given: Iterable[Any]) -> Call:
        """A call that has ``read(session, each)`` find a city in a new session; warm, and the cities are right."""
        sessions, asked = self.sessions, list(given)

        def run() -> None:
            for each in asked:
                with sessions() as session:
                    read(session, each)

        run()
        run()
        before = self._statements
        for each, slug in zip(asked, SLUGS, strict=True):
            with sessions() as session:
                city = read(session, each)
                assert (city.slug, city.population, city in session) == (slug, int(slug[1:]), True)
        assert self._statements == before, "a warm read asks the database"
        return run

    def related(self, option: Any) -> Call:
        """A call that reads all shops with this option, and their cities; warm, and the cities are right."""
        sessions, statement = self.sessions, select(self.shop).options(option)

        def run() -> list[str]:
            with sessions() as session:
                return [shop.city.slug for shop in session.scalars(statement)]

        assert run() == run() == SLUGS
        before = self._statements
        assert run() == SLUGS
        assert self._statements == before + 1, "a warm relation asks the database"
        return run


class Ours(Side):
    """Our cache: rows are decoded, and what a commit has changed is never read again."""

    def __init__(self, location: str) -> None:
        self._cache = Cache(location, namespace="bench", ttl=TTL)
        super().__init__(OurBase, OurCity, OurShop)

    def attach(self) -> None:
        cache_sessions(self.sessions, self._cache)

    def by_key(self) -> Call:
        return self.reading(lambda session, key: get_from_cache(session, OurCity, id=key), KEYS)

    def by_slug(self) -> Call:
        return self.reading(lambda session, slug: get_from_cache(session, OurCity, slug=slug), SLUGS)

    def relation(self) -> Call:
        return self.related(from_cache(OurShop.city))

    def close(self) -> None:
        super().close()
        self._cache.close()


class Dogpile(Side):
    """dogpile.cache: results of statements, by the statement and its parameters. Only their age outdates them.

    In memory it keeps instances as they are, on Redis it pickles them. The statements are made once and take their
    value as a parameter, which is faster than making one for every read.
    """

    def __init__(self, backend: str, arguments: dict[str, Any] | None = None) -> None:
        self._region = make_region().configure(backend, expiration_time=TTL, arguments=arguments or {})
        super().__init__(TheirBase, TheirCity, TheirShop)

    def attach(self) -> None:
        listen(self.sessions, self._region)

    def by_key(self) -> Call:
        statement = select(TheirCity).where(TheirCity.id == bindparam("key")).options(FromCache())
        return self.reading(lambda session, key: session.scalars(statement, {"key": key}).one(), KEYS)

    def by_slug(self) -> Call:
        statement = select(TheirCity).where(TheirCity.slug == bindparam("slug")).options(FromCache())
        return self.reading(lambda session, slug: session.scalars(statement, {"slug": slug}).one(), SLUGS)

    def relation(self) -> Call:
        return self.related(RelationshipCache(TheirShop.city))

    def close(self) -> None:
        super().close()
        client = getattr(self._region.backend, "reader_client", None)
        if client is not None:
            client.close()


def dogpile(redis_url: str | None) -> Dogpile:
    """In memory, or on this Redis server, as its documentation configures them."""
    if redis_url is None:
        return Dogpile("dogpile.cache.memory")
    return Dogpile("dogpile.cache.redis", {"url": redis_url, "redis_expiration_time": TTL + 60})
