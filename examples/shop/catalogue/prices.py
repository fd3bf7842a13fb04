"""What is computed from products, and cached until one of them changes."""

from typing import Any

from cachecore.integrations.django import DependsOn, cached_function
from django.db.models import Count, Max, Min

from catalogue.models import Product


@cached_function(DependsOn(Product, "category"))
def price_range(category_id: int) -> dict[str, Any]:
    """The lowest and the highest price in a category, and how many products it has.

    A product that moves outdates the results of both categories; one that is repriced, that of its own.
    """
    return Product.objects.filter(category=category_id).aggregate(
        low=Min("price"), high=Max("price"), count=Count("pk")
    )
