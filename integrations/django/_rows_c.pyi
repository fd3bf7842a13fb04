"""What _rows_c offers; _rows_py says what it means."""

from collections.abc import Callable, Sequence

from django.db.models import Model

from cachecore.codec import Column, Row

class InstanceMaker:
    def __init__(
        self,
        model: type[Model],
        attnames: Sequence[str],
        revivers: Sequence[tuple[int, Callable[[object], object]]],
    ) -> None: ...
    def __call__(self, row: Row, alias: str | None, tracked: tuple[object, ...] | None) -> Model: ...

def exact_test(columns: Sequence[Column]) -> Callable[[Row], bool]: ...
