"""Endpoints that read. Once warm, those of cities and countries send nothing to the database."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from cachecore.integrations.sqlalchemy import (
    aget_from_cache,
    aget_many_from_cache,
    aget_one_from_cache,
    from_cache,
)
from examples.atlas.dependencies import Reading
from examples.atlas.models import City, Country, Road
from examples.atlas.schemas import CityOut, Code, Id, Name, RoadOut, Slug

router = APIRouter()


async def shown(session: AsyncSession, cities: Sequence[City]) -> list[CityOut]:
    """Cities as they are shown: their countries are read by one more call, however many there are."""
    countries = await aget_many_from_cache(session, Country, list({city.country_id for city in cities}))
    codes = {country.id: country.code for country in countries}
    return [
        CityOut(
            id=city.id,
            slug=city.slug,
            name=city.name,
            population=city.population,
            version=city.version,
            country=codes[city.country_id],
        )
        for city in cities
    ]


@router.get("/cities/{id}")
async def by_id(id: Id, session: Reading) -> CityOut:
    """A city by its primary key."""
    city = await aget_from_cache(session, City, id=id)
    if city is None:
        raise HTTPException(404, f"there is no city {id}")
    [found] = await shown(session, [city])
    return found


@router.get("/cities/by-slug/{slug}")
async def by_slug(slug: Slug, session: Reading) -> CityOut:
    """A city by its slug. Where there is none NoResultFound is raised, which main.py makes a 404."""
    [found] = await shown(session, [await aget_one_from_cache(session, City, slug=slug)])
    return found


@router.get("/countries/{code}/{name}")
async def by_country_and_name(code: Code, name: Name, session: Reading) -> CityOut:
    """A city by two columns that are unique together."""
    country = await aget_one_from_cache(session, Country, code=code)
    city = await aget_one_from_cache(session, City, country_id=country.id, name=name)
    [found] = await shown(session, [city])
    return found


@router.get("/cities")
async def many(id: Annotated[list[Id], Query(max_length=100)], session: Reading) -> list[CityOut]:
    """Those of these cities that exist, in the order asked."""
    return await shown(session, await aget_many_from_cache(session, City, id))


@router.get("/roads")
async def roads(session: Reading) -> list[RoadOut]:
    """All roads: one query for them, and none for the cities at their ends, where these are cached."""
    found = await session.scalars(
        select(Road).order_by(Road.id).options(from_cache(Road.origin), from_cache(Road.destination))
    )
    return [
        RoadOut(origin=road.origin.name, destination=road.destination.name, kilometres=road.kilometres)
        for road in found
    ]
