"""Which instances were loaded together, so that what one of them lacks can be fetched for all at once.

Instances are peers if they come from one evaluation of a queryset or from one call that read many rows from the cache.
Only models that follow a foreign key from the cache are told so (`group`); for all others nothing is done.

Theory of operation
-------------------
Django does not say which rows belong to one evaluation, but it makes one list of column names for each, of which every
row is given that same list: by `from_db`, which is called for each. So the list itself is what the rows have in common.
The last few lists are kept alive, that no other may come to stand at the address by which one is recognised.

Peers know each other by weak references: an instance keeps none of its peers alive, and what remembers an evaluation
keeps none of its instances. A group has an end, because somebody may iterate over millions of rows.
"""

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from inspect import signature
from typing import Any, TypeVar, cast

from django.db import models

M = TypeVar("M", bound=models.Model)

MOST = 1000
"""Instances in one group: so many keys are asked for in one round trip."""

_EVALUATIONS = 8
"""How many evaluations of one model may take turns, as those of a self-join do, and still be told apart."""

_ATTRIBUTE = "cachecore_peers"
"""Of an instance's _state: its group."""


class _Group:
    """Instances that were loaded together."""

    __slots__ = ("__weakref__", "members")

    def __init__(self) -> None:
        self.members: list[weakref.ref[models.Model]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, ()  # a pickled or deeply copied instance has no peers


def peers_of(instance: models.Model) -> list[models.Model]:
    """The instances that were loaded together with this one and still exist, itself among them."""
    group = getattr(instance._state, _ATTRIBUTE, None)
    if not isinstance(group, _Group):
        return [instance]
    found = [peer for reference in group.members if (peer := reference()) is not None]
    # A shallow copy has the state of its original and so its group, but is not in it.
    return found if any(peer is instance for peer in found) else [instance, *found]


def together(instances: Iterable[M]) -> None:
    """These instances have been loaded together."""
    group = _Group()
    for instance in instances:
        if len(group.members) >= MOST:
            group = _Group()
        group.members.append(weakref.ref(instance))
        setattr(instance._state, _ATTRIBUTE, group)


def answering_peers(answers: Callable[[str, Sequence[Any]], list[Any] | None]) -> Callable[..., list[Any] | None]:
    """Like ``answers``, and the instances it returns have been loaded together."""

    def answering(name: str, values: Sequence[Any]) -> list[Any] | None:
        found = answers(name, values)
        if found:
            together(found)
        return found

    return answering


def part(instances: Iterable[models.Model]) -> None:
    """These instances have no peers from now on: what one of them lacks is not asked for again with the others."""
    for instance in instances:
        vars(instance._state).pop(_ATTRIBUTE, None)


def group(model: type[models.Model]) -> None:
    """From now on tell the instances of ``model`` that a queryset loads which others it loads with them. Subclasses
    inherit it; twice is once."""
    methods: Any = model
    if not are_grouped(model):
        methods.from_db = classmethod(_grouping(methods.from_db.__func__))


def are_grouped(model: type[models.Model]) -> bool:
    """Whether `group` has been called for a model or one of its bases."""
    methods: Any = model
    return hasattr(methods.from_db.__func__, "groups")


def _grouping(original: Callable[..., Any]) -> Callable[..., Any]:
    recent: dict[int, tuple[Sequence[str], weakref.ref[_Group]]] = {}
    lock = threading.Lock()

    def begin(instance: Any, field_names: Any) -> None:
        if not isinstance(field_names, list):
            return  # a constant of somebody's own, and no evaluation
        begun = _Group()
        with lock:
            recent.pop(id(cast("object", field_names)), None)  # so that it becomes the youngest
            recent[id(cast("object", field_names))] = (cast("list[str]", field_names), weakref.ref(begun))
            while len(recent) > _EVALUATIONS:
                del recent[next(iter(recent))]
        begun.members.append(weakref.ref(instance))
        instance._state.cachecore_peers = begun

    # Called for each row, and therefore written twice: to hand on options that are never there costs as much as the
    # rest, and so does to call a function for what both do.
    reference = weakref.ref
    grouping: Any
    if len(signature(original).parameters) == len(("cls", "db", "field_names", "values")):

        def bare(cls: Any, db: str | None, field_names: Any, values: Any) -> Any:
            instance = original(cls, db, field_names, values)
            known = recent.get(id(field_names))
            found = None if known is None else known[1]()
            if found is None or len(found.members) >= MOST:
                begin(instance, field_names)
            else:
                found.members.append(reference(instance))
                instance._state.cachecore_peers = found
            return instance

        grouping = bare
    else:

        def with_options(cls: Any, db: str | None, field_names: Any, values: Any, **options: Any) -> Any:
            instance = original(cls, db, field_names, values, **options)
            known = recent.get(id(field_names))
            found = None if known is None else known[1]()
            if found is None or len(found.members) >= MOST:
                begin(instance, field_names)
            else:
                found.members.append(reference(instance))
                instance._state.cachecore_peers = found
            return instance

        grouping = with_options
    # Django looks at the signature, `tracking` and `rows` at how a tracking one is marked.
    wraps(original)(grouping)
    grouping.groups = original
    return grouping  # type: ignore[no-any-return]
