"""Endpoints for who runs the atlas."""

import os

from fastapi import APIRouter

from cachecore.integrations.sqlalchemy import ainvalidate
from examples.atlas.dependencies import Reading, TheAtlas
from examples.atlas.models import City
from examples.atlas.schemas import Id, Stats

router = APIRouter()


@router.get("/stats")
async def stats(atlas: TheAtlas) -> Stats:
    """What this process has asked of the database and of the cache."""
    counted = atlas.cache.statistics
    return Stats(
        process=os.getpid(),
        statements=atlas.statements,
        hits=counted.hits,
        misses=counted.misses,
        reasons={str(reason): number for reason, number in counted.miss_reasons.items()},
        fills=counted.fills,
        failures=counted.failures,
    )


@router.post("/cities/{id}/outdate", status_code=204)
async def outdate(id: Id, session: Reading) -> None:
    """After a write that SQLAlchemy has not sent: by psql, or by a program in another language."""
    await ainvalidate(session, City, id)
