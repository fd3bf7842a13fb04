"""The attributes of an instance from the values of a row: one function a class, written for its columns.

Theory of operation. This is most of what a hit costs, and a loop over the columns takes more than twice the time of the
statements that the loop would come to. So they are written out and compiled once:

    def fill(attributes, row):
        v0, v1, v2, = row
        attributes['id'] = v0
        attributes['data'] = None if v1 is None else load1(v1)
        attributes['colour'] = convert2(v2)

The text has only places and attributes' names in it, those as Python writes strings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cachecore.codec import Load, Row
from cachecore.integrations.sqlalchemy.conversions import Convert

Fill = Callable[[dict[str, Any], Row], None]
"""Sets attributes from a row. Raises ValueError for one of another length, and what its functions raise."""


@dataclass(frozen=True)
class Filled:
    """One attribute that a row has."""

    key: str
    place: int
    """In the row."""
    load: Load | None
    """Makes the stored value of what stands there, if that is not None. None: it stands there itself."""
    convert: Convert | None
    """Makes the attribute's value of the stored one, or of None. None: they are the same."""


def filler(attributes: Sequence[Filled], width: int) -> Fill:
    """The function that sets these attributes from rows of so many values."""
    names: dict[str, Any] = {}
    lines = ["def fill(attributes, row):", f"    {''.join(f'v{place}, ' for place in range(width))}= row"]
    for each in attributes:
        value = f"v{each.place}"
        if each.load is not None:
            names[f"load{each.place}"] = each.load
            value = f"None if {value} is None else load{each.place}({value})"
        if each.convert is not None:
            names[f"convert{each.place}"] = each.convert
            value = f"convert{each.place}({value})"
        lines.append(f"    attributes[{each.key!r}] = {value}")
    exec("\n".join(lines), names)
    fill: Fill = names["fill"]
    return fill
