"""cachecore for Django: ``Model.objects.get_from_cache(slug="oslo-no")``, coherent with the database.

Put ``"cachecore.integrations.django"`` into INSTALLED_APPS, describe the caches in the setting CACHECORE, and give a
model a `CacheManager`.
"""

from cachecore.integrations.django.conf import caches
from cachecore.integrations.django.connection import CommitRefused
from cachecore.integrations.django.manager import CacheManager, CacheQuerySet
from cachecore.integrations.django.tracking import ChangeTracking

__all__ = ["CacheManager", "CacheQuerySet", "ChangeTracking", "CommitRefused", "caches"]
