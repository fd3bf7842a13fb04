"""Products, and what one finds them by."""

from typing import Any, ClassVar

from cachecore.integrations.django import CacheManager
from cachecore.integrations.django.base import BaseModel, sane_repr
from cachecore.integrations.django.fields import BoundedPositiveIntegerField, GzippedDictField
from django.db import models


class Maker(models.Model):
    """Who makes products, known by a short code."""

    code = models.CharField(max_length=8, unique=True)
    name = models.CharField(max_length=100)

    objects = CacheManager(cache_fields=["code"])

    def __str__(self) -> str:
        return self.name


class Category(models.Model):
    """A place in the catalogue."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")
    position = BoundedPositiveIntegerField(default=0)

    # The categories inside one are a list, complete and in this order; ``category.parent`` is read from the cache.
    objects = CacheManager(
        cache_fields=["slug"], cache_lists={"parent": ["position", "name"]}, cache_relations=["parent"]
    )

    class Meta:
        verbose_name_plural = "categories"

    def __str__(self) -> str:
        return self.name


class Product(BaseModel):
    """Something that is sold."""

    slug = models.SlugField(max_length=100, unique=True)
    name = models.CharField(max_length=200)
    maker = models.ForeignKey(Maker, models.PROTECT, related_name="products")
    number = models.CharField(max_length=20)
    """The maker's own number of it."""
    category = models.ForeignKey(Category, models.PROTECT, related_name="products")
    price = models.DecimalField(max_digits=10, decimal_places=2)
    stock = BoundedPositiveIntegerField(default=0)
    details = GzippedDictField(blank=True)
    tags = models.ManyToManyField("Tag", through="Tagging", related_name="products")

    objects = CacheManager(
        cache_fields=["slug", ("maker", "number")],
        cache_lists={"category": ["name"]},
        cache_missing=["slug"],  # robots ask for products that are long gone
        cache_relations=["maker", "category"],
        cache_ttl=24 * 3600,
    )

    __repr__ = sane_repr("slug")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["maker", "number"], name="one_number_a_maker")]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **options: Any) -> None:
        """Remember the old slug, so that links to it lead on. The snapshot of lookups is there without a query."""
        old = self.old_value("slug") if self.has_changed("slug") else None
        super().save(*args, **options)
        if old is not None:
            OldSlug.objects.create_or_update(slug=old, defaults={"product": self})


class OldSlug(models.Model):
    """Under which a product was known."""

    slug = models.SlugField(max_length=100, unique=True)
    product = models.ForeignKey(Product, models.CASCADE)

    objects = CacheManager(cache_fields=["slug"], cache_missing=True, cache_relations=["product"])


class Tag(models.Model):
    """A word for products."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=50)

    objects = CacheManager(cache_fields=["slug"])

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class Tagging(models.Model):
    """That a product has a tag. As a model of its own its rows can be cached, as lists from both sides."""

    product = models.ForeignKey(Product, models.CASCADE)
    tag = models.ForeignKey(Tag, models.CASCADE)

    objects = CacheManager(
        cache_fields=[("product", "tag")], cache_lists=["product", "tag"], cache_relations=["product", "tag"]
    )

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["product", "tag"], name="tagged_once")]
