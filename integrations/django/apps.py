"""The Django application: connects the cache to the writes of the ORM and registers the system checks."""

from django.apps import AppConfig
from django.db import connections
from django.db.backends.signals import connection_created


class CachecoreConfig(AppConfig):
    """Installed as ``"cachecore.integrations.django"``."""

    name = "cachecore.integrations.django"
    label = "cachecore"
    verbose_name = "cachecore"

    def ready(self) -> None:
        from cachecore.integrations.django import checks, writes
        from cachecore.integrations.django.connection import attach, on_connection_created

        writes.connect_all()
        checks.register_all()
        connection_created.connect(on_connection_created, dispatch_uid="cachecore.connection_created")
        for connection in connections.all(initialized_only=True):
            attach(connection)
