"""What _attributes_c offers; _attributes_py says what it means."""

from collections.abc import Callable, Sequence
from typing import Any

from cachecore._attributes_py import FillAttributes
from cachecore.codec import Load

def attributes_filler(
    first: str,
    names: Sequence[str | None],
    loads: Sequence[tuple[int, Load]] = (),
    converts: Sequence[tuple[int, Callable[[Any], object]]] = (),
) -> FillAttributes: ...
