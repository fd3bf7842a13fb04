"""Every way in which Django's ORM writes a row and what it outdates: what tests prove and the documentation says.

``python -m tests.print_write_paths`` prints docs/django-writes.md.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from django.apps import apps
from django.core import serializers
from django.db import connection, models
from django.db.migrations.state import ProjectState
from django.db.models import F

from cachecore.integrations.django import invalidate
from tests.geo_app.models import (
    Badge,
    Chapter,
    City,
    CityProxy,
    Country,
    Person,
    Place,
    Product,
    Remark,
    Restaurant,
    Seat,
    Tag,
    Visitor,
)

ROWS = "the rows it writes"
ALL = "all rows of the model, by one key"
NOTHING = "nothing"
NEW = "nothing: a new row is in no cache"


@dataclass(frozen=True)
class Path:
    """One way to write."""

    name: str
    """As an application writes it."""
    write: Callable[[Any], object]
    """Called with a `World`."""
    touches: Callable[[Any], Iterable[Any]]
    """The rows of the world that are outdated; every other one stays in the cache."""
    outdates: str = ROWS
    queries: int = 0
    """How many queries more it costs than without a cache."""


class World:
    """Rows of every kind, all of them in the cache when a path begins."""

    def __init__(self) -> None:
        self.norway = Country.objects.create(code="NO", name="Norway")
        self.sweden = Country.objects.create(code="SE", name="Sweden")
        self.oslo, self.bergen, self.moss = [
            City.objects.create(slug=name, name=name, country=self.norway) for name in ("oslo", "bergen", "moss")
        ]
        self.ada = Person.objects.create(name="Ada", home=self.oslo, work=self.bergen)
        self.bob = Person.objects.create(name="Bob", home=self.bergen)
        self.visitor = Visitor.objects.create(city=self.oslo, guide=self.ada)
        self.other_visitor = Visitor.objects.create(city=self.bergen, guide=self.bob)
        self.grill = Restaurant.objects.create(name="Grill", stars=1)
        self.grill_place = Place.objects.get(pk=self.grill.pk)
        self.park = Place.objects.create(name="Park")
        self.desk, self.chair = [Product.objects.create(name=name) for name in ("desk", "chair")]
        self.wood, self.steel = [Tag.objects.create(name=name) for name in ("wood", "steel")]
        self.desk.tags.add(self.wood)
        self.remark, self.loose_remark = Remark.objects.create(about=self.desk), Remark.objects.create()
        self.first, self.second = [Chapter.objects.create(product=self.desk) for _ in range(2)]
        self.badge = Badge.objects.create(country=self.norway, text="fjords")
        self.a1, self.a2 = [Seat.objects.create(row="A", number=n, code=f"A{n}") for n in (1, 2)]
        self.rows = [row for row in vars(self).values() if isinstance(row, models.Model)]

    @property
    def all_cities(self) -> list[City]:
        return [self.oslo, self.bergen, self.moss]


def changed(row: Any, **values: Any) -> Any:
    """The row with other attributes."""
    fresh = type(row).objects.get(pk=row.pk)
    for name, value in values.items():
        setattr(fresh, name, value)
    return fresh


def plain(model: type[models.Model]) -> Any:
    """A manager of Django's own class."""
    manager: Any = models.Manager()
    manager.model = model
    return manager


def admin_of(model: type[models.Model]) -> Any:
    """The model's pages in the admin."""
    from django.contrib.admin import AdminSite, ModelAdmin

    return ModelAdmin(model, AdminSite())


def fixture(row: Any) -> None:
    """Load a row as loaddata does."""
    for loaded in serializers.deserialize("json", serializers.serialize("json", [row])):
        loaded.save()


def execute(sql: str) -> None:
    """SQL of the application."""
    with connection.cursor() as cursor:
        cursor.execute(sql)


def historical(name: str) -> Any:
    """The model as migrations see it."""
    return ProjectState.from_apps(apps).apps.get_model("geo_app", name)


def new_city(w: World) -> City:
    return City(slug="x", name="x", country=w.norway)


def update_or_create(w: World, slug: str) -> None:
    City.objects.update_or_create(slug=slug, defaults={"name": slug, "country": w.norway, "population": 5})


async def update_or_create_async(slug: str) -> None:
    await City.objects.aupdate_or_create(slug=slug, defaults={"population": 5})


def bulk_create(w: World, **options: Any) -> None:
    City.objects.bulk_create([City(slug="oslo", name="oslo", country=w.norway, population=5)], **options)


def raw_delete(name: str) -> None:
    tags = Tag.objects.filter(name=name)
    tags._raw_delete(tags.db)


CONFLICTS = {"update_conflicts": True, "unique_fields": ["slug"], "update_fields": ["population"]}


def awaited(function: Callable[..., Any]) -> Callable[..., Any]:
    """Call a coroutine function and wait for its end."""

    async def call(*args: Any, **options: Any) -> Any:
        return await function(*args, **options)

    return async_to_sync(call)


def oslo(w: World) -> list[Any]:
    return [w.oslo]


def cities(w: World) -> list[Any]:
    return w.all_cities


def nothing(w: World) -> list[Any]:
    return []


def steel(w: World) -> list[Any]:
    return [w.steel]


def tags(w: World) -> list[Any]:
    return [w.steel, w.wood]


def grill(w: World) -> list[Any]:
    return [w.grill, w.grill_place]


OSLO = City.objects.filter

SECTIONS: dict[str, list[Path]] = {
    "One row": [
        Path("city.save()", lambda w: changed(w.oslo, population=5).save(), oslo),
        Path("city.save(update_fields=[...])", lambda w: w.oslo.save(update_fields=["population"]), oslo),
        Path("city.save(force_update=True)", lambda w: w.oslo.save(force_update=True), oslo),
        Path("City(pk=1, ...).save(force_insert=True)", lambda w: new_city(w).save(force_insert=True), nothing, NEW),
        Path("city.save() of a new row", lambda w: new_city(w).save(), nothing, NEW),
        Path("city.save() of a deferred row", lambda w: City.objects.only("slug").get(slug="oslo").save(), oslo),
        Path("city.save() with F()", lambda w: changed(w.oslo, population=F("population") + 1).save(), oslo),
        Path("city.save() of a proxy", lambda w: CityProxy.objects.get(slug="oslo").save(), oslo),
        Path("product.save() with a GeneratedField", lambda w: changed(w.desk, name="x").save(), lambda w: [w.desk]),
        Path("Product(name=...).save() with db_default", lambda w: Product(name="x").save(), nothing, NEW),
        Path(
            "City.objects.create(...)",
            lambda w: City.objects.create(slug="x", name="x", country=w.norway),
            nothing,
            NEW,
        ),
        Path("get_or_create(...) that finds", lambda w: City.objects.get_or_create(slug="oslo"), nothing, NOTHING),
        Path("get_or_create(...) that creates", lambda w: Country.objects.get_or_create(code="DK"), nothing, NEW),
        Path("update_or_create(...) that updates", lambda w: update_or_create(w, "oslo"), oslo),
        Path("update_or_create(...) that creates", lambda w: update_or_create(w, "x"), nothing, NEW),
        Path("await city.asave()", lambda w: awaited(w.oslo.asave)(), oslo),
        Path("await City.objects.acreate(...)", lambda w: awaited(Country.objects.acreate)(code="DK"), nothing, NEW),
        Path("await aupdate_or_create(...)", lambda w: awaited(update_or_create_async)("oslo"), oslo),
        Path("seat.save(), a composite key", lambda w: changed(w.a1, taken=True).save(), lambda w: [w.a1]),
        Path("a fixture: loaddata, raw=True", lambda w: fixture(w.oslo), oslo),
        Path("the admin: save_model", lambda w: admin_of(City).save_model(None, w.oslo, None, True), oslo),
    ],
    "Querysets": [
        Path("filter(pk=1).update(...)", lambda w: OSLO(pk=w.oslo.pk).update(population=5), oslo),
        Path("filter(pk__in=[1]).update(...)", lambda w: OSLO(pk__in=[w.oslo.pk]).update(population=5), oslo),
        Path('filter(slug="oslo").update(...)', lambda w: OSLO(slug="oslo").update(population=5), oslo, queries=1),
        Path("update(n=F('n') + 1)", lambda w: OSLO(slug="oslo").update(population=F("population") + 1), oslo, ROWS, 1),
        Path(
            'filter(country__code="NO").update()', lambda w: OSLO(country__code="NO").update(data={}), cities, ROWS, 1
        ),
        Path("all().update(...)", lambda w: City.objects.update(population=5), cities, queries=1),
        Path("update() of no row", lambda w: OSLO(slug="x").update(population=5), nothing, NOTHING, 1),
        Path("update(pk=...)", lambda w: Seat.objects.filter(code="A1").update(number=7), lambda w: [w.a1, w.a2], ALL),
        Path("await aupdate(...)", lambda w: awaited(OSLO(pk=w.oslo.pk).aupdate)(population=5), oslo),
        Path("bulk_update(...)", lambda w: City.objects.bulk_update([w.oslo], ["population"]), oslo),
        Path(
            "bulk_update(..., batch_size=1)",
            lambda w: City.objects.bulk_update([w.oslo, w.moss], ["population"], batch_size=1),
            lambda w: [w.oslo, w.moss],
        ),
        Path("await abulk_update(...)", lambda w: awaited(City.objects.abulk_update)([w.oslo], ["name"]), oslo),
        Path("bulk_create(...)", lambda w: City.objects.bulk_create([new_city(w)]), nothing, NEW),
        Path("bulk_create(ignore_conflicts=True)", lambda w: bulk_create(w, ignore_conflicts=True), nothing, NOTHING),
        Path("bulk_create(update_conflicts=True)", lambda w: bulk_create(w, **CONFLICTS), cities, ALL),
        Path("await abulk_create(...)", lambda w: awaited(City.objects.abulk_create)([new_city(w)]), nothing, NEW),
        Path("City._base_manager.update(...)", lambda w: City._base_manager.filter(pk=w.oslo.pk).update(data={}), oslo),
        Path("a plain manager: update(...)", lambda w: plain(City).filter(pk=w.oslo.pk).update(data={}), oslo),
        Path("a proxy's manager: update(...)", lambda w: CityProxy.objects.filter(pk=w.oslo.pk).update(data={}), oslo),
    ],
    "Deletes": [
        Path("tag.delete()", lambda w: changed(w.steel).delete(), steel),
        Path("filter(...).delete()", lambda w: Tag.objects.filter(name="steel").delete(), steel),
        Path("await tag.adelete()", lambda w: awaited(changed(w.steel).adelete)(), steel),
        Path("await filter(...).adelete()", lambda w: awaited(Tag.objects.filter(name="steel").adelete)(), steel),
        Path("filter(...)._raw_delete(), Django's fast path", lambda w: raw_delete("steel"), steel, ROWS, 1),
        Path("the admin: delete_model", lambda w: admin_of(Tag).delete_model(None, changed(w.steel)), steel),
        Path("the admin: delete_queryset", lambda w: admin_of(Tag).delete_queryset(None, Tag.objects.all()), tags),
        Path("seat.delete(), a composite key", lambda w: changed(w.a1).delete(), lambda w: [w.a1]),
        Path(
            "CASCADE",
            lambda w: changed(w.desk).delete(),
            lambda w: [w.desk, w.first, w.second, w.remark],
            "the rows that it deletes",
            2,
        ),
        Path(
            "SET_NULL, SET_DEFAULT",
            lambda w: changed(w.oslo).delete(),
            lambda w: [w.oslo, w.ada, w.visitor],
            "the rows that it changes",
            2,
        ),
        Path(
            "CASCADE that leads on to others",
            lambda w: changed(w.norway).delete(),
            lambda w: [w.norway, w.badge, *w.all_cities, w.ada, w.bob, w.visitor, w.other_visitor],
            "the rows that it deletes or changes",
            4,
        ),
    ],
    "Related managers": [
        Path("city.visitors.add(v)", lambda w: w.moss.visitors.add(w.visitor), lambda w: [w.visitor]),
        Path(
            "city.visitors.add(v, bulk=False)",
            lambda w: w.moss.visitors.add(w.visitor, bulk=False),
            lambda w: [w.visitor],
        ),
        Path("city.visitors.remove(v)", lambda w: w.oslo.visitors.remove(w.visitor), lambda w: [w.visitor]),
        Path("city.visitors.clear()", lambda w: w.oslo.visitors.clear(), lambda w: [w.visitor], ROWS, 1),
        Path(
            "city.visitors.set([...])",
            lambda w: w.oslo.visitors.set([w.other_visitor]),
            lambda w: [w.visitor, w.other_visitor],
        ),
        Path("city.visitors.create()", lambda w: w.oslo.visitors.create(), nothing, NEW),
        Path("city.visitors.update(...)", lambda w: w.oslo.visitors.update(city=None), lambda w: [w.visitor], ROWS, 1),
        Path("await city.visitors.aadd(v)", lambda w: awaited(w.moss.visitors.aadd)(w.visitor), lambda w: [w.visitor]),
        Path(
            "product.tags.add(tag), many to many",
            lambda w: w.desk.tags.add(w.steel),
            nothing,
            "nothing: a row of the table between, which no model caches",
        ),
        Path("product.tags.clear()", lambda w: w.desk.tags.clear(), nothing, "the same"),
        Path(
            "product.remarks.add(r), generic", lambda w: w.chair.remarks.add(w.loose_remark), lambda w: [w.loose_remark]
        ),
        Path("product.remarks.remove(r), generic", lambda w: w.desk.remarks.remove(w.remark), lambda w: [w.remark]),
        Path(
            "product.set_chapter_order([...])",
            lambda w: w.desk.set_chapter_order([w.second.pk, w.first.pk]),
            lambda w: [w.first, w.second],
        ),
    ],
    "Multi-table inheritance": [
        Path(
            "restaurant.save()",
            lambda w: changed(w.grill, name="x").save(),
            grill,
            "the rows of the child and of its parents",
        ),
        Path(
            "restaurant.save(update_fields=[own])",
            lambda w: w.grill.save(update_fields=["stars"]),
            lambda w: [w.grill],
            "the child's row",
        ),
        Path(
            "place.save()",
            lambda w: changed(w.grill_place, name="x").save(),
            grill,
            "the rows of the parent and of its children",
        ),
        Path(
            "Restaurant.objects.update(name=...)",
            lambda w: Restaurant.objects.filter(stars=1).update(name="x"),
            grill,
            "the rows of the parent and of its children",
        ),
        Path(
            "Restaurant.objects.update(stars=...)",
            lambda w: Restaurant.objects.filter(stars=1).update(stars=2),
            lambda w: [w.grill],
            "the child's rows",
            1,
        ),
        Path(
            "Place.objects.update(...)",
            lambda w: Place.objects.filter(pk=w.park.pk).update(open=False),
            lambda w: [w.park],
        ),
        Path("restaurant.delete()", lambda w: changed(w.grill).delete(), grill),
        Path("place.delete()", lambda w: changed(w.grill_place).delete(), grill),
    ],
    "Elsewhere": [
        Path(
            "cursor.execute('UPDATE geo_app_city ...')",
            lambda w: execute("UPDATE geo_app_city SET population = 5"),
            cities,
            "all rows of the models of that table",
        ),
        Path(
            "cursor.execute('UPDATE other_table ...')",
            lambda w: execute("UPDATE geo_app_landmark SET name = 'x'"),
            nothing,
            NOTHING,
        ),
        Path(
            "models of migrations: RunPython",
            lambda w: historical("City").objects.filter(pk=w.oslo.pk).update(population=5),
            oslo,
        ),
        Path("invalidate(city)", lambda w: invalidate(w.oslo), oslo),
    ],
}


HEADER = """# What each write outdates

Generated by `python -m tests.print_write_paths`. `tests/test_django_write_paths.py` proves each line, in autocommit and
in a transaction, on SQLite and on PostgreSQL: the rows named are read anew, and every other cached row stays.

"Queries more" are those that cachecore adds: where a statement does not name its rows by their primary keys, these are
selected first, and where something derived from rows must know columns that the statement does not write (a list of two
columns, a function), these are read with a lock. A row that comes to a list, or to a lookup known to have no row,
outdates that too. More rows than `POLICY["bulk_threshold"]` (1000) in one statement or transaction outdate all rows of
the model, by one key.
"""


def document() -> str:
    """The page."""
    lines = [HEADER]
    for title, paths in SECTIONS.items():
        lines += [f"## {title}", "", "| how | outdates | queries more |", "| --- | --- | --- |"]
        lines += [f"| {path.name} | {path.outdates} | {path.queries} |" for path in paths]
        lines.append("")
    return "\n".join(lines)
