"""Inside Django's TestCase, which wraps each test in a transaction that never commits."""

from typing import Any, ClassVar

import pytest
from django.db import connection, transaction
from django.test import SimpleTestCase, TestCase, override_settings
from django.test.testcases import DatabaseOperationForbidden

from cachecore.integrations.django import caches
from cachecore.integrations.django.writing.dirty import dirty
from tests.geo_app.caching import FAKE, MEMORY, savepoint
from tests.geo_app.models import City, Country


def name(**query: Any) -> str:
    """What the cache says."""
    return Country.objects.get_from_cache(**query).name


class _Cases:
    """Runs on each cache; the tests of one class share rows made before them."""

    norway: ClassVar[Country]

    @classmethod
    def setUpTestData(cls) -> None:
        cls.norway = Country.objects.create(pk=1, code="NO", name="Norway")
        assert name(code="NO") == "Norway"
        assert name(pk=1) == "Norway"

    def check_and_change(self, to: str) -> None:
        """Every test begins with the rows of setUpTestData, whatever the tests before it have cached."""
        for query in ({"pk": 1}, {"code": "NO"}, {"pk": 1}, {"code": "NO"}):
            assert name(**query) == "Norway"
        Country.objects.filter(pk=1).update(name=to)
        Country.objects.create(pk=2, code="SE", name=to)
        for query in ({"pk": 1}, {"code": "SE"}, {"pk": 1}, {"pk": 2}):
            assert name(**query) == to

    def test_one(self) -> None:
        """What one test writes and caches ..."""
        self.check_and_change("one")

    def test_two(self) -> None:
        """... the next does not see, in either order."""
        self.check_and_change("two")

    def test_a_block_that_commits(self) -> None:
        """A block of the test commits into the test's world: seen inside, and cached after it."""
        with transaction.atomic():
            Country.objects.filter(pk=1).update(name="changed")
            assert name(pk=1) == "changed"
        assert name(pk=1) == "changed"
        hits = caches["default"].statistics.hits
        assert name(pk=1) == "changed"
        assert caches["default"].statistics.hits == hits + 1
        assert not dirty.any

    def test_a_block_that_rolls_back(self) -> None:
        """It leaves the world as it was."""
        with transaction.atomic():
            Country.objects.filter(pk=1).update(name="changed")
            assert name(pk=1) == "changed"
            transaction.set_rollback(True)
        assert name(pk=1) == "Norway"

    def test_blocks_in_blocks(self) -> None:
        """Inner blocks are savepoints of outer ones."""
        with transaction.atomic():
            Country.objects.filter(pk=1).update(name="outer")
            with transaction.atomic():
                Country.objects.filter(pk=1).update(name="inner")
                transaction.set_rollback(True)
            assert name(pk=1) == "outer"
        assert name(pk=1) == "outer"

    def test_a_savepoint_of_the_test_itself(self) -> None:
        """Rolling back to it takes back what was cached since."""
        sid = savepoint()
        Country.objects.filter(pk=1).update(name="changed")
        assert name(pk=1) == "changed"
        transaction.savepoint_rollback(sid)
        assert name(pk=1) == "Norway"

    def test_captured_callbacks(self) -> None:
        """captureOnCommitCallbacks runs callbacks that see what the test's block has committed."""
        seen: list[str] = []
        with self.captureOnCommitCallbacks(execute=True) as callbacks:  # type: ignore[attr-defined]
            with transaction.atomic():
                transaction.on_commit(lambda: seen.append(name(pk=1)))
                Country.objects.filter(pk=1).update(name="changed")
            assert seen == []
        assert len(callbacks) == 1
        assert seen == ["changed"]

    def test_settings_that_change_in_the_test(self) -> None:
        """Another CACHECORE is another cache; what was written before is not lost to it, nor to the one after it."""
        with transaction.atomic():
            Country.objects.filter(pk=1).update(name="changed")
        with override_settings(CACHECORE=MEMORY):
            assert name(pk=1) == "changed"
            with transaction.atomic():
                Country.objects.filter(pk=1).update(name="again")
        assert name(pk=1) == "again"

    def test_settings_that_change_in_a_block(self) -> None:
        """Even in the middle of a block."""
        with transaction.atomic():
            Country.objects.filter(pk=1).update(name="changed")
            with override_settings(CACHECORE=MEMORY):
                assert name(pk=1) == "changed"
                Country.objects.filter(pk=1).update(name="again")
            assert name(pk=1) == "again"
        assert name(pk=1) == "again"

    def test_deleted_and_made_again(self) -> None:
        """Rows come and go in the test's world."""
        self.norway.delete()
        with pytest.raises(Country.DoesNotExist):
            name(pk=1)
        Country.objects.create(pk=1, code="NN", name="new")
        assert name(code="NN") == "new"


@override_settings(CACHECORE=MEMORY)
class TestInMemory(_Cases, TestCase):
    """On the in-process cache."""


@override_settings(CACHECORE=FAKE)
class TestOnAServer(_Cases, TestCase):
    """On a server that keeps bytes."""

    def test_a_server_that_fails_when_the_test_ends(self) -> None:
        """The end of a test does not raise because the cache is gone."""
        assert name(pk=1) == "Norway"
        self.addCleanup(caches["default"].backend.recover)
        caches["default"].backend.fail("complete", times=1000)


class TestWithoutADatabase(SimpleTestCase):
    """A SimpleTestCase forbids the database; reading through the cache does not break its guard."""

    def test_a_miss_is_forbidden(self) -> None:
        """A miss raises what any query raises here."""
        with override_settings(CACHECORE=MEMORY), pytest.raises((DatabaseOperationForbidden, RuntimeError)):
            City.objects.get_from_cache(pk=1)


@pytest.mark.django_db
@pytest.mark.parametrize("to", ["one", "two"])
def test_pytest_django_is_such_a_test_case(to: str) -> None:
    """The db fixture isolates like TestCase: without a new cache, nothing of one test is seen by the next."""
    country = Country.objects.create(pk=1, code="NO", name=to)
    assert connection.in_atomic_block
    for _ in range(2):
        assert name(code="NO") == name(pk=country.pk) == to
