"""Reading past the cache: a model whose cache is switched off in this process, and a block whose reads bypass it.

Theory of operation
-------------------
A switch changes where rows are read from and nothing else. Writes outdate as ever, because other processes go on
reading from the cache, and so will this one when the switch is thrown back.

Hits are the hot path, and while no switch is thrown they must not pay for switches. So there is one attribute,
`Switches.any`, which a manager looks at before each read; only if it is set does it ask more precisely.

A block is bypassed by its context: by its thread or asyncio task, and by those that are started in it and get a copy of
its context. They all go back to the cache when the block has ended, also those that still run.
"""

import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.apps import apps
from django.core.signals import setting_changed
from django.db import models

from cachecore.errors import ConfigurationError
from cachecore.integrations.django.conf import DISABLED_MODELS, disabled_models
from cachecore.integrations.django.declaration import concrete


class _Block:
    """One bypassed block, and the one that it stands in."""

    __slots__ = ("has_ended", "outer")

    def __init__(self, outer: "_Block | None") -> None:
        self.outer = outer
        self.has_ended = False

    @property
    def is_bypassed(self) -> bool:
        """Whether it, or one around it, goes on."""
        block: _Block | None = self
        while block is not None and block.has_ended:
            block = block.outer
        return block is not None


_block: ContextVar[_Block | None] = ContextVar("cachecore_bypassed", default=None)


class Switches:
    """The switches of this process."""

    def __init__(self) -> None:
        self.any = False
        """Whether a read must ask `bypasses`."""
        self._disabled: frozenset[type[models.Model]] = frozenset()
        self._blocks = 0
        self._lock = threading.Lock()

    def bypasses(self, model: type[models.Model]) -> bool:
        """Whether rows of this model are to be read from the database now, in this context."""
        block = _block.get()
        return concrete(model) in self._disabled or (block is not None and block.is_bypassed)

    def is_disabled(self, model: type[models.Model]) -> bool:
        """Whether the cache of this model is switched off in this process."""
        return concrete(model) in self._disabled

    def disable(self, chosen: Iterable[type[models.Model]]) -> None:
        """Read the rows of these models from the database from now on."""
        with self._lock:
            self._disabled |= {concrete(model) for model in chosen}
            self._update()

    def enable(self, chosen: Iterable[type[models.Model]]) -> None:
        """Read the rows of these models from the cache again."""
        with self._lock:
            self._disabled -= {concrete(model) for model in chosen}
            self._update()

    def enter(self) -> None:
        """A bypassed block begins."""
        with self._lock:
            self._blocks += 1
            self._update()

    def leave(self) -> None:
        """A bypassed block has ended."""
        with self._lock:
            self._blocks -= 1
            self._update()

    def _update(self) -> None:
        self.any = bool(self._disabled or self._blocks)


switches = Switches()


@contextmanager
def cache_bypassed() -> Generator[None, None, None]:
    """Inside the ``with`` block every cached row is read from the database; no cache is read or filled.

    Writes outdate what is cached, as ever. It holds for this thread or asyncio task and those that it starts in the
    block, until the block ends. Blocks may be nested.
    """
    block = _Block(_block.get())
    token = _block.set(block)
    switches.enter()
    try:
        yield
    finally:
        block.has_ended = True
        switches.leave()
        _block.reset(token)


def models_disabled_by_settings() -> list[type[models.Model]]:
    """The models that CACHECORE_DISABLED_MODELS names. Raises ConfigurationError naming the first that is none."""
    chosen: list[type[models.Model]] = []
    for label in disabled_models():
        if label == "*":
            return list(apps.get_models(include_auto_created=True))
        try:
            chosen.append(apps.get_model(label))
        except (LookupError, ValueError) as error:
            raise ConfigurationError(
                f'{DISABLED_MODELS} names {label!r}, which is no model such as "app.Model", and not "*": {error}'
            ) from error
    return chosen


def obey_settings() -> None:
    """Switch off what the setting names, and only that. A wrong setting switches nothing: a system check names it."""
    try:
        chosen = models_disabled_by_settings()
    except ConfigurationError:
        return
    switches.enable(apps.get_models(include_auto_created=True))
    switches.disable(chosen)


def _on_setting_changed(*, setting: str, **_: Any) -> None:
    if setting == DISABLED_MODELS:
        obey_settings()


setting_changed.connect(_on_setting_changed, dispatch_uid="cachecore.disabled_models")
