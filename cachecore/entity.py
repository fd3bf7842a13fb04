"""A cached record type: what it is called, which columns it has, and by what it can be asked for."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import partial
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from cachecore.codec import Column, RowCodec
from cachecore.column_values import base_value
from cachecore.errors import ConfigurationError, UncacheableLookup
from cachecore.keys import IdentityMaker, KeyMaker, make_key
from cachecore.policy import Policy

Row = tuple[object, ...]

Columns = Mapping[str, object] | Sequence[Column] | RowCodec
"""The columns of an entity: name to type (``int``, ``str | None``, ``dict`` for JSON, ...), or `Column` records, or a
codec made of such records."""


class Entity:
    """One record type of one database. Immutable; made by ``Cache.entity``.

    name: unique among the record types of a namespace, such as "geo.City".
    columns: the columns of a row, in the order in which rows carry them.
    identity: the column, or columns, that identify a row.
    lookups: unique columns, or tuples of columns unique together, by which a row may be asked for.
    version: changed when the meaning of a column changes though its type does not. Part of the stamp of a row and not
        of its key, so that old and new code still outdate each other's rows. A codec brings its own.
    alias: of the database; two databases may hold the same table.
    """

    def __init__(
        self,
        name: str,
        *,
        namespace: str,
        columns: Columns,
        identity: str | Sequence[str],
        lookups: Sequence[str | Sequence[str]] = (),
        policy: Policy,
        version: int | str | None = None,
        alias: str = "default",
        secret: bytes | None = None,
    ) -> None:
        self.name = name
        self.policy = policy
        self.identity = _names(identity)
        self.lookups = tuple(_names(lookup) for lookup in lookups)
        self.codec = columns if isinstance(columns, RowCodec) else RowCodec(_declared(columns), version=version)
        self.position: Mapping[str, int] = {column.name: index for index, column in enumerate(self.codec.columns)}
        """Column to its place in a row."""
        self._check()
        self._kinds: Mapping[str, Any] = {one.name: one.type for one in self.codec.columns if one.kind == "scalar"}
        qualified = f"{name}@{alias}"
        self._maker = partial(KeyMaker, namespace, qualified, secret=secret)
        self.key = IdentityMaker(namespace, qualified, secret=secret)
        """Identity to the coherent key of its row."""
        self.lookup_key: Mapping[tuple[str, ...], KeyMaker] = {lookup: self._maker(lookup) for lookup in self.lookups}
        """Lookup to the maker of its pointers' keys, which takes the values in that order."""
        # No column can have this name, so that no pointer can have this key.
        self.epoch_key = make_key(namespace, qualified, {"#epoch": True}, secret=secret)

    def _check(self) -> None:
        for names in (self.identity, *self.lookups):
            if not names:
                raise ConfigurationError(f"{self.name}: an identity or lookup names at least one column")
            if len(set(names)) != len(names):
                raise ConfigurationError(f"{self.name}: {names!r} names a column twice")
            for name in names:
                if name not in self.position or "#" in name:
                    known = ", ".join(self.position)
                    raise ConfigurationError(f"{self.name}: no column {name!r} can be looked up; there are {known}")
                if self.codec.columns[self.position[name]].kind == "json":
                    raise ConfigurationError(f"{self.name}: column {name!r} is JSON, by which no row can be looked up")

    def key_maker(self, kind: str, names: Sequence[str]) -> KeyMaker:
        """The maker of keys of something else that values of these columns tell apart; ``kind`` says what."""
        # No column that can be looked up has a # in its name, so that no pointer can have these keys.
        return self._maker([f"#{kind}:{name}" for name in names])

    def typed(self, names: Sequence[str], values: Sequence[Any]) -> tuple[Any, ...]:
        """The values as precisely the types of their columns; raises UncacheableLookup for values of other types.

        A key is typed and a database is not: it may find row 5 by "5" or True, but that would be the row under a
        second key, which nobody who writes row 5 outdates.
        """
        kinds, typed = self._kinds, self._typed
        return tuple([
            value if type(value) is kinds.get(name) else typed(name, value)
            for name, value in zip(names, values, strict=True)
        ])  # fmt: skip

    def typed_identity(self, identity: Any) -> Any:
        """Like `typed`, for an identity: one value, or a tuple where it has several columns."""
        names = self.identity
        if len(names) == 1:
            return self._typed(names[0], identity)
        parts: tuple[Any, ...] = identity if type(identity) is tuple else ()  # pyright: ignore[reportUnknownVariableType]
        if len(parts) != len(names):
            raise UncacheableLookup(f"{self.name} is identified by a tuple ({', '.join(names)}), not by {identity!r}")
        return self.typed(names, parts)

    def typed_identities(self, identities: Iterable[Any]) -> list[Any]:
        """Like `typed_identity`, for many."""
        if len(self.identity) != 1:
            return [self.typed_identity(identity) for identity in identities]
        name = self.identity[0]
        kind: Any = self.codec.columns[self.position[name]].type
        return [identity if type(identity) is kind else self._typed(name, identity) for identity in identities]

    def _typed(self, name: str, value: Any) -> Any:
        if type(value) is self._kinds.get(name):
            return value
        column = self.codec.columns[self.position[name]]
        kind: Any = column.type
        if type(value) is kind or (value is not None and column.kind != "scalar"):
            return value
        if value is None:
            raise UncacheableLookup(f"{self.name}: {name}=None names no row; just hit the database")
        try:
            return base_value(kind, value)
        except (ValueError, OverflowError):
            raise UncacheableLookup(
                f"{self.name}: {name} is {kind.__name__}, no row is cached by {name}={value!r}; just hit the database"
            ) from None

    def identity_of(self, row: Row) -> Any:
        """The identity of a row: the value of its column, or a tuple where there are several."""
        if len(self.identity) == 1:
            return row[self.position[self.identity[0]]]
        return self.values_of(row, self.identity)

    def values_of(self, row: Row, names: Sequence[str]) -> Row:
        """The values of some columns of a row."""
        return tuple(row[self.position[name]] for name in names)

    def by_identity(self, rows: Iterable[Sequence[object]]) -> Mapping[Hashable, Row]:
        """Rows as the protocol wants them: identity to row. What a database driver calls a row may be any sequence."""
        tuples = map(tuple, rows)
        return {self.identity_of(row): row for row in tuples}


def _declared(columns: Mapping[str, object] | Sequence[Column]) -> list[Column]:
    if not isinstance(columns, Mapping):
        return list(columns)
    declared: list[Column] = []
    for name, annotation in columns.items():
        options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
        kinds = [get_origin(option) or option for option in options if option is not NoneType]
        nullable = len(kinds) < len(options)
        if any(kind in (dict, list, object) for kind in kinds):
            declared.append(Column(name=name, type=object, nullable=nullable, kind="json"))
        else:
            declared.append(Column(name=name, type=kinds[0] if len(kinds) == 1 else annotation, nullable=nullable))
    return declared


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
