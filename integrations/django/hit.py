"""The straight path of a hit: the compiled path where it can be imported, else the pure one, which documents both.

``CACHECORE_IMPLEMENTATION`` steers it as it does `cachecore.keys`; ``implementation`` says which it is.
"""

from typing import TYPE_CHECKING

from cachecore.compiled import Implementation, choose
from cachecore.integrations.django._hit_py import Plan

__all__ = ["HitPath", "Plan", "SharedPath", "implementation"]

implementation: Implementation

if TYPE_CHECKING:
    from cachecore.integrations.django._hit_py import HitPath, SharedPath
else:
    _module, implementation = choose("cachecore.integrations.django._hit_c", "cachecore.integrations.django._hit_py")
    HitPath = _module.HitPath
    SharedPath = _module.SharedPath
