"""Mistakes that type checkers must find: each line that ends in "# wrong", and no other. See tests/test_typing.py."""

from cachecore.integrations.django import CacheManager
from cachecore.integrations.django.testing import cachecore_counts
from tests.geo_app.models import City, Country


def reads() -> None:
    City.objects.get_from_cache("oslo-no")  # wrong
    print(City.objects.get_from_cache(slug="oslo-no").nickname)  # wrong
    City.objects.get_many_from_cache(5)  # wrong
    City.objects.get_many_from_cache([1], key=5)  # wrong
    City.objects.get_from_cash(pk=1)  # wrong
    country: Country = City.objects.get_from_cache(pk=1)  # wrong
    cities: list[Country] = City.objects.get_many_from_cache([1])  # wrong
    print(country, cities)


async def awaits() -> None:
    print(City.objects.aget_from_cache(pk=1).pk)  # wrong
    city: City = await City.objects.aget_many_from_cache([1])  # wrong
    print(city)


def declares() -> None:
    CacheManager(cache_field=["slug"])  # wrong
    CacheManager(["slug"])  # wrong
    CacheManager(cache_fields=5)  # wrong
    CacheManager(cache_version=1.5)  # wrong
    CacheManager(cache_policy="refuse")  # wrong


def counts() -> None:
    with cachecore_counts(hit=1):  # wrong
        pass
    with cachecore_counts(hits="1"):  # wrong
        pass
