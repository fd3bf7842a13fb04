"""The row as a Django model. Its table is made by `benchmarks.coherence.world`, whose trigger sets the version."""

from django.conf import settings
from django.db import models

from cachecore.integrations.django import CacheManager


class Row(models.Model):
    """A row; cached by us, or by whoever hooks into plain managers."""

    id = models.BigIntegerField(primary_key=True)
    slug = models.CharField(max_length=40, unique=True)
    version = models.BigIntegerField(default=0)
    number = models.IntegerField()
    name = models.CharField(max_length=100, default="Oslo")
    price = models.DecimalField(max_digits=12, decimal_places=2, default=12)
    active = models.BooleanField(default=True)
    changed = models.DateTimeField(auto_now=True)
    note = models.TextField(default="The capital of Norway.")

    objects = (
        CacheManager(cache_fields=["slug"])
        if "cachecore.integrations.django" in settings.INSTALLED_APPS
        else (models.Manager())
    )

    class Meta:
        app_label = "shop"
        db_table = "bench_row"
        managed = False

    def __str__(self) -> str:
        return self.slug
