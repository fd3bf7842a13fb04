"""How cached rows are read from the database: by their identity, by one lookup or list, or many at once."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import connections, models

from cachecore.integrations.django.questions import Questions
from cachecore.integrations.django.rows import RowLayout

Row = tuple[Any, ...]

_MOST_PARAMETERS = 20_000
"""Of a statement to a database that names no limit. PostgreSQL has one of 65,535 if it is the server that binds."""

_MOST_ALTERNATIVES = 400
"""In one condition ``a OR b OR ...``: SQLite refuses expressions more than 1000 deep."""


class RowReader(Questions):
    """The part of a `ModelCache` that asks the database, as its manager shows rows."""

    layout: RowLayout

    def _select(self) -> Any:
        manager = getattr(self.model, self.declaration.manager_name)
        return self.layout.select(manager.get_queryset().using(self.alias).order_by())

    def load(self, identities: Sequence[Any]) -> Iterable[Row]:
        """The rows of these identities, in any order."""
        is_single = len(self.identity) == 1
        wanted = [one for one in identities if self.can_be(self.identity, (one,) if is_single else one)]
        if len(wanted) == 1:
            return list(self._select().filter(pk=wanted[0]))
        return self._in_batches("pk__in", wanted, len(self.identity))

    def query(self, names: tuple[str, ...]) -> Callable[[Row], Row | None]:
        """The function that reads the row of one lookup. It raises MultipleObjectsReturned as ``get`` does."""

        def query(values: Row) -> Row | None:
            rows = list(self._select().filter(**dict(zip(names, values, strict=True)))[:2])
            if len(rows) > 1:
                raise self.model.MultipleObjectsReturned(
                    f"get_from_cache() found more than one {self.model._meta.object_name} by {', '.join(names)}"
                )
            return rows[0] if rows else None

        return query

    def query_many(self, names: tuple[str, ...]) -> Callable[[Sequence[Row]], Iterable[Row]]:
        """The function that reads the rows of many values of one lookup."""

        def query_many(values: Sequence[Row]) -> Iterable[Row]:
            if len(names) == 1:
                return self._in_batches(f"{names[0]}__in", [value for (value,) in values], 1)
            rows: list[Row] = []
            for batch in self._batches(values, len(names)):
                alternatives = [models.Q(**dict(zip(names, value, strict=True))) for value in batch]
                rows.extend(self._select().filter(models.Q(*alternatives, _connector=models.Q.OR)))
            return rows

        return query_many

    def _in_batches(self, condition: str, values: Sequence[Any], parameters: int) -> list[Row]:
        rows: list[Row] = []
        for batch in self._batches(values, parameters):
            rows.extend(self._select().filter(**{condition: batch}))
        return rows

    def _batches(self, values: Sequence[Any], parameters: int) -> Iterable[Sequence[Any]]:
        """Slices small enough for what the database allows in one statement."""
        limit = connections[self.alias].features.max_query_params or _MOST_PARAMETERS
        size = max(1, limit // parameters)
        if parameters > 1:
            size = min(size, _MOST_ALTERNATIVES)
        return (values[start : start + size] for start in range(0, len(values), size))
