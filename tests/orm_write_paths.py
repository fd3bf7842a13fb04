"""Every way in which SQLAlchemy writes a row, and what it outdates: what tests/test_sqlalchemy_writes.py proves."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    bindparam,
    column,
    delete,
    event,
    insert,
    lambda_stmt,
    literal,
    literal_column,
    select,
    table,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.orm import Session

from tests.orm_databases import deletes
from tests.orm_models import (
    Album,
    Animal,
    Base,
    City,
    Colour,
    Country,
    Customer,
    Document,
    Dog,
    Folder,
    Invoice,
    Note,
    Order,
    Paint,
    Parcel,
    Picture,
    Place,
    PlainInvoice,
    Price,
    Restaurant,
    Reversed,
    Seat,
    Tag,
    Ticket,
    Word,
    order_tags,
)

Identity = tuple[type[Any], Any]
"""A mapped class, and a primary key as session.get() takes it."""

# -- the rows that are there ---------------------------------------------------------------------------

ROWS: Sequence[tuple[Any, list[dict[str, Any]]]] = [
    (Country, [{"id": 1, "code": "NO", "name": "Norway"}, {"id": 2, "code": "SE", "name": "Sweden"}]),
    (
        City,
        [
            {"id": 1, "slug": "oslo", "name": "Oslo", "country_id": 1, "population": 100},
            {"id": 2, "slug": "bergen", "name": "Bergen", "country_id": 1, "population": 200},
            {"id": 3, "slug": "moss", "name": "Moss", "country_id": 1, "population": 300},
            {"id": 4, "slug": "lund", "name": "Lund", "country_id": 2, "population": 400},
        ],
    ),
    (Customer, [{"id": 1, "email": "ada@x", "country_id": 1}, {"id": 2, "email": "bob@x", "country_id": 1}]),
    (
        Order,
        [
            {"id": 1, "text": "a", "customer_id": 1},
            {"id": 2, "text": "b", "customer_id": 1},
            {"id": 3, "text": "c", "customer_id": 2},
        ],
    ),
    (Tag, [{"id": 1, "name": "new"}, {"id": 2, "name": "late"}]),
    (order_tags, [{"order_id": 1, "tag_id": 1}]),
    (
        Folder,
        [{"id": 1, "name": "root"}, {"id": 2, "name": "in", "parent_id": 1}, {"id": 3, "name": "out", "parent_id": 1}],
    ),
    (Album, [{"id": 1, "name": "sea"}, {"id": 2, "name": "land"}]),
    (Picture, [{"id": 1, "album_id": 1}, {"id": 2, "album_id": 1}, {"id": 3, "album_id": 2}]),
    (
        Place.__table__,
        [
            {"id": 1, "kind": "place", "name": "park"},
            {"id": 2, "kind": "restaurant", "name": "grill"},
            {"id": 3, "kind": "restaurant", "name": "pub"},
        ],
    ),
    (Restaurant.__table__, [{"id": 2, "stars": 1}, {"id": 3, "stars": 2}]),
    (
        Animal.__table__,
        [
            {"id": 1, "kind": "animal", "name": "Tom", "tricks": None},
            {"id": 2, "kind": "dog", "name": "R", "tricks": 1},
        ],
    ),
    (Seat, [{"code": "A1", "row": "A", "number": 1}, {"code": "A2", "row": "A", "number": 2}]),
    (Ticket, [{"id": 1, "seat_row": "A", "seat_number": 1}]),
    (Word, [{"text": "abc", "meaning": "letters"}, {"text": "def", "meaning": "more"}]),
    (Price, [{"amount": Decimal("1.50"), "text": "coffee"}, {"amount": Decimal("2.00"), "text": "tea"}]),
    (Paint, [{"id": 1, "colour": Colour.RED, "recipe": ["a"]}, {"id": 2, "colour": Colour.GREEN, "recipe": {"b": 1}}]),
    (Document, [{"id": 1, "title": "one", "version": 1}, {"id": 2, "title": "two", "version": 1}]),
    (Invoice, [{"id": 1, "number": "n1"}, {"id": 2, "number": "n2"}]),
    (PlainInvoice, [{"id": 1, "number": "p1"}, {"id": 2, "number": "p2"}]),
    (Parcel, [{"id": key, "label": f"l{key}", "weight": 0} for key in range(1, 7)]),
    (Note, [{"id": 1, "text": "plain"}]),
]

LOOKUPS: dict[type[Any], list[tuple[str, ...]]] = {
    Country: [("code",)],
    City: [("slug",), ("country_id", "name")],
    Customer: [("email",)],
    Tag: [("name",)],
    Place: [("name",)],
    Restaurant: [("name",)],
    Seat: [("code",)],
    Paint: [("colour",)],
    Document: [("title",)],
    Invoice: [("number",)],
    Parcel: [("label",)],
}
"""The lookups of the classes, besides their primary keys."""

CACHED = [
    Country, City, Customer, Order, Tag, Folder, Album, Picture, Place, Restaurant, Animal, Dog, Seat, Ticket, Word,
    Price, Paint, Document, Invoice, PlainInvoice, Parcel,
]  # fmt: skip


def rows_of(*several: type[Any]) -> list[Identity]:
    """All rows of these classes that are there at first."""
    keys: dict[Any, list[Any]] = {
        City: [1, 2, 3, 4],
        Country: [1, 2],
        Customer: [1, 2],
        Order: [1, 2, 3],
        Invoice: [1, 2],
        PlainInvoice: [1, 2],
        Parcel: [1, 2, 3, 4, 5, 6],
        Restaurant: [2, 3],
        Price: [Decimal("1.50"), Decimal("2.00")],
        Ticket: [1],
        Picture: [1, 2, 3],
    }
    return [(one, key) for one in several for key in keys[one]]


def script(dialect: Dialect) -> list[str]:
    """SQL that makes these rows the only ones, for a connection that minds no foreign keys."""
    statements = deletes(Base.metadata)
    for target, rows in ROWS:
        into: Any = getattr(target, "__table__", target)
        for row in rows:
            filled = {column.key: column.default.arg for column in into.c if column.default is not None} | row
            # What cannot be rendered by itself, in each version of SQLAlchemy.
            if "recipe" in row:
                filled["recipe"] = literal_column(f"'{json.dumps(row['recipe'])}'")
            if "amount" in row:
                filled["amount"] = literal_column(str(row["amount"]))
            compiled = insert(into).values(filled).compile(dialect=dialect, compile_kwargs={"literal_binds": True})
            statements.append(str(compiled))
    return statements


# -- the ways --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """One way to write."""

    name: str
    """As an application writes it."""
    write: Callable[[Session], object]
    """Called with a session; flushed afterwards."""
    outdates: Sequence[Identity] = ()
    """The rows, of those that were there, that are read from the database afterwards; every other one is a hit."""
    questions: int = 0
    """How many more statements it takes than without a cache: each asks which rows an UPDATE or DELETE matches."""
    says: bool = True
    """Whether anything is said to the cache."""
    only: str = ""
    """The one database that knows it."""
    may_end: str = "-"
    """The database where a statement of it might end the transaction, so that PREPARE comes before."""
    alone: bool = True
    """Whether it is the same in autocommit."""


cities = City.__table__
invoices = Invoice.__table__


def get(s: Session, cls: type[Any], key: Any = 1) -> Any:
    """An instance, loaded by SQLAlchemy."""
    return s.get_one(cls, key)


def change(cls: type[Any], key: Any, **values: Any) -> Callable[[Session], object]:
    """Set attributes of an instance."""

    def write(s: Session) -> None:
        for name, value in values.items():
            setattr(get(s, cls, key), name, value)

    return write


def remove(cls: type[Any], key: Any) -> Callable[[Session], object]:
    """Delete an instance."""
    return lambda s: s.delete(get(s, cls, key))


def several(*writes: Callable[[Session], object]) -> Callable[[Session], object]:
    """One after the other, flushed together."""
    return lambda s: [write(s) for write in writes]


def run(statement: Callable[[], Any] | Any, *arguments: Any, **options: Any) -> Callable[[Session], object]:
    """Execute a statement in the session; its rows are fetched, if it has any."""

    def write(s: Session) -> None:
        result: Any = s.execute(statement, *arguments, execution_options=options)
        with suppress(ResourceClosedError):  # it has no rows
            result.all()

    return write


def core(statement: Any, *arguments: Any) -> Callable[[Session], object]:
    """Execute a statement on the connection of the session."""
    return lambda s: s.connection().execute(statement, *arguments)


def driver(statement: str, *parameters: Any) -> Callable[[Session], object]:
    """Give the driver SQL with its own parameters, written for psycopg."""

    def write(s: Session) -> None:
        sql = statement.replace("%s", "?") if s.get_bind().dialect.name == "sqlite" else statement
        s.connection().exec_driver_sql(sql, *parameters)

    return write


def upsert(s: Session, **values: Any) -> Any:
    """The INSERT of the database's own dialect, which knows ON CONFLICT."""
    return (sqlite if s.get_bind().dialect.name == "sqlite" else postgresql).insert(City).values(**values)


def on_conflict(target: str, **changes: Any) -> Callable[[Session], object]:
    """INSERT of a city that is there, ON CONFLICT DO UPDATE."""
    values = {"id": 1, "slug": "oslo", "name": "Oslo", "country_id": 1}
    return lambda s: s.execute(upsert(s, **values).on_conflict_do_update(index_elements=[target], set_=changes))


def without_model(s: Session) -> None:
    """A table that says no more than the statement needs."""
    s.execute(update(table("city", column("id"), column("population"))).where(column("id") == 1).values(population=7))


def another_table(s: Session) -> None:
    """A table of another MetaData, as if it had been read from the database."""
    described = Table("city", MetaData(), Column("id", Integer, primary_key=True), Column("population", Integer))
    s.execute(update(described).where(described.c.id == 1).values(population=7))


def by_before_flush(s: Session) -> None:
    """A hook of the session that writes more."""
    event.listen(s, "before_flush", lambda *_: setattr(get(s, City, 2), "population", 7), once=True)
    get(s, City, 1).population = 7


def by_mapper_event(s: Session) -> None:
    """What an after_update hook does with the connection that it gets."""

    def after_update(mapper: Any, connection: Any, target: Any) -> None:
        connection.execute(update(cities).where(cities.c.id == 2).values(population=7))

    event.listen(City, "after_update", after_update)
    try:
        get(s, City, 1).population = 7
        s.flush()
    finally:
        event.remove(City, "after_update", after_update)


def in_savepoint(s: Session) -> None:
    """A part of the transaction that is released; it began before, which the sqlite3 module sees only by a write."""
    get(s, City, 1).population = 6
    s.flush()
    with s.begin_nested():
        get(s, City, 1).population = 7


def folders(s: Session) -> None:
    """Two new folders that point to each other."""
    inner = Folder(id=51, name="inner")
    s.add(Folder(id=50, name="outer", children=[inner], first=inner))


by_id = cities.c.id == bindparam("wanted")
city_1, city_123 = [(City, 1)], [(City, 1), (City, 2), (City, 3)]
all_cities = rows_of(City)
all_pictures = rows_of(Picture)
dogs: list[Identity] = [(Animal, 2), (Dog, 2)]
both_invoices: list[Identity] = [(Invoice, 1), (PlainInvoice, 1)]
"""A table without a schema may be that of any schema."""

FLUSH = [
    Path("an attribute", change(City, 1, population=7), city_1),
    Path("a lookup", change(City, 1, slug="oslo2"), city_1),
    Path("a part of a lookup", change(City, 1, country_id=2), city_1),
    Path("an attribute, by an expression", change(City, 1, population=City.population + 1), city_1),
    Path("the same value again", change(City, 1, population=100), says=False),
    Path("several rows", several(*[change(City, key, population=key) for key in (1, 2, 3)]), city_123),
    Path("rows of several classes", several(change(City, 1, population=7), change(Country, 2, name="x")),
         [*city_1, (Country, 2)]),
    Path("a new row", lambda s: s.add(City(id=50, slug="new", name="New")), says=False),
    Path("a new row, whose key the database gives", lambda s: s.add(City(slug="new", name="New")), says=False),
    Path("several new rows", lambda s: s.add_all([Tag(id=50 + n, name=f"t{n}") for n in range(3)]), says=False),
    Path("delete", remove(City, 4), [(City, 4)]),
    Path("delete and insert again",
         lambda s: [s.delete(get(s, City, 4)), s.flush(), s.add(City(id=4, slug="lund", name="L"))], [(City, 4)]),
    Path("an object of a relation", lambda s: setattr(get(s, City), "country", get(s, Country, 2)), city_1),
    Path("an object into a collection", lambda s: (sweden := get(s, Country, 2)).cities.append(get(s, City)) or sweden,
         city_1),
    Path("delete, which sets foreign keys to NULL", remove(Country, 2), [(Country, 2), (City, 4)]),
    Path("delete, with a cascade of SQLAlchemy", remove(Customer, 1), [(Customer, 1), (Order, 1), (Order, 2)]),
    Path("an orphan", lambda s: (ada := get(s, Customer)).orders.remove(get(s, Order)) or ada, [(Order, 1)]),
    Path("a tag", lambda s: (order := get(s, Order)).tags.append(get(s, Tag, 2)) or order, says=False),
    Path("no tag", lambda s: (order := get(s, Order)).tags.clear() or order, says=False),
    Path("post_update", lambda s: setattr(get(s, Folder), "first", get(s, Folder, 3)), [(Folder, 1)]),
    Path("post_update of new rows", folders),
    Path("a place in a tree", lambda s: setattr(get(s, Folder, 2), "parent", get(s, Folder, 3)), [(Folder, 2)]),
    Path("delete, with passive_deletes, of loaded rows", lambda s: [(sea := get(s, Album)).pictures, s.delete(sea)],
         [(Album, 1), *all_pictures]),
    Path("delete, with passive_deletes: ON DELETE CASCADE", remove(Album, 1), [(Album, 1), *all_pictures]),
    Path("joined inheritance: a column of the class", change(Restaurant, 2, stars=5), [(Restaurant, 2)]),
    Path("joined inheritance: a column of the base", change(Restaurant, 2, name="x"), [(Restaurant, 2), (Place, 2)]),
    Path("joined inheritance: by the base", change(Place, 2, name="x"), [(Restaurant, 2), (Place, 2)]),
    Path("joined inheritance: another row of the base", change(Place, 1, name="x"), [(Place, 1)]),
    Path("joined inheritance: delete", remove(Restaurant, 2), [(Restaurant, 2), (Place, 2)]),
    Path("joined inheritance: a new row", lambda s: s.add(Restaurant(id=50, name="x", stars=1)), says=False),
    Path("single-table inheritance", change(Dog, 2, tricks=7), dogs),
    Path("single-table inheritance: by the base", change(Animal, 2, name="x"), dogs),
    Path("single-table inheritance: a row of the base", change(Animal, 1, name="x"), [(Animal, 1)]),
    Path("single-table inheritance: delete", remove(Dog, 2), dogs),
    Path("a composite key", change(Seat, ("A", 2), taken=True), [(Seat, ("A", 2))]),
    Path("a composite key: delete", remove(Seat, ("A", 2)), [(Seat, ("A", 2))]),
    Path("a composite key: changed", change(Seat, ("A", 2), number=50), [(Seat, ("A", 2))]),
    Path("a key of an application's type", change(Word, "abc", meaning="x"), [(Word, "abc")]),
    Path("a key of an application's type: delete", remove(Word, "abc"), [(Word, "abc")]),
    Path("a decimal key", change(Price, Decimal("1.50"), text="x"), [(Price, Decimal("1.50"))], questions=1),
    Path("a decimal key, spelled otherwise", change(Price, Decimal("2"), text="x"), [(Price, Decimal("2.00"))],
         questions=1),
    Path("a value changed for another", change(Paint, 1, recipe=["x"]), [(Paint, 1)]),
    Path("an enumeration", several(remove(Paint, 2), lambda s: s.flush(), change(Paint, 1, colour=Colour.GREEN)),
         [(Paint, 1), (Paint, 2)]),
    Path("a version counter", change(Document, 1, title="x"), [(Document, 1)]),
    Path("a version counter: delete", remove(Document, 1), [(Document, 1)]),
    Path("a primary key", change(City, 4, id=50), [(City, 4)]),
    Path("a schema", change(Invoice, 1, number="x"), both_invoices),
    Path("a table of the same name without one", change(PlainInvoice, 1, number="x"), both_invoices),
    Path("merge()", lambda s: s.merge(City(id=1, slug="oslo", name="x", country_id=1)), city_1),
    Path("merge() of a new row", lambda s: s.merge(City(id=50, slug="new", name="New")), says=False),
    Path("a before_flush hook", by_before_flush, [(City, 1), (City, 2)]),
    Path("an after_update hook", by_mapper_event, [(City, 1), (City, 2)]),
    Path("begin_nested()", in_savepoint, city_1, may_end="sqlite", alone=False),
    Path("what is not cached", change(Note, 1, text="x"), says=False),
    Path("more than bulk_threshold rows", several(*[change(Parcel, key, weight=1) for key in (1, 2, 3, 4)]),
         rows_of(Parcel), alone=False),
    Path("as many as bulk_threshold", several(*[change(Parcel, key, weight=1) for key in (1, 2, 3)]),
         [(Parcel, 1), (Parcel, 2), (Parcel, 3)]),
]  # fmt: skip

set_7 = update(City).values(population=7)

EXECUTE = [
    *[Path(f"update() by key, synchronize_session={how!r}",
           run(set_7.where(City.id == 1), synchronize_session=how), city_1)
      for how in ("auto", "evaluate", "fetch", False)],
    *[Path(f"delete() by key, synchronize_session={how!r}",
           run(delete(City).where(City.id == 4), synchronize_session=how), [(City, 4)])
      for how in ("auto", "evaluate", "fetch", False)],
    *[Path(f"update() by another column, synchronize_session={how!r}",
           run(set_7.where(City.name == "Moss"), synchronize_session=how), [(City, 3)], questions=1)
      for how in ("auto", "evaluate", "fetch", False)],
    Path("update() by IN of keys", run(set_7.where(City.id.in_([1, 2, 3]))), city_123),
    Path("update() by key and more", run(set_7.where(City.id == 1, City.name == "Oslo")), city_1),
    Path("update() by key and more, of no row", run(set_7.where(City.id == 1, City.name == "x")), city_1),
    Path("update() of all rows", run(set_7), all_cities, questions=1),
    Path("update() of no row", run(set_7.where(City.slug == "x")), questions=1, says=False),
    Path("update() by what it changes", run(update(City).where(City.slug == "moss").values(slug="x")), [(City, 3)],
         questions=1),
    Path("update() by an expression", run(update(City).where(City.id == 1).values(population=City.population + 1)),
         city_1),
    Path("update() by key with RETURNING", run(set_7.where(City.id == 1).returning(City)), city_1),
    Path("update() by another column with RETURNING", run(set_7.where(City.name == "Moss").returning(City.id)),
         [(City, 3)], questions=1),
    Path("update() with ordered_values()",
         run(update(City).where(City.id == 1).ordered_values((City.population, 7), (City.name, "x"))), city_1),
    Path("update() of a key", run(update(City).where(City.id == 4).values(id=50)), [(City, 4)]),
    Path("update() of a key to that of another row",
         several(run(delete(City).where(City.id == 3)), run(update(City).where(City.id == 4).values(id=3))),
         [(City, 3), (City, 4)]),
    Path("update() by a subquery",
         run(set_7.where(City.country_id.in_(select(Country.id).where(Country.code == "NO")))),
         city_123, questions=1),
    Path("UPDATE .. FROM", run(set_7.where(City.country_id == Country.id, Country.code == "NO")), city_123,
         questions=1),
    Path("DELETE .. USING", run(delete(Order).where(Order.customer_id == Customer.id, Customer.email == "bob@x")),
         [(Order, 3)], questions=1, only="postgresql"),
    Path("lambda_stmt()", lambda s: s.execute(lambda_stmt(lambda: update(City).where(City.id == 1).values(name="x"))),
         city_1),
    Path("update() by many keys", run(update(City), [{"id": 1, "population": 1}, {"id": 2, "population": 2}]),
         [(City, 1), (City, 2)]),
    Path("update() by many keys of a composite key",
         run(update(Seat), [{"row": "A", "number": 1, "taken": True}, {"row": "A", "number": 2, "taken": True}]),
         [(Seat, ("A", 1)), (Seat, ("A", 2))]),
    Path("update() of a class that inherits, joined", run(update(Restaurant).values(stars=5)), rows_of(Restaurant),
         questions=1),
    Path("update() of a class that inherits, in one table", run(update(Dog).values(tricks=7)), [(Animal, 1), *dogs],
         questions=1),
    Path("update() by a key of an application's type", run(update(Word).where(Word.text == "abc").values(meaning="x")),
         [(Word, "abc")]),
    Path("update() by a decimal key",
         run(update(Price).where(Price.amount == Decimal("1.5")).values(text="x")), [(Price, Decimal("1.50"))],
         questions=1),
    Path("update() by a key that is text of a number", run(set_7.where(City.id == literal("1", City.name.type))),
         city_1, questions=1, only="sqlite"),
    Path("update() of a schema", run(update(Invoice).where(Invoice.number == "n1").values(number="x")),
         both_invoices, questions=1),
    Path("update() of more than bulk_threshold rows", run(update(Parcel).where(Parcel.id < 5).values(weight=1)),
         rows_of(Parcel), questions=1),
    Path("update() of as many as bulk_threshold", run(update(Parcel).where(Parcel.id < 4).values(weight=1)),
         [(Parcel, 1), (Parcel, 2), (Parcel, 3)], questions=1),
    Path("delete() by another column", run(delete(City).where(City.slug == "lund")), [(City, 4)], questions=1),
    Path("delete() of all rows", run(delete(Ticket)), rows_of(Ticket), questions=1),
    Path("delete() with RETURNING", run(delete(City).where(City.id == 4).returning(City.id)), [(City, 4)]),
    Path("insert()", run(insert(City).values(id=50, slug="new", name="New")), says=False),
    Path("insert(), whose key the database gives", run(insert(City).values(slug="new", name="New")), says=False),
    Path("insert() of many", run(insert(City), [{"id": 50 + n, "slug": f"n{n}", "name": "New"} for n in range(3)]),
         says=False),
    Path("insert() of many with RETURNING",
         run(insert(City).returning(City), [{"id": 50 + n, "slug": f"n{n}", "name": "New"} for n in range(3)]),
         says=False),
    Path("insert() of several values()",
         run(insert(City).values([{"id": 50 + n, "slug": f"n{n}", "name": "New"} for n in range(3)])), says=False),
    Path("insert() from a SELECT",
         run(insert(City).from_select(["id", "slug", "name"], select(Tag.id + 100, Tag.name, Tag.name))), says=False),
    Path("ON CONFLICT DO UPDATE by key", on_conflict("id", population=7), city_1),
    Path("ON CONFLICT DO UPDATE by key, of a lookup", on_conflict("id", slug="oslo2"), city_1),
    Path("ON CONFLICT DO UPDATE by another column", on_conflict("slug", population=7), all_cities),
    Path("ON CONFLICT DO UPDATE by another column, of another key",
         lambda s: s.execute(upsert(s, id=60, slug="oslo", name="x").on_conflict_do_update(
             index_elements=["slug"], set_={"population": 7})), all_cities),
    Path("ON CONFLICT DO UPDATE of a new row",
         lambda s: s.execute(upsert(s, id=60, slug="new", name="x").on_conflict_do_update(
             index_elements=["id"], set_={"population": 7}))),
    Path("ON CONFLICT DO NOTHING", lambda s: s.execute(upsert(s, id=1, slug="x", name="x").on_conflict_do_nothing()),
         says=False),
    Path("ON CONFLICT DO UPDATE with RETURNING",
         lambda s: s.scalars(upsert(s, id=1, slug="oslo", name="x").on_conflict_do_update(
             index_elements=["id"], set_={"population": 7}).returning(City)).all(), city_1),
    Path("INSERT OR REPLACE", run(insert(City).prefix_with("OR REPLACE").values(id=60, slug="oslo", name="x")),
         all_cities, only="sqlite"),
    Path("UPDATE OR REPLACE", run(update(City).prefix_with("OR REPLACE").where(City.id == 2).values(slug="oslo")),
         all_cities, only="sqlite"),
    Path("UPDATE in a CTE",
         lambda s: s.execute(select(update(City).where(City.id == 1).values(population=7)
                                    .returning(City.id).cte("written"))).all(), all_cities, only="postgresql"),
    Path("DELETE in a CTE of an INSERT",
         lambda s: s.execute(insert(Note).values(id=2, text="x").add_cte(
             delete(Order).where(Order.id == 3).cte("gone"))), rows_of(Order), only="postgresql"),
    Path("Query.update() by key", lambda s: s.query(City).filter(City.id == 1).update({"population": 7}), city_1),
    Path("Query.update() by another column", lambda s: s.query(City).filter_by(slug="moss").update({"population": 7}),
         [(City, 3)], questions=1),
    Path("Query.delete()", lambda s: s.query(City).filter_by(slug="lund").delete(), [(City, 4)], questions=1),
]  # fmt: skip

BULK = [
    Path("bulk_save_objects() of a row that is there",
         lambda s: (setattr(city := get(s, City), "population", 7), s.bulk_save_objects([city])), city_1),
    Path("bulk_save_objects() of a new row",
         lambda s: s.bulk_save_objects([City(id=50, slug="new", name="New"), City(id=51, slug="n", name="N")]),
         says=False),
    Path("bulk_insert_mappings()",
         lambda s: s.bulk_insert_mappings(City.__mapper__, [{"id": 50, "slug": "new", "name": "New"}]), says=False),
    Path("bulk_insert_mappings(), whose keys the database gives",
         lambda s: s.bulk_insert_mappings(City.__mapper__, [{"slug": "new", "name": "New"}]), says=False),
    Path("bulk_update_mappings()",
         lambda s: s.bulk_update_mappings(City.__mapper__, [{"id": 1, "population": 1}, {"id": 2, "slug": "x"}]),
         [(City, 1), (City, 2)]),
    Path("bulk_update_mappings() of joined inheritance",
         lambda s: s.bulk_update_mappings(
             Restaurant.__mapper__, [{"id": 2, "restaurant_id": 2, "name": "x", "stars": 5}]),
         [(Restaurant, 2), (Place, 2)]),
]  # fmt: skip

CORE = [
    Path("Table.update() by key", core(cities.update().where(cities.c.id == 1).values(population=7)), city_1),
    Path("Table.update() by another column", core(cities.update().where(cities.c.name == "Moss").values(population=7)),
         [(City, 3)], questions=1),
    Path("Table.update() with many parameters",
         core(cities.update().where(by_id), [{"wanted": 1, "population": 1}, {"wanted": 2, "population": 2}]),
         [(City, 1), (City, 2)]),
    Path("Table.update() with many parameters, by another column",
         core(cities.update().where(cities.c.name == bindparam("wanted")),
              [{"wanted": "Oslo", "population": 1}, {"wanted": "Moss", "population": 2}]), all_cities),
    Path("Table.delete() by key", core(cities.delete().where(cities.c.id == 4)), [(City, 4)]),
    Path("Table.delete(): ON DELETE CASCADE", core(delete(Album.__table__).where(Album.__table__.c.id == 2)),
         [(Album, 2), *all_pictures]),
    Path("Table.delete() with many parameters", core(cities.delete().where(by_id), [{"wanted": 3}, {"wanted": 4}]),
         [(City, 3), (City, 4)]),
    Path("Table.insert()", core(cities.insert(), {"id": 50, "slug": "new", "name": "New"}), says=False),
    Path("Table.insert() of many",
         core(cities.insert(), [{"id": 50 + n, "slug": f"n{n}", "name": "New"} for n in range(3)]), says=False),
    Path("Table.update() of a table in a schema",
         core(invoices.update().where(invoices.c.id == 1).values(number="x")), both_invoices),
    Path("Table.update() of a base's table",
         core(update(Place.__table__).where(Place.__table__.c.id == 2).values(name="x")),
         [(Place, 2), (Restaurant, 2)]),
    Path("Table.delete() of a secondary table", core(order_tags.delete()), says=False),
    Path("Table.update() through an alias",
         lambda s: s.connection().execute(update(one := cities.alias("c")).where(one.c.id == 1).values(population=7)),
         city_1, only="postgresql"),
    Path("a table() without a model", without_model, all_cities),
    Path("another Table of the same name", another_table, city_1),
    Path("a TypeDecorator's value in SQL",
         core(Word.__table__.update().where(Word.__table__.c.text == literal("abc", Reversed())).values(meaning="x")),
         [(Word, "abc")], questions=1),
]  # fmt: skip

SQL = "UPDATE city SET population = 7 WHERE id = 1"
TEXT = [
    Path("text()", run(text(SQL)), all_cities),
    Path("text() with parameters", run(text("UPDATE city SET population = :n WHERE id = :id"), {"n": 7, "id": 1}),
         all_cities),
    Path("text() with many parameters",
         run(text("UPDATE city SET population = :n WHERE id = :id"), [{"n": 7, "id": 1}, {"n": 8, "id": 2}]),
         all_cities),
    Path("text(), DELETE", run(text("delete from city where id = 4")), all_cities),
    Path("text(), INSERT", run(text("insert into city (id, slug, name) values (50, 'new', 'New')")), all_cities),
    Path("text(), with a comment", run(text(f"/* why */ -- so\n  {SQL}")), all_cities),
    Path("text(), quoted", run(text('UPDATE "city" SET population = 7 WHERE id = 1')), all_cities),
    Path("text(), with a schema", run(text("UPDATE billing.invoice SET number = 'x' WHERE id = 1")),
         rows_of(Invoice, PlainInvoice)),
    Path("text(), RETURNING", run(text(f"{SQL} RETURNING id")), all_cities),
    Path("text(), ON CONFLICT",
         run(text("INSERT INTO city (id, slug, name) VALUES (1, 'oslo', 'x') "
                  "ON CONFLICT (id) DO UPDATE SET name = excluded.name")), all_cities),
    Path("text(), WITH", run(text("WITH one AS (SELECT 1 AS id) "
                                  "UPDATE city SET population = 7 WHERE id IN (SELECT id FROM one)")),
         all_cities, only="postgresql"),
    Path("text(), DELETE in WITH",
         run(text("WITH gone AS (DELETE FROM orders WHERE id = 3 RETURNING id) SELECT id FROM gone")),
         rows_of(Order), only="postgresql"),
    Path("text(), several statements", run(text(f"{SQL}; UPDATE country SET name = 'x' WHERE id = 1")),
         rows_of(City, Country), only="postgresql", may_end="postgresql"),
    Path("text(), TRUNCATE", run(text("TRUNCATE ticket")), rows_of(Ticket), only="postgresql"),
    Path("text(), REPLACE", run(text("REPLACE INTO city (id, slug, name) VALUES (60, 'oslo', 'x')")), all_cities,
         only="sqlite"),
    Path("text() of what is not cached", run(text("UPDATE note SET text = 'x'")), says=False),
    Path("text(), SELECT", run(text("SELECT * FROM city")), says=False),
    Path("text().columns() of an UPDATE", run(text(f"{SQL} RETURNING id").columns(City.id)), all_cities),
    Path("exec_driver_sql()", driver(SQL), all_cities),
    Path("exec_driver_sql() with parameters", driver("UPDATE city SET population = %s WHERE id = %s", (7, 1)),
         all_cities),
    Path("exec_driver_sql() with many parameters",
         driver("UPDATE city SET population = %s WHERE id = %s", [(7, 1), (8, 2)]), all_cities),
]  # fmt: skip

PATHS = [*FLUSH, *EXECUTE, *BULK, *CORE, *TEXT]
