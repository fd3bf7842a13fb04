"""The demo with SQLAlchemy's sessions: `start` sets it up."""

from pathlib import Path

from examples.demo.application import Application


def start(database: Path, cache: str, namespace: str) -> Application:
    """The application.

    database: the file of its SQLite database, which is made.
    cache: a URL.

    Raises CachecoreError if the cache cannot be used.
    """
    from examples.demo.with_sqlalchemy.application import SQLAlchemyApplication

    return SQLAlchemyApplication(database, cache, namespace)
