"""Results of functions are as coherent as rows."""

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from django.db.models import F, Sum

from cachecore.errors import ConfigurationError, UncacheableLookup, UnsupportedValue
from cachecore.integrations.django import caches
from cachecore.integrations.django.depends_on import DependsOn
from cachecore.integrations.django.functions import CachedFunction, cached_function
from cachecore.integrations.django.writing import dependents, writes
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import Parallel, behind_the_back
from tests.geo_app.models import City, Country, Person

pytestmark = pytest.mark.django_db

calls: list[Any] = []


def total(country_id: int) -> int | None:
    """The inhabitants of a country; None if it has no cities."""
    calls.append(country_id)
    found: int | None = City.objects.filter(country_id=country_id).aggregate(n=Sum("population"))["n"]
    return found


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch, fake_server: FakeBackend) -> Iterator[None]:
    """Each test declares its own functions."""
    monkeypatch.setattr(dependents, "_dependents", {})
    calls.clear()
    yield
    monkeypatch.undo()
    writes.connect_all()


@pytest.fixture
def population() -> CachedFunction[[int], int | None]:
    """The function, cached."""
    return cached_function(DependsOn(City, "country"), name="population")(total)


@pytest.fixture
def countries() -> list[Country]:
    """Two countries with two cities each, of one and two inhabitants."""
    made = [Country.objects.create(code=code, name=code) for code in ("NO", "SE")]
    for country in made:
        for n in (1, 2):
            City.objects.create(slug=f"{country.code}{n}", name=f"{n}", country=country, population=n)
    return made


def test_a_result_is_computed_once(population: Any, countries: list[Country]) -> None:
    """Calls with the same arguments are answered by the cache, others are not."""
    no, se = (country.pk for country in countries)
    assert [population(no), population(no), population(se), population(no)] == [3, 3, 3, 3]
    assert calls == [no, se]
    assert caches["default"].statistics.hits == 2


@pytest.mark.parametrize(
    "write",
    [
        lambda city: City.objects.filter(pk=city.pk).update(population=8),
        lambda city: City.objects.update_or_create(pk=city.pk, defaults={"population": 8}),
        lambda city: City.objects.bulk_update([City(pk=city.pk, population=8)], ["population"]),
        lambda city: City.objects.filter(slug="NO1").update(population=F("population") + 7),
        lambda city: City(pk=city.pk, population=8).save(update_fields=["population"]),
    ],
)
def test_a_write_outdates_the_results_its_row_is_a_part_of(
    write: Any, population: Any, countries: list[Country]
) -> None:
    """And no others."""
    no, se = (country.pk for country in countries)
    assert population.many([(no,), (se,)]) == [3, 3]
    write(City.objects.get(slug="NO1"))
    calls.clear()
    assert population.many([(se,), (no,)]) == [3, 10]
    assert calls == [no]


def test_a_changed_argument_outdates_two_results(population: Any, countries: list[Country]) -> None:
    """The one the row has left and the one it has come to, also by an instance that does not know where it was."""
    no, se = (country.pk for country in countries)
    population.many([(no,), (se,)])
    City(pk=City.objects.get(slug="NO2").pk, slug="x", name="x", population=2, country_id=se).save()
    assert population.many([(no,), (se,)]) == [1, 5]


def test_deletes_and_inserts(population: Any, countries: list[Country]) -> None:
    """A row that goes, one that comes, one that goes with its parent."""
    no, se = (country.pk for country in countries)
    population.many([(no,), (se,)])
    City.objects.filter(slug="NO1").delete()
    assert population(no) == 2
    City.objects.bulk_create([City(slug="NO3", name="3", country_id=no, population=3)])
    assert population(no) == 5
    countries[0].delete()
    assert population(no) is None
    calls.clear()
    assert population(se) == 3
    assert calls == []


def test_none_is_not_cached(population: Any) -> None:
    """A function that finds nothing is asked again."""
    assert [population(99), population(99)] == [None, None]
    assert calls == [99, 99]


def test_many_keeps_order_and_duplicates(population: Any, countries: list[Country], fake_server: FakeBackend) -> None:
    """One round trip for all that are cached; what is not is computed one by one."""
    no, se = (country.pk for country in countries)
    population(no)
    fake_server.log.clear()
    assert population.many([(se,), (no,), (se,), (7,)]) == [3, 3, 3, None]
    assert calls == [no, se, 7]
    assert [call.name for call in fake_server.log] == ["acquire", "fill", "abandon"]
    assert population.many([]) == []


@pytest.mark.django_db(transaction=True)
def test_a_slow_computation_is_not_stored(countries: list[Country], parallel: Parallel) -> None:
    """What was computed before a commit and would be stored after it is not."""
    no = countries[0].pk

    def slow(country_id: int) -> int | None:
        found = total(country_id)
        if len(calls) == 1:
            parallel.run(lambda: City.objects.filter(slug="NO1").update(population=8))
        return found

    population = cached_function(DependsOn(City, "country"), name="slow")(slow)
    assert population(no) == 3
    assert [population(no), population(no)] == [10, 10]
    assert len(calls) == 2


@pytest.mark.django_db(transaction=True)
def test_in_a_transaction(population: Any, countries: list[Country], parallel: Parallel) -> None:
    """It sees its own writes, nobody else does before the commit, and a rollback outdates nothing."""
    no = countries[0].pk
    population(no)
    with transaction.atomic():
        City.objects.filter(slug="NO1").update(population=8)
        assert population(no) == 10
        assert parallel.run(population, no) == 3
        transaction.set_rollback(True)
    calls.clear()
    assert population(no) == 3
    assert calls == []
    with transaction.atomic():
        City.objects.filter(slug="NO1").update(population=8)
    assert population(no) == 10


def test_other_arguments(countries: list[Country]) -> None:
    """A function may say itself which results a row is a part of; without columns it is a part of all."""
    by_letter = cached_function(
        DependsOn(City, "slug", arguments=lambda slug: [(slug[:1],)]), DependsOn("geo_app.Person"), name="by_letter"
    )(lambda letter: calls.append(letter) or list(City.objects.filter(slug__startswith=letter).values_list("slug")))
    assert by_letter("N") == [("NO1",), ("NO2",)]
    City.objects.filter(slug="SE1").update(population=7)
    assert by_letter("N") == [("NO1",), ("NO2",)]
    assert calls == ["N"]
    City.objects.filter(slug="NO1").update(slug="XX")
    assert by_letter("N") == [("NO2",)]
    Person.objects.create(name="Ada")
    assert by_letter("N") == [("NO2",)]
    assert calls == ["N", "N", "N"]


def test_nobody_shares_a_result(countries: list[Country]) -> None:
    """Each caller has its own list."""
    names = cached_function(DependsOn(City), name="names")(lambda: list(City.objects.values_list("slug", flat=True)))
    names().append("mine")
    names().append("mine")
    assert names() == ["NO1", "NO2", "SE1", "SE2"]


def test_by_hand(population: Any, countries: list[Country]) -> None:
    """What nobody could see is outdated by hand: one result, all, or one and computed at once."""
    no, se = (country.pk for country in countries)
    population.many([(no,), (se,)])
    behind_the_back("UPDATE geo_app_city SET population = 5")
    assert population(no) == 3
    population.invalidate(no)
    assert population.many([(no,), (se,)]) == [10, 3]
    assert population.refresh(se) == 10
    population.invalidate_all()
    calls.clear()
    population.many([(no,), (se,)])
    assert calls == [no, se]


def test_another_version_is_another_result(countries: list[Country]) -> None:
    """The meaning of a result may change, and the ttl is the function's own."""
    no = countries[0].pk
    for version, answer in ((1, 3), (2, 6), (2, 6)):
        one = cached_function(DependsOn(City, "country"), name="v", version=version, ttl=60)(
            lambda country_id, times=version: (total(country_id) or 0) * times
        )
        assert one(no) == answer
        assert one.records("default").entity.policy.ttl == 60
    assert len(calls) == 2


def test_awaited(population: Any, countries: list[Country]) -> None:
    """The same from a coroutine."""
    assert async_to_sync(population.acall)(countries[0].pk) == 3


def test_what_the_function_raises_is_raised(population: Any) -> None:
    """And nothing is stored, nor left leased."""

    @cached_function(DependsOn(City), name="failing")
    def failing(n: int) -> int:
        calls.append(n)
        if len(calls) == 1:
            raise ZeroDivisionError
        return n

    with pytest.raises(ZeroDivisionError):
        failing(1)
    assert [failing(1), failing(1)] == [1, 1]
    assert len(calls) == 2


def test_bad_input(population: Any) -> None:
    """Each mistake has its message."""
    with pytest.raises(UncacheableLookup, match="positional"):
        population(country_id=1)
    with pytest.raises(UncacheableLookup, match="object"):
        population(object())
    with pytest.raises(ConfigurationError, match="depend"):
        cached_function()
    with pytest.raises(ConfigurationError, match="depend"):
        cached_function(total)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"City.*nothing"):
        cached_function(DependsOn(City, "nothing"), name="x")(total)
    with pytest.raises(ConfigurationError, match=r"geo_app\.Nothing"):
        cached_function(DependsOn("geo_app.Nothing"), name="x")(total)
    odd = cached_function(DependsOn(City), name="odd")(lambda: connection)
    with pytest.raises(UnsupportedValue, match="odd"):
        odd()
