"""The real store, as an application reads through it: what get does not find is set."""

from collections.abc import Mapping, Sequence

from cachecore.backends.store import ENTRY_OVERHEAD, Store


def replay(store: Store, requests: Sequence[int], weights: Mapping[int, int] | None = None) -> int:
    """How many of the requests hit. weights: bytes of each key's value, without what the store adds; None: a few."""
    names = {key: name(key) for key in set(requests)}
    get, put = store.get, store.set
    hits = 0
    for request in requests:
        key = names[request]
        if get(key) is not None:
            hits += 1
        else:
            put(key, True, 1 if weights is None else weights[request], None)
    store.check()
    return hits


def name(key: int) -> str:
    """The store's key."""
    return f"k{key}"


def charged(key: int, weight: int) -> int:
    """Bytes an entry counts in the store: what the others are told is its size."""
    return weight + len(name(key)) + ENTRY_OVERHEAD
