"""The traces: requests for keys, which are numbers, made from seeds so that every run has the same.

zipf        independent requests, popularity ~ 1 / rank ** exponent
scans       zipf, and in between runs over keys that are asked for once
one-hit     zipf, and before every second request one of a key that never comes again
reshuffle   zipf whose ranks are dealt anew ten (thirty) times
drift       zipf whose ranks move on over the keys, in a hundred steps
bursts      zipf, and each key is asked for again once: within 1 / 2000 (1 / 400) of the number of keys
loop        the same keys over and over, a little or much more than fit
shop-day    what a shop asks of its rows in a day: lookups, orders that come and go, exports, a sale; see `shop_day`
sized       entries of different sizes, as a cache bounded by bytes holds them: zipf and the shop's day
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import log
from random import Random
from typing import Final

LEAST_SIZE: Final = 100
MOST_SIZE: Final = 100_000


@dataclass(frozen=True, slots=True)
class Scale:
    """How long the traces are."""

    keys: int
    """Of a plain zipf; the rooms are shares of it."""
    length: int
    """Requests of a plain zipf."""


FULL: Final = Scale(100_000, 1_000_000)
QUICK: Final = Scale(10_000, 60_000)


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests, and the rooms that caches have for them."""

    name: str
    requests: list[int]
    keys: int
    """What the rooms are a share of: how many keys there are, without those that soon never come again."""
    shares: tuple[float, ...]
    weights: dict[int, int] | None = None
    """Bytes of each key's value; None: all entries are alike, and rooms are numbers of them."""


def zipf(keys: int, exponent: float, length: int, random: Random) -> list[int]:
    """Requests for key k with a probability in proportion to 1 / (k + 1) ** exponent."""
    return random.choices(
        range(keys), cum_weights=list(accumulate((k + 1) ** -exponent for k in range(keys))), k=length
    )


def scans(base: list[int], keys: int) -> Iterator[int]:
    """After each stretch of requests a scan, a quarter as long, of keys that were never asked for."""
    stretch, fresh = keys // 5, keys
    for start in range(0, len(base), stretch):
        yield from base[start : start + stretch]
        yield from range(fresh, fresh + stretch // 4)
        fresh += stretch // 4


def one_hit(base: list[int], keys: int) -> Iterator[int]:
    """A key that never comes again before every second request."""
    for number, request in enumerate(base):
        if number % 2:
            yield keys + number
        yield request


def reshuffle(base: list[int], keys: int, phases: int, random: Random) -> Iterator[int]:
    """The ranks dealt anew at the start of each phase."""
    names = list(range(keys))
    length = -(-len(base) // phases)
    for start in range(0, len(base), length):
        random.shuffle(names)
        yield from (names[rank] for rank in base[start : start + length])


def drift(base: list[int], keys: int) -> Iterator[int]:
    """The ranks move over half of the keys, in a hundred steps."""
    for number, rank in enumerate(base):
        yield (rank + 100 * number // len(base) * keys // 200) % keys


def bursts(base: list[int], gap: int, random: Random) -> Iterator[int]:
    """Each request again, some `gap` requests later: too late for a small queue, whose second access this should be."""
    waiting: list[int] = []
    for request in base:
        yield request
        waiting.append(request)
        if len(waiting) > gap:
            yield waiting.pop(random.randrange(len(waiting)))


def shop_day(base: list[int], keys: int, random: Random) -> Iterator[int]:
    """A day of a shop: base is what people look at, by popularity.

    That is the catalogue, the keys below `keys`. After every eleventh lookup comes a new row, an order, whose key was
    never there before; it is asked for four times more, each time a random while later (at most 1 / 200 as many
    lookups as the catalogue has rows), and never again. Four times a day an export walks over the whole catalogue, one
    row after every second lookup until it is through. At 60 % of the day a sale begins: a tenth of the catalogue, drawn
    at random, becomes the most popular, in random order, and pushes all others down.
    """
    names = list(range(keys))
    random.shuffle(names)
    sale = int(len(base) * 0.6)
    every = len(base) // 4
    longest = max(1, keys // 200)
    order = keys
    due: dict[int, list[int]] = {}
    exported = keys
    for number, rank in enumerate(base):
        if number == sale:
            chosen = random.sample(names, keys // 10)
            reduced = set(chosen)
            names = chosen + [name for name in names if name not in reduced]
        if number % every == every // 8:
            exported = 0
        yield names[rank]
        yield from due.pop(number, ())
        if number % 11 == 10:
            yield order
            at = number
            for _ in range(4):
                at += random.randint(1, longest)
                due.setdefault(at, []).append(order)
            order += 1
        if exported < keys and number % 2:
            yield exported
            exported += 1


def lognormal(keys: set[int], random: Random) -> dict[int, int]:
    """Bytes of each key's value: median 2,000, and nine in ten from 220 to 18,000; cut off at 100 and 100,000."""
    return {key: int(min(MOST_SIZE, max(LEAST_SIZE, random.lognormvariate(log(2000), 1.35)))) for key in sorted(keys)}


def _zipf(scale: Scale) -> Iterator[Trace]:
    keys, length = scale.keys, scale.length
    yield Trace("zipf 0.99", zipf(keys, 0.99, length, Random(1)), keys, (0.001, 0.01, 0.1))
    yield Trace("zipf 0.7", zipf(keys, 0.7, length, Random(2)), keys, (0.01, 0.1))
    yield Trace("zipf 1.2", zipf(keys, 1.2, length, Random(3)), keys, (0.01,))


def _base(scale: Scale) -> list[int]:
    return zipf(scale.keys, 0.99, scale.length, Random(1))


def _scans(scale: Scale) -> Iterator[Trace]:
    yield Trace("scans", list(scans(_base(scale), scale.keys)), scale.keys, (0.01, 0.1))


def _one_hit(scale: Scale) -> Iterator[Trace]:
    yield Trace("one-hit", list(one_hit(_base(scale), scale.keys)), scale.keys, (0.01, 0.1))


def _reshuffle(scale: Scale) -> Iterator[Trace]:
    base, keys = _base(scale), scale.keys
    yield Trace("reshuffle 10", list(reshuffle(base, keys, 10, Random(4))), keys, (0.01, 0.1))
    yield Trace("reshuffle 30", list(reshuffle(base, keys, 30, Random(5))), keys, (0.03, 0.1))


def _drift(scale: Scale) -> Iterator[Trace]:
    yield Trace("drift", list(drift(_base(scale), scale.keys)), scale.keys, (0.01, 0.03, 0.1, 0.2))


def _bursts(scale: Scale) -> Iterator[Trace]:
    base, keys = _base(scale)[: scale.length // 2], scale.keys
    for part in (2000, 400):
        yield Trace(f"bursts 1/{part}", list(bursts(base, keys // part, Random(6))), keys, (0.01, 0.1))


def _loop(scale: Scale) -> Iterator[Trace]:
    yield Trace("loop", [number % (scale.keys // 5) for number in range(scale.length)], scale.keys, (0.1, 0.19))


def _shop_requests(scale: Scale) -> tuple[list[int], int]:
    keys = scale.keys // 2
    base = zipf(keys, 0.9, scale.length // 2, Random(7))
    return list(shop_day(base, keys, Random(8))), keys


def _shop_day(scale: Scale) -> Iterator[Trace]:
    requests, keys = _shop_requests(scale)
    yield Trace("shop-day", requests, keys, (0.01, 0.03, 0.1, 0.3))


def _sized(scale: Scale) -> Iterator[Trace]:
    base = _base(scale)
    yield Trace("sized zipf 0.99", base, scale.keys, (0.01, 0.1), lognormal(set(base), Random(9)))
    requests, keys = _shop_requests(scale)
    yield Trace("sized shop-day", requests, keys, (0.03, 0.1), lognormal(set(requests), Random(9)))


TRACES: Final[dict[str, Callable[[Scale], Iterator[Trace]]]] = {
    "zipf": _zipf,
    "scans": _scans,
    "one-hit": _one_hit,
    "reshuffle": _reshuffle,
    "drift": _drift,
    "bursts": _bursts,
    "loop": _loop,
    "shop-day": _shop_day,
    "sized": _sized,
}
"""By the word of the command line."""
