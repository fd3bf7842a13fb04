"""What is done to rows in each Django process, and how each library wants it done.

Imported in such a process only, where Django is set up with `benchmarks.peers.django_settings`.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.db import connection, models
from django.test.utils import CaptureQueriesContext

from benchmarks.measure import Call
from benchmarks.peers.twelve import ROWS, values

PKS = range(1, 101)
SAVED = range(201, 211)
UPDATED = range(301, 401)
TIMES = 3
"""How often a call reads what it reads, so that the pipe to this process costs little beside it."""


class Side:
    """Rows by Django's own means, which is also how cachalot is used: it patches the compilers of SQL."""

    caches: ClassVar[bool] = True
    """Whether a warm read asks the database nothing."""
    forgets: ClassVar[bool] = True
    """Whether a read after a write sees it."""

    def __init__(self, model: type[models.Model], manager: Any = None) -> None:
        self._rows: Any = model._default_manager if manager is None else manager
        self.model: Any = model
        self.get: Callable[..., Any] = self._rows.get
        """One row by a unique field."""

    def many(self, pks: Sequence[int]) -> list[Any]:
        """All these rows."""
        return list(self._rows.filter(pk__in=pks))

    def update(self, pks: Sequence[int], rank: int) -> None:
        """Update all these rows in one statement."""
        self._rows.filter(pk__in=pks).update(rank=rank)


class Uncached(Side):
    """Django itself."""

    caches = False


class Ours(Side):
    """Our managers. A read that starts after a write has returned sees it, whatever happens in between."""

    def __init__(self, model: type[models.Model]) -> None:
        super().__init__(model)
        self.get = self._rows.get_from_cache
        self.many = self._rows.get_many_from_cache  # type: ignore[method-assign]


class SeedLike(Side):
    """A manager as applications write it, which pickles instances and outdates nothing."""

    forgets = False

    def __init__(self, model: type[models.Model], manager: Any) -> None:
        super().__init__(model, manager)
        self.get = manager.get_from_cache
        self.many = manager.get_many_from_cache  # type: ignore[method-assign]


class Cacheops(Side):
    """cacheops: it caches results of querysets. It learns of updates by `invalidated_update` alone, which reads too."""

    def update(self, pks: Sequence[int], rank: int) -> None:
        self._rows.filter(pk__in=pks).invalidated_update(rank=rank)


class Calls:
    """Every call of one side; those that read are warm and were compared with what they must give."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._rank = 0

    def pk(self) -> Call:
        """Rows by primary key, one by one."""
        get = self._side.get

        def run() -> list[Any]:
            return [get(pk=pk) for pk in PKS]

        return self._warm(run)

    def slug(self) -> Call:
        """Rows by slug, one by one."""
        get = self._side.get
        slugs = [values(pk)["slug"] for pk in PKS]

        def run() -> list[Any]:
            return [get(slug=slug) for slug in slugs]

        return self._warm(run)

    def many(self) -> Call:
        """A hundred rows at once."""
        many = self._side.many
        for pk in PKS:
            self._side.get(pk=pk)  # many of the seed-like managers caches nothing that it finds
        return self._warm(lambda: many(PKS))

    def save(self) -> Call:
        """Ten rows saved, one by one."""
        rows = list(self._side.model.objects.filter(pk__in=SAVED))

        def run() -> None:
            self._rank += 1
            for row in rows:
                row.rank = self._rank
                row.save()

        return self._seen(run, SAVED)

    def save_and_read(self) -> Call:
        """Ten rows saved, and each read by its primary key directly after that."""
        rows = list(self._side.model.objects.filter(pk__in=SAVED))
        get = self._side.get

        def run() -> None:
            self._rank += 1
            for row in rows:
                row.rank = self._rank
                row.save()
                get(pk=row.pk)

        return self._seen(run, SAVED)

    def update(self) -> Call:
        """A hundred rows updated by one statement."""
        update = self._side.update

        def run() -> None:
            self._rank += 1
            update(UPDATED, self._rank)

        return self._seen(run, UPDATED)

    def _warm(self, run: Callable[[], list[Any]]) -> Call:
        run()
        run()
        with CaptureQueriesContext(connection) as queries:
            found = run()
        fields = list(values(1))
        assert [{name: getattr(row, name) for name in fields} for row in found] == [values(pk) for pk in PKS]
        assert bool(len(queries)) != self._side.caches, f"{len(queries)} queries for what should be warm"

        def several() -> None:
            for _ in range(TIMES):
                run()

        return several

    def _seen(self, run: Call, pks: Sequence[int]) -> Call:
        assert self._side.forgets, "this side never sees what is written"
        for _ in range(2):
            for pk in pks:
                self._side.get(pk=pk)
            run()
            assert {self._side.get(pk=pk).rank for pk in pks} == {self._rank}, "a write is not seen"
        return run


def make_rows(model: type[models.Model]) -> None:
    """The model's table, and ROWS rows in it."""
    with connection.schema_editor() as editor:
        editor.create_model(model)
    model._default_manager.bulk_create([model(**values(number)) for number in range(1, ROWS + 1)])
