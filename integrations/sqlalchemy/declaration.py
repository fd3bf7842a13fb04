"""What a mapped class says of its cached rows: the decorator `cached`, and who has been declared."""

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import Table, UniqueConstraint, event
from sqlalchemy.orm import ColumnProperty, Mapper

from cachecore.errors import ConfigurationError
from cachecore.policy import Policy, Ttl, lifetime

C = TypeVar("C", bound=type[Any])

_ATTRIBUTE = "__cachecore__"


@dataclass(frozen=True, eq=False)
class Declaration:
    """How the rows of a mapped class, and of the classes that inherit from it, are cached."""

    mapper: Mapper[Any]
    lookups: tuple[tuple[str, ...], ...]
    ttl: Ttl
    version: int | str | None
    policy: Policy | None
    exclude: frozenset[str]
    name: str | None


_declared: list[Declaration] = []
_count = itertools.count(1)
_generation = 0
"""Changes with every class that is declared, or mapped: whoever has asked which there are asks again."""


def generation() -> int:
    """A number that is another one if other classes may be cached than before."""
    return _generation


def cached(
    lookups: Sequence[str | Sequence[str]] = (),
    *,
    ttl: Ttl = None,
    version: int | str | None = None,
    policy: Policy | None = None,
    exclude: Collection[str] = (),
    name: str | None = None,
) -> Callable[[C], C]:
    """Class decorator: rows of this mapped class are read through the cache by ``get_from_cache`` and its like.

    They are always cached by their primary key. Classes that inherit from it are cached too, each with rows of its own.

    lookups: attributes of columns, or sequences of them, that are unique and by which rows are asked for besides.
    ttl: seconds or timedelta that rows live, ``math.inf`` until evicted; None means the policy's, or the cache's.
    version: the application's own mark; rows written under another are not read.
    policy: durations and choices of the protocol; None means the cache's.
    exclude: attributes of columns that are not cached: they load from the database when they are first asked for.
    name: of the rows in keys and figures; None means table and class. Every process must use the same.

    Raises ConfigurationError for a class that is not mapped to tables, and for a lookup that is no column or is not
    unique.
    """

    names = tuple(_names(one) for one in _several(lookups))
    if policy is not None and not isinstance(policy, Policy):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"policy must be a Policy or None, not {policy!r}")
    if policy is not None:
        refuse_journal(policy)
    if not isinstance(version, int | str | None):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"version must be an int, a str or None, not {version!r}")
    if name is not None and not (isinstance(name, str) and name):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"name must be a str that is not empty, or None, not {name!r}")
    lifetime(ttl)

    def declare(cls: C) -> C:
        global _generation
        mapper = mapper_of(cls)
        for one in mapper.iterate_to_root():
            if not isinstance(one.local_table, Table):
                raise ConfigurationError(f"{cls.__name__} is mapped to {one.local_table!r}, and only tables are cached")
        for lookup in names:
            _check_lookup(mapper, lookup)
        for attribute in _several(exclude, "exclude"):
            column_attribute(mapper, attribute)
            if attribute in identity_of(mapper) or any(attribute in lookup for lookup in names):
                raise ConfigurationError(f"{cls.__name__}: exclude={attribute!r}, by which its rows are looked up")
        declaration = Declaration(mapper, names, ttl, version, policy, frozenset(exclude), name)
        setattr(cls, _ATTRIBUTE, declaration)
        _declared.append(declaration)
        _generation = next(_count)
        return cls

    return declare


def refuse_journal(policy: Policy) -> None:
    """Raise ConfigurationError for a policy that asks for a journal."""
    if policy.unreachable == "journal":
        raise ConfigurationError('there is no journal in SQLAlchemy: unreachable="refuse" or "bounded", not "journal"')


def _several(given: Any, argument: str = "lookups") -> Collection[Any]:
    if isinstance(given, type):
        raise ConfigurationError(f"write @cached() above {given.__name__}, with brackets")
    if isinstance(given, str) or not isinstance(given, Collection):
        raise ConfigurationError(f"{argument} must be a list of attributes, not {given!r}")
    found: Any = given  # pyright: ignore[reportUnknownVariableType]
    return found  # type: ignore[no-any-return]


def _names(lookup: Any) -> tuple[str, ...]:
    names: tuple[Any, ...] = (lookup,) if isinstance(lookup, str) else tuple(_several(lookup))
    if not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"lookups must be names of attributes, not {lookup!r}")
    return names


def mapper_of(cls: object) -> Mapper[Any]:
    """The mapper of a mapped class. Raises ConfigurationError."""
    inspect: Any = sqlalchemy.inspect
    mapper: Mapper[Any] | None = inspect(cls, raiseerr=False) if isinstance(cls, type) else None
    if not isinstance(mapper, Mapper):
        raise ConfigurationError(f"{cls!r} is not a class that SQLAlchemy has mapped")
    return mapper


def declaration_of(mapper: Mapper[Any]) -> Declaration | None:
    """The declaration of a class, or the one that it inherits."""
    found: Declaration | None = getattr(mapper.class_, _ATTRIBUTE, None)
    return found


def all_cached() -> Iterator[tuple[Mapper[Any], Declaration]]:
    """Every class whose rows may be in a cache, those that inherit included."""
    seen: set[Mapper[Any]] = set()
    for declared in _declared:
        for mapper in declared.mapper.self_and_descendants:
            declaration = declaration_of(mapper)
            if declaration is not None and mapper not in seen:
                seen.add(mapper)
                yield mapper, declaration


def column_attribute(mapper: Mapper[Any], name: str) -> ColumnProperty[Any]:
    """The attribute of a column. Raises ConfigurationError if it is none."""
    # Not mapper.attrs, which configures all mappers: some may not be there yet.
    found = mapper.get_property(name) if mapper.has_property(name) else None
    if not isinstance(found, ColumnProperty) or not isinstance(getattr(found.columns[0], "table", None), Table):
        known = ", ".join(mapper.columns.keys())
        raise ConfigurationError(f"{mapper.class_.__name__} has no column attribute {name!r}; there are {known}")
    return found


def identity_of(mapper: Mapper[Any]) -> tuple[str, ...]:
    """The attributes of the primary key, in its order."""
    return tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)


def _check_lookup(mapper: Mapper[Any], names: tuple[str, ...]) -> None:
    label = f"{mapper.class_.__name__}: the lookup {names!r}"
    if not names or len(set(names)) != len(names):
        raise ConfigurationError(f"{label} must name at least one attribute, each once")
    columns = {column_attribute(mapper, name).columns[0] for name in names}
    for name in names:
        if column_attribute(mapper, name).deferred:
            raise ConfigurationError(f"{label}: {name} is deferred, and cached rows do not hold it")
    tables: list[Any] = [table for table in mapper.tables if isinstance(table, Table)]
    keys: set[frozenset[Any]] = set()
    for table in tables:
        uniques: list[Any] = [one for one in table.constraints if isinstance(one, UniqueConstraint)]
        uniques += [table.primary_key, *(one for one in table.indexes if one.unique and not _is_partial(one))]
        keys |= {frozenset(one.columns) for one in uniques}
        keys |= {frozenset({one}) for one in table.columns if one.unique}
    if not any(key and key <= columns for key in keys):
        raise ConfigurationError(
            f"{label} is not unique: give it unique=True, a UniqueConstraint or a unique Index that is not partial"
        )


def _is_partial(index: Any) -> bool:
    """Whether an index says nothing about some rows, or is one of expressions."""
    conditions = [options.get("where") for options in index.dialect_options.values()]
    return len(index.expressions) != len(index.columns) or any(one is not None for one in conditions)


def _on_mapped(*_: Any) -> None:
    global _generation
    _generation = next(_count)


event.listen(Mapper, "after_mapper_constructed", _on_mapped)
