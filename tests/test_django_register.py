"""Models one does not own: registered by a call or a setting, read by an attribute that no one else notices."""

import copy
import inspect
import json
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import Group, User, UserManager
from django.core.management import call_command
from django.db import connection, models, transaction
from django.db.migrations.state import ModelState
from django.test.utils import isolate_apps, override_settings

from cachecore.cache import Cache
from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.integrations.django import CacheManager, from_cache, register
from cachecore.integrations.django.checks import check_models
from cachecore.integrations.django.conf import registered_models
from cachecore.integrations.django.registration import CacheOptions, registered_manager
from tests.geo_app.models import City, CityProxy, Landmark, Named, Restaurant

OPTIONS: CacheOptions = {"cache_fields": ["username"], "cache_ttl": 60}
# For the whole process: nobody who was registered can be forgotten. The tests read what Django offers beside it.
register("auth.User", **OPTIONS)


with isolate_apps("tests.geo_app"):  # a proxy in an app without migrations of a model that has some: not for migrate

    class UserProxy(User):
        """Another class for the same table."""

        class Meta:
            proxy = True
            app_label = "geo_app"


@pytest.fixture
def ada(db: None) -> User:
    """A user."""
    return User.objects.create(username="ada", email="ada@example.org")


@pytest.mark.django_db
class TestReading:
    """User.from_cache reads as any CacheManager does."""

    def test_by_lookup_and_primary_key(self, each_cache: Cache, ada: User, django_assert_num_queries: Any) -> None:
        """Cold it costs a query each, warm none; a User comes out."""
        manager = from_cache(User)
        for query in ({"username": "ada"}, {"pk": ada.pk}):
            with django_assert_num_queries(1):
                assert manager.get_from_cache(**query) == ada
        with django_assert_num_queries(0):
            found = manager.get_from_cache(username="ada")
            assert manager.get_many_from_cache([ada.pk, ada.pk]) == [ada, ada]
        assert type(found) is User
        assert found.email == "ada@example.org"

    def test_the_function_is_the_attribute(self) -> None:
        """from_cache(User) is User.from_cache; for a model of one's own it is its CacheManager."""
        attribute: Any = User
        assert from_cache(User) is attribute.from_cache
        assert from_cache(City) == City.objects
        assert from_cache(CityProxy).model is CityProxy

    def test_options_are_those_of_a_manager(self) -> None:
        """They reach the declaration."""
        declaration = from_cache(User).declaration
        assert declaration is not None
        assert (declaration.ttl, declaration.cache, declaration.lookups()) == (60, "default", [("username",)])

    def test_register_takes_what_a_manager_takes(self) -> None:
        """Its typed options are the arguments of CacheManager, every one."""
        assert set(CacheOptions.__annotations__) == set(inspect.signature(CacheManager.__init__).parameters) - {"self"}

    def test_a_proxy_has_it_too(self, each_cache: Cache, ada: User, django_assert_num_queries: Any) -> None:
        """The rows are the same, and come out as the proxy's instances."""
        proxied: Any = UserProxy
        proxied.from_cache.get_from_cache(pk=ada.pk)
        found = proxied.from_cache.get_from_cache(pk=ada.pk)
        assert type(found) is UserProxy
        assert proxied.from_cache is proxied.from_cache
        with django_assert_num_queries(0):
            assert type(from_cache(User).get_from_cache(pk=ada.pk)) is User

    def test_it_is_no_attribute_of_instances(self, ada: User) -> None:
        """As with Django's managers."""
        anything: Any = ada
        with pytest.raises(AttributeError, match=r"User\.from_cache is not accessible via its instances"):
            _ = anything.from_cache

    def test_others_are_not_cached(self) -> None:
        """A model that nobody registered is named, and so is the way to do it."""
        with pytest.raises(UncacheableLookup, match=r"auth\.Group is not cached: register\(\) it"):
            from_cache(Group)
        with pytest.raises(UncacheableLookup, match=r"geo_app\.Landmark is not cached"):
            from_cache(Landmark)
        with pytest.raises(UncacheableLookup, match=r"auth\.User is not cached by email, only by pk, username"):
            from_cache(User).get_from_cache(email="ada@example.org")

    def test_it_shows_what_the_default_manager_shows(self, ada: User) -> None:
        """Also as a plain manager, for one database."""
        manager = from_cache(User)
        assert manager.get_queryset().get() == ada
        assert type(manager.get_queryset()) is type(User.objects.get_queryset())
        assert manager.db_manager("other").get_queryset().db == "other"

    def test_it_is_copied_and_pickled(self, each_cache: Cache, ada: User) -> None:
        """A copy reads the same rows."""
        manager = from_cache(User)
        for twin in (copy.copy(manager), copy.deepcopy(manager), pickle.loads(pickle.dumps(manager))):
            assert twin.get_from_cache(pk=ada.pk) == ada


@pytest.mark.django_db(transaction=True)
class TestWrites:
    """Every write to a registered model is seen."""

    def warm(self, user: User) -> User:
        """The user as it is cached now, certainly cached afterwards."""
        for _ in range(2):
            from_cache(User).get_from_cache(username=user.username)
        with override_settings(DEBUG=True):
            before = len(connection.queries)
            found = from_cache(User).get_from_cache(username=user.username)
            assert len(connection.queries) == before
        return found

    def test_saves_and_deletes(self, each_cache: Cache) -> None:
        """By instances and by the model's own managers."""
        ada = User.objects.create_user("ada", "ada@example.org")
        self.warm(ada)
        ada.email = "new@example.org"
        ada.save()
        assert self.warm(ada).email == "new@example.org"
        ada.username = "lovelace"
        ada.save(update_fields=["username"])
        with pytest.raises(User.DoesNotExist):
            from_cache(User).get_from_cache(username="ada")
        self.warm(ada)
        User.objects.all().delete()
        with pytest.raises(User.DoesNotExist):
            from_cache(User).get_from_cache(username="lovelace")

    def test_bulk_writes(self, each_cache: Cache) -> None:
        """By managers that know nothing of caches."""
        ada = User.objects.create_user("ada")
        self.warm(ada)
        User.objects.filter(username="ada").update(first_name="Ada")
        assert self.warm(ada).first_name == "Ada"
        ada.last_name = "Lovelace"
        User.objects.bulk_update([ada], ["last_name"])
        assert self.warm(ada).last_name == "Lovelace"
        UserProxy._default_manager.filter(pk=ada.pk).update(first_name="A.")
        assert self.warm(ada).first_name == "A."

    def test_a_rollback(self, each_cache: Cache) -> None:
        """What was not committed is not seen."""
        ada = User.objects.create_user("ada")
        self.warm(ada)
        with transaction.atomic():
            User.objects.filter(pk=ada.pk).update(first_name="Ada")
            assert from_cache(User).get_from_cache(pk=ada.pk).first_name == "Ada"
            transaction.set_rollback(True)
        assert from_cache(User).get_from_cache(pk=ada.pk).first_name == ""

    def test_changes_are_tracked(self, each_cache: Cache) -> None:
        """has_changed and old_value know the registered lookups."""
        User.objects.create_user("ada")
        found = from_cache(User).get_from_cache(username="ada")
        found.username = "lovelace"
        assert from_cache(User).has_changed(found, "username")
        assert from_cache(User).old_value(found, "username") == "ada"


class TestNobodyNotices:
    """What Django knows of the model is as it was."""

    def test_it_is_no_manager_of_django(self) -> None:
        """Default and base manager, and the list of managers, are the same."""
        assert [one.name for one in User._meta.managers] == ["objects"]
        assert User._default_manager == User.objects
        assert not isinstance(User._default_manager, CacheManager)
        assert not isinstance(User._base_manager, CacheManager)

    def test_related_managers_are_not_made_of_it(self) -> None:
        """They derive from the default manager."""
        assert isinstance(Group(pk=1).user_set, UserManager)
        assert not isinstance(Group(pk=1).user_set, CacheManager)

    @pytest.mark.django_db
    def test_no_migration_appears(self) -> None:
        """makemigrations finds nothing to do, and the state of the model has no manager that is not Django's."""
        with override_settings(MIGRATION_MODULES={}):  # those that the application comes with
            call_command("makemigrations", "auth", check=True, dry_run=True, verbosity=0)
        assert [name for name, _ in ModelState.from_model(User).managers] == ["objects"]


class TestMistakes:
    """Each is an error that names the model and what is wrong with it."""

    @pytest.mark.parametrize(
        ("model", "options", "said"),
        [
            ("auth.Usr", OPTIONS, r"'auth\.Usr' cannot be cached: there is no such model"),
            ("nosuch.User", OPTIONS, r"'nosuch\.User' cannot be cached: there is no such model"),
            ("User", OPTIONS, r'as "app_label\.Model", not as \'User\''),
            ("auth.User.username", OPTIONS, r"not as 'auth\.User\.username'"),
            (3, OPTIONS, r"not as 3"),
            (str, OPTIONS, r"not as <class 'str'>"),
            (AbstractBaseUser, OPTIONS, r"it is abstract, register the models derived from it"),
            (Named, {"cache_fields": ["name"]}, r"geo_app\.Named cannot be cached: it is abstract"),
            (User, {"cache_fields": ["email"]}, r"registered already, as auth\.User\.from_cache with other options"),
            ("auth.user", {**OPTIONS, "name": "cached"}, r"auth\.User cannot be cached: it is registered already"),
            (UserProxy, OPTIONS, r"geo_app\.UserProxy cannot be cached: it is registered already, as auth\.User"),
            ("geo_app.City", {"cache_fields": ["iata"]}, r"City\.objects declares cache_fields already"),
            (CityProxy, {"cache_fields": ["iata"]}, r"CityProxy\.objects declares cache_fields already"),
            (Restaurant, {"cache_fields": ["pk"]}, r"Restaurant\.objects declares cache_fields already"),
            (Group, {}, r"auth\.Group cannot be cached: cache_fields are required"),
            (Group, {"cache_fields": 3}, r"cache_fields must be a list of field names"),
            (Group, {"cache_fields": ["name"], "timeout": 3}, r"auth\.Group cannot be cached: .*'timeout'"),
            (Group, {"cache_fields": ["name"], "name": "objects"}, r"it has an attribute 'objects' already"),
            (Group, {"cache_fields": ["name"], "name": "permissions"}, r"it has an attribute 'permissions' already"),
            (Group, {"cache_fields": ["name"], "name": "a b"}, r"name='a b' is no name of an attribute"),
        ],
    )
    def test_register(self, model: Any, options: Any, said: str) -> None:
        """Nothing is registered then."""
        with pytest.raises(ConfigurationError, match=said):
            register(model, **options)
        assert not hasattr(Group, "from_cache")

    def test_the_same_twice_is_once(self) -> None:
        """As when the applications are set up again."""
        before = from_cache(User)
        register("auth.User", **OPTIONS)
        register(User, **OPTIONS)
        assert from_cache(User) is before

    @isolate_apps("tests.geo_app")
    def test_a_swapped_model(self) -> None:
        """The model that stands in its place is named."""

        class Account(models.Model):
            class Meta:
                app_label = "geo_app"
                swappable = "TEST_ACCOUNT_MODEL"

        with (
            override_settings(TEST_ACCOUNT_MODEL="auth.User"),
            pytest.raises(
                ConfigurationError, match=r"geo_app\.Account cannot be cached: it is swapped out for auth\.User"
            ),
        ):
            register(Account, cache_fields=["pk"])

    @isolate_apps("tests.geo_app")
    def test_what_its_fields_are_the_system_checks_see(self) -> None:
        """Wrong fields, options and replicas of a registered model are reported as those of a manager are."""

        class Foreign(models.Model):
            name = models.CharField(max_length=20)

            class Meta:
                app_label = "geo_app"

        register(Foreign, cache_fields=["name", "nme"], cache_ttl=-1, cache="nosuch", cache_replica="nowhere")
        assert registered_manager(Foreign) is from_cache(Foreign)

        class App:
            def get_models(self) -> Any:
                return [Foreign]

        found = {str(one.id): one.msg for one in check_models([App()])}
        assert {f"cachecore.{name}" for name in ("E003", "E004", "E005", "E008", "E012")} <= set(found)
        assert "cache_replica='nowhere' is no database; there are default" in found["cachecore.E012"]

    @isolate_apps("tests.geo_app")
    def test_a_child_has_no_rows_of_its_own_in_it(self) -> None:
        """In multi-table inheritance a child is another model, which must be registered itself."""

        class Parent(models.Model):
            class Meta:
                app_label = "geo_app"

        class Child(Parent):
            class Meta:
                app_label = "geo_app"

        register(Parent, cache_fields=["pk"], name="cached")
        child: Any = Child
        with pytest.raises(
            AttributeError, match=r"geo_app\.Child is not registered to be cached, only geo_app\.Parent is"
        ):
            _ = child.cached
        with pytest.raises(UncacheableLookup):
            from_cache(Child)

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ("auth.User", r"CACHECORE_MODELS must be a dict of models.*'auth\.User'"),
            (["auth.User"], r"CACHECORE_MODELS must be a dict of models"),
            (
                {"auth.User": ["username"]},
                r"CACHECORE_MODELS\['auth\.User'\] must be a dict of options.*\['username'\]",
            ),
            ({User: {}}, r"CACHECORE_MODELS\[<class .*User'>\] must be a dict"),
        ],
    )
    def test_the_setting(self, value: Any, said: str) -> None:
        """Its shape is checked when it is read."""
        with override_settings(CACHECORE_MODELS=value), pytest.raises(ConfigurationError, match=said):
            registered_models()


# -- before the applications are ready --------------------------------------------------------------

MODELS = """
from django.db import models
from cachecore.integrations.django import register

register("auth.User", cache_fields=["username"])
register("auth.Permission", cache_fields=["pk"], name="codename")
register("nosuch.Thing", cache_fields=["pk"])
register("shop.Later", cache_fields=["slug"])


class Later(models.Model):
    slug = models.SlugField(unique=True)
"""

PROGRAM = """
import json, sys
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=[
        "shop",  # before auth: its models are registered before they are there
        "cachecore.integrations.django",
        "django.contrib.contenttypes",
        "django.contrib.auth",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    CACHECORE={"default": {"BACKEND": "memory", "NAMESPACE": "shop", "PROCESSES": 1}},
    CACHECORE_MODELS={
        "auth.Group": {"cache_fields": ["name"]},
        "auth.Nobody": {"cache_fields": ["pk"]},
    },
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    USE_TZ=True,
)
django.setup()
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from cachecore.errors import UncacheableLookup
from cachecore.integrations.django import from_cache
from cachecore.integrations.django.checks import check_models, check_settings
from shop.models import Later

call_command("migrate", run_syncdb=True, verbosity=0)
call_command("makemigrations", "auth", "contenttypes", check=True, dry_run=True, verbosity=0)
told = {}
for model, lookup in ((User, "username"), (Group, "name"), (Later, "slug")):
    model._default_manager.create(**{lookup: "x"})
    for _ in range(2):
        from_cache(model).get_from_cache(**{lookup: "x"})
    with CaptureQueriesContext(connection) as queries:
        model.from_cache.get_from_cache(**{lookup: "x"})
        warm = len(queries)
    model._default_manager.update(**{lookup: "y"})
    told[model._meta.label] = [warm, getattr(from_cache(model).get_from_cache(**{lookup: "y"}), lookup)]
try:
    from_cache(Permission)
except UncacheableLookup as error:
    told["permission"] = str(error)
told["checks"] = sorted((str(one.id), one.msg) for one in [*check_settings(), *check_models()])
print(json.dumps(told))
"""


def test_models_are_registered_before_they_exist(tmp_path: Path) -> None:
    """By a models.py that is imported first, and by the setting; what cannot be a system check reports, and nothing
    fails."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "models.py").write_text(MODELS)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(PROGRAM)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        timeout=60,
    )
    assert (done.returncode, done.stderr[-2000:]) == (0, "")
    told = json.loads(done.stdout)
    assert told["auth.User"] == told["shop.Later"] == [0, "y"]
    assert told["auth.Group"] == [0, "y"]
    assert "it has an attribute 'codename' already" in told["permission"]
    reported = "\n".join(f"{name} {said}" for name, said in told["checks"])
    assert [name for name, _ in told["checks"]] == ["cachecore.E010"] * 3
    assert "CACHECORE_MODELS['auth.Nobody']: 'auth.Nobody' cannot be cached: there is no such model" in reported
    assert "'nosuch.Thing' is registered to be cached, and there is no such model" in reported
    assert "auth.Permission cannot be cached: it has an attribute 'codename' already" in reported
