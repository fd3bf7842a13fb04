"""The pure Python twin of _rows_c: defines what building an instance from a row means."""

from collections.abc import Callable, Sequence

from django.db.models import Model
from django.db.models.base import ModelState

from cachecore.codec import Column, Row
from cachecore.errors import UnsupportedValue

Reviver = Callable[[object], object]


class InstanceMaker:
    """Builds instances as Django's own unpickling does: __new__ and __dict__, without __init__ and without signals."""

    def __init__(self, model: type[Model], attnames: Sequence[str], revivers: Sequence[tuple[int, Reviver]]) -> None:
        """
        model: the class of the instances.
        attnames: the attributes, in the order of a row's values.
        revivers: for a position in the row, the function that makes the attribute's value of a stored one that is not
            None, anew for each instance.
        """
        self._model = model
        self._attnames = tuple(attnames)
        self._revivers = tuple(revivers)

    def __call__(self, row: Row, alias: str | None, tracked: tuple[object, ...] | None) -> Model:
        """The instance of a row, as if loaded through the connection `alias`; tracked becomes _state.cachecore.

        Raises UnsupportedValue for a row of another length, and whatever a reviver raises.
        """
        if len(row) != len(self._attnames):
            raise UnsupportedValue(f"a row of {len(row)} values for {len(self._attnames)} fields")
        state = ModelState()
        state.adding = False
        state.db = alias
        state.cachecore = tracked  # type: ignore[attr-defined] # our own attribute on Django's object
        instance = self._model.__new__(self._model)
        attributes: dict[str, object] = vars(instance)
        attributes["_state"] = state
        attributes.update(zip(self._attnames, row, strict=True))
        for position, revive in self._revivers:
            value = row[position]
            if value is not None:
                attributes[self._attnames[position]] = revive(value)
        return instance


def exact_test(columns: Sequence[Column]) -> Callable[[Row], bool] | None:
    """The faster test for RowCodec that a row is exact: here there is none."""
    return None
