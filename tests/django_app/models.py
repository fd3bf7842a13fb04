"""The models of the tests, one for each thing that can be special about a row."""

import uuid
from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models.functions import Upper

from tests.django_app.fields import LowerField, OpaqueField, PointField, RoundedField, ShoutingField


class Colour(models.TextChoices):
    RED = "red"
    BLUE = "blue"


class Level(models.IntegerChoices):
    LOW = 1
    HIGH = 2


class Twelve(models.Model):
    """The row of the benchmarks: twelve fields of the usual types."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    text = models.TextField()
    created = models.DateTimeField()
    price = models.DecimalField(max_digits=12, decimal_places=2)
    token = models.UUIDField(default=uuid.uuid4)
    data = models.JSONField(default=dict)
    active = models.BooleanField(default=True)
    rank = models.IntegerField(null=True)
    score = models.FloatField(default=0.0)
    day = models.DateField()


class Author(models.Model):
    """No json column, a parent for foreign keys, fields with choices."""

    name = models.CharField(max_length=100)
    slug = models.SlugField(unique=True)
    colour = models.CharField(max_length=10, choices=Colour.choices, default=Colour.RED)
    level = models.IntegerField(choices=Level.choices, default=Level.LOW)


class Book(models.Model):
    """A foreign key, one to a unique column that is not the primary key, a renamed column, a database default."""

    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    by_slug = models.ForeignKey(Author, models.SET_NULL, to_field="slug", null=True, related_name="+")
    title = models.CharField(max_length=100, db_column="TiTle")
    pages = models.IntegerField(db_default=100)


class Token(models.Model):
    """A primary key that is a UUID."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    label = models.CharField(max_length=20)


class TokenUse(models.Model):
    """A primary key that is a relation to one that is a UUID."""

    token = models.OneToOneField(Token, models.CASCADE, primary_key=True)
    parent = models.ForeignKey("self", models.CASCADE, null=True)


class EveryType(models.Model):
    """The field classes that Twelve lacks."""

    small = models.PositiveSmallIntegerField(null=True)
    big = models.BigIntegerField(null=True)
    blob = models.BinaryField(null=True)
    at = models.TimeField(null=True)
    span = models.DurationField(null=True)
    address = models.GenericIPAddressField(null=True)
    url = models.URLField(default="")
    email = models.EmailField(default="")
    upload = models.FileField(null=True)
    loud = ShoutingField(max_length=20, default="")


class Place(models.Model):
    """The parent table of a multi-table inheritance."""

    name = models.CharField(max_length=100)
    city = models.CharField(max_length=100, default="Oslo")


class Restaurant(Place):
    """The child table."""

    stars = models.IntegerField(default=0)


class PlaceProxy(Place):
    """Another class for the same table."""

    class Meta:
        proxy = True

    def shout(self) -> str:
        return self.name.upper()


class Priced(models.Model):
    """Columns that the database computes."""

    net = models.DecimalField(max_digits=8, decimal_places=2, default=Decimal(0))
    name = models.CharField(max_length=20)
    upper = models.GeneratedField(
        expression=Upper("name"), output_field=models.CharField(max_length=20), db_persist=True
    )


class Membership(models.Model):
    """A composite primary key."""

    pk = models.CompositePrimaryKey("tenant", "number")
    tenant = models.IntegerField()
    number = models.IntegerField()
    note = models.CharField(max_length=20, default="")


class Located(models.Model):
    """A field whose values are objects of its own."""

    spot = PointField(max_length=40, null=True)
    anchor = PointField(max_length=40, unique=True)


class LocatedUse(models.Model):
    """A foreign key to a column of such objects."""

    located = models.ForeignKey(Located, models.CASCADE, to_field="anchor")


class Rounded(models.Model):
    """A field whose text loses what the value is."""

    amount = RoundedField()


class Opaque(models.Model):
    """A field that cannot be read from text."""

    tags = OpaqueField(null=True)


class Lowered(models.Model):
    """A field with a descriptor that changes what is assigned."""

    word = LowerField(max_length=20)


class Remembering(models.Model):
    """A model that keeps something of its own when it is constructed."""

    name = models.CharField(max_length=20)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name_when_made = self.name


class Abstract(models.Model):
    """No table."""

    class Meta:
        abstract = True
