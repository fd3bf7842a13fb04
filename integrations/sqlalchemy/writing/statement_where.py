"""Which primary keys a WHERE clause lets through at most.

Theory of operation. WHERE is seen as an AND of terms. A term that compares columns of the primary key with values, by
= or IN, allows so many combinations of their values; any other term can only narrow what is left, and is passed over.
The primary keys are the natural join of what the terms allow: combinations that agree on the columns they share. If
after all terms a column of the primary key is still free, any row may match.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple, cast

from sqlalchemy import BindParameter, Delete, Update
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import AsBoolean, BinaryExpression, BooleanClauseList, ClauseList, False_, Grouping, Tuple

from cachecore.integrations.sqlalchemy.writing.statement_parts import key_columns, target_of
from cachecore.integrations.sqlalchemy.writing.statement_values import (
    UNKNOWN,
    Parameters,
    distinct,
    exactness,
    is_given,
    is_same_kind,
)

Identity = tuple[Any, ...]

_MOST = 100_000
"""So many combinations are enumerated at most."""


class Term(NamedTuple):
    """``columns = value``, ``columns IN (values)``, the columns being some of the primary key."""

    positions: tuple[int, ...]
    """Of the columns in the primary key."""
    tests: tuple[Any, ...]
    """One a column: `exactness` of its type."""
    picks: tuple[int, ...] | None
    """Where in each value, a tuple, these columns are; None if a value is the one column's own."""
    binds: tuple[BindParameter[Any], ...]
    """The values, or with `expands` the one list of them."""
    expands: bool

    def allowed(self, parameters: Parameters) -> list[Identity] | None:
        """The combinations of values that the term allows its columns. None: cannot be told."""
        values: Any = [parameters.value(bind) for bind in self.binds]
        if any(value is UNKNOWN for value in values):
            return None
        if self.expands:
            [values] = values
            if not isinstance(values, Sequence | Set):
                return None  # an iterator serves once, and is not for us
        rows: list[Identity] = []
        for value in cast("Collection[Any]", values):
            row = self._row(value)
            if row is None:
                return None
            for test, part in zip(self.tests, row, strict=True):
                if not test(part):
                    if part is None and test is not is_given:
                        break  # NULL equals nothing
                    return None
            else:
                rows.append(row)
        return rows

    def _row(self, value: Any) -> Identity | None:
        if self.picks is None:
            return (value,)
        try:
            return tuple(value[pick] for pick in self.picks)
        except (TypeError, LookupError):
            return None  # the statement will fail

    def is_comparable(self, positions: Sequence[int]) -> bool:
        """Whether its values of these columns can be compared with others in Python, as the database would."""
        return not any(
            test is is_given and one in positions for test, one in zip(self.tests, self.positions, strict=True)
        )


class Where:
    """The WHERE clause of an UPDATE or DELETE."""

    def __init__(self, statement: Update | Delete) -> None:
        columns = key_columns(statement)
        self._count = len(columns)
        self._columns = frozenset(target_of(statement).c.keys() if isinstance(statement, Update) else ())
        clause: Any = statement.whereclause
        # An annotated column has the hash of the column it is a copy of, and comparing columns makes SQL of them.
        by_column = {hash(column): position for position, column in enumerate(columns)}
        conjuncts = [] if clause is None or not columns else list(_conjuncts(clause))
        self._is_false = any(_is_false(each) for each in conjuncts)
        self._terms = [term for each in conjuncts if (term := _term(each, by_column)) is not None]

    def identities(self, parameters: Mapping[str, Any]) -> list[Identity] | None:
        """The primary keys that can match with this set of parameters; None: any."""
        if self._is_false:
            return []
        known = Parameters(parameters, self._columns)
        positions: tuple[int, ...] = ()
        rows: list[Identity] = [()]
        for term in self._terms:
            allowed = term.allowed(known)
            if allowed is None or not term.is_comparable(positions):
                continue
            joined = _join(positions, rows, term.positions, allowed) if positions else (term.positions, allowed)
            if joined is None:
                return None
            positions, rows = joined
        if not rows:
            return []
        if not positions or len(positions) < self._count:
            return None
        if self._count == 1:
            return rows
        order = [positions.index(position) for position in range(self._count)]
        return [tuple(row[index] for index in order) for row in rows]


def _conjuncts(clause: Any) -> Iterator[Any]:
    """The terms of nested ANDs."""
    if isinstance(clause, BooleanClauseList) and clause.operator is operators.and_:
        for each in clause.clauses:
            yield from _conjuncts(each)
    elif isinstance(clause, Grouping):
        inside: Any = clause.element  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        yield from _conjuncts(inside)
    else:
        yield clause


def _is_false(clause: Any) -> bool:
    if isinstance(clause, AsBoolean) and clause.operator is operators.is_true:
        clause = clause.element
    return isinstance(clause, False_)


def _term(clause: Any, by_column: Mapping[int, int]) -> Term | None:
    if not isinstance(clause, BinaryExpression):
        return None
    left, right = clause.left, clause.right
    if clause.operator is operators.eq:
        if isinstance(left, BindParameter):
            left, right = right, left
        return _comparison([left], None, [right], False, by_column)
    if clause.operator is not operators.in_op:
        return None
    if isinstance(right, BindParameter):
        values: list[Any] = [right]
        expands = bool(right.expanding)
        if not expands:
            return None
    else:
        inside: Any = right.element if isinstance(right, Grouping) else right
        if not isinstance(inside, ClauseList):
            return None
        values, expands = [*inside.clauses], False
    if isinstance(left, Tuple):
        return _comparison(list(left.clauses), left, values, expands, by_column) if expands else None
    return _comparison([left], None, values, expands, by_column)


def _comparison(
    columns: Sequence[Any], whole: Any, values: Sequence[Any], expands: bool, by_column: Mapping[int, int]
) -> Term | None:
    if not all(isinstance(value, BindParameter) for value in values):
        return None
    picks = [index for index, column in enumerate(columns) if _is_column(column) and hash(column) in by_column]
    tests = [exactness(columns[index].type) for index in picks]
    if not picks or any(test is None for test in tests):
        return None
    for value in values:
        types = [value.type] if whole is None else getattr(value.type, "types", None)
        if types is None or not all(is_same_kind(types[index], columns[index].type) for index in picks):
            return None
    positions = tuple(by_column[hash(columns[index])] for index in picks)
    if len(set(positions)) < len(positions):
        return None
    return Term(positions, tuple(tests), None if whole is None else tuple(picks), tuple(values), expands)


def _is_column(element: Any) -> bool:
    return getattr(element, "__visit_name__", "") == "column"


def _join(
    positions: tuple[int, ...], rows: list[Identity], others: tuple[int, ...], allowed: list[Identity]
) -> tuple[tuple[int, ...], list[Identity]] | None:
    """The combinations of both that agree on the columns they share; None: too many to enumerate."""
    shared = [(positions.index(one), index) for index, one in enumerate(others) if one in positions]
    new = [index for index, one in enumerate(others) if one not in positions]
    by_shared: dict[Identity, list[Identity]] = {}
    for row in distinct(allowed):
        by_shared.setdefault(tuple(row[index] for _, index in shared), []).append(tuple(row[i] for i in new))
    joined: list[Identity] = []
    for row in rows:
        joined += [row + more for more in by_shared.get(tuple(row[index] for index, _ in shared), ())]
        if len(joined) > _MOST:
            return None
    return positions + tuple(others[index] for index in new), joined
