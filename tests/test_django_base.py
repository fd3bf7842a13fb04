"""The base model, its repr, hook methods of managers, and that managers and instances can be copied and pickled."""

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.migrations.state import ModelState, ProjectState
from django.db.models.signals import post_delete, post_save

from cachecore.integrations.django.base import BaseModel
from cachecore.integrations.django.orm import hooks
from cachecore.integrations.django.orm.instance_update import update
from tests.django_extras_app.models import (
    Called,
    CalledChild,
    CalledManager,
    Document,
    PairedSeat,
    Player,
    Quiet,
    Shouted,
    Team,
    Zipped,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_cache")]

ROUND_TRIPS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "the oldest pickle": lambda thing: pickle.loads(pickle.dumps(thing, 0)),
}


@pytest.fixture
def calls() -> Iterator[list[tuple[Any, ...]]]:
    """What the hooks are called with."""
    CalledManager.calls.clear()
    yield CalledManager.calls
    CalledManager.calls.clear()


class TestRepr:
    """sane_repr shows an instance, whatever state it is in, and never asks the database."""

    def test_it_shows_the_key_and_what_it_was_told(self, db: None, django_assert_num_queries: Any) -> None:
        """A foreign key by its column, without loading the row it points at."""
        player = Player.objects.create(slug="ada", team=Team.objects.create(name="red"))
        player = Player.objects.get(pk=player.pk)
        with django_assert_num_queries(0):
            assert repr(player) == f"<Player pk={player.pk}, slug='ada', team_id={player.team_id}>"

    def test_the_base_models_own(self, db: None) -> None:
        """The primary key, of several columns too."""
        assert repr(Shouted(pk=5)) == "<Shouted pk=5>"
        assert repr(PairedSeat(row="A", number=1)) == "<PairedSeat pk=('A', 1)>"

    def test_unsaved_deferred_and_broken(self, db: None, django_assert_num_queries: Any) -> None:
        """Each is said, and nothing is raised."""
        assert repr(Player(slug="x")) == "<Player pk=None, slug='x', team_id=None>"
        Player.objects.create(slug="ada")
        [bare] = Player.objects.only("name")
        with django_assert_num_queries(0):
            assert repr(bare) == f"<Player pk={bare.pk}, slug=<deferred>, team_id=<deferred>>"
        team = Team(name="red")
        assert repr(team) == "<Team pk=None, name='red', motto='forward', broken=<LookupError>, players=...>"

    def test_str_is_still_djangos(self, db: None) -> None:
        """Only repr is replaced."""
        assert str(Shouted(pk=5)) == "Shouted object (5)"


class TestBaseModel:
    """What a model gets by it."""

    def test_changes_and_updates(self, db: None) -> None:
        """Methods of the instance."""
        Player.objects.create(slug="ada")
        player = Player.objects.get_from_cache(slug="ada")
        player.slug = "eve"
        assert (player.has_changed("slug"), player.old_value("slug")) == (True, "ada")
        assert player.update(slug="eve") == 1
        assert not player.has_changed("slug")

    def test_it_is_abstract_and_caches_nothing(self) -> None:
        """Until a model declares it."""
        assert BaseModel._meta.abstract
        with pytest.raises(ValueError, match=r"Shouted\.objects declares no cache_fields"):
            Shouted.objects.get_from_cache(pk=1)

    def test_templates_cannot_update(self) -> None:
        """As with Django's save() and delete()."""
        assert Player.update.alters_data  # type: ignore[attr-defined]
        assert Player.aupdate.alters_data  # type: ignore[attr-defined]


class TestHooks:
    """post_save and post_delete of managers."""

    def test_they_are_called_for_saves_and_deletes(self, db: None, calls: list[Any]) -> None:
        """With the instance, whether it was created, and what Django's signals say; caching nothing is no matter."""
        row = Called.objects.create(name="a")
        pk = row.pk
        row.save(update_fields=["name"])
        row.delete()
        assert calls == [
            ("post_save", Called, pk, True, {"update_fields": None, "raw": False, "using": "default"}),
            (
                "post_save",
                Called,
                pk,
                False,
                {"update_fields": frozenset({"name"}), "raw": False, "using": "default"},
            ),
            ("post_delete", Called, pk, {"using": "default", "origin": row}),
        ]

    def test_each_model_calls_the_manager_of_its_own(self, db: None, calls: list[Any]) -> None:
        """Inherited managers know which model they are of."""
        CalledChild.objects.create(name="a")
        assert [call[:2] for call in calls] == [("post_save", CalledChild)]

    def test_instance_updates_are_saves(self, db: None, calls: list[Any]) -> None:
        """And bulk statements are not."""
        row = Called.objects.create(name="a")
        calls.clear()
        update(row, name="b")
        assert [call[3] for call in calls] == [False]
        calls.clear()
        Called.objects.update(name="c")
        assert calls == []

    def test_nothing_is_connected_for_managers_without_hooks(self, db: None) -> None:
        """So that their models keep Django's fast deletes."""
        hooks.connect(Quiet)
        assert not post_delete.has_listeners(Quiet)
        assert not [one for one in _receivers(post_save, Quiet) if one.__module__ == hooks.__name__]
        assert [one for one in _receivers(post_save, Called) if one.__module__ == hooks.__name__]

    def test_connecting_again_changes_nothing(self, db: None, calls: list[Any]) -> None:
        """A hook is called once."""
        hooks.connect(Called)
        hooks.connect(Called)
        Called.objects.create(name="a")
        assert len(calls) == 1

    def test_a_migrations_models_call_nothing(self, db: None, calls: list[Any]) -> None:
        """They are other classes."""
        state = ProjectState()
        state.add_model(ModelState.from_model(Called))
        old: Any = state.apps.get_model("django_extras_app", "Called")
        old.objects.create(name="a")
        assert calls == []

    def test_an_error_of_a_hook(self, db: None, calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        """Reaches the caller, as that of a signal's receiver does."""

        def fail(*_: Any, **__: Any) -> None:
            raise LookupError("a hook fails")

        monkeypatch.setattr(CalledManager, "post_save", fail)
        with pytest.raises(LookupError):
            Called.objects.create(name="a")


def _receivers(signal: Any, sender: Any) -> list[Any]:
    found = signal._live_receivers(sender)
    return [one for group in found for one in group] if isinstance(found, tuple) else list(found)


class TestCopies:
    """Copies and pickles of managers and instances work, and hold nothing that belongs to this process."""

    @pytest.mark.parametrize("twin", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
    @pytest.mark.parametrize("name", ["Player.objects", "Document.objects", "Document.with_deleted", "Called.objects"])
    def test_a_manager(self, db: None, name: str, twin: Callable[[Any], Any]) -> None:
        """The copy declares the same and works, also when the original has been used."""
        model, _, attribute = name.partition(".")
        manager: Any = getattr(apps.get_model("django_extras_app", model), attribute)
        if manager.cache_fields:
            assert manager.get_many_from_cache([1]) == []
        other = twin(manager)
        assert type(other) is type(manager)
        assert (other.model, other.cache_fields, other.name) == (manager.model, manager.cache_fields, manager.name)
        if manager.cache_fields:
            assert other.get_many_from_cache([1]) == []
        assert other.count() == 0

    @pytest.mark.parametrize("twin", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
    def test_a_cached_instance(self, db: None, twin: Callable[[Any], Any]) -> None:
        """It has its values, its alias and its past, and saving it outdates the row."""
        made = Player.objects.create(slug="ada", data={"a": [1]})
        Player.objects.get_from_cache(pk=made.pk)
        cached = Player.objects.get_from_cache(pk=made.pk)
        cached.slug = "eve"
        other = twin(cached)
        assert (other, other.slug, other.data, other._state.db) == (cached, "eve", {"a": [1]}, "default")
        assert not other._state.adding
        assert (other.has_changed("slug"), other.old_value("slug")) == (True, "ada")
        other.save()
        assert Player.objects.get_from_cache(slug="eve") == cached

    @pytest.mark.parametrize("twin", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
    def test_special_fields(self, db: None, twin: Callable[[Any], Any]) -> None:
        """Compressed dicts, readable or not, and the mark of a deletion."""
        row = Zipped.objects.create(slug="a", data={"a": 1})
        with connection.cursor() as cursor:
            cursor.execute("UPDATE django_extras_app_zipped SET maybe = 'rubbish'")
        cached = Zipped.objects.get_from_cache(slug="a")
        other = twin(cached)
        assert (other.data, other.maybe) == ({"a": 1}, {})
        other.save()
        with connection.cursor() as cursor:
            cursor.execute("SELECT maybe FROM django_extras_app_zipped")
            assert cursor.fetchone() == ("rubbish",)
        assert Zipped.objects.get_from_cache(pk=row.pk).data == {"a": 1}
        document = Document.objects.create(title="x")
        document.delete()
        assert twin(document).is_deleted

    @pytest.mark.django_db(transaction=True, databases=["default", "twin"])
    @pytest.mark.parametrize("aliases", [("default", "twin"), ("twin", "default")])
    def test_no_alias_is_stored(self, db: None, aliases: tuple[str, str]) -> None:
        """What is cached is the row: an instance has the alias it was asked by, whoever stored the row."""
        made = Player.objects.create(slug="ada")
        for alias in (*aliases, *aliases):
            instance = Player.objects.db_manager(alias).get_from_cache(pk=made.pk)
            assert (instance, instance._state.db) == (made, alias)

    def test_an_instance_whose_related_manager_was_used(self, db: None) -> None:
        """The manager belongs to the instance and is not pickled with it."""
        team = Team.objects.create(name="red")
        Player.objects.create(slug="ada", team=team)
        for asked in (team, pickle.loads(pickle.dumps(team))):
            assert [player.slug for player in asked.players.all()] == ["ada"]
