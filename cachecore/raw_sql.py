"""Which tables a statement in SQL may write: what is known of what no model says.

Not a parser. Of a plain INSERT, UPDATE, DELETE, REPLACE or MERGE the table is what follows; of everything else that may
write (WITH, TRUNCATE, COPY, CALL, several statements in one) every table that is named counts. Too many rows outdated
cost queries, too few would be lies. What SQL does not name, as in functions, triggers and rules, is not seen.
"""

import re
from collections.abc import Iterable

_SPACE = re.compile(r"(?:[\s(;\ufeff]+|--[^\n]*(?:\n|$)|/\*(?!!)(?:(?!/\*).)*?\*/)*", re.DOTALL)
"""What may stand before a statement: brackets, empty statements and comments, unless another comment is in one, which
ends differently from database to database, or it is one that MySQL executes."""

_WORD = re.compile(r"\w+")
_BODY = re.compile(r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:\w+\s+){0,2}?(?:FUNCTION|PROCEDURE|TRIGGER|RULE)\b", re.IGNORECASE)
"""Beginnings of statements in which others stand that are executed later, if ever."""

_NAME = r"(?:[\w$]+|\"[^\"]+\"|`[^`]+`|\[[^\]]+\])"
_TARGET = re.compile(
    r"(?:INSERT(?:\s+OR\s+\w+)?\s+INTO|REPLACE\s+INTO|MERGE\s+INTO|UPDATE(?:\s+OR\s+\w+)?|DELETE\s+FROM)\s+(?:ONLY\s+)?"
    rf"({_NAME}(?:\s*\.\s*{_NAME})*)",
    re.IGNORECASE,
)
_NO_TARGET = frozenset({"ONLY", "LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "IGNORE", "QUICK", "SET", "FROM", "INTO"})
"""What may stand there and is no table."""
_SEVERAL_TARGETS = re.compile(r"\s*(?:AS\s+)?(?:(?!SET\b)\w+\s*)?(?:,|(?:\w+\s+)*?JOIN\b)", re.IGNORECASE)
"""What follows the first of several tables in an UPDATE of MySQL."""

UNKNOWN = "?"
"""In place of the first word of what may be anything, as several statements in one may."""

_READS = frozenset({"SELECT", "VALUES", "SHOW", "PRAGMA", "DESCRIBE", "FETCH", "TABLE"})
_BEGINS = frozenset({"SAVEPOINT", "BEGIN", "START"})
_ENDS = frozenset({"RELEASE", "ROLLBACK", "COMMIT", "END", "ABORT"})
_NEITHER = frozenset({"DECLARE", "CLOSE", "LOCK"})
# Of the schema: what migrations do is outdated when they have ended, and they must run without a cache too.
_SCHEMA = frozenset(
    {"CREATE", "ALTER", "DROP", "COMMENT", "GRANT", "REVOKE", "VACUUM", "ANALYZE", "REINDEX", "CLUSTER"}
)
_OTHERS = frozenset({"SET", "RESET", "DISCARD", "LISTEN", "UNLISTEN", "NOTIFY", "USE", ""})
_HARMLESS = _READS | _BEGINS | _ENDS | _NEITHER | _SCHEMA | _OTHERS
_PLAIN = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"})
_WRITING = re.compile(
    r"\b(?:INSERT|(?<!FOR )(?<!KEY )UPDATE|DELETE|REPLACE|MERGE|TRUNCATE|COPY|CALL|DO|EXECUTE|LOAD)\b", re.IGNORECASE
)
"""Without any of these words several statements, or one that begins with WITH, write nothing. FOR UPDATE only locks."""


def verb(sql: str) -> str:
    """The first word of a statement in capitals; "" if there is none; UNKNOWN where that says too little."""
    if sql.startswith("SELECT") and ";" not in sql:
        return "SELECT"
    found = _SPACE.match(sql)
    start = found.end() if found else 0
    if start == len(sql):
        return ""
    word = _WORD.match(sql, start)
    if word is None or (_is_several(sql) and not _BODY.match(sql, start)):
        return UNKNOWN
    return word[0].upper()


def is_read(first: str, sql: str) -> bool:
    """Whether a statement with this first word leaves the rows of all tables as they are."""
    if first == "WITH":
        return _WRITING.search(sql) is None
    return first in _READS or first in _BEGINS or first in _ENDS or first in _NEITHER


def bounds(first: str) -> bool:
    """Whether a statement with this first word may begin or end a transaction."""
    return first in _BEGINS or may_end(first)


def may_end(first: str) -> bool:
    """Whether it may end one."""
    return first in _ENDS or first == UNKNOWN


def sets_isolation(first: str, sql: str) -> bool:
    """Whether a statement may set the isolation level of this transaction or of later ones."""
    if first == "SELECT":
        return "set_config" in sql
    return first in ("SET", "RESET", "DISCARD", "START", UNKNOWN) or (first == "BEGIN" and "ISOLATION" in sql.upper())


def written_tables(first: str, sql: str, known: Iterable[str]) -> list[str]:
    """The tables, of those that are known, that a statement may write; ``first`` is its first word."""
    if first in _HARMLESS or (first == UNKNOWN and _WRITING.search(sql) is None):
        return []
    if first == "EXECUTE" or (first == "TRUNCATE" and "CASCADE" in sql.upper()):
        return list(known)  # what was prepared is not named; those that point to a table too, and so on
    name = target(sql) if first in _PLAIN else None
    if name is not None:
        return [table for table in known if bare(table).lower() == name]
    words = set(re.findall(r"[\w$]+", sql.lower()))
    return [table for table in known if words.issuperset(re.findall(r"[\w$]+", bare(table).lower()))]


def target(sql: str) -> str | None:
    """The table that a plain statement writes, in small letters and without its schema; None: it is not that plain."""
    space = _SPACE.match(sql)
    found = _TARGET.match(sql, space.end() if space else 0)
    if found is None:
        return None
    name = found[1]
    if name.upper() in _NO_TARGET or (found[0][:6].upper() == "UPDATE" and _SEVERAL_TARGETS.match(sql, found.end())):
        return None
    return re.split(r"\.", name)[-1].strip().strip('"`[]').lower()


def _is_several(sql: str) -> bool:
    """Whether something follows the first semicolon that is no space. It may also stand in a text or a comment."""
    before, _, after = sql.lstrip("; \t\r\n").partition(";")
    return bool(before) and bool(after.strip(";" + " \t\r\n"))


def bare(table: str) -> str:
    """A model's db_table without the schema that some applications write into it: ``shop"."city``."""
    return table.strip('"').split(".")[-1].strip('"')
