"""The cached models of the tests, one for each thing that can be special about a cached row."""

import uuid
from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.functions import Upper

from cachecore.integrations.django import CacheManager, CacheQuerySet, ChangeTracking
from cachecore.integrations.django.mappings import MappingManager


class Country(models.Model):
    """Looked up by a code."""

    code = models.CharField(max_length=2, unique=True)
    name = models.CharField(max_length=100)

    objects = CacheManager(cache_fields=["code"])


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


class Tag(models.Model):
    """Tied to products by a table that Django makes."""

    name = models.CharField(max_length=20, unique=True)

    objects = CacheManager(cache_fields=["name"])


class Product(models.Model):
    """Columns that the database computes, and many tags."""

    name = models.CharField(max_length=20, unique=True)
    shouted = models.GeneratedField(
        expression=Upper("name"), output_field=models.CharField(max_length=20), db_persist=True
    )
    stock = models.IntegerField(db_default=100)
    tags = models.ManyToManyField(Tag)
    remarks = GenericRelation("Remark")

    objects = CacheManager(cache_fields=["name"])


class Remark(models.Model):
    """About any row."""

    content_type = models.ForeignKey(ContentType, models.CASCADE, null=True)
    object_id = models.BigIntegerField(null=True)
    about = GenericForeignKey()

    objects = CacheManager(cache_fields=["pk"])


class Chapter(models.Model):
    """Ordered within a product."""

    product = models.ForeignKey(Product, models.CASCADE)

    objects = CacheManager(cache_fields=["pk"])

    class Meta:
        order_with_respect_to = "product"


if hasattr(models, "DB_CASCADE"):  # from Django 6.1 on

    class Box(models.Model):
        """Nobody caches it, and yet its deletion changes cached rows."""

    class Item(models.Model):
        """The database deletes it with its box."""

        box = models.ForeignKey(Box, models.DB_CASCADE)

        objects = CacheManager(cache_fields=["pk"])

    class Part(models.Model):
        """And this with its item; of another one it only forgets which that was."""

        item = models.ForeignKey(Item, models.DB_CASCADE)
        spare = models.ForeignKey(Item, models.DB_SET_NULL, null=True, related_name="+")

        objects = CacheManager(cache_fields=["pk"])


class Line(models.Model):
    """Nobody caches it."""

    name = models.CharField(max_length=20)


class Stop(models.Model):
    """Listed by line, and by line and kind; remembers slugs that nobody has."""

    slug = models.SlugField(unique=True)
    line = models.ForeignKey(Line, models.CASCADE, null=True, related_name="stops")
    kind = models.CharField(max_length=10, default="tram")
    position = models.IntegerField(default=0)
    name = models.CharField(max_length=20, null=True)

    objects = CacheManager(
        cache_fields=["slug"],
        cache_lists={"line": ["position"], ("line", "kind"): ["-position", "name"]},
        cache_missing=True,
    )


class Page(models.Model):
    """Listed, remembered to be missing, and hidden by its manager."""

    slug = models.SlugField(unique=True)
    topic = models.CharField(max_length=20)
    hidden = models.BooleanField(default=False)

    objects = VisibleManager(cache_fields=["slug"], cache_lists=["topic"], cache_missing=["slug"])
    everything = models.Manager()

    class Meta:
        ordering = ("-slug",)


class GlobalOption(models.Model):
    """One mapping for all."""

    key = models.CharField(max_length=64, unique=True)
    value = models.JSONField(null=True)

    objects = MappingManager()


class CountryOption(models.Model):
    """A mapping for each country."""

    country = models.ForeignKey(Country, models.CASCADE, related_name="options")
    key = models.CharField(max_length=64)
    value = models.JSONField(null=True)

    objects = MappingManager(scope=["country"])

    class Meta:
        unique_together = (("country", "key"),)


class PersonOption(models.Model):
    """A mapping for each person, whose keys may be about one country; called otherwise."""

    person = models.ForeignKey(Person, models.CASCADE)
    country = models.ForeignKey(Country, models.CASCADE, null=True)
    name = models.CharField(max_length=64)
    text = models.TextField()

    objects = MappingManager(scope=["person"], key="name", value="text", optional=["country"])


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
