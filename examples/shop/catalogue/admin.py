"""The admin writes by the ordinary ORM, and so outdates what it writes."""

from typing import Any, ClassVar

from cachecore.integrations.django import invalidate
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from catalogue.models import Category, Maker, Product, Tag, Tagging


class Taggings(admin.TabularInline):
    """The tags of a product."""

    model = Tagging
    extra = 0


@admin.action(description="Read the chosen products anew")
def read_anew(_: Any, request: HttpRequest, queryset: "QuerySet[Product]") -> None:
    """For products that were changed where nobody could see it."""
    invalidate(queryset)


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    """Products with their tags."""

    list_display: ClassVar = ["slug", "name", "category", "price", "stock"]
    list_select_related: ClassVar = ["category"]
    search_fields: ClassVar = ["slug", "name"]
    inlines: ClassVar = [Taggings]
    actions: ClassVar = [read_anew]


admin.site.register([Category, Maker, Tag])
