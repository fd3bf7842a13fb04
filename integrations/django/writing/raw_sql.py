"""Which tables a statement in SQL may write: what is known of what no model says.

Not a parser. Of a plain INSERT, UPDATE, DELETE, REPLACE or MERGE the table is what follows; of everything else that may
write (WITH, TRUNCATE, COPY, CALL, several statements in one) every table that is named counts. Too many rows outdated
cost queries, too few would be lies. What SQL does not name, as in functions, triggers and rules, is not seen.
"""

import re
from collections.abc import Iterable

_BEGINNING = re.compile(r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*|\(\s*)*(\w+)", re.DOTALL)
"""Comments and brackets, and the first word."""

_TARGET = re.compile(
    r"(?:INSERT(?:\s+OR\s+\w+)?\s+INTO|REPLACE\s+INTO|MERGE\s+INTO|UPDATE(?:\s+OR\s+\w+)?|DELETE\s+FROM)\s+(?:ONLY\s+)?"
    r"((?:[\w$]+|\"[^\"]+\"|`[^`]+`|\[[^\]]+\])(?:\s*\.\s*(?:[\w$]+|\"[^\"]+\"|`[^`]+`|\[[^\]]+\]))*)",
    re.IGNORECASE,
)

_READS = frozenset({"SELECT", "VALUES", "SHOW", "PRAGMA", "DESCRIBE", "FETCH", "TABLE"})
_ENDS = frozenset({"SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "START", "COMMIT", "END", "DECLARE", "CLOSE", "LOCK"})
# Of the schema: what migrations do is outdated when they have ended, and they must run without a cache too.
_SCHEMA = frozenset(
    {"CREATE", "ALTER", "DROP", "COMMENT", "GRANT", "REVOKE", "VACUUM", "ANALYZE", "REINDEX", "CLUSTER"}
)
_HARMLESS = _READS | _ENDS | _SCHEMA | {"SET", "RESET", "DISCARD", "LISTEN", "UNLISTEN", "NOTIFY", "USE", ""}
_PLAIN = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"})


def verb(sql: str) -> str:
    """The first word of a statement in capitals; "" if there is none."""
    if sql.startswith("SELECT"):
        return "SELECT"
    found = _BEGINNING.match(sql)
    return found[1].upper() if found else ""


def is_read(first: str) -> bool:
    """Whether a statement with this first word leaves the rows of all tables as they are."""
    return first in _READS or first in _ENDS


def sets_isolation(first: str, sql: str) -> bool:
    """Whether a statement may set the isolation level of this transaction or of later ones."""
    return first in ("SET", "RESET", "DISCARD", "START") or (first == "BEGIN" and "ISOLATION" in sql.upper())


def written_tables(first: str, sql: str, known: Iterable[str]) -> list[str]:
    """The tables, of those that are known, that a statement may write; ``first`` is its first word."""
    if first in _HARMLESS:
        return []
    if first in _PLAIN and ";" not in sql.rstrip().rstrip(";"):
        found = _TARGET.search(sql)
        if found:
            name = re.split(r"\.", found[1])[-1].strip().strip('"`[]')
            return [table for table in known if _bare(table).lower() == name.lower()]
    words = set(re.findall(r"[\w$]+", sql.lower()))
    return [table for table in known if words.issuperset(re.findall(r"[\w$]+", _bare(table).lower()))]


def _bare(table: str) -> str:
    """A model's db_table without the schema that some applications write into it: ``shop"."city``."""
    return table.strip('"').split(".")[-1].strip('"')
