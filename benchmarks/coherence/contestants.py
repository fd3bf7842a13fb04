"""Who takes part: a name, the cache servers it needs, and how to make its store."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.coherence.store import Store


@dataclass(frozen=True)
class Contestant:
    """``farm``: the kind of its cache servers. ``make``: (database dsn, cache url) -> store, once per process tree."""

    name: str
    title: str
    farm: str
    make: Callable[[str, str], Store]
    is_ours: bool = False


def _on_django(dsn: str, url: str) -> Store:
    from benchmarks.coherence.django_store import ours

    return ours(dsn, url)


def _on_core(dsn: str, url: str) -> Store:
    from benchmarks.coherence.core_store import CoreStore

    return CoreStore(dsn, url)


def _control(dsn: str, url: str) -> Store:
    from benchmarks.coherence.rivals import control

    return control(dsn, url)


def _aside(dsn: str, url: str) -> Store:
    from benchmarks.coherence.rivals import aside

    return aside(dsn, url)


def _cacheops(dsn: str, url: str) -> Store:
    from benchmarks.coherence.rivals import cacheops

    return cacheops(dsn, url)


PATHS: dict[str, Callable[[str, str], Store]] = {"django": _on_django, "core": _on_core}
"""How ours is driven: through the Django integration, or as a plain cache beside psycopg. Other ORMs are added here."""

BACKENDS = ("redis", "memcached", "cluster", "sentinel", "fleet")
"""What ours can run on."""

RIVALS = {
    "control": Contestant("control", "no invalidation, TTL only", "redis", _control),
    "aside": Contestant("aside", "cache-aside, delete on commit", "redis", _aside),
    "cacheops": Contestant("cacheops", "django-cacheops", "redis", _cacheops),
}


def ours(backend: str, path: str) -> Contestant:
    """Ours on one kind of cache server, driven by one path."""
    return Contestant(f"{backend}-{path}", f"cachecore, {backend}, {path}", backend, PATHS[path], is_ours=True)


def named(name: str) -> Contestant:
    """The contestant of a name, as `Contestant.name` has it."""
    return RIVALS[name] if name in RIVALS else ours(*name.rsplit("-", 1))
