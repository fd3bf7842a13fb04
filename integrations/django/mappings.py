"""Mappings stored as rows: options of a project, settings of a user, metadata of a group, global options.

    class ProjectOption(models.Model):
        project = models.ForeignKey(Project, models.CASCADE)
        key = models.CharField(max_length=64)
        value = models.JSONField()
        objects = MappingManager(scope=["project"])

        class Meta:
            unique_together = [("project", "key")]

    ProjectOption.objects.get_value(project, "theme", default="light")

All rows of one scope are cached together, as one dictionary: a read of any of its keys is one round trip, and so are
reads of many scopes. It is as coherent as a row: every write of the ORM to the table outdates the dictionaries of the
scopes that the row was and is in (`functions`).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast

from django.core.checks import CheckMessage, Error
from django.db import models, router

from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.integrations.django.declaration import DEFAULT, column_named
from cachecore.integrations.django.depends_on import DependsOn
from cachecore.integrations.django.functions import CachedFunction
from cachecore.integrations.django.local import clear_local_cache
from cachecore.integrations.django.lookup_values import can_hold, lookup_value, shown
from cachecore.integrations.django.orm.create_or_update import create_or_update

M = TypeVar("M", bound=models.Model)

Mappings = CachedFunction[Any, dict[Any, Any]]
"""From the values of a scope to its mapping."""

_functions: dict[tuple[type[models.Model], str, str], Mappings] = {}
"""By model, name of the manager and database."""


class MappingManager(models.Manager[M]):
    """A manager for rows of (scope, key, value), which reads whole scopes through the cache.

    scope: the fields whose values tell one mapping from another, such as ``["project"]``; none: there is one mapping.
        The methods take their values first, in this order: instances, or what the columns hold.
    key, value: the fields of key and value.
    optional: fields that tell rows of one mapping apart besides the key and may be NULL, such as ``["project"]`` of a
        user's options. The methods take them as keywords; left out they are NULL.
    cache_ttl, cache_version, cache: as of `CacheManager`.

    Scope, optional fields and key should be unique together. Values are those that a cached row can hold.
    """

    use_in_migrations = False

    def __init__(
        self,
        *,
        scope: Sequence[str] = (),
        key: str = "key",
        value: str = "value",
        optional: Sequence[str] = (),
        cache_ttl: float | object | None = DEFAULT,
        cache_version: int | str | None = None,
        cache: str = "default",
    ) -> None:
        super().__init__()
        names: Any = (("scope", scope), ("optional", optional))
        for name, given in names:
            if type(given) not in (list, tuple) or not all(isinstance(one, str) for one in given):
                raise ConfigurationError(f"MappingManager: {name} must be a list of field names, not {shown(given)}")
        for name, given in (("key", key), ("value", value)):
            if not isinstance(given, str) or not given:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigurationError(f"MappingManager: {name} must be the name of a field, not {shown(given)}")
        self._scope = tuple(scope)
        self._key = key
        self._value = value
        self._optional = tuple(optional)
        self._options: dict[str, Any] = {"ttl": cache_ttl, "version": cache_version, "cache": cache}

    # -- reading -----------------------------------------------------------------------------------

    def get_value(self, *where: Any, default: Any = None, **optional: Any) -> Any:
        """The value of one key: ``get_value(project, "theme", default="light")``; ``default`` where there is none."""
        scope, key = self._where(where)
        return self.results(*scope).get(self._place(key, optional), default)

    def isset(self, *where: Any, **optional: Any) -> bool:
        """Whether there is a value, be it None, of a key: ``isset(project, "theme")``."""
        scope, key = self._where(where)
        return self._place(key, optional) in self.results(*scope)

    def get_all_values(self, *scope: Any, **optional: Any) -> dict[str, Any]:
        """The whole mapping of a scope: ``get_all_values(project)``. It is the caller's own."""
        return self._chosen(self.results(*self._scope_values(scope)), optional)

    def get_value_bulk(
        self, instances: Iterable[Any], key: str, default: Any = None, **optional: Any
    ) -> dict[Any, Any]:
        """The values of one key in many scopes of one field, by what was given for each, in one round trip."""
        if isinstance(instances, str | bytes) or not isinstance(instances, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UncacheableLookup(f"{self._label}: get_value_bulk takes many instances, not {shown(instances)}")
        given = list(instances)
        place = self._place(self._key_value(key), optional)
        mappings = self.results.many([self._scope_values([one]) for one in given])
        return {one: found.get(place, default) for one, found in zip(given, mappings, strict=True)}

    # -- writing -----------------------------------------------------------------------------------

    def set_value(self, *where: Any, **optional: Any) -> None:
        """Set the value of a key: ``set_value(project, "theme", "dark")``. Raises what the database raises."""
        *where_key, value = where or (None,)
        scope, key = self._where(where_key)
        create_or_update(self, defaults={self._value: value}, **self._row(scope, key, optional))

    def unset_value(self, *where: Any, **optional: Any) -> bool:
        """Remove a key, ``unset_value(project, "theme")``; whether there was one."""
        scope, key = self._where(where)
        row = self._row(scope, key, optional)
        alias = self._db or router.db_for_write(self.model)
        if not self._can_hold(alias, row):
            return False
        deleted, _ = self.filter(**row).delete()
        return deleted > 0

    set_value.alters_data = True  # type: ignore[attr-defined]
    unset_value.alters_data = True  # type: ignore[attr-defined]

    def reload_cache(self, *scope: Any) -> dict[Any, Any]:
        """Outdate the mapping of a scope, for a change that nobody could see, and read it from the database."""
        return self.results.refresh(*self._scope_values(scope))

    def clear_local_cache(self) -> None:
        """Forget what this request or task has read."""
        clear_local_cache()

    # -- inside ------------------------------------------------------------------------------------

    def connect_to_writes(self) -> None:
        """Look at the writes to the model; called when the model is there."""
        if not (self.model._meta.abstract or self.model._meta.swapped):
            with suppress(ConfigurationError):  # `check` reports it
                assert self.results

    def check(self, **options: Any) -> list[CheckMessage]:
        """Django's system checks of managers: what is wrong with the declaration."""
        found: list[CheckMessage] = super().check(**options)
        try:
            for name in (*self._scope, self._key, self._value, *self._optional):
                column_named(self.model, name)
        except ConfigurationError as error:
            found.append(Error(f"{error}.", obj=self.model, id="cachecore.E015"))
        return found

    @property
    def results(self) -> Mappings:
        """The cached function from scopes to mappings, in the database that this manager writes to."""
        model = self.model
        name = cast("str | None", self.name)  # None in a related manager, which knows nothing of scope and key
        if name is None:
            raise UncacheableLookup(
                f"mappings of {model._meta.label} are asked for by its manager, not by a related one"
            )
        alias = self._db or router.db_for_write(model)
        found = _functions.get((model, name, alias))
        if found is None:
            for column in (self._key, self._value, *self._optional):
                column_named(model, column)
            depends = [DependsOn(model, *self._scope)]
            found = CachedFunction(
                partial(self._load, alias), depends, f"{model._meta.label}.{name}", alias, **self._options
            )
            _functions[model, name, alias] = found
        return found

    def _columns(self, names: Sequence[str]) -> list[Any]:
        return [column_named(self.model, name) for name in names]

    def _load(self, alias: str, *scope: Any) -> dict[Any, Any]:
        names = [column.attname for column in self._columns(self._scope)]
        where = dict(zip(names, scope, strict=True))
        if not self._can_hold(alias, where):
            return {}
        rows = self.model._base_manager.using(alias).filter(**where).order_by("pk")
        places = [column.attname for column in self._columns(self._optional)]
        found = rows.values_list(self._key, self._value, *places)
        return {(key, *optional) if optional else key: value for key, value, *optional in found}

    def _where(self, where: Sequence[Any]) -> tuple[tuple[Any, ...], Any]:
        wanted = (*self._scope, self._key)
        if len(where) != len(wanted):
            raise UncacheableLookup(f"{self._label} takes {', '.join(wanted)}, not {len(where)} arguments")
        *scope, key = where
        return self._scope_values(scope), self._key_value(key)

    def _key_value(self, key: Any) -> Any:
        return lookup_value(self.model, column_named(self.model, self._key), key)

    def _can_hold(self, alias: str, row: Mapping[str, Any]) -> bool:
        """Whether there may be a row with these values: a query for one that a column cannot hold may be an error."""
        return all(can_hold(column_named(self.model, name), alias)(value) for name, value in row.items())

    def _scope_values(self, scope: Sequence[Any]) -> tuple[Any, ...]:
        columns = self._columns(self._scope)
        if len(scope) != len(columns):
            wanted = ", ".join(self._scope) or "no scope"
            raise UncacheableLookup(f"{self._label} takes {wanted}, not {len(scope)} arguments")
        return tuple(lookup_value(self.model, column, one) for column, one in zip(columns, scope, strict=True))

    def _place(self, key: Any, optional: dict[str, Any]) -> Any:
        """The key in a mapping."""
        values = self._optional_values(optional)
        return (key, *values) if values else key

    def _optional_values(self, optional: dict[str, Any]) -> tuple[Any, ...]:
        rest = dict(optional)
        columns = self._columns(self._optional)
        given = [rest.pop(column.name, None) for column in columns]
        if rest:
            raise UncacheableLookup(f"{self._label} has no {next(iter(rest))!r}; there are {', '.join(self._optional)}")
        pairs = zip(columns, given, strict=True)
        return tuple(None if one is None else lookup_value(self.model, column, one) for column, one in pairs)

    def _chosen(self, mapping: dict[Any, Any], optional: dict[str, Any]) -> dict[str, Any]:
        values = self._optional_values(optional)
        if not values:
            return mapping
        return {place[0]: value for place, value in mapping.items() if place[1:] == values}

    def _row(self, scope: Sequence[Any], key: Any, optional: dict[str, Any]) -> dict[str, Any]:
        """The values that tell one row from all others."""
        columns = [*self._columns(self._scope), *self._columns(self._optional)]
        values = zip([column.attname for column in columns], (*scope, *self._optional_values(optional)), strict=True)
        return {**dict(values), self._key: key}

    @property
    def _label(self) -> str:
        return f"{self.model._meta.label}.{self.name}"
