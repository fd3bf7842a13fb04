"""``manage.py reprice 10``: all prices of a category, or of all, up by so many per cent, in one of three ways."""

from decimal import Decimal
from typing import Any

from cachecore.integrations.django import invalidate
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.models import F

from catalogue import metrics
from catalogue.models import Category, Product


class Command(BaseCommand):
    """Writes many rows at once, in a process of its own."""

    help = "Change prices by so many per cent."

    def add_arguments(self, parser: CommandParser) -> None:
        """How much, what and how."""
        parser.add_argument("percent", type=Decimal)
        parser.add_argument("--category", metavar="SLUG", help="only of this one")
        parser.add_argument("--by", choices=["queryset", "sql", "driver"], default="queryset")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        try:
            chosen = options["category"] and Category.objects.get_from_cache(slug=options["category"])
        except Category.DoesNotExist as error:
            raise CommandError(f"there is no category {options['category']!r}") from error
        products = Product.objects.filter(category=chosen) if chosen else Product.objects.all()
        factor = 1 + options["percent"] / 100
        if options["by"] == "queryset":
            # Exactly these rows are outdated, and receivers of post_update are told which they are.
            count = products.with_post_update().update(price=F("price") * factor)
            self.stdout.write(f"{count} rows, told of {metrics.updated().get('catalogue.Product', 0)}")
            return
        condition, values = ("WHERE category_id = %s", [chosen.pk]) if chosen else ("", [])
        statement = f"UPDATE catalogue_product SET price = ROUND(CAST(price * %s AS NUMERIC), 2) {condition}"
        if options["by"] == "sql":
            # SQL of one's own is seen too: it outdates all rows of the table it names.
            with connection.cursor() as cursor:
                cursor.execute(statement, [str(factor), *values])
                self.stdout.write(f"{cursor.rowcount} rows")
            return
        # What does not go through Django's cursors nobody sees: the driver's own, COPY, another program. Then it is
        # said by hand, when it is done: until then the old prices were served, here and in every other process.
        connection.ensure_connection()
        with connection.wrap_database_errors:
            cursor = connection.connection.cursor()
            if connection.vendor == "sqlite":
                statement = statement.replace("%s", "?")
            cursor.execute(statement, [str(factor), *values])
            self.stdout.write(f"{cursor.rowcount} rows, outdated by hand")
            cursor.close()
        invalidate(products)
