"""Ours through the Django integration, and what all contestants on Django share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from benchmarks.coherence.store import at_once
from benchmarks.coherence.terms import BULK_THRESHOLD, HOLD_TTL, TTL, is_unfinished, options_for
from benchmarks.coherence.world import Event, State, told


def configure(dsn: str, apps: Sequence[str] = (), **more: Any) -> None:
    """Set Django up on this database; ``more`` are further settings."""
    place = conninfo_to_dict(dsn)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": place.get("host", ""),
        "PORT": place.get("port", ""),
        "USER": place.get("user", ""),
        "NAME": place["dbname"],
        "OPTIONS": {},
    }
    settings.configure(
        SECRET_KEY="only for benchmarks",
        USE_TZ=True,
        INSTALLED_APPS=[*apps, "benchmarks.coherence.shop"],
        DATABASES={"default": database},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        **more,
    )
    django.setup()


class DjangoStore:
    """Reads the database, writes it by the ORM. Use it after `configure`."""

    failures: tuple[type[Exception], ...] = ()
    refused: tuple[type[Exception], ...] = ()

    def __init__(self) -> None:
        from django.db import connection, transaction
        from django.db.utils import InterfaceError, OperationalError

        from benchmarks.coherence.shop.models import Row

        self.aborted: tuple[type[Exception], ...] = (OperationalError, InterfaceError)
        self.queries = 0
        self.unfinished = 0
        self.events: list[Event] = []
        self._connection = connection
        self._atomic = transaction.atomic
        self._on_commit = transaction.on_commit
        self._model: Any = Row
        self._rows: Any = Row.objects

    # -- the connection ----------------------------------------------------------------------------

    def run(self, work: Callable[[], None]) -> None:
        work()

    def open(self, role: str, after_reply: Callable[[], None] = at_once) -> None:
        from django.db.backends.signals import connection_created

        self._connection.settings_dict["OPTIONS"]["application_name"] = role
        connection_created.connect(self._connected, dispatch_uid="bench", weak=False)
        self._connection.execute_wrappers.append(self._counted)
        self._after_reply = after_reply

    def reconnect(self) -> None:
        self._connection.close()

    def _connected(self, connection: Any, **_: Any) -> None:
        raw = connection.connection
        raw.add_notice_handler(self._heard)
        commit = raw.commit

        def commit_with_a_late_reply() -> None:
            commit()
            self._after_reply()

        raw.commit = commit_with_a_late_reply

    def _heard(self, notice: Any) -> None:
        event = told(notice.message_primary or "")
        if event is not None:
            self.events.append(event)

    def _counted(self, execute: Any, *statement: Any) -> Any:
        self.queries += 1
        result = execute(*statement)
        self._after_reply()
        return result

    # -- reading -----------------------------------------------------------------------------------

    def by_pk(self, pk: int) -> State | None:
        return self._found(self._rows.get, pk=pk)

    def by_slug(self, slug: str) -> State | None:
        return self._found(self._rows.get, slug=slug)

    def many(self, pks: Sequence[int]) -> list[State]:
        return [_state(row) for row in self._rows.filter(pk__in=pks)]

    def _found(self, get: Any, **lookup: Any) -> State | None:
        try:
            return _state(get(**lookup))
        except self._model.DoesNotExist:
            return None

    # -- writing -----------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        outermost = not self._connection.in_atomic_block
        with self._atomic():
            yield
            if outermost and self._connection.needs_rollback:
                # A savepoint could not be rolled back, for the connection was cut just then; what made it roll back
                # was caught above it. Django then rolls back the whole at the end, without a word to anybody.
                raise self.aborted[0]("the transaction will be rolled back")

    def lock_groups(self, groups: Sequence[int]) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT id FROM bench_group WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [list(groups)])

    def lock_rows(self, pks: Sequence[int]) -> dict[int, Any]:
        return {row.pk: row for row in self._rows.filter(pk__in=pks).order_by("pk").select_for_update()}

    def save(self, row: Any, number: int, slug: str | None = None) -> None:
        row.number = number
        row.slug = slug or row.slug
        row.save()

    def save_number(self, pk: int, number: int) -> None:
        from django.db.utils import DatabaseError

        row = self._model(pk=pk, number=number)
        try:
            with self._atomic() if self._connection.in_atomic_block else nullcontext():
                row.save(update_fields=["number"])
        except DatabaseError as error:
            if "did not affect any rows" not in str(error):
                raise

    def update(self, first: int, last: int, number: int) -> None:
        self._rows.filter(pk__gte=first, pk__lte=last).update(number=number)

    def insert(self, pk: int, slug: str, number: int) -> None:
        self._model(pk=pk, slug=slug, number=number).save(force_insert=True)

    def delete(self, row: Any) -> None:
        row.delete()


class OursOnDjango(DjangoStore):
    """Rows through ``get_from_cache``; every write outdates what it changes."""

    def __init__(self) -> None:
        super().__init__()
        from cachecore.errors import WriteRefused

        self.refused = (WriteRefused,)

    def open(self, role: str, after_reply: Callable[[], None] = at_once) -> None:
        from cachecore.integrations.django import caches

        super().open(role, after_reply)
        caches["default"].hooks.subscribe(self._happened)

    def _happened(self, event: object) -> None:
        self.unfinished += is_unfinished(event)

    def by_pk(self, pk: int) -> State | None:
        return self._found(self._rows.get_from_cache, pk=pk)

    def by_slug(self, slug: str) -> State | None:
        return self._found(self._rows.get_from_cache, slug=slug)

    def many(self, pks: Sequence[int]) -> list[State]:
        return [_state(row) for row in self._rows.get_many_from_cache(pks)]


def ours(dsn: str, url: str) -> OursOnDjango:
    """Ours on the cache server at ``url``."""
    configure(
        dsn,
        ["cachecore.integrations.django"],
        CACHECORE={
            "default": {
                "BACKEND": url,
                "NAMESPACE": "bench",
                "TTL": TTL,
                "OPTIONS": options_for(url),
                "PROCESSES": 1,  # for memory://, which is let in to show that the bench finds what is wrong
                "POLICY": {"hold_ttl": HOLD_TTL, "bulk_threshold": BULK_THRESHOLD, "unreachable": "refuse"},
            }
        },
    )
    return OursOnDjango()


def _state(row: Any) -> State:
    return State(row.pk, row.slug, row.version)
