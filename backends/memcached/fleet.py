"""Which server is to be told what: the keys of a batch, by owner.

One server, the usual case, needs no map. With ``also``, the second list of servers while the first is being changed,
whatever a writer does is done at both owners of a key; readers ask the owner by ``servers`` only.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec

from cachecore.backends.memcached.batches import Batch
from cachecore.backends.memcached.limits import MAX_KEY
from cachecore.backends.memcached.replies import Reply
from cachecore.backends.memcached.ring import Ring
from cachecore.backends.memcached.settings import Address, Settings
from cachecore.errors import InvalidKey

Flow = Generator[Batch, list[Reply], Any]


def names_of(keys: Sequence[str]) -> list[bytes]:
    """The keys as servers take them. Raises InvalidKey, before anything is sent."""
    text = " ".join(keys)
    if text.isascii() and text.isprintable():
        names = text.encode().split(b" ")
        # They are as many as the keys if none of those has a space.
        fit = len(text) <= MAX_KEY or max(map(len, names)) <= MAX_KEY
        if fit and len(names) == len(keys) and b"" not in names:
            return names
    return [encoded(key) for key in keys]


def encoded(key: str) -> bytes:
    """One key as servers take it. Raises InvalidKey."""
    if key.isascii() and key.isprintable() and " " not in key and 0 < len(key) <= MAX_KEY:
        return key.encode()
    data = key.encode("utf-8", "surrogatepass")
    if not 0 < len(data) <= MAX_KEY:
        raise InvalidKey(f"a key of memcached has 1 to {MAX_KEY} bytes, and {key[:60]!r}... has {len(data)}")
    if any(byte <= 0x20 or byte == 0x7F for byte in data):
        raise InvalidKey(f"a key of memcached has no spaces and no control characters: {key!r}")
    return data


class Part(msgspec.Struct, frozen=True):
    """What one server is asked: the flow ``flow(peer, items, *arguments)``.

    indexes: for which of the caller's items its results are; None: nobody reads them.
    """

    server: int
    flow: Callable[..., Flow]
    items: Sequence[Any]
    arguments: tuple[Any, ...]
    indexes: Sequence[int] | None = None
    may_repeat: bool = True


class Fleet:
    """The servers by their addresses, and the owners of keys as indexes into them."""

    def __init__(self, settings: Settings) -> None:
        self.addresses: list[Address] = list(dict.fromkeys(chain(settings.servers, settings.also)))
        self._is_one = len(settings.servers) == 1
        self._ring = Ring([str(address) for address in settings.servers])
        self._also = Ring([str(address) for address in settings.also]) if settings.also else None
        self._also_at = [self.addresses.index(address) for address in settings.also]

    def parts(
        self, flow: Callable[..., Flow], keys: Sequence[bytes], items: Sequence[Any], *arguments: Any
    ) -> list[Part]:
        """Ask the owners by ``servers``, each for its own of ``items``; ``keys`` are those of the items."""
        if self._is_one:
            return [Part(0, flow, items, arguments, range(len(items)))] if items else []
        # The servers of this list are the first in `addresses`.
        return _split(map(self._ring.owner, keys), flow, items, arguments)

    def parts_of_the_other_list(
        self, flow: Callable[..., Flow], keys: Sequence[bytes], items: Sequence[Any], *arguments: Any
    ) -> list[Part]:
        """The same for the owners by ``also``, where they are others. Nobody reads the results."""
        if self._also is None:
            return []
        owners = (self._also_at[self._also.owner(key)] for key in keys)
        others = [None if owner == self._ring.owner(key) else owner for key, owner in zip(keys, owners, strict=True)]
        return [msgspec.structs.replace(part, indexes=None) for part in _split(others, flow, items, arguments)]

    def everywhere(self, flow: Callable[..., Flow], *arguments: Any) -> list[Part]:
        """Ask every server of both lists."""
        return [Part(server, flow, (), arguments) for server in range(len(self.addresses))]


def _split(
    owners: Iterable[int | None], flow: Callable[..., Flow], items: Sequence[Any], arguments: tuple[Any, ...]
) -> list[Part]:
    indexes: dict[int, list[int]] = {}
    for index, owner in enumerate(owners):
        if owner is not None:
            indexes.setdefault(owner, []).append(index)
    return [
        Part(server, flow, [items[index] for index in chosen], arguments, chosen) for server, chosen in indexes.items()
    ]


def in_order(parts: Sequence[Part], results: Sequence[Any], count: int) -> list[Any]:
    """The results of all parts in the order of the caller's ``count`` items."""
    if len(parts) == 1:
        whole: list[Any] = results[0]
        return whole
    merged: list[Any] = [None] * count
    for part, found in zip(parts, results, strict=True):
        if part.indexes is not None:
            for index, one in zip(part.indexes, found, strict=True):
                merged[index] = one
    return merged
