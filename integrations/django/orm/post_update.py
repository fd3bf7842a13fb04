"""Querysets whose update() tells which rows it wrote: they send the signal `signals.post_update` if asked to.

``City.objects.filter(...).with_post_update().update(...)`` asks for one update; a subclass with
``send_post_update = True`` asks for all of them, bulk_update() included, which updates in batches and sends the signal
for each.

To know the rows, their primary keys are read first, in a transaction and with a lock where the database has one; then
exactly those rows are written. That is a query more, so that nobody gets it unasked.
"""

from collections.abc import Sequence
from typing import Any, Generic, Self, TypeVar, cast

from django.db import connections, models, transaction

from cachecore.integrations.django.signals import post_update

M = TypeVar("M", bound=models.Model)

_MOST_PARAMETERS = 20_000
"""Of a statement to a database that names no limit."""


class PostUpdateQuerySet(models.QuerySet[M], Generic[M]):
    """A queryset that can send `post_update`. Give it as a base to querysets of your own."""

    send_post_update = False
    """Whether update() sends the signal; a subclass may set it for all its querysets."""

    def with_post_update(self, enable: bool = True) -> Self:
        """A queryset whose update() sends `post_update`, or with False does not."""
        clone: Self = cast("Any", self)._chain()
        clone.send_post_update = enable
        return clone

    def _clone(self) -> Self:
        clone: Self = cast("Any", super())._clone()
        if self.send_post_update is not type(self).send_post_update:
            clone.send_post_update = self.send_post_update
        return clone

    def update(self, **kwargs: Any) -> int:
        """As Django's, and sends `post_update` if this queryset was asked to and a row was written."""
        if not self.send_post_update or not kwargs or self.query.is_sliced or self.query.combinator:
            return super().update(**kwargs)
        names = tuple(self.model._meta.get_field(name).name for name in kwargs)
        self._for_write = True
        written: list[Any] = []
        rows = 0
        with transaction.atomic(using=self.db, savepoint=False):
            for batch in self._batches():
                count = super(PostUpdateQuerySet, self.filter(pk__in=batch)).update(**kwargs)
                rows += count
                written += batch if count else ()
        self._result_cache = None
        if written:
            post_update.send(sender=self.model, updated_fields=names, model_ids=tuple(written), using=self.db)
        return rows

    update.alters_data = True  # type: ignore[attr-defined]

    def _batches(self) -> Sequence[Sequence[Any]]:
        """The primary keys of the rows that match now, as many at a time as one statement may name."""
        query = self.query
        rows: Any = self.order_by()
        if not (query.distinct or query.group_by is not None):  # there is no lock on such rows
            of = ("self",) if connections[self.db].features.has_select_for_update_of else ()
            rows = rows.select_related(None).select_for_update(of=of)
        names = [part.attname for part in self.model._meta.pk_fields]
        keys = list(dict.fromkeys(instance.pk for instance in rows.only(*names)))
        limit = connections[self.db].features.max_query_params or _MOST_PARAMETERS
        size = max(1, limit // 2 // len(names))  # the other half is for the conditions and the values
        return [keys[start : start + size] for start in range(0, len(keys), size)]
