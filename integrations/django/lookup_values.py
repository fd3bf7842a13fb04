"""What a value that an application asks for means in a column: an instance its key, "42" the number.

A value of another type than the column's is a mistake, and an error that names it. A value of its type that the column
cannot hold, a number out of its range say, is none: it names no row, as a number within the range may name none. It
must not reach the database, where some drivers raise for it, and so do some servers, which end the transaction.
"""

from collections.abc import Callable
from numbers import Number
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db import connections, models

from cachecore.errors import UncacheableLookup
from cachecore.integrations.django.declaration import value_field

_MOST_SHOWN = 200
"""Characters of a value in a message."""


def lookup_value(model: type[models.Model], column: Any, value: Any) -> Any:
    """``value`` as ``column`` of ``model`` holds it: an instance becomes its key, "42" becomes 42, a subclass its base.

    Raises UncacheableLookup, naming model, field and value, for None, expressions, instances of other models, numbers
    that the column would round, NaN, and everything else that is no value of its type.
    """
    where = f"{model._meta.label}.{column.name}"
    if column.primary_key and isinstance(value, model._meta.concrete_model or model):
        value = value.pk  # an instance stands for its primary key, as everywhere in Django
    target = column
    while target.is_relation:
        if isinstance(value, models.Model):
            remote = target.remote_field.model
            if not isinstance(value, remote._meta.concrete_model):
                raise UncacheableLookup(f"{where} is a {remote._meta.label}, not {shown(value)}")
            value = getattr(value, target.target_field.attname)
        target = target.target_field
    if isinstance(value, models.Model):
        raise UncacheableLookup(f"{where} cannot be {shown(value)}")
    if value is None:
        raise UncacheableLookup(f"{where}=None names no row; just hit the database")
    if hasattr(value, "resolve_expression"):
        raise UncacheableLookup(f"{where} is compared with an expression; just hit the database")
    try:
        meant = target.to_python(value)
    except (ValidationError, TypeError, ValueError, ArithmeticError) as error:
        raise UncacheableLookup(f"{where} cannot be {shown(value)}: {_reason(error)}") from error
    if isinstance(meant, int) and isinstance(value, Number) and value != cast("Any", meant):
        raise UncacheableLookup(f"{where} cannot be {shown(value)}: it is no whole number")
    if isinstance(meant, float) and meant != meant:
        raise UncacheableLookup(f"{where} cannot be NaN, which equals nothing")
    return _plain(meant)


def can_hold(column: Any, alias: str) -> Callable[[Any], bool]:
    """The function that says whether ``column`` can hold a value in the database ``alias``. What is no value of the
    column's type it leaves to others, and says True."""
    target = value_field(column)
    connection = connections[alias]
    if isinstance(target, models.IntegerField):
        bounds: Any = connection.ops.integer_field_range(target.get_internal_type())
        lowest, highest = bounds
        if lowest is None or highest is None:
            return lambda value: True
        return lambda value: type(value) is not int or lowest <= value <= highest
    if isinstance(target, models.DecimalField):
        return _holds_decimal(target, connection.ops)
    has_nul = connection.features.prohibits_null_characters_in_text_exception is None
    return lambda value: type(value) is not str or (is_utf8(value) and (has_nul or "\0" not in value))


def is_utf8(text: str) -> bool:
    """Whether a text can be sent anywhere: one with a lone surrogate cannot."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def shown(value: object) -> str:
    """A value in a message: not too long, and without the errors that an application's own repr may raise."""
    try:
        return _short(repr(value))
    except Exception:  # or the interpreter's own, for an int of many digits
        return f"a {type(value).__name__} that cannot be shown"


def _reason(error: Exception) -> str:
    try:
        return _short("; ".join(error.messages) if isinstance(error, ValidationError) else str(error))
    except Exception:  # it says the value, whose str() raises
        return type(error).__name__


def _short(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _plain(value: Any) -> Any:
    """A str or int as precisely that, whatever a subclass of it overrides."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__int__(value)
    return value


def _holds_decimal(column: Any, ops: Any) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        try:
            ops.adapt_decimalfield_value(value, column.max_digits, column.decimal_places)
        except ArithmeticError:  # more digits than the column has
            return False
        return True

    return holds
