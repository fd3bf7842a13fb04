"""What a model declares to be cached, and which writes touch which cached models.

Every cached model is known here, by its concrete model: proxies share its rows. A statement on one table can change
rows of other models: of children in multi-table inheritance, whose rows hold their parents' columns, and of models
whose foreign keys the database itself follows or sets to something else when the row they point at is deleted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from django.db import models

from cachecore.errors import ConfigurationError

DEFAULT = object()
"""Stands for "as the settings say" where None has a meaning of its own."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """One model with a cache, as its manager declares it."""

    model: type[models.Model]
    manager_name: str
    fields: tuple[tuple[str, ...], ...]
    """The lookups as written, each a tuple of field names."""
    ttl: Any = DEFAULT
    version: int | str | None = None
    listed: Mapping[tuple[str, ...], tuple[str, ...] | None] = field(default_factory=lambda: MappingProxyType({}))
    """The lists as written: field names, and the fields that sort the rows; None: as Meta.ordering says."""
    missing: bool | tuple[tuple[str, ...], ...] = False
    """The lookups that remember that they have no row, as written; True: all."""
    cache: str = "default"
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def concrete(self) -> type[models.Model]:
        """The model that has the table."""
        return concrete(self.model)

    def lookups(self) -> list[tuple[str, ...]]:
        """The declared lookups other than the primary key, by column attribute names.

        Raises ConfigurationError for what is not a unique lookup of the model; the message names model and field.
        """
        identity = identity_names(self.model)
        found = [tuple(self._attname(name) for name in names) for names in self.fields if names != ("pk",)]
        return [names for names in dict.fromkeys(found) if names != identity]

    def lists(self) -> Mapping[tuple[str, ...], tuple[str, ...]]:
        """The declared lists: column attribute names, and those that sort the rows, ``-`` before a descending one.

        Raises ConfigurationError for what is no column of the model, or if Meta.ordering says what no column does.
        """
        return {self._attnames(names): self._order(names, order) for names, order in self.listed.items()}

    def absences(self) -> list[tuple[str, ...]]:
        """The lookups that remember that they have no row. Raises ConfigurationError for one that is not declared."""
        if isinstance(self.missing, bool):
            return self.lookups() if self.missing else []
        found = [self._attnames(names) for names in self.missing]
        for names, written in zip(found, self.missing, strict=True):
            if names not in self.lookups():
                label = self.model._meta.label
                raise ConfigurationError(f"{label}: cache_missing names {'+'.join(written)}, none of the cache_fields")
        return found

    def _attnames(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self._attname(name) for name in names)

    def _order(self, names: tuple[str, ...], order: tuple[str, ...] | None) -> tuple[str, ...]:
        meta = self.model._meta
        known = {name for column in meta.concrete_fields for name in (column.name, column.attname)}
        found: list[str] = []
        said: Sequence[Any] = (meta.ordering or ()) if order is None else order
        for one in said:
            name, sign = (one.removeprefix("-"), "-" * one.startswith("-")) if isinstance(one, str) else ("", "")
            if name == "pk":
                found += [sign + part for part in identity_names(self.model)]
            elif name in known:
                found.append(sign + self._attname(name))
            elif order is None:
                raise ConfigurationError(
                    f"{meta.label}: its ordering {one!r} is no column of its own, so say how the list by "
                    f"{'+'.join(names)} is sorted: cache_lists={{{names!r}: ['...']}}"
                )
            else:
                self._attname(name)  # raises
        return tuple(found)

    def _attname(self, name: str) -> str:
        attname: str = column_named(self.model, name).attname
        return attname


def concrete(model: type[models.Model]) -> type[models.Model]:
    """The model whose table a model, maybe a proxy, uses."""
    found: type[models.Model] = model._meta.concrete_model or model
    return found


def identity_names(model: type[models.Model]) -> tuple[str, ...]:
    """The attribute names of the primary key's columns."""
    return tuple(part.attname for part in model._meta.pk_fields)


def column_named(model: type[models.Model], name: str) -> Any:
    """The concrete field called ``name`` (field or attribute name). Raises ConfigurationError naming both."""
    for column in model._meta.concrete_fields:
        if name in (column.name, column.attname):
            return column
    known = ", ".join(column.name for column in model._meta.concrete_fields)
    raise ConfigurationError(f"{model._meta.label} has no field {name!r}, which is to be cached; there are {known}")


def value_field(column: Any) -> Any:
    """The field whose values a column holds: that of the end of a relation, or itself."""
    while column.is_relation:
        column = column.target_field
    return column


def tracked_by(declaration: Declaration) -> tuple[str, ...]:
    """The attributes of a declaration's lookups that exist; wrong names are for the system checks to report."""
    known = {
        name: column.attname
        for column in declaration.model._meta.concrete_fields
        for name in (column.attname, column.name)
    }
    return tuple(dict.fromkeys(known[name] for names in declaration.fields for name in names if name in known))


_declarations: dict[tuple[type[models.Model], str], Declaration] = {}
"""By table and cache: a proxy may keep the rows of its base's table in another cache."""


def declare(declaration: Declaration) -> None:
    """Remember a declaration; of several that keep one table in one cache, under the same keys, the first is enough."""
    _declarations.setdefault((declaration.concrete, declaration.cache), declaration)


def declared(model: type[models.Model]) -> Declaration | None:
    """The first declaration for the table of ``model``, if it is cached."""
    table = concrete(model)
    return next((found for (owner, _), found in _declarations.items() if owner is table), None)


def all_declared() -> Iterable[Declaration]:
    """Every declaration."""
    return list(_declarations.values())


@dataclass(frozen=True, slots=True)
class Affected:
    """A cached model whose rows hold columns of the table that a statement writes."""

    declaration: Declaration
    shares_key: bool
    """Whether the changed row has the primary key of the written one; False: which it is is not known, so all rows."""


def affected_by(model: type[models.Model]) -> Sequence[Affected]:
    """The cached models whose rows a statement on the table of ``model`` changes: those of that table, and of their
    children in multi-table inheritance, which hold their parents' columns too."""
    table = concrete(model)
    found: list[Affected] = []
    for declaration in _declarations.values():
        cached = declaration.concrete
        if cached._meta.db_table == table._meta.db_table:
            found.append(Affected(declaration, _columns_of_key(cached) == _columns_of_key(table)))
        elif issubclass(cached, table):
            key = cached._meta.pk_fields
            found.append(Affected(declaration, len(key) == 1 and _is_link_to(key[0], table)))
    return found


def _columns_of_key(model: type[models.Model]) -> list[str]:
    return [str(part.column) for part in model._meta.pk_fields]


def _is_link_to(key: Any, parent: type[models.Model]) -> bool:
    """Whether a primary key is the link, or a chain of links, to ``parent``'s primary key."""
    while key.is_relation and key.remote_field.parent_link:
        if key.remote_field.model is parent:
            return bool(key.target_field.primary_key)
        key = key.target_field
    return False


def silently_changed_by_delete_of(model: type[models.Model]) -> Sequence[Declaration]:
    """The cached models of which the database itself deletes or changes rows when one of ``model`` is deleted.

    Django 6.1 leaves DB_CASCADE, DB_SET_NULL and DB_SET_DEFAULT to the database, which says nothing; the first may lead
    on to further tables. DO_NOTHING may be said of a constraint that does the same. What Django does itself, by CASCADE
    or SET_NULL say, it does by statements of its own.
    """
    found: list[Declaration] = []
    for child in silently_followed(model):
        found += [one.declaration for one in affected_by(child) if one.declaration not in found]
    return found


def silently_followed(model: type[models.Model]) -> Sequence[type[models.Model]]:
    """The models of which the database itself deletes or changes rows when one of ``model`` is deleted."""
    found: list[type[models.Model]] = []
    reached, wanted = {concrete(model)}, [concrete(model)]
    while wanted:
        deleted = wanted.pop()
        for relation in deleted._meta.get_fields(include_hidden=True):
            rule = getattr(relation, "on_delete", None)
            if not isinstance(getattr(relation, "field", None), models.ForeignKey) or not relation.auto_created:
                continue
            if not _is_left_to_the_database(rule):
                continue
            child = concrete(relation.related_model)  # type: ignore[arg-type]
            if child not in found:
                found.append(child)
            if child not in reached:
                reached.add(child)
                wanted.append(child)
    return found


def silently_led_by(model: type[models.Model]) -> Sequence[type[models.Model]]:
    """The other way round: the models of which a deletion changes rows of ``model`` in the database."""
    found: list[type[models.Model]] = []
    wanted = [concrete(model)]
    while wanted:
        for column in wanted.pop()._meta.concrete_fields:
            if column.is_relation and _is_left_to_the_database(getattr(column.remote_field, "on_delete", None)):
                leader = concrete(column.related_model)  # type: ignore[arg-type]
                if leader not in found:
                    found.append(leader)
                    wanted.append(leader)
    return found


def _is_left_to_the_database(rule: object) -> bool:
    return rule is models.DO_NOTHING or getattr(rule, "__name__", "").startswith("DB_")
