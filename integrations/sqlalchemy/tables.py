"""Which cached classes have rows in a table, and which rows the database itself changes with those of another.

A statement may know a table by another object than the one that is mapped: in the default schema by its name or
without, read from the database, in other letters. What may be meant is taken to be meant.

Foreign keys with ON DELETE and ON UPDATE change rows without a statement that anybody could meet. So who deletes a row,
or updates a table whose keys others follow, outdates all rows of the tables that follow, and so on from there.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ForeignKeyConstraint, Table, TableClause

from cachecore.integrations.sqlalchemy.models import CachedModel

_FOLLOWS = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})


class Tables:
    """The tables of cached classes, and those that lead to them."""

    def __init__(self, models: Iterable[CachedModel]) -> None:
        self._models: dict[str, list[tuple[str | None, CachedModel]]] = {}
        all_tables: dict[Any, None] = {}
        for model in models:
            tables: list[Any] = [table for table in model.mapper.tables if isinstance(table, Table)]
            for table in tables:
                self._models.setdefault(table.name.casefold(), []).append((table.schema, model))
                all_tables.update(dict.fromkeys(table.metadata.tables.values()))
        self._keys = [
            (_referred(constraint)[0], _name(table), constraint)
            for table in all_tables
            for constraint in table.constraints
            if isinstance(constraint, ForeignKeyConstraint)
        ]
        self._after: dict[tuple[str, bool], list[CachedModel]] = {}
        self._referred: dict[str, set[str]] = {}
        for parent, _, constraint in self._keys:
            if (constraint.onupdate or "").upper() in _FOLLOWS:
                self._referred.setdefault(parent, set()).update(_referred(constraint)[1])

    def names(self) -> set[str]:
        """The tables of which a statement may change what is cached, without their schemas."""
        return {*self._models, *(parent for parent, _, _ in self._keys)}

    def all_models(self) -> list[CachedModel]:
        """Everything that is cached."""
        return list({id(model): model for models in self._models.values() for _, model in models}.values())

    def models_of(self, table: TableClause) -> list[CachedModel]:
        """What is cached of a table."""
        schema: str | None = getattr(table, "schema", None)
        found = self._models.get(_name(table), ())
        return [model for its, model in found if its == schema or its is None or schema is None]

    def models_named(self, name: str) -> list[CachedModel]:
        """What is cached of the tables of this name, whatever their schema."""
        return [model for _, model in self._models.get(name.casefold(), ())]

    def followers(self, name: str, *, deletes: bool) -> Sequence[CachedModel]:
        """What is cached of the tables whose rows may change when rows of this one are deleted, or else updated."""
        known = self._after.get((name, deletes))
        if known is None:
            reached = self._reached(name.casefold(), deletes)
            known = self._after[name, deletes] = [model for one in reached for _, model in self._models.get(one, ())]
        return known

    def referred(self, name: str) -> set[str]:
        """The columns of a table that others follow when they change."""
        return self._referred.get(name.casefold(), set())

    def _reached(self, name: str, deletes: bool) -> list[str]:
        found: dict[tuple[str, bool], None] = {}
        left = [(name, deletes)]
        while left:
            here, is_delete = left.pop()
            for parent, child, constraint in self._keys:
                rule = ((constraint.ondelete if is_delete else constraint.onupdate) or "").upper()
                if parent == here and rule in _FOLLOWS:
                    reached = child, is_delete and rule == "CASCADE"
                    if reached not in found:
                        found[reached] = None
                        left.append(reached)
        return list(dict.fromkeys(child for child, _ in found))


def _name(table: TableClause) -> str:
    return table.name.casefold()


def _referred(constraint: ForeignKeyConstraint) -> tuple[str, list[str]]:
    """The table to which a foreign key points, and its columns: as it says them, for the table may not be there yet."""
    names = [element.target_fullname.split(".") for element in constraint.elements]
    return names[0][-2].casefold(), [name[-1] for name in names]
