"""Each way to write outdates exactly the rows that it says, in autocommit and in a transaction."""

from pathlib import Path as FilePath
from typing import Any

import pytest
from django.db import transaction

from cachecore.integrations.django.writing import sql_writes
from cachecore.integrations.django.writing.connection import state_of
from tests.write_paths import SECTIONS, Path, World, document

PATHS = [path for paths in SECTIONS.values() for path in paths]


def fresh(row: Any) -> dict[str, Any] | None:
    """What the database has of a row."""
    return type(row)._base_manager.filter(pk=row.pk).values().first()


def values(instance: Any) -> dict[str, Any]:
    """What an instance has."""
    return {column.attname: getattr(instance, column.attname) for column in instance._meta.concrete_fields}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize("path", PATHS, ids=[path.name for path in PATHS])
def test_a_way_to_write(
    path: Path,
    in_transaction: bool,
    each_cache: Any,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: Any,
) -> None:
    """The rows it names are read from the database afterwards, and every other comes from the cache and is right."""
    world = World()
    keys = {id(row): row.pk for row in world.rows}  # delete() takes it from the instance
    classes = {id(row): type(row) for row in world.rows}
    touched = {id(row) for row in path.touches(world)}
    for row in world.rows:
        type(row).objects.get_from_cache(pk=row.pk)
    selected: list[Any] = []
    select = sql_writes._matching
    monkeypatch.setattr(sql_writes, "_matching", lambda *args: selected.append(args) or select(*args))
    if in_transaction:
        with transaction.atomic():
            path.write(world)
    else:
        path.write(world)
    monkeypatch.undo()
    assert len(selected) == path.queries
    assert not state_of("default").units
    statistics, unexpected = each_cache.statistics, []
    for row in world.rows:
        model, pk = classes[id(row)], keys[id(row)]
        hits = statistics.hits
        found = model.objects.filter(pk=pk).first()
        try:
            cached = model.objects.get_from_cache(pk=pk)
        except model.DoesNotExist:
            assert found is None, f"{model.__name__} {pk} is hidden"
        else:
            assert found is not None, f"{model.__name__} {pk} is still served"
            assert values(cached) == values(found), f"{model.__name__} {pk} is stale"
        if (statistics.hits > hits) is (id(row) in touched):
            unexpected.append(f"{model.__name__} {pk} {'hit' if statistics.hits > hits else 'miss'}")
    assert unexpected == []


def test_the_documentation_says_what_is_proven() -> None:
    """docs/django-writes.md is what ``python -m tests.print_write_paths`` prints."""
    page = FilePath(__file__).parent.parent / "docs" / "django-writes.md"
    assert page.read_text() == document()
