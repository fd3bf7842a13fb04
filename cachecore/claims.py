"""Claims of lookups outside the protocol: their stored forms, and what a process remembers of them.

A claim is verified by its row on every use, so neither needs care beyond this: what cannot be read is no claim.
"""

import threading
from collections.abc import Callable, Iterable
from typing import cast

from cachecore.errors import CorruptEntry
from cachecore.lookups import Claim, Lookup
from cachecore.value_codec import ValueCodec

REMEMBERED_CLAIMS = 10_000
"""How many pointers of an entity a process remembers in front of a shared cache."""

Asked = tuple[object, ...]
"""The values of a lookup as they were asked for."""

_CODEC = ValueCodec()


def dump_claim(asked: Asked, claim: Claim) -> tuple[object, int]:
    """A claim as (bytes, weight in bytes): identity, spelling, and what was asked where that is spelled differently."""
    parts = (claim.identity, claim.spelling) if claim.spelling == asked else (claim.identity, claim.spelling, asked)
    payload = _CODEC.encode(parts)
    return payload, len(payload)


def load_claim(asked: Asked, payload: object) -> Claim:
    """A claim from `dump_claim`'s bytes; raises CorruptEntry, also for a claim about something else than ``asked``."""
    decoded = _CODEC.decode(payload) if isinstance(payload, bytes) else None
    parts = list(cast("tuple[object, ...]", decoded)) if isinstance(decoded, tuple) else []
    if len(parts) not in (2, 3) or not isinstance(parts[1], tuple) or parts[-1] != asked:
        raise CorruptEntry("not a pointer for this lookup")
    return Claim(parts[0], cast("tuple[object, ...]", parts[1]))


def freeze_claim(asked: Asked, claim: Claim) -> tuple[object, int]:
    """A claim as (itself, weight in bytes), for a backend that keeps objects."""
    return claim, dump_claim(asked, claim)[1]


def thaw_claim(asked: Asked, payload: object) -> Claim:
    """A claim from `freeze_claim`'s payload; raises CorruptEntry."""
    if not isinstance(payload, Claim):
        raise CorruptEntry("not a pointer")
    return payload


class Remembered:
    """The claims that this process remembers, so that a warm lookup in a shared cache is one round trip."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self.get: Callable[[str], Claim | None] = self._claims.get
        """What is remembered of the lookup with a pointer key."""

    def of(self, lookups: Iterable[Lookup]) -> dict[str, Claim]:
        """What is remembered of many lookups, by pointer key."""
        known = {lookup.key: self.get(lookup.key) for lookup in lookups}
        return {key: claim for key, claim in known.items() if claim is not None}

    def set(self, lookup: Lookup, claim: Claim | None) -> None:
        """Remember a claim, or with None forget it; the oldest gives way."""
        if self._claims.get(lookup.key) is claim:
            return
        with self._lock:
            if claim is None:
                self._claims.pop(lookup.key, None)
                return
            self._claims[lookup.key] = claim
            if len(self._claims) > REMEMBERED_CLAIMS:
                del self._claims[next(iter(self._claims))]

    def clear(self) -> None:
        """Forget every claim."""
        with self._lock:
            self._claims.clear()


class NotRemembered(Remembered):
    """For a backend in this process, which holds the pointers itself."""

    def set(self, lookup: Lookup, claim: Claim | None) -> None:
        """Nothing: the backend has it."""
