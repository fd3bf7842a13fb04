"""Rows that are marked instead of deleted, hidden by the usual manager, and found by ``with_deleted``.

    class Note(SoftDeleteModel):
        title = models.SlugField(unique=True)
        objects = SoftDeleteManager(cache_fields=["title"])

Theory of operation. Marking is an UPDATE, so it outdates the cached row, and whatever the cache then asks the database
it asks through the manager that hides marked rows. A hidden row therefore never comes from the cache, from the moment
its mark is committed, and an entry that still says which primary key a title had leads to no row.

Only ``delete()`` marks, of instances and of querysets of these managers. It does not cascade, and nothing protects a
row that others point at. Foreign keys that point at hidden rows still find them, as Django follows them by the base
manager, and so do the cascades of other models, which delete for good. Unique constraints count hidden rows, while
validate_unique() does not see them; a UniqueConstraint with a condition is no cached lookup.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from asgiref.sync import sync_to_async
from django.core.checks import CheckMessage, Error
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.utils import timezone

from cachecore.errors import ConfigurationError
from cachecore.integrations.django.manager import CacheManager, CacheQuerySet
from cachecore.integrations.django.orm.instance_update import update_row

M = TypeVar("M", bound=models.Model)

Deleted = tuple[int, dict[str, int]]
"""What delete() returns: the number of rows, and that by model."""


@dataclass(frozen=True, slots=True)
class DeletionMark:
    """Which column says that a row is deleted.

    field: its name.
    deleted: the value it then has, or a function that makes one, such as `django.utils.timezone.now`.
    present: the value it otherwise has, and gets by undelete(). A row is hidden if its column has the value
        ``deleted``; where that is a function, if it has another value than ``present``.
    """

    field: str
    deleted: Any
    present: Any = None

    def new(self) -> Any:
        """The value for a row that is deleted now."""
        return self.deleted() if callable(self.deleted) else self.deleted

    @property
    def hidden(self) -> models.Q:
        """The condition of rows that are deleted."""
        return self._is_not(self.present) if callable(self.deleted) else self._is(self.deleted)

    @property
    def visible(self) -> models.Q:
        """The condition of rows that are not."""
        return self._is(self.present) if callable(self.deleted) else self._is_not(self.deleted)

    def _is(self, value: Any) -> models.Q:
        return models.Q(**{f"{self.field}__isnull": True} if value is None else {self.field: value})

    def _is_not(self, value: Any) -> models.Q:
        return models.Q(**{f"{self.field}__isnull": False}) if value is None else ~models.Q(**{self.field: value})

    def hides(self, instance: models.Model) -> bool:
        """Whether an instance says that it is deleted."""
        value = getattr(instance, self.field)
        return bool(value != self.present if callable(self.deleted) else value == self.deleted)


def mark_of(model: type[models.Model]) -> DeletionMark:
    """The deletion_mark of a model. Raises ConfigurationError naming the model if it has none."""
    mark = getattr(model, "deletion_mark", None)
    if not isinstance(mark, DeletionMark):
        raise ConfigurationError(f"{model._meta.label}.deletion_mark must be a DeletionMark, not {mark!r}")
    return mark


class SoftDeleteQuerySet(CacheQuerySet[M], Generic[M]):
    """A queryset whose delete() marks the rows. What hides them is the manager."""

    def delete(self) -> Deleted:
        """Mark the rows that are not marked yet, by one UPDATE; no signal of a delete is sent and nothing cascades."""
        mark = mark_of(self.model)
        return self._marked(self.filter(mark.visible), mark.new())

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def undelete(self) -> int:
        """Take the mark off the rows that have it; they are found by the manager ``with_deleted``. Returns how many."""
        mark = mark_of(self.model)
        return self._marked(self.filter(mark.hidden), mark.present)[0]

    undelete.alters_data = True  # type: ignore[attr-defined]
    undelete.queryset_only = True  # type: ignore[attr-defined]

    def hard_delete(self) -> Deleted:
        """Delete the rows for good, as Django does, with signals and cascades."""
        return super().delete()

    hard_delete.alters_data = True  # type: ignore[attr-defined]
    hard_delete.queryset_only = True  # type: ignore[attr-defined]

    async def aundelete(self) -> int:
        """Like `undelete`, awaited."""
        return await sync_to_async(self.undelete)()

    aundelete.alters_data = True  # type: ignore[attr-defined]
    aundelete.queryset_only = True  # type: ignore[attr-defined]

    async def ahard_delete(self) -> Deleted:
        """Like `hard_delete`, awaited."""
        return await sync_to_async(self.hard_delete)()

    ahard_delete.alters_data = True  # type: ignore[attr-defined]
    ahard_delete.queryset_only = True  # type: ignore[attr-defined]

    def _marked(self, rows: Self, value: Any) -> Deleted:
        count = rows.update(**{mark_of(self.model).field: value})
        self._result_cache = None
        return count, {self.model._meta.label: count} if count else {}


if TYPE_CHECKING:
    _Manager = CacheManager
else:
    _Manager = CacheManager.from_queryset(SoftDeleteQuerySet)


class WithDeletedManager(_Manager[M]):
    """A manager that finds deleted rows, too. Takes the arguments of `CacheManager`, but does not belong to a model
    whose usual manager caches: only one may, and it should be the one that hides."""

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """Django's system checks: that the model says how its rows are marked."""
        found = list(super().check(**kwargs))
        try:
            self.model._meta.get_field(mark_of(self.model).field)
        except (ConfigurationError, FieldDoesNotExist) as error:
            found.append(
                Error(
                    f"{self.model._meta.label}.{self.name} is to find rows that are marked as deleted: {error}.",
                    hint="Derive the model from SoftDeleteModel, or give it a deletion_mark.",
                    obj=self.model,
                    id="cachecore.E020",
                )
            )
        return found


class SoftDeleteManager(WithDeletedManager[M]):
    """A manager that hides deleted rows, from queries and from `get_from_cache`. Takes what `CacheManager` takes."""

    def get_queryset(self) -> "models.QuerySet[M]":
        return super().get_queryset().filter(mark_of(self.model).visible)


class SoftDeletable(models.Model):
    """An abstract model with a column of its own for the mark, such as a status:

    deletion_mark = DeletionMark("status", deleted=Status.DELETED, present=Status.ACTIVE)
    """

    deletion_mark: ClassVar[DeletionMark]

    objects = SoftDeleteManager[Any]()
    with_deleted = WithDeletedManager[Any]()

    class Meta:
        abstract = True

    @property
    def is_deleted(self) -> bool:
        """Whether this instance is marked."""
        return mark_of(type(self)).hides(self)

    def delete(self, using: str | None = None, keep_parents: bool = False) -> Deleted:
        """Mark the row, unless it is marked or gone, and this instance. Sends post_save as an update does, and no
        signal of a delete; nothing cascades.

        using: the database alias; None: the one to which the instance would be saved.
        keep_parents: is for `hard_delete`; a mark is one for the whole row.

        Raises RowError, a ValueError, for an instance without a primary key.
        """
        mark = mark_of(type(self))
        count = self._mark(mark.visible, mark.new(), using)
        return count, {self._meta.label: count} if count else {}

    delete.alters_data = True  # type: ignore[attr-defined]

    def undelete(self, using: str | None = None) -> bool:
        """Take the mark off the row and this instance; False if the row has none or is gone. Errors as of `delete`."""
        mark = mark_of(type(self))
        return self._mark(mark.hidden, mark.present, using) > 0

    undelete.alters_data = True  # type: ignore[attr-defined]

    def hard_delete(self, using: str | None = None, keep_parents: bool = False) -> Deleted:
        """Delete the row for good, as Django does, with signals and cascades."""
        return super().delete(using=using, keep_parents=keep_parents)

    hard_delete.alters_data = True  # type: ignore[attr-defined]

    async def aundelete(self, using: str | None = None) -> bool:
        """Like `undelete`, awaited."""
        return await sync_to_async(self.undelete)(using=using)

    aundelete.alters_data = True  # type: ignore[attr-defined]

    async def ahard_delete(self, using: str | None = None, keep_parents: bool = False) -> Deleted:
        """Like `hard_delete`, awaited."""
        return await sync_to_async(self.hard_delete)(using=using, keep_parents=keep_parents)

    ahard_delete.alters_data = True  # type: ignore[attr-defined]

    def _mark(self, condition: models.Q, value: Any, using: str | None) -> int:
        rows: models.QuerySet[Any] = type(self)._base_manager.filter(condition)
        return update_row(self, {mark_of(type(self)).field: value}, using=using, rows=rows)


class SoftDeleteModel(SoftDeletable):
    """An abstract model whose rows are marked by the time of their deletion."""

    deletion_mark = DeletionMark("date_deleted", deleted=timezone.now)

    date_deleted: "models.DateTimeField[datetime | None, datetime | None]" = models.DateTimeField(
        null=True, blank=True, editable=False, db_index=True
    )

    class Meta(SoftDeletable.Meta):
        abstract = True
