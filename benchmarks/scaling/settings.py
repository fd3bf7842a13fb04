"""Settings of the Django project of the scaling curves; the environment says where the servers are."""

import os

SECRET_KEY = "only for benchmarks"
USE_TZ = True
INSTALLED_APPS = ["cachecore.integrations.django", "benchmarks.scaling"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

FOLDER = os.environ.get("SCALING_FOLDER", "")
REDIS = os.environ.get("SCALING_REDIS", "redis://127.0.0.1")
MEMCACHED = os.environ.get("SCALING_MEMCACHED", "memcached://127.0.0.1")
POSTGRES = os.environ.get("SCALING_POSTGRES", "")

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{FOLDER}/scaling.sqlite3" if FOLDER else ":memory:"}
}
if POSTGRES:
    host, _, port = POSTGRES.rpartition(":")
    DATABASES["postgres"] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "postgres",
        "HOST": host,
        "PORT": port,
    }

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
_OURS = {"NAMESPACE": "scaling", "TTL": 3600}
_PATIENT = {"timeout": 10, "connect_timeout": 10}  # the machine may be busy, and a failure would look like speed
CACHECORE = {
    "default": {"BACKEND": "memory", "PROCESSES": 1, **_OURS},
    "redis": {"BACKEND": "redis", "LOCATION": REDIS, "OPTIONS": _PATIENT, **_OURS},
    "memcached": {"BACKEND": "memcached", "LOCATION": MEMCACHED, "OPTIONS": _PATIENT, **_OURS},
}
