"""`sql_kinds`: which kinds of statement a text of SQL holds, nested ones too. Whatever is read differently elsewhere is an error.

The text does not say which database will read it. Quotes, comments and escapes differ, so a text that holds one of those marks
is read as each database that accepts them would, and must be readable by all of them; the kinds are joined.
What functions do (`select pg_terminate_backend(1)`) can't be seen here.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from functools import lru_cache
from typing import Any

import sqlglot
from sqlglot import exp

SIZE = 8 << 10
TOKENS = 500
_MARKS = re.compile(r"[\\$#`\[]|/\*")
# About a token: to split thousands of them properly takes longer than a decision may.
_PIECE = re.compile(r"'[^']*'|\w+|[^\w\s]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# MySQL and MariaDB run `/*! … */` and `/*M! … */`; for MySQL `--x` is no comment.
_RUN_COMMENT = re.compile(r"/\*M?!|--(?=[^\s])")
_WHOLE_WORDS = ("call", "create", "alter", "drop", "truncate", "grant", "revoke", "copy", "set", "explain", "merge")
_COMMANDS = {word: word for word in _WHOLE_WORDS} | {"exec": "call", "execute": "call"}
_SEEN_WHOLE = frozenset(("call", "explain"))
# T-SQL needs no semicolon between statements: as a name, such a word may be the next one.
_WORDS = frozenset(
    ("alter", "create", "delete", "drop", "exec", "execute", "grant", "insert", "kill", "merge", "revoke", "shutdown", "truncate")
)
_EXPLAIN_OPTIONS = re.compile(
    r"\s*(?:\([^()]*\)|analy[sz]e\b|verbose\b|format\s*=\s*\w+|extended\b|query\s+plan\s+for\b|\s)*", re.IGNORECASE
)


_KINDS: dict[type, str] = {
    exp.Select: "select", exp.Union: "select", exp.Except: "select", exp.Intersect: "select", exp.Subquery: "select",
    exp.Insert: "insert", exp.Update: "update", exp.Delete: "delete", exp.Merge: "merge",
    exp.Create: "create", exp.Alter: "alter", exp.Drop: "drop", exp.TruncateTable: "truncate", exp.Grant: "grant",
    exp.Revoke: "revoke", exp.Execute: "call", exp.Copy: "copy", exp.Set: "set", exp.Describe: "explain",
}  # fmt: skip

# The parser logs statements that it can't parse whole, and statements are arguments.
logging.getLogger("sqlglot").addFilter(lambda record: False)


def sql_kinds(sql: str) -> list[str]:
    """Return the sorted kinds of all statements, nested ones too.

    They are select insert update delete merge create alter drop truncate grant revoke call copy set explain other.
    Raises `ValueError` for what does not parse, for executable comments, and beyond 8 KiB or 500 tokens.
    """
    found = _kinds(sql)
    if isinstance(found, str):
        raise ValueError(found)
    return list(found)


@lru_cache(maxsize=64)
def _kinds(sql: str) -> tuple[str, ...] | str:
    """The kinds, or what is wrong: both are remembered, since many rules may ask about one call."""
    if len(sql) > SIZE or _CONTROL.search(sql):
        return "the SQL is too long, or holds control characters"
    if sum(1 for _ in _PIECE.finditer(sql)) > 2 * TOKENS:
        return "the SQL is too long to be judged"
    needed, optional = _dialects(frozenset(_MARKS.findall(sql)))
    try:
        kinds = {kind for dialect in needed for kind in _read(sql, dialect)}
    except ValueError as error:
        return str(error)
    for dialect in optional:
        with suppress(ValueError):
            kinds |= _read(sql, dialect)
    return tuple(sorted(kinds)) or "the SQL holds no statement"


def _dialects(marks: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which dialects must be able to read a text with these marks, and which only may: others refuse the mark themselves."""
    if not marks:
        return ("",), ()
    if marks == {"`"}:
        return ("mysql", "sqlite"), ("",)
    if marks == {"["}:
        return ("tsql",), ("", "postgres")
    return ("", "mysql", "postgres"), ("tsql",)


def _read(sql: str, dialect: str) -> set[str]:
    try:
        found = sqlglot.tokenize(sql, dialect=dialect)
        _check_comments(sql, found)
        statements = sqlglot.parse(sql, dialect=dialect)
        return {kind for statement in statements if statement is not None for kind in _kinds_of(statement, dialect)}
    except (sqlglot.errors.SqlglotError, RecursionError, AttributeError, LookupError, TypeError):
        raise ValueError("the SQL can't be parsed") from None


def _check_comments(sql: str, found: list[Any]) -> None:
    if len(found) > TOKENS:
        raise ValueError("the SQL is too long to be judged")
    ends = [0, *(token.end + 1 for token in found)]
    starts = [*(token.start for token in found), len(sql)]
    if any(_RUN_COMMENT.search(sql, end, start) for end, start in zip(ends, starts, strict=True)):
        raise ValueError("a comment is one that some databases run")


def _kinds_of(statement: Any, dialect: str) -> set[str]:
    if isinstance(statement, exp.Semicolon):
        return set()
    if isinstance(statement, exp.Command):
        return _command(statement, dialect)
    kinds = {_KINDS[type(node)] for node in statement.walk() if type(node) in _KINDS}
    kinds |= {kind for node in statement.walk() for kind in _hidden(node)}
    if isinstance(statement, exp.Values):
        return kinds | {"select"}
    return kinds if type(statement) in _KINDS else kinds | {"other"}


def _command(command: Any, dialect: str) -> set[str]:
    """A statement of which the parser only knows the first word."""
    kind = _COMMANDS.get(command.name.lower(), "other")
    told = command.args.get("expression") or ""
    rest = told if isinstance(told, str) else told.name
    if kind == "explain":
        return {"explain"} | _read(rest[_EXPLAIN_OPTIONS.match(rest).end() :], dialect)  # type: ignore[union-attr]  # matches all
    return {kind} if kind in _SEEN_WHOLE else {kind, "other"}


def _hidden(node: Any) -> set[str]:
    """Effects that have no statement of their own."""
    if isinstance(node, exp.Into):
        return {"create"}
    if isinstance(node, exp.OnConflict) and "UPDATE" in str(node.args.get("action") or "").upper():
        return {"update"}
    if isinstance(node, exp.Command):
        return {"other"}
    if isinstance(node, exp.Identifier) and not node.args.get("quoted") and node.name.lower() in _WORDS:
        return {"other"}
    return set()
