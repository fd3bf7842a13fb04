"""What a value that an application asks for means in a column: an instance its key, "42" the number."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from cachecore.errors import UncacheableLookup


def lookup_value(model: type[models.Model], column: Any, value: Any) -> Any:
    """``value`` as ``column`` of ``model`` holds it: an instance becomes its key, "42" becomes 42.

    Raises UncacheableLookup, naming model, field and value, for None, expressions, instances of other models and
    everything that the column cannot hold.
    """
    where = f"{model._meta.label}.{column.name}"
    if column.primary_key and isinstance(value, model._meta.concrete_model or model):
        value = value.pk  # an instance stands for its primary key, as everywhere in Django
    target = column
    while target.is_relation:
        if isinstance(value, models.Model):
            remote = target.remote_field.model
            if not isinstance(value, remote._meta.concrete_model):
                raise UncacheableLookup(f"{where} is a {remote._meta.label}, not {value!r}")
            value = getattr(value, target.target_field.attname)
        target = target.target_field
    if isinstance(value, models.Model):
        raise UncacheableLookup(f"{where} cannot be {value!r}")
    if value is None:
        raise UncacheableLookup(f"{where}=None names no row; just hit the database")
    if hasattr(value, "resolve_expression"):
        raise UncacheableLookup(f"{where} is compared with an expression; just hit the database")
    try:
        return target.to_python(value)
    except (ValidationError, TypeError, ValueError) as error:
        raise UncacheableLookup(f"{where} cannot be {value!r}: {error}") from error
