"""The demo as a Django project: `start` sets it up."""

import os
from pathlib import Path

from examples.demo.application import Application


def start(database: Path, cache: str, namespace: str) -> Application:
    """The application.

    database: the file of its SQLite database, which is made.
    cache: a URL.

    Raises CachecoreError if the cache cannot be used.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = "examples.demo.with_django.settings"
    os.environ["CACHECORE_DEMO_DATABASE"] = str(database)
    os.environ["CACHECORE_DEMO_CACHE"] = cache
    os.environ["CACHECORE_DEMO_NAMESPACE"] = namespace
    import django

    django.setup()
    from examples.demo.with_django.application import DjangoApplication

    return DjangoApplication()
