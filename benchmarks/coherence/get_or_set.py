"""The control: a cache that never invalidates, before whatever store reads the database."""

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import redis

from benchmarks.coherence.terms import TIMEOUT, TTL
from benchmarks.coherence.world import State


class GetOrSet:
    """Get, or read the database and set: nothing ever removes a value but its TTL.

    To be put before a store among a class's bases. url: of the Redis server; ``store``: what the store is made of.
    """

    def __init__(self, url: str, *store: Any) -> None:
        super().__init__(*store)
        self._redis = redis.Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)

    def by_pk(self, pk: int) -> State | None:
        return self._get(f"row:pk:{pk}", lambda: super(GetOrSet, self).by_pk(pk))  # type: ignore[misc]

    def by_slug(self, slug: str) -> State | None:
        return self._get(f"row:slug:{slug}", lambda: super(GetOrSet, self).by_slug(slug))  # type: ignore[misc]

    def many(self, pks: Sequence[int]) -> list[State]:
        return [state for pk in pks if (state := self.by_pk(pk)) is not None]

    def _get(self, key: str, query: Callable[[], State | None]) -> State | None:
        stored: Any = self._tolerant(self._redis.get, key)
        if stored is not None:
            return State(*pickle.loads(stored))
        state = query()
        if state is not None:
            self._tolerant(self._redis.set, key, pickle.dumps(tuple(state)), ex=TTL)
        return state

    def _tolerant(self, call: Any, *arguments: Any, **options: Any) -> Any:
        """What a cache that is away must not break: the answer is then None."""
        try:
            return call(*arguments, **options)
        except redis.RedisError:
            return None
