"""The short way of a read: the compiled one where it can be imported, else the pure one, which documents both.

``CACHECORE_IMPLEMENTATION`` steers it as it does `cachecore.keys`; ``implementation`` says which it is.
"""

from typing import TYPE_CHECKING

from cachecore.compiled import Implementation, choose

__all__ = ["ShortWay", "Values", "implementation"]

implementation: Implementation

if TYPE_CHECKING:
    from cachecore.backends.memcached._short_way_py import ShortWay, Values
else:
    _module, implementation = choose(
        "cachecore.backends.memcached._short_way_c", "cachecore.backends.memcached._short_way_py"
    )
    Values = _module.Values
    ShortWay = _module.ShortWay
