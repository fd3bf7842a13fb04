"""Who takes part: a name, the cache servers it needs, and how to make its store."""

from collections.abc import Callable, Sequence
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
    is_control: bool = False
    """Whether it is there to show that the bench finds what is wrong."""


def _on_django(dsn: str, url: str) -> Store:
    from benchmarks.coherence.django_store import ours

    return ours(dsn, url)


def _on_core(dsn: str, url: str) -> Store:
    from benchmarks.coherence.core_store import CoreStore

    return CoreStore(dsn, url)


def _on_sqlalchemy(dsn: str, url: str) -> Store:
    from benchmarks.coherence.sqlalchemy_ours import OursOnSqlalchemy

    return OursOnSqlalchemy(dsn, url)


def _on_sqlalchemy_async(dsn: str, url: str) -> Store:
    from benchmarks.coherence.sqlalchemy_async import OursAwaited

    return OursAwaited(dsn, url)


def _control(dsn: str, url: str) -> Store:
    from benchmarks.coherence.rivals import control

    return control(dsn, url)


def _control_on_sqlalchemy(dsn: str, url: str) -> Store:
    from benchmarks.coherence.sqlalchemy_store import ControlOnSqlalchemy

    return ControlOnSqlalchemy(url, dsn)


def _aside(dsn: str, url: str) -> Store:
    from benchmarks.coherence.rivals import aside

    return aside(dsn, url)


def _cacheops(dsn: str, url: str) -> Store:
    from benchmarks.coherence.rivals import cacheops

    return cacheops(dsn, url)


PATHS: dict[str, Callable[[str, str], Store]] = {
    "django": _on_django,
    "sqlalchemy": _on_sqlalchemy,
    "sqlalchemy-async": _on_sqlalchemy_async,
    "core": _on_core,
}
"""How ours is driven: through the integration of an ORM, or as a plain cache beside psycopg. Others are added here."""

BACKENDS = ("redis", "memcached", "cluster", "sentinel", "fleet")
"""What ours can run on."""

RIVALS = {
    "control": Contestant("control", "no invalidation, TTL only", "redis", _control, is_control=True),
    "aside": Contestant("aside", "cache-aside, delete on commit", "redis", _aside),
    "cacheops": Contestant("cacheops", "django-cacheops", "redis", _cacheops),
}
"""All on Django."""

_CONTROL_ON_SQLALCHEMY = Contestant(
    "control-sqlalchemy", "no invalidation, TTL only, sqlalchemy", "redis", _control_on_sqlalchemy, is_control=True
)


def ours(backend: str, path: str) -> Contestant:
    """Ours on one kind of cache server, driven by one path."""
    return Contestant(f"{backend}-{path}", f"cachecore, {backend}, {path}", backend, PATHS[path], is_ours=True)


def line_up(names: Sequence[str], path: str) -> list[Contestant]:
    """The contestants of these names, each once, or those that compare best: ours, and the control, on that path."""
    on_sqlalchemy = path.startswith("sqlalchemy")
    if not names:
        names = ["redis", "memcached", *(["control"] if on_sqlalchemy else RIVALS)]
    found: list[Contestant] = []
    for name in dict.fromkeys(names):
        if name == "control" and on_sqlalchemy:
            found.append(_CONTROL_ON_SQLALCHEMY)
        else:
            found.append(RIVALS[name] if name in RIVALS else ours(name, path))
    return found


def named(name: str) -> Contestant:
    """The contestant of a name, as `Contestant.name` has it."""
    if name == _CONTROL_ON_SQLALCHEMY.name:
        return _CONTROL_ON_SQLALCHEMY
    return RIVALS[name] if name in RIVALS else ours(*name.split("-", 1))
