"""What the tests of the Django integration share: the cache servers they use and how they look at them."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from django.db import connections, transaction

from cachecore.integrations.django import caches
from cachecore.testing.fake import FakeBackend

FAKE = {"default": {"BACKEND": "tests.geo_app.caching.make_fake", "NAMESPACE": "tests", "REPLAY": False}}
REFUSING = {"default": {**FAKE["default"], "POLICY": {"unreachable": "refuse"}}}
savepoint: Callable[[], str] = getattr(transaction, "savepoint_create", None) or transaction.savepoint
"""Django 6.1 has given it another name."""

MEMORY = {"default": {"BACKEND": "memory", "NAMESPACE": "tests", "PROCESSES": 1}}


def make_fake(url: str, options: Mapping[str, Any]) -> FakeBackend:
    """The factory of a server that keeps bytes, as a remote one does."""
    return FakeBackend(**options)


def server() -> FakeBackend:
    """The fake server that the default cache uses now."""
    backend = caches["default"].backend
    assert isinstance(backend, FakeBackend)
    return backend


def norwegian_cities(norway: Any) -> list[Any]:
    """Three cities of a country, which no cache has."""
    from tests.geo_app.models import City  # here, for settings name this module before there are models

    names = ("Oslo", "Bergen", "Trondheim")
    return [City.objects.create(slug=name.lower(), name=name, country=norway) for name in names]


def behind_the_back(sql: str, using: str = "default") -> None:
    """Execute SQL by the driver of the connection, where nobody watches."""
    cursor = connections[using].connection.cursor()
    cursor.execute(sql)
    cursor.close()


def forget_all(*models: Any) -> None:
    """Lose everything that was cached, on the server and what this process remembers of these models."""
    caches["default"].clear()
    for model in models:
        model.objects._current().records.forget_claims()


class Parallel:
    """Threads of a test: their errors are the test's errors, and their connections are closed."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def start(self, function: Callable[..., Any], *args: Any) -> threading.Thread:
        """Run ``function`` in a thread."""
        thread = threading.Thread(target=self._run, args=(function, args), daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _run(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            function(*args)
        except BaseException as error:
            self._errors.append(error)
        finally:
            connections.close_all()

    def join(self) -> None:
        """Wait for all; raises the first error of any."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a thread of the test hangs"
        if self._errors:
            raise self._errors.pop(0)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """The result of ``function`` in a thread of its own, on a connection of its own."""
        results: list[Any] = []
        self.start(lambda: results.append(function(*args)))
        self.join()
        return results[0]
