"""What a write outdates besides the row it writes: the lists and the missing entries of an entity, and their keys.

A row under its identity, and a pointer to it, are verified by the row. Two claims no row can verify: that a list of
rows is complete, and that there is no row. They stand under coherent keys of their own, and every transaction that
gives a row such values (an insert, a move, a rename) holds them: see `Derived.gained`. A row that leaves needs no hold,
since a list's rows are verified one by one.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, time
from decimal import Decimal
from typing import Any, cast

from cachecore.entity import Entity, Row
from cachecore.errors import ConfigurationError, InvalidKey, UncacheableLookup
from cachecore.keys import KeyMaker

Names = tuple[str, ...]
Group = str | Sequence[str]
"""A column, or columns together."""
ListDeclarations = Sequence[Group] | Mapping[Any, Group]
"""Columns of lists, or a mapping from them to the columns that sort their rows, ``-`` before a descending one."""


class Derived:
    """The lists and missing entries of one entity. Immutable.

    lists: columns, or tuples of columns, by whose values rows are listed; a mapping gives each the columns by which it
        is sorted: ``{"country": ("name", "-created")}``. Rows that are equal in these are sorted by identity.
    missing: lookups that remember that they have no row; True means all, False none.

    Raises ConfigurationError for columns that do not exist, are not declared, or whose equality is not exact.
    """

    def __init__(self, entity: Entity, lists: ListDeclarations = (), missing: bool | Sequence[Group] = False) -> None:
        self.entity = entity
        declared = _groups(entity, "lists", lists)
        absences = entity.lookups if missing is True else _groups(entity, "missing", missing or ())
        for names in absences:
            if names not in entity.lookups:
                raise ConfigurationError(f"{entity.name}: missing={names!r} is none of the lookups {entity.lookups!r}")
        if missing is True and not absences:
            raise ConfigurationError(f"{entity.name}: missing=True, and no lookups are declared")
        for names in (*declared, *absences):
            self._check_exact(names)
        orders: Mapping[Any, Group] = lists if isinstance(lists, Mapping) else {}
        self._sorting = {_names(one): self._order(_names(orders.get(one, ()))) for one in lists}
        self.list_key: Mapping[Names, KeyMaker] = {names: entity.key_maker("list", names) for names in declared}
        """List to the maker of its keys, which takes the values in that order."""
        self.missing_key: Mapping[Names, KeyMaker] = {names: entity.key_maker("missing", names) for names in absences}
        """Lookup to the maker of the keys under which it stands that there is no row."""
        self._listed_as = {frozenset(names): names for names in declared}
        if len(self._listed_as) < len(declared):
            raise ConfigurationError(f"{entity.name}: lists={lists!r} declares the same columns twice")

    def _check_exact(self, names: Names) -> None:
        """Refuse columns where the database may find a value equal to another than the one that was gained."""
        for name in names:
            column = self._column(name)
            if column.kind != "scalar" or column.type is float or "#" in name:
                what = column.kind if column.kind != "scalar" else "float"
                raise ConfigurationError(
                    f"{self.entity.name}: {name} is {what}, whose equality is not exact: no list or missing entry is "
                    "kept by it"
                )

    def _column(self, name: str) -> Any:
        entity = self.entity
        if name not in entity.position:
            raise ConfigurationError(f"{entity.name}: no column {name!r}; there are {', '.join(entity.position)}")
        return entity.codec.columns[entity.position[name]]

    def _order(self, columns: Names) -> tuple[tuple[int, bool], ...]:
        """(place in a row, whether descending) of each column that sorts, the identity's last."""
        order: list[tuple[int, bool]] = []
        for column in (*columns, *self.entity.identity):
            name = column.removeprefix("-")
            if self._column(name).kind != "scalar":
                raise ConfigurationError(f"{self.entity.name}: no list can be sorted by {name}, no scalar column")
            order.append((self.entity.position[name], name != column))
        return tuple(order)

    def named(self, fields: Mapping[str, Any]) -> tuple[Names, tuple[Any, ...]]:
        """Names and values of a list in the order in which it is declared; raises UncacheableLookup if it is not."""
        names = self._listed_as.get(frozenset(fields))
        if names is None:
            known = ", ".join("+".join(one) for one in self.list_key) or "nothing"
            raise UncacheableLookup(
                f"no lists of {self.entity.name} are cached by {'+'.join(fields) or 'nothing'}, only by {known}; "
                "just hit the database"
            )
        return names, tuple([fields[name] for name in names])

    def sorted(self, names: Names, rows: Iterable[Row]) -> list[Row]:
        """Rows in the order of their list: texts by code point; None behind every value, before them if descending."""
        done = list(rows)
        for place, descending in reversed(self._sorting[names]):
            done.sort(key=lambda row: _rank(row[place]), reverse=descending)
        return done

    def gained(self, values: Mapping[str, Any]) -> list[str]:
        """The keys to be held by a transaction that gives a row these column values: by its insert, its update.

        values: of every column that the statement sets, as the database will hold them; more do no harm. An insert sets
            all columns, by defaults too. Give ``...`` for a value that is not known, or whatever computes it. A list or
            lookup is gained if all its columns are among them, and not if none is or one of them is None. Where that
            cannot be told, some of its columns being absent or of another type than their column's, the key of the
            epoch is returned too: it outdates all.

        Raises UncacheableLookup for a name that is no column: whoever mistypes one would not outdate its lists.
        """
        entity = self.entity
        for name in values:
            if name not in entity.position:
                raise UncacheableLookup(f"{entity.name} has no column {name!r}; there are {', '.join(entity.position)}")
        keys: dict[str, None] = {}
        for names, maker in (*self.list_key.items(), *self.missing_key.items()):
            known = [name for name in names if name in values]
            if not known or any(values[name] is None for name in known):
                continue
            try:
                if len(known) < len(names):
                    raise UncacheableLookup("not all columns are known")
                keys[maker(*entity.typed(names, [values[name] for name in names]))] = None
            except (UncacheableLookup, InvalidKey):
                keys[entity.epoch_key] = None
        return list(keys)


def _groups(entity: Entity, argument: str, groups: Any) -> list[Names]:
    if isinstance(groups, (str, bytes)) or not isinstance(groups, Iterable):
        raise ConfigurationError(f"{entity.name}: {argument} is a sequence of columns, not {groups!r}")
    found = [_names(one) for one in cast("Iterable[Group]", groups)]
    for names in found:
        if not names or len(set(names)) != len(names):
            raise ConfigurationError(f"{entity.name}: {argument} has {names!r}, which are not one or more columns")
    return found


def _names(group: Group) -> Names:
    return (group,) if isinstance(group, str) else tuple(group)


def _rank(value: Any) -> tuple[int, Any]:
    """A sort key for every value that a scalar column can hold, also where Python compares none."""
    if value is None:
        return 3, 0
    if isinstance(value, float | Decimal) and value != value:
        return 2, 0
    if isinstance(value, datetime | time) and value.utcoffset() is None:
        return 1, value
    if isinstance(value, bytearray | memoryview):
        return 0, bytes(cast("bytes", value))
    return 0, value
