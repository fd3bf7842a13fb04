"""Which of two twins to use: the compiled module or the pure Python one that defines what it means.

``CACHECORE_IMPLEMENTATION`` in the environment forces ``cython`` or ``python``, and what cannot be had is a
ConfigurationError when the module that asks is imported. Unset or empty: the compiled one where it can be imported.
"""

from importlib import import_module
from os import environ
from typing import Any, Literal

from cachecore.errors import ConfigurationError

Implementation = Literal["cython", "python"]


def choose(compiled: str, pure: str) -> tuple[Any, Implementation]:
    """(the module to use, which one it is), given the dotted names of both."""
    wanted = environ.get("CACHECORE_IMPLEMENTATION", "")
    if wanted not in ("", "cython", "python"):
        raise ConfigurationError(f"CACHECORE_IMPLEMENTATION must be cython, python or unset, not {wanted!r}")
    if wanted != "python":
        try:
            return import_module(compiled), "cython"
        except ImportError as error:
            if wanted == "cython":
                raise ConfigurationError(
                    f"CACHECORE_IMPLEMENTATION is cython, but the compiled {compiled} cannot be imported: {error}"
                ) from error
    return import_module(pure), "python"
