"""Where the database finds two values equal exactly if Python does: what lists and missing entries need.

A writer holds the key of the value that a row gains, a reader asks for that of the value it was given. If the database
found one equal to the other though they differ, as where it ignores case, the reader would not learn of the row.
"""

import datetime
import uuid
from collections.abc import Iterable
from typing import Any, cast

from django.db import connections, models

from cachecore.codec import Column
from cachecore.errors import ConfigurationError
from cachecore.integrations.django.declaration import Declaration, column_named, value_field

_EXACT: frozenset[object] = frozenset({int, str, bool, uuid.UUID, datetime.date})
_COLLATING = frozenset({"mysql", "oracle"})
"""Vendors whose text is compared by a collation of the table."""

_HOOKS = ("get_prep_value", "get_db_prep_value", "get_db_prep_save", "pre_save", "db_type")
"""What may change a value on its way into the database, or how it is compared there."""


def require_exact(column: Any, kind: object, alias: str) -> None:
    """Raise ConfigurationError, naming the field, unless values of ``column``, which are of type ``kind`` in a row, are
    equal in the database ``alias`` exactly if they are in Python."""
    label = f"{column.model._meta.label}.{column.name}"
    target = value_field(column)
    if kind not in _EXACT:
        raise ConfigurationError(
            f"{label}: no list and no missing entry is kept by a {type(target).__name__}, only by integers, text, "
            "booleans, UUIDs and dates"
        )
    if getattr(target, "db_collation", None) or (kind is str and connections[alias].vendor in _COLLATING):
        raise ConfigurationError(f"{label}: its collation may find texts equal that differ, so no list is kept by it")
    if getattr(column, "auto_now", False) or getattr(column, "auto_now_add", False) or column.generated:
        raise ConfigurationError(f"{label} gets its value when it is written, so no list is kept by it")
    changed = [name for name in _HOOKS if _overrides(target, name)]
    if changed:
        raise ConfigurationError(
            f"{label}: {type(target).__name__} has a {changed[0]} of its own, which may change what is compared"
        )


def require_exact_lists(declaration: Declaration, columns: Iterable[Column], alias: str) -> None:
    """Raise ConfigurationError unless every list and missing entry of a declaration is kept by such columns.

    columns: of a row of its model. Raises as `Declaration.lists` and `Declaration.absences` too.
    """
    kinds = {column.name: column.type for column in columns}
    for name in dict.fromkeys(name for names in (*declaration.lists(), *declaration.absences()) for name in names):
        require_exact(column_named(declaration.model, name), kinds[name], alias)


def is_exact(column: Any, alias: str) -> bool:
    """Whether it is so, judged by the field alone."""
    target = value_field(column)
    kind = None if isinstance(target, models.DateTimeField) else _kind(target)
    try:
        require_exact(column, kind, alias)
    except ConfigurationError:
        return False
    return True


def may_equal_others(column: Any, alias: str) -> bool:
    """Whether the database may find a value of ``column`` equal to one that it holds though Python finds that they
    differ, as it finds two decimals of different scale. Fields of foreign classes are believed."""
    target = value_field(column)
    kind = cast("type[object]", type(target))
    if issubclass(kind, models.DecimalField | models.FloatField | models.DateTimeField):
        return True
    if not issubclass(kind, models.CharField | models.TextField):
        return False
    collates = bool(getattr(target, "db_collation", None)) or connections[alias].vendor in _COLLATING
    return collates or _overrides(target, "db_type")


def _kind(column: Any) -> object:
    """The type of a field's values; None: another than those whose equality can be exact."""
    kinds: dict[type[models.Field[Any, Any]], object] = {
        models.IntegerField: int,
        models.CharField: str,
        models.TextField: str,
        models.BooleanField: bool,
        models.UUIDField: uuid.UUID,
        models.DateField: datetime.date,
    }
    return next((kind for field, kind in kinds.items() if isinstance(column, field)), None)


def _overrides(column: Any, name: str) -> bool:
    """Whether the class of a field, which is neither Django's nor ours, has its own method of this name."""
    bases: tuple[type, ...] = column.__class__.__mro__
    owner = next((base for base in bases if name in vars(base)), models.Field)
    return not owner.__module__.startswith(("django.db.models.", "cachecore."))
