"""Local caches for whole requests and tasks, where the setting asks for them: CACHECORE["default"]["LOCAL"] = True.

A request is what stands between Django's request_started and request_finished, its streamed body included. A task is
what stands between task_prerun and task_postrun of celery, if it is installed, and between task_started and
task_finished of django.tasks, which is there from Django 6.0 on.

Under ASGI a receiver of request_started cannot reach the context of the request before Django 6.0. There, and nowhere
else, `local_cache_middleware` is needed, which may stay afterwards.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from inspect import iscoroutinefunction
from typing import Any

from django.core.signals import request_finished, request_started, setting_changed
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from cachecore.errors import ConfigurationError
from cachecore.integrations.django.conf import configured
from cachecore.integrations.django.local import begin, end

_REQUEST, _TASK = "request", "task"


def chosen() -> frozenset[str]:
    """The caches that requests and tasks are to have in front of them; none if the setting is wrong, which the system
    checks report."""
    try:
        return frozenset(alias for alias, options in configured().items() if options.get("LOCAL"))
    except ConfigurationError:
        return frozenset()


_connected: list[tuple[Any, Callable[..., None]]] = []


def connect() -> None:
    """Listen to the beginnings and ends of requests and tasks, if any cache is to have a local one, else do not."""
    for signal, receiver in _connected:
        signal.disconnect(receiver)
    _connected.clear()
    if chosen():
        _connected.extend(_signals())
        for signal, receiver in _connected:
            signal.connect(receiver, weak=False)
    else:
        end(_TASK)  # whose ends nobody tells any more
        end(_REQUEST)


def _signals() -> list[tuple[Any, Callable[..., None]]]:
    found: list[tuple[Any, Callable[..., None]]] = [
        (request_started, _on_request_started),
        (request_finished, _on_request_finished),
    ]
    for module, begins, ends in (
        ("celery.signals", "task_prerun", "task_postrun"),
        ("django.tasks.signals", "task_started", "task_finished"),
    ):
        if _is_installed(module):
            signals = import_module(module)
            found += [(getattr(signals, begins), _on_task_begun), (getattr(signals, ends), _on_task_ended)]
    return found


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is not
        return False


def _on_request_started(**_: Any) -> None:
    begin(_REQUEST, chosen(), nested=False)


def _on_request_finished(**_: Any) -> None:
    end(_REQUEST)


def _on_task_begun(task: Any = None, **_: Any) -> None:
    # A worker runs one task after the other; but a task may also run another itself, as celery's eager ones do.
    is_eager = task is None or bool(getattr(getattr(task, "request", None), "is_eager", False))
    begin(_TASK, chosen(), nested=is_eager)


def _on_task_ended(**_: Any) -> None:
    end(_TASK)


def _on_setting_changed(*, setting: str, **_: Any) -> None:
    if setting == "CACHECORE":
        connect()


setting_changed.connect(_on_setting_changed, dispatch_uid="cachecore.local")


@sync_and_async_middleware
def local_cache_middleware(
    get_response: Callable[[HttpRequest], Any],
) -> Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """A middleware that gives each request its local cache, until its response is made but not while it is streamed."""
    if iscoroutinefunction(get_response):

        async def amiddleware(request: HttpRequest) -> HttpResponseBase:
            with _request():
                response: HttpResponseBase = await get_response(request)
            return response

        return amiddleware

    def middleware(request: HttpRequest) -> HttpResponseBase:
        with _request():
            response: HttpResponseBase = get_response(request)
        return response

    return middleware


@contextmanager
def _request() -> Generator[None, None, None]:
    caches = chosen()
    if not caches:
        yield
        return
    begin(_REQUEST, caches)
    try:
        yield
    finally:
        end(_REQUEST)
