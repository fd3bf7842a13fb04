"""Snapshots of an instance's tracked fields, and what has changed since."""

import copy
import pickle
from typing import Any

import pytest

from cachecore.tracking import MISSING, changed, old, taker

NAMES = ("id", "slug", "country_id")


def test_a_snapshot_holds_the_tracked_values_in_the_order_of_their_names() -> None:
    """A snapshot is a plain tuple of the tracked values; other attributes are not in it."""
    assert taker(NAMES)({"slug": "oslo", "id": 1, "_state": object(), "country_id": 47}) == (1, "oslo", 47)


@pytest.mark.parametrize("names", [(), ("slug",), NAMES])
def test_a_snapshot_is_a_tuple_for_any_number_of_fields(names: tuple[str, ...]) -> None:
    """None, one or several tracked fields make a tuple of that length."""
    taken = taker(names)({"id": 1, "slug": "oslo", "country_id": 47})
    assert type(taken) is tuple
    assert len(taken) == len(names)
    assert changed(taken, names, {"id": 2, "slug": "x", "country_id": 0}) == names


def test_only_fields_with_another_value_have_changed() -> None:
    """The names of the fields whose values differ are returned, in their order."""
    before = taker(NAMES)({"id": 1, "slug": "oslo", "country_id": 47})
    assert changed(before, NAMES, {"id": 1, "slug": "oslo", "country_id": 47}) == ()
    assert changed(before, NAMES, {"id": 1, "slug": "osl", "country_id": None}) == ("slug", "country_id")
    assert old(before, NAMES, "slug") == "oslo"


def test_an_unsaved_instance_has_no_changes_and_no_old_values() -> None:
    """Without a snapshot nothing has changed, and every old value is None."""
    assert changed(None, NAMES, {"id": 1, "slug": "oslo"}) == ()
    assert old(None, NAMES, "slug") is None


@pytest.mark.parametrize("names", [("slug",), NAMES])
def test_a_deferred_field_is_missing_and_is_never_loaded(names: tuple[str, ...]) -> None:
    """A field absent from __dict__ is MISSING in the snapshot, and its descriptor is not asked."""

    class Deferred:
        @property
        def slug(self) -> str:
            raise AssertionError("this would query the database")

    instance = Deferred()
    instance.__dict__.update(id=1, country_id=47)
    before = taker(names)(instance.__dict__)
    assert before[names.index("slug")] is MISSING
    assert old(before, names, "slug") is None
    assert changed(before, names, {"id": 1, "slug": "oslo", "country_id": 47}) == ()


def test_a_field_that_became_deferred_is_not_known_to_differ() -> None:
    """A field that was in the snapshot and is no longer in __dict__ does not count as changed."""
    before = taker(NAMES)({"id": 1, "slug": "oslo", "country_id": 47})
    assert changed(before, NAMES, {"id": 1}) == ()


@pytest.mark.parametrize("original", [{"a": [1]}, [{"a": 1}], {"a": {"b": {1}}}, bytearray(b"a"), ([1],)])
@pytest.mark.parametrize("names", [("facts",), ("id", "facts")])
def test_a_value_changed_in_place_has_changed(original: Any, names: tuple[str, ...]) -> None:
    """A mutable value is compared with the copy taken at the snapshot, however deep the change."""
    value = copy.deepcopy(original)
    mapping = {"id": 1, "facts": value}
    before = taker(names)(mapping)
    assert changed(before, names, mapping) == ()
    _mutate(value)
    assert changed(before, names, mapping) == ("facts",)
    assert old(before, names, "facts") == original


def _mutate(value: Any) -> None:
    match value:
        case {"a": list() as inner} | (list() as inner,):
            inner.append(2)
        case [dict() as inner]:
            inner["a"] = 2
        case {"a": {"b": set() as inner}}:
            inner.add(2)
        case _:
            value += b"b"


def test_the_old_value_is_the_callers_own() -> None:
    """Changing an old value in place does not change the snapshot."""
    before = taker(("facts",))({"facts": {"a": 1}})
    taken: Any = old(before, ("facts",), "facts")
    taken["a"] = 2
    assert old(before, ("facts",), "facts") == {"a": 1}


def test_a_snapshot_survives_copies_and_pickles() -> None:
    """MISSING is still the same member after a pickle and a deep copy, so that twins and other processes agree."""
    before = taker(NAMES)({"id": 1, "slug": "oslo"})
    for twin in (copy.deepcopy(before), pickle.loads(pickle.dumps(before))):
        assert twin == before
        assert twin[2] is MISSING


def test_the_name_of_a_field_that_is_not_tracked_has_no_old_value() -> None:
    """Asking for the old value of an untracked field gives None."""
    assert old((1, "oslo", 47), NAMES, "population") is None
