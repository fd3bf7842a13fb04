"""Many threads at once, and long random histories: nobody ever sees anything older than what was seen before."""

import random
import threading
from typing import Any

import pytest
from django.db import connection, transaction

from cachecore.cache import Cache
from cachecore.integrations.django import caches
from tests.geo_app.caching import Parallel, forget_all
from tests.geo_app.models import City, Country

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def norway(transactional_db: None, each_cache: Cache) -> Country:
    """A country, committed."""
    return Country.objects.create(code="NO", name="Norway")


class Selects:
    """Counts the SELECTs of all threads."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __call__(self, execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("SELECT"):
            with self._lock:
                self.count += 1
        return execute(sql, *args)


@pytest.mark.parametrize("by", ["pk", "slug"])
def test_eight_threads_on_a_cold_key_ask_the_database_once(by: str, norway: Country, parallel: Parallel) -> None:
    """One loads the row, the others wait for it."""
    city = City.objects.create(slug="oslo", name="Oslo", country=norway, population=7)
    if by == "slug":
        # Which row a slug means is known; the row itself is cold.
        City.objects.get_from_cache(slug="oslo")
    caches["default"].statistics.reset()
    selects, together, seen = Selects(), threading.Barrier(8), list[int]()

    def read() -> None:
        connection.ensure_connection()
        with connection.execute_wrapper(selects):
            together.wait(30)
            seen.append(City.objects.get_from_cache(**{by: getattr(city, by)}).population)

    for _ in range(8):
        parallel.start(read)
    parallel.join()
    assert seen == [7] * 8
    assert selects.count == 1
    assert caches["default"].statistics.fills == 1


def test_readers_and_writers_that_rename_see_nothing_stale(norway: Country, parallel: Parallel) -> None:
    """Two writers rename and count in transactions, some rolled back; three readers never see the past.

    A version that was committed before a read began is the oldest it may return, and a slug that is asked for is the
    slug of the row that comes back.
    """
    pks = [1, 2, 3, 4]
    City.objects.bulk_create(City(pk=pk, slug=f"c{pk}-0", name=f"C{pk}", country=norway) for pk in pks)
    returned = dict.fromkeys(pks, 0)
    """The last version whose commit has returned. Each row has one writer, so this only grows."""
    done = threading.Event()
    reads = [0, 0, 0]

    def write(mine: list[int], seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(100):
                pk = chance.choice(mine)
                version = returned[pk] + 1
                undone = chance.random() < 0.2
                with transaction.atomic():
                    if chance.random() < 0.5:
                        City.objects.filter(pk=pk).update(population=version, slug=f"c{pk}-{version}")
                    else:
                        city = City.objects.get(pk=pk)
                        city.population, city.slug = version, f"c{pk}-{version}"
                        city.save()
                    assert City.objects.get_from_cache(pk=pk).population == version
                    if undone:
                        transaction.set_rollback(True)
                if not undone:
                    returned[pk] = version
        finally:
            done.set()

    def read(number: int) -> None:
        chance = random.Random(number)
        seen = dict.fromkeys(pks, 0)
        while not done.is_set() or reads[number] < 500:
            pk = chance.choice(pks)
            floor = returned[pk]
            if chance.random() < 0.7:
                found = City.objects.get_from_cache(pk=pk)
            else:
                slug = f"c{pk}-{floor}"
                try:
                    found = City.objects.get_from_cache(slug=slug)
                except City.DoesNotExist:
                    assert City.objects.get(pk=pk).population > floor, "a row was not found by its slug"
                    continue
                assert (found.pk, found.slug) == (pk, slug)
            assert found.population >= max(floor, seen[pk]), "stale"
            seen[pk] = found.population
            reads[number] += 1

    parallel.start(write, pks[:2], 1)
    parallel.start(write, pks[2:], 2)
    for number in range(3):
        parallel.start(read, number)
    parallel.join()
    assert min(reads) >= 500
    for pk in pks:
        assert City.objects.get_from_cache(pk=pk).population == returned[pk] == City.objects.get(pk=pk).population
    assert caches["default"].statistics.hits > 0


class Reader:
    """One process in a history: it remembers what it has seen, and which pointers it knows."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def check(self, city: City, floor: int) -> None:
        """What comes back is not older than what was committed, nor than what this reader saw before."""
        assert city.population >= max(floor, self.seen.get(city.pk, 0))
        self.seen[city.pk] = city.population


@pytest.mark.django_db(transaction=False)
def test_ten_thousand_random_steps(db: None, each_cache: Cache) -> None:
    """Two readers, a writer of every kind, and cache wipes: no reader sees anything older than it already saw."""
    chance = random.Random(1)
    countries = [Country.objects.create(code=code, name=code) for code in ("NO", "SE")]
    cities = {n: City.objects.create(id=n, slug=f"s{n}", name=f"N{n}", country=countries[0]) for n in range(1, 7)}
    readers = [Reader(), Reader()]
    now = dict.fromkeys(cities, 0)
    """The version of each row, increased by every write."""
    slugs = {n: f"s{n}" for n in cities}

    def read() -> None:
        reader, n = chance.choice(readers), chance.choice(list(cities))
        match chance.randrange(4):
            case 0:
                reader.check(City.objects.get_from_cache(pk=n), now[n])
            case 1:
                found = City.objects.get_from_cache(slug=slugs[n])
                assert (found.pk, found.slug) == (n, slugs[n])
                reader.check(found, now[n])
            case 2:
                found = City.objects.get_from_cache(country=countries[0], name=f"N{n}")
                assert found.pk == n
                reader.check(found, now[n])
            case _:
                several = chance.choices(list(cities), k=4)
                found_many = City.objects.get_many_from_cache([slugs[one] for one in several], key="slug")
                assert [city.pk for city in found_many] == several
                for city in found_many:
                    reader.check(city, now[city.pk])

    def write() -> None:
        n = chance.choice(list(cities))
        version = max(now.values()) + 1
        match chance.randrange(6):
            case 0:
                city = City.objects.get_from_cache(pk=n)
                city.population = version
                city.save()
            case 1:
                slugs[n] = f"s{n}-{version}"
                City.objects.filter(pk=n).update(slug=slugs[n], population=version)
            case 2:
                other = chance.choice([one for one in cities if one != n])
                with transaction.atomic():
                    City.objects.filter(pk=n).update(slug="swapping", population=version)
                    City.objects.filter(pk=other).update(slug=slugs[n], population=version)
                    City.objects.filter(pk=n).update(slug=slugs[other])
                slugs[n], slugs[other] = slugs[other], slugs[n]
                now[other] = version
            case 3:
                City.objects.filter(pk=n).delete()
                with pytest.raises(City.DoesNotExist):
                    City.objects.get_from_cache(slug=slugs[n])
                City.objects.create(id=n, slug=slugs[n], name=f"N{n}", country=countries[0], population=version)
            case 4:
                City.objects.bulk_update([City(pk=n, population=version)], ["population"])
            case _:
                with transaction.atomic():
                    City.objects.filter(pk=n).update(population=version + 1000, slug="never")
                    assert City.objects.get_from_cache(pk=n).slug == "never"
                    transaction.set_rollback(True)
                return
        now[n] = version

    def wipe() -> None:
        match chance.randrange(3):
            case 0:
                each_cache.clear()
            case 1:
                forget_all(City)
            case _:
                City.objects.uncache_object(chance.choice(list(cities)))

    for _ in range(10_000):
        step = chance.random()
        if step < 0.85:
            read()
        elif step < 0.97:
            write()
        else:
            wipe()
    assert each_cache.statistics.hits > 3000, "the cache was hardly used"
