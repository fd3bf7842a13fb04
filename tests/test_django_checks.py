"""The system checks: each mistake has an id, and its text names the setting or the field and the value."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.checks.registry import registry
from django.db import models
from django.test.utils import isolate_apps

from cachecore.integrations.django import CacheManager, CacheQuerySet
from cachecore.integrations.django.checks import check_models, check_settings
from tests.django_app.fields import OpaqueField

GOOD = {"BACKEND": "memory", "NAMESPACE": "shop", "PROCESSES": 1}


class _App:
    """What Django gives a check: something that knows models."""

    def __init__(self, *found: type[models.Model]) -> None:
        self._models = found

    def get_models(self) -> Iterator[type[models.Model]]:
        return iter(self._models)


def checked(*found: type[models.Model]) -> list[CheckMessage]:
    """The messages about some models."""
    return check_models([_App(*found)])


def ids(messages: list[CheckMessage]) -> list[str]:
    """Their ids without the prefix."""
    return [str(message.id).removeprefix("cachecore.") for message in messages]


@pytest.mark.django_db(databases=["default", "other"])
def test_a_clean_project_has_nothing_to_say() -> None:
    """The project of these tests has no error, and only the warning that it asks for: Visitor's base manager."""
    found = run_checks(databases=["default", "other"])
    messages = [one for one in found if str(one.id).startswith("cachecore.")]
    assert [one for one in messages if one.id != "cachecore.W002"] == []
    assert "geo_app.Visitor" in {one.obj._meta.label for one in messages}
    assert {"geo_app.City", "geo_app.Country", "geo_app.Person"}.isdisjoint(one.obj._meta.label for one in messages)


def test_the_checks_are_registered() -> None:
    """manage.py check runs them."""
    assert {check_models, check_settings} <= set(registry.get_checks())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "CACHECORE must be a dict"),
        ({}, 'CACHECORE has no "default"'),
        ({"default": {**GOOD, "TIMEOUT": 3}}, "TIMEOUT"),
    ],
)
def test_e001_the_setting_is_wrong(value: Any, said: str, settings: Any) -> None:
    """Missing, without a default or with an unknown option."""
    settings.CACHECORE = value
    [message] = check_settings()
    assert message.id == "cachecore.E001"
    assert said in message.msg


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"BACKEND": "floppy"}, "floppy"),
        ({"TTL": -1}, "-1"),
        ({"POLICY": {"hold_ttl": 1}}, "hold_ttl"),
        ({"OPTIONS": {"max_entries": "many"}}, "many"),
    ],
)
def test_e002_a_cache_cannot_be_made(options: dict[str, Any], said: str, settings: Any) -> None:
    """An unknown backend, a bad option, value or policy."""
    settings.CACHECORE = {"default": {**GOOD, **options}}
    [message] = check_settings()
    assert message.id == "cachecore.E002"
    assert "CACHECORE['default']" in message.msg
    assert said in message.msg


@isolate_apps("tests.geo_app")
def test_e003_a_cache_that_is_not_configured() -> None:
    """The manager names another cache than there are."""

    class Lost(models.Model):
        slug = models.SlugField(unique=True)
        objects = CacheManager(cache_fields=["slug"], cache="sessions")

        class Meta:
            app_label = "geo_app"
            base_manager_name = "objects"

    [message] = checked(Lost)
    assert (message.id, message.obj) == ("cachecore.E003", Lost)
    assert "geo_app.Lost" in message.msg
    assert "'sessions'" in message.msg


@isolate_apps("tests.geo_app")
def test_e004_a_field_that_does_not_exist() -> None:
    """Alone or in a tuple; the text lists the fields that do."""

    class Wrong(models.Model):
        slug = models.SlugField(unique=True)
        objects = CacheManager(cache_fields=["slgu", ("slug", "nothing"), "slug"])

        class Meta:
            app_label = "geo_app"
            base_manager_name = "objects"

    messages = checked(Wrong)
    assert ids(messages) == ["E004", "E004"]
    assert "'slgu'" in messages[0].msg
    assert "id, slug" in messages[0].msg
    assert "'nothing'" in messages[1].msg


@isolate_apps("tests.geo_app")
def test_e005_a_lookup_that_is_not_unique() -> None:
    """A field, a pair of fields, and a pair that is unique only under a condition."""

    class Loose(models.Model):
        slug = models.SlugField()
        name = models.CharField(max_length=10)
        day = models.SlugField(unique_for_date="at")
        at = models.DateField()
        objects = CacheManager(cache_fields=["slug", ("slug", "name"), ("name", "at"), "day"])

        class Meta:
            app_label = "geo_app"
            base_manager_name = "objects"
            constraints = (
                models.UniqueConstraint(fields=["name", "at"], condition=models.Q(slug="x"), name="some_of_them"),
            )

    messages = checked(Loose)
    assert ids(messages) == ["E005"] * 4
    assert "geo_app.Loose: the cached lookup slug + name is not unique" in messages[1].msg


@isolate_apps("tests.geo_app")
def test_every_way_of_being_unique_is_known() -> None:
    """unique=True, a primary key, unique_together, UniqueConstraint, more fields than needed, a parent's."""

    class Base(models.Model):
        slug = models.SlugField(unique=True)
        a = models.IntegerField()
        b = models.IntegerField()
        c = models.IntegerField()
        objects = CacheManager(cache_fields=["pk", "id", "slug", ("a", "b"), ("c", "b"), ("slug", "a")])

        class Meta:
            app_label = "geo_app"
            base_manager_name = "objects"
            unique_together = (("a", "b"),)
            constraints = (models.UniqueConstraint(fields=["b", "c"], name="b_c"),)

    class Child(Base):
        one = models.OneToOneField(Base, models.CASCADE, related_name="+")
        children = CacheManager(cache_fields=["one", "one_id", "slug", ("b", "a"), ("c", "b"), "base_ptr"])

        class Meta:
            app_label = "geo_app"
            base_manager_name = "children"

    assert ids(checked(Base)) == []
    assert ids(checked(Child)) == ["E007"]  # it has the parent's manager too


@isolate_apps("tests.geo_app")
def test_e006_values_that_cannot_be_cached_or_looked_up() -> None:
    """A field without a stored form anywhere in the model, and lookups by values that name no row."""

    class Strange(models.Model):
        tags = OpaqueField()
        slug = models.SlugField(unique=True)
        objects = CacheManager(cache_fields=["slug"])

        class Meta:
            app_label = "geo_app"
            base_manager_name = "objects"

    class Inexact(models.Model):
        data = models.JSONField(unique=True)
        weight = models.FloatField(unique=True)
        objects = CacheManager(cache_fields=["data", "weight"])

        class Meta:
            app_label = "geo_app"
            base_manager_name = "objects"

    [message] = checked(Strange)
    assert message.id == "cachecore.E006"
    assert "geo_app.Strange.tags" in message.msg
    messages = checked(Inexact)
    assert ids(messages) == ["E006", "E006"]
    assert "JSONField" in messages[0].msg
    assert "FloatField" in messages[1].msg


@isolate_apps("tests.geo_app")
def test_e007_two_managers_declare() -> None:
    """The first counts, and the check names both."""

    class Twice(models.Model):
        slug = models.SlugField(unique=True)
        first = CacheManager(cache_fields=["slug"])
        second = CacheManager(cache_fields=["pk"])

        class Meta:
            app_label = "geo_app"
            base_manager_name = "first"

    [message] = checked(Twice)
    assert message.id == "cachecore.E007"
    assert "geo_app.Twice.second" in message.msg
    assert ".first" in message.msg


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"cache_ttl": -5}, "-5"),
        ({"cache_ttl": "long"}, "'long'"),
        ({"cache_ttl": True}, "True"),
        ({"cache_version": 1.5}, "cache_version must be an int, a str or None, not 1.5"),
        ({"cache_policy": {"unreachable": "ignore"}}, "'ignore'"),
        ({"cache_policy": {"hold": 1}}, "'hold'"),
    ],
)
@isolate_apps("tests.geo_app")
def test_e008_arguments_of_the_manager(arguments: dict[str, Any], said: str) -> None:
    """cache_ttl, cache_version and cache_policy."""

    class Odd(models.Model):
        slug = models.SlugField(unique=True)
        objects = CacheManager(cache_fields=["slug"], **arguments)

        class Meta:
            app_label = "geo_app"
            base_manager_name = "objects"

    [message] = checked(Odd)
    assert message.id == "cachecore.E008"
    assert "geo_app.Odd" in message.msg
    assert said in message.msg


def test_w001_an_in_process_cache_of_many_processes(settings: Any) -> None:
    """Without the statement that one process serves; not while developing, and not for other backends."""
    settings.CACHECORE = {"default": {"BACKEND": "memory", "NAMESPACE": "shop"}}
    [message] = check_settings()
    assert message.id == "cachecore.W001"
    assert "CACHECORE['default']" in message.msg
    assert "PROCESSES" in str(message.hint)
    settings.DEBUG = True
    assert check_settings() == []
    settings.DEBUG = False
    settings.CACHECORE = {"default": {"BACKEND": "memory://?max_entries=9", "NAMESPACE": "shop", "PROCESSES": 4}}
    assert ids(check_settings()) == ["W001"]
    settings.CACHECORE = {"default": {"BACKEND": "tests.geo_app.caching.make_fake", "NAMESPACE": "shop"}}
    assert check_settings() == []


@isolate_apps("tests.geo_app")
def test_w002_writes_that_would_not_be_seen() -> None:
    """Another manager, a manager with a foreign queryset, and a base manager that is not ours."""

    class Holes(models.Model):
        slug = models.SlugField(unique=True)
        objects = CacheManager(cache_fields=["slug"])
        plain = models.Manager()
        tight = CacheQuerySet.as_manager()

        class Meta:
            app_label = "geo_app"

    class ForeignQuerySet(models.QuerySet[Any]):
        pass

    class Foreign(models.Model):
        slug = models.SlugField(unique=True)
        objects = CacheManager.from_queryset(ForeignQuerySet)(cache_fields=["slug"])

        class Meta:
            app_label = "geo_app"
            base_manager_name = "objects"

    messages = checked(Holes)
    assert ids(messages) == ["W002", "W002"]
    assert "geo_app.Holes.plain" in messages[0].msg
    assert "related managers" in messages[1].msg
    assert "base_manager_name" in str(messages[1].hint)


@isolate_apps("tests.geo_app")
def test_a_model_without_a_cache_is_not_checked() -> None:
    """An empty declaration switches caching off, and abstract models declare for their children."""

    class Plain(models.Model):
        slug = models.SlugField()
        objects = CacheManager()
        others = models.Manager()

        class Meta:
            app_label = "geo_app"

    class Base(models.Model):
        slug = models.SlugField()
        objects = CacheManager(cache_fields=["slug"])

        class Meta:
            app_label = "geo_app"
            abstract = True

    class Child(Base):
        class Meta:
            app_label = "geo_app"
            base_manager_name = "objects"

    assert checked(Plain, Base) == []
    assert ids(checked(Child)) == ["E005"]
