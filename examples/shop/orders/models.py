"""Orders, and how much was sold."""

from typing import Any, ClassVar

from cachecore.integrations.django import CacheManager
from cachecore.integrations.django.base import BaseModel, sane_repr
from cachecore.integrations.django.fields import BoundedPositiveIntegerField
from cachecore.integrations.django.soft_delete import SoftDeleteManager, SoftDeleteModel
from django.conf import settings
from django.db import models

from accounts.models import Organization
from catalogue.models import Product


class OrderManager(SoftDeleteManager["Order"]):
    """Hides cancelled orders, from queries and from the cache."""

    def post_save(self, instance: "Order", *, created: bool, **_: Any) -> None:
        """An order was placed: it is confirmed when its transaction has been committed, and never otherwise."""
        from orders.tasks import confirm

        if created:
            confirm.delay(instance.number)


class Order(SoftDeleteModel, BaseModel):
    """What a user has ordered for an organization. ``delete()`` cancels it: it is marked and stays in the table."""

    number = models.CharField(max_length=32, unique=True)
    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="orders")
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="orders")
    placed = models.DateTimeField(auto_now_add=True)
    changed = models.DateTimeField(auto_now=True)
    confirmed = models.DateTimeField(null=True, blank=True)

    objects = OrderManager(
        cache_fields=["number"],
        cache_lists={"customer": ["-id"], ("customer", "organization"): ["-id"]},
        cache_relations=["customer", "organization"],
    )

    __repr__ = sane_repr("number")

    def __str__(self) -> str:
        return self.number


class OrderLine(models.Model):
    """So many of a product."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = BoundedPositiveIntegerField()
    price = models.DecimalField(max_digits=10, decimal_places=2)
    """Of one, when it was ordered."""

    objects = CacheManager(cache_fields=["pk"], cache_lists=["order"], cache_relations=["order", "product"])

    class Meta:
        ordering: ClassVar = ["id"]


class Sales(models.Model):
    """How many pieces of a product were sold on a day: a counter."""

    product = models.ForeignKey(Product, models.CASCADE)
    day = models.DateField()
    pieces = BoundedPositiveIntegerField(default=0)

    objects = CacheManager(cache_fields=[("product", "day")], cache_missing=True)

    class Meta:
        verbose_name_plural = "sales"
        constraints: ClassVar = [models.UniqueConstraint(fields=["product", "day"], name="one_counter_a_day")]
