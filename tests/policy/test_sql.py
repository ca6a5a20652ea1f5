"""`sql_kinds`: every statement is seen, and what databases read differently is an error."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

import pytest

from broker.policy.sql import TOKENS, sql_kinds

WRONG = "an error"

TABLE: list[tuple[str, list[str] | str]] = [
    ("SELECT 1", ["select"]),
    ("  select * from items where qty < 5 ; ", ["select"]),
    ("(SELECT 1) UNION (SELECT 2)", ["select"]),
    ("WITH a AS (SELECT 1) SELECT * FROM a", ["select"]),
    ("VALUES (1), (2)", ["select"]),
    ("SELECT 'DROP TABLE items; --'", ["select"]),
    ("SELECT 'it''s; DROP TABLE items'", ["select"]),
    ("SELECT 1 -- DROP TABLE items", ["select"]),
    ("SELECT 1 /* DROP TABLE items */", ["select"]),
    ("SELECT * FROM items FOR UPDATE", ["select"]),
    ("INSERT INTO items VALUES (1)", ["insert"]),
    ("INSERT INTO items SELECT * FROM others", ["insert", "select"]),
    ("INSERT INTO items VALUES (1) ON CONFLICT (id) DO UPDATE SET qty = 1", ["insert", "update"]),
    ("INSERT INTO items VALUES (1) ON CONFLICT DO NOTHING", ["insert"]),
    ("UPDATE items SET qty = (SELECT 1)", ["select", "update"]),
    ("DELETE FROM items", ["delete"]),
    ("MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN DELETE", ["merge"]),
    ("CREATE TABLE a (b INT)", ["create"]),
    ("CREATE TABLE a AS SELECT 1", ["create", "select"]),
    ("SELECT * INTO copy FROM items", ["create", "select"]),
    ("ALTER TABLE items ADD COLUMN x INT", ["alter"]),
    ("DROP TABLE items", ["drop"]),
    ("TRUNCATE TABLE items", ["truncate"]),
    ("GRANT ALL ON items TO PUBLIC", ["grant"]),
    ("REVOKE ALL ON items FROM PUBLIC", ["revoke"]),
    ("CALL f(1)", ["call"]),
    ("EXECUTE f", ["call"]),
    ("COPY items TO PROGRAM 'sh'", ["copy"]),
    ("SET x = 1", ["set"]),
    ("EXPLAIN SELECT 1", ["explain", "select"]),
    ("EXPLAIN ANALYZE DELETE FROM items", ["delete", "explain"]),
    ("EXPLAIN (ANALYZE, BUFFERS) UPDATE items SET a = 1", ["explain", "update"]),
    ("SELECT 1; DROP TABLE items", ["drop", "select"]),
    ("SELECT 1;;;DELETE FROM items;", ["delete", "select"]),
    ("WITH d AS (DELETE FROM items RETURNING *) SELECT * FROM d", ["delete", "select"]),
    ("SELECT * FROM (WITH d AS (UPDATE items SET a = 1 RETURNING *) SELECT * FROM d) x", ["select", "update"]),
    ("VACUUM", ["other"]),
    ("BEGIN", ["other"]),
    ("SHUTDOWN", ["other"]),
    ("PRAGMA table_info(items)", ["other"]),
    ("1 + 1", ["other"]),
    ("frobnicate items", ["other"]),
    # T-SQL needs no semicolon: what looks like an alias may be the next statement.
    ("SELECT 1 shutdown", ["other", "select"]),
    ("SELECT `a` FROM `b`", ["select"]),
    ("SELECT [a] FROM [b]", ["select"]),
    ("SELECT $1", ["select"]),
    ("SELECT price FROM items WHERE name = '#1'", ["select"]),
    ("", WRONG),
    ("   ", WRONG),
    (";", WRONG),
    ("-- nothing", WRONG),
    ("/* nothing */", WRONG),
    ("selec * from items", WRONG),
    ("SELECT * FROM", WRONG),
    ("SELECT 'open", WRONG),
    ("SELECT 1 /* open", WRONG),
    ("SELECT 1; DROP TABLE items' ", WRONG),
    # MySQL runs these comments.
    ("SELECT 1 /*! ; DROP TABLE items */", WRONG),
    ("SELECT 1 /*!50000 ; DROP TABLE items */", WRONG),
    ("SELECT 1 /*M! ; DROP TABLE items */", WRONG),
    # For MySQL, -- without a space is no comment, and # is one.
    ("SELECT 5--1; DROP TABLE items", WRONG),
    ("SELECT 1 # ; DROP TABLE items\n", WRONG),
    # A backslash escapes a quote in some databases only.
    ("SELECT '\\''; DROP TABLE items; --'", WRONG),
    ("SELECT '\\'; DROP TABLE items; --'", WRONG),
    # Some nest comments, some don't.
    ("SELECT 1 /* /* */ ; DROP TABLE items; -- */", ["drop", "select"]),
    # Brackets quote names in T-SQL and SQLite.
    ("SELECT [']; DROP TABLE items; -- ']", ["drop", "select"]),
    ("SELECT q'[ ' ]' FROM dual; DROP TABLE items --'", WRONG),
    ("DO $$ BEGIN DELETE FROM items; END $$", WRONG),
    ("SELECT 1\x00; DROP TABLE items", WRONG),
    ("SELECT 1\x1b", WRONG),
    ("SELECT " + "(" * 500 + "1" + ")" * 500, WRONG),
    ("SELECT " + "1," * TOKENS + "1", WRONG),
    ("SELECT '" + "a" * 40_000 + "'", WRONG),
]


@pytest.mark.parametrize(("sql", "kinds"), TABLE)
def test_the_kinds_of_a_text_are_those_that_any_database_would_run(sql: str, kinds: list[str] | str) -> None:
    try:
        found: list[str] | str = sql_kinds(sql)
    except ValueError:
        found = WRONG
    assert found == kinds


def test_statements_are_arguments_and_reach_no_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        sql_kinds("VACUUM hunter2")
    assert caplog.records == []


@pytest.mark.parametrize(
    "part",
    [
        "(", "not ", "- ", "case when ", "f(", "select (", "[", "{'a':", "a.", "a,", "x -> ", "cast(", "interval ", "::int", "~",
        "exists (select ",
        "with a as (", "a join b on ", "select 1 union ", "struct<", "a between ", "lateral ", "$$", "`", "/*", "'",
    ],
)  # fmt: skip
def test_a_text_that_repeats_itself_is_answered_in_time(part: str) -> None:
    for text in (f"SELECT {part * 300}", f"SELECT {part * 120}1", part * 300):
        started = time.thread_time()
        with suppress(ValueError):
            sql_kinds(text)
        assert time.thread_time() - started < 0.5
