"""Tasks that run after the transaction that asks for them, in a thread: what celery does, with nothing to install."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import update_wrapper
from typing import Any, Generic, ParamSpec

from cachecore.integrations.django import local_cache
from django.db import connections, transaction

P = ParamSpec("P")

logger = logging.getLogger("cachecore")
_worker = ThreadPoolExecutor(1, "tasks")


class Task(Generic[P]):
    """A function that can be called, or asked for by ``delay``."""

    def __init__(self, function: Callable[P, Any]) -> None:
        self._function = function
        self.__name__: str
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Do it here and now."""
        return self._function(*args, **kwargs)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Do it in the background, once the open transaction is committed; never if it is rolled back."""

        def start() -> None:
            _worker.submit(self._run, args, kwargs)

        transaction.on_commit(start)

    def _run(self, args: Any, kwargs: Any) -> None:
        try:
            # What "LOCAL": True does for celery's tasks and Django's. A task that reads the same rows many times asks
            # the cache server once, and sees them as they were then.
            with local_cache():
                self._function(*args, **kwargs)
        except Exception:
            logger.exception("the task %s%r failed", self.__name__, args)
        finally:
            connections.close_all()


def task(function: Callable[P, Any]) -> Task[P]:
    """Make a task of a function."""
    return Task(function)
