"""Relations from the cache: a loader option that follows many-to-one relations by one multi-get.

A query with the option runs as usual; when its instances are there, those that they point to are read through the cache
together, one round trip for each relation, and set as if they had been loaded.
"""

import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

from sqlalchemy import BinaryExpression, BooleanClauseList, Column, Row, event
from sqlalchemy.orm import (
    Mapper,
    ORMExecuteState,
    QueryableAttribute,
    RelationshipProperty,
    Session,
    UserDefinedOption,
)
from sqlalchemy.orm.attributes import instance_dict, set_committed_value
from sqlalchemy.orm.interfaces import MANYTOONE
from sqlalchemy.sql import operators
from sqlalchemy.util import await_only

from cachecore.errors import ConfigurationError
from cachecore.integrations.sqlalchemy.asynchronous import awaited_instances
from cachecore.integrations.sqlalchemy.declaration import declaration_of, identity_of
from cachecore.integrations.sqlalchemy.models import key_columns
from cachecore.integrations.sqlalchemy.reading import instances_of
from cachecore.integrations.sqlalchemy.sessions import Reading

_lock = threading.Lock()
_listening = False


class FromCache(UserDefinedOption):
    """The option that `from_cache` makes."""

    def __init__(self, path: Sequence["_Step"]) -> None:
        super().__init__(tuple(path))
        self.path = path


class _Step:
    """One many-to-one relation, and the lookup of its target that its columns are."""

    def __init__(self, attribute: Any) -> None:
        relation: Any = getattr(attribute, "property", None)
        if not isinstance(attribute, QueryableAttribute) or not isinstance(relation, RelationshipProperty):
            raise ConfigurationError(f"from_cache() takes relationships such as Order.customer, not {attribute!r}")
        relation = cast("Any", relation)
        self.key = relation.key
        self.source: Mapper[Any] = relation.parent
        self.target: Mapper[Any] = relation.mapper
        label = f"{self.source.class_.__name__}.{self.key}"
        if attribute is not getattr(attribute.class_, self.key):
            raise ConfigurationError(f"from_cache({label}): aliases, of_type() and and_() are not followed")
        if relation.direction is not MANYTOONE or relation.uselist:
            raise ConfigurationError(f"from_cache({label}): only many-to-one relations are read from the cache")
        declaration = declaration_of(self.target)
        if declaration is None:
            raise ConfigurationError(
                f"from_cache({label}): {self.target.class_.__name__} is not cached: decorate it with @cached(...)"
            )
        pairs: list[Any] = list(relation.local_remote_pairs or ())
        # A relation of a class of several tables to itself says the same twice.
        compared: dict[str, Any] = {str(term): term for term in _terms(relation.primaryjoin)}
        remote: dict[str, Any] = {self._attribute(there): here for here, there in pairs}
        lookups = (identity_of(self.target), *declaration.lookups)
        found = [names for names in lookups if set(names) == set(remote)]
        plain = all(map(_compares_columns, compared.values()))
        if not found or not plain or len(compared) != len(pairs):
            raise ConfigurationError(
                f"from_cache({label}): its columns are {', '.join(remote)} of {self.target.class_.__name__}, which is "
                f"cached by {', '.join('+'.join(names) for names in lookups)}"
            )
        self.names = found[0]
        self.local = [self.source.get_property_by_column(remote[name]).key for name in self.names]

    def _attribute(self, column: Any) -> str:
        """The attribute of the target that a column is: a part of the primary key under whatever name."""
        names = key_columns(self.target).get(column.table.name.casefold()) or []
        if column.name in names:
            return identity_of(self.target)[names.index(column.name)]
        return self.target.get_property_by_column(column).key

    def follow(self, session: Session, instances: Sequence[Any]) -> list[Any]:
        """Set the targets of those that have none, read together; all targets."""
        open_ones: list[tuple[Any, tuple[Any, ...]]] = []
        for instance in instances:
            if self.key in instance_dict(instance):
                continue  # loaded, or set and not flushed yet
            values = tuple(getattr(instance, name) for name in self.local)
            if None in values:
                set_committed_value(instance, self.key, None)
            else:
                open_ones.append((instance, values))
        if open_ones:
            found = Reading(session, self.target.class_)
            asked = [found.model.stored(self.names, values) for _, values in open_ones]
            targets: dict[Any, Any]
            if session.get_bind(self.target).dialect.is_async:
                targets = await_only(awaited_instances(found, self.names, asked))
            else:
                targets = instances_of(found, self.names, asked)
            for (instance, _), values in zip(open_ones, asked, strict=True):
                set_committed_value(instance, self.key, targets[values])
        followed = (instance_dict(instance).get(self.key) for instance in instances)
        return list({id(one): one for one in followed if one is not None}.values())


def _terms(condition: Any) -> list[Any]:
    """The conditions that are all to be met."""
    if isinstance(condition, BooleanClauseList) and condition.operator is operators.and_:
        clauses: Any = condition.clauses
        return [term for clause in clauses for term in _terms(clause)]
    return [condition]


def _compares_columns(term: Any) -> bool:
    return (
        isinstance(term, BinaryExpression)
        and term.operator is operators.eq
        and isinstance(term.left, Column)
        and isinstance(term.right, Column)
    )


def from_cache(*path: QueryableAttribute[Any]) -> FromCache:
    """Loader option: a many-to-one relation, or a path of them, is read through the cache.

    ``select(Order).options(from_cache(Order.customer))``: the customers of all orders come by one multi-get, and one
    statement for those that are not cached. ``from_cache(Order.customer, Customer.country)`` goes on from there.

    Raises ConfigurationError for anything else than relations of which the target is cached by the columns that the
    relation compares.
    """
    _listen()
    if not path:
        raise ConfigurationError("from_cache() takes at least one relationship")
    steps = [_Step(attribute) for attribute in path]
    for one, following in pairwise(steps):
        if not one.target.isa(following.source) and not following.source.isa(one.target):
            raise ConfigurationError(
                f"from_cache(): {one.key} leads to {one.target.class_.__name__}, which has no {following.key}"
            )
    return FromCache(steps)


def _listen() -> None:
    # Only where the option is used: a listener costs something at each statement of each session.
    global _listening
    with _lock:
        if not _listening:
            event.listen(Session, "do_orm_execute", _on_execute)
            _listening = True


def _on_execute(state: ORMExecuteState) -> Any:
    options = [one for one in state.user_defined_options if isinstance(one, FromCache)]
    if not options or state.is_column_load or state.is_relationship_load:
        return None
    for name in ("yield_per", "stream_results"):
        if state.execution_options.get(name):
            raise ConfigurationError(f"from_cache() reads for all instances of a result at once: not with {name}")
    result: Any = state.invoke_statement()
    if not getattr(result, "returns_rows", True):
        return result
    # Whether duplicates must be taken away first, as after joined loads of collections: a frozen result forgets it.
    unique_filter = result._unique_filter_state
    frozen = result.freeze()
    del result  # on SQLite its cursor would count as open, so that nothing could be stored
    rows: list[Sequence[Any]] = [row if isinstance(row, tuple | Row) else (row,) for row in frozen.data]
    for option in options:
        source = option.path[0].source.class_
        instances = list({id(one): one for row in rows for one in row if isinstance(one, source)}.values())
        for step in option.path:
            instances = step.follow(state.session, [one for one in instances if isinstance(one, step.source.class_)])
    thawed = frozen()
    thawed._unique_filter_state = unique_filter
    return thawed
