"""The attributes of an instance, from the values of a row: most of what a hit costs.

What sets them comes compiled or in pure Python; `implementation` says which.
"""

from typing import TYPE_CHECKING

from cachecore.compiled import Implementation, choose

__all__ = ["attributes_filler", "implementation"]

implementation: Implementation

if TYPE_CHECKING:
    from cachecore._attributes_py import attributes_filler
else:
    _module, implementation = choose("cachecore._attributes_c", "cachecore._attributes_py")
    attributes_filler = _module.attributes_filler
