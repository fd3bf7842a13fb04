"""The pure Python twin of _attributes_c: defines what the attributes of a row are.

Theory of operation. They are put into the dict that the instance has already: the interpreter makes it so that it
shares its keys with those of all instances of the class, which is less to allocate and to look up than a dict of one's
own. (On Python 3.11 an instance of twelve columns took a quarter more time when it was given a copy of a template.)

A loop over the columns takes more than twice the time of the statements that the loop would come to. So they are
written out and compiled once:

    def fill(attributes, row, state):
        if len(row) != 3: raise wrong_length(row)
        [v0, v1, v2, ] = row
        attributes['_state'] = state
        attributes['id'] = v0
        attributes['data'] = None if v1 is None else load1(v1)
        attributes['colour'] = convert2(v2)

The text has only places and attributes' names in it, those as Python writes strings.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from cachecore.codec import Load, Row
from cachecore.errors import UnsupportedValue

FillAttributes = Callable[[dict[str, Any], Row, object], None]
"""Sets in a dict the attributes of a row, and before them the first attribute to the value given.

Raises UnsupportedValue for a row of another length, and what its functions raise."""


def attributes_filler(
    first: str,
    names: Sequence[str | None],
    loads: Sequence[tuple[int, Load]] = (),
    converts: Sequence[tuple[int, Callable[[Any], object]]] = (),
) -> FillAttributes:
    """The function that sets an instance's attributes.

    first: the attribute that comes before those of the row, where an ORM keeps what it knows of the instance.
    names: for each value in a row, in its order, the attribute. None: it is none of this instance.
    loads: for a position in the row, the function that makes a value of what stands there, if that is not None.
    converts: for a position in the row, the function that makes the attribute's value of that one, or of None.

    Raises ValueError if two of the attributes have one name.
    """
    load_at, convert_at = dict(loads), dict(converts)
    functions: dict[str, Any] = {"wrong_length": partial(wrong_length, len(names))}
    lines = [
        "def fill(attributes, row, state):",
        f"    if len(row) != {len(names)}: raise wrong_length(row)",
        f"    [{''.join(f'v{place}, ' for place in range(len(names)))}] = row",
        f"    attributes[{first!r}] = state",
    ]
    for place, name in enumerate(checked(first, names)):
        if name is None:
            continue
        value = f"v{place}"
        if place in load_at:
            functions[f"load{place}"] = load_at[place]
            value = f"None if {value} is None else load{place}({value})"
        if place in convert_at:
            functions[f"convert{place}"] = convert_at[place]
            value = f"convert{place}({value})"
        lines.append(f"    attributes[{name!r}] = {value}")
    exec("\n".join(lines), functions)
    fill: FillAttributes = functions["fill"]
    return fill


def checked(first: str, names: Sequence[str | None]) -> Sequence[str | None]:
    """The names. Raises ValueError if two attributes have the same."""
    every = [first, *(name for name in names if name is not None)]
    if len(set(every)) != len(every):
        raise ValueError("two attributes have one name")
    return names


def wrong_length(count: int, row: Row) -> UnsupportedValue:
    """The error for a row of another length."""
    return UnsupportedValue(f"a row of {len(row)} values for {count} columns")
