"""What becomes of bad input: a value of the wrong type is an error that names it, a value that no column can hold names
no row and breaks no batch of others, and whatever is refused leaves rows, cache and transaction as they were.

The lookups that exist and do not exist are in test_django_lookups, the targets of invalidate() in
test_django_invalidation, wrong fields of update() and create_or_update() in test_django_update and
test_django_create_or_update, bounded fields in test_django_fields, declarations in test_django_lists and
test_django_checks, local_cache(rows=...) in test_django_local.
"""

import datetime
import enum
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import DatabaseError, connection, models, transaction
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from cachecore.cache import Cache
from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.integrations.django import (
    CacheManager,
    DependsOn,
    MappingManager,
    cache_bypassed,
    cached_function,
    follow_from_cache,
    from_cache,
    invalidate,
    local_cache,
    prefetch_from_cache,
    register,
)
from cachecore.integrations.django.lookup_values import can_hold, lookup_value, shown
from cachecore.integrations.django.model_cache import MOST_TOGETHER
from cachecore.integrations.django.orm.create_or_update import create_or_update
from cachecore.integrations.django.orm.instance_update import RowError, update
from cachecore.integrations.django.writing import dependents, writes
from cachecore.testing.counting import counting
from tests.conftest import ON_SQLITE
from tests.django_extras_app.models import Document, Player
from tests.geo_app.models import (
    City,
    CityProxy,
    Country,
    CountryOption,
    Device,
    GlobalOption,
    Line,
    Person,
    Seat,
    Stop,
    Visitor,
)

pytestmark = [pytest.mark.django_db(databases=["default", "other"]), pytest.mark.usefixtures("each_cache")]

Ask = Callable[[Any, Any], Any]


class Raises:
    """An object of an application that can do nothing."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    def __hash__(self) -> int:
        raise RuntimeError("not hashable")

    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")

    __str__ = __repr__


class Loud(str):
    """A text that cannot be compared, hashed or converted, and is a text nevertheless."""

    __eq__ = Raises.__eq__
    __hash__ = Raises.__hash__
    __str__ = Raises.__str__


class One(enum.IntEnum):
    """A number by another name."""

    ONE = 1


class Slug(enum.StrEnum):
    """A text by another name."""

    OSLO = "os"


@pytest.fixture
def world() -> Any:
    """One row of each model, with the primary key 1, and the same in a replica."""
    Country.objects.using("other").create(pk=1, code="NO", name="Norway")
    City.objects.using("other").create(pk=1, slug="os", name="os", country_id=1)
    Line.objects.using("other").create(pk=1, name="red")
    Stop.objects.using("other").create(pk=1, slug="os", line_id=1, kind="os")
    norway = Country.objects.create(pk=1, code="NO", name="Norway")
    line = Line.objects.create(pk=1, name="red")
    CountryOption.objects.create(country=norway, key="os", value=7)
    return SimpleNamespace(
        norway=norway,
        oslo=City.objects.create(pk=1, slug="os", name="os", country=norway),
        seat=Seat.objects.create(row="os", number=1, code="A1"),
        line=line,
        stop=Stop.objects.create(pk=1, slug="os", line=line, kind="os"),
    )


def one(model: Any, **query: Any) -> list[Any]:
    """The row of a lookup, or nothing."""
    try:
        return [model.get_from_cache(**query)]
    except model.model.DoesNotExist:
        return []


def home(w: Any, value: Any) -> Any:
    """What prefetch_from_cache makes of a foreign key with this value; another one beside it is filled."""
    strange, usual = Person(home_id=value), Person(home_id=1)
    prefetch_from_cache([strange, usual], "home")
    assert usual._state.fields_cache["home"] == w.oslo
    return [found for found in (strange._state.fields_cache.get("home"),) if found]


def after_a_write(w: Any, value: Any) -> Any:
    """In a transaction that has written a row, in which rows come from the database."""
    with transaction.atomic():
        City.objects.filter(pk=1).update(population=1)
        return one(City.objects, pk=value) + City.objects.get_many_from_cache([value])[1:]


def locally(w: Any, value: Any) -> Any:
    """Beside a row that a local cache remembers."""
    with local_cache():
        assert City.objects.get_from_cache(pk=1) == w.oslo
        assert City.objects.get_many_from_cache([1, value, 1])[0] == w.oslo
        return one(City.objects, pk=value)


def bypassed(w: Any, value: Any) -> Any:
    """In a block that reads the database."""
    with cache_bypassed():
        return [*one(City.objects, pk=value), *City.objects.get_many_from_cache([value])[1:]]


def beside(found: list[Any], usual: Any) -> list[Any]:
    """The rest of a batch, whose first and last are as ever."""
    assert found[0] == usual
    assert found[-1] == usual
    return found[1:-1]


def in_bulk(w: Any, value: Any) -> list[Any]:
    """The option of a scope, beside that of another one."""
    found = CountryOption.objects.get_value_bulk(iter([w.norway, value]), "os")
    assert found.pop(w.norway) == 7
    return [option for option in found.values() if option]


NUMBERS: dict[str, Ask] = {
    "get_from_cache by primary key": lambda w, v: one(City.objects, pk=v),
    "get_from_cache by two columns": lambda w, v: one(City.objects, country=v, name="os"),
    "get_from_cache by a composite key": lambda w, v: one(Seat.objects, pk=("os", v)),
    "aget_from_cache": lambda w, v: one(
        SimpleNamespace(model=City, get_from_cache=async_to_sync(City.objects.aget_from_cache)), pk=v
    ),
    "get_many_from_cache": lambda w, v: beside(City.objects.get_many_from_cache([1, v, 1]), w.oslo),
    "get_many_from_cache of a proxy": lambda w, v: beside(CityProxy.objects.get_many_from_cache([1, v, 1]), w.oslo),
    "get_many_from_cache by two columns": lambda w, v: beside(
        City.objects.get_many_from_cache([(1, "os"), (v, "os"), (1, "os")], key=("country", "name")), w.oslo
    ),
    "get_many_from_cache by a composite key": lambda w, v: beside(
        Seat.objects.get_many_from_cache([("os", 1), ("os", v), ("os", 1)]), w.seat
    ),
    "aget_many_from_cache": lambda w, v: beside(
        async_to_sync(City.objects.aget_many_from_cache)(iter([1, v, 1])), w.oslo
    ),
    "get_list_from_cache": lambda w, v: Stop.objects.get_list_from_cache(line=v),
    "get_list_from_cache by two columns": lambda w, v: Stop.objects.get_list_from_cache(line=v, kind="os"),
    "aget_list_from_cache": lambda w, v: async_to_sync(Stop.objects.aget_list_from_cache)(line=v),
    "get_lists_from_cache": lambda w, v: beside(
        Stop.objects.get_lists_from_cache(iter([1, v, 1]), key="line"), [w.stop]
    )[0],
    "aget_lists_from_cache": lambda w, v: beside(
        async_to_sync(Stop.objects.aget_lists_from_cache)([1, v, 1], key="line"), [w.stop]
    )[0],
    "bypass_cache": lambda w, v: beside(City.objects.bypass_cache().get_many_from_cache([1, v, 1]), w.oslo),
    "bypass_cache, lists": lambda w, v: Stop.objects.bypass_cache().get_list_from_cache(line=v),
    "cache_bypassed": bypassed,
    "using_replica": lambda w, v: beside(City.objects.using_replica("other").get_many_from_cache([1, v, 1]), w.oslo),
    "using_replica, lists": lambda w, v: Stop.objects.using_replica("other").get_list_from_cache(line=v),
    "local_cache": locally,
    "in a transaction": after_a_write,
    "refresh_in_cache": lambda w, v: [found for found in (Stop.objects.refresh_in_cache(v),) if found],
    "arefresh_in_cache": lambda w, v: [found for found in (async_to_sync(Stop.objects.arefresh_in_cache)(v),) if found],
    "MappingManager.get_value": lambda w, v: [x for x in (CountryOption.objects.get_value(v, "os"),) if x],
    "MappingManager.isset": lambda w, v: [1] * CountryOption.objects.isset(v, "os"),
    "MappingManager.get_all_values": lambda w, v: list(CountryOption.objects.get_all_values(v)),
    "MappingManager.get_value_bulk": lambda w, v: in_bulk(w, v),
    "MappingManager.reload_cache": lambda w, v: list(CountryOption.objects.reload_cache(v)),
}
"""Each asks for the row, or rows, of a number."""


TEXTS: dict[str, Ask] = {
    "get_from_cache": lambda w, v: one(City.objects, slug=v),
    "get_from_cache by two columns": lambda w, v: one(City.objects, country=1, name=v),
    "get_from_cache by a composite key": lambda w, v: one(Seat.objects, pk=(v, 1)),
    "get_from_cache, which remembers what is missing": lambda w, v: one(Stop.objects, slug=v),
    "aget_from_cache": lambda w, v: one(
        SimpleNamespace(model=City, get_from_cache=async_to_sync(City.objects.aget_from_cache)), slug=v
    ),
    "get_many_from_cache": lambda w, v: beside(City.objects.get_many_from_cache(["os", v, "os"], key="slug"), w.oslo),
    "get_many_from_cache, which remembers what is missing": lambda w, v: beside(
        Stop.objects.get_many_from_cache(["os", v, "os"], key="slug"), w.stop
    ),
    "get_many_from_cache by two columns": lambda w, v: beside(
        City.objects.get_many_from_cache([(1, "os"), (1, v), (1, "os")], key=("country", "name")), w.oslo
    ),
    "aget_many_from_cache": lambda w, v: beside(
        async_to_sync(City.objects.aget_many_from_cache)(["os", v, "os"], key="slug"), w.oslo
    ),
    "get_list_from_cache": lambda w, v: Stop.objects.get_list_from_cache(line=1, kind=v),
    "get_lists_from_cache": lambda w, v: beside(
        Stop.objects.get_lists_from_cache([(1, "os"), (1, v), (1, "os")], key=("line", "kind")), [w.stop]
    )[0],
    "bypass_cache": lambda w, v: beside(
        City.objects.bypass_cache().get_many_from_cache(["os", v, "os"], key="slug"), w.oslo
    ),
    "using_replica": lambda w, v: beside(
        City.objects.using_replica("other").get_many_from_cache(["os", v, "os"], key="slug"), w.oslo
    ),
    "MappingManager.get_value": lambda w, v: [x for x in (CountryOption.objects.get_value(w.norway, v),) if x],
    "MappingManager.isset": lambda w, v: [1] * CountryOption.objects.isset(w.norway, v),
    "MappingManager.get_value_bulk": lambda w, v: [
        x for x in CountryOption.objects.get_value_bulk([w.norway], v).values() if x
    ],
}
"""Each asks for the row, or rows, of a text."""

OUT_OF_RANGE = [2**63, -(2**63) - 1, 10**5000, "9" * 30, Decimal(10) ** 40, uuid.UUID(int=2**127)]
IMPOSSIBLE_TEXTS = ["a\0b", "\ud800", "oslo\udcff", "x" * 5_000_000, "\0"]


class TestValuesThatNoColumnHolds:
    """They name no row: not an error, not in the way of others, and nothing that a transaction would not survive."""

    @pytest.mark.parametrize("ask", NUMBERS)
    def test_a_number_out_of_range(self, ask: str, world: Any) -> None:
        """It is not found, again and again; the rows asked for with it are."""
        for value in OUT_OF_RANGE:
            for _ in range(2):
                assert NUMBERS[ask](world, value) == [], shown(value)
        assert City.objects.count() == 1
        assert NUMBERS[ask](world, 1)

    @pytest.mark.parametrize("ask", TEXTS)
    def test_text_that_cannot_be(self, ask: str, world: Any) -> None:
        """NUL, which PostgreSQL does not have, lone surrogates, which nobody has, and five megabytes."""
        for value in IMPOSSIBLE_TEXTS:
            for _ in range(2):
                assert TEXTS[ask](world, value) == [], shown(value)
        assert City.objects.count() == 1
        assert TEXTS[ask](world, "os")

    def test_foreign_keys_of_instances(self, world: Any) -> None:
        """prefetch_from_cache leaves them unset, as it does with a key that has no row."""
        for value in (*OUT_OF_RANGE, "5.0", 5.5, float("inf"), [1], "nowhere"):
            assert home(world, value) == []
        assert home(world, "1") == [world.oslo]

    def test_outdating(self, world: Any, django_assert_num_queries: Any) -> None:
        """uncache_object has nothing to do, and other rows stay."""
        assert one(Stop.objects, pk=1) == [world.stop]
        for value in OUT_OF_RANGE:
            Stop.objects.uncache_object(value)
            async_to_sync(Stop.objects.auncache_object)(value)
        with django_assert_num_queries(0):
            assert one(Stop.objects, pk=1) == [world.stop]

    def test_removing(self, world: Any) -> None:
        """unset_value removes nothing and says so."""
        for country in OUT_OF_RANGE:
            assert not CountryOption.objects.unset_value(country, "os")
        for key in IMPOSSIBLE_TEXTS:
            assert not CountryOption.objects.unset_value(world.norway, key)
        assert CountryOption.objects.get_all_values(world.norway) == {"os": 7}

    def test_writing(self, world: Any) -> None:
        """What the database refuses to hold is refused, and what was there before is there and cached as it is."""
        assert one(City.objects, slug="os") == [world.oslo]
        player = Player.objects.create(slug="ada")
        writers: list[Callable[[], Any]] = [
            lambda: CountryOption.objects.set_value(2**63, "os", 1),
            lambda: update(player, score=2**63),
            lambda: player.update(score=-(2**63) - 1),
            lambda: City.objects.create_or_update(slug="os", defaults={"population": 2**63}),
            lambda: create_or_update(City, slug="new", defaults={"population": 2**63, "country": world.norway}),
            lambda: City.objects.filter(pk=1).with_post_update().update(population=2**63),
        ]
        for write in writers:
            with pytest.raises((OverflowError, DatabaseError)), transaction.atomic():
                write()
        assert player.score == 0
        assert City.objects.count() == 1
        assert City.objects.get_from_cache(slug="os").population == City.objects.get().population == 0
        assert Player.objects.get_from_cache(slug="ada").score == 0
        assert CountryOption.objects.get_all_values(world.norway) == {"os": 7}

    def test_what_a_column_holds(self) -> None:
        """It depends on its type and the database, through relations too; other types are not its business."""

        def holds(model: Any, name: str, *values: Any) -> list[bool]:
            return [can_hold(model._meta.get_field(name), "default")(value) for value in values]

        assert holds(City, "id", 0, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, "x") == [
            True,
            True,
            False,
            True,
            False,
            True,
        ]
        assert holds(City, "country", 2**63 - 1, 2**63) == [True, False]
        assert holds(City, "population", 2**31 - 1, 2**31) == [True, ON_SQLITE]
        assert holds(City, "slug", "os", "å", "\ud800", "a\0", 1) == [True, True, False, ON_SQLITE, True]
        assert holds(Device, "id", uuid.uuid4()) == [True]
        assert holds(Player, "price", Decimal("1.50"), Decimal(10) ** 12)[0]


MISTAKES: list[Callable[[], Any]] = [
    lambda: None,
    lambda: 5.5,
    lambda: Decimal("1.5"),
    lambda: float("inf"),
    lambda: float("nan"),
    lambda: Decimal("sNaN"),
    lambda: 1j,
    lambda: "1.0",
    lambda: "one",
    lambda: "",
    lambda: "9" * 5000,
    lambda: b"\xff",
    lambda: [1],
    lambda: {"pk": 1},
    lambda: {1},
    lambda: (1,),
    lambda: (n for n in (1,)),
    lambda: City,
    lambda: City.objects,
    lambda: City.objects.all(),
    lambda: int,
    lambda: ...,
    lambda: object(),
    lambda: Raises(),
    lambda: datetime.date(2026, 1, 1),
    lambda: Document(pk=1),
    lambda: Player(pk=1),
]
"""Makers of what no number is."""


class TestValuesOfTheWrongType:
    """An error that names model and field, and asks and changes nothing."""

    @pytest.mark.parametrize("ask", [ask for ask in NUMBERS if ask != "in a transaction"])
    def test_for_a_number(self, ask: str, world: Any) -> None:
        """Whatever it is, and however it behaves."""
        for make in MISTAKES:
            value = make()
            with pytest.raises(UncacheableLookup, match=r"geo_app\.\w+\.(id|country|number|line)") as caught:
                NUMBERS[ask](world, value)
            assert len(str(caught.value)) < 1000
        assert NUMBERS[ask](world, 1)

    def test_for_a_text(self, world: Any) -> None:
        """A text is made of anything, as Django makes it, but not of an instance, and not of what cannot become one."""
        for value in (None, world.oslo, City.objects.all(), 10**5000):
            for name in TEXTS:
                with pytest.raises(UncacheableLookup, match=r"geo_app\.\w+\.(slug|name|row|kind|key)"):
                    TEXTS[name](world, value)
        for value in (5, [1], City, object(), b"os"):
            for name in TEXTS:
                assert TEXTS[name](world, value) == []

    def test_an_error_of_the_application_is_its_own(self, world: Any) -> None:
        """What a value raises when it becomes a text is raised, as by Django; nothing else happens."""
        for name in TEXTS:
            with pytest.raises(RuntimeError, match="not to be shown"):
                TEXTS[name](world, Raises())
        assert one(City.objects, slug="os") == [world.oslo]

    def test_for_a_uuid(self) -> None:
        """Text that is none, numbers that are none."""
        device = Device.objects.create(label="a")
        for value in ("x", -1, 2**128, 10**5000, 1.5, [device.pk], b"x"):
            with pytest.raises(UncacheableLookup, match=r"geo_app\.Device\.id"):
                Device.objects.get_from_cache(pk=value)
            with pytest.raises(UncacheableLookup, match=r"geo_app\.Device\.id"):
                Device.objects.get_many_from_cache([device.pk, value])
        assert one(Device.objects, pk=str(device.pk)) == [device]

    def test_for_a_float(self) -> None:
        """NaN equals nothing, and no key stands for it."""
        column = models.FloatField()
        column.set_attributes_from_name("ratio")
        with pytest.raises(UncacheableLookup, match=r"geo_app\.City\.ratio cannot be NaN"):
            lookup_value(City, column, float("nan"))
        assert lookup_value(City, column, "1.5") == 1.5

    def test_for_a_row_to_be_outdated(self, world: Any) -> None:
        """uncache_object names it, and outdates nothing."""
        for make in MISTAKES:
            value = make()
            for method in (Stop.objects.uncache_object, async_to_sync(Stop.objects.auncache_object)):
                with pytest.raises(UncacheableLookup, match=r"geo_app\.Stop\.id"):
                    method(value)

    def test_for_an_option(self, world: Any) -> None:
        """What is no scope writes and removes nothing."""
        for make in MISTAKES:
            value = make()
            with pytest.raises(UncacheableLookup, match=r"geo_app\.CountryOption\.country"):
                CountryOption.objects.set_value(value, "os", 1)
            with pytest.raises(UncacheableLookup, match=r"geo_app\.CountryOption\.country"):
                CountryOption.objects.unset_value(value, "os")
        assert CountryOption.objects.get_all_values(world.norway) == {"os": 7}


class TestOtherSpellings:
    """What Django takes for a value is that value: the same row, and the same entry."""

    @pytest.mark.parametrize("ask", NUMBERS)
    def test_of_a_number(self, ask: str, world: Any) -> None:
        """Text, bytes, bool, whole floats and decimals, members of an enumeration, other digits."""
        expected = NUMBERS[ask](world, 1)
        for value in ("1", " 1 ", "+1", "١", b"1", True, 1.0, Decimal(1), One.ONE, Loud("1"), mark_safe("1")):
            if isinstance(value, Loud) and "bulk" in ask:
                continue  # it is what results are told by
            found = NUMBERS[ask](world, value)
            assert found == expected, shown(value)

    @pytest.mark.parametrize("ask", TEXTS)
    def test_of_a_text(self, ask: str, world: Any) -> None:
        """Safe, lazy and enumerated texts, and one that cannot be compared."""
        expected = TEXTS[ask](world, "os")
        for value in (mark_safe("os"), gettext_lazy("os"), Slug.OSLO, Loud("os")):
            assert TEXTS[ask](world, value) == expected

    def test_they_are_one_entry(self, world: Any, django_assert_num_queries: Any) -> None:
        """What one has cached, each other finds, and a write outdates it for all."""
        spellings: list[Any] = [1, True, "1", 1.0, One.ONE, Loud("1"), world.oslo, SimpleLazyObject(lambda: world.oslo)]
        assert one(City.objects, pk=1) == [world.oslo]
        with django_assert_num_queries(0):
            for value in spellings:
                assert one(City.objects, pk=value) == [world.oslo]
        City.objects.filter(pk="1").update(population=5)
        for value in spellings:
            assert City.objects.get_from_cache(pk=value).population == 5

    def test_as_django_finds_it(self, world: Any) -> None:
        """Where get_from_cache finds a row, get() finds the same."""
        for value in ("1", " 1 ", b"1", True, 1.0, Decimal(1), One.ONE):
            assert City.objects.get(pk=value) == City.objects.get_from_cache(pk=value)
        for text in (mark_safe("os"), gettext_lazy("os"), Slug.OSLO):
            assert City.objects.get(slug=text) == City.objects.get_from_cache(slug=text)


class TestInstances:
    """Unsaved, deleted and other models' instances, and classes for instances."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda w: Country(),
            lambda w: Country(code="NO"),
            lambda w: deleted(Country.objects.create(pk=99, code="XX")),
            lambda w: w.oslo,
            lambda w: CityProxy(pk=1),
            lambda w: Country,
            lambda w: SimpleLazyObject(lambda: w.oslo),
        ],
        ids=["unsaved", "unsaved with a code", "deleted", "another model", "a proxy of another", "a class", "lazy"],
    )
    def test_that_name_no_row(self, make: Callable[[Any], Any], world: Any) -> None:
        """Each is an error in every method that takes one."""
        wrong = make(world)
        asks: list[Callable[[], Any]] = [
            lambda: City.objects.get_from_cache(country=wrong, name="os"),
            lambda: City.objects.get_many_from_cache([(wrong, "os")], key=("country", "name")),
            lambda: Stop.objects.get_list_from_cache(line=wrong),
            lambda: Stop.objects.get_lists_from_cache([world.line, wrong], key="line"),
            lambda: Country.objects.get_from_cache(pk=wrong),
            lambda: Country.objects.get_many_from_cache([1, wrong]),
            lambda: Country.objects.uncache_object(wrong),
            lambda: Country.objects.refresh_in_cache(wrong),
            lambda: CountryOption.objects.get_value(wrong, "os"),
            lambda: CountryOption.objects.set_value(wrong, "os", 1),
            lambda: CountryOption.objects.unset_value(wrong, "os"),
            lambda: CountryOption.objects.get_value_bulk([world.norway, wrong], "os"),
        ]
        for ask in asks:
            with pytest.raises(UncacheableLookup):
                ask()
        assert CountryOption.objects.get_all_values(world.norway) == {"os": 7}

    def test_deleted_by_others(self, world: Any) -> None:
        """An instance that does not know that its row is gone names no row."""
        sweden = Country.objects.create(pk=2, code="SE")
        City.objects.create(pk=2, slug="kiruna", name="kiruna", country=sweden)
        assert one(City.objects, country=sweden, name="kiruna")
        Country.objects.filter(pk=2).delete()
        assert one(City.objects, country=sweden, name="kiruna") == []
        assert one(Country.objects, pk=sweden) == []
        assert Country.objects.get_many_from_cache([world.norway, sweden]) == [world.norway]
        assert Country.objects.refresh_in_cache(sweden) is None
        assert CountryOption.objects.get_all_values(sweden) == {}
        invalidate(sweden)
        Country.objects.uncache_object(sweden)

    def test_tracking(self, world: Any) -> None:
        """has_changed and old_value are about instances of the manager's model."""
        for ask in (City.objects.has_changed, City.objects.old_value):
            for wrong in (None, 1, "os", City, world.norway, [world.oslo], Raises(), City.objects.all()):
                with pytest.raises(UncacheableLookup, match=r"geo_app\.City has no such instance"):
                    ask(wrong, "slug")
            for field in (None, 1, "nickname", "", ["slug"], Raises()):
                with pytest.raises(UncacheableLookup, match="is not tracked"):
                    ask(world.oslo, field)
        assert not City.objects.has_changed(City(), "slug")
        assert City.objects.old_value(City(slug="x"), "slug") is None
        assert not City.objects.has_changed(deleted(world.oslo), "slug")
        assert not City.objects.has_changed(CityProxy(slug="x"), "slug")

    def test_writing(self, world: Any) -> None:
        """update and soft deletion are for saved instances, and say so."""
        for wrong in (None, 1, Player, Player(), "x", [1]):
            with pytest.raises(RowError):
                update(wrong, score=1)
        gone = Player.objects.create(slug="gone")
        Player.objects.filter(slug="gone").delete()
        assert gone.update(score=3) == 0
        assert gone.score == 0
        document = Document.objects.create(title="plan")
        Document.objects.filter(title="plan").hard_delete()
        assert document.delete() == (0, {})
        assert not document.undelete()
        for act in (Document().delete, Document().undelete, deleted(Player.objects.create(slug="a")).update):
            with pytest.raises(RowError):
                act(**({"score": 1} if "update" in act.__name__ else {}))


def deleted(instance: Any) -> Any:
    """An instance that was deleted, and knows it."""
    (instance.hard_delete if isinstance(instance, Document) else instance.delete)()
    return instance


async def awaited_values() -> AsyncIterator[int]:
    """What only an async for can read."""
    yield 1


def interrupted(values: Iterable[Any]) -> Iterator[Any]:
    """A generator that fails on its way."""
    yield from values
    raise LookupError("the source is gone")


class TestManyValues:
    """Arguments that are to be iterables of values, and names of lookups."""

    @pytest.mark.parametrize(
        "values",
        [None, 1, "os", b"os", City, Country(pk=1), City.objects, Raises(), awaited_values],
        ids=["None", "int", "str", "bytes", "class", "instance", "manager", "object", "function"],
    )
    def test_what_is_no_iterable_of_values(self, values: Any, world: Any) -> None:
        """A text is one value: it is not looked up letter by letter."""
        asks: list[Callable[[], Any]] = [
            lambda: City.objects.get_many_from_cache(values, key="slug"),
            lambda: City.objects.get_many_from_cache(values, key=("country", "name")),
            lambda: City.objects.bypass_cache().get_many_from_cache(values),
            lambda: async_to_sync(City.objects.aget_many_from_cache)(values),
            lambda: Stop.objects.get_lists_from_cache(values, key="line"),
            lambda: async_to_sync(Stop.objects.aget_lists_from_cache)(values, key="line"),
            lambda: CountryOption.objects.get_value_bulk(values, "os"),
        ]
        for ask in asks:
            with pytest.raises(UncacheableLookup, match=r"many (values|instances)"):
                ask()

    @pytest.mark.parametrize("key", [None, 1, (), [], b"slug", {1: 2}, (None,), ("slug", 1), object(), Raises()])
    def test_what_is_no_name_of_a_lookup(self, key: Any, world: Any) -> None:
        """It is an error also where there is nothing to look up."""
        for values in ([1], []):
            with pytest.raises(UncacheableLookup, match="key is the name of a lookup"):
                City.objects.get_many_from_cache(values, key=key)
            with pytest.raises(UncacheableLookup, match="key is the name of a lookup"):
                Stop.objects.get_lists_from_cache(values, key=key)

    @pytest.mark.parametrize("value", [(1,), (1, "os", 2), "ab", None, 1, {}, {1: 2, 3: 4}, iter((1, "os"))])
    def test_what_is_no_value_of_two_columns(self, value: Any, world: Any) -> None:
        """Two letters are not two values, nor are the keys of a dict."""
        with pytest.raises(UncacheableLookup, match=r"country\+name|line\+kind"):
            City.objects.get_many_from_cache([(1, "os"), value], key=("country", "name"))
        with pytest.raises(UncacheableLookup, match=r"country\+name|line\+kind"):
            Stop.objects.get_lists_from_cache([(1, "os"), value], key=("line", "kind"))

    def test_names_and_values_of_every_shape(self, world: Any) -> None:
        """Generators are read once, keys may be any sequence of names."""
        for key in (("slug",), ["slug"], (name for name in ("slug",))):
            assert City.objects.get_many_from_cache(iter([("os",)]), key=key) == [world.oslo]
        for values in ({"os": 1}, {"os"}, frozenset({"os"}), (value for value in ("os",))):
            assert City.objects.get_many_from_cache(values, key="slug") == [world.oslo]
        assert City.objects.get_many_from_cache(City.objects.all()) == [world.oslo]

    def test_a_source_that_fails(self, world: Any, django_assert_num_queries: Any) -> None:
        """Its error is the caller's, and nothing has been asked."""
        with django_assert_num_queries(0):
            for ask in (
                partial(City.objects.get_many_from_cache, interrupted([1])),
                partial(City.objects.get_many_from_cache, interrupted([(1, "os")]), key=("country", "name")),
                partial(Stop.objects.get_lists_from_cache, interrupted([1]), key="line"),
                partial(CountryOption.objects.get_value_bulk, interrupted([1]), "os"),
                partial(prefetch_from_cache, interrupted([Person(home_id=1)]), "home"),
            ):
                with pytest.raises(LookupError, match="the source is gone"):
                    ask()

    def test_a_mistake_among_many(self, world: Any, django_assert_num_queries: Any) -> None:
        """One value of the wrong type refuses the batch before anything is asked; the next batch is as ever."""
        with django_assert_num_queries(0), pytest.raises(UncacheableLookup, match="'x'"):
            City.objects.get_many_from_cache([*range(2, 500), "x", 1])
        assert City.objects.get_many_from_cache([*range(2, 500), 1]) == [world.oslo]


class TestMessages:
    """They name what was wrong, whatever it is."""

    def test_long_and_hostile_values(self, world: Any) -> None:
        """A megabyte is cut off, and what has no repr is told by its type."""
        with pytest.raises(UncacheableLookup) as caught:
            City.objects.get_from_cache(pk="x" * 10**6)
        assert len(str(caught.value)) < 1000
        assert shown(10**5000) == "a int that cannot be shown"
        assert shown(Raises()) == "a Raises that cannot be shown"
        assert shown("os") == "'os'"
        with pytest.raises(UncacheableLookup, match="a Raises that cannot be shown"):
            City.objects.get_from_cache(pk=Raises())
        with pytest.raises(UncacheableLookup, match="a Raises that cannot be shown"):
            City.objects.get_many_from_cache([Raises()], key=("country", "name"))

    def test_contradictions(self, world: Any) -> None:
        """Also those of values that compare in their own ways."""
        with pytest.raises(UncacheableLookup, match="contradicts"):
            City.objects.get_from_cache(pk=1, id=10**5000)
        assert City.objects.get_from_cache(pk=1, id=Loud("1")) == world.oslo


class TestManagers:
    """What managers are made of, and asked for."""

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"cache_fields": 3}, "cache_fields must be a list of field names"),
            ({"cache_fields": [None]}, "cache_fields must be a list"),
            ({"cache_fields": [("a", 1)]}, "cache_fields must be a list"),
            ({"cache_fields": [b"a"]}, "cache_fields must be a list"),
            ({"cache_relations": 3}, "cache_relations must be a list of field names"),
            ({"cache_relations": [("a", "b")]}, "cache_relations must be a list of field names"),
            ({"cache_lists": {"a": [("b", "c")]}}, "an order in cache_lists must be a list of field names"),
            ({"cache_policy": 3}, "cache_policy must be a dict"),
            ({"cache_policy": "refuse"}, "cache_policy must be a dict"),
            ({"cache_policy": [("unreachable", "refuse")]}, "cache_policy must be a dict"),
        ],
    )
    def test_declarations(self, options: Any, said: str) -> None:
        """Wrong types are refused when the manager is made."""
        with pytest.raises(ConfigurationError, match=said):
            CacheManager(**{"cache_fields": ["pk"], **options})

    @pytest.mark.parametrize("alias", ["nowhere", "", 1, [], object(), City])
    def test_replicas(self, alias: Any) -> None:
        """An alias that is none, the empty one too."""
        with pytest.raises(ConfigurationError, match=r"geo_app\.City: .* is no database"):
            City.objects.using_replica(alias)

    def test_positional_arguments(self, world: Any) -> None:
        """Values are told by the names of their fields."""
        for method in (City.objects.get_from_cache, Stop.objects.get_list_from_cache):
            with pytest.raises(TypeError, match="positional"):
                method(1)  # type: ignore[call-arg]

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"scope": "project"}, "scope must be a list"),
            ({"scope": None}, "scope must be a list"),
            ({"scope": [1]}, "scope must be a list"),
            ({"optional": "a"}, "optional must be a list"),
            ({"optional": {"a": 1}}, "optional must be a list"),
            ({"key": None}, "key must be the name of a field"),
            ({"key": ""}, "key must be the name of a field"),
            ({"value": ["value"]}, "value must be the name of a field"),
        ],
    )
    def test_mappings(self, options: Any, said: str) -> None:
        """A MappingManager is told names of fields."""
        with pytest.raises(ConfigurationError, match=said):
            MappingManager(**options)

    def test_options(self, world: Any) -> None:
        """Too few and too many arguments, unknown keywords, and values that JSON does not have, write nothing."""
        options = CountryOption.objects
        for ask in (
            options.get_value,
            options.isset,
            options.set_value,
            options.unset_value,
            partial(options.get_value, 1),
            partial(options.get_value, 1, "a", "b"),
            partial(options.set_value, 1, "a"),
            partial(options.set_value, 1, "a", 1, 2),
            partial(options.get_all_values),
            partial(options.get_all_values, 1, 2),
            partial(options.reload_cache),
            partial(GlobalOption.objects.get_all_values, 1),
            partial(GlobalOption.objects.get_value_bulk, [1], "a"),
            partial(options.get_value, 1, "a", colour="red"),
            partial(options.set_value, 1, "a", 1, colour="red"),
            partial(options.get_value_bulk, [1], "a", colour="red"),
        ):
            with pytest.raises(UncacheableLookup, match=r"geo_app\.\w+Option\.objects"):
                ask()
        for value in (object(), {1, 2}, Raises()):
            with pytest.raises(TypeError, match="JSON"), transaction.atomic():
                options.set_value(1, "os", value)
        assert options.get_all_values(1) == {"os": 7}
        options.set_value(1, 5, "five")  # a key is a text, as the column has it
        assert options.get_value(1, "5") == options.get_value(1, 5) == "five"
        assert options.get_value_bulk([1], 5) == {1: "five"}


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Functions that a test declares end with it."""
    known = {model: list(some) for model, some in dependents._dependents.items()}
    monkeypatch.setattr(dependents, "_dependents", known)
    yield
    monkeypatch.undo()
    writes.connect_all()


def population(country: Any) -> int:
    """The inhabitants of a country."""
    return sum(City.objects.filter(country=country).values_list("population", flat=True))


@pytest.mark.usefixtures("apart")
class TestFunctions:
    """cached_function and DependsOn."""

    @pytest.mark.parametrize("arguments", [(), (1, 2), ("x",), (5.5,), ([1],), (object(),), (Raises(),), (1j,)])
    def test_arguments_that_no_row_tells(self, arguments: Any, world: Any) -> None:
        """Their results would never be outdated, so they are refused."""
        function = cached_function(DependsOn(City, "country"), name="bad-population")(population)
        for ask in (
            partial(function, *arguments),
            partial(async_to_sync(function.acall), *arguments),
            partial(function.many, [(1,), arguments]),
            partial(function.invalidate, *arguments),
            partial(function.refresh, *arguments),
        ):
            with pytest.raises(UncacheableLookup, match="bad-population"):
                ask()

    def test_other_spellings_of_an_argument(self, world: Any) -> None:
        """The function is called with what the column holds, so that one result stands for all of them."""
        seen: list[Any] = []
        function = cached_function(DependsOn(City, "country"), name="bad-spelling")(lambda pk: seen.append(pk) or [pk])
        assert [function(value) for value in ("1", 1, True, 1.0)] == [[1]] * 4
        assert [(type(value), value) for value in seen] == [(int, 1)]
        City.objects.filter(pk=1).update(population=5)
        assert function("1") == [1]
        assert len(seen) == 2

    @pytest.mark.parametrize("calls", [None, 1, [1], ["ab"], "ab", [None], [{1: 2}], Raises(), [Raises()]])
    def test_many_calls(self, calls: Any, world: Any) -> None:
        """Each is a tuple of arguments, and a text is none."""
        function = cached_function(DependsOn(City), name="bad-many")(population)
        with pytest.raises(UncacheableLookup, match="iterable of tuples"):
            function.many(calls)

    def test_keywords(self, world: Any) -> None:
        """Not even those that would be silently left out."""
        function = cached_function(DependsOn(City, "country"), name="bad-keywords")(population)
        for ask in (function, function.many, function.invalidate, function.refresh, async_to_sync(function.acall)):
            with pytest.raises((UncacheableLookup, TypeError), match=r"positional|country"):
                ask(country=1)  # type: ignore[call-arg]

    def test_arguments_without_a_stored_form(self, world: Any) -> None:
        """Nobody could find their result again."""
        function = cached_function(DependsOn(City), name="bad-arguments")(lambda *arguments: len(arguments))
        for value in (object(), City, world.oslo, Raises(), "\ud800", mark_safe("x"), lambda: 1):
            with pytest.raises(UncacheableLookup, match="results cannot be cached by the arguments"):
                function(value)
        assert function(None, True, 1, "a", b"a", 1.5, Decimal(1), [1], {"a": 1}, (1,), {1}) == 11

    @pytest.mark.parametrize("model", [None, 3, object(), "", "geo_app", "geo_app.Nothing", City(), int, Raises()])
    def test_what_is_no_model(self, model: Any) -> None:
        """DependsOn names it."""
        with pytest.raises(ConfigurationError, match="DependsOn"):
            cached_function(DependsOn(model), name="bad-model")(population)

    def test_what_is_no_column_and_no_function(self) -> None:
        """Unknown names, names that are none, arguments= that cannot be called."""
        for column in ("nothing", "", None, 3, "country__code"):
            with pytest.raises(ConfigurationError, match=r"geo_app\.City"):
                cached_function(DependsOn(City, column), name="bad-column")(population)
        for arguments in (3, "country", [(1,)]):
            with pytest.raises(ConfigurationError, match="arguments must be a function"):
                DependsOn(City, "country", arguments=arguments)  # type: ignore[arg-type]

    def test_what_cannot_be_cached(self) -> None:
        """No function, one that must be awaited or iterated, one without a name."""

        async def awaited(country: int) -> int:
            return 1

        def iterated(country: int) -> Iterator[int]:
            yield 1

        for wrong in (None, 3, "population", awaited, iterated):
            with pytest.raises(ConfigurationError, match="functions that return a value"):
                cached_function(DependsOn(City, "country"), name="bad")(wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="needs a name="):
            cached_function(DependsOn(City, "country"))(partial(population, 1))
        with pytest.raises(ConfigurationError, match="needs a name="):
            cached_function(DependsOn(City, "country"), name=3)(population)  # type: ignore[arg-type]

    @pytest.mark.parametrize("told", [1, "NO", [1], ["NO"], [None], {"a": 1}, object()])
    def test_arguments_told_wrong(self, told: Any, world: Any) -> None:
        """A row that tells no tuples would outdate nothing: its write is refused before it is sent."""
        depends = DependsOn(City, "country", arguments=lambda country: told)
        cached_function(depends, name="bad-told")(population)
        with pytest.raises(ConfigurationError, match="tuples of arguments"), transaction.atomic():
            City.objects.filter(pk=1).update(population=9)
        assert City.objects.get().population == 0


class TestRelations:
    """prefetch_from_cache."""

    @pytest.mark.parametrize("path", [None, 1, b"home", ("home",), ["home"], object(), Raises(), Person.home])
    def test_what_is_no_path(self, path: Any, world: Any) -> None:
        """It is named, and nothing is filled."""
        person = Person(home=None, home_id=1)
        with pytest.raises(UncacheableLookup, match="takes names of foreign keys"):
            prefetch_from_cache([person], path)
        assert "home" not in person._state.fields_cache

    @pytest.mark.parametrize(
        "objects", [None, 1, "home", Person, Person.objects, [1], [None], Raises(), [Raises()], {"a": 1}]
    )
    def test_what_are_no_instances(self, objects: Any) -> None:
        """They are named."""
        with pytest.raises(UncacheableLookup, match="takes instances of models"):
            prefetch_from_cache(objects, "home")

    def test_instances_without_rows(self, world: Any) -> None:
        """Unsaved and deleted ones have foreign keys like others."""
        unsaved, gone = Person(home_id=1), Person.objects.create(pk=99, home=world.oslo)
        gone.delete()
        gone = Person(home_id=gone.home_id)
        prefetch_from_cache((one for one in (unsaved, gone, Person())), "home__country")
        assert unsaved.home == gone.home == world.oslo
        assert unsaved.home.country == world.norway


class TestHundredThousand:
    """As many values as anybody may come by: right, and in pieces that database and cache can swallow."""

    COUNT = 100_000

    def test_rows(self, each_cache: Cache, django_assert_max_num_queries: Any) -> None:
        """In order, and the second time without a query; each round trip is about so many keys at most."""
        rows = Visitor.objects.bulk_create([Visitor() for _ in range(self.COUNT)])
        keys = [row.pk for row in reversed(rows)]
        limit = connection.features.max_query_params or self.COUNT
        parts = self.COUNT // MOST_TOGETHER
        with django_assert_max_num_queries(parts * (MOST_TOGETHER // limit + 1)), counting([each_cache]) as cold:
            assert [found.pk for found in Visitor.objects.get_many_from_cache(iter(keys))] == keys
        assert cold.fills == self.COUNT
        assert cold.operations <= 4 * parts
        with django_assert_max_num_queries(self.COUNT // 100), counting([each_cache]) as warm:
            assert [found.pk for found in Visitor.objects.get_many_from_cache(keys)] == keys
        assert warm.operations <= 4 * parts
        visitors = [Visitor(pk=n, guide_id=2**63 + n) for n in range(self.COUNT)]
        assert prefetch_from_cache(visitors, "guide") == visitors

    def test_lookups_without_rows(self, each_cache: Cache, world: Any, django_assert_num_queries: Any) -> None:
        """What is known to be missing costs time for each, and not for each of the others too."""
        slugs = [f"s{n}" for n in range(self.COUNT)]
        for _ in range(2):
            with counting([each_cache]) as counts:
                assert Stop.objects.get_many_from_cache([*slugs, "os"], key="slug") == [world.stop]
            assert counts.operations <= 8 * (self.COUNT // MOST_TOGETHER + 1)
        pks = [2**63 + n for n in range(self.COUNT)]
        with django_assert_num_queries(0), counting([each_cache]) as counts:
            assert City.objects.get_many_from_cache(pks) == []
            assert Stop.objects.get_lists_from_cache(pks, key="line") == [[]] * self.COUNT
        assert counts.operations == 0


class TestTargets:
    """invalidate, from_cache and follow_from_cache: what no row, no model and no relation is."""

    @pytest.mark.parametrize("pk", [2**63, 10**400, "no number", [1], {}, "x"])
    def test_keys_of_instances(self, pk: Any, world: Any) -> None:
        """A key that a column cannot hold is nobody's; one that is no key at all may be anybody's: all are outdated."""
        for model in (City, Stop, Country):
            invalidate(model(pk=pk))
            invalidate([model(pk=pk), model(pk=1)])
        assert one(Stop.objects, slug="os") == [world.stop]

    @pytest.mark.parametrize("model", [None, 3, "auth.User", object(), int])
    def test_models(self, model: Any) -> None:
        """They are classes, and what is none is named."""
        with pytest.raises(UncacheableLookup, match="is no model"):
            from_cache(model)
        with pytest.raises(ConfigurationError, match="is no model"):
            follow_from_cache(model, "home")

    def test_an_instance_is_no_model(self, world: Any) -> None:
        """Not even where it would answer like one."""
        with pytest.raises(UncacheableLookup, match="is no model"):
            from_cache(world.oslo)
        with pytest.raises(ConfigurationError, match="is no model"):
            follow_from_cache(Person(), "home")  # type: ignore[arg-type]

    @pytest.mark.parametrize("name", [None, 3, "", "name", "home__country", ["home"], Raises()])
    def test_relations(self, name: Any) -> None:
        """They are named, and no model is changed."""
        with pytest.raises(ConfigurationError, match=r"cache_relations of geo_app\.Person"):
            follow_from_cache(Person, name)

    @pytest.mark.parametrize("model", [None, 3, object(), int, "auth", "auth.User.x", ""])
    def test_registration(self, model: Any) -> None:
        """It takes a class or its label."""
        with pytest.raises(ConfigurationError, match="a model is registered as"):
            register(model, cache_fields=["pk"])
