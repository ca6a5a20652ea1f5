"""What every server here has to keep. These pass as they are: leave them, and add yours about your own tools beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from mcp import Client

from broker.paved import app
from server import server

ROOT = Path(__file__).parents[1]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_every_tool_says_what_it_does_and_whether_it_changes_anything() -> None:
    for tool in await server.list_tools():
        hints = tool.annotations
        assert tool.description, f"{tool.name} has no description"
        assert hints and (hints.read_only_hint or hints.destructive_hint is not None), f"{tool.name} has no hints"


@pytest.mark.anyio
async def test_what_changes_something_is_not_reached_around_the_broker() -> None:
    async with Client(server) as client:
        answer = await client.call_tool("notes_add", {"text": "around the broker"})
    assert answer.is_error
    assert "not authorized" in answer.content[0].text


@pytest.mark.anyio
async def test_supervisors_are_answered() -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app(server)), base_url="http://127.0.0.1") as http:
        answer = await http.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "alive")


@pytest.mark.anyio
async def test_server_json_tells_of_every_tool() -> None:
    told = json.loads((ROOT / "server.json").read_text())["_meta"]["io.modelcontextprotocol.registry/publisher-provided"]
    assert set(told["approval-broker"]["tools"]) == {tool.name for tool in await server.list_tools()}


def test_the_security_standard_finds_nothing_missing() -> None:
    lint = [sys.executable, "-m", "broker", "servers", "lint", str(ROOT / "server.json")]
    found = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "nothing is missing\n"), found.stdout + found.stderr
