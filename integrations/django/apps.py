"""The Django application: connects the cache to the writes of the ORM and registers the system checks."""

from django.apps import AppConfig
from django.db import connections
from django.db.backends.signals import connection_created


class CachecoreConfig(AppConfig):
    """Installed as ``"cachecore.integrations.django"``."""

    name = "cachecore.integrations.django"
    label = "cachecore"
    verbose_name = "cachecore"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from cachecore.integrations.django import checks, functions, registration, switches
        from cachecore.integrations.django.local import blocks as local_blocks
        from cachecore.integrations.django.relations import following
        from cachecore.integrations.django.writing import sql_writes, writes
        from cachecore.integrations.django.writing.connection import attach, on_connection_created

        registration.register_settings()
        registration.declare_all()
        switches.obey_settings()
        writes.connect_all()
        sql_writes.install()
        functions.connect_waiting()
        following.connect_all()
        local_blocks.connect()
        checks.register_all()
        connection_created.connect(on_connection_created, dispatch_uid="cachecore.connection_created")
        for connection in connections.all(initialized_only=True):
            attach(connection)
