"""What Django's errors and connections say of `cachecore.outcomes`."""

from typing import Any

from django import db
from django.db.backends.base.base import BaseDatabaseWrapper

from cachecore import outcomes


def has_ended(error: BaseException) -> bool:
    """Whether the database itself has reported this error of a statement, or it was never sent."""
    return outcomes.has_ended(error, db, error.__cause__)


def is_under_way(connection: BaseDatabaseWrapper) -> bool:
    """Whether the connection of the driver itself says that a transaction is open. What cannot say so says no."""
    return outcomes.is_under_way(connection.connection)


def is_pipelined(connection: BaseDatabaseWrapper) -> bool:
    """Whether statements are being sent whose answers nobody waits for: psycopg's pipelines."""
    pgconn: Any = getattr(connection.connection, "pgconn", None)
    return connection.vendor == "postgresql" and bool(getattr(pgconn, "pipeline_status", 0))
