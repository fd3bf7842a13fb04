"""Orders in the admin, cancelled ones too: its "delete" cancels."""

from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from orders.models import Order, OrderLine, Sales


class Lines(admin.TabularInline):
    """The lines of an order."""

    model = OrderLine
    extra = 0


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    """Orders with their lines."""

    list_display: ClassVar = ["number", "customer", "organization", "placed", "date_deleted"]
    inlines: ClassVar = [Lines]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Order]":
        """Cancelled ones too."""
        return Order.with_deleted.all()


admin.site.register(Sales)
