"""From a setting to a backend: ``memory://``, a name with a location, a dotted path, or what a distribution offers.

A backend's module, and with it its client library, is imported only when that backend is asked for.
"""

import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from cachecore.errors import ConfigurationError

ENTRY_POINT_GROUP = "cachecore.backends"
"""Third parties register a factory here under the scheme of its URLs."""

BUILT_IN: Mapping[str, str] = {
    "memory": "cachecore.backends.memory:from_url",
    "null": "cachecore.backends.null:from_url",
}

Factory = Callable[..., Any]
"""(url: str, options: dict of str or typed values) -> backend. Raises ConfigurationError for an unknown option."""


def make_backend(location: str, options: Mapping[str, Any] | None = None) -> Any:
    """The backend at ``location``: a URL whose scheme is a known name, that name alone, or ``package.module:factory``
    (``package.module.factory``).

    ``options`` add to those in the URL's query. Raises ConfigurationError, naming the location without its password,
    if there is none such.
    """
    if "://" not in location and (":" in location or "." in location):
        path = location if ":" in location else ":".join(location.rsplit(".", 1))
        return _import(path)(location, dict(options or {}))
    # What only URLs and entry points need is imported when there is one: importing this package is to be quick.
    from urllib.parse import parse_qsl, urlsplit

    url = location if "://" in location else f"{location}://"
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise ConfigurationError(f"{_public(location)!r} is not the URL of a cache backend: {error}") from error
    return _factory(parts.scheme, location)(url, {**dict(query), **(options or {})})


def _factory(scheme: str, location: str) -> Factory:
    if scheme in BUILT_IN:
        return _import(BUILT_IN[scheme])
    import importlib.metadata

    offered = {entry.name: entry for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}
    if scheme in offered:
        entry = offered[scheme]
        return _import(f"{entry.module}:{entry.attr}")
    known = ", ".join(sorted({*BUILT_IN, *offered}))
    raise ConfigurationError(f"unknown cache backend {scheme!r} in {_public(location)!r}; there are {known}")


def _import(path: str) -> Factory:
    module, _, name = path.partition(":")
    try:
        found: Factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"cannot import the cache backend {path!r}: {error}") from error
    if not callable(found):
        raise ConfigurationError(f"the cache backend {path!r} is not a function that makes one, but {found!r}")
    return found


def _public(location: str) -> str:
    """The location as it may stand in a message or log: without a password."""
    return re.sub(r"(?<=://)([^/@:]*):[^/]*@", r"\1:***@", location)
