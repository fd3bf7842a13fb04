"""What is cached of rows besides the rows themselves, and is outdated when they are written: lists, say.

A dependent is told the values that some columns of each written row have after the statement, and where it asks for
them those before it, and answers with keys. `sql_writes` finds the values out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.db import models

from cachecore.integrations.django.declaration import concrete
from cachecore.integrations.django.writing.statement import Touched


class Dependent(Protocol):
    """Something cached that depends on the rows of a model."""

    @property
    def columns(self) -> Sequence[str]:
        """The attribute names of the columns whose values tell which keys a written row outdates."""
        ...

    @property
    def needs_old(self) -> bool:
        """False: only rows that have the values after the statement outdate something: they have come, perhaps. True:
        also rows that had them before, deleted ones too, and whatever else changed in them. Where they are not known,
        as in a save, that costs a query."""
        ...

    @property
    def any_update(self) -> bool:
        """True: an UPDATE counts whatever columns it writes, because a manager that hides rows may show the row now."""
        ...

    def touched(self, alias: str, values: Mapping[str, Any]) -> Touched | None:
        """The keys that a row with these values of the columns outdates in the database ``alias``; None: none."""
        ...

    def all_touched(self, alias: str) -> Touched:
        """The keys that stand for all, when the values of written rows are not known, or there are too many."""
        ...


_dependents: dict[type[models.Model], list[Dependent]] = {}


def depend(model: type[models.Model], dependent: Dependent) -> None:
    """From now on tell ``dependent`` of writes to the table of ``model``. Twice is once."""
    known = _dependents.setdefault(concrete(model), [])
    if dependent not in known:
        known.append(dependent)


def dependents_of(model: type[models.Model]) -> Sequence[Dependent]:
    """The dependents that a statement on the table of ``model`` is to be told of: also those of its children in
    multi-table inheritance, whose rows hold its columns."""
    table = concrete(model)
    found = [one for owner, some in _dependents.items() if issubclass(owner, table) for one in some]
    return found + _of_twins(table)


def own_dependents_of(model: type[models.Model]) -> Sequence[Dependent]:
    """The dependents that an INSERT into the table of ``model`` is to be told of: a child's row is there only when its
    own table has it."""
    return [*_dependents.get(concrete(model), ()), *_of_twins(concrete(model))]


def _of_twins(table: type[models.Model]) -> list[Dependent]:
    """The dependents of other models of the same table, whose names for its columns may be others."""
    return [
        _AnyRow(one, one.needs_old)
        for owner, some in _dependents.items()
        if owner._meta.db_table == table._meta.db_table and not issubclass(owner, table)
        for one in some
    ]


@dataclass(frozen=True)
class _AnyRow:
    """A dependent that is told nothing of a row but that one was written."""

    dependent: Dependent
    needs_old: bool
    columns: Sequence[str] = ()
    any_update: bool = True

    def touched(self, alias: str, values: Mapping[str, Any]) -> Touched | None:
        return self.dependent.all_touched(alias)

    def all_touched(self, alias: str) -> Touched:
        return self.dependent.all_touched(alias)
