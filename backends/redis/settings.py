"""From a URL and options to one frozen record of everything a Redis backend needs to know.

redis://[user[:password]@]host[:port][/db]       one server; rediss:// speaks TLS
unix://[user[:password]@]/path/to/socket?db=0    one server, by its unix socket
redis+sentinel://host[:port],.../service[/db]    the primary that the sentinels name
redis+cluster://host[:port],...                  a Redis Cluster, found from any of these nodes
"""

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from cachecore.errors import ConfigurationError

Topology = Literal["one", "sentinel", "cluster"]

_SCHEMES: Mapping[str, tuple[Topology, bool]] = {
    "redis": ("one", False),
    "rediss": ("one", True),
    "unix": ("one", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}


class Address(msgspec.Struct, frozen=True):
    """Where a server listens: host and port, or the path of a unix socket."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"Redis at unix:{self.path}"
        return f"Redis at [{self.host}]:{self.port}" if ":" in self.host else f"Redis at {self.host}:{self.port}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach Redis. Durations in seconds."""

    topology: Topology = "one"
    addresses: tuple[Address, ...] = (Address(),)
    """The server; of a cluster some nodes, of a service its sentinels."""
    service: str | None = None
    """The name under which the sentinels know the primary."""
    db: int = 0
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    """What the sentinels themselves ask for; None: nothing."""
    tls: bool = False
    ca_certs: str | None = None
    """File of the certificate authorities to trust; None: those of the system."""
    certfile: str | None = None
    """File of our own certificate, for servers that ask for one."""
    keyfile: str | None = None
    verify: bool = True
    """Whether the server's certificate is checked. False accepts anybody's."""
    check_hostname: bool = True
    """Whether the certificate must name the host of the URL."""
    timeout: float = 0.5
    """The longest wait for the replies to one request. Too short: a busy server counts as dead for a window."""
    connect_timeout: float = 0.5
    breaker_window: float = 1.0
    """After a failure nobody asks the server again for this long."""
    protocol: int = 2
    """2 or 3. RESP2 says all that is needed here in fewer bytes."""
    max_connections: int = 16
    """Connections of an event loop to one server; who comes when all are busy waits. Threads have one each."""
    client_name: str | None = None
    """What CLIENT LIST shows."""
    max_value_bytes: int = 16 * 1024 * 1024
    """Larger payloads are not stored: one that takes longer than the timeout would look like a dead server."""
    parser: Literal["auto", "hiredis", "python"] = "auto"
    """Who reads replies; "auto" takes hiredis where it is installed."""

    def __repr__(self) -> str:
        """Without the passwords."""
        where = ", ".join(map(str, self.addresses))
        return f"<Settings of {self.topology} {where}, db {self.db}, timeout {self.timeout:g} s>"


def read_settings(url: str, options: Mapping[str, Any]) -> Settings:
    """The settings that ``url`` and ``options`` (the URL's query is part of them) say.

    Raises ConfigurationError naming the option, or what is wrong with the URL; never with a password.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES:
        raise ConfigurationError(f"no URL of Redis begins with {scheme!r}; there are {', '.join(_SCHEMES)}")
    topology, tls = _SCHEMES[scheme]
    chosen: dict[str, Any] = {"topology": topology, "tls": tls}
    # urlsplit knows neither many hosts nor sockets, so it is shown only the end, where it cannot stumble over them.
    authority, slash, end = rest.partition("/")
    authority = authority.partition("?")[0].partition("#")[0]
    if "@" in rest and "@" not in authority:
        raise ConfigurationError(
            f"a URL of {scheme}:// has an @ behind its host: if a login ends there, write / ? # in it as %2F %3F %23, "
            "and otherwise the @ as %40"
        )
    path = unquote(urlsplit(f"//x/{end}").path) if slash else ""
    login, at, hosts = authority.rpartition("@")
    if at:
        username, _, password = login.partition(":")
        chosen |= {"username": unquote(username) or None, "password": unquote(password) or None}
    where = f"{scheme}://{hosts}{path}"
    if scheme == "unix":
        if hosts or path in ("", "/"):
            raise ConfigurationError(f"unix:// takes an absolute path, as in unix:///run/redis.sock, not {where!r}")
        chosen["addresses"] = (Address(path=path),)
    else:
        chosen["addresses"] = tuple(_address(host, scheme, where) for host in hosts.split(","))
        if topology == "one" and len(chosen["addresses"]) > 1:
            raise ConfigurationError(f"{scheme}:// is one server; for many write {scheme}+cluster://, not {where!r}")
        chosen |= _from_path([part for part in path.split("/") if part], topology, where)
    chosen |= _from_options(options, scheme)
    for name in ("ca_certs", "certfile", "keyfile"):
        _check_file(chosen.get(name), name, tls, scheme)
    if topology == "cluster" and chosen.get("db"):
        raise ConfigurationError(f"a Redis Cluster has only database 0, not {chosen['db']!r} as in {where!r}")
    return Settings(**chosen)


def _address(text: str, scheme: str, where: str) -> Address:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, "26379" if "sentinel" in scheme else "6379"
    inside = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ConfigurationError(f"the port must be a number from 1 to 65535, not {port!r} as in {where!r}")
    if (":" in inside) != (inside is not host) or any(character in inside for character in "[]@/ "):
        raise ConfigurationError(f"{text!r} is not host:port (IPv6: [address]:port) in {where!r}")
    return Address(inside or "localhost", int(port))


def _check_file(path: str | None, name: str, tls: bool, scheme: str) -> None:
    if path is None:
        return
    if not tls:
        raise ConfigurationError(f"{name} ({path!r}) is for TLS, which {scheme}:// does not speak: write rediss")
    if not os.path.isfile(path):
        raise ConfigurationError(f"{name}: there is no file {path!r}")


def _from_path(parts: list[str], topology: Topology, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if topology == "sentinel":
        if not parts:
            raise ConfigurationError(
                f"the name of the service is missing: redis+sentinel://host/service, not {where!r}"
            )
        found["service"] = parts.pop(0)
    if parts:
        found["db"] = _whole(parts.pop(0), "the database", 0)
    if parts:
        raise ConfigurationError(f"{where!r} goes on after the database: {'/'.join(parts)!r}")
    return found


def _from_options(options: Mapping[str, Any], scheme: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in _OPTIONS:
            raise ConfigurationError(f"{scheme}:// has no option {name!r}; there are {', '.join(_OPTIONS)}")
        found[name] = _OPTIONS[name](value, name)
    return found


def _whole(value: Any, name: str, least: int = 1) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = least - 1
    if number < least or isinstance(value, bool | float):
        raise ConfigurationError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return number


def _database(value: Any, name: str) -> int:
    return _whole(value, name, 0)


def _seconds(value: Any, name: str) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")
    return seconds


def _truth(value: Any, name: str) -> bool:
    truths = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(value).lower() not in truths:
        raise ConfigurationError(f"{name} must be true or false, not {value!r}")
    return truths[str(value).lower()]


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value or any(character in value for character in "\r\n\0"):
        raise ConfigurationError(f"{name} must be a text without line breaks, not one of {type(value).__name__}")
    return value


def _one_of(*allowed: Any) -> Callable[[Any, str], Any]:
    def choose(value: Any, name: str) -> Any:
        for one in allowed:
            if str(value) == str(one):
                return one
        raise ConfigurationError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")

    return choose


_OPTIONS: Mapping[str, Callable[[Any, str], Any]] = {
    "db": _database,
    "username": _text,
    "password": _text,
    "sentinel_username": _text,
    "sentinel_password": _text,
    "ca_certs": _text,
    "certfile": _text,
    "keyfile": _text,
    "verify": _truth,
    "check_hostname": _truth,
    "timeout": _seconds,
    "connect_timeout": _seconds,
    "breaker_window": _seconds,
    "protocol": _one_of(2, 3),
    "max_connections": _whole,
    "client_name": _text,
    "max_value_bytes": _whole,
    "parser": _one_of("auto", "hiredis", "python"),
}
