"""Lists of rows and lookups that have none: complete, in order, and as coherent as rows."""

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError, connection, models, transaction
from django.db.models import F, Value

from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.integrations.django import CacheManager, caches
from cachecore.integrations.django.declaration import Declaration
from cachecore.integrations.django.equality import require_exact
from cachecore.testing.fake import FakeBackend
from tests.django_app.fields import LowerField
from tests.geo_app.caching import Parallel
from tests.geo_app.models import City, Country, Line, Note, Page, Stop

pytestmark = [pytest.mark.django_db]


@pytest.fixture
def lines() -> list[Line]:
    """Two lines, with three stops each in reverse order of their position."""
    made = [Line.objects.create(name=name) for name in ("red", "blue")]
    for line in made:
        for n in (3, 2, 1):
            Stop.objects.create(slug=f"{line.name}{n}", line=line, position=n, kind="bus" if n == 2 else "tram")
    return made


def slugs(*args: Any, **query: Any) -> list[str]:
    """The slugs of a list."""
    return [stop.slug for stop in Stop.objects.get_list_from_cache(**query)]


@pytest.mark.usefixtures("each_cache")
class TestLists:
    """get_list_from_cache."""

    def test_a_list_is_complete_and_in_order(self, lines: list[Line], django_assert_num_queries: Any) -> None:
        """By an instance or its key, by one field or two, as declared."""
        red, blue = lines
        for _ in range(3):
            assert slugs(line=red) == ["red1", "red2", "red3"]
            assert slugs(line_id=blue.pk, kind="tram") == ["blue3", "blue1"]
            assert slugs(kind__exact="bus", line=str(red.pk)) == ["red2"]
            assert slugs(line=999) == []
        with django_assert_num_queries(0):
            assert slugs(line=red) == ["red1", "red2", "red3"]
            assert slugs(line=red, kind="bus") == ["red2"]
            assert slugs(line=999) == []

    def test_what_it_costs(self, lines: list[Line], fake_server: FakeBackend, django_assert_num_queries: Any) -> None:
        """Cold one query, then the rows are read once more, then two round trips and none."""
        for queries, calls in ((1, None), (1, None), (0, ["acquire", "acquire"])):
            fake_server.log.clear()
            with django_assert_num_queries(queries):
                slugs(line=lines[0])
            assert calls is None or [call.name for call in fake_server.log] == calls
        fake_server.log.clear()
        with django_assert_num_queries(1):
            found = Stop.objects.get_lists_from_cache([lines[1], lines[0], 999], key="line")
        assert [[stop.slug for stop in one] for one in found] == [
            ["blue1", "blue2", "blue3"],
            ["red1", "red2", "red3"],
            [],
        ]
        assert Stop.objects.get_lists_from_cache([], key="line") == []
        [[only]] = Stop.objects.get_lists_from_cache([(lines[0], "bus")], key=("line", "kind"))
        assert only.slug == "red2"

    @pytest.mark.parametrize("within", [False, True])
    @pytest.mark.parametrize(
        ("write", "red", "blue"),
        [
            (lambda red, blue: Stop.objects.create(slug="new", line=red, position=9), "red1 red2 red3 new", None),
            (lambda red, blue: Stop.objects.bulk_create([Stop(slug="new", line=red)]), "new red1 red2 red3", None),
            (lambda red, blue: Stop.objects.filter(slug="red2").delete(), "red1 red3", None),
            (lambda red, blue: red.stops.filter(slug="red2").update(line=blue), "red1 red3", "blue1 red2 blue2 blue3"),
            (lambda red, blue: Stop.objects.filter(slug="red2").update(line=None), "red1 red3", None),
            (lambda red, blue: Stop.objects.filter(slug="red1").update(position=7), "red2 red3 red1", None),
            (
                lambda red, blue: Stop.objects.filter(line=red).update(position=F("position") * -1),
                "red3 red2 red1",
                None,
            ),
            (lambda red, blue: Stop.objects.update(line_id=Value(blue.pk)), "", "red1 blue1 red2 blue2 red3 blue3"),
            (lambda red, blue: Stop.objects.filter(slug="red1").update(slug="x"), "x red2 red3", None),
            (lambda red, blue: moved("red1", blue).save(), "red2 red3", "red1 blue1 blue2 blue3"),
            (lambda red, blue: moved("red1", blue).save(update_fields=["line"]), "red2 red3", "red1 blue1 blue2 blue3"),
            (lambda red, blue: moved("red1", str(blue.pk)).save(), "red2 red3", "red1 blue1 blue2 blue3"),
            (
                lambda red, blue: Stop.objects.bulk_update([moved("red1", blue)], ["line"]),
                "red2 red3",
                "red1 blue1 blue2 blue3",
            ),
            (lambda red, blue: blue.stops.add(Stop.objects.get(slug="red1")), "red2 red3", "red1 blue1 blue2 blue3"),
            (lambda red, blue: red.delete(), "", None),
        ],
    )
    def test_after_a_write_it_is_right(
        self, write: Callable[..., Any], red: str, blue: str | None, within: bool, lines: list[Line]
    ) -> None:
        """Whatever comes, goes or moves, and in a transaction before it commits too."""
        keys = [line.pk for line in lines]
        for _ in range(2):
            slugs(line=keys[0]), slugs(line=keys[1])
        if within:
            with transaction.atomic():
                write(*lines)
                assert slugs(line=keys[0]) == red.split()
        else:
            write(*lines)
        for _ in range(3):
            assert slugs(line=keys[0]) == red.split()
            assert slugs(line=keys[1]) == (blue or "blue1 blue2 blue3").split()

    def test_a_write_outdates_only_the_list_that_gains(self, lines: list[Line], django_assert_num_queries: Any) -> None:
        """The lists of other lines stay, and so does this one if nothing comes to it."""
        red, blue = lines
        for _ in range(2):
            slugs(line=red), slugs(line=blue)
        Stop.objects.filter(slug="red1").update(line=blue)
        with django_assert_num_queries(1):  # blue's list, and none of its rows
            assert len(slugs(line=blue)) == 4
        slugs(line=red), slugs(line=blue)
        Stop.objects.filter(slug="red2").update(position=5)
        with django_assert_num_queries(1):  # the row, and none of the lists
            assert slugs(line=red) == ["red3", "red2"]
            assert slugs(line=blue) == ["red1", "blue1", "blue2", "blue3"]

    def test_a_row_that_has_left_is_nothing_strange(self, lines: list[Line], settings: Any) -> None:
        """While developing, stored data that cannot be is an error; a list that a row has left is ordinary."""
        settings.DEBUG = True
        for _ in range(2):
            slugs(line=lines[0])
        Stop.objects.filter(slug="red1").update(line=lines[1])
        assert slugs(line=lines[0]) == ["red2", "red3"]
        assert caches["default"].statistics.miss_reasons["left"] == 1

    def test_none_sorts_last_and_texts_by_code_point(self, lines: list[Line]) -> None:
        """The same on a hit and on a miss."""
        for n, name in enumerate([None, "b", "Z", "ä", "a"]):
            Stop.objects.create(slug=f"s{n}", line=lines[0], kind="boat", name=name)
        for _ in range(3):
            found = Stop.objects.get_list_from_cache(line=lines[0], kind="boat")
            assert [stop.name for stop in found] == ["Z", "a", "b", "ä", None]

    def test_nobody_shares_an_instance(self, lines: list[Line]) -> None:
        """Each caller has its own, as if loaded from the database."""
        for _ in range(2):
            slugs(line=lines[0])
        one, other = (Stop.objects.get_list_from_cache(line=lines[0])[0] for _ in range(2))
        assert one == other
        assert one is not other
        assert one._state.db == "default"
        assert not one._state.adding

    def test_awaited(self, lines: list[Line]) -> None:
        """The same from a coroutine."""
        found = async_to_sync(Stop.objects.aget_list_from_cache)(line=lines[0])
        assert [stop.slug for stop in found] == ["red1", "red2", "red3"]
        [again] = async_to_sync(Stop.objects.aget_lists_from_cache)([lines[0]], "line")
        assert again == found

    def test_bypassed(self, lines: list[Line], django_assert_num_queries: Any) -> None:
        """From the database, in the same order."""
        slugs(line=lines[0])
        with django_assert_num_queries(2):
            for _ in range(2):
                found = Stop.objects.bypass_cache().get_list_from_cache(line=lines[0], kind="tram")
                assert [stop.slug for stop in found] == ["red3", "red1"]

    def test_bad_input(self, lines: list[Line]) -> None:
        """Each mistake has its message."""
        ask = Stop.objects.get_list_from_cache
        with pytest.raises(UncacheableLookup, match="line"):
            ask(kind="tram")
        with pytest.raises(UncacheableLookup, match="nothing"):
            ask()
        with pytest.raises(UncacheableLookup, match="None"):
            ask(line=None)
        with pytest.raises(UncacheableLookup, match="nosuch"):
            ask(nosuch=1)
        with pytest.raises(UncacheableLookup, match="cannot be"):
            ask(line="red")
        with pytest.raises(UncacheableLookup, match="Line"):
            ask(line=Stop.objects.first())
        with pytest.raises(UncacheableLookup, match="by nothing"):
            Country.objects.get_list_from_cache(name="x")


@pytest.mark.usefixtures("each_cache")
class TestMissing:
    """cache_missing."""

    def test_a_lookup_without_a_row_is_asked_once(self, lines: list[Line], django_assert_num_queries: Any) -> None:
        """Then it costs no query, until somebody has it."""
        for queries in (1, 0, 0):
            with django_assert_num_queries(queries), pytest.raises(Stop.DoesNotExist):
                Stop.objects.get_from_cache(slug="new")
        made = Stop.objects.create(slug="new", line=lines[0])
        assert Stop.objects.get_from_cache(slug="new") == made

    @pytest.mark.parametrize(
        "gain",
        [
            lambda: Stop.objects.bulk_create([Stop(slug="new")]),
            lambda: Stop.objects.filter(slug="red1").update(slug="new"),
            lambda: Stop.objects.filter(slug="red1").update(slug=Value("new")),
            lambda: renamed("red1", "new").save(),
            lambda: renamed("red1", "new").save(update_fields=["slug"]),
            lambda: Stop.objects.bulk_update([renamed("red1", "new")], ["slug"]),
            lambda: Stop.objects.get_or_create(slug="new"),
        ],
    )
    def test_whoever_gains_it_is_found(self, gain: Callable[[], Any], lines: list[Line]) -> None:
        """By an insert or a rename of whatever kind; and deleted again it is missing again."""
        for _ in range(2):
            with pytest.raises(Stop.DoesNotExist):
                Stop.objects.get_from_cache(slug="new")
        gain()
        for _ in range(3):
            assert Stop.objects.get_from_cache(slug="new").slug == "new"
        Stop.objects.get(slug="new").delete()
        for _ in range(2):
            with pytest.raises(Stop.DoesNotExist):
                Stop.objects.get_from_cache(slug="new")

    def test_many(self, lines: list[Line], django_assert_num_queries: Any) -> None:
        """Those that are missing are left out, without a query the second time."""
        for _ in range(2):
            assert Stop.objects.get_many_from_cache(["red1", "x", "y"], key="slug") == [Stop.objects.get(slug="red1")]
        with django_assert_num_queries(0):
            assert len(Stop.objects.get_many_from_cache(["red1", "x", "y"], key="slug")) == 1

    def test_without_it_every_question_is_asked(self, django_assert_num_queries: Any) -> None:
        """The default."""
        for _ in range(2):
            with django_assert_num_queries(1), pytest.raises(Country.DoesNotExist):
                Country.objects.get_from_cache(code="XX")

    def test_a_row_that_a_manager_shows_again(self) -> None:
        """A row that appears by an update of another column is found, by its lookup and in its list."""
        page = Page.objects.create(slug="a", topic="x")
        Page.objects.create(slug="b", topic="x")
        for _ in range(2):
            assert [one.slug for one in Page.objects.get_list_from_cache(topic="x")] == ["b", "a"]
        Page.objects.filter(pk=page.pk).update(hidden=True)
        for _ in range(2):
            assert [one.slug for one in Page.objects.get_list_from_cache(topic="x")] == ["b"]
            with pytest.raises(Page.DoesNotExist):
                Page.objects.get_from_cache(slug="a")
        Page.everything.filter(pk=page.pk).update(hidden=False)
        assert Page.objects.get_from_cache(slug="a") == page
        assert [one.slug for one in Page.objects.get_list_from_cache(topic="x")] == ["b", "a"]


def write(how: int, slug: str, line: Line | None, kind: str) -> None:
    """One of five ways."""
    if how == 0:
        Stop.objects.update_or_create(slug=slug, defaults={"line": line, "kind": kind})
    elif how == 1:
        Stop.objects.filter(slug=slug).update(line=line)
    elif how == 2:
        Stop.objects.filter(slug=slug).delete()
    elif how == 3:
        Stop.objects.filter(line=line).update(kind=kind)
    else:
        caches["default"].clear()


def moved(slug: str, line: Any) -> Stop:
    """A stop that is about to move."""
    stop = Stop.objects.get(slug=slug)
    if isinstance(line, Line):
        stop.line = line
    else:
        stop.line_id = line
    return stop


def renamed(slug: str, new: str) -> Stop:
    """A stop that is about to be renamed."""
    stop = Stop.objects.get(slug=slug)
    stop.slug = new
    return stop


@pytest.mark.django_db(transaction=True)
class TestRaces:
    """Readers beside writers."""

    def test_a_slow_reader_does_not_store_an_incomplete_list(self, lines: list[Line], parallel: Parallel) -> None:
        """It has read the list when a writer commits a new stop."""
        cached = Stop.objects._current()
        query_many = cached.query_many

        def slow(names: tuple[str, ...]) -> Callable[..., Any]:
            query = query_many(names)

            def asking(values: Any) -> Any:
                rows = list(query(values))
                if not Stop.objects.filter(slug="new").exists():
                    parallel.run(lambda: Stop.objects.create(slug="new", line=lines[0], position=9))
                return rows

            return asking

        cached.query_many = slow
        try:
            assert slugs(line=lines[0]) == ["red1", "red2", "red3"]
        finally:
            del cached.query_many
        for _ in range(2):
            assert slugs(line=lines[0]) == ["red1", "red2", "red3", "new"]

    def test_an_uncommitted_row_is_nobodys(self, lines: list[Line], parallel: Parallel) -> None:
        """Others see the list without it, and after a rollback so does everybody."""
        slugs(line=lines[0])
        with transaction.atomic():
            Stop.objects.create(slug="new", line=lines[0], position=9)
            assert slugs(line=lines[0]) == ["red1", "red2", "red3", "new"]
            assert parallel.run(lambda: slugs(line=lines[0])) == ["red1", "red2", "red3"]
            transaction.set_rollback(True)
        assert slugs(line=lines[0]) == ["red1", "red2", "red3"]

    @pytest.mark.parametrize("within", [False, True])
    def test_a_row_that_moves_while_another_column_is_written(
        self, within: bool, lines: list[Line], parallel: Parallel
    ) -> None:
        """An UPDATE of one column of a list must know the other, and nobody may change it in between."""
        red, blue = lines
        for kind in ("tram", "boat"):
            slugs(line=blue, kind=kind), slugs(line=red, kind=kind)
        movers: list[Any] = []

        def move() -> None:
            with contextlib.suppress(OperationalError):  # SQLite refuses the one or the other
                Stop.objects.filter(slug="red1").update(line=blue)

        def meanwhile(execute: Any, sql: str, *rest: Any) -> Any:
            if sql.startswith("UPDATE") and not movers:
                movers.append(parallel.start(move))
                movers[0].join(0.3)  # it is let through, or waits for our row
            return execute(sql, *rest)

        with connection.execute_wrapper(meanwhile), contextlib.suppress(OperationalError):
            if within:
                with transaction.atomic():
                    Stop.objects.filter(slug="red1").update(kind="boat")
            else:
                Stop.objects.filter(slug="red1").update(kind="boat")
        parallel.join()
        for line in lines:
            for kind in ("tram", "boat"):
                wanted = Stop.objects.filter(line=line, kind=kind).order_by("-position", "name", "pk")
                assert slugs(line=line, kind=kind) == list(wanted.values_list("slug", flat=True))

    @pytest.mark.parametrize("seed", range(3))
    def test_random_steps(self, seed: int, lines: list[Line], fake_server: FakeBackend) -> None:
        """Whatever is written, wiped and read in whatever order, every answer is the database's."""
        steps = random.Random(seed)
        names = ["red1", "red2", "blue1", "x1", "x2"]
        for _ in range(150):
            slug, line, kind = steps.choice(names), steps.choice([*lines, None]), steps.choice(["bus", "tram"])
            if steps.random() < 0.5:
                with transaction.atomic():
                    write(steps.randrange(5), slug, line, kind)
                    transaction.set_rollback(steps.random() < 0.3)
            wanted = list(Stop.objects.filter(line=lines[0]).order_by("position", "pk").values_list("slug", flat=True))
            assert slugs(line=lines[0]) == wanted
            assert bool(Stop.objects.get_many_from_cache([slug], key="slug")) is Stop.objects.filter(slug=slug).exists()


class TestDeclarations:
    """What cannot be a list is refused by name."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"cache_lists": "slug"}, None),
            ({"cache_lists": 3}, "cache_lists"),
            ({"cache_lists": {"line": 3}}, "order in cache_lists"),
            ({"cache_missing": [("a", 1)]}, "cache_missing"),
        ],
    )
    def test_of_wrong_types(self, options: dict[str, Any], message: str | None) -> None:
        """When the manager is made."""
        if message is None:
            assert CacheManager(**options).cache_lists == {("slug",): None}
            return
        with pytest.raises(ConfigurationError, match=message):
            CacheManager(cache_fields=["slug"], **options)

    def test_of_what_is_no_column(self) -> None:
        """Field, order and lookup are named."""
        with pytest.raises(ConfigurationError, match="nosuch"):
            Declaration(Stop, "objects", (("slug",),), listed={("nosuch",): None}).lists()
        with pytest.raises(ConfigurationError, match="nosuch"):
            Declaration(Stop, "objects", (("slug",),), listed={("line",): ("-nosuch",)}).lists()
        with pytest.raises(ConfigurationError, match="cache_missing names kind"):
            Declaration(Stop, "objects", (("slug",),), missing=(("kind",),)).absences()

    def test_an_ordering_over_other_tables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The order must then be said."""
        monkeypatch.setattr(Page._meta, "ordering", ["topic__name"])
        with pytest.raises(ConfigurationError, match=r"say how the list by topic is sorted"):
            Declaration(Page, "objects", (("slug",),), listed={("topic",): None}).lists()

    @pytest.mark.parametrize(
        ("column", "kind"),
        [
            (models.FloatField(), float),
            (models.DateTimeField(), __import__("datetime").datetime),
            (models.CharField(db_collation="nocase"), str),
            (models.DateField(auto_now_add=True), __import__("datetime").date),
            (LowerField(max_length=3), str),
        ],
    )
    def test_of_what_the_database_compares_otherwise(self, column: Any, kind: type) -> None:
        """Floats and times, case-insensitive text, values that are made when they are written, fields that change."""
        column.set_attributes_from_name("odd")
        column.model = Note
        if isinstance(column, LowerField):
            type(column).get_prep_value = lambda self, value: value
        try:
            with pytest.raises(ConfigurationError, match=r"Note\.odd"):
                require_exact(column, kind, "default")
        finally:
            if isinstance(column, LowerField):
                del type(column).get_prep_value

    def test_of_what_is_compared_exactly(self) -> None:
        """Integers, text, keys."""
        for name, kind in (("slug", str), ("population", int), ("country", int)):
            require_exact(City._meta.get_field(name), kind, "default")
