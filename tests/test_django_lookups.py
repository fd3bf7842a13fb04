"""What may be asked of the cache, in which forms, and how everything else is refused."""

import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db.models import F, Model, Q, Value
from django.utils.safestring import mark_safe

from cachecore.errors import CachecoreError, ConfigurationError, UncacheableLookup
from cachecore.integrations.django import CacheManager
from cachecore.integrations.django.writing import writes
from tests.geo_app.models import Badge, City, CityProxy, Country, Device, Landmark, Place, Restaurant, River, Road, Seat

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_cache")]


@pytest.fixture
def world() -> Any:
    """One row of each model."""
    norway = Country.objects.create(code="NO", name="Norway")
    return SimpleNamespace(
        norway=norway,
        oslo=City.objects.create(slug="oslo-no", name="Oslo", country=norway, iata="OSL", population=7),
        device=Device.objects.create(label="thermometer"),
        badge=Badge.objects.create(country=norway, text="fjords"),
        seat=Seat.objects.create(row="A", number=12, code="A12"),
        grill=Restaurant.objects.create(name="Grill", stars=2),
    )


ACCEPTED: dict[str, Callable[[Any], tuple[type[Model], dict[str, Any], Any]]] = {
    "pk": lambda w: (City, {"pk": w.oslo.pk}, w.oslo),
    "the primary key by its name": lambda w: (City, {"id": w.oslo.pk}, w.oslo),
    "pk__exact": lambda w: (City, {"pk__exact": w.oslo.pk}, w.oslo),
    "id__exact": lambda w: (City, {"id__exact": w.oslo.pk}, w.oslo),
    "pk as text": lambda w: (City, {"pk": str(w.oslo.pk)}, w.oslo),
    "pk as an instance": lambda w: (City, {"pk": w.oslo}, w.oslo),
    "pk and id that agree": lambda w: (City, {"pk": w.oslo.pk, "id": w.oslo.pk}, w.oslo),
    "a field": lambda w: (City, {"slug": "oslo-no"}, w.oslo),
    "a field with __exact": lambda w: (City, {"slug__exact": "oslo-no"}, w.oslo),
    "a field as a subclass of str": lambda w: (City, {"slug": mark_safe("oslo-no")}, w.oslo),
    "a nullable field": lambda w: (City, {"iata": "OSL"}, w.oslo),
    "two fields with an instance": lambda w: (City, {"country": w.norway, "name": "Oslo"}, w.oslo),
    "two fields in another order": lambda w: (City, {"name": "Oslo", "country": w.norway}, w.oslo),
    "two fields with a key": lambda w: (City, {"country": w.norway.pk, "name": "Oslo"}, w.oslo),
    "two fields with the attribute name": lambda w: (City, {"country_id": w.norway.pk, "name": "Oslo"}, w.oslo),
    "two fields with text": lambda w: (City, {"country_id": str(w.norway.pk), "name__exact": "Oslo"}, w.oslo),
    "a UUID": lambda w: (Device, {"pk": w.device.pk}, w.device),
    "a UUID as text": lambda w: (Device, {"pk": str(w.device.pk)}, w.device),
    "a UUID as text without dashes": lambda w: (Device, {"id": w.device.pk.hex}, w.device),
    "a relation as primary key, by instance": lambda w: (Badge, {"pk": w.norway}, w.badge),
    "a relation as primary key, by name": lambda w: (Badge, {"country": w.norway}, w.badge),
    "a relation as primary key, by key": lambda w: (Badge, {"country_id": w.norway.pk}, w.badge),
    "a relation as primary key, by the row itself": lambda w: (Badge, {"pk": w.badge}, w.badge),
    "a composite key": lambda w: (Seat, {"pk": ("A", 12)}, w.seat),
    "a composite key as a list of text": lambda w: (Seat, {"pk": ["A", "12"]}, w.seat),
    "a composite key as an instance": lambda w: (Seat, {"pk": w.seat}, w.seat),
    "a composite key by its fields": lambda w: (Seat, {"number": 12, "row": "A"}, w.seat),
    "a lookup beside a composite key": lambda w: (Seat, {"code": "A12"}, w.seat),
    "the parent's lookup on a child": lambda w: (Restaurant, {"name": "Grill"}, w.grill),
    "a child's primary key as text": lambda w: (Restaurant, {"pk": str(w.grill.pk)}, w.grill),
    "a child as its own primary key": lambda w: (Restaurant, {"pk": w.grill}, w.grill),
    "a child as its parent's primary key": lambda w: (Place, {"pk": w.grill}, Place(pk=w.grill.pk)),
    "a proxy": lambda w: (CityProxy, {"slug": "oslo-no"}, w.oslo),
}


@pytest.mark.parametrize("form", ACCEPTED)
def test_every_accepted_form_finds_the_row_cold_and_warm(form: str, world: Any, django_assert_num_queries: Any) -> None:
    """Each accepted form finds the row, of the class asked for, and needs no query the second time but one."""
    model, query, expected = ACCEPTED[form](world)
    found = model.objects.get_from_cache(**query)
    assert found == expected
    assert type(found) is model
    model.objects.get_from_cache(**query)  # by a lookup the first read learned only which row it is
    with django_assert_num_queries(0):
        again = model.objects.get_from_cache(**query)
    assert again == expected
    assert again is not found
    assert type(again) is model


@pytest.mark.parametrize("form", ["pk", "the primary key by its name", "pk__exact", "pk as text", "pk as an instance"])
def test_all_forms_of_one_key_are_one_entry(form: str, world: Any, django_assert_num_queries: Any) -> None:
    """What one form has cached, "42" say, every other form, 42 say, finds."""
    City.objects.get_from_cache(pk=world.oslo.pk)
    _, query, _ = ACCEPTED[form](world)
    with django_assert_num_queries(0):
        assert City.objects.get_from_cache(**query) == world.oslo


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "None": (lambda w: City.objects.get_from_cache(slug=None), "geo_app.City.slug=None"),
    "None for a nullable field": (lambda w: City.objects.get_from_cache(iata=None), "geo_app.City.iata=None"),
    "None as pk": (lambda w: City.objects.get_from_cache(pk=None), "geo_app.City.id=None"),
    "None in a composite lookup": (lambda w: City.objects.get_from_cache(country=None, name="Oslo"), "country=None"),
    "an expression": (lambda w: City.objects.get_from_cache(slug=F("name")), "expression"),
    "a value expression": (lambda w: City.objects.get_from_cache(slug=Value("oslo-no")), "expression"),
    "a queryset": (lambda w: City.objects.get_from_cache(pk=City.objects.all()), "expression"),
    "an unknown field": (lambda w: City.objects.get_from_cache(nickname="x"), "nickname"),
    "a field that is no lookup": (lambda w: City.objects.get_from_cache(population=7), "population"),
    "a part of a lookup": (lambda w: City.objects.get_from_cache(name="Oslo"), "country_id+name"),
    "two lookups": (lambda w: City.objects.get_from_cache(slug="oslo-no", iata="OSL"), "slug, iata"),
    "pk and another lookup": (lambda w: City.objects.get_from_cache(pk=w.oslo.pk, slug="oslo-no"), "pk, slug"),
    "a contradiction": (lambda w: City.objects.get_from_cache(pk=1, id=2), "contradicts"),
    "nothing": (lambda w: City.objects.get_from_cache(), "nothing"),
    "__in": (lambda w: City.objects.get_from_cache(pk__in=[1]), "pk__in"),
    "__iexact": (lambda w: City.objects.get_from_cache(slug__iexact="OSLO-NO"), "slug__iexact"),
    "__exact twice": (lambda w: City.objects.get_from_cache(slug__exact__exact="oslo-no"), "slug__exact__exact"),
    "a lookup across a relation": (lambda w: City.objects.get_from_cache(country__code="NO"), "country__code"),
    "an unsaved instance": (lambda w: City.objects.get_from_cache(country=Country(), name="Oslo"), "country=None"),
    "an unsaved instance as pk": (lambda w: City.objects.get_from_cache(pk=City()), "id=None"),
    "an instance of another model": (lambda w: City.objects.get_from_cache(country=w.oslo, name="Oslo"), "Country"),
    "an instance of another model as pk": (lambda w: City.objects.get_from_cache(pk=w.norway), "geo_app.City.id"),
    "an instance for a text": (lambda w: City.objects.get_from_cache(slug=w.oslo), "geo_app.City.slug"),
    "text that is no number": (lambda w: City.objects.get_from_cache(pk="oslo"), "'oslo'"),
    "a list as a number": (lambda w: City.objects.get_from_cache(pk=[1]), "[1]"),
    "text that is no UUID": (lambda w: Device.objects.get_from_cache(pk="thermometer"), "'thermometer'"),
    "a scalar for a composite key": (lambda w: Seat.objects.get_from_cache(pk=12), "row, number"),
    "a short composite key": (lambda w: Seat.objects.get_from_cache(pk=("A",)), "row, number"),
    "a None in a composite key": (lambda w: Seat.objects.get_from_cache(pk=("A", None)), "geo_app.Seat.number=None"),
    "half a composite key": (lambda w: Seat.objects.get_from_cache(row="A"), "row"),
    "a parent as its child's key that is none": (lambda w: Restaurant.objects.get_from_cache(pk=w.norway), "Place"),
    "no cache_fields": (lambda w: Landmark.objects.get_from_cache(pk=1), "declares no cache_fields"),
    "many by an unknown field": (lambda w: City.objects.get_many_from_cache([1], key="nickname"), "nickname"),
    "many by None": (lambda w: City.objects.get_many_from_cache([1, None]), "geo_app.City.id=None"),
    "many by a short tuple": (lambda w: City.objects.get_many_from_cache([(1,)], key=("country", "name")), "(1,)"),
    "many by a scalar": (lambda w: City.objects.get_many_from_cache([1], key=("country", "name")), "1 is no value"),
    "uncaching None": (lambda w: City.objects.uncache_object(None), "geo_app.City.id=None"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_everything_else_is_refused_by_name(form: str, world: Any, django_assert_num_queries: Any) -> None:
    """What no key stands for raises a ValueError that names it, and asks the database nothing."""
    ask, said = REFUSED[form]
    with django_assert_num_queries(0), pytest.raises(UncacheableLookup) as caught:
        ask(world)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, CachecoreError)
    assert said in str(caught.value)


def test_a_refusal_says_what_is_cached_and_what_to_do() -> None:
    """The error for a query that is no declared lookup lists those that are, and advises to hit the database."""
    with pytest.raises(UncacheableLookup, match=r"only by pk, slug, country_id\+name, iata; just hit the database"):
        City.objects.get_from_cache(population=7)


def test_a_positional_condition_is_no_lookup() -> None:
    """Q objects are conditions and not keys."""
    with pytest.raises(TypeError):
        City.objects.get_from_cache(Q(pk=1))


def test_the_application_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the application nobody would see the writes, so reading through the cache is an error that says so."""
    manager = CacheManager(cache_fields=["slug"])
    manager.model, manager.name = City, "objects"
    monkeypatch.setattr(writes, "_installed", False)
    with pytest.raises(
        ConfigurationError, match=r'geo_app\.City .* "cachecore\.integrations\.django" .* INSTALLED_APPS'
    ):
        manager.get_from_cache(pk=1)


def test_a_related_manager_names_the_manager_to_ask(world: Any) -> None:
    """``country.cities`` is not where cached rows are asked for, and the error says where they are."""
    with pytest.raises(UncacheableLookup, match=r"geo_app\.City.*City\.objects"):
        world.norway.cities.get_from_cache(slug="oslo-no")


def test_a_row_that_does_not_exist_raises_does_not_exist(world: Any) -> None:
    """As with get(), by any lookup, and again when it is asked a second time."""
    for query in ({"pk": 999}, {"slug": "nowhere"}, {"country": world.norway, "name": "Nowhere"}, {"pk": 2**70}):
        for _ in range(2):
            with pytest.raises(City.DoesNotExist, match="City matching query does not exist"):
                City.objects.get_from_cache(**query)


def test_a_row_that_did_not_exist_is_found_once_it_does(world: Any) -> None:
    """That a row was missing is not remembered."""
    with pytest.raises(City.DoesNotExist):
        City.objects.get_from_cache(slug="bergen-no")
    bergen = City.objects.create(slug="bergen-no", name="Bergen", country=world.norway)
    assert City.objects.get_from_cache(slug="bergen-no") == bergen
    with pytest.raises(City.DoesNotExist):
        City.objects.get_from_cache(pk=bergen.pk + 1)
    other = City.objects.create(slug="skien-no", name="Skien", country=world.norway)
    assert other.pk == bergen.pk + 1
    assert City.objects.get_from_cache(pk=other.pk) == other


def test_more_than_one_row_raises_multiple_objects_returned(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the database finds several rows, because a manager's querysets multiply them, say, none is chosen."""
    City.objects.create(slug="moss-no", name="Moss", country=world.norway)
    cached = City.objects._current()
    monkeypatch.setattr(
        cached, "_select", lambda: cached.layout.select(City.objects.filter(country__cities__isnull=False))
    )
    with pytest.raises(City.MultipleObjectsReturned, match="more than one City by slug"):
        City.objects.get_from_cache(slug="oslo-no")


def test_rows_of_siblings_are_kept_apart() -> None:
    """Two models that inherit one manager from an abstract base share nothing."""
    river = River.objects.create(pk=1, name="Glomma", length=600)
    road = Road.objects.create(pk=1, name="Glomma", length=1)
    assert river.pk == road.pk
    for _ in range(3):
        assert River.objects.get_from_cache(name="Glomma").length == 600
        assert type(River.objects.get_from_cache(pk=river.pk)) is River
        assert Road.objects.get_from_cache(name="Glomma").length == 1
        assert type(Road.objects.get_from_cache(pk=road.pk)) is Road


def test_a_missing_uuid_is_missing() -> None:
    """A well formed key without a row is no error of the form."""
    with pytest.raises(Device.DoesNotExist):
        Device.objects.get_from_cache(pk=uuid.uuid4())
