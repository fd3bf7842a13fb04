"""What endpoints ask for: a session to read with, or a session whose transaction is the request."""

from collections.abc import AsyncIterator
from typing import Annotated, cast

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from examples.atlas.resources import Atlas


def the_atlas(request: Request) -> Atlas:
    """What the lifespan of the application has opened."""
    return cast(Atlas, request.state.atlas)


TheAtlas = Annotated[Atlas, Depends(the_atlas)]


async def reading(atlas: TheAtlas) -> AsyncIterator[AsyncSession]:
    """A new session. What is warm it reads without a connection to the database."""
    async with atlas.sessions() as session:
        yield session


async def writing(atlas: TheAtlas) -> AsyncIterator[AsyncSession]:
    """A session in a transaction, committed when the endpoint returns and rolled back when it raises."""
    async with atlas.sessions.begin() as session:
        yield session


Reading = Annotated[AsyncSession, Depends(reading)]

# Of the scope "function", so that COMMIT comes before the response. By default a dependency ends after the response
# was sent: who reads it could ask again before the commit, and an error of COMMIT would come too late to be told.
Writing = Annotated[AsyncSession, Depends(writing, scope="function")]
