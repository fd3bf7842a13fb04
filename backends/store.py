"""The bounded map under the in-process backend: the compiled one where it can be imported, else the pure one.

``CACHECORE_IMPLEMENTATION`` in the environment forces ``cython`` or ``python``, and importing this module raises
ConfigurationError if that cannot be had. Unset or empty: the compiled one if it can be imported. What a store answers
and what it evicts is the same; ``implementation`` says which it is. ``_store_py`` documents both.
"""

from typing import TYPE_CHECKING

from cachecore.backends._store_py import (
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_ENTRIES,
    DEFAULT_POLICY,
    ENTRY_OVERHEAD,
    POLICIES,
    StoreStats,
)
from cachecore.compiled import Implementation, choose

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

implementation: Implementation

if TYPE_CHECKING:
    from cachecore.backends._store_py import Store
else:
    _module, implementation = choose("cachecore.backends._store_c", "cachecore.backends._store_py")
    Store = _module.Store
