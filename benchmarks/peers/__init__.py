"""Other libraries, each used as its own documentation shows, for the benchmarks bench_peers_*.py to be measured beside.

What is installed is asked for by `needs`: a benchmark of a library that is missing skips and names it.
"""

from importlib import metadata

import pytest


def installed(distribution: str) -> bool:
    """Whether this distribution, named as in an index, is installed."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def needs(*distributions: str) -> None:
    """Skip the test that runs if one of these is not installed."""
    missing = [name for name in distributions if name and not installed(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
