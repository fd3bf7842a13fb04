"""Plain values in caches that are awaited: `AsyncCache` and cashews, holding the same values under keys of their own.

Each is asked for a value by `get`, or for a value that is made if it is not there: cashews by its decorator, ours by
`get_or_create`, which lets one caller of many make it. cashews does that where its decorator is told to lock, which it
is not here.
"""

import asyncio
import datetime
import uuid
import warnings
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from cachecore import AsyncCache

TTL = 3600
NUMBERS = range(1, 101)

Reader = Callable[[int], Awaitable[Any]]


def made(number: int) -> dict[str, Any]:
    """The value of a number: a row of twelve fields of the usual types."""
    return {
        "id": number,
        "slug": f"oslo-{number}",
        "name": f"Oslo {number}",
        "text": "The capital of Norway.",
        "created": datetime.datetime(2024, 2, 29, 12, 30, 1, 123_456, tzinfo=datetime.UTC),
        "price": Decimal("12.50"),
        "token": uuid.UUID(int=number),
        "active": True,
        "rank": None,
        "score": 59.9139,
        "day": datetime.date(2024, 2, 29),
        "note": "Seat of the king.",
    }


class Awaited:
    """A cache that is awaited."""

    name: ClassVar[str]
    """As it is shown."""

    async def get(self, number: int) -> Any:
        """The value of a number by its key; None if it is not there."""
        raise NotImplementedError

    async def get_or_create(self, number: int) -> Any:
        """The value of a number, made if it is not there."""
        raise NotImplementedError

    async def close(self) -> None:
        """End its connections."""
        raise NotImplementedError


class Ours(Awaited):
    """Ours at one location. A value comes as its own copy, decoded by our codec of values: nothing is unpickled."""

    name = "AsyncCache"

    def __init__(self, location: str) -> None:
        self._cache = AsyncCache(location, namespace="bench", ttl=TTL)

    async def get(self, number: int) -> Any:
        return await self._cache.get(f"row:{number}")

    async def get_or_create(self, number: int) -> Any:
        return await self._cache.get_or_create(f"row:{number}", lambda: made(number))

    async def close(self) -> None:
        await self._cache.close()


class Cashews(Awaited):
    """cashews at one location, with the options it is set up with.

    In memory it hands out the object that it holds, to every caller the same, unless it is told to pickle.
    """

    def __init__(self, location: str, **options: Any) -> None:
        from cashews import Cache

        self._cache = Cache()
        self._cache.setup(location, **options)
        self.get_or_create = self._cache(ttl=TTL, key="row:{number}")(self._made)  # type: ignore[method-assign]

    @staticmethod
    async def _made(number: int) -> Any:
        return made(number)

    async def get(self, number: int) -> Any:
        return await self._cache.get(f"row:{number}")

    async def close(self) -> None:
        with warnings.catch_warnings():
            # It closes its client of redis-py by a name that redis-py no longer likes.
            warnings.simplefilter("ignore", DeprecationWarning)
            await self._cache.close()


async def one_by_one(read: Reader, numbers: Sequence[int] = NUMBERS) -> list[Any]:
    """The values of all numbers, one after the other."""
    return [await read(number) for number in numbers]


async def at_once(read: Reader, numbers: Sequence[int] = NUMBERS) -> list[Any]:
    """The values of all numbers, each asked for by a task of its own."""
    return await asyncio.gather(*map(read, numbers))
