"""Mappings stored as rows: options of everything, of a parent, and of a pair; metadata of instances."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F

from cachecore.errors import UncacheableLookup
from cachecore.integrations.django import caches
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import Parallel, behind_the_back
from tests.geo_app.models import Country, CountryOption, GlobalOption, Person, PersonOption

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_cache")]


@pytest.fixture
def countries() -> list[Country]:
    """Two."""
    return [Country.objects.create(code=code, name=code) for code in ("NO", "SE")]


def test_global_options(django_assert_num_queries: Any) -> None:
    """A key and a value: set, changed, unset; a mapping that is empty is cached too."""
    options = GlobalOption.objects
    assert options.get_value("theme") is None
    with django_assert_num_queries(0):
        assert options.get_value("theme", default="light") == "light"
        assert options.get_all_values() == {}
    options.set_value("theme", "dark")
    assert options.get_value("theme") == "dark"
    options.set_value("theme", {"night": True})
    options.set_value("nothing", None)
    assert options.get_all_values() == {"theme": {"night": True}, "nothing": None}
    with django_assert_num_queries(0):
        assert options.isset("nothing")
        assert not options.isset("other")
        assert options.get_value("nothing", default=1) is None
    assert options.unset_value("theme") is True
    assert options.unset_value("theme") is False
    assert options.get_all_values() == {"nothing": None}


def test_options_of_a_parent(countries: list[Country], django_assert_num_queries: Any) -> None:
    """All of a scope are one entry; a write outdates that of its scope and no other."""
    no, se = countries
    options = CountryOption.objects
    for country in countries:
        options.set_value(country, "anthem", country.code)
        options.set_value(country.pk, "tld", country.code.lower())
    assert options.get_value(no, "anthem") == "NO"
    assert options.get_value(se.pk, "tld") == "se"
    with django_assert_num_queries(0):
        assert options.get_all_values(str(no.pk)) == {"anthem": "NO", "tld": "no"}
        assert options.get_value(se, "nosuch", default=3) == 3
    options.set_value(no, "anthem", "Ja, vi elsker")
    with django_assert_num_queries(1):
        assert options.get_value(se, "anthem") == "SE"
        assert options.get_value(no, "anthem") == "Ja, vi elsker"
    options.filter(key="tld").update(value="eu")
    assert [options.get_value(one, "tld") for one in countries] == ["eu", "eu"]
    CountryOption.objects.filter(country=no, key="tld").update(country=se, key="cc")
    assert [options.get_all_values(one) for one in countries] == [
        {"anthem": "Ja, vi elsker"},
        {"anthem": "SE", "cc": "eu", "tld": "eu"},
    ]
    no.delete()
    assert options.get_all_values(no.pk or 0) == {}


def test_options_that_may_be_about_something(countries: list[Country]) -> None:
    """A user's options: with and without the optional field they are different keys of one mapping."""
    ada, bob = [Person.objects.create(name=name) for name in ("Ada", "Bob")]
    no, se = countries
    options = PersonOption.objects
    options.set_value(ada, "mail", "always")
    options.set_value(ada, "mail", "never", country=no)
    assert options.get_value(ada, "mail") == "always"
    assert options.get_value(ada, "mail", country=no.pk) == "never"
    assert options.get_value(ada, "mail", country=se, default="?") == "?"
    assert options.get_value(bob, "mail") is None
    assert options.get_all_values(ada) == {"mail": "always"}
    assert options.get_all_values(ada, country=no) == {"mail": "never"}
    assert options.unset_value(ada, "mail")
    assert not options.isset(ada, "mail")
    assert options.isset(ada, "mail", country=no)


def test_metadata_of_many_instances(
    countries: list[Country], settings: Any, fake_server: FakeBackend, django_assert_num_queries: Any
) -> None:
    """The values of one key of many instances, by instance, in one round trip."""
    no, se = countries
    CountryOption.objects.set_value(no, "motto", "Alt for Norge")
    assert CountryOption.objects.get_value_bulk([no, se], "motto", default="") == {no: "Alt for Norge", se: ""}
    fake_server.log.clear()
    with django_assert_num_queries(0):
        assert CountryOption.objects.get_value_bulk(iter([se, no]), "motto") == {se: None, no: "Alt for Norge"}
    assert [call.name for call in fake_server.log] == ["acquire"]
    assert CountryOption.objects.get_value_bulk([], "motto") == {}


@pytest.mark.django_db(transaction=True)
def test_the_first_read_after_a_miss_has_everything(countries: list[Country], parallel: Parallel) -> None:
    """Also for a second process, whatever it has read before; and writers do not lose each other's keys."""
    no = countries[0]
    options = CountryOption.objects
    assert options.get_all_values(no) == {}
    parallel.run(lambda: [options.set_value(no, f"k{n}", n) for n in range(3)])
    assert options.get_all_values(no) == {"k0": 0, "k1": 1, "k2": 2}
    caches["default"].clear()
    assert options.get_all_values(no) == {"k0": 0, "k1": 1, "k2": 2}
    with transaction.atomic():
        options.set_value(no, "k0", "mine")
        assert options.get_value(no, "k0") == "mine"
        assert parallel.run(options.get_value, no, "k0") == 0
    assert options.get_value(no, "k0") == "mine"


def test_nobody_shares_a_value(countries: list[Country]) -> None:
    """What one caller does to a value or a mapping, no other sees."""
    CountryOption.objects.set_value(countries[0], "list", [1])
    CountryOption.objects.get_value(countries[0], "list").append(2)
    CountryOption.objects.get_all_values(countries[0])["list"].append(2)
    assert CountryOption.objects.get_value(countries[0], "list") == [1]


def test_reload_cache(countries: list[Country]) -> None:
    """What nobody could see is read anew."""
    CountryOption.objects.set_value(countries[0], "a", 1)
    assert CountryOption.objects.get_value(countries[0], "a") == 1
    behind_the_back("UPDATE geo_app_countryoption SET value = '2'")
    assert CountryOption.objects.get_value(countries[0], "a") == 1
    assert CountryOption.objects.reload_cache(countries[0]) == {"a": 2}
    assert CountryOption.objects.get_value(countries[0], "a") == 2
    CountryOption.objects.clear_local_cache()


@pytest.mark.django_db(databases=["default", "other"])
def test_another_database_has_mappings_of_its_own() -> None:
    """By db_manager; and a row is an ordinary row for every other method."""
    GlobalOption.objects.set_value("a", 1)
    other = GlobalOption.objects.db_manager("other")
    assert other.get_all_values() == {}
    other.set_value("a", 2)
    assert (GlobalOption.objects.get_value("a"), other.get_value("a")) == (1, 2)
    GlobalOption.objects.update(value=F("value"))
    assert GlobalOption.objects.get(key="a").value == 1


def test_bad_input(countries: list[Country]) -> None:
    """Each mistake has its message, and writes nothing."""
    options = CountryOption.objects
    with pytest.raises(UncacheableLookup, match="country, key"):
        options.get_value("theme")
    with pytest.raises(UncacheableLookup, match="country, key"):
        options.set_value(countries[0], "theme")
    with pytest.raises(UncacheableLookup, match="country, not 0"):
        options.get_all_values()
    with pytest.raises(UncacheableLookup, match=r"CountryOption\.country"):
        options.get_value("x", "theme")
    with pytest.raises(UncacheableLookup, match="None"):
        options.get_value(None, "theme")
    with pytest.raises(UncacheableLookup, match="Person"):
        options.get_value(Person.objects.create(name="x"), "theme")
    with pytest.raises(UncacheableLookup, match="'person'"):
        options.get_value(countries[0], "theme", person=1)
    with pytest.raises(UncacheableLookup, match="related"):
        countries[0].options.get_value("theme")
    with pytest.raises(IntegrityError), transaction.atomic():
        CountryOption.objects.create(country=countries[0], key=None)
    assert not CountryOption.objects.exists()
