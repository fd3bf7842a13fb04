"""``manage.py costs``: what pages cost, cold and warm: queries, and round trips to the cache."""

import json
from typing import Any

from cachecore.integrations.django import caches
from cachecore.integrations.django.testing import cachecore_counts, isolated_caches
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.test import Client

from catalogue.models import Product
from orders.models import Order


class Command(BaseCommand):
    """Asks for each page three times, in caches of its own that are empty at first."""

    help = "What pages cost, cold and warm."

    def add_arguments(self, parser: CommandParser) -> None:
        """How to print it."""
        parser.add_argument("--json", action="store_true", help="as one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        """Measure."""
        product = Product.objects.order_by("pk").first()
        user = User.objects.filter(username="ada").first()
        order = Order.objects.filter(customer=user).order_by("pk").first()
        if product is None or user is None or order is None:
            raise CommandError("fill the shop first")
        client = Client()
        client.force_login(user)
        pages = [
            f"/products/{product.slug}/",
            f"/categories/{product.category.slug}/",
            f"/api/products/{product.slug}/",
            "/api/products/?tag=blue",
            "/products/no-such-thing/",
            "/account/",
            "/orders/",
            f"/orders/{order.number}/",
        ]
        with isolated_caches():
            found = {page: [_cost(client, page) for _ in range(3)] for page in pages}
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
            return
        self.stdout.write(f"queries / round trips to {caches['default'].backend.name}: first, second, third request")
        for page, costs in found.items():
            said = "   ".join(f"{one['queries']:>3} /{one['operations']:>3}" for one in costs)
            self.stdout.write(f"{page:32}{said}")


def _cost(client: Client, page: str) -> dict[str, int]:
    with cachecore_counts() as counts:
        client.get(page)
    return {"queries": counts.queries, "operations": counts.operations, "hits": counts.hits, "misses": counts.misses}
