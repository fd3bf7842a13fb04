"""Which value a bind parameter takes in one execution, and whether the database compares such values as Python does.

A primary key in a statement names a row only if the row's own key is the same value: 5 and "5", "oslo" and "OSLO" in a
column without regard to case, and 1.0 and 1.00 are equal to a database and different keys to a cache.
"""

import datetime
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from sqlalchemy import (
    CHAR,
    CLOB,
    NVARCHAR,
    TEXT,
    VARCHAR,
    BindParameter,
    Boolean,
    ClauseElement,
    Date,
    DateTime,
    Enum,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    Unicode,
    UnicodeText,
    Uuid,
)
from sqlalchemy.types import NullType

UNKNOWN: Final = object()
"""Stands for a value that cannot be told before the statement is executed."""

_TEXTS = (String, Text, Unicode, UnicodeText, VARCHAR, NVARCHAR, TEXT, CLOB)
_ANONYMOUS = re.compile(r"_[0-9a-f]+$")


class Parameters:
    """One set of parameters of an execution, with which bind parameters get their values."""

    def __init__(self, values: Mapping[str, Any], columns: Collection[str]) -> None:
        """columns: the keys under which the statement takes values for its columns; none for a DELETE."""
        self.values = values
        self._columns = columns

    def value(self, bind: BindParameter[Any]) -> Any:
        """The value that is sent for ``bind``, before its type converts it, or UNKNOWN."""
        if bind.key in self.values:
            return self.values[bind.key]
        return UNKNOWN if bind.required or self._may_replace() else bind.effective_value

    def _may_replace(self) -> bool:
        """Whether one of the parameters may be meant for a bind parameter without a name of its own.

        It gets one when the statement is compiled, such as id_1, and a parameter of that name replaces its value.
        """
        return any(name not in self._columns and _ANONYMOUS.search(str(name)) for name in self.values)


def given(column: Any, values: Mapping[Any, Any], parameters: Parameters) -> list[Any] | None:
    """The values that a column of the primary key may get, by ``values``, by column key, and by the parameters.

    None, or nothing, given to it is left out, as the database then gives a key. More than one: it depends on how the
    statement is compiled. None: they cannot be told, as for SQL.
    """
    found: list[Any] = [_value(column, values[column.key], parameters)] if column.key in values else []
    if column.key in parameters.values:
        found.append(parameters.values[column.key])
    test = exactness(column.type)
    if test is not is_given:
        found = [value for value in found if value is not None]
    exact = not found or (test is not None and all(value is not UNKNOWN and test(value) for value in found))
    return found if exact else None


def _value(column: Any, value: Any, parameters: Parameters) -> Any:
    if isinstance(value, BindParameter):
        bind: Any = value  # pyright: ignore[reportUnknownVariableType]
        return parameters.value(bind) if is_same_kind(bind.type, column.type) else UNKNOWN
    return UNKNOWN if isinstance(value, ClauseElement) or hasattr(value, "__clause_element__") else value


def name_of(column: Any) -> str | None:
    """The key of a column, or what stands for it in values(); None for any other expression."""
    if isinstance(column, str):
        return column
    return column.key if getattr(column, "__visit_name__", "") == "column" else None


def is_same_kind(bind: Any, column: Any) -> bool:
    """Whether values of a bind parameter of type ``bind`` become what values of type ``column`` become."""
    if bind is column or isinstance(bind, NullType):
        return True
    if isinstance(bind, TypeDecorator | Enum) or isinstance(column, TypeDecorator | Enum):
        return False
    plain = (Integer, String, Uuid, LargeBinary, Date, DateTime, Boolean)
    return any(isinstance(bind, kind) and isinstance(column, kind) for kind in plain)


def exactness(type_: Any) -> Callable[[Any], bool] | None:
    """Tells whether a value of a column of this type is equal, to the database, to itself only.

    None: no value is, or nobody knows. None as a value is never exact. `is_given` stands for a `TypeDecorator`: what it
    makes of its values, and how that is compared, depends on the database and must be looked at there.
    """
    if getattr(type_, "_has_bind_expression", False):
        return None
    variants: Mapping[str, Any] = getattr(type_, "_variant_mapping", {})
    if any(exactness(variant) is None for variant in variants.values()):
        return None
    if isinstance(type_, TypeDecorator):
        return is_given
    return _of_plain_type(type_)


def _of_plain_type(type_: Any) -> Callable[[Any], bool] | None:
    if isinstance(type_, Enum):
        wanted: Any = type_.enum_class or str
        return lambda value: type(value) is wanted
    if isinstance(type_, String):
        return _of_text(type_)
    if isinstance(type_, Uuid):
        return _is_uuid if type_.as_uuid else None
    if isinstance(type_, DateTime):
        return None if type_.timezone else _is_naive
    for kind, python in ((Integer, int), (LargeBinary, bytes), (Date, datetime.date), (Boolean, bool)):
        if isinstance(type_, kind):
            return _is_exactly(python)
    return None


def _of_text(type_: Any) -> Callable[[Any], bool] | None:
    if type_.collation is not None:
        return None
    if type(type_) in _TEXTS:
        return _is_exactly(str)
    if type(type_) is CHAR and type_.length is not None:
        # PostgreSQL pads what is shorter, and ignores the padding when it compares.
        return lambda value: type(value) is str and len(value) == type_.length
    return None


def _is_exactly(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind


def _is_uuid(value: Any) -> bool:
    return isinstance(value, uuid.UUID)


def _is_naive(value: Any) -> bool:
    return type(value) is datetime.datetime and value.tzinfo is None


def is_given(value: Any) -> bool:
    """Whether a value of a type of the application is one that can be named: what it makes of None nobody knows."""
    try:
        hash(value)
    except TypeError:
        return False
    return value is not None


def distinct(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows, each once. 1 and True are equal to Python, and may be different to a type of the application."""
    return list({(*map(type, row), *row): row for row in rows}.values())
