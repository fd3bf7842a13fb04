"""``manage.py fill``: a catalogue, customers and orders, the same each time."""

import random
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.models import Membership, Organization, OrganizationOption, UserOption
from catalogue.models import Category, Maker, Product, Tag, Tagging
from orders.placing import place

THINGS = ("Kettle", "Lamp", "Chair", "Table", "Clock", "Radio", "Shelf", "Teapot")
ROOMS = ("Kitchen", "Living room", "Garden", "Office")
PASSWORD = "only for the example"


class Command(BaseCommand):
    """Fills an empty database."""

    help = f"Fill the shop with products, users (ada, ben and the staff's root; password {PASSWORD!r}) and orders."

    def add_arguments(self, parser: CommandParser) -> None:
        """How much."""
        parser.add_argument("--products", type=int, default=200, help="how many, default 200")
        parser.add_argument("--orders", type=int, default=20, help="how many, default 20")

    def handle(self, *args: Any, **options: Any) -> None:
        """Fill it, or refuse."""
        if Product.objects.exists():
            raise CommandError("the shop has products already")
        chance = random.Random(1)
        with transaction.atomic():
            products = catalogue(options["products"], chance)
            ada, ben, acme = customers()
        for n in range(options["orders"]):
            some = chance.sample(products, min(3, len(products)))
            place([ada, ben][n % 2], acme, {product.slug: chance.randint(1, 3) for product in some})
        self.stdout.write(f"{len(products)} products, {User.objects.count()} users, {options['orders']} orders")


def catalogue(count: int, chance: random.Random) -> list[Product]:
    """So many products, in categories, with tags."""
    makers = [Maker.objects.create(code=code, name=name) for code, name in (("ACM", "Acme"), ("BRN", "Brown"))]
    top = [
        Category.objects.create(slug=name.lower().replace(" ", "-"), name=name, position=n)
        for n, name in enumerate(ROOMS)
    ]
    inner = [
        Category.objects.create(slug=f"{parent.slug}-{name}", name=f"{parent.name}, {name}", parent=parent, position=n)
        for parent in top
        for n, name in enumerate(("new", "used"))
    ]
    tags = Tag.objects.bulk_create([Tag(slug=name, name=name) for name in ("blue", "green", "small", "large")])
    products = Product.objects.bulk_create(
        [
            Product(
                slug=f"{THINGS[n % len(THINGS)].lower()}-{n}",
                name=f"{THINGS[n % len(THINGS)]} {n}",
                maker=makers[n % 2],
                number=f"{n:04}",
                category=inner[n % len(inner)],
                price=Decimal(chance.randint(100, 50_000)) / 100,
                stock=1000,
                details={"weight": chance.randint(1, 20), "colours": ["blue", "green"][: n % 3]},
            )
            for n in range(count)
        ]
    )
    Tagging.objects.bulk_create(
        [Tagging(product=product, tag=tag) for product in products for tag in chance.sample(tags, 2)]
    )
    return products


def customers() -> tuple[User, User, Organization]:
    """Two users who buy for an organization, and one of the staff."""
    ada, ben = (User.objects.create_user(name, password=PASSWORD) for name in ("ada", "ben"))
    User.objects.create_superuser("root", password=PASSWORD)
    acme = Organization.objects.create(slug="acme", name="Acme Trading")
    Membership.objects.bulk_create([Membership(user=user, organization=acme) for user in (ada, ben)])
    OrganizationOption.objects.set_value(acme, "invoice", {"days": 30})
    UserOption.objects.set_value(ada, "theme", "dark")
    return ada, ben, acme
