"""What a model declares to be cached, and which writes touch which cached models.

Every cached model is known here, by its concrete model: proxies share its rows. A write to one model can change the
rows of others: of its parents and children in multi-table inheritance, and of models whose foreign keys the database or
Django sets to something else when the row they point at is deleted.
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
    raise ConfigurationError(f"{model._meta.label}: cache_fields names {name!r}, which is no field; there are {known}")


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
    """A cached model whose rows change when a row of some model is written."""

    declaration: Declaration
    columns: tuple[str, ...] | None
    """The attributes of the written row that are the identity of the changed one; None: not known, so all rows."""
    shares_key: bool = False
    """Whether that identity is the same as the primary key of the written row."""


def affected_by(model: type[models.Model]) -> Sequence[Affected]:
    """The cached models that a save, update or delete of a row of ``model`` changes."""
    found: list[Affected] = []
    for declaration in _declarations.values():
        cached = declaration.concrete
        identity = identity_names(cached)
        if issubclass(model, cached):
            # The model itself, a proxy, or a child, which has its parents' columns.
            shares_key = model._meta.pk in cached._meta.concrete_fields or _is_link_to(model._meta.pk, cached)
            found.append(Affected(declaration, identity, shares_key))
        elif issubclass(cached, concrete(model)):
            # A cached child also holds the columns of its parents, under their identity if it shares it.
            shared = len(cached._meta.pk_fields) == 1 and _is_link_to(cached._meta.pk, concrete(model))
            found.append(Affected(declaration, identity_names(model) if shared else None, shared))
    return found


def _is_link_to(key: Any, parent: type[models.Model]) -> bool:
    """Whether a primary key is the link, or a chain of links, to ``parent``'s primary key."""
    while key.is_relation and key.remote_field.parent_link:
        if key.remote_field.model is parent:
            return bool(key.target_field.primary_key)
        key = key.target_field
    return False


def silently_changed_by_delete_of(model: type[models.Model]) -> Sequence[Declaration]:
    """The cached models that lose or change rows, without a signal, when a row of ``model`` is deleted."""
    announced = (models.CASCADE, models.PROTECT, models.RESTRICT)
    found: list[Declaration] = []
    for declaration in _declarations.values():
        for column in declaration.concrete._meta.concrete_fields:
            remote = column.remote_field
            if remote is None or not issubclass(concrete(model), concrete(remote.model)):
                continue
            if getattr(remote, "on_delete", None) not in announced and declaration not in found:
                found.append(declaration)
    return found
