"""Durations and choices: their defaults, and how wrong ones are refused."""

import math
from datetime import timedelta
from typing import Any

import pytest

from cachecore import Cache, Policy
from cachecore.errors import ConfigurationError
from cachecore.policy import lifetime

NOT_NUMBERS: list[Any] = [math.nan, True, "10", None, [1]]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ttl", [0, -1, math.nan, False, True, "300", timedelta(0), timedelta(seconds=-1)]),
        ("lease_ttl", [0, -1, math.inf, *NOT_NUMBERS]),
        ("lease_poll", [0, -0.1, math.inf, *NOT_NUMBERS]),
        ("lease_wait", [-0.1, math.inf, *NOT_NUMBERS]),
        ("hold_ttl", [0, 4.99, -15, math.inf, *NOT_NUMBERS]),
        ("commit_margin", [-1, 15, 16, math.inf, *NOT_NUMBERS]),
        ("bulk_threshold", [0, -1, *NOT_NUMBERS]),
        ("unreachable", ["ignore", "", True]),
    ],
)
def test_a_wrong_field_is_refused_by_name_and_value(name: str, values: list[Any]) -> None:
    """Each field refuses what it cannot mean, with a message that names the field and the value."""
    for value in values:
        with pytest.raises(ConfigurationError) as caught:
            Policy(**{name: value})
        assert name in str(caught.value)
        assert repr(value) in str(caught.value)


def test_the_defaults_are_accepted_and_the_record_is_frozen() -> None:
    """A policy without arguments is valid, leaves to the unit of work what to do without the cache, and is frozen."""
    policy = Policy()
    assert policy.unreachable is None
    assert policy.ttl == 300
    with pytest.raises(AttributeError):
        policy.ttl = 5  # type: ignore[misc]


def test_the_edges_are_accepted() -> None:
    """No waiting for leases, the shortest hold and no margin are choices."""
    policy = Policy(lease_wait=0, hold_ttl=5, commit_margin=0, ttl=0.001)
    assert (policy.lease_wait, policy.hold_ttl, policy.commit_margin, policy.ttl) == (0, 5, 0, 0.001)


@pytest.mark.parametrize(
    ("ttl", "seconds"), [(None, None), (math.inf, None), (5, 5), (0.5, 0.5), (timedelta(minutes=2), 120.0)]
)
def test_a_lifetime_is_seconds_a_timedelta_or_for_ever(ttl: Any, seconds: float | None) -> None:
    """Backends get seconds, and None for what never expires."""
    assert lifetime(ttl) == seconds
    assert Policy(ttl=ttl).ttl == seconds


def test_the_names_are_those_of_the_fields() -> None:
    """Whoever reads settings can tell an unknown field."""
    assert {"ttl", "lease_wait", "unreachable"} <= Policy.names()
    assert Policy(**{name: getattr(Policy(), name) for name in Policy.names()}) == Policy()


def test_the_ttl_of_a_cache_and_of_an_entity_goes_before_the_policy() -> None:
    """An entity lives by its own ttl, else by its own policy's, else by the cache's."""
    with Cache("null://", namespace="shop", ttl=timedelta(seconds=60), policy=Policy(lease_ttl=3)) as cache:
        assert cache.policy == Policy(ttl=60, lease_ttl=3)

        def ttl(**options: Any) -> float | None:
            return cache.entity("shop.Item", {"id": int}, **options).entity.policy.ttl

        assert ttl() == 60
        assert ttl(ttl=5) == 5
        assert ttl(ttl=math.inf) is None
        assert ttl(policy=Policy(ttl=7)) == 7
        assert ttl(policy=Policy(ttl=7), ttl=8) == 8


@pytest.mark.parametrize("ttl", [0, -1, math.nan, True, "300"])
def test_a_cache_or_entity_with_a_wrong_ttl_is_refused(ttl: Any) -> None:
    """A wrong ttl is reported where it is declared, with its value."""
    with pytest.raises(ConfigurationError, match="ttl must be"):
        Cache("null://", namespace="shop", ttl=ttl)
    with Cache("null://", namespace="shop") as cache, pytest.raises(ConfigurationError, match="ttl must be"):
        cache.entity("shop.Item", {"id": int}, ttl=ttl)
