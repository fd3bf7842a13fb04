"""``manage.py cachecore``: what each task prints, what it changes, and with which status it ends."""

import io
import json
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, ManagementUtility, call_command

from cachecore.cache import Cache
from cachecore.entries import Value
from cachecore.errors import BackendUnavailable
from cachecore.integrations.django import caches
from cachecore.integrations.django.models import Journal
from cachecore.integrations.django.operators import health
from cachecore.integrations.django.operators.inspect_cache import look
from cachecore.integrations.django.operators.progress import progress
from cachecore.testing import ManualClock
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import FAKE, behind_the_back
from tests.geo_app.models import City, Country, Device, Note, Seat

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


def ran(*words: str) -> list[str]:
    """The lines that a task prints."""
    out = io.StringIO()
    call_command("cachecore", *words, stdout=out)
    return out.getvalue().splitlines()


@pytest.fixture
def oslo(fake_server: FakeBackend) -> City:
    """A city whose row and slug are cached."""
    city = City.objects.create(slug="oslo", name="Oslo", country=Country.objects.create(code="NO", name="Norway"))
    for _ in range(2):
        City.objects.get_from_cache(slug="oslo")
    return city


def _gone(*arguments: Any) -> Any:
    raise BackendUnavailable("it has gone away")


def key(city: City) -> str:
    """The key of its row."""
    return City.objects._current().key((city.pk,))


class TestCheck:
    """cachecore check."""

    def findings(self, *words: str) -> dict[str, list[str]]:
        """What was said, by level."""
        found: dict[str, list[str]] = {}
        for line in ran("check", *words):
            level, _, rest = line.partition(" ")
            found.setdefault(level, []).append(rest.strip())
        return found

    def test_all_is_well(self, fake_server: FakeBackend) -> None:
        """Versions, clock, settings, caches and journals are named, with the time that a round trip takes."""
        found = self.findings()
        assert "error" not in found
        said = "\n".join(found["ok"])
        for text in ("versions: cachecore", "Django ", "clock: monotonic", "'default': fake", "a round trip"):
            assert text in said
        assert "journal in 'default': no notes wait" in said
        assert "journal in 'other': no notes wait" in said

    def test_it_leaves_nothing_in_the_cache(self, fake_server: FakeBackend) -> None:
        """What it stores to see whether that works is gone when it ends."""
        ran("check")
        assert dict(fake_server.snapshot()) == {}

    @pytest.mark.parametrize("operation", ["acquire", "fill", "get", "hold", "complete", "diagnose"])
    def test_a_cache_that_fails(
        self, operation: str, fake_server: FakeBackend, capsys: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever it cannot do is an error, and the exit status is 1."""
        monkeypatch.setattr(fake_server, operation, _gone)
        with pytest.raises(SystemExit) as ended:
            ManagementUtility(["manage.py", "cachecore", "check"]).execute()
        told = capsys.readouterr()
        assert ended.value.code == 1
        assert "error    cache 'default': fake, namespace 'tests': it has gone away" in told.out
        assert "1 errors" in told.err

    @pytest.mark.parametrize("method", ["acquire", "fill", "complete"])
    def test_a_cache_that_does_not_do_what_it_says(
        self, method: str, fake_server: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One without room, or that loses or keeps what it should not."""
        results = {"acquire": [None], "fill": [None], "complete": None}
        monkeypatch.setattr(fake_server, method, lambda *arguments: results[method])
        with pytest.raises(CommandError, match="1 errors"):
            ran("check")

    def test_what_weakens_the_promise_is_a_warning(
        self, fake_server: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In the words of the backend; the exit status is 0."""
        monkeypatch.setattr(fake_server, "diagnose", lambda: ["it may forget"])
        assert "cache 'default': it may forget" in self.findings()["warning"]

    def test_notes_that_wait(self, fake_server: FakeBackend) -> None:
        """How many, of which cache, and what to do."""
        Journal.objects.create(cache="default", entries="k")
        Journal.objects.create(cache="gone", entries="k")
        warnings = self.findings()["warning"]
        assert "journal in 'default': 1 notes of the cache 'default' wait: \"manage.py cachecore replay\"" in warnings
        assert "journal in 'default': 1 notes of the cache 'gone' wait: CACHECORE does not have that cache" in warnings

    def test_system_checks(self, fake_server: FakeBackend, settings: Any) -> None:
        """Their messages are findings too: errors and warnings with their ids."""
        settings.CACHECORE_DISABLED_MODELS = ["geo_app.Nowhere"]
        with pytest.raises(CommandError, match="1 errors"):
            ran("check")
        settings.CACHECORE_DISABLED_MODELS = []
        settings.CACHECORE = {"default": {"BACKEND": "memory", "NAMESPACE": "tests"}}
        assert any("cachecore.W001" in text for text in self.findings()["warning"])

    @pytest.mark.parametrize(
        "setting", [None, {}, {"default": {"BACKEND": "floppy", "NAMESPACE": "x"}}, {"default": {"BACKEND": "memory"}}]
    )
    def test_settings_that_cannot_be_read(self, setting: Any, settings: Any) -> None:
        """That is what is said, by this task and by the others."""
        settings.CACHECORE = setting
        with pytest.raises(CommandError, match="errors"):
            ran("check")
        with pytest.raises(CommandError, match="CACHECORE"):
            ran("replay")
        with pytest.raises(CommandError, match="CACHECORE"):
            ran("get", "geo_app.City", "pk=1")

    def test_a_cache_that_is_switched_off(self, settings: Any) -> None:
        """Is named so."""
        settings.CACHECORE = {"default": {"BACKEND": "null", "NAMESPACE": "tests"}}
        assert "cache 'default': null, namespace 'tests': nothing is cached" in self.findings()["note"]

    def test_a_coarse_clock(self, fake_server: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        """Cannot tell when a hold is about to expire, which is an error."""
        coarse = SimpleNamespace(monotonic=True, resolution=0.5, implementation="a sundial")
        monkeypatch.setattr(time, "get_clock_info", lambda name: coarse)
        assert [str(one) for one in health.examine() if one.level == "error"] == [
            "error    clock: time.monotonic() has a resolution of 0.5 s (a sundial), too coarse to tell when a hold is "
            "about to expire"
        ]

    @pytest.mark.parametrize("name", ["redis_server", "memcached_server"])
    def test_real_servers(self, name: str, request: pytest.FixtureRequest, settings: Any) -> None:
        """They do what they should, and what is gone is said to be."""
        server = request.getfixturevalue(name)
        backend = name.removesuffix("_server")
        options = {"timeout": 10.0, "connect_timeout": 10.0}
        one = {"BACKEND": backend, "LOCATION": server.url, "NAMESPACE": "check", "OPTIONS": options}
        settings.CACHECORE = {"default": one}
        assert any("a round trip" in text for text in self.findings()["ok"])
        settings.CACHECORE = {"default": {**one, "LOCATION": f"{backend}://127.0.0.1:1"}}
        with pytest.raises(CommandError, match="1 errors"):
            ran("check")

    def test_it_can_be_silent(self, fake_server: FakeBackend) -> None:
        """With --verbosity 0, and tells by its status."""
        assert ran("check", "--verbosity", "0") == []
        fake_server.fail("get")
        with pytest.raises(CommandError):
            ran("check", "-v", "0")


class TestKeyAndGet:
    """cachecore key and cachecore get."""

    def test_key(self, oslo: City) -> None:
        """The keys of the question and of the model's epoch, and where they are; nothing is asked of the cache."""
        entity = City.objects._current().records.entity
        server = caches["default"].backend
        server.log.clear()
        assert ran("key", "geo_app.City", f"pk={oslo.pk}") == [
            "cache: 'default', fake",
            f"row: {key(oslo)}",
            f"epoch: {entity.epoch_key}",
        ]
        lookup = City.objects._current().records.lookup_for(("slug",), ("oslo",)).key
        assert f"lookup: {lookup}" in ran("key", "geo_app.city", "slug=oslo")
        assert server.log == []

    def test_several_fields_and_other_databases(self, oslo: City) -> None:
        """Fields that are unique together, and the rows of another database."""
        one = ran("key", "geo_app.City", f"country={oslo.country_id}", "name=Oslo")
        assert one == ran("key", "geo_app.City", "name=Oslo", f"country_id={oslo.country_id}")
        assert one[1].startswith("lookup: tests:geo_app.City@default:")
        assert "row: tests:geo_app.City@other:i3" in ran("key", "geo_app.City", "pk=3", "--database", "other")

    def test_get_a_hit(self, oslo: City) -> None:
        """The entries on the way, that it is a hit, and every column; no trace is left."""
        server = caches["default"].backend
        before = dict(server.snapshot())
        said = ran("get", "geo_app.City", "slug=oslo")
        assert [line.partition(":")[0] for line in said[:3]] == ["lookup", "row", "epoch"]
        assert "a reader has a hit" in said
        assert "  slug = 'oslo'" in said
        assert "  population = 0" in said
        assert dict(server.snapshot()) == before

    def test_get_what_is_not_there(self, oslo: City) -> None:
        """What a reader would find instead, in words."""
        assert ran("get", "geo_app.City", "slug=moss")[-1] == (
            "a reader has a miss: nothing leads from this lookup to a row"
        )
        assert ran("get", "geo_app.City", "pk=0")[-1] == "a reader has a miss: nothing"
        server = caches["default"].backend
        server.hold([key(oslo)], b"12345678", 300)
        assert "a miss: a hold of 1 writers" in ran("get", "geo_app.City", "slug=oslo")[-1]
        server.complete([key(oslo)], b"12345678", {}, None)
        server.acquire([key(oslo)], b"12345678", 300)
        assert "a miss: a lease" in ran("get", "geo_app.City", f"pk={oslo.pk}")[-1]
        server.inject(key(oslo), b"?")
        assert "a miss: nothing of ours that can be read (corrupt)" in ran("get", "geo_app.City", f"pk={oslo.pk}")[-1]

    def test_get_what_nobody_would_believe(self, oslo: City) -> None:
        """Of an older epoch, of other code, of another row by now, without an epoch; the row is shown all the same."""
        cached, server = City.objects._current(), caches["default"].backend
        [entry] = server.get([key(oslo)])
        assert isinstance(entry, Value)

        def verdict(query: dict[str, Any]) -> str:
            found = look(cached, query)
            assert found.row is not None
            assert found.row["slug"] == "oslo"
            return found.verdict

        server.put([(key(oslo), Value(entry.payload, b"x" + entry.stamp[1:]), 0)], 300)
        assert "outdated by a bulk write" in verdict({"pk": oslo.pk})
        server.put([(key(oslo), Value(entry.payload, entry.stamp[:-1] + b"?"), 0)], 300)
        assert "other columns or another cache_version" in verdict({"pk": oslo.pk})
        server.put([(key(oslo), entry, 0)], 300)
        moss = City.objects.create(slug="moss", name="Moss", country_id=oslo.country_id)
        server.put([(cached.key((moss.pk,)), entry, 0)], 300)
        assert "this is the key of another row" in verdict({"pk": moss.pk})
        City.objects.get_from_cache(slug="moss")
        moss.slug = "molde"
        moss.save()
        City.objects.get_from_cache(pk=moss.pk)
        assert look(cached, {"slug": "moss"}).verdict == "a miss: the row has another value by now"
        pointer = cached.records.lookup_for(("slug",), ("oslo",)).key
        server.forget([cached.records.entity.epoch_key])
        assert "the epoch of all rows is not there" in verdict({"pk": oslo.pk})
        server.put([(key(oslo), Value(b"\xff", entry.stamp), 0)], 300)
        assert "cannot be read" in look(cached, {"pk": oslo.pk}).verdict
        server.put([(pointer, Value(b"\xff", entry.stamp[-16:]), 0)], 300)
        assert "the lookup cannot be read" in look(cached, {"slug": "oslo"}).verdict

    def test_in_process(self, memory_cache: Cache) -> None:
        """A cache in this process keeps objects, which are shown as well."""
        Country.objects.create(code="NO", name="Norway")
        for _ in range(2):
            Country.objects.get_from_cache(code="NO")
        assert "  name = 'Norway'" in ran("get", "geo_app.Country", "code=NO")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["geo_app.Nowhere", "pk=1"], "'geo_app.Nowhere' is no model"),
            (["City", "pk=1"], "'City' is no model"),
            (["geo_app.Landmark", "pk=1"], "no rows of geo_app.Landmark are cached"),
            (["geo_app.City", "oslo"], "'oslo' is no field=value"),
            (["geo_app.City", "=oslo"], "'=oslo' is no field=value"),
            (["geo_app.City", "population=3"], "not cached by population"),
            (["geo_app.City", "pk=x"], "cannot be 'x'"),
            (["geo_app.City", "pk=1", "pk=2"], "'pk' is asked for twice"),
        ],
    )
    @pytest.mark.parametrize("task", ["key", "get"])
    def test_wrong_questions(self, task: str, words: list[str], said: str, fake_server: FakeBackend) -> None:
        """Each is an error that names what is wrong."""
        with pytest.raises(CommandError) as caught:
            ran(task, *words)
        assert said in str(caught.value)

    def test_the_cache_is_away(self, oslo: City) -> None:
        """That is the error of the command."""
        caches["default"].backend.fail("get")
        with pytest.raises(CommandError, match="the fake server is down"):
            ran("get", "geo_app.City", f"pk={oslo.pk}")


class TestInvalidate:
    """cachecore invalidate."""

    def test_a_row_and_a_model(self, oslo: City) -> None:
        """One row, all rows, and several targets at once."""
        for number, target in enumerate((f"geo_app.City.{oslo.pk}", "geo_app.City"), 1):
            City.objects.get_from_cache(slug="oslo")
            behind_the_back("UPDATE geo_app_city SET population = population + 1")
            assert City.objects.get_from_cache(slug="oslo").population == number - 1
            [said] = ran("invalidate", target)
            assert said == (f"{target}: outdated" if number == 1 else f"{target}: all rows outdated")
            assert City.objects.get_from_cache(slug="oslo").population == number
        assert len(ran("invalidate", "geo_app.City", f"geo_app.Country.{oslo.country_id}")) == 2

    def test_keys_of_other_types(self, fake_server: FakeBackend) -> None:
        """A UUID, and two columns with a comma between them."""
        device = Device.objects.create(label="x")
        Seat.objects.create(row="A", number=1, code="A1")
        fake_server.log.clear()
        ran("invalidate", f"geo_app.Device.{device.pk}", "geo_app.Seat.A,1")
        told = [list(call.keys) for call in fake_server.log]
        assert told == [[Device.objects._current().key((device.pk,))], [Seat.objects._current().key(("A", 1))]]

    @pytest.mark.parametrize(
        "target", ["City", "geo_app", "geo_app.City.", "geo_app.City.x", "geo_app.Landmark", "a.b.c"]
    )
    def test_wrong_targets(self, target: str, oslo: City) -> None:
        """An error."""
        with pytest.raises(CommandError):
            ran("invalidate", target)

    def test_nothing_is_outdated_if_a_target_does_not_exist(self, oslo: City) -> None:
        """All are looked up before the first is outdated."""
        server = caches["default"].backend
        server.log.clear()
        with pytest.raises(CommandError, match="Nowhere"):
            ran("invalidate", "geo_app.City", "geo_app.Nowhere")
        assert server.log == []


class TestStats:
    """cachecore stats."""

    def test_as_text(self, oslo: City) -> None:
        """For people: it says whose the counters are."""
        said = "\n".join(ran("stats"))
        assert "cache 'default': fake, reachable" in said
        assert "0 notes wait in the journal of 'default'" in said
        assert "this process, which has just begun: hits " in said

    def test_as_json(self, oslo: City) -> None:
        """For programs."""
        [told] = json.loads("\n".join(ran("stats", "--json")))
        assert (told["cache"], told["backend"], told["reachable"], told["error"]) == ("default", "fake", True, None)
        assert told["journal"] == {"default": 0, "other": 0}
        assert told["process"]["fills"] == caches["default"].statistics.fills
        assert 0 <= told["process"]["hit_ratio"] <= 1

    def test_a_cache_that_is_away(self, oslo: City, monkeypatch: pytest.MonkeyPatch) -> None:
        """It says so, and is no error."""
        monkeypatch.setattr(caches["default"].backend, "diagnose", _gone)
        assert "not reachable: it has gone away" in ran("stats")[0]
        [told] = json.loads("\n".join(ran("stats", "--json")))
        assert (told["reachable"], told["error"]) == (False, "it has gone away")


class TestVerify:
    """cachecore verify."""

    def test_all_agree(self, oslo: City) -> None:
        """A line for each model, and the status 0."""
        assert ran("verify", "geo_app.City", "geo_app.Country") == [
            "geo_app.City in 'default': all 1 rows, 1 cached, all agree (0.0 nines are the most that so many can show)",
            "geo_app.Country in 'default': all 1 rows, none of them cached",
        ]

    def test_a_row_is_outdated(self, oslo: City, capsys: Any) -> None:
        """Every difference is a line, and the status is 1."""
        behind_the_back("UPDATE geo_app_city SET population = 9")
        with pytest.raises(SystemExit) as ended:
            ManagementUtility(["manage.py", "cachecore", "verify", "geo_app.City"]).execute()
        told = capsys.readouterr()
        assert ended.value.code == 1
        assert told.out.splitlines() == [
            "geo_app.City in 'default': all 1 rows, 1 cached, 1 outdated: 0 % agree (0.0 nines)",
            f"  {key(oslo)}: pk {oslo.pk}, population: cached 0, stored 9",
        ]
        assert "1 cached rows are outdated" in told.err

    def test_every_model_by_default(self, oslo: City) -> None:
        """Each table once."""
        said = [line.partition(" ")[0] for line in ran("verify")]
        assert len(said) == len(set(said))
        assert {"geo_app.City", "geo_app.Country", "geo_app.Restaurant"} <= set(said)
        assert "geo_app.CityProxy" not in said

    def test_options(self, oslo: City) -> None:
        """How many rows, for how long, of which database."""
        for number in range(30):
            City.objects.create(slug=f"s{number}", name=f"n{number}", country_id=oslo.country_id)
        assert "7 rows sampled" in ran("verify", "geo_app.City", "--sample", "7")[0]
        assert "all 31 rows" in ran("verify", "geo_app.City", "--all")[0]
        assert "all 31 rows" in ran("verify", "geo_app.City", "--sample", "31", "--seconds", "600")[0]
        assert "in 'other': all 0 rows" in ran("verify", "geo_app.City", "--database", "other")[0]
        assert ran("verify", "geo_app.City", "-v", "0") == []

    @pytest.mark.parametrize(
        "words",
        [
            ["geo_app.Landmark"],
            ["geo_app.Nowhere"],
            ["--sample", "0"],
            ["--sample", "x"],
            ["--sample", "3", "--all"],
            ["geo_app.City", "--seconds", "-1"],
            ["--database", "nowhere"],
        ],
    )
    def test_wrong_words(self, words: list[str], fake_server: FakeBackend) -> None:
        """An error."""
        with pytest.raises(CommandError):
            ran("verify", *words)

    @pytest.mark.parametrize("name", ["redis_server", "memcached_server"])
    def test_real_servers(self, name: str, request: pytest.FixtureRequest, settings: Any) -> None:
        """A planted lie is found on each."""
        settings.CACHECORE = {
            "default": {
                "BACKEND": name.removesuffix("_server"),
                "LOCATION": request.getfixturevalue(name).url,
                "NAMESPACE": "verify",
                "OPTIONS": {"timeout": 10.0, "connect_timeout": 10.0},
            }
        }
        note = Note.objects.create(title="x")
        Note.objects._current().invalidate()
        Note.objects.get_from_cache(pk=note.pk)
        assert "1 cached, all agree" in ran("verify", "geo_app.Note")[0]
        behind_the_back("UPDATE geo_app_note SET title = 'y'")
        with pytest.raises(CommandError, match="1 cached rows are outdated"):
            ran("verify", "geo_app.Note")
        ran("invalidate", f"geo_app.Note.{note.pk}")
        assert "none of them cached" in ran("verify", "geo_app.Note")[0]


class _Terminal(io.StringIO):
    """What says that somebody looks on."""

    def isatty(self) -> bool:
        return True


class TestProgress:
    """How far a long task has come."""

    def test_where_nobody_looks_on(self) -> None:
        """Nothing is said, and nothing is to be called."""
        stream = io.StringIO()
        with progress("geo_app.City", stream) as show:
            assert show is None
        assert stream.getvalue() == ""

    def test_a_bar(self) -> None:
        """On a terminal where rich is installed: it names what is done and how far it is."""
        pytest.importorskip("rich")
        stream = _Terminal()
        with progress("geo_app.City", stream) as show:
            assert show is not None
            show(0, 200)
            show(100, 200)
        assert "geo_app.City" in stream.getvalue()
        assert "50%" in stream.getvalue()

    def test_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a terminal without rich, a line every few seconds."""
        monkeypatch.setitem(sys.modules, "rich.progress", None)
        clock, stream = ManualClock(), _Terminal()
        with progress("geo_app.City", stream, clock) as show:
            assert show is not None
            for done, seconds in ((10, 1), (20, 5), (30, 1)):
                clock.advance(seconds)
                show(done, 200)
        assert stream.getvalue() == "geo_app.City: 20 of 200\n"


def test_fake_is_what_these_tests_use(fake_server: FakeBackend) -> None:
    """The names above are those of the tests' own settings."""
    assert (caches["default"].backend.name, FAKE["default"]["NAMESPACE"]) == ("fake", "tests")


def test_words_that_are_no_task() -> None:
    """They are named."""
    with pytest.raises(CommandError, match="nosuch"):
        call_command("cachecore", "nosuch")
