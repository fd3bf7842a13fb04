"""Rows that are marked instead of deleted: who sees them, and that the cache never shows one."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.checks import Error
from django.db import IntegrityError, NotSupportedError, connection, models, transaction
from django.db.models.signals import post_delete, post_save, pre_delete
from django.test.utils import CaptureQueriesContext, isolate_apps

from cachecore.errors import ConfigurationError
from cachecore.integrations.django.orm.instance_update import RowError
from cachecore.integrations.django.soft_delete import DeletionMark, SoftDeleteManager, SoftDeleteQuerySet
from tests.django_extras_app.models import Document, Folder, Plain, Project
from tests.geo_app.caching import Parallel, forget_all

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_cache")]

Status = Project.Status


@pytest.fixture
def plan(db: None) -> Document:
    """A document, in the cache by its key and its title."""
    made = Document.objects.create(title="plan", size=3)
    Document.objects.get_from_cache(title="plan")
    Document.objects.get_from_cache(title="plan")
    return Document.objects.get_from_cache(pk=made.pk)


def is_served(row: Document) -> bool:
    """Whether anything that reads through the cache finds a row; all must agree."""
    objects = Document.objects
    found: list[bool] = []
    for query in ({"pk": row.pk}, {"title": row.title}):
        try:
            found.append(objects.get_from_cache(**query) == row)
        except Document.DoesNotExist:
            found.append(False)
    found.append(objects.get_many_from_cache([row.pk]) == [row])
    found.append(objects.get_many_from_cache([row.title, "none"], key="title") == [row])
    assert len(set(found)) == 1, found
    return found[0]


DELETES: dict[str, Callable[[Document], object]] = {
    "delete()": lambda row: row.delete(),
    "delete() of another instance": lambda row: Document.with_deleted.get(pk=row.pk).delete(),
    "a queryset": lambda row: Document.objects.filter(pk=row.pk).delete(),
    "a queryset of all": lambda row: Document.with_deleted.all().delete(),
    "an update": lambda row: Document.objects.update(date_deleted=datetime(2024, 1, 1, tzinfo=UTC)),
    "hard_delete()": lambda row: row.hard_delete(),
    "hard_delete() of a queryset": lambda row: Document.objects.filter(title=row.title).hard_delete(),
}


class TestHiding:
    """A marked row is not there, but for with_deleted."""

    def test_a_deleted_row_is_still_a_row(self, plan: Document) -> None:
        """The usual manager does not find it; with_deleted does, with the time of its deletion."""
        before = datetime.now(UTC)
        assert plan.delete() == (1, {"django_extras_app.Document": 1})
        assert not Document.objects.exists()
        [row] = Document.with_deleted.all()
        assert row == plan
        assert row.is_deleted
        assert plan.is_deleted
        assert plan.date_deleted == row.date_deleted
        assert before <= row.date_deleted <= datetime.now(UTC)

    @pytest.mark.parametrize("delete", DELETES.values(), ids=DELETES)
    def test_no_deleted_row_is_served_by_the_cache(self, plan: Document, delete: Callable[[Document], object]) -> None:
        """Whichever way it went: not at once, not later, not by another lookup."""
        assert is_served(plan)
        twin = Document.with_deleted.get(pk=plan.pk)
        delete(plan)
        assert not is_served(twin)
        assert not is_served(twin)
        forget_all(Document)
        assert not is_served(twin)

    def test_other_rows_are_served(self, plan: Document) -> None:
        """As before."""
        other = Document.objects.create(title="draft")
        plan.delete()
        assert is_served(other)
        assert Document.objects.get_many_from_cache([plan.pk, other.pk]) == [other]

    def test_an_undeleted_row_is_served_again(self, plan: Document) -> None:
        """At once, also if somebody has asked for it meanwhile."""
        plan.delete()
        assert not is_served(plan)
        assert plan.undelete() is True
        assert not plan.is_deleted
        assert plan.date_deleted is None
        assert is_served(plan)
        assert Document.objects.get() == plan

    def test_a_title_can_go_to_another_row(self, plan: Document) -> None:
        """When the hidden row has given it up: the entry that says whose the title was leads nobody to it."""
        plan.delete()
        Document.with_deleted.filter(pk=plan.pk).update(title="old-plan")
        new = Document.objects.create(title="plan")
        assert Document.objects.get_from_cache(title="plan") == new
        assert Document.objects.get_many_from_cache(["old-plan", "plan"], key="title") == [new]

    def test_only_one_manager_caches(self, plan: Document) -> None:
        """with_deleted asks the database."""
        plan.delete()
        with pytest.raises(ValueError, match=r"Document\.objects, not by with_deleted"):
            Document.with_deleted.get_from_cache(pk=plan.pk)

    def test_related_managers_hide_and_foreign_keys_do_not(self, db: None) -> None:
        """As Django follows them: by the usual manager, and by the base manager."""
        folder = Folder.objects.create(name="f")
        original = Document.objects.create(title="a", folder=folder)
        duplicate = Document.objects.create(title="b", folder=folder, original=original)
        original.delete()
        assert list(folder.documents.all()) == [duplicate]
        assert folder.documents(manager="with_deleted").count() == 2
        assert Document.objects.get(title="b").original == original

    def test_a_model_with_the_managers_of_its_base(self, db: None) -> None:
        """SoftDeleteModel brings both."""
        row = Plain.objects.create(name="x")
        row.delete()
        assert (Plain.objects.count(), Plain.with_deleted.count()) == (0, 1)
        assert Plain._default_manager.count() == 0

    def test_a_hidden_row_can_be_saved(self, plan: Document) -> None:
        """It stays one row and stays hidden."""
        plan.delete()
        plan.size = 9
        plan.save()
        assert Document.with_deleted.get().size == 9
        assert not is_served(plan)


class TestDeleting:
    """What delete() does, and what it does not."""

    def test_the_first_deletion_counts(self, plan: Document) -> None:
        """A marked row keeps its mark: nothing is deleted a second time, and an older instance does not know."""
        twin = Document.objects.get(pk=plan.pk)
        plan.delete()
        assert plan.delete() == (0, {})
        assert twin.delete() == (0, {})
        assert Document.with_deleted.all().delete() == (0, {})
        assert Document.with_deleted.get().date_deleted == plan.date_deleted
        assert twin.date_deleted is None

    def test_querysets_mark_what_they_match(self, plan: Document) -> None:
        """By one UPDATE, and forget what they have loaded."""
        for title in ("a", "b"):
            Document.objects.create(title=title)
        rows = Document.objects.exclude(title="plan")
        assert len(rows) == 2
        with CaptureQueriesContext(connection) as queries:
            assert rows.delete() == (2, {"django_extras_app.Document": 2})
        assert [one["sql"].split()[0] for one in queries if one["sql"].startswith(("UPDATE", "DELETE"))] == ["UPDATE"]
        assert len(rows) == 0
        assert Document.with_deleted.filter(date_deleted__isnull=False).count() == 2
        assert Document.with_deleted.filter(title="a").undelete() == 1
        assert Document.with_deleted.filter(title="a").undelete() == 0
        assert {row.title for row in Document.objects.all()} == {"plan", "a"}

    def test_hard_delete_deletes(self, plan: Document) -> None:
        """The row is gone, its cascades with it; hidden rows as well."""
        Document.objects.create(title="copy", original=plan).delete()
        assert plan.hard_delete()[0] == 2
        assert not Document.with_deleted.exists()
        with pytest.raises(Document.DoesNotExist):
            Document.objects.get_from_cache(title="plan")

    def test_marking_does_not_cascade(self, plan: Document) -> None:
        """What points at the row stays; and a cascade from elsewhere deletes for good."""
        folder = Folder.objects.create(name="f")
        duplicate = Document.objects.create(title="copy", original=plan, folder=folder)
        plan.delete()
        assert is_served(duplicate)
        folder.delete()
        assert list(Document.with_deleted.all()) == [plan]
        assert not is_served(duplicate)

    def test_signals(self, plan: Document) -> None:
        """Marking is an update: post_save, and no signal of a delete. hard_delete sends those."""
        heard: list[tuple[Any, Any]] = []

        def hear(signal: Any, update_fields: Any = None, **_: Any) -> None:
            heard.append((signal, update_fields))

        for signal in (post_save, pre_delete, post_delete):
            signal.connect(hear, sender=Document)
        try:
            plan.delete()
            plan.undelete()
            assert heard == [(post_save, frozenset({"date_deleted"}))] * 2
            heard.clear()
            plan.hard_delete()
            assert [signal for signal, _ in heard] == [pre_delete, post_delete]
        finally:
            for signal in (post_save, pre_delete, post_delete):
                signal.disconnect(hear, sender=Document)

    async def test_awaited(self, transactional_db: None) -> None:
        """The async forms do the same."""
        plan = await Document.objects.acreate(title="plan")
        await plan.adelete()
        assert await Document.objects.acount() == 0
        assert await plan.aundelete()
        await Document.objects.all().adelete()
        assert await Document.with_deleted.acount() == 1
        assert await Document.with_deleted.all().aundelete() == 1
        assert (await Document.objects.aget_from_cache(title="plan")) == plan
        await plan.ahard_delete()
        assert await Document.with_deleted.all().ahard_delete() == (0, {})
        assert await Document.with_deleted.acount() == 0

    @pytest.mark.django_db(transaction=True)
    def test_transactions(self, plan: Document, parallel: Parallel) -> None:
        """Others see the deletion when it is committed, oneself at once, and nobody after a rollback."""

        class Abort(Exception):
            pass

        def aborted() -> None:
            with transaction.atomic():
                Document.objects.get(pk=plan.pk).delete()
                assert not is_served(plan)
                assert parallel.run(is_served, plan)
                raise Abort

        with pytest.raises(Abort):
            aborted()
        assert is_served(plan)
        with transaction.atomic():
            plan.delete()
            assert parallel.run(is_served, plan)
        assert not parallel.run(is_served, plan)

    @pytest.mark.django_db(transaction=True, databases=["default", "twin"])
    def test_another_alias(self, plan: Document) -> None:
        """using chooses the connection."""
        assert plan.delete(using="twin")[0] == 1
        assert not is_served(plan)
        assert plan.undelete(using="twin")
        assert is_served(plan)


class TestStatus:
    """A mark that is a status among others."""

    @pytest.fixture
    def rows(self, db: None) -> dict[Any, Project]:
        made = {status: Project.objects.create(slug=f"s{status}", status=status) for status in (*Status, None)}
        for status, row in made.items():
            assert row.is_deleted == (status == Status.DELETED)
        return made

    def test_only_the_deleted_status_hides(self, rows: dict[Any, Project]) -> None:
        """Other statuses, and NULL, do not."""
        assert {row.status for row in Project.objects.all()} == {Status.ACTIVE, Status.HIDDEN, None}
        assert Project.with_deleted.count() == 4
        for status, row in rows.items():
            found = Project.objects.get_many_from_cache([row.slug], key="slug")
            assert found == ([] if status == Status.DELETED else [row])

    def test_deleting_and_undeleting_set_the_status(self, rows: dict[Any, Project]) -> None:
        """To what the mark says."""
        row = rows[Status.HIDDEN]
        row.delete()
        assert row.status == Project.with_deleted.get(pk=row.pk).status == Status.DELETED
        assert row.undelete()
        assert row.status == Project.objects.get_from_cache(slug="s1").status == Status.ACTIVE

    def test_a_row_that_is_not_deleted_cannot_be_undeleted(self, rows: dict[Any, Project]) -> None:
        """Its status stays."""
        row = rows[Status.HIDDEN]
        assert row.undelete() is False
        assert Project.with_deleted.all().undelete() == 1
        assert Project.objects.get(pk=row.pk).status == Status.HIDDEN

    @pytest.mark.parametrize(
        ("mark", "value", "hidden"),
        [
            (DeletionMark("status", deleted=lambda: 5, present=0), 0, False),
            (DeletionMark("status", deleted=lambda: 5, present=0), 1, True),
            (DeletionMark("status", deleted=None, present=0), None, True),
            (DeletionMark("status", deleted=None, present=0), 1, False),
            (DeletionMark("status", deleted=lambda: 5), None, False),
            (DeletionMark("status", deleted=lambda: 5), 1, True),
        ],
    )
    def test_marks_of_every_kind(self, db: None, mark: DeletionMark, value: Any, hidden: bool) -> None:
        """The conditions for rows and what an instance says agree."""
        row = Project.with_deleted.create(slug="x", status=value)
        rows = models.QuerySet(Project)
        assert mark.hides(row) == hidden
        assert rows.filter(mark.hidden).exists() == hidden
        assert rows.filter(mark.visible).exists() == (not hidden)


class TestBadInput:
    """A clear result each."""

    @pytest.mark.parametrize("act", [lambda row: row.delete(), lambda row: row.undelete()])
    def test_an_unsaved_instance(self, act: Callable[[Document], object]) -> None:
        """It has no row to mark."""
        with pytest.raises(RowError, match="Document: an instance that was never saved"):
            act(Document(title="new"))

    def test_a_row_that_is_gone(self, plan: Document) -> None:
        """Nothing is deleted, and the instance is as it was."""
        Document.objects.all().hard_delete()
        assert plan.delete() == (0, {})
        assert plan.undelete() is False
        assert plan.date_deleted is None

    def test_slices_and_unions(self, plan: Document) -> None:
        """Are refused as Django's own are."""
        with pytest.raises(TypeError, match="slice"):
            Document.objects.all()[:1].delete()
        with pytest.raises(TypeError, match="limit"):
            Document.objects.all()[:1].hard_delete()
        with pytest.raises(NotSupportedError):
            Document.objects.union(Document.objects.all()).delete()
        assert is_served(plan)

    def test_managers_do_not_delete(self, plan: Document) -> None:
        """Only querysets do: nobody deletes all rows by accident."""
        for name in ("delete", "hard_delete", "undelete"):
            assert not hasattr(Document.objects, name)

    def test_a_unique_value_of_a_hidden_row(self, plan: Document) -> None:
        """Is taken, as far as the database is concerned."""
        plan.delete()
        with pytest.raises(IntegrityError), transaction.atomic():
            Document.objects.create(title="plan")
        assert not is_served(plan)

    @isolate_apps("tests.django_extras_app")
    def test_a_model_without_a_mark(self) -> None:
        """Is reported by the system checks, and when it is used."""

        class Unmarked(models.Model):
            objects = SoftDeleteManager[Any]()

            class Meta:
                app_label = "django_extras_app"

        class Mistaken(models.Model):
            deletion_mark = DeletionMark("gone", deleted=True, present=False)
            objects = SoftDeleteManager[Any]()

            class Meta:
                app_label = "django_extras_app"

        for model, said in ((Unmarked, "deletion_mark must be a DeletionMark"), (Mistaken, "gone")):
            [error] = [one for one in model.check() if one.id == "cachecore.E020"]
            assert isinstance(error, Error)
            assert said in error.msg
        with pytest.raises(ConfigurationError, match=r"Unmarked\.deletion_mark must be a DeletionMark, not None"):
            Unmarked.objects.all()
        with pytest.raises(ConfigurationError, match="Unmarked"):
            SoftDeleteQuerySet(Unmarked).delete()
