"""What in the settings of a memcached server weakens the promise, in sentences."""

import math
from collections.abc import Iterable, Mapping

from cachecore.backends.memcached.settings import Address

SMALL = 16 << 20
"""Bytes of memory below which holds may well be evicted before their writers have finished."""


def shelters(configured: Mapping[str, str], lifetime: float) -> bool:
    """Whether what is stored for ``lifetime`` seconds is not evicted by what lives longer, by the server's settings."""
    return configured.get("temp_lru") in ("yes", "1", "on") and _number(configured, "temporary_ttl") >= lifetime


def sentences(address: str, found: Mapping[str, str], configured: Mapping[str, str], hold_lifetime: float) -> list[str]:
    """By the statistics and settings of the server at ``address``, as it gives them."""
    said: list[str] = []
    protected = shelters(configured, hold_lifetime)
    advice = f"-o temporary_ttl={math.ceil(hold_lifetime) + 1}"
    if configured.get("evictions") == "off":
        said.append(
            f"memcached at {address} runs with -M: when it is full it stores nothing, drops the holds that it cannot "
            "enlarge, and writes fail as if it could not be reached"
        )
    elif not protected and _number(configured, "maxbytes") < SMALL:
        said.append(
            f"memcached at {address} has only {_number(configured, 'maxbytes') >> 10} KiB of memory (-m): holds may be "
            f"evicted while their writers are under way; give it more, or {advice}"
        )
    elif not protected and _number(found, "evictions") > 0:
        said.append(
            f"memcached at {address} has evicted {_number(found, 'evictions')} entries: holds may be among them; give "
            f"it more memory, or {advice}"
        )
    if configured.get("flush_enabled") == "no":
        said.append(f"memcached at {address} runs with -F: clear() will fail")
    if configured.get("memory_file", "(null)") not in ("(null)", ""):
        said.append(
            f"memcached at {address} keeps its memory over restarts (-e): under another process id what it kept is not "
            "believed and takes room; under the same, as in a container, a restart is an interruption like any other"
        )
    return said


def _number(values: Mapping[str, str], name: str) -> int:
    text = values.get(name, "")
    return int(text) if text.isdigit() else 0


def diagnosed(
    addresses: Iterable[Address], found: Iterable[tuple[Mapping[str, str], Mapping[str, str]]], hold_lifetime: float
) -> list[str]:
    """The sentences about several servers, by the statistics and settings of each."""
    return [
        sentence
        for address, (statistics, settings) in zip(addresses, found, strict=True)
        for sentence in sentences(str(address), statistics, settings, hold_lifetime)
    ]
