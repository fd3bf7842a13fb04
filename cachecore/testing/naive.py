"""Protocols in common use, which must fail: they show that the explorer can find what it looks for."""

from collections.abc import Mapping

from cachecore.entries import Value
from cachecore.operations import Forget, Get, Load, Operation, Put
from cachecore.testing.actors import Flow, key_of, value
from cachecore.testing.model import Acknowledged, Add, Commit, Returned, Rollback, Version, Write
from cachecore.testing.scene import Actor
from cachecore.testing.scenes import ROW, Case, readers, returning, stage

KEY = key_of(1)


def cache_aside(name: str, *, add: bool = False, twin: str | None = None) -> Actor:
    """Reads row 1: from the cache, else from the database, and then stores it. add: only if nothing stands there."""

    def program() -> Flow:
        [entry] = yield Get([KEY])
        if isinstance(entry, Value):
            row = ROW.load(entry.payload)
        else:
            row = (yield Load([1]))[1]
            yield Add(KEY, value(row)) if add else Put([(KEY, value(row), 1)], None)
        yield Returned({1: row})

    return returning(name, program, twin)


def naive_writer(name: str, order: str) -> Actor:
    """Writes row 1 and does what ``order`` says: w(rite), c(ommit), r(oll back), d(elete the entry), s(et it)."""
    versions: tuple[Version, ...] = ((1, name.lower(), ""),)
    does: Mapping[str, Operation] = {
        "w": Write(versions),
        "c": Commit(),
        "r": Rollback(),
        "d": Forget([KEY]),
        "s": Put([(KEY, value(versions[0]), 1)], None),
    }

    def program() -> Flow:
        for letter in order:
            yield does[letter]
        if "c" in order:
            yield Acknowledged(versions)

    return Actor(name, program)


def asides(*, add: bool = False) -> list[Actor]:
    """Three readers by cache-aside."""
    return [cache_aside("R1", add=add), cache_aside("R2", add=add, twin="R1"), cache_aside("R3", add=add, twin="R2")]


DELETES, SEED = naive_writer("W1", "wcd"), naive_writer("W1", "wsc")

NAIVE: tuple[Case, ...] = (
    Case("delete after commit, fill by set", stage(*asides(), DELETES, cold=True), "P1 P2 P3"),
    Case("delete after commit, fill by add", stage(*asides(add=True), DELETES, cold=True), "P1 P2 P3"),
    Case("delete before commit", stage(*asides(), naive_writer("W1", "wdc"), cold=True), "P1 P2 P3"),
    Case("delete before and after commit", stage(*asides(), naive_writer("W1", "wdcd"), cold=True), "P1 P2 P3"),
    Case("set in post_save (the seed), rolled back", stage(*asides(), naive_writer("W1", "wsr"), cold=True), "P0 P2"),
    Case("set in post_save (the seed), 1 writer", stage(*asides(), SEED, cold=True), "P0 P1 P2 P3"),
    Case(
        "set in post_save (the seed), 2 writers",
        stage(*asides(), SEED, naive_writer("W2", "wsc"), cold=True),
        "P0 P1 P2 P3",
    ),
    Case(
        "set after commit, 2 writers",
        stage(*asides(), naive_writer("W1", "wcs"), naive_writer("W2", "wcs"), cold=True),
        "P1 P2 P3",
    ),
    Case("leases, delete after commit", stage(*readers(3), DELETES, naive_writer("W2", "wcd")), "P3"),
    Case("leases, delete after commit, writer killed", stage(*readers(3), DELETES, cold=True, crash=1), "P2 P3"),
)
