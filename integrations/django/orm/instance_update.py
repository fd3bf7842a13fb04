"""``update(city, population=F("population") + 1)``: one UPDATE of a few columns of one instance's row.

Theory of operation. The values are tried on a copy of the instance first, whose descriptors refuse what does not fit,
so that bad input is an error before any SQL and leaves the instance as it was. The UPDATE is that of a plain queryset,
which outdates the cached row as every queryset does. Then the instance is given what the row now has: a value as it
was converted, arithmetic as `expressions` computes it, and what only the database can tell is read back in the
transaction of the UPDATE. Arithmetic is done on the attributes the instance has: if they are older than the row, or
were changed and not saved, so is the result, until refresh_from_db().
"""

import copy
import decimal
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models, router, transaction
from django.db.models.signals import post_save

from cachecore.errors import CachecoreError
from cachecore.integrations.django import tracking
from cachecore.integrations.django.declaration import value_field
from cachecore.integrations.django.orm.expressions import CannotResolveExpression, is_expression, resolve


class RowError(CachecoreError, ValueError):
    """What was asked of an instance's row cannot be done; the message names the model, the field and its value.

    Nothing was written, unless the message says so.
    """


_UNKNOWN: Any = object()
"""Stands for a value that only the database can compute."""


def update(instance: models.Model, /, using: str | None = None, **fields: Any) -> int:
    """Write these fields of the instance's row, and no others, and return how many rows that were: 1, or 0 if the row
    is not there any more, in which case the instance stays as it is.

    instance: has a primary key. Its other attributes are neither looked at, but for F(), nor written.
    using: the database alias; None: the one to which the instance would be saved.
    fields: values by field name or attribute name; expressions are allowed, as in QuerySet.update().

    Fields with auto_now are written, too. The attributes get their new values, the snapshot of tracked fields is
    renewed, and post_save is sent with created=False and the names as update_fields; pre_save is not. An attribute of
    an expression is computed by `expressions.resolve` if that is sure to be what the database has, and else read back.
    Without fields nothing happens, and the result is 0.

    Raises RowError, a ValueError, for an instance without a primary key, unknown fields, values that the field cannot
    hold, a primary key among the fields, and, after they were written, if more than one row had this primary key.
    """
    return update_row(instance, fields, using=using)


def update_row(
    instance: models.Model,
    fields: Mapping[str, Any],
    *,
    using: str | None = None,
    rows: "models.QuerySet[Any] | None" = None,
) -> int:
    """Like `update`, but only if the row is one of ``rows``, a queryset of its model; None: of all."""
    model = require_saved(instance)
    values = _values(instance, fields)
    if not values:
        return 0
    alias = using or router.db_for_write(model, instance=instance)
    found = (model._base_manager.all() if rows is None else rows).using(alias).filter(pk=instance.pk)
    written = {field.attname: value for field, value in values.items()}
    new = {field: _expected(field, value, instance) for field, value in values.items()}
    unknown = [field for field, value in new.items() if value is _UNKNOWN]
    # With the reading in its transaction nobody else's write comes between.
    with transaction.atomic(using=alias, savepoint=False) if unknown else nullcontext():
        count = found.update(**written)
        if count == 1 and unknown:
            here = model._base_manager.using(alias).filter(pk=instance.pk)
            read = here.values_list(*(field.attname for field in unknown)).get()
            new.update(zip(unknown, read, strict=True))
    if count > 1:
        raise RowError(
            f"{model._meta.label} with pk={instance.pk!r}: {count} rows have this primary key, and were written"
        )
    if count:
        _take_over(instance, new, alias)
    return count


def require_saved(instance: models.Model) -> type[models.Model]:
    """The class of an instance that names a row. Raises RowError for one without a primary key, and for no model."""
    if not isinstance(instance, models.Model):  # pyright: ignore[reportUnnecessaryIsInstance] # callers without types
        raise RowError(f"a saved instance of a model is written, not {instance!r}")
    if not instance._is_pk_set():  # type: ignore[attr-defined]
        raise RowError(f"{instance._meta.label}: an instance that was never saved or is deleted has no row to write")
    return type(instance)


def _values(instance: models.Model, fields: Mapping[str, Any]) -> dict[Any, Any]:
    """What is to be written, by field, the automatic ones included; the instance stays as it is."""
    meta = instance._meta
    attempt = copy.copy(instance)
    values: dict[Any, Any] = {}
    for name, value in fields.items():
        field = _column(meta, name)
        if field in values:
            raise RowError(f"{meta.label}.{field.name} is given twice")
        values[field] = _converted(attempt, field, value)
    if values:
        for field in meta.concrete_fields:
            if getattr(field, "auto_now", False) and field not in values:
                values[field] = field.pre_save(attempt, add=False)
    return values


def _column(meta: Any, name: str) -> Any:
    """The column that a keyword names. Raises RowError if it is none that can be written."""
    try:
        field = meta.pk if name == "pk" else meta.get_field(name)
    except FieldDoesNotExist as error:
        known = ", ".join(field.name for field in meta.concrete_fields if not field.primary_key)
        raise RowError(f"{meta.label} has no field {name!r} to update, only {known}") from error
    if getattr(field, "primary_key", False) or field in meta.pk_fields:
        raise RowError(f"{meta.label}.{name} is the primary key, which tells what row is written and cannot change")
    if not getattr(field, "concrete", False) or field.many_to_many or field.generated:
        raise RowError(f"{meta.label}.{name} is no column that can be written")
    return field


def _converted(attempt: models.Model, field: Any, value: Any) -> Any:
    """The value as the attribute is to have it: "7" becomes 7 in an integer field."""
    if is_expression(value):
        return value
    try:
        if isinstance(value, models.Model):
            # The descriptor of a foreign key knows whether it may point there, and other fields convert.
            if not field.is_relation:
                raise RowError(f"{field.model._meta.label}.{field.name} cannot be {value!r}")
            setattr(attempt, field.name, copy.copy(value))  # a copy, which a one-to-one relation may mark as its own
            value.prepare_database_save(field)
            return value
        return field.to_python(value)
    except RowError:
        raise
    except (ValidationError, TypeError, ValueError) as error:
        why = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        raise RowError(f"{field.model._meta.label}.{field.name} cannot be {value!r}: {why}") from error


def _expected(field: Any, value: Any, instance: models.Model) -> Any:
    """What the column will hold, or _UNKNOWN."""
    if not is_expression(value):
        return value
    try:
        return _held(field, resolve(value, instance, exact=True))
    except (CannotResolveExpression, ValidationError, TypeError, ValueError, ArithmeticError):
        return _UNKNOWN


def _held(field: Any, value: Any) -> Any:
    """A computed value as the column stores it, where no database would round it or cut it off; else _UNKNOWN."""
    target = value_field(field)
    if value is None:
        return None
    if hasattr(target, "from_db_value"):
        return _UNKNOWN
    if isinstance(target, models.IntegerField):
        return int(value) if value == int(value) else _UNKNOWN
    if isinstance(target, models.DecimalField):
        if isinstance(value, float):
            return _UNKNOWN
        stored = round(decimal.Decimal(value), target.decimal_places)
        return stored if stored == value else _UNKNOWN
    if isinstance(target, models.FloatField):
        return float(value)
    converted = target.to_python(value)
    return converted if type(converted) is type(value) else _UNKNOWN


def _take_over(instance: models.Model, new: Mapping[Any, Any], alias: str) -> None:
    """Give the instance what its row has, and tell the world."""
    for field, value in new.items():
        setattr(instance, field.name if isinstance(value, models.Model) else field.attname, value)
    for field in instance._meta.concrete_fields:
        if field.generated:
            vars(instance).pop(field.attname, None)  # it is deferred: whoever looks at it gets the new one
    names = frozenset(field.name for field in new)
    try:
        if not instance._meta.auto_created:
            post_save.send(
                sender=type(instance), instance=instance, created=False, update_fields=names, raw=False, using=alias
            )
    finally:
        tracking.refresh(instance, names)
