"""Keys, and stores full of them, for the benchmarks of the in-process store."""

from collections.abc import Callable
from random import Random

from cachecore.backends.store import DEFAULT_POLICY, Store

ENTRIES = 100_000
HOT = 1_000
TTL = 3600.0


def keys_of(count: int, seed: int = 1) -> list[str]:
    """Keys like those of make_key: a prefix, an entity and 32 hexadecimal digits."""
    random = Random(seed)
    return [f"shop:shop.City:{random.getrandbits(128):032x}" for _ in range(count)]


def filled(keys: list[str], entries: int = ENTRIES, policy: str = DEFAULT_POLICY) -> Store:
    """A store that went through all keys; entries of a ttl, as a cache's are."""
    store = Store(max_entries=entries, max_bytes=2**40, policy=policy)
    for key in keys:
        store.set(key, key, 100, TTL)
    return store


def reading(get: Callable[[str], object], keys: list[str]) -> Callable[[], object]:
    """A call that gets every key once."""

    def run() -> None:
        for key in keys:
            get(key)

    return run
