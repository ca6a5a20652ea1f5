"""`broker new-server`: from an empty folder to a call through the broker, as a newcomer goes."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from broker.cli.main import main
from broker.running import Running
from tests.cli.conftest import SLOTS, enrolling, signed_in, typed_by

POLICY = {
    "servers.yaml": "servers: {}\n",
    "people.yaml": "groups: {notes-team: [olga@example.com], leads: [lee@example.com], security: [sec@example.com],"
    " legal_privacy: [leg@example.com], genai: [gen@example.com]}\n",
    "rules.yaml": "defaults: {unmatched: require_approval, unknown_tool: deny,"
    " approval: {all_of: [{group: leads}], timeout: 5m}}\n"
    "rules: [{id: reading, match: {hints: {read_only: true}}, effect: allow}]\n",
}


@pytest.fixture
async def broker(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    async with enrolling(store_url, tmp_path, POLICY, monkeypatch) as made:
        yield made


async def test_from_an_empty_folder_to_a_call_through_the_broker(
    broker: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert await typed_by("olga", broker, monkeypatch, "new-server", "notes", "--port", str(port)) == 0
    tests = await anyio.run_process([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd="notes", check=False)
    assert tests.returncode == 0, tests.stdout.decode()
    environment = {**os.environ, "PORT": str(port)}
    async with await anyio.open_process([sys.executable, "server.py"], cwd="notes", env=environment) as server:
        try:
            await _answering(f"http://127.0.0.1:{port}/healthz")
            await _enrolled_and_reviewed(broker, monkeypatch)
            await _called(broker, monkeypatch)
        finally:
            server.terminate()


async def _answering(url: str) -> None:
    with anyio.fail_after(30):
        async with httpx2.AsyncClient() as http:
            while True:
                try:
                    assert (await http.get(url)).json() == {"status": "alive", "tools": 2}
                    return
                except httpx2.ConnectError:
                    await anyio.sleep(0.05)


async def _enrolled_and_reviewed(broker: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await typed_by("olga", broker, monkeypatch, "servers", "enrol", "notes/server.json", "--submit") == 0
    for slot, person in zip(SLOTS, ("sec", "leg", "gen"), strict=True):
        review = ("servers", "review", "com.example/notes", "--slot", slot, "--verdict", "approve", "--yes")
        assert await typed_by(person, broker, monkeypatch, *review) == 0
    assert await typed_by("sec", broker, monkeypatch, "servers", "pin", "notes", "--yes") == 0


async def _called(broker: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading passes; adding waits for a lead, and the server lets it in by the broker's signed word."""
    olga, agents = "olga@example.com", broker.broker.identity.agents
    token = await agents.add("bot", owner=olga, user=olga, groups=("notes-team",), lasts=timedelta(hours=1))
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(streamable_http_client(f"{broker.url}/mcp/notes", http_client=http)) as client,
        anyio.create_task_group() as tasks,
    ):
        with anyio.fail_after(30):  # brokers learn within seconds what was accepted
            while (await client.call_tool("notes_list", {})).structured_content != {"result": ["the first note"]}:
                pass
        await signed_in("lee", broker, monkeypatch)
        tasks.start_soon(_approve, broker)
        assert "note 2 was added" in str((await client.call_tool("notes_add", {"text": "milk"})).content)


async def _approve(broker: Running) -> None:
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {os.environ['BROKER_TOKEN']}"}) as http:
        found: list[dict[str, str]] = []
        with anyio.fail_after(30):
            while not found:
                answer = await http.get(f"{broker.url}/api/v1/requests")
                assert answer.status_code == 200, answer.text
                found = answer.json()["requests"]
    assert await anyio.to_thread.run_sync(main, ("requests", "approve", found[0]["id"], "--yes")) == 0


FIFTEEN_LINES = """\
from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations
from broker.authorized import authorize_tool
from broker.paved import caller, serve
server = MCPServer("notes")
NOTES = ["the first note"]
@server.tool(description="List all notes.", annotations=ToolAnnotations(read_only_hint=True))
def notes_list() -> list[str]:
    return NOTES
@server.tool(description="Add a note.", annotations=ToolAnnotations(destructive_hint=False))
@authorize_tool(policy="notes-team", identity=caller("notes"))
def notes_add(text: str) -> str:
    NOTES.append(text)
    return "it was added"
if __name__ == "__main__": serve(server)
"""


async def test_a_server_of_fifteen_lines_passes_everything_that_a_server_has_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-server", "notes"]) == 0
    assert len(FIFTEEN_LINES.splitlines()) == 15
    (tmp_path / "notes" / "server.py").write_text(FIFTEEN_LINES)
    tests = await anyio.run_process([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd="notes", check=False)
    assert (tests.returncode, b"5 passed" in tests.stdout) == (0, True), tests.stdout.decode()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("Notes",), "'Notes' can't be the name of a server: a small letter first"),
        (("../notes",), "can't be the name"),
        (("notes", "--domain", "example"), "write it like com.example"),
        (("notes", "--owner", 'a"b'), "a group's name has no blanks, quotes or brackets"),
        (("notes", "--port", "0"), "0 is no port"),
    ],
)
def test_a_name_that_would_not_do_is_refused_before_anything_is_written(
    words: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-server", *words]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").mkdir()
    assert main(["new-server", "notes"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert list((tmp_path / "notes").iterdir()) == []


def test_the_words_are_filled_in_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(["new-server", "spare-parts", "--owner", "garage", "--domain", "org.acme", "--support", "mail:parts@acme.org"]) == 0
    )
    files = {file for file in (tmp_path / "spare-parts").rglob("*") if file.is_file()}
    assert not [file for file in files if "{{" in file.read_text()]
    document = json.loads((tmp_path / "spare-parts" / "server.json").read_text())
    assert (document["name"], document["title"]) == ("org.acme/spare-parts", "Spare parts")
