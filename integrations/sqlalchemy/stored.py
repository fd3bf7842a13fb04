"""What a mapped attribute is stored as: its value as the database has it, before types of the application touch it.

Theory of operation. A cached row holds builtin values only, and remains the same row when an application changes what
it makes of them. So a TypeDecorator stores what its impl does: process_bind_param says what that is of a value asked
for, and process_result_value makes the application's value of it again, anew for each instance. An Enum stores its
label. All other types store their Python values as they are.

The expression that is selected tells SQLAlchemy the same: the column, read as its impl. A class of types with a result
processor of its own hides what it gets from the driver, so it is refused.
"""

import decimal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import Column as TableColumn
from sqlalchemy import Dialect, types
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import ColumnProperty
from sqlalchemy.sql.expression import ClauseElement, ColumnElement, type_coerce
from sqlalchemy.types import TypeDecorator, TypeEngine

from cachecore.codec import Column
from cachecore.column_values import BASES, base_value
from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.integrations.sqlalchemy.conversions import Convert, labels_of, overrides, to_python, to_stored

_PLAIN: Final = (
    types.Integer,
    types.String,
    types.Boolean,
    types.LargeBinary,
    types.BINARY,
    types.VARBINARY,
    types.Numeric,
    types.Float,
    types.Uuid,
    types.Date,
    types.DateTime,
    types.Time,
    types.Interval,
    postgresql.INTERVAL,
)
"""The types whose python_type tells what their values are."""
_JSON_ITEMS: Final = frozenset({int, str, bool, float, "json"})
_EXACT: Final = (types.Integer, types.Boolean, types.Uuid, types.Date, types.LargeBinary, types.Enum)
_INEXACT_TEXT: Final = (types.CHAR, types.NCHAR, postgresql.CITEXT)
_EXACT_TEXT_IN: Final = frozenset({"sqlite", "postgresql"})
_MOST_SHOWN: Final = 200
"""Characters of a value in a message."""


@dataclass(frozen=True, eq=False)
class StoredColumn:
    """What one column attribute of a mapped class is stored as, in one kind of database."""

    label: str
    """Class.attribute, for messages."""
    key: str
    """The attribute."""
    source: ColumnElement[Any]
    """What is mapped: the column of a table, or an SQL expression."""
    expression: ColumnElement[Any]
    """Gives the stored value where it is selected, and takes one where it is compared."""
    column: Column
    """In a row."""
    to_stored: Convert | None
    """What is stored for a Python value; raises whatever the application's type does. None: the value itself."""
    to_python: Convert | None
    """The Python value of a stored one, or of None. None: the value itself."""
    is_exact: bool
    """Whether the database finds two of its values equal exactly if Python finds the stored values equal."""
    is_compared_as_stored: bool
    """Whether a comparison in SQL is one of stored values: its type has no bind_expression."""

    def asked(self, value: Any) -> Any:
        """The stored value of one that is asked for, precisely of the column's type.

        Raises UncacheableLookup, naming attribute and value, for None, SQL expressions, NaN, and all that is no value
        of the column's type.
        """
        if value is None:
            raise UncacheableLookup(f"{self.label}=None names no row; ask the database")
        if isinstance(value, ClauseElement) or hasattr(value, "__clause_element__"):
            raise UncacheableLookup(f"{self.label} is compared with an SQL expression; ask the database")
        if self.column.kind != "scalar":
            raise UncacheableLookup(f"{self.label} cannot be looked up by {shown(value)}: it holds a structure")
        if not self.is_compared_as_stored:
            raise UncacheableLookup(
                f"{self.label} cannot be looked up by {shown(value)}: its type has a bind_expression, which only the "
                "database knows"
            )
        kind: Any = self.column.type
        try:
            stored = value if self.to_stored is None else self.to_stored(value)
            if stored is None:
                raise UncacheableLookup(f"{self.label}={shown(value)} is stored as NULL, which names no row")
            if type(stored) is int and kind is decimal.Decimal:
                stored = decimal.Decimal(stored)
            stored = base_value(kind, stored)
            if stored != stored:
                raise UncacheableLookup(f"{self.label} cannot be NaN, which equals nothing")
        except UncacheableLookup:
            raise
        except Exception as error:  # the application's type may raise any
            reason = f": {error}" if str(error) else ""
            raise UncacheableLookup(f"{self.label} ({kind.__name__}) cannot be {shown(value)}{reason}") from error
        return stored


def stored_column(prop: ColumnProperty[Any], dialect: Dialect) -> StoredColumn:
    """What the attribute of a mapped class is stored as in the databases of a dialect.

    Raises ConfigurationError, naming attribute and type, if its values have no stored form.
    """
    expression: ColumnElement[Any] = prop.columns[0]
    declared = expression.type
    label = f"{prop.parent.class_.__name__}.{prop.key}"
    decorators: list[TypeDecorator[Any]] = []
    resolved = _variant(declared, dialect)
    while isinstance(resolved, TypeDecorator) and not isinstance(resolved, types.Interval):
        if isinstance(resolved, types.PickleType):
            raise ConfigurationError(
                f"{label}: {_name(declared)} has no stored form, since nothing is pickled; leave it out: "
                f'exclude=["{prop.key}"]'
            )
        _refuse_processors(label, prop.key, resolved)
        if overrides(resolved, "column_expression"):
            selected = resolved.column_expression(expression)
            expression = expression if selected is None else selected
        decorators.append(resolved)
        resolved = _variant(resolved.load_dialect_impl(dialect), dialect)
    _refuse_processors(label, prop.key, resolved)
    kind = _kind(resolved)
    if kind is None:
        raise ConfigurationError(
            f'{label}: values of the type {_name(declared)} have no stored form; leave it out: exclude=["{prop.key}"]'
        )
    is_enumeration = isinstance(resolved, types.Enum) and resolved.enum_class is not None
    if decorators or is_enumeration:
        expression = type_coerce(expression, labels_of(resolved) if is_enumeration else resolved)
    every = (*decorators, resolved)
    is_key = any(column.primary_key for column in prop.columns if isinstance(column, TableColumn))
    return StoredColumn(
        label,
        prop.key,
        prop.columns[0],
        expression,
        Column(prop.key, object, kind="json") if kind == "json" else Column(prop.key, kind, nullable=not is_key),
        to_stored(decorators, resolved, dialect),
        to_python(decorators, resolved, dialect),
        is_exact=_is_exact(resolved, dialect) and not _uses(every, "bind_expression", "column_expression"),
        is_compared_as_stored=not _uses(every, "bind_expression"),
    )


def shown(value: object) -> str:
    """A value in a message: not too long, and without the errors that an application's own repr may raise."""
    try:
        text = repr(value)
    except Exception:  # or the interpreter's own, for an int of many digits
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _variant(found: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """The type that stands for this one in the databases of a dialect.

    SQLAlchemy keeps variants in an attribute that it does not document. Its public dialect_impl replaces types too: by
    what a driver needs, which is the same for CHAR, where trailing blanks do not count, and for all other text.
    """
    variants: dict[str, TypeEngine[Any]] = cast("Any", found)._variant_mapping
    return variants.get(dialect.name, found)


def _kind(resolved: TypeEngine[Any]) -> Any:
    """The type of the values of a type that is no decorator, "json" for structures, None if they have no form."""
    if isinstance(resolved, types.JSON | postgresql.HSTORE):
        return "json"
    if isinstance(resolved, types.ARRAY):
        array = cast("Any", resolved)
        item = array.item_type
        plain = not isinstance(item, TypeDecorator | types.Enum) and _kind(item) in _JSON_ITEMS
        return "json" if plain and not array.as_tuple else None
    if isinstance(resolved, types.Enum):
        return str
    if not isinstance(resolved, _PLAIN):
        return None
    kind = resolved.python_type
    return kind if kind in BASES else None


def _is_exact(resolved: TypeEngine[Any], dialect: Dialect) -> bool:
    if isinstance(resolved, _EXACT):
        return True
    return (
        isinstance(resolved, types.String)
        and not isinstance(resolved, _INEXACT_TEXT)
        and resolved.collation is None
        and dialect.name in _EXACT_TEXT_IN
    )


def _refuse_processors(label: str, key: str, found: TypeEngine[Any]) -> None:
    for name in ("result_processor", "bind_processor"):
        if overrides(found, name):
            raise ConfigurationError(
                f"{label}: {_name(found)} has a {name} of its own, which hides what is stored; write it as a "
                f'TypeDecorator with process_bind_param and process_result_value, or leave it out: exclude=["{key}"]'
            )


def _uses(several: Sequence[TypeEngine[Any]], *names: str) -> bool:
    return any(overrides(each, name) for each in several for name in names)


def _name(found: TypeEngine[Any]) -> str:
    return type(found).__name__
