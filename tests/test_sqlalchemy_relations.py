"""Many-to-one relations from the cache: the loader option from_cache."""

# ruff: noqa: F401, F811 -- fixtures are imported

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, String, delete, insert, inspect, select, text, update
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    contains_eager,
    joinedload,
    load_only,
    mapped_column,
    raiseload,
    relationship,
    selectinload,
)

from cachecore.errors import ConfigurationError
from cachecore.integrations.sqlalchemy import cached, from_cache, get_from_cache, get_one_from_cache
from tests.orm_databases import (
    OpenDatabase,
    async_database,
    async_engine,
    database,
    open_async_database,
    open_database,
    postgres,
    sync_engine,
)
from tests.orm_models import City, Country, Customer, Folder, Order, Seat, Tag, Ticket
from tests.orm_worlds import WARM, AsyncWorld, World, async_world, insert_rows, quick, world

ORDERS = select(Order).order_by(Order.id)
WITH_CUSTOMERS = ORDERS.options(from_cache(Order.customer))
EMAILS = ["ann@example.org", "bob@example.org", "ann@example.org", None]
"""Of the customers of all orders."""


def loaded(instance: Any, relation: str) -> Any:
    """The target, which must be there already."""
    assert relation in inspect(instance).dict, f"{relation} would be loaded now"
    return getattr(instance, relation)


def emails(orders: Sequence[Order]) -> list[str | None]:
    """Of their customers, which must be there already."""
    customers = [loaded(order, "customer") for order in orders]
    return [None if customer is None else customer.email for customer in customers]


class TestFollowing:
    """What is found, and what it costs."""

    def test_a_relation_is_one_multi_get(self, world: World) -> None:
        """Cold one statement more than the query, warm none; equal targets are one instance."""
        for expected in (2, 1, 1):
            with world.sessions() as session, world.asked() as asked:
                orders = session.scalars(WITH_CUSTOMERS).all()
                assert emails(orders) == EMAILS
                assert orders[0].customer is orders[2].customer
                assert not session.dirty
            assert len(asked.statements) == expected
        assert asked.calls == WARM

    def test_a_path_is_one_multi_get_a_relation(self, world: World) -> None:
        """Each step for all instances together."""
        query = ORDERS.options(from_cache(Order.customer, Customer.country))
        for expected in (3, 1, 1):
            with world.sessions() as session, world.asked() as asked:
                orders = session.scalars(query).all()
                customers = [loaded(order, "customer") for order in orders]
                names = [loaded(one, "country").name for one in customers if one is not None]
                assert names == ["Norway", "France", "Norway"]
            assert len(asked.statements) == expected
        assert asked.calls == WARM * 2

    def test_ever_so_many_rows_are_one_statement_more(self, quick: World) -> None:
        """N + 1 queries become two, and one when they are warm."""
        with quick.engine.begin() as connection:
            many = range(100, 400)
            connection.execute(insert(Customer), [{"id": one, "email": f"{one}@example.org"} for one in many])
            connection.execute(insert(Order), [{"id": one, "text": "", "customer_id": one} for one in many])
        for expected in (2, 1):
            with quick.sessions() as session, quick.asked() as asked:
                found = emails(session.scalars(WITH_CUSTOMERS.where(Order.id >= 100)).all())
                assert found == [f"{one}@example.org" for one in many]
            assert len(asked.statements) == expected

    def test_a_composite_key(self, world: World) -> None:
        """A key of which a part is NULL points nowhere."""
        query = select(Ticket).options(from_cache(Ticket.seat)).order_by(Ticket.id)
        for expected in (2, 1):
            with world.sessions() as session, world.asked() as asked:
                seats = [loaded(ticket, "seat") for ticket in session.scalars(query)]
                assert [seat and seat.code for seat in seats] == ["S1", "S3", None]
            assert len(asked.statements) == expected

    def test_a_relation_to_the_same_class(self, quick: World) -> None:
        """A tree, two levels up."""
        with quick.sessions.begin() as session:
            session.add_all([Folder(id=1, name="top"), Folder(id=2, name="mid", parent_id=1)])
            session.flush()
            session.add_all([Folder(id=3, name="low", parent_id=2, first_id=1)])
        query = select(Folder).where(Folder.id == 3)
        query = query.options(from_cache(Folder.parent, Folder.parent), from_cache(Folder.first))
        for _ in range(2):
            with quick.sessions() as session:
                low = session.scalars(query).one()
                mid = loaded(low, "parent")
                assert (mid.name, loaded(mid, "parent").name, loaded(low, "first").name) == ("mid", "top", "top")

    def test_null_costs_nothing(self, world: World) -> None:
        """A query of instances that point nowhere is one statement, and asks no cache."""
        with world.sessions() as session, world.asked() as asked:
            assert emails(session.scalars(WITH_CUSTOMERS.where(Order.id == 4)).all()) == [None]
        assert (len(asked.statements), asked.calls) == (1, [])

    def test_an_empty_result_costs_nothing(self, world: World) -> None:
        """Nothing to follow."""
        with world.sessions() as session, world.asked() as asked:
            assert session.scalars(WITH_CUSTOMERS.where(Order.id == 99)).all() == []
        assert (len(asked.statements), asked.calls) == (1, [])

    def test_a_dangling_key_is_none(self, open_database: OpenDatabase) -> None:
        """Where the database does not keep foreign keys, as SQLite by default."""
        world = World(open_database("sqlite file", City.metadata).engine())
        with world.sessions.begin() as session:
            session.add(Order(id=1, text="", customer_id=77))
        for _ in range(2):
            with world.sessions() as session:
                assert emails(session.scalars(WITH_CUSTOMERS).all()) == [None]
        with world.sessions.begin() as session:
            session.add(Customer(id=77, email="new@example.org"))
        with world.sessions() as session:
            assert emails(session.scalars(WITH_CUSTOMERS).all()) == ["new@example.org"]

    def test_a_key_that_no_column_can_hold_is_none(self, open_database: OpenDatabase) -> None:
        """SQLite keeps whatever it is given."""
        world = World(open_database("sqlite file", City.metadata).engine())
        with world.sessions.begin() as session:
            session.execute(text("INSERT INTO orders (id, text, customer_id) VALUES (1, '', 4611686018427387904)"))
        with world.sessions() as session:
            assert emails(session.scalars(WITH_CUSTOMERS).all()) == [None]

    def test_the_targets_are_usual_instances(self, world: World) -> None:
        """They are changed, flushed and set otherwise; the relation's other side is the session's as ever."""
        for _ in range(2):
            with world.sessions() as session:
                session.scalars(WITH_CUSTOMERS).all()
        with world.sessions() as session:
            first = session.scalars(WITH_CUSTOMERS).first()
            assert first is not None
            assert first.customer is not None
            first.customer.email = "anna@example.org"
            first.customer.orders[0].text = "changed"
            session.commit()
        with world.sessions() as session:
            orders = session.scalars(WITH_CUSTOMERS).all()
            assert emails(orders)[0] == "anna@example.org"
            orders[0].customer = orders[1].customer
            session.commit()
        with world.sessions() as session:
            assert emails(session.scalars(WITH_CUSTOMERS).all())[:2] == ["bob@example.org", "bob@example.org"]


class TestQueries:
    """Where the option can stand."""

    def test_two_options(self, quick: World) -> None:
        """Each relation is followed."""
        query = select(Folder).options(from_cache(Folder.parent), from_cache(Folder.first))
        with quick.sessions.begin() as session:
            session.add(Folder(id=1, name="a"))
            session.flush()
            session.add(Folder(id=2, name="b", parent_id=1, first_id=1))
        with quick.sessions() as session:
            one, two = session.scalars(query.order_by(Folder.id)).all()
            assert loaded(two, "parent") is loaded(two, "first") is one
            assert loaded(one, "parent") is None

    @pytest.mark.parametrize("way", ["all", "first", "one", "iter", "get", "execute", "mappings", "partitions"])
    def test_every_way_to_read_a_result(self, quick: World, way: str) -> None:
        """The targets are there when the first instance comes out."""
        query = WITH_CUSTOMERS.where(Order.id == 1)
        with quick.sessions() as session:
            one: Any = {
                "all": lambda: session.scalars(query).all()[0],
                "first": lambda: session.scalars(query).first(),
                "one": lambda: session.execute(query).scalar_one(),
                "iter": lambda: next(iter(session.scalars(query))),
                "get": lambda: session.get(Order, 1, options=[from_cache(Order.customer)]),
                "execute": lambda: session.execute(query).all()[0][0],
                "mappings": lambda: session.execute(query).mappings().one()["Order"],
                "partitions": lambda: next(iter(session.scalars(query).partitions(5)))[0],
            }[way]()
            assert emails([one]) == EMAILS[:1]

    def test_the_query_api(self, quick: World) -> None:
        """session.query(...).options(...), whichever way it is run."""
        with quick.sessions() as session:
            query = session.query(Order).options(from_cache(Order.customer)).order_by(Order.id)
            one = query.filter(Order.id == 1)
            ways: list[Callable[[], list[Any]]] = [
                lambda: [query.first()],
                lambda: [one.one()],
                lambda: [one.one_or_none()],
                lambda: query.limit(2).all(),
                lambda: list(query),
                lambda: query.populate_existing().all(),
            ]
            for way in ways:
                found = way()
                assert emails(found) == EMAILS[: len(found)]
                session.expunge_all()

    def test_several_columns(self, quick: World) -> None:
        """The instances in rows of several are followed too, whatever else is in them."""
        for columns in ((Order, Customer), (Order.id, Order), (Customer, Order.text, Order)):
            query = select(*columns).join(Customer, Order.customer_id == Customer.id).order_by(Order.id)
            with quick.sessions() as session:
                rows = session.execute(query.options(from_cache(Order.customer))).all()
                orders = [one for row in rows for one in row if isinstance(one, Order)]
                assert emails(orders) == EMAILS[:3]
                assert all(row._mapping["Order"] is order for row, order in zip(rows, orders, strict=True))

    def test_columns_without_instances(self, quick: World) -> None:
        """Nothing to follow, and nothing is asked."""
        with quick.sessions() as session, quick.asked() as asked:
            rows = session.execute(select(Order.id, Order.text).options(from_cache(Order.customer))).all()
            assert len(rows) == 4
        assert (len(asked.statements), asked.calls) == (1, [])

    def test_with_joined_eager_loading(self, quick: World) -> None:
        """Of a collection: unique() is needed as without the option, and the legacy query does it by itself."""
        query = (
            select(Customer).options(joinedload(Customer.orders), from_cache(Customer.country)).order_by(Customer.id)
        )
        with quick.sessions() as session:
            customers = session.scalars(query).unique().all()
            assert [len(loaded(one, "orders")) for one in customers] == [2, 1, 0]
            names = [loaded(one, "country") and one.country.name for one in customers]
            assert names == ["Norway", "France", None]
        with quick.sessions() as session:
            old = session.query(Customer).options(joinedload(Customer.orders), from_cache(Customer.country)).all()
            assert len(old) == 3
        with quick.sessions() as session, pytest.raises(InvalidRequestError, match="unique"):
            session.scalars(query).all()

    def test_a_path_goes_on_from_what_is_loaded_otherwise(self, quick: World) -> None:
        """By joinedload, selectinload or contains_eager: those are not read again."""
        path = from_cache(Order.customer, Customer.country)
        for option in (joinedload(Order.customer), selectinload(Order.customer)):
            with quick.sessions() as session, quick.asked() as asked:
                orders = session.scalars(ORDERS.options(option, path)).all()
                assert emails(orders) == EMAILS
                assert loaded(orders[0].customer, "country").name == "Norway"
            assert not any("acquire" in call and "customer" in call for call in asked.calls)
        query = ORDERS.join(Order.customer).options(contains_eager(Order.customer), path)
        with quick.sessions() as session:
            assert loaded(session.scalars(query).all()[0].customer, "country").name == "Norway"

    def test_with_load_only_and_raiseload(self, quick: World) -> None:
        """Columns that the relation needs are loaded; what the option loads does not raise."""
        with quick.sessions() as session:
            assert emails(session.scalars(WITH_CUSTOMERS.options(load_only(Order.text))).all()) == EMAILS
        with quick.sessions() as session:
            assert emails(session.scalars(WITH_CUSTOMERS.options(raiseload("*"))).all()) == EMAILS

    def test_an_alias_of_the_class(self, quick: World) -> None:
        """Options are given of the class itself."""
        other = aliased(Order)
        with quick.sessions() as session:
            orders = session.scalars(select(other).options(from_cache(Order.customer)).order_by(other.id)).all()
            assert emails(orders) == EMAILS

    def test_a_statement_of_another_class(self, quick: World) -> None:
        """An option that fits nothing does nothing."""
        with quick.sessions() as session, quick.asked() as asked:
            assert len(session.scalars(select(City).options(from_cache(Order.customer))).all()) == 4
        assert (len(asked.statements), asked.calls) == (1, [])

    @pytest.mark.parametrize("options", [{"yield_per": 2}, {"stream_results": True}], ids=str)
    def test_results_that_come_bit_by_bit_are_refused(self, quick: World, options: dict[str, Any]) -> None:
        """The option reads for all of them at once; the error says which option it was."""
        with quick.sessions() as session:
            with pytest.raises(ConfigurationError, match=next(iter(options))):
                session.scalars(WITH_CUSTOMERS, execution_options=options)
            with pytest.raises(ConfigurationError, match="yield_per"):
                list(session.query(Order).options(from_cache(Order.customer)).yield_per(2))
            assert emails(session.scalars(WITH_CUSTOMERS).all()) == EMAILS

    def test_two_relations_of_polymorphic_classes(self, open_database: OpenDatabase) -> None:
        """A target is of the class that its row says; a relation may belong to a class that inherits."""

        class Local(DeclarativeBase):
            pass

        @cached()
        class Person(Local):
            __tablename__ = "person"
            __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012
            id: Mapped[int] = mapped_column(primary_key=True)
            kind: Mapped[str] = mapped_column(String(10))
            boss_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))

        class Engineer(Person):
            __tablename__ = "engineer"
            id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
            level: Mapped[int]
            mentor_id: Mapped[int | None] = mapped_column(ForeignKey("engineer.id"))
            __mapper_args__ = {"polymorphic_identity": "engineer", "inherit_condition": id == Person.id}  # noqa: RUF012

        own: Any = Engineer.__table__.c
        relations: Any = {
            "boss": (Person, relationship(Person, foreign_keys=[Person.boss_id], remote_side=[Person.id])),
            "mentor": (Engineer, relationship(Engineer, foreign_keys=[own.mentor_id], remote_side=[own.id])),
        }
        for name, (cls, relation) in relations.items():
            setattr(cls, name, relation)
        boss, mentor = Person.boss, Engineer.mentor  # type: ignore[attr-defined]
        world = World(open_database("sqlite file", Local.metadata).engine())
        with world.sessions.begin() as session:
            session.add_all([Person(id=1), Engineer(id=2, level=5)])
            session.flush()
            session.add_all([Engineer(id=3, boss_id=1, level=2, mentor_id=2), Person(id=4, boss_id=2)])
        for _ in range(2):
            with world.sessions() as session:
                query = select(Person).order_by(Person.id).where(Person.id > 2)
                people = session.scalars(query.options(from_cache(boss))).all()
                assert [type(loaded(one, "boss")) for one in people] == [Person, Engineer]
                assert people[1].boss.level == 5
            with world.sessions() as session:
                people = session.scalars(query.options(from_cache(mentor))).all()
                assert loaded(people[0], "mentor").level == 5
                assert "mentor" not in inspect(people[1]).dict

    def test_a_lookup_that_is_not_the_primary_key(self, open_database: OpenDatabase) -> None:
        """A foreign key to a unique column that is declared as a lookup."""

        class Local(DeclarativeBase):
            pass

        @cached(lookups=["code"])
        class Currency(Local):
            __tablename__ = "currency"
            id: Mapped[int] = mapped_column(primary_key=True)
            code: Mapped[str] = mapped_column(String(3), unique=True)

        class Account(Local):
            __tablename__ = "account"
            id: Mapped[int] = mapped_column(primary_key=True)
            currency_code: Mapped[str | None] = mapped_column(ForeignKey("currency.code"))
            currency: Mapped[Currency | None] = relationship()

        world = World(open_database("sqlite file", Local.metadata).engine())
        with world.sessions.begin() as session:
            session.add_all([Currency(id=1, code="NOK"), Currency(id=2, code="EUR")])
            session.flush()
            session.add_all([Account(id=1, currency_code="EUR"), Account(id=2, currency_code="NOK"), Account(id=3)])
        query = select(Account).options(from_cache(Account.currency)).order_by(Account.id)
        for _ in range(3):
            with world.sessions() as session, world.asked() as asked:
                ids = [loaded(one, "currency") and one.currency.id for one in session.scalars(query)]
                assert ids == [2, 1, None]
        assert (len(asked.statements), asked.calls) == (1, WARM)


class TestSessions:
    """What the session has already."""

    def test_a_relation_that_is_loaded_stays(self, quick: World) -> None:
        """It is neither asked for nor set again."""
        with quick.sessions() as session:
            order = session.get_one(Order, 1)
            customer = order.customer
            with quick.asked() as asked:
                session.scalars(WITH_CUSTOMERS.where(Order.id == 1)).all()
                assert loaded(order, "customer") is customer
        assert (len(asked.statements), asked.calls) == (1, [])

    @pytest.mark.parametrize("autoflush", [True, False])
    def test_a_relation_that_was_set_stays(self, quick: World, autoflush: bool) -> None:
        """Flushed or not; to another target, or to none."""
        with quick.sessions(autoflush=autoflush) as session:
            one, two = session.get_one(Order, 1), session.get_one(Order, 2)
            one.customer, two.customer = session.get(Customer, 3), None
            orders = session.scalars(WITH_CUSTOMERS).all()
            assert emails(orders)[:2] == ["cy@example.org", None]
            session.commit()
        with quick.sessions() as session:
            assert emails(session.scalars(WITH_CUSTOMERS).all())[:2] == ["cy@example.org", None]

    @pytest.mark.parametrize("autoflush", [True, False])
    def test_a_key_that_was_changed_is_followed(self, quick: World, autoflush: bool) -> None:
        """As lazy loading follows it."""
        with quick.sessions(autoflush=autoflush) as session:
            session.get_one(Order, 1).customer_id = 3
            assert emails(session.scalars(WITH_CUSTOMERS).all())[0] == "cy@example.org"

    def test_a_target_in_the_session_wins(self, quick: World) -> None:
        """With its changes, as of every read."""
        with quick.sessions() as session:
            session.scalars(WITH_CUSTOMERS).all()
        with quick.sessions(autoflush=False) as session:
            customer = get_one_from_cache(session, Customer, id=1)
            customer.email = "anna@example.org"
            orders = session.scalars(WITH_CUSTOMERS).all()
            assert orders[0].customer is customer
            assert emails(orders)[0] == "anna@example.org"

    def test_a_target_that_the_transaction_has_written_is_seen(self, world: World) -> None:
        """By the transaction itself, not by others, until it is rolled back."""
        with world.sessions() as session:
            session.scalars(WITH_CUSTOMERS).all()
        with world.sessions() as session:
            session.execute(update(Customer).where(Customer.id == 1).values(email="anna@example.org"))
            assert emails(session.scalars(WITH_CUSTOMERS).all())[0] == "anna@example.org"
            session.rollback()
        with world.sessions() as session, world.asked() as asked:
            assert emails(session.scalars(WITH_CUSTOMERS).all()) == EMAILS
        assert len(asked.statements) == 1

    def test_a_target_that_was_deleted_is_none(self, quick: World) -> None:
        """In the transaction that deletes it, and for all when that is committed."""
        with quick.sessions() as session:
            session.scalars(WITH_CUSTOMERS).all()
        with quick.sessions() as session:
            session.execute(delete(Customer.__table__).where(Customer.id == 2))  # type: ignore[arg-type]
            assert emails(session.scalars(WITH_CUSTOMERS).all())[1] is None
            session.commit()
        with quick.sessions() as session:
            assert emails(session.scalars(WITH_CUSTOMERS).all())[1] is None

    def test_a_written_target_is_seen_after_the_commit(self, world: World) -> None:
        """By everybody."""
        with world.sessions() as session:
            session.scalars(WITH_CUSTOMERS).all()
        with world.sessions.begin() as session:
            get_one_from_cache(session, Customer, id=2).email = "bert@example.org"
        with world.sessions() as session:
            assert emails(session.scalars(WITH_CUSTOMERS).all())[1] == "bert@example.org"

    def test_populate_existing_and_for_update(self, quick: World) -> None:
        """The option goes with both."""
        with quick.sessions() as session:
            assert emails(session.scalars(WITH_CUSTOMERS.with_for_update()).all()) == EMAILS
            options = {"populate_existing": True}
            assert emails(session.scalars(WITH_CUSTOMERS, execution_options=options).all()) == EMAILS


class TestAwaited:
    """In an AsyncSession."""

    async def test_relations_are_one_multi_get(self, async_world: AsyncWorld) -> None:
        """Each of a path; warm without a statement beside the query."""
        query = ORDERS.options(from_cache(Order.customer, Customer.country))
        for expected in (3, 1):
            async with async_world.sessions() as session:
                with async_world.asked() as asked:
                    orders = (await session.scalars(query)).all()
                assert emails(orders) == EMAILS
                assert loaded(orders[0].customer, "country").name == "Norway"
            assert len(asked.statements) == expected
        assert asked.calls == WARM * 2

    async def test_streams_are_refused(self, async_world: AsyncWorld) -> None:
        """They come bit by bit."""
        async with async_world.sessions() as session:
            with pytest.raises(ConfigurationError, match="stream_results"):
                await session.stream_scalars(WITH_CUSTOMERS)
            assert emails((await session.scalars(WITH_CUSTOMERS)).all()) == EMAILS

    async def test_what_the_transaction_has_written(self, async_world: AsyncWorld) -> None:
        """It is seen."""
        async with async_world.sessions() as session:
            await session.scalars(WITH_CUSTOMERS)
        async with async_world.sessions() as session:
            await session.execute(update(Customer).where(Customer.id == 1).values(email="anna@example.org"))
            assert emails((await session.scalars(WITH_CUSTOMERS)).all())[0] == "anna@example.org"

    async def test_in_run_sync(self, async_world: AsyncWorld) -> None:
        """A query with the option may be run there too."""
        async with async_world.sessions() as session:
            orders = await session.run_sync(lambda it: it.scalars(WITH_CUSTOMERS).all())
            assert emails(orders) == EMAILS


class Local(DeclarativeBase):
    """Of what cannot be followed."""


@cached(lookups=["code"])
class Target(Local):
    """Cached by its primary key and a code."""

    __tablename__ = "target"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(unique=True)
    flag: Mapped[bool]


class Uncached(Local):
    """Not cached."""

    __tablename__ = "uncached"
    id: Mapped[int] = mapped_column(primary_key=True)


class Source(Local):
    """With relations that cannot be followed."""

    __tablename__ = "source"
    id: Mapped[int] = mapped_column(primary_key=True)
    target_id: Mapped[int | None] = mapped_column(ForeignKey("target.id"))
    target_name: Mapped[str | None]
    uncached_id: Mapped[int | None] = mapped_column(ForeignKey("uncached.id"))
    uncached: Mapped[Uncached | None] = relationship()
    target: Mapped[Target | None] = relationship()
    named: Mapped[Target | None] = relationship(primaryjoin="foreign(Source.target_name) == Target.name", viewonly=True)
    some: Mapped[Target | None] = relationship(
        primaryjoin="and_(foreign(Source.target_id) == Target.id, Target.name == 'x')", viewonly=True
    )
    flagged: Mapped[Target | None] = relationship(
        primaryjoin="and_(foreign(Source.target_id) == Target.id, Target.flag)", viewonly=True
    )
    other: Mapped[Target | None] = relationship(
        primaryjoin="and_(foreign(Source.target_id) == Target.id, not_(Target.flag))", viewonly=True
    )
    either: Mapped[Target | None] = relationship(
        primaryjoin="or_(foreign(Source.target_id) == Target.id, foreign(Source.target_name) == Target.name)",
        viewonly=True,
    )
    greater: Mapped[Target | None] = relationship(primaryjoin="foreign(Source.target_id) >= Target.id", viewonly=True)


class TestBadInput:
    """What cannot be followed is refused where the option is made."""

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            (list, "at least one"),
            (lambda: [Order.customer_id], "takes relationships"),
            (lambda: [Order], "takes relationships"),
            (lambda: ["customer"], "takes relationships.*'customer'"),
            (lambda: [None], "takes relationships.*None"),
            (lambda: [Customer.orders], r"Customer\.orders.*many-to-one"),
            (lambda: [Order.tags], r"Order\.tags.*many-to-one"),
            (lambda: [Folder.children], r"Folder\.children.*many-to-one"),
            (lambda: [Source.uncached], r"Source\.uncached.*Uncached is not cached"),
            (lambda: [Source.named], r"Source\.named.*name of Target.*cached by id, code"),
            (lambda: [Source.some], r"Source\.some"),
            (lambda: [Source.flagged], r"Source\.flagged"),
            (lambda: [Source.other], r"Source\.other"),
            (lambda: [Source.either], r"Source\.either"),
            (lambda: [Source.greater], r"Source\.greater"),
            (lambda: [Order.customer, Order.customer], "customer leads to Customer.* no customer"),
            (lambda: [Order.customer, City.country], "customer leads to Customer"),
            (lambda: [Order.customer, Customer.orders], r"Customer\.orders.*many-to-one"),
            (lambda: [Order.customer.and_(Customer.email == "x")], r"Order\.customer.*and_"),
            (lambda: [Order.customer.of_type(Customer)], r"Order\.customer.*of_type"),
        ],
        ids=lambda it: None,
    )
    def test_what_cannot_be_followed(self, path: Any, message: str) -> None:
        """The relation is named, and what is wrong with it."""
        with pytest.raises(ConfigurationError, match=message):
            from_cache(*path())

    def test_sessions_without_a_cache(self, open_database: OpenDatabase) -> None:
        """The query with the option says so; others go on."""
        engine = open_database("sqlite file", City.metadata).engine()
        insert_rows(engine)
        with Session(engine) as session:
            with pytest.raises(ConfigurationError, match=r"no cache.*cache_sessions"):
                session.scalars(WITH_CUSTOMERS)
            assert len(session.scalars(ORDERS).all()) == 4

    def test_a_cache_that_is_away_costs_a_statement_a_relation(self, quick: World) -> None:
        """Not one a row."""
        with quick.sessions() as session:
            session.scalars(WITH_CUSTOMERS).all()
        quick.server.fail(times=100)
        with quick.sessions() as session, quick.asked() as asked:
            assert emails(session.scalars(WITH_CUSTOMERS).all()) == EMAILS
        assert len(asked.statements) == 2
