"""Settings of the Django project that the tests run in.

CACHECORE_TEST_DATABASE says on which database: "sqlite" (the default: files in WAL mode, as several threads need them)
or "postgresql", a server that is started here and ends with this process. Processes started by this one, pytest-xdist's
workers among them, find it in CACHECORE_TEST_POSTGRESQL; each worker has a database of its own on it.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

# A file, because threads cannot share a database in memory; every process has its own, and leaves nothing behind.
_FOLDER = Path(tempfile.mkdtemp(prefix="cachecore-tests-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)

SECRET_KEY = "only for tests"
USE_TZ = True
ROOT_URLCONF = "tests.geo_app.urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "cachecore.integrations.django",
    "tests.django_app",
    "tests.geo_app",
    "tests.django_extras_app",
]
_SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": ":memory:",
    "OPTIONS": {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
    },
}


def _postgresql() -> dict[str, Any]:
    address = os.environ.get("CACHECORE_TEST_POSTGRESQL")
    if address is None:
        from cachecore.testing.servers import PostgresServer

        server = PostgresServer({"max_connections": "200"}).start()
        atexit.register(server.close)
        address = os.environ["CACHECORE_TEST_POSTGRESQL"] = f"{server.host}:{server.port}"
    host, port = address.split(":")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "cachecore",
        "USER": "postgres",
        "HOST": host,
        "PORT": port,
    }


_DATABASE = os.environ.get("CACHECORE_TEST_DATABASE") or "sqlite"
match _DATABASE:
    case "sqlite":
        _default = {**_SQLITE, "TEST": {"NAME": str(_FOLDER / "test.sqlite3")}}
    case "postgresql":
        _default = _postgresql()
    case _:
        raise ValueError(f"CACHECORE_TEST_DATABASE must be sqlite or postgresql, not {_DATABASE!r}")

DATABASES = {
    "default": _default,
    "twin": {**_default, "TEST": {"MIRROR": "default"}},  # another alias of the same database
    "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
CACHECORE = {"default": {"BACKEND": "memory", "NAMESPACE": "tests", "PROCESSES": 1}}
# Made with the tables of the tests' own applications, which have no migrations and point to them.
MIGRATION_MODULES = {"contenttypes": None, "auth": None}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
