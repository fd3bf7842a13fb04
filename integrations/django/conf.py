"""The CACHECORE setting, and the caches made from it.

CACHECORE = {
    "default": {
        "BACKEND": "memory",        # a name, or the dotted path of a factory
        "LOCATION": "",             # a URL, where the backend has an address
        "NAMESPACE": "shop",        # required: keeps this application's keys apart
        "TTL": 300,                 # seconds; None: until evicted
        "SECRET": None,             # bytes or str: keyed hashes
        "OPTIONS": {},              # of the backend
        "POLICY": {},               # fields of cachecore.Policy
        "PROCESSES": None,          # 1 states that one process serves, so that "memory" keeps the promise
        "REPLAY": True,             # False: only the command replays the journal, and no process by itself
        "LOCAL": False,             # True: each request and task remembers what it has read (local.py)
    }
}

CACHECORE_MODELS = {                # models of other applications, as `register` takes them
    "auth.User": {"cache_fields": ["username"]},
}
CACHECORE_DISABLED_MODELS = []      # "app.Model" or "*": read from the database; their writes outdate as ever
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from django.conf import settings
from django.core.signals import setting_changed

from cachecore.cache import Cache
from cachecore.errors import ClosedError, ConfigurationError
from cachecore.policy import Policy
from cachecore.registry import same_backend

DEFAULT_CACHE = "default"
NULL = "null://"
"""Switches caching off: the LOCATION and OPTIONS of the backend it stands for may stay as they are."""

MODELS = "CACHECORE_MODELS"
DISABLED_MODELS = "CACHECORE_DISABLED_MODELS"

KNOWN = frozenset(
    {"BACKEND", "LOCATION", "NAMESPACE", "TTL", "SECRET", "OPTIONS", "POLICY", "PROCESSES", "REPLAY", "LOCAL"}
)


def configured() -> Mapping[str, Mapping[str, Any]]:
    """The setting, checked for its shape. Raises ConfigurationError naming what is wrong."""
    value: object = getattr(settings, "CACHECORE", None)
    example = 'such as {"default": {"BACKEND": "memory", "NAMESPACE": "shop"}}'
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"CACHECORE must be a dict of caches, {example}, not {value!r}")
    caches = cast("Mapping[str, object]", value)
    if DEFAULT_CACHE not in caches:
        raise ConfigurationError(f'CACHECORE has no "default" cache, {example}; it has {list(caches)!r}')
    for alias, options in caches.items():
        if not isinstance(options, Mapping):
            raise ConfigurationError(f"CACHECORE[{alias!r}] must be a dict, {example}, not {options!r}")
        unknown = sorted(str(name) for name in cast("Mapping[object, object]", options) if name not in KNOWN)
        if unknown:
            raise ConfigurationError(
                f"CACHECORE[{alias!r}] has no option {unknown[0]!r}; there are {', '.join(sorted(KNOWN))}"
            )
    return cast("Mapping[str, Mapping[str, Any]]", caches)


def registered_models() -> Mapping[str, Mapping[str, Any]]:
    """CACHECORE_MODELS, checked for its shape; {} if it is not set. Raises ConfigurationError."""
    value: object = getattr(settings, MODELS, {})
    example = 'such as {"auth.User": {"cache_fields": ["username"]}}'
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{MODELS} must be a dict of models, {example}, not {value!r}")
    for label, options in cast("Mapping[object, object]", value).items():
        if not isinstance(label, str) or not isinstance(options, Mapping):
            raise ConfigurationError(f"{MODELS}[{label!r}] must be a dict of options, {example}, not {options!r}")
    return cast("Mapping[str, Mapping[str, Any]]", value)


def disabled_models() -> Sequence[str]:
    """CACHECORE_DISABLED_MODELS, checked for its shape; empty if it is not set. Raises ConfigurationError."""
    value: object = getattr(settings, DISABLED_MODELS, ())
    labels = cast("Sequence[object]", value)
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(label, str) for label in labels):
        raise ConfigurationError(f'{DISABLED_MODELS} must be a list of models such as "auth.User", not {value!r}')
    return cast("Sequence[str]", list(labels))


def make_cache(alias: str) -> Cache:
    """A new cache as CACHECORE[alias] says. Raises ConfigurationError naming the option and its value."""
    caches = configured()
    if alias not in caches:
        raise ConfigurationError(f"CACHECORE has no cache {alias!r}; there are {', '.join(caches)}")
    options = caches[alias]
    try:
        return _make(options)
    except (ConfigurationError, TypeError) as error:
        raise ConfigurationError(f"CACHECORE[{alias!r}]: {error}") from error


def _make(options: Mapping[str, Any]) -> Cache:
    for name in ("BACKEND", "NAMESPACE"):
        if not isinstance(options.get(name), str) or not options[name]:
            raise ConfigurationError(f"{name} must be a non-empty str, not {options.get(name)!r}")
    secret = options.get("SECRET")
    for name in ("OPTIONS", "POLICY"):
        if not isinstance(options.get(name) or {}, Mapping):
            raise ConfigurationError(f"{name} must be a dict, not {options[name]!r}")
    for name, default in (("REPLAY", True), ("LOCAL", False)):
        if not isinstance(options.get(name, default), bool):
            raise ConfigurationError(f"{name} must be True or False, not {options[name]!r}")
    policy_options: dict[str, Any] = dict(options.get("POLICY") or {})
    fields = sorted(Policy.names() - {"ttl"})
    unknown = sorted(str(name) for name in policy_options if name not in fields)
    if unknown:
        raise ConfigurationError(
            f"POLICY has no field {unknown[0]!r}; there are {', '.join(fields)}, and TTL beside it"
        )
    location = location_of(options)
    return Cache(
        location,
        namespace=options["NAMESPACE"],
        ttl=options.get("TTL", 300),
        secret=secret.encode() if isinstance(secret, str) else secret,
        options={} if location == NULL else options.get("OPTIONS") or {},
        policy=Policy(**policy_options),
    )


def location_of(options: Mapping[str, Any]) -> str:
    """The location the registry understands: a URL, ``name://`` or ``package.module:factory``."""
    backend: str = options["BACKEND"]
    location: str = options.get("LOCATION") or ""
    if "." in backend or ":" in backend:
        if location:
            raise ConfigurationError(f"the factory {backend!r} is told of OPTIONS, not of a LOCATION; put it there")
        return backend if ":" in backend else ":".join(backend.rsplit(".", 1))
    if not location:
        return f"{backend}://"
    if "://" not in location:
        raise ConfigurationError(f"LOCATION must be a URL such as {backend}://host:port, not {location!r}")
    if backend == "null":
        return NULL
    scheme = location.partition("://")[0]
    if not same_backend(backend, scheme):
        raise ConfigurationError(f"BACKEND {backend!r} does not go with the LOCATION {scheme}://...")
    return location


class Caches:
    """The caches of this process, made when first asked for and again after the setting changed."""

    def __init__(self) -> None:
        self._caches: dict[str, Cache] = {}
        self._lock = threading.Lock()
        self.on_close: list[Callable[[], None]] = []
        """Called when the caches are closed, so that what was built on them can be dropped."""
        self.on_make: list[Callable[[Cache], None]] = []
        """Called with each cache that has been made."""

    def __getitem__(self, alias: str) -> Cache:
        cache = self._caches.get(alias)
        if cache is None:
            with self._lock:
                cache = self._caches.get(alias)
                if cache is None:
                    cache = self._caches[alias] = make_cache(alias)
                    for tell in self.on_make:
                        tell(cache)
        return cache

    def made(self) -> Iterable[Cache]:
        """Those that have been used so far."""
        return list(self._caches.values())

    def alias_of(self, cache: Cache) -> str:
        """The alias of a cache that was got here. Raises ClosedError when it has been closed."""
        for alias, one in list(self._caches.items()):
            if one is cache:
                return alias
        raise ClosedError("this cache has been closed")

    def close(self) -> None:
        """Close all; the next use makes them anew."""
        with self._lock:
            caches, self._caches = self._caches, {}
        for drop in self.on_close:
            drop()
        for cache in caches.values():
            cache.close()


caches = Caches()


def _on_setting_changed(*, setting: str, **_: Any) -> None:
    if setting == "CACHECORE":
        caches.close()


setting_changed.connect(_on_setting_changed, dispatch_uid="cachecore.settings")
