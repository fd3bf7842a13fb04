"""Countries and cities, cached by every unique lookup they have."""

from typing import ClassVar

from django.db import models

from cachecore.integrations.django import CacheManager
from examples.demo.application import TTL


class Country(models.Model):
    """A country of the ISO 3166 list."""

    code = models.CharField(max_length=2, unique=True)
    name = models.CharField(max_length=100)

    objects = CacheManager(cache_fields=["code"])

    def __str__(self) -> str:
        return self.name


class City(models.Model):
    """A city. Its primary key is that of GeoNames."""

    slug = models.SlugField(max_length=120, unique=True)
    name = models.CharField(max_length=250)
    country = models.ForeignKey(Country, models.PROTECT, related_name="cities")
    population = models.PositiveIntegerField()
    latitude = models.FloatField()
    longitude = models.FloatField()
    timezone = models.CharField(max_length=50)
    version = models.PositiveIntegerField(default=0)
    """Rises with each change; by it the demo knows an old answer. The cache makes no use of it."""

    objects = CacheManager(cache_fields=["slug", ("country", "name")], cache_ttl=TTL)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["country", "name"], name="city_country_name")]

    def __str__(self) -> str:
        return self.name
