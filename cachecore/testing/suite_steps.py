"""What the conformance suite does to a backend: every operation to every entry, and random sequences of operations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from cachecore.entries import Value
from cachecore.testing.reference import Observed

LEASE_TTL, HOLD_TTL, TTL = 10.0, 15.0, 60.0
PASSING = 7.0
"""Seconds that pass at a time. No time to live is a multiple, so that nothing expires just then."""

MINE, YOURS = b"mine----", b"yours---"
KEYS = ("suite:1", "suite:2", "suite:3")
KEY = KEYS[0]
OLD, NEW = Value(b"old", b"stamp"), Value(b"new", b"other")

Action = Callable[[Observed], Any]
"""Something done to a backend."""

STATES: Mapping[str, Sequence[Action]] = {
    "nothing": [],
    "my lease": [lambda on: on.do("acquire", [KEY], MINE, LEASE_TTL)],
    "your lease": [lambda on: on.do("acquire", [KEY], YOURS, LEASE_TTL)],
    "value": [lambda on: on.do("put", [(KEY, OLD, 3)], TTL)],
    "my hold": [lambda on: on.do("hold", [KEY], MINE, HOLD_TTL)],
    "my hold, twice": [
        lambda on: on.do("hold", [KEY], MINE, HOLD_TTL),
        lambda on: on.do("hold", [KEY], MINE, HOLD_TTL),
    ],
    "your hold": [lambda on: on.do("hold", [KEY], YOURS, HOLD_TTL)],
    "our hold": [
        lambda on: on.do("hold", [KEY], YOURS, HOLD_TTL),
        lambda on: on.do("hold", [KEY], MINE, HOLD_TTL),
    ],
    "my hold, which you have left": [
        lambda on: on.do("hold", [KEY], MINE, HOLD_TTL),
        lambda on: on.do("hold", [KEY], YOURS, HOLD_TTL),
        lambda on: on.do("complete", [KEY], YOURS, {}, TTL),
    ],
}
"""What may stand under a key, and how it comes to stand there."""
OPERATIONS: Mapping[str, Action] = {
    "get": lambda on: on.do("get", [KEY]),
    "acquire": lambda on: on.do("acquire", [KEY], MINE, LEASE_TTL),
    "displace": lambda on: on.do("displace", [(KEY, OLD)], MINE, LEASE_TTL),
    "displace what is not there": lambda on: on.do("displace", [(KEY, NEW)], MINE, LEASE_TTL),
    "fill": lambda on: on.do("fill", [(KEY, on.token(KEY, MINE), NEW, 3)], TTL),
    "abandon": lambda on: on.do("abandon", [(KEY, on.token(KEY, MINE))]),
    "hold": lambda on: on.do("hold", [KEY], MINE, HOLD_TTL),
    "complete": lambda on: on.do("complete", [KEY], MINE, {}, TTL),
    "complete with a value": lambda on: on.do("complete", [KEY], MINE, {KEY: (NEW, 3)}, TTL),
    "release": lambda on: on.do("release", [KEY], MINE),
    "put": lambda on: on.do("put", [(KEY, NEW, 3)], TTL),
    "swap": lambda on: on.do("swap", KEY, OLD.stamp, NEW, 3, TTL),
    "swap what is not there": lambda on: on.do("swap", KEY, NEW.stamp, NEW, 3, TTL),
    "forget": lambda on: on.do("forget", [KEY]),
    "clear": lambda on: on.do("clear"),
}

_values = st.sampled_from([OLD, NEW, Value(b"", b"stamp"), Value(b"\xcc\x0e\x01 bytes like an entry", b"")])
_ttls = st.sampled_from([TTL, None])
_tokens = st.sampled_from([MINE, YOURS, b"third---"])
_some_keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("acquire"), _some_keys, _tokens),
        st.tuples(st.just("displace"), _some_keys, _tokens, _values),
        st.tuples(st.just("fill"), _some_keys, _tokens, _values, _ttls),
        st.tuples(st.just("abandon"), _some_keys, _tokens),
        st.tuples(st.just("hold"), _some_keys, _tokens, st.sampled_from([HOLD_TTL, 2 * HOLD_TTL])),
        st.tuples(st.just("complete"), _some_keys, _tokens, st.none() | _values, _ttls),
        st.tuples(st.just("release"), _some_keys, _tokens),
        st.tuples(st.just("put"), _some_keys, _values, _ttls),
        st.tuples(st.just("swap"), _some_keys, _values, _values, _ttls),
        st.tuples(st.just("forget"), _some_keys),
        st.tuples(st.just("pass")),
    ),
    min_size=12,
    max_size=30,
)


def perform(on: Observed, step: tuple[Any, ...]) -> Any:
    """Do one of `steps` to a backend; its reply as far as it matters."""
    match step:
        case ("acquire", keys, token):
            return on.do("acquire", keys, token, LEASE_TTL)
        case ("displace", keys, token, value):
            return on.do("displace", [(key, value) for key in keys], token, LEASE_TTL)
        case ("fill", keys, token, value, ttl):
            return on.do("fill", [(key, on.token(key, token), value, len(value.payload)) for key in keys], ttl)
        case ("abandon", keys, token):
            return on.do("abandon", [(key, on.token(key, token)) for key in keys])
        case ("complete", keys, token, value, ttl):
            left = {} if value is None else {key: (value, len(value.payload)) for key in keys}
            return on.do("complete", keys, token, left, ttl)
        case ("put", keys, value, ttl):
            return on.do("put", [(key, value, len(value.payload)) for key in keys], ttl)
        case ("swap", keys, seen, value, ttl):
            return on.do("swap", keys[0], seen.stamp, value, len(value.payload), ttl)
        case (name, *arguments):
            return on.do(name, *arguments)
        case _:
            raise AssertionError(step)
