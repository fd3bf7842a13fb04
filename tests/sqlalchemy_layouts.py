"""What tests of rows do with layouts and databases."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from cachecore.integrations.sqlalchemy.layout import RowLayout

SQLITE = sqlite.dialect()
POSTGRES = postgresql.psycopg.dialect()

Make = Callable[[RowLayout, Session, tuple[Any, ...]], Any]


def from_row(layout: RowLayout, session: Session, row: tuple[Any, ...]) -> Any:
    return layout.instance(session, row)


def from_bytes(layout: RowLayout, session: Session, row: tuple[Any, ...]) -> Any:
    return layout.instance_of_frozen(session, layout.codec.decode_frozen(layout.codec.encode(row)))


def from_frozen(layout: RowLayout, session: Session, row: tuple[Any, ...]) -> Any:
    return layout.instance_of_frozen(session, layout.codec.freeze(row)[0])


def from_decoded(layout: RowLayout, session: Session, row: tuple[Any, ...]) -> Any:
    return layout.instance(session, layout.codec.decode(layout.codec.encode(row)))


WAYS: list[Make] = [from_row, from_bytes, from_frozen, from_decoded]
"""Each way from a row that was read to an instance."""


def layout_of(kind: type[Any], dialect: sa.Dialect = SQLITE, **options: Any) -> RowLayout:
    return RowLayout(sa.inspect(kind), dialect, **options)


def saved(engine: sa.Engine, *instances: Any) -> None:
    with Session(engine) as session:
        session.add_all(instances)
        session.commit()


def rows_of(layout: RowLayout, engine: sa.Engine) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(layout.select())]


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[str]]:
    """The SQL that is executed meanwhile."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def loaded(instance: Any) -> dict[str, Any]:
    """Its loaded attributes."""
    return {key: value for key, value in vars(instance).items() if key != "_sa_instance_state"}
