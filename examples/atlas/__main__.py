"""``python -m examples.atlas``: make the tables and put a small atlas into them; exit status 1 if there is one."""

import asyncio
import sys

from sqlalchemy import select

from examples.atlas.models import Base, City, Country, Road
from examples.atlas.resources import opened
from examples.atlas.settings import Settings

COUNTRIES = {
    "no": ("Norway", {"Oslo": 709_037, "Bergen": 291_940, "Trondheim": 214_565, "Stavanger": 149_048}),
    "fr": ("France", {"Paris": 2_102_650, "Lyon": 522_250, "Nantes": 323_204, "Lille": 236_710}),
    "jp": ("Japan", {"Tokyo": 14_094_034, "Osaka": 2_753_862, "Sapporo": 1_973_395, "Kyoto": 1_463_723}),
}
ROADS = [
    ("oslo", "bergen", 463),
    ("oslo", "trondheim", 494),
    ("bergen", "stavanger", 209),
    ("paris", "lyon", 465),
    ("paris", "lille", 225),
    ("nantes", "paris", 385),
    ("tokyo", "osaka", 503),
    ("kyoto", "osaka", 56),
]


async def fill(settings: Settings) -> int:
    """Make the tables and their rows; the number of cities, or 0 if there are some already."""
    async with opened(settings) as atlas:
        async with atlas.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with atlas.sessions.begin() as session:
            if await session.scalar(select(City.id).limit(1)):
                return 0
            cities: dict[str, City] = {}
            for code, (name, places) in COUNTRIES.items():
                country = Country(code=code, name=name)
                for place, population in places.items():
                    slug = place.lower()
                    cities[slug] = City(slug=slug, name=place, population=population, country=country)
            session.add_all(cities.values())
            session.add_all(
                Road(origin=cities[origin], destination=cities[destination], kilometres=kilometres)
                for origin, destination, kilometres in ROADS
            )
        return len(cities)


if __name__ == "__main__":
    settings = Settings.of()
    number = asyncio.run(fill(settings))
    where = settings.database.render_as_string()  # without the password
    if not number:
        sys.exit(f"{where} has cities already")
    print(f"{number} cities in {where}")
