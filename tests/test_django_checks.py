"""The system checks: each mistake has an id, and its text names the setting or the field and the value."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.checks.registry import registry
from django.db import models
from django.test.utils import isolate_apps

from cachecore.integrations.django import CacheManager, MappingManager
from cachecore.integrations.django.checks import check_models, check_settings
from tests.django_app.fields import OpaqueField
from tests.geo_app.models import Country, Landmark

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
    """The project of these tests has no error and no warning."""
    found = run_checks(databases=["default", "other"])
    assert [one for one in found if str(one.id).startswith("cachecore.")] == []


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
            unique_together = (("a", "b"),)
            constraints = (models.UniqueConstraint(fields=["b", "c"], name="b_c"),)

    class Child(Base):
        one = models.OneToOneField(Base, models.CASCADE, related_name="+")
        children = CacheManager(cache_fields=["one", "one_id", "slug", ("b", "a"), ("c", "b"), "base_ptr"])

        class Meta:
            app_label = "geo_app"

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

    class Inexact(models.Model):
        data = models.JSONField(unique=True)
        weight = models.FloatField(unique=True)
        objects = CacheManager(cache_fields=["data", "weight"])

        class Meta:
            app_label = "geo_app"

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
def test_e013_lists_that_cannot_be_kept() -> None:
    """By no field, by what is not compared exactly, sorted by no column, missing by what is no lookup."""

    def model(name: str, **options: Any) -> type[models.Model]:
        fields = {
            "__module__": __name__,
            "slug": models.SlugField(unique=True),
            "price": models.FloatField(),
            "at": models.DateTimeField(),
            "parent": models.ForeignKey("self", models.CASCADE),
            "objects": CacheManager(cache_fields=["slug"], **options),
            "Meta": type("Meta", (), {"app_label": "geo_app", "ordering": ("parent__slug",)}),
        }
        return type(name, (models.Model,), fields)

    assert checked(model("Good", cache_lists={"parent": ["-at", "slug"]}, cache_missing=True)) == []
    wrong = {
        "nosuch": {"cache_lists": {"nosuch": []}},
        "price": {"cache_lists": {"price": []}},
        "DateTimeField": {"cache_lists": {("parent", "at"): []}},
        "say how the list by parent is sorted": {"cache_lists": ["parent"]},
        "'nothing'": {"cache_lists": {"parent": ["nothing"]}},
        "cache_missing names parent": {"cache_missing": ["parent"]},
    }
    for number, (message, options) in enumerate(wrong.items()):
        [found] = checked(model(f"Wrong{number}", **options))
        assert found.id == "cachecore.E013"
        assert message in found.msg


@isolate_apps("tests.geo_app")
def test_e014_relations_that_cannot_be_followed() -> None:
    """What is no foreign key, and one to a model that is not cached."""

    class Follows(models.Model):
        slug = models.SlugField(unique=True)
        country = models.ForeignKey(Country, models.CASCADE, related_name="+")
        landmark = models.ForeignKey(Landmark, models.CASCADE, related_name="+")
        objects = CacheManager(cache_fields=["slug"], cache_relations=["country", "slug", "landmark", "nosuch"])

        class Meta:
            app_label = "geo_app"

    messages = checked(Follows)
    assert {str(one.id) for one in messages} == {"cachecore.E014"}
    assert not any("Follows.country" in one.msg for one in messages)


@isolate_apps("tests.geo_app")
def test_e015_mappings_of_what_is_no_field() -> None:
    """Scope, key, value and optional fields are named."""

    class Options(models.Model):
        key = models.CharField(max_length=10)
        objects = MappingManager(scope=["nosuch"])

        class Meta:
            app_label = "geo_app"

    [found] = Options.objects.check()
    assert found.id == "cachecore.E015"
    assert "'nosuch'" in found.msg


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

    assert checked(Plain, Base) == []
    assert ids(checked(Child)) == ["E005"]
