"""Placing an order: all of it, or nothing."""

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import Organization
from catalogue.models import Product
from orders.models import Order, OrderLine, Sales


class CannotBeOrdered(Exception):
    """What was asked for does not exist, or there is not so much of it."""


def place(customer: User, organization: Organization, wanted: Mapping[str, int]) -> Order:
    """Order so many of each product, by slug, in one transaction. Raises CannotBeOrdered, and then nothing was written.

    Outside see nothing of it before its commit, and from then on nothing of what was before.
    """
    products = {found.slug: found for found in Product.objects.get_many_from_cache(wanted, key="slug")}
    if not wanted or len(products) < len(wanted):
        raise CannotBeOrdered(f"no product {', '.join(sorted(wanted.keys() - products)) or 'at all'}")
    with transaction.atomic():
        order = Order.objects.create(number=uuid4().hex[:12], customer=customer, organization=organization)
        lines: list[OrderLine] = []
        for slug, quantity in sorted(wanted.items()):
            product = products[slug]
            # The database is asked whether there is enough, for another may take the last one right now.
            taken = Product.objects.filter(pk=product.pk, stock__gte=quantity).update(stock=F("stock") - quantity)
            if not taken:
                raise CannotBeOrdered(f"there are no {quantity} of {slug}")
            lines.append(OrderLine(order=order, product=product, quantity=quantity, price=product.price))
            Sales.objects.create_or_update(
                product=product, day=timezone.now().date(), defaults={"pieces": F("pieces") + quantity}
            )
        OrderLine.objects.bulk_create(lines)
    return order


def pieces_sold(product: Product, day: date) -> int:
    """How many pieces of a product were sold on a day."""
    try:
        return Sales.objects.get_from_cache(product=product, day=day).pieces
    except Sales.DoesNotExist:
        return 0


def as_json(order: Order) -> dict[str, Any]:
    """An order for programs; when all is warm without a query."""
    lines = OrderLine.objects.get_list_from_cache(order=order)
    return {
        "number": order.number,
        "customer": order.customer.get_username(),
        "organization": order.organization.slug,
        "confirmed": order.confirmed is not None,
        "lines": [
            {"product": line.product.slug, "quantity": line.quantity, "price": str(line.price)} for line in lines
        ],
        "total": str(sum(line.quantity * line.price for line in lines)),
    }
