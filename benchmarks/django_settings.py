"""Settings of the Django project that the whole-path benchmarks run in: SQLite in memory, Django's locmem cache."""

SECRET_KEY = "only for benchmarks"
USE_TZ = True
INSTALLED_APPS = ["cachecore.integrations.django", "benchmarks.app", "tests.django_app"]  # the last for bench_rows
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
CACHECORE = {"default": {"BACKEND": "memory", "NAMESPACE": "bench", "TTL": 3600, "PROCESSES": 1}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
