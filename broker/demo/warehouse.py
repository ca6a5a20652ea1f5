"""Toy server: a warehouse of SQLite tables that can be listed, queried and overwritten."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

STOCK = [("lamp", 12), ("desk", 3), ("chair", 8)]


def rows(database: Path, table: str) -> list[dict[str, Any]]:
    """Return the table's rows in their order, read straight from the file."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {_quoted(connection, table)}")]


def warehouse(database: Path) -> MCPServer:
    """Return the server over `database`, which is made and filled when it does not exist."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS stock (item TEXT, count INTEGER)")
        if not connection.execute("SELECT 1 FROM stock").fetchone():
            connection.executemany("INSERT INTO stock VALUES (?, ?)", STOCK)
    server = MCPServer("warehouse", instructions="Tables of a warehouse.", log_level="WARNING")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def tables() -> list[str]:
        """List the tables."""
        with closing(sqlite3.connect(database)) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def query(table: str) -> list[dict[str, Any]]:
        """Return the rows of a table."""
        return rows(database, table)

    @server.tool(annotations=ToolAnnotations(destructive_hint=True))
    def overwrite(table: str, rows: list[dict[str, Any]]) -> str:
        """Replace all rows of a table."""
        return _overwrite(database, table, rows)

    return server


def _overwrite(database: Path, table: str, rows: list[dict[str, Any]]) -> str:
    with closing(sqlite3.connect(database)) as connection, connection:
        name = _quoted(connection, table)
        columns = [column for _, column, *_ in connection.execute(f"PRAGMA table_info({name})")]
        before = connection.execute(f"DELETE FROM {name}").rowcount
        marks = ", ".join("?" for _ in columns)
        connection.executemany(f"INSERT INTO {name} VALUES ({marks})", [[row.get(key) for key in columns] for row in rows])
    return f"{table}: {before} rows replaced by {len(rows)}"


def _quoted(connection: sqlite3.Connection, table: str) -> str:
    # A name can't be a parameter in SQL: it must be one that exists, and is quoted.
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone():
        raise ToolError(f"there is no table {table!r}")
    return '"' + table.replace('"', '""') + '"'
