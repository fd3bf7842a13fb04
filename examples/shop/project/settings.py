"""Settings of the shop: SQLite and a cache in the process, or what the environment says.

SHOP_DATABASE    postgresql://user:password@host:port/name; the file of an SQLite database; default shop.sqlite3
SHOP_CACHE       redis://..., memcached://... and what else cachecore has; default memory://
SHOP_NAMESPACE   keeps the keys of this shop apart from others' on the same server; default "shop"
SHOP_LOCAL       1: each request remembers what it has read from a shared cache, and may show it a little old
SHOP_DISABLED    models whose rows are read from the database, such as "catalogue.Product,orders.Order", or "*"
SHOP_DEBUG       0: as in production; default 1
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "only for the example"
DEBUG = os.environ.get("SHOP_DEBUG", "1") == "1"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
USE_TZ = True
ROOT_URLCONF = "project.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
STATIC_URL = "static/"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "cachecore.integrations.django",
    "catalogue",
    "accounts",
    "orders",
]
MIDDLEWARE = [
    "project.middleware.costs",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "project.middleware.fresh",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# A page that needs no query should not need one for who is asking: the session is in a cookie, the user in the cache.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
AUTHENTICATION_BACKENDS = ["accounts.backends.CachedUsers"]


def database(where: str) -> dict[str, Any]:
    """One entry of DATABASES."""
    if "://" not in where:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": where,
            "OPTIONS": {
                # Readers go on while somebody writes; BEGIN waits for another writer instead of failing later.
                "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
            },
        }
    parts = urlsplit(where)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.removeprefix("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 60,
    }


# Each request is one transaction. Views that only read are excepted where they stand: catalogue/views.py says why.
DATABASES = {
    "default": {
        **database(os.environ.get("SHOP_DATABASE") or str(BASE_DIR / "shop.sqlite3")),
        "ATOMIC_REQUESTS": True,
    }
}

_CACHE = os.environ.get("SHOP_CACHE") or "memory://"
CACHECORE = {
    "default": {
        "BACKEND": _CACHE.partition(":")[0],
        "LOCATION": _CACHE,
        "NAMESPACE": os.environ.get("SHOP_NAMESPACE") or "shop",
        "TTL": 3600,
        # True of ``runserver`` alone. A cache in the process hears nothing of what other processes write, of a
        # ``manage.py reprice`` meanwhile say: for that set SHOP_CACHE.
        "PROCESSES": 1 if _CACHE.startswith("memory") else None,
        "LOCAL": os.environ.get("SHOP_LOCAL") == "1",
    }
}
# A model of another application, whose manager stays what it is: User.from_cache.get_from_cache(username="ada").
CACHECORE_MODELS = {"auth.User": {"cache_fields": ["username"]}}
CACHECORE_DISABLED_MODELS = [label for label in os.environ.get("SHOP_DISABLED", "").split(",") if label]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "cachecore": {"handlers": ["console"], "level": "WARNING"},
        "django.request": {"level": "ERROR"},  # not each page that does not exist
    },
}
