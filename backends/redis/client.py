"""Connections made by redis-py (5 to 8), or by valkey-py where that is installed instead.

The library opens the socket, speaks TLS and logs in. Everything after that goes over the socket itself
(`cachecore.backends.redis.link`): the library's own way to send and read costs more than the rest of a hit. What it
does unasked is off: retries, health checks, notifications, decoding, and telling the server its name.
"""

import importlib
import inspect
import socket
import ssl
import struct
from typing import Any

from cachecore.backends.redis.replies import failure
from cachecore.backends.redis.resp import ErrorReply
from cachecore.backends.redis.settings import Address, Settings
from cachecore.errors import (
    BackendError,
    BackendMisconfigured,
    BackendTimeout,
    BackendUnavailable,
    ConfigurationError,
)


def _library() -> str:
    for name in ("redis", "valkey"):
        try:
            importlib.import_module(f"{name}.connection")
        except ModuleNotFoundError as error:
            if error.name not in (name, f"{name}.connection"):
                raise
        else:
            return name
    raise ConfigurationError("a Redis backend needs redis-py: pip install 'cachecore[redis]'")


LIBRARY = _library()
_connections = importlib.import_module(f"{LIBRARY}.connection")
_errors = importlib.import_module(f"{LIBRARY}.exceptions")
_retry = importlib.import_module(f"{LIBRARY}.retry")
_backoff = importlib.import_module(f"{LIBRARY}.backoff")
# Which names of the library's arguments exist depends on its version.
_ARGUMENTS = frozenset(inspect.signature(_connections.AbstractConnection.__init__).parameters)


def open_socket(settings: Settings, address: Address, username: str | None, password: str | None) -> tuple[Any, Any]:
    """A connection of the library, logged in, and its socket.

    The socket is the connection's: ``disconnect`` ends both. Its calls end by TimeoutError; without TLS also when it is
    made blocking, by BlockingIOError. Raises BackendUnavailable, BackendTimeout or
    BackendMisconfigured.
    """
    connection = _make(settings, address, username, password)
    try:
        connection.connect()
        opened: socket.socket = connection._sock
    except Exception as error:
        connection.disconnect()
        raise _meaning(error, str(address), settings) from error
    except BaseException:
        connection.disconnect()
        raise
    opened.settimeout(settings.timeout)
    if not settings.tls:
        # For when it is made blocking: then Python does not call poll before each send and recv.
        seconds, rest = divmod(settings.timeout, 1)
        limit = struct.pack("@ll", min(int(seconds), 2**31 - 1), max(1, int(rest * 1e6)))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    return connection, opened


def _make(settings: Settings, address: Address, username: str | None, password: str | None) -> Any:
    common: dict[str, Any] = {
        "db": settings.db,
        "username": username,
        "password": password,
        "protocol": settings.protocol,
        "client_name": settings.client_name,
        "socket_connect_timeout": settings.connect_timeout,
        "socket_timeout": settings.timeout,
        "retry": _retry.Retry(_backoff.NoBackoff(), 0),
        "health_check_interval": 0,
        "decode_responses": False,
    }
    # CLIENT SETINFO would be two more round trips, and an error on servers before 7.2.
    common |= {"driver_info": None} if "driver_info" in _ARGUMENTS else {"lib_name": None, "lib_version": None}
    if "maint_notifications_config" in _ARGUMENTS:
        common["maint_notifications_config"] = None
    if address.path is not None:
        return _connections.UnixDomainSocketConnection(path=address.path, **common)
    if not settings.tls:
        return _connections.Connection(host=address.host, port=address.port, **common)
    return _connections.SSLConnection(
        host=address.host,
        port=address.port,
        ssl_ca_certs=settings.ca_certs,
        ssl_certfile=settings.certfile,
        ssl_keyfile=settings.keyfile,
        ssl_cert_reqs="required" if settings.verify else "none",
        ssl_check_hostname=settings.verify and settings.check_hostname,
        **common,
    )


def _meaning(error: Exception, server: str, settings: Settings) -> BackendError:
    """What the failure to connect means. The library's errors hide the one of the system behind them."""
    hidden: BaseException | None = error
    while hidden is not None:
        if isinstance(hidden, ssl.SSLError) and not isinstance(hidden, ssl.SSLEOFError | TimeoutError):
            return BackendMisconfigured(f"{server}: TLS failed: {hidden}")
        hidden = hidden.__cause__ or hidden.__context__
    if isinstance(error, _errors.TimeoutError | TimeoutError):
        return BackendTimeout(f"{server} did not let us connect within {settings.connect_timeout:g} s")
    if isinstance(error, _errors.AuthenticationError | _errors.AuthorizationError):
        return BackendMisconfigured(f"{server} refuses our login: {error}")
    if isinstance(error, _errors.ConnectionError | OSError):
        return BackendUnavailable(f"{server} cannot be reached: {error}")
    if isinstance(error, _errors.ResponseError):
        refused = ErrorReply(str(error))
        refused.server = server
        meant = failure(refused)
        return BackendMisconfigured(str(meant)) if type(meant) is BackendError else meant
    return BackendUnavailable(f"{server} cannot be reached: {type(error).__name__}: {error}")
