"""Fields that refuse what their column cannot hold, and a field of compressed dicts.

The bounds are those of PostgreSQL and MySQL, whatever the database: SQLite takes larger integers, and would hand them
on to the day on which the data moves.
"""

import base64
import json
import logging
import zlib
from typing import TYPE_CHECKING, Any, Final, cast

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from cachecore.errors import CachecoreError, ConfigurationError, UnsupportedValue

logger = logging.getLogger("cachecore")

_INTEGER: Final = 2**31
_BIG_INTEGER: Final = 2**63
_MAX_BYTES: Final = 16 * 1024 * 1024


if TYPE_CHECKING:  # Django's fields take type arguments only in its stubs
    _Integer = models.IntegerField[Any, Any]
    _BigInteger = models.BigIntegerField[Any, Any]
    _PositiveInteger = models.PositiveIntegerField[Any, Any]
    _Auto = models.AutoField[Any, Any]
    _BigAuto = models.BigAutoField[Any, Any]
    _Text = models.TextField[Any, Any]
else:
    _Integer = models.IntegerField
    _BigInteger = models.BigIntegerField
    _PositiveInteger = models.PositiveIntegerField
    _Auto = models.AutoField
    _BigAuto = models.BigAutoField
    _Text = models.TextField


class ValueOutOfRange(CachecoreError, ValidationError):
    """A number that the column cannot hold; the message names field, value and bounds. No SQL was sent for it."""


class _Bounded(_Integer):
    """An integer field with bounds that are checked when a value is saved, by whatever way, and when it is validated.

    What an expression comes to is left to the database. A query for a value out of bounds finds nothing, as with
    Django's fields.
    """

    minimum: int
    maximum: int

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if value is not None and not hasattr(value, "as_sql"):
            try:
                fits = self.minimum <= self.get_prep_value(value) <= self.maximum
            except OverflowError:  # an infinite float
                fits = False
            if not fits:
                raise ValueOutOfRange(
                    f"{self.model._meta.label}.{self.name} cannot be {value!r}: "
                    f"its column holds {self.minimum} to {self.maximum}",
                    "out_of_range",
                )
        return super().get_db_prep_save(value, connection)


def _validators(minimum: int, maximum: int) -> list[Any]:
    return [MinValueValidator(minimum), MaxValueValidator(maximum)]


class BoundedIntegerField(_Bounded):
    """An IntegerField of -2147483648 to 2147483647."""

    minimum, maximum = -_INTEGER, _INTEGER - 1
    default_validators = _validators(minimum, maximum)


class BoundedBigIntegerField(_Bounded, _BigInteger):
    """A BigIntegerField of -9223372036854775808 to 9223372036854775807."""

    minimum, maximum = -_BIG_INTEGER, _BIG_INTEGER - 1
    default_validators = _validators(minimum, maximum)


class BoundedPositiveIntegerField(_Bounded, _PositiveInteger):
    """A PositiveIntegerField of 0 to 2147483647."""

    minimum, maximum = 0, _INTEGER - 1
    default_validators = _validators(minimum, maximum)


class BoundedAutoField(_Bounded, _Auto):  # type: ignore[misc]
    """An AutoField whose values, where they are given, are -2147483648 to 2147483647."""

    minimum, maximum = -_INTEGER, _INTEGER - 1
    default_validators = _validators(minimum, maximum)


class BoundedBigAutoField(_Bounded, _BigAuto):  # type: ignore[misc]
    """A BigAutoField whose values, where they are given, are -9223372036854775808 to 9223372036854775807."""

    minimum, maximum = -_BIG_INTEGER, _BIG_INTEGER - 1
    default_validators = _validators(minimum, maximum)


class UnreadableDict(dict[str, Any]):
    """The empty dict that stands for text in the column that is no compressed dict. Saved empty, it writes that text
    again, so that an instance which is loaded and saved loses nothing; with something in it, that."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text,), None, None, iter(self.items())


class GzippedDictField(_Text):
    """A dict in a text column, as JSON that is compressed.

    A dict comes back as JSON has it: keys are str, tuples lists. NULL is {}. What cannot be read is {} and logged: text
    of another origin, such as the pickles of older fields, which are never unpickled, no dict, or more than
    ``max_bytes``. It is kept for as long as nobody saves something in its place; full_clean() says that it is there.

    max_bytes: the most JSON that is read or written, in bytes, default 16 MiB: a few bytes can expand to any size.
    """

    def __init__(self, *args: Any, max_bytes: int = _MAX_BYTES, **kwargs: Any) -> None:
        """
        Raises ConfigurationError for a max_bytes that is no positive int.
        """
        if type(max_bytes) is not int or max_bytes < 1:
            raise ConfigurationError(f"GzippedDictField: max_bytes must be a positive int, not {max_bytes!r}")
        kwargs.setdefault("default", dict)
        super().__init__(*args, **kwargs)
        self.max_bytes = max_bytes

    def deconstruct(self) -> Any:
        """As Django's, with max_bytes where it is not the default."""
        name, path, args, kwargs = super().deconstruct()
        if kwargs.get("default") is dict:
            del kwargs["default"]
        if self.max_bytes != _MAX_BYTES:
            kwargs["max_bytes"] = self.max_bytes
        return name, path, args, kwargs

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> dict[str, Any]:
        """The dict of a column's text."""
        return self.to_python(value)

    def to_python(self, value: Any) -> dict[str, Any]:
        """The dict of a dict, of its text in the column, or of JSON text, which is what fixtures hold."""
        if isinstance(value, dict):
            return cast("dict[str, Any]", value)
        if value is None or value == "":
            return {}
        if not isinstance(value, str):
            raise ValidationError(f"{self._label()} is a dict, not {type(value).__name__}", "invalid")
        try:
            return self._read(value)
        except (ValueError, zlib.error, RecursionError) as error:  # of base64 and JSON, too
            logger.warning("%s holds text that is no compressed dict, read as {}: %s", self._label(), error)
            return UnreadableDict(value)

    def get_prep_value(self, value: Any) -> Any:
        """The text for the column. Raises UnsupportedValue for what is no dict or not JSON."""
        if hasattr(value, "resolve_expression"):
            return value
        if value is None and self.null:
            return None
        if isinstance(value, UnreadableDict) and not value:
            return value.text
        data = zlib.compress(self._json({} if value is None else value).encode())
        return base64.b64encode(data).decode("ascii")

    def value_to_string(self, obj: Any) -> str:
        """JSON text, for fixtures and for the cache."""
        value = self.value_from_object(obj)
        if isinstance(value, UnreadableDict) and not value:
            return value.text
        return self._json({} if value is None else value)

    def validate(self, value: Any, model_instance: Any) -> None:
        """As Django's, and refuses a dict that stands for something unreadable."""
        if isinstance(value, UnreadableDict) and not value:
            raise ValidationError(f"{self._label()} holds text that is no compressed dict", "invalid")
        super().validate(value, model_instance)

    def formfield(self, **kwargs: Any) -> Any:
        """A form field of JSON."""
        field: Any = models.Field
        return field.formfield(self, **{"form_class": forms.JSONField, **kwargs})

    def _read(self, text: str) -> dict[str, Any]:
        data = text.encode()
        if not text.startswith("{"):
            expand = zlib.decompressobj()
            data = expand.decompress(base64.b64decode(data, validate=True), self.max_bytes + 1)
            if not expand.eof and len(data) <= self.max_bytes:
                raise ValueError("it ends too early")
        if len(data) > self.max_bytes:
            raise ValueError(f"it is more than max_bytes={self.max_bytes}")
        value = json.loads(data)
        if not isinstance(value, dict):
            raise ValueError(f"it is a {type(value).__name__}")
        return cast("dict[str, Any]", value)

    def _json(self, value: Any) -> str:
        if not isinstance(value, dict):
            raise UnsupportedValue(f"{self._label()} is a dict, not {value!r}")
        try:
            text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            raise UnsupportedValue(f"{self._label()}: this dict is no JSON: {error}") from error
        if len(text) > self.max_bytes:
            raise UnsupportedValue(
                f"{self._label()}: {len(text)} bytes of JSON are more than max_bytes={self.max_bytes}"
            )
        return text

    def _label(self) -> str:
        model: Any = getattr(self, "model", None)
        return f"{model._meta.label}.{self.name}" if model is not None else type(self).__name__
