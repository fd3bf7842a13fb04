"""Settings of the Django processes of `benchmarks.peers.django_hosts`: SQLite in memory, and one library that caches.

Two environment variables say which: BENCHMARKS_PEER names the process, BENCHMARKS_SERVERS holds the addresses of Redis
and memcached. Times to live are an hour everywhere; the rest is as each library's documentation shows it.
"""

import os

PEER = os.environ["BENCHMARKS_PEER"]
REDIS_URL, MEMCACHED = os.environ["BENCHMARKS_SERVERS"].split()
HOUR = 3600

SECRET_KEY = "only for benchmarks"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "TIMEOUT": HOUR,
        "OPTIONS": {"MAX_ENTRIES": 10_000},  # its 300 are fewer than what is read here
    },
    "redis": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL, "TIMEOUT": HOUR},
    "memcached": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": MEMCACHED,
        "TIMEOUT": HOUR,
    },
}
INSTALLED_APPS = ["benchmarks.peers.their_rows"]

if PEER == "ours":
    INSTALLED_APPS = ["cachecore.integrations.django", "benchmarks.peers.our_rows"]
    CACHECORE = {
        "default": {"BACKEND": "memory", "NAMESPACE": "bench", "TTL": HOUR, "PROCESSES": 1},
        "redis": {"BACKEND": "redis", "LOCATION": REDIS_URL, "NAMESPACE": "bench", "TTL": HOUR},
        "memcached": {
            "BACKEND": "memcached",
            "LOCATION": f"memcached://{MEMCACHED}",
            "NAMESPACE": "bench",
            "TTL": HOUR,
        },
    }
elif PEER == "cacheops":
    INSTALLED_APPS.append("cacheops")
    CACHEOPS_REDIS = REDIS_URL.rstrip("0123456789") + "1"  # a database of its own, as it asks for
    CACHEOPS = {"their_rows.row": {"ops": {"get", "fetch"}, "timeout": HOUR}}
elif PEER in ("cachalot, locmem", "cachalot, Redis"):
    INSTALLED_APPS.append("cachalot")
    CACHALOT_CACHE = "default" if PEER == "cachalot, locmem" else "redis"
    CACHALOT_TIMEOUT = HOUR
