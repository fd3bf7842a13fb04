"""Is everything in order? What ``manage.py cachecore check`` and ``stats`` tell of settings, servers and journal."""

import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import django
from django.core.checks import ERROR, CheckMessage
from django.db import DatabaseError, connections

from cachecore import keys
from cachecore.cache import Cache
from cachecore.entries import Grant, Value
from cachecore.errors import BackendError, CachecoreError
from cachecore.integrations.django import hit
from cachecore.integrations.django.checks import check_journal, check_models, check_settings
from cachecore.integrations.django.conf import caches, configured
from cachecore.integrations.django.journal import databases, unknown_caches
from cachecore.integrations.django.journal.notes import has_table

Level = Literal["ok", "note", "warning", "error"]

COARSE = 0.1
"""Seconds: a clock with a coarser resolution cannot tell when a hold is about to expire."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    about: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:<8} {self.about}: {self.text}"


def examine() -> Iterator[Finding]:
    """Look at everything, in the order in which one thing depends on another."""
    yield from _versions()
    yield from _clock()
    messages = [*check_settings(), *check_models()]
    with suppress(DatabaseError):  # the journal's findings tell
        messages += check_journal(databases=list(connections))
    yield from (_finding(message) for message in messages)
    if not messages:
        yield Finding("ok", "settings", "no system check has anything to say")
    try:
        aliases = list(configured())
    except CachecoreError:
        return  # a check says so
    for alias in aliases:
        yield from _cache(alias)
    for using in databases():
        yield from _journal(using)


def _finding(message: CheckMessage) -> Finding:
    level: Level = "error" if message.level >= ERROR else "warning"
    return Finding(level, f"settings ({message.id})", message.msg)


def _versions() -> Iterator[Finding]:
    try:
        ours = version("cachecore")
    except PackageNotFoundError:
        ours = "of a checkout"
    text = (
        f"cachecore {ours}, Django {django.__version__}, {platform.python_implementation()} {platform.python_version()}"
    )
    compiled = [keys.implementation, hit.implementation]
    if "python" in compiled:
        text += "; the compiled modules are not in use, so everything is slower"
    yield Finding("ok", "versions", text)


def _clock() -> Iterator[Finding]:
    """Holds are timed by the monotonic clock of this host, the only one that the promise depends on."""
    clock = time.get_clock_info("monotonic")
    if not clock.monotonic or clock.resolution > COARSE:
        text = f"time.monotonic() has a resolution of {clock.resolution:g} s ({clock.implementation})"
        yield Finding("error", "clock", f"{text}, too coarse to tell when a hold is about to expire")
    else:
        yield Finding("ok", "clock", f"monotonic, to {clock.resolution:g} s")


def _cache(alias: str) -> Iterator[Finding]:
    about = f"cache {alias!r}"
    try:
        cache = caches[alias]
    except CachecoreError as error:
        yield Finding("error", about, str(error))
        return
    name = f"{cache.backend.name}, namespace {cache.namespace!r}"
    if cache.backend.name == "null":
        yield Finding("note", about, f"{name}: nothing is cached")
        return
    try:
        begun = time.perf_counter()
        _exercise(cache)
        took = (time.perf_counter() - begun) / STEPS
        sentences = cache.diagnose()  # asks every server
    except BackendError as error:
        yield Finding("error", about, f"{name}: {error}")
        return
    yield Finding("ok", about, f"{name}: reads and writes, {1000 * took:.2f} ms a round trip")
    yield from (Finding("warning", about, sentence) for sentence in sentences)


STEPS = 6


def _exercise(cache: Cache) -> None:
    """Do with an entry of our own what readers and writers do with theirs. Raises BackendError."""
    backend, ttl = cache.backend, 10.0
    key = keys.make_key(cache.namespace, "#check", {"token": os.urandom(8)})
    reader, writer = os.urandom(8), os.urandom(8)
    [grant] = backend.acquire([key], reader, ttl)
    if not isinstance(grant, Grant):
        raise BackendError(f"it gives no lease on a new key, but {grant!r}: has it any room?")
    backend.fill([(key, grant.token, Value(_payload(cache), b"check"), 5)], ttl)
    [found] = backend.get([key])
    if not isinstance(found, Value):
        raise BackendError(f"it does not keep what is stored: has it any room? Found {found!r}")
    backend.hold([key], writer, ttl)
    backend.complete([key], writer, {}, None)
    [left] = backend.get([key])
    if left is not None:
        raise BackendError(f"a write did not outdate what was stored: found {left!r}")


def _payload(cache: Cache) -> Any:
    return "check" if cache.backend.keeps_objects else b"check"


def _journal(using: str) -> Iterator[Finding]:
    about = f"journal in {using!r}"
    try:
        if not has_table(using):
            yield Finding("note", about, 'there is no table for one; "manage.py migrate" makes it')
            return
        noted = {**{alias: _waiting(alias, using) for alias in configured()}, **unknown_caches(using)}
    except DatabaseError as error:
        yield Finding("error", about, str(error).strip())
        return
    for alias, count in noted.items():
        if count:
            advice = '"manage.py cachecore replay"' if alias in configured() else "CACHECORE does not have that cache"
            yield Finding("warning", about, f"{count} notes of the cache {alias!r} wait: {advice}")
    if not any(noted.values()):
        yield Finding("ok", about, "no notes wait")


def _waiting(alias: str, using: str) -> int:
    """How many notes of a cache wait in a database."""
    # Here, for a model can be imported only when the applications are ready.
    from cachecore.integrations.django.models import Journal

    return Journal._base_manager.using(using).filter(cache=alias).count()


def statistics() -> Sequence[dict[str, Any]]:
    """For each cache what can be told of it as plain data: what its servers say, and the counters of this process."""
    told: list[dict[str, Any]] = []
    for alias in configured():
        one: dict[str, Any] = {"cache": alias}
        told.append(one)
        try:
            cache = caches[alias]
            one |= {"backend": cache.backend.name, "namespace": cache.namespace}
            one |= {"reachable": True, "error": None, "diagnosis": cache.diagnose()}
        except CachecoreError as error:
            one |= {"reachable": False, "error": str(error), "diagnosis": []}
        one["journal"] = {using: _waiting(alias, using) for using in databases() if has_table(using)}
        with suppress(CachecoreError):
            counted = caches[alias].statistics
            one["process"] = {name: getattr(counted, name) for name in counted.__struct_fields__}
            one["process"]["hit_ratio"] = counted.hit_ratio
    return told
