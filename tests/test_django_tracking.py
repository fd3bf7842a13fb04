"""Snapshots of the lookup fields: what was loaded, what was changed, and never a query for it."""

import copy
import pickle
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import F

from cachecore.errors import UncacheableLookup
from cachecore.integrations.django import tracking
from tests.geo_app.caching import Parallel
from tests.geo_app.models import City, CityProxy, Country, Memo, Place, Restaurant, River

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory_cache")]


@pytest.fixture
def oslo(db: None) -> City:
    """A city as loaded from the database."""
    norway = Country.objects.create(code="NO", name="Norway")
    return City.objects.get(pk=City.objects.create(slug="oslo", name="Oslo", country=norway).pk)


def test_a_loaded_instance_has_not_changed(oslo: City) -> None:
    """Every tracked field has the value it was loaded with."""
    for field, value in (("slug", "oslo"), ("name", "Oslo"), ("country", oslo.country_id), ("iata", None)):
        assert not oslo.has_changed(field)
        assert oslo.old_value(field) == value


def test_a_change_is_seen_and_the_old_value_kept(oslo: City) -> None:
    """Until the instance is saved."""
    oslo.slug = "christiania"
    assert oslo.has_changed("slug")
    assert oslo.old_value("slug") == "oslo"
    assert not oslo.has_changed("name")
    oslo.slug = "oslo"
    assert not oslo.has_changed("slug")


def test_saving_takes_a_new_snapshot(oslo: City) -> None:
    """After save the new value is the old one."""
    oslo.slug = "christiania"
    oslo.save()
    assert not oslo.has_changed("slug")
    assert oslo.old_value("slug") == "christiania"


def test_saving_some_fields_keeps_the_others_changed(oslo: City) -> None:
    """update_fields refreshes the snapshot of those fields only, by name or attribute name."""
    oslo.slug, oslo.name = "christiania", "Christiania"
    oslo.save(update_fields=["slug"])
    assert (oslo.has_changed("slug"), oslo.has_changed("name")) == (False, True)
    sweden = Country.objects.create(code="SE", name="Sweden")
    oslo.country = sweden
    oslo.save(update_fields=["country"])
    assert (oslo.old_value("country"), oslo.has_changed("name")) == (sweden.pk, True)


def test_refreshing_takes_a_new_snapshot(oslo: City) -> None:
    """refresh_from_db, whole or of some fields."""
    City.objects.filter(pk=oslo.pk).update(slug="christiania", name="Christiania")
    oslo.refresh_from_db(fields=["slug"])
    assert (oslo.old_value("slug"), oslo.old_value("name")) == ("christiania", "Oslo")
    oslo.name = "in memory"
    oslo.refresh_from_db()
    assert (oslo.old_value("name"), oslo.has_changed("name")) == ("Christiania", False)


def test_an_unsaved_instance_has_no_past() -> None:
    """Nothing has changed and the old value is None, until it is saved."""
    city = City(slug="oslo", name="Oslo")
    assert (city.has_changed("slug"), city.old_value("slug")) == (False, None)
    city.slug = "moss"
    assert (city.has_changed("slug"), city.old_value("slug")) == (False, None)
    city.country = Country.objects.create(code="NO", name="Norway")
    city.save()
    assert (city.has_changed("slug"), city.old_value("slug")) == (False, "moss")


def test_a_foreign_key_is_tracked_by_its_column(oslo: City, django_assert_num_queries: Any) -> None:
    """No query, by the field's name and by the attribute's."""
    with django_assert_num_queries(0):
        assert not oslo.has_changed("country")
        assert oslo.old_value("country_id") == oslo.country_id
    before = oslo.country_id
    oslo.country_id = before + 1
    assert oslo.has_changed("country")
    assert oslo.old_value("country") == before


def test_deferred_fields_are_not_loaded(oslo: City, django_assert_num_queries: Any) -> None:
    """only() and defer() leave a field unknown: not changed, None, and no query, for one instance and for many."""
    with django_assert_num_queries(1):
        [city] = City.objects.only("name")
        assert (city.has_changed("slug"), city.old_value("slug")) == (False, None)
        city.slug = "christiania"
        assert (city.has_changed("slug"), city.old_value("slug")) == (False, None)
        assert city.old_value("name") == "Oslo"


def test_a_deferred_field_that_is_loaded_later_is_tracked_from_then(oslo: City) -> None:
    """Loading it takes its snapshot."""
    [city] = City.objects.defer("slug")
    assert city.slug == "oslo"
    assert city.old_value("slug") == "oslo"
    city.slug = "christiania"
    assert city.has_changed("slug")


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda city: pickle.loads(pickle.dumps(city))])
def test_copies_have_their_own_past(oslo: City, twin: Any) -> None:
    """copy, deepcopy and pickle carry the snapshot along, and saving one leaves the other as it was."""
    oslo.slug = "christiania"
    other = twin(oslo)
    assert (other.has_changed("slug"), other.old_value("slug")) == (True, "oslo")
    other.save()
    assert (other.old_value("slug"), oslo.old_value("slug")) == ("christiania", "oslo") or twin is copy.copy


def test_twins_are_tracked_apart(oslo: City) -> None:
    """Two instances of one row, equal as they are, have each their own snapshot."""
    twin = City.objects.get(pk=oslo.pk)
    oslo.slug = "christiania"
    oslo.save()
    assert (oslo.old_value("slug"), twin.old_value("slug")) == ("christiania", "oslo")


def test_an_instance_whose_key_is_zero(oslo: City) -> None:
    """pk=0 is a key like any other."""
    City.objects.create(pk=0, slug="zero", name="Zero", country=oslo.country)
    zero = City.objects.get(pk=0)
    zero.slug = "nil"
    assert zero.has_changed("slug")
    assert City.objects.get_from_cache(pk=0).slug == "zero"


def test_expressions_are_changes(oslo: City) -> None:
    """An F() in a tracked field differs from what was loaded."""
    oslo.slug = F("name")
    assert oslo.has_changed("slug")
    assert oslo.old_value("slug") == "oslo"


@pytest.mark.parametrize(
    "load",
    [
        lambda pk: City.objects.get(pk=pk),
        lambda pk: next(City.objects.filter(pk=pk).iterator()),
        lambda pk: City.objects.raw("SELECT * FROM geo_app_city WHERE id = %s", [pk])[0],
        lambda pk: City.objects.select_related("country").get(pk=pk),
        lambda pk: Country.objects.prefetch_related("cities").get().cities.all()[0],
        lambda pk: City.objects.filter(pk=pk).union(City.objects.filter(pk=pk))[0],
        lambda pk: City.objects.get_from_cache(pk=pk),
        lambda pk: City.objects.get_many_from_cache([pk, pk])[1],
        lambda pk: CityProxy.objects.get(pk=pk),
    ],
)
def test_every_way_of_loading_takes_a_snapshot(oslo: City, load: Any) -> None:
    """Querysets, iterators, raw queries, related rows, unions, proxies and the cache, cold and warm."""
    for _ in range(2):
        city = load(oslo.pk)
        city.slug = "christiania"
        assert (city.has_changed("slug"), city.old_value("slug")) == (True, "oslo")


def test_a_related_row_of_select_related_is_tracked(oslo: City) -> None:
    """The country that came along has its snapshot too."""
    country = City.objects.select_related("country").get(pk=oslo.pk).country
    country.code = "NN"
    assert Country.objects.has_changed(country, "code")
    assert Country.objects.old_value(country, "code") == "NO"


def test_rows_of_values_and_unsaved_copies_are_not_tracked(oslo: City) -> None:
    """values() builds no instance; an instance made by hand with a key has no past."""
    assert City.objects.values("slug").get() == {"slug": "oslo"}
    assert not City(pk=oslo.pk, slug="x").has_changed("slug")


def test_a_field_that_is_no_lookup_is_not_tracked(oslo: City) -> None:
    """Asking for it is an error that names the field and those that are."""
    with pytest.raises(UncacheableLookup, match=r"geo_app\.City\.population is not tracked.*slug, country_id, name"):
        oslo.has_changed("population")
    with pytest.raises(UncacheableLookup, match="population"):
        oslo.old_value("population")


def test_a_parent_and_its_child_track_the_same_lookups() -> None:
    """Children inherit what their parents track."""
    grill = Restaurant.objects.get(pk=Restaurant.objects.create(name="Grill").pk)
    grill.name = "Grill 2"
    assert Restaurant.objects.has_changed(grill, "name")
    assert Place.objects.old_value(grill, "name") == "Grill"
    assert tracking.tracked_names(River) == ("name",)


def test_models_with_their_own_from_db_are_tracked() -> None:
    """An overridden from_db is called, and its instance tracked."""
    memo = Memo.objects.get(pk=Memo.objects.create(title="milk").pk)
    assert memo.made_by_from_db
    memo.title = "bread"
    assert Memo.objects.old_value(memo, "title") == "milk"


class Lower:
    """A descriptor that changes what is set."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else vars(instance)["slug"]

    def __set__(self, instance: Any, value: str) -> None:
        vars(instance)["slug"] = value.lower()


class LowerField(models.SlugField):
    """A field with such a descriptor."""

    def contribute_to_class(self, cls: Any, name: str, private_only: bool = False) -> None:
        super().contribute_to_class(cls, name, private_only)
        setattr(cls, name, Lower())


def lower_in_init(self: Any, *values: Any, **named: Any) -> None:
    """An __init__ that changes what is set."""
    models.Model.__init__(self, *values, **named)
    self.slug = self.slug.lower()


def lower_in_setattr(self: Any, name: str, value: Any) -> None:
    """A __setattr__ that does."""
    models.Model.__setattr__(self, name, value.lower() if name == "slug" else value)


def lower_in_from_db(cls: Any, *loaded: Any, **options: Any) -> Any:
    """A from_db that does."""
    plain: Any = models.Model
    instance = plain.from_db.__func__(cls, *loaded, **options)
    instance.slug = instance.slug.lower()
    return instance


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("Init", {"__init__": lower_in_init}),
        ("Setattr", {"__setattr__": lower_in_setattr}),
        ("FromDb", {"from_db": classmethod(lower_in_from_db)}),
        ("Descriptor", {"slug": LowerField()}),
        ("Nothing", {}),
    ],
)
def test_what_a_model_makes_of_its_row_is_its_past(name: str, way: dict[str, Any]) -> None:
    """Whatever changes a value while the instance is made; and what is tracked later is in the next snapshot."""
    meta = type("Meta", (), {"app_label": "geo_app_old", "db_table": "geo_app_low"})
    fields = {"slug": models.SlugField(), "name": models.TextField()}
    model: Any = type(name, (models.Model,), {**fields, **way, "Meta": meta, "__module__": __name__})
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE geo_app_low (id integer PRIMARY KEY, slug text, name text)")
        cursor.execute("INSERT INTO geo_app_low VALUES (1, 'OSLO', 'Oslo')")
    try:
        tracking.track(model, ["slug"])
        one = model.objects.get()
        assert tracking.loaded_value(one, "slug") == one.slug == ("oslo" if way else "OSLO")
        tracking.track(model, ["name"])
        two = model.objects.get()
        assert (tracking.loaded_value(two, "slug"), tracking.loaded_value(two, "name")) == (one.slug, "Oslo")
        [some] = model.objects.defer("name") if name != "Init" else [two]
        assert tracking.loaded_value(some, "slug") == one.slug
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE geo_app_low")


def test_a_from_db_without_todays_arguments_still_works(recwarn: pytest.WarningsRecorder) -> None:
    """Django may pass what an older override does not take; it finds that out from the signature it sees."""

    class Old(models.Model):
        slug = models.SlugField()

        class Meta:
            app_label = "geo_app_old"

        @classmethod
        def from_db(cls, db: Any, field_names: Any, values: Any) -> Any:
            return super().from_db(db, field_names, values)

    tracking.track(Old, ["slug"])
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE geo_app_old_old (id integer PRIMARY KEY, slug text)")
        cursor.execute("INSERT INTO geo_app_old_old VALUES (1, 'a')")
    try:
        old = Old.objects.get()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE geo_app_old_old")
    old.slug = "b"
    assert tracking.loaded_value(old, "slug") == "a"
    recwarn.clear()


def test_another_thread_sees_the_same_past(oslo: City, parallel: Parallel) -> None:
    """The snapshot lies on the instance, so it does not matter in which thread it is asked for."""
    oslo.slug = "christiania"
    assert parallel.run(lambda: (oslo.has_changed("slug"), oslo.old_value("slug"))) == (True, "oslo")
