"""Whether a condition, asked twice in one transaction, finds the same rows.

An UPDATE of three rows at random, or of the first that nobody has locked, must not be asked which rows it will write:
when it is sent it finds others. Functions are stable if they are known to be; text that stands in a condition is not.
"""

from typing import Any

from sqlalchemy import Delete, TextClause, Update
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import GenerativeSelect, TableSample

from cachecore.integrations.sqlalchemy.writing.statement_parts import ctes_added
from cachecore.integrations.sqlalchemy.writing.statement_questions import elements_of

_STABLE = frozenset("""
    abs any all array_agg avg ceil ceiling char_length coalesce concat count current_date current_timestamp date
    date_part date_trunc extract floor greatest least length lower ltrim max md5 min mod now nullif position replace
    round rtrim strftime substr substring sum to_tsquery to_tsvector trim trunc upper
""".split())  # fmt: skip  # noqa: SIM905


def is_stable(statement: Update | Delete) -> bool:
    """Whether the WHERE of a statement finds the same rows again as long as nobody writes."""
    parts: list[Any] = [statement.whereclause, *ctes_added(statement)]
    return not any(_may_change(element) for part in parts if part is not None for element in elements_of(part))


def _may_change(element: Any) -> bool:
    if isinstance(element, TextClause | TableSample) or getattr(element, "is_literal", False):
        return True
    if isinstance(element, GenerativeSelect):
        select: Any = element
        clauses = (select._limit_clause, select._offset_clause, select._fetch_clause, select._for_update_arg)
        return any(clause is not None for clause in clauses)
    function: Any = element
    return isinstance(element, FunctionElement) and str(getattr(function, "name", "")).lower() not in _STABLE
