"""Ours without any framework: a `cachecore.Cache` beside psycopg, as an application without an ORM would use it.

Outside a transaction each statement is one of its own, so PREPARE and COMPLETE surround the statement. Inside, what
is written is collected and the outermost block lets `UnitOfWork.commit` surround COMMIT. Nothing is filled there.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.coherence.store import at_once
from benchmarks.coherence.terms import BULK_THRESHOLD, HOLD_TTL, TTL, is_unfinished, options_for
from benchmarks.coherence.world import Event, State, told
from cachecore import Cache
from cachecore.errors import WriteRefused
from cachecore.policy import Policy
from cachecore.records import Records
from cachecore.transaction import UnitOfWork

COLUMNS = {"id": int, "slug": str, "version": int, "number": int, "note": str}
SELECT = f"SELECT {', '.join(COLUMNS)} FROM bench_row "


@dataclass
class LockedRow:
    """A row as it was when it was locked."""

    pk: int
    slug: str


class CoreStore:
    """See `benchmarks.coherence.store.Store`."""

    failures: tuple[type[Exception], ...] = ()
    refused: tuple[type[Exception], ...] = (WriteRefused,)
    aborted: tuple[type[Exception], ...] = (psycopg.OperationalError, psycopg.InterfaceError)

    def __init__(self, dsn: str, url: str) -> None:
        self.queries = 0
        self.unfinished = 0
        self.events: list[Event] = []
        self._dsn = dsn
        self._url = url
        self._role = ""
        self._connection: psycopg.Connection[Any] | None = None
        self._unit: UnitOfWork | None = None
        """Of the open transaction."""

    def run(self, work: Callable[[], None]) -> None:
        work()

    def open(self, role: str, after_reply: Callable[[], None] = at_once) -> None:
        self._role = role
        self._after_reply = after_reply
        policy = Policy(hold_ttl=HOLD_TTL, bulk_threshold=BULK_THRESHOLD, unreachable="refuse")
        self._cache = Cache(self._url, namespace="bench", ttl=TTL, policy=policy, options=options_for(self._url))
        self._cache.hooks.subscribe(self._happened)
        self._rows: Records = self._cache.entity("Row", COLUMNS, lookups=["slug"], load=self._load, query=self._query)

    def _happened(self, event: object) -> None:
        self.unfinished += is_unfinished(event)

    def reconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    # -- reading -----------------------------------------------------------------------------------

    def by_pk(self, pk: int) -> State | None:
        return _state(self._rows.get(pk, unit=self._unit, may_fill=self._unit is None))

    def by_slug(self, slug: str) -> State | None:
        return _state(self._rows.find(slug=slug, unit=self._unit, may_fill=self._unit is None))

    def many(self, pks: Sequence[int]) -> list[State]:
        found = self._rows.get_many(pks, unit=self._unit, may_fill=self._unit is None)
        return [state for row in found if (state := _state(row)) is not None]

    def _load(self, pks: Sequence[int]) -> list[tuple[Any, ...]]:
        return self._execute(SELECT + "WHERE id = ANY(%s)", list(pks)).fetchall()

    def _query(self, asked: dict[str, Any]) -> tuple[Any, ...] | None:
        return self._execute(SELECT + "WHERE slug = %s", asked["slug"]).fetchone()

    # -- the database ------------------------------------------------------------------------------

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._connection = psycopg.connect(self._dsn, autocommit=True, application_name=self._role)
            self._connection.add_notice_handler(self._heard)
        return self._connection

    def _heard(self, notice: Any) -> None:
        event = told(notice.message_primary or "")
        if event is not None:
            self.events.append(event)

    def _execute(self, query: Any, *parameters: Any) -> psycopg.Cursor[Any]:
        self.queries += 1
        cursor = self._connected().execute(query, parameters)
        self._after_reply()
        return cursor

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._unit is not None:
            with self._connected().transaction():
                yield
            return
        self._execute("BEGIN")
        with self._cache.begin() as unit:
            self._unit = unit
            try:
                yield
                unit.commit(lambda: self._execute("COMMIT"))
            except BaseException:
                # Leaving the block releases what is held, but only when this has returned: the rows are unlocked by
                # then. After a COMMIT that failed the unit has ended and its holds stay.
                if not self._connected().closed:
                    self._execute("ROLLBACK")
                raise
            finally:
                self._unit = None

    @contextmanager
    def _writing(self, touch: Callable[[UnitOfWork], None]) -> Iterator[None]:
        """Surround a statement that writes."""
        if self._unit is not None:
            touch(self._unit)
            yield
            return
        with self._cache.begin() as unit:
            touch(unit)
            unit.prepare()
            try:
                yield
            except BaseException:
                unit.end()  # whether it was committed is not known
                raise
            unit.complete()

    def _touching(self, *pks: int) -> Any:
        return self._writing(lambda unit: unit.touch(self._rows, *pks))

    # -- writing -----------------------------------------------------------------------------------

    def lock_groups(self, groups: Sequence[int]) -> None:
        self._execute("SELECT id FROM bench_group WHERE id = ANY(%s) ORDER BY id FOR UPDATE", list(groups))

    def lock_rows(self, pks: Sequence[int]) -> dict[int, Any]:
        rows = self._execute(
            "SELECT id, slug FROM bench_row WHERE id = ANY(%s) ORDER BY id FOR UPDATE", list(pks)
        ).fetchall()
        return {pk: LockedRow(pk, slug) for pk, slug in rows}

    def save(self, row: Any, number: int, slug: str | None = None) -> None:
        row.slug = slug or row.slug
        with self._touching(row.pk):
            self._execute("UPDATE bench_row SET slug = %s, number = %s WHERE id = %s", row.slug, number, row.pk)

    def save_number(self, pk: int, number: int) -> None:
        with self._touching(pk):
            self._execute("UPDATE bench_row SET number = %s WHERE id = %s", number, pk)

    def update(self, first: int, last: int, number: int) -> None:
        pks = range(first, last + 1)
        if len(pks) > BULK_THRESHOLD:
            writing = self._writing(lambda unit: unit.touch_all(self._rows))
        else:
            writing = self._touching(*pks)
        with writing:
            self._execute("UPDATE bench_row SET number = %s WHERE id BETWEEN %s AND %s", number, first, last)

    def insert(self, pk: int, slug: str, number: int) -> None:
        with self._touching(pk):
            self._execute(
                "INSERT INTO bench_row VALUES (%s, %s, 0, %s, 'Oslo', 12, true, now(), 'The capital of Norway.')",
                pk, slug, number,
            )  # fmt: skip

    def delete(self, row: Any) -> None:
        with self._touching(row.pk):
            self._execute("DELETE FROM bench_row WHERE id = %s", row.pk)


def _state(row: Sequence[Any] | None) -> State | None:
    return None if row is None else State(row[0], row[1], row[2])
