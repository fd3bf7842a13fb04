"""What a statement writes, as told from its construct, against what the databases then do.

A `Judge` hears every statement of a connection. Before one is sent it asks the functions under test, and looks at all
rows; afterwards it looks again: no row may have changed, vanished or appeared that was not named.
"""

import enum
import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sqlalchemy")

from sqlalchemy import (
    CHAR,
    Column,
    Connection,
    DateTime,
    Engine,
    Enum,
    ForeignKey,
    Index,
    Insert,
    Integer,
    LambdaElement,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Select,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    Update,
    Uuid,
    and_,
    bindparam,
    cast,
    column,
    create_engine,
    delete,
    event,
    exists,
    false,
    func,
    insert,
    lambda_stmt,
    literal,
    literal_column,
    not_,
    or_,
    select,
    table,
    text,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column, relationship
from sqlalchemy.pool import StaticPool

from cachecore.integrations.sqlalchemy.writing import statements

Row = tuple[Any, ...]
Snapshot = dict[str, dict[Row, Row]]


class Label(TypeDecorator[str]):
    """5 in the database is "L5" in Python."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> int | None:
        return None if value is None else int(value[1:])

    def process_result_value(self, value: int | None, dialect: Any) -> str | None:
        return None if value is None else f"L{value}"


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Base(DeclarativeBase):
    pass


class Country(Base):
    __tablename__ = "country"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    cities: Mapped[list["City"]] = relationship(back_populates="country", cascade="all, delete-orphan")
    notes: Mapped[list["Note"]] = relationship(back_populates="country")


CITY_TAG = Table(
    "city_tag",
    Base.metadata,
    Column("city_id", ForeignKey("city.id"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id"), primary_key=True),
)


class City(Base):
    __tablename__ = "city"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    slug: Mapped[str] = mapped_column(unique=True)
    country_id: Mapped[int | None] = mapped_column(ForeignKey("country.id"))
    version: Mapped[int] = mapped_column()
    country: Mapped[Country | None] = relationship(back_populates="cities")
    tags: Mapped[list["Tag"]] = relationship(secondary=CITY_TAG)
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class Tag(Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str]


class Note(Base):
    """Whose attribute ``id`` is the column ``pk``."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column("pk", primary_key=True)
    body: Mapped[str | None]
    hits: Mapped[int | None]
    country_id: Mapped[int | None] = mapped_column(ForeignKey("country.id"))
    country: Mapped[Country | None] = relationship(back_populates="notes")


class Employee(Base):
    __tablename__ = "employee"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "employee"}  # noqa: RUF012


class Manager(Employee):
    __tablename__ = "manager"
    id: Mapped[int] = mapped_column(ForeignKey("employee.id"), primary_key=True)
    level: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "manager"}  # noqa: RUF012


class Intern(Employee):
    __mapper_args__ = {"polymorphic_identity": "intern"}  # noqa: RUF012


class Pair(Base):
    __tablename__ = "pair"
    a: Mapped[int] = mapped_column(primary_key=True)
    b: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int | None]


class Doc(Base):
    __tablename__ = "doc"
    id: Mapped[str] = mapped_column(Label, primary_key=True)
    title: Mapped[str]


class Paint(Base):
    __tablename__ = "paint"
    colour: Mapped[Colour] = mapped_column(Enum(Colour, native_enum=False), primary_key=True)
    litres: Mapped[int]


class Stamp(Base):
    __tablename__ = "stamp"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    text: Mapped[str]


class Node(Base):
    """Two rows may refer to each other, so that the second reference is written by an UPDATE after both INSERTs."""

    __tablename__ = "node"
    id: Mapped[int] = mapped_column(primary_key=True)
    best_id: Mapped[int | None] = mapped_column(ForeignKey("node.id"))
    best: Mapped["Node | None"] = relationship(remote_side="Node.id", post_update=True)


TABLES = list(Base.metadata.tables.values())
NOTE: Table = Base.metadata.tables["note"]
PAIR: Table = Base.metadata.tables["pair"]
CITY: Table = Base.metadata.tables["city"]
ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)


def fill(connection: Connection) -> None:
    """Make the tables, with the rows that every scene begins with."""
    Base.metadata.create_all(connection)
    session = Session(connection)
    tags = [Tag(id=number, word=f"t{number}") for number in (1, 2, 3)]
    countries = [Country(id=number, name=f"c{number}") for number in (1, 2, 3)]
    cities = [
        City(id=number, name=f"n{number}", slug=f"s{number}", country=countries[number % 2], tags=tags[: number % 3])
        for number in range(1, 7)
    ]
    notes = [Note(id=number, body=f"b{number}", hits=number, country_id=number % 2 + 1) for number in range(1, 7)]
    staff = [
        Manager(id=1, name="m1", level=1),
        Manager(id=2, name="m2", level=2),
        Intern(id=3, name="i"),
        Employee(id=4),
    ]
    pairs = [Pair(a=a, b=b, n=a * b) for a in (1, 2, 3) for b in (1, 2, 3)]
    docs = [Doc(id="L1", title="one"), Doc(id="L2", title="two")]
    paints = [Paint(colour=Colour.RED, litres=1), Paint(colour=Colour.BLUE, litres=2)]
    stamps = [Stamp(id=ONE, text="one"), Stamp(id=TWO, text="two")]
    nodes = [Node(id=1), Node(id=2, best_id=1)]
    session.add_all([*tags, *countries, *cities, *notes, *staff, *pairs, *docs, *paints, *stamps, nodes[0]])
    session.flush()
    session.add(nodes[1])
    session.flush()
    session.close()


# -- the judge -------------------------------------------------------------------------------------


class Judge:
    """Hears what one connection executes, and compares what is said of each statement with what it does.

    restricts: every UPDATE and DELETE is sent as `restricted` to what its `question` answers.
    """

    def __init__(self, connection: Connection, tables: Sequence[Table], restricts: bool) -> None:
        self.heard: list[tuple[str, str, list[Row] | None]] = []
        """Each statement: its verb, its table and the identities that were said."""
        self.moved: list[list[Row] | None] = []
        """Of each UPDATE, the identities that were said to come of it."""
        self.constructs: list[Any] = []
        self._connection = connection
        self._tables = tables
        self._restricts = restricts
        self._open: tuple[Any, ...] | None = None
        event.listen(connection, "before_execute", self._before, retval=True)
        event.listen(connection, "after_execute", self._after)

    def snapshot(self) -> Snapshot:
        return {
            each.name: {
                tuple(row._mapping[key] for key in each.primary_key): tuple(row)
                for row in self._connection.execute(select(*each.columns))
            }
            for each in self._tables
        }

    def _before(self, connection: Connection, statement: Any, multiparams: Any, params: Any, options: Any) -> Any:
        if not statements.is_dml(statement):
            return statement, multiparams, params
        dml = statements.dml_of(statement)
        sets = multiparams or ([params] if params else [])
        name = statements.table_of(dml).name
        self._open = None
        asked: set[Row] | None = None
        sent = statement
        if isinstance(dml, Insert):
            said, moved = statements.inserted(dml, sets), []
        else:
            said = statements.identities(dml, sets)
            moved = statements.moved_to(dml, sets) if isinstance(dml, Update) else []
            self.moved.append(moved)
            question = statements.question(dml)
            if question is not None:
                asked = {tuple(row) for one in sets or ({},) for row in connection.execute(question, one)}
                if self._restricts:
                    sent = statements.restricted(statement, sorted(asked, key=repr), many=len(sets) > 1)
                    # What moves is told of the restricted statement as well.
                    if isinstance(dml, Update) and moved is not None:
                        assert statements.moved_to(statements.dml_of(sent), sets) is not None
        self.constructs.append(dml)
        self.heard.append((dml.__visit_name__, name, said))
        self._open = (sent, dml, name, said, moved, asked, self.snapshot())
        return sent, multiparams, params

    def _after(self, connection: Any, statement: Any, multiparams: Any, params: Any, options: Any, result: Any) -> None:
        if self._open is None or statement is not self._open[0]:
            return
        _, dml, name, said, moved, asked, before = self._open
        after = self.snapshot()
        assert {each: rows for each, rows in after.items() if each != name} == {
            each: rows for each, rows in before.items() if each != name
        }
        old, new = before[name], after[name]
        vanished, appeared = old.keys() - new.keys(), new.keys() - old.keys()
        changed = {key for key in old.keys() & new.keys() if old[key] != new[key]}
        if isinstance(dml, Insert):
            if statements.may_update(dml) and not statements.conflict_on_primary_key(dml):
                return
            assert not vanished
            assert changed <= set(said if said is not None and statements.may_update(dml) else ())
            if said is not None:  # the other rows have their keys from the database
                unnamed = max(len(multiparams), 1) * max(len(rows_of_values(dml)), 1) - len(said)
                assert len(appeared - set(said)) <= max(unnamed, 0)
            return
        if said is not None:
            assert vanished <= set(said)
            assert changed <= {*said, *(moved or said)}
        if moved is not None:
            assert appeared <= set(moved)
            if asked is not None:
                assert changed <= asked | set(moved)
        if asked is not None:
            assert vanished <= asked
            if said is not None:
                assert asked <= set(said)


def rows_of_values(dml: Insert) -> list[Any]:
    return [row for rows in getattr(dml, "_multi_values", ()) for row in rows]


# -- the databases ---------------------------------------------------------------------------------

_schemas = itertools.count()


@pytest.fixture(scope="module")
def sqlite_engine() -> Iterator[Engine]:
    """A database in memory, with one connection; scenes roll back what they do."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"isolation_level": None})
    # Python's driver begins no transaction for a statement that begins with WITH.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with engine.begin() as connection:
        fill(connection)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def postgres_engine(postgres_server: Any) -> Iterator[Engine]:
    """A schema of a PostgreSQL server; scenes roll back what they do."""
    pytest.importorskip("psycopg")
    url = postgres_server.url.replace("postgresql:", "postgresql+psycopg:")
    schema = f"statements_{next(_schemas)}_{uuid.uuid4().hex}"
    engine = create_engine(url, connect_args={"options": f"-csearch_path={schema}"})
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
        fill(connection)
    yield engine
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


Run = Callable[..., tuple[Judge, Snapshot]]


def make_run(engine: Engine) -> Run:
    """Runs a scene in a transaction that is rolled back: the judge, and the rows at the scene's end.

    What the judge finds wrong raises out of the scene.
    """

    def run(scene: Callable[[Session], object], restricts: bool = False) -> tuple[Judge, Snapshot]:
        with engine.connect() as connection, connection.begin() as transaction, Session(connection) as session:
            judge = Judge(connection, TABLES, restricts)
            scene(session)
            session.flush()
            end = judge.snapshot()
            session.close()
            transaction.rollback()
        return judge, end

    return run


@pytest.fixture(params=["sqlite", "postgres"])
def run(request: pytest.FixtureRequest) -> Run:
    """On each database."""
    return make_run(request.getfixturevalue(f"{request.param}_engine"))


@pytest.fixture
def run_on_sqlite(sqlite_engine: Engine) -> Run:
    return make_run(sqlite_engine)


@pytest.fixture
def run_on_postgres(postgres_engine: Engine) -> Run:
    return make_run(postgres_engine)


# -- scenes: what sessions and connections do, and what must be said of it --------------------------

Heard = list[tuple[str, str, list[Row] | None]]
SCENES: list[Any] = []


def scene(*heard: tuple[str, str, list[Row] | None]) -> Callable[[Callable[[Session], object]], None]:
    """Declare something that a session does, with the statements that come of it."""

    def declare(does: Callable[[Session], object]) -> None:
        SCENES.append(pytest.param(does, list(heard), id=does.__name__))

    return declare


# Flushes.


@scene(("update", "city", [(1,)]))
def a_versioned_row_changes(session: Session) -> None:
    session.get_one(City, 1).name = "x"


@scene(("update", "city", [(1,)]), ("update", "city", [(2,)]))
def two_versioned_rows_change(session: Session) -> None:
    for number in (1, 2):
        session.get_one(City, number).name = "x"


@scene(("update", "note", [(1,), (2,), (3,), (4,), (5,), (6,)]))
def many_rows_change(session: Session) -> None:
    for note in session.scalars(select(Note).order_by(Note.id)):
        note.body = f"{note.body}!"


@scene(("update", "note", [(3,)]))
def a_column_is_set_to_sql(session: Session) -> None:
    session.get_one(Note, 3).hits = Note.hits + 1


@scene(("update", "note", [(3,)]))
def a_primary_key_changes(session: Session) -> None:
    session.get_one(Note, 3).id = 77


@scene(("update", "pair", [(1, 2)]))
def a_part_of_a_composite_key_changes(session: Session) -> None:
    session.get_one(Pair, (1, 2)).b = 9


@scene(("update", "pair", [(1, 2), (2, 3)]))
def rows_with_composite_keys_change(session: Session) -> None:
    for pair in (session.get_one(Pair, (1, 2)), session.get_one(Pair, (2, 3))):
        pair.n = 90


@scene(("delete", "note", [(1,)]))
def a_row_is_deleted(session: Session) -> None:
    session.delete(session.get_one(Note, 1))


@scene(("delete", "pair", [(1, 1), (1, 2), (1, 3)]))
def rows_with_composite_keys_are_deleted(session: Session) -> None:
    for pair in session.scalars(select(Pair).filter_by(a=1).order_by(Pair.b)):
        session.delete(pair)


@scene(("insert", "note", [(50,)]))
def a_row_with_a_key_is_added(session: Session) -> None:
    session.add(Note(id=50))


@scene(("insert", "pair", [(7, 7), (8, 8)]))
def rows_with_composite_keys_are_added(session: Session) -> None:
    session.add_all([Pair(a=7, b=7), Pair(a=8, b=8)])


@scene(("insert", "employee", [(70,)]), ("insert", "manager", [(70,)]))
def a_row_of_joined_inheritance_is_added(session: Session) -> None:
    session.add(Manager(id=70, name="m", level=3))


@scene(("update", "employee", [(1,)]), ("update", "manager", [(1,)]))
def a_row_of_joined_inheritance_changes(session: Session) -> None:
    manager = session.get_one(Manager, 1)
    manager.name, manager.level = "x", 9


@scene(("delete", "manager", [(1,)]), ("delete", "employee", [(1,)]))
def a_row_of_joined_inheritance_is_deleted(session: Session) -> None:
    session.delete(session.get_one(Manager, 1))


@scene(
    ("delete", "city_tag", [(2, 1), (2, 2), (4, 1)]),
    ("update", "note", [(2,), (4,), (6,)]),
    ("delete", "city", [(2,), (4,), (6,)]),
    ("delete", "country", [(1,)]),
)
def deleting_cascades_and_nulls_what_refers_to_it(session: Session) -> None:
    session.delete(session.get_one(Country, 1))


@scene(("insert", "city_tag", [(1, 3)]))
def a_link_of_a_many_to_many_is_added(session: Session) -> None:
    city = session.get_one(City, 1)
    city.tags.append(session.get_one(Tag, 3))


@scene(("delete", "city_tag", [(2, 1), (2, 2)]))
def links_of_a_many_to_many_are_removed(session: Session) -> None:
    session.get_one(City, 2).tags = []


@scene(("insert", "node", [(8,), (9,)]), ("update", "node", [(8,), (9,)]))
def rows_refer_to_each_other(session: Session) -> None:
    one, other = Node(id=8), Node(id=9)
    one.best, other.best = other, one
    session.add_all([one, other])


@scene(("update", "doc", [("L1",)]), ("update", "paint", [(Colour.RED,)]), ("update", "stamp", [(TWO,)]))
def keys_are_values_of_the_application_s_types(session: Session) -> None:
    session.get_one(Doc, "L1").title = "x"
    session.flush()
    session.get_one(Paint, Colour.RED).litres = 9
    session.flush()
    session.get_one(Stamp, TWO).text = "x"


# Bulk statements of a session.

for _name in ("auto", "evaluate", "fetch", False):

    def _synchronized(session: Session, name: Any = _name) -> None:
        kept = session.scalars(select(Note).order_by(Note.id)).all()
        options = {"synchronize_session": name}
        session.execute(update(Note).where(Note.id == 5).values(body="x"), execution_options=options)
        session.execute(update(Note).where(Note.body == "b3").values(body="y"), execution_options=options)
        session.execute(delete(Note).where(Note.id.in_([1, 2])), execution_options=options)
        session.execute(delete(Note).where(Note.hits == 6), execution_options=options)
        if name is not False:
            assert [note.id for note in kept if note in session] == [3, 4, 5]
            assert [note.body for note in kept[2:5]] == ["y", "b4", "x"]
            assert not session.scalars(select(Note.id).where(Note.id.in_([1, 2, 6]))).all()

    _synchronized.__name__ = f"bulk_statements_synchronized_by_{_name}"
    scene(
        ("update", "note", [(5,)]), ("update", "note", None), ("delete", "note", [(1,), (2,)]), ("delete", "note", None)
    )(_synchronized)


@scene(("update", "note", [(3,)]), ("update", "note", [(4,), (5,)]))
def a_bulk_update_sets_the_key(session: Session) -> None:
    session.execute(update(Note).where(Note.id == 3).values(id=33))
    session.execute(update(Note).where(Note.id.in_([4, 5]), Note.hits == 5).values({Note.id: 55}))


@scene(("update", "pair", [(1, 1), (2, 1)]))
def a_bulk_update_sets_a_part_of_the_key(session: Session) -> None:
    session.execute(update(Pair).where(Pair.a.in_([1, 2]), Pair.b == 1).values(b=11))


@scene(("update", "pair", [(3, 1), (3, 2), (3, 3)]))
def a_bulk_update_sets_the_key_to_sql(session: Session) -> None:
    session.execute(update(Pair).where(Pair.a == 3, Pair.b.in_([1, 2, 3])).values(b=Pair.b + 10))


@scene(("update", "note", [(5,), (6,)]))
def a_bulk_update_by_primary_key(session: Session) -> None:
    session.execute(update(Note), [{"id": 5, "body": "q"}, {"id": 6, "body": "r"}])


@scene(("insert", "note", [(50,), (51,)]))
def a_bulk_insert(session: Session) -> None:
    session.execute(insert(Note), [{"id": 50, "body": "q"}, {"id": 51, "body": "r"}])


@scene(("insert", "note", [(50,), (51,)]))
def an_insert_of_several_values(session: Session) -> None:
    session.execute(insert(Note).values([{"id": 50, "body": "q"}, {"id": 51, "body": "r"}]))


@scene(("insert", "note", [(52,)]))
def an_insert_returning_a_row(session: Session) -> None:
    note = session.scalars(insert(Note).values(id=52, body="q").returning(Note)).one()
    assert (note.id, note.body) == (52, "q")


@scene(("insert", "employee", [(71,), (72,)]), ("insert", "manager", [(71,), (72,)]))
def a_bulk_insert_of_joined_inheritance(session: Session) -> None:
    session.execute(insert(Manager), [{"id": 71, "name": "k", "level": 3}, {"id": 72, "name": "k", "level": 3}])


@scene(("insert", "note", None), ("insert", "note", []))
def rows_are_inserted_from_a_select(session: Session) -> None:
    session.execute(insert(Note).from_select([Note.id, "body"], select(Note.id + 100, Note.body)))
    session.connection().execute(NOTE.insert().from_select(["body"], select(NOTE.c.body).where(false())))


@scene(("insert", "note", [(50,), (51,)]), ("update", "note", [(50,), (51,)]), ("insert", "note", [(60,)]))
def the_legacy_bulk_methods(session: Session) -> None:
    session.bulk_insert_mappings(Note, [{"id": 50, "body": "q"}, {"id": 51, "body": "r"}])
    session.bulk_update_mappings(Note, [{"id": 50, "body": "s"}, {"id": 51, "body": "t"}])
    session.bulk_save_objects([Note(id=60)])


@scene(("update", "note", [(1,)]), ("update", "note", None), ("delete", "note", [(1,)]), ("delete", "note", None))
def the_methods_of_query(session: Session) -> None:
    session.query(Note).filter(Note.id == 1).update({"body": "x"})
    session.query(Note).filter(Note.hits > 4).update({Note.body: "x"})
    session.query(Note).filter_by(id=1).delete()
    session.query(Note).filter(Note.hits > 5).delete()


@scene(("update", "manager", [(1,)]), ("update", "employee", [(3,)]), ("update", "employee", None))
def bulk_updates_of_subclasses(session: Session) -> None:
    session.execute(update(Manager).where(Manager.id == 1).values(level=8))
    session.execute(update(Intern).where(Intern.id == 3).values(name="x"))
    session.execute(update(Intern).values(name="y"))


@scene(("update", "employee", [(1,), (2,)]), ("update", "manager", [(1,), (2,)]))
def a_bulk_update_by_primary_key_of_joined_inheritance(session: Session) -> None:
    session.execute(update(Manager), [{"id": 1, "name": "q", "level": 5}, {"id": 2, "name": "r", "level": 6}])


@scene(("update", "manager", None))
def a_bulk_update_by_a_column_of_the_parent(session: Session) -> None:
    session.execute(
        update(Manager).where(Manager.id == Employee.id, Employee.name == "m2").values(level=8),
        execution_options={"synchronize_session": False},
    )


@scene(("update", "note", [(5,)]), ("update", "note", None))
def a_bulk_update_of_an_alias(session: Session) -> None:
    other = aliased(Note)
    session.execute(
        update(other).where(other.id == 5).values(body="d"), execution_options={"synchronize_session": False}
    )
    alias = NOTE.alias("other")
    session.connection().execute(update(alias).where(alias.c.hits == 4).values(body="d"))


@scene(("update", "city", None), ("update", "city", None), ("delete", "city_tag", None), ("update", "city", None))
def criteria_follow_relationships(session: Session) -> None:
    country = session.get_one(Country, 2)
    apart = {"synchronize_session": False}
    session.execute(update(City).where(City.country == country).values(name="x"), execution_options=apart)
    session.execute(update(City).where(City.tags.any(Tag.word == "t2")).values(name="y"), execution_options=apart)
    linked = select(City.id).join(City.tags).join(City.country).where(Country.name == "c2", Tag.id == 1)
    session.execute(delete(CITY_TAG).where(CITY_TAG.c.city_id.in_(linked)))
    other = aliased(City)
    session.execute(
        update(City).where(exists().where(other.id > City.id, other.country_id == City.country_id)).values(name="z"),
        execution_options=apart,
    )


@scene(("update", "city", None), ("delete", "note", None))
def criteria_have_a_cte(session: Session) -> None:
    some = select(City.id.label("found")).where(City.id < 3).cte("some")
    apart = {"synchronize_session": False}
    session.execute(update(City).where(City.id.in_(select(some.c.found))).values(name="x"), execution_options=apart)
    session.execute(delete(Note).where(Note.id.in_(select(some.c.found))), execution_options=apart)


@scene(("update", "note", [(5,)]), ("update", "note", None))
def an_update_loads_the_instances(session: Session) -> None:
    for criterion, ids in ((Note.id == 5, [5]), (Note.hits > 4, [5, 6])):
        changed = update(Note).where(criterion).values(body="x").returning(Note)
        found = session.scalars(select(Note).from_statement(changed).execution_options(populate_existing=True)).all()
        assert sorted(note.id for note in found) == ids
        assert {note.body for note in found} == {"x"}


@scene(("update", "note", [(1,)]), ("update", "note", [(2,)]), ("update", "note", None))
def statements_are_lambdas(session: Session) -> None:
    def statement(number: int) -> LambdaElement:
        return lambda_stmt(lambda: update(NOTE).where(NOTE.c.pk == number).values(body="x"))

    for number in (1, 2):
        session.connection().execute(statement(number))
    session.connection().execute(lambda_stmt(lambda: update(NOTE).where(NOTE.c.hits > 4).values(body="z")))


# Core.


@scene(("update", "note", [(1,), (2,)]), ("update", "note", None), ("delete", "note", [(1,), (2,)]))
def sets_of_parameters(session: Session) -> None:
    connection = session.connection()
    connection.execute(
        NOTE.update().where(NOTE.c.pk == bindparam("key")), [{"key": 1, "body": "x"}, {"key": 2, "body": "y"}]
    )
    connection.execute(
        NOTE.update().where(NOTE.c.hits == bindparam("was")), [{"was": 3, "body": "x"}, {"was": 4, "body": "y"}]
    )
    connection.execute(NOTE.delete().where(NOTE.c.pk == bindparam("key")), [{"key": 1}, {"key": 2}])


@scene(("update", "pair", None))
def sets_of_parameters_on_composite_keys(session: Session) -> None:
    changes = [{"was": 3, "n": 30}, {"was": 4, "n": 40}]
    session.connection().execute(PAIR.update().where(PAIR.c.n == bindparam("was")), changes)


@scene(("update", "pair", [(1, 2), (3, 3)]), ("delete", "pair", [(1, 2)]), ("delete", "pair", [(2, 1), (2, 2)]))
def tuples(session: Session) -> None:
    session.execute(update(Pair).where(tuple_(Pair.a, Pair.b).in_([(1, 2), (3, 3)])).values(n=-1))
    session.execute(delete(Pair).where(tuple_(Pair.b, Pair.n, Pair.a).in_([(2, -1, 1)])))
    session.execute(delete(Pair).where(Pair.a == 2, tuple_(Pair.a, Pair.b).in_([(2, 1), (2, 2), (3, 1)])))


@scene(("update", "note", None), ("update", "note", None))
def parameters_replace_values(session: Session) -> None:
    # :pk_1 is the name that the statement's own value gets.
    session.connection().execute(update(NOTE).where(NOTE.c.pk == 5).values(body="x"), {"pk_1": 6})
    session.connection().execute(update(NOTE).where(NOTE.c.pk.in_([5])), {"pk_1": [1, 2], "body": "y"})


@scene(("update", "note", [(5,)]), ("insert", "note", [(60,), (61,)]))
def parameters_come_besides_values(session: Session) -> None:
    session.connection().execute(update(NOTE).where(NOTE.c.pk == 5).values(body="x", pk=70), {"body": "y", "pk": 71})
    session.connection().execute(insert(NOTE).values(pk=60), {"pk": 61})


@scene(("insert", "note", [(60,), (61,)]))
def rows_of_values_are_tuples(session: Session) -> None:
    session.connection().execute(insert(NOTE).values([(60, "a", 1, None), (61, "b", 2, 1)]))


@scene(("delete", "note", []), ("update", "note", []), ("delete", "pair", []))
def nothing_can_match(session: Session) -> None:
    session.connection().execute(delete(NOTE).where(NOTE.c.pk.in_([])))
    session.connection().execute(update(NOTE).where(NOTE.c.pk == 1, NOTE.c.pk == 2).values(body="x"))
    session.connection().execute(delete(PAIR).where(PAIR.c.a.in_([])))


@scene(("update", "note", None), ("delete", "note", None))
def all_rows_match(session: Session) -> None:
    session.connection().execute(update(NOTE).values(body="x"))
    session.connection().execute(delete(NOTE))


@scene(("update", "note", None), ("update", "note", [(1,), (2,)]))
def values_come_from_other_tables(session: Session) -> None:
    country = Base.metadata.tables["country"]
    session.connection().execute(
        update(NOTE).where(NOTE.c.country_id == country.c.id, country.c.name == "c2").values(body=country.c.name)
    )
    session.connection().execute(
        update(NOTE).where(NOTE.c.pk.in_([1, 2]), NOTE.c.country_id == country.c.id).values(body=country.c.name)
    )


@pytest.mark.parametrize(("does", "heard"), SCENES)
def test_every_row_that_changes_was_named(run: Run, does: Callable[[Session], object], heard: Heard) -> None:
    """What is said of a statement covers what the database does, and is exact where the statement names keys."""
    judge, _ = run(does)

    assert [(verb, name, said if said is None else sorted(said, key=repr)) for verb, name, said in judge.heard] == [
        (verb, name, said if said is None else sorted(said, key=repr)) for verb, name, said in heard
    ]


@pytest.mark.parametrize(("does", "heard"), SCENES)
def test_a_statement_restricted_to_what_its_question_answers_does_the_same(
    run: Run, does: Callable[[Session], object], heard: Heard
) -> None:
    """Sent as restricted to the rows that its question finds, a statement leaves the rows it leaves by itself."""
    _, alone = run(does)
    judge, restricted = run(does, restricts=True)

    assert [each[:2] for each in judge.heard] == [each[:2] for each in heard]
    assert restricted == alone


# -- conflicts -------------------------------------------------------------------------------------


def upsert(session: Session, target: Any) -> Any:
    """The INSERT of this database that can have ON CONFLICT."""
    made = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return made(target)


def an_upsert_by_primary_key(session: Session) -> None:
    added = upsert(session, Note).values([{"id": 1, "body": "x"}, {"id": 60, "body": "y"}])
    session.execute(added.on_conflict_do_update(index_elements=["pk"], set_={"body": added.excluded.body}))


def an_upsert_of_sets_of_parameters(session: Session) -> None:
    added = upsert(session, PAIR)
    changed = added.on_conflict_do_update(
        index_elements=[PAIR.c.b, PAIR.c.a], set_={"n": added.excluded.n, "a": added.excluded.a}
    )
    session.connection().execute(changed, [{"a": 1, "b": 2, "n": -1}, {"a": 7, "b": 7, "n": -2}])


def an_upsert_of_instances(session: Session) -> None:
    added = upsert(session, Note)
    changed = added.on_conflict_do_update(index_elements=[Note.id], set_={"hits": 99}).returning(Note)
    assert len(session.scalars(changed, [{"id": 2, "body": "x"}, {"id": 61, "body": "y"}]).all()) == 2


def an_upsert_by_another_key(session: Session) -> None:
    added = upsert(session, City).values(id=60, name="x", slug="s1", version=1)
    session.execute(added.on_conflict_do_update(index_elements=["slug"], set_={"name": added.excluded.name}))


def an_upsert_that_moves_rows(session: Session) -> None:
    added = upsert(session, Note).values(id=1, body="x")
    session.execute(added.on_conflict_do_update(index_elements=["pk"], set_={Note.id: 70}))


def an_insert_that_ignores_conflicts(session: Session) -> None:
    session.execute(upsert(session, Note).values([{"id": 1}, {"id": 60}]).on_conflict_do_nothing())


CONFLICTS = [
    pytest.param(an_upsert_by_primary_key, [(1,), (60,)], True, True, id="by-primary-key"),
    pytest.param(an_upsert_of_sets_of_parameters, [(1, 2), (7, 7)], True, True, id="composite"),
    pytest.param(an_upsert_of_instances, [(2,), (61,)], True, True, id="returning"),
    pytest.param(an_upsert_by_another_key, [(60,)], True, False, id="by-another-key"),
    pytest.param(an_upsert_that_moves_rows, [(1,)], True, False, id="moving"),
    pytest.param(an_insert_that_ignores_conflicts, [(1,), (60,)], False, False, id="do-nothing"),
]


@pytest.mark.parametrize(("does", "named", "may_update", "by_key"), CONFLICTS)
def test_an_insert_tells_which_rows_it_may_find(
    run: Run, does: Callable[[Session], object], named: list[Row], may_update: bool, by_key: bool
) -> None:
    """ON CONFLICT DO UPDATE about the primary key writes the rows that the INSERT names, any other perhaps more."""
    judge, _ = run(does)

    assert [said for _, _, said in judge.heard] == [named]
    assert [(statements.may_update(one), statements.conflict_on_primary_key(one)) for one in judge.constructs] == [
        (may_update, by_key)
    ]


LOOSE = MetaData()
OVERWRITING = Table("overwriting", LOOSE, Column("id", Integer, primary_key=True), Column("word", String, unique=True))
REPLACING = Table(
    "replacing",
    LOOSE,
    Column("id", Integer, primary_key=True),
    Column("word", String),
    UniqueConstraint("word", sqlite_on_conflict="REPLACE"),
)


@pytest.mark.parametrize("name", ["overwriting", "replacing"])
def test_on_sqlite_a_row_that_takes_the_place_of_another_is_not_trusted_to_name_what_it_writes(name: str) -> None:
    """With OR REPLACE in the statement or the schema, other rows than those named may vanish, and this is said."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    LOOSE.create_all(engine)
    target = LOOSE.tables[name]
    added, changed = insert(target), update(target).where(target.c.id == 1)
    if name == "overwriting":
        added, changed = added.prefix_with("OR REPLACE"), changed.prefix_with("OR REPLACE", dialect="sqlite")
    with engine.begin() as connection:
        connection.execute(insert(target), [{"id": 1, "word": "a"}, {"id": 2, "word": "b"}, {"id": 3, "word": "c"}])
        judge = Judge(connection, [target], restricts=True)
        connection.execute(added, {"id": 4, "word": "c"})
        connection.execute(changed, {"word": "b"})
        assert judge.snapshot() == {name: {(1,): (1, "b"), (4,): (4, "c")}}

    assert judge.heard == [("insert", name, [(4,)]), ("update", name, None)]
    assert statements.may_update(added)
    assert not statements.conflict_on_primary_key(added)
    assert statements.question(changed) is None
    assert statements.identities(delete(target).where(target.c.id == 1), ()) == [(1,)]
    engine.dispose()


ON_KEY: dict[str, Any] = {"index_elements": ["pk"], "set_": {"body": "x"}}
INSERTS = [
    pytest.param(insert(NOTE), False, False, id="plain"),
    pytest.param(insert(NOTE).prefix_with("OR IGNORE"), False, False, id="or-ignore"),
    pytest.param(insert(NOTE).prefix_with("/*+ append */"), False, False, id="hint"),
    pytest.param(insert(NOTE).prefix_with("or replace"), True, False, id="or-replace"),
    pytest.param(insert(NOTE).prefix_with("OVERWRITE"), True, False, id="unknown-word"),
    pytest.param(sqlite.insert(NOTE).on_conflict_do_update(**ON_KEY).prefix_with("OR REPLACE"), True, False, id="both"),
    pytest.param(sqlite.insert(NOTE).on_conflict_do_update(set_={"body": "x"}), True, False, id="any-conflict"),
    pytest.param(
        sqlite.insert(CITY).on_conflict_do_update(index_elements=["slug", "id"], set_={"name": "x"}),
        True,
        False,
        id="more-than-the-key",
    ),
    pytest.param(
        sqlite.insert(PAIR).on_conflict_do_update(index_elements=["a"], set_={"n": 1}),
        True,
        False,
        id="a-part-of-the-key",
    ),
    pytest.param(
        postgresql.insert(NOTE).on_conflict_do_update(constraint=NOTE.primary_key, set_={"body": "x"}),
        True,
        True,
        id="the-constraint",
    ),
    pytest.param(
        postgresql.insert(NOTE).on_conflict_do_update(constraint="note_pkey", set_={"body": "x"}),
        True,
        False,
        id="a-constraint-by-a-name-that-nobody-gave",
    ),
    pytest.param(
        postgresql.insert(NOTE).on_conflict_do_update(
            index_elements=["pk"], set_=dict(postgresql.insert(NOTE).excluded.items())
        ),
        True,
        True,
        id="everything-excluded",
    ),
    pytest.param(
        postgresql.insert(NOTE).on_conflict_do_update(index_elements=["pk"], set_={"pk": text("pk + 1")}),
        True,
        False,
        id="key-set-to-sql",
    ),
    pytest.param(
        postgresql.insert(NOTE).on_conflict_do_update(index_elements=[text("lower(pk)")], set_={"body": "x"}),
        True,
        False,
        id="an-expression",
    ),
    pytest.param(mysql.insert(NOTE).on_duplicate_key_update(body="x"), True, False, id="mysql"),
]


@pytest.mark.parametrize(("statement", "may_update", "by_key"), INSERTS)
def test_whether_an_insert_may_write_rows_that_are_there(statement: Insert, may_update: bool, by_key: bool) -> None:
    """An INSERT with a clause or a word that is not known to be harmless may, and only few name which."""
    assert statements.may_update(statement) is may_update
    assert statements.conflict_on_primary_key(statement) is by_key


def test_a_named_primary_key_constraint_is_recognised_in_on_conflict() -> None:
    """ON CONFLICT ON CONSTRAINT names the primary key by the name that the table gives it."""
    target = Table(
        "named", MetaData(), Column("id", Integer), Column("n", Integer), PrimaryKeyConstraint("id", name="key")
    )
    changed = postgresql.insert(target).on_conflict_do_update(constraint="key", set_={"n": 1})

    assert statements.conflict_on_primary_key(changed)


def test_one_of_several_conflict_clauses_is_enough_to_write_other_rows() -> None:
    """With several ON CONFLICT clauses, each must be about the primary key."""
    many = sqlite.insert(NOTE).on_conflict_do_update(**ON_KEY)
    try:
        many = many.on_conflict_do_update(index_elements=["hits"], set_={"body": "y"})
    except Exception:
        pytest.skip("SQLAlchemy 2.0 allows one such clause only")

    assert statements.may_update(many)
    assert not statements.conflict_on_primary_key(many)


# -- what only PostgreSQL does ---------------------------------------------------------------------


def test_statements_in_ctes_are_found_and_nothing_is_asked_that_would_execute_them(postgres_engine: Engine) -> None:
    """An INSERT, UPDATE or DELETE in a CTE is told of, and a statement that depends on one has no question."""
    gone = delete(PAIR).where(PAIR.c.a == 1, PAIR.c.b == 2).returning(PAIR.c.n).cte("gone")
    marked = update(NOTE).where(NOTE.c.pk == 3).values(body="x").cte("marked")
    whole: list[Any] = [
        select(gone.c.n).add_cte(marked),
        insert(NOTE).from_select(["pk", "hits"], select(gone.c.n + 100, gone.c.n)).add_cte(marked),
        update(CITY).where(CITY.c.id == gone.c.n).values(name="x").add_cte(marked),
        delete(CITY_TAG).where(CITY_TAG.c.city_id.in_(select(gone.c.n).where(gone.c.n > 0))).add_cte(marked),
        select(CITY.c.name).where(exists().where(gone.c.n == CITY.c.id)).add_cte(marked),
        select(func.count()).select_from(select(gone.c.n).subquery()).add_cte(marked),
    ]
    for statement in whole:
        with postgres_engine.connect() as connection, Session(connection) as session:
            heard: list[Any] = []
            event.listen(connection, "before_execute", lambda *arguments, heard=heard: heard.append(arguments[1]))
            session.connection().execute(statement)
            left = session.scalars(select(Pair.b).where(Pair.a == 1).order_by(Pair.b)).all()
            assert (left, session.get_one(Note, 3).body) == ([1, 3], "x")
        nested = statements.nested_dml(heard[0])
        assert {(statements.table_of(each).name, *statements.identities(each, ())) for each in nested} == {
            ("pair", (1, 2)),
            ("note", (3,)),
        }
        if not isinstance(statement, Select | Insert):
            assert statements.question(statement) is None


def test_rows_joined_to_others_are_asked_for_once(run_on_postgres: Run) -> None:
    """DELETE .. USING and UPDATE .. FROM match a row as often as the other table says, and the question once."""

    def does(session: Session) -> None:
        country = Base.metadata.tables["country"]
        many = and_(NOTE.c.country_id == CITY.c.country_id, CITY.c.country_id == country.c.id, country.c.name == "c1")
        question = statements.question(delete(NOTE).where(many))
        assert question is not None
        assert sorted(session.connection().execute(question).scalars()) == [2, 4, 6]
        session.connection().execute(update(NOTE).where(many).values(body=CITY.c.name))
        session.connection().execute(delete(NOTE).where(many).returning(NOTE.c.pk))

    judge, end = run_on_postgres(does)

    assert [said for _, _, said in judge.heard] == [None, None]
    assert sorted(end["note"]) == [(1,), (3,), (5,)]
    assert run_on_postgres(does, restricts=True)[1] == end


# -- constructs ------------------------------------------------------------------------------------


class Whole(enum.IntEnum):
    FIVE = 5


class Doubled(TypeDecorator[int]):
    """5 is 10 in the database."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Any) -> int | None:
        return None if value is None else value * 2


class Lowered(TypeDecorator[str]):
    """Compares without regard to case."""

    impl = String
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        return func.lower(bindparam)


def keyed(type_: Any, name: str = "thing") -> Table:
    return Table(name, MetaData(), Column("id", type_, primary_key=True), Column("n", Integer))


THING = keyed(Label)
ALIAS = NOTE.alias("other")
NAMED = [
    pytest.param(NOTE.c.pk == 5, {}, [(5,)], id="equal"),
    pytest.param(literal(5) == NOTE.c.pk, {}, [(5,)], id="the-other-way-round"),
    pytest.param(NOTE.c.pk.in_([5, 6, 5]), {}, [(5,), (6,)], id="in"),
    pytest.param(NOTE.c.pk.in_([5, literal(6), bindparam("x")]), {"x": 7}, [(5,), (6,), (7,)], id="in-single-values"),
    pytest.param(NOTE.c.pk.in_(bindparam("x", expanding=True)), {"x": [5, 6]}, [(5,), (6,)], id="in-a-parameter"),
    pytest.param(NOTE.c.pk == bindparam("x", 5), {}, [(5,)], id="default-of-a-parameter"),
    pytest.param(NOTE.c.pk == bindparam("x", 5), {"x": 6}, [(6,)], id="parameter"),
    pytest.param(NOTE.c.pk == bindparam("x", callable_=lambda: 7), {}, [(7,)], id="callable"),
    pytest.param(NOTE.c.pk == bindparam("x"), {"x": None}, [], id="null"),
    pytest.param(NOTE.c.pk.in_([5, None]), {}, [(5,)], id="null-in-a-list"),
    pytest.param(and_(true(), and_(NOTE.c.hits > 3, and_(NOTE.c.pk == 5)).self_group()), {}, [(5,)], id="nested-ands"),
    pytest.param(and_(NOTE.c.pk == 5, or_(NOTE.c.hits == 1, NOTE.c.body == "x")), {}, [(5,)], id="narrowed"),
    pytest.param(and_(NOTE.c.pk == 5, NOTE.c.pk == NOTE.c.hits), {}, [(5,)], id="narrowed-by-a-column"),
    pytest.param(and_(NOTE.c.pk.in_([5, 6]), NOTE.c.pk.in_([6, 7])), {}, [(6,)], id="two-lists"),
    pytest.param(or_(NOTE.c.pk == 5), {}, [(5,)], id="or-of-one"),
    pytest.param(and_(NOTE.c.pk == 5, or_(NOTE.c.pk.in_([6]), NOTE.c.pk == 5)), {}, [(5,)], id="narrowed-by-or"),
    pytest.param(Note.id == 5, {}, [(5,)], id="attribute"),
    pytest.param(and_(NOTE.c.pk == 5, NOTE.c.pk == ALIAS.c.hits), {}, [(5,)], id="other-table"),
    pytest.param(and_(PAIR.c.a.in_([1, 2]), PAIR.c.b == 3), {}, [(1, 3), (2, 3)], id="composite"),
    pytest.param(tuple_(PAIR.c.b, PAIR.c.a).in_([(1, 2)]), {}, [(2, 1)], id="tuples-in-another-order"),
    pytest.param(
        and_(tuple_(PAIR.c.a, PAIR.c.b).in_([(1, 2), (3, 4), (3, 5)]), PAIR.c.a == 3), {}, [(3, 4), (3, 5)], id="tuples"
    ),
    pytest.param(
        tuple_(PAIR.c.a, PAIR.c.b).in_(bindparam("x", expanding=True)),
        {"x": [(1, 2)]},
        [(1, 2)],
        id="tuples-as-parameter",
    ),
    pytest.param(tuple_(PAIR.c.a, PAIR.c.n).in_([(1, 2)]) & (PAIR.c.b == 4), {}, [(1, 4)], id="tuples-with-others"),
    pytest.param(keyed(String).c.id == "x", {}, [("x",)], id="string"),
    pytest.param(keyed(CHAR(2)).c.id == "no", {}, [("no",)], id="char"),
    pytest.param(keyed(Uuid).c.id == ONE, {}, [(ONE,)], id="uuid"),
    pytest.param(keyed(Enum(Colour)).c.id == Colour.RED, {}, [(Colour.RED,)], id="enum"),
    pytest.param(keyed(Label).c.id == "L5", {}, [("L5",)], id="decorated"),
    pytest.param(keyed(Label).c.id.in_(["L5", "L6"]), {}, [("L5",), ("L6",)], id="decorated-in"),
    pytest.param(keyed(Label).c.id.in_([1, True]), {}, [(1,), (True,)], id="decorated-but-equal-to-python"),
    pytest.param(
        and_(THING.c.id.in_(["L5", "l5"]), THING.c.id == "L5"),
        {},
        [("L5",), ("l5",)],
        id="decorated-and-equal-to-who-knows-what",
    ),
]


def target_of(criterion: Any) -> Table:
    """The table that a case is about: that of the first column of a primary key in it."""
    names = {each.name: each for each in (NOTE, PAIR)}
    for element in statements_elements(criterion):
        found = getattr(element, "table", None)
        if isinstance(found, Table):
            return names.get(found.name, found.primary_key.table)
    raise AssertionError(criterion)


def statements_elements(criterion: Any) -> Iterator[Any]:
    yield criterion
    for child in criterion.get_children():
        yield from statements_elements(child)


@pytest.mark.parametrize(("criterion", "parameters", "expected"), NAMED)
def test_identities_that_where_names(criterion: Any, parameters: dict[str, Any], expected: list[Row]) -> None:
    """Comparisons of all columns of the primary key with values name the rows, in an UPDATE and in a DELETE."""
    target = target_of(criterion)
    assert statements.identities(delete(target).where(criterion), [parameters]) == expected
    assert statements.identities(update(target).where(criterion), [parameters]) == expected


UNNAMED = [
    pytest.param(or_(NOTE.c.pk == 5, NOTE.c.pk == 6), {}, id="or"),
    pytest.param(not_(NOTE.c.pk == 5), {}, id="not"),
    pytest.param(not_(NOTE.c.pk.in_([5])), {}, id="not-in"),
    pytest.param(NOTE.c.pk > 5, {}, id="greater"),
    pytest.param(NOTE.c.pk.is_(None), {}, id="is-null"),
    pytest.param(NOTE.c.pk.is_not_distinct_from(5), {}, id="is-not-distinct"),
    pytest.param(NOTE.c.pk + 0 == 5, {}, id="expression"),
    pytest.param(NOTE.c.pk == literal(5) + 1, {}, id="expression-of-a-value"),
    pytest.param(NOTE.c.pk == NOTE.c.hits, {}, id="column"),
    pytest.param(cast(NOTE.c.pk, String) == "5", {}, id="cast"),
    pytest.param(NOTE.c.pk == literal_column("5"), {}, id="sql"),
    pytest.param(NOTE.c.pk.op("=")(5), {}, id="operator-of-the-application"),
    pytest.param(NOTE.c.pk == select(func.max(NOTE.c.hits)).scalar_subquery(), {}, id="subquery"),
    pytest.param(NOTE.c.pk.in_(select(CITY.c.id)), {}, id="in-subquery"),
    pytest.param(NOTE.c.pk.in_([5, func.abs(6)]), {}, id="in-with-sql"),
    pytest.param(NOTE.c.pk == bindparam("x"), {}, id="no-parameter"),
    pytest.param(and_(NOTE.c.hits == 5, ALIAS.c.pk == 5), {}, id="key-of-an-alias"),
    pytest.param(NOTE.c.pk == 5, {"pk_1": 6}, id="replaced-value"),
    pytest.param(NOTE.c.pk == "5", {}, id="text-for-a-number"),
    pytest.param(NOTE.c.pk == 5.0, {}, id="float-for-a-number"),
    pytest.param(NOTE.c.pk == True, {}, id="bool-for-a-number"),  # noqa: E712
    pytest.param(NOTE.c.pk == Whole.FIVE, {}, id="member-for-a-number"),
    pytest.param(NOTE.c.pk == bindparam("x"), {"x": "5"}, id="text-parameter"),
    pytest.param(NOTE.c.pk == bindparam("x", type_=Doubled), {"x": 5}, id="parameter-of-another-type"),
    pytest.param(NOTE.c.pk.in_([bindparam("x", 5, type_=Doubled)]), {}, id="value-of-another-type"),
    pytest.param(keyed(Doubled).c.id == bindparam("x", type_=Integer), {"x": 5}, id="plain-parameter"),
    pytest.param(keyed(Doubled).c.id == bindparam("x"), {"x": None}, id="decorated-null"),
    pytest.param(keyed(Doubled).c.id == bindparam("x"), {"x": [5]}, id="decorated-without-hash"),
    pytest.param(NOTE.c.pk.in_(bindparam("x", expanding=True)), {"x": iter([5])}, id="iterator"),
    pytest.param(tuple_(PAIR.c.a, PAIR.c.b).in_(bindparam("x", expanding=True)), {"x": [5]}, id="no-tuples"),
    pytest.param(PAIR.c.a == 5, {}, id="part-of-the-key"),
    pytest.param(tuple_(PAIR.c.a, PAIR.c.n).in_([(1, 2)]), {}, id="tuples-of-a-part"),
    pytest.param(tuple_(PAIR.c.a, PAIR.c.a).in_([(1, 1)]), {}, id="tuples-of-a-part-twice"),
    pytest.param(tuple_(PAIR.c.a, PAIR.c.b).in_([(1, 2.0)]), {}, id="tuples-of-other-types"),
    pytest.param(tuple_(PAIR.c.a, PAIR.c.b).in_(select(PAIR.c.a, PAIR.c.n)), {}, id="tuples-in-subquery"),
    pytest.param(keyed(String(collation="NOCASE")).c.id == "x", {}, id="collation"),
    pytest.param(keyed(postgresql.CITEXT).c.id == "x", {}, id="citext"),
    pytest.param(keyed(String().with_variant(postgresql.CITEXT(), "postgresql")).c.id == "x", {}, id="variant"),
    pytest.param(keyed(CHAR(5)).c.id == "no", {}, id="padded"),
    pytest.param(keyed(Numeric).c.id == 5, {}, id="decimal"),
    pytest.param(keyed(DateTime(timezone=True)).c.id == bindparam("x"), {"x": 1}, id="time-with-zone"),
    pytest.param(keyed(Lowered).c.id == "X", {}, id="compared-in-sql"),
    pytest.param(keyed(Uuid(as_uuid=False)).c.id == str(ONE), {}, id="uuid-as-text"),
]


@pytest.mark.parametrize(("criterion", "parameters"), UNNAMED)
def test_identities_that_where_does_not_name(criterion: Any, parameters: dict[str, Any]) -> None:
    """Anything but comparisons with values that the database tells apart as Python does may match any row."""
    assert statements.identities(delete(target_of(criterion)).where(criterion), [parameters]) is None


def test_no_set_of_parameters_is_one_without_any() -> None:
    """A statement that is executed without parameters is judged by its own values."""
    assert statements.identities(delete(NOTE).where(NOTE.c.pk == 5), []) == [(5,)]
    assert statements.identities(delete(NOTE).where(NOTE.c.pk == bindparam("x")), []) is None
    assert statements.inserted(insert(NOTE).values(pk=5), []) == [(5,)]


def test_a_where_clause_that_is_false_matches_nothing() -> None:
    """SQLAlchemy leaves nothing but FALSE of an AND with it."""
    assert statements.identities(delete(PAIR).where(PAIR.c.a == 5, false()), []) == []
    assert statements.identities(delete(PAIR).where(true()), []) is None


def test_any_set_of_parameters_that_names_no_rows_is_enough_to_write_any() -> None:
    """Of several sets of parameters each must name its rows."""
    statement = update(NOTE).where(NOTE.c.pk == bindparam("x"))

    assert statements.identities(statement, [{"x": 1}, {"x": 2}, {"x": 1}]) == [(1,), (2,)]
    assert statements.identities(statement, [{"x": 1}, {"x": "2"}]) is None


def test_too_many_combinations_are_not_enumerated() -> None:
    """Lists whose combinations would be too many name any row."""
    numbers = list(range(1000))

    assert statements.identities(delete(PAIR).where(PAIR.c.a.in_(numbers), PAIR.c.b.in_(numbers)), []) is None
    assert len(statements.identities(delete(PAIR).where(PAIR.c.a.in_(numbers), PAIR.c.b == 1), []) or ()) == 1000


def test_what_was_found_out_about_a_statement_does_not_pass_to_what_is_made_of_it(run_on_sqlite: Run) -> None:
    """A statement that gets another criterion is another statement, though SQLAlchemy finds annotated ones equal."""
    judge, _ = run_on_sqlite(lambda session: session.execute(update(Note).where(Note.hits == 1).values(body="x")))
    heard = judge.constructs[0]
    one, two = heard.where(Note.id == 1), heard.where(Note.id == 2)

    assert heard == one  # the trap
    assert [statements.identities(each, ()) for each in (heard, one, two)] == [None, [(1,)], [(2,)]]


SETS = [
    pytest.param(update(NOTE).where(NOTE.c.pk == 5).values(body="x"), {}, [], id="none"),
    pytest.param(update(NOTE).where(NOTE.c.pk == 5), {"body": "x"}, [], id="none-by-parameters"),
    pytest.param(update(NOTE).values(pk=7), {}, [(7,)], id="the-key"),
    pytest.param(update(NOTE).values({"pk": 7}), {}, [(7,)], id="by-name"),
    pytest.param(update(NOTE).ordered_values((NOTE.c.body, "x"), (NOTE.c.pk, 7)), {}, [(7,)], id="ordered"),
    pytest.param(update(NOTE).values(pk=bindparam("x")), {"x": 7}, [(7,)], id="parameter"),
    pytest.param(update(NOTE).where(NOTE.c.hits == 1), {"pk": 7}, [(7,)], id="by-parameters"),
    pytest.param(update(NOTE).values(pk=7), {"pk": 8}, [(7,), (8,)], id="both-ways"),
    pytest.param(update(NOTE).values(pk=NOTE.c.pk + 1), {}, None, id="sql"),
    pytest.param(update(NOTE).values(pk=text("1")), {}, None, id="text"),
    pytest.param(update(NOTE).values(pk="7"), {}, None, id="other-type"),
    pytest.param(update(NOTE).values(pk=None), {}, None, id="null"),
    pytest.param(update(ALIAS).where(ALIAS.c.pk == 1).values(pk=7), {}, [(7,)], id="alias"),
    pytest.param(update(PAIR).where(PAIR.c.a == 1, PAIR.c.b.in_([2, 3])).values(a=7), {}, [(7, 2), (7, 3)], id="part"),
    pytest.param(update(PAIR).where(PAIR.c.a == 1).values(a=7), {}, None, id="part-of-any-row"),
    pytest.param(update(PAIR).where(PAIR.c.a == 1).values(a=7, b=8), {}, [(7, 8)], id="all-parts"),
    pytest.param(update(PAIR).where(PAIR.c.a == 1, PAIR.c.b == 2).values(n=7), {}, [], id="no-part"),
    pytest.param(update(table("pair", column("a"))).values(a=7), {}, None, id="nothing-known-of-the-table"),
]


@pytest.mark.parametrize(("statement", "parameters", "expected"), SETS)
def test_identities_that_an_update_gives(statement: Update, parameters: dict[str, Any], expected: Any) -> None:
    """An UPDATE of the primary key tells the new keys if they are values, taking what it does not set from WHERE."""
    assert statements.moved_to(statement, [parameters]) == expected


def test_a_key_that_changes_by_itself_or_in_a_part_can_be_any() -> None:
    """A column of the primary key with an onupdate, or of which an element is set, gets any value."""
    by_itself = Table(
        "t", MetaData(), Column("id", Integer, primary_key=True, onupdate=func.now()), Column("n", Integer)
    )
    arrays = postgresql.ARRAY(Integer)
    listed = Table("t", MetaData(), Column("id", arrays, primary_key=True), Column("other", arrays))

    one = update(by_itself).where(by_itself.c.id == 5)
    assert statements.moved_to(one.values(n=1), ()) is None
    assert statements.moved_to(one.values(id=1), ()) == [(1,)]
    assert statements.moved_to(update(listed).values({listed.c.id[1]: 1}), ()) is None
    assert statements.moved_to(update(listed).values({listed.c.other[1]: 1}), ()) == []


GIVEN = [
    pytest.param(insert(NOTE), [{"pk": 1}, {"body": "x"}, {"pk": None}], [(1,)], id="some-by-the-database"),
    pytest.param(insert(PAIR).values({PAIR.c.a: 1, "b": bindparam("x")}), [{"x": 2}], [(1, 2)], id="values"),
    pytest.param(insert(PAIR).values(a=1), [{"b": 2}, {"b": 3}], [(1, 2), (1, 3)], id="values-and-parameters"),
    pytest.param(insert(PAIR).values([(1, 2, 3), (4, 5, 6)]), [], [(1, 2), (4, 5)], id="tuples"),
    pytest.param(insert(PAIR).values((1, 2, 3)), [], [(1, 2)], id="tuple"),
    pytest.param(insert(PAIR).values([{"a": 1, "b": 2}]).values([{"a": 3, "b": 4}]), [], [(1, 2), (3, 4)], id="twice"),
    pytest.param(insert(NOTE).values(pk=func.random()), [], None, id="sql"),
    pytest.param(insert(NOTE).values(pk=select(func.max(NOTE.c.pk)).scalar_subquery()), [], None, id="subquery"),
    pytest.param(insert(NOTE).values([{"pk": text("1")}]), [], None, id="text"),
    pytest.param(insert(NOTE), [{"pk": "1"}], None, id="other-type"),
    pytest.param(insert(keyed(Label)), [{"id": "L5"}], [("L5",)], id="decorated"),
    pytest.param(insert(keyed(Label)), [{"id": None}], None, id="decorated-null"),
    pytest.param(insert(keyed(Numeric)), [{"id": 5}], None, id="inexact"),
    pytest.param(insert(keyed(Numeric)), [{"n": 5}], [], id="inexact-by-the-database"),
    pytest.param(insert(table("note", column("pk"))), [{"pk": 1}], None, id="nothing-known-of-the-table"),
]


@pytest.mark.parametrize(("statement", "params", "expected"), GIVEN)
def test_identities_that_an_insert_gives(statement: Insert, params: list[dict[str, Any]], expected: Any) -> None:
    """An INSERT names the rows whose keys are values, leaves out those without, and says when it cannot know."""
    assert statements.inserted(statement, params) == expected


def test_what_is_dml() -> None:
    """INSERT, UPDATE and DELETE are, however they are wrapped; whatever else can be executed is not."""
    number = 1
    wrapped = lambda_stmt(lambda: update(NOTE).where(NOTE.c.pk == number).values(body="x"))
    loading = select(Note).from_statement(insert(Note).values(id=1).returning(Note))
    others: list[Any] = [select(NOTE), text("DELETE FROM note"), func.now(), lambda_stmt(lambda: select(NOTE))]
    others += [select(NOTE).union(select(NOTE)), text("SELECT 1").columns(NOTE.c.pk), Index("i", NOTE.c.hits)]
    NOTE.indexes.clear()

    for statement in (insert(NOTE), update(Note), delete(aliased(Note)), wrapped, loading):
        assert statements.is_dml(statement)
        assert statements.dml_of(statement) is not None
    assert statements.identities(statements.dml_of(wrapped), ()) == [(1,)]  # type: ignore[arg-type]
    for statement in others:
        assert not statements.is_dml(statement)
        assert statements.dml_of(statement) is None


def test_the_table_that_is_written() -> None:
    """It is the plain table, whatever alias, annotation or subclass the statement names."""
    tables = [statements.table_of(each) for each in (update(Note), update(aliased(Note)), delete(ALIAS), insert(NOTE))]
    assert all(each is NOTE for each in tables)
    assert statements.table_of(update(Manager)) is Base.metadata.tables["manager"]
    assert statements.table_of(update(Intern)) is Base.metadata.tables["employee"]
    light = table("note", column("pk"), schema="public")
    assert statements.table_of(delete(light)) is light


def test_tables_of_a_schema_are_recognised() -> None:
    """A table that is qualified by its schema is asked for and restricted like any other."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata = MetaData(schema="main")
    target = Table("thing", metadata, Column("id", Integer, primary_key=True), Column("n", Integer))
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(target), [{"id": 1, "n": 1}, {"id": 2, "n": 2}])
        judge = Judge(connection, [target], restricts=True)
        connection.execute(update(target).where(target.c.id == 1).values(n=5))
        connection.execute(delete(target).where(target.c.n == 2))
        assert judge.snapshot() == {"thing": {(1,): (1, 5)}}
    engine.dispose()

    assert judge.heard == [("update", "thing", [(1,)]), ("delete", "thing", None)]


NO_QUESTIONS = [
    pytest.param(delete(table("note", column("pk"))), id="nothing-known-of-the-table"),
    pytest.param(delete(Table("bare", MetaData(), Column("n", Integer))), id="no-primary-key"),
    pytest.param(update(NOTE).with_dialect_options(mysql_limit=1).values(body="x"), id="limit"),
    pytest.param(update(NOTE).prefix_with("OR REPLACE").values(body="x"), id="or-replace"),
]


@pytest.mark.parametrize("statement", NO_QUESTIONS)
def test_what_cannot_be_asked(statement: Any) -> None:
    """Where rows cannot be named, or are chosen otherwise than by WHERE, there is no question."""
    assert statements.question(statement) is None
    assert statements.identities(statement, ()) is None


def test_a_restricted_statement_keeps_what_it_says_besides() -> None:
    """RETURNING, options and parameters of a statement remain when it is restricted, and so does the statement."""
    statement = update(Note).where(Note.hits == bindparam("hits_1")).returning(Note.id).execution_options(mine=1)
    restricted = statements.restricted(statement, [(1,), (2,)])

    assert "WHERE" in str(restricted)
    assert "note.pk IN" in str(restricted)
    assert "RETURNING note.pk" in str(restricted)
    assert restricted.get_execution_options()["mine"] == 1
    assert "note.pk IN" not in str(statement)


def test_statements_restricted_to_different_rows_are_compiled_once() -> None:
    """Which rows a statement is restricted to, and how many, does not make it another one for the compiled cache."""
    for statement, some, more in (
        (update(NOTE).where(NOTE.c.hits == 1).values(body="x"), [(1,)], [(2,), (3,)]),
        (delete(PAIR).where(PAIR.c.n == 1), [(1, 2)], []),
    ):
        keys = [statements.restricted(statement, rows)._generate_cache_key() for rows in (some, more)]
        assert keys[0] is not None
        assert keys[0] == keys[1]


LABELLED = MetaData()
LABELS = {
    "composite": Table(
        "composite",
        LABELLED,
        Column("label", Label, primary_key=True),
        Column("b", Integer, primary_key=True),
        Column("n", Integer),
    ),
    "single": Table(
        "single", LABELLED, Column("label", Label, primary_key=True), Column("b", Integer), Column("n", Integer)
    ),
}


@pytest.mark.parametrize("target", ["composite", "single"])
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("rows", [[], [("L1", 1)], [("L1", 1), ("L2", 2), ("L9", 9)]])
def test_a_statement_is_restricted_to_exactly_the_rows_given(rows: list[Row], many: bool, target: str) -> None:
    """No row is written that is not among them, not even if there are none, whatever the types of the key."""
    table = LABELS[target]
    engine = create_engine("sqlite://", poolclass=StaticPool)
    LABELLED.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"label": f"L{number}", "b": number, "n": 0} for number in (1, 2, 3)])
        statement = update(table).where(table.c.n == bindparam("was"))
        changes = [{"was": 0, "n": 1}, {"was": 1, "n": 2}] if many else [{"was": 0, "n": 2}]
        identities = [row[: len(table.primary_key)] for row in rows]
        connection.execute(statements.restricted(statement, identities, many=many), changes)
        changed = select(table.c.label, table.c.b).where(table.c.n == 2).order_by(table.c.b)
        assert [tuple(row) for row in connection.execute(changed)] == rows[:2]
        assert connection.scalar(select(func.count()).where(table.c.n == 0)) == 3 - len(rows[:2])
    engine.dispose()


# -- any WHERE -------------------------------------------------------------------------------------

GRID = Table(
    "grid",
    MetaData(),
    Column("a", Integer, primary_key=True),
    Column("b", Integer, primary_key=True),
    Column("n", Integer),
)
NUMBERS = st.integers(0, 3)
VALUES = st.one_of(NUMBERS, NUMBERS, st.sampled_from([None, "1", 1.0, True]))
_names = itertools.count()


def equality(column: Any, value: Any, shape: str) -> Any:
    if shape == "parameter":
        return column == bindparam(f"given_{next(_names)}", value)
    if shape == "reversed":
        return literal(value) == column
    return column == value


def columns(source: Any) -> Any:
    return st.sampled_from([source.c.a, source.c.b, source.c.n])


def terms(source: Any) -> Any:
    return st.one_of(
        st.builds(equality, columns(source), VALUES, st.sampled_from(["plain", "parameter", "reversed"])),
        st.builds(lambda column, values: column.in_(values), columns(source), st.lists(NUMBERS, max_size=3)),
        st.builds(lambda column, values: column.not_in(values), columns(source), st.lists(NUMBERS, max_size=2)),
        st.builds(lambda column, value: column.in_([value, literal(2)]), columns(source), NUMBERS),
        st.builds(lambda one, two: one == two, columns(source), columns(source)),
        st.builds(lambda column, value: column + 0 == value, columns(source), NUMBERS),
        st.builds(
            lambda order, rows: tuple_(*order).in_([row[: len(order)] for row in rows]),
            st.lists(columns(source), min_size=2, max_size=3),
            st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=3),
        ),
        st.sampled_from([true(), false()]),
    )


def criteria(source: Any) -> Any:
    return st.recursive(
        terms(source),
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=4).map(lambda each: and_(*each)),
            st.lists(inner, min_size=1, max_size=3).map(lambda each: or_(*each)),
            inner.map(not_),
            inner.map(lambda one: one.self_group()),
        ),
        max_leaves=8,
    )


SOURCES = [GRID, GRID.alias("g")]
WRITES = st.sampled_from(SOURCES).flatmap(
    lambda source: st.tuples(
        st.just(source),
        st.lists(criteria(source), min_size=1, max_size=4),
        st.sampled_from(["delete", "n", "a", "both", "sql"]) if source is GRID else st.just("n"),
    )
)


@pytest.fixture(scope="module")
def grid() -> Iterator[Engine]:
    """All pairs of the numbers from 0 to 3."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    GRID.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(GRID), [{"a": a, "b": b, "n": (a + b) % 4} for a in range(4) for b in range(4)])
    yield engine
    engine.dispose()


def written(source: Any, where: list[Any], kind: str) -> Any:
    if kind == "delete":
        return delete(source).where(*where)
    values: dict[str, dict[str, Any]] = {
        "n": {"n": 99},
        "a": {"a": source.c.a + 10},
        "both": {"b": source.c.b + 10, "n": 99},
        "sql": {"n": source.c.n + 1},
    }
    return update(source).where(*where).values(values[kind])


@settings(max_examples=100, deadline=None)
@given(write=WRITES)
def test_no_where_clause_writes_a_row_that_was_not_named(grid: Engine, write: tuple[Any, list[Any], str]) -> None:
    """Whatever WHERE says, the rows that change are among those named and are what the question answers."""
    statement = written(*write)
    results: list[Snapshot] = []
    for restricts in (False, True):
        with grid.connect() as connection, connection.begin() as transaction:
            judge = Judge(connection, [GRID], restricts)
            before = judge.snapshot()["grid"]
            question = statements.question(statement)
            assert question is not None
            asked = {tuple(row) for row in connection.execute(question)}
            connection.execute(statement)
            results.append(judge.snapshot())
            transaction.rollback()
        after = results[-1]["grid"]
        assert asked == {key for key in before if after.get(key) != before[key]}
    assert results[0] == results[1]


@settings(max_examples=60, deadline=None)
@given(
    a=st.lists(NUMBERS, min_size=1, max_size=3),
    b=st.lists(NUMBERS, min_size=1, max_size=3),
    shape=st.sampled_from(["in", "tuples", "equal"]),
    more=st.lists(criteria(GRID), max_size=2),
)
def test_where_that_compares_the_whole_key_names_rows(a: list[int], b: list[int], shape: str, more: list[Any]) -> None:
    """Whatever else WHERE demands, values for the whole primary key are found, and nothing beyond them is named."""
    if shape == "in":
        keyed, expected = [GRID.c.a.in_(a), GRID.c.b.in_(b)], set(itertools.product(a, b))
    elif shape == "tuples":
        keyed, expected = [tuple_(GRID.c.b, GRID.c.a).in_([*zip(b, a, strict=False)])], set(zip(a, b, strict=False))
    else:
        keyed, expected = [GRID.c.a == a[0], b[0] == GRID.c.b], {(a[0], b[0])}
    for order in ([*keyed, *more], [*more, *keyed], [and_(*more, *keyed)]):
        found = statements.identities(delete(GRID).where(*order), ())
        assert found is not None
        assert set(found) <= expected
        if not more:
            assert set(found) == expected
