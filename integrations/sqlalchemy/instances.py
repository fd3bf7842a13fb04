"""Persistent instances of rows: what SQLAlchemy's own loading makes of a result, without its queries.

Theory of operation. The identity map decides first. An instance that is there wins: it is what the application has,
with its changes, and only attributes that are expired and not changed since are filled, as a refresh would. Otherwise
a new instance is made the way `sqlalchemy.orm.loading` makes one, filled, registered in the identity map and told to
those who listen for loads. Its committed state is empty, so that changes are tracked and flushed as usual.

The public way to the same, make_transient_to_detached and add, takes longer than unpickling the instance
(`python -m benchmarks.bench_sqlalchemy_rows`). So this module, and no other, uses names that SQLAlchemy does not
document. They are the same from 2.0.30 to 2.1:

    ClassManager._state_constructor(instance, manager)
                                    the state of an instance, which new_instance() would make and set, without __init__
    instance._sa_instance_state     its InstanceState; the public inspect() takes a quarter of the time of a hit
    state.manager, state.mapper     which class
    state.key, state.session_id     what makes a state persistent in a session; identity_token stays None
    state.committed_state, state.expired_attributes, state._commit(dict, keys)
                                    what is changed, to be loaded at its first access, and no longer either
    identity_map.get(key), identity_map._add_unpresent(state, key)
    class_manager.dispatch, session.dispatch, session.hash_key
                                    who listens, and the number of a session
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import ColumnProperty, Mapper, Session

from cachecore.attributes import attributes_filler
from cachecore.codec import Load, Row
from cachecore.integrations.sqlalchemy.conversions import Convert
from cachecore.integrations.sqlalchemy.stored import StoredColumn

MakeInstance = Callable[[Session, Row], object | None]
"""The instance of a row in a session; None if the row, or what stands in the session, is of no subclass of the class
asked for. Raises what SQLAlchemy raises for a discriminator that is NULL or unknown."""


def instance_maker(
    mapper: Mapper[Any],
    columns: Mapping[str, StoredColumn],
    identity: Sequence[str],
    discriminator: str | None,
    loads: Sequence[tuple[int, Load]],
) -> MakeInstance:
    """The function that makes instances of rows.

    mapper: of the class asked for.
    columns: of a row, in its order, by attribute.
    identity: the attributes of the primary key, with which a row begins.
    discriminator: the attribute that tells a row's class. None: all are of the mapper's.
    loads: for a position in the row, the function that makes a stored value of what stands there, if that is not None.
    """
    manager: Any = mapper.class_manager
    identity_class: Any = mapper.identity_key_from_primary_key(())[0]
    width = len(identity)
    to_identity = _converter([columns[key].to_python for key in identity])
    fillers = _Fillers(mapper, columns, discriminator, loads)
    only = fillers.of(mapper) if discriminator is None else None
    get_attribute = object.__getattribute__  # and none that a class has of its own

    def make(session: Session, row: Row) -> Any:
        identifiers = row[:width] if to_identity is None else to_identity(row[:width])
        key = (identity_class, identifiers, None)
        known: Any = session.identity_map
        instance = known.get(key)
        if instance is not None:
            state = instance._sa_instance_state
            if state.manager is not manager and not state.mapper.isa(mapper):
                return None
            if state.expired_attributes:
                fillers.of(state.mapper).refresh(state, instance.__dict__, row)
            return instance
        filler = only or fillers.of_row(row, key)
        if filler is None:
            return None
        cls = filler.cls
        instance = cls.__new__(cls)
        state = filler.new_state(instance, filler.manager)
        filler.fill(get_attribute(instance, "__dict__"), row, state)
        state.key = key
        state.session_id = session.hash_key
        if filler.expired:
            state.expired_attributes.update(filler.expired)
        known._add_unpresent(state, key)
        if filler.dispatch.load:
            filler.dispatch.load(state, None)
        listeners = session.dispatch.loaded_as_persistent
        if listeners:
            listeners(session, state)
        return instance

    return make


class _Filler:
    """Fills the attributes of instances of one mapped class from rows."""

    def __init__(
        self, mapper: Mapper[Any], columns: Mapping[str, StoredColumn], loads: Sequence[tuple[int, Load]]
    ) -> None:
        manager: Any = mapper.class_manager
        self.manager = manager
        self.cls: Any = manager.class_
        self.new_state: Callable[[Any, Any], Any] = manager._state_constructor
        self.dispatch = manager.dispatch
        held = [key if _holds(mapper, key, stored) else None for key, stored in columns.items()]
        places = enumerate(columns.values())
        converts = [(place, stored.to_python) for place, stored in places if stored.to_python is not None]
        self.fill = attributes_filler("_sa_instance_state", held, loads, converts)
        self._keys = frozenset(key for key in held if key is not None)
        # Without this, what rows do not hold would be None for ever. Deferred columns load by themselves all the same.
        self.expired = frozenset(prop.key for prop in mapper.column_attrs if prop.key in manager) - self._keys

    def refresh(self, state: Any, attributes: dict[str, Any], row: Row) -> None:
        """Set those that are expired and not changed since, and tell who listens for it."""
        wanted = self._keys.intersection(state.expired_attributes).difference(state.committed_state)
        if not wanted:
            return
        values: dict[str, Any] = {}
        self.fill(values, row, None)
        for key in wanted:
            attributes[key] = values[key]
        state._commit(attributes, wanted)
        if self.dispatch.refresh:
            self.dispatch.refresh(state, None, wanted)


class _Fillers:
    """The fillers of a mapped class and those that inherit from it."""

    def __init__(
        self,
        mapper: Mapper[Any],
        columns: Mapping[str, StoredColumn],
        discriminator: str | None,
        loads: Sequence[tuple[int, Load]],
    ) -> None:
        self._mapper = mapper
        self._columns = columns
        self._loads = loads
        self._place = None if discriminator is None else tuple(columns).index(discriminator)
        self._convert = None if discriminator is None else columns[discriminator].to_python
        self._known: dict[Mapper[Any], _Filler] = {}

    def of(self, mapper: Mapper[Any]) -> _Filler:
        """That of one of the classes."""
        filler = self._known.get(mapper)
        if filler is None:
            filler = self._known[mapper] = _Filler(mapper, self._columns, self._loads)
        return filler

    def of_row(self, row: Row, key: object) -> _Filler | None:
        """That of the class that the discriminator in a row tells; None if that is not one of these classes."""
        assert self._place is not None
        value: Any = row[self._place]
        if self._convert is not None:
            value = self._convert(value)
        if value is None:
            raise InvalidRequestError(
                f"Row with identity key {key} can't be loaded into an object; the polymorphic discriminator column "
                f"'{self._mapper.polymorphic_on}' is NULL"
            )
        try:
            mapper = self._mapper.polymorphic_map[value]
        except KeyError:
            raise AssertionError(f"No such polymorphic_identity {value!r} is defined") from None
        return self.of(mapper) if mapper.isa(self._mapper) else None


def _holds(mapper: Mapper[Any], key: str, column: StoredColumn) -> bool:
    """Whether the value under this key in a row is that attribute of the class, and not of one it inherits from."""
    prop = mapper.attrs.get(key)
    return (
        isinstance(prop, ColumnProperty)
        and key in mapper.class_manager
        and any(column.source is each for each in prop.columns)
    )


def _converter(converts: Sequence[Convert | None]) -> Callable[[Row], Row] | None:
    """The Python values of stored ones. None: they are the same."""
    if not any(converts):
        return None

    def converted(values: Row) -> Row:
        pairs = zip(values, converts, strict=True)
        return tuple(value if convert is None else convert(value) for value, convert in pairs)

    return converted
