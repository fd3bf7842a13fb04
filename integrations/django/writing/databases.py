"""Which aliases of DATABASES lead to one database: a row has one key, whichever alias it is read or written by."""

import os.path
from collections.abc import Mapping
from typing import Any

from django.db import connections


def database_of(alias: str) -> str:
    """The first alias that connects to the database ``alias`` connects to, by ENGINE, HOST, PORT and NAME."""
    settings: Mapping[str, Mapping[str, Any]] = connections.settings
    place = _place(alias, settings[alias])
    return next(one for one, options in settings.items() if _place(one, options) == place)


def _place(alias: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    engine, name = str(options["ENGINE"]), str(options["NAME"] or "")
    is_address = name.startswith("file:")
    if not name or name == ":memory:" or (is_address and "memory" in name):
        return (alias,)  # each connection to a database in memory has its own
    if "sqlite" in engine or "spatialite" in engine:
        return (engine, name if is_address else os.path.realpath(name))
    return (engine, str(options["HOST"]), str(options["PORT"]), name)
