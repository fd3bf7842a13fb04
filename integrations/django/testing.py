"""For the tests of applications: a cache of its own for each test, and assertions about hits, misses and queries.

`CachecoreTestMixin` is for Django's test cases; for pytest there are the fixtures of `cachecore.testing.pytest_plugin`,
which use the same functions.

A test begins with empty caches because its keys are in a namespace that nobody has used. No server is flushed: it may
hold the data of others, of another process of the same test run say, whose database has other rows under the same
primary keys.
"""

import re
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.test.utils import override_settings

from cachecore.errors import ConfigurationError
from cachecore.integrations.django.conf import caches, configured
from cachecore.integrations.django.writing.connection import state_of
from cachecore.integrations.django.writing.worlds import outdate_everything
from cachecore.testing.counting import Counts, counting

_LONGEST_NAMESPACE = 64


@contextmanager
def isolated_caches() -> Generator[None, None, None]:
    """Inside the block every cache of CACHECORE is empty: nothing is remembered of before, and after it nothing of it.

    Blocks may be nested. Cache objects that were got before the block or in it are closed when it begins or ends; ask
    ``caches["default"]`` again. Other processes do not see the block's namespace.
    """
    # What was cached outside must not outlive what is written inside, which outdates the rows of its own namespace.
    with suppress(ConfigurationError):  # which is for the one who makes a cache to report
        outdate_everything()
    with override_settings(CACHECORE={alias: _apart(options) for alias, options in configured().items()}):
        yield


def _apart(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a cache with a namespace that nobody else has."""
    suffix = f".{uuid.uuid4().hex[:16]}"
    namespace = options.get("NAMESPACE")
    if not isinstance(namespace, str) or not namespace:
        return dict(options)  # for the one who makes the cache to refuse
    return {**options, "NAMESPACE": namespace[: _LONGEST_NAMESPACE - len(suffix)] + suffix}


_TRANSACTIONS = re.compile(r"\s*(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)\b", re.IGNORECASE)


class DjangoCounts(Counts):
    """What the caches did, and the queries of one database connection."""

    def __init__(self) -> None:
        super().__init__()
        self.statements: list[str] = []
        """The SQL of every query, in order, with the placeholders of its parameters."""

    @property
    def queries(self) -> int:
        """How many queries were sent; what begins and ends transactions and savepoints is none."""
        return len(self.statements)

    def note_query(self, execute: Callable[..., Any], sql: Any, *arguments: Any) -> Any:
        """A wrapper of Django's execute."""
        statement = str(sql)
        if not _TRANSACTIONS.match(statement):
            self.statements.append(statement)
            self.told.append(f"query {statement}")
        return execute(sql, *arguments)


@contextmanager
def cachecore_counts(
    *,
    hits: int | None = None,
    misses: int | None = None,
    queries: int | None = None,
    operations: int | None = None,
    fills: int | None = None,
    invalidations: int | None = None,
    using: str = DEFAULT_DB_ALIAS,
) -> Generator[DjangoCounts, None, None]:
    """Count what happens in the block, and fail if it is not what was expected; None expects nothing.

    hits, misses: rows that came from the caches, and from the database.
    queries: of the connection ``using``, in this thread. Unlike assertNumQueries this does not count what begins and
        ends transactions and savepoints, so that the number is the same in every kind of test case.
    operations: calls of the cache backends, each one round trip to each server it concerns. A hit is one, and none with
        the backend "memory".
    fills: rows stored.
    invalidations: keys outdated by writes that have been committed. In a TestCase a block that is rolled back outdates
        what it wrote too.

    The caches are those of CACHECORE, all together; what other threads do with them counts. The counts are attributes
    of what ``as`` gives. Raises AssertionError with the list of what happened; nothing, if the block raises.
    """
    watched = {alias: caches[alias] for alias in configured()}
    counts = DjangoCounts()
    # In a test case nobody says when a block of the test has committed; what it has outdated belongs to the block.
    state_of(using).settle()
    with counting(watched.values(), counts), connections[using].execute_wrapper(counts.note_query):
        yield counts
        state_of(using).settle()
    if any(caches[alias] is not cache for alias, cache in watched.items()):
        raise AssertionError("CACHECORE was changed inside the block, so that nobody knows what the new caches did")
    message = counts.difference(
        hits=hits, misses=misses, queries=queries, operations=operations, fills=fills, invalidations=invalidations
    )
    if message:
        raise AssertionError(message)


if TYPE_CHECKING:
    from unittest import TestCase as _TestCase
else:
    _TestCase = object


class CachecoreTestMixin(_TestCase):
    """For test cases: every test begins with empty caches. To be named before Django's class.

    class CityTests(CachecoreTestMixin, TestCase):
        def test_oslo(self):
            with self.assertCache(hits=1, queries=0):
                City.objects.get_from_cache(slug="oslo-no")
    """

    @classmethod
    def setUpClass(cls) -> None:
        # What setUpTestData caches is the class's own too.
        cls.enterClassContext(isolated_caches())
        super().setUpClass()

    def run(self, result: Any = None) -> Any:
        """As unittest's, with caches of its own."""
        with isolated_caches():
            return super().run(result)

    def assertCache(self, **expected: Any) -> AbstractContextManager[DjangoCounts]:  # noqa: N802 - as its neighbours
        """Fail if the block does not do what is expected; the arguments are those of `cachecore_counts`."""
        return cachecore_counts(**expected)
