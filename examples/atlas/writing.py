"""Endpoints that write: as if there were no cache. Each is one transaction, see `dependencies.Writing`."""

from fastapi import APIRouter, HTTPException
from sqlalchemy import delete, or_, text, update

from cachecore.integrations.sqlalchemy import aget_many_from_cache, aget_one_from_cache
from examples.atlas.dependencies import Writing
from examples.atlas.models import City, Country, Road
from examples.atlas.reading import shown
from examples.atlas.schemas import Census, CityOut, Code, Move, NewCity, Renamed, Slug

router = APIRouter()


@router.post("/cities", status_code=201)
async def create(asked: NewCity, session: Writing) -> CityOut:
    """A new city. 404 where there is no such country, 409 where slug or name are taken."""
    country = await aget_one_from_cache(session, Country, code=asked.country)
    city = City(slug=asked.slug, name=asked.name, population=asked.population, country_id=country.id)
    session.add(city)
    await session.flush()
    [created] = await shown(session, [city])
    return created


@router.patch("/cities/{slug}")
async def rename(slug: Slug, asked: Renamed, session: Writing) -> CityOut:
    """Another name or slug, by an instance from the cache. 409 where another one has renamed it meanwhile."""
    city = await aget_one_from_cache(session, City, slug=slug)
    for attribute, value in asked.model_dump(exclude_none=True).items():
        setattr(city, attribute, value)
    await session.flush()
    [renamed] = await shown(session, [city])
    return renamed


@router.delete("/cities/{slug}", status_code=204)
async def destroy(slug: Slug, session: Writing) -> None:
    """A city and the roads that lead there."""
    city = await aget_one_from_cache(session, City, slug=slug)
    await session.execute(delete(Road).where(or_(Road.origin_id == city.id, Road.destination_id == city.id)))
    await session.delete(city)


@router.post("/countries/{code}/census")
async def census(code: Code, asked: Census, session: Writing) -> int:
    """One UPDATE of all cities of a country; how many there were."""
    country = await aget_one_from_cache(session, Country, code=code)
    grown = await session.execute(
        update(City)
        .where(City.country_id == country.id)
        .values(population=City.population * (100 + asked.percent) // 100)
        .returning(City.id)
        .execution_options(synchronize_session=False)
    )
    return len(grown.all())


@router.post("/moves")
async def move(asked: Move, session: Writing) -> dict[str, int]:
    """People move; how many then live in both cities. 409, and nothing was written, where not so many live there."""
    changes = {asked.origin: -asked.people, asked.destination: asked.people}
    known = await aget_many_from_cache(session, City, list(changes), key="slug")
    if len(known) < 2:
        raise HTTPException(404, f"{asked.origin} and {asked.destination} are not two cities")
    now: dict[str, int] = {}
    # In one order for all, so that two who move people the other way round do not wait for each other.
    for slug, change in sorted(changes.items()):
        # The database is asked whether there are enough, for others may leave right now.
        left = await session.scalar(
            update(City)
            .where(City.slug == slug, City.population + change >= 0)
            .values(population=City.population + change)
            .returning(City.population)
            .execution_options(synchronize_session=False)
        )
        if left is None:
            raise HTTPException(409, f"there are no {asked.people} people in {asked.origin}")
        now[slug] = left
    return now


@router.post("/tidy", status_code=204)
async def tidy(session: Writing) -> None:
    """SQL as a text: it outdates all rows of the table that it names."""
    await session.execute(text("UPDATE city SET name = trim(name) WHERE name <> trim(name)"))
