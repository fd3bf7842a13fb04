"""What lists and missing entries of a model are outdated by a written row: those that it belongs to afterwards.

A row that leaves a list needs nothing, since a reader verifies each row of it. A manager that hides rows by their
columns may show a row after any UPDATE, so that then every one counts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cachecore.errors import UncacheableLookup
from cachecore.integrations.django.declaration import Declaration, column_named
from cachecore.integrations.django.lookup_values import lookup_value
from cachecore.integrations.django.model_cache import model_cache
from cachecore.integrations.django.writing.statement import Touched


class Gains:
    """The `Dependent` for the lists and missing entries of one declaration."""

    needs_old = False

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration
        self._columns: Sequence[str] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Gains) and other.declaration == self.declaration

    @property
    def columns(self) -> Sequence[str]:
        """The columns of all lists, and of all lookups that remember that they have no row."""
        if self._columns is None:  # asked by every write, and by none where a declaration is wrong
            kept = (*self.declaration.lists(), *self.declaration.absences())
            self._columns = tuple(dict.fromkeys(name for names in kept for name in names))
        return self._columns

    @property
    def any_update(self) -> bool:
        """Whether the manager hides rows."""
        hides: bool = getattr(self.declaration.model, self.declaration.manager_name).hides_rows
        return hides

    def touched(self, alias: str, values: Mapping[str, Any]) -> Touched | None:
        """See `Dependent`."""
        cached = model_cache(self.declaration, alias)
        keys = cached.records.gained({name: self._stored(name, value) for name, value in values.items()})
        return (cached.cache, keys, cached.policy) if keys else None

    def all_touched(self, alias: str) -> Touched:
        """See `Dependent`."""
        cached = model_cache(self.declaration, alias)
        return cached.cache, [cached.records.entity.epoch_key], cached.policy

    def _stored(self, name: str, value: Any) -> Any:
        """The value as the column will hold it; ``...`` if only the database can tell."""
        if value is None:
            return None
        model = self.declaration.model
        try:
            return lookup_value(model, column_named(model, name), value)
        except UncacheableLookup:
            return ...
