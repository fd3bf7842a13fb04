"""URL and options of memcached, as one frozen record.

memcached://cache1:11211,cache2:11211?timeout=0.3      one server or a fleet
memcacheds://cache1:11211                              the same by TLS
memcached:///run/memcached.sock                        a unix socket
memcached://user:password@cache1                       servers that run with --auth-file
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast
from urllib.parse import unquote

from cachecore.errors import ConfigurationError

DEFAULT_PORT = 11211
SCHEMES = ("memcached", "memcacheds")

_NO_HOST = re.compile(r"[\s\[\]@/?#\\]").search


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: host and port, or the path of a unix socket. Its text is its identity in the fleet."""

    host: str
    port: int = DEFAULT_PORT

    @property
    def is_path(self) -> bool:
        """Whether it is a unix socket."""
        return self.host.startswith("/")

    def __str__(self) -> str:
        if self.is_path:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to reach the servers and what to expect of them. All durations in seconds."""

    servers: tuple[Address, ...]
    """The fleet. Which of them owns a key depends on their texts and not on their order."""
    also: tuple[Address, ...] = ()
    """A second list, on which every write is repeated while the first one is being changed."""
    generation: str = ""
    """Values of another generation are not believed; their holds are respected."""
    timeout: float = 0.5
    """How long to wait for replies. Longer: a dead server costs more, once in each breaker window."""
    connect_timeout: float = 0.5
    """How long to wait for a connection."""
    breaker_window: float = 1.0
    """How long a server that did not answer is not asked again."""
    dialect: str = "auto"
    """"meta", "classic", or "auto": meta from server 1.6.13 on."""
    max_connections: int = 16
    """Connections to each server from one event loop; calls beyond wait. Blocking callers have one for each thread."""
    hold_lifetime: float = 60.0
    """How long an item with holds stays on the server, whatever their deadlines. It must be the same in all processes
    and longer than any hold; below the server's ``-o temporary_ttl``, that protects holds from eviction."""
    tls: bool = False
    ca_certs: str | None = None
    """File of the authorities that servers' certificates are checked by; None: the system's."""
    certfile: str | None = None
    """File with the certificate that we show, and its key unless that is in ``keyfile``; None: none."""
    keyfile: str | None = None
    verify: bool = True
    """Whether servers' certificates and names are checked."""
    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Settings({', '.join(map(str, self.servers))})"

    @property
    def longest_hold(self) -> float:
        """Seconds that a hold may last: item and deadline are each counted in whole seconds."""
        return self.hold_lifetime - 5.0


def parsed(url: str, options: Mapping[str, Any]) -> Settings:
    """The settings in a URL and its options, already split from it. Raises ConfigurationError naming what is wrong."""
    # Not by urlsplit: it knows no lists of hosts, and refuses those with an IPv6 address behind another since CPython
    # 3.13.2, 3.12.9 and 3.11.12 (gh-105704).
    scheme, _, rest = url.partition("://")
    authority, path = _split(rest)
    if "@" in rest and "@" not in authority:
        raise ConfigurationError(
            f"a URL of {scheme}:// has an @ behind its servers: if a login ends there, write / ? # in it as "
            "%2F %3F %23, and otherwise the @ as %40"
        )
    chosen: dict[str, Any] = {"tls": scheme.lower() == "memcacheds"}
    credentials, _, hosts = authority.rpartition("@")
    if credentials:
        username, _, password = credentials.partition(":")
        chosen.update(username=unquote(username), password=unquote(password))
    if not hosts and path not in ("", "/"):
        chosen["servers"] = (Address(unquote(path), 0),)
    else:
        if path not in ("", "/"):
            raise ConfigurationError(f"memcached has no databases: {path!r} after the servers means nothing")
        chosen["servers"] = addresses("servers", hosts or "localhost")
    for name, value in options.items():
        reader = _OPTIONS.get(name)
        if reader is None:
            raise ConfigurationError(f"memcached has no option {name!r} ({value!r}); there are {', '.join(_OPTIONS)}")
        chosen[name] = reader(name, value)
    settings = Settings(**chosen)
    if settings.tls and settings.servers[0].is_path:
        raise ConfigurationError(f"memcacheds:// is for TCP, and {settings.servers[0]} is a unix socket")
    if not settings.tls:
        for name in ("ca_certs", "certfile", "keyfile", "verify"):
            if name in options:
                raise ConfigurationError(f"{name} is an option of TLS: write memcacheds:// instead of memcached://")
    return settings


def _split(rest: str) -> tuple[str, str]:
    """What stands behind ``://`` as the servers and the path."""
    address = re.split("[?#]", rest, maxsplit=1)[0]
    authority, slash, path = address.partition("/")
    return authority, slash + path


def addresses(name: str, text: object) -> tuple[Address, ...]:
    """The servers in ``h:p,h:p``, or in a list of such texts."""
    items = cast("Sequence[object]", text) if isinstance(text, list | tuple) else str(text).split(",")
    found = tuple(_address(name, str(item)) for item in items)
    if len(set(found)) != len(found):
        raise ConfigurationError(f"{name} of memcached names a server twice: {text!r}")
    return found


def _address(name: str, text: str) -> Address:
    if text.startswith("/"):
        return Address(text, 0)
    host, port = text, ""
    if ":" in text and not text.endswith("]"):
        host, _, port = text.rpartition(":")
    inside = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if port and not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
        raise ConfigurationError(f"{name} of memcached: {text!r} is no host:port (the port is not one of 0 to 65535)")
    if not inside or (":" in inside) != (inside is not host) or _NO_HOST(inside):
        raise ConfigurationError(f"{name} of memcached: {text!r} is no host:port (of IPv6 [host]:port)")
    # In lower case, for it is by their texts that servers are told apart.
    return Address(inside.lower(), int(port or DEFAULT_PORT))


def _seconds(name: str, value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigurationError(f"{name} of memcached must be a positive number of seconds, not {value!r}")
    return seconds


def _lifetime(name: str, value: object) -> float:
    seconds = _seconds(name, value)
    if seconds < 15:
        raise ConfigurationError(f"{name} of memcached must be at least 15 s, not {value!r}")
    return seconds


def _count(name: str, value: object) -> int:
    try:
        count = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else 0
    except ValueError:
        count = 0
    if count < 1:
        raise ConfigurationError(f"{name} of memcached must be a positive whole number, not {value!r}")
    return count


def _dialect(name: str, value: object) -> str:
    if value not in ("auto", "meta", "classic"):
        raise ConfigurationError(f"{name} of memcached must be auto, meta or classic, not {value!r}")
    return str(value)


def _text(name: str, value: object) -> str:
    return str(value)


_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _switch(name: str, value: object) -> bool:
    switched = _SWITCH.get(str(value).lower())
    if switched is None:
        raise ConfigurationError(f"{name} of memcached must be true or false, not {value!r}")
    return switched


_OPTIONS = {
    "timeout": _seconds,
    "connect_timeout": _seconds,
    "breaker_window": _seconds,
    "dialect": _dialect,
    "max_connections": _count,
    "hold_lifetime": _lifetime,
    "generation": _text,
    "also": addresses,
    "ca_certs": _text,
    "certfile": _text,
    "keyfile": _text,
    "verify": _switch,
}

assert set(_OPTIONS) <= {field.name for field in fields(Settings)}
