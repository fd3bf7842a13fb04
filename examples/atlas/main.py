"""The application: ``uvicorn examples.atlas.main:app``."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError, NoResultFound
from sqlalchemy.orm.exc import StaleDataError

from cachecore.errors import BackendError
from examples.atlas import operations, reading, writing
from examples.atlas.resources import Atlas, opened
from examples.atlas.settings import Settings


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[dict[str, Atlas], None]:
    """Engine and cache belong to the event loop that serves: made when it begins, closed when it ends."""
    async with opened(Settings.of()) as atlas:
        yield {"atlas": atlas}


app = FastAPI(title="Atlas", lifespan=lifespan)
app.include_router(reading.router)
app.include_router(writing.router)
app.include_router(operations.router)


@app.exception_handler(NoResultFound)
async def nothing_there(_: Request, error: Exception) -> JSONResponse:
    """What `aget_one_from_cache` raises."""
    return JSONResponse({"detail": str(error)}, 404)


@app.exception_handler(IntegrityError)
@app.exception_handler(StaleDataError)
async def conflict(_: Request, error: Exception) -> JSONResponse:
    """A name that is taken, or a row that another has written since this request has read it."""
    return JSONResponse({"detail": type(error).__name__}, 409)


@app.exception_handler(BackendError)
async def cache_is_away(_: Request, error: Exception) -> JSONResponse:
    """A write that the cache could not be told of was rolled back (the policy "refuse"). No read ever comes here."""
    return JSONResponse({"detail": str(error)}, 503, headers={"Retry-After": "1"})
