"""The pure Python twin of _rows_c: defines what building an instance from a row means."""

from collections.abc import Callable, Sequence

from django.db.models import Model
from django.db.models.base import ModelState

from cachecore.attributes import attributes_filler
from cachecore.codec import Load, Row

MakeInstance = Callable[[Row, str | None, tuple[object, ...] | None], Model]
"""The instance of a row as if loaded through the connection of this alias, with the tuple as its _state.cachecore.

Raises UnsupportedValue for a row of another length, and whatever a load function raises."""


def instance_maker(model: type[Model], attnames: Sequence[str], loads: Sequence[tuple[int, Load]]) -> MakeInstance:
    """The function that builds instances as Django's own unpickling does: no __init__ is called, no signal sent.

    model: the class of the instances.
    attnames: the attributes, in the order of a row's values.
    loads: for a position in the row, the function that makes the attribute's value of what stands there, if that is
        not None, anew for each instance.
    """

    fill = attributes_filler("_state", attnames, loads)
    get_attribute = object.__getattribute__  # and none that a class has of its own

    def make(row: Row, alias: str | None, tracked: tuple[object, ...] | None) -> Model:
        state = ModelState()
        state.adding = False
        state.db = alias
        state.cachecore = tracked  # type: ignore[attr-defined] # our own attribute on Django's object
        instance = model.__new__(model)
        fill(get_attribute(instance, "__dict__"), row, state)
        return instance

    return make
