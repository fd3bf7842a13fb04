"""The CACHECORE setting: every mistake is an error that names the option and its value, and a change is a new cache."""

from typing import Any

import pytest
from django.test import override_settings

from cachecore.backends.memory import MemoryBackend
from cachecore.errors import ClosedError, ConfigurationError
from cachecore.integrations.django import CacheManager, caches
from cachecore.integrations.django.conf import location_of, make_cache
from cachecore.integrations.django.model_cache import ModelCache
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import FAKE, MEMORY
from tests.geo_app.models import City, Country

GOOD = {"BACKEND": "memory", "NAMESPACE": "shop"}

WRONG: dict[str, tuple[Any, str]] = {
    "missing": (None, r"CACHECORE must be a dict of caches.*not None"),
    "no dict": ("memory://", r"CACHECORE must be a dict of caches.*'memory://'"),
    "no default": ({"other": GOOD}, r"CACHECORE has no \"default\" cache.*\['other'\]"),
    "a cache that is no dict": ({"default": "memory://"}, r"CACHECORE\['default'\] must be a dict.*'memory://'"),
    "an unknown option": ({"default": {**GOOD, "TIMEOUT": 3}}, r"CACHECORE\['default'\] has no option 'TIMEOUT'"),
    "an option that is no text": ({"default": {**GOOD, 7: 3}}, r"CACHECORE\['default'\] has no option '7'"),
    "no backend": ({"default": {"NAMESPACE": "shop"}}, r"CACHECORE\['default'\]: BACKEND .*None"),
    "an unknown backend": ({"default": {**GOOD, "BACKEND": "floppy"}}, r"CACHECORE\['default'\]: .*'floppy'.*memory"),
    "a backend of no type": ({"default": {**GOOD, "BACKEND": 5}}, r"BACKEND must be a non-empty str, not 5"),
    "a module that is not there": ({"default": {**GOOD, "BACKEND": "no.such.thing"}}, r"no\.such"),
    "a name that is not in it": ({"default": {**GOOD, "BACKEND": "tests.geo_app.caching.nothing"}}, r"nothing"),
    "no namespace": ({"default": {"BACKEND": "memory"}}, r"NAMESPACE must be a non-empty str, not None"),
    "an empty namespace": ({"default": {**GOOD, "NAMESPACE": ""}}, r"NAMESPACE must be a non-empty str, not ''"),
    "a namespace with spaces": ({"default": {**GOOD, "NAMESPACE": "my shop"}}, r"namespace='my shop'"),
    "a TTL that is no number": ({"default": {**GOOD, "TTL": "long"}}, r"ttl .*'long'"),
    "a TTL of zero": ({"default": {**GOOD, "TTL": 0}}, r"ttl .*0"),
    "a secret that is too long": ({"default": {**GOOD, "SECRET": "x" * 33}}, r"secret"),
    "a secret of no type": ({"default": {**GOOD, "SECRET": 5}}, r"(?i)secret"),
    "an unknown option of the backend": ({"default": {**GOOD, "OPTIONS": {"size": 3}}}, r"'size'.*max_entries"),
    "options of no type": ({"default": {**GOOD, "OPTIONS": ["size"]}}, r"OPTIONS must be a dict, not \['size'\]"),
    "an unknown policy": ({"default": {**GOOD, "POLICY": {"hold": 3}}}, r"POLICY has no field 'hold'.*hold_ttl"),
    "a policy of no type": ({"default": {**GOOD, "POLICY": "refuse"}}, r"POLICY must be a dict, not 'refuse'"),
    "a policy that is wrong": ({"default": {**GOOD, "POLICY": {"hold_ttl": 1}}}, r"hold_ttl must be at least"),
    "a policy that TTL decides": ({"default": {**GOOD, "POLICY": {"ttl": 9}}}, r"POLICY has no field 'ttl'.*TTL"),
    "a location for nothing": ({"default": {**GOOD, "LOCATION": "localhost"}}, r"LOCATION must be a URL.*'localhost'"),
    "a location in memory": ({"default": {**GOOD, "LOCATION": "memory://host"}}, r"memory://host"),
    "a location of another backend": (
        {"default": {**GOOD, "BACKEND": "redis", "LOCATION": "memcached://host"}},
        r"BACKEND 'redis' does not go with the LOCATION memcached://",
    ),
    "a location for a factory": (
        {"default": {**GOOD, "BACKEND": "tests.geo_app.caching.make_fake", "LOCATION": "redis://host"}},
        r"'tests.geo_app.caching.make_fake' is told of OPTIONS, not of a LOCATION",
    ),
    "another cache is wrong": ({"default": GOOD, "other": {}}, r"CACHECORE\['other'\]: BACKEND"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_names_what_is_wrong(name: str, settings: Any) -> None:
    """The error is a ConfigurationError whose text has the option and the value."""
    value, said = WRONG[name]
    settings.CACHECORE = value
    last = list(value)[-1] if isinstance(value, dict) else "default"
    with pytest.raises(ConfigurationError, match=said):
        make_cache(last)


def test_the_error_never_shows_a_secret(settings: Any) -> None:
    """A secret that cannot be used is not printed."""
    settings.CACHECORE = {"default": {**GOOD, "SECRET": "correct horse battery staple forever"}}
    with pytest.raises(ConfigurationError) as caught:
        make_cache("default")
    assert "horse" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "location"),
    [
        ({"BACKEND": "memory"}, "memory://"),
        ({"BACKEND": "memory://?max_entries=5"}, "memory://?max_entries=5"),
        ({"BACKEND": "redis", "LOCATION": "redis://localhost:6379/1"}, "redis://localhost:6379/1"),
        ({"BACKEND": "redis", "LOCATION": "rediss://user:pw@host/1"}, "rediss://user:pw@host/1"),
        ({"BACKEND": "null", "LOCATION": "redis://localhost:6379/1"}, "null://"),
        ({"BACKEND": "tests.geo_app.caching.make_fake"}, "tests.geo_app.caching:make_fake"),
        ({"BACKEND": "tests.geo_app.caching:make_fake"}, "tests.geo_app.caching:make_fake"),
    ],
)
def test_backends_are_named_by_a_word_a_url_or_a_path(options: dict[str, Any], location: str) -> None:
    """BACKEND and LOCATION together are a location of the registry."""
    assert location_of(options) == location


def test_null_switches_caching_off_and_the_rest_may_stay(settings: Any) -> None:
    """BACKEND "null" needs no other setting to be changed."""
    settings.CACHECORE = {
        "default": {**GOOD, "BACKEND": "null", "LOCATION": "redis://localhost/1", "OPTIONS": {"timeout": 0.2}}
    }
    with make_cache("default") as cache:
        cache.set("greeting", "hello")
        assert cache.get("greeting") is None


def test_options_reach_the_backend_and_the_policy(settings: Any) -> None:
    """OPTIONS are the backend's, POLICY the protocol's, TTL and NAMESPACE the cache's."""
    settings.CACHECORE = {
        "default": {
            "BACKEND": "memory",
            "NAMESPACE": "shop",
            "TTL": 60,
            "OPTIONS": {"max_entries": 10, "policy": "lru"},
            "POLICY": {"hold_ttl": 9.0, "unreachable": "bounded"},
        },
        "forever": {**GOOD, "TTL": None},
        "usual": GOOD,
    }
    cache = caches["default"]
    assert isinstance(cache.backend, MemoryBackend)
    assert (cache.namespace, cache.policy.ttl, cache.policy.hold_ttl) == ("shop", 60, 9.0)
    assert cache.policy.unreachable == "bounded"
    assert caches["forever"].policy.ttl is None
    assert caches["usual"].policy.ttl == 300
    assert caches["usual"] is caches["usual"]
    assert caches["usual"] is not cache


def test_a_cache_that_is_not_configured(settings: Any) -> None:
    """Asking for it names those that are."""
    with pytest.raises(ConfigurationError, match=r"CACHECORE has no cache 'sessions'; there are default"):
        caches["sessions"]


def test_changing_the_setting_makes_new_caches(settings: Any) -> None:
    """override_settings closes the old caches, and models use the new ones, there and back."""
    settings.CACHECORE = MEMORY
    before, rows = caches["default"], City.objects._current()
    with override_settings(CACHECORE=FAKE):
        assert isinstance(caches["default"].backend, FakeBackend)
        assert City.objects._current().cache is caches["default"]
        with pytest.raises(ClosedError):
            before.get("anything")
        assert not rows.is_current
    assert isinstance(caches["default"].backend, MemoryBackend)
    assert caches["default"] is not before
    assert City.objects._current().cache is caches["default"]


def test_another_setting_changes_nothing(settings: Any) -> None:
    """Only CACHECORE makes new caches."""
    before = caches["default"]
    settings.DEBUG = True
    assert caches["default"] is before


def test_a_model_chooses_its_cache_ttl_and_policy(settings: Any) -> None:
    """A manager's arguments win over the setting, and what it does not say comes from there."""
    settings.CACHECORE = {
        "default": {**GOOD, "TTL": 60},
        "second": {**GOOD, "NAMESPACE": "second", "POLICY": {"hold_ttl": 9.0}},
    }
    assert (City.objects._current().policy.ttl, Country.objects._current().policy.ttl) == (300, 60)
    manager = CacheManager(
        cache_fields=["code"], cache="second", cache_ttl=None, cache_policy={"unreachable": "bounded"}
    )
    manager.model, manager.name = Country, "objects"
    assert manager.declaration is not None
    chosen = ModelCache(manager.declaration, "default")
    assert chosen.cache is caches["second"]
    assert (chosen.policy.ttl, chosen.policy.hold_ttl, chosen.policy.unreachable) == (None, 9.0, "bounded")
    assert chosen.records.entity.policy.ttl is None


@pytest.mark.parametrize("fields", [5, [5], [None], [()], [("slug", 5)], [""], None])
def test_cache_fields_that_are_no_names(fields: Any) -> None:
    """A manager refuses at once what cannot be a list of fields, and says what it got."""
    with pytest.raises(ConfigurationError, match="cache_fields"):
        CacheManager(cache_fields=fields)


@pytest.mark.parametrize(
    ("fields", "lookups"), [("slug", (("slug",),)), (["slug"], (("slug",),)), ([("a", "b"), "c"], (("a", "b"), ("c",)))]
)
def test_cache_fields_are_names_and_tuples_of_names(fields: Any, lookups: Any) -> None:
    """One name may be given as it is."""
    assert CacheManager(cache_fields=fields).cache_fields == lookups


class ToOther:
    """A router that writes to the other database."""

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "other"


@pytest.mark.django_db(databases=["default", "other"])
def test_changed_routers_lead_to_the_database_they_name() -> None:
    """A manager that has served one database asks the routers again after DATABASE_ROUTERS has changed."""
    for alias in ("default", "other"):
        Country.objects.using(alias).create(pk=1, code="NO", name=alias)
    assert Country.objects.get_from_cache(pk=1).name == "default"
    with override_settings(DATABASE_ROUTERS=["tests.test_django_conf.ToOther"]):
        assert Country.objects.get_from_cache(pk=1).name == "other"
    assert Country.objects.get_from_cache(pk=1).name == "default"
