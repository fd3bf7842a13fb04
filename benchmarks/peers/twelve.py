"""The row that all Django sides read and write: twelve fields of the usual types, none of them JSON."""

import datetime
import uuid
from decimal import Decimal
from typing import Any

from django.db import models

ROWS = 400
"""How many there are, with primary keys from 1."""


class Twelve(models.Model):
    """Twelve fields."""

    id = models.BigAutoField(primary_key=True)
    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    text = models.TextField()
    created = models.DateTimeField()
    price = models.DecimalField(max_digits=12, decimal_places=2)
    token = models.UUIDField()
    active = models.BooleanField(default=True)
    rank = models.IntegerField(null=True)
    score = models.FloatField(default=0.0)
    day = models.DateField()
    note = models.CharField(max_length=100)

    class Meta:
        abstract = True


def values(number: int) -> dict[str, Any]:
    """The fields of the row with this primary key, as it is made."""
    return {
        "id": number,
        "slug": f"oslo-{number}",
        "name": f"Oslo {number}",
        "text": "The capital of Norway.",
        "created": datetime.datetime(2024, 2, 29, 12, 30, 1, 123_456, tzinfo=datetime.UTC),
        "price": Decimal("12.50"),
        "token": uuid.UUID(int=number),
        "active": True,
        "rank": None,
        "score": 59.9139,
        "day": datetime.date(2024, 2, 29),
        "note": "Seat of the king.",
    }
