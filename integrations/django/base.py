"""A base for models: a short repr, changes that are known, and updates of a few columns."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from cachecore.integrations.django.manager import CacheManager
from cachecore.integrations.django.orm.instance_update import update
from cachecore.integrations.django.tracking import ChangeTracking


def sane_repr(*attributes: str) -> Callable[..., str]:
    """A ``__repr__`` for models that shows the primary key and these attributes: ``<City pk=1, slug='oslo'>``.

    It never asks the database and never raises: a deferred field is shown as such, a foreign key by its column.

    attributes: names of fields, or of attributes of the instance.
    """

    def __repr__(self: Any) -> str:  # noqa: N807
        shown = dict.fromkeys(("pk", *attributes))
        return f"<{type(self).__name__} {', '.join(_shown(self, name) for name in shown)}>"

    return __repr__


def _shown(instance: models.Model, name: str) -> str:
    try:
        if name == "pk":
            return f"pk={instance._get_pk_val()!r}"
        try:
            field: Any = instance._meta.get_field(name)
        except FieldDoesNotExist:
            return f"{name}={getattr(instance, name)!r}"
        if not field.concrete:
            return f"{name}=..."  # a relation, which only a query would tell
        if field.attname not in instance.__dict__:
            return f"{field.attname}=<deferred>"
        return f"{field.attname}={instance.__dict__[field.attname]!r}"
    except Exception as error:  # the application's code, in a repr of all places
        return f"{name}=<{type(error).__name__}>"


class BaseModel(ChangeTracking, models.Model):
    """An abstract model with `update`, `has_changed`, `old_value`, and a repr of its primary key.

    Its manager caches nothing until a model declares one with cache_fields.
    """

    objects = CacheManager[Any]()

    __repr__ = sane_repr()

    class Meta:
        abstract = True

    def update(self, using: str | None = None, **fields: Any) -> int:
        """`instance_update.update` of this instance: write these fields of its row, and no others."""
        return update(self, using=using, **fields)

    update.alters_data = True  # type: ignore[attr-defined]

    async def aupdate(self, using: str | None = None, **fields: Any) -> int:
        """Like `update`, awaited."""
        return await sync_to_async(update)(self, using=using, **fields)

    aupdate.alters_data = True  # type: ignore[attr-defined]
