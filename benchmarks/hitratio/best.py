"""What no policy can exceed, because it knows the future."""

import heapq
from collections.abc import Sequence


def following(requests: Sequence[int]) -> list[int]:
    """For each request the number of the next one of the same key; the number of requests if there is none."""
    never = len(requests)
    found = [never] * never
    seen: dict[int, int] = {}
    for number in range(never - 1, -1, -1):
        key = requests[number]
        found[number] = seen.get(key, never)
        seen[key] = number
    return found


def belady(requests: Sequence[int], room: int) -> int:
    """The most hits possible with room for so many entries.

    Belady's rule (IBM Systems Journal 5(2), 1966): the entry whose next request is farthest away leaves, which may be
    the one that has just come.
    """
    upcoming = following(requests)
    standing: dict[int, int] = {}
    farthest: list[tuple[int, int]] = []
    hits = 0
    for number, key in enumerate(requests):
        hits += key in standing
        standing[key] = upcoming[number]
        heapq.heappush(farthest, (-upcoming[number], key))
        while len(standing) > room:
            negative, victim = heapq.heappop(farthest)
            if standing.get(victim) == -negative:  # else a later request has overtaken this entry of the heap
                del standing[victim]
    return hits


def bound(requests: Sequence[int], sizes: Sequence[int], room: int) -> int:
    """At least the most hits possible with room for so many bytes; the exact number is NP-hard.

    PFOO-L (Berger, Beckmann, Harchol-Balter: "Practical Bounds on Optimal Caching with Variable Object Sizes", ACM
    POMACS 2(2), 2018): a hit costs size * requests since the last one, out of room * requests in all; buy the cheapest.

    sizes: of each request, in the unit of room.
    """
    never = len(requests)
    costs = [
        (after - number) * size
        for number, (after, size) in enumerate(zip(following(requests), sizes, strict=True))
        if after < never and size <= room
    ]
    budget = room * never
    hits = 0
    for cost in sorted(costs):
        budget -= cost
        if budget < 0:
            break
        hits += 1
    return hits
