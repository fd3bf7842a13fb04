"""What ours is compared with: the cache that never invalidates, cache-aside with delete on commit, django-cacheops."""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from benchmarks.coherence.django_store import DjangoStore, configure
from benchmarks.coherence.get_or_set import GetOrSet
from benchmarks.coherence.terms import TIMEOUT, TTL


class Control(GetOrSet, DjangoStore):
    """The cache that never invalidates, before Django's ORM."""


class Aside(Control):
    """Set on a miss, delete after the commit: as everybody writes it."""

    def save(self, row: Any, number: int, slug: str | None = None) -> None:
        slugs = {row.slug, slug or row.slug}
        super().save(row, number, slug)
        self._outdate([row.pk], slugs)

    def save_number(self, pk: int, number: int) -> None:
        super().save_number(pk, number)
        self._outdate([pk], self._rows.filter(pk=pk).values_list("slug", flat=True))

    def update(self, first: int, last: int, number: int) -> None:
        found = list(self._rows.filter(pk__gte=first, pk__lte=last).values_list("pk", "slug"))
        super().update(first, last, number)
        self._outdate([pk for pk, _ in found], [slug for _, slug in found])

    def insert(self, pk: int, slug: str, number: int) -> None:
        super().insert(pk, slug, number)
        self._outdate([pk], [slug])

    def delete(self, row: Any) -> None:
        pk = row.pk
        super().delete(row)
        self._outdate([pk], [row.slug])

    def _outdate(self, pks: Sequence[int], slugs: Any) -> None:
        keys = [*(f"row:pk:{pk}" for pk in pks), *(f"row:slug:{slug}" for slug in slugs)]
        if keys:
            self._on_commit(partial(self._tolerant, self._redis.delete, *keys))


class Cacheops(DjangoStore):
    """django-cacheops, with the update that it offers for querysets whose rows are cached."""

    def __init__(self) -> None:
        super().__init__()
        import redis

        self.failures = (redis.RedisError,)

    def update(self, first: int, last: int, number: int) -> None:
        self._rows.filter(pk__gte=first, pk__lte=last).invalidated_update(number=number)


def control(dsn: str, url: str) -> Control:
    """The control on the Redis server at ``url``."""
    configure(dsn)
    return Control(url)


def aside(dsn: str, url: str) -> Aside:
    """Cache-aside on the Redis server at ``url``."""
    configure(dsn)
    return Aside(url)


def cacheops(dsn: str, url: str) -> Cacheops:
    """django-cacheops on the Redis server at ``url``: by its defaults, but that it bears the loss of the server."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    warnings.filterwarnings("ignore", "The cacheops cache")
    place = urlsplit(url)
    client = {"host": place.hostname, "port": place.port, "socket_timeout": TIMEOUT, "retry": Retry(NoBackoff(), 0)}
    configure(
        dsn,
        ["cacheops"],
        CACHEOPS_REDIS={**client, "socket_connect_timeout": TIMEOUT},
        CACHEOPS={"shop.row": {"ops": {"get", "fetch"}, "timeout": TTL}},
        CACHEOPS_DEGRADE_ON_FAILURE=True,
    )
    return Cacheops()
