"""``create_or_update(City, slug="oslo", defaults={"visits": F("visits") + 1})``: an UPDATE first, and else an INSERT.

For rows that usually exist, such as counters: one statement, no lock and no SELECT. Two that insert at once meet in the
unique constraint, and the one that is refused updates the row of the other. The INSERT has a savepoint, so that all
this works inside a transaction.
"""

from collections.abc import Mapping
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.db import IntegrityError, models, transaction
from django.db.models.constants import LOOKUP_SEP
from django.db.models.sql import Query

from cachecore.errors import CachecoreError
from cachecore.integrations.django.orm.expressions import CannotResolveExpression, is_expression, resolve
from cachecore.integrations.django.orm.instance_update import RowError


class NothingWritten(CachecoreError, IntegrityError):
    """No row matched, none could be inserted, and none matched then. The refused INSERT is the cause of this error."""


def create_or_update(
    objects: Any, /, *, using: str | None = None, defaults: Mapping[str, Any] | None = None, **lookup: Any
) -> tuple[Any, bool]:
    """Give the rows of ``lookup`` the values of ``defaults``, or create one of both.

    objects: a model, which stands for its default manager, a manager, a related one too, or a queryset.
    using: the database alias; None: the one to which the model is written.
    defaults: values by field name; a callable is called. Expressions are computed by the database in an UPDATE; for a
        new row F() is what a new instance would have, the field's default. None or empty: nothing to update, and rows
        that exist are counted.
    lookup: what filter() takes. In a new row the conditions without ``__`` are values.

    Returns (number of rows updated, False) or (the new instance, True).

    Raises NothingWritten, an IntegrityError; CannotResolveExpression if a new row needs an expression over columns that
    only a database can compute; RowError for no model, and without a lookup, which would mean all rows.
    """
    manager = _manager(objects, using)
    label = manager.model._meta.label
    if not lookup:
        raise RowError(f"{label}: create_or_update() without a lookup would update all rows")
    values = {name: value() if callable(value) else value for name, value in (defaults or {}).items()}
    written = _update(manager, lookup, values)
    if written:
        return written, False
    params = _params(manager, lookup, values)
    alias = _rows(manager, lookup).db
    try:
        with transaction.atomic(using=alias):
            created = manager.create(**params)
    except IntegrityError as error:
        # Somebody else has inserted it meanwhile: by the lookup as it was asked, and not by the new values.
        written = _update(manager, lookup, values)
        if written:
            return written, False
        raise NothingWritten(f"{label}: no row matches {lookup!r}, and none could be inserted: {error}") from error
    computed = [name for name, value in params.items() if is_expression(value)]
    if computed:
        created.refresh_from_db(using=alias, fields=computed)
    return created, True


class CreateOrUpdate:
    """A mixin for managers and querysets: ``City.objects.create_or_update(slug="oslo", defaults={...})``.

    On a manager it stands before the class that `from_queryset` made, so that related managers set their relation.
    """

    def create_or_update(self, *, defaults: Mapping[str, Any] | None = None, **lookup: Any) -> tuple[Any, bool]:
        """`cachecore.integrations.django.orm.create_or_update.create_or_update` of this manager or queryset."""
        return create_or_update(self, defaults=defaults, **lookup)

    create_or_update.alters_data = True  # type: ignore[attr-defined]

    async def acreate_or_update(self, *, defaults: Mapping[str, Any] | None = None, **lookup: Any) -> tuple[Any, bool]:
        """Like `create_or_update`, awaited."""
        return await sync_to_async(create_or_update)(self, defaults=defaults, **lookup)

    acreate_or_update.alters_data = True  # type: ignore[attr-defined]


def _manager(objects: Any, using: str | None) -> Any:
    """The manager or queryset through which all statements go."""
    if isinstance(objects, type) and issubclass(objects, models.Model):
        if objects._meta.abstract or objects._meta.swapped:
            raise RowError(f"{objects._meta.label} has no rows: it is abstract or swapped out")
        objects = objects._default_manager
    if not isinstance(objects, models.QuerySet | models.Manager):
        raise RowError(f"create_or_update() is for a model, a manager or a queryset, not {objects!r}")
    manager: Any = cast("Any", objects)
    if using is None:
        return manager
    # With its alias changed a related manager is still one, and sets the relation.
    return manager.using(using) if isinstance(objects, models.QuerySet) else manager.db_manager(using)


def _rows(manager: Any, lookup: Mapping[str, Any]) -> Any:
    rows = manager.filter(**lookup)
    rows._for_write = True  # its alias is that of writes
    return rows


def _update(manager: Any, lookup: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    rows = _rows(manager, lookup)
    written: int = rows.update(**values) if values else rows.count()
    return written


def _params(manager: Any, lookup: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a new row."""
    params: dict[str, Any] = {name: value for name, value in lookup.items() if LOOKUP_SEP not in name}
    if not any(map(is_expression, values.values())):
        return {**params, **values}
    new = manager.model(**params)
    for name, value in values.items():
        try:
            params[name] = resolve(value, new)
        except CannotResolveExpression:
            if _names_columns(manager.model, value):
                raise
            params[name] = value  # such as Now(), which an INSERT may contain
    return params


def _names_columns(model: type[models.Model], expression: Any) -> bool:
    resolved = expression.resolve_expression(Query(model), allow_joins=False, for_save=True)
    return bool(resolved.contains_column_references)
