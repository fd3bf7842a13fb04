"""A cache for database records that is fast and never lies.

Everything a user needs without an ORM is here; ``cachecore.integrations`` adapts it to Django.
"""

from cachecore import keys
from cachecore.cache import AsyncCache, Cache
from cachecore.codec import Column
from cachecore.errors import CachecoreError
from cachecore.keys import make_key, make_keys
from cachecore.policy import Policy

__all__ = ["AsyncCache", "Cache", "CachecoreError", "Column", "Policy", "keys", "make_key", "make_keys"]
