"""The attribute dicts of instances: what rows say, new at each call, and dicts like any other."""

import gc
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from cachecore import _attributes_py
from cachecore.errors import UnsupportedValue

try:
    from cachecore import _attributes_c
except ImportError:
    if os.environ.get("CACHECORE_REQUIRE_EXTENSION") == "1":
        raise
    _attributes_c = None  # type: ignore[assignment]

MakerMaker = Callable[..., Callable[[tuple[object, ...], object], dict[str, Any]]]


@pytest.fixture(
    params=[
        pytest.param(_attributes_py, id="python"),
        pytest.param(
            _attributes_c,
            id="cython",
            marks=pytest.mark.skipif(_attributes_c is None, reason="the compiled attributes are not built"),
        ),
    ]
)
def maker(request: pytest.FixtureRequest) -> MakerMaker:
    """What fills a new dict, of one implementation, then of the other."""

    def make_maker(*arguments: Any) -> Callable[[tuple[object, ...], object], dict[str, Any]]:
        fill = request.param.attributes_filler(*arguments)

        def make(row: tuple[object, ...], first: object) -> dict[str, Any]:
            attributes: dict[str, Any] = {}
            assert fill(attributes, row, first) is None
            return attributes

        return make

    return make_maker


class Node:
    """Something that can be referred to weakly, and is followed by the garbage collector."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] | None = None


def test_attributes_are_those_of_the_row(maker: MakerMaker) -> None:
    """The dict has the first attribute, then those of the row in its order, without the values of no attribute."""
    attributes = maker("_state", ["id", None, "name"])((1, 2, "x"), "state")
    assert list(attributes.items()) == [("_state", "state"), ("id", 1), ("name", "x")]


def test_functions(maker: MakerMaker) -> None:
    """A load sees what is not None, a conversion sees None too and what a load made, both anew for each dict."""
    make = maker("_", ["a", "b", "c"], [(0, lambda value: [value]), (2, list)], [(1, repr), (2, len)])
    assert make((1, None, "xyz"), 0) == {"_": 0, "a": [1], "b": "None", "c": 3}
    first, second = make((1, 2, "x"), 0), make((1, 2, "x"), 0)
    assert first == second
    assert first["a"] is not second["a"]
    assert make((None, 1, "x"), 0)["a"] is None


def test_two_attributes_of_one_name(maker: MakerMaker) -> None:
    """Of which one would be lost, are refused."""
    for names in (["a", "a"], ["_"]):
        with pytest.raises(ValueError, match="two attributes have one name"):
            maker("_", names)


def test_function_that_fails(maker: MakerMaker) -> None:
    """What a function raises comes out as it is."""

    def load(value: object) -> object:
        raise LookupError(value)

    with pytest.raises(LookupError, match="x"):
        maker("_", ["a"], [(0, load)])(("x",), 0)


@pytest.mark.parametrize("row", [(), (1,), (1, 2, 3)])
def test_row_of_another_length(maker: MakerMaker, row: tuple[object, ...]) -> None:
    """A row with too many or too few values is refused."""
    with pytest.raises(UnsupportedValue, match=f"a row of {len(row)} values for 2 columns"):
        maker("_", ["a", "b"])(row, 0)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 10, 11, 30, 85, 200])
def test_dict_like_any_other(maker: MakerMaker, count: int) -> None:
    """Whatever its size, the dict can be read, changed, extended, emptied and copied, and no other dict changes."""
    names, row = [f"name_{i}" for i in range(count)], tuple(range(1000, 1000 + count))
    make = maker("_", names)
    plain = {"_": 0, **dict(zip(names, row, strict=True))}
    one, other = make(row, 0), make(row, 0)
    assert one == other == plain == one.copy()
    for name in [*names, "more", "and more"]:
        one[name] = plain[name] = "changed"
        assert one == plain
    for name in [*names, "_"]:
        assert one.pop(name) == plain.pop(name)
        assert one == plain
    assert other == make(row, 0) == {"_": 0, **dict(zip(names, row, strict=True))}


def test_references_are_counted(maker: MakerMaker) -> None:
    """A dict keeps its values alive, and lets go of them, and of nothing else, when it is gone."""
    make = maker("_", ["a", "b", None], [(1, lambda value: value)])
    state, one, two, of_none = object(), object(), object(), object()
    every = (state, one, two, of_none)
    before = [sys.getrefcount(each) for each in every]
    kept = [make((one, two, of_none), state) for _ in range(5000)]
    assert [sys.getrefcount(each) for each in every] == [count + 5000 for count in before[:3]] + before[3:]
    del kept
    assert [sys.getrefcount(each) for each in every] == before


def test_cycle_is_collected(maker: MakerMaker) -> None:
    """A value that refers to its own dict is found by the garbage collector."""
    for place in (0, 1):
        node = Node()
        row, state = ((1, 2), node) if place == 0 else ((node, 2), None)
        node.attributes = maker("_", ["a", "b"])(row, state)
        assert gc.is_tracked(node.attributes)
        gone = weakref.ref(node)
        del node, row, state
        gc.collect()
        assert gone() is None
