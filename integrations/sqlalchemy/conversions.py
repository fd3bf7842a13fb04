"""Between the values of the application and those that are stored: what TypeDecorators and Enums do to them."""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Dialect, types
from sqlalchemy.types import TypeDecorator, TypeEngine

Convert = Callable[[Any], Any]


def to_stored(decorators: Sequence[TypeDecorator[Any]], impl: TypeEngine[Any], dialect: Dialect) -> Convert | None:
    """The function that makes stored values of Python values, or None if they are the same.

    decorators: the outermost first.
    impl: what the innermost decorates.
    It raises whatever a decorator does, and LookupError for what is no member of an Enum.
    """
    converts = [_binding(decorator, dialect) for decorator in decorators]
    if isinstance(impl, types.Enum):
        converts.append(_label_of(impl, dialect))
    elif isinstance(impl, types.Uuid) and not impl.as_uuid:
        converts.append(_canonical)
    return _chained(converts)


def to_python(decorators: Sequence[TypeDecorator[Any]], impl: TypeEngine[Any], dialect: Dialect) -> Convert | None:
    """The function that makes Python values of stored ones and of None, or None if they are the same.

    It raises whatever a decorator does, and SQLAlchemy's LookupError for a label that an Enum does not have.
    """
    converts = [_resulting(decorator, dialect) for decorator in decorators]
    if isinstance(impl, types.Enum) and impl.enum_class is not None:
        converts.append(_member_of(impl, dialect))
    return _chained(converts[::-1])


def overrides(found: TypeEngine[Any], name: str) -> bool:
    """Whether a class that is not SQLAlchemy's own gives a type this method."""
    for base in type(found).__mro__:
        if name in vars(base):
            return base.__module__.partition(".")[0] != "sqlalchemy"
    return False


def labels_of(enumeration: Any) -> types.Enum:
    """The same type in the database, whose values are its labels."""
    return types.Enum(
        *enumeration.enums,
        name=enumeration.name,
        schema=enumeration.schema,
        native_enum=enumeration.native_enum,
        length=enumeration.length,
        create_constraint=False,
    )


def _binding(decorator: Any, dialect: Dialect) -> Convert | None:
    if not overrides(decorator, "process_bind_param"):
        return None
    process: Callable[[Any, Dialect], Any] = decorator.process_bind_param
    return lambda value: process(value, dialect)


def _resulting(decorator: Any, dialect: Dialect) -> Convert | None:
    if not overrides(decorator, "process_result_value"):
        return None
    process: Callable[[Any, Dialect], Any] = decorator.process_result_value
    return lambda value: process(value, dialect)


def _label_of(enumeration: Any, dialect: Dialect) -> Convert:
    bind: Convert = enumeration.bind_processor(dialect)
    known = frozenset(enumeration.enums)

    def label(value: Any) -> Any:
        if value is None:
            return None
        found = bind(value)
        if found not in known:  # the database might refuse it, and end the transaction
            raise LookupError(f"it is none of {', '.join(enumeration.enums)}")
        return found

    return label


def _member_of(enumeration: Any, dialect: Dialect) -> Convert:
    result: Convert = enumeration.result_processor(dialect, None)
    members = {label: result(label) for label in (None, *enumeration.enums)}

    def member(label: Any) -> Any:
        try:
            return members[label]
        except KeyError:
            return result(label)  # raises SQLAlchemy's own error

    return member


def _canonical(value: Any) -> str:
    return str(uuid.UUID(value))


def _chained(several: Sequence[Convert | None]) -> Convert | None:
    converts = [each for each in several if each is not None]
    if len(converts) < 2:
        return converts[0] if converts else None

    def convert(value: Any) -> Any:
        for each in converts:
            value = each(value)
        return value

    return convert
