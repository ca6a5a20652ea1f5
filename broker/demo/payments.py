"""Toy server: refunds in a ledger. One row in the file is one refund that was paid."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations


def refunds(ledger: Path) -> list[dict[str, Any]]:
    """Return the refunds that were paid, oldest first, read straight from the file."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT customer, amount, currency, reason FROM refunds ORDER BY id")]


def payments(ledger: Path) -> MCPServer:
    """Return the server over the SQLite file `ledger`."""
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS refunds (id INTEGER PRIMARY KEY, customer TEXT, amount REAL, currency TEXT, reason TEXT)"
        )
    server = MCPServer("payments", instructions="Refunds to customers.", log_level="WARNING")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def refund_list() -> list[dict[str, Any]]:
        """List the refunds that were paid."""
        return refunds(ledger)

    @server.tool(annotations=ToolAnnotations(destructive_hint=True))
    def refund_create(customer: str, amount: float, currency: str, reason: str) -> str:
        """Pay money back to a customer."""
        with closing(sqlite3.connect(ledger)) as connection, connection:
            row = connection.execute(
                "INSERT INTO refunds (customer, amount, currency, reason) VALUES (?, ?, ?, ?)",
                (customer, amount, currency, reason),
            )
        return f"refund {row.lastrowid}: {amount:.2f} {currency} to {customer}"

    return server
