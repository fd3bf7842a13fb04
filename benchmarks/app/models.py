"""Rows of twelve fields of the usual types, each in two models of one table: cached by us, and by the reference."""

import datetime
import uuid
from decimal import Decimal
from typing import Any, ClassVar

from django.db import connection, models

from benchmarks.app.seed_like import SeedLikeManager
from cachecore.integrations.django import CacheManager

ROWS = 1000


class Eleven(models.Model):
    """All fields but the twelfth."""

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

    class Meta:
        abstract = True


class Row(Eleven):
    """Twelve fields, none of them JSON."""

    note = models.CharField(max_length=100)
    objects = CacheManager(cache_fields=["slug", ("name", "note")], cache_ttl=3600)

    class Meta:
        db_table = "benchmarks_row"
        constraints: ClassVar = [models.UniqueConstraint(fields=["name", "note"], name="benchmarks_row_name_note")]


class SeedRow(Eleven):
    """The same table without us."""

    note = models.CharField(max_length=100)
    objects = SeedLikeManager(cache_fields=["slug"], cache_ttl=3600)

    class Meta:
        db_table = "benchmarks_row"
        managed = False


class JsonRow(Eleven):
    """Twelve fields, one of them JSON."""

    data = models.JSONField()
    objects = CacheManager(cache_fields=["slug"], cache_ttl=3600)

    class Meta:
        db_table = "benchmarks_json_row"


class SeedJsonRow(Eleven):
    """The same table without us."""

    data = models.JSONField()
    objects = SeedLikeManager(cache_fields=["slug"], cache_ttl=3600)

    class Meta:
        db_table = "benchmarks_json_row"
        managed = False


class WrittenRow(Eleven):
    """A table to write to, cached by us."""

    note = models.CharField(max_length=100)
    objects = CacheManager(cache_fields=["slug"], cache_ttl=3600)


class PlainRow(Eleven):
    """A table of the same columns that nobody caches."""

    note = models.CharField(max_length=100)


def fill() -> None:
    """Make the tables and ROWS rows in each, unless they are there."""
    if Row._meta.db_table in connection.introspection.table_names():
        return
    for model in (Row, JsonRow, WrittenRow, PlainRow):
        with connection.schema_editor() as editor:
            editor.create_model(model)
        last: dict[str, Any] = (
            {"data": {"population": 717_710, "tags": ["capital", "port"]}}
            if model is JsonRow
            else {"note": "Seat of the king."}
        )
        model._default_manager.bulk_create(instances(model, ROWS, **last))


def instances(model: type[models.Model], number: int, **last: Any) -> list[Any]:
    """New instances of a model of twelve fields; ``last`` is the twelfth and its value."""
    return [
        model(
            slug=f"oslo-{place}",
            name=f"Oslo {place}",
            text="The capital of Norway.",
            created=datetime.datetime(2024, 2, 29, 12, 30, 1, 123_456, tzinfo=datetime.UTC),
            price=Decimal("12.50"),
            token=uuid.UUID(int=place),
            score=59.9139,
            day=datetime.date(2024, 2, 29),
            **last,
        )
        for place in range(1, number + 1)
    ]
