"""A few keys asked for in one call: the compiled one where it can be imported, else the pure one, which documents both.

``CACHECORE_IMPLEMENTATION`` steers it as it does `cachecore.keys`; ``implementation`` says which it is.
"""

from typing import TYPE_CHECKING

from cachecore.compiled import Implementation, choose

__all__ = ["StraightLink", "implementation", "lease_request", "plain_value", "plain_values"]

implementation: Implementation

if TYPE_CHECKING:
    from cachecore.backends.redis._straight_py import StraightLink, lease_request, plain_value, plain_values
else:
    _module, implementation = choose("cachecore.backends.redis._straight_c", "cachecore.backends.redis._straight_py")
    StraightLink = _module.StraightLink
    lease_request = _module.lease_request
    plain_value = _module.plain_value
    plain_values = _module.plain_values
