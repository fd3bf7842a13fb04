"""The bounded map under the in-process backend: the compiled one where it can be imported, else the pure one.

``CACHECORE_IMPLEMENTATION`` in the environment forces ``cython`` or ``python``, and importing this module raises
ConfigurationError if that cannot be had. Unset or empty: the compiled one if it can be imported. What a store answers
and what it evicts is the same; ``implementation`` says which it is. ``_store_py`` documents both.
"""

from os import environ
from typing import TYPE_CHECKING, Literal

from cachecore.backends._store_py import (
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_ENTRIES,
    DEFAULT_POLICY,
    ENTRY_OVERHEAD,
    POLICIES,
    StoreStats,
)
from cachecore.errors import ConfigurationError

__all__ = [
    "DEFAULT_MAX_BYTES",
    "DEFAULT_MAX_ENTRIES",
    "DEFAULT_POLICY",
    "ENTRY_OVERHEAD",
    "POLICIES",
    "Store",
    "StoreStats",
    "implementation",
]

implementation: Literal["cython", "python"]

if TYPE_CHECKING:
    from cachecore.backends._store_py import Store
else:
    _wanted = environ.get("CACHECORE_IMPLEMENTATION", "")
    if _wanted not in ("", "cython", "python"):
        raise ConfigurationError(f"CACHECORE_IMPLEMENTATION must be cython, python or unset, not {_wanted!r}")
    if _wanted == "python":
        from cachecore.backends._store_py import Store

        implementation = "python"
    else:
        try:
            from cachecore.backends._store_c import Store

            implementation = "cython"
        except ImportError as error:
            if _wanted == "cython":
                raise ConfigurationError(
                    f"CACHECORE_IMPLEMENTATION is cython, but the compiled store cannot be imported: {error}"
                ) from error
            from cachecore.backends._store_py import Store

            implementation = "python"
