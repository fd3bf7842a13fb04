"""Which aliases of DATABASES lead to one database: a row has one key, whichever alias it is read or written by."""

from collections.abc import Mapping
from typing import Any

from django.db import connections


def database_of(alias: str) -> str:
    """The first alias that connects to the database ``alias`` connects to, by ENGINE, HOST, PORT and NAME."""
    settings: Mapping[str, Mapping[str, Any]] = connections.settings
    place = _place(alias, settings[alias])
    return next(one for one, options in settings.items() if _place(one, options) == place)


def _place(alias: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    name = str(options["NAME"])
    if not name or "memory" in name:
        return (alias,)  # each connection to a database in memory has its own
    return (options["ENGINE"], str(options["HOST"]), str(options["PORT"]), name)
