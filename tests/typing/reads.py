"""What type checkers must know of reads through the cache. Only they read this: see tests/test_typing.py."""

from typing import Self, assert_type

from django.contrib.auth.models import User
from django.db import models

from cachecore.integrations.django import CacheManager, from_cache
from cachecore.integrations.django.testing import CachecoreTestMixin, DjangoCounts, cachecore_counts
from tests.geo_app.models import City, CityProxy, Country, River, Seat

# -- a manager as it is usually declared: nobody says which model it is for --

assert_type(City.objects.get_from_cache(slug="oslo-no"), City)
assert_type(City.objects.get_many_from_cache([1, 2]), list[City])
assert_type(City.objects.get_many_from_cache(["oslo-no"], key="slug"), list[City])
assert_type(City.objects.get_many_from_cache([(1, "Oslo")], key=("country", "name")), list[City])
assert_type(CityProxy.objects.get_from_cache(pk=1), CityProxy)
assert_type(River.objects.get_from_cache(name="Glomma"), River)
assert_type(Seat.objects.get_from_cache(pk=("A", 1)), Seat)
assert_type(City.objects.db_manager("other").get_from_cache(pk=1), City)
assert_type(City.objects.get_list_from_cache(country=1), list[City])
assert_type(City.objects.get(pk=1), City)
assert_type(City.objects.filter(pk=1).first(), City | None)
assert_type(City.objects.uncache_object(1), None)
assert_type(City.objects.has_changed(City(), "slug"), bool)


async def reads() -> None:
    assert_type(await City.objects.aget_from_cache(slug="oslo-no"), City)
    assert_type(await City.objects.aget_many_from_cache([1]), list[City])


# -- a manager class of one's own, for one model and for any --


class OpenManager(CacheManager["Shop"]):
    def open(self) -> models.QuerySet["Shop"]:
        return self.filter(closed=False)

    def get_open(self, slug: str) -> "Shop":
        return self.get_from_cache(slug=slug)


class Shop(models.Model):
    """Its manager has methods of its own."""

    objects = OpenManager(cache_fields=["slug"])

    class Meta:
        app_label = "geo_app"
        abstract = True

    def again(self) -> Self:
        return self


assert_type(Shop.objects.get_from_cache(slug="x"), Shop)
assert_type(Shop.objects.get_open("x"), Shop)
assert_type(Shop.objects.open(), models.QuerySet[Shop, Shop])

# -- models of others --

assert_type(from_cache(User), CacheManager[User])
assert_type(from_cache(User).get_from_cache(username="ada"), User)
assert_type(from_cache(City).get_many_from_cache([1]), list[City])

# -- tests --

with cachecore_counts(hits=1, queries=0) as counts:
    assert_type(counts, DjangoCounts)
    assert_type(counts.hits, int)
    assert_type(counts.told, list[str])


class Cases(CachecoreTestMixin):
    def test_oslo(self) -> None:
        with self.assertCache(hits=1) as counts:
            assert_type(counts.queries, int)
        country: Country = Country.objects.get_from_cache(code="NO")
        assert_type(country, Country)
