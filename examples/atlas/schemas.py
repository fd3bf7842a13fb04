"""What goes in and out, as JSON."""

from typing import Annotated

from pydantic import BaseModel, Field

# What the columns can hold: the database would refuse anything else, with an error.
Id = Annotated[int, Field(ge=1, le=2**31 - 1)]
Code = Annotated[str, Field(pattern=r"^[a-z]{2}$")]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=100)]
Name = Annotated[str, Field(pattern=r"^[^\x00]+$", max_length=100)]
People = Annotated[int, Field(ge=0, le=2_000_000_000)]


class CityOut(BaseModel):
    """A city and the code of its country."""

    id: int
    slug: str
    name: str
    population: int
    version: int
    country: str


class NewCity(BaseModel):
    """A city to be founded."""

    slug: Slug
    name: Name
    country: Code
    population: People = 0


class Renamed(BaseModel):
    """What a city is called from now on; what is left out stays."""

    name: Name | None = None
    slug: Slug | None = None


class Census(BaseModel):
    """By how many percent each city of a country has grown."""

    percent: Annotated[int, Field(ge=-100, le=100)]


class Move(BaseModel):
    """So many people move."""

    origin: Slug
    destination: Slug
    people: Annotated[int, Field(gt=0, le=2_000_000_000)]


class RoadOut(BaseModel):
    """A road, by the names of the cities at its ends."""

    origin: str
    destination: str
    kilometres: int


class Stats(BaseModel):
    """What this process has done since it was started. Rows are counted, not calls."""

    process: int
    statements: int
    """Sent to the database."""
    hits: int
    misses: int
    reasons: dict[str, int]
    """Of the misses, as cachecore.events.MissReason has them: "absent", "held", "backend"..."""
    fills: int
    failures: int
    """Of the cache; no read has failed by them."""
