"""The cached models of the tests, one for each thing that can be special about a cached row."""

import uuid
from typing import Any

from django.db import models

from cachecore.integrations.django import CacheManager, CacheQuerySet, ChangeTracking


class Country(models.Model):
    """Looked up by a code."""

    code = models.CharField(max_length=2, unique=True)
    name = models.CharField(max_length=100)

    objects = CacheManager(cache_fields=["code"])

    class Meta:
        base_manager_name = "objects"


class City(ChangeTracking, models.Model):
    """Looked up by a slug, by two columns together and by a column that may be NULL; has a mutable column."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    country = models.ForeignKey(Country, models.CASCADE, related_name="cities")
    iata = models.CharField(max_length=3, unique=True, null=True)
    population = models.IntegerField(default=0)
    data = models.JSONField(default=dict)

    objects = CacheManager(cache_fields=["slug", ("country", "name"), "iata"], cache_ttl=300)

    class Meta:
        base_manager_name = "objects"
        constraints = (models.UniqueConstraint(fields=["country", "name"], name="city_country_name"),)


class CityProxy(City):
    """Another class for the same table."""

    class Meta:
        proxy = True


class Person(models.Model):
    """Two foreign keys that change without a signal when a city is deleted."""

    name = models.CharField(max_length=100)
    home = models.ForeignKey(City, models.SET_NULL, null=True, related_name="residents")
    work = models.ForeignKey(City, models.SET_DEFAULT, default=None, null=True, related_name="workers")

    objects = CacheManager(cache_fields=["pk"])

    class Meta:
        base_manager_name = "objects"


class Visitor(models.Model):
    """Like Person, and related managers write to it past its own manager."""

    city = models.ForeignKey(City, models.SET_NULL, null=True, related_name="visitors")
    guide = models.ForeignKey(Person, models.CASCADE, null=True, related_name="guided")

    objects = CacheManager(cache_fields=["pk"])


class Landmark(models.Model):
    """Not cached: its manager declares nothing."""

    name = models.CharField(max_length=100, unique=True)

    objects = CacheManager()


class Device(models.Model):
    """A primary key that is a UUID."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    label = models.CharField(max_length=20)

    objects = CacheManager(cache_fields=["pk"])


class Badge(models.Model):
    """A primary key that is a relation."""

    country = models.OneToOneField(Country, models.CASCADE, primary_key=True)
    text = models.CharField(max_length=20)

    objects = CacheManager(cache_fields=["pk"])


class Seat(models.Model):
    """A primary key of two columns."""

    pk = models.CompositePrimaryKey("row", "number")
    row = models.CharField(max_length=2)
    number = models.IntegerField()
    code = models.CharField(max_length=10, unique=True)
    taken = models.BooleanField(default=False)

    objects = CacheManager(cache_fields=["code"])


class Place(models.Model):
    """The cached parent of a multi-table inheritance."""

    name = models.CharField(max_length=100, unique=True)
    open = models.BooleanField(default=True)

    objects = CacheManager(cache_fields=["name"])

    class Meta:
        base_manager_name = "objects"


class Restaurant(Place):
    """Its child, which inherits the manager and so is cached too."""

    stars = models.IntegerField(default=0)


class Named(models.Model):
    """An abstract base that brings a manager to its children."""

    name = models.CharField(max_length=100, unique=True)
    length = models.IntegerField(default=0)

    objects = CacheManager(cache_fields=["name"])

    class Meta:
        abstract = True


class River(Named):
    """One child of the abstract base."""


class Road(Named):
    """Another child, whose rows must not be mixed with the first's."""


class VisibleManager(CacheManager):
    """Hides rows."""

    def get_queryset(self) -> Any:
        return super().get_queryset().filter(hidden=False)


class Note(models.Model):
    """Rows that are hidden instead of deleted."""

    title = models.SlugField(unique=True)
    hidden = models.BooleanField(default=False)

    objects = VisibleManager(cache_fields=["title"])
    everything = CacheQuerySet.as_manager()


class Memo(models.Model):
    """Has a constructor and a from_db of its own."""

    title = models.SlugField(unique=True)
    text = models.TextField(default="")

    objects = CacheManager(cache_fields=["title"])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made_by_init = True

    @classmethod
    def from_db(cls, db: Any, field_names: Any, values: Any, **options: Any) -> Any:
        instance = super().from_db(db, field_names, values, **options)
        instance.made_by_from_db = True
        return instance


class BoundedCity(models.Model):
    """May be written though the cache cannot be reached."""

    slug = models.SlugField(unique=True)
    population = models.IntegerField(default=0)

    objects = CacheManager(cache_fields=["slug"], cache_policy={"unreachable": "bounded"})


class BulkCity(models.Model):
    """A bulk write of more than three rows outdates all."""

    slug = models.SlugField(unique=True)
    population = models.IntegerField(default=0)

    objects = CacheManager(cache_fields=["slug"], cache_policy={"bulk_threshold": 3})
