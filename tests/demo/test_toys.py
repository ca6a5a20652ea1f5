"""The toy servers do what they say, to real files, for clients of both eras."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import anyio
import pytest
from mcp.client import Client

from broker.demo.payments import refunds
from broker.demo.toys import TOYS, toys
from broker.demo.warehouse import STOCK, rows


@pytest.fixture
async def urls(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    async with toys(tmp_path) as urls:
        yield urls


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_refund_is_one_row_in_the_ledger(urls: dict[str, str], tmp_path: Path, mode: Literal["auto", "legacy"]) -> None:
    refund = {"customer": "acme", "amount": 40.5, "currency": "EUR", "reason": "broken lamp"}
    with anyio.fail_after(10):
        async with Client(urls["payments"], mode=mode) as client:
            result = await client.call_tool("refund_create", refund)
    assert not result.is_error
    assert refunds(tmp_path / "ledger.db") == [refund]


async def test_a_table_is_overwritten_whole_and_an_unknown_one_is_a_tool_error(urls: dict[str, str], tmp_path: Path) -> None:
    with anyio.fail_after(10):
        async with Client(urls["warehouse"]) as client:
            assert rows(tmp_path / "warehouse.db", "stock") == [{"item": item, "count": count} for item, count in STOCK]
            await client.call_tool("overwrite", {"table": "stock", "rows": [{"item": "sofa", "count": 1}]})
            missing = await client.call_tool("overwrite", {"table": 'stock"; DROP TABLE stock; --', "rows": []})
    assert missing.is_error
    assert rows(tmp_path / "warehouse.db", "stock") == [{"item": "sofa", "count": 1}]


async def test_a_file_outside_the_folder_can_not_be_named(urls: dict[str, str], tmp_path: Path) -> None:
    with anyio.fail_after(10):
        async with Client(urls["files"]) as client:
            outside = await client.call_tool("file_read", {"name": "../ledger.db"})
            inside = await client.call_tool("file_read", {"name": "welcome.txt"})
    assert (outside.is_error, inside.is_error) == (True, False)


async def test_every_toy_tool_says_whether_it_changes_something(urls: dict[str, str]) -> None:
    said = {}
    with anyio.fail_after(10):
        for name in TOYS:
            async with Client(urls[name]) as client:
                said |= {tool.name: tool.annotations for tool in (await client.list_tools()).tools}
    assert [name for name, hints in said.items() if hints is None] == []
