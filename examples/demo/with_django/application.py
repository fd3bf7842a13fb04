"""The demo's application with Django's ORM. Django must be set up before this is imported."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

from django.core.cache import cache as django_cache
from django.db import connection, transaction

from cachecore.integrations.django import caches
from cachecore.integrations.django.rows import implementation
from examples.demo.application import Application, Changes, Row
from examples.demo.with_django.geo.models import City, Country


class DjangoApplication(Application):
    """With the caches of the settings, and the models of `geo`."""

    implementation = implementation
    store = django_cache
    no_row = City.DoesNotExist
    # The manager's own methods: a method around them would be timed, too.
    get = City.objects.get
    get_from_cache = City.objects.get_from_cache
    get_many_from_cache = City.objects.get_many_from_cache

    def __init__(self) -> None:
        self.cache = caches["default"]

    def create_tables(self) -> None:
        # As `migrate` would; a database that lives for half a minute needs no history of its own.
        with connection.schema_editor() as editor:
            editor.create_model(Country)
            editor.create_model(City)

    def add_countries(self, rows: Iterable[Row]) -> None:
        Country.objects.bulk_create([Country(**row) for row in rows])

    def add_cities(self, rows: Iterable[Row]) -> None:
        City.objects.bulk_create([City(**row) for row in rows])

    def largest(self, count: int) -> Sequence[City]:
        return City.objects.order_by("-population", "pk")[:count]

    @contextmanager
    def transaction(self) -> Generator[Changes, None, None]:
        with transaction.atomic():
            yield self

    def update(self, pk: int, values: Row) -> None:
        City.objects.filter(pk=pk).update(**values)

    def save(self, pk: int, values: Row) -> None:
        city = City.objects.get(pk=pk)
        for name, value in values.items():
            setattr(city, name, value)
        city.save()

    @contextmanager
    def counting_queries(self) -> Generator[list[int], None, None]:
        count = [0]

        def counted(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            count[0] += 1
            return execute(sql, params, many, context)

        with connection.execute_wrapper(counted):
            yield count

    def end_thread(self) -> None:
        connection.close()

    def close(self) -> None:
        self.cache.close()
        connection.close()
