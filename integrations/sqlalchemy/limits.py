"""What a column can hold: no row has another value, and to ask for it can fail, and end a transaction of PostgreSQL."""

import math
from collections.abc import Callable
from typing import Any

from sqlalchemy import Dialect, types

_BITS: dict[str, tuple[tuple[Any, int], ...]] = {
    "sqlite": ((types.Integer, 64),),
    "postgresql": ((types.SmallInteger, 16), (types.BigInteger, 64), (types.Integer, 32)),
}
"""Of integers, by their type; other databases are asked."""


def can_hold(kind: Any, dialect: Dialect) -> Callable[[Any], bool]:
    """The function that says whether a column of this type can hold a stored value, which is one of its Python type."""
    if isinstance(kind, types.Integer):
        for integers, bits in _BITS.get(dialect.name, ()):
            if isinstance(kind, integers):
                return lambda value: -(1 << (bits - 1)) <= value < 1 << (bits - 1)
    if isinstance(kind, types.Numeric) and kind.precision is not None and dialect.name == "postgresql":
        scale = kind.scale or 0
        limit = 10 ** (kind.precision - scale)
        # The first comparison ends it for numbers of more digits than can be rounded.
        return lambda value: math.isfinite(value) and abs(value) <= limit and abs(round(value, scale)) < limit
    return _is_text_of_postgresql if dialect.name == "postgresql" else _is_text


def _is_text(value: Any) -> bool:
    """Whether a value is no text, or can be sent: a lone surrogate cannot."""
    if type(value) is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
    return True


def _is_text_of_postgresql(value: Any) -> bool:
    return _is_text(value) and not (type(value) is str and "\0" in value)
