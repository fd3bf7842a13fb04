"""A row of a Django model becomes an instance that nothing tells from one the database gave, and back."""

import copy
import os
import pickle
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection, models
from django.db.models import F
from django.db.models.base import ModelState
from django.db.models.signals import post_init, pre_init
from django.test.utils import CaptureQueriesContext
from django.utils.safestring import mark_safe

from cachecore.codec import Column, RowCodec
from cachecore.errors import ConfigurationError, CorruptEntry, UnsupportedValue
from cachecore.integrations.django import _rows_py, rows
from cachecore.integrations.django.rows import RowLayout, columns_of
from tests.django_app.fields import Point
from tests.django_app.models import (
    Abstract,
    Author,
    Book,
    Colour,
    EveryType,
    Level,
    Located,
    LocatedUse,
    Lowered,
    Membership,
    Opaque,
    Place,
    PlaceProxy,
    Priced,
    Remembering,
    Restaurant,
    Rounded,
    Token,
    TokenUse,
    Twelve,
)

try:
    from cachecore.integrations.django import _rows_c
except ImportError:
    if os.environ.get("CACHECORE_REQUIRE_EXTENSION") == "1":
        raise
    _rows_c = None  # type: ignore[assignment]

ROOT = Path(__file__).parent.parent
compiled = pytest.mark.skipif(_rows_c is None, reason="the compiled rows are not built")
IMPLEMENTATIONS = [
    pytest.param(_rows_py, id="python"),
    pytest.param(_rows_c, id="cython", marks=compiled),
]


@pytest.fixture(params=IMPLEMENTATIONS)
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RowLayout]:
    """Makes layouts with one implementation, then with the other."""
    monkeypatch.setattr(rows, "instance_maker", request.param.instance_maker)
    return RowLayout


def a_twelve(**changes: Any) -> Twelve:
    values: dict[str, Any] = {
        "slug": "oslo-no",
        "name": "Ósló",
        "text": "A city. " * 5,
        "created": datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=UTC),
        "price": Decimal("12.50"),
        "token": uuid.UUID(int=7),
        "data": {"b": [1, {"c": None}], "a": "ø"},
        "rank": None,
        "score": 1.5,
        "day": date(2024, 2, 29),
    }
    twelve = Twelve.objects.create(**(values | changes))
    return Twelve.objects.get(pk=twelve.pk)


def state_of(instance: models.Model) -> dict[str, Any]:
    """The attributes but for the state, and for the mark that Django's unpickling leaves."""
    return {name: value for name, value in vars(instance).items() if name not in ("_state", "_django_version")}


def assert_alike(made: models.Model, loaded: models.Model) -> None:
    """Same class, attributes of the same values and types, and a state of a loaded instance."""
    assert type(made) is type(loaded)
    assert state_of(made) == state_of(loaded)
    assert [type(value) for value in state_of(made).values()] == [type(value) for value in state_of(loaded).values()]
    assert list(state_of(made)) == list(state_of(loaded))
    assert type(made._state) is ModelState
    assert (made._state.adding, made._state.db) == (False, "default")
    assert made._state.fields_cache == {}


def through_all_forms(layout: RowLayout, row: tuple[Any, ...]) -> list[models.Model]:
    """Instances of a row that was stored, and of one that was frozen, each with and without thawing first."""
    codec = layout.codec
    data, (frozen, _) = codec.encode(row), codec.freeze(row)
    return [
        layout.instance(codec.decode(data), "default", None),
        layout.instance_of_frozen(codec.decode_frozen(data), "default", None),
        layout.instance(codec.thaw(frozen), "default", None),
        layout.instance_of_frozen(frozen, "default", None),
    ]


def assert_round_trip(layout: RowLayout, loaded: models.Model) -> None:
    (row,) = layout.select(layout.model._base_manager.filter(pk=loaded.pk))
    assert layout.row_of(loaded) == row
    for made in through_all_forms(layout, row):
        assert_alike(made, loaded)


# Columns --------------------------------------------------------------------------------------------------------


def test_columns_of_twelve() -> None:
    """Every concrete field gives a column of its type, in order, nullable but for the primary key."""
    assert columns_of(Twelve) == (
        Column("id", int, False),
        Column("slug", str),
        Column("name", str),
        Column("text", str),
        Column("created", datetime),
        Column("price", Decimal),
        Column("token", uuid.UUID),
        Column("data", object, kind="json"),
        Column("active", bool),
        Column("rank", int),
        Column("score", float),
        Column("day", date),
    )


def test_columns_of_relations() -> None:
    """A foreign key has its attname and the type of the field it refers to, however far that is."""
    assert [(column.name, column.type) for column in columns_of(Book)] == [
        ("id", int),
        ("author_id", int),
        ("by_slug_id", str),
        ("title", str),
        ("pages", int),
    ]
    assert [column.type for column in columns_of(TokenUse)] == [uuid.UUID, uuid.UUID]
    assert columns_of(LocatedUse)[1] == Column("located_id", str, kind="text")


def test_columns_of_special_models() -> None:
    """Parents' fields, generated fields and the parts of a composite key are columns; a proxy has its model's."""
    assert [column.name for column in columns_of(Restaurant)] == ["id", "name", "city", "place_ptr_id", "stars"]
    assert columns_of(PlaceProxy) == columns_of(Place)
    assert columns_of(Priced)[3] == Column("upper", str)
    assert [column.name for column in columns_of(Membership)] == ["tenant", "number", "note"]
    assert [column.type for column in columns_of(EveryType)] == [
        int, int, int, bytes, time, timedelta, str, str, str, str, str,
    ]  # fmt: skip
    assert {column.kind for column in columns_of(User)} == {"scalar"}


def test_custom_fields() -> None:
    """A subclass that changes nothing about values is its base; one that does is stored as text."""
    assert columns_of(EveryType)[-1] == Column("loud", str)
    assert columns_of(Located)[1] == Column("spot", str, kind="text")
    with pytest.raises(ConfigurationError, match=r"django_app\.Opaque\.tags: OpaqueField has a from_db_value but no"):
        columns_of(Opaque)


def test_model_without_rows() -> None:
    """An abstract model is a configuration error that names it."""
    with pytest.raises(ConfigurationError, match="Abstract"):
        columns_of(Abstract)


# Round trips ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_twelve_fields(layout: Callable[..., RowLayout]) -> None:
    """An instance from any stored form is what the database gave, attribute for attribute, in the same order."""
    assert_round_trip(layout(Twelve), a_twelve())
    assert_round_trip(layout(Twelve), a_twelve(slug="empty", data=[], rank=5, active=False))


@pytest.mark.django_db
def test_every_field_type(layout: Callable[..., RowLayout]) -> None:
    """Every stock field class round-trips, with values and with NULLs."""
    full = EveryType.objects.create(
        small=5,
        big=-(2**63),
        blob=b"\x00\xff",
        at=time(1, 2, 3, 4),
        span=timedelta(-1, 5),
        address="2001:db8::1",
        url="https://example.org/",
        email="a@example.org",
        upload="a/b.txt",
        loud="HEY",
    )
    for instance in (full, EveryType.objects.create()):
        assert_round_trip(layout(EveryType), EveryType.objects.get(pk=instance.pk))


@pytest.mark.django_db
def test_special_models(layout: Callable[..., RowLayout]) -> None:
    """Inheritance, proxies, generated columns, database defaults, composite and foreign primary keys round-trip."""
    author = Author.objects.create(name="A", slug="a")
    token = Token.objects.create(label="t")
    instances: list[Any] = [
        Restaurant.objects.create(name="R", stars=3),
        PlaceProxy.objects.create(name="P"),
        Priced.objects.create(net=Decimal("1.50"), name="abc"),
        Book.objects.create(author=author, by_slug=author, title="B"),
        TokenUse.objects.create(token=token),
        User.objects.create(username="u", last_login=datetime(2024, 1, 1, tzinfo=UTC)),
        Group.objects.create(name="g"),
        Membership.objects.create(tenant=1, number=2, note="n"),
    ]
    for instance in instances:
        loaded = type(instance)._base_manager.get(pk=instance.pk)
        assert_round_trip(layout(type(instance)), loaded)


@pytest.mark.django_db
def test_custom_values(layout: Callable[..., RowLayout]) -> None:
    """Objects of a custom field, behind a foreign key too, come back equal and each reader gets its own."""
    located = Located.objects.create(spot=Point(1, -2), anchor=Point(3, 4))
    Located.objects.create(spot=None, anchor=Point(5, 6))
    LocatedUse.objects.create(located=located)
    for model in (Located, LocatedUse):
        for instance in model._base_manager.all():
            assert_round_trip(layout(model), instance)


@pytest.mark.django_db
def test_custom_values_that_do_not_round_trip(layout: Callable[..., RowLayout]) -> None:
    """A custom value that its text would change is refused, naming model and field, and is never stored."""
    Rounded.objects.create(amount=1.0)
    Rounded.objects.create(amount=1.5)
    faithful, unfaithful = layout(Rounded).select(Rounded.objects.order_by("amount"))
    codec = layout(Rounded).codec
    assert codec.decode(codec.encode(faithful)) == faithful
    for refuse in (codec.encode, codec.freeze):
        with pytest.raises(UnsupportedValue, match=r"column 'amount' \(text\).*django_app\.Rounded\.amount"):
            refuse(unfaithful)


def test_custom_text_that_does_not_parse(layout: Callable[..., RowLayout]) -> None:
    """Stored text that the field's to_python cannot read is a corrupt entry, not an error of its own."""
    plain = RowCodec([Column("id", int, False), Column("spot", str), Column("anchor", str)])
    made = layout(Located)
    frozen = made.codec.decode_frozen(plain.encode((1, "no point", "1;2")))
    with pytest.raises(CorruptEntry, match=r"django_app\.Located\.spot"):
        made.instance_of_frozen(frozen, "default", None)
    with pytest.raises(CorruptEntry, match=r"django_app\.Located\.spot"):
        made.codec.decode(plain.encode((1, "no point", "1;2")))


# An instance behaves --------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_instance_is_a_normal_instance(layout: Callable[..., RowLayout]) -> None:
    """It equals and hashes as the loaded one, saves as an UPDATE, refreshes, copies and pickles."""
    loaded = a_twelve()
    made = layout(Twelve).instance_of_frozen(
        layout(Twelve).codec.freeze(layout(Twelve).row_of(loaded))[0], "default", None
    )
    assert made == loaded
    assert hash(made) == hash(loaded)
    made.name = "Bergen"
    with CaptureQueriesContext(connection) as queries:
        made.save()
    assert [query["sql"].split()[0] for query in queries if "SAVEPOINT" not in query["sql"]] == ["UPDATE"]
    made.name = "Trondheim"
    made.refresh_from_db()
    assert made.name == "Bergen"
    for twin in (copy.deepcopy(made), copy.copy(made), pickle.loads(pickle.dumps(made))):
        assert_alike(twin, made)
    twin = copy.deepcopy(made)
    twin.data["b"].append("changed")
    assert made.data == loaded.data
    made.delete()
    assert not Twelve.objects.exists()


@pytest.mark.django_db
def test_relations_of_an_instance(layout: Callable[..., RowLayout]) -> None:
    """A foreign key loads and remembers its object, and forgets it when the key is assigned."""
    first, second = (Author.objects.create(name=name, slug=name) for name in ("a", "b"))
    book = Book.objects.create(author=first, title="B")
    made: Any = layout(Book).instance(layout(Book).row_of(book), "default", None)
    with CaptureQueriesContext(connection) as queries:
        assert made.author == first
        assert made.author is made.author
    assert len(queries) == 1
    made.author_id = second.pk
    assert made.author == second
    assert list(first.books.all()) == [made]


@pytest.mark.django_db
def test_deferred_and_missing_attributes(layout: Callable[..., RowLayout]) -> None:
    """A row of a deferred instance is refused by name, and no query is made to complete it."""
    loaded = a_twelve()
    deferred = Twelve.objects.defer("text").get(pk=loaded.pk)
    with (
        CaptureQueriesContext(connection) as queries,
        pytest.raises(UnsupportedValue, match=r"Twelve\.text is deferred"),
    ):
        layout(Twelve).row_of(deferred)
    assert not queries.captured_queries


@pytest.mark.django_db
def test_select_makes_one_query_and_no_instances(layout: Callable[..., RowLayout]) -> None:
    """select reads rows without building an instance, whatever was deferred or joined before."""
    a_twelve()
    built: list[object] = []

    def receive(**kwargs: Any) -> None:
        built.append(kwargs)

    pre_init.connect(receive, sender=Twelve)
    try:
        with CaptureQueriesContext(connection) as queries:
            (row,) = layout(Twelve).select(Twelve.objects.defer("text"))
    finally:
        pre_init.disconnect(receive, sender=Twelve)
    assert len(queries) == 1
    assert len(row) == 12
    assert not built


def test_values_that_are_not_yet_columns(layout: Callable[..., RowLayout]) -> None:
    """An expression, an unconverted string and a database default are refused by the codec, naming the column."""
    made = layout(Book)
    for changes, column in (
        ({"pages": F("pages") + 1}, "pages"),
        ({"pages": "7"}, "pages"),
        ({}, "pages"),
        ({"pages": 1, "title": None, "author_id": "7"}, "author_id"),
    ):
        book = Book(**{"id": 1, "author_id": 1, "by_slug_id": None, "title": "t", **changes})
        with pytest.raises(UnsupportedValue, match=f"column '{column}'"):
            made.codec.encode(made.row_of(book))


def test_values_of_subclasses(layout: Callable[..., RowLayout]) -> None:
    """SafeString, TextChoices and IntegerChoices are stored as their base values, and a file field as its name."""
    made = layout(Author)
    author = Author(id=1, name=mark_safe("<b>"), slug="s", colour=Colour.RED, level=Level.LOW)
    for result in through_all_forms(made, made.row_of(author)):
        assert [(type(value), value) for value in state_of(result).values()] == [
            (int, 1), (str, "<b>"), (str, "s"), (str, "red"), (int, 1),
        ]  # fmt: skip
    upload = EveryType(id=1, upload="a/b.txt")
    assert upload.upload.name == "a/b.txt"
    assert layout(EveryType).row_of(upload)[9] == "a/b.txt"


def test_each_instance_has_its_own_structures(layout: Callable[..., RowLayout]) -> None:
    """What one reader does to a JSON value of an instance, the next one does not see."""
    made = layout(Twelve)
    row = (1, "s", "n", "t", datetime(2024, 1, 1, tzinfo=UTC), Decimal(1), uuid.UUID(int=1), {"a": [1]}, True, 1, 1.0,
           date(2024, 1, 1))  # fmt: skip
    frozen, _ = made.codec.freeze(row)
    first: Any = made.instance_of_frozen(frozen, "default", None)
    first.data["a"].append(2)
    second: Any = made.instance_of_frozen(frozen, "default", None)
    assert second.data == {"a": [1]}
    first.name = "changed"
    assert second.name == "n"


def test_state(layout: Callable[..., RowLayout]) -> None:
    """_state is Django's own, with the alias and what is tracked, and each instance has its own."""
    made = layout(Author)
    row = (1, "n", "s", "red", 1)
    first = made.instance(row, "replica", ("n",))
    second = made.instance(row, None, None)
    assert (first._state.db, second._state.db) == ("replica", None)
    assert (first._state.cachecore, second._state.cachecore) == (("n",), None)  # type: ignore[attr-defined]
    first._state.fields_cache["x"] = 1
    assert second._state.fields_cache == {}
    assert pickle.loads(pickle.dumps(first))._state.cachecore == ("n",)
    assert first is not second


@pytest.mark.parametrize("row", [(), (1,), (1, "n", "s", "red", 1, 2)])
@pytest.mark.parametrize("from_db", [True, False])
def test_row_of_another_length(layout: Callable[..., RowLayout], row: tuple[object, ...], from_db: bool) -> None:
    """A row of another length builds nothing."""
    with pytest.raises(UnsupportedValue, match="for 5 columns"):
        layout(Author, from_db=from_db).instance(row, "default", None)


# from_db --------------------------------------------------------------------------------------------------------


def test_from_db_calls_init_and_signals(layout: Callable[..., RowLayout]) -> None:
    """Asked for, instances are built by from_db and post_init is sent; otherwise it is not."""
    seen: list[str] = []

    def receive(instance: Any, **kwargs: Any) -> None:
        seen.append(instance.name)

    row = (1, "n", "s", "red", 1)
    post_init.connect(receive, sender=Author)
    try:
        layout(Author).instance(row, "default", None)
        assert not seen
        made = layout(Author, from_db=True).instance(row, "default", ("t",))
    finally:
        post_init.disconnect(receive, sender=Author)
    assert seen == ["n"]
    assert made._state.cachecore == ("t",)  # type: ignore[attr-defined]
    assert_alike(made, layout(Author).instance(row, "default", None))


def test_models_that_need_from_db(layout: Callable[..., RowLayout]) -> None:
    """A model with an __init__ of its own, or a descriptor that changes what is set, is built by from_db unasked."""
    assert not layout(Twelve).uses_from_db
    assert not layout(EveryType).uses_from_db
    assert not layout(User).uses_from_db
    remembering: Any = layout(Remembering).instance((1, "n"), "default", None)
    assert remembering.name_when_made == "n"
    lowered: Any = layout(Lowered).instance((1, "LOUD"), "default", None)
    assert lowered.word == "loud"
    assert not hasattr(layout(Remembering, from_db=False).instance((1, "n"), "default", None), "name_when_made")


def test_forced_implementation() -> None:
    """CACHECORE_IMPLEMENTATION chooses the implementation, and anything but the two names is an error naming it."""
    program = (
        "import django; django.setup(); from cachecore.integrations.django import rows; print(rows.implementation)"
    )

    def run(forced: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "CACHECORE_IMPLEMENTATION": forced,
            "DJANGO_SETTINGS_MODULE": "tests.django_settings",
        }
        return subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True
        )

    assert run("python").stdout.strip() == "python"
    assert "CACHECORE_IMPLEMENTATION must be cython, python or unset, not 'rust'" in run("rust").stderr
    forced = run("cython")
    if _rows_c is None:
        assert "CACHECORE_IMPLEMENTATION is cython, but the compiled cachecore." in forced.stderr
    else:
        assert forced.stdout.strip() == "cython"
