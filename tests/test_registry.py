"""From a setting to a backend, and what a wrong setting is told."""

import subprocess
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from cachecore import AsyncCache, Cache
from cachecore.backends.memory import MemoryBackend
from cachecore.backends.null import NullBackend
from cachecore.errors import ConfigurationError
from cachecore.registry import ENTRY_POINT_GROUP, make_backend, same_backend
from cachecore.testing import AsyncFakeBackend, FakeBackend

made: list[tuple[str, Mapping[str, Any]]] = []


@pytest.fixture(autouse=True)
def _nothing_made() -> Iterator[None]:
    made.clear()
    yield
    made.clear()


def make_fake(location: str, options: Mapping[str, Any]) -> FakeBackend:
    """A third party's factory."""
    made.append((location, options))
    return FakeBackend()


not_a_factory = "a str"


@pytest.mark.parametrize("location", ["memory://", "memory"])
def test_the_in_process_backend_is_made_by_url_or_name(location: str) -> None:
    """``memory://`` and ``memory`` mean the same."""
    assert isinstance(make_backend(location), MemoryBackend)


def test_options_come_from_the_url_and_from_the_argument() -> None:
    """Options in the query and in ``options`` add up, and the argument wins."""
    backend = make_backend("memory://?max_entries=10&max_bytes=5000&policy=lru", {"max_entries": 20})
    assert backend.store.max_entries == 20
    assert backend.store.max_bytes == 5000
    assert backend.store.policy == "lru"


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("memory://?max_entries=many", ["max_entries", "'many'"]),
        ("memory://?max_entries=", ["max_entries", "''"]),
        ("memory://?max_entries=0", ["max_entries", "0"]),
        ("memory://?max_bytes=-1", ["max_bytes", "-1"]),
        ("memory://?policy=random", ["policy", "'random'"]),
        ("memory://?size=10", ["'size'", "'10'", "max_entries"]),
        ("memory://?max_entries", ["memory://?max_entries"]),
        ("memory://[", ["memory://["]),
        ("memcached://a,[::1", ["'[::1'", "host:port"]),
        ("redis+cluster://a,[::1", ["[::1"]),
        ("memory://host:1", ["memory://host:1"]),
        ("null://?size=1", ["size"]),
        ("", ["''", "memory", "null"]),
        ("nosuch", ["'nosuch'", "memory", "null"]),
        ("nosuch://host/0", ["'nosuch'", "memory", "null"]),
        ("no.such.module:make", ["no.such.module:make"]),
        ("no.such.module.make", ["no.such.module:make"]),
        ("tests.test_registry:nosuch", ["tests.test_registry:nosuch"]),
        ("tests.test_registry:not_a_factory", ["tests.test_registry:not_a_factory", "'a str'"]),
        (":make", [":make"]),
        (".relative:make", [".relative:make"]),
    ],
)
def test_a_wrong_location_is_refused_by_name_and_value(location: str, named: list[str]) -> None:
    """The message names the option or location, its value, and what there is instead."""
    with pytest.raises(ConfigurationError) as caught:
        make_backend(location)
    for part in named:
        assert part in str(caught.value)


def test_a_password_never_stands_in_a_message() -> None:
    """A location is quoted without its password."""
    with pytest.raises(ConfigurationError) as caught:
        make_backend("nosuch://admin:hunter2@cache.example:1/0")
    assert "hunter2" not in str(caught.value)
    assert "admin:***@cache.example" in str(caught.value)


@pytest.mark.parametrize(
    "location",
    [
        "memcached://user:hunter2?@cache.example",
        "memcached://user:hunter2/@cache.example",
        "memcached://user:hunter2#@cache.example",
        "redis://user:hunter2/@cache.example",
        "redis://user:hunter2?@cache.example",
    ],
)
def test_a_password_that_is_not_encoded_never_stands_in_a_message(location: str) -> None:
    """Where a password ends too early, by a character that means something in URLs, neither part of it is quoted."""
    with pytest.raises(ConfigurationError) as caught:
        make_backend(location)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "location",
    [
        "memcached://a,b:7,[::1]:8",
        "memcached://[::1]:8,[::2],a?timeout=0.2",
        "memcached://user:word@a,[::1]:8?also=b,[::1]:9",
        "redis+cluster://a,b:7,[::1]:8",
        "redis+cluster://[::1]:7,[::2]:8?timeout=0.2",
        "redis+sentinel://a,b:7,[::1]:8/service/2",
        "acme://a,[::1]:8?size=2",
    ],
)
@pytest.mark.parametrize("awaited", [False, True])
def test_lists_of_hosts_with_ipv6_addresses(monkeypatch: pytest.MonkeyPatch, location: str, awaited: bool) -> None:
    """Hosts in a list may be IPv6 addresses, also where Python refuses brackets behind anything else in the host of a
    URL, as it does from 3.13.2, 3.12.9 and 3.11.12 on."""
    checked = urllib.parse._checknetloc  # type: ignore[attr-defined]

    def check(netloc: str) -> None:
        before, bracket, rest = netloc.rpartition("@")[2].partition("[")
        behind = rest.partition("]")[2]
        if bracket and (before or (behind and not behind.startswith(":"))):
            raise ValueError("Invalid IPv6 URL")
        checked(netloc)

    monkeypatch.setattr(urllib.parse, "_checknetloc", check)
    offered = EntryPoint("acme", "tests.test_registry:make_fake", "")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: [offered])
    urllib.parse.clear_cache()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="IPv6"):
        urllib.parse.urlsplit("it://a,[::1]")
    make_backend(location, awaited=awaited)


@pytest.mark.parametrize("location", ["tests.test_registry:make_fake", "tests.test_registry.make_fake"])
def test_a_dotted_path_names_a_factory(location: str) -> None:
    """A dotted path is imported and called with the location and the options."""
    assert isinstance(make_backend(location, {"size": 1}), FakeBackend)
    assert made == [(location, {"size": 1})]


def test_a_distribution_offers_a_backend_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheme of the entry point group is made by its factory, and unknown schemes are told of it."""
    offered = EntryPoint("acme", "tests.test_registry:make_fake", ENTRY_POINT_GROUP)

    def entry_points(*, group: str) -> list[EntryPoint]:
        return [offered] if group == ENTRY_POINT_GROUP else []

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    assert isinstance(make_backend("acme://host:1?size=2", {"color": "red"}), FakeBackend)
    assert made == [("acme://host:1?size=2", {"size": "2", "color": "red"})]
    with pytest.raises(ConfigurationError, match="acme, memcached, memcacheds, memory, null"):
        make_backend("nosuch://")


def test_schemes_of_one_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Built in or offered, whatever their case; unknown ones are only what they are called."""
    offered = [EntryPoint(name, "tests.test_registry:make_fake", ENTRY_POINT_GROUP) for name in ("acme", "acmes")]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: offered)
    for one, other in (("redis", "REDISS"), ("acme", "acmes"), ("nosuch", "NoSuch")):
        assert same_backend(one, other)
    for one, other in (("redis", "memcached"), ("acme", "redis"), ("nosuch", "other")):
        assert not same_backend(one, other)


def test_an_offered_backend_that_cannot_be_imported_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point whose client library is missing says which import failed."""
    broken = EntryPoint("acme", "no_such_client:make", ENTRY_POINT_GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: [broken])
    with pytest.raises(ConfigurationError, match="no_such_client"):
        make_backend("acme://")


def test_a_cache_takes_a_backend_already_made() -> None:
    """A backend object stands for itself."""
    backend = FakeBackend()
    with Cache(backend, namespace="shop") as cache:
        assert cache.backend is backend


@pytest.mark.parametrize("location", [None, 5, object(), b"memory://"])
def test_a_location_that_is_no_backend_is_refused(location: Any) -> None:
    """Anything that is neither a str nor a backend is refused with its value."""
    with pytest.raises(ConfigurationError) as caught:
        Cache(location, namespace="shop")
    assert repr(location) in str(caught.value)


def test_options_for_a_backend_already_made_are_refused() -> None:
    """Options that nobody would read are an error."""
    with pytest.raises(ConfigurationError, match="max_entries"):
        Cache(NullBackend(), namespace="shop", options={"max_entries": 1})


async def test_an_async_backend_needs_an_async_cache() -> None:
    """A sync cache refuses a backend whose calls are awaited; an async cache takes both kinds."""
    with pytest.raises(ConfigurationError, match="AsyncCache"):
        Cache(AsyncFakeBackend(), namespace="shop")
    for backend in (AsyncFakeBackend(), FakeBackend()):
        async with AsyncCache(backend, namespace="shop") as cache:
            assert await cache.set("a", 1)
            assert await cache.get("a") == 1


@pytest.mark.parametrize("namespace", ["", "a b", "ø", "x" * 65])
def test_a_wrong_namespace_is_refused_by_value(namespace: str) -> None:
    """A namespace that cannot be part of a key is refused when the cache is made."""
    with pytest.raises(ConfigurationError) as caught:
        Cache("null://", namespace=namespace)
    assert f"namespace={namespace!r}" in str(caught.value)


@pytest.mark.parametrize("secret", [b"", b"x" * 33, "text"])
def test_a_wrong_secret_is_refused_and_not_repeated(secret: Any) -> None:
    """A secret of a wrong type or length is refused, and the message does not contain it."""
    with pytest.raises(ConfigurationError, match="secret") as caught:
        Cache("null://", namespace="shop", secret=secret)
    assert not secret or repr(secret) not in str(caught.value)


def test_no_client_library_is_imported_for_another_backend() -> None:
    """A cache in the process imports no ORM and no client library."""
    code = (
        "import sys; from cachecore import Cache; Cache('memory://', namespace='a').close();"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'django', 'sqlalchemy', 'redis', 'pymemcache'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
