"""Countries and cities, cached by every unique lookup they have."""

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from cachecore.integrations.sqlalchemy import cached
from examples.demo.application import TTL


class Base(DeclarativeBase):
    """What the tables of the demo have in common: nothing."""


@cached(lookups=["code"])
class Country(Base):
    """A country of the ISO 3166 list."""

    __tablename__ = "country"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(2), unique=True)
    name: Mapped[str] = mapped_column(String(100))


@cached(lookups=["slug", ("country_id", "name")], ttl=TTL)
class City(Base):
    """A city. Its primary key is that of GeoNames."""

    __tablename__ = "city"
    __table_args__ = (UniqueConstraint("country_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(120), unique=True)
    name: Mapped[str] = mapped_column(String(250))
    country_id: Mapped[int] = mapped_column(ForeignKey("country.id"), index=True)
    population: Mapped[int]
    latitude: Mapped[float]
    longitude: Mapped[float]
    timezone: Mapped[str] = mapped_column(String(50))
    version: Mapped[int] = mapped_column(default=0)
    """Rises with each change; by it the demo knows an old answer. The cache makes no use of it."""

    country: Mapped[Country] = relationship()
