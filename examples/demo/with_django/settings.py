"""Settings of the demo. Three things come from the environment, where `start` puts them."""

from os import environ

from examples.demo.application import TTL

SECRET_KEY = "only for the demo"
USE_TZ = True
INSTALLED_APPS = ["cachecore.integrations.django", "examples.demo.with_django.geo"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": environ["CACHECORE_DEMO_DATABASE"],
        "OPTIONS": {
            # Readers go on while somebody writes; BEGIN waits for the other writer instead of failing later.
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    }
}
CACHECORE = {
    "default": {
        "BACKEND": environ["CACHECORE_DEMO_CACHE"].partition(":")[0],
        "LOCATION": environ["CACHECORE_DEMO_CACHE"],
        # A server may still hold the rows of another run, whose database is gone.
        "NAMESPACE": environ["CACHECORE_DEMO_NAMESPACE"],
        "TTL": TTL,
        "PROCESSES": 1,  # the demo is one process, so an in-process cache keeps the promise
    }
}
# What the control run stores its answers in.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "TIMEOUT": TTL,
        "OPTIONS": {"MAX_ENTRIES": 1_000_000},
    }
}
