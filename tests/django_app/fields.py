"""Fields as applications write them: some change what a value is in Python, some do not."""

from dataclasses import dataclass
from typing import Any

from django.db import models


class ShoutingField(models.CharField):
    """Changes how a form shows it, and nothing about values."""

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**{"label": "LOUD", **kwargs})


@dataclass(frozen=True)
class Point:
    x: int
    y: int


class PointField(models.CharField):
    """Values are Points; text in the database and in fixtures."""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Point | None:
        return self.to_python(value)

    def to_python(self, value: Any) -> Point | None:
        if value is None or isinstance(value, Point):
            return value
        x, y = value.split(";")
        return Point(int(x), int(y))

    def get_prep_value(self, value: Any) -> Any:
        return f"{value.x};{value.y}" if isinstance(value, Point) else value

    def value_to_string(self, obj: models.Model) -> str:
        return str(self.get_prep_value(self.value_from_object(obj)))


class RoundedField(models.FloatField):
    """Forgets what makes its values differ when it writes them as text."""

    def from_db_value(self, value: float | None, expression: Any, connection: Any) -> float | None:
        return value

    def value_to_string(self, obj: models.Model) -> str:
        return f"{self.value_from_object(obj):.0f}"


class OpaqueField(models.Field):
    """Values that nothing can make from text again."""

    def db_type(self, connection: Any) -> str:
        return "text"

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> list[str] | None:
        return None if value is None else value.split(",")

    def get_prep_value(self, value: Any) -> Any:
        return ",".join(value) if isinstance(value, list) else value


class LowerOnSet:
    """A descriptor that changes what is assigned."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance: Any, value: str) -> None:
        instance.__dict__[self.name] = value.lower()


class LowerField(models.CharField):
    """Lower case in Python by way of a descriptor, whatever the database holds."""

    def contribute_to_class(self, cls: Any, name: str, private_only: bool = False) -> None:
        super().contribute_to_class(cls, name, private_only)
        setattr(cls, self.attname, LowerOnSet(self.attname))
