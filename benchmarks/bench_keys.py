"""Keys against the make_key that the model caches this library replaces grew up with.

The reference sorts the lookup's items, joins `name=value` with colons and takes the MD5: one hash over an ambiguous
text, no types, no alias, no secret. Each side makes the keys of the same thousand questions a pass, so the figures
are per key.
"""

import hashlib
from collections.abc import Callable, Sequence
from time import process_time
from typing import Any
from uuid import UUID

import pytest

from benchmarks.versus import Versus, timed
from cachecore import keys

GROUP = "keys"
pytestmark = timed(process_time)

PREFIX = "shop"
ENTITY = "geo.City"
SECRET = b"0123456789abcdef"
COUNT = 1000

# What is asked for -> a thousand lookups. No two values are the same, as in life.
LOOKUPS: dict[str, list[dict[str, Any]]] = {
    "pk": [{"pk": 1000 + 37 * number} for number in range(COUNT)],
    "slug": [{"slug": f"new-york-{number}"} for number in range(COUNT)],
    "two fields": [{"country": "NO", "name": f"Oslo {number}"} for number in range(COUNT)],
    "uuid": [{"pk": UUID(int=(number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128)} for number in range(COUNT)],
}
DICT_TARGET = 7.5
PREBOUND_TARGET = 8.5
IDENTITY_TARGET = 35.0
BATCH_TARGET = 20.0

Pass = Callable[[], object]


class City:
    """Stands for the model, whose name the reference puts into the key."""


def seed_make_key(model: type, prefix: str, kwargs: dict[str, Any]) -> str:
    """The reference, as it is described; an append loop instead of the generator would take a fifth less time."""
    text = ":".join("%s=%s" % (name, value) for name, value in sorted(kwargs.items()))  # noqa: UP031 - as it was
    return "%s:%s:%s" % (prefix, model.__name__, hashlib.md5(text.encode("utf-8")).hexdigest())  # noqa: UP031


def reference(what: str) -> Pass:
    """A pass of the reference over these lookups."""
    lookups = LOOKUPS[what]

    def run() -> None:
        for fields in lookups:
            seed_make_key(City, PREFIX, fields)

    return run


def values_of(what: str) -> list[Any]:
    """The values of these lookups: plain for one field, tuples for several."""
    rows = [tuple(fields.values()) for fields in LOOKUPS[what]]
    return [row[0] if len(row) == 1 else row for row in rows]


def dict_form(what: str) -> Pass:
    """make_key with a dict."""
    lookups, make_key = LOOKUPS[what], keys.make_key

    def run() -> None:
        for fields in lookups:
            make_key(PREFIX, ENTITY, fields)

    return run


def prebound(what: str) -> Pass:
    """A KeyMaker's call."""
    maker = keys.KeyMaker(PREFIX, ENTITY, tuple(LOOKUPS[what][0]))
    values: Sequence[Any] = values_of(what)
    if what == "two fields":

        def run() -> None:
            for country, name in values:
                maker(country, name)
    else:

        def run() -> None:
            for value in values:
                maker(value)

    return run


def identity(what: str) -> Pass:
    """An IdentityMaker's call."""
    maker, values = keys.IdentityMaker(PREFIX, ENTITY), values_of(what)

    def run() -> None:
        for value in values:
            maker(value)

    return run


def identities(what: str) -> Pass:
    """An IdentityMaker's batch."""
    maker, values = keys.IdentityMaker(PREFIX, ENTITY), values_of(what)
    return lambda: maker.many(values)


def batch(what: str, secret: bytes | None = None) -> Pass:
    """make_keys, or a KeyMaker's batch for several fields."""
    values = values_of(what)
    if what == "two fields":
        maker = keys.KeyMaker(PREFIX, ENTITY, tuple(LOOKUPS[what][0]), secret=secret)
        return lambda: maker.many(values)
    field = next(iter(LOOKUPS[what][0]))
    return lambda: keys.make_keys(PREFIX, ENTITY, field, values, secret=secret)


# What, the call measured, its pass, the lookups of both sides, the target.
CASES: list[tuple[str, str, Pass, str, float]] = [
    *(
        (f"{form}, {what}", call, make(what), what, target)
        for form, call, make, target in (
            ("dict", "make_key", dict_form, DICT_TARGET),
            ("prebound", "KeyMaker()", prebound, PREBOUND_TARGET),
        )
        for what in ("pk", "slug", "two fields")
    ),
    ("identity, int", "IdentityMaker()", identity("pk"), "pk", IDENTITY_TARGET),
    ("identity, uuid", "IdentityMaker()", identity("uuid"), "uuid", IDENTITY_TARGET),
    ("1000 identities, int", "IdentityMaker.many", identities("pk"), "pk", IDENTITY_TARGET),
    ("1000 identities, uuid", "IdentityMaker.many", identities("uuid"), "uuid", IDENTITY_TARGET),
    ("batch of 1000, pk", "make_keys", batch("pk"), "pk", BATCH_TARGET),
    ("batch of 1000, slug", "make_keys", batch("slug"), "slug", BATCH_TARGET),
    ("batch of 1000, two fields", "KeyMaker.many", batch("two fields"), "two fields", BATCH_TARGET),
    ("batch of 1000, pk, a secret", "make_keys", batch("pk", SECRET), "pk", BATCH_TARGET),
]


@pytest.mark.parametrize(("name", "call", "ours", "what", "target"), CASES, ids=[case[0] for case in CASES])
def test_keys(versus: Versus, name: str, call: str, ours: Pass, what: str, target: float) -> None:
    """A pass over a thousand lookups."""
    versus(name, ours, reference(what), shown=call, against="seed make_key", target=target)
