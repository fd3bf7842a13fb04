"""What _straight_c offers; _straight_py says what it means."""

from cachecore.backends.redis._straight_py import StraightLink as StraightLink
from cachecore.backends.redis._straight_py import lease_request as lease_request
from cachecore.backends.redis._straight_py import plain_value as plain_value
from cachecore.backends.redis._straight_py import plain_values as plain_values
