"""URLs and options of the Redis backend: read in full when the backend is made, and wrong ones are named."""

from typing import Any

import pytest

from cachecore.backends.redis.settings import Address, Settings, read_settings
from cachecore.errors import ConfigurationError
from cachecore.registry import make_backend

LOCAL = (Address("localhost", 6379),)


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("redis://", {}, {}),
        ("redis://localhost", {}, {"addresses": LOCAL}),
        ("redis://h:7000/3", {}, {"addresses": (Address("h", 7000),), "db": 3}),
        ("redis://h/", {"db": "4"}, {"addresses": (Address("h", 6379),), "db": 4}),
        ("redis://[::1]:7000/0", {}, {"addresses": (Address("::1", 7000),)}),
        ("redis://[fe80::1]", {}, {"addresses": (Address("fe80::1", 6379),)}),
        ("redis://:secret@h", {}, {"addresses": (Address("h"),), "password": "secret"}),
        ("redis://u%40x:p%3A%2F%23@h", {}, {"addresses": (Address("h"),), "username": "u@x", "password": "p:/#"}),
        ("redis://u@h", {"password": "p"}, {"addresses": (Address("h"),), "username": "u", "password": "p"}),
        ("redis://u:p@ss@h", {}, {"addresses": (Address("h"),), "username": "u", "password": "p@ss"}),
        ("rediss://h", {"verify": "no"}, {"addresses": (Address("h"),), "tls": True, "verify": False}),
        ("rediss://h", {"check_hostname": False}, {"addresses": (Address("h"),), "tls": True, "check_hostname": False}),
        ("unix:///run/redis.sock?db=2", {"db": "2"}, {"addresses": (Address(path="/run/redis.sock"),), "db": 2}),
        ("unix://:p@/run/a%20b", {}, {"addresses": (Address(path="/run/a b"),), "password": "p"}),
        (
            "redis+sentinel://a,b:7,[::1]:8/shop/2",
            {"sentinel_password": "s"},
            {
                "topology": "sentinel",
                "addresses": (Address("a", 26379), Address("b", 7), Address("::1", 8)),
                "service": "shop",
                "db": 2,
                "sentinel_password": "s",
            },
        ),
        (
            "rediss+cluster://a,b:7",
            {},
            {"topology": "cluster", "tls": True, "addresses": (Address("a"), Address("b", 7))},
        ),
        ("redis+cluster://a:1/", {}, {"topology": "cluster", "addresses": (Address("a", 1),)}),
        ("redis+cluster://a:1/0", {}, {"topology": "cluster", "addresses": (Address("a", 1),)}),
        (
            "redis://",
            {"timeout": "0.25", "connect_timeout": 1, "breaker_window": 2.5, "protocol": "3", "max_connections": "4"},
            {"timeout": 0.25, "connect_timeout": 1.0, "breaker_window": 2.5, "protocol": 3, "max_connections": 4},
        ),
        ("redis://", {"client_name": "shop", "max_value_bytes": 10, "parser": "python"},
         {"client_name": "shop", "max_value_bytes": 10, "parser": "python"}),
    ],
)  # fmt: skip
def test_settings(url: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    """A URL and options say what they say, and everything else has its default."""
    assert read_settings(url, options) == Settings(**expected)


@pytest.mark.parametrize(
    ("url", "options", "named"),
    [
        ("redis://h:port", {}, "port.*'port'"),
        ("redis://h:0", {}, "'0'"),
        ("redis://h:70000", {}, "'70000'"),
        ("redis://h:-1", {}, "'-1'"),
        ("redis://h:", {}, "port"),
        ("redis://::1", {}, "IPv6"),
        ("redis://[::1", {}, "port|IPv6"),
        ("redis://[h]", {}, "IPv6"),
        ("redis://h/x", {}, "database.*'x'"),
        ("redis://h/-1", {}, "database.*'-1'"),
        ("redis://h/1/2", {}, "after the database"),
        ("redis://a,b", {}, r"redis\+cluster://"),
        ("redis://a b", {}, "'a b'"),
        ("unix://h/run/redis.sock", {}, "absolute path"),
        ("unix://", {}, "absolute path"),
        ("unix:///", {}, "absolute path"),
        ("redis+sentinel://a", {}, "name of the service"),
        ("redis+cluster://a/1", {}, "only database 0"),
        ("redis+cluster://a", {"db": 1}, "only database 0"),
        ("redis://", {"tiemout": 1}, "'tiemout'.*timeout"),
        ("redis://", {"timeout": "fast"}, "timeout.*'fast'"),
        ("redis://", {"timeout": 0}, "timeout.*0"),
        ("redis://", {"timeout": "nan"}, "timeout.*'nan'"),
        ("redis://", {"connect_timeout": float("inf")}, "connect_timeout.*inf"),
        ("redis://", {"breaker_window": -1}, "breaker_window.*-1"),
        ("redis://", {"protocol": 4}, "protocol.*2, 3.*4"),
        ("redis://", {"max_connections": 0}, "max_connections.*0"),
        ("redis://", {"max_connections": 2.5}, r"max_connections.*2\.5"),
        ("redis://", {"max_value_bytes": True}, "max_value_bytes.*True"),
        ("redis://", {"parser": "fast"}, "parser.*'fast'"),
        ("redis://", {"client_name": "two\nlines"}, "client_name"),
        ("redis://", {"db": "x"}, "db.*'x'|database.*'x'"),
        ("rediss://", {"verify": "perhaps"}, "verify.*'perhaps'"),
        ("rediss://", {"ca_certs": "/nowhere/ca.pem"}, "ca_certs.*/nowhere/ca.pem"),
        ("rediss://", {"keyfile": "/nowhere/key.pem"}, "keyfile.*/nowhere/key.pem"),
        ("redis://", {"ca_certs": __file__}, "ca_certs.*rediss"),
    ],
)  # fmt: skip
def test_wrong_settings(url: str, options: dict[str, Any], named: str) -> None:
    """A wrong URL or option is an error when it is read, which names it and its value."""
    with pytest.raises(ConfigurationError, match=named):
        read_settings(url, options)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:geheim@h:port",
        "redis://user:geheim@h/x",
        "redis://user:geheim/x@h",
        "redis://user:geheim?x@h",
        "redis://user:geheim#x@h",
        "redis://user:geheim@a,b",
        "unix://:geheim@h/x",
        "redis+sentinel://:geheim@h",
        "redis+cluster://:geheim@h/5",
        "redis://:geheim@h?tiemout=1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("awaited", [False, True])
def test_a_password_is_never_shown(url: str, awaited: bool) -> None:
    """No message about a wrong URL holds its password, and no repr of settings."""
    with pytest.raises(ConfigurationError) as caught:
        make_backend(url, awaited=awaited)
    assert "geheim" not in str(caught.value)
    settings = read_settings("redis://user:geheim@h", {"sentinel_password": "geheim"})
    assert "geheim" not in repr(settings) + str(settings)


def test_addresses_in_messages() -> None:
    """An address is named as it is written in a URL."""
    assert str(Address("h", 7)) == "Redis at h:7"
    assert str(Address("::1", 7)) == "Redis at [::1]:7"
    assert str(Address(path="/run/redis.sock")) == "Redis at unix:/run/redis.sock"
