"""cachecore for Django: ``Model.objects.get_from_cache(slug="oslo-no")``, coherent with the database.

Put ``"cachecore.integrations.django"`` into INSTALLED_APPS, describe the caches in the setting CACHECORE, and give a
model a `CacheManager`.
"""

from cachecore.integrations.django.conf import caches
from cachecore.integrations.django.depends_on import DependsOn
from cachecore.integrations.django.functions import cached_function
from cachecore.integrations.django.local import clear_local_cache, local_cache
from cachecore.integrations.django.manager import CacheManager, CacheQuerySet
from cachecore.integrations.django.mappings import MappingManager
from cachecore.integrations.django.operators.audit import audit
from cachecore.integrations.django.operators.audit_report import AuditReport, Difference
from cachecore.integrations.django.registration import from_cache, register
from cachecore.integrations.django.relations.following import follow_from_cache
from cachecore.integrations.django.relations.prefetch import aprefetch_from_cache, prefetch_from_cache
from cachecore.integrations.django.switches import cache_bypassed
from cachecore.integrations.django.tracking import ChangeTracking
from cachecore.integrations.django.writing.connection import CommitRefused
from cachecore.integrations.django.writing.invalidation import ainvalidate, invalidate

__all__ = [
    "AuditReport",
    "CacheManager",
    "CacheQuerySet",
    "ChangeTracking",
    "CommitRefused",
    "DependsOn",
    "Difference",
    "MappingManager",
    "ainvalidate",
    "aprefetch_from_cache",
    "audit",
    "cache_bypassed",
    "cached_function",
    "caches",
    "clear_local_cache",
    "follow_from_cache",
    "from_cache",
    "invalidate",
    "local_cache",
    "prefetch_from_cache",
    "register",
]
