"""Countries, cities and the roads between them. Countries and cities are cached; all is mapped as anywhere else."""

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from cachecore.integrations.sqlalchemy import cached


class Base(DeclarativeBase):
    """Of all tables."""


@cached(lookups=["code"], ttl=3600)
class Country(Base):
    """A country, found by its key or its code."""

    __tablename__ = "country"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(2), unique=True)
    name: Mapped[str] = mapped_column(String(100))


@cached(lookups=["slug", ("country_id", "name")])
class City(Base):
    """A city, found by its key, by its slug, or by its country and name together."""

    __tablename__ = "city"
    __table_args__ = (UniqueConstraint("country_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(100), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    population: Mapped[int] = mapped_column(BigInteger)
    country_id: Mapped[int] = mapped_column(ForeignKey("country.id"))
    version: Mapped[int] = mapped_column(default=1)

    country: Mapped[Country] = relationship(lazy="raise")

    # Two who rename a city at the same time have read the same version: the second one's UPDATE finds no row.
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - as SQLAlchemy declares it


class Road(Base):
    """A road. Nobody looks roads up one by one, so they are not cached; the cities at their ends are."""

    __tablename__ = "road"

    id: Mapped[int] = mapped_column(primary_key=True)
    origin_id: Mapped[int] = mapped_column(ForeignKey("city.id"), index=True)
    destination_id: Mapped[int] = mapped_column(ForeignKey("city.id"), index=True)
    kilometres: Mapped[int]

    origin: Mapped[City] = relationship(foreign_keys=[origin_id], lazy="raise")
    destination: Mapped[City] = relationship(foreign_keys=[destination_id], lazy="raise")
