"""The pure Python twin of _rows_c: defines what building an instance from a row means."""

from collections.abc import Callable, Sequence

from django.db.models import Model
from django.db.models.base import ModelState

from cachecore.codec import Freezer, Load, Row
from cachecore.errors import UnsupportedValue

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

    def make(row: Row, alias: str | None, tracked: tuple[object, ...] | None) -> Model:
        if len(row) != len(attnames):
            raise UnsupportedValue(f"a row of {len(row)} values for {len(attnames)} fields")
        state = ModelState()
        state.adding = False
        state.db = alias
        state.cachecore = tracked  # type: ignore[attr-defined] # our own attribute on Django's object
        instance = model.__new__(model)
        attributes: dict[str, object] = vars(instance)
        attributes["_state"] = state
        attributes.update(zip(attnames, row, strict=True))
        for position, load in loads:
            value = row[position]
            if value is not None:
                attributes[attnames[position]] = load(value)
        return instance

    return make


freezer: Freezer | None = None
"""A faster way for RowCodec to freeze exact rows: here there is none."""
