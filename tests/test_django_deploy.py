"""A rolling deploy: an old and a new version of one model, in two processes, on one cache and one database.

The new version has a column that the old one does not know, lacks one that is about to be dropped, and has renamed a
third in Python only. Each process outdates rows for the other; neither ever takes the other's row for its own.
"""

import json
import os
import random
import select
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
from django.db import connections

OLD = """
class City(models.Model):
    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    nickname = models.CharField(max_length=100, null=True)
    objects = CacheManager(cache_fields=["slug"])
"""
NEW = """
class City(models.Model):
    slug = models.SlugField(unique=True)
    title = models.CharField(max_length=100, db_column="name")
    area = models.IntegerField(db_default=7)
    objects = CacheManager(cache_fields=["slug"])
"""
SAME_COLUMNS = OLD.replace('["slug"]', '["slug"], cache_version=2')
"""The columns are the same and mean something else."""

PROGRAM = """
import json, sys
import django
from django.conf import settings
from django.db import connection, transaction

settings.configure(**json.loads(sys.argv[1]))
django.setup()
from cachecore.integrations.django import caches
from shop.models import City

def get(**query):
    city = City.objects.get_from_cache(**query)
    return {column.column: getattr(city, column.attname) for column in City._meta.concrete_fields}

def create(**values): return City.objects.create(**values).pk
def update(pk, **values): return City.objects.filter(pk=pk).update(**values)
def bulk_update(pk, **values): return City.objects.bulk_update([City(pk=pk, **values)], list(values))
def delete(pk): return City.objects.get(pk=pk).delete()[0]
def delete_all(pk): return City.objects.filter(pk=pk).delete()[0]

def save(pk, **values):
    city = City.objects.get_from_cache(pk=pk)
    for name, value in values.items():
        setattr(city, name, value)
    city.save()

def begin():
    global block
    block = transaction.atomic()
    block.__enter__()

def commit(): block.__exit__(None, None, None)

def statistics():
    counted = caches["default"].statistics
    return {"hits": counted.hits, "reasons": counted.miss_reasons}

for line in sys.stdin:
    name, arguments = json.loads(line)
    try:
        reply = {"reply": globals()[name](**arguments)}
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), flush=True)
"""


class Failed(Exception):
    """What the process raised."""


class Process:
    """One version of the application, which does as it is told: ``process.get(slug="oslo")``."""

    def __init__(self, folder: Path, models: str, settings: dict[str, Any]) -> None:
        package = folder / "shop"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "models.py").write_text(
            f"from django.db import models\nfrom cachecore.integrations.django import CacheManager\n{models}"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        command = [sys.executable, "-W", "error", "-c", PROGRAM, json.dumps(settings)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    def __getattr__(self, name: str) -> Any:
        def tell(**arguments: Any) -> Any:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps([name, arguments]) + "\n")
            self._process.stdin.flush()
            readable, _, _ = select.select([self._process.stdout], [], [], 60)
            assert readable, f"{name} has not ended"
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
            if "error" in answer:
                raise Failed(answer["error"])
            return answer["reply"]

        return tell

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                assert self._process.wait(30) == 0
            finally:
                self._process.kill()


@pytest.fixture
def database(db: None, transactional_db: None, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A database of the kind that the tests run on, with the table as it is in the middle of the deploy."""
    default = connections["default"]
    settings = {name: default.settings_dict[name] for name in ("ENGINE", "NAME", "USER", "HOST", "PORT", "OPTIONS")}
    if default.vendor == "sqlite":
        settings["NAME"] = str(tmp_path / "shop.sqlite3")
    connection = default.copy()
    connection.settings_dict = {**default.settings_dict, **settings}
    number = {"sqlite": "integer PRIMARY KEY AUTOINCREMENT", "postgresql": "bigserial PRIMARY KEY"}[default.vendor]
    columns = "slug varchar(50) UNIQUE, name varchar(100), nickname varchar(100) NULL, area integer NOT NULL DEFAULT 7"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE shop_city (id {number}, {columns})")
    yield settings
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE shop_city")
    connection.close()


@pytest.fixture(params=["redis", "memcached"])
def settings_of_both(request: pytest.FixtureRequest, database: dict[str, Any]) -> dict[str, Any]:
    """One cache server and one database."""
    server = request.getfixturevalue(f"{request.param}_server")
    cache = {
        "BACKEND": request.param,
        "LOCATION": server.url,
        "NAMESPACE": uuid.uuid4().hex,
        "OPTIONS": {"timeout": 10.0, "connect_timeout": 10.0},
        "POLICY": {"unreachable": "refuse"},
    }
    return {
        "DATABASES": {"default": database},
        "INSTALLED_APPS": ["cachecore.integrations.django", "shop"],
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "CACHECORE": {"default": cache},
    }


@pytest.fixture
def both(settings_of_both: dict[str, Any], tmp_path: Path) -> Iterator[tuple[Process, Process]]:
    """The old version and the new one."""
    with (
        Process(tmp_path / "old", OLD, settings_of_both) as old,
        Process(tmp_path / "new", NEW, settings_of_both) as new,
    ):
        yield old, new


def make_oslo(old: Process) -> int:
    """A row that the old version has written."""
    pk: int = old.create(slug="oslo", name="Oslo", nickname="Tigerstaden")
    return pk


def test_each_version_reads_its_own_columns(both: tuple[Process, Process]) -> None:
    """A row cached by one version is no hit of the other, which reads and stores its own, in turn, by each lookup."""
    old, new = both
    pk = make_oslo(old)
    for _ in range(3):
        for query in ({"pk": pk}, {"slug": "oslo"}):
            assert old.get(**query) == {"id": pk, "slug": "oslo", "name": "Oslo", "nickname": "Tigerstaden"}
            assert new.get(**query) == {"id": pk, "slug": "oslo", "name": "Oslo", "area": 7}
    assert old.statistics()["reasons"]["schema"] >= 2
    assert new.statistics()["reasons"]["schema"] >= 2
    # While only one version serves, its rows are hits.
    for _ in range(3):
        new.get(pk=pk)
    assert new.statistics()["hits"] >= 2


@pytest.mark.parametrize("write", ["save", "update", "bulk_update"])
def test_each_version_outdates_for_the_other(write: str, both: tuple[Process, Process]) -> None:
    """What one has written, the other reads at once, whoever of them has filled the cache before."""
    old, new = both
    pk = make_oslo(old)
    for turn in range(3):
        assert old.get(pk=pk) == old.get(slug="oslo")
        assert new.get(pk=pk) == new.get(slug="oslo")
        getattr(new, write)(pk=pk, title=f"new {turn}", area=turn)
        assert (old.get(pk=pk)["name"], old.get(slug="oslo")["name"]) == (f"new {turn}",) * 2
        assert (new.get(pk=pk)["area"], new.get(slug="oslo")["area"]) == (turn, turn)
        getattr(old, write)(pk=pk, name=f"old {turn}", nickname=str(turn))
        assert (new.get(pk=pk)["name"], new.get(slug="oslo")["name"]) == (f"old {turn}",) * 2
        assert (old.get(pk=pk)["nickname"], new.get(pk=pk)["area"]) == (str(turn), turn)


def test_renames_and_deletes(both: tuple[Process, Process]) -> None:
    """A slug that one version has changed leads nowhere for the other, and a row that it has deleted is gone."""
    old, new = both
    pk = make_oslo(old)
    for process in (old, new, old, new):
        process.get(slug="oslo")
    new.update(pk=pk, slug="christiania")
    for process in (old, new):
        with pytest.raises(Failed, match="DoesNotExist"):
            process.get(slug="oslo")
        assert process.get(slug="christiania")["id"] == pk
    again = new.create(slug="oslo", title="Oslo", area=3)
    assert old.get(slug="oslo") == {"id": again, "slug": "oslo", "name": "Oslo", "nickname": None}
    old.delete(pk=pk)
    new.delete_all(pk=again)
    for process in (old, new):
        for query in ({"pk": pk}, {"slug": "christiania"}, {"pk": again}, {"slug": "oslo"}):
            with pytest.raises(Failed, match="DoesNotExist"):
                process.get(**query)


def test_a_transaction_of_the_other_version(both: tuple[Process, Process]) -> None:
    """Until it commits the other reads the old row, and from then on the new one."""
    old, new = both
    pk = make_oslo(old)
    old.get(pk=pk)
    new.begin()
    new.update(pk=pk, title="Kristiania")
    assert new.get(pk=pk)["name"] == "Kristiania"
    assert [old.get(pk=pk)["name"], old.get(slug="oslo")["name"]] == ["Oslo", "Oslo"]
    new.commit()
    assert [old.get(pk=pk)["name"], old.get(slug="oslo")["name"]] == ["Kristiania", "Kristiania"]


def test_another_cache_version(settings_of_both: dict[str, Any], tmp_path: Path) -> None:
    """With another cache_version and the same columns it is the same: own rows only, and outdated for both."""
    with ExitStack() as processes:
        one, two = [
            processes.enter_context(Process(tmp_path / name, models, settings_of_both))
            for name, models in (("one", OLD), ("two", SAME_COLUMNS))
        ]
        pk = make_oslo(one)
        for process in (one, two, one, two):
            assert process.get(pk=pk)["nickname"] == "Tigerstaden"
        assert two.statistics()["hits"] == 0
        two.update(pk=pk, nickname="2")
        assert (one.get(pk=pk)["nickname"], two.get(pk=pk)["nickname"]) == ("2", "2")
        one.save(pk=pk, nickname="1")
        assert (one.get(pk=pk)["nickname"], two.get(pk=pk)["nickname"]) == ("1", "1")


def test_many_random_steps(both: tuple[Process, Process]) -> None:
    """Both read and write, rename, delete and make again at random: every answer is what the database holds."""
    old, new = both
    chance = random.Random(1)
    rows: dict[int, dict[str, Any]] = {}
    for number in range(3):
        pk = old.create(slug=f"s{number}", name="0", nickname=None)
        rows[pk] = {"id": pk, "slug": f"s{number}", "name": "0", "nickname": None, "area": 7}

    def check(process: Process) -> None:
        pk, row = chance.choice(list(rows.items()))
        columns = ("id", "slug", "name", *(["nickname"] if process is old else ["area"]))
        query = chance.choice([{"pk": pk}, {"slug": row["slug"]}])
        assert process.get(**query) == {name: row[name] for name in columns}

    for step in range(200):
        process = chance.choice(both)
        pk = chance.choice(list(rows))
        match chance.randrange(8):
            case 0:
                write = chance.choice(["update", "save", "bulk_update"])
                getattr(process, write)(pk=pk, **{"name" if process is old else "title": str(step)})
                rows[pk]["name"] = str(step)
            case 1:
                process.update(pk=pk, slug=f"r{step}")
                rows[pk]["slug"] = f"r{step}"
            case 2 if process is new:
                new.save(pk=pk, area=step)
                rows[pk]["area"] = step
            case 2:
                old.update(pk=pk, nickname=str(step))
                rows[pk]["nickname"] = str(step)
            case 3 if step % 4 == 0:
                chance.choice([process.delete, process.delete_all])(pk=pk)
                gone = rows.pop(pk)
                made = new.create(slug=gone["slug"], title=str(step))
                rows[made] = {"id": made, "slug": gone["slug"], "name": str(step), "nickname": None, "area": 7}
            case _:
                for reader in (process, *both):
                    check(reader)
    assert min(process.statistics()["hits"] for process in both) > 20
