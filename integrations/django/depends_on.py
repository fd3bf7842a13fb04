"""Which results of a cached function a row is a part of: `DependsOn`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from django.apps import apps
from django.db import models

from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.integrations.django.declaration import column_named
from cachecore.integrations.django.equality import is_exact
from cachecore.integrations.django.lookup_values import lookup_value, shown

Arguments = tuple[Any, ...]
"""Of one call."""


class DependsOn:
    """The results that a row of ``model`` is a part of.

    columns: field names whose values are the arguments of that result, in their order; none: all results. A write
        outdates all results too if Python cannot tell which values of a column the database finds equal: those of
        decimals, floats, dates with a time, text with a collation, fields that change values when they write them.
    arguments: for anything else: called with those values, returns the argument tuples of all results that the row is a
        part of.
    """

    def __init__(
        self,
        model: type[models.Model] | str,
        *columns: str,
        arguments: Callable[..., Iterable[Arguments]] | None = None,
    ) -> None:
        self._model = model
        self._columns = columns
        self._arguments = arguments
        if arguments is not None and not callable(arguments):
            raise ConfigurationError(f"DependsOn: arguments must be a function, not {shown(arguments)}")
        self._exact: dict[str, bool] = {}
        """By alias of a database: whether it finds the values of all columns equal exactly if Python does."""

    @property
    def model(self) -> type[models.Model]:
        """The model. Raises ConfigurationError for a name that no application has."""
        given: Any = self._model
        if isinstance(given, type) and issubclass(given, models.Model):
            return given
        if not isinstance(given, str):
            raise ConfigurationError(
                f'DependsOn takes a model or "app_label.Model", not {shown(cast("object", given))}'
            )
        try:
            return apps.get_model(given)
        except (LookupError, ValueError) as error:
            raise ConfigurationError(f"DependsOn({self._model!r}): {error}") from error

    def columns(self) -> tuple[str, ...]:
        """Attribute names. Raises ConfigurationError naming what is no field of the model."""
        return tuple(column_named(self.model, name).attname for name in self._columns)

    def results(self, values: Sequence[Any], alias: str) -> Iterable[Arguments] | None:
        """The arguments of the results that a row with these values is a part of; None: all."""
        if not values:
            return None
        try:
            meant = self._meant(values)
        except UncacheableLookup:
            return None
        if self._arguments is not None:
            found: Any = self._arguments(*meant)
            if isinstance(found, str | bytes) or not isinstance(found, Iterable | None):
                raise ConfigurationError(
                    f"arguments= of DependsOn({self.model._meta.label}) returns tuples of arguments, not {shown(found)}"
                )
            return cast("Iterable[Arguments] | None", found)
        return [meant] if self._is_exact(alias) else None

    def asked(self, arguments: Arguments) -> Arguments:
        """The arguments of a call as a row would tell them: 1 for "1". Raises UncacheableLookup for what no row could
        tell: nobody would outdate its result."""
        if self._arguments is not None or not self._columns:
            return arguments
        if len(arguments) != len(self._columns):
            raise UncacheableLookup(
                f"a result by {len(arguments)} arguments would never be outdated: "
                f"{self.model._meta.label} tells {', '.join(self._columns)}; say arguments= of DependsOn"
            )
        return self._meant(arguments)

    def _meant(self, values: Sequence[Any]) -> Arguments:
        """Values as the columns hold them. Raises UncacheableLookup."""
        model = self.model
        columns = [column_named(model, name) for name in self._columns]
        pairs = zip(columns, values, strict=True)
        # An instance is no argument: it is kept what it says, and it says more than its key.
        return tuple(
            one if one is None or isinstance(one, models.Model) else lookup_value(model, column, one)
            for column, one in pairs
        )

    def _is_exact(self, alias: str) -> bool:
        known = self._exact.get(alias)
        if known is None:
            columns = [column_named(self.model, name) for name in self._columns]
            known = self._exact[alias] = all(is_exact(column, alias) for column in columns)
        return known


def calls(arguments: Any) -> list[Arguments]:
    """The arguments of many calls."""
    given = list(cast("Any", arguments) if isinstance(arguments, Iterable) else [arguments])
    for one in given:
        if not isinstance(one, tuple | list):
            raise UncacheableLookup(
                f"the arguments of many calls are an iterable of tuples; this is none: {shown(one)}"
            )
    return [tuple(one) for one in given]
