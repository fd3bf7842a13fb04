"""What stands around a measurement: real servers, the Django project that names them, and one processor.

Over the network this process and the servers share one processor. On two, a round trip takes either as long or, where
the other one has gone to sleep meanwhile, several times as long: that time is on both sides of a ratio, and all that it
then tells of. Threads and processes, which are to use what there is, have all.
"""

import os
import tempfile
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager

from cachecore.testing.servers import MemcachedServer, PostgresServer, RedisServer


@contextmanager
def stage(needs: Iterable[str]) -> Generator[None, None, None]:
    """Start the servers ("redis", "memcached", "postgres") and set up Django; once in a process.

    Raises ServerMissing for one that is not installed.
    """
    with ExitStack() as stack:
        os.environ["SCALING_FOLDER"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="cachecore-scaling-"))
        caches: list[RedisServer | MemcachedServer] = []
        if "redis" in needs:
            caches.append(stack.enter_context(RedisServer()))
            os.environ["SCALING_REDIS"] = caches[-1].url
        if "memcached" in needs:
            caches.append(stack.enter_context(MemcachedServer(["-t", "1", "-m", "256"])))
            os.environ["SCALING_MEMCACHED"] = caches[-1].url
        os.environ["SCALING_PIDS"] = " ".join(str(server.pid) for server in caches)
        if "postgres" in needs:
            postgres = stack.enter_context(PostgresServer())
            os.environ["SCALING_POSTGRES"] = f"{postgres.host}:{postgres.port}"
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.scaling.settings"
        import django
        from django.db import connections

        django.setup()
        stack.callback(connections.close_all)
        yield


def servers() -> list[int]:
    """The processes of the cache servers."""
    return [int(pid) for pid in os.environ["SCALING_PIDS"].split()]


def address(url: str) -> tuple[str, int]:
    """Host and port of a server's URL."""
    host, _, port = url.partition("://")[2].partition("/")[0].rpartition(":")
    return host, int(port)
