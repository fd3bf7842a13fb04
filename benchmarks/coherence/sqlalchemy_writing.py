"""Every way in which an application that uses SQLAlchemy may write a row: each is a function of a session.

Flushes, ORM-enabled statements, the bulk methods, Core statements and SQL text on the session's connection: what a
cache has to see differs in each. None of them leaves an instance in the session that is older than its row, but for
what SQLAlchemy itself leaves.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, column, delete, func, insert, select, text, update, values
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session, make_transient_to_detached
from sqlalchemy.orm.util import identity_key

from benchmarks.coherence.sqlalchemy_row import TABLE, Group, Row

Values = dict[str, Any]
"""Attribute names and values."""
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
"""When a row was changed, as SQL in text says that inserts it."""

# -- a row that is in the session and locked -----------------------------------------------------------


def flush(session: Session, row: Row, changes: Values) -> None:
    """Attributes are set and flushed."""
    for name, value in changes.items():
        setattr(row, name, value)
    session.flush()


def leave_to_commit(session: Session, row: Row, changes: Values) -> None:
    """Attributes are set; COMMIT flushes, or whatever comes before. Not for slugs: others must know who takes them."""
    for name, value in changes.items():
        setattr(row, name, value)
    if "slug" in changes:
        session.flush()


def merge(session: Session, row: Row, changes: Values) -> None:
    """An instance from elsewhere is merged into the one that is there."""
    session.merge(Row(id=row.id, **changes))
    session.flush()


def update_one(session: Session, row: Row, changes: Values) -> None:
    """The criterion names the primary key, and the instance is brought up to date."""
    session.execute(update(Row).where(Row.id == row.id).values(changes))


def update_returning(session: Session, row: Row, changes: Values) -> None:
    """The statement returns the instance."""
    statement = update(Row).where(Row.id == row.id).values(changes).returning(Row)
    session.scalars(statement, execution_options={"populate_existing": True}).one()


def update_by_slug(session: Session, row: Row, changes: Values) -> None:
    """The criterion does not name the primary key."""
    session.execute(update(Row).where(Row.slug == row.slug, func.length(Row.note) > 0).values(changes))


def bulk_update_by_key(session: Session, row: Row, changes: Values) -> None:
    """ORM bulk UPDATE by primary key."""
    session.execute(update(Row), [{"id": row.id, **changes}])
    session.expire(row)


def bulk_update_mappings(session: Session, row: Row, changes: Values) -> None:
    """The legacy method that takes dictionaries."""
    session.bulk_update_mappings(Row, [{"id": row.id, **changes}])
    session.expire(row)


def bulk_save(session: Session, row: Row, changes: Values) -> None:
    """The legacy method that takes instances."""
    for name, value in changes.items():
        setattr(row, name, value)
    session.bulk_save_objects([row])
    session.expire(row)


def core_many_parameters(session: Session, row: Row, changes: Values) -> None:
    """A Core statement, sent with a list of parameters."""
    statement = TABLE.update().where(TABLE.c.id == bindparam("which"))
    session.connection().execute(statement, [{"which": row.id, **changes}])
    session.expire(row)


def core_from_values(session: Session, row: Row, changes: Values) -> None:
    """UPDATE .. FROM (VALUES ..)."""
    wanted = values(column("which", TABLE.c.id.type), name="wanted").data([(row.id,)])
    session.connection().execute(TABLE.update().where(TABLE.c.id == wanted.c.which).values(changes))
    session.expire(row)


def upsert(session: Session, row: Row, changes: Values) -> None:
    """INSERT .. ON CONFLICT DO UPDATE of a row that is there."""
    statement = postgresql.insert(Row).values({"id": row.id, "slug": row.slug, "number": 0} | changes)
    session.execute(statement.on_conflict_do_update(index_elements=[Row.id], set_=changes))
    session.expire(row)


def sql_text(session: Session, row: Row, changes: Values) -> None:
    """SQL through the session."""
    assignments = ", ".join(f"{name} = :{name}" for name in changes)
    session.execute(text(f"UPDATE bench_row SET {assignments} WHERE id = :id"), {"id": row.id, **changes})
    session.expire(row)


SAVING: Sequence[Callable[[Session, Row, Values], None]] = (
    flush, leave_to_commit, update_one, core_many_parameters, flush, merge, update_by_slug, bulk_update_by_key,
    leave_to_commit, update_returning, bulk_update_mappings, upsert, flush, core_from_values, bulk_save, sql_text,
)  # fmt: skip

# -- rows between two primary keys, in the session or not ----------------------------------------------


def _between(first: int, last: int) -> Any:
    return Row.id == first if first == last else (Row.id >= first) & (Row.id <= last)


def _synchronized(how: Any) -> Callable[[Session, int, int, int], None]:
    def execute(session: Session, first: int, last: int, number: int) -> None:
        statement = update(Row).where(_between(first, last)).values(number=number)
        session.execute(statement, execution_options={"synchronize_session": how})

    return execute


def query_update(session: Session, first: int, last: int, number: int) -> None:
    """The legacy Query."""
    session.query(Row).filter(_between(first, last)).update({Row.number: number}, synchronize_session=False)


def core_update(session: Session, first: int, last: int, number: int) -> None:
    """A Core statement on the session's connection, of an alias and with an expression."""
    one = TABLE.alias("one")
    criterion = one.c.id == first if first == last else one.c.id.between(first, last)
    session.connection().execute(update(one).where(criterion).values(number=one.c.number * 0 + number))


def in_a_select(session: Session, first: int, last: int, number: int) -> None:
    """An UPDATE inside a SELECT."""
    changed = TABLE.update().where(_between(first, last)).values(number=number).returning(TABLE.c.id).cte("changed")
    session.execute(select(func.count()).select_from(changed)).scalar_one()


def in_another_update(session: Session, first: int, last: int, number: int) -> None:
    """An UPDATE inside one of another table."""
    changed = TABLE.update().where(_between(first, last)).values(number=number).cte("changed")
    session.execute(update(Group).where(Group.id < 0).values(id=0).add_cte(changed))


def instances(session: Session, first: int, last: int, number: int) -> None:
    """Instances are loaded and locked, changed and flushed by one executemany."""
    query = select(Row).where(_between(first, last)).order_by(Row.id).with_for_update()
    for row in session.scalars(query, execution_options={"populate_existing": True}):
        row.number = number
    session.flush()


def text_update(session: Session, first: int, last: int, number: int) -> None:
    """SQL straight to the driver, by the session's connection."""
    statement = f"UPDATE bench_row SET number = {number} WHERE id BETWEEN {first} AND {last}"
    session.connection().exec_driver_sql(statement)


UPDATING: Sequence[Callable[[Session, int, int, int], None]] = (
    _synchronized("auto"), core_update, _synchronized("evaluate"), instances, _synchronized("fetch"), query_update,
    _synchronized(False), in_a_select, _synchronized("auto"), instances, in_another_update, core_update, text_update,
)  # fmt: skip


def detached(session: Session, pk: int, number: int) -> None:
    """One attribute of an instance that was never loaded. Raises StaleDataError if there is no such row."""
    row = session.identity_map.get(identity_key(Row, pk))
    if row is None:
        row = Row(id=pk)
        make_transient_to_detached(row)
        session.add(row)
    row.number = number
    session.flush()


# -- a row that is not there, and one that goes --------------------------------------------------------


def add(session: Session, row: Values) -> None:
    """An instance is added and flushed."""
    session.add(Row(**row))
    session.flush()


def insert_many_parameters(session: Session, row: Values) -> None:
    """ORM bulk INSERT."""
    session.execute(insert(Row), [row])


def insert_returning(session: Session, row: Values) -> None:
    """INSERT .. RETURNING an instance."""
    session.scalars(insert(Row).values(row).returning(Row)).one()


def bulk_insert_mappings(session: Session, row: Values) -> None:
    """The legacy method."""
    session.bulk_insert_mappings(Row, [row])


def core_insert(session: Session, row: Values) -> None:
    """A Core statement."""
    session.connection().execute(TABLE.insert().values(row))


def upsert_new(session: Session, row: Values) -> None:
    """INSERT .. ON CONFLICT, and there is none."""
    session.execute(postgresql.insert(Row).on_conflict_do_nothing().values(row))


def insert_from_select(session: Session, row: Values) -> None:
    """INSERT .. SELECT, whose key no parameter names."""
    literals = [bindparam(name, value, TABLE.c[name].type) for name, value in row.items()]
    session.execute(insert(Row).from_select([TABLE.c[name] for name in row], select(*literals)))


def text_insert(session: Session, row: Values) -> None:
    """SQL through the session."""
    sql = "INSERT INTO bench_row VALUES (:id, :slug, 0, :number, 'Oslo', 12, true, :changed, 'The capital of Norway.')"
    session.execute(text(sql), {**row, "changed": LONG_AGO})


INSERTING: Sequence[Callable[[Session, Values], None]] = (
    add, insert_many_parameters, core_insert, add, insert_returning, bulk_insert_mappings, upsert_new,
    insert_from_select, add, text_insert,
)  # fmt: skip


def delete_instance(session: Session, row: Row) -> None:
    """The instance is deleted and flushed."""
    session.delete(row)
    session.flush()


def delete_statement(session: Session, row: Row) -> None:
    """ORM-enabled DELETE."""
    session.execute(delete(Row).where(Row.id == row.id))


def delete_by_slug(session: Session, row: Row) -> None:
    """The criterion does not name the primary key."""
    session.query(Row).filter(Row.slug == row.slug).delete(synchronize_session="fetch")


def core_delete(session: Session, row: Row) -> None:
    """A Core statement."""
    session.connection().execute(TABLE.delete().where(TABLE.c.id == row.id))
    session.expunge(row)


def text_delete(session: Session, row: Row) -> None:
    """SQL through the session."""
    session.execute(text("DELETE FROM bench_row WHERE id = :id"), {"id": row.id})
    session.expunge(row)


DELETING: Sequence[Callable[[Session, Row], None]] = (
    delete_instance, delete_statement, core_delete, delete_instance, delete_by_slug, delete_statement, text_delete,
)  # fmt: skip
