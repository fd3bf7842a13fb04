"""update() of one instance: one UPDATE, coherent, and the instance has what its row has; and post_update."""

import copy
import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import ANY

import pytest
from django.core.exceptions import FieldDoesNotExist
from django.db import IntegrityError, connection, models, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat, Lower, Now, Upper
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext

from cachecore.errors import CachecoreError
from cachecore.integrations.django.orm.instance_update import RowError, update
from cachecore.integrations.django.signals import post_update
from tests.django_extras_app.models import (
    Captain,
    Keyless,
    PairedSeat,
    Player,
    PlayerProxy,
    Shouted,
    Team,
    Watched,
)
from tests.geo_app.caching import Parallel
from tests.geo_app.models import Country

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_cache")]


@pytest.fixture
def ada(db: None) -> Player:
    """A player as loaded from the database, and in the cache."""
    made = Player.objects.create(slug="ada", name="Ada", score=7, ratio=7.0, price=Decimal("9.90"), limit=3)
    return Player.objects.get_from_cache(pk=made.pk)


@pytest.fixture
def red(db: None) -> Team:
    """A team."""
    return Team.objects.create(name="red")


class Heard(list[dict[str, Any]]):
    """What a signal was sent with."""

    def __call__(self, **options: Any) -> None:
        self.append(options)


@pytest.fixture
def saves() -> Iterator[Heard]:
    """Every post_save of a test."""
    heard = Heard()
    post_save.connect(heard)
    yield heard
    post_save.disconnect(heard)


@pytest.fixture
def updates() -> Iterator[Heard]:
    """Every post_update of a test."""
    heard = Heard()
    post_update.connect(heard)
    yield heard
    post_update.disconnect(heard)


def stored(instance: models.Model) -> Any:
    """The row as the database has it."""
    return type(instance)._base_manager.get(pk=instance.pk)


class TestWriting:
    """What is written, and what everybody sees then."""

    def test_it_writes_these_columns_of_this_row_only(self, ada: Player) -> None:
        """Columns that others have changed, and rows of others, stay as they are."""
        bob = Player.objects.create(slug="bob")
        Player.objects.filter(pk=ada.pk).update(name="Countess")
        assert update(ada, score=8) == 1
        assert (stored(ada).score, stored(ada).name, stored(bob).score) == (8, "Countess", 0)
        assert (ada.score, ada.name) == (8, "Ada")

    def test_it_is_one_statement(self, ada: Player) -> None:
        """An UPDATE, with the columns that are given and those with auto_now."""
        with CaptureQueriesContext(
            connection,
        ) as queries:
            ada.update(score=8)
        [only] = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
        assert only.startswith("UPDATE")
        assert '"score" = 8' in only
        assert '"updated" = ' in only
        assert '"name"' not in only

    def test_the_cached_row_is_outdated(self, ada: Player) -> None:
        """By its key and by its lookups, old and new, at once."""
        assert Player.objects.get_from_cache(slug="ada").score == 7
        ada.update(score=8, slug="lovelace")
        assert Player.objects.get_from_cache(pk=ada.pk).score == 8
        assert Player.objects.get_from_cache(slug="lovelace").score == 8
        with pytest.raises(Player.DoesNotExist):
            Player.objects.get_from_cache(slug="ada")

    def test_auto_now_fields_are_written_too(self, ada: Player) -> None:
        """In the row and on the instance, unless they are given."""
        then = datetime(2020, 1, 1, tzinfo=UTC)
        ada.update(updated=then)
        assert (ada.updated, stored(ada).updated) == (then, then)
        ada.update(score=8)
        assert then < ada.updated
        assert ada.updated == stored(ada).updated

    def test_values_are_converted(self, ada: Player) -> None:
        """The attribute is what a reload would give."""
        ada.update(score="8", price="1.50", birthday="2024-02-29", active="1", name=12)
        assert (ada.score, ada.price, ada.birthday, ada.active, ada.name) == (
            8,
            Decimal("1.50"),
            date(2024, 2, 29),
            True,
            "12",
        )
        fresh = stored(ada)
        assert (fresh.score, fresh.price, fresh.birthday, fresh.active, fresh.name) == (
            ada.score,
            ada.price,
            ada.birthday,
            ada.active,
            ada.name,
        )

    def test_relations(self, ada: Player, red: Team) -> None:
        """By instance, by key under the field's name, and by attribute name."""
        ada.update(team=red)
        assert (ada.team, stored(ada).team) == (red, red)
        blue = Team.objects.create(name="blue")
        ada.update(team=blue.pk)
        assert (ada.team, stored(ada).team) == (blue, blue)
        ada.update(team_id=red.pk)
        assert (ada.team, stored(ada).team) == (red, red)
        ada.update(team=None)
        assert (ada.team, stored(ada).team) == (None, None)

    def test_the_tracked_fields_are_no_longer_changed(self, ada: Player) -> None:
        """Those that were written; the others stay changed."""
        ada.slug = "lovelace"
        assert ada.has_changed("slug")
        ada.update(score=8)
        assert (ada.has_changed("slug"), ada.old_value("slug")) == (True, "ada")
        ada.update(slug="lovelace")
        assert (ada.has_changed("slug"), ada.old_value("slug")) == (False, "lovelace")

    def test_a_row_that_is_gone(self, ada: Player, saves: Heard) -> None:
        """0 rows, no signal, and the instance, its timestamps too, as it was."""
        Player.objects.filter(pk=ada.pk).delete()
        before = dict(vars(ada))
        assert ada.update(score=F("score") + 1, name=Upper("name")) == 0
        assert vars(ada) == before
        assert saves == []

    def test_nothing_to_write(self, ada: Player, saves: Heard, django_assert_num_queries: Any) -> None:
        """0, as of QuerySet.update() without arguments, and no query."""
        with django_assert_num_queries(0):
            assert ada.update() == 0
        assert saves == []

    def test_an_instance_that_was_made_of_a_key(self, ada: Player) -> None:
        """It names a row, which is enough."""
        assert update(Player(pk=ada.pk), score=9) == 1
        assert stored(ada).score == 9

    def test_deferred_fields_are_not_loaded(self, ada: Player, django_assert_num_queries: Any) -> None:
        """Only the UPDATE is sent."""
        [bare] = Player.objects.only("pk")
        with django_assert_num_queries(1):
            assert bare.update(score=9) == 1
        assert bare.score == 9
        assert "slug" in bare.get_deferred_fields()

    def test_a_proxy_and_its_base(self, ada: Player) -> None:
        """The same row; the signal's sender is the class of the instance."""
        proxy = PlayerProxy.objects.get(pk=ada.pk)
        proxy.update(score=9)
        assert Player.objects.get_from_cache(pk=ada.pk).score == 9

    def test_a_child_table(self, red: Team) -> None:
        """Columns of the child, of the parent, and of both, are one row."""
        captain = Captain.objects.create(slug="eve", rank=1, team=red)
        Player.objects.get_from_cache(slug="eve")
        Captain.objects.get_from_cache(slug="eve")
        assert captain.update(rank=2) == 1
        assert captain.update(score=3) == 1
        assert captain.update(rank=4, name="Eve") == 1
        for model in (Player, Captain):
            seen = model.objects.get_from_cache(slug="eve")
            assert (seen.score, seen.name) == (3, "Eve")
        assert Captain.objects.get_from_cache(slug="eve").rank == 4

    def test_a_composite_key(self, db: None) -> None:
        """All its parts tell the row."""
        seat = PairedSeat.objects.create(row="A", number=1)
        other = PairedSeat.objects.create(row="A", number=2)
        assert seat.update(taken=True) == 1
        assert (stored(seat).taken, stored(other).taken) == (True, False)

    def test_a_generated_column_is_read_anew(self, db: None) -> None:
        """It is deferred until somebody looks at it."""
        shouted = Shouted.objects.create(name="hey")
        shouted = Shouted.objects.get(pk=shouted.pk)
        assert shouted.loud == "HEY"
        shouted.update(name="ho")
        assert shouted.loud == "HO"

    async def test_awaited(self, transactional_db: None) -> None:
        """aupdate is update."""
        eve = await Player.objects.acreate(slug="eve")
        assert await eve.aupdate(score=5) == 1
        assert (await Player.objects.aget_from_cache(slug="eve")).score == 5


class TestSignals:
    """post_save, and no other."""

    def test_post_save_is_sent(self, ada: Player, saves: Heard) -> None:
        """As save(update_fields=...) would send it, with the fields' names, auto_now's among them."""
        early = Heard()
        pre_save.connect(early)
        try:
            PlayerProxy.objects.get(pk=ada.pk).update(score=8, team_id=None)
        finally:
            pre_save.disconnect(early)
        assert early == []
        assert saves == [
            {
                "signal": post_save,
                "sender": PlayerProxy,
                "instance": ada,
                "created": False,
                "update_fields": frozenset({"score", "team", "updated"}),
                "raw": False,
                "using": "default",
            }
        ]

    def test_receivers_see_the_new_values(self, ada: Player) -> None:
        """On the instance."""
        seen: list[Any] = []

        def look(instance: Player, **_: Any) -> None:
            seen.append(instance.score)

        post_save.connect(look, sender=Player)
        try:
            ada.update(score=8)
        finally:
            post_save.disconnect(look, sender=Player)
        assert seen == [8]

    def test_a_receiver_that_raises(self, ada: Player) -> None:
        """Its error reaches the caller; the row is written, the cache outdated and the snapshot renewed."""

        def fail(**_: Any) -> None:
            raise LookupError("a receiver fails")

        post_save.connect(fail, sender=Player)
        try:
            with pytest.raises(LookupError):
                ada.update(slug="lovelace")
        finally:
            post_save.disconnect(fail, sender=Player)
        assert not ada.has_changed("slug")
        assert Player.objects.get_from_cache(slug="lovelace") == ada


class TestExpressions:
    """Computed by the database, and known on the instance."""

    @pytest.mark.parametrize(
        ("name", "expression", "value", "reads"),
        [
            ("score", F("score") + 1, 8, 0),
            ("score", F("score") * 3 - 1, 20, 0),
            ("score", F("score") % 4, 3, 0),
            ("score", F("score").bitand(3), 3, 0),
            ("score", F("score") / 7, 1, 0),
            ("ratio", F("ratio") / 2, 3.5, 0),
            ("ratio", F("score") * 2, 14.0, 0),
            ("price", F("price") * 2, Decimal("19.80"), 0),
            ("price", F("price") + 1, Decimal("10.90"), 0),
            ("name", F("slug"), "ada", 0),
            ("score", F("limit"), 3, 0),
            ("name", Concat("slug", Value("!")), "ada!", 1),
            ("name", Upper(Lower("slug")), "ADA", 1),
        ],
    )
    def test_the_instance_gets_what_the_row_has(
        self, ada: Player, name: str, expression: Any, value: object, reads: int
    ) -> None:
        """Arithmetic without a query; functions by reading that column back."""
        with CaptureQueriesContext(connection) as queries:
            assert ada.update(**{name: expression}) == 1
        assert len([one for one in queries if one["sql"].startswith("SELECT")]) == reads
        assert getattr(ada, name) == value
        assert type(getattr(ada, name)) is type(value)
        assert getattr(stored(ada), name) == value

    @pytest.mark.parametrize(
        ("name", "expression"),
        [
            ("score", F("score") / 2),
            ("ratio", F("score") / 2),
            ("score", (F("score") + 1) / 3),
            ("price", F("price") / 7),
            ("price", F("ratio") / 3),
            ("score", F("ratio") / 2),
        ],
    )
    def test_what_databases_round_is_read_back(self, ada: Player, name: str, expression: Any) -> None:
        """Whatever this database makes of it, the instance has it too."""
        assert ada.update(**{name: expression}) == 1
        assert getattr(ada, name) == getattr(stored(ada), name)

    def test_old_values_are_used_for_all(self, ada: Player) -> None:
        """As in SQL, where no assignment sees another."""
        ada.update(score=F("limit"), limit=F("score"))
        assert (ada.score, ada.limit) == (3, 7)
        fresh = stored(ada)
        assert (fresh.score, fresh.limit) == (3, 7)

    def test_nulls(self, ada: Player) -> None:
        """NULL in arithmetic is NULL."""
        ada.update(limit=None)
        ada.update(limit=F("limit") + 1)
        assert (ada.limit, stored(ada).limit) == (None, None)

    def test_moments(self, ada: Player) -> None:
        """Datetimes and timedeltas, and the clock of the database."""
        noon = datetime(2024, 3, 30, 12, tzinfo=UTC)
        ada.update(joined=noon, break_time=timedelta(minutes=5))
        ada.update(joined=F("joined") + timedelta(hours=1))
        assert (ada.joined, stored(ada).joined) == (noon + timedelta(hours=1),) * 2
        ada.update(joined=F("joined") + F("break_time"))
        assert (ada.joined, stored(ada).joined) == (noon + timedelta(hours=1, minutes=5),) * 2
        ada.update(joined=Now())
        assert isinstance(ada.joined, datetime)
        assert ada.joined == stored(ada).joined

    def test_twice_from_one_instance(self, ada: Player) -> None:
        """No expression is left on the instance that a later save() would apply again."""
        ada.update(score=F("score") + 1)
        ada.update(score=F("score") + 1)
        ada.save()
        assert stored(ada).score == 9

    def test_two_instances_of_a_row(self, ada: Player) -> None:
        """The row counts both; an instance that is older than the row computes with what it has, until refreshed."""
        twin = stored(ada)
        ada.update(score=F("score") + 1)
        twin.update(score=F("score") + 1)
        assert (stored(ada).score, twin.score) == (9, 8)
        twin.refresh_from_db()
        assert twin.score == 9

    def test_a_deferred_field_is_read_back(self, ada: Player) -> None:
        """Its new value cannot be computed here."""
        [bare] = Player.objects.defer("score")
        bare.update(score=F("score") + 1)
        assert vars(bare)["score"] == 8


class TestTransactions:
    """Inside and outside."""

    pytestmark = pytest.mark.django_db(transaction=True)

    def test_outside_it_is_seen_at_once(self, ada: Player, parallel: Parallel) -> None:
        """By everybody, through the cache, also if a column was read back."""
        ada.update(score=8)
        assert parallel.run(lambda: Player.objects.get_from_cache(pk=ada.pk).score) == 8
        ada.update(name=Upper("name"), score=F("score") + 1)
        seen = parallel.run(lambda: Player.objects.get_from_cache(pk=ada.pk))
        assert (seen.name, seen.score) == ("ADA", 9)

    def test_inside_it_is_seen_by_others_when_it_is_committed(self, ada: Player, parallel: Parallel) -> None:
        """Before that only by oneself."""
        with transaction.atomic():
            ada.update(score=8)
            assert Player.objects.get_from_cache(pk=ada.pk).score == 8
            assert parallel.run(lambda: Player.objects.get_from_cache(pk=ada.pk).score) == 7
        assert parallel.run(lambda: Player.objects.get_from_cache(pk=ada.pk).score) == 8

    def test_a_rollback(self, ada: Player) -> None:
        """Nothing has happened to the row."""

        class Abort(Exception):
            pass

        def fail() -> None:
            with transaction.atomic():
                ada.update(score=8)
                raise Abort

        with pytest.raises(Abort):
            fail()
        assert Player.objects.get_from_cache(pk=ada.pk).score == 7

    def test_a_refused_statement(self, ada: Player) -> None:
        """The database's error reaches the caller, and the instance is as it was."""
        Player.objects.create(slug="bob")
        before = dict(vars(ada))
        with pytest.raises(IntegrityError):
            ada.update(slug="bob", score=F("score") + 1)
        with pytest.raises(IntegrityError):
            ada.update(name=None)
        assert vars(ada) == before
        assert Player.objects.get_from_cache(pk=ada.pk).slug == "ada"

    @pytest.mark.django_db(transaction=True, databases=["default", "twin"])
    def test_another_alias(self, ada: Player, saves: Heard) -> None:
        """using chooses the connection."""
        assert ada.update(using="twin", score=8) == 1
        assert saves[0]["using"] == "twin"
        assert Player.objects.get_from_cache(pk=ada.pk).score == 8


class TestBadInput:
    """A clear error each, before any SQL, and nothing has changed."""

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"skore": 1}, "Player has no field 'skore' to update, only slug, name, score"),
            ({"slug__upper": 1}, "slug__upper"),
            ({"pk": 1}, "pk is the primary key"),
            ({"id": 1}, "id is the primary key"),
            ({"friends": []}, "friends is no column"),
            ({"pupil": None}, "pupil is no column"),
            ({"score": "many"}, "Player.score cannot be 'many'"),
            ({"score": []}, r"Player.score cannot be \[\]"),
            ({"joined": "yesterday"}, "Player.joined cannot be 'yesterday'"),
            ({"team": "red"}, "Player.team cannot be 'red'"),
            ({"team": Country(pk=1)}, "Player.team cannot be"),
            ({"team": Team(name="new")}, "Player.team cannot be.*Unsaved"),
            ({"score": Team(pk=1)}, "Player.score cannot be"),
            ({"team": None, "team_id": 1}, "Player.team is given twice"),
        ],
    )
    def test_fields_and_values(
        self, ada: Player, fields: dict[str, Any], said: str, django_assert_num_queries: Any
    ) -> None:
        """The message names the model, the field and the value."""
        before = dict(vars(ada))
        with django_assert_num_queries(0), pytest.raises(RowError, match=said) as caught:
            update(ada, **fields)
        assert isinstance(caught.value, CachecoreError)
        assert isinstance(caught.value, ValueError)
        assert vars(ada) == before

    def test_a_computed_column(self, db: None) -> None:
        """The database writes it."""
        with pytest.raises(RowError, match="loud is no column that can be written"):
            Shouted.objects.create(name="hey").update(loud="HO")

    def test_a_parents_key(self, db: None) -> None:
        """The key of a parent table is a key."""
        with pytest.raises(RowError, match="id is the primary key"):
            Captain.objects.create(slug="eve").update(id=5)

    @pytest.mark.parametrize("made", [lambda: Player(slug="new"), lambda: PairedSeat(row="A"), Team])
    def test_an_unsaved_instance(self, made: Callable[[], Any]) -> None:
        """It has no row."""
        with pytest.raises(RowError, match="never saved or is deleted"):
            update(made(), name="x")

    def test_a_deleted_instance(self, ada: Player) -> None:
        """It has none any more."""
        ada.delete()
        with pytest.raises(RowError, match="Player: an instance that was never saved or is deleted has no row"):
            ada.update(score=1)

    @pytest.mark.parametrize("what", [None, 3, "ada", Player, object()])
    def test_no_instance(self, what: Any) -> None:
        """Only instances of models have rows."""
        with pytest.raises(RowError, match="a saved instance of a model is written, not"):
            update(what, score=1)

    def test_several_rows_of_one_key(self, db: None) -> None:
        """In a table without a unique key it is an error, and the transaction around it can be rolled back."""
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE extras_keyless (number integer, name varchar(20))")
            cursor.execute("INSERT INTO extras_keyless VALUES (1, 'one'), (1, 'uno'), (2, 'two')")
        one = Keyless.objects.filter(number=1)[0]
        before = one.name
        with pytest.raises(RowError, match=r"Keyless with pk=1: 2 rows have this primary key"), transaction.atomic():
            one.update(name="eins")
        assert one.name == before
        assert sorted(Keyless.objects.values_list("name", flat=True)) == ["one", "two", "uno"]


class TestPostUpdate:
    """The signal of queryset updates."""

    @pytest.fixture
    def rows(self, db: None, red: Team) -> list[Watched]:
        return [Watched.objects.create(name=name, size=size, team=red) for size, name in enumerate("abc")]

    def test_nobody_gets_it_unasked(self, rows: list[Watched], updates: Heard) -> None:
        """An update is that of every queryset, with no query more."""
        with CaptureQueriesContext(connection) as queries:
            assert Watched.objects.update(size=5) == 3
        with CaptureQueriesContext(connection) as usual:
            assert Watched.cached.update(size=6) == 3
        assert (len(queries), updates) == (len(usual), [])

    @pytest.mark.parametrize("ask", [lambda: Watched.objects.with_post_update(), lambda: Watched.loud])
    def test_it_tells_which_rows_were_written(
        self, rows: list[Watched], updates: Heard, ask: Callable[[], Any]
    ) -> None:
        """And which fields, by their names, in which database; those rows and no others."""
        assert ask().filter(size__lt=2).update(size=F("size") + 5, team_id=None) == 2
        assert updates == [
            {
                "signal": post_update,
                "sender": Watched,
                "updated_fields": ("size", "team"),
                "model_ids": ANY,
                "using": "default",
            }
        ]
        assert set(updates[0]["model_ids"]) == {rows[0].pk, rows[1].pk}
        assert sorted(Watched.objects.values_list("size", flat=True)) == [2, 5, 6]

    def test_a_subclass_that_always_sends_can_be_silenced(self, rows: list[Watched], updates: Heard) -> None:
        """with_post_update(False), and what is made of that queryset."""
        assert Watched.loud.all().with_post_update(False).filter(size=0).update(size=9) == 1
        assert updates == []

    def test_no_row_no_signal(self, rows: list[Watched], updates: Heard) -> None:
        """Nothing was updated."""
        assert Watched.loud.filter(size=99).update(name="x") == 0
        assert Watched.loud.update() == 0
        assert updates == []

    def test_joins_order_and_distinct(self, rows: list[Watched], updates: Heard, red: Team) -> None:
        """Conditions over other tables, outer joins too, and whatever else a queryset has."""
        Watched.objects.filter(size=2).update(team=None)
        either = Watched.loud.filter(models.Q(team__name="red") | models.Q(size=2)).select_related("team")
        assert either.order_by("-size").update(name="x") == 3
        assert Watched.loud.filter(team__name="red").distinct().update(name="y") == 2
        assert [len(one["model_ids"]) for one in updates] == [3, 2]

    def test_bulk_update_sends_it_too(self, rows: list[Watched], updates: Heard) -> None:
        """Once for each batch."""
        for row in rows:
            row.size += 10
        assert Watched.loud.bulk_update(rows, ["size"], batch_size=2) == 3
        assert sorted(len(one["model_ids"]) for one in updates) == [1, 2]
        assert {one["updated_fields"] for one in updates} == {("size",)}

    def test_more_rows_than_a_statement_may_name(self, db: None, updates: Heard) -> None:
        """They are written in batches, and told of in one signal."""
        Watched.objects.bulk_create(Watched(name=str(i)) for i in range(1200))
        assert Watched.loud.update(size=7) == 1200
        [told] = updates
        assert len(set(told["model_ids"])) == 1200
        assert Watched.objects.filter(size=7).count() == 1200

    def test_changed_keys_are_the_old_ones(self, rows: list[Watched], updates: Heard) -> None:
        """Which are those that a receiver may know."""
        Watched.loud.filter(pk=rows[0].pk).update(id=rows[0].pk + 1000)
        assert updates[0]["model_ids"] == (rows[0].pk,)
        assert updates[0]["updated_fields"] == ("id",)

    def test_copies_and_pickles_still_send(self, rows: list[Watched], updates: Heard) -> None:
        """The wish belongs to the queryset."""
        asked = Watched.objects.with_post_update()
        for twin in (asked.all(), copy.copy(asked), copy.deepcopy(asked), pickle.loads(pickle.dumps(asked))):
            twin.update(size=1)
        assert len(updates) == 4

    def test_a_failing_statement_sends_nothing(self, rows: list[Watched], updates: Heard) -> None:
        """The error is the database's."""
        with pytest.raises(IntegrityError), transaction.atomic():
            Watched.loud.update(name=None)
        with pytest.raises(FieldDoesNotExist):
            Watched.loud.update(nome="x")
        with pytest.raises(TypeError, match="slice"):
            Watched.loud.all()[:1].update(name="x")
        assert updates == []


def test_an_update_with_the_signal_outdates_the_cache(db: None, updates: Heard) -> None:
    """Already when the signal is sent."""
    row = Watched.objects.create(name="a")
    assert Watched.cached.get_from_cache(pk=row.pk).size == 0
    seen: list[int] = []

    def look(**_: Any) -> None:
        seen.append(Watched.cached.get_from_cache(pk=row.pk).size)

    post_update.connect(look)
    try:
        Watched.loud.update(size=5)
    finally:
        post_update.disconnect(look)
    assert seen == [5]
    assert Watched.cached.get_from_cache(pk=row.pk).size == 5
