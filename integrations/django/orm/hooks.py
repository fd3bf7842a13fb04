"""Hook methods of managers: ``post_save`` and ``post_delete`` are called for the rows of the manager's model.

    class CityManager(CacheManager):
        def post_save(self, instance, *, created, **options): ...
        def post_delete(self, instance, **options): ...

Each model that has such a manager, its own or inherited, calls it for instances of precisely that class. The options
are those of Django's signals of the same name: created, raw, update_fields and using; using and origin. As with the
signals, the transaction may still be open, bulk statements call nothing, and an exception reaches the caller.
"""

from typing import Any, TypeVar

from django.apps import apps
from django.db import models
from django.db.models.signals import class_prepared, post_delete, post_save

M = TypeVar("M", bound=models.Model)


class ManagerHooks(models.Manager[M]):
    """A manager whose ``post_save`` and ``post_delete`` methods, where it has them, are called."""

    def contribute_to_class(self, cls: type[models.Model], name: str) -> None:
        super().contribute_to_class(cls, name)
        # Every model, because those that inherit this manager have not been made yet.
        class_prepared.connect(_on_class_prepared, dispatch_uid="cachecore.manager_hooks")


def connect(model: type[models.Model]) -> None:
    """Call the hooks of the managers that ``model`` has. Doing so again changes nothing.

    A model whose managers have no such methods gets no receiver: one of post_delete would cost it fast deletes.
    """
    if any(_hooks(model, "post_save")):
        post_save.connect(_on_post_save, sender=model, dispatch_uid="cachecore.manager_hooks")
    if any(_hooks(model, "post_delete")):
        post_delete.connect(_on_post_delete, sender=model, dispatch_uid="cachecore.manager_hooks")


def _hooks(model: type[models.Model], name: str) -> list[Any]:
    managers: list[Any] = [manager for manager in model._meta.managers if isinstance(manager, ManagerHooks)]
    hooks = [getattr(manager, name, None) for manager in managers]
    return [hook for hook in hooks if callable(hook)]


def _on_class_prepared(sender: type[models.Model], **_: Any) -> None:
    if sender._meta.apps is apps:  # else it is a migration's copy of a model, or a test's
        connect(sender)


def _on_post_save(sender: type[models.Model], instance: models.Model, signal: Any, **options: Any) -> None:
    for hook in _hooks(sender, "post_save"):
        hook(instance, **options)


def _on_post_delete(sender: type[models.Model], instance: models.Model, signal: Any, **options: Any) -> None:
    for hook in _hooks(sender, "post_delete"):
        hook(instance, **options)
