"""What an F() expression comes to for an instance, computed from its attributes and without a query."""

import decimal
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models
from django.db.models.expressions import Combinable, CombinedExpression, ExpressionWrapper, F, Value

from cachecore.errors import CachecoreError


class CannotResolveExpression(CachecoreError, ValueError):
    """The value of an expression cannot be told from the instance alone; the message says why. Nothing was changed."""


def is_expression(value: object) -> bool:
    """Whether the database is to compute ``value``."""
    return hasattr(value, "resolve_expression")


def resolve(expression: Any, instance: models.Model, *, exact: bool = False) -> Any:
    """The value of ``expression`` if its F() were the attributes that ``instance`` has now.

    expression: F(), Value(), and + - * / % and bitand() of them, on numbers; + and - on datetimes and timedeltas, too.
        What is no expression is returned as it is.
    exact: True refuses what databases compute each in their own way: a quotient of integers that is not whole. With
        False it is Python's: 7 / 2 is 3.5.

    None in arithmetic gives None, and % takes the sign of its left side, as in SQL.

    Raises CannotResolveExpression for everything else: functions, aggregates, fields of other rows, deferred fields,
    attributes that are expressions themselves, text, division by zero.
    """
    if not is_expression(expression):
        return expression
    if type(expression) is F:  # a subclass, as F("name")[:3], means more than its name
        return _attribute(cast("Any", expression).name, instance)
    if type(expression) is Value:
        return expression.value
    if type(expression) is ExpressionWrapper:
        return resolve(cast("Any", expression).expression, instance, exact=exact)
    if isinstance(expression, CombinedExpression):
        expression = cast("Any", expression)
        operation = _OPERATIONS.get(expression.connector)
        if operation is None:
            raise CannotResolveExpression(f"{expression}: {expression.connector} is not computed here")
        left = resolve(expression.lhs, instance, exact=exact)
        right = resolve(expression.rhs, instance, exact=exact)
        if left is None or right is None:
            return None
        try:
            return operation(left, right, exact)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise CannotResolveExpression(f"{expression} with {left!r} and {right!r}: {error}") from error
    raise CannotResolveExpression(f"{expression!r} is computed by the database only")


def _attribute(name: str, instance: models.Model) -> Any:
    """The instance's own value of a field, converted as the field does; never by a query."""
    meta = instance._meta
    try:
        field: Any = meta.pk if name == "pk" else meta.get_field(name)
    except FieldDoesNotExist as error:
        raise CannotResolveExpression(f"F({name!r}) is no field of {meta.label}") from error
    attname: str = getattr(field, "attname", "")
    if attname not in instance.__dict__:
        raise CannotResolveExpression(f"F({name!r}): {meta.label}.{name} is deferred, or no column of its table")
    value = instance.__dict__[attname]
    if value is None:
        return None
    if is_expression(value):
        raise CannotResolveExpression(f"F({name!r}): the attribute is an expression itself, {value!r}")
    try:
        return field.to_python(value)
    except (ValidationError, TypeError, ValueError) as error:
        raise CannotResolveExpression(f"F({name!r}): {meta.label}.{name} cannot be {value!r}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | decimal.Decimal) and not isinstance(value, bool)


def _is_moment(value: object) -> bool:
    # Not a bare date: databases make a datetime of it when a timedelta is added, and Python does not.
    return isinstance(value, timedelta | datetime)


def _checked(left: Any, right: Any, *, moments: bool = False) -> None:
    if _is_number(left) and _is_number(right):
        return
    if not (moments and _is_moment(left) and _is_moment(right)):
        raise TypeError(f"{type(left).__name__} and {type(right).__name__} are not computed here")


def _instant(value: Any) -> Any:
    """The value, a datetime in UTC: Python adds to the time on the wall, and databases to the instant."""
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else value


def _add(left: Any, right: Any, exact: bool) -> Any:
    _checked(left, right, moments=True)
    return _instant(left) + _instant(right)


def _subtract(left: Any, right: Any, exact: bool) -> Any:
    _checked(left, right, moments=True)
    return _instant(left) - _instant(right)


def _multiply(left: Any, right: Any, exact: bool) -> Any:
    _checked(left, right)
    return left * right


def _divide(left: Any, right: Any, exact: bool) -> Any:
    _checked(left, right)
    if exact and isinstance(left, int) and isinstance(right, int):
        quotient, remainder = divmod(left, right)
        if remainder:
            raise ValueError("a quotient of integers that is not whole depends on the database")
        return quotient
    return left / right


def _remainder(left: Any, right: Any, exact: bool) -> Any:
    _checked(left, right)
    if isinstance(left, float) or isinstance(right, float):
        raise TypeError("databases disagree about the remainder of floats")
    if isinstance(left, int) and isinstance(right, int):
        return int(math.copysign(1, left)) * (abs(left) % abs(right))
    return left % right  # a Decimal's already has the sign of its left side


def _bitand(left: Any, right: Any, exact: bool) -> Any:
    _checked(left, right)
    if not (isinstance(left, int) and isinstance(right, int)):
        raise TypeError("only integers have bits")
    return left & right


_OPERATIONS: Final[dict[str, Callable[[Any, Any, bool], Any]]] = {
    Combinable.ADD: _add,
    Combinable.SUB: _subtract,
    Combinable.MUL: _multiply,
    Combinable.DIV: _divide,
    Combinable.MOD: _remainder,
    Combinable.BITAND: _bitand,
}
