"""Rows of a mapped class: which attributes they hold, how they are selected, and instances of them.

A row holds the stored values of the column attributes, the primary key first. Attributes that a plain query does not
load, SQL expressions and those that were excluded are not in it: they are loaded at their first access, as deferred
ones are. The rows of a class are also those of the classes that inherit from it, with its own attributes only.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import Column, Dialect, Join, Select, Table, select
from sqlalchemy.orm import ColumnProperty, Mapper

from cachecore.codec import RowCodec
from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.integrations.sqlalchemy.declaration import identity_of
from cachecore.integrations.sqlalchemy.instances import MakeInstance, instance_maker
from cachecore.integrations.sqlalchemy.stored import StoredColumn, stored_column


class RowLayout:
    """Everything about the rows of one mapped class in one kind of database."""

    mapper: Mapper[Any]
    keys: tuple[str, ...]
    """The attributes in a row: the primary key first, then the others in the mapper's order."""
    identity: tuple[str, ...]
    """The attributes of the primary key, in the mapper's order of it."""
    columns: Mapping[str, StoredColumn]
    codec: RowCodec
    instance: MakeInstance
    """Makes the instance of a row, which it does not copy: the row's lists and dicts become the instance's. An
    instance that the session has already is never overwritten."""
    instance_of_frozen: MakeInstance
    """Makes the instance of a frozen row (codec.freeze, codec.decode_frozen), sharing nothing mutable with it; faster
    than thawing first. Raises CorruptEntry as codec.thaw does."""

    def __init__(
        self,
        mapper: Mapper[Any],
        dialect: Dialect,
        *,
        exclude: Collection[str] = (),
        version: int | str | None = None,
    ) -> None:
        """
        mapper: of a class mapped to a table, or to a join of tables.
        dialect: of the database.
        exclude: attributes that rows shall not hold. They are loaded at their first access.
        version: for the codec's fingerprint.

        Raises ConfigurationError, naming class and attribute, for a class without a table, an attribute whose type
        has no stored form, and for an excluded one that is no column attribute, or without which there is no
        instance: the primary key, the discriminator and the version.
        """
        name = mapper.class_.__name__
        if not _is_of_tables(mapper.persist_selectable):
            raise ConfigurationError(f"{name} has no rows of its own: it is not mapped to a table")
        self.mapper = mapper
        self.identity = identity_of(mapper)
        discriminator = _discriminator(mapper)
        needed = [*self.identity, *(key for key in (discriminator, _version(mapper)) if key is not None)]
        for key in exclude:
            if key not in mapper.column_attrs:
                raise ConfigurationError(f"{name}: {key!r} is excluded, but is no column attribute")
            if key in needed:
                raise ConfigurationError(f"{name}.{key} cannot be excluded: there are no instances without it")
        plain = [prop.key for prop in mapper.column_attrs if _is_plain(prop) and prop.key not in exclude]
        self.keys = tuple(dict.fromkeys((*self.identity, *plain, *needed)))
        props = [mapper.column_attrs[key] for key in self.keys]
        self.columns = MappingProxyType({prop.key: stored_column(prop, dialect) for prop in props})
        self.codec = RowCodec([stored.column for stored in self.columns.values()], version=version)
        self.instance = instance_maker(mapper, self.columns, self.identity, discriminator, ())
        self.instance_of_frozen = instance_maker(mapper, self.columns, self.identity, discriminator, self.codec.loads)

    def select(self) -> Select[Any]:
        """The rows of the class: the stored values in the order of keys. Not a query of the ORM, to which no criteria
        of an application apply."""
        statement: Select[Any] = select(*(stored.expression for stored in self.columns.values()))
        statement = statement.select_from(self.mapper.persist_selectable)
        if self.mapper.single and self.mapper.inherits is not None and self.mapper.polymorphic_on is not None:
            identities = [mapper.polymorphic_identity for mapper in self.mapper.self_and_descendants]
            statement = statement.where(self.mapper.polymorphic_on.in_(identities))
        return statement

    def asked(self, key: str, value: Any) -> Any:
        """The stored value of one asked for: that of a TypeDecorator's impl, an Enum's label, an int precisely.

        Raises UncacheableLookup, naming attribute and value, if rows do not hold the attribute, and for None, SQL
        expressions, NaN and what is no value of the column's type.
        """
        stored = self.columns.get(key)
        if stored is None:
            raise UncacheableLookup(
                f"{self.mapper.class_.__name__}.{key} is not in the cached rows, which hold {', '.join(self.keys)}"
            )
        return stored.asked(value)


def _is_of_tables(selectable: Any) -> bool:
    if isinstance(selectable, Join):
        return _is_of_tables(selectable.left) and _is_of_tables(selectable.right)
    return isinstance(selectable, Table)


def _is_plain(prop: ColumnProperty[Any]) -> bool:
    """Whether a plain query loads a column of a table into this attribute."""
    return not prop.deferred and isinstance(prop.columns[0], Column)


def _discriminator(mapper: Mapper[Any]) -> str | None:
    if mapper.polymorphic_on is None:
        return None
    return mapper.get_property_by_column(mapper.polymorphic_on).key


def _version(mapper: Mapper[Any]) -> str | None:
    if mapper.version_id_col is None:
        return None
    return mapper.get_property_by_column(mapper.version_id_col).key
