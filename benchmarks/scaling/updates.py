"""Against the rows that one update touches: Django's QuerySet.update and SQLAlchemy's update(), with us and without.

The reference is the same statement on a table of the same rows that nobody caches. Its WHERE does not name the rows, so
ours selects their keys first, writes exactly those, and holds each for the time of the COMMIT, in one round trip before
and one after. More rows than the policy's ``bulk_threshold`` are not named: one key stands for all, so what we add is
then a SELECT of ``bulk_threshold`` + 1 keys, whatever the statement writes.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Final

from django.db import connections
from django.test.utils import CaptureQueriesContext
from sqlalchemy import Engine, Text, create_engine, event, insert, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from benchmarks.measure import Call
from benchmarks.scaling import models
from benchmarks.scaling.curve import Curve, series
from benchmarks.scaling.sweep import Effort, against, swept
from cachecore import Cache
from cachecore.integrations.django.conf import caches
from cachecore.integrations.sqlalchemy import cache_sessions, cached
from cachecore.policy import Policy
from cachecore.testing.counting import counting

THRESHOLD: Final = Policy().bulk_threshold
SIZES: Final = [1, 10, 100, THRESHOLD, 2 * THRESHOLD, 10_000, 100_000]
MOST_ROUND_TRIPS: Final = 2
MOST_STATEMENTS: Final = 2
DOCS: Final = (
    "The keys of the rows are selected first, one SELECT more; more rows than Policy.bulk_threshold are outdated by one"
    " key. A write costs two round trips to the cache, however many rows it writes."
)
DROP: Final = (
    f"more than bulk_threshold ({THRESHOLD:,}) rows are not named any more: the statement is sent as it was written,"
    " and one key is held instead of one for each row"
)
"""Why ours takes less for twice the rows."""


class Base(DeclarativeBase):
    """Of the class here."""


@cached(lookups=[])
class Note(Base):
    """The same columns as those of `models.Note`."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(index=True)
    text: Mapped[str] = mapped_column(Text, default="")


@dataclass(frozen=True, slots=True)
class Pair:
    """One way to update: with us, and without."""

    name: str
    title: str
    ours: Mapping[int, Call]
    reference: Mapping[int, Call]
    count: Callable[[Call], tuple[int, int]]
    """The round trips to the cache and the statements of one call."""


def curves(effort: Effort) -> Iterator[Curve]:
    """Times and counts: Django in memory and on Redis, there with PostgreSQL too; SQLAlchemy in memory and on Redis."""
    sizes = effort.sizes(SIZES, 2 * THRESHOLD)
    effort = effort.fewer(7)
    trips: dict[str, dict[int, list[float]]] = {}
    statements: dict[str, dict[int, list[float]]] = {}
    with ExitStack() as stack:
        for pair in (*_django(sizes), *_sqlalchemy(stack, sizes)):
            times = swept({"ours": pair.ours, "without": pair.reference}, effort, perf_counter)
            yield Curve(
                name=f"updates-{pair.name}",
                title=pair.title,
                x_label="rows",
                y_label="time, without us of the fewest rows = 1",
                unit="x",
                docs=DOCS,
                series=against(times, "ours", "without", expected=1.0, explained={2 * THRESHOLD: DROP}),
            )
            trips[pair.name], statements[pair.name] = {}, {}
            for size in sizes:
                calls, sent = pair.count(pair.ours[size])
                trips[pair.name][size], statements[pair.name][size] = [calls], [sent]
    yield _counted("round-trips", "round trips to the cache of one update", trips, MOST_ROUND_TRIPS)
    yield _counted("statements", "statements of one update that is alone", statements, MOST_STATEMENTS)


def _counted(name: str, title: str, found: Mapping[str, Mapping[int, list[float]]], most: int) -> Curve:
    what = name.replace("-", " ")
    return Curve(
        name=f"updates-{name}",
        title=title,
        x_label="rows",
        y_label=what,
        unit=what,
        docs=DOCS,
        series=[series(one, "count", values, expected=0.0, tolerance=0.0) for one, values in found.items()],
        broken=[
            f"{one}: {values[0]:g} {what} for {size:,} rows, not {most} at most"
            for one, counts in found.items()
            for size, values in counts.items()
            if values[0] > most
        ],
    )


# -- Django --------------------------------------------------------------------------------------------


def _django(sizes: Sequence[int]) -> Iterator[Pair]:
    for using, database, chosen in (
        ("default", "SQLite", (models.InMemory, models.OnRedis)),
        ("postgres", "PostgreSQL", (models.OnRedis,)),
    ):
        for model in (models.Uncached, *chosen):
            models.create(model, sizes[-1], using)
        for model in chosen:
            where, alias = ("memory", "default") if model is models.InMemory else ("Redis", "redis")
            yield Pair(
                f"django-{where}-{database}".lower(),
                f"QuerySet.update outside a transaction, {where}, {database}",
                {size: _update(model, size, using) for size in sizes},
                {size: _update(models.Uncached, size, using) for size in sizes},
                partial(_count_django, alias, using),
            )


def _update(model: Any, rows: int, using: str) -> Call:
    query = model.objects.using(using).filter(number__lte=rows)
    texts = itertools.cycle("ab")

    def run() -> None:
        assert query.update(text=next(texts)) == rows

    return run


def _count_django(alias: str, using: str, call: Call) -> tuple[int, int]:
    call()
    with counting([caches[alias]]) as counts, CaptureQueriesContext(connections[using]) as queries:
        call()
    return counts.operations, sum(not _frames(query["sql"]) for query in queries)


def _frames(statement: str) -> bool:
    """Whether it begins or ends a transaction."""
    return statement.startswith(("BEGIN", "COMMIT"))


# -- SQLAlchemy ----------------------------------------------------------------------------------------


def _sqlalchemy(stack: ExitStack, sizes: Sequence[int]) -> Iterator[Pair]:
    bare = _sessions(stack, "bare", sizes[-1])
    for where, location in (("memory", "memory://"), ("Redis", f"{os.environ['SCALING_REDIS']}?timeout=10")):
        sessions = _sessions(stack, where, sizes[-1])
        cache = stack.enter_context(Cache(location, namespace="scaling-sqlalchemy", ttl=3600))
        cache_sessions(sessions, cache)
        yield Pair(
            f"sqlalchemy-{where}-sqlite".lower(),
            f"update() in a transaction of its own, {where}, SQLite",
            {size: _execute(sessions, size) for size in sizes},
            {size: _execute(bare, size) for size in sizes},
            partial(_count_sqlalchemy, cache, sessions.kw["bind"]),
        )


def _sessions(stack: ExitStack, name: str, rows: int) -> "sessionmaker[Session]":
    """Those of a new database with so many rows."""
    engine = create_engine(f"sqlite:///{os.environ['SCALING_FOLDER']}/{name}.sqlite3")
    stack.callback(engine.dispose)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Note), [{"id": one, "number": one} for one in range(1, rows + 1)])
    return sessionmaker(engine)


def _execute(sessions: "sessionmaker[Session]", rows: int) -> Call:
    texts = itertools.cycle("ab")
    options = {"synchronize_session": False}

    def run() -> None:
        with sessions.begin() as session:
            session.execute(update(Note).where(Note.number <= rows).values(text=next(texts)), execution_options=options)

    return run


def _count_sqlalchemy(cache: Cache, engine: Engine, call: Call) -> tuple[int, int]:
    call()
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        with counting([cache]) as counts:
            call()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return counts.operations, len(sent)
