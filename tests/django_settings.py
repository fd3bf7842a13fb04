"""Settings of the Django project that the tests run in: SQLite files in WAL mode, as several threads need them."""

import atexit
import shutil
import tempfile
from pathlib import Path

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
DATABASES = {
    "default": {**_SQLITE, "TEST": {"NAME": str(_FOLDER / "test.sqlite3")}},
    "twin": {**_SQLITE, "TEST": {"MIRROR": "default"}},  # another alias of the same database
    "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
CACHECORE = {"default": {"BACKEND": "memory", "NAMESPACE": "tests", "PROCESSES": 1}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
