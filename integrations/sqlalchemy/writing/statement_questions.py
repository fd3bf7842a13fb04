"""Which rows an UPDATE or DELETE matches is asked of the database, and then it is restricted to them."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Delete, Select, Update, and_, bindparam, false, literal, or_, select, tuple_

from cachecore.integrations.sqlalchemy.writing.statement_parts import (
    Dml,
    ctes_added,
    dml_of,
    is_limited,
    key_columns,
    may_replace,
)

Identity = tuple[Any, ...]


def nested_in(statement: Any) -> list[Dml]:
    """The INSERTs, UPDATEs and DELETEs in CTEs anywhere in ``statement``."""
    own = dml_of(statement)
    start = statement if own is None else own
    return [each for each in elements_of(start) if each is not own and isinstance(each, Dml)]


def elements_of(statement: Any) -> Iterator[Any]:
    """Every element of a statement or clause, each once, also what stands behind the columns of CTEs and subqueries."""
    seen: set[int] = set()
    left: list[Any] = [statement]
    while left:
        element = left.pop()
        if id(element) in seen:
            continue
        seen.add(id(element))
        yield element
        left += element.get_children()
        # A column of a CTE does not count it among its children.
        table = getattr(element, "table", None)
        if table is not None:
            left.append(table)


def question(statement: Update | Delete) -> Select[Any] | None:
    """A SELECT of the primary keys, in the order of the table's, of the rows that ``statement`` matches.

    It is executed with the same parameters, and may be given a limit. None: it cannot be asked, as there is no primary
    key, as rows are chosen by ORDER BY and LIMIT, replaced by others, or found by what a CTE writes.
    """
    columns = key_columns(statement)
    if not columns or is_limited(statement) or may_replace(statement) or nested_in(statement):
        return None
    asked = select(*columns)
    clause = statement.whereclause
    if clause is not None:
        asked = asked.where(clause)
        named = {element.table for element in elements_of(clause) if element.__visit_name__ == "column"}
        if len(named) > 1:  # a join, perhaps
            asked = asked.distinct()
    for cte in ctes_added(statement):
        asked = asked.add_cte(cte)
    return asked


def restricted(statement: Any, identities: Sequence[Sequence[Any]], many: bool = False) -> Any:
    """``statement``, an UPDATE or DELETE or what wraps one, but so that it writes only rows with these primary keys.

    identities: as the question answers them; none of them: nothing is written. many: it will be executed with several
    sets of parameters, for which the driver wants each value on its own.
    """
    dml: Any = dml_of(statement)
    limited = dml.where(_is_one_of(key_columns(dml), [tuple(one) for one in identities], many))
    if getattr(statement, "__visit_name__", "") == "orm_from_statement":
        wrapper: Any = statement
        wrapper = wrapper._generate()
        wrapper.element = limited
        return wrapper
    return limited


def _is_one_of(columns: Sequence[Any], identities: list[Identity], many: bool) -> Any:
    single = len(columns) == 1
    if many:
        if not identities:
            return false()
        if single:
            return columns[0].in_([literal(one[0], columns[0].type) for one in identities])
        return or_(*[_equals(columns, one) for one in identities])
    values: list[Any] = [one[0] for one in identities] if single else identities
    type_: Any = columns[0].type if single else None
    bind: Any = bindparam("cachecore_identity", values, type_, expanding=True, unique=True)
    return columns[0].in_(bind) if single else tuple_(*columns).in_(bind)


def _equals(columns: Sequence[Any], identity: Identity) -> Any:
    return and_(*[column == literal(part, column.type) for column, part in zip(columns, identity, strict=True)])
