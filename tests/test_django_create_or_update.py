"""create_or_update: an UPDATE, else an INSERT in a savepoint, else the UPDATE again; coherent throughout."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat, Now, Upper
from django.test.utils import CaptureQueriesContext

from cachecore.errors import CachecoreError
from cachecore.integrations.django.orm.create_or_update import NothingWritten, create_or_update
from cachecore.integrations.django.orm.expressions import CannotResolveExpression
from cachecore.integrations.django.orm.instance_update import RowError
from tests.django_extras_app.models import AbstractCalled, Counter, Document, Team
from tests.geo_app.caching import Parallel

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_cache")]


@pytest.fixture
def hits(db: None) -> Counter:
    """A counter, in the cache."""
    made = Counter.objects.create(key="hits", code="H", times=3)
    return Counter.cached.get_from_cache(pk=made.pk)


@contextmanager
def rival(function: Callable[[], object]) -> Iterator[None]:
    """Runs a function in the moment between the UPDATE that matched nothing and the savepoint of the INSERT."""
    waiting = [function]

    def step_in(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith("SAVEPOINT") and waiting:
            waiting.pop()()
        return execute(sql, *arguments)

    with connection.execute_wrapper(step_in):
        yield
    assert not waiting, "there was no such moment"


class TestUpdating:
    """Rows that exist."""

    def test_rows_that_match_are_updated(self, hits: Counter) -> None:
        """(number of rows, False), by one UPDATE; the SELECT is that of the cache, which wants to know the rows."""
        with CaptureQueriesContext(connection) as queries:
            assert create_or_update(Counter, key="hits", defaults={"times": F("times") + 1}) == (1, False)
        assert [one["sql"].split()[0] for one in queries] == ["SELECT", "UPDATE"]
        assert Counter.objects.get().times == 4

    def test_the_cached_row_is_outdated(self, hits: Counter) -> None:
        """At once."""
        create_or_update(Counter, key="hits", defaults={"times": 9})
        assert Counter.cached.get_from_cache(key="hits").times == 9
        assert Counter.cached.get_from_cache(pk=hits.pk).times == 9

    def test_all_rows_that_match(self, hits: Counter) -> None:
        """A lookup may name several."""
        Counter.objects.create(key="misses", code="M")
        assert create_or_update(Counter, key__in=["hits", "misses", "none"], defaults={"label": "x"}) == (2, False)

    def test_conditions_over_other_tables(self, hits: Counter) -> None:
        """As filter() takes them."""
        Counter.objects.update(team=Team.objects.create(name="red"))
        assert create_or_update(Counter, team__name="red", defaults={"label": "x"}) == (1, False)

    def test_without_defaults_rows_are_counted(self, hits: Counter) -> None:
        """There is nothing to write to them."""
        assert create_or_update(Counter, key="hits") == (1, False)
        assert create_or_update(Counter, key="hits", defaults={}) == (1, False)
        created, is_new = create_or_update(Counter, key="misses")
        assert (created.key, is_new) == ("misses", True)


class TestCreating:
    """Rows that do not."""

    def test_a_row_is_created_of_both(self, db: None) -> None:
        """(the instance, True), with the values of the lookup and of the defaults."""
        created, is_new = create_or_update(Counter, key="hits", defaults={"label": "L", "code": "H"})
        assert is_new
        assert created == Counter.objects.get(key="hits", label="L", code="H", times=10)
        assert Counter.cached.get_from_cache(key="hits").label == "L"

    def test_expressions_begin_with_the_fields_default(self, db: None) -> None:
        """A counter that counts from 10 begins with 11, and then counts."""
        for times in (11, 12, 13):
            create_or_update(Counter, key="hits", defaults={"times": F("times") + 1})
            assert Counter.objects.get().times == times

    def test_an_expression_may_use_the_lookup(self, db: None) -> None:
        """It is a value of the new row."""
        created, _ = create_or_update(Counter, key="hits", defaults={"label": F("key")})
        assert (created.label, Counter.objects.get().label) == ("hits", "hits")

    def test_what_an_insert_can_compute_it_does(self, db: None) -> None:
        """Functions of no column; the instance has the value."""
        created, _ = create_or_update(Counter, key="hits", defaults={"seen": Now(), "label": Upper(Value("up"))})
        assert isinstance(created.seen, datetime)
        fresh = Counter.objects.get()
        assert (fresh.seen, fresh.label) == (created.seen, "UP") == (fresh.seen, created.label)

    def test_callables_are_called(self, db: None) -> None:
        """Once, whether it updates or creates."""
        calls: list[int] = []

        def label() -> str:
            calls.append(1)
            return "called"

        create_or_update(Counter, key="hits", defaults={"label": label})
        create_or_update(Counter, key="hits", defaults={"label": label})
        assert (Counter.objects.get().label, len(calls)) == ("called", 2)

    def test_conditions_with_underscores_are_no_values(self, db: None) -> None:
        """They only choose the rows to update."""
        created, _ = create_or_update(Counter, key="hits", times__gt=100, defaults={"label": "L"})
        assert (created.key, created.times) == ("hits", 10)


class TestRivals:
    """Two that insert at once."""

    def test_the_one_that_is_refused_updates(self, db: None) -> None:
        """By its lookup, and not by its new values."""
        with rival(lambda: Counter.objects.create(key="hits", code="H", label="other")):
            told = create_or_update(Counter, key="hits", defaults={"code": "mine", "times": F("times") + 1})
        assert told == (1, False)
        row = Counter.objects.get()
        assert (row.code, row.label, row.times) == ("mine", "other", 11)
        assert Counter.cached.get_from_cache(key="hits").code == "mine"

    def test_it_works_inside_a_transaction(self, db: None) -> None:
        """What was written before stays, and more can be written."""
        with transaction.atomic():
            Counter.objects.create(key="before")
            with rival(lambda: Counter.objects.create(key="hits", code="H")):
                assert create_or_update(Counter, key="hits", defaults={"times": 5}) == (1, False)
            Counter.objects.create(key="after")
        assert sorted(Counter.objects.values_list("key", flat=True)) == ["after", "before", "hits"]

    def test_nothing_could_be_written(self, hits: Counter) -> None:
        """Another unique column is in the way: an IntegrityError that says what was asked for, and why it failed."""
        with pytest.raises(NothingWritten, match=r"Counter: no row matches \{'key': 'misses'\}") as caught:
            create_or_update(Counter, key="misses", defaults={"code": "H"})
        assert isinstance(caught.value, CachecoreError)
        assert isinstance(caught.value, IntegrityError)
        assert isinstance(caught.value.__cause__, IntegrityError)
        assert Counter.objects.get() == hits

    @pytest.mark.django_db(transaction=True)
    def test_many_threads_count_right(self, db: None, parallel: Parallel) -> None:
        """None of their counts is lost, and there is one row."""

        def count() -> None:
            for _ in range(5):
                create_or_update(Counter, key="hits", defaults={"times": F("times") + 1})

        for _ in range(4):
            parallel.start(count)
        parallel.join()
        assert Counter.objects.get().times == 30
        assert Counter.cached.get_from_cache(key="hits").times == 30


class TestManagers:
    """The same through managers and querysets."""

    def test_of_a_manager_and_a_queryset(self, db: None) -> None:
        """With the mixin it is a method of both."""
        created, is_new = Counter.objects.create_or_update(key="hits", defaults={"label": "a"})
        assert (created.label, is_new) == ("a", True)
        assert Counter.objects.all().create_or_update(key="hits", defaults={"label": "b"}) == (1, False)
        assert create_or_update(Counter.objects.filter(label="b"), key="hits", defaults={"label": "c"}) == (1, False)
        assert create_or_update(Counter.cached, key="hits", defaults={"label": "d"}) == (1, False)

    async def test_awaited(self, transactional_db: None) -> None:
        """acreate_or_update is create_or_update."""
        created, is_new = await Counter.objects.acreate_or_update(key="hits", defaults={"label": "a"})
        assert (created.label, is_new) == ("a", True)
        assert await Counter.objects.all().acreate_or_update(key="hits", defaults={"label": "b"}) == (1, False)

    def test_of_a_related_manager(self, hits: Counter) -> None:
        """It updates rows of its own only, and what it creates belongs to it."""
        red = Team.objects.create(name="red")
        created, is_new = red.counters.create_or_update(key="red", defaults={"label": "a"})
        assert (created.team, is_new) == (red, True)
        assert red.counters.create_or_update(key="red", defaults={"label": "b"}) == (1, False)
        with pytest.raises(NothingWritten):
            red.counters.create_or_update(key="hits", defaults={"label": "b"})
        assert Counter.objects.get(key="hits").label == "new"

    @pytest.mark.django_db(transaction=True, databases=["default", "twin"])
    @pytest.mark.parametrize("objects", [lambda: Counter, lambda: Counter.objects, lambda: Counter.objects.all()])
    def test_another_alias(self, db: None, objects: Callable[[], Any]) -> None:
        """using chooses the connection of all statements."""
        created, _ = create_or_update(objects(), using="twin", key="hits", defaults={"times": F("times") + 1})
        assert created._state.db == "twin"
        assert create_or_update(objects(), using="twin", key="hits", defaults={"times": 1}) == (1, False)

    def test_a_manager_that_hides_rows(self, db: None) -> None:
        """A hidden row is in the way and is not updated."""
        Document.objects.create(title="plan").delete()
        with pytest.raises(NothingWritten):
            create_or_update(Document, title="plan", defaults={"size": 5})
        assert create_or_update(Document.with_deleted, title="plan", defaults={"size": 5}) == (1, False)


class TestBadInput:
    """A clear error each, and nothing is written."""

    @pytest.mark.parametrize("objects", [None, 3, "Counter", object(), AbstractCalled, Counter(key="x")])
    def test_no_model(self, objects: Any) -> None:
        """Only models, managers and querysets have rows."""
        with pytest.raises(RowError):
            create_or_update(objects, key="hits", defaults={"label": "x"})

    def test_without_a_lookup(self, hits: Counter) -> None:
        """All rows are not what was meant."""
        with pytest.raises(RowError, match=r"Counter: create_or_update\(\) without a lookup would update all rows"):
            create_or_update(Counter, defaults={"label": "x"})
        assert Counter.objects.get().label == "new"

    @pytest.mark.parametrize(
        ("arguments", "error", "said"),
        [
            ({"kee": "hits", "defaults": {"label": "x"}}, FieldError, "kee"),
            ({"key": "new", "defaults": {"lable": "x"}}, FieldDoesNotExist, "lable"),
            ({"key": "new", "defaults": {"times": "many"}}, ValueError, "many"),
            ({"key": "new", "team": Team(name="unsaved")}, ValueError, "must be saved"),
            ({"key": "new", "defaults": {"label": None}}, NothingWritten, "label"),
            ({"key": "new", "defaults": {"label": Upper("key")}}, CannotResolveExpression, "Upper"),
            ({"key": "new", "defaults": {"label": Concat("key", Value("!"))}}, CannotResolveExpression, "Concat"),
            ({"key": "new", "defaults": {"label": F("team__name")}}, FieldError, "[Jj]oined"),
        ],
    )
    def test_fields_and_values(self, hits: Counter, arguments: Any, error: Any, said: str) -> None:
        """Unknown fields and wrong values are errors of Django's queries, as they are there."""
        with pytest.raises(error, match=said), transaction.atomic():
            create_or_update(Counter, **arguments)
        assert Counter.objects.get() == hits

    def test_a_database_that_fails(self, hits: Counter) -> None:
        """Errors other than of integrity reach the caller as they are."""
        with pytest.raises(DatabaseError) as caught, connection.execute_wrapper(_fail):
            create_or_update(Counter, key="hits", defaults={"label": "x"})
        assert type(caught.value) is DatabaseError


def _fail(*_: Any) -> None:
    raise DatabaseError("the database is away")
