"""What `broker wrap` writes: a client's entry, a server's name, and the policy folder of the first start."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.cli.main import main
from broker.cli.wrap_home import home_of, name_of, written
from broker.domain.servers import ToolDefinition, ToolFacts
from broker.policy.load import load
from broker.registry.ports import Listing

COMMAND = ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/srv/files"]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (COMMAND, "server-filesystem"),
        (["npx", "-y", "@scope/server@1.2.3", "--flag"], "server"),
        (["uvx", "mcp-server-git"], "mcp-server-git"),
        (["python", "-m", "my_server"], "my_server"),
        (["docker", "run", "-i", "--rm", "mcp/github"], "run"),
        (["/opt/bin/serve"], "server"),
        (["./serve.sh"], "server"),
        (["serve"], "serve"),
    ],
)
def test_a_server_is_named_after_its_command(command: list[str], name: str) -> None:
    assert name_of(command) == name


def test_another_command_or_folder_is_another_server(tmp_path: Path) -> None:
    homes = {
        home_of("files", command, cwd, tmp_path)
        for command in (COMMAND, [*COMMAND, "/srv/more"])
        for cwd in (Path("/a"), Path("/b"))
    }
    assert len(homes) == 4
    assert {home.parent for home in homes} == {tmp_path / "wrap"}


@pytest.mark.parametrize(("client", "servers"), [("claude-code", "mcpServers"), ("cursor", "mcpServers"), ("vscode", "servers")])
def test_the_entry_starts_the_same_command_behind_the_broker(
    client: str, servers: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["wrap", "--env", "GITHUB_TOKEN", "--print-config", client, "--", *COMMAND]) == 0
    entry = json.loads(capsys.readouterr().out)[servers]["server-filesystem"]
    assert [entry["command"], *entry["args"]] == [
        sys.executable, "-m", "broker", "wrap", "--env", "GITHUB_TOKEN", "--", *COMMAND
    ]  # fmt: skip
    assert entry.get("type") == ("stdio" if client == "vscode" else None)


def test_without_a_command_there_is_nothing_to_guard(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wrap"]) == 2
    assert "broker wrap -- npx" in capsys.readouterr().err


def tool(name: str, **claims: Any) -> ToolDefinition:
    return ToolDefinition("files", name, {"name": name, "annotations": claims})


def test_the_folder_of_the_first_start_is_a_policy_that_takes_claims_for_facts(tmp_path: Path) -> None:
    tools = (
        tool("read", readOnlyHint=True),
        tool("both", readOnlyHint=True, destructiveHint=True),
        tool("make", destructiveHint=False),
        tool("silent"),
        tool("odd name {x}", readOnlyHint=True),
        tool("yes", readOnlyHint="true"),
    )
    for name, text in written(Listing("files", tools), ["run: me", "#1", "yes"], Path("/srv"), ["TOKEN"]).items():
        (tmp_path / name).write_text(text)
    policy = load(tmp_path)
    server = policy.servers["files"]
    assert (server.command, server.cwd, server.env) == (("run: me", "#1", "yes"), "/srv", {"TOKEN": "env:TOKEN"})
    worst = ToolFacts(read_only=False, destructive=True)
    assert server.tools == {
        "read": ToolFacts(read_only=True),
        "both": worst,
        "make": ToolFacts(read_only=False, destructive=False),
        "silent": worst,
        "yes": worst,
    }
    assert policy.people.members("you") == {"you@localhost"}


def test_a_server_without_tools_makes_a_folder_that_loads(tmp_path: Path) -> None:
    for name, text in written(Listing("files", ()), ["serve"], Path("/srv"), []).items():
        (tmp_path / name).write_text(text)
    assert load(tmp_path).servers["files"].tools == {}
