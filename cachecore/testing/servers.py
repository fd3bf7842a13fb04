"""Real servers for tests and benchmarks, on free loopback ports.

    with RedisServer({"maxmemory": "2mb"}) as server:
        backend = make_backend(server.url)
        server.kill()

A server's data lives in a temporary folder. Only its own object stops it, and nothing is left of it when the
``with`` ends or this process dies in whatever way. A server that is not installed raises `ServerMissing`, with a hint.
"""

from cachecore.testing.certificates import Certificates
from cachecore.testing.fault_proxy import Fault, Proxy
from cachecore.testing.memcached_server import MemcachedServer
from cachecore.testing.postgres_server import PostgresServer
from cachecore.testing.redis_fleet import ClusterNode, RedisCluster, RedisSentinel, Sentinel
from cachecore.testing.redis_server import RedisReplyError, RedisServer
from cachecore.testing.server_base import Server, ServerFailed, ServerMissing, free_port

__all__ = [
    "Certificates",
    "ClusterNode",
    "Fault",
    "MemcachedServer",
    "PostgresServer",
    "Proxy",
    "RedisCluster",
    "RedisReplyError",
    "RedisSentinel",
    "RedisServer",
    "Sentinel",
    "Server",
    "ServerFailed",
    "ServerMissing",
    "free_port",
]
