"""What an application's question means: which declared lookup, list or identity, and which values of its columns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from django.db import models

from cachecore.errors import UncacheableLookup
from cachecore.integrations.django.declaration import Declaration, value_field
from cachecore.integrations.django.hit import Plan
from cachecore.integrations.django.lookup_values import can_hold, lookup_value, shown
from cachecore.records import Records

Row = tuple[Any, ...]


class Questions:
    """The part of a `ModelCache` that understands questions."""

    declaration: Declaration
    model: type[models.Model]
    alias: str
    identity: tuple[str, ...]
    records: Records

    def learn_questions(self) -> None:
        """Look once at the columns that may be asked for."""
        self._named = {name: column for column in self.model._meta.concrete_fields for name in _names(column)}
        if len(self.identity) == 1:
            self._named["pk"] = self.model._meta.pk
        self._lookup_names = {frozenset(names): names for names in self.records.entity.lookups}
        asked = (self.identity, *self._lookup_names.values(), *self.records.derived.list_key)
        self._holds = {name: can_hold(self._named[name], self.alias) for names in asked for name in names}

    def question(self, query: Mapping[str, Any]) -> tuple[tuple[str, ...], Row]:
        """(columns, values) of a query such as ``{"slug": "oslo-no"}``, in the order in which they were declared.

        Raises UncacheableLookup, which is a ValueError, for everything no key stands for.
        """
        asked = self._meant(query)
        names = frozenset(asked)
        ordered = self.identity if names == frozenset(self.identity) else self._lookup_names.get(names)
        if ordered is None:
            raise self._uncacheable(query)
        return ordered, tuple(asked[name] for name in ordered)

    def list_question(self, query: Mapping[str, Any]) -> tuple[tuple[str, ...], Row]:
        """Like `question`, for a list."""
        return self.records.derived.named(self._meant(query))

    def _meant(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """What a query says, by column."""
        asked: dict[str, Any] = {}
        for name, value in query.items():
            for column, meant in self._columns(name.removesuffix("__exact"), value, query):
                if asked.setdefault(column, meant) != meant:
                    raise UncacheableLookup(
                        f"{self.model._meta.label}: {name}={shown(value)} contradicts the rest of the query"
                    )
        return asked

    def _columns(self, name: str, value: Any, query: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
        """What one keyword of a query says: (column, its value); several for a composite primary key."""
        if name == "pk" and len(self.identity) > 1:
            return self._composite(value)
        column = self._named.get(name)
        if column is None:
            raise self._uncacheable(query)
        return [(column.attname, self.value(column, value))]

    def _composite(self, value: Any) -> list[tuple[str, Any]]:
        parts: Any = value.pk if isinstance(value, self.declaration.concrete) else value
        if not isinstance(parts, tuple | list) or len(cast("Sequence[Any]", parts)) != len(self.identity):
            known = ", ".join(self.identity)
            raise UncacheableLookup(
                f"{self.model._meta.label}: the primary key is a tuple of {known}, not {shown(value)}"
            )
        pairs = zip(self.identity, cast("Sequence[Any]", parts), strict=True)
        return [(name, self.value(self._named[name], part)) for name, part in pairs]

    def _uncacheable(self, query: Mapping[str, Any]) -> UncacheableLookup:
        known = ", ".join("+".join(names) for names in (("pk",), *self.records.entity.lookups))
        return UncacheableLookup(
            f"{self.model._meta.label} is not cached by {', '.join(query) or 'nothing'}, only by {known}; "
            "just hit the database"
        )

    def value(self, column: Any, value: Any) -> Any:
        """``value`` as the column holds it: an instance becomes its key, "42" becomes 42. Raises UncacheableLookup."""
        return lookup_value(self.model, column, value)

    def can_be(self, names: Sequence[str], values: Row) -> bool:
        """Whether columns of the identity, a lookup or a list can hold these values: there may be such a row."""
        holds = self._holds
        return all(holds[name](value) for name, value in zip(names, values, strict=True))

    def plan(self, names: tuple[str, ...]) -> Plan | None:
        """How a question with these keywords becomes a key; None if it is no lookup, or its values need a look."""
        columns = [self._named.get(name.removesuffix("__exact")) for name in names]
        if any(column is None for column in columns):
            return None
        asked = [column.attname for column in columns if column is not None]
        entity = self.records.entity
        ordered = self.identity if tuple(asked) == self.identity else self._lookup_names.get(frozenset(asked))
        kinds = [_exact_type(column) for column in columns]
        if ordered is None or len(ordered) != len(asked) or any(kind is None for kind in kinds):
            return None
        remotes = [_remote(column) for column in columns]
        order = tuple(asked.index(name) for name in ordered)
        exact = tuple(kind for kind in kinds if kind is not None)
        if ordered == self.identity:
            return Plan(exact, tuple(remotes), order, entity.key, None, ordered) if len(ordered) == 1 else None
        positions = tuple(entity.position[name] for name in ordered)
        return Plan(exact, tuple(remotes), order, entity.lookup_key[ordered], positions, ordered)


def _names(column: Any) -> set[str]:
    return {column.name, column.attname}


def _exact_type(column: Any) -> type | None:
    """The type whose values a column compares as they are; None if each must be looked at."""
    column = value_field(column)
    to_python: Any = column.to_python
    if not to_python.__module__.startswith("django."):
        return None
    for field, kind in ((models.IntegerField, int), (models.CharField, str), (models.UUIDField, UUID)):
        if isinstance(column, field):
            return kind
    return None


def _remote(column: Any) -> tuple[type, str] | None:
    """The model whose instances may be given for a relation, and the attribute they are meant by."""
    if not column.is_relation:
        return None
    return column.remote_field.model._meta.concrete_model, column.target_field.attname
