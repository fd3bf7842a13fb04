"""From a setting to a backend: ``memory://``, a name with a location, a dotted path, or what a distribution offers.

A backend's module, and with it its client library, is imported only when that backend is asked for.
"""

import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from cachecore.errors import ConfigurationError

ENTRY_POINT_GROUP = "cachecore.backends"
ASYNC_ENTRY_POINT_GROUP = "cachecore.async_backends"
"""Third parties register their factories here under the scheme of the URLs: of blocking and of awaited backends. What
never blocks is registered in both."""

BUILT_IN: Mapping[str, str] = {
    "memory": "memory",
    "null": "null",
    "redis": "redis",
    "rediss": "redis",
    "unix": "redis",
    "redis+sentinel": "redis",
    "rediss+sentinel": "redis",
    "redis+cluster": "redis",
    "rediss+cluster": "redis",
    "memcached": "memcached",
    "memcacheds": "memcached",
}
"""Scheme to the module of `cachecore.backends` that has its factories, ``from_url`` and ``async_from_url``."""

Factory = Callable[..., Any]
"""(url: str, options: dict of str or typed values) -> backend. Raises ConfigurationError for an unknown option."""


def make_backend(location: str, options: Mapping[str, Any] | None = None, *, awaited: bool = False) -> Any:
    """The backend at ``location``: a URL whose scheme is a known name, that name alone, or ``package.module:factory``
    (``package.module.factory``).

    ``options`` add to those in the URL's query. ``awaited`` asks for the backend whose calls are coroutines; what
    never blocks is the same in both. Raises ConfigurationError, naming the location without its password, if there is
    none such.
    """
    if "://" not in location and (":" in location or "." in location):
        path = location if ":" in location else ":".join(location.rsplit(".", 1))
        return _import(path)(location, dict(options or {}))
    # What only URLs and entry points need is imported when there is one: importing this package is to be quick.
    from urllib.parse import parse_qsl

    url = location if "://" in location else f"{location}://"
    # Not by urlsplit: what stands between is the backend's business, and urlsplit refuses lists of hosts with an IPv6
    # address behind another (CPython 3.13.2, 3.12.9, 3.11.12; gh-105704).
    scheme, _, rest = url.partition("://")
    query = rest.partition("#")[0].partition("?")[2]
    try:
        chosen = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        # What it cannot read may be the end of a password.
        raise ConfigurationError(
            f"{_public(location)!r} is not the URL of a cache backend: behind its ? there must be name=value&name=value"
        ) from None
    return _factory(scheme.lower(), location, awaited)(url, {**dict(chosen), **(options or {})})


def same_backend(one: str, other: str) -> bool:
    """Whether two schemes are of one backend, such as "redis" and "rediss". Upper and lower case are one."""
    one, other = one.lower(), other.lower()
    return one == other or _module(one) == _module(other) != ""


def _module(scheme: str) -> str:
    """The module that has the factory of a scheme; "" if nobody offers one."""
    return BUILT_IN.get(scheme) or next((entry.module for name, entry in _offered(False).items() if name == scheme), "")


def _offered(awaited: bool) -> dict[str, Any]:
    """What distributions offer, by scheme."""
    import importlib.metadata

    group = ASYNC_ENTRY_POINT_GROUP if awaited else ENTRY_POINT_GROUP
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=group)}


def _factory(scheme: str, location: str, awaited: bool) -> Factory:
    if scheme in BUILT_IN:
        module = BUILT_IN[scheme]
        hint = f"pip install 'cachecore[{module}]'"
        return _import(f"cachecore.backends.{module}:{'async_from_url' if awaited else 'from_url'}", hint)
    offered = _offered(awaited)
    if scheme in offered:
        entry = offered[scheme]
        return _import(f"{entry.module}:{entry.attr}")
    known = ", ".join(sorted({*BUILT_IN, *offered}))
    raise ConfigurationError(f"unknown cache backend {scheme!r} in {_public(location)!r}; there are {known}")


def _import(path: str, hint: str = "") -> Factory:
    module, _, name = path.partition(":")
    try:
        found: Factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        advice = f"; {hint}" if hint and isinstance(error, ModuleNotFoundError) else ""
        raise ConfigurationError(f"cannot import the cache backend {path!r}: {error}{advice}") from error
    if not callable(found):
        raise ConfigurationError(f"the cache backend {path!r} is not a function that makes one, but {found!r}")
    return found


def _public(location: str) -> str:
    """The location as it may stand in a message or log: without a password."""
    return re.sub(r"(?<=://)([^/@:]*):[^/]*@", r"\1:***@", location)
