"""A row of a mapped class becomes a persistent instance that nothing tells from one that SQLAlchemy has loaded."""

import gc
import pickle
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy import event, orm
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import Mapped, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.pool import StaticPool

from cachecore.errors import ConfigurationError, CorruptEntry, UnsupportedValue
from cachecore.integrations.sqlalchemy.layout import RowLayout
from tests.sqlalchemy_classes import (
    Animal,
    Base,
    Chief,
    City,
    Country,
    Dog,
    Employee,
    Engineer,
    Money,
    Seat,
    Shape,
    Triangle,
    Versioned,
)
from tests.sqlalchemy_layouts import WAYS, Make, layout_of, loaded, rows_of, saved, statements
from tests.sqlalchemy_types import Colour


@pytest.fixture
def engine() -> Iterator[sa.Engine]:
    """A new database in memory, with one connection for all."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: sa.Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


@pytest.fixture(params=WAYS, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    """Each way from a row that was read to an instance."""
    found: Make = request.param
    return found


def city(engine: sa.Engine, **values: Any) -> tuple[RowLayout, tuple[Any, ...]]:
    """The layout of City and the row of a new one."""
    fields = {"id": 1, "name": "Oslo", "data": {"tags": ["port"]}, "amount": 5, "currency": "NOK", "essay": "Long."}
    saved(engine, City(**fields | values))
    layout = layout_of(City)
    return layout, rows_of(layout, engine)[0]


# -- which attributes ------------------------------------------------------------------------------


def test_rows_hold_what_a_plain_query_loads() -> None:
    """A row has the primary key first and then the columns, without deferred ones and SQL expressions."""
    layout = layout_of(City)
    assert layout.keys == ("id", "name", "notes", "country_id", "data", "amount", "currency", "created")
    assert layout.identity == ("id",)
    assert list(layout.columns) == list(layout.keys)
    assert [column.name for column in layout.codec.columns] == list(layout.keys)
    assert [column.nullable for column in layout.codec.columns] == [False, *[True] * 7]


def test_a_composite_primary_key_comes_first_and_in_its_own_order() -> None:
    """The identity is in the order of the mapper's primary key, whatever that of the columns is."""
    layout = layout_of(Seat)
    assert layout.identity == tuple(
        sa.inspect(Seat).get_property_by_column(column).key for column in sa.inspect(Seat).primary_key
    )
    assert layout.keys == (*layout.identity, "colour")


def test_the_select_is_no_query_of_the_orm(engine: sa.Engine) -> None:
    """What selects rows is plain SQL: neither criteria of an application nor its autoflush apply."""
    layout, row = city(engine)
    with Session(engine) as session:
        session.add(Country(id=1, name="Norway"))
        result = session.connection().execute(layout.select())
        assert [tuple(each) for each in result] == [row]
        assert session.new


def test_another_version_has_another_fingerprint() -> None:
    """The version is part of what tells rows that were written for other columns."""
    assert layout_of(City).codec.fingerprint != layout_of(City, version=2).codec.fingerprint
    assert layout_of(City).codec.fingerprint != layout_of(City, exclude=["notes"]).codec.fingerprint


def test_an_excluded_attribute_is_loaded_when_it_is_asked_for(engine: sa.Engine, session: Session, make: Make) -> None:
    """An attribute left out of rows comes from the database at its first access."""
    city(engine, notes="remarkable")
    layout = layout_of(City, exclude=["notes"])
    assert "notes" not in layout.keys
    instance = make(layout, session, rows_of(layout, engine)[0])
    assert "notes" not in vars(instance)
    with statements(engine) as executed:
        assert instance.notes == "remarkable"
    assert len(executed) == 1
    assert instance not in session.dirty


@pytest.mark.parametrize("key", ["country", "price", "label", "initial", "remarks", "no such"])
def test_only_column_attributes_can_be_excluded(key: str) -> None:
    """Excluding what is no column attribute is an error that names it."""
    with pytest.raises(ConfigurationError, match=rf"City: '{key}' is excluded, but is no column attribute"):
        layout_of(City, exclude=[key])


@pytest.mark.parametrize(
    ("kind", "key"), [(City, "id"), (Versioned, "version"), (Employee, "kind"), (Engineer, "kind"), (Seat, "row")]
)
def test_what_instances_need_cannot_be_excluded(kind: type[Any], key: str) -> None:
    """The primary key, the discriminator and the version are in every row."""
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__}\.{key} cannot be excluded"):
        layout_of(kind, exclude=[key])


def test_a_class_without_a_table_has_no_rows() -> None:
    """A class mapped to a SELECT is refused by name: nobody can tell what changes its rows."""

    class Local(orm.DeclarativeBase):
        pass

    class Counted(Local):
        __table__ = sa.select(Country.__table__.c.id, sa.func.count().label("number")).subquery()
        __mapper_args__: ClassVar[dict[str, Any]] = {"primary_key": [__table__.c.id]}

    with pytest.raises(ConfigurationError, match="Counted has no rows of its own: it is not mapped to a table"):
        layout_of(Counted)


# -- instances -------------------------------------------------------------------------------------


def test_an_instance_is_persistent_and_unmodified(engine: sa.Engine, session: Session, make: Make) -> None:
    """It has the identity that SQLAlchemy gives, so that the session finds it without a query."""
    layout, row = city(engine)
    instance = make(layout, session, row)
    state = sa.inspect(instance)
    assert state.persistent
    assert state.session is session
    assert not state.modified
    assert not session.dirty
    with Session(engine) as other:
        assert state.identity_key == sa.inspect(other.get(City, 1)).identity_key
    with statements(engine) as executed:
        assert session.get(City, 1) is instance
        assert make(layout, session, row) is instance
        assert (instance.name, instance.label, instance.initial) == ("Oslo", "Oslo", "O")
    assert executed == []
    assert session.scalars(sa.select(City)).one() is instance


def test_a_change_is_flushed(engine: sa.Engine, session: Session, make: Make) -> None:
    """Setting an attribute makes an UPDATE of it, with its history."""
    layout, row = city(engine)
    instance = make(layout, session, row)
    instance.name = "Bergen"
    assert sa.inspect(instance).attrs.name.history == (["Bergen"], (), ["Oslo"])
    assert list(session.dirty) == [instance]
    with statements(engine) as executed:
        session.commit()
    assert executed == ["UPDATE city SET name=? WHERE city.id = ?"]
    with Session(engine) as other:
        assert other.get_one(City, 1).name == "Bergen"


def test_setting_the_same_value_is_no_update(engine: sa.Engine, session: Session, make: Make) -> None:
    """Setting what it had writes nothing."""
    layout, row = city(engine)
    make(layout, session, row).name = "Oslo"
    with statements(engine) as executed:
        session.flush()
    assert executed == []


def test_a_rollback_brings_the_database_back(engine: sa.Engine, session: Session, make: Make) -> None:
    """A change that is rolled back is gone."""
    layout, row = city(engine)
    instance = make(layout, session, row)
    instance.name = "Bergen"
    session.flush()
    session.rollback()
    assert instance.name == "Oslo"


def test_an_instance_can_be_deleted(engine: sa.Engine, session: Session, make: Make) -> None:
    """Deleting it deletes its row."""
    layout, row = city(engine)
    session.delete(make(layout, session, row))
    session.commit()
    assert rows_of(layout, engine) == []


@pytest.mark.parametrize("reload", ["expire", "refresh", "commit"])
def test_reloading(engine: sa.Engine, session: Session, make: Make, reload: str) -> None:
    """Expired, refreshed, or after a commit, it has what the database has."""
    layout, row = city(engine)
    instance = make(layout, session, row)
    with Session(engine) as other:
        other.get_one(City, 1).name = "Bergen"
        other.commit()
    assert instance.name == "Oslo"
    if reload == "commit":
        session.commit()
    else:
        getattr(session, reload)(instance)
    assert instance.name == "Bergen"


def test_a_detached_instance_keeps_its_values_and_can_be_merged(
    engine: sa.Engine, session: Session, make: Make
) -> None:
    """Expunged it is detached; merged or added it is persistent in another session."""
    layout, row = city(engine)
    instance = make(layout, session, row)
    session.expunge(instance)
    assert sa.inspect(instance).detached
    instance.name = "Bergen"
    with Session(engine) as other:
        merged = other.merge(instance)
        assert merged is not instance
        assert merged.name == "Bergen"
        other.commit()
    again = make(layout, session, row)
    assert again is not instance
    with Session(engine) as other:
        other.add(instance)
        assert other.get(City, 1) is instance


def test_merging_into_its_session_changes_it(engine: sa.Engine, session: Session, make: Make) -> None:
    """An instance of the application, merged, writes what differs from the row."""
    layout, row = city(engine)
    instance = make(layout, session, row)
    assert session.merge(City(id=1, name="Bergen")) is instance
    assert sa.inspect(instance).attrs.name.history.deleted == ["Oslo"]


def test_pickling(engine: sa.Engine, session: Session, make: Make) -> None:
    """Pickled and back it has the same attributes, and goes on in another session."""
    layout, row = city(engine)
    instance = make(layout, session, row)
    again = pickle.loads(pickle.dumps(instance))
    assert sa.inspect(again).detached
    assert sa.inspect(again).identity_key == sa.inspect(instance).identity_key
    assert (again.name, again.data, again.price) == ("Oslo", {"tags": ["port"]}, Money(5, "NOK"))
    with Session(engine) as other:
        other.add(again)
        again.data["more"] = 1
        other.commit()
    assert rows_of(layout, engine)[0][layout.keys.index("data")] == {"tags": ["port"], "more": 1}


def test_what_rows_do_not_hold_is_loaded_at_its_first_access(engine: sa.Engine, session: Session, make: Make) -> None:
    """Deferred columns, SQL expressions and relationships load once each, and leave the instance unmodified."""
    saved(engine, Country(id=7, name="Norway"))
    layout, row = city(engine, country_id=7)
    instance = make(layout, session, row)
    assert not {"essay", "shouted", "country"} & set(vars(instance))
    with statements(engine) as executed:
        assert instance.asked is None
    assert executed == []
    for key, value in {"essay": "Long.", "shouted": "OSLO"}.items():
        with statements(engine) as executed:
            assert getattr(instance, key) == value
            assert getattr(instance, key) == value
        assert len(executed) == 1, key
    assert instance.country.name == "Norway"
    assert not session.dirty


def test_an_attribute_that_must_not_load_raises(engine: sa.Engine, session: Session, make: Make) -> None:
    """A deferred column with raiseload raises at its access, as on an instance that SQLAlchemy loaded."""
    layout, row = city(engine)
    instance = make(layout, session, row)
    with pytest.raises(sa.exc.InvalidRequestError, match=r"'City\.secret' is not available due to raiseload=True"):
        _ = instance.secret


def test_a_relationship_can_be_set(engine: sa.Engine, session: Session, make: Make) -> None:
    """The foreign key follows a related instance as on any other."""
    layout, row = city(engine)
    instance = make(layout, session, row)
    instance.country = Country(id=8, name="Sweden")
    session.commit()
    assert rows_of(layout, engine)[0][layout.keys.index("country_id")] == 8


def test_a_composite_is_made_of_its_columns(engine: sa.Engine, session: Session, make: Make) -> None:
    """A composite() is there at once, and setting it writes its columns."""
    layout, row = city(engine)
    instance = make(layout, session, row)
    assert vars(instance)["price"] == Money(5, "NOK")
    instance.price = Money(6, "SEK")
    session.commit()
    row = rows_of(layout, engine)[0]
    assert (row[layout.keys.index("amount")], row[layout.keys.index("currency")]) == (6, "SEK")


def test_a_mutable_structure_tells_its_changes(engine: sa.Engine, session: Session, make: Make) -> None:
    """A MutableDict is one from the start: changed in place, it is flushed."""
    layout, row = city(engine)
    instance = make(layout, session, row)
    assert type(vars(instance)["data"]) is MutableDict
    instance.data["k"] = "v"
    assert list(session.dirty) == [instance]
    session.commit()
    assert rows_of(layout, engine)[0][layout.keys.index("data")] == {"tags": ["port"], "k": "v"}


def test_the_reconstructor_runs_and_the_constructor_does_not(engine: sa.Engine, session: Session, make: Make) -> None:
    """As with every loaded instance."""
    layout, row = city(engine)
    assert make(layout, session, row).made_by == "the reconstructor, with Oslo"


def test_events_of_loading(engine: sa.Engine, make: Make) -> None:
    """Listeners hear of a load once, with the attributes there and the instance persistent; not of one there before."""
    layout, row = city(engine)
    heard: list[Any] = []

    def on_load(target: City, context: Any) -> None:
        heard.append(("load", target.name, context))

    def on_persistent(session: Session, instance: Any) -> None:
        heard.append(("persistent", instance.name, sa.inspect(instance).persistent))

    with Session(engine) as session:
        event.listen(City, "load", on_load)
        event.listen(session, "loaded_as_persistent", on_persistent)
        try:
            instance = make(layout, session, row)
            make(layout, session, row)
        finally:
            event.remove(City, "load", on_load)
            event.remove(session, "loaded_as_persistent", on_persistent)
        assert heard == [("load", "Oslo", None), ("persistent", "Oslo", True)]
        assert instance in session


def test_instances_are_referenced_weakly(engine: sa.Engine, session: Session, make: Make) -> None:
    """An unmodified instance goes when nobody has it any more, and so does its place in the session."""
    layout, row = city(engine)
    reference = weakref.ref(make(layout, session, row))
    assert reference() is None
    assert len(session.identity_map) == 0
    instance = make(layout, session, row)
    instance.name = "Bergen"
    reference = weakref.ref(instance)
    del instance
    assert reference() is not None  # its change is to be flushed
    session.commit()
    assert reference() is None


def test_many_instances_leave_nothing_behind(engine: sa.Engine, session: Session) -> None:
    """Ten thousand reads of a row leave no object in the process."""
    layout, row = city(engine)
    frozen, _ = layout.codec.freeze(row)

    def read() -> None:
        for _ in range(1000):
            layout.instance_of_frozen(session, frozen)

    read()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(10):
        read()
    gc.collect()
    assert len(gc.get_objects()) < before + 500


def test_a_session_that_was_closed_goes_on(engine: sa.Engine, make: Make) -> None:
    """After close() a session takes instances again, and those it had are detached."""
    layout, row = city(engine)
    session = Session(engine)
    first = make(layout, session, row)
    session.close()
    assert sa.inspect(first).detached
    assert make(layout, session, row) is not first
    session.close()


# -- an instance that is there already -------------------------------------------------------------


def changed(layout: RowLayout, row: tuple[Any, ...], **values: Any) -> tuple[Any, ...]:
    """The row with other values."""
    return tuple(values.get(key, value) for key, value in zip(layout.keys, row, strict=True))


def test_a_clean_instance_wins(engine: sa.Engine, session: Session, make: Make) -> None:
    """What the session has is what its transaction has seen, and stays."""
    layout, row = city(engine)
    instance = session.get_one(City, 1)
    assert make(layout, session, changed(layout, row, name="Bergen")) is instance
    assert instance.name == "Oslo"
    assert not session.dirty


def test_a_dirty_instance_wins(engine: sa.Engine, session: Session, make: Make) -> None:
    """A change that is not flushed yet is not lost."""
    layout, row = city(engine)
    instance = session.get_one(City, 1)
    instance.name = "Bergen"
    assert make(layout, session, row) is instance
    assert instance.name == "Bergen"
    assert list(session.dirty) == [instance]
    session.commit()
    assert instance.name == "Bergen"


def test_an_instance_marked_for_deletion_wins(engine: sa.Engine, session: Session, make: Make) -> None:
    """It is still to be deleted."""
    layout, row = city(engine)
    instance = session.get_one(City, 1)
    session.delete(instance)
    assert make(layout, session, row) is instance
    assert list(session.deleted) == [instance]


def test_an_expired_instance_is_filled(engine: sa.Engine, session: Session, make: Make) -> None:
    """An expired instance gets the row's values without a query, as a refresh would give it the database's."""
    layout, row = city(engine)
    instance = session.get_one(City, 1)
    session.expire(instance)
    with statements(engine) as executed:
        assert make(layout, session, changed(layout, row, name="Bergen", amount=6)) is instance
        assert (instance.name, instance.data, instance.amount) == ("Bergen", {"tags": ["port"]}, 6)
    assert executed == []
    assert type(instance.data) is MutableDict
    assert not session.dirty
    assert instance.price == Money(6, "NOK")
    with statements(engine) as executed:
        assert instance.shouted == "OSLO"
    assert len(executed) == 1
    instance.data["k"] = "v"
    assert list(session.dirty) == [instance]


def test_a_changed_attribute_of_an_expired_instance_is_kept(engine: sa.Engine, session: Session, make: Make) -> None:
    """What was set after the expiry is the application's."""
    layout, row = city(engine)
    instance = session.get_one(City, 1)
    session.expire(instance)
    instance.name = "Bergen"
    assert make(layout, session, changed(layout, row, amount=6)) is instance
    with statements(engine) as executed:
        assert (instance.name, instance.amount) == ("Bergen", 6)
    assert executed == []
    assert list(session.dirty) == [instance]
    session.commit()
    assert instance.name == "Bergen"


def test_only_expired_attributes_are_filled(engine: sa.Engine, session: Session, make: Make) -> None:
    """Of an instance of which one attribute is expired, the others stay."""
    layout, row = city(engine)
    instance = session.get_one(City, 1)
    session.expire(instance, ["amount"])
    make(layout, session, changed(layout, row, name="Bergen", amount=6))
    with statements(engine) as executed:
        assert (instance.name, instance.amount) == ("Oslo", 6)
    assert executed == []


def test_filling_is_told_as_a_refresh(engine: sa.Engine, session: Session, make: Make) -> None:
    """Listeners hear which attributes were filled, and nothing if there was none to fill."""
    layout, row = city(engine)
    heard: list[Any] = []

    def on_refresh(target: City, context: Any, attributes: Any) -> None:
        heard.append((target.name, context, set(attributes)))

    instance = session.get_one(City, 1)
    session.expire(instance, ["amount", "essay"])
    event.listen(City, "refresh", on_refresh)
    try:
        make(layout, session, row)
        make(layout, session, row)
    finally:
        event.remove(City, "refresh", on_refresh)
    assert heard == [("Oslo", None, {"amount"})]
    assert instance.essay == "Long."


def test_what_the_server_sets_is_filled_after_a_flush(engine: sa.Engine, session: Session, make: Make) -> None:
    """A server default that a flush left expired is taken from the row, or loaded."""
    layout = layout_of(City)
    instance = City(id=2, name="Oslo")
    session.add(instance)
    session.flush()
    assert "created" in sa.inspect(instance).unloaded
    row = tuple(session.connection().execute(layout.select()).one())
    make(layout, session, row)
    assert vars(instance)["created"] == "by the server"
    session.rollback()


# -- keys, versions --------------------------------------------------------------------------------


def test_a_composite_primary_key_of_a_decorated_type(engine: sa.Engine, session: Session, make: Make) -> None:
    """The identity has Python values, as SQLAlchemy's has."""
    saved(engine, Seat(row="A", number=3, colour="red"))
    layout = layout_of(Seat)
    instance = make(layout, session, rows_of(layout, engine)[0])
    with Session(engine) as other:
        theirs = other.scalars(sa.select(Seat)).one()
        assert sa.inspect(instance).identity_key == sa.inspect(theirs).identity_key
        identity = sa.inspect(theirs).identity
    assert session.get(Seat, identity) is instance
    instance.colour = "blue"
    session.commit()
    assert rows_of(layout, engine)[0][-1] == "blue"


def test_a_stale_row_of_a_versioned_class_cannot_be_written(engine: sa.Engine, session: Session, make: Make) -> None:
    """An UPDATE from a row that another has changed since raises StaleDataError; one from the latest row passes."""
    saved(engine, Versioned(id=1, name="one"))
    layout = layout_of(Versioned)
    [old] = rows_of(layout, engine)
    with Session(engine) as other:
        other.get_one(Versioned, 1).name = "two"
        other.commit()
    make(layout, session, old).name = "three"
    with pytest.raises(StaleDataError):
        session.flush()
    session.rollback()
    session.expunge_all()
    make(layout, session, rows_of(layout, engine)[0]).name = "three"
    session.commit()
    assert rows_of(layout, engine)[0][1:] == ("three", 3)


# -- inheritance -----------------------------------------------------------------------------------


@pytest.fixture
def staff(engine: sa.Engine) -> sa.Engine:
    saved(engine, Employee(id=1, name="Ann"))
    saved(
        engine,
        Engineer(id=2, name="Bob", language="C", essay="Long.", boss_id=1),
        Chief(id=3, name="Cid", language="D", office="12"),
    )
    return engine


def by_id(layout: RowLayout, engine: sa.Engine) -> dict[int, tuple[Any, ...]]:
    return {row[0]: row for row in rows_of(layout, engine)}


def test_joined_rows_of_a_subclass_are_whole(staff: sa.Engine, session: Session, make: Make) -> None:
    """A row of a class with a table of its own holds the columns of both tables, deferred ones aside."""
    layout = layout_of(Engineer)
    assert layout.keys == ("id", "name", "kind", "boss_id", "language")
    rows = by_id(layout, staff)
    assert set(rows) == {2, 3}
    instance = make(layout, session, rows[2])
    with statements(staff) as executed:
        assert type(instance) is Engineer
        assert (instance.id, instance.name, instance.kind, instance.language) == (2, "Bob", "engineer", "C")
        assert session.get(Employee, 2) is instance
        assert session.get(Engineer, 2) is instance
    assert executed == []
    assert instance.essay == "Long."
    assert instance.boss.name == "Ann"
    instance.name, instance.language = "Bobby", "C++"
    session.commit()
    assert by_id(layout, staff)[2][1:] == ("Bobby", "engineer", 1, "C++")


def test_rows_of_a_base_class_are_instances_of_their_own_class(staff: sa.Engine, session: Session, make: Make) -> None:
    """The discriminator tells the class; what its tables have besides is loaded at the first access, once."""
    layout = layout_of(Employee)
    rows = by_id(layout, staff)
    found = [make(layout, session, rows[number]) for number in (1, 2, 3)]
    assert [type(each) for each in found] == [Employee, Engineer, Chief]
    for instance in found[1:]:
        with statements(staff) as executed:
            assert instance.language in {"C", "D"}
            if isinstance(instance, Chief):
                assert instance.office == "12"
        assert len(executed) == 1
    assert not session.dirty
    found[1].language = "Python"
    session.commit()
    assert found[1].language == "Python"


def test_single_table_rows_below_a_joined_class(staff: sa.Engine, session: Session, make: Make) -> None:
    """Rows of a class without a table of its own are only those of its discriminator."""
    layout = layout_of(Chief)
    rows = by_id(layout, staff)
    assert set(rows) == {3}
    instance = make(layout, session, rows[3])
    with statements(staff) as executed:
        assert (type(instance), instance.name, instance.office) == (Chief, "Cid", "12")
    assert executed == []


def test_a_row_of_another_class_is_none(staff: sa.Engine, session: Session, make: Make) -> None:
    """A row whose class is no subclass of the one asked for is no row of it, whether or not the session has it."""
    row = by_id(layout_of(Employee), staff)[1]
    layout = layout_of(Engineer)
    assert make(layout, session, (*row, "C")) is None
    assert len(session.identity_map) == 0
    present = session.get_one(Employee, 1)
    assert make(layout, session, (*row, "C")) is None
    assert session.get(Employee, 1) is present


def test_an_instance_of_a_subclass_wins_over_a_row_of_the_base(staff: sa.Engine, session: Session, make: Make) -> None:
    """What is in the session is found under its identity in the whole hierarchy, and filled if it is expired."""
    layout = layout_of(Employee)
    row = by_id(layout, staff)[2]
    present = session.get_one(Engineer, 2)
    assert make(layout, session, changed(layout, row, name="Other")) is present
    assert present.name == "Bob"
    session.expire(present)
    heard: list[Any] = []

    def on_refresh(target: Engineer, context: Any, attributes: Any) -> None:
        heard.append(target)

    event.listen(Engineer, "refresh", on_refresh)
    try:
        assert make(layout, session, changed(layout, row, name="Other")) is present
    finally:
        event.remove(Engineer, "refresh", on_refresh)
    assert heard == [present]
    with statements(staff) as executed:
        assert present.name == "Other"
    assert executed == []
    assert present.language == "C"


def test_a_single_table_with_an_enum_as_discriminator(engine: sa.Engine, session: Session, make: Make) -> None:
    """A discriminator of a type with Python values of its own tells the class."""
    saved(engine, Animal(id=1, name="Cat"), Dog(id=2, name="Rex", barks=True))
    layout = layout_of(Animal)
    assert layout.keys == ("id", "name", "kind")
    rows = by_id(layout, engine)
    cat, rex = make(layout, session, rows[1]), make(layout, session, rows[2])
    assert (type(cat), type(rex), rex.kind) == (Animal, Dog, Colour.GREEN)
    assert rex.barks is True
    dogs = layout_of(Dog)
    assert set(by_id(dogs, engine)) == {2}
    with Session(engine) as other:
        assert make(dogs, other, by_id(dogs, engine)[2]).barks is True


def test_a_class_in_the_middle_that_has_no_rows(engine: sa.Engine, session: Session, make: Make) -> None:
    """Rows of a class without an identity of its own are those of its subclasses."""

    class Local(orm.DeclarativeBase):
        pass

    class Thing(Local):
        __tablename__ = "thing"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_on": "kind", "polymorphic_identity": "thing"}

    class Vehicle(Thing):
        __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_abstract": True}

    class Car(Vehicle):
        __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "car"}

    Local.metadata.create_all(engine)
    saved(engine, Thing(id=1), Car(id=2))
    layout = layout_of(Vehicle)
    [row] = rows_of(layout, engine)
    assert type(make(layout, session, row)) is Car


def test_an_expression_as_discriminator(engine: sa.Engine, session: Session, make: Make) -> None:
    """What the expression gives is in the row, and not in the instance."""
    saved(engine, Shape(id=1, corners=4), Shape(id=2, corners=3))
    layout = layout_of(Shape)
    rows = by_id(layout, engine)
    assert rows[2][-1] == "triangle"
    found = [make(layout, session, rows[number]) for number in (1, 2)]
    assert [type(each) for each in found] == [Shape, Triangle]
    assert set(loaded(found[1])) == {"id", "corners"}


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("nobody", AssertionError, "No such polymorphic_identity 'nobody' is defined"),
        (None, sa.exc.InvalidRequestError, "polymorphic discriminator column 'employee.kind' is NULL"),
    ],
)
def test_a_discriminator_of_no_class(
    staff: sa.Engine, session: Session, make: Make, kind: str | None, error: type[Exception], message: str
) -> None:
    """A discriminator that is NULL or unknown raises what SQLAlchemy's own loading raises."""
    with staff.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE loose AS SELECT * FROM employee")
        connection.exec_driver_sql("DROP TABLE employee")
        connection.exec_driver_sql("ALTER TABLE loose RENAME TO employee")
        connection.execute(sa.text("UPDATE employee SET kind = :kind WHERE id = 1"), {"kind": kind})
    layout = layout_of(Employee)
    row = by_id(layout, staff)[1]
    with pytest.raises(error, match=message):
        make(layout, session, row)
    with pytest.raises(error, match=message):
        session.get(Employee, 1)


def test_a_subclass_that_is_mapped_later(engine: sa.Engine, session: Session, make: Make) -> None:
    """A layout knows the classes that are mapped after it was made."""

    class Local(orm.DeclarativeBase):
        pass

    class Early(Local):
        __tablename__ = "early"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_on": "kind", "polymorphic_identity": "early"}

    layout = layout_of(Early)
    assert type(make(layout, session, (1, "early"))) is Early

    class Late(Early):
        __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "late"}

    assert type(make(layout, session, (2, "late"))) is Late


def test_an_attribute_that_a_subclass_does_not_map(engine: sa.Engine, session: Session, make: Make) -> None:
    """What a row holds of a column that a subclass leaves out is not given to its instances, as in SQLAlchemy."""

    class Local(orm.DeclarativeBase):
        pass

    class Early(Local):
        __tablename__ = "early"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]
        kind: Mapped[str]
        __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_on": "kind", "polymorphic_identity": "early"}

    class Loud(Early):
        __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "loud", "exclude_properties": ["name"]}

    Local.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(Early.__table__), {"id": 1, "name": "x", "kind": "loud"})
    layout = layout_of(Early)
    instance = make(layout, session, rows_of(layout, engine)[0])
    assert type(instance) is Loud
    with Session(engine) as other:
        assert loaded(instance) == loaded(other.get(Early, 1)) == {"id": 1, "kind": "loud"}


def test_concrete_classes(engine: sa.Engine, session: Session, make: Make) -> None:
    """A class with a whole table of its own has its rows, whatever it inherits."""

    class Local(orm.DeclarativeBase):
        pass

    class Early(Local):
        __tablename__ = "early"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    class Late(Early):
        __tablename__ = "late"
        id: Mapped[int] = mapped_column(primary_key=True)
        size: Mapped[int]
        __mapper_args__: ClassVar[dict[str, Any]] = {"concrete": True}

    early, late = make(layout_of(Early), session, (1, "x")), make(layout_of(Late), session, (1, 5))
    assert (type(early), type(late), late.size) == (Early, Late, 5)
    assert (session.get(Early, 1), session.get(Late, 1)) == (early, late)


# -- other ways to map -----------------------------------------------------------------------------


def test_a_dataclass(engine: sa.Engine, session: Session, make: Make) -> None:
    """A class mapped as a dataclass needs no arguments of its constructor."""

    class Local(orm.MappedAsDataclass, orm.DeclarativeBase):
        pass

    class Thing(Local):
        __tablename__ = "thing"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    thing = make(layout_of(Thing), session, (1, "x"))
    assert thing == Thing(id=1, name="x")


def test_an_imperative_mapping(session: Session, make: Make) -> None:
    """Attributes may have names that no column has, and that are no words of Python."""
    registry = orm.registry()
    table = sa.Table(
        "imperative",
        registry.metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("a'b\n", sa.String),
    )

    class Plain:
        """Of the application."""

    registry.map_imperatively(Plain, table, properties={"key of it": table.c.id, "it's\n{x}": table.c["a'b\n"]})
    layout = layout_of(Plain)
    assert layout.keys == ("key of it", "it's\n{x}")
    assert loaded(make(layout, session, (1, "x"))) == {"key of it": 1, "it's\n{x}": "x"}


def test_a_class_of_a_join_of_tables(engine: sa.Engine, session: Session, make: Make) -> None:
    """A class mapped to a join has the columns of both tables."""
    saved(engine, Country(id=7, name="Norway"))
    city(engine, country_id=7)
    registry = orm.registry()
    cities, countries = Base.metadata.tables["city"], Base.metadata.tables["country"]

    class Both:
        """Of the application."""

    registry.map_imperatively(
        Both,
        cities.join(countries),
        primary_key=[cities.c.id],
        properties={"id": [cities.c.id], "country_id": [countries.c.id, cities.c.country_id], "land": countries.c.name},
        include_properties=[cities.c.id, countries.c.id, cities.c.country_id, cities.c.name, countries.c.name],
    )
    layout = layout_of(Both)
    instance = make(layout, session, rows_of(layout, engine)[0])
    assert (instance.id, instance.country_id, instance.land, instance.name) == (1, 7, "Norway", "Oslo")


# -- rows that are none ----------------------------------------------------------------------------


def test_a_row_of_another_length_is_an_error(session: Session) -> None:
    """A row with too many or too few values makes no instance."""
    layout = layout_of(Country)
    for row in ((1,), (1, "x", 2)):
        with pytest.raises(UnsupportedValue, match=r"a row of . values for 2 columns"):
            layout.instance(session, row)
    assert len(session.identity_map) == 0


def test_a_structure_that_is_none_is_corrupt(engine: sa.Engine, session: Session) -> None:
    """Text in place of a structure that is no JSON raises CorruptEntry, and leaves no instance in the session."""
    layout, row = city(engine)
    frozen, _ = layout.codec.freeze(row)
    with pytest.raises(CorruptEntry):
        layout.instance_of_frozen(session, changed(layout, frozen, data=b"{"))
    assert len(session.identity_map) == 0
