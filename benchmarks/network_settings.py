"""Settings of the network benchmarks: those of the whole path, and cacheops. The addresses of the servers are set when
they have started."""

from benchmarks.django_settings import CACHECORE, CACHES, DATABASES, DEFAULT_AUTO_FIELD, SECRET_KEY, USE_TZ
from benchmarks.django_settings import INSTALLED_APPS as _APPS

__all__ = ["CACHECORE", "CACHES", "DATABASES", "DEFAULT_AUTO_FIELD", "SECRET_KEY", "USE_TZ"]

INSTALLED_APPS = [*_APPS, "cacheops"]
CACHEOPS = {"benchmarks.cacheopsrow": {"ops": {"get"}, "timeout": 3600}}
CACHEOPS_REDIS = "redis://localhost"
