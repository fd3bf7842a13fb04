"""The straight path of hits in a shared cache: the compiled one where it can be imported, else the pure one.

``CACHECORE_IMPLEMENTATION`` steers it as it does `cachecore.keys`; ``implementation`` says which it is. The pure one
documents both.
"""

from typing import TYPE_CHECKING

from cachecore._shared_hits_py import Looked
from cachecore.compiled import Implementation, choose

__all__ = ["Looked", "SharedHits", "implementation"]

implementation: Implementation

if TYPE_CHECKING:
    from cachecore._shared_hits_py import SharedHits
else:
    _module, implementation = choose("cachecore._shared_hits_c", "cachecore._shared_hits_py")
    SharedHits = _module.SharedHits
