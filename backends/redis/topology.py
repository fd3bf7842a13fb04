"""Which servers a backend has: one, a service's primary, or a cluster's nodes."""

from typing import TYPE_CHECKING

from cachecore.backends.redis.settings import Settings

if TYPE_CHECKING:
    from cachecore.backends.redis.async_fleet import AsyncFleet
    from cachecore.backends.redis.async_one_server import AsyncOneServer
    from cachecore.backends.redis.fleet import Fleet
    from cachecore.backends.redis.one_server import OneServer
    from cachecore.backends.redis.plan import FleetPlan


def topology_of(settings: Settings) -> "OneServer | Fleet":
    """The servers for threads."""
    if settings.topology == "one":
        from cachecore.backends.redis.one_server import OneServer

        return OneServer(settings)
    from cachecore.backends.redis.fleet import Fleet

    return Fleet(settings, _plan(settings))


def async_topology_of(settings: Settings) -> "AsyncOneServer | AsyncFleet":
    """The servers for event loops."""
    if settings.topology == "one":
        from cachecore.backends.redis.async_one_server import AsyncOneServer

        return AsyncOneServer(settings)
    from cachecore.backends.redis.async_fleet import AsyncFleet

    return AsyncFleet(settings, _plan(settings))


def _plan(settings: Settings) -> "FleetPlan":
    if settings.topology == "sentinel":
        from cachecore.backends.redis.sentinel import Sentinels

        return Sentinels(settings)
    from cachecore.backends.redis.cluster import Cluster

    return Cluster(settings)
