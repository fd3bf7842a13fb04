"""What users test with: empty caches for every test, and assertions about what the caches did."""

import os
import sys
import threading
import tomllib
import unittest
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import pytest
from django.db import transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase, override_settings

from cachecore.backend import Backend
from cachecore.cache import Cache
from cachecore.errors import ConfigurationError
from cachecore.integrations.django import caches
from cachecore.integrations.django.testing import CachecoreTestMixin, DjangoCounts, cachecore_counts, isolated_caches
from cachecore.testing import pytest_plugin
from cachecore.testing.counting import CALLS
from cachecore.testing.fake import FakeBackend
from tests.geo_app.caching import FAKE, MEMORY
from tests.geo_app.models import Country

pytest_plugins = ["pytester"]

Counting = Callable[..., AbstractContextManager[DjangoCounts]]


@pytest.fixture
def norway(db: None) -> Country:
    """A country that is not cached."""
    return Country.objects.create(code="NO", name="Norway")


class TestCounts:
    """cachecore_counts."""

    def test_a_miss_and_a_hit(self, fake_server: FakeBackend, norway: Country, cachecore_counts: Counting) -> None:
        """Rows, queries and calls of the backend are counted, and a block that does what is expected passes."""
        with cachecore_counts(hits=0, misses=1, queries=1, fills=1, invalidations=0) as counts:
            Country.objects.get_from_cache(pk=norway.pk)
        assert counts.operations > 1
        with cachecore_counts(hits=1, misses=0, queries=0, operations=1, fills=0):
            Country.objects.get_from_cache(pk=norway.pk)

    def test_a_hit_in_this_process_is_no_operation(self, memory_cache: Cache, norway: Country) -> None:
        """The in-process backend answers a hit without a call."""
        Country.objects.get_from_cache(pk=norway.pk)
        with cachecore_counts(hits=1, queries=0, operations=0):
            Country.objects.get_from_cache(pk=norway.pk)

    def test_the_same_on_every_cache(self, each_cache: Cache, norway: Country) -> None:
        """Hits, misses, fills and invalidations do not depend on the backend."""
        with cachecore_counts(hits=1, misses=1, fills=1, invalidations=1):
            Country.objects.get_from_cache(pk=norway.pk)
            Country.objects.get_from_cache(pk=norway.pk)
            norway.save()

    def test_operations_are_the_calls_of_the_backend(self, fake_server: FakeBackend, norway: Country) -> None:
        """In number and order those that the server gets."""
        fake_server.log.clear()
        with cachecore_counts() as counts:
            for _ in range(2):
                Country.objects.get_from_cache(code="NO")
            norway.save()
        assert counts.calls == fake_server.operations()
        assert counts.operations == len(fake_server.log) > 4

    def test_a_failure_tells_what_happened_in_order(self, fake_server: FakeBackend, norway: Country) -> None:
        """The message has the expected and the counted numbers, and every operation, query and event."""
        Country.objects.get_from_cache(pk=norway.pk)
        fake_server.clear()
        with pytest.raises(AssertionError) as caught, cachecore_counts(hits=1, misses=0, queries=0):
            Country.objects.get_from_cache(pk=norway.pk)
        first, *lines = str(caught.value).split("\n  ")
        assert first == "expected 1 hits, 0 misses, 0 queries; counted 0 hits, 1 misses, 1 queries"
        assert lines[0] == "operation acquire, 2 keys"
        assert lines[-1] == "filled geo_app.Country: 1"
        told = [line for line in lines if not line.startswith("operation")]
        assert told[0] == "miss geo_app.Country: absent"
        assert told[1].startswith('query SELECT "geo_app_country"."id"')

    def test_a_failure_when_nothing_happened(self, fake_server: FakeBackend) -> None:
        """It says so."""
        nothing = r"expected 1 hits; counted 0 hits\n  nothing happened"
        with pytest.raises(AssertionError, match=nothing), cachecore_counts(hits=1):
            pass

    def test_what_the_block_raises_is_raised(self, fake_server: FakeBackend) -> None:
        """An error of the block is not hidden by counts that are wrong because of it."""
        with pytest.raises(ZeroDivisionError), cachecore_counts(hits=1):
            raise ZeroDivisionError

    def test_counts_of_nested_blocks(self, fake_server: FakeBackend, norway: Country) -> None:
        """Each counts for itself, and afterwards nothing is counted any more."""
        with cachecore_counts(hits=1, misses=1) as outer:
            with cachecore_counts(hits=0, misses=1) as inner:
                Country.objects.get_from_cache(pk=norway.pk)
            Country.objects.get_from_cache(pk=norway.pk)
        Country.objects.get_from_cache(pk=norway.pk)
        assert (outer.hits, outer.operations) == (1, inner.operations + 1)
        assert not set(vars(fake_server)).intersection(CALLS)

    def test_transactions_are_no_queries(self, fake_server: FakeBackend, norway: Country) -> None:
        """BEGIN, SAVEPOINT and their ends are not counted, so the number is the same in every kind of test case."""
        with cachecore_counts(queries=1), transaction.atomic(), transaction.atomic():
            assert Country.objects.get_from_cache(pk=norway.pk) == norway

    def test_queries_of_another_connection(self, fake_server: FakeBackend, norway: Country) -> None:
        """``using`` says whose queries are counted."""
        with cachecore_counts(queries=0, using="other"):
            Country.objects.get(pk=norway.pk)

    def test_other_threads_use_the_caches_too(self, fake_server: FakeBackend) -> None:
        """What they do with them is counted."""
        with cachecore_counts(operations=1):
            thread = threading.Thread(target=fake_server.get, args=(["a"],))
            thread.start()
            thread.join()

    def test_a_test_without_database(self, fake_server: FakeBackend) -> None:
        """Counting needs no connection."""
        with cachecore_counts(operations=1, queries=0):
            fake_server.get(["a"])

    def test_failed_operations_are_operations(self, fake_server: FakeBackend, norway: Country) -> None:
        """A call that fails is counted and told."""
        fake_server.fail("acquire")
        with cachecore_counts(misses=1, queries=1) as counts:
            Country.objects.get_from_cache(pk=norway.pk)
        assert counts.calls[0] == "acquire"
        assert "failure geo_app.Country: acquire: the fake server is down" in counts.told

    def test_caches_that_are_changed_inside_cannot_be_counted(self, fake_server: FakeBackend) -> None:
        """Nobody knows what the new ones did, and the block fails instead of counting too little."""
        changed = pytest.raises(AssertionError, match="CACHECORE was changed")
        with changed, cachecore_counts(hits=0), override_settings(CACHECORE=MEMORY):
            pass

    def test_an_unknown_count_is_an_error(self) -> None:
        """A misspelled expectation must not pass."""
        with pytest.raises(TypeError, match="hit"):
            cachecore_counts(hit=1)  # type: ignore[call-arg]

    def test_every_operation_of_a_backend_is_watched(self) -> None:
        """Those of the contract; `diagnose` and `close` are no work of a cache."""
        methods = {name for name, value in vars(Backend).items() if callable(value) and not name.startswith("_")}
        assert methods - {"diagnose", "close"} == set(CALLS)


@pytest.mark.usefixtures("each_cache")
class TestIsolation:
    """isolated_caches, by which tests begin with empty caches."""

    def test_it_begins_and_ends_empty(self, norway: Country) -> None:
        """Nothing cached before is found inside, and nothing cached inside is found after."""
        Country.objects.get_from_cache(code="NO")
        Country.objects.get_from_cache(pk=norway.pk)
        caches["default"].set("plain", 1)
        with isolated_caches():
            assert caches["default"].get("plain") is None
            with cachecore_counts(misses=1, queries=1):
                Country.objects.get_from_cache(pk=norway.pk)
            caches["default"].set("other", 1)
        assert caches["default"].get("other") is None
        with cachecore_counts(hits=0, misses=1, queries=1):
            Country.objects.get_from_cache(pk=norway.pk)

    def test_what_is_written_inside_is_not_stale_outside(self, norway: Country) -> None:
        """A row cached before the block and written in it is fresh after it."""
        assert Country.objects.get_from_cache(pk=norway.pk).name == "Norway"
        with isolated_caches():
            Country.objects.filter(pk=norway.pk).update(name="Norge")
            assert Country.objects.get_from_cache(pk=norway.pk).name == "Norge"
        assert Country.objects.get_from_cache(pk=norway.pk).name == "Norge"

    def test_blocks_in_blocks(self, norway: Country) -> None:
        """An inner block is as empty as an outer one, and leaves it empty."""
        with isolated_caches():
            Country.objects.get_from_cache(pk=norway.pk)
            with isolated_caches():
                with cachecore_counts(misses=1):
                    Country.objects.get_from_cache(pk=norway.pk)
                Country.objects.filter(pk=norway.pk).update(name="Norge")
            assert Country.objects.get_from_cache(pk=norway.pk).name == "Norge"

    def test_what_others_keep_on_the_server_stays(self, fake_server: FakeBackend) -> None:
        """No server is flushed."""
        fake_server.inject("others:key", b"theirs")
        with isolated_caches():
            pass
        assert "others:key" in fake_server.snapshot()

    def test_namespaces_as_long_as_they_may_be(self, settings: Any) -> None:
        """A long namespace is shortened, and the cache can be made."""
        settings.CACHECORE = {"default": {**MEMORY["default"], "NAMESPACE": "n" * 64}}
        with isolated_caches():
            inner = caches["default"].namespace
            assert len(inner) == 64
        with isolated_caches():
            assert caches["default"].namespace != inner

    def test_a_wrong_setting_is_still_refused(self, settings: Any) -> None:
        """By the error that names it."""
        settings.CACHECORE = {"default": {"BACKEND": "memory"}}
        with isolated_caches(), pytest.raises(ConfigurationError, match="NAMESPACE"):
            caches["default"].get("key")


@pytest.mark.django_db
@pytest.mark.usefixtures("cachecore_clear")
@pytest.mark.parametrize("name", ["one", "two"])
def test_the_fixture_clears_before_each_test(name: str, cachecore_counts: Counting) -> None:
    """What one test has cached, the next, whose row has the same key, does not find."""
    country = Country.objects.create(pk=1, code="NO", name=name)
    with cachecore_counts(hits=1, misses=1):
        assert Country.objects.get_from_cache(pk=country.pk).name == name
        assert Country.objects.get_from_cache(pk=country.pk).name == name


class _Cases:
    """The same on each kind of test case; names that sort tell nothing about the order."""

    norway: ClassVar[Country]

    def test_one(self: Any) -> None:
        """Each test begins with nothing cached ..."""
        self.check()

    def test_two(self: Any) -> None:
        """... in either order."""
        self.check()

    def check(self: Any) -> None:
        """A miss, a hit, a write."""
        with self.assertCache(hits=0, misses=1, queries=1):
            Country.objects.get_from_cache(pk=self.norway.pk)
        with self.assertCache(hits=1, misses=0, queries=0) as counts:
            Country.objects.get_from_cache(pk=self.norway.pk)
        assert counts.hits == 1
        Country.objects.filter(pk=self.norway.pk).update(name="changed")
        assert Country.objects.get_from_cache(pk=self.norway.pk).name == "changed"

    def test_captured_callbacks(self: Any) -> None:
        """Callbacks that read the cache are counted where they run, and see what the block has committed."""
        seen: list[str] = []
        Country.objects.get_from_cache(pk=self.norway.pk)
        capturing = getattr(self, "captureOnCommitCallbacks", None)
        captured = capturing(execute=True) if capturing else nullcontext()
        with self.assertCache(misses=1), captured, transaction.atomic():
            transaction.on_commit(lambda: seen.append(Country.objects.get_from_cache(pk=self.norway.pk).name))
            Country.objects.filter(pk=self.norway.pk).update(name="changed")
        assert seen == ["changed"]

    def test_a_wrong_expectation_fails(self: Any) -> None:
        """As a failure of the test, not an error."""
        with pytest.raises(self.failureException, match="expected 5 hits; counted 0 hits"), self.assertCache(hits=5):
            pass


class _WithTestData(_Cases):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.norway = Country.objects.create(pk=1, code="NO", name="Norway")
        assert Country.objects.get_from_cache(pk=1) == cls.norway
        assert Country.objects.get_from_cache(pk=1) == cls.norway


@override_settings(CACHECORE=MEMORY)
class TestMixinInMemory(CachecoreTestMixin, _WithTestData, TestCase):
    """TestCase on the in-process cache."""


@override_settings(CACHECORE=FAKE)
class TestMixinOnAServer(CachecoreTestMixin, _WithTestData, TestCase):
    """TestCase on a server that keeps bytes."""


class TestMixinWithoutOverride(CachecoreTestMixin, _WithTestData, TestCase):
    """TestCase on the cache of the settings: what setUpTestData cached is not found by the tests."""


class TestMixinOfTransactions(CachecoreTestMixin, _Cases, TransactionTestCase):
    """TransactionTestCase, whose transactions commit."""

    def setUp(self) -> None:
        self.norway = Country.objects.create(code="NO", name="Norway")  # type: ignore[misc]

    def test_a_commit_and_a_rollback(self) -> None:
        """A commit outdates, a rollback does not."""
        Country.objects.get_from_cache(pk=self.norway.pk)
        with self.assertCache(invalidations=0), transaction.atomic():
            Country.objects.filter(pk=self.norway.pk).update(name="changed")
            transaction.set_rollback(True)
        with self.assertCache(hits=1, queries=0):
            assert Country.objects.get_from_cache(pk=self.norway.pk).name == "Norway"
        with self.assertCache(invalidations=1), transaction.atomic():
            Country.objects.filter(pk=self.norway.pk).update(name="changed")


class TestMixinWithoutADatabase(CachecoreTestMixin, SimpleTestCase):
    """SimpleTestCase, which forbids the database."""

    def test_plain_values(self) -> None:
        """Counting and clearing need no database."""
        with self.assertCache(operations=2, queries=0):
            caches["default"].set("plain", 1)
            assert caches["default"].get("plain") == 1


class TestMixinOfAsyncTests(CachecoreTestMixin, TestCase):
    """Async tests of a TestCase."""

    async def test_awaited(self) -> None:
        """Reads in the event loop are counted."""
        norway = await Country.objects.acreate(code="NO", name="Norway")
        with self.assertCache(hits=1, misses=1):
            for _ in range(2):
                assert await Country.objects.aget_from_cache(pk=norway.pk) == norway


def test_the_mixin_counts_as_a_test_case_of_its_own() -> None:
    """It is run by unittest itself too, and setUp of a subclass that forgets super() changes nothing."""

    class Inner(CachecoreTestMixin, SimpleTestCase):
        seen: ClassVar[list[Any]] = []

        def setUp(self) -> None:
            self.seen.append(caches["default"].get("mark"))
            caches["default"].set("mark", 1)

        def test_one(self) -> None: ...

        def test_two(self) -> None: ...

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Inner).run(result)
    assert (result.testsRun, result.errors, result.failures) == (2, [], [])
    assert Inner.seen == [None, None]


# -- the plugin in a project of its own ---------------------------------------------------------------

PROJECT = """
import pytest
from cachecore.integrations.django import caches

@pytest.fixture(scope="class", autouse=True)
def outside():
    caches["default"].set("outside", caches["default"].namespace)

class TestCleared:
    @pytest.mark.parametrize("time", [1, 2])
    def test_empty(self, time, cachecore_counts):
        with cachecore_counts(operations=1):
            assert caches["default"].get("mark") is None
        assert caches["default"].get("outside") is None
        assert caches["default"].namespace.startswith("tests.")
        caches["default"].set("mark", 1)
"""


@pytest.fixture
def project(pytester: pytest.Pytester, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with tests and a configuration of its own, in which the plugin is found as an installed one is."""
    root = str(pytestconfig.rootpath)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, str(pytester.path)]))
    installed = pytester.mkdir("cachecore_plugin-0.dist-info")
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: cachecore_plugin\nVersion: 0\n")
    (installed / "entry_points.txt").write_text("[pytest11]\ncachecore = cachecore.testing.pytest_plugin\n")
    return pytester


def run(project: pytest.Pytester, ini: str, *arguments: str) -> pytest.RunResult:
    """pytest in a process of its own."""
    project.makeini(f"[pytest]\n{ini}")
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-q", *arguments]
    return project.run(*command)


def test_the_plugin_is_installed_with_the_package(pytestconfig: pytest.Config) -> None:
    """pytest finds it by this entry point wherever cachecore is installed."""
    declared = tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text(encoding="utf-8"))
    assert declared["project"]["entry-points"]["pytest11"] == {"cachecore": pytest_plugin.__name__}


def test_autoclear_clears_before_every_test(project: pytest.Pytester) -> None:
    """With cachecore_autoclear every test begins empty, and what is cached outside tests has the run's namespace."""
    project.makepyfile(PROJECT)
    result = run(project, "DJANGO_SETTINGS_MODULE = tests.django_settings\ncachecore_autoclear = true")
    result.assert_outcomes(passed=2)


def test_without_autoclear_nothing_is_cleared(project: pytest.Pytester) -> None:
    """The plugin does nothing unasked: the same tests see what was left."""
    project.makepyfile(PROJECT)
    result = run(project, "DJANGO_SETTINGS_MODULE = tests.django_settings")
    result.assert_outcomes(failed=2)


def test_the_plugin_is_harmless_where_there_is_no_django(project: pytest.Pytester) -> None:
    """It imports nothing of Django; asked for, its fixtures say what is missing."""
    project.makepyfile(
        django="raise ModuleNotFoundError(\"No module named 'django'\", name='django')",
        test_plain="""
            import sys

            def test_nothing_is_imported():
                assert "django" not in sys.modules
                assert "cachecore.integrations.django" not in sys.modules

            def test_asked(cachecore_clear):
                raise AssertionError("never reached")
            """,
    )
    result = run(project, "", "-p", "no:django", "test_plain.py")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*cachecore's fixtures*need Django, which is not installed*"])
