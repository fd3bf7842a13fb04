"""Bounded integers, and compressed dicts that survive rubbish, bombs and the cache."""

import base64
import json
import logging
import pickle
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import connection, models, transaction
from django.db.migrations.writer import MigrationWriter
from django.db.models import F
from django.forms import modelform_factory
from django.test.utils import isolate_apps

from cachecore.errors import CachecoreError, ConfigurationError, UnsupportedValue
from cachecore.integrations.django import caches
from cachecore.integrations.django.fields import (
    BoundedAutoField,
    BoundedBigAutoField,
    BoundedBigIntegerField,
    BoundedIntegerField,
    BoundedPositiveIntegerField,
    GzippedDictField,
    UnreadableDict,
    ValueOutOfRange,
)
from cachecore.integrations.django.orm.create_or_update import create_or_update
from cachecore.integrations.django.orm.instance_update import update
from tests.django_extras_app.models import Measured, SmallKey, Zipped

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_cache")]

INT = 2**31
BIG = 2**63

BOUNDS = {
    "small": (-INT, INT - 1),
    "big": (-BIG, BIG - 1),
    "count": (0, INT - 1),
}


def by_save(name: str, value: Any) -> None:
    row = Measured.objects.get()
    setattr(row, name, value)
    row.save()


def by_bulk_update(name: str, value: Any) -> None:
    row = Measured.objects.get()
    setattr(row, name, value)
    Measured.objects.bulk_update([row], [name])


WRITES: dict[str, Callable[[str, Any], object]] = {
    "save": by_save,
    "create": lambda name, value: Measured.objects.create(**{name: value}),
    "bulk_create": lambda name, value: Measured.objects.bulk_create([Measured(**{name: value})]),
    "bulk_update": by_bulk_update,
    "update": lambda name, value: Measured.objects.update(**{name: value}),
    "update of an instance": lambda name, value: update(Measured.objects.get(), **{name: value}),
    "create_or_update": lambda name, value: create_or_update(Measured, pk=77, defaults={name: value}),
}


@pytest.fixture
def measured(db: None) -> Measured:
    """A row with ordinary values."""
    return Measured.objects.create(small=1, big=2, count=3)


def column(name: str, pk: int) -> Any:
    """What stands in a column of Zipped."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {name} FROM django_extras_app_zipped WHERE id = %s", [pk])
        return cursor.fetchone()[0]


def put(name: str, value: Any) -> None:
    """Write past the ORM, as somebody else would."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE django_extras_app_zipped SET {name} = %s", [value])
    caches["default"].clear()


def packed(data: bytes) -> str:
    """Bytes as the column holds them."""
    return base64.b64encode(zlib.compress(data)).decode()


class TestBounds:
    """Integers that fit into the column of any database."""

    @pytest.mark.parametrize("name", BOUNDS)
    def test_the_bounds_are_stored(self, measured: Measured, name: str) -> None:
        """The least and the greatest value, and come back from the cache."""
        for value in BOUNDS[name]:
            by_save(name, value)
            for _ in range(2):
                assert getattr(Measured.objects.get_from_cache(pk=measured.pk), name) == value

    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    @pytest.mark.parametrize("name", BOUNDS)
    def test_one_more_or_less_is_refused(
        self, measured: Measured, name: str, write: Callable[[str, Any], object]
    ) -> None:
        """By every way of writing, before its SQL; the message names the field, the value and the bounds."""
        least, greatest = BOUNDS[name]
        for value in (least - 1, greatest + 1, 10**30):
            with pytest.raises(ValueOutOfRange) as caught, transaction.atomic():
                write(name, value)
            assert isinstance(caught.value, ValidationError)
            assert isinstance(caught.value, CachecoreError)
            assert caught.value.messages == [
                f"django_extras_app.Measured.{name} cannot be {value}: its column holds {least} to {greatest}"
            ]
        assert list(Measured.objects.values_list("small", "big", "count")) == [(1, 2, 3)]

    @pytest.mark.parametrize("name", BOUNDS)
    def test_validation_refuses_them_too(self, measured: Measured, name: str) -> None:
        """full_clean() has one message for one mistake."""
        least, greatest = BOUNDS[name]
        for value in (least - 1, greatest + 1):
            setattr(measured, name, value)
            with pytest.raises(ValidationError) as caught:
                measured.full_clean()
            assert len(caught.value.message_dict[name]) == 1

    def test_keys_have_bounds(self, db: None) -> None:
        """Given keys, also those that foreign keys hold."""
        assert Measured.objects.create(pk=BIG - 1).pk == BIG - 1
        assert SmallKey.objects.create(pk=INT - 1).pk == INT - 1
        with pytest.raises(ValueOutOfRange, match=r"SmallKey\.id cannot be 2147483648"), transaction.atomic():
            SmallKey.objects.create(pk=INT)
        with pytest.raises(ValueOutOfRange, match=r"Measured\.id cannot be 9223372036854775808"), transaction.atomic():
            Measured.objects.create(pk=BIG)
        with pytest.raises(ValueOutOfRange, match=r"Measured\.id cannot be"), transaction.atomic():
            SmallKey.objects.create(measured_id=BIG)

    def test_automatic_keys(self, db: None) -> None:
        """Are given by the database, and are no expression of ours."""
        first, second = SmallKey.objects.create(), SmallKey.objects.create()
        assert second.pk > first.pk
        assert isinstance(Measured._meta.pk, models.AutoField)
        assert isinstance(SmallKey._meta.pk, models.AutoField)

    def test_looking_for_what_cannot_be(self, measured: Measured) -> None:
        """Finds nothing, in the database and through the cache."""
        assert not Measured.objects.filter(small=INT).exists()
        assert not Measured.objects.filter(pk=BIG).exists()
        assert Measured.objects.filter(small__lt=INT).exists()
        with pytest.raises(Measured.DoesNotExist):
            Measured.objects.get_from_cache(pk=BIG)
        assert Measured.objects.get_many_from_cache([measured.pk, measured.pk]) == [measured, measured]

    def test_other_values_are_as_djangos(self, measured: Measured) -> None:
        """Text that is a number, None where it may be, expressions; and the errors of what is no number."""
        by_save("small", "12")
        by_save("big", None)
        Measured.objects.update(count=F("count") + 1)
        assert Measured.objects.values_list("small", "big", "count").get() == (12, None, 4)
        with pytest.raises(ValueError, match="'small' expected a number but got 'many'"), transaction.atomic():
            by_save("small", "many")
        with pytest.raises(TypeError, match="'small' expected a number"), transaction.atomic():
            by_save("small", [])
        with pytest.raises(ValueOutOfRange, match="small cannot be inf"), transaction.atomic():
            by_save("small", float("inf"))


class TestDicts:
    """GzippedDictField."""

    @pytest.mark.parametrize(
        "value",
        [{}, {"a": 1}, {"ключ": ["ü", None, True, 1.5, {"x": {}}]}, {"text": "x" * 10_000}, {"big": 10**100}],
    )
    def test_a_dict_comes_back(self, db: None, value: dict[str, Any]) -> None:
        """From the database and from the cache, compressed in the column."""
        row = Zipped.objects.create(slug="a", data=value)
        assert Zipped.objects.get().data == value
        for _ in range(3):
            assert Zipped.objects.get_from_cache(pk=row.pk).data == value
        assert Zipped.objects.get_from_cache(slug="a").data == value
        assert caches["default"].statistics.hits > 0
        assert json.loads(zlib.decompress(base64.b64decode(column("data", row.pk)))) == value
        assert len(column("data", row.pk)) < 300

    def test_each_reader_has_a_dict_of_its_own(self, db: None) -> None:
        """What one does to it no other sees, before it is saved."""
        pk = Zipped.objects.create(slug="a", data={"list": []}).pk
        for _ in range(3):
            seen = Zipped.objects.get_from_cache(pk=pk)
            assert seen.data == {"list": []}
            seen.data["list"].append(1)
        seen.save()
        assert Zipped.objects.get_from_cache(pk=pk).data == {"list": [1]}

    def test_null_and_nothing(self, db: None) -> None:
        """Are {}; None is NULL where the column may be, and {} where not."""
        row = Zipped.objects.create(slug="a", data=None, maybe=None)
        assert column("maybe", row.pk) is None
        for _ in range(3):
            seen = Zipped.objects.get_from_cache(slug="a")
            assert (seen.data, seen.maybe, seen.short) == ({}, {}, {})
        assert Zipped().data == {}
        assert Zipped().data is not Zipped().data
        assert Zipped.objects.filter(maybe__isnull=True).exists()
        put("data", "")
        assert Zipped.objects.get().data == {}

    RUBBISH: ClassVar = {
        "text": "no base64 at all",
        "base64 of no zlib": base64.b64encode(b"rubbish").decode(),
        "a truncated stream": packed(b'{"a": 1}')[:12],
        "an older field's pickle": packed(pickle.dumps({"a": 1})),
        "a list": packed(b"[1, 2]"),
        "a number": packed(b"1"),
        "broken JSON": packed(b'{"a": '),
        "JSON of another encoding": packed(b"\xff\xfe\x00"),
        "depth": packed(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "broken plain JSON": '{"a": ',
        "too many digits": packed(b'{"a": ' + b"1" * 10_000 + b"}"),
        "letters beyond ASCII": "ключ",
    }

    @pytest.mark.parametrize("text", RUBBISH.values(), ids=RUBBISH)
    def test_rubbish_is_an_empty_dict(self, db: None, text: str, caplog: pytest.LogCaptureFixture) -> None:
        """And logged, with the name of the field; from the database as from the cache."""
        row = Zipped.objects.create(slug="a", data={"a": 1})
        put("data", text)
        with caplog.at_level(logging.WARNING, "cachecore"):
            assert Zipped.objects.get().data == {}
        [record] = caplog.records
        assert "django_extras_app.Zipped.data holds text that is no compressed dict" in record.getMessage()
        for _ in range(3):
            assert Zipped.objects.get_from_cache(pk=row.pk).data == {}

    @pytest.mark.parametrize("text", RUBBISH.values(), ids=RUBBISH)
    def test_rubbish_is_not_lost_by_saving_the_row(self, db: None, text: str) -> None:
        """An instance that is loaded and saved writes it again, and what is put in its place replaces it."""
        row = Zipped.objects.create(slug="a")
        put("data", text)
        seen = Zipped.objects.get_from_cache(pk=row.pk)
        seen.maybe = {"b": 2}
        seen.save()
        assert column("data", row.pk) == text
        [again] = serializers.deserialize("json", serializers.serialize("json", [Zipped.objects.get()]))
        again.save()
        assert column("data", row.pk) == text
        with pytest.raises(ValidationError, match="holds text that is no compressed dict"):
            seen.full_clean()
        seen.data["c"] = 3
        seen.save()
        assert Zipped.objects.get_from_cache(pk=row.pk).data == {"c": 3}
        put("data", text)
        update(seen, data={})
        assert type(Zipped.objects.get().data) is dict

    def test_an_unreadable_dict_is_an_empty_dict(self) -> None:
        """In every respect but what is saved; pickles carry that along."""
        unreadable = UnreadableDict("text")
        assert unreadable == {}
        assert not unreadable
        unreadable["a"] = 1
        again = pickle.loads(pickle.dumps(unreadable))
        assert (again, again.text, type(again)) == ({"a": 1}, "text", UnreadableDict)

    def test_a_bomb_does_not_go_off(self, db: None) -> None:
        """A few bytes that expand to a hundred megabytes are rubbish, and never expanded."""
        Zipped.objects.create(slug="a")
        put("data", packed(b'{"a": "' + b" " * 100_000_000 + b'"}'))
        tracemalloc.start()
        try:
            assert Zipped.objects.get().data == {}
            assert tracemalloc.get_traced_memory()[1] < 60_000_000
        finally:
            tracemalloc.stop()

    def test_the_limit_is_the_fields(self, db: None) -> None:
        """max_bytes of JSON can be written and read; one more can neither."""
        fits = {"a": "x" * 32}
        assert len(json.dumps(fits, separators=(",", ":"))) == 40
        row = Zipped.objects.create(slug="a", short=fits)
        assert Zipped.objects.get_from_cache(slug="a").short == fits
        row.short = {"a": "x" * 33}
        with (
            pytest.raises(UnsupportedValue, match=r"Zipped\.short: 41 bytes of JSON are more than max_bytes=40"),
            transaction.atomic(),
        ):
            row.save()
        put("short", packed(json.dumps({"a": "x" * 33}, separators=(",", ":")).encode()))
        assert Zipped.objects.get().short == {}

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ([1], r"Zipped\.data is a dict, not \[1\]"),
            ("text", r"Zipped\.data is a dict, not 'text'"),
            (5, r"Zipped\.data is a dict, not 5"),
            ({"a": object()}, r"Zipped\.data: this dict is no JSON"),
            ({"a": {1, 2}}, "this dict is no JSON"),
            ({"a": b"x"}, "this dict is no JSON"),
            ({"a": float("nan")}, "this dict is no JSON"),
            ({(1, 2): 3}, "this dict is no JSON"),
        ],
    )
    def test_what_is_no_dict_of_json_is_refused(self, db: None, value: Any, said: str) -> None:
        """Before any SQL, by an error that names the field; the row stays as it was."""
        row = Zipped.objects.create(slug="a", data={"kept": 1})
        row.data = value
        with pytest.raises(UnsupportedValue, match=said) as caught, transaction.atomic():
            row.save()
        assert isinstance(caught.value, ValueError)
        assert Zipped.objects.get().data == {"kept": 1}

    def test_a_dict_in_itself_is_refused(self, db: None) -> None:
        """And one that is too deep."""
        loop: dict[str, Any] = {}
        loop["loop"] = loop
        deep: dict[str, Any] = {}
        for _ in range(200_000):
            deep = {"a": deep}
        for value in (loop, deep):
            with pytest.raises(UnsupportedValue, match="this dict is no JSON"), transaction.atomic():
                Zipped.objects.create(slug="a", data=value)
        while deep:  # bit by bit: CPython 3.11 is not fond of freeing it at once
            deep = deep["a"]

    def test_json_is_what_comes_back(self, db: None) -> None:
        """Tuples as lists, keys as text."""
        Zipped.objects.create(slug="a", data={1: (2, 3)})
        assert Zipped.objects.get().data == {"1": [2, 3]}

    def test_all_other_writes(self, db: None) -> None:
        """update, bulk_update and values()."""
        row = Zipped.objects.create(slug="a")
        Zipped.objects.update(data={"a": 1})
        assert Zipped.objects.get_from_cache(slug="a").data == {"a": 1}
        row.data = {"b": 2}
        Zipped.objects.bulk_update([row], ["data"])
        assert Zipped.objects.get_from_cache(slug="a").data == {"b": 2}
        assert Zipped.objects.values_list("data", flat=True).get() == {"b": 2}
        assert update(row, data={"c": 3}) == 1
        assert row.data == Zipped.objects.get_from_cache(slug="a").data == {"c": 3}
        with pytest.raises(ValueError, match="is a dict, not list"), transaction.atomic():
            update(row, data=[1])

    def test_fixtures_are_readable(self, db: None) -> None:
        """JSON text, which is loaded again."""
        row = Zipped.objects.create(slug="a", data={"a": ["b"]})
        text = serializers.serialize("json", [row])
        assert json.loads(json.loads(text)[0]["fields"]["data"]) == {"a": ["b"]}
        Zipped.objects.all().delete()
        for loaded in serializers.deserialize("json", text):
            loaded.save()
        assert Zipped.objects.get_from_cache(slug="a").data == {"a": ["b"]}

    def test_forms(self, db: None) -> None:
        """Are forms of JSON."""
        form_class: Any = modelform_factory(Zipped, fields=["slug", "data", "maybe"])
        form = form_class({"slug": "a", "data": '{"a": 1}', "maybe": ""})
        assert form.is_valid(), form.errors
        row = form.save()
        assert (row.data, Zipped.objects.get().maybe) == ({"a": 1}, {})
        assert "{&quot;a&quot;: 1}" in str(form_class(instance=Zipped.objects.get())["data"])
        assert "data" in form_class({"slug": "b", "data": "rubbish"}).errors
        assert "data" in form_class({"slug": "b", "data": "[1]"}).errors


class TestDeclarations:
    """Migrations and bad arguments."""

    @pytest.mark.parametrize(
        ("field", "written"),
        [
            (BoundedIntegerField(default=1), "BoundedIntegerField(default=1)"),
            (BoundedBigIntegerField(null=True), "BoundedBigIntegerField(null=True)"),
            (BoundedPositiveIntegerField(), "BoundedPositiveIntegerField()"),
            (BoundedAutoField(primary_key=True), "BoundedAutoField(primary_key=True)"),
            (BoundedBigAutoField(primary_key=True), "BoundedBigAutoField(primary_key=True)"),
            (GzippedDictField(), "GzippedDictField()"),
            (GzippedDictField(null=True, max_bytes=40), "GzippedDictField(max_bytes=40, null=True)"),
        ],
    )
    def test_migrations(self, field: Any, written: str) -> None:
        """Are written with what is not the default, and make an equal field."""
        text, imports = MigrationWriter.serialize(field)
        assert text == f"cachecore.integrations.django.fields.{written}"
        scope: dict[str, Any] = {}
        exec("\n".join(imports), scope)
        again = eval(text, scope)
        assert type(again) is type(field)
        assert again.deconstruct() == field.deconstruct()
        assert [type(one) for one in again.validators] == [type(one) for one in field.validators]

    def test_columns(self) -> None:
        """Are those of Django's fields, whose column type is not ours to change."""
        for field, django in (
            (BoundedIntegerField(), models.IntegerField()),
            (BoundedBigIntegerField(), models.BigIntegerField()),
            (BoundedPositiveIntegerField(), models.PositiveIntegerField()),
            (BoundedAutoField(primary_key=True), models.AutoField(primary_key=True)),
            (BoundedBigAutoField(primary_key=True), models.BigAutoField(primary_key=True)),
            (GzippedDictField(), models.TextField()),
        ):
            field.set_attributes_from_name("x")
            django.set_attributes_from_name("x")
            assert field.db_type(connection) == django.db_type(connection)
            assert field.rel_db_type(connection) == django.rel_db_type(connection)

    @pytest.mark.parametrize("max_bytes", [0, -1, None, "40", 1.5, True])
    def test_a_wrong_limit(self, max_bytes: Any) -> None:
        """Is named when the field is made."""
        with pytest.raises(ConfigurationError, match="GzippedDictField: max_bytes must be a positive int, not"):
            GzippedDictField(max_bytes=max_bytes)

    def test_the_default_key_of_a_project(self, settings: Any) -> None:
        """DEFAULT_AUTO_FIELD may name the bounded ones."""
        settings.DEFAULT_AUTO_FIELD = "cachecore.integrations.django.fields.BoundedBigAutoField"
        with isolate_apps("tests.django_extras_app"):

            class Made(models.Model):
                class Meta:
                    app_label = "django_extras_app"

        assert type(Made._meta.pk) is BoundedBigAutoField
        assert Made.check() == []
