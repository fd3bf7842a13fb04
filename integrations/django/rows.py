"""Rows of a Django model: its columns, instance to row, and row to instance.

Theory of operation. A row holds the values of the model's concrete fields, in their order, as `values_list` of the
attnames gives them: after the database converters, without an instance. Loading so is what fills the cache; a hit
makes an instance of a row the way Django's own unpickling does, by __new__ and __dict__, which is several times as
fast as the constructor and calls neither __init__ nor the init signals.

Which type a column has follows from the field's class. The values of a field class that changes what values are in
Python are stored by the contract of Django's serializers: value_to_string writes text, to_python reads it. Each value
is read back once before its text is stored, so a field that does not keep that contract is refused, and never returns
another value than the database would.

The instance maker comes compiled or in pure Python; `implementation` says which.
"""

import datetime
import decimal
import uuid
from collections.abc import Callable, Sequence
from inspect import getattr_static
from operator import itemgetter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from django.db import models
from django.db.models.fields.files import FieldFile

from cachecore.codec import Column, Load, Row, RowCodec
from cachecore.compiled import Implementation, choose
from cachecore.errors import ConfigurationError, CorruptEntry, UnsupportedValue
from cachecore.integrations.django._rows_py import MakeInstance

implementation: Implementation

if TYPE_CHECKING:
    from cachecore.integrations.django._rows_py import instance_maker
else:
    _module, implementation = choose("cachecore.integrations.django._rows_c", "cachecore.integrations.django._rows_py")
    instance_maker = _module.instance_maker

AnyField: TypeAlias = "models.Field[Any, Any]"

_JSON: Final = object()
# The types of values by the field class that decides them: the nearest in the order of the bases counts.
_TYPES: Final[dict[type, object]] = {
    models.IntegerField: int,  # and the AutoFields
    models.CharField: str,
    models.TextField: str,
    models.FileField: str,
    models.FilePathField: str,
    models.GenericIPAddressField: str,
    models.BooleanField: bool,
    models.FloatField: float,
    models.DecimalField: decimal.Decimal,
    models.UUIDField: uuid.UUID,
    models.DateField: datetime.date,
    models.DateTimeField: datetime.datetime,
    models.TimeField: datetime.time,
    models.DurationField: datetime.timedelta,
    models.BinaryField: bytes,
    models.JSONField: _JSON,
}
_IDENTITY: Final[object] = vars(models.Field)["to_python"]
# What a subclass may override without changing what its values are in Python is everything but these.
_VALUE_HOOKS: Final = ("from_db_value", "to_python", "get_db_converters")


def columns_of(model: type[models.Model]) -> tuple[Column, ...]:
    """The columns of a row of the model: its concrete fields, parents' included, in Django's order.

    Every column but the primary key is nullable, whatever the field says: databases hold NULLs that
    models do not know of.

    Raises ConfigurationError for an abstract or swapped model, and for a field whose values have no stored form,
    naming it.
    """
    if model._meta.abstract or model._meta.swapped:
        raise ConfigurationError(f"{model._meta.label} has no rows: it is abstract or swapped out")
    return tuple(_column(field) for field in model._meta.concrete_fields)


class RowLayout:
    """Everything about the rows of one model.

    instance and instance_of_frozen take (row, alias, tracked) and return an instance as if loaded through the
    connection `alias`, with `tracked`, a tuple or None, as its `_state.cachecore`. They raise UnsupportedValue for a
    row of another length.
    """

    model: type[models.Model]
    attnames: tuple[str, ...]
    codec: RowCodec
    uses_from_db: bool
    """Whether instances are built by model.from_db, with __init__ and its signals."""
    instance: MakeInstance
    """Builds an instance of a row, which it does not copy: the row's lists and dicts become the instance's."""
    instance_of_frozen: MakeInstance
    """Builds an instance of a frozen row (codec.freeze, codec.decode_frozen), sharing nothing mutable with it; faster
    than thawing first. Raises CorruptEntry as codec.thaw does."""

    def __init__(
        self, model: type[models.Model], *, version: int | str | None = None, from_db: bool | None = None
    ) -> None:
        """
        model: a concrete model, or a proxy of one, whose class the instances then have.
        version: for the codec's fingerprint.
        from_db: True builds instances by model.from_db, for an application that relies on it or on the
            init signals; False never does. None: if the model overrides __init__, __new__, __setattr__ or
            from_db, or has an attribute whose descriptor, not one of Django's, wants to see what is set.

        Raises ConfigurationError as columns_of does.
        """
        columns = columns_of(model)
        fields = list(zip(columns, model._meta.concrete_fields, strict=True))
        texts = {column.name: _text_functions(field) for column, field in fields if column.kind == "text"}
        self.model = model
        self.attnames = tuple(column.name for column in columns)
        self.codec = RowCodec(columns, version=version, texts=texts)
        self.uses_from_db = _needs_from_db(model, self.attnames) if from_db is None else from_db
        maker = _from_db_maker if self.uses_from_db else instance_maker
        self.instance = maker(model, self.attnames, ())
        self.instance_of_frozen = maker(model, self.attnames, self.codec.loads)
        self._values: Callable[[dict[str, Any]], Any] = itemgetter(*self.attnames)
        self._files = [i for i, (_, field) in enumerate(fields) if isinstance(field, models.FileField)]

    def row_of(self, instance: models.Model) -> Row:
        """The row of an instance's present attributes, with no query and no descriptor called.

        Raises UnsupportedValue naming the field if one is deferred. A value of a wrong type (an expression, a string
        not yet converted) is the codec's to refuse.
        """
        try:
            values = self._values(vars(instance))
        except KeyError as error:
            raise UnsupportedValue(f"{self.model._meta.label}.{error.args[0]} is deferred in this instance") from None
        if len(self.attnames) == 1:
            values = (values,)
        if not self._files:
            return cast("Row", values)
        row = list(values)
        for i in self._files:  # the descriptor replaces the name by a FieldFile when it is first read
            if isinstance(row[i], FieldFile):
                row[i] = row[i].name
        return tuple(row)

    def select(self, queryset: models.QuerySet[Any]) -> models.QuerySet[Any, tuple[Any, ...]]:
        """The queryset that yields rows and builds no instances."""
        return queryset.values_list(*self.attnames)


def _from_db_maker(
    model: type[models.Model], attnames: Sequence[str], loads: Sequence[tuple[int, Load]]
) -> MakeInstance:
    """As instance_maker, but building instances as a queryset does."""

    def make(row: Row, alias: str | None, tracked: tuple[object, ...] | None) -> models.Model:
        if len(row) != len(attnames):
            raise UnsupportedValue(f"a row of {len(row)} values for {len(attnames)} columns")
        values = list(row)
        for position, load in loads:
            if values[position] is not None:
                values[position] = load(values[position])
        instance = model.from_db(alias, attnames, values)
        instance._state.cachecore = tracked  # type: ignore[attr-defined]
        return instance

    return make


def _text_functions(field: AnyField) -> tuple[Callable[[object], str], Callable[[str], object]]:
    """How a value of the field becomes the text that Django's serializers would write, and comes back."""
    label = f"{field.model._meta.label}.{field.name}"
    source: Any = _value_field(field)

    def dump(value: object) -> str:
        try:
            text = source.value_to_string(SimpleNamespace(**{source.attname: value}))
            back = source.to_python(text) if type(text) is str else None
        except Exception as error:  # the application's code
            raise UnsupportedValue(f"{label}: value_to_string and to_python failed: {error!r}") from error
        if type(back) is not type(value) or back != value:
            raise UnsupportedValue(f"{label}: value_to_string and to_python do not give the same value again")
        return cast("str", text)

    def load(text: str) -> object:
        try:
            return cast("object", source.to_python(text))
        except Exception as error:  # the application's code, with text that another release of it may have written
            raise CorruptEntry(f"{label}: to_python failed with the stored text: {error!r}") from error

    return dump, load


def _value_field(field: AnyField) -> AnyField:
    """The field that decides the values: the target of a relation, what a generated column is."""
    while True:
        if isinstance(field, models.ForeignKey):
            field = field.target_field
        elif isinstance(field, models.GeneratedField):
            field = cast("AnyField", field.output_field)
        else:
            return field


def _type_of(field: AnyField) -> object:
    """The entry of _TYPES that tells the field's values, or None if they are stored as text."""
    field = _value_field(field)
    for base in type(field).__mro__:
        if base in _TYPES:
            changed = any(
                hook in vars(field) or _hook(type(field), hook) is not _hook(base, hook) for hook in _VALUE_HOOKS
            )
            return None if changed and not _is_djangos(type(field)) else _TYPES[base]
    return None


def _column(field: AnyField) -> Column:
    kind = _type_of(field)
    nullable = not field.primary_key
    if kind is _JSON:
        return Column(field.attname, object, nullable, kind="json")
    if kind is None:
        target = _value_field(field)
        if hasattr(target, "from_db_value") and _hook(type(target), "to_python") is _IDENTITY:
            raise ConfigurationError(
                f"{field.model._meta.label}.{field.name}: {type(target).__name__} has a from_db_value but no "
                f"to_python, without which its values cannot come back from stored text"
            )
        return Column(field.attname, str, nullable, kind="text")
    return Column(field.attname, kind, nullable)


def _hook(kind: type, name: str) -> object:
    return getattr(kind, name, None)


def _is_djangos(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "django"


def _needs_from_db(model: type[models.Model], attnames: Sequence[str]) -> bool:
    base: Any = models.Model
    ours: Any = model
    if any(getattr(ours, name) is not getattr(base, name) for name in ("__init__", "__new__", "__setattr__")):
        return True
    from_db = ours.from_db.__func__
    if getattr(from_db, "tracks", from_db) is not base.from_db.__func__:
        return True
    kinds: list[type] = [type(getattr_static(model, name)) for name in attnames]
    return any(hasattr(kind, "__set__") and not _is_djangos(kind) for kind in kinds)
