"""The Django application: connects the cache to the writes of the ORM and registers the system checks."""

from django.apps import AppConfig
from django.db import connections
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate


class CachecoreConfig(AppConfig):
    """Installed as ``"cachecore.integrations.django"``."""

    name = "cachecore.integrations.django"
    label = "cachecore"
    verbose_name = "cachecore"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from cachecore.integrations.django import checks, writes
        from cachecore.integrations.django.connection import attach, on_connection_created

        writes.connect_all()
        checks.register_all()
        connection_created.connect(on_connection_created, dispatch_uid="cachecore.connection_created")
        post_migrate.connect(writes.on_post_migrate, dispatch_uid="cachecore.post_migrate")
        for connection in connections.all(initialized_only=True):
            attach(connection)
