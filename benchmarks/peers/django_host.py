"""One of the processes of `benchmarks.peers.django_hosts`: it makes and runs calls as standard input says, by lines.

``make SIDE:NAME`` makes the call NAME of `benchmarks.peers.django_sides.Calls`, and ``run SIDE:NAME`` runs it. When
that is done, ``done`` goes to standard output. What fails ends the process.
"""

import os
import sys
from typing import Any

import django
from django.conf import settings

from benchmarks.measure import Call


def sides() -> dict[str, Any]:
    """The sides of this process, with their tables."""
    from benchmarks.peers import django_sides as how

    if settings.PEER == "ours":
        from benchmarks.peers.our_rows.models import MemcachedRow, MemoryRow, RedisRow

        ours = {"ours, memory": MemoryRow, "ours, Redis": RedisRow, "ours, memcached": MemcachedRow}
        for model in ours.values():
            how.make_rows(model)
        return {name: how.Ours(model) for name, model in ours.items()}

    from benchmarks.peers.their_rows.models import Row

    how.make_rows(Row)
    if settings.PEER == "Django":
        return {
            "Django": how.Uncached(Row),
            "seed-like, locmem": how.SeedLike(Row, Row.on_locmem),
            "seed-like, Redis": how.SeedLike(Row, Row.on_redis),
            "seed-like, memcached": how.SeedLike(Row, Row.on_memcached),
        }
    return {settings.PEER: (how.Cacheops if settings.PEER == "cacheops" else how.Side)(Row)}


def serve() -> None:
    """Do what standard input says, until it ends."""
    answer = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no answer
    django.setup()
    from benchmarks.peers.django_sides import Calls

    makers = {name: Calls(side) for name, side in sides().items()}
    calls: dict[str, Call] = {}
    for line in sys.stdin.buffer:
        word, _, call = line.decode().strip().partition(" ")
        if word == "make":
            side, _, name = call.partition(":")
            calls[call] = getattr(makers[side], name)()
        else:
            calls[call]()
        answer.write(b"done\n")


if __name__ == "__main__":
    serve()
