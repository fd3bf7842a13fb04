"""What goes wrong on a connection, as errors of this package that name the server and never a password."""

import ssl

from cachecore.backends.memcached.replies import Garbled, ServerSaid
from cachecore.backends.memcached.settings import Address
from cachecore.errors import BackendError, BackendMisconfigured, BackendTimeout, BackendUnavailable


class Closed(Exception):
    """The other end has closed the connection."""


TIMEOUTS = (TimeoutError, BlockingIOError)
"""The kernel's timeouts end in the latter."""

LOST = (Closed, ConnectionError)
"""The connection has ended, as idle ones do: another may serve."""


def opens_the_breaker(error: BackendError) -> bool:
    """Whether the server did not answer or will not serve us; one that only refused a command is well."""
    return isinstance(error, BackendTimeout | BackendUnavailable | BackendMisconfigured)


def casts_doubt(error: BackendError) -> bool:
    """Whether the replies on a connection may not be those to what was asked on it, well-formed as they are."""
    return type(error) is BackendError


def while_connecting(address: Address, error: Exception) -> BackendError:
    """The error for a connection that was not made."""
    if isinstance(error, TIMEOUTS):
        return BackendUnavailable(f"memcached at {address} does not accept a connection and greet us in time")
    if isinstance(error, ssl.SSLError):
        return BackendMisconfigured(f"no TLS with memcached at {address}: {_text(error)}")
    if isinstance(error, Closed | ConnectionResetError | BrokenPipeError):
        return BackendUnavailable(
            f"memcached at {address} closed a new connection, as one does that wants TLS (memcacheds://)"
        )
    if isinstance(error, OSError):
        return BackendUnavailable(f"memcached at {address} cannot be reached: {_text(error)}")
    return while_talking(address, error)


def while_talking(address: Address, error: Exception) -> BackendError:
    """The error for an exchange that was not finished."""
    if isinstance(error, BackendError):
        return error
    if isinstance(error, TIMEOUTS):
        return BackendTimeout(f"memcached at {address} did not answer in time")
    if isinstance(error, ServerSaid):
        said = str(error)
        if "authenticat" in said:
            return BackendMisconfigured(f"memcached at {address} does not know this user and password: {said}")
        if "connections" in said or "memory" in said:
            return BackendUnavailable(f"memcached at {address} says: {said}")
        return BackendError(f"memcached at {address} says: {said}")
    if isinstance(error, Garbled):
        return BackendUnavailable(f"memcached at {address} sent what is no reply: {error}")
    if isinstance(error, Closed):
        return BackendUnavailable(f"memcached at {address} closed the connection")
    return BackendUnavailable(f"the connection to memcached at {address} failed: {_text(error)}")


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
